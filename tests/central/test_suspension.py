"""A suspension of all readers: how long until each car stands still, in contact and out of it.

Central is the real one with a clock that the test moves; each car has the real queue, order book,
permit book, session keeper and the daemon's own look every second (:class:`alprd.keeper.Keeper`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from office_world import AGENCY, Office
from test_collect import _targets
from test_custody import person, roster

from alprd import crypto
from alprd.alerts import AlertBoard
from alprd.audit import Actor
from alprd.central.fleet import orders, vehicles, wipes
from alprd.central.storage.audit import Event
from alprd.clock import DisciplinedClock
from alprd.collecting import Collecting
from alprd.errors import InputError, RefusedError
from alprd.keeper import Keeper
from alprd.lives import Lives
from alprd.mark import PurgeClock
from alprd.orderbook import OrderBook
from alprd.permits import PermitBook
from alprd.roster import RosterBook
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.wire import Orders
from alprd.workers import Beat

DEPUTY = person("pat")
DAY = timedelta(hours=24)


class PatrolCar:
    """The car's side of leave to collect, at the office's time."""

    def __init__(self, office: Office, folder: Path, name: str, reader: str) -> None:
        self.office, self.name = office, name
        office.car(name, reader)
        self.store = Store(folder / f"{name}.db", now=self._now, device=name)
        self.orders = OrderBook(self.store, giver="office", now=self._now)
        self.permits = PermitBook(
            self.store, agency=AGENCY, vehicle=name,
            receipt_key=office.central.receipt_key().public_key(),
            suspended=lambda: self.orders.suspended,
        )  # fmt: skip
        self.sessions = SessionKeeper(self.store, reader=reader, now=self._now)

    def _now(self) -> tuple[datetime, bool]:
        return self.office.now, True

    def contact(self) -> None:
        """What a contact with central brings: the orders, then the permit; as sync does."""
        central, vehicle = self.office.central, self.office.cars[self.name][0]
        key = central.receipt_key().public_key()
        told = wipes.orders_for(central, vehicle, "nonce")
        self.orders.obey(crypto.verify_document(told, "orders", key, Orders).orders)
        self.permits.renew(vehicles.permit(central, vehicle))

    def begin(self) -> None:
        """A deputy signs on; refused without leave."""
        self.permits.check(self.office.now)
        self.sessions.open(
            Actor("pat", "Pat", "operator"), purpose="patrol", policy_version="460", databases=[]
        )

    def tick(self) -> None:
        """The daemon's look every second: collecting ends when there is no leave any more."""
        try:
            self.permits.check(self.office.now)
        except RefusedError as error:
            if self.sessions.is_open:
                suspended = error.reason == "suspended"
                self.sessions.close("suspended" if suspended else "permit_lapsed")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "home", datetime(2026, 6, 1, 8, 0, tzinfo=UTC))
    yield made
    made.close()


def stopped_after(office: Office, car: PatrolCar, since: datetime, step: timedelta) -> timedelta:
    """How long a car still collected after an order, looked at in steps."""
    while car.sessions.is_open:
        office.now += step
        car.tick()
        assert office.now - since <= DAY + step, "it never stops"
    return office.now - since


