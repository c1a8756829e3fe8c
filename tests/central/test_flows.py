"""Each role's daily work in a real Chromium; every page's accessibility, day and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import AGENCY, ZONE, Car, Server, enrol, make_read, run, session_row
from pages_world import CHROMIUM, chromium, enter, shot, staff
from playwright.sync_api import Browser, Page, expect
from test_foreign import line, package

from alprd import wire
from alprd.central.grounds.searchform import Request as Search
from alprd.central.pages import inventory
from alprd.central.searches.search import answer
from alprd.central.staff import people
from alprd.central.staff.permissions import ROLES
from alprd.central.storage import audit
from alprd.central.storage.store import Central

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install it with apt-get install chromium"
)
FACTS = "A grey van was seen at the burgled store at noon on Friday"
SUSPICION = "The van left towards the county road where the reader stood"


@pytest.fixture(scope="module")
def busy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Every role, two cars, reads of the last minutes, a list with a code nobody mapped."""
    staff(server)
    for number in ("1", "2"):
        car = enrol(server, tmp_path_factory.mktemp(f"car-{number}"), f"car-{number}", number)
        _use(car)
    hot = tmp_path_factory.mktemp("list") / "hot.csv"
    head = "plate,state,type,category,source,entered,text\n"
    hot.write_text(f"{head}NRT042,MN,,stolen,LPDF,,\nKZM905,MN,,Fire Watch,LPDF,,\n")
    supplied = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    run(
        server.home, "lists", "import", str(hot), "--list", "lpdf", "--source", "LPDF",
        "--supplied-at", supplied, "--by", "dana", check=False,
    )  # fmt: skip
    return server


def _use(car: Car) -> None:
    row = session_row(queued=2)
    with car.client() as client:
        client.get("/v1/permit")
    car.send_reads(*(make_read(text, session=row.id) for text in ("QWX739", "HJP227")))
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
    assert car.post("/v1/sessions", "sessions", report).status_code == 200


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def page(running: Browser) -> Iterator[Page]:
    made = running.new_page(viewport={"width": 1280, "height": 900})
    made.set_default_timeout(30_000)
    yield made
    made.close()


