"""Collecting with nobody signed on, held hits, and sessions that begin again after a gap."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_collect import SUPPRESSION_KEY, _targets, events, reading

from alprd import collecting as collecting_module
from alprd import keeper as keeper_module
from alprd.alerts import AlertBoard
from alprd.audit import Actor
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector
from alprd.collecting import Collecting
from alprd.crypto import generate_key, sign_document
from alprd.custody import CUSTODIAN_ROLE, HeldAlerts, custodian, local_alert_key
from alprd.errors import InputError, RefusedError
from alprd.keeper import Keeper
from alprd.lives import Lives
from alprd.mark import PurgeClock
from alprd.permits import PermitBook
from alprd.post import PostWatch
from alprd.records import Position, new_id
from alprd.roster import RosterBook, hash_password
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.suppress import SuppressionSet, plate_digest
from alprd.targets import TargetSet
from alprd.wire import Permit, Person, Roster, SessionRow
from alprd.workers import Beat

KEY = generate_key()
VERIFIER = hash_password("correct horse battery")
DEPUTY = Actor("pat", "Pat Pretend", "operator")
UNATTENDED = {"unattended": True, "custodian": "dana", "unattended_purpose": "stolen_vehicles"}


def person(name: str, **changes: Any) -> Person:
    later = datetime.now(UTC) + timedelta(days=30)
    values: dict[str, Any] = {
        "id": name, "name": f"{name} invented", "roles": ("operator",), "verifier": VERIFIER,
        "training_expires": later, "authorised_until": later, "clearances": ("stolen",),
    }  # fmt: skip
    return Person.model_validate(values | changes)


def roster(*people: Person, life: timedelta = timedelta(days=7)) -> Roster:
    now = datetime.now(UTC)
    return Roster(
        agency="becker", issued=now - timedelta(hours=1), expires=now + life, people=people
    )


@dataclass
class Car:
    """A car's collecting side with real parts, driven by hand."""

    folder: Path
    clock: DisciplinedClock
    store: Store
    sessions: SessionKeeper
    board: AlertBoard
    book: RosterBook
    permits: PermitBook
    targets: TargetSet
    held: HeldAlerts
    collecting: Collecting
    collector: Collector

    def policy(self, **changes: Any) -> None:
        self.targets = replace(self.targets, policy=self.targets.policy.model_copy(update=changes))

    def play(self, text: str, *kinds: str) -> None:
        for event in events(*((kind, reading(text)) for kind in kinds or ("early", "final"))):
            self.collector.handle(event)

    def shown(self) -> list[str]:
        return [view.reading.text for view in self.board.snapshot()]

    def rows(self) -> list[SessionRow]:
        return self.store.unsent_sessions()

    def names(self) -> list[str]:
        return [event.event for event in self.store.audit_events()]

    def permit(self, **changes: Any) -> None:
        now = datetime.now(UTC)
        values = {
            "agency": "becker", "vehicle": "car-1", "serial": new_id(),
            "not_before": now - timedelta(minutes=1), "expires": now + timedelta(hours=24),
        }  # fmt: skip
        permit = Permit.model_validate(values | changes)
        self.permits.renew(sign_document("permit", permit, KEY))


def make(folder: Path) -> Car:
    clock = DisciplinedClock()
    clock.observe_central(datetime.now(UTC), time.monotonic_ns())
    store = Store(folder / "queue.db", now=clock.now, device="car-1")
    sessions = SessionKeeper(store, reader="1", now=clock.now)
    board, book = AlertBoard(store), RosterBook()
    permits = PermitBook(store, agency="becker", vehicle="car-1", receipt_key=KEY.public_key())
    held = HeldAlerts(store, board, folder=folder / "held", key=local_alert_key())
    book.load(roster(person("pat"), person("dana")))
    car: Car

    def targets() -> TargetSet:
        return car.targets

    collecting = Collecting(
        on=threading.Event(), drained=lambda seconds: [], store=store, sessions=sessions,
        permits=permits, clock=clock, targets=targets, roster=book, vehicle="car-1", held=held,
    )  # fmt: skip
    collector = Collector(
        store=store, sessions=sessions, board=board, clock=clock, positions=PositionTrack(),
        targets=targets, lives=Lives(store, clock, PurgeClock(clock)), agency="becker",
        vehicle="car-1", held=held,
    )  # fmt: skip
    car = Car(
        folder, clock, store, sessions, board, book, permits, _targets(clock), held, collecting,
        collector,
    )  # fmt: skip
    return car


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Car]:
    made = make(tmp_path)
    made.permit()
    yield made
    made.store.close()


