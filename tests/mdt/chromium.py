"""A real Chromium at the page: how the tests sign on, find a card, wait, keep a picture."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from mdt.world import PASSWORD, Car

CHROMIUM = shutil.which("chromium")

SCREEN = ViewportSize(width=1024, height=768)
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=document-user-activation-required",
]
expect.set_options(timeout=20_000)
"""A machine that does other work beside the tests is slow, not wrong."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, served: Car) -> Iterator[Page]:
    """A page of its own; any script error or refused resource fails the test."""
    context = browser.new_context(viewport=SCREEN, base_url=served.address)
    made = context.new_page()
    troubles: list[str] = []
    made.on("pageerror", lambda error: troubles.append(str(error)))
    made.on(
        "console",
        lambda message: (
            troubles.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    yield made
    context.close()
    assert troubles == []


def sign_on(page: Page, who: str = "dep.one", password: str = PASSWORD) -> None:
    page.goto("/sign-on")
    page.get_by_label("Name").fill(who)
    page.get_by_label("Password").fill(password)
    page.get_by_label("Purpose").select_option("stolen_vehicles")
    page.get_by_label("Unit").fill("4712")
    page.get_by_label("I have read this").check()
    page.get_by_role("button", name="Sign on").click()


def until(page: Page, condition: str, arg: object = None) -> None:
    """Wait until a function of the page says true; its policy forbids Playwright's own way."""
    end = time.monotonic() + 30
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def card(page: Page, alert: str) -> Any:
    return page.locator(f'.card[data-id="{alert}"]')


OUT = Path(__file__).resolve().parents[2] / "test-output" / "mdt"


def shot(page: Page, name: str) -> None:
    """Keep a picture of the page as test output."""
    OUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUT / f"{name}.png")