def local(minutes: int) -> str:
    """A time that many minutes away, as a form takes it."""
    return (datetime.now(ZONE) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M")


def go(page: Page, label: str) -> None:
    """Take an item of the menu."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name=label, exact=True).click()


def trail(home: Path, event: audit.Event, actor: str) -> list[wire.AuditEvent]:
    with Central(home) as central, central.database.read() as tx:
        return [e for e in audit.events(tx) if e.event == event and e.actor == actor]


def accessible(page: Page, *rules: str) -> None:
    """No serious finding of axe; with ``rules``, of these alone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else None
    found: dict[str, Any] = axe.Axe().run(page, options=only).response
    foul = [
        (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not foul, (page.url, foul)


def do_search(page: Page, plate: str) -> None:
    page.get_by_label("Case, complaint or incident number").fill("26-004321")
    page.get_by_label("Offence").fill("burglary")
    page.get_by_label("The facts").fill(FACTS)
    page.get_by_label("Why these reads").fill(SUSPICION)
    page.get_by_label("Window from").fill(local(-120))
    page.get_by_label("Window to").fill(local(1))
    page.get_by_label("Plate").fill(plate)
    page.get_by_role("button", name="Search and record").click()


@pytest.mark.policy("R-13.824-7-2", "R-460.5-5", "R-460.4.1-c2", "R-AT-1")
def test_an_investigator_searches_looks_links_and_is_stopped(page: Page, busy: Server) -> None:
    """R-13.824-7-2, R-AT-1: reason, results, one picture; R-460.4.1-c2: the third stops."""
    enter(page, busy, "ida")
    menu = page.get_by_role("navigation", name="Main")
    assert menu.get_by_role("link", name="Cars").count() == 0
    go(page, "Search")
    do_search(page, "QWX739")
    expect(page.get_by_role("heading", name=re.compile("2 results"))).to_be_visible()
    assert "QWX739" not in page.url
    accessible(page)
    shot(page, "results")
    page.get_by_role("link", name="Look").first.click()
    expect(page.get_by_alt_text("The plate as the camera saw it")).to_be_visible()
    sizes = "[...document.images].map(i => i.naturalWidth)"
    assert page.evaluate(sizes) == [96, 320], "both pictures were really drawn"
    accessible(page)
    assert len(trail(busy.home, audit.Event.PICTURE_VIEWED, "ida")) == 1
    page.get_by_role("link", name="Results").click()
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_label("How these reads relate").fill("The van of the burglary passed here twice")
    page.get_by_role("button", name="Ask for the link").click()
    expect(page.get_by_role("heading", name=re.compile("Case 26-004321"))).to_be_visible()
    expect(page.get_by_text("another person decides")).to_be_visible()
    accessible(page)
    for _ in range(2):
        go(page, "Search")
        do_search(page, "QWX739")
    expect(page.get_by_role("alert")).to_contain_text("stops for a legal basis")
    page.get_by_role("link", name="Enter a warrant").click()
    ask = page.locator("form", has=page.get_by_role("button", name="Ask", exact=True))
    ask.get_by_label("Case number").fill("26-004321")
    ask.get_by_label("Plate").fill("QWX739")
    ask.get_by_label("Since").fill(local(-5))
    ask.get_by_label("The facts").fill("The van was seen again with the stolen goods inside")
    ask.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("requested")).to_be_visible()
    shot(page, "bases")


@pytest.mark.policy("R-460.4.1-c", "R-13.824-6-6")
def test_a_sheriff_finds_exigency_and_suspends_a_car(page: Page, busy: Server) -> None:
    """R-460.4.1-c: found by another; R-13.824-6-6: suspend, and lift with the letter."""
    enter(page, busy, "sher")
    page.get_by_role("link", name=re.compile("exigent circumstances to decide")).click()
    page.get_by_label("Reason").fill("The goods may be gone within the hour")
    page.get_by_role("button", name="Find them").click()
    expect(page.get_by_text("active", exact=True)).to_be_visible()
    go(page, "Cars")
    page.get_by_role("link", name="car-2").click()
    form = page.locator("form", has=page.get_by_role("button", name="Suspend this car"))
    form.get_by_label("Reason").fill("Its camera is loose; to the garage")
    form.get_by_role("button", name="Suspend this car").click()
    expect(page.get_by_label("State").get_by_text("suspended")).to_be_visible()
    page.get_by_label("Reference of the letter").fill("Letter 26-17")
    page.get_by_role("button", name="Lift the suspension").click()
    expect(page.get_by_label("State").get_by_text("enrolled")).to_be_visible()
    accessible(page)
    assert page.locator("button", has_text="Revoke").count() == 0, "R-460.3-3: only the supervisor"


@pytest.mark.policy("R-460.5-5", "R-460.5-a", "R-460.3-3", "R-460.5-6")
def test_a_supervisor_enrols_approves_holds_and_sets_the_schedule(
    page: Page, busy: Server, tmp_path: Path
) -> None:
    """One code, shown once; a link by another (R-460.5-5); a hold with its paper (R-460.5-a)."""
    enter(page, busy, "dana")
    shot(page, "today")
    page.get_by_role("link", name=re.compile("waits for approval by another")).first.click()
    page.get_by_label("Reason").fill("It fits the open burglary case of Friday")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("link", name="See the reads it keeps").click()
    expect(page.get_by_role("cell", name="QWX739").first).to_be_visible()
    page.get_by_role("link", name="Look").first.click()
    expect(page.get_by_alt_text("The vehicle and its surroundings")).to_be_visible()
    go(page, "Cars")
    page.get_by_label("Name of the car").fill("car-7")
    page.get_by_label("Reader number").fill("7")
    page.get_by_label("Reader number").press("Enter")
    command = page.locator("code.command").inner_text()
    assert command.startswith("alprd enrol --central https://")
    shot(page, "code")
    go(page, "Cars")
    assert page.locator("code.command").count() == 0, "shown once"
    expect(page.get_by_role("cell", name="car-7")).to_be_visible()
    go(page, "Holds")
    letter = tmp_path / "letter.txt"
    letter.write_text("Please keep what shows that I was elsewhere.")
    page.get_by_label("Who asks").fill("Pat Example")
    page.get_by_label("Case or complaint number").fill("26-CR-1234")
    page.get_by_label("Received").fill(local(-60))
    page.get_by_label("Written request").set_input_files(letter)
    page.get_by_label("Plates").fill("HJP227")
    page.get_by_label("Window from").fill(local(-180))
    page.get_by_label("Window to").fill(local(1))
    page.get_by_label("What the requester says").fill("Was at the other end of the county then")
    page.get_by_role("button", name="Place the hold").click()
    expect(page.get_by_text("Pat Example")).to_be_visible()
    accessible(page)
    with page.expect_download() as paper:
        page.get_by_role("link", name="Take the written request").click()
    assert Path(paper.value.path()).read_text() == letter.read_text()
    page.get_by_role("link", name="See the reads it keeps").click()
    expect(page.get_by_role("cell", name="HJP227")).to_have_count(2)
    page.go_back()
    release = page.get_by_role("button", name="Release the hold")
    page.get_by_label("How the matter ended").fill("The charge was dismissed by the court")
    release.click()
    expect(page.get_by_role("button", name="Release the hold")).to_be_visible()  # not ticked
    page.get_by_label("The reads may be destroyed").check()
    release.click()
    expect(page.get_by_text("released").first).to_be_visible()
    go(page, "Retention schedule")
    page.get_by_label("Record").select_option("destructions")
    page.get_by_label("Item of the schedule").fill("LAW 04100")
    page.get_by_label("Days").fill("730")
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_role("cell", name="LAW 04100")).to_be_visible()
    go(page, "Notices")
    page.get_by_label("What was found").first.fill("Spoke with the investigator; it is one case")
    page.get_by_role("button", name="Answer").first.click()
    accessible(page)


def test_an_assigned_member_does_the_daily_work(page: Page, busy: Server) -> None:
    """The held list is looked at; destruction is begun by hand and tells how far it is."""
    enter(page, busy, "adam")
    page.get_by_role("link", name=re.compile("codes without a column")).click()
    expect(page.get_by_role("heading", name=re.compile("Held import"))).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="Today").first.click()
    page.get_by_role("button", name="Destroy what is due now").click()
    expect(page.get_by_text(re.compile("reads are destroyed"))).to_be_visible()
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_role("heading", name="Today")).to_be_visible()


