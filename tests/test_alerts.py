"""The alert board: folding, corrections, acts, the trail, and what is left of a card (nothing)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alprd.alerts import AlertBoard
from alprd.audit import Actor, Event
from alprd.cards import LINGER_S, MAX_AGE_S, QUIET_HIGH_S, QUIET_S, AlertView
from alprd.errors import AuditError, InputError, RefusedError
from alprd.frames import Character, PlateReading
from alprd.hotlist import Match
from alprd.records import new_id
from alprd.settling import Settling
from alprd.store import Store
from alprd.wire import HotlistEntry

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
SESSION = new_id()
PERSON = Actor("dep.one", "Deputy One", "operator")
OTHER = Actor("dep.two", "Deputy Two", "operator")


class Seconds:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def reading(text: str = "ZQX417", region: str | None = "MN") -> PlateReading:
    return PlateReading(
        text, "", tuple(Character(c, 0.99) for c in text), region, 0.95, 0.99, sure=True
    )


def match(entry: str = "E1", plate: str = "ZQX417", **changes: Any) -> Match:
    values: dict[str, Any] = {
        "list_id": "state",
        "source": "LPDF",
        "version": "7",
        "supplied_at": NOW - timedelta(hours=3),
        "kind": "exact",
        "differing": (),
        "with_stacked": False,
    }
    priority = changes.pop("priority", "medium")
    made = HotlistEntry(
        id=entry,
        plate=plate,
        state="MN",
        plate_type=None,
        category="stolen",
        priority=priority,
        text="An invented blue car",
    )
    return Match(entry=made, **(values | changes))


def put(board: AlertBoard, of: str = "p1", **changes: Any) -> str:
    values: dict[str, Any] = {
        "pass_id": of,
        "camera": "front",
        "reading": reading(),
        "match": match(),
        "plate_jpeg": b"plate " + of.encode(),
        "wide_jpeg": b"wide " + of.encode(),
        "instant": NOW,
        "time_trusted": True,
        "captured_mono_ns": 5,
        "session": SESSION,
    }
    return board.raise_alert(**(values | changes))


class Memory:
    """A trail that fails on demand."""

    def __init__(self) -> None:
        self.broken = False
        self.count = 0

    def record(self, *args: object, **kwargs: object) -> None:
        if self.broken:
            raise AuditError("the disk is full")
        self.count += 1


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    yield store
    store.close()


@pytest.fixture
def board(trail: Store, clock: Seconds) -> AlertBoard:
    return AlertBoard(trail, monotonic=clock)


def one(board: AlertBoard) -> AlertView:
    (view,) = board.snapshot()
    return view


def events(trail: Store) -> list[str]:
    return [event.event for event in trail.audit_events()]


def test_repeats_fold_into_one_card(board: AlertBoard) -> None:
    first = put(board, "p1")
    assert put(board, "p2", instant=NOW + timedelta(seconds=9)) == first
    view = one(board)
    assert (view.count, view.pass_id) == (2, "p2")
    assert (view.first_instant, view.instant) == (NOW, NOW + timedelta(seconds=9))
    assert board.picture(first, "plate", PERSON) == b"plate p2"


def test_same_pass_again_only_renews_pictures(board: AlertBoard) -> None:
    first = put(board, "p1")
    alarm = one(board).alarm
    assert put(board, "p1", plate_jpeg=b"sharper") == first
    assert (one(board).count, one(board).alarm) == (1, alarm)
    assert board.picture(first, "plate", PERSON) == b"sharper"


@pytest.mark.policy("R-460.4-f")
def test_what_differs_gets_its_own_card(board: AlertBoard) -> None:
    put(board, "p1")
    put(board, "p2", match=match("E2"))
    put(board, "p3", reading=reading("ZOX417"), match=match(kind="look-alike", differing=(1,)))
    put(board, "p4", match=match(kind="other-state"))
    assert len(board.snapshot()) == 4


def test_order_is_open_then_high_then_newest(board: AlertBoard) -> None:
    done = put(board, "p0", match=match("E0", priority="high"))
    low = put(board, "p1", match=match("E1", priority="low"))
    high = put(board, "p2", match=match("E2", priority="high"))
    newer = put(board, "p3", match=match("E3", priority="high"))
    board.acknowledge(done, PERSON)
    assert [view.id for view in board.snapshot()] == [newer, high, low, done]


@pytest.mark.parametrize(("priority", "quiet"), [("high", QUIET_HIGH_S), ("medium", QUIET_S)])
@pytest.mark.parametrize("act", ["silence", "acknowledge"])
def test_a_repeat_sounds_again_after_the_quiet_time(
    board: AlertBoard, clock: Seconds, priority: str, quiet: float, act: str
) -> None:
    card = put(board, "p1", match=match(priority=priority))
    getattr(board, act)(card, PERSON)
    alarm = one(board).alarm
    clock.now += quiet - 1
    put(board, "p2", match=match(priority=priority))
    assert (one(board).state != "new", one(board).alarm) == (True, alarm)
    clock.now += 2
    put(board, "p3", match=match(priority=priority))
    assert one(board).state == "new"
    assert one(board).alarm > alarm


def test_a_raised_priority_is_never_hidden_by_the_fold(board: AlertBoard) -> None:
    card = put(board, "p1", match=match(priority="low"))
    board.acknowledge(card, PERSON)
    put(board, "p2", match=match(priority="high"))
    assert (one(board).state, one(board).match.entry.priority) == ("new", "high")


def test_a_full_board_keeps_open_high_cards(trail: Store, clock: Seconds) -> None:
    board = AlertBoard(trail, monotonic=clock, max_cards=3)
    high = [put(board, f"h{i}", match=match(f"H{i}", priority="high")) for i in range(2)]
    done = put(board, "d", match=match("D", priority="high"))
    board.acknowledge(done, PERSON)
    for i in range(5):
        put(board, f"l{i}", match=match(f"L{i}", priority="low"))
    kept = [view.id for view in board.snapshot()]
    assert len(kept) == 3
    assert set(high) < set(kept)
    assert done not in kept


def test_correction_of_the_same_entry_is_loud(board: AlertBoard, trail: Store) -> None:
    card = put(board, "p1")
    board.acknowledge(card, PERSON)
    alarm = one(board).alarm
    look_alike = match(kind="look-alike", differing=(1,))
    assert board.correct("p1", reading("ZOX417"), [look_alike]) == (card,)
    view = one(board)
    assert (view.state, view.corrected_from, view.reading.text) == ("new", "ZQX417", "ZOX417")
    assert view.alarm > alarm
    assert view.match.kind == "look-alike"
    assert events(trail)[-1] == Event.ALERT_CORRECTED


def test_a_final_reading_that_says_the_same_is_quiet(board: AlertBoard, trail: Store) -> None:
    card = put(board, "p1")
    board.silence(card, PERSON)
    alarm = one(board).alarm
    assert board.correct("p1", reading(), match(), plate_jpeg=b"best") == (card,)
    assert (one(board).state, one(board).alarm) == ("silenced", alarm)
    assert board.picture(card, "plate", PERSON) == b"best"
    assert Event.ALERT_CORRECTED not in events(trail)


def test_a_reading_that_no_longer_matches_is_withdrawn(board: AlertBoard, trail: Store) -> None:
    card = put(board, "p1")
    board.silence(card, PERSON)
    alarm = one(board).alarm
    assert board.correct("p1", reading("ABC123"), None) == ()
    view = one(board)
    assert view.state == "withdrawn"
    assert view.alarm > alarm
    assert view.reason
    assert events(trail)[-1] == Event.ALERT_WITHDRAWN
    assert not board.knows("p1")
    board.acknowledge(card, PERSON)
    assert board.snapshot() == []


def test_correction_to_another_entry_withdraws_and_raises(board: AlertBoard) -> None:
    old = put(board, "p1")
    (new,) = board.correct("p1", reading("ABC123"), [match("E2", plate="ABC123")])
    states = {view.id: view.state for view in board.snapshot()}
    assert states == {old: "withdrawn", new: "new"}
    view = board.view(new)
    assert view is not None
    assert (view.session, view.captured_mono_ns, view.camera) == (SESSION, 5, "front")


def test_correction_into_another_card_joins_it(board: AlertBoard) -> None:
    look_alike = match(kind="look-alike", differing=(1,))
    wrong = put(board, "p1")
    right = put(board, "p2", reading=reading("ZOX417"), match=look_alike)
    assert board.correct("p1", reading("ZOX417"), look_alike) == (right,)
    views = {view.id: view for view in board.snapshot()}
    assert (views[wrong].state, views[right].state) == ("withdrawn", "new")
    assert (views[right].count, views[right].pass_id) == (2, "p1")


def test_an_act_does_not_swallow_a_correction_that_comes_meanwhile(clock: Seconds) -> None:
    class Slow(Memory):
        """While the act is being written to disk, a camera corrects the reading."""

        def record(self, *args: object, **kwargs: object) -> None:
            super().record()
            if args[0] == Event.ALERT_ACKNOWLEDGED:
                made.correct("p1", reading("ZOX417"), match(kind="look-alike", differing=(1,)))

    made = AlertBoard(Slow(), monotonic=clock)
    card = put(made, "p1")
    made.acknowledge(card, PERSON)
    assert (one(made).state, one(made).corrected_from) == ("new", "ZQX417")


def test_withdrawing_one_sighting_leaves_the_others(board: AlertBoard) -> None:
    card = put(board, "p1")
    put(board, "p2")
    board.acknowledge(card, PERSON)
    board.withdraw("p2", "The plate was not read twice alike.")
    view = one(board)
    assert (view.state, view.count, view.pass_id) == ("new", 1, "p1")
    assert "taken back" in view.reason
    board.withdraw("p1", "Nor once.")
    assert one(board).state == "withdrawn"


def test_a_withdrawn_plate_that_is_met_again_is_a_new_alert(board: AlertBoard) -> None:
    old = put(board, "p1")
    board.withdraw("p1", "misread")
    assert put(board, "p2") != old
    assert [view.state for view in board.snapshot()] == ["new", "withdrawn"]


def test_unknown_pass_changes_nothing(board: AlertBoard) -> None:
    put(board, "p1")
    before = one(board)
    assert board.correct("p9", reading("ABC123"), None) == ()
    board.withdraw("p9", "unknown")
    assert one(board) == before


@pytest.mark.policy("R-AT-1", "R-AT-4")
def test_acts_are_recorded_without_plate_or_pass(board: AlertBoard, trail: Store) -> None:
    card = put(board, "pass-17")
    assert board.mark_shown(one(board), PERSON, cleared=True)
    board.silence(card, PERSON)
    board.silence(card, PERSON)  # no second event
    board.unsilence(card, PERSON)
    board.acknowledge(card, PERSON)
    board.picture(card, "wide", PERSON)
    board.withdraw("pass-17", "misread")
    recorded = trail.audit_events()
    assert [event.event for event in recorded] == [
        Event.ALERT_SHOWN,
        Event.ALERT_SILENCED,
        Event.ALERT_UNSILENCED,
        Event.ALERT_ACKNOWLEDGED,
        Event.PICTURE_VIEWED,
        Event.ALERT_WITHDRAWN,
    ]
    assert all(event.subjects == (card,) and event.session == SESSION for event in recorded)
    text = "".join(event.model_dump_json() for event in recorded)
    assert not any(word in text for word in ("ZQX417", "pass-17", "E1", "blue car"))


@pytest.mark.policy("R-13.824-7-5")
def test_shown_is_recorded_once_a_person_and_alarm(board: AlertBoard, trail: Store) -> None:
    put(board, "p1")
    for actor in (PERSON, PERSON, OTHER):
        assert board.mark_shown(one(board), actor, cleared=True)
    assert [event.actor for event in trail.audit_events()] == ["dep.one", "dep.two"]
    board.correct("p1", reading("ZOX417"), match(kind="look-alike", differing=(1,)))
    board.mark_shown(one(board), PERSON, cleared=True)
    assert events(trail).count(Event.ALERT_SHOWN) == 3
    gone = one(board)
    board.withdraw("p1", "misread")
    board.acknowledge(gone.id, PERSON)
    assert not board.mark_shown(gone, PERSON, cleared=True)


@pytest.mark.policy("R-AT-3")
def test_without_a_trail_acts_fail_and_withdrawals_hold(board: AlertBoard, trail: Store) -> None:
    card = put(board, "p1")
    trail.close()
    for act in (board.silence, board.acknowledge):
        with pytest.raises(AuditError):
            act(card, PERSON)
    with pytest.raises(AuditError):
        board.mark_shown(one(board), PERSON, cleared=True)
    with pytest.raises(AuditError):
        board.picture(card, "plate", PERSON)
    assert one(board).state == "new"
    with pytest.raises(AuditError):
        board.withdraw("p1", "misread")
    assert one(board).state == "withdrawn"


def test_an_act_on_what_was_not_seen_is_refused(board: AlertBoard) -> None:
    card = put(board, "p1")
    seen = one(board).alarm
    board.correct("p1", reading("ZOX417"), match(kind="look-alike", differing=(1,)))
    with pytest.raises(RefusedError) as caught:
        board.acknowledge(card, PERSON, seen=seen)
    assert caught.value.reason == "changed"
    board.acknowledge(card, PERSON, seen=one(board).alarm)
    with pytest.raises(InputError):
        board.acknowledge(new_id(), PERSON)


@pytest.mark.policy("R-460.5-b3", "R-460.5-b4")
def test_a_suppressed_card_lives_and_ends_like_any_other(
    trail: Store, clock: Seconds, tmp_path: Path
) -> None:
    def life(suppressed: bool, store: Store) -> tuple[list[Any], list[dict[str, Any]]]:
        board = AlertBoard(store, monotonic=clock)
        seen: list[Any] = []
        card = put(board, "p1", suppressed=suppressed)
        put(board, "p2", suppressed=suppressed)
        board.mark_shown(one(board), PERSON, cleared=True)
        board.acknowledge(card, PERSON)
        Settling(board, on_misread=lambda session: None).misread(card, PERSON)
        seen.append([(v.state, v.count, v.has_wide) for v in board.snapshot()])
        sightings = board._deck.cards[card].sightings
        clock.now += LINGER_S + 1
        board.expire()
        seen += [board.snapshot(), board.picture(card, "plate", PERSON), board.view(card)]
        for sighting in sightings:
            assert sighting.wide is not None
            assert set(sighting.plate) | set(sighting.wide) == {0}  # overwritten, not just dropped
        hidden = ("subjects", "digest", "previous", "seq")
        trace = [event.model_dump(exclude=set(hidden)) for event in store.audit_events()]
        return seen, trace

    other = Store(tmp_path / "other.db", now=lambda: (NOW, True), device="car-1")
    try:
        assert life(True, trail) == life(False, other)
    finally:
        other.close()


def test_cards_end_with_shift_and_age(board: AlertBoard, clock: Seconds) -> None:
    done, left = put(board, "p1"), put(board, "p2", match=match("E2"))
    board.acknowledge(done, PERSON)
    board.end_shift()
    assert len(board.snapshot()) == 2  # acknowledged is not settled: it waits for the next person
    Settling(board, on_misread=lambda session: None).misread(done, PERSON)
    board.end_shift()
    assert one(board).id == left
    clock.now += MAX_AGE_S + 1
    board.expire()
    assert board.snapshot() == []


def test_changes_replay_from_any_number(board: AlertBoard) -> None:
    follower = board.subscribe()
    card = put(board, "p1")
    assert follower.wait(1)
    (change,) = follower.changes()
    assert change.view is not None
    assert follower.changes() == [change]  # not delivered until advanced past
    follower.advance(change.number)
    board.withdraw("p1", "misread")
    board.acknowledge(card, PERSON)
    assert [(c.alert_id, c.view) for c in follower.changes()] == [(card, None)]
    assert board.changes(0) == []  # a newcomer hears nothing of what is gone
    follower.close()
    follower.wait(0.01)
    put(board, "p2")
    assert not follower.wait(0.01)


def test_replay_knows_how_far_back_it_reaches(trail: Store, clock: Seconds) -> None:
    board = AlertBoard(trail, monotonic=clock, max_cards=1)
    assert board.can_replay(0)
    assert not board.can_replay(5)  # a number from another life
    for i in range(600):
        put(board, f"p{i}", match=match(f"E{i}"))
    assert not board.can_replay(1)
    last = one(board).number
    assert board.can_replay(last)


def test_threads_raise_while_a_person_acts(board: AlertBoard) -> None:
    def raise_many(camera: str) -> None:
        for i in range(30):
            put(board, f"{camera}{i}", match=match(f"E{i % 5}"), camera=camera)

    threads = [threading.Thread(target=raise_many, args=(name,)) for name in ("front", "rear")]
    for thread in threads:
        thread.start()
    acted = 0
    while any(thread.is_alive() for thread in threads) or acted < 5:
        for view in board.snapshot():
            board.silence(view.id, PERSON)
            acted += 1
    for thread in threads:
        thread.join()
    assert sum(view.count for view in board.snapshot()) == 60
    assert len(board.snapshot()) == 5


ENTRIES = st.integers(0, 3)
TEXTS = st.sampled_from(["ZQX417", "ZOX417", "ABC123"])


class BoardMachine(RuleBasedStateMachine):
    """Any order of raising, correcting, withdrawing and acting keeps the board's promises."""

    @initialize()
    def start(self) -> None:
        self.trail = Memory()
        self.clock = Seconds()
        self.board = AlertBoard(self.trail, monotonic=self.clock, max_cards=4)
        self.passes = 0
        self.page: dict[str, AlertView] = {}
        self.follower = self.board.subscribe()

    @rule(entry=ENTRIES, text=TEXTS, high=st.booleans())
    def raise_alert(self, entry: int, text: str, high: bool) -> None:
        self.passes += 1
        found = match(f"E{entry}", plate=text, priority="high" if high else "low")
        put(self.board, f"p{self.passes}", reading=reading(text), match=found)

    @rule(data=st.data(), text=TEXTS, entries=st.sets(ENTRIES, max_size=2))
    @precondition(lambda self: self.passes > 0)
    def correct(self, data: st.DataObject, text: str, entries: set[int]) -> None:
        of = data.draw(st.integers(1, self.passes))
        found = [match(f"E{entry}", plate=text) for entry in sorted(entries)]
        known = self.board.knows(f"p{of}")
        try:
            ids = self.board.correct(f"p{of}", reading(text), found)
        except AuditError:
            assert self.trail.broken
        else:
            assert bool(ids) == (known and bool(entries))
        if known and not entries:
            assert not self.board.knows(f"p{of}")

    @rule(data=st.data(), act=st.sampled_from(["silence", "unsilence", "acknowledge"]))
    def act(self, data: st.DataObject, act: str) -> None:
        views = self.board.snapshot()
        if not views:
            return
        view = data.draw(st.sampled_from(views))
        do: Callable[..., None] = getattr(self.board, act)
        before = self.trail.count
        try:
            do(view.id, PERSON, seen=view.alarm)
        except AuditError:
            assert self.board.view(view.id) == view  # the act failed altogether
            return
        now = self.board.view(view.id)
        if now != view:
            assert self.trail.count == before + 1  # no change without its event
        if act == "acknowledge":
            assert now is None or now.state == "acknowledged"

    @rule(seconds=st.sampled_from([1.0, QUIET_HIGH_S + 1, LINGER_S + 1, MAX_AGE_S + 1]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.board.expire()

    @rule(broken=st.booleans())
    def disk(self, broken: bool) -> None:
        self.trail.broken = broken

    @rule()
    def follow(self) -> None:
        """A page that follows the changes has the board's cards."""
        if not self.board.can_replay(self.follower.after):
            self.page.clear()
            self.follower.after = 0
        for change in self.follower.changes():
            if change.view is None:
                self.page.pop(change.alert_id, None)
            else:
                self.page[change.alert_id] = change.view
            self.follower.advance(change.number)
        assert self.page == {view.id: view for view in self.board.snapshot()}

    @invariant()
    def numbers_grow_and_the_board_is_bounded(self) -> None:
        views = self.board.snapshot()
        assert len(views) <= 4
        assert all(0 < view.alarm <= view.number for view in views)
        assert all(view.count >= 1 for view in views)
        standing = [(v.match.entry.id, v.reading.text) for v in views if v.state != "withdrawn"]
        assert len(standing) == len(set(standing))  # one card for one plate and entry


TestBoardMachine = BoardMachine.TestCase
TestBoardMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
