"""Every form of the pages, sent over HTTP: each finds its events (R-AT-1, R-AT-2)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from central_world import AGENCY, Car, Server, add_person, make_read, run
from pages_world import sign_on, staff
from release_world import certificate
from sqlalchemy import func, select
from test_foreign import line, package

from alprd.central.pages import inventory
from alprd.central.storage import audit, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central

WORDS = "The van passed the reader on its way from the burgled store."
OTHER = "A witness wrote the number of the van down near the school."
ZONE = ZoneInfo("America/Chicago")
pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]
NOT_HERE: dict[tuple[str, Event], str] = {
    ("/sign-on", Event.SIGN_ON_REFUSED): "test_pages.py: a wrong password, also without a token",
    ("/search", Event.SEARCH_REFUSED): "test_search.py: every missing basis",
    ("/cars/{car}", Event.WIPED): "test_vehicles.py: needs a car's own certificate of its wipe",
    ("/cars/{car}", Event.ORDER_ISSUED): "the order of a freeze; driven below under its own act",
    ("/links/{link}", Event.LINK_SCHEDULED): "test_flows.py: an inactive link is put on a schedule",
    ("/additional/{entry}", Event.ENTRY_REVIEWED): "test_additional.py: an exigency an hour later",
    ("/bases/{basis}", Event.EXIGENCY_REVIEWED): "test_search_stops.py: after the day it lasts",
    ("/reports/{week}", Event.REPORT_SIGNED): "test_trail.py: there is a report after a week",
    ("/recipient-orders/{order}", Event.RECIPIENT_ORDER_SENT): "test_release.py: after a release",
    ("/recipient-orders/{order}", Event.RECIPIENT_ORDER_DONE): "test_release.py: after a release",
    ("/jobs", Event.DESTROYED): "test_retention.py: nothing is past its life in a new store",
}
"""Events of a form that need time to pass or another machine; where they are driven instead."""


def local(minutes: float = 0) -> str:
    return (datetime.now(ZONE) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M")


@dataclass
class Forms:
    """Sends forms and compares what the trail got."""

    home: Path
    client: httpx.Client
    who: str = ""
    token: str = ""
    driven: set[tuple[str, Event]] = field(default_factory=set)

    def last(self) -> int:
        with Central(self.home) as central, central.database.read() as tx:
            return tx.scalar(select(func.max(db.audit.c.seq))) or 0

    def since(self, seq: int) -> list[Any]:
        with Central(self.home) as central, central.database.read() as tx:
            return [event for event in audit.events(tx) if event.seq > seq]

    def sign(self, who: str) -> None:
        if self.who != who:
            self.token, self.who = sign_on(self.client, who), who

    def send(
        self, who: str, entry: str, wanted: Event, files: Any = None, to: str = "", **data: Any
    ) -> httpx.Response:
        """One form; ``entry`` is the inventory's path, ``to`` the true one."""
        self.sign(who)
        before = self.last()
        answer = self.client.post(to or entry, data={"csrf": self.token, **data}, files=files)
        stopped = wanted is Event.SEARCH_STOPPED and answer.status_code == 403
        assert stopped or answer.status_code in (200, 303), (entry, data, _said(answer))
        end, found = time.monotonic() + 30, []
        while not found and time.monotonic() < end:  # long work goes on behind its page
            found = [event for event in self.since(before) if event.event == wanted.value]
        assert found, (entry, wanted, [event.event for event in self.since(before)], _said(answer))
        assert (found[-1].actor, found[-1].address) == (who, "127.0.0.1"), entry
        self.driven.add((entry, wanted))
        return answer


def _said(answer: httpx.Response) -> str:
    found = re.findall(r"Not done[^<]*|Not allowed[^<]*", answer.text)
    return f"{answer.status_code} {found}"


def ids(page: str, path: str) -> list[str]:
    """The ids that a page links or sends to below a path."""
    return re.findall(rf'"{path}/([^"/?]+)"', page)


@pytest.fixture(scope="module")
def reads(server: Server, car: Car) -> list[Any]:
    """A staffed agency with reads of the last minutes."""
    staff(server)
    add_person(server.home, "newt", "records")
    add_person(server.home, "ann", "alpr_admin")
    made = [make_read(f"FRM100{number}") for number in range(5)]
    car.send_reads(*made)
    return made