@pytest.mark.policy("R-AT-3", "R-AT-4", "R-AT-7")
def test_an_auditor_reads_verifies_and_exports_the_trail(page: Page, busy: Server) -> None:
    """R-AT-3: verified; R-AT-4: the typed plate only by a recorded act; R-AT-1: looks too."""
    with Central(busy.home) as central:
        with central.database.write() as tx:
            ida = people.find(tx, "ida")
            assert ida is not None
            for _ in range(60):  # more than a page of them
                central.trail.record(
                    tx, audit.Event.STATUS_VIEWED, people.actor(ida), at=central.clock()
                )
        now = central.clock()
        since = now - timedelta(hours=1)
        answer(central, ida, Search("26-004321", "theft", FACTS, SUSPICION, since, now, "NRT042"))
    enter(page, busy, "aud")
    go(page, "Audit trail")
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    page.get_by_label("Person").fill("ida")
    page.get_by_label("Event, or its beginning").fill("search.done")
    page.get_by_role("button", name="Show").click()
    main = page.get_by_role("main")
    expect(main.get_by_role("row", name=re.compile("search.done")).first).to_be_visible()
    assert "NRT042" not in main.inner_text()
    accessible(page)
    shot(page, "trail")
    with page.expect_download() as file:
        page.get_by_role("button", name="Export").click()
    assert "search.done" in Path(file.value.path()).read_text()
    page.get_by_role("button", name="Open the typed term").first.click()
    expect(page.get_by_role("status")).to_contain_text("NRT042")
    page.get_by_role("button", name="Verify every chain").click()
    expect(page.get_by_text(re.compile("The trail is whole"))).to_be_visible()
    for event in (audit.Event.TERMS_VIEWED, audit.Event.TRAIL_VERIFIED):
        assert trail(busy.home, event, "aud"), event
    page.goto(f"{busy.page_url}/search")
    expect(page.get_by_role("alert")).to_contain_text("Not allowed")


@pytest.mark.policy("R-460.5-b", "R-460.5-b4")
def test_records_staff_enter_a_private_request_that_nobody_else_sees(
    page: Page, busy: Server
) -> None:
    """R-460.5-b: destroyed at once, the cars are waited for; R-460.5-b4: private to two roles."""
    enter(page, busy, "rec")
    go(page, "Address confidentiality")
    page.get_by_label("Plates").fill("ZZT041/MN")
    page.get_by_label("Received").fill(local(-30))
    page.get_by_label("Verified by").fill("Records desk")
    page.get_by_label("Number of the written request").fill("AC-26-1")
    page.get_by_role("button", name="Enter and destroy").click()
    expect(page.get_by_text("Waits for cars")).to_be_visible()
    go(page, "Address confidentiality")
    expect(page.get_by_text("Request AC-26-1", exact=True)).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="Who did what").click()
    expect(page.get_by_role("table")).to_contain_text("entered")
    enter(page, busy, "aud")
    for path in ("/", "/trail?person=rec"):
        page.goto(f"{busy.page_url}{path}")
        assert "AC-26-1" not in page.content()
        assert "ZZT041" not in page.content()
        assert "onfidentiality" not in page.content()


