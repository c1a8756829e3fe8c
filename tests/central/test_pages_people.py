"""The pages of people: over HTTP, and a new member's way in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from central_world import PASSWORD, Server, add_person, run

from alprd import totp
from alprd.central.storage import audit
from alprd.central.storage.store import Central

YEAR = (date.today() + timedelta(days=365)).isoformat()


@pytest.fixture(scope="module")
def staffed(server: Server) -> Server:
    for who, role in (
        ("dana", "admin_supervisor"), ("sher", "sheriff"), ("aud", "auditor"), ("rec", "records"),
        ("ida", "investigator"),
    ):  # fmt: skip
        add_person(server.home, who, role)
    return server


@pytest.fixture
def client(staffed: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=staffed.page_url, follow_redirects=True, timeout=30) as made:
        yield made


def send_sign_on(client: httpx.Client, person: str, code: str = "") -> httpx.Response:
    client.cookies.clear()
    form = re.search(r'name="csrf" value="([^"]+)"', client.get("/sign-on").text)
    assert form
    data = {"csrf": form[1], "person": person, "password": PASSWORD, "code": code}
    return client.post("/sign-on", data=data)


def sign_on(client: httpx.Client, person: str) -> str:
    page = send_sign_on(client, person)
    assert page.url.path == "/", page.text
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token
    return token[1]


ROUTES = (
    ("GET", "/people"), ("POST", "/people"), ("GET", "/people/ida"), ("POST", "/people/ida"),
    ("POST", "/sign-off/0123456789abcdef"),
)  # fmt: skip


@pytest.mark.policy("R-460.6-a", "R-13.824-7-3")
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_without_a_session_role_and_form_token(
    client: httpx.Client, method: str, path: str
) -> None:
    """R-460.6-a: each route asks for a session; R-13.824-7-3: and for the role."""
    assert client.request(method, path).url.path == "/sign-on"
    for who in ("rec", "ida"):
        token = sign_on(client, who)
        data = {"csrf": token} if method == "POST" else None
        assert client.request(method, path, data=data).status_code == 403
    if method == "POST":
        sign_on(client, "dana")
        assert client.post(path, data={"csrf": "guess"}).status_code == 403


@pytest.mark.policy("R-13.824-7-3", "R-460.3-3")
def test_who_may_look_may_not_change(client: httpx.Client) -> None:
    """R-460.3-3: only the administration supervisor grants access; the auditor reads."""
    token = sign_on(client, "aud")
    for path in ("/people", "/people/ida"):
        page = client.get(path)
        assert page.status_code == 200
        assert 'class="card form"' not in page.text
        assert "$argon2" not in page.text
    acts = ("change", "password", "factor", "retire", "train", "screen", "assign", "authorise")
    fields = {
        "csrf": token, "roles": "sheriff", "name": "X", "password": "long enough", "confirm": "ida",
        "course": "A", "completed": "2026-01-01", "expires": YEAR, "until": YEAR, "evidence": "E",
        "screened_by": "B", "scope": "all", "purposes": "all", "reason": "none",
    }  # fmt: skip
    for act in (*acts, "withdraw"):
        answer = client.post("/people/ida", data=fields | {"act": act})
        assert (answer.status_code, "role may not" in answer.text) == (403, True), act
    token = sign_on(client, "dana")
    own = client.post("/people/dana", data=fields | {"csrf": token, "act": "change"})
    assert (own.status_code, "of his own" in own.text) == (400, True)
    own = client.post("/people/ida", data=fields | {"csrf": token, "act": "authorise"})
    assert (own.status_code, "role may not" in own.text) == (400, True)
    assert "no such act" in client.post("/people/ida", data={"csrf": token, "act": "sudo"}).text
    assert client.get("/people/nobody").status_code == 404


def test_a_frozen_person_is_marked(client: httpx.Client, staffed: Server) -> None:
    add_person(staffed.home, "fay", "investigator")
    run(
        staffed.home, "people", "freeze", "--id", "fay", "--referral", "R-26-1",
        "--reason", "looked up a neighbour", "--by", "sher",
    )  # fmt: skip
    sign_on(client, "dana")
    row = re.search(r'/people/fay">(.*?)</tr>', client.get("/people").text, re.DOTALL)
    assert row
    assert "frozen" in row[1]
    assert "Access is frozen" in client.get("/people/fay").text
    assert "frozen" not in client.get("/people/ida").text


def test_what_is_typed_wrong_is_said_and_shown_as_text(client: httpx.Client) -> None:
    token = sign_on(client, "dana")
    evil = "<script>alert(1)</script>"
    bad = {"csrf": token, "id": evil, "name": evil, "roles": "records", "password": PASSWORD}
    answer = client.post("/people", data=bad)
    assert (answer.status_code, evil in answer.text) == (400, False)
    taken = client.post("/people", data=bad | {"id": "ida", "name": "Other"})
    assert "is taken" in taken.text
    train = {"csrf": token, "act": "train", "course": "A", "evidence": "E", "expires": YEAR}
    for day in ("soon", "9999-12-31", "", "0001-01-01T00:00:00+14:00"):
        answer = client.post("/people/ida", data=train | {"completed": day})
        assert answer.status_code == 400, day
    assert "Not done" in client.post("/people/ida", data={"csrf": token, "act": "retire"}).text


@pytest.mark.policy("R-CJIS-3", "R-AT-1")
def test_an_open_session_is_listed_and_ended_by_another(
    client: httpx.Client, staffed: Server
) -> None:
    """R-CJIS-3: sessions are seen and ended; R-AT-1: on record."""
    with httpx.Client(base_url=staffed.page_url, follow_redirects=True) as other:
        sign_on(other, "ida")
        token = sign_on(client, "sher")
        page = client.get("/people").text
        found = re.findall(r'/sign-off/(\w+)">(?:(?!</form>).)*session of ida<', page, re.DOTALL)
        last = found[-1]  # oldest first
        assert client.post(f"/sign-off/{last}", data={"csrf": token}).status_code == 200
        assert other.get("/").url.path == "/sign-on"
        again = client.post(f"/sign-off/{last}", data={"csrf": token})
        assert (again.status_code, "over already" in again.text) == (400, True)
    with Central(staffed.home) as central, central.database.read() as tx:
        audit.verify(tx)
        trail = [event for event in audit.events(tx) if event.event == "person.forced-off"]
    assert [(event.actor, event.subjects) for event in trail] == [("sher", ("ida",))]


@pytest.mark.policy("R-CJIS-2")
def test_the_page_asks_for_the_second_factor(client: httpx.Client, staffed: Server) -> None:
    """R-CJIS-2: a code is asked for, and a used one refused."""
    add_person(staffed.home, "tess", "auditor")
    token = sign_on(client, "dana")
    page = client.post("/people/tess", data={"csrf": token, "act": "factor"}).text
    secret = re.search(r"secret=([A-Z2-7]+)", page)
    assert secret
    assert secret[1] not in client.get("/people/tess").text
    refused = send_sign_on(client, "tess")
    assert (refused.status_code, "name, password or code is wrong" in refused.text) == (403, True)
    code = totp.code_at(secret[1], int(datetime.now().timestamp()) // totp.STEP_S)
    assert send_sign_on(client, "tess", code).url.path == "/"
    assert send_sign_on(client, "tess", code).status_code == 403


@pytest.mark.policy("R-13.824-7-1", "R-460.4-d", "R-CJIS-6")
def test_a_new_member_comes_in_by_two_people_in_a_browser(staffed: Server, tmp_path: Path) -> None:
    """R-13.824-7-1, R-460.4-d, R-CJIS-6: account, screening, training, then the sheriff."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser; install with apt-get install chromium")
    from playwright.sync_api import Page, expect, sync_playwright

    def enter(page: Page, who: str) -> None:
        page.goto(f"{staffed.page_url}/sign-on")
        page.get_by_label("User id").fill(who)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign on").click()

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = running.new_page(viewport={"width": 1280, "height": 800})
        faults: list[str] = []
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        enter(page, "dana")
        page.get_by_role("link", name="People").click()
        page.screenshot(path=str(tmp_path / "people.png"), full_page=True)
        page.get_by_label("User id").fill("nora")
        page.get_by_label("Full name").fill("Nora Example")
        page.get_by_label("First password").fill(PASSWORD)
        page.get_by_label("investigator").check()
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_url("**/people/nora")
        page.get_by_label("Screened by").fill("BCA")
        page.get_by_label("Completed on").fill("2026-01-15")
        page.get_by_label("Letter number").fill("S-88")
        page.get_by_role("button", name="Record the screening").click()
        page.get_by_label("Course and version").fill("ALPR operator 3")
        page.get_by_label("Completed", exact=True).fill("2026-02-01")
        page.get_by_label("Expires").fill(YEAR)
        page.get_by_label("Certificate number").fill("C-88")
        page.get_by_role("button", name="Record the training").click()
        expect(page.locator("table")).to_contain_text("ALPR operator 3")
        page.screenshot(path=str(tmp_path / "person.png"), full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        expect(page.get_by_role("button", name="Authorise")).to_have_count(0)
        page.get_by_role("button", name="Sign off").click()
        enter(page, "nora")
        expect(page.locator("main")).to_contain_text("authorisation has expired")
        assert faults == ["Failed to load resource: the server responded with a status of 403 "
                          "(Forbidden)"]  # fmt: skip
        enter(page, "sher")
        page.get_by_role("link", name="People").click()
        page.get_by_role("link", name="nora").click()
        page.get_by_label("Purposes").fill("documented searches")
        page.get_by_label("Authorised until").fill(YEAR)
        page.get_by_label("Signed document").fill("A-88")
        page.get_by_role("button", name="Authorise").click()
        expect(page.locator("table")).to_contain_text("A-88")
        page.get_by_role("button", name="Sign off").click()
        enter(page, "nora")
        expect(page.get_by_role("heading", name="Today")).to_have_count(1)
        running.close()
    listed = run(staffed.home, "people", "list")["people"]
    nora = next(person for person in listed if person["id"] == "nora")
    assert nora["roles"] == ["investigator"]
