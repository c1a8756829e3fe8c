"""The pages of lists, category map and additional entries: over HTTP and in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from central_world import PASSWORD, ZONE, Server, add_person, run

HEAD = "plate,state,type,category,source,entered,text\n"
ODD = HEAD + "NRT042,MN,,stolen,LPDF,,\nKZM905,MN,,Fire Watch,LPDF,,\nBAD001,QQ,,stolen,LPDF,,\n"
SAYS = "The state told us of this change by letter"


@pytest.fixture(scope="module")
def staffed(server: Server) -> Server:
    for who, role in (
        ("dana", "admin_supervisor"), ("dag", "admin_supervisor"), ("ida", "investigator"),
        ("rec", "records"), ("aud", "auditor"),
    ):  # fmt: skip
        add_person(server.home, who, role)
    return server


@pytest.fixture
def client(staffed: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=staffed.page_url, follow_redirects=True, timeout=30) as made:
        yield made


def sign_on(client: httpx.Client, person: str) -> str:
    """Sign on; the token of the session's forms."""
    client.cookies.clear()
    form = re.search(r'name="csrf" value="([^"]+)"', client.get("/sign-on").text)
    assert form
    page = client.post("/sign-on", data={"csrf": form[1], "person": person, "password": PASSWORD})
    assert page.url.path == "/"
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token
    return token[1]


