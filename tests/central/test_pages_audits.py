"""Pages and commands of audits, security assessments and data subjects, on a real server."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from central_world import PASSWORD, Car, Server, enrol, make_home, make_read, run, today
from pages_world import CHROMIUM, chromium, enter, shot, sign_on, staff

from alprd.central.oversight import auditfiles
from alprd.central.storage import audit
from alprd.central.storage.store import Central

WORDS = "The driving licence and the registration were seen at the counter of the office."
TODAY = today()


@pytest.fixture(scope="module")
def office(server: Server) -> Server:
    """A server with people."""
    staff(server)
    return server


@pytest.fixture
def client(office: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=office.page_url, timeout=60) as made:
        yield made


def finished(client: httpx.Client, place: str) -> str:
    """The page of long work when it has ended."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        page = client.get(place).text
        if "At work" not in page and "% done" not in page:
            return page
        time.sleep(0.2)
    raise AssertionError("the work did not end")


@pytest.mark.policy("R-13.055-6")
def test_an_assessment_is_entered_and_fetched(office: Server, client: httpx.Client) -> None:
    sign_on(client, "dana")
    assert "no yearly security assessment is on file" in client.get("/").text
    assert "one is due now" in client.get("/assessments").text
    token = sign_on(client, "dana")
    paper = {"paper": ("paper.txt", b"Assessment (invented)")}
    late = {"csrf": token, "done": str(TODAY + timedelta(days=9))}
    answer = client.post("/assessments", data=late, files=paper)
    assert answer.status_code == 400 and "future" in answer.text
    data = {"csrf": token, "done": str(TODAY - timedelta(days=2))}
    assert client.post("/assessments", data=data, files=paper).status_code == 303
    page = client.get("/assessments").text
    place = re.search(r'href="(/assessments/[0-9a-f]{32})"', page)
    assert place and "one is due now" not in page
    assert client.get(place[1]).content == b"Assessment (invented)"
    assert "security assessment" not in client.get("/").text
    sign_on(client, "ida")
    assert client.get("/assessments").status_code == 403
    assert client.get(place[1]).status_code == 403
    told = run(office.home, "assessments", "list")
    assert len(told["assessments"]) == 1 and told["next"]


@pytest.mark.policy("R-460.6-c", "R-13.824-6-5")
def test_an_audit_is_entered_and_its_report_tracked(client: httpx.Client) -> None:
    token = sign_on(client, "dana")
    completed = TODAY - timedelta(days=40)
    data = {
        "csrf": token, "act": "enter", "auditor_name": "K. Auditor, CPA (invented)",
        "reference": "Letter 26-117", "since": str(completed - timedelta(days=730)),
        "until": str(completed - timedelta(days=10)), "completed": str(completed),
    }  # fmt: skip
    results = {"results": ("results.txt", b"Results (invented)")}
    wrong = client.post("/audits", data={**data, "until": "2099-01-01"}, files=results)
    assert wrong.status_code == 400 and "Letter 26-117" in wrong.text, "what was typed comes back"
    assert client.post("/audits", data=data, files=results).status_code == 303
    page = client.get("/audits").text
    due = completed.replace(year=completed.year + 2, day=min(completed.day, 28))
    assert "Letter 26-117" in page and "late" in page and f"due by {due:%Y-%m}" in page
    place = re.search(r'href="(/audits/[0-9a-f]{32}/results)"', page)
    audit = re.search(r'<option value="([0-9a-f]{32})"', page)
    assert place and audit
    assert client.get(place[1]).content == b"Results (invented)"
    assert "the report of the audit completed" in client.get("/").text
    data = {
        "csrf": token, "act": "reported", "audit": audit[1], "day": str(TODAY),
        "to": "Commissioner of Administration",
    }  # fmt: skip
    assert client.post("/audits", data=data).status_code == 303
    assert "Commissioner of Administration" in client.get("/audits").text
    assert "the report of the audit completed" not in client.get("/").text
    token = sign_on(client, "aud")
    assert client.post("/audits", data={"csrf": token, **data}).status_code == 403