# --- custodian mode -----------------------------------------------------------------------------


@pytest.mark.policy("R-460.4-a")
def test_by_default_nothing_is_collected_without_a_sign_on(car: Car) -> None:
    car.collecting.tend()
    assert not car.sessions.is_open
    assert "session.refused" not in car.names()  # the default is no refusal worth a line


@pytest.mark.policy("R-460.4-a", "R-460.3-1", "R-460.5.1-0")
def test_the_signed_policy_may_let_the_car_collect_under_its_custodian(
    car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    car.policy(**UNATTENDED, custodians={"car-9": "pat"})
    car.collecting.tend()
    assert car.sessions.is_open
    assert car.collecting.actor == Actor("dana", "dana invented", CUSTODIAN_ROLE)
    car.collecting.signed_on(person("pat"), "active_warrants", "12")
    row = car.sessions.row()
    assert row is not None and row.purpose == "active_warrants"
    assert [done.purpose for done in car.rows()] == ["stolen_vehicles"]
    car.collecting.tend()  # nothing to do while somebody is signed on
    assert car.collecting.actor is not None and car.collecting.actor.role == "operator"
    car.collecting.signed_off("signed_off")
    assert car.sessions.row() is None
    car.collecting.tend()
    assert car.sessions.row() is None  # the next one may be about to sign on
    monkeypatch.setattr(collecting_module, "CUSTODY_AFTER_S", 0.0)
    car.collecting.tend()
    assert car.collecting.actor is not None and car.collecting.actor.id == "dana"


@pytest.mark.policy("R-460.4-a", "R-460.4-d")
@pytest.mark.parametrize(
    ("policy", "people", "reason"),
    [
        ({"unattended": False}, {}, "unattended_off"),
        ({"custodian": ""}, {}, "no_custodian"),
        ({"unattended_purpose": ""}, {}, "no_purpose"),
        ({"unattended_purpose": "other"}, {}, "no_purpose"),
        ({"custodian": "nobody"}, {}, "revoked"),
        ({"custodians": {"car-1": "nobody"}}, {}, "revoked"),
        ({}, {"roles": ("deputy",)}, "no_operator_role"),
        ({}, {"training_expires": datetime(2026, 1, 1, tzinfo=UTC)}, "training_expired"),
        ({}, {"authorised_until": datetime(2026, 1, 1, tzinfo=UTC)}, "not_authorised"),
        ({}, None, "roster_expired"),
    ],
)
def test_a_custodian_is_held_to_the_rules_of_a_sign_on(
    car: Car, policy: dict[str, Any], people: dict[str, Any] | None, reason: str
) -> None:
    if people is None:
        car.book.load(roster(person("dana"), life=timedelta(minutes=-1)))
    else:
        car.book.load(roster(person("dana", **people)))
    car.policy(**UNATTENDED | policy)
    now, trusted = car.clock.now()
    with pytest.raises(RefusedError) as caught:
        custodian(car.targets.policy, "car-1", car.book, now=now, trusted=trusted)
    assert caught.value.reason == reason
    for _ in range(3):
        car.collecting.tend()
    assert not car.sessions.is_open
    assert car.names().count("session.refused") == (0 if reason == "unattended_off" else 1)


@pytest.mark.policy("R-13.824-6-6", "R-460.1-1")
@pytest.mark.parametrize("what", ["suspended", "lapsed", "policy"])
def test_a_custodian_needs_permit_and_policy_too(car: Car, what: str) -> None:
    car.policy(**UNATTENDED)
    now = datetime.now(UTC)
    if what == "suspended":
        car.permit(suspended=True)
    elif what == "lapsed":
        car.permit(not_before=now, expires=now)
    else:
        car.policy(effective=now + timedelta(days=1))
    car.collecting.tend()
    assert not car.sessions.is_open


# --- held hits ----------------------------------------------------------------------------------


@pytest.mark.policy("R-460.4-a", "R-AT-1")
def test_a_hit_with_nobody_signed_on_waits_sealed_and_is_shown_at_the_next_sign_on(
    car: Car,
) -> None:
    car.policy(**UNATTENDED)
    car.collecting.tend()
    car.play("STL417")
    assert car.shown() == []
    assert len(car.held) == 1
    assert all(b"STL417" not in sealed.data for sealed in car.held._sealed.values())
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    assert car.shown() == ["STL417"]
    (view,) = car.board.snapshot()
    assert view.instant <= car.clock.now()[0]
    assert view.session == car.rows()[0].id  # that of the custodian
    assert len(car.held) == 0
    held = [event for event in car.store.audit_events() if event.event.startswith("alert.")]
    assert [event.event for event in held] == ["alert.held", "alert.released"]
    assert held[1].actor == "pat" and held[1].detail["age_s"] == 0
    car.play("STL417")  # and from now on hits are shown at once
    assert len(car.held) == 0
    # Its read and its count went their usual way.
    assert car.rows()[0].matches == {"stolen": 1}
    assert car.store.ledger().committed == 2


@pytest.mark.policy("R-460.4-f")
def test_a_hit_that_no_longer_stands_is_destroyed_unseen(car: Car) -> None:
    car.policy(**UNATTENDED)
    car.collecting.tend()
    car.play("STL417")
    fewer = _targets(car.clock)
    car.targets = replace(car.targets, matcher=type(fewer.matcher)((), car.targets.policy))
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    assert car.shown() == []
    assert len(car.held) == 0
    assert "alert.held-ended" in car.names()


@pytest.mark.policy("R-460.5-2b")
def test_a_held_hit_expires_with_its_read(car: Car) -> None:
    car.policy(**UNATTENDED, retention_hours=2)
    car.collecting.tend()
    car.play("STL417")
    now = car.clock.now()[0]
    assert car.held.expire(now) == 0
    assert car.held.expire(now + timedelta(hours=2)) == 1
    assert len(car.held) == 0


@pytest.mark.policy("R-460.5-b2", "R-460.5-b3", "R-460.5-b4")
def test_held_hits_lie_on_the_disk_only_under_a_key_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a credential they outlive the process; a covered plate leaves a file that holds none."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "alprd-alert-key").write_bytes(secrets.token_bytes(32))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    car = make(tmp_path)
    car.permit()
    car.policy(**UNATTENDED)
    car.collecting.tend()
    car.play("STL417")
    car.play("PRO417")  # covered and stolen: alerts, and leaves nothing
    assert len(car.held) == 2
    files = {path.name: path for path in (tmp_path / "held").iterdir()}
    assert len(files) == 2  # none is missing, and none tells which is which
    assert len({path.stat().st_size for path in files.values()}) == 1
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"STL417" not in path.read_bytes() and b"PRO417" not in path.read_bytes()
    car.store.close()

    again = make(tmp_path)  # the ignition was off
    again.policy(**UNATTENDED)
    assert len(again.held) == 1
    again.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    assert again.shown() == ["STL417"]
    assert list((tmp_path / "held").iterdir()) == []
    again.store.close()


@pytest.mark.policy("R-460.5-b2", "R-460.5-b3")
def test_a_held_hit_whose_plate_is_protected_later_leaves_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still alerts (a criminal category), from memory; a file as large as before stays."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "alprd-alert-key").write_bytes(secrets.token_bytes(32))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    car = make(tmp_path)
    car.permit()
    car.policy(**UNATTENDED)
    car.collecting.tend()
    car.play("STL417")
    (path,) = (tmp_path / "held").iterdir()
    size = path.stat().st_size
    digest = plate_digest(SUPPRESSION_KEY, "STL417").hex()
    car.targets = replace(car.targets, suppression=SuppressionSet([digest], SUPPRESSION_KEY))
    car.held.reconsider(car.targets, car.clock.now()[0])
    assert len(car.held) == 1
    assert path.stat().st_size == size
    car.store.close()
    again = make(tmp_path)  # only the disk is left
    assert len(again.held) == 0
    again.store.close()


@pytest.mark.policy("R-CJIS-1")
def test_without_a_credential_held_hits_die_with_the_process(car: Car) -> None:
    car.policy(**UNATTENDED)
    car.collecting.tend()
    car.play("STL417")
    assert not (car.folder / "held").exists()
    assert local_alert_key()[0] != local_alert_key()[0]


def test_what_another_key_sealed_is_destroyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_held_hits_lie_on_the_disk_only_under_a_key_that_does_not(tmp_path, monkeypatch)
    (tmp_path / "held" / "foreign").write_bytes(b"2099-01-01T00:00:00+00:00\n" + b"x" * 99)
    car = make(tmp_path)
    assert len(car.held) == 0
    assert list((tmp_path / "held").iterdir()) == []
    car.store.close()
    (tmp_path / "credentials" / "alprd-alert-key").write_bytes(b"short")
    with pytest.raises(InputError, match="shorter"):
        local_alert_key()


# --- gaps -----------------------------------------------------------------------------------------


@pytest.mark.policy("R-460.5.1-a", "R-460.4-d")
def test_collecting_goes_on_after_a_gap_while_the_operator_is_signed_on(
    car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "LONGEST_GAP_S", 1.5)
    up = True
    mark = PurgeClock(car.clock)
    keeper = Keeper(
        store=car.store, sessions=car.sessions, board=car.board, permits=car.permits,
        roster=car.book, clock=car.clock, mark=mark, lives=Lives(car.store, car.clock, mark),
        collecting=car.collecting, camera_up=lambda: up, held=car.held,
    )  # fmt: skip
    beat = Beat()
    thread = threading.Thread(target=keeper.run, args=(beat,))
    thread.start()

    def wait(condition: Any) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    try:
        car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
        first = car.sessions.row()
        assert first is not None
        time.sleep(1.2)
        up = False
        wait(lambda: not car.sessions.is_open)
        (row,) = car.rows()
        assert row.end_reason == "no_camera"
        closed = next(e for e in car.store.audit_events() if e.event == "session.closed")
        assert closed.at - row.ended >= timedelta(seconds=1)  # ended at the last picture
        time.sleep(1.2)
        assert not car.sessions.is_open  # no camera, no session
        up = True
        wait(lambda: car.sessions.is_open)
        second = car.sessions.row()
        assert second is not None and second.id != first.id and second.purpose == first.purpose
        assert car.collecting.actor is not None and car.collecting.actor.id == "pat"
        # Somebody who may no longer operate does not come back after a gap.
        up = False
        wait(lambda: not car.sessions.is_open)
        car.book.load(roster(person("dana")))
        up = True
        wait(lambda: car.names()[-1] == "session.refused")
        assert not car.sessions.is_open
        # Nor does one who signed off during the gap.
        car.book.load(roster(person("pat"), person("dana")))
        car.collecting.signed_off("signed_off")
        time.sleep(1.5)
        assert not car.sessions.is_open
    finally:
        beat.stop()
        thread.join()


@pytest.mark.policy("R-460.5.1-a", "R-13.824-6-6")
def test_only_what_ended_by_itself_begins_by_itself(car: Car) -> None:
    for reason, again in (
        ("gap", True),
        ("permit_lapsed", True),
        ("suspended", False),
        ("stopped", False),
        ("error", True),
        ("disk_full", True),
    ):
        car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
        car.collecting.stop(reason, DEPUTY)  # type: ignore[arg-type]
        car.collecting.tend()
        assert car.sessions.is_open is again, reason
        car.collecting.signed_off("signed_off")


# --- posts ----------------------------------------------------------------------------------------


def at(metres: float) -> Position:
    return Position(lat=46.8 + metres / 111_195, lon=-95.8, accuracy_m=4.0)


@pytest.mark.policy("R-460.5.1-d")
def test_four_hours_of_collecting_at_one_place_make_a_post() -> None:
    watch = PostWatch()
    now = 0.0

    def pass_h(hours: float, where: Position | None, *, collecting: bool = True) -> bool:
        nonlocal now
        for _ in range(round(hours * 60)):
            now += 60
            watch.look(now, where, collecting=collecting)
        return watch.beyond

    assert not pass_h(3.9, at(0))
    assert pass_h(0.2, at(80))  # moved along the kerb
    assert not pass_h(0.1, at(500))  # drove on
    assert not pass_h(10, at(500), collecting=False)  # parked, not collecting
    assert not pass_h(4.5, None)  # a garage: unknown
    assert pass_h(0.1, at(510))  # it was the same place all the time
    assert pass_h(5, None)  # still one, as far as anybody knows
    assert not pass_h(0.1, at(9000))
