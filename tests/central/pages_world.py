"""A staffed agency, signed-on clients and a real Chromium for the tests of the pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
from central_world import PASSWORD, Server, add_person
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM: Final = shutil.which("chromium")
OUT: Final = Path(__file__).resolve().parents[2] / "test-output" / "central"
STAFF: Final = {
    "sher": "sheriff", "dana": "admin_supervisor", "dag": "admin_supervisor",
    "adam": "alpr_admin", "ida": "investigator", "aud": "auditor", "rec": "records",
    "ole": "operator",
}  # fmt: skip


def staff(server: Server) -> None:
    """One person of every role, and a second supervisor."""
    for who, role in STAFF.items():
        add_person(server.home, who, role)


def sign_on(client: httpx.Client, person: str) -> str:
    """Sign on; the token of the session's forms."""
    client.cookies.clear()
    form = re.search(r'name="csrf" value="([^"]+)"', client.get("/sign-on").text)
    assert form
    data = {"csrf": form[1], "person": person, "password": PASSWORD}
    page = client.post("/sign-on", data=data, follow_redirects=True)
    assert page.url.path == "/", page.text
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token
    return token[1]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def enter(page: Page, server: Server, who: str) -> None:
    """Sign on in the browser."""
    page.context.clear_cookies()
    page.goto(f"{server.page_url}/sign-on")
    page.get_by_label("User id").fill(who)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Today").wait_for()


def shot(page: Page, name: str) -> None:
    """Keep a picture of the page as test output."""
    OUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUT / f"{name}.png", full_page=True)
