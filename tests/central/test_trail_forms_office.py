"""Forms of imports, confidentiality, releases and requests of others: each finds its event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import Server
from release_world import certificate
from test_foreign import line, package
from trail_world import WORDS, Forms, approved, ids, local, sends

from alprd.central.storage.audit import Event

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]
PAPER = {"paper": ("paper.txt", b"(invented)")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from approved(tmp_path_factory.mktemp("office"))


@sends({"/imports": (Event.LINK_REQUESTED, Event.TRANSFER_IMPORTED)}, "/imports")
def test_forms_of_imports(forms: Forms, tmp_path: Path) -> None:
    at = datetime.now(UTC) - timedelta(days=2)
    parcel = package(tmp_path / "p.zip", [line(1, "FRM2001", at)])
    sent = {"file": ("p.zip", parcel.read_bytes(), "application/zip")}
    forms.send("dana", "/imports", Event.LINK_REQUESTED, files=sent, act="link", case="26001234",
               relation=WORDS)  # fmt: skip
    forms.send("dana", "/imports", Event.TRANSFER_IMPORTED, files=sent, act="take")
    forms.page("aud", "/imports")


def release(forms: Forms, read: str) -> str:
    """Another agency's written request on file; its address."""
    made = forms.send(
        "dana", "/releases", Event.RELEASE_ASKED, files=PAPER, agency="polk-so",
        requester="Det. N. Olsen", contact="olsen@polk.example", purpose=WORDS, facts=WORDS,
        number="26004711", statement="The sheriff has authorised this in writing.",
        head="K. Berg", title="Sheriff", authorised="2026-01-02", received="2026-01-02T10:00",
        reads=read,
    )  # fmt: skip
    return str(made.headers["location"])


@sends(
    {
        "/agencies": (Event.AGENCY_SET,),
        "/releases": (Event.RELEASE_ASKED,),
        "/releases/{release}": (
            Event.RELEASE_APPROVED, Event.RELEASE_RECEIPTED, Event.RELEASE_REFUSED,
        ),
        "/releases/{release}/package": (Event.RELEASE_SENT,),
        "/confidentiality": (Event.REQUESTS_WORKED,),
        "/confidentiality/{asked}": (Event.REQUESTS_WORKED,),
        "/recipient-orders/{order}": (Event.RECIPIENT_ORDER_SENT, Event.RECIPIENT_ORDER_DONE),
    },
    "/releases", "/releases/{release}", "/releases/{release}/records",
    "/releases/{release}/request", "/confidentiality", "/confidentiality/history",
    "/recipient-orders",
)  # fmt: skip
def test_forms_of_releases_and_of_a_request_that_reaches_a_recipient(
    forms: Forms, tmp_path: Path
) -> None:
    """A read went to another agency; then its owner takes part in address confidentiality."""
    _, pem = certificate(tmp_path / "polk")
    forms.send(
        "dana", "/agencies", Event.AGENCY_SET, files={"certificate": ("polk.pem", pem.encode())},
        id="polk-so", name="Polk County Sheriff (invented)", kind="law_enforcement",
        ori="MN0600000", contact="records@polk.example",
        verified="Fingerprint compared on the telephone with their records desk.",
    )  # fmt: skip
    at = release(forms, forms.reads[4].id)
    for page in ("/releases", at, f"{at}/request"):
        forms.page("dag", page)
    scope = forms.page("dag", f"{at}/records").split('name="scope" value="')[1].split('"')[0]
    forms.send("dag", "/releases/{release}", Event.RELEASE_APPROVED, url=at, act="approve",
               reason=WORDS, scope=scope)  # fmt: skip
    forms.send("dag", "/releases/{release}/package", Event.RELEASE_SENT, url=f"{at}/package")
    forms.send("dag", "/releases/{release}", Event.RELEASE_RECEIPTED, url=at, act="receipt",
               files=PAPER, received_by="N. Olsen")  # fmt: skip
    forms.send("dag", "/releases/{release}", Event.RELEASE_REFUSED,
               url=release(forms, forms.reads[3].id), act="refuse", reason=WORDS)  # fmt: skip

    forms.send("rec", "/confidentiality", Event.REQUESTS_WORKED, plates="FRM1004/MN",
               received=local(-60), verified_by="Clerk", reference="AC-1", review="")  # fmt: skip
    page = forms.page("rec", "/confidentiality")
    [asked] = [one for one in ids(page, "/confidentiality") if len(one) == 32]
    forms.send("rec", "/confidentiality/{asked}", Event.REQUESTS_WORKED,
               url=f"/confidentiality/{asked}", act="add", plates="FRM3002",
               said="AC-2")  # fmt: skip
    forms.page("dana", "/confidentiality/history")
    order = ids(forms.page("dana", "/recipient-orders"), "/recipient-orders")[0]
    for act, event in (
        ("sent", Event.RECIPIENT_ORDER_SENT), ("confirmed", Event.RECIPIENT_ORDER_DONE)
    ):  # fmt: skip
        forms.send("dana", "/recipient-orders/{order}", event, url=f"/recipient-orders/{order}",
                   act=act, said="Letter of today.")  # fmt: skip


@sends(
    {
        "/requests": (Event.REQUEST_RECEIVED,),
        "/requests/{asked}": (Event.REQUEST_ANSWERED,),
        "/requests/{asked}/lookup": (
            Event.SUBJECT_ASKED, Event.SUBJECT_APPROVED, Event.SUBJECT_REFUSED,
            Event.SUBJECT_LOOKED_UP,
        ),
    },
    "/requests", "/requests/{asked}", "/requests/{asked}/lookup",
)  # fmt: skip
def test_forms_of_requests_of_others(forms: Forms) -> None:
    def received(kind: str) -> str:
        made = forms.send("rec", "/requests", Event.REQUEST_RECEIVED, kind=kind, files=PAPER,
                          received="2026-01-02T10:00", requester="A. Citizen (invented)",
                          contact="a@example.org", what="everything about my car")  # fmt: skip
        return str(made.headers["location"])

    forms.send("rec", "/requests/{asked}", Event.REQUEST_ANSWERED, url=received("public_data"),
               outcome="produced_public", answer="")  # fmt: skip
    at = f"{received('data_subject')}/lookup"
    for page in ("/requests", at.removesuffix("/lookup"), at):
        forms.page("rec", page)
    route = "/requests/{asked}/lookup"
    for act, event in (("refuse", Event.SUBJECT_REFUSED), ("approve", Event.SUBJECT_APPROVED)):
        forms.send("rec", route, Event.SUBJECT_ASKED, url=at, act="ask", plate="FRM1000",
                   state="MN", identity=WORDS, ownership=WORDS)  # fmt: skip
        forms.send("dana", route, event, url=at, act=act, reason=WORDS)
    forms.send("rec", route, Event.SUBJECT_LOOKED_UP, url=at, act="look")
