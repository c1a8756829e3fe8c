"""Pages of releases, requests of others, the breach file and compliance, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from central_world import Car, Server, make_read
from pages_world import CHROMIUM, chromium, enter, shot, sign_on, staff
from playwright.sync_api import Page
from release_world import certificate, decrypt

WORDS = "The van was seen at the burgled store on the evening of the burglary."


@pytest.fixture(scope="module")
def office(server: Server) -> Server:
    """A server with people."""
    staff(server)
    return server


@pytest.fixture
def client(office: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=office.page_url) as made:
        yield made


def released(client: httpx.Client, car: Car, folder: Path, read: str) -> str:
    """Enter a recipient and its request; the release's address."""
    _, pem = certificate(folder)
    token = sign_on(client, "dana")
    answer = client.post(
        "/agencies",
        data={
            "csrf": token, "id": "polk-so", "name": "Polk County Sheriff (invented)",
            "kind": "law_enforcement", "ori": "MN0600000", "contact": "records@polk.example",
            "verified": "Fingerprint compared on the telephone with their records desk.",
        },
        files={"certificate": ("polk.pem", pem.encode())},
    )  # fmt: skip
    assert answer.status_code == 303, answer.text
    answer = client.post(
        "/releases",
        data={
            "csrf": token, "agency": "polk-so", "requester": "Det. N. Olsen",
            "contact": "olsen@polk.example", "purpose": WORDS, "facts": WORDS,
            "number": "26004711", "statement": "The sheriff has authorised this in writing.",
            "head": "K. Berg", "title": "Sheriff", "authorised": "2026-01-02",
            "received": "2026-01-02T10:00", "reads": read,
        },
        files={"paper": ("request.txt", b"Please. (invented)")},
    )  # fmt: skip
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


@pytest.mark.policy("R-460.7-a", "R-460.7-b", "R-460.7-b1", "R-460.7-d")
def test_a_release_from_request_to_receipt_by_two_persons(
    office: Server, car: Car, client: httpx.Client, tmp_path: Path
) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    read = make_read("REL1001", at=at)
    car.send_reads(read)
    place = released(client, car, tmp_path / "polk", read.id)
    token = sign_on(client, "dana")
    assert client.get(f"{place}/records").status_code == 403  # her own request
    answer = client.post(place, data={"csrf": token, "act": "approve", "reason": WORDS})
    assert answer.status_code == 400 and "another supervisor" in answer.text
    token = sign_on(client, "dag")
    page = client.get(f"{place}/records")
    assert "REL1001" in page.text
    scope = page.text.split('name="scope" value="')[1].split('"')[0]
    data = {"csrf": token, "act": "approve", "reason": WORDS, "scope": scope}
    assert client.post(place, data=data).status_code == 303
    package = client.post(f"{place}/package", data={"csrf": token})
    assert package.headers["content-disposition"].endswith('.p7m"')
    opened = decrypt(package.content, tmp_path / "polk" / "recipient.key", tmp_path)
    assert read.id.encode() in opened
    answer = client.post(
        place,
        data={"csrf": token, "act": "receipt", "received_by": "N. Olsen"},
        files={"paper": ("receipt.txt", b"Received. (invented)")},
    )
    assert answer.status_code == 303
    assert "receipted" in client.get(place).text
    assert client.get(f"{place}/request").content == b"Please. (invented)"


def test_what_cannot_be_comes_back_with_its_words(client: httpx.Client) -> None:
    token = sign_on(client, "dana")
    for path, data, status in (
        ("/releases", {"reads": "x"}, 400),
        ("/agencies", {"id": "", "kind": "?"}, 400),
        ("/requests", {"kind": "nothing"}, 400),
        ("/incidents", {"kind": "insider", "what": "x", "discovered": "2026-01-01T10:00"}, 400),
        ("/compliance", {"day": "2020-01-01", "note": WORDS}, 400),
        ("/releases/nothing", {"act": "approve"}, 404),
        ("/requests/nothing", {"outcome": "refused"}, 404),
        ("/incidents/nothing", {"act": "close"}, 404),
        ("/recipient-orders/nothing", {"act": "sent", "said": "by mail"}, 400),
    ):
        answer = client.post(path, data={"csrf": token, **data})
        assert answer.status_code == status, f"{path}: {answer.text[:400]}"


@pytest.mark.policy("R-460.7-f")
def test_records_staff_answer_a_citizen(client: httpx.Client) -> None:
    token = sign_on(client, "rec")
    answer = client.post(
        "/requests",
        data={
            "csrf": token, "kind": "public_data", "received": "2026-01-02T10:00",
            "what": "everything about my street",
        },
        files={"paper": ("letter.txt", b"(invented)")},
    )  # fmt: skip
    place = answer.headers["location"]
    assert "subdivision 2, paragraph (b)" in client.get(place).text
    data = {"csrf": token, "outcome": "produced_public", "answer": ""}
    assert client.post(place, data=data).status_code == 303
    assert "Public items produced" in client.get(place).text
    assert client.get("/incidents").status_code == 403


@pytest.mark.policy("R-13.055-1", "R-460.5-1")
def test_an_incident_is_decided_and_a_report_signed(client: httpx.Client) -> None:
    token = sign_on(client, "sher")
    data = {"csrf": token, "kind": "insider", "what": WORDS, "discovered": "2026-01-02T10:00"}
    place = client.post("/incidents", data=data).headers["location"]
    data = {
        "csrf": token, "act": "decide", "acquired": "yes", "not_public": "yes",
        "compromised": "yes", "reason": WORDS,
    }  # fmt: skip
    assert client.post(place, data=data).status_code == 303
    assert "Notify each affected person" in client.get(place).text
    page = client.get("/compliance").text  # serve made today's report when it began
    day = page.split('name="day" value="')[1].split('"')[0]
    data = {"csrf": token, "day": day, "note": WORDS}
    assert client.post("/compliance", data=data).status_code == 303
    assert "signed by sher" in client.get("/compliance").text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_the_pages_are_accessible_by_day_and_dark(office: Server) -> None:
    from axe_playwright_python.sync_playwright import Axe

    def look(page: Page, scheme: str) -> None:
        enter(page, office, "dana")
        for path in ("releases", "agencies", "recipient-orders", "requests", "incidents",
                     "compliance"):  # fmt: skip
            page.goto(f"{office.page_url}/{path}")
            found = Axe().run(page).response["violations"]
            serious = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
            assert not serious, f"{path} {scheme}: {serious}"
            shot(page, f"oversight-{path}-{scheme}")

    with chromium() as browser:
        for scheme in ("light", "dark"):
            context = browser.new_context(
                color_scheme=scheme,  # type: ignore[arg-type]
                viewport={"width": 1280, "height": 900},
            )
            look(context.new_page(), scheme)
            context.close()