@pytest.fixture(scope="module")
def forms(server: Server, reads: list[Any]) -> Iterator[Forms]:
    """One browser for all of them, which remembers what it sent."""
    with httpx.Client(base_url=server.page_url, timeout=60) as client:
        yield Forms(server.home, client)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forms")


def test_forms_of_lists(forms: Forms) -> None:
    head = "plate,state,type,category,source,entered,text\n"
    given = {"list_id": "lpdf", "source": "LPDF", "supplied": local(-60)}
    good = {"file": ("x.csv", f"{head}NRT042,MN,,stolen,LPDF,,\n".encode())}
    odd = {"file": ("x.csv", f"{head}KZM905,MN,,Fire Watch,LPDF,,\n".encode())}
    forms.send("dana", "/lists/upload", Event.LIST_IMPORTED, files=good, **given)
    for decision, event in (("refuse", Event.LIST_REFUSED), ("accept", Event.LIST_ACCEPTED)):
        held = forms.send("dana", "/lists/upload", Event.LIST_HELD, files=odd,
                          **given | {"supplied": local(-30)})  # fmt: skip
        if decision == "accept":
            forms.send("dana", "/categories", Event.CATEGORY_MAPPED, source="own",
                       code="Fire Watch", column="other_lpdf", priority="low")  # fmt: skip
        forms.send("dana", "/lists/held/{held}", event, to=held.headers["location"],
                   decision=decision, reason="The state told us of this by letter")  # fmt: skip
    for act, event in (
        ("approve", Event.ENTRY_APPROVED), ("revoke", Event.ENTRY_REVOKED),
        ("refuse", Event.ENTRY_REFUSED),
    ):  # fmt: skip
        if act != "revoke":
            plate = f"ADD100{len(act)}"
            forms.send("ida", "/additional", Event.ENTRY_REQUESTED, plate=plate, state="MN",
                       case="26001234", offence="burglary", purpose="suspect_interdiction",
                       kind="interdiction", days="7", relation=WORDS)  # fmt: skip
            forms.sign("dana")
            entry = ids(forms.client.get("/additional").text, "/additional")[0]
        forms.send("dana", "/additional/{entry}", event, to=f"/additional/{entry}", act=act,
                   reason=WORDS)  # fmt: skip


def test_forms_of_searches(forms: Forms, reads: list[Any]) -> None:
    look = {
        "case": "26001234", "offence": "burglary", "purpose": "criminal", "facts": WORDS,
        "suspicion": OTHER, "since": local(-60), "until": local(1),
    }  # fmt: skip
    done = forms.send("ida", "/search", Event.SEARCHED, **look, plate="FRM1001")
    seq = re.search(r"/search/(\d+)", str(done.headers.get("location", "")) + done.text)
    assert seq
    forms.send("aud", "/trail/{seq}/term", Event.TERMS_VIEWED, to=f"/trail/{seq[1]}/term")
    forms.send("aud", "/trail/verify", Event.TRAIL_VERIFIED)
    forms.send("aud", "/trail/export", Event.TRAIL_EXPORTED, person="ida", cars="yes")
    forms.sign("ida")
    for _ in range(3):  # the third of one plate in thirty days stops
        forms.client.post("/search", data={"csrf": forms.token, **look, "plate": "FRM1001"})
    forms.send("ida", "/search", Event.SEARCH_STOPPED, **look, plate="FRM1001")
    warrant = {"kind": "warrant", "case": "26001234", "plate": "FRM1001",
               "court": "Seventh District", "number": "W-26-1", "issued": local(-120),
               "expires": local(2000), "scope": "Reads of this van for two days."}  # fmt: skip
    forms.send("ida", "/bases", Event.WARRANT_ENTERED, **warrant)
    for act, event in (("find", Event.EXIGENCY_DECIDED), ("withdraw", Event.BASIS_WITHDRAWN)):
        if act == "find":
            forms.send("ida", "/bases", Event.EXIGENCY_ASKED, kind="exigency", case="26001234",
                       plate="FRM1001", facts=WORDS, at=local(-5))  # fmt: skip
            forms.sign("dana")
            page = forms.client.get("/bases").text
            basis = ids(page, "/bases")[0]
        forms.send("dana" if act == "find" else "ida", "/bases/{basis}", event,
                   to=f"/bases/{basis}", act=act, reason=WORDS)  # fmt: skip
    forms.sign("dana")
    page = forms.client.get("/").text + forms.client.get("/notices").text
    notice = ids(page, "/notices")[0]
    forms.send("dana", "/notices/{notice}", Event.NOTICE_ANSWERED, to=f"/notices/{notice}",
               answer="Looked at it with the investigator.")  # fmt: skip
    month = f"{datetime.now(ZONE):%Y-%m}"
    forms.sign("aud")
    found = ids(forms.client.get(f"/reasons?month={month}").text, "/reasons")
    if found:
        forms.send("aud", "/reasons/{seq}", Event.REASON_JUDGED, to=f"/reasons/{found[0]}",
                   finding="good", note="Clear and specific.", month=month)  # fmt: skip


