"""With a finger, and what folds, comes back and asks in a real Chromium."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from alprd.audit import Event
from alprd.mdt.app import create_app, serve_in_thread
from alprd.verification import HttpGateway
from mdt.chromium import CHROMIUM, SCREEN, browser, card, page, shot, sign_on
from mdt.test_gateway import TestGateway, gateway
from mdt.world import Car

__all__ = ["browser", "gateway", "page"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture
def finger(browser: Browser, served: Car) -> Iterator[Page]:
    """A touch screen without mouse or keyboard."""
    context = browser.new_context(viewport=SCREEN, base_url=served.address, has_touch=True)
    yield context.new_page()
    context.close()


@pytest.mark.policy("R-460.4-f")
def test_an_alert_is_settled_by_touch_alone(finger: Page, served: Car) -> None:
    sign_on(finger)
    _, alert = served.alert()
    shown = card(finger, alert)
    shown.get_by_role("button", name="Silence", exact=True).tap()
    expect(shown.locator('[data-slot="state"]')).to_have_text("SILENCED")
    shown.get_by_role("button", name="Acknowledge").tap()
    shown.get_by_role("button", name="Yes").tap()
    shown.get_by_label("Result").select_option("confirmed")
    shown.get_by_label("Reference").fill("NIC/W12345")
    shown.get_by_role("button", name="Record result").tap()
    shown.get_by_role("button", name="No action").tap()
    expect(shown.locator('[data-slot="state"]')).to_have_text("SETTLED")
    _, wrong = served.alert("ABD452")
    card(finger, wrong).get_by_role("button", name="Misread").tap()  # one touch, nothing else
    expect(card(finger, wrong).locator('[data-slot="state"]')).to_have_text("SETTLED")
    assert served.events().count(Event.ALERT_ACTION_TAKEN) == 1


def test_passes_of_one_plate_fold_into_one_card_but_hide_no_high_entry(
    page: Page, served: Car
) -> None:
    sign_on(page)
    _, low = served.alert("ZQX417", priority="low", entry="E1", category="other_lpdf")
    for _ in range(3):
        assert served.alert("ZQX417", priority="low", entry="E1", category="other_lpdf")[1] == low
    expect(page.locator(".card")).to_have_count(1)
    expect(card(page, low).locator('[data-slot="count"]')).to_have_text("seen 4×")
    card(page, low).get_by_role("button", name="Acknowledge").click()
    served.alert("ZQX417", priority="high", entry="E2")
    high = page.locator('.card[data-priority="high"]')
    expect(high).to_have_count(1)
    expect(high.locator('[data-slot="state"]')).to_have_text("NEW")
    expect(page.locator(".card").first).to_have_attribute("data-priority", "high")
    expect(page.locator("body")).to_have_attribute("data-last-sound", "high")


@pytest.mark.policy("R-460.4-f2")
def test_the_gateway_answers_on_the_card_and_decides_nothing(
    page: Page, served: Car, gateway: TestGateway
) -> None:
    assert served.server is not None
    port = served.server.port
    served.server.stop()
    context = dataclasses.replace(served.context, gateway=HttpGateway(gateway.url, timeout_s=2))
    served.server = serve_in_thread(create_app(context), "127.0.0.1", port)
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    shown.get_by_role("button", name="Yes").click()
    assert gateway.asked == []  # nothing is asked by itself
    shown.get_by_role("button", name="Ask MNJIS/NLETS").click()
    expect(shown.get_by_text("Hot file: hit · stolen · blue")).to_be_visible()
    assert [(one["plate"], one["person"]) for one in gateway.asked] == [("ZQX417", "dep.one")]
    expect(shown.get_by_role("button", name="Record result")).to_be_visible()
    view = served.board.view(alert)
    assert view is not None
    assert view.disposition.result is None


def test_a_broken_line_is_taken_up_where_it_broke(
    page: Page, served: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Last-Event-ID``: what came meanwhile is told, what was told before is not told again."""
    sign_on(page)
    _, first = served.alert()
    expect(card(page, first)).to_be_visible()
    after: list[int] = []
    subscribe = served.board.subscribe

    def noted(start: int, **more: Any) -> Any:
        after.append(start)
        return subscribe(start, **more)

    monkeypatch.setattr(served.board, "subscribe", noted)
    page.evaluate(
        """() => { window.built = [];
          new MutationObserver((all) => all.forEach((one) => one.addedNodes.forEach((node) => {
            if (node.dataset?.id) window.built.push(node.dataset.id); })))
            .observe(document.getElementById("cards"), { childList: true }); }"""
    )
    assert served.server is not None
    app, port = served.server.app, served.server.port
    served.server.stop()
    expect(page.get_by_text("NO CONNECTION to the plate reader.")).to_be_visible()
    _, missed = served.alert("ABD452", priority="low")
    served.server = serve_in_thread(app, "127.0.0.1", port)
    expect(card(page, missed)).to_be_visible()
    assert after
    assert min(after) > 0  # none began from nothing, which would send every card again
    assert page.evaluate("window.built") == [missed]
    assert served.events().count(Event.ALERT_SHOWN) == 2


def test_on_a_phone_the_acts_of_a_new_alert_need_no_scrolling(page: Page, served: Car) -> None:
    """And a picture that comes late moves none of them: its place is kept."""
    page.set_viewport_size(ViewportSize(width=390, height=844))
    held: list[Route] = []
    page.route(re.compile(r"/plate\.jpg"), lambda route: held.append(route))
    sign_on(page)
    _, alert = served.alert("ZOX417", listed="ZQX417")
    shown = card(page, alert)
    acts = [
        shown.get_by_role("button", name=name, exact=True)
        for name in ("Acknowledge", "Silence", "Misread")
    ]
    for act in acts:
        expect(act).to_be_in_viewport(ratio=1)
    before = [act.bounding_box() for act in acts]
    end = time.monotonic() + 20
    while not held and time.monotonic() < end:
        page.wait_for_timeout(50)
    held[0].continue_()
    picture = shown.locator('[data-slot="plate"]')
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    assert [act.bounding_box() for act in acts] == before
    shot(page, "night-phone-acts")


def test_a_picture_that_the_connection_lost_is_asked_for_again(page: Page, served: Car) -> None:
    """Never a broken image: it is said to be missing, and comes when the line is back."""
    losing = [True]

    def lose(route: Route) -> None:
        if losing[0]:
            route.abort()
        else:
            route.continue_()

    page.route(re.compile(r"/plate\.jpg"), lose)
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    expect(shown.get_by_text("The picture has not come yet")).to_be_visible()
    picture = shown.locator('[data-slot="plate"]')
    expect(picture).to_be_hidden()
    losing[0] = False
    expect(picture).to_be_visible()
    expect(shown.get_by_text("The picture has not come yet")).to_be_hidden()
    assert picture.evaluate("image => image.naturalWidth") > 100