@pytest.mark.policy("R-13.824-6-2", "R-13.824-6-4", "R-460.6-c")
def test_a_package_is_built_checked_and_fetched_by_its_builder_alone(
    office: Server, car: Car, client: httpx.Client, tmp_path: Path
) -> None:
    car.send_reads(make_read("PAK1001", at=datetime.now(UTC) - timedelta(hours=1)))
    token = sign_on(client, "aud")
    span = {"since": str(TODAY - timedelta(days=30)), "until": str(TODAY + timedelta(days=1))}
    empty = {"csrf": token, "since": span["until"], "until": span["since"]}
    assert client.post("/audits/package", data=empty).status_code == 400
    begun = client.post("/audits/package", data={"csrf": token, **span})
    assert begun.status_code == 303
    page = finished(client, begun.headers["location"])
    assert "the package is built and verifies" in page, page
    place = re.search(r'href="(/audits/package/[0-9a-f]{32})"', page)
    assert place
    content = client.get(place[1]).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert "manifest.json" in archive.namelist()
    key = re.search(r"--key ([0-9a-f]{130})", client.get("/audits").text)
    assert key
    file = tmp_path / "audit.zip"
    file.write_bytes(content)
    command = [sys.executable, "-m", "alprd.central.cli", "audit", "check", str(file)]
    done = subprocess.run([*command, "--key", key[1]], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("whole:"), done.stderr
    # Sealed on the disk; another's, an unknown one and one a day old are not there.
    [kept] = list((office.home / "audit-packages").iterdir())
    assert b"manifest.json" not in kept.read_bytes()
    sign_on(client, "dana")
    assert client.get(place[1]).status_code == 404
    assert client.get("/audits/package/nothing").status_code == 404
    sign_on(client, "aud")
    assert client.get(place[1]).status_code == 200
    with Central(office.home) as central:
        assert auditfiles.sweep(central) == 0
        central.clock = lambda: datetime.now(UTC) + timedelta(hours=25)  # type: ignore[method-assign]
        assert auditfiles.sweep(central) == 1
    assert client.get(place[1]).status_code == 404
    token = sign_on(client, "ida")
    assert client.post("/audits/package", data={"csrf": token, **span}).status_code == 403


@pytest.mark.policy("R-13.824-6-3")
def test_only_an_auditor_draws_and_the_same_seed_draws_the_same(
    car: Car, client: httpx.Client
) -> None:
    car.send_reads(make_read("SAM1001", at=datetime.now(UTC) - timedelta(hours=1)))
    span = {"since": str(TODAY - timedelta(days=30)), "until": str(TODAY + timedelta(days=1))}
    data = {"kind": "users", "seed": "otter", "size": "3", **span}
    token = sign_on(client, "dana")
    assert client.post("/audits/sample", data={"csrf": token, **data}).status_code == 403
    token = sign_on(client, "aud")

    def drawn(**changes: str) -> list[str]:
        page = client.post("/audits/sample", data={"csrf": token, **data, **changes}).text
        return re.findall(r"<tr><td>.*?</tr>", page)

    first = drawn()
    assert len(first) == 3 and drawn() == first != drawn(seed="heron")
    assert "SAM1001" not in "".join(drawn(kind="ledger"))
    wrong = client.post("/audits/sample", data={"csrf": token, **data, "size": "9999"})
    assert wrong.status_code == 400


def request(client: httpx.Client, token: str) -> str:
    """A data subject's request on file; its address."""
    answer = client.post(
        "/requests",
        data={
            "csrf": token, "kind": "data_subject", "received": "2026-01-02T10:00",
            "requester": "A. Citizen", "contact": "a@example.org", "what": "reads of my car",
        },
        files={"paper": ("letter.txt", b"(invented)")},
    )  # fmt: skip
    place: str = answer.headers["location"]
    return place


@pytest.mark.policy("R-460.7-g")
def test_the_look_up_is_off_and_says_why(office: Server, client: httpx.Client) -> None:
    token = sign_on(client, "rec")
    place = request(client, token)
    assert f'href="{place}/lookup"' in client.get(place).text
    page = client.get(f"{place}/lookup").text
    assert "Off." in page and "R-460.7-g" in page and 'name="plate"' not in page
    data = {"csrf": token, "act": "ask", "plate": "SUB1001", "state": "MN",
            "identity": WORDS, "ownership": WORDS}  # fmt: skip
    answer = client.post(f"{place}/lookup", data=data)
    assert answer.status_code == 403 and "county attorney" in answer.text
    told = run(
        office.home, "subject", "ask", "--id", place.rpartition("/")[2], "--plate", "SUB1001",
        "--identity", WORDS, "--ownership", WORDS, "--by", "rec", "--password-stdin",
        stdin=f"{PASSWORD}\n", check=False,
    )  # fmt: skip
    assert "R-460.7-g" in told.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_the_pages_are_accessible(office: Server) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with chromium() as browser:
        for scheme in ("light", "dark"):
            for who in ("dana", "aud"):
                context = browser.new_context(
                    color_scheme=scheme,  # type: ignore[arg-type]
                    viewport={"width": 1280, "height": 900},
                )
                page = context.new_page()
                enter(page, office, who)
                for path in ("audits", "assessments", "compliance"):
                    page.goto(f"{office.page_url}/{path}")
                    found = Axe().run(page).response["violations"]
                    bad = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
                    assert not bad, f"{path} {scheme}: {bad}"
                    shot(page, f"audits-{path}-{who}-{scheme}")
                context.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Server]:
    """A central whose county attorney has approved access of data subjects."""
    home = make_home(tmp_path / "home")
    settings = home / "central.toml"
    words = settings.read_text()
    assert "data_subject_opinion" not in words, "off is what an agency begins with"
    settings.write_text(f'{words}\n[release]\ndata_subject_opinion = "CA 26-9 (invented)"\n')
    made = Server(home)
    made.start()
    staff(made)
    yield made
    assert made.stop() == 0


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
@pytest.mark.policy("R-460.7-g")
def test_a_subjects_own_reads_are_shown_after_two_persons_acted(
    opened: Server, tmp_path: Path
) -> None:
    """R-460.7-g: records staff verify and ask, a supervisor approves, the look is recorded."""
    from axe_playwright_python.sync_playwright import Axe

    car = enrol(opened, tmp_path / "car", "car-1", "1")
    at = datetime.now(UTC) - timedelta(hours=1)
    mine = make_read("SUB1001", at=at)
    car.send_reads(mine, make_read("SUB1007", at=at))
    with httpx.Client(base_url=opened.page_url) as client:
        place = request(client, sign_on(client, "rec"))
    with chromium() as browser:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()

        def go(who: str) -> None:
            enter(page, opened, who)
            page.goto(f"{opened.page_url}{place}/lookup")
            found = Axe().run(page).response["violations"]
            assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]

        go("rec")
        assert "CA 26-9" in page.inner_text("main")
        page.get_by_label("Plate, as on the registration").fill("sub 1001")
        page.get_by_label("How identity was verified").fill(WORDS)
        page.get_by_label("How it was verified that the vehicle").fill(WORDS)
        shot(page, "lookup-ask")
        page.get_by_role("button", name="Ask").click()
        assert page.get_by_role("button", name="Approve").count() == 0, "nobody approves his own"
        enter(page, opened, "dana")
        assert "a look-up of a data subject waits" in page.inner_text("main")
        go("dana")
        page.get_by_label("Why, in your own words").fill(WORDS)
        shot(page, "lookup-decide")
        page.get_by_role("button", name="Approve").click()
        assert page.get_by_role("button", name="Look up now").count() == 0
        go("rec")
        page.get_by_role("button", name="Look up now").click()
        page.get_by_role("heading", name="Reads of exactly this plate").wait_for()
        assert page.locator("tbody tr").count() == 1
        shot(page, "lookup-found")
    with Central(opened.home) as central, central.database.read() as tx:
        [event] = [e for e in audit.events(tx) if e.event == "subject.looked-up"]
    assert event.actor == "rec" and mine.id in event.subjects and len(event.subjects) == 2