def test_forms_of_links_and_holds(forms: Forms, reads: list[Any]) -> None:
    acts = (
        ("approve", Event.LINK_APPROVED), ("review", Event.LINK_REVIEWED),
        ("inactive", Event.LINK_INACTIVE), ("release", Event.EXEMPTION_RELEASED),
        ("refuse", Event.LINK_REFUSED),
    )  # fmt: skip
    link = ""
    for act, event in acts:
        if act in ("approve", "refuse"):
            read = reads[0 if act == "approve" else 2].id
            made = forms.send("ida", "/links", Event.LINK_REQUESTED, case="26001234",
                              relation=WORDS, reads=read)  # fmt: skip
            link = made.headers["location"].rpartition("/")[2].partition("?")[0]
            if len(link) < 32:
                forms.sign("dana")
                link = ids(forms.client.get("/links").text, "/links")[0]
        forms.send("dana", "/links/{link}", event, to=f"/links/{link}", act=act, reason=WORDS,
                   outcome="declined", confirm="yes",
                   until=(datetime.now(ZONE) + timedelta(days=90)).date().isoformat())  # fmt: skip
    paper = {"request": ("letter.pdf", b"Please keep them. (invented)", "application/pdf")}
    forms.send("dana", "/holds", Event.HOLD_PLACED, files=paper, requester="Counsel",
               received=local(-5), number="26-CR-0042", statement=WORDS, plates="FRM1003",
               since=local(-60), until=local(1))  # fmt: skip
    hold = ids(forms.client.get("/holds").text, "/holds")[0]
    for act, event in (
        ("collected", Event.HOLD_COLLECTED), ("release", Event.EXEMPTION_RELEASED)
    ):  # fmt: skip
        forms.send("dana", "/holds/{hold}", event, to=f"/holds/{hold}", act=act, reason=WORDS,
                   confirm="yes")  # fmt: skip
    forms.send("dana", "/schedule", Event.SCHEDULE_SET, type="destructions", citation="GRS 11",
               days="3650")  # fmt: skip


def test_forms_of_people(forms: Forms) -> None:
    day = (datetime.now(ZONE) + timedelta(days=90)).date().isoformat()
    today = datetime.now(ZONE).date().isoformat()
    forms.send("dana", "/people", Event.PERSON_ADDED, id="fresh", name="New Person",
               password="a long one for the test", screening="S-26-9", roles="records")  # fmt: skip
    values = {
        "name": "Newer Person", "roles": "records", "course": "ALPR 1", "completed": today,
        "expires": day, "evidence": "Certificate 7", "screened_by": "BCA", "scope": "All records",
        "until": day, "purposes": "All", "designation": "", "reason": "Letter of today.",
        "confirm": "fresh",
    }  # fmt: skip
    for who, act, event in (
        ("dana", "change", Event.PERSON_CHANGED), ("dana", "train", Event.TRAINING_RECORDED),
        ("dana", "screen", Event.SCREENED),
        ("sher", "authorise", Event.AUTHORISED),
        ("sher", "withdraw", Event.AUTHORISATION_WITHDRAWN),
        ("dana", "retire", Event.PERSON_RETIRED),
    ):  # fmt: skip
        forms.send(who, "/people/{person}", event, to="/people/fresh", act=act, **values)
    for until, event in ((day, Event.ASSIGNED), (today, Event.ASSIGNMENT_ENDED)):
        forms.send("dana", "/people/{person}", event, to="/people/ann", act="assign",
                   **values | {"until": until})  # fmt: skip
    forms.send("dana", "/resets", Event.RESET_ASKED, person="dag", kind="totp",
               reason="Lost the telephone.")  # fmt: skip
    forms.sign("adam")
    reset = ids(forms.client.get("/resets").text, "/resets")[0]
    forms.send("adam", "/resets/{reset}", Event.RESET_DECIDED, to=f"/resets/{reset}",
               decision="refuse")  # fmt: skip
    with httpx.Client(base_url=forms.client.base_url, timeout=60) as other:
        sign_on(other, "newt")
        forms.sign("dana")
        ref = ids(forms.client.get("/people/newt").text, "/sign-off")
        forms.send("dana", "/sign-off/{ref}", Event.FORCED_OFF, to=f"/sign-off/{ref[0]}")


