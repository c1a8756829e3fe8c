"""Sounds in a real Chromium: at once, the gravest first, never lost with an act that failed."""

from __future__ import annotations

import statistics
import time

import pytest
from playwright.sync_api import Page, expect

from mdt.chromium import CHROMIUM, browser, card, page, sign_on, until
from mdt.world import Car

__all__ = ["browser", "page"]
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install it with apt-get install chromium"
)


def test_an_act_that_was_not_done_silences_nothing(page: Page, served: Car) -> None:
    sign_on(page)
    _, alert = served.alert()
    expect(page.locator("body")).to_have_attribute("data-last-sound", "high")
    page.route("**/alerts/*/acknowledge", lambda route: route.abort())
    page.route("**/sign-off", lambda route: route.abort())
    card(page, alert).get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("Not done: no connection")).to_be_visible()
    page.evaluate("delete document.body.dataset.lastSound")
    expect(page.locator("body")).to_have_attribute("data-last-sound", "high")
    expect(card(page, alert).locator('[data-slot="state"]')).to_have_text("NEW")
    page.get_by_role("button", name="Sign off").click()
    page.get_by_label("Note for the next person").fill("left at the depot")
    page.get_by_role("button", name="Hand over and sign off").click()
    expect(page.get_by_text("Not signed off: no connection")).to_be_visible()


def test_blocked_sound_is_said_and_turned_on(page: Page, served: Car) -> None:
    sign_on(page)
    page = page.context.new_page()
    page.goto("/")  # never touched: the browser keeps sound back
    muted = page.get_by_text("Sound is off: the browser blocks it.")
    expect(muted).to_be_visible()
    page.get_by_role("button", name="Turn sound on").click()
    expect(muted).to_be_hidden()
    page.get_by_role("button", name="Test sound").click()
    expect(page.locator("body")).to_have_attribute("data-last-sound", "high")


def test_sound_follows_the_hit_at_once(page: Page, served: Car) -> None:
    """From the hit on the board to the sound in the browser, trail and all."""
    sign_on(page)
    expect(page.get_by_text("No alerts")).to_be_visible()
    took = []
    for number in range(5):
        page.evaluate("delete document.body.dataset.lastSound")
        raised = time.time()
        served.alert(f"SND{number:03}")
        expect(page.locator("body")).to_have_attribute("data-last-sound", "high")
        sounded = page.evaluate("Number(document.body.dataset.soundAt)") / 1000
        took.append(sounded - raised)
        for shown in page.get_by_role("button", name="Silence").all():
            shown.click()
        page.wait_for_timeout(1300)  # the tones before it have faded
    print(f"hit to sound, ms: {sorted(round(1000 * one) for one in took)}")
    assert statistics.median(took) < 0.5


def test_news_ends_a_sound_that_is_no_graver(page: Page, served: Car) -> None:
    """A high alert is not kept waiting by a long pattern; a low one waits for a high one."""
    sign_on(page)
    sounded = page.evaluate_handle("() => { window.told = []; return window.told; }")
    page.evaluate(
        """() => new MutationObserver(() => window.told.push([document.body.dataset.soundOf,
          performance.now()])).observe(document.body, { attributeFilter: ["data-sound-at"] })"""
    )
    _, first = served.alert("AAA111")
    until(page, "id => window.told.some(([of]) => of === id)", first)
    _, low = served.alert("CCC333", priority="low")
    _, second = served.alert("BBB222")
    until(page, "id => window.told.some(([of]) => of === id)", second)
    order = [of for of, _ in sounded.json_value()]
    assert low not in order[: order.index(second)]
    acknowledge = card(page, second).get_by_role("button", name="Acknowledge")
    acknowledge.click()
    page.evaluate("window.told.length = 0")
    until(page, "() => window.told.length > 1")
    assert second not in {of for of, _ in sounded.json_value()}  # dealt with: silent
