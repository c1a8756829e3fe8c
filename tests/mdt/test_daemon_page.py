"""The page of the real daemon in a real Chromium, while the daemon is killed and begun again.

Central, the enrolled car, its state folder, the cameras' drive and the browser are the real ones;
the daemon is ended with ``kill -9``, as a power cut ends it, and begun again away from the dock.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from car_world import DRIVE, Car, World
from playwright.sync_api import Browser, Locator, Page, expect

from alprd.audit import Event
from alprd.custody import CREDENTIAL
from alprd.demo.gpsfeed import GpsFeed
from alprd.demo.home import DEPUTY, INVESTIGATOR, write_config
from alprd.mdt.pages import NOT_KEPT, RESTARTED
from alprd.store import Store
from alprd.unlock import ADVICE
from alprd.wire import AuditEvent
from mdt.chromium import CHROMIUM, SCREEN, browser, shot

__all__ = ["browser"]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.timeout(1800),
]
OFFLINE = "NO CONNECTION to the plate reader."
FIRST = "112429"
"""The first of the drive's four listed plates; the daemon is killed when its card is there."""
LEAD_S = 9.0
"""The parked car before the drive: the clock needs its fixes."""


class Patrol:
    """A car on the road, its daemon, and the page that a deputy has open."""

    def __init__(self, world: World, page: Page) -> None:
        self.world, self.page = world, page
        home = world.home
        home.gate.unlink(missing_ok=True)
        home.carrier.write_text("1\n")
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port: int = one.getsockname()[1]
        world.feed.stop()
        world.feed = GpsFeed(DRIVE / world.truth.gps, world.truth.start_utc)
        write_config(home, DRIVE, world.truth, world.feed.device)
        # One port over the restart, as in a car: the page comes back to where it was.
        text = home.config.read_text().replace("[mdt]\nport = 0", f"[mdt]\nport = {self.port}")
        home.config.write_text(text)
        self.car = Car(world)
        self.car.page()

    def form(self, who: str = DEPUTY, *, password: str = "") -> None:
        """Fill in the form once."""
        page = self.page
        page.goto(f"http://127.0.0.1:{self.port}/sign-on")
        page.get_by_label("Name").fill(who)
        page.get_by_label("Password").fill(password or self.world.home.deputy_password)
        page.get_by_label("Purpose").select_option("stolen_vehicles")
        page.get_by_label("Unit").fill("4712")
        page.get_by_label("I have read this").check()
        page.get_by_role("button", name="Sign on").click()
        page.wait_for_load_state()

    def sign_on(self, seconds: float) -> None:
        """Sign the deputy on; again while the car still fetches its roster and permit."""
        end = time.monotonic() + seconds
        while True:
            self.form()
            if not self.page.url.endswith("/sign-on"):
                return
            assert time.monotonic() < end, self.page.locator("main").inner_text()
            time.sleep(1)

    def leave(self) -> None:
        """Out of the dock, and on the road."""
        self.world.home.carrier.write_text("0\n")
        zero_ns, _ = self.world.feed.start(LEAD_S)
        self.world.home.gate.write_text(str(zero_ns))

    def restart(self) -> None:
        """The daemon anew, as systemd starts it."""
        self.car = Car(self.world)
        self.car.page()

    def card(self, plate: str) -> Locator:
        """The cards of a listed plate."""
        listed = self.page.locator('[data-slot="listed"]', has_text=re.compile(f"^{plate}$"))
        return self.page.locator(".card").filter(has=listed)

    def cards(self) -> list[str]:
        """Ids of the cards, once none has come for a while: the next plate of the drive is far."""
        seen: list[str] = []
        while True:
            self.page.wait_for_timeout(3000)
            before = seen
            seen = self.page.locator(".card").evaluate_all("all => all.map(one => one.dataset.id)")
            if seen == before:
                return seen

    def raised(self) -> list[str]:
        """Ids of the alerts that the daemon keeps; read when it has ended."""
        with self._queue() as store:
            return [name for (name,) in store.rows("SELECT id FROM shift") if name != "shift"]

    def trail(self) -> list[AuditEvent]:
        """All events; read when the daemon has ended."""
        with self._queue() as store:
            return store.audit_events()

    @contextmanager
    def _queue(self) -> Iterator[Store]:
        path = self.world.home.car / "queue.db"
        store = Store(path, now=lambda: (datetime.now(UTC), True), device="car-1")
        try:
            yield store
        finally:
            store.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("page") / "world")
    yield made
    made.close()


@pytest.fixture
def patrol(
    request: pytest.FixtureRequest,
    world: World,
    tmp_path: Path,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Patrol]:
    """Docked; the parameter tells whether the computer has the credential of a TPM."""
    if request.param:
        (tmp_path / CREDENTIAL).write_bytes(b"k" * 32)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    context = browser.new_context(viewport=SCREEN)
    made = Patrol(world, context.new_page())
    try:
        yield made
    finally:
        context.close()
        made.car.end()


def only(events: list[AuditEvent], *names: str) -> list[tuple[str, Any]]:
    """Of these events: name, and reason where there is one."""
    return [(one.event, one.detail.get("reason")) for one in events if one.event in names]