def test_forms_of_office(forms: Forms, folder: Path, reads: list[Any]) -> None:
    parcel = package(folder / "p.zip", [line(1, "FRM2001", datetime.now(UTC) - timedelta(days=2))])
    sent = {"file": ("p.zip", parcel.read_bytes(), "application/zip")}
    forms.send("dana", "/imports", Event.LINK_REQUESTED, files=sent, act="link", case="26001234",
               relation=WORDS)  # fmt: skip
    forms.send("dana", "/imports", Event.TRANSFER_IMPORTED, files=sent, act="take")
    forms.send("rec", "/confidentiality", Event.REQUESTS_WORKED, plates="FRM3001/MN",
               received=local(-60), verified_by="Clerk", reference="AC-1", review="")  # fmt: skip
    asked = ids(forms.client.get("/confidentiality").text, "/confidentiality")
    asked = [one for one in asked if len(one) == 32]
    at = f"/confidentiality/{asked[0]}"
    forms.send("rec", "/confidentiality/{asked}", Event.REQUESTS_WORKED, to=at, act="add",
               plates="FRM3002", said="AC-2")  # fmt: skip
    forms.send("dana", "/readers", Event.READER_RECORDED, act="add", device="post-9", kind="fixed",
               what="A camera on a post", which="installed",
               day=datetime.now(ZONE).date().isoformat())  # fmt: skip
    page = forms.client.get("/readers").text
    duty = re.findall(r'name="duty"[^>]*value="([^"]+)"|<option value="([^"]+)"[^>]*>', page)
    keys = [one for pair in duty for one in pair if one and ("post-9" in one or "car" in one)]
    if keys:
        forms.send("dana", "/readers", Event.BCA_SENT, files={"receipt": ("r.txt", b"sent")},
                   act="sent", duty=keys[0], at=local(-1), sent_by="Dana", how="post",
                   reference="BCA-1")  # fmt: skip
    today = datetime.now(ZONE).date().isoformat()
    forms.send("dana", "/fixed-locations", Event.PLACE_RECORDED, act="place", device="post-9",
               kind="fixed", at="Highway 10 at County Road 6, east side", since=today)  # fmt: skip
    forms.send("dana", "/readers", Event.BCA_CHECKED, act="check", note="Compared today.",
               published="Test\nFixed or stationary locations: N/A\n")  # fmt: skip


