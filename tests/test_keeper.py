"""What must happen by the clock: leave that ends in mid-session, and destruction hour by hour."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from car_world import Car as Process
from car_world import World, until
from factories import read, session_row
from test_custody import Car, make, person, roster

from alprd import keeper as module
from alprd.audit import DAEMON, Event
from alprd.crypto import generate_key, seal_read
from alprd.keeper import MARK_KEY, Keeper
from alprd.lives import Lives
from alprd.mark import PurgeClock, TimeMark
from alprd.records import destroy_by
from alprd.store import Store
from alprd.wire import EndReason
from alprd.workers import Beat


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Car]:
    made = make(tmp_path)
    made.permit()
    yield made
    made.store.close()


@contextmanager
def kept(car: Car, camera_up: Callable[[], bool] = lambda: True) -> Iterator[PurgeClock]:
    """The keeper at work beside the car's parts."""
    mark = PurgeClock(car.clock)
    keeper = Keeper(
        store=car.store, sessions=car.sessions, board=car.board, permits=car.permits,
        roster=car.book, clock=car.clock, mark=mark, lives=Lives(car.store, car.clock, mark),
        collecting=car.collecting, camera_up=camera_up, held=car.held,
    )  # fmt: skip
    beat = Beat()
    thread = threading.Thread(target=keeper.run, args=(beat,))
    thread.start()
    try:
        yield mark
    finally:
        beat.stop()
        thread.join(20)


def wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lapse(car: Car) -> None:
    car.permit(expires=datetime.now(UTC) + timedelta(seconds=1.5))


def _suspend(car: Car) -> None:
    car.permit(suspended=True)


def _end_authority(car: Car) -> None:
    car.book.load(roster(person("dana")))


@pytest.mark.policy("R-13.824-6-6", "R-460.5.1-a", "R-460.4-d", "R-AT-1")
@pytest.mark.parametrize(
    ("happens", "reason", "refused"),
    [
        (_lapse, "permit_lapsed", "permit_lapsed"),
        (_suspend, "suspended", "suspended"),
        (_end_authority, "signed_off", "revoked"),
    ],
)
def test_who_loses_leave_in_mid_session_collects_no_more(
    car: Car, happens: Callable[[Car], None], reason: EndReason, refused: str
) -> None:
    """A permit of 24 hours ends in the middle of a shift, an order or a roster comes in."""
    with kept(car):
        car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
        car.play("ZQX417")
        assert car.store.pending().reads == 1
        happens(car)
        wait(lambda: not car.sessions.is_open)
        wait(car.rows)
        time.sleep(2.2)  # and nothing opens another one
        assert not car.sessions.is_open
    (row,) = car.rows()
    assert (row.end_reason, row.queued) == (reason, 1)
    said = [e for e in car.store.audit_events() if e.event == Event.COLLECTION_REFUSED]
    assert said[0].detail == {"reason": refused}
    car.play("ZQX418")
    assert car.store.pending().reads == 1


@pytest.mark.policy("R-460.5.1-a")
def test_a_session_in_which_no_camera_ever_gave_a_picture_claims_no_use(
    car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed on with every camera unplugged: five minutes later the row must not say five."""
    monkeypatch.setattr(module, "LONGEST_GAP_S", 1.5)
    with kept(car, lambda: False):
        time.sleep(1.2)
        car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
        wait(lambda: not car.sessions.is_open)
    (row,) = car.rows()
    assert row.end_reason == "no_camera" and row.ended == row.started


def _end_life(car: Car) -> None:
    with car.store.transaction() as tx:
        tx.execute("UPDATE reads SET destroy_by = '2026-01-01T00:00:00Z'")


@pytest.mark.policy("R-460.5-2b", "R-460.5-4")
def test_what_is_past_its_life_goes_hour_by_hour(car: Car, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour is made a second, and the life of what lies in the queue is over twice."""
    monkeypatch.setattr(module, "PURGE_EVERY_S", 1.0)
    with kept(car):
        car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
        for number, text in enumerate(("ZQX417", "ZQX418"), 1):
            car.play(text)
            time.sleep(2.5)
            assert car.store.pending().reads == 1  # its time has not come
            _end_life(car)
            wait(lambda: car.store.pending().reads == 0)
            assert car.store.ledger().expired == number
    assert car.names().count(Event.READS_EXPIRED) == 2


@pytest.mark.timeout(400)
@pytest.mark.policy("R-460.5-2b", "R-460.5.1-a")
def test_a_car_that_was_off_for_long_destroys_before_anything_else(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The real daemon with the queue and the time mark of a car that stood for 61 days."""
    world = World(tmp_path_factory.mktemp("off") / "home")
    with closing(world):
        state = world.home.car
        vehicle = json.loads((state / "trust" / "identity.json").read_text())["vehicle"]
        now = datetime.now(UTC)
        then = now - timedelta(days=61)
        store = Store(state / "queue.db", now=lambda: (then, True), device=vehicle)
        row = session_row(started=then, ended=then)
        store.open_session(row, DAEMON)
        for instant in (then, now - timedelta(days=30)):
            envelope = seal_read(
                read(session=row.id, instant=instant, destroy_by=destroy_by(instant)),
                agency="becker", vehicle=vehicle, intake_key=generate_key().public_key(),
            )  # fmt: skip
            store.commit_read(envelope, hit=False, session_row=row)
        store.set_meta(MARK_KEY, TimeMark(utc=now, central=now).dump())
        store.close()

        world.home.config.write_text(world.config_text)
        car = Process(world)
        try:
            until(lambda: car.told("READY=1"), 120, "READY")
        finally:
            assert car.end() < 30
        store = Store(state / "queue.db", now=lambda: (now, True), device=vehicle)
        names = [event.event for event in store.audit_events()]
        totals = store.ledger()
        store.close()
        # Before the session of then is closed, which is before any camera is opened.
        begun = [name for name in names if name != Event.CONFIG_CHANGED]
        begun = begun[begun.index(Event.STARTED) :]
        assert begun[:3] == [Event.STARTED, Event.READS_EXPIRED, Event.SESSION_CLOSED]
        assert totals.committed == 2 and totals.expired == 1
