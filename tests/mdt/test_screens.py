"""Every main state of the page, day and night, on three screens: pictures, axe, sizes of targets.

Pictures are kept as test output (``test-output/mdt``); all plates in them are invented.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from alprd.mdt.status import CameraState, ListState
from mdt.chromium import CHROMIUM, SCREEN, browser, card, page, shot, sign_on
from mdt.test_flows import axe
from mdt.world import Car, match, reading

__all__ = ["axe", "browser", "page"]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.timeout(600),
]
SIZES = {
    "1024": SCREEN,
    "1280": ViewportSize(width=1280, height=800),
    "phone": ViewportSize(width=390, height=844),
}


def signing_on(page: Page, car: Car) -> None:
    page.goto("/sign-on")


def refused(page: Page, car: Car) -> None:
    sign_on(page, "dep.untrained")
    expect(page.get_by_role("alert")).to_be_visible()


def waiting(page: Page, car: Car) -> None:
    sign_on(page)
    expect(page.locator('[data-chip="Session"]')).to_be_visible()


def alarmed(page: Page, car: Car) -> None:
    """A high look-alike above one of medium priority whose state nobody read."""
    sign_on(page)
    car.alert("ABD452", priority="medium", region=None, category="owner_suspended_revoked",
              words="Registered owner: licence suspended")  # fmt: skip
    _, first = car.alert("ZOX417", listed="ZQX417")
    expect(card(page, first)).to_be_visible()


def doubtful(page: Page, car: Car) -> None:
    """The same text as listed, in which the reader does not tell O from 0."""
    sign_on(page)
    _, alert = car.alert("L0ON1", open=(1, 2, 4))
    expect(card(page, alert).locator('[data-slot="open"]')).to_be_visible()


def verifying(page: Page, car: Car) -> None:
    sign_on(page)
    _, alert = car.alert("1234", listed="1234YT", stacked="YT")
    card(page, alert).get_by_role("button", name="Yes").click()
    card(page, alert).get_by_label("Result").select_option("not_practicable")
    expect(card(page, alert).get_by_label("Why not practicable")).to_be_visible()


def acting(page: Page, car: Car) -> None:
    sign_on(page)
    _, alert = car.alert()
    shown = card(page, alert)
    shown.get_by_role("button", name="Acknowledge").click()
    shown.get_by_role("button", name="Yes").click()
    shown.get_by_label("Result").select_option("confirmed")
    shown.get_by_label("Reference").fill("NIC/W12345")
    shown.get_by_role("button", name="Record result").click()
    expect(shown.get_by_role("button", name="Vehicle stopped")).to_be_visible()


def taken_back(page: Page, car: Car) -> None:
    """A corrected card, a withdrawn one, one that is settled."""
    sign_on(page)
    _, done = car.alert("DONE12", priority="low")
    card(page, done).get_by_role("button", name="Misread").click()
    first, corrected = car.alert("ZQX417")
    second, gone = car.alert("GNE120", priority="medium", category="owner_warrant")
    expect(card(page, gone)).to_be_visible()
    car.board.correct(first, reading("ZOX417"), match("ZOX417", "ZQX417"))
    car.board.withdraw(second, "The plate was read again and does not match.")
    expect(card(page, corrected).locator(".loud")).to_be_visible()
    expect(card(page, gone).locator(".loud")).to_be_visible()


def dispatching(page: Page, car: Car) -> None:
    sign_on(page, "dep.limited")
    _, alert = car.alert()
    expect(card(page, alert)).to_be_visible()


def troubled(page: Page, car: Car) -> None:
    """Everything that can be wrong with the car, and a category silenced."""
    sign_on(page)
    _, quiet = car.alert("AAA111", priority="medium")
    card(page, quiet).get_by_role("button", name="Silence category").click()
    car.status = dataclasses.replace(
        car.status,
        cameras=(CameraState("front", False, 14.0), CameraState("rear", True, 0.1)),
        gps_fix=False,
        clock_trusted=False,
        lists=(ListState("state", "MN DPS hot file", 80.0),),
        permit_expires=datetime.now(UTC) + timedelta(hours=2),
        session_open=False,
        queued=4120,
        dock="away",
        post=True,
        alarms=("disk nearly full: wide pictures are left out",),
    )
    expect(page.locator("#resting")).to_be_visible()
    expect(page.get_by_text("Silenced for this shift")).to_be_visible()


def leaving(page: Page, car: Car) -> None:
    sign_on(page)
    _, alert = car.alert()
    expect(card(page, alert)).to_be_visible()
    page.get_by_role("button", name="Sign off").click()
    expect(page.get_by_role("dialog")).to_be_visible()


STATES: dict[str, Callable[[Page, Car], None]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        *(signing_on, refused, waiting, alarmed, doubtful, verifying, acting, taken_back),
        *(dispatching, troubled, leaving),
    )
}


def small_targets(page: Page) -> list[str]:
    """What a finger has to hit and is less than 48 px high or wide, measured by the browser."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input:not([type=hidden]), a")]
          .filter((one) => one.checkVisibility({ visibilityProperty: true }))
          .filter((one) => {
            const box = (one.type === "checkbox" ? one.closest("label") : one);
            const { width, height } = box.getBoundingClientRect();
            return Math.min(width, height) < 48;
          }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    return found


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_legible_and_can_be_touched(
    page: Page, served: Car, axe: str, state: str
) -> None:
    STATES[state](page, served)
    for image in page.locator(".card img:visible").all():
        image.evaluate("image => image.decode()")
    found: list[str] = []
    for theme in ("night", "day"):
        if page.locator("html").get_attribute("data-theme") != theme:
            # By the script: an open dialog stands before the button.
            page.evaluate("document.querySelector('[data-theme-button]').click()")
        for size, screen in SIZES.items():
            page.set_viewport_size(screen)
            name = f"{theme}-{state}-{size}"
            shot(page, name)
            found += [f"{name}: small {one}" for one in small_targets(page)]
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > screen["width"]:
                found.append(f"{name}: {wide} px wide")
            if size == "1280":
                continue  # the same rules of style as 1024
            page.evaluate(axe)
            told = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")
            for one in told["violations"]:
                if one["impact"] in ("serious", "critical"):
                    nodes = [node["html"][:160] for node in one["nodes"]]
                    found.append(f"{name}: {one['id']}: {json.dumps(nodes)}")
    assert found == []


def test_dimmed_night_keeps_its_contrast_and_comes_with_the_page(page: Page, served: Car) -> None:
    """Three steps, remembered, and there before anything is painted: nothing flashes at night."""
    sign_on(page)
    expect(page.locator("html")).to_have_attribute("data-dim", "0")
    page.get_by_role("button", name="Dim").click()
    page.get_by_role("button", name="Dim").click()
    expect(page.locator("html")).to_have_attribute("data-dim", "2")
    shot(page, "night-dimmed-1024")
    html = page.request.get("/", headers={"Accept": "text/html"}).text()
    assert 'data-theme="night" data-dim="2"' in html
    assert html.index("mdt.css") < html.index("<script")  # nothing is painted without its colours
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-dim", "2")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(10, 14, 19)"
    )
