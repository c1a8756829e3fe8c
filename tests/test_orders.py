"""Orders to the car, with the real central in its own process and the car's real queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_process import BY, CentralProcess, book, dock
from dock_world import AGENCY, CAR, Car
from factories import read, session_row

from alprd.audit import Event
from alprd.crypto import seal_read
from alprd.errors import RefusedError, StoreError
from alprd.orderbook import OrderBook
from alprd.permits import PermitBook
from alprd.records import MAX_LIFE, destroy_by, new_id
from alprd.sync import DockSync
from alprd.wire import Order

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CentralProcess]:
    made = CentralProcess(tmp_path_factory.mktemp("central") / "home")
    made.serve()
    yield made
    made.stop()


@pytest.fixture
def car(central: CentralProcess, tmp_path: Path) -> Iterator[Car]:
    made = central.car(tmp_path / "state")
    yield made
    made.store.close()


def ordered(central: CentralProcess, serial: str) -> dict[str, Any]:
    found = central.run("orders", "list")["orders"]
    return next(row for row in found if row["serial"] == serial)


def short(car: Car, number: int) -> None:
    """Queue reads whose life is a day."""
    for _ in range(number):
        value = read(session=car.row.id, instant=NOW, destroy_by=destroy_by(NOW, timedelta(days=1)))
        envelope = seal_read(value, agency=AGENCY, vehicle=CAR, intake_key=car.intake)
        car.store.commit_read(envelope, hit=False, session_row=car.row)


def contact(dock: DockSync) -> None:
    """Orders, receipts, permit; no reads, as over a modem."""
    with dock._trust.client() as client:
        assert not dock._ordered(client)


def ids(car: Car) -> set[str]:
    return {row[0] for row in car.store.rows("SELECT id FROM reads")}


def ends(car: Car) -> set[str]:
    return {row[0] for row in car.store.rows("SELECT destroy_by FROM reads")}


# --- the car against the real central -----------------------------------------------------------


@pytest.mark.policy("R-460.5-b", "R-AT-1")
def test_destroy_by_id_is_done_once_receipted_and_audited(
    central: CentralProcess, car: Car
) -> None:
    first, second, third = car.commit(3)
    serial = central.run("orders", "destroy", "--vehicle", CAR, "--read", first, *BY)["order"]
    assert ordered(central, serial)["handed_out_at"] is None
    syncing, orders = dock(car)
    contact(syncing)
    assert ids(car) == {second, third}
    row = ordered(central, serial)
    assert row["done_at"] is not None
    assert row["count"] == 1
    assert orders.receipts() == ()
    totals = car.store.ledger()
    assert (totals.committed, totals.expired, totals.left) == (3, 1, 2)
    events = [e for e in car.store.audit_events() if e.event == "device.order-done"]
    assert [e.subjects for e in events] == [(serial,)]
    contact(syncing)
    again = [e for e in car.store.audit_events() if e.event == "device.order-done"]
    assert again == events
    # Nothing of the destroyed read lies in the file or its log any more.
    car.store.close()
    left = b"".join(path.read_bytes() for path in car.trust.state_dir.glob("queue.db*"))
    assert first.encode() not in left
    assert second.encode() in left
    car.open()


@pytest.mark.policy("R-460.5-a")
def test_freeze_keeps_reads_past_their_end_until_thaw(central: CentralProcess, car: Car) -> None:
    short(car, 2)  # a life of one day: what a freeze is for
    own = ends(car)
    serial = central.run(
        "orders", "freeze", "--vehicle", CAR, "--session", car.row.id,
        "--hold-until", (NOW + timedelta(days=10)).isoformat(), *BY,
    )["order"]  # fmt: skip
    syncing, _ = dock(car)
    contact(syncing)
    assert ordered(central, serial)["count"] == 2
    short(car, 1)
    contact(syncing)  # what was queued since is held too
    assert car.store.purge(NOW + timedelta(days=9)) == 0
    central.run("orders", "thaw", "--order", serial, *BY)
    contact(syncing)
    assert ends(car) == own
    assert car.store.purge(NOW + timedelta(days=2)) == 3


@pytest.mark.policy("R-460.5-a", "R-460.5-2b")
def test_a_freeze_ends_by_itself_and_never_shortens_a_life(
    central: CentralProcess, car: Car
) -> None:
    car.commit(1)
    own = ends(car)
    short(car, 1)
    central.run("orders", "freeze", "--vehicle", CAR, "--session", car.row.id, *BY)
    syncing, _ = dock(car)
    contact(syncing)
    assert len(own & ends(car)) == 1, "60 days stay 60 days"
    assert car.store.purge(NOW + timedelta(days=6)) == 0
    assert car.store.purge(NOW + timedelta(days=8)) == 1, "central said seven days"
    assert car.store.purge(NOW + MAX_LIFE + timedelta(hours=1)) == 1


@pytest.mark.policy("R-13.824-6-6")
def test_suspension_stops_at_contact_and_lifting_needs_a_reference(
    central: CentralProcess, car: Car
) -> None:
    syncing, orders = dock(car)
    permits = PermitBook(
        car.store,
        agency=car.trust.agency,
        vehicle=CAR,
        receipt_key=car.trust.receipt_key,
        suspended=lambda: orders.suspended,
    )
    syncing._on_permit = permits.renew
    syncing.step()
    permits.check(datetime.now(UTC))
    assert "known person" in central.run(
        "orders", "suspend", "--all", "--by", "nobody", "--reason", "x", fails=True
    )
    assert "role" in central.run(
        "orders", "suspend", "--all", "--by", "dep", "--reason", "x", fails=True
    )
    serial = central.run("orders", "suspend", "--all", *BY)["order"]
    contact(syncing)
    with pytest.raises(RefusedError) as refused:
        permits.check(datetime.now(UTC))
    assert refused.value.reason == "suspended"
    assert book(car).suspended, "also after a power cut"
    syncing.step()
    assert permits.permit is not None
    assert permits.permit.suspended, "a car that gets only the permit stops too"
    central.run("vehicles", "resume", "--vehicle", CAR, "--by", "sup")
    syncing.step()
    assert permits.permit.suspended, "resuming one car does not lift an order"
    assert "Missing option" in central.run(
        "orders", "lift", "--order", serial, "--by", "sup", fails=True
    )
    central.run("orders", "lift", "--order", serial, "--reference", "letter 7", "--by", "sup")
    syncing.step()
    permits.check(datetime.now(UTC))
    assert ordered(central, serial)["reference"] == "letter 7"
    central.run("audit", "verify")


@pytest.mark.policy("R-13.824-6-6")
def test_a_car_away_from_the_dock_is_reached_over_any_route(
    central: CentralProcess, car: Car, tmp_path: Path
) -> None:
    """Permit and orders go over a modem; the queue, the trail and lists wait for the dock."""
    car.commit(2)
    got: list[object] = []
    away = {"carrier_file": tmp_path / "none", "on_permit": got.append}
    syncing, orders = dock(car, **away)
    syncing.step()
    assert got == []
    syncing, orders = dock(car, permit_over="any", **away)
    serial = central.run("orders", "suspend", "--vehicle", CAR, *BY)["order"]
    syncing.step()
    assert orders.suspended
    assert len(got) == 1
    assert syncing.status().text == "not docked"
    assert car.store.pending().reads == 2
    assert car.store.pending().audit > 0
    syncing.step()
    assert len(got) == 1, "asked now and then, not at every look"
    central.run("orders", "lift", "--order", serial, "--reference", "letter 8", "--by", "sup")


def test_orders_that_mean_nothing_are_refused(central: CentralProcess) -> None:
    known = ("orders", "destroy", "--vehicle", CAR)
    central.code()
    for more, says in (
        ((), "means no read"),
        (("--from", "2026-11-01T00:00:00Z"), "both ends"),
        (("--from", "2026-11-02T00:00:00Z", "--to", "2026-11-01T00:00:00Z"), "before it begins"),
        (("--read", "x"), "order: reads"),
    ):
        assert says in central.run(*known, *more, *BY, fails=True)
    assert "no car named" in central.run(
        "orders", "destroy", "--vehicle", "unit-99", "--read", new_id(), *BY, fails=True
    )
    assert "within 60 days" in central.run(
        "orders", "freeze", "--vehicle", CAR, "--read", new_id(), "--hold-until", "2030-01-01",
        *BY, fails=True,
    )  # fmt: skip
    assert "no freeze" in central.run("orders", "thaw", "--order", new_id(), *BY, fails=True)


# --- the book alone -----------------------------------------------------------------------------


def order(number: int, kind: Any, **fields: Any) -> Order:
    return Order(number=number, serial=new_id(), kind=kind, issued=NOW, **fields)


@pytest.mark.policy("R-460.5-a", "R-460.5-b")
def test_a_window_means_whole_sessions_that_overlap_it(car: Car) -> None:
    inside = car.commit(2)
    car.store.close_session(
        car.row.model_copy(update={"started": NOW - timedelta(hours=3), "ended": NOW})
    )
    car.row = session_row(
        started=NOW - timedelta(days=9), ended=NOW - timedelta(days=8), id=new_id()
    )
    outside = car.commit(2)
    car.store.close_session(car.row)
    window = {"since": NOW - timedelta(hours=2), "until": NOW - timedelta(hours=1)}
    assert book(car).obey([order(1, "destroy", **window)]) == 1
    assert ids(car) == set(outside)
    assert not ids(car) & set(inside)


def test_a_replayed_order_is_not_done_again_and_a_new_central_counts_anew(car: Car) -> None:
    suspend, lift = order(1, "suspend"), order(2, "lift")
    orders = book(car)
    orders.obey([lift, suspend])
    assert not orders.suspended, "in the order of their numbers"
    orders.obey([suspend])
    assert not orders.suspended
    assert [one.number for one in book(car).receipts()] == [1, 2]
    orders.acknowledged([suspend.serial])
    assert [one.number for one in book(car).receipts()] == [2]
    other = OrderBook(car.store, giver="another", now=lambda: (NOW, True))
    other.obey([order(1, "suspend")])
    assert other.suspended


def test_a_thaw_leaves_what_another_freeze_holds(car: Car) -> None:
    (one,) = car.commit(1)
    with car.store.transaction() as tx:
        tx.execute("UPDATE reads SET destroy_by = '2026-11-24T00:00:00Z'")
    held = {"reads": (one,), "hold_until": NOW + timedelta(days=70)}
    first, second = order(1, "freeze", **held), order(2, "freeze", **held)
    orders = book(car)
    orders.obey([first, second])
    frozen = ends(car)
    orders.obey([second, order(3, "thaw", reads=(one,), ends=first.serial)])
    assert ends(car) == frozen
    orders.obey([order(4, "thaw", reads=(one,), ends=second.serial)])
    assert ends(car) != frozen


def test_a_disk_that_refuses_leaves_nothing_half_done(
    car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = car.commit(2)
    orders = book(car)

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("no room")

    todo = [order(1, "destroy", reads=(first,)), order(2, "suspend")]
    with monkeypatch.context() as patched:
        patched.setattr(car.store, "record", refuse)
        with pytest.raises(StoreError):
            orders.obey(todo)
    assert ids(car) == {first, second}
    assert not orders.suspended
    assert orders.receipts() == ()
    assert orders.obey(todo) == 2
    assert ids(car) == {second}
    assert json.loads(car.store.get_meta("orders") or "{}")["last"] == 2


@pytest.mark.policy("R-460.5-b")
def test_what_is_destroyed_by_order_goes_in_parts_that_a_power_cut_does_not_undo(
    car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt counts what went before the cut and after it."""
    every = car.commit(7)
    monkeypatch.setattr("alprd.store.EXPIRE_BYTES", 1)  # one read a part
    todo = [order(1, "destroy", reads=tuple(every[:6]))]
    left = iter(range(3))

    def cut(*args: Any) -> int:
        if next(left, None) is None:
            raise KeyboardInterrupt  # the power goes
        return parts(*args)

    first = book(car)
    parts = first._destroy_part
    monkeypatch.setattr(first, "_destroy_part", cut)
    with pytest.raises(KeyboardInterrupt):
        first.obey(todo)
    assert len(ids(car)) == 4 and first.receipts() == ()
    after = book(car)  # the next start
    assert after.obey(todo) == 1
    assert ids(car) == {every[6]}
    assert [one.count for one in after.receipts()] == [6]
    told = [e for e in car.store.audit_events() if e.event == Event.READS_DESTROYED]
    assert sum(int(e.detail["count"]) for e in told if e.subjects == (todo[0].serial,)) == 6
    assert car.store.ledger().expired == 6
    assert after.obey(todo) == 0
