"""Flows of a shift in a real Chromium: settling, driving, hand-over, many alerts, accessibility."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from alprd.alerts import AlertBoard
from alprd.audit import Event
from alprd.mdt.app import create_app, serve_in_thread
from alprd.shiftstore import ShiftStore
from mdt.chromium import CHROMIUM, SCREEN, browser, card, page, shot, sign_on
from mdt.world import Car

__all__ = ["browser", "page"]
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install it with apt-get install chromium"
)


@pytest.mark.policy("R-460.4-f", "R-13.824-7-5")
def test_an_alert_is_settled_step_by_step(page: Page, served: Car) -> None:
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    expect(shown.get_by_text("1 · Do plate and state agree")).to_be_visible()
    expect(shown.get_by_role("button", name="Vehicle stopped")).to_have_count(0)
    shot(page, "night-new")
    shown.get_by_role("button", name="Yes").click()
    shown.get_by_label("Result").select_option("not_practicable")
    shown.get_by_role("button", name="Record result").click()
    expect(page.get_by_text("Say why the verification was not practicable.")).to_be_visible()
    shown.get_by_label("Result").select_option("confirmed")
    shown.get_by_label("Reference").fill("NIC/W12345")
    shot(page, "night-verify")
    shown.get_by_role("button", name="Record result").click()
    shown.get_by_role("button", name="Vehicle stopped").click()
    expect(shown.get_by_text("Confirmed · Vehicle stopped")).to_be_visible()
    expect(shown.locator('[data-slot="state"]')).to_have_text("SETTLED")
    told = [name for name in served.events() if name.startswith("alert.")]
    assert told[-3:] == [Event.ALERT_COMPARED, Event.ALERT_VERIFIED, Event.ALERT_ACTION_TAKEN]


@pytest.mark.policy("R-460.4-e")
def test_contact_dispatch_is_settled_by_one_answer(page: Page, served: Car) -> None:
    """R-460.4-e: with nothing of the entry on the page, before and after."""
    sign_on(page, "dep.limited")
    _, alert = served.alert()
    shown = card(page, alert)
    expect(shown.get_by_text("Was dispatch told of this alert?")).to_be_visible()
    expect(shown.locator('[data-slot="loud"]')).to_be_hidden()  # nothing was corrected
    shot(page, "night-dispatch")
    shown.get_by_role("button", name="Dispatched", exact=True).click()
    expect(shown.get_by_text("Dispatch was told")).to_be_visible()
    expect(shown.locator('[data-slot="state"]')).to_have_text("SETTLED")
    expect(page.locator("body")).not_to_contain_text("ZQX417")
    assert served.events().count(Event.ALERT_DISPATCHED) == 1


def test_a_cleared_plate_says_until_when_and_is_taken_back(page: Page, served: Car) -> None:
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    shown.get_by_role("button", name="Yes").click()
    shown.get_by_label("Result").select_option("cleared")
    shown.get_by_label("Why cleared").select_option("entry_recalled")
    shown.get_by_label("Reference").fill("DISP 12")
    shown.get_by_role("button", name="Record result").click()
    expect(shown.get_by_text("no alarm for this plate until")).to_be_visible()
    assert served.alert()[1] == ""
    shown.get_by_role("button", name="Alarm again").click()
    expect(shown.get_by_role("button", name="Alarm again")).to_have_count(0)
    assert served.alert()[1] == alert


def test_while_the_car_moves_nothing_asks_for_reading_or_typing(
    page: Page, served: Car, car: Car
) -> None:
    moving = [False]
    assert served.server is not None
    port = served.server.port
    served.server.stop()
    context = dataclasses.replace(served.context, moving=lambda: moving[0])
    served.server = serve_in_thread(create_app(context), "127.0.0.1", port)
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    shown.get_by_role("button", name="Yes").click()
    expect(shown.get_by_label("Reference")).to_be_visible()
    shown.get_by_label("Reference").fill("HALF")
    moving[0] = True
    expect(page.get_by_text("DRIVING:")).to_be_visible()
    expect(shown.get_by_label("Reference")).to_be_hidden()
    names = {one.inner_text() for one in shown.get_by_role("button").all()}
    assert names <= {"Silence", "Acknowledge", "Misread"}
    csrf = page.locator("meta[name=csrf]").get_attribute("content")
    answer = page.request.post(
        f"/alerts/{alert}/verify",
        form={"result": "not_confirmed"},
        headers={"X-CSRF-Token": csrf or ""},
    )
    assert (answer.status, answer.json()["error"]) == (409, "driving")
    shot(page, "night-driving")
    page.get_by_role("button", name="Sign off").click()  # asks for a note: not while driving
    expect(page.locator("#toast")).to_contain_text("sign off when the car stands")
    expect(page.get_by_role("dialog")).to_be_hidden()
    answer = page.request.post(
        "/sign-off", form={"note": "left at the depot"}, headers={"X-CSRF-Token": csrf or ""}
    )
    assert (answer.status, answer.json()["error"]) == (409, "driving")
    moving[0] = False
    expect(shown.get_by_label("Reference")).to_have_value("HALF")  # it waited and is resumed


def test_unresolved_alerts_are_handed_over_with_a_note(page: Page, served: Car) -> None:
    sign_on(page)
    _, alert = served.alert()
    expect(card(page, alert)).to_be_visible()
    page.get_by_role("button", name="Sign off").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 alert is unresolved")
    shot(page, "night-hand-over")
    dialog.get_by_role("button", name="Hand over and sign off").click()  # without a note: refused
    expect(dialog).to_contain_text("settle it or hand it over")
    dialog.get_by_label("Note for the next person").fill("no")
    dialog.get_by_role("button", name="Hand over and sign off").click()
    expect(dialog).to_contain_text("Give a note of 3 to 200 characters.")
    expect(dialog.get_by_label("Note for the next person")).to_have_value("no")
    dialog.get_by_label("Note for the next person").fill("left at the depot")
    dialog.get_by_label("Note for the next person").press("Enter")
    expect(page).to_have_url(re.compile("/sign-on$"))
    sign_on(page, "dep.two")
    expect(card(page, alert).get_by_text("Handed over: left at the depot")).to_be_visible()
    ended = [event for event in served.store.audit_events() if event.event == Event.SHIFT_ENDED]
    assert ended[0].detail["handed_over"] == 1


def test_alerts_are_there_again_after_a_restart_of_the_daemon(page: Page, served: Car) -> None:
    """The board is a new one, filled from the sealed rows; the person signs on again."""
    key = (os.urandom(32), True)
    assert served.server is not None
    port = served.server.port
    journal = ShiftStore(served.store, key)

    def start() -> None:
        assert served.server is not None
        served.server.stop()
        served.board = AlertBoard(served.store, journal=journal)
        journal.restore(served.board)
        context = dataclasses.replace(served.context, board=served.board)
        served.server = serve_in_thread(create_app(context), "127.0.0.1", port)

    start()
    sign_on(page)
    _, alert = served.alert()
    card(page, alert).get_by_role("button", name="Yes").click()
    expect(card(page, alert).get_by_label("Reference")).to_be_visible()
    start()
    expect(page).to_have_url(re.compile(r"/sign-on\?ended=1"), timeout=10_000)
    sign_on(page)
    expect(card(page, alert).get_by_text("2 · Verification")).to_be_visible()
    picture = card(page, alert).locator('[data-slot="plate"]')
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_a_category_is_silenced_for_the_shift_but_not_high(page: Page, served: Car) -> None:
    sign_on(page)
    _, alert = served.alert("AAA111", priority="medium")
    card(page, alert).get_by_role("button", name="Silence category").click()
    expect(page.get_by_text("Silenced for this shift: Stolen vehicle")).to_be_visible()
    expect(card(page, alert).locator('[data-slot="state"]')).to_have_text("SILENCED")
    page.evaluate("delete document.body.dataset.lastSound")
    _, quiet = served.alert("BBB222", priority="medium")
    expect(card(page, quiet).locator('[data-slot="state"]')).to_have_text("SILENCED")
    _, high = served.alert("CCC333")
    expect(card(page, high).locator('[data-slot="state"]')).to_have_text("NEW")
    expect(card(page, high).get_by_role("button", name="Silence category")).to_be_hidden()
    expect(page.locator("body")).to_have_attribute("data-last-sound", "high")
    page.get_by_role("button", name="Sound category again").click()
    expect(page.get_by_text("Silenced for this shift")).to_be_hidden()


def test_a_copied_plate_is_recorded_and_the_clipboard_emptied(page: Page, served: Car) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.clock.install()
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    shown.get_by_role("button", name="Yes").click()
    shown.get_by_role("button", name="Copy plate").click()
    expect(page.get_by_text("Plate copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "ZQX417"
    page.clock.fast_forward(31_000)
    page.wait_for_timeout(100)
    assert page.evaluate("navigator.clipboard.readText()") == ""
    assert served.events().count(Event.ALERT_PLATE_COPIED) == 1


def test_a_copied_plate_leaves_the_clipboard_after_the_sign_off_too(
    page: Page, served: Car
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.clock.install()
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    shown.get_by_role("button", name="Yes").click()
    shown.get_by_role("button", name="Copy plate").click()
    expect(page.get_by_text("Plate copied")).to_be_visible()
    shown.get_by_role("button", name="Misread").click()
    expect(shown.locator('[data-slot="state"]')).to_have_text("SETTLED")
    page.get_by_role("button", name="Sign off").click()
    page.get_by_role("button", name="Sign off now").click()
    expect(page).to_have_url(re.compile("/sign-on$"))
    assert page.evaluate("navigator.clipboard.readText()") == "ZQX417"
    kept = page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
    assert "ZQX417" not in kept
    page.clock.fast_forward(31_000)
    page.wait_for_timeout(200)
    assert page.evaluate("navigator.clipboard.readText()") == ""


def test_a_canvass_needs_no_pointer_and_says_what_is_wrong_in_front(
    page: Page, served: Car
) -> None:
    """Keyboard alone; what is refused is said above the dialog that asked."""
    duty = Duty()
    assert served.server is not None
    port = served.server.port
    served.server.stop()
    context = dataclasses.replace(served.context, duty=duty)
    served.server = serve_in_thread(create_app(context), "127.0.0.1", port)
    sign_on(page)
    expect(page.locator('[data-chip="Lists"]')).to_be_visible()  # the page's script is at work
    page.get_by_role("button", name="Canvass").press("Enter")
    page.keyboard.type("x")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Canvass of an incident")
    expect(dialog.get_by_text("Not done: An incident number has")).to_be_visible()
    dialog.get_by_label("Incident number").fill("26-0001")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert duty.incident == "26-0001"
    expect(page.get_by_role("button", name="End canvass 26-0001")).to_be_visible()


class Duty:
    """Notes the canvass asked for."""

    incident = ""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def canvass(self, incident: str) -> None:
        self.incident = incident

    def declare_post(self) -> None: ...


def test_an_alert_is_settled_by_keyboard_alone(page: Page, served: Car) -> None:
    """After each answer the focus stands at the next question, on its words and no button."""
    sign_on(page)
    _, alert = served.alert()
    shown = card(page, alert)
    expect(shown).to_be_visible()
    shown.get_by_role("button", name="Yes").press("Enter")
    expect(shown.get_by_text("2 · Verification by MNJIS/NLETS")).to_be_focused()
    page.keyboard.press("Enter")  # once too often: nothing happens
    page.keyboard.press("Tab")
    page.keyboard.type("Conf")
    page.keyboard.press("Tab")
    page.keyboard.type("NIC/W1")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(shown.get_by_text("3 · Action taken (verification: Confirmed)")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(shown.get_by_text("Confirmed · No action")).to_be_focused()


def test_fifty_alerts_in_a_minute_are_all_there(page: Page, served: Car) -> None:
    sign_on(page)
    for number in range(50):
        served.alert(f"AB{number:04}", priority="high" if number % 10 == 9 else "medium")
    expect(page.locator(".card")).to_have_count(50, timeout=15_000)
    expect(page.locator(".card").first).to_have_attribute("data-priority", "high")
    order = page.locator(".card").evaluate_all("all => all.map(one => one.dataset.priority)")
    assert order == ["high"] * 5 + ["medium"] * 45
    assert served.events().count(Event.ALERT_SHOWN) == 50


def test_the_card_in_hand_stays_in_sight_and_a_new_one_is_told(page: Page, served: Car) -> None:
    """What is answered moves below what is new: the page goes along, and says what is above."""
    sign_on(page)
    for number in range(4):
        served.alert(f"AB{number:04}")
    _, alert = served.alert("ZQX417")
    above = page.get_by_role("button", name="NEW ALERT above")
    expect(page.locator(".card").first).to_have_attribute("data-id", alert)
    expect(above).to_be_hidden()
    card(page, alert).get_by_role("button", name="Yes").click()
    expect(page.locator(".card").last).to_have_attribute("data-id", alert)
    expect(card(page, alert).get_by_role("button", name="Record result")).to_be_in_viewport()
    expect(above).to_be_in_viewport()
    shot(page, "night-new-above")
    above.click()
    expect(page.locator(".card").first).to_be_in_viewport()
    expect(above).to_be_hidden()


@pytest.fixture
def axe() -> Iterator[str]:
    package = pytest.importorskip("axe_playwright_python")
    yield (Path(package.__file__).parent / "axe.min.js").read_text()


def test_axe_finds_nothing_serious(page: Page, served: Car, axe: str, browser: Browser) -> None:
    found: list[str] = []

    def look(name: str) -> None:
        shot(page, name)
        page.evaluate(axe)
        result = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")
        for one in result["violations"]:
            if one["impact"] in ("serious", "critical"):
                nodes = [node["html"][:160] for node in one["nodes"]]
                found.append(f"{name}: {one['id']}: {json.dumps(nodes)}")

    page.goto("/sign-on")
    look("night-sign-on")
    sign_on(page)
    served.alert("ABD452", priority="medium", region=None, category="owner_suspended_revoked")
    _, first = served.alert("ZOX417", listed="ZQX417")
    of, gone = served.alert("GONE12", priority="low")
    served.board.withdraw(of, "The plate was read again and does not match.")
    _, done = served.alert("DONE12", priority="low")
    card(page, done).get_by_role("button", name="Misread").click()
    card(page, first).get_by_role("button", name="Yes").click()
    expect(card(page, first).get_by_label("Reference")).to_be_visible()
    expect(card(page, gone)).to_be_visible()
    look("night-cards")
    page.get_by_role("button", name="Day / night").click()
    look("day-cards")
    page.set_viewport_size(ViewportSize(width=390, height=844))
    look("day-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#above")).to_be_hidden()  # from here on nothing comes or goes
    for target in page.locator("button:visible, select:visible, input:visible").all():
        box = target.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 48, target.inner_text()
    page.set_viewport_size(SCREEN)
    assert found == []