@pytest.mark.policy("R-460.5-4")
def test_an_assigned_member_imports_a_package_and_the_work_is_told(
    page: Page, busy: Server, tmp_path: Path
) -> None:
    """R-460.5-4: the original clock rules; what is older than 60 days is refused."""
    now = datetime.now(UTC)
    path = package(
        tmp_path / "package.zip",
        [line(1, "NRT777", now - timedelta(days=3)), line(2, "NRT778", now - timedelta(days=90))],
        made=now.isoformat(),
    )
    enter(page, busy, "adam")
    go(page, "Imports")
    form = page.locator("form", has=page.get_by_role("button", name="Take in"))
    form.get_by_label("Package").set_input_files(path)
    form.get_by_role("button", name="Take in").click()
    expect(page.get_by_text("2 lines: 1 refused, 1 stored")).to_be_visible()
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_role("cell", name="Example Police")).to_be_visible()
    accessible(page)


@pytest.mark.policy("R-13.824-7-1", "R-CJIS-2")
def test_a_supervisors_password_is_set_by_two_persons(page: Page, busy: Server) -> None:
    """One asks, another decides; whoever asked cannot."""
    enter(page, busy, "dana")
    page.goto(f"{busy.page_url}/resets")
    page.get_by_label("Person").select_option("sher")
    page.get_by_label("What is to change").select_option("totp")
    page.get_by_label("Reason").fill("Lost the phone, told in person")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("otpauth://")
    expect(page.get_by_text("another person's")).to_be_visible()
    accessible(page)
    enter(page, busy, "dag")
    page.get_by_role("link", name=re.compile("waits for a second person")).click()
    page.get_by_role("button", name="Refuse").click()
    expect(page.get_by_text("refused")).to_be_visible()
    assert trail(busy.home, audit.Event.RESET_DECIDED, "dag")


def test_a_records_member_sees_little_and_an_operator_nothing(page: Page, busy: Server) -> None:
    enter(page, busy, "rec")
    for path in ("/cars", "/people", "/trail", "/links", "/search"):
        page.goto(f"{busy.page_url}{path}")
        expect(page.get_by_role("alert")).to_contain_text("Not allowed")
    assert len(trail(busy.home, audit.Event.ACCESS_REFUSED, "rec")) >= 5
    with pytest.raises(Exception, match="Timeout"):
        page.set_default_timeout(2000)
        enter(page, busy, "ole")
    expect(page.get_by_role("alert")).to_contain_text("this role may not do that")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits(running: Browser, busy: Server, scheme: Any) -> None:
    """axe on every page of the supervisor, day and dark; none is wider than a phone."""
    page = running.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    enter(page, busy, "dana")
    paths = [e.path for e in inventory.ENTRIES if e.method == "GET" and "{" not in e.path]
    for file in ("/readers/document", "/openness/fields.csv"):
        paths.remove(file)
    paths += ["/cars/car-1", "/people/ida", "/no-such-page", "/people/nobody"]
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    for path in paths:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{busy.page_url}{path}")
        if path == "/no-such-page":
            continue
        if scheme == "dark":  # colours are all that differs
            accessible(page, "color-contrast")
            continue
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280, path
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    page.close()
    assert faults == []


def test_the_keyboard_is_enough(page: Page, busy: Server) -> None:
    """Skip link, menu and forms by Tab and Enter; what has the focus is seen."""
    enter(page, busy, "dana")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.reload()
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
        width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "3px", seen
    assert seen[-3:] == ["Today", "Cars", "Lists"] or "Cars" in seen
    page.set_viewport_size({"width": 390, "height": 844})
    menu = page.get_by_role("navigation", name="Main")
    expect(menu).to_be_hidden()
    page.get_by_role("button", name="Menu").press("Enter")
    expect(menu).to_be_visible()
    shot(page, "menu-phone")
    menu.get_by_role("link", name="People").press("Enter")
    expect(page.get_by_role("heading", name="People")).to_be_visible()


FLOWS = {
    "sheriff": test_a_sheriff_finds_exigency_and_suspends_a_car,
    "admin_supervisor": test_a_supervisor_enrols_approves_holds_and_sets_the_schedule,
    "alpr_admin": test_an_assigned_member_does_the_daily_work,
    "investigator": test_an_investigator_searches_looks_links_and_is_stopped,
    "auditor": test_an_auditor_reads_verifies_and_exports_the_trail,
    "records": test_records_staff_enter_a_private_request_that_nobody_else_sees,
    "operator": test_a_records_member_sees_little_and_an_operator_nothing,
}


def test_every_role_has_a_flow() -> None:
    """A role that is added without a day's work in a browser fails here."""
    assert set(FLOWS) == set(ROLES)