@pytest.mark.parametrize("patrol", [True], indirect=True, ids=["with a TPM"])
@pytest.mark.policy("R-460.4-a", "R-460.4-f", "R-460.6-f", "R-AT-1")
def test_a_killed_daemon_loses_no_alert_and_shows_none_twice(patrol: Patrol) -> None:
    """Loud while it is away, back by itself; every alert of the drive once, who is on truthful."""
    page, offline = patrol.page, patrol.page.get_by_text(OFFLINE)
    patrol.sign_on(240)
    expect(page.get_by_text("No alerts")).to_be_visible()
    expect(offline).to_be_hidden()
    patrol.leave()
    first = patrol.card(FIRST)
    expect(first).to_be_visible(timeout=120_000)
    alert = first.get_attribute("data-id")
    patrol.car.end(signal.SIGKILL)
    expect(offline).to_be_visible(timeout=30_000)
    expect(first).to_be_visible()  # what is there stays, said to be perhaps old
    shot(page, "night-daemon-killed")
    patrol.restart()
    # Nobody touches the page: it finds the daemon again, and says that nobody is signed on.
    expect(page).to_have_url(re.compile(r"/sign-on\?ended=1"), timeout=120_000)
    expect(page.get_by_text(RESTARTED)).to_be_visible()
    expect(page.get_by_text(NOT_KEPT)).to_be_hidden()
    assert FIRST not in page.content()
    shot(page, "night-daemon-again")
    patrol.sign_on(30)
    expect(first).to_have_count(1, timeout=30_000)
    expect(first).to_have_attribute("data-id", alert or "")
    expect(first.locator('[data-slot="state"]')).to_have_text("NEW")
    expect(page.locator(".card").nth(1)).to_be_visible(timeout=120_000)  # the drive goes on
    expect(offline).to_be_hidden()
    cards = patrol.cards()
    patrol.car.end(signal.SIGKILL)
    # What the daemon has raised, before and after the kill, is what its sealed rows hold.
    assert sorted(cards) == sorted(patrol.raised())
    assert alert in cards
    trail = patrol.trail()
    shown = [subject for e in trail if e.event == Event.ALERT_SHOWN for subject in e.subjects]
    assert set(cards) <= set(shown)
    assert only(trail, Event.SIGNED_ON, Event.SIGNED_OFF)[-3:] == [
        (Event.SIGNED_ON, None),
        (Event.SIGNED_OFF, "restarted"),
        (Event.SIGNED_ON, None),
    ]


@pytest.mark.parametrize("patrol", [False], indirect=True, ids=["without a TPM"])
@pytest.mark.policy("R-460.5-b4", "R-460.6-0", "R-CJIS-3")
def test_after_a_restart_on_the_road_the_sign_on_says_what_works(patrol: Patrol) -> None:
    """ADR 0032: the lists are locked; a plain reason, a way that works there, one at the dock."""
    page, home = patrol.page, patrol.world.home
    patrol.sign_on(240)
    expect(page.get_by_text("No alerts")).to_be_visible()
    patrol.leave()
    expect(patrol.card(FIRST)).to_be_visible(timeout=120_000)
    patrol.car.end(signal.SIGKILL)
    expect(page.get_by_text(OFFLINE)).to_be_visible(timeout=30_000)
    patrol.restart()
    expect(page).to_have_url(re.compile(r"/sign-on\?ended=1"), timeout=120_000)
    expect(page.get_by_text(RESTARTED)).to_be_visible()
    expect(page.get_by_text(NOT_KEPT)).to_be_visible()  # no key outlives the process: said, not hid
    locked = page.locator("[data-reason=car_locked]")
    expect(locked).to_contain_text(ADVICE)
    shot(page, "night-locked")
    patrol.form(INVESTIGATOR, password=home.staff_password)  # has never used this car
    expect(locked).to_contain_text("name and password do not open them")
    expect(locked).to_contain_text(f"{ADVICE[0].upper()}{ADVICE[1:]}.")
    expect(page.get_by_label("Name")).to_have_value(INVESTIGATOR)
    shot(page, "night-locked-refused")
    patrol.sign_on(30)  # who used it last opens it, without contact
    expect(page.locator('[data-chip="Lists"]')).to_have_attribute("data-light", "ok")
    expect(page.locator(".card").first).to_be_visible(timeout=120_000)  # it matches again
    patrol.car.end(signal.SIGKILL)
    patrol.restart()
    expect(page).to_have_url(re.compile(r"/sign-on\?ended=1"), timeout=120_000)
    expect(locked).to_be_visible()
    home.carrier.write_text("1\n")  # the other way: the dock
    for _ in range(60):
        page.goto(f"http://127.0.0.1:{patrol.port}/sign-on")
        if locked.count() == 0:
            break
        time.sleep(1)
    expect(locked).to_have_count(0)
    patrol.form(INVESTIGATOR, password=home.staff_password)
    expect(page.get_by_role("alert")).not_to_contain_text("locked")  # now the roster decides
    patrol.sign_on(30)
    expect(page.get_by_text("No alerts")).to_be_visible()
    resting = page.get_by_text("NOT COLLECTING: plates are not being read.")
    page.get_by_role("button", name="Pause").click()
    expect(resting).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(resting).to_be_hidden()
