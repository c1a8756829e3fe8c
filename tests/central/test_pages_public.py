"""Public pages and those of readers, fixed locations and suspension, in a real browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from central_world import AGENCY, Car, Server, run, session_row, today
from pages_world import CHROMIUM, chromium, enter, shot, sign_on, staff
from playwright.sync_api import Error, Page, expect

from alprd import wire
from alprd.audit import DAEMON, next_event
from alprd.audit import Event as CarEvent
from alprd.central.public import publicsite
from alprd.crypto import sha256_hex

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium")
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
TODAY = today()


@pytest.fixture(scope="module")
def stocked(server: Server, car: Car) -> Server:
    """Half a year of use."""
    staff(server)
    rows = []
    for back in range(0, 170, 3):
        start = datetime.now(UTC) - timedelta(days=back, hours=3)
        rows.append(
            session_row(
                started=start, ended=start + timedelta(minutes=90 + back),
                plates_read=200 + (back * 37) % 900, distinct_plates=150 + back,
                matches={"stolen": back % 3, "owner_suspended_revoked": back % 5},
                end_reason="power_lost" if back % 4 == 0 else "signed_off",
            )
        )  # fmt: skip
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=tuple(rows))
    assert car.post("/v1/sessions", "sessions", report).status_code == 200
    event = _misread(rows[4].id)
    told = wire.AuditReport(agency=AGENCY, vehicle=car.name, events=(event,))
    assert car.post("/v1/audit", "audit", told).status_code == 200
    return server


def _misread(session: str) -> wire.AuditEvent:
    return next_event(
        None, CarEvent.SESSION_CORRECTED, DAEMON, at=datetime.now(UTC), at_trusted=True,
        zone="America/Chicago", device="car-1", session=session, subjects=(),
        detail={"marked_misread": 1},
    )  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder under ``/alpr`` of a plain web host; its address."""

    class Host(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(folder / path.removeprefix("/alpr/"))

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def faultless(page: Page) -> None:
    """No violation of WCAG 2.1 AA that axe knows."""
    try:
        found = Axe().run(page, options=RULES)
    except Error:  # the answer to a form came in while it looked: look at that one
        page.wait_for_load_state()
        found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


@pytest.fixture(scope="module")
def static(stocked: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that any web host may serve."""
    folder = tmp_path_factory.mktemp("static") / "www"
    done = run(stocked.home, "publish", str(folder))
    assert done["rows"] == 58
    return folder


@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-e")
def test_the_folder_is_whole_and_its_manifest_true(stocked: Server, static: Path) -> None:
    told = json.loads((static / publicsite.MANIFEST).read_text())["files"]
    names = {path.name for path in static.iterdir()}
    assert names == set(told) | {publicsite.MANIFEST}
    for name, said in told.items():
        data = (static / name).read_bytes()
        assert (sha256_hex(data), len(data)) == (said["sha256"], said["length"]), name
        assert (static / name).stat().st_mode & 0o777 == 0o644
        if name.endswith(".html"):
            text = data.decode()
            assert "<script" not in text and "style=" not in text and "http" not in text, name
            assert 'href="/' not in text, "every link is relative"
    (static / "ours.txt").write_text("kept")
    (static / "log-1999-01.html").write_text("not ours either")
    before = (static / "index.html").stat().st_mtime_ns
    assert run(stocked.home, "publish", str(static))["changed"] == []
    assert (static / "index.html").stat().st_mtime_ns == before
    (static / "index.html").write_text("torn")
    (static / publicsite.MANIFEST).write_text('{"files": {"../x": 1, "gone.html": 1}}')
    (static / "gone.html").write_text("of an earlier month")
    (static.parent / "x").write_text("outside")
    assert "index.html" in run(stocked.home, "publish", str(static))["changed"]
    assert not (static / "gone.html").exists()
    assert (static.parent / "x").exists() and (static / "ours.txt").exists()
    assert sha256_hex((static / "index.html").read_bytes()) == told["index.html"]["sha256"]
    (static / "ours.txt").unlink()
    (static / "log-1999-01.html").unlink()


@needs_browser
@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-e")
def test_a_citizen_reads_the_log_on_screen_phone_and_paper(stocked: Server, static: Path) -> None:
    """R-460.5.1-0: without sign-on, from the server and from plain files alike."""
    with chromium() as browser, served(static) as host:
        for start in (f"{stocked.page_url}/public", f"{host}/alpr/index.html"):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            faults: list[str] = []
            page.on("console", lambda message, into=faults: into.append(message.text))
            page.goto(start)
            expect(page.get_by_role("heading", name="public log of use")).to_have_count(1)
            expect(page.get_by_role("img", name="Plates read by month")).to_have_count(1)
            faultless(page)
            where = "server" if start.startswith(stocked.page_url) else "files"
            shot(page, f"public-index-{where}")
            page.get_by_role("table", name="Totals by month").get_by_role("link").first.click()
            expect(page.locator("tr.correction")).to_have_count(1)
            page.get_by_text("The same as a table").click()
            faultless(page)
            shot(page, f"public-month-{where}")
            page.get_by_role("link", name="←").click()
            page.get_by_role("link", name="All months").click()
            page.get_by_role("link", name="Fixed locations", exact=True).click()
            expect(page.get_by_text("No fixed readers")).to_have_count(1)
            faultless(page)
            shot(page, f"public-fixed-{where}")
            assert faults == []
            page.close()
        phone = browser.new_page(viewport={"width": 360, "height": 740})
        phone.goto(f"{host}/alpr/index.html")
        assert phone.evaluate("document.documentElement.scrollWidth") == 360
        faultless(phone)
        shot(phone, "public-index-phone")
        paper = browser.new_page(viewport={"width": 979, "height": 740})
        paper.goto(f"{host}/alpr/index.html")
        paper.emulate_media(media="print")
        assert paper.evaluate("document.documentElement.scrollWidth") == 979
        assert not paper.get_by_role("link", name="The whole log as CSV").is_visible()
        shot(paper, "public-index-print")


@needs_browser
@pytest.mark.policy("R-460.4.1-d", "R-460.4.1-d2", "R-460.5.1-e2")
def test_a_notice_is_sent_and_a_place_withheld_in_the_browser(
    stocked: Server, tmp_path: Path
) -> None:
    receipt = tmp_path / "receipt.txt"
    receipt.write_text("The portal took it, invented")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        enter(page, stocked, "adam")
        expect(page.get_by_text("notice of installation or use")).to_have_count(1)
        page.get_by_role("link", name="Readers and notices").click()
        faultless(page)
        with page.expect_download() as got:
            page.get_by_role("link", name="PDF of car-1").first.click()
        assert got.value.path().read_bytes().startswith(b"%PDF-")
        page.get_by_label("Receipt").set_input_files(receipt)
        page.get_by_role("button", name="Put on record").click()
        row = page.get_by_role("table").first.get_by_role("row").nth(1)
        assert "sent" in row.inner_text()
        page.get_by_label("What the BCA publishes").fill(page.locator("pre").inner_text())
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("cell", name="yes", exact=True)).to_have_count(1)
        faultless(page)
        shot(page, "readers")
        page.get_by_role("link", name="Fixed locations").click()
        page.get_by_label("Place, as the public reads it").fill("Elm Street bridge, east side")
        page.get_by_label("Since").fill(TODAY.isoformat())
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_text("Elm Street bridge")).to_have_count(1)
        expect(page.get_by_text("Withhold the place")).to_have_count(0)
        enter(page, stocked, "sher")
        page.get_by_role("link", name="Fixed locations").click()
        page.get_by_text("Withhold the place").click()
        page.get_by_label("Reason").fill("The bridge is next to an entrance that officers use")
        page.get_by_label("Short explanation").fill("Knowing the spot lets people tamper with it")
        page.get_by_label("Review by").fill((TODAY + timedelta(days=180)).isoformat())
        page.get_by_role("button", name="Withhold").click()
        expect(page.get_by_text("withheld, Minn. Stat.")).to_have_count(1)
        faultless(page)
        shot(page, "fixed-locations")
        page.get_by_role("link", name="as the public sees them").click()
        shown = page.locator("main").inner_text()
        assert "withheld as security information" in shown and "Elm Street" not in shown


@needs_browser
@pytest.mark.policy("R-13.824-6-6")
def test_all_readers_are_suspended_and_lifted_with_the_letter(stocked: Server, car: Car) -> None:
    def permitted() -> bool:
        """By order; a reader whose notice is not proven yet may be stopped for that."""
        with car.client() as client:
            document = client.get("/v1/permit").json()
        return str(json.loads(document["body"])["reason"]) != "order"

    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        enter(page, stocked, "sher")
        page.get_by_role("link", name="Suspension").click()
        faultless(page)
        page.get_by_label("Reason").fill("Letter of the commissioner, invented")
        page.get_by_label("Type the agency's machine name").fill("wrong")
        page.get_by_role("button", name="Suspend all").click()
        assert page.get_by_role("alert").inner_text().startswith("Not done")
        page.get_by_label("Reason").fill("Letter of the commissioner, invented")
        page.get_by_label("Type the agency's machine name").fill(AGENCY)
        page.get_by_role("button", name="Suspend all").click()
        assert "out of contact" in page.locator("main").inner_text()
        assert not permitted()
        page.reload()
        assert "has heard of it" in page.locator("main").inner_text()
        faultless(page)
        shot(page, "suspension")
        page.get_by_role("link", name="Today").click()
        expect(page.get_by_text("all readers are suspended by order")).to_have_count(1)
        page.get_by_role("link", name="Suspension").click()
        page.get_by_label("Reference of the letter").fill("BCA 26-1")
        page.get_by_role("button", name="Lift").click()
        expect(page.get_by_role("cell", name="BCA 26-1")).to_have_count(1)
        assert permitted()


@needs_browser
@pytest.mark.policy("R-AT-5", "R-460.5.1-b2")
def test_openness_is_kept_and_the_trail_exported_in_the_browser(stocked: Server) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        enter(page, stocked, "dana")
        page.get_by_role("link", name="Openness").click()
        faultless(page)
        page.locator("#field").select_option("user")
        page.get_by_label("Law or ruling").fill("Minn. Stat. § 13.43, subd. 5")
        page.get_by_label("Reason").fill("undercover officers are among them")
        page.get_by_role("button", name="Classify").click()
        expect(page.get_by_role("cell", name="Minn. Stat. § 13.43, subd. 5")).to_have_count(1)
        page.get_by_label("Case number").fill("26001234")
        page.locator("#case-citation").fill("Minn. Stat. § 13.82, subd. 7")
        page.get_by_role("button", name="Withhold it").click()
        expect(page.get_by_text("1 case number is protected")).to_have_count(1)
        page.get_by_label("Case number").fill("26001234")
        page.get_by_role("button", name="Show it again").click()
        expect(page.get_by_text("No case numbers are protected")).to_have_count(1)
        page.get_by_label("Source", exact=True).fill("LPDF")
        page.locator("#source-citation").fill("Minn. Stat. § 13.82, subd. 25")
        page.get_by_role("button", name="Leave it unnamed").click()
        expect(page.get_by_role("button", name="Name LPDF again")).to_have_count(1)
        faultless(page)
        shot(page, "openness")
        page.get_by_role("button", name="Name LPDF again").click()
        expect(page.get_by_text("Every source is named")).to_have_count(1)
        enter(page, stocked, "rec")
        page.get_by_role("link", name="Openness").click()
        expect(page.get_by_role("button", name="Classify")).to_have_count(0)
        page.get_by_label("From").fill((TODAY - timedelta(days=1)).strftime("%Y-%m-%dT00:00"))
        page.get_by_label("To", exact=True).fill(
            (TODAY + timedelta(days=1)).strftime("%Y-%m-%dT00:00")
        )
        with page.expect_download() as got:
            page.get_by_role("button", name="Export as CSV").click()
        text = got.value.path().read_text()
        assert "redaction.set" in text and "withheld: Minn. Stat. § 13.43, subd. 5" in text
        assert "dana" not in text and "LPDF" not in text


@pytest.mark.policy("R-13.824-6-6", "R-460.5.1-e2")
@pytest.mark.parametrize(
    ("who", "path", "data"),
    [
        ("adam", "/suspension", {"act": "suspend", "reason": "x", "confirm": AGENCY}),
        ("aud", "/readers", {"act": "add"}),
        ("adam", "/fixed-locations", {"act": "withhold", "entry": "0" * 32}),
        ("rec", "/readers", {"act": "sent"}),
    ],
)
def test_who_may_not_is_refused(stocked: Server, who: str, path: str, data: dict[str, str]) -> None:
    with httpx.Client(base_url=stocked.page_url, timeout=30) as client:
        token = sign_on(client, who)
        answer = client.post(path, data=data | {"csrf": token})
        assert answer.status_code in (400, 403)
        assert "role" in answer.text or "Not allowed" in answer.text
