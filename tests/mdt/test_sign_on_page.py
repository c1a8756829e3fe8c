"""Signing on in a real Chromium: every refusal in plain words, locks, second factor, freeze."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.locks import LockBook
from alprd.roster import RosterBook
from alprd.totp import STEP_S, StepBook, code_at, new_secret
from mdt.chromium import CHROMIUM, SCREEN, browser, card, page, sign_on
from mdt.world import PASSWORD, Car, person, roster

__all__ = ["browser", "page"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
SECRET = new_secret()
PAST = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def served(car: Car) -> Iterator[Car]:
    """A car with locks that outlive the page, and people of whom most may not sign on."""
    book = RosterBook(steps=StepBook(car.store))
    book.load(
        roster(
            person("one"),
            person("untrained", training_expires=PAST),
            person("over", authorised_until=PAST),
            person("office", roles=("investigator",)),
            person("frozen", frozen=True),
            person("factor", totp=SECRET),
        )
    )
    car.book = book
    car.context = dataclasses.replace(
        car.context,
        roster_book=book,
        locks=LockBook(car.store, lambda: (datetime.now(UTC), True)),
    )
    car.server = serve_in_thread(create_app(car.context), "127.0.0.1", 0)
    yield car


@pytest.mark.policy("R-460.4-d", "R-460.4-0")
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("dep.untrained", "training_expired"),
        ("dep.over", "not_authorised"),
        ("dep.office", "no_operator_role"),
        ("dep.frozen", "frozen"),
        ("dep.nobody", "wrong_password"),
    ],
)
def test_who_may_not_sign_on_is_told_why(page: Page, served: Car, who: str, reason: str) -> None:
    """With a reason and a way out; the page stays the sign-on, and what was typed but one stays."""
    sign_on(page, who)
    banner = page.get_by_role("alert")
    expect(banner).to_have_attribute("data-reason", reason)
    assert len(banner.locator("span").inner_text()) > 10  # the remedy
    expect(page.get_by_label("Name")).to_have_value(who)
    expect(page.get_by_label("Password")).to_be_empty()
    expect(page.get_by_label("Password")).to_be_focused()
    assert served.collecting.told == []


@pytest.mark.policy("R-460.4-d")
def test_a_stale_roster_admits_nobody(page: Page, served: Car) -> None:
    now = datetime.now(UTC)
    old = roster(person("one")).model_copy(
        update={"issued": now - timedelta(days=9), "expires": now - timedelta(days=1)}
    )
    served.book.load(old)
    sign_on(page)
    expect(page.get_by_role("alert")).to_have_attribute("data-reason", "roster_expired")


@pytest.mark.policy("R-CJIS-3")
def test_five_failures_lock_the_name_also_over_a_restart(page: Page, served: Car) -> None:
    for _ in range(5):
        sign_on(page, password="wrong")
    expect(page.get_by_role("alert")).to_have_attribute("data-reason", "locked")
    sign_on(page)  # the right one, too
    expect(page.get_by_role("alert")).to_have_attribute("data-reason", "locked")
    assert served.server is not None
    port = served.server.port
    served.server.stop()
    book = RosterBook(steps=StepBook(served.store))
    book.load(roster(person("one")))
    fresh = dataclasses.replace(
        served.context,
        roster_book=book,
        locks=LockBook(served.store, lambda: (datetime.now(UTC), True)),
    )
    served.server = serve_in_thread(create_app(fresh), "127.0.0.1", port)
    sign_on(page)
    expect(page.get_by_role("alert")).to_have_attribute("data-reason", "locked")
    assert served.events().count("person.locked") == 1


@pytest.mark.policy("R-CJIS-2")
def test_the_second_factor_is_asked_for_and_counts_once(page: Page, served: Car) -> None:
    sign_on(page, "dep.factor")
    expect(page.get_by_role("alert")).to_have_attribute("data-reason", "code_wanted")
    code = code_at(SECRET, int(time.time()) // STEP_S)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Code").fill(code)
    page.get_by_label("I have read this").check()
    page.keyboard.press("Enter")
    expect(page.get_by_text("No alerts")).to_be_visible()


@pytest.mark.policy("R-460.6-f")
def test_a_freeze_empties_the_open_page_and_holds_at_the_next_sign_on(
    page: Page, served: Car, browser: Browser
) -> None:
    """R-460.6-f: what a misuse referral does to the screen of the person, with the next roster."""
    sign_on(page)
    _, alert = served.alert()
    expect(card(page, alert)).to_be_visible()
    served.book.load(roster(person("one", frozen=True), person("two")))
    expect(page).to_have_url(re.compile(r"/sign-on\?ended=1"))
    expect(page.get_by_text("the roster no longer admits you")).to_be_visible()
    assert "ZQX417" not in page.content()
    sign_on(page)
    expect(page.get_by_role("alert")).to_have_attribute("data-reason", "frozen")
    other = browser.new_context(viewport=SCREEN, base_url=served.address).new_page()
    sign_on(other, "dep.two")
    expect(card(other, alert)).to_be_visible()  # the alert itself waits for whoever may see it
    other.context.close()
