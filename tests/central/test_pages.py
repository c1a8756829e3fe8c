"""The pages over HTTP and in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from central_world import AGENCY, PASSWORD, Car, Server, add_person, make_read, run, session_row

from alprd import wire
from alprd.central.pages import app
from alprd.mdt import security


@pytest.fixture(scope="module")
def stocked(server: Server, car: Car) -> Server:
    lists = [
        wire.Database(source=source, bundle=bundle, supplied_at=datetime(2026, 11, 20, tzinfo=UTC))
        for source, bundle in (("LPDF", "20261120T120000Z.abcdef"), ("bolo", "20261119T120000Z.01"))
    ]
    row = session_row(queued=2, databases=tuple(lists))
    car.send_reads(make_read(session=row.id), make_read(session=row.id))
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
    assert car.post("/v1/sessions", "sessions", report).status_code == 200
    add_person(server.home, "dana", "admin_supervisor")
    add_person(server.home, "ole", "operator")
    return server


@pytest.fixture
def browser(stocked: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stocked.page_url, follow_redirects=True) as client:
        yield client


def sign_on(client: httpx.Client, person: str, password: str = PASSWORD) -> httpx.Response:
    form = client.get("/sign-on").text
    found = re.search(r'name="csrf" value="([^"]+)"', form)
    assert found
    data = {"csrf": found[1], "person": person, "password": password}
    return client.post("/sign-on", data=data)


@pytest.mark.policy("R-460.6-a")
def test_nothing_but_the_public_log_without_sign_on(browser: httpx.Client) -> None:
    first = browser.get("/")
    assert first.url.path == "/sign-on"
    assert "reads held" not in first.text
    assert browser.get("/public/log").status_code == 200
    assert browser.get("/public/log.csv").headers["content-type"].startswith("text/csv")
    assert browser.get("/v1/hello").status_code == 404  # the car API is not on this server
    assert browser.get("/static/../cli.py").status_code == 404


def test_sign_on_counts_sign_off(browser: httpx.Client, stocked: Server) -> None:
    page = sign_on(browser, "dana")
    assert page.status_code == 200
    assert "reads held" in page.text
    assert "Ida Example" in page.text
    assert "QWX739" not in page.text
    cookie = next(c for c in browser.cookies.jar if c.name == "alprd_central_session")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    assert browser.post("/sign-off", data={"csrf": "guess"}).status_code == 403
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    assert browser.post("/sign-off", data={"csrf": found[1]}).url.path == "/sign-on"
    assert browser.get("/").url.path == "/sign-on"
    run(stocked.home, "audit", "verify")


def test_cookies_are_not_those_of_the_in_car_page(browser: httpx.Client) -> None:
    """Cookies ignore ports: both pages may be open on one host, with a session each."""
    browser.get("/sign-on")
    names = set(browser.cookies)
    sign_on(browser, "dana")
    names |= set(browser.cookies)
    assert names == {app.COOKIE, app.FORM_COOKIE}
    assert names.isdisjoint({security.SESSION_COOKIE, security.FORM_COOKIE})


def test_refused_sign_ons(browser: httpx.Client) -> None:
    assert sign_on(browser, "dana", "wrong password").status_code == 403
    assert sign_on(browser, "nobody").status_code == 403
    assert "role" in sign_on(browser, "ole").text
    without = browser.post("/sign-on", data={"person": "dana", "password": PASSWORD})
    assert without.status_code == 403
    assert browser.get("/").url.path == "/sign-on"


@pytest.mark.parametrize("token", ["é", "车牌", "\N{POLICE CAR}", "%ff", "\x00", ""])
def test_foreign_form_tokens_are_refused(browser: httpx.Client, token: str) -> None:
    who = {"person": "dana", "password": PASSWORD}
    for kept in (b"abc", "é".encode(), b"\xe8"):
        head = {b"cookie": app.FORM_COOKIE.encode() + b"=" + kept}
        answer = httpx.post(
            f"{browser.base_url}/sign-on", data={"csrf": token, **who}, headers=head
        )
        assert answer.status_code == 403, kept
    raw = b"csrf=%E9&person=dana"  # not UTF-8
    form = {"cookie": f"{app.FORM_COOKIE}=abc", "content-type": "application/x-www-form-urlencoded"}
    assert httpx.post(f"{browser.base_url}/sign-on", content=raw, headers=form).status_code == 403
    assert sign_on(browser, "dana").url.path == "/"
    assert browser.post("/sign-off", data={"csrf": token}).status_code == 403
    assert browser.get("/").url.path == "/"  # still signed on


def test_security_headers_and_host(browser: httpx.Client) -> None:
    for path in ("/", "/public/log", "/static/central.css", "/nowhere"):
        headers = browser.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
    assert browser.get("/", headers={"host": "evil.example"}).status_code == 400
    for path in ("/", "/public/log"):
        text = browser.get(path).text
        assert "<script" not in text
        assert "style=" not in text


def test_pages_in_a_browser(stocked: Server, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser; install with apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = running.new_page(viewport={"width": 1280, "height": 900})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.goto(f"{stocked.page_url}/public/log")
        expect(page.locator("table.log tbody tr")).to_have_count(1)
        assert page.locator("table.log tbody").inner_text().count("41") >= 1
        page.get_by_role("link", name="Sign on").click()
        page.wait_for_load_state()  # else the browser notes that the test focused first
        expect(page.get_by_label("User id")).to_be_focused()
        page.get_by_label("User id").fill("dana")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign on").click()
        page.get_by_role("heading", name="Transfer ledger").wait_for()
        assert "reconciled" in page.locator("main").inner_text()
        page.screenshot(path=str(tmp_path / "home.png"), full_page=True)
        page.get_by_role("button", name="Sign off").click()
        page.get_by_role("heading", name="Sign on").wait_for()
        running.close()
    assert faults == []


def test_whole_public_log_can_be_seen_and_printed(stocked: Server) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser; install with apt-get install chromium")
    from playwright.sync_api import sync_playwright

    widths = """() => {
      const box = document.querySelector('.scroll:has(.log)');
      box.scrollLeft = 10000;
      const last = box.querySelector('th:last-child').getBoundingClientRect();
      return {page: document.documentElement.scrollWidth, box: box.clientWidth,
              table: box.scrollWidth, last: last.right, overflow: getComputedStyle(box).overflowX};
    }"""
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = running.new_page(viewport={"width": 1280 - 15, "height": 800})  # less a scroll bar
        page.goto(f"{stocked.page_url}/public/log")
        wide = page.evaluate(widths)
        page.set_viewport_size({"width": 800, "height": 800})
        narrow = page.evaluate(widths)
        page.set_viewport_size({"width": 979, "height": 740})  # letter, landscape, less margins
        page.emulate_media(media="print")
        printed = page.evaluate(widths)
        running.close()
    assert wide["table"] == wide["box"], "every column is on the screen"
    assert narrow["table"] > narrow["box"]
    assert narrow["page"] == 800, "the box scrolls, not the page"
    assert narrow["last"] <= 800, "and its end can be reached"
    assert printed["overflow"] == "visible", "nothing is cut on paper"
    assert printed["page"] == 979
    assert printed["last"] <= 979
