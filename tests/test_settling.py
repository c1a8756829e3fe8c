"""Settling an alert: the order of the steps, what is recorded, what survives a restart."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_alerts import NOW, PERSON, match, put

from alprd.alerts import AlertBoard
from alprd.audit import Event
from alprd.errors import RefusedError
from alprd.settling import Settling
from alprd.shift import LONGEST
from alprd.shiftstore import ShiftStore
from alprd.store import Store


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    yield store
    store.close()


class Desk:
    """A board with its steps and a count of misreads."""

    def __init__(self, trail: Store, **board: Any) -> None:
        self.now = datetime.now(UTC)
        self.board = AlertBoard(trail, now=lambda: self.now, **board)
        self.misreads = 0
        self.settling = Settling(self.board, on_misread=self._misread, now=lambda: self.now)

    def _misread(self, session: str) -> None:
        self.misreads += 1

    def view(self, alert: str) -> Any:
        found = self.board.view(alert)
        assert found is not None
        return found


@pytest.fixture
def desk(trail: Store) -> Desk:
    return Desk(trail)


def refused(reason: str) -> Any:
    return pytest.raises(RefusedError, check=lambda error: error.reason == reason)


@pytest.mark.policy("R-460.4-f")
def test_no_step_can_be_taken_before_the_one_it_rests_on(desk: Desk, trail: Store) -> None:
    card, do = put(desk.board, "p1"), desk.settling
    with refused("out_of_order"):
        do.take_action(card, PERSON, action="stopped")
    with refused("out_of_order"):
        do.verify(card, PERSON, result="confirmed", reference="NIC/W123")
    do.look(card, PERSON, agrees=True)
    with refused("out_of_order"):
        do.take_action(card, PERSON, action="stopped")
    do.verify(card, PERSON, result="confirmed", reference="NIC/W123456789")
    with refused("out_of_order"):
        do.look(card, PERSON, agrees=False)
    assert not desk.view(card).disposition.settled
    do.take_action(card, PERSON, action="stopped")
    assert desk.view(card).disposition.settled
    with refused("out_of_order"):
        do.verify(card, PERSON, result="cleared", reason="entry_recalled", reference="W1")
    events = [event for event in trail.audit_events() if event.subjects == (card,)]
    assert [event.event for event in events] == [
        Event.ALERT_COMPARED, Event.ALERT_VERIFIED, Event.ALERT_ACTION_TAKEN,
    ]  # fmt: skip
    assert events[1].detail == {"result": "confirmed", "reason": "", "referenced": True}
    assert "W123456789" not in "".join(event.model_dump_json() for event in events)


@pytest.mark.policy("R-460.4-f")
@pytest.mark.parametrize(
    "fields",
    [
        {"result": "maybe"},
        {"result": "not_practicable"},
        {"result": "not_practicable", "reason": "lazy"},
        {"result": "confirmed"},
        {"result": "confirmed", "reference": "ZQX 417"},
        {"result": "confirmed", "reference": "<b>"},
        {"result": "cleared", "reference": "W12"},
        {"result": "not_confirmed", "reason": "danger"},
    ],
)
def test_a_result_needs_what_belongs_to_it(
    desk: Desk, trail: Store, fields: dict[str, Any]
) -> None:
    card = put(desk.board, "p1")
    desk.settling.look(card, PERSON, agrees=True)
    before = len(trail.audit_events())
    with refused("bad_field"):
        desk.settling.verify(card, PERSON, **fields)
    assert desk.view(card).disposition.result is None
    assert len(trail.audit_events()) == before


@pytest.mark.policy("R-460.5.1-c5")
def test_misread_is_one_tap_and_counts_once(desk: Desk) -> None:
    one, other = put(desk.board, "p1"), put(desk.board, "p2", match=match("E2"))
    desk.settling.misread(one, PERSON)
    desk.settling.misread(one, PERSON)
    desk.settling.look(other, PERSON, agrees=False)
    assert desk.misreads == 2
    assert desk.board.unresolved() == []
    (counts,) = desk.board.shift.by_list().values()
    assert counts["misread"] == 2


def clear(desk: Desk, card: str) -> None:
    desk.settling.look(card, PERSON, agrees=True)
    desk.settling.verify(
        card, PERSON, result="cleared", reason="entry_recalled", reference="DISP 12"
    )


def test_a_cleared_plate_does_not_alarm_again_until_its_expiry(desk: Desk, trail: Store) -> None:
    card = put(desk.board, "p1")
    clear(desk, card)
    assert desk.view(card).cleared_until is not None
    assert put(desk.board, "p2") == ""
    assert trail.audit_events()[-1].event == Event.ALERT_CLEARED_PASSED
    assert put(desk.board, "p3", match=match("E2"))  # another entry for the same plate alarms
    desk.now += LONGEST + timedelta(seconds=1)
    assert put(desk.board, "p4") != ""


def test_a_cleared_plate_is_taken_back_and_never_outlives_the_person(desk: Desk) -> None:
    card = put(desk.board, "p1")
    desk.board.begin_shift("dep.one")
    clear(desk, card)
    desk.settling.unclear(card, PERSON)
    assert put(desk.board, "p2") == card
    clear(desk, put(desk.board, "p3", match=match("E2")))
    desk.board.begin_shift("dep.one")
    assert put(desk.board, "p4", match=match("E2")) == ""
    desk.board.begin_shift("dep.two")
    assert put(desk.board, "p5", match=match("E2"))


def test_alarm_again_sounds_at_the_next_pass(desk: Desk) -> None:
    card = put(desk.board, "p1")
    clear(desk, card)
    desk.settling.unclear(card, PERSON)
    before = desk.view(card).alarm
    assert put(desk.board, "p2") == card
    after = desk.view(card)
    assert (after.state, after.disposition.settled) == ("new", False)
    assert after.alarm > before
    put(desk.board, "p3")
    assert desk.view(card).alarm == after.alarm  # from here on as any repeat


def test_a_later_result_ends_the_quiet_of_a_cleared_plate(desk: Desk) -> None:
    """Of two screens the one may say cleared, the other confirmed: the plate alarms."""
    card = put(desk.board, "p1")
    clear(desk, card)
    desk.settling.verify(card, PERSON, result="confirmed", reference="NIC/W12345")
    assert desk.view(card).cleared_until is None
    assert put(desk.board, "p2") == card


def test_an_action_after_cleared_leaves_the_way_back(desk: Desk) -> None:
    card = put(desk.board, "p1")
    clear(desk, card)
    desk.settling.take_action(card, PERSON, action="none")
    assert desk.view(card).cleared_until is not None
    desk.settling.unclear(card, PERSON)
    assert put(desk.board, "p2") == card


def test_a_silenced_category_stays_silent_but_never_high_priority(desk: Desk) -> None:
    desk.board.change_shift(
        lambda shift: shift.silence("stolen", on=True), Event.CATEGORY_SILENCED, PERSON, {}
    )
    with refused("bad_field"):
        desk.board.change_shift(
            lambda shift: shift.silence("all", on=True), Event.CATEGORY_SILENCED, PERSON, {}
        )
    low = put(desk.board, "p1", match=match("E1", priority="medium"))
    high = put(desk.board, "p2", match=match("E2", priority="high"))
    assert (desk.view(low).state, desk.view(high).state) == ("silenced", "new")
    desk.board.change_shift(
        lambda shift: shift.silence("stolen", on=False), Event.CATEGORY_UNSILENCED, PERSON, {}
    )
    assert desk.view(put(desk.board, "p3", match=match("E3", priority="medium"))).state == "new"


def test_what_is_unresolved_is_handed_over_with_a_note(desk: Desk) -> None:
    one, done = put(desk.board, "p1"), put(desk.board, "p2", match=match("E2"))
    desk.settling.misread(done, PERSON)
    with refused("bad_field"):
        desk.settling.hand_over(PERSON, " ")
    assert desk.settling.hand_over(PERSON, "seen at the depot, not stopped") == 1
    desk.board.end_shift()
    assert [view.id for view in desk.board.snapshot()] == [one]
    assert desk.view(one).disposition.note == "seen at the depot, not stopped"


KEY = os.urandom(32)


def journal(trail: Store, desk: Desk | None = None, key: bytes = KEY) -> tuple[ShiftStore, Desk]:
    kept = ShiftStore(trail, (key, True))
    made = Desk(trail, journal=kept)
    return kept, made


def test_alerts_and_shift_survive_a_restart_under_the_key_alone(trail: Store) -> None:
    _, before = journal(trail)
    before.board.begin_shift("dep.one")
    agreed = put(before.board, "p1")
    before.settling.look(agreed, PERSON, agrees=True)
    clear(before, put(before.board, "p2", match=match("E2")))
    kept, after = journal(trail)
    assert kept.restore(after.board) == 2
    view = after.view(agreed)
    assert (view.state, view.disposition.agrees) == ("acknowledged", True)
    assert after.board.picture(agreed, "plate", PERSON) == before.board.picture(
        agreed, "plate", PERSON
    )
    after.settling.verify(agreed, PERSON, result="not_confirmed")
    after.board.begin_shift("dep.one")
    assert put(after.board, "p3", match=match("E2")) == ""
    stranger, other = journal(trail, key=os.urandom(32))
    assert stranger.restore(other.board) == 0
    assert trail.rows("SELECT count(*) FROM shift") == [(0,)]


@pytest.mark.policy("R-460.5-b3", "R-460.5-b4")
def test_of_a_covered_plate_nothing_reaches_the_disk(trail: Store) -> None:
    kept, desk = journal(trail)
    covered, other = (
        put(desk.board, "p1", suppressed=True),
        put(desk.board, "p2", match=match("E2")),
    )
    sizes = dict(trail.rows("SELECT id, length(sealed) FROM shift"))
    assert sizes[covered] == sizes[other]
    _, after = journal(trail)
    assert kept.restore(after.board) == 1
    assert [view.id for view in after.board.snapshot()] == [other]


def test_without_a_lasting_key_nothing_is_written(trail: Store) -> None:
    desk = Desk(trail, journal=ShiftStore(trail, (KEY, False)))
    clear(desk, put(desk.board, "p1"))
    assert trail.rows("SELECT count(*) FROM shift") == [(0,)]


@pytest.mark.policy("R-AT-3")
def test_an_act_and_its_event_are_one_transaction(trail: Store, tmp_path: Path) -> None:
    _, desk = journal(trail)
    card = put(desk.board, "p1")
    with closing(sqlite3.connect(tmp_path / "queue.db")) as db:
        db.execute(
            "CREATE TRIGGER no_more BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        db.commit()
    before = trail.rows("SELECT sealed FROM shift WHERE id = ?", (card,))
    with pytest.raises(Exception, match=r"full|cannot be written"):
        desk.settling.misread(card, PERSON)
    assert trail.rows("SELECT sealed FROM shift WHERE id = ?", (card,)) == before
    assert desk.view(card).disposition.misread is False
    assert desk.misreads == 0


def test_a_card_that_ended_leaves_no_row(trail: Store) -> None:
    _, desk = journal(trail)
    card = put(desk.board, "p1")
    desk.settling.misread(card, PERSON)
    desk.board.end_shift()
    assert trail.rows("SELECT id FROM shift WHERE id = ?", (card,)) == []