def local(hours: float) -> str:
    return (datetime.now(ZONE) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M")


ROUTES = (
    ("GET", "/lists"), ("POST", "/lists/upload"), ("GET", "/lists/rejected/x"),
    ("GET", "/lists/held/x"),
    ("POST", "/lists/held/x"), ("GET", "/categories"), ("POST", "/categories"),
    ("GET", "/additional"), ("POST", "/additional"), ("POST", "/additional/x"),
)  # fmt: skip


@pytest.mark.policy("R-460.6-a", "R-460.4-e")
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_without_a_session_role_and_form_token(
    client: httpx.Client, method: str, path: str
) -> None:
    """R-460.6-a: each route asks for a session; R-460.4-e: and for the role."""
    assert client.request(method, path).url.path == "/sign-on"
    sign_on(client, "rec")
    answer = client.request(method, path, data={"csrf": "guess"} if method == "POST" else None)
    assert answer.status_code == 403
    if method == "POST":
        token = sign_on(client, "rec")
        assert client.post(path, data={"csrf": token}).status_code in {403, 404}, path


def test_reading_roles_see_and_change_nothing(client: httpx.Client) -> None:
    token = sign_on(client, "aud")
    for path in ("/lists", "/categories", "/additional"):
        page = client.get(path)
        assert page.status_code == 200
        assert 'class="card form"' not in page.text, path
    row = {"source": "own", "code": "X", "column": "stolen", "priority": "low", "csrf": token}
    assert "role" in client.post("/categories", data=row).text
    files = {"file": ("x.csv", ODD.encode())}
    sent = {"csrf": token, "list_id": "lpdf", "source": "LPDF", "supplied": local(1)}
    assert "role" in client.post("/lists/upload", data=sent, files=files).text
    assert client.get("/lists/held/" + "0" * 32).status_code == 404


@pytest.mark.policy("R-460.5.1-c5", "R-460.4.1-b4")
def test_a_held_file_is_mapped_and_accepted(client: httpx.Client, staffed: Server) -> None:
    """R-460.5.1-c5, R-460.4.1-b4: upload, look, map the code, accept with a reason."""
    token = sign_on(client, "dana")
    sent = {"csrf": token, "list_id": "lpdf", "source": "LPDF", "supplied": local(2)}
    foul = client.post("/lists/upload", data=sent, files={"file": ("x.csv", b"nonsense\n")})
    assert (foul.status_code, "Not done" in foul.text) == (400, True)
    page = client.post("/lists/upload", data=sent, files={"file": ("x.csv", ODD.encode())})
    assert page.url.path.startswith("/lists/held/")
    assert "FIRE WATCH" in page.text
    assert "unknown state" in page.text
    assert "disabled" in page.text
    assert "BAD001" not in page.text
    link = re.search(r'href="(/lists/rejected/[0-9a-f]{32})"', page.text)
    assert link
    every = client.get(link[1])
    assert every.headers["content-type"].startswith("text/csv")
    assert every.text.splitlines() == ["line,reason", "4,unknown state"]
    decision = {"csrf": token, "reason": SAYS, "decision": "accept"}
    assert "categories set" in client.post(page.url.path, data=decision).text
    row = {"source": "own", "code": "Fire Watch", "column": "other_lpdf", "priority": "low"}
    assert "Not done" in client.post("/categories", data=row | {"csrf": token, "column": ""}).text
    assert "FIRE WATCH" in client.post("/categories", data=row | {"csrf": token}).text
    short = client.post(page.url.path, data=decision | {"reason": "ok"})
    assert (short.status_code, "own words" in short.text) == (400, True)
    assert client.post(page.url.path, data=decision).url.path == "/lists"
    used = run(staffed.home, "status")["lists"][0]
    assert (used["list_id"], used["entries"]) == ("lpdf", 2)


UNKNOWN_LAYOUT = "Tag|St|Why\nNRT042|MN|stolen\nKZM905|MN|active_investigative\nHJP227|QQ|stolen\n"
MAPPING = """\
name = "county"
delimiter = "|"
[fields]
plate = "Tag"
state = "St"
code = "Why"
"""


@pytest.mark.policy("R-460.4.1-b2", "R-460.4.1-b4")
def test_layout_mapping_and_report_in_a_browser(staffed: Server, tmp_path: Path) -> None:
    """A file of an unknown layout with a mapping, one without a code, and the rejected lines."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser; install with apt-get install chromium")
    from playwright.sync_api import Page, expect, sync_playwright

    unknown, mapping = tmp_path / "county.txt", tmp_path / "county.toml"
    unknown.write_text(UNKNOWN_LAYOUT)
    mapping.write_text(MAPPING)
    bare = tmp_path / "rekor.csv"
    bare.write_text("Plate Number,Description,State/Province\nNRT042,Invented,MN\n")

    def fill(page: Page, name: str, file: Path) -> None:
        page.get_by_label("List", exact=True).fill(name)
        page.get_by_label("Supplied at").fill(local(2))
        page.get_by_label("File", exact=True).set_input_files(str(file))

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = running.new_page(viewport={"width": 1280, "height": 900})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.goto(f"{staffed.page_url}/sign-on")
        page.get_by_label("User id").fill("dana")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign on").click()
        page.get_by_role("link", name="Lists", exact=True).click()
        fill(page, "county", unknown)
        page.get_by_label("Mapping file").set_input_files(str(mapping))
        page.get_by_role("button", name="Take in").click()
        said = page.get_by_role("status").inner_text()
        assert "county: 1 entries in use" in said
        assert "line 3: entries of an active investigation are asked for, not imported" in said
        assert "line 4: unknown state" in said
        assert "Ask for each such entry" in said
        with page.expect_download() as coming:
            page.get_by_role("link", name="Every rejected line (CSV)").click()
        saved = tmp_path / "saved.csv"
        coming.value.save_as(saved)
        assert saved.read_text().startswith("line,reason")
        assert saved.read_text().splitlines()[2] == "4,unknown state"
        assert "HJP227" not in saved.read_text()
        fill(page, "rekor", bare)
        page.get_by_label("Layout", exact=True).select_option("rekor")
        page.get_by_label("Code").fill("STOLEN")
        page.get_by_role("button", name="Take in").click()
        assert "rekor: 1 entries in use" in page.get_by_role("status").inner_text()
        page.screenshot(path=str(tmp_path / "lists.png"), full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        assert faults == []  # a refusal below is told by the browser's console too
        fill(page, "both", unknown)
        page.get_by_label("Layout", exact=True).select_option("own")
        page.get_by_label("Mapping file").set_input_files(str(mapping))
        page.get_by_role("button", name="Take in").click()
        assert "both a layout and a mapping" in page.get_by_role("alert").inner_text()
        page.goto(f"{staffed.page_url}/categories")
        expect(page.locator("#column option[value=active_investigative]")).to_have_count(0)
        running.close()


def test_a_mapping_that_cannot_be_read_is_refused(client: httpx.Client) -> None:
    token = sign_on(client, "dana")
    sent = {"csrf": token, "list_id": "odd", "source": "LPDF", "supplied": local(1)}
    for mapping, said in (
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * 70_000, "longer than"),
        (b"name = 3", "machine name"),
        (b" \n", "is empty"),
    ):
        files = {"file": ("x.txt", b"Tag|St\n"), "mapping": ("m.toml", mapping)}
        answer = client.post("/lists/upload", data=sent, files=files)
        assert (answer.status_code, said in answer.text) == (400, True), said
    row = {"source": "own", "code": "X", "column": "active_investigative", "priority": "low"}
    assert "asked for" in client.post("/categories", data=row | {"csrf": token}).text


def test_typed_text_is_shown_as_text(client: httpx.Client) -> None:
    token = sign_on(client, "dana")
    evil = "<script>alert(1)</script>"
    answer = client.post("/additional", data={"csrf": token, "plate": evil, "case": evil})
    assert answer.status_code == 400
    assert evil not in answer.text
    assert evil not in client.get("/categories", params={"code": evil, "source": evil}).text


@pytest.mark.policy("R-460.4.1-b2")
def test_request_and_approval_by_another_in_a_browser(staffed: Server, tmp_path: Path) -> None:
    """R-460.4.1-b2: an investigator asks, an administration supervisor approves."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser; install with apt-get install chromium")
    from playwright.sync_api import Page, sync_playwright

    def enter(page: Page, who: str) -> None:
        page.goto(f"{staffed.page_url}/sign-on")
        page.get_by_label("User id").fill(who)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign on").click()

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = running.new_page(viewport={"width": 1280, "height": 800})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        enter(page, "ida")
        page.get_by_role("link", name="Additional entries").click()
        page.get_by_label("Plate", exact=True).fill("hjp 227")
        page.get_by_label("Case number").fill("26-004321")
        page.get_by_label("Offence").fill("burglary")
        page.get_by_label("Purpose").select_option("suspect_interdiction")
        page.get_by_label("How the plate relates").fill("Left the burgled store at noon on Friday")
        page.get_by_role("button", name="Ask").click()
        article = page.locator("article", has_text="HJP227")
        assert "requested" in article.inner_text()
        assert article.get_by_role("button", name="Approve").count() == 0
        page.get_by_role("button", name="Sign off").click()
        enter(page, "dana")
        page.get_by_role("link", name="Additional entries").click()
        page.screenshot(path=str(tmp_path / "additional.png"), full_page=True)
        article.get_by_label("Reason").fill("It fits the open burglary case")
        article.get_by_role("button", name="Approve").click()
        assert "in force" in article.inner_text()
        for name in ("Lists", "Categories"):
            page.get_by_role("link", name=name, exact=True).click()
            page.screenshot(path=str(tmp_path / f"{name.lower()}.png"))
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide == 1280, "nothing is cut off"
        running.close()
    assert faults == []
    register = run(
        staffed.home, "additional", "list", "--as", "dana", "--password-stdin",
        stdin=PASSWORD + "\n",
    )["entries"]  # fmt: skip
    entry = next(e for e in register if e["request"]["plate"] == "HJP227")
    assert (entry["requested_by"], entry["decided_by"]) == ("ida", "dana")
    life = datetime.fromisoformat(entry["effective_end"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < life <= timedelta(days=7)