@pytest.mark.policy("R-13.824-6-6")
def test_time_to_stop_in_contact_and_out_of_it(office: Office, tmp_path: Path) -> None:
    """R-13.824-6-6: at the next contact at once; without one when the permit lapses."""
    near, far = (
        PatrolCar(office, tmp_path, name, reader)
        for name, reader in (("car-1", "1"), ("car-2", "2"))
    )
    for car in (near, far):
        car.contact()
        car.begin()
    office.now += timedelta(hours=3)
    boss = office.person("admin_supervisor")
    by = Actor(boss.id, boss.name, boss.roles[0])
    ordered = office.now
    serial = orders.suspend(office.central, "", "letter of the commissioner", by)
    near.tick()
    assert near.sessions.is_open, "it has not heard of it yet"
    office.now += timedelta(seconds=30)
    near.contact()
    assert stopped_after(office, near, ordered, timedelta(seconds=1)) == timedelta(seconds=31)
    with pytest.raises(RefusedError, match="suspended by order"):
        near.begin()
    took = stopped_after(office, far, ordered, timedelta(minutes=1))
    # 24 h after its last contact, three of them before the order; looked at every minute.
    assert timedelta(hours=21) <= took < timedelta(hours=21, minutes=1)
    (row,) = far.store.unsent_sessions()
    assert row.end_reason == "permit_lapsed"
    assert [one.end_reason for one in near.store.unsent_sessions()] == ["suspended"]
    with pytest.raises(RefusedError, match="lapsed"):
        far.begin()
    far.contact()  # it comes home, and hears of it
    with pytest.raises(RefusedError, match="suspended by order"):
        far.begin()
    office.car("car-3", "3")  # enrolled under the order
    late = vehicles.permit(office.central, office.cars["car-3"][0])
    assert b'"suspended":true' in crypto.canonical({"body": late.body}).replace(b'\\"', b'"')
    with pytest.raises(InputError, match="reference"):
        orders.lift(office.central, serial, " ", by)
    orders.lift(office.central, serial, "BCA 26-17", by)
    for car in (near, far):
        car.contact()
        car.begin()
        assert car.sessions.is_open
        car.store.close()
    told = office.trail(Event.SUSPENSION_ORDERED, Event.SUSPENSION_LIFTED)
    assert [(e.actor, e.detail["vehicle"]) for e in told] == [(boss.id, "all")] * 2
    assert told[1].detail["reference"] == "BCA 26-17"


@pytest.mark.policy("R-13.824-6-6")
def test_the_daemons_own_look_ends_the_session_within_seconds(
    office: Office, tmp_path: Path
) -> None:
    """The real :class:`Collecting` and :class:`Keeper` on the real clock."""
    office.now = datetime.now(UTC)
    car = PatrolCar(office, tmp_path, "car-1", "1")
    car.contact()
    clock = DisciplinedClock()
    clock.observe_central(office.now, time.monotonic_ns())
    targets, book = _targets(clock), RosterBook()
    book.load(roster(DEPUTY))
    sessions = SessionKeeper(car.store, reader="1", now=clock.now)
    collecting = Collecting(
        on=threading.Event(), drained=lambda seconds: [], store=car.store, sessions=sessions,
        permits=car.permits, clock=clock, targets=lambda: targets, roster=book, vehicle="car-1",
    )  # fmt: skip
    mark = PurgeClock(clock)
    keeper = Keeper(
        store=car.store, sessions=sessions, board=AlertBoard(car.store), permits=car.permits,
        roster=book, clock=clock, mark=mark, lives=Lives(car.store, clock, mark),
        collecting=collecting, camera_up=lambda: True,
    )  # fmt: skip
    beat = Beat()
    thread = threading.Thread(target=keeper.run, args=(beat,))
    thread.start()
    try:
        collecting.signed_on(DEPUTY, "stolen_vehicles", "12")
        time.sleep(2.5)
        assert sessions.is_open, "with leave it goes on"
        boss = office.person("sheriff")
        orders.suspend(office.central, "", "letter", Actor(boss.id, boss.name, "sheriff"))
        car.contact()
        heard = time.monotonic()
        while sessions.is_open:
            assert time.monotonic() - heard < 30
            time.sleep(0.02)
    finally:
        beat.stop()
        thread.join()
    assert time.monotonic() - heard < 10, "a second, on a machine that is not overloaded"
    (row,) = car.store.unsent_sessions()
    assert row.end_reason == "suspended"
    with pytest.raises(RefusedError, match="suspended by order"):
        collecting.signed_on(DEPUTY, "stolen_vehicles", "12")
    car.store.close()
