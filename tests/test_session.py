"""Sessions: counting rule, heartbeat, truthful ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from factories import NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd import session as module
from alprd.audit import DAEMON, Event
from alprd.records import Category
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.wire import Database


class Clock:
    """A disciplined clock and an even one, whose hands the test moves."""

    def __init__(self) -> None:
        self.at = NOW
        self.trusted = True
        self.even = 0.0

    def __call__(self) -> tuple[datetime, bool]:
        return self.at, self.trusted

    def elapsed(self) -> float:
        return self.even

    def run(self, seconds: float) -> None:
        """Time passes, and both clocks tell it."""
        self.at += timedelta(seconds=seconds)
        self.even += seconds


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
    return SessionKeeper(store, reader="1", now=clock, elapsed=clock.elapsed)


LPDF = Database(source="LPDF", bundle="lpdf 1", supplied_at=NOW)


def begin(keeper: SessionKeeper) -> str:
    return keeper.open(DAEMON, purpose="stolen_vehicles", policy_version="460", databases=[LPDF])


@pytest.mark.policy("R-460.4-b")
def test_patrol_begins_with_a_purpose_and_no_case_number(
    keeper: SessionKeeper, store: Store
) -> None:
    """R-460.4-b: routine patrol needs no suspicion; nothing asks for a case number."""
    begin(keeper)
    row = keeper.count_pass("ZQX417", ["stolen"])
    assert row is not None
    assert (row.purpose, row.matches) == ("stolen_vehicles", {"stolen": 1})
    (opened,) = store.audit_events()
    assert opened.event == Event.SESSION_OPENED
    assert not {"case", "incident", "reason"} & set(opened.detail)


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
    keeper: SessionKeeper, clock: Clock
) -> None:
    begin(keeper)
    keeper.count_pass("ZQX417", ["stolen"])
    clock.run(2)
    keeper.count_pass("ZQX417", ["stolen"])
    clock.run(module.SAME_PASS_S + 1)
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
    keeper.count_misread()  # of an early look: its pass, and so its match, is counted at its end
    row = keeper.row()
    assert row is not None and row.marked_misread == 0
    row = keeper.count_pass("ZQX417", ["stolen"])
    assert row is not None and row.marked_misread == 1


@pytest.mark.policy("R-460.5.1-c5", "R-460.5.1-0")
def test_a_misread_of_an_ended_session_is_a_correction_not_an_edit(
    keeper: SessionKeeper, store: Store
) -> None:
    first = begin(keeper)
    keeper.close("signed_off")
    second = begin(keeper)
    keeper.count_misread(first)
    keeper.count_pass("ZQX417", ["stolen"])
    keeper.count_misread(second)
    row = keeper.row()
    assert row is not None and row.marked_misread == 1
    assert [one.marked_misread for one in store.unsent_sessions()] == [0]
    told = [event for event in store.audit_events() if event.event == "session.corrected"]
    assert [(event.session, event.detail) for event in told] == [(first, {"marked_misread": 1})]


CATEGORIES: list[Category] = ["stolen", "owner_warrant", "other_lpdf"]
PASSES = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(["ZQX417", "ZQX418", "BAA22", "AA", "A" * 10])),
        st.frozensets(st.sampled_from(CATEGORIES), max_size=2),
        st.floats(0, 2 * module.SAME_PASS_S),
    ),
    max_size=60,
)


class Silent(Store):
    """The queue of a test that only counts."""

    def __init__(self) -> None:
        pass

    def open_session(self, row: object, actor: object) -> None:
        """Nothing is kept."""


@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-b1", "R-460.5.1-c1")
@given(passes=PASSES)
@settings(max_examples=150, deadline=None)
def test_counters_equal_a_naive_recount(
    passes: list[tuple[str | None, frozenset[Category], float]],
) -> None:
    """Recount from the whole history at the end, with sets of plain texts and a plain rule."""
    clock = Clock()
    keeper = SessionKeeper(Silent(), reader="1", now=clock, elapsed=clock.elapsed)
    history: list[tuple[float, str | None, frozenset[Category]]] = []
    row = None
    begin(keeper)
    for text, categories, pause in passes:
        clock.run(pause)
        row = keeper.count_pass(text, categories)
        history.append((clock.even, text, categories))
    groups: list[tuple[str | None, set[Category]]] = []
    latest: dict[str, tuple[float, int]] = {}
    for when, text, categories in history:
        before = latest.get(text) if text is not None else None
        if before is not None and when - before[0] < module.SAME_PASS_S:
            number = before[1]
            groups[number][1].update(categories)
        else:
            number = len(groups)
            groups.append((text, set(categories)))
        if text is not None:
            latest[text] = (when, number)
    if row is None:
        assert not history
        return
    assert row.plates_read == len(groups)
    assert row.distinct_plates == len({text for _, text, _ in history if text is not None})
    assert row.matches == dict(Counter(c for _, group in groups for c in group))


@pytest.mark.policy("R-460.5.1-c1")
def test_a_match_that_only_the_second_look_brings_counts_once(keeper: SessionKeeper) -> None:
    begin(keeper)
    keeper.count_pass("ZQX417", [])  # not sure enough to be a match
    keeper.count_pass("ZQX417", ["stolen"])
    row = keeper.count_pass("ZQX417", ["stolen"])
    assert row is not None
    assert (row.plates_read, row.matches) == (1, {"stolen": 1})


@pytest.mark.policy("R-460.5.1-a")
@pytest.mark.parametrize("year", [1970, 2025, 2026, 2099])
def test_time_that_becomes_known_in_mid_session_corrects_its_start(
    keeper: SessionKeeper, store: Store, clock: Clock, year: int
) -> None:
    clock.at, clock.trusted = NOW.replace(year=year), False
    begin(keeper)
    clock.run(600)
    (row,) = store.open_sessions()
    assert not row.time_trusted
    clock.at, clock.trusted = NOW, True  # the first GPS fix
    clock.run(60)
    keeper.heartbeat()
    clock.run(5)  # power is cut here
    SessionKeeper(store, reader="1", now=clock).recover()
    (row,) = store.unsent_sessions()
    assert (row.started, row.ended) == (
        NOW - timedelta(seconds=600),
        NOW + timedelta(seconds=60),
    )
    assert row.time_trusted and row.end_reason == "power_lost"


@pytest.mark.policy("R-460.5.1-a")
@pytest.mark.parametrize("jump", [timedelta(days=365 * 30), timedelta(days=-365 * 30)])
def test_an_untrusted_jump_makes_no_session_longer_or_shorter(
    keeper: SessionKeeper, store: Store, clock: Clock, jump: timedelta
) -> None:
    begin(keeper)
    clock.run(100)
    keeper.heartbeat()
    clock.at, clock.trusted = clock.at + jump, False
    clock.run(50)
    keeper.heartbeat()
    (row,) = store.open_sessions()
    assert row.ended == NOW + timedelta(seconds=150)
    keeper.close("signed_off")
    (row,) = store.unsent_sessions()
    assert (row.started, row.ended) == (NOW, NOW + timedelta(seconds=150))


@pytest.mark.policy("R-460.5.1-a")
def test_a_session_never_under_trusted_time_says_so(
    keeper: SessionKeeper, store: Store, clock: Clock
) -> None:
    clock.trusted = False
    begin(keeper)
    clock.run(40)
    keeper.close("signed_off")
    (row,) = store.unsent_sessions()
    assert not row.time_trusted
    assert row.ended - row.started == timedelta(seconds=40)


@pytest.mark.policy("R-460.5.1-a")
def test_sleep_of_the_machine_is_a_gap_and_ends_at_the_last_sign_of_life(
    keeper: SessionKeeper, clock: Clock
) -> None:
    begin(keeper)
    for _ in range(4):
        clock.run(module.LONGEST_GAP_S)  # long, but not too long
        assert keeper.gap() is None
        keeper.heartbeat()
    ended = clock.at
    clock.run(module.LONGEST_GAP_S + 1)
    assert keeper.gap() == ended
    keeper.close("gap", ended=keeper.gap())
    assert keeper.gap() is None


@pytest.mark.policy("R-460.5.1-a")
def test_the_heartbeat_is_written_within_a_minute() -> None:
    assert module.HEARTBEAT_S + 1 <= 60
