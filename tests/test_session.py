"""Sessions: counting rule, heartbeat, truthful ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from factories import NOW

from alprd import session as module
from alprd.audit import DAEMON, Event
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.wire import Database


class Clock:
    """A disciplined clock whose hand the test moves."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> tuple[datetime, bool]:
        return self.at, True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = Store(tmp_path / "queue.db", now=clock, device="car-1")
    yield opened
    opened.close()


@pytest.fixture
def keeper(store: Store, clock: Clock) -> SessionKeeper:
    return SessionKeeper(store, reader="1", now=clock)


LPDF = Database(source="LPDF", bundle="lpdf 1", supplied_at=NOW)


def begin(keeper: SessionKeeper) -> str:
    return keeper.open(DAEMON, purpose="stolen_vehicles", policy_version="460", databases=[LPDF])


@pytest.mark.policy("R-460.5.1-b1", "R-460.5-b4")
def test_every_pass_counts_also_one_without_text(keeper: SessionKeeper) -> None:
    begin(keeper)
    keeper.count_pass("ZQX417", [])
    keeper.count_pass(None, [])
    keeper.count_pass(None, [])
    row = keeper.count_pass("ZQX418", ["stolen"])
    assert row is not None
    assert (row.plates_read, row.distinct_plates, row.matches) == (4, 2, {"stolen": 1})


@pytest.mark.policy("R-460.5.1-b1")
def test_one_plate_seen_by_two_cameras_at_once_is_one_pass(
    keeper: SessionKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    begin(keeper)
    keeper.count_pass("ZQX417", ["stolen"])
    now += 2
    keeper.count_pass("ZQX417", ["stolen"])
    now += module.SAME_PASS_S + 1
    row = keeper.count_pass("ZQX417", ["stolen"])
    assert row is not None
    assert (row.plates_read, row.distinct_plates, row.matches) == (2, 1, {"stolen": 2})


@pytest.mark.policy("R-460.5.1-a")
def test_loss_of_power_closes_the_session_at_its_last_heartbeat(
    keeper: SessionKeeper, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.0)
    begin(keeper)
    keeper.count_pass("ZQX417", [])
    clock.at += timedelta(seconds=40)
    keeper.heartbeat()
    clock.at += timedelta(hours=9)  # off over night
    assert SessionKeeper(store, reader="1", now=clock).recover() == 1
    (row,) = store.unsent_sessions()
    assert (row.end_reason, row.ended) == ("power_lost", NOW + timedelta(seconds=40))
    assert row.plates_read == 1


def test_closing_is_recorded_and_names_why(
    keeper: SessionKeeper, store: Store, clock: Clock
) -> None:
    first = begin(keeper)
    clock.at += timedelta(minutes=5)
    keeper.close("signed_off")
    keeper.close("signed_off")
    assert not keeper.is_open
    assert keeper.count_pass("ZQX417", []) is None
    (row,) = store.unsent_sessions()
    assert (row.id, row.ended - row.started, row.end_reason) == (
        first,
        timedelta(minutes=5),
        "signed_off",
    )
    assert [event.event for event in store.audit_events()] == [
        Event.SESSION_OPENED,
        Event.SESSION_CLOSED,
    ]


def test_a_session_never_ends_before_it_began(
    keeper: SessionKeeper, store: Store, clock: Clock
) -> None:
    begin(keeper)
    clock.at -= timedelta(hours=1)
    keeper.close("stopped")
    (row,) = store.unsent_sessions()
    assert row.ended == row.started


@pytest.mark.policy("R-460.5.1-b2")
def test_lists_loaded_in_mid_session_are_named(keeper: SessionKeeper, store: Store) -> None:
    begin(keeper)
    newer = Database(source="LPDF", bundle="lpdf 2", supplied_at=NOW)
    keeper.note_databases([LPDF, newer])
    keeper.close("signed_off")
    (row,) = store.unsent_sessions()
    assert row.databases == (LPDF, newer)


@pytest.mark.policy("R-460.5.1-c5")
def test_misreads_are_counted(keeper: SessionKeeper) -> None:
    begin(keeper)
    keeper.count_misread()
    row = keeper.row()
    assert row is not None and row.marked_misread == 1