def test_forms_of_oversight(forms: Forms, folder: Path, reads: list[Any]) -> None:
    (folder / "polk").mkdir()
    _, pem = certificate(folder / "polk")
    forms.send(
        "dana", "/agencies", Event.AGENCY_SET, files={"certificate": ("polk.pem", pem.encode())},
        id="polk-so", name="Polk County Sheriff (invented)", kind="law_enforcement",
        ori="MN0600000", contact="records@polk.example",
        verified="Fingerprint compared on the telephone with their records desk.",
    )  # fmt: skip

    def release() -> str:
        paper = {"paper": ("request.txt", b"Please. (invented)")}
        made = forms.send(
            "dana", "/releases", Event.RELEASE_ASKED, files=paper, agency="polk-so",
            requester="Det. N. Olsen", contact="olsen@polk.example", purpose=WORDS, facts=WORDS,
            number="26004711", statement="The sheriff has authorised this in writing.",
            head="K. Berg", title="Sheriff", authorised="2026-01-02", received="2026-01-02T10:00",
            reads=reads[4].id,
        )  # fmt: skip
        return str(made.headers["location"])

    at = release()
    forms.sign("dag")
    scope = forms.client.get(f"{at}/records").text.split('name="scope" value="')[1].split('"')[0]
    forms.send("dag", "/releases/{release}", Event.RELEASE_APPROVED, to=at, act="approve",
               reason=WORDS, scope=scope)  # fmt: skip
    forms.send("dag", "/releases/{release}/package", Event.RELEASE_SENT, to=f"{at}/package")
    forms.send("dag", "/releases/{release}", Event.RELEASE_RECEIPTED, to=at, act="receipt",
               files={"paper": ("receipt.txt", b"Received.")}, received_by="N. Olsen")  # fmt: skip
    forms.send("dag", "/releases/{release}", Event.RELEASE_REFUSED, to=release(), act="refuse",
               reason=WORDS)  # fmt: skip
    made = forms.send("rec", "/requests", Event.REQUEST_RECEIVED, kind="public_data",
                      received="2026-01-02T10:00", what="everything about my street",
                      files={"paper": ("letter.txt", b"(invented)")})  # fmt: skip
    forms.send("rec", "/requests/{asked}", Event.REQUEST_ANSWERED, to=made.headers["location"],
               outcome="produced_public", answer="")  # fmt: skip
    run(forms.home, "compliance", "run")
    day = run(forms.home, "compliance", "list", "--by", "dana")["reports"][0]["report"]["day"]
    forms.send("dana", "/compliance", Event.COMPLIANCE_SIGNED, day=day, note=WORDS)
    for source, act, event in (
        ("LPDF", "hide", Event.SOURCE_HIDDEN), ("LPDF", "show", Event.SOURCE_SHOWN)
    ):  # fmt: skip
        forms.send("dana", "/openness", event, act=act, source=source, citation="§ 13.82",
                   reason=WORDS)  # fmt: skip
    forms.send("dana", "/openness", Event.REDACTION_SET, act="redact", field="plate",
               treatment="public", citation="Opinion of 18 May", reason=WORDS)  # fmt: skip
    forms.send("dana", "/openness", Event.CASE_PROTECTED, act="protect", case="26001234",
               citation="§ 13.82, subd. 7", reason=WORDS)  # fmt: skip
    today = datetime.now(ZONE).date()
    forms.send("rec", "/openness", Event.PUBLIC_TRAIL_EXPORTED, act="export",
               since=str(today - timedelta(days=1)), until=str(today))  # fmt: skip


def test_forms_of_cars(forms: Forms) -> None:
    forms.send("dana", "/jobs", Event.PUBLISHED, kind="publish")
    forms.send("dana", "/cars", Event.CODE_ISSUED, vehicle="car-9", reader="9")
    why = {"reason": "Report 26-1", "reference": "Letter 1", "confirm": AGENCY}
    stopped = forms.send("sher", "/suspension", Event.SUSPENSION_ORDERED, act="suspend", **why)
    assert stopped.status_code in (200, 303)
    serial = re.search(r'name="serial" value="([^"]+)"', forms.client.get("/suspension").text)
    assert serial
    forms.send("sher", "/suspension", Event.SUSPENSION_LIFTED, act="lift", serial=serial[1], **why)
    at = "/cars/car-1"
    why["confirm"] = "car-1"
    window = {"since": local(-60), "until": local(0)}
    forms.send("sher", "/cars/{car}", Event.ORDER_ISSUED, to=at, act="freeze", **why, **window)
    forms.send("sher", "/cars/{car}", Event.SUSPENSION_ORDERED, to=at, act="suspend", **why)
    serial = re.search(r'name="serial" value="([^"]+)"', forms.client.get(at).text)
    assert serial
    forms.send("sher", "/cars/{car}", Event.SUSPENSION_LIFTED, to=at, act="lift", **why,
               serial=serial[1])  # fmt: skip
    forms.send("dana", "/cars/{car}", Event.REVOKED, to=at, act="revoke", **why)
    forms.send("dana", "/cars/{car}", Event.KILL_ORDERED, to=at, act="kill", **why)
    forms.send("dana", "/cars/{car}", Event.RETIRED, to=at, act="retire", **why)


def test_every_form_was_sent_or_says_where(forms: Forms) -> None:
    """R-AT-1: whatever a person may send; the last test of this file, after all others."""
    forms.driven.add(("/sign-on", Event.SIGNED_ON))  # by each sign-on above
    forms.send("dana", "/sign-off", Event.SIGNED_OFF)
    posts = [entry for entry in inventory.ENTRIES if entry.method == "POST"]
    wanted = {(entry.path, event) for entry in posts for event in entry.events}
    assert wanted - forms.driven - set(NOT_HERE) == set(), "drive it, or say where"
    assert not set(NOT_HERE) - wanted, "of a form that is no more"
    assert not set(NOT_HERE) & forms.driven, "driven after all"
    assert run(forms.home, "audit", "verify")["whole"]
