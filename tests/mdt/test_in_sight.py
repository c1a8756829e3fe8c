"""What must not be missed stays in sight: behind a dialog, on a scrolled phone, in a second tab."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from mdt.chromium import CHROMIUM, browser, card, page, shot, sign_on, until
from mdt.world import Car

__all__ = ["browser", "page"]
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install it with apt-get install chromium"
)
PHONE = ViewportSize(width=390, height=844)


def in_sight(one: Locator) -> bool:
    """Whether the middle of an element is what one would touch there."""
    found: bool = one.evaluate(
        "one => { const { x, y, width, height } = one.getBoundingClientRect();"
        " const top = document.elementFromPoint(x + width / 2, y + height / 2);"
        " return one === top || one.contains(top); }"
    )
    return found


def test_the_same_deputy_in_a_second_tab_takes_nothing_from_the_first(
    page: Page, served: Car
) -> None:
    """A second sign-on in one browser: the first tab acts on, with no word of loading it anew."""
    sign_on(page)
    expect(page.get_by_text("No alerts")).to_be_visible()
    tab = page.context.new_page()
    sign_on(tab)
    expect(tab.get_by_text("No alerts")).to_be_visible()
    _, alert = served.alert()
    card(page, alert).get_by_role("button", name="Acknowledge").click()
    for one in (page, tab):
        expect(card(one, alert).locator('[data-slot="state"]')).to_have_text("UNRESOLVED")
    card(tab, alert).get_by_role("button", name="Misread").click()
    expect(card(page, alert).locator('[data-slot="state"]')).to_have_text("SETTLED")
    page.get_by_role("button", name="Sign off").click()
    page.get_by_role("button", name="Sign off now").click()
    for one in (page, tab):
        expect(one).to_have_url(re.compile("/sign-on"))
        expect(one.get_by_label("Password")).to_be_visible()
    assert served.events().count("alert.acknowledged") == 1


def test_that_there_are_no_alerts_is_not_claimed_before_the_car_has_said_so(
    page: Page, served: Car
) -> None:
    page.route("**/events*", lambda route: route.abort())
    sign_on(page)
    expect(page.get_by_text("NO CONNECTION")).to_be_visible()
    expect(page.get_by_text("Asking the plate reader")).to_be_visible()
    expect(page.get_by_text("No alerts")).to_have_count(0)
    page.unroute("**/events*")
    expect(page.get_by_text("No alerts")).to_be_visible()


def test_a_new_alert_is_not_hidden_by_a_dialog(page: Page, served: Car) -> None:
    sign_on(page)
    expect(page.get_by_text("No alerts")).to_be_visible()
    page.get_by_role("button", name="Canvass").click()
    page.get_by_label("Incident number").fill("26-1")
    behind = page.get_by_role("button", name="NEW ALERT behind this: show it")
    expect(behind).to_be_hidden()
    _, alert = served.alert()
    expect(behind).to_be_visible()
    expect(page.get_by_label("Incident number")).to_be_focused()  # nothing taken from the typing
    for size in (ViewportSize(width=1024, height=768), PHONE):
        page.set_viewport_size(size)
        assert in_sight(behind)
        assert in_sight(page.get_by_role("button", name="Begin canvass"))
        shot(page, f"night-behind-{size['width']}")
    behind.click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    card(page, alert).get_by_role("button", name="Acknowledge").click()
    expect(card(page, alert).locator('[data-slot="state"]')).to_have_text("UNRESOLVED")
    page.get_by_role("button", name="Canvass").click()
    expect(behind).to_be_hidden()
    expect(page.get_by_label("Incident number")).to_have_value("26-1")


def test_dim_dims_a_dialog_too(page: Page, served: Car) -> None:
    """The page's own filter does not reach a dialog: at night it would shine alone."""
    sign_on(page)
    served.alert()
    page.get_by_role("button", name="Day / night").click()  # day: the dialog is white

    def brightness() -> float:
        page.get_by_role("button", name="Sign off").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        seen = cv2.imdecode(np.frombuffer(dialog.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert seen is not None
        page.keyboard.press("Escape")
        return float(np.median(seen))

    full = brightness()
    page.get_by_role("button", name="Dim").click()
    once = brightness()
    page.get_by_role("button", name="Dim").click()
    twice = brightness()
    assert once < 0.75 * full
    assert twice < 0.5 * full


def test_on_a_scrolled_phone_a_lost_connection_and_a_new_alert_are_in_sight(
    page: Page, served: Car
) -> None:
    page.set_viewport_size(PHONE)
    sign_on(page)
    for number in range(3):
        served.alert(f"LOW{number:03}", priority="low", category="other_lpdf")
    expect(page.locator(".card")).to_have_count(3)
    page.mouse.wheel(0, 1500)
    until(page, "() => scrollY > 900")
    above = page.get_by_role("button", name="NEW ALERT above: show it")
    _, high = served.alert("HGH123")
    expect(card(page, high)).to_have_count(1)
    expect(above).to_be_visible()
    assert in_sight(above)
    assert served.server is not None
    served.server.stop()
    served.server = None
    lost = page.get_by_text("NO CONNECTION to the plate reader.")
    expect(lost).to_be_visible()
    assert in_sight(lost)
    assert in_sight(above)
    shot(page, "night-phone-scrolled")
    above.click()
    assert in_sight(card(page, high).locator("h2"))


def test_words_of_a_list_stay_words_and_inside_the_card(page: Page, served: Car) -> None:
    """An entry's text comes from outside: no markup, no width of its own."""
    sign_on(page)
    words = "<img src=x onerror=alert(1)><b>bold</b> " + "W" * 150
    _, alert = served.alert(words=words + "\u202edesrever\u202c")
    entry = card(page, alert).locator('[data-slot="text"]')
    expect(entry).to_have_text(words + "desrever")
    for size in (ViewportSize(width=1024, height=768), PHONE):
        page.set_viewport_size(size)
        wide, room = entry.evaluate("one => [one.scrollWidth, one.clientWidth]")
        assert wide <= room
