"""The page in a real Chromium: what a deputy sees, hears and touches."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.status import CameraState
from mdt.chromium import CHROMIUM, OUT, SCREEN, browser, card, page, sign_on, until
from mdt.world import Car, match, person, reading, roster

__all__ = ["browser", "page"]
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install it with apt-get install chromium"
)
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "img"


@pytest.mark.policy("R-460.4-a", "R-460.4-f")
def test_sign_on_alert_silence_acknowledge(page: Page, served: Car) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile("/sign-on$"))
    sign_on(page)
    expect(page.get_by_text("No alerts")).to_be_visible()
    expect(page.locator('[data-chip="front"]')).to_have_attribute("data-light", "ok")
    expect(page.locator('[data-chip="Session"]')).to_contain_text("348 plates")
    _, alert = served.alert()
    shown = card(page, alert)
    expect(shown).to_be_visible()
    expect(shown).to_contain_text("UNVERIFIED: verify through MNJIS/NLETS")
    expect(shown).to_contain_text("Stolen vehicle or plate")
    expect(shown).to_contain_text("State read: MN · listed: MN")
    expect(shown.locator('[data-slot="read"]')).to_have_text("ZQX417")
    for slot in ("plate", "wide"):
        picture = shown.locator(f'[data-slot="{slot}"]')
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    expect(page.locator("body")).to_have_attribute("data-last-sound", "high")
    shown.get_by_role("button", name="Silence").click()
    expect(shown.locator('[data-slot="state"]')).to_have_text("SILENCED")
    shown.get_by_role("button", name="Sound again").click()
    expect(shown.locator('[data-slot="state"]')).to_have_text("NEW")
    shown.get_by_role("button", name="Acknowledge").click()
    expect(shown.locator('[data-slot="state"]')).to_have_text("UNRESOLVED")
    shown.get_by_role("button", name="Misread").click()
    expect(shown.locator('[data-slot="state"]')).to_have_text("SETTLED")
    expect(shown.get_by_role("button")).to_have_count(0)
    names = served.events()
    assert [name for name in names if name.startswith(("person", "alert.s", "alert.a", "alert.u"))][
        :5
    ] == [
        "person.signed-on",
        "alert.shown",
        "alert.silenced",
        "alert.unsilenced",
        "alert.acknowledged",
    ]
    page.get_by_role("button", name="Sign off").click()
    dialog = page.get_by_role("dialog", name="End of shift")
    expect(dialog).to_contain_text("state: 1 misread")
    expect(dialog).to_contain_text("Every alert is settled.")
    expect(dialog.get_by_label("Note")).to_be_hidden()
    dialog.get_by_role("button", name="Sign off now").click()
    expect(page).to_have_url(re.compile("/sign-on$"))
    assert served.collecting.told[-1] == ("off", "signed_off")


def test_correction_and_withdrawal_are_loud(page: Page, served: Car) -> None:
    sign_on(page)
    first_pass, first = served.alert("ZQX417", plate_type="motorcycle")
    second_pass, second = served.alert("ABD452", priority="medium")
    expect(page.locator(".card")).to_have_count(2)
    told = card(page, first).locator('[data-slot="type"]')
    expect(told).to_have_text("Listed is a motorcycle plate: compare with the picture")
    expect(card(page, second).locator('[data-slot="type"]')).to_be_hidden()
    card(page, first).get_by_role("button", name="Acknowledge").click()
    served.board.correct(first_pass, reading("ZOX417"), match("ZOX417", "ZQX417"))
    shown = card(page, first)
    expect(shown.locator(".loud")).to_have_text("CORRECTED: first read ZQX417, now ZOX417")
    expect(shown.locator(".loud")).to_be_visible()
    expect(shown.locator('[data-slot="state"]')).to_have_text("NEW")
    expect(shown.locator(".kind")).to_contain_text("Look-alike")
    expect(shown.locator('[data-slot="read"] .differs')).to_have_text("O")
    expect(shown.locator('[data-slot="listed"] .differs')).to_have_text("Q")
    expect(page.locator("body")).to_have_attribute("data-last-sound", "changed")
    served.board.withdraw(second_pass, "The plate was read again and does not match.")
    gone = card(page, second)
    expect(gone.locator(".loud")).to_contain_text("WITHDRAWN. Do not act on it.")
    expect(gone.get_by_role("button", name="Silence")).to_be_hidden()
    gone.get_by_role("button", name="Acknowledge").click()
    expect(gone).to_have_count(0)


@pytest.mark.policy("R-460.4-f")
def test_a_place_that_may_be_one_of_two_is_marked(page: Page, served: Car) -> None:
    sign_on(page)
    _, plain = served.alert("ZQX417")
    _, doubtful = served.alert("BEM0X", open=(3,))
    told = card(page, doubtful).locator('[data-slot="open"]')
    expect(told).to_have_text("Could be O or 0 (character 4): compare with the picture")
    expect(told).to_be_in_viewport()
    expect(card(page, doubtful).locator('[data-slot="read"] .open')).to_have_text("0")
    expect(card(page, doubtful).locator('[data-slot="listed"] .open')).to_have_count(0)
    expect(card(page, plain).locator('[data-slot="open"]')).to_be_hidden()
    expect(card(page, plain).locator(".open")).to_have_count(0)


@pytest.mark.policy("R-460.4-e")
def test_without_clearance_the_card_says_contact_dispatch(page: Page, served: Car) -> None:
    sign_on(page, "dep.limited")
    _, alert = served.alert()
    shown = card(page, alert)
    expect(shown.get_by_role("heading")).to_have_text("Contact dispatch")
    expect(shown.locator("img").first).to_be_hidden()
    assert "ZQX417" not in page.content()
    assert "stolen" not in page.locator("#cards").inner_html().lower()


@pytest.mark.policy("R-460.4-d")
def test_refused_sign_on_says_why(page: Page, served: Car) -> None:
    sign_on(page, "dep.untrained")
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("training ran out")
    expect(banner).to_have_attribute("data-reason", "training_expired")
    expect(page.get_by_label("Name")).to_have_value("dep.untrained")
    expect(page.get_by_label("Password")).to_be_empty()
    sign_on(page, "dep.one", "wrong")
    expect(page.get_by_role("alert")).to_contain_text("do not fit together")


def test_lost_connection_is_said_and_mended(page: Page, served: Car) -> None:
    sign_on(page)
    _, alert = served.alert()
    expect(card(page, alert)).to_be_visible()
    offline = page.get_by_text("NO CONNECTION to the plate reader.")
    expect(offline).to_be_hidden()
    assert served.server is not None
    app, port = served.server.app, served.server.port
    served.server.stop()
    expect(offline).to_be_visible()
    expect(card(page, alert)).to_be_visible()  # what is there stays, marked as maybe old
    _, missed = served.alert("ABD452")
    served.server = serve_in_thread(app, "127.0.0.1", port)
    expect(offline).to_be_hidden(timeout=10_000)
    expect(card(page, missed)).to_be_visible()
    served.server.stop()  # now the daemon itself begins anew: sign-ons are gone with it
    served.server = serve_in_thread(create_app(served.context), "127.0.0.1", port)
    expect(page).to_have_url(re.compile(r"/sign-on\?ended=1"), timeout=10_000)
    expect(page.get_by_text("The plate reader was started anew")).to_be_visible()


def test_a_screen_that_is_signed_off_shows_nothing(
    page: Page, served: Car, browser: Browser
) -> None:
    sign_on(page)
    _, alert = served.alert()
    expect(card(page, alert)).to_be_visible()
    other = browser.new_context(viewport=SCREEN, base_url=served.address).new_page()
    sign_on(other, "dep.two")
    expect(card(other, alert)).to_be_visible()  # open alerts wait for the next person
    expect(page).to_have_url(re.compile(r"/sign-on\?ended=1"))
    assert "ZQX417" not in page.content()
    other.context.close()
    served.book.load(roster(person("one")))


def test_a_car_that_does_not_collect_says_so(page: Page, served: Car) -> None:
    sign_on(page)
    resting = page.get_by_text("NOT COLLECTING: plates are not being read.")
    expect(page.locator('[data-chip="Session"]')).to_contain_text("348 plates")
    expect(resting).to_be_hidden()
    camera = CameraState("front", True, 7.0)
    served.status = replace(served.status, session_open=False, cameras=(camera,))
    expect(resting).to_be_visible()
    expect(page.locator('[data-chip="front"]')).to_have_attribute("data-light", "stop")


def test_trouble_with_the_car_itself_is_said(page: Page, served: Car) -> None:
    sign_on(page)
    alarms = page.locator("#alarms")
    expect(alarms).to_be_hidden()
    camera = CameraState("front", False, None, "front: no picture for 12 s; retrying")
    served.status = replace(
        served.status, alarms=("disk nearly full",), post=True, cameras=(camera,)
    )
    expect(alarms).to_contain_text("disk nearly full")
    expect(page.get_by_role("button", name="Declare a post")).to_be_visible()
    expect(page.locator('[data-chip="front"]')).to_have_attribute("title", camera.text)
    served.status = replace(served.status, alarms=(), post=False)
    expect(alarms).to_be_hidden()


def test_two_tabs_agree(page: Page, served: Car) -> None:
    sign_on(page)
    tab = page.context.new_page()
    tab.goto("/")
    _, alert = served.alert()
    expect(card(tab, alert)).to_be_visible()
    card(page, alert).get_by_role("button", name="Acknowledge").click()
    expect(card(tab, alert).locator('[data-slot="state"]')).to_have_text("UNRESOLVED")
    assert served.events().count("alert.shown") == 1


def test_typing_goes_on_when_another_screen_moves_the_card(page: Page, served: Car) -> None:
    sign_on(page)
    _, above = served.alert("AAA111")
    _, below = served.alert("BBB222", priority="medium")
    card(page, below).get_by_role("button", name="Yes").click()
    reference = card(page, below).get_by_label("Reference")
    reference.click()
    page.keyboard.type("NIC/1")
    csrf = page.locator("meta[name=csrf]").get_attribute("content") or ""
    answer = page.request.post(f"/alerts/{above}/misread", headers={"X-CSRF-Token": csrf})
    assert answer.ok
    expect(page.locator(".card").first).to_have_attribute("data-id", below)
    page.keyboard.type("23")
    expect(reference).to_have_value("NIC/123")


def test_nothing_moves_while_a_finger_is_down(page: Page, served: Car) -> None:
    sign_on(page)
    _, first = served.alert("AAA111", priority="low")
    expect(card(page, first)).to_be_visible()
    expect(page.locator("#cards")).not_to_have_class("settling")
    button = card(page, first).get_by_role("button", name="Acknowledge")
    box = button.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    _, second = served.alert("BBB222", priority="high")
    expect(page.locator("body")).to_have_attribute("data-last-sound", "high")
    assert button.bounding_box() == box
    page.mouse.up()
    expect(card(page, first).locator('[data-slot="state"]')).to_have_text("UNRESOLVED")
    expect(page.locator(".card").first).to_have_attribute("data-id", second)
    view = served.board.view(second)
    assert view is not None
    assert view.state == "new"


def test_a_correction_and_a_banner_wait_for_the_finger_too(page: Page, served: Car) -> None:
    """What would push a button away waits; a card that a finger rests on for long does not."""
    sign_on(page)
    of, alert = served.alert("ZQX417")
    _, below = served.alert("BBB222", priority="low")
    expect(card(page, below)).to_be_visible()
    expect(page.locator("#cards")).not_to_have_class("settling")
    button = card(page, below).get_by_role("button", name="Acknowledge")
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.evaluate("delete document.body.dataset.lastSound")
    page.mouse.down()
    served.status = replace(served.status, alarms=("disk nearly full",), post=True)
    served.board.correct(of, reading("ZOX417"), match("ZOX417", "ZQX417"))
    expect(page.locator("body")).to_have_attribute("data-last-sound", "changed")  # heard at once
    assert button.bounding_box() == box
    expect(card(page, alert).locator(".loud")).to_be_visible(timeout=10_000)  # 2 s, no longer
    expect(page.get_by_role("button", name="Declare a post")).to_be_visible()
    page.mouse.up()
    view = served.board.view(below)
    assert view is not None
    assert view.state == "new"  # the touch hit nothing that had slid under it


@pytest.mark.policy("R-460.4-a")
def test_a_hit_of_an_unattended_car_tells_its_age(page: Page, served: Car) -> None:
    """R-460.4-a: what waited for this sign-on is not taken for what passes now."""
    _, waited = served.alert("ZQX417", instant=datetime.now(UTC) - timedelta(minutes=95))
    _, unsure = served.alert("ABD452", time_trusted=False)
    sign_on(page)
    expect(card(page, waited).locator('[data-slot="when"]')).to_contain_text("1 h ago")
    expect(card(page, unsure).locator('[data-slot="when"]')).to_contain_text("time not trusted")
    _, fresh = served.alert("CCC333")
    expect(card(page, fresh).locator('[data-slot="when"]')).to_have_text(re.compile("now|s ago"))


def test_the_wake_lock_is_taken_again_after_a_reload(page: Page, served: Car) -> None:
    page.add_init_script(
        """window.asked = 0;
        const real = navigator.wakeLock.request.bind(navigator.wakeLock);
        navigator.wakeLock.request = (kind) => {
          window.asked += kind === "screen";
          return real(kind);
        };"""
    )
    sign_on(page)
    until(page, "() => window.asked === 1")
    page.reload()
    until(page, "() => window.asked === 1")


def test_a_shift_that_is_over_ends_the_page(page: Page, car: Car) -> None:
    """The expired session: nothing of the alert stays on the screen, and no act is taken."""
    car.context = replace(car.context, shift_s=4.0)
    car.server = serve_in_thread(create_app(car.context), "127.0.0.1", 0)
    context = page.context.browser.new_context(viewport=SCREEN, base_url=car.address)  # type: ignore[union-attr]
    screen = context.new_page()
    sign_on(screen)
    _, alert = car.alert()
    expect(card(screen, alert)).to_be_visible()
    csrf = screen.locator("meta[name=csrf]").get_attribute("content")
    expect(screen).to_have_url(re.compile(r"/sign-on\?ended=1"), timeout=30_000)
    assert "ZQX417" not in screen.content()
    late = screen.request.post(
        f"/alerts/{alert}/acknowledge",
        headers={"X-CSRF-Token": csrf or "", "Accept": "application/json"},
    )
    assert late.status == 401
    assert ("off", "shift_over") in car.collecting.told
    context.close()


def test_night_never_flashes_white(page: Page, served: Car) -> None:
    """Every frame that the browser paints while the page loads anew is dark."""
    sign_on(page)
    expect(page.get_by_text("No alerts")).to_be_visible()
    devtools = page.context.new_cdp_session(page)
    frames: list[str] = []

    def take(event: dict[str, Any]) -> None:
        frames.append(event["data"])
        devtools.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    devtools.on("Page.screencastFrame", take)
    devtools.send("Page.startScreencast", {"format": "jpeg", "everyNthFrame": 1})
    for _ in range(3):
        page.reload()
        expect(page.locator('[data-chip="Session"]')).to_be_visible()
    page.wait_for_timeout(300)
    devtools.send("Page.stopScreencast")
    assert len(frames) >= 3
    for data in frames:
        picture = cv2.imdecode(
            np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_GRAYSCALE
        )
        assert picture is not None
        assert float(np.mean(picture)) < 90


def test_touch_targets_are_48_px_and_nothing_overflows(page: Page, served: Car) -> None:
    sign_on(page)
    served.alert()
    served.alert("1234", listed="1234YT", stacked="YT", priority="low")
    expect(page.locator(".card")).to_have_count(2)
    for size in (SCREEN, ViewportSize(width=1280, height=800), ViewportSize(width=390, height=800)):
        page.set_viewport_size(size)
        for button in page.get_by_role("button").all():
            box = button.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 48, button.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_pictures_of_the_page_for_the_docs(page: Page, served: Car) -> None:
    """The pictures of docs/mdt.md as test output; ``make docs-pictures`` puts them in their place.

    All plates, names and cars in them are invented.
    """
    sign_on(page)
    served.alert("ABD452", priority="medium", region=None, category="owner_suspended_revoked",
                 words="Registered owner: licence suspended", hours=3)  # fmt: skip
    served.alert("ZOX417", listed="ZQX417")
    expect(page.locator(".card")).to_have_count(2)
    for image in page.locator(".card img").all():
        image.evaluate("image => image.decode()")
    shots = {}

    def keep(name: str) -> bytes:
        data = page.screenshot()
        assert len(data) < 300_000
        for folder in (OUT, IMAGES) if os.environ.get("ALPRD_WRITE_DOCS") else (OUT,):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"mdt-{name}.png").write_bytes(data)
        return data

    for theme in ("night", "day"):
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        page.mouse.move(0, 400)
        picture = cv2.imdecode(np.frombuffer(keep(theme), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        shots[theme] = float(np.mean(picture))
        page.get_by_role("button", name="Day / night").click()
    assert shots["night"] < 90 < 150 < shots["day"]
    page.set_viewport_size(ViewportSize(width=390, height=844))
    keep("phone")
    page.set_viewport_size(SCREEN)
    page.get_by_role("button", name="Day / night").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "day")  # no flash: by cookie
