"""Orders to cars: freeze, thaw, destroy, suspend, lift; and the cars' receipts.

An order names reads, sessions or a window, never a plate: a car cannot open its reads, and the
office need not tell it whom an order is about. It is numbered for its vehicle, handed out at every
contact until the car's receipt arrives (a freeze for as long as it is in force), and audited here
when it is given, handed out and done, with its reason, which the car never learns.

A suspension of all readers stops every car at its next contact; one that is out of contact stops
when its permit lapses. Only the sheriff or the administration supervisor may order it, and lifting
it needs the reference of the letter that allows it (R-13.824-6-6).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import ValidationError
from sqlalchemy import Connection, func, insert, or_, select, update

from alprd import crypto
from alprd.audit import Actor
from alprd.central.fleet.vehicles import Vehicle, touch
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import new_id
from alprd.wire import Ack, CarHealth, Order, OrderReceipts

LONGEST_FREEZE: Final = timedelta(days=60)
DEFAULT_FREEZE: Final = timedelta(days=7)
AckKind = Literal["orders", "health"]
MOST_AT_ONCE: Final = 20
"""Orders handed out in one answer; the rest comes at the next contact."""
_MAX_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Scope:
    """Which reads an order means."""

    reads: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def check(self) -> None:
        """Refuse a scope that means nothing, or half a window.

        Raises:
            InputError: says what is missing.
        """
        if (self.since is None) != (self.until is None):
            raise InputError("a window needs both ends", remedy="give --from and --to")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InputError("the window ends before it begins")
        if not (self.reads or self.sessions or self.since):
            raise InputError(
                "the order means no read", remedy="give --read, --session, or --from and --to"
            )


def authorised(central: Central, person: str) -> Actor:
    """Who gives an order: a person with the role for it, live training and authorisation.

    Raises:
        RefusedError: unknown, or not the sheriff or administration supervisor.
    """
    with central.database.read() as tx:
        found = people.acting(tx, person, central.clock())
    if found is None:
        raise RefusedError(
            "orders to cars are given by a known person",
            reason="unknown_person",
            remedy="give the id of the sheriff or the administration supervisor with --by",
        )
    people.require(found, Act.CAR_ORDER, central.clock())
    return people.actor(found)


def freeze(
    central: Central, vehicle: str, scope: Scope, until: datetime | None, reason: str, by: Actor
) -> Order:
    """Pause the purge of reads in a car until they are uploaded, at most to ``until``.

    Raises:
        InputError: no such car, no reason, nothing meant, or an end out of range.
    """
    now = central.clock()
    until = until or now + DEFAULT_FREEZE
    if not now < until <= now + LONGEST_FREEZE:
        raise InputError(
            f"a freeze ends within {LONGEST_FREEZE.days} days", remedy="order it again later"
        )
    scope.check()
    with central.database.write() as tx:
        return _issue(central, tx, vehicle, "freeze", reason, by, scope=scope, hold_until=until)


def freeze_for_hold(
    central: Central, tx: Connection, vehicle: str, scope: Scope, by: Actor
) -> Order:
    """Freeze for as long as one order may, in the transaction of the hold that needs it."""
    until = central.clock() + LONGEST_FREEZE
    return _issue(
        central, tx, vehicle, "freeze", "exculpatory hold", by, scope=scope, hold_until=until
    )


def end_freeze(central: Central, tx: Connection, serial: str, reason: str, by: Actor) -> None:
    """End a freeze in the caller's transaction, when it is still in force."""
    table = db.car_orders
    mine = (table.c.serial == serial) & (table.c.kind == "freeze") & table.c.ended_at.is_(None)
    row = tx.execute(select(table).where(mine)).one_or_none()
    if row is None:
        return
    tx.execute(update(table).where(mine).values(ended_at=central.clock()))
    frozen = Order.model_validate_json(row.document)
    scope = Scope(frozen.reads, frozen.sessions, frozen.since, frozen.until)
    _issue(central, tx, row.vehicle, "thaw", reason, by, scope=scope, ends=serial)


def thaw(central: Central, serial: str, reason: str, by: Actor) -> Order:
    """End a freeze: every read has its own destroy-by again.

    Raises:
        InputError: no freeze in force has this serial.
    """
    table = db.car_orders
    with central.database.write() as tx:
        row = tx.execute(
            select(table).where(
                table.c.serial == serial, table.c.kind == "freeze", table.c.ended_at.is_(None)
            )
        ).one_or_none()
        if row is None:
            raise InputError(
                f"no freeze in force is {serial}", remedy="see alprd-central orders list"
            )
        tx.execute(update(table).where(table.c.serial == serial).values(ended_at=central.clock()))
        frozen = Order.model_validate_json(row.document)
        scope = Scope(frozen.reads, frozen.sessions, frozen.since, frozen.until)
        return _issue(central, tx, row.vehicle, "thaw", reason, by, scope=scope, ends=serial)


def destroy(central: Central, vehicle: str, scope: Scope, reason: str, by: Actor) -> Order:
    """Destroy reads in a car, unsent.

    Raises:
        InputError: no such car, no reason, or nothing meant.
    """
    scope.check()
    with central.database.write() as tx:
        return _issue(central, tx, vehicle, "destroy", reason, by, scope=scope)


def suspend(central: Central, vehicle: str, reason: str, by: Actor) -> str:
    """Suspend one car, or all (empty name), those included that enrol later; the serial.

    Raises:
        InputError: no such car, no reason, or it is suspended by order already.
    """
    now = central.clock()
    reason = _text(reason, "reason")
    table = db.suspensions
    with central.database.write() as tx:
        names = _names(tx, vehicle)
        live = select(table.c.serial).where(table.c.vehicle == vehicle, table.c.lifted_at.is_(None))
        if tx.scalar(live) is not None:
            raise InputError("it is suspended by order already")
        serial = new_id()
        tx.execute(
            insert(table).values(
                serial=serial, vehicle=vehicle, ordered_at=now, ordered_by=by.id, reason=reason
            )
        )
        _forget_permits(tx, names)
        central.trail.record(
            tx,
            Event.SUSPENSION_ORDERED,
            by,
            at=now,
            subjects=[serial],
            detail={"vehicle": vehicle or "all", "reason": reason},
        )
        for name in names:
            _issue(central, tx, name, "suspend", reason, by, ends=serial)
    return serial


def lift(central: Central, serial: str, reference: str, by: Actor) -> int:
    """Lift a suspension; how many cars it had stopped.

    Args:
        reference: of the letter that allows it (R-13.824-6-6).

    Raises:
        InputError: no such suspension, or no reference.
    """
    now = central.clock()
    reference = _text(reference, "reference")
    table = db.suspensions
    with central.database.write() as tx:
        vehicle = tx.scalar(
            select(table.c.vehicle).where(table.c.serial == serial, table.c.lifted_at.is_(None))
        )
        if vehicle is None:
            raise InputError(
                f"no suspension in force is {serial}", remedy="see alprd-central orders list"
            )
        tx.execute(
            update(table)
            .where(table.c.serial == serial)
            .values(lifted_at=now, lifted_by=by.id, reference=reference)
        )
        central.trail.record(
            tx,
            Event.SUSPENSION_LIFTED,
            by,
            at=now,
            subjects=[serial],
            detail={"vehicle": vehicle or "all", "reference": reference},
        )
        names = _names(tx, vehicle)
        _forget_permits(tx, names)
        for name in names:
            if not _still_suspended(tx, name):
                _issue(central, tx, name, "lift", reference, by)
    return len(names)


def listing(central: Central) -> list[dict[str, Any]]:
    """Every order and suspension, newest first; for ``alprd-central orders list``."""
    with central.database.read() as tx:
        orders = tx.execute(select(db.car_orders).order_by(db.car_orders.c.issued_at.desc())).all()
        stops = tx.execute(
            select(db.suspensions).order_by(db.suspensions.c.ordered_at.desc())
        ).all()
    return [
        {
            "kind": "suspension",
            "serial": row.serial,
            "vehicle": row.vehicle or "all",
            "ordered_at": row.ordered_at,
            "ordered_by": row.ordered_by,
            "reason": row.reason,
            "lifted_at": row.lifted_at,
            "reference": row.reference,
        }
        for row in stops
    ] + [
        {
            "kind": row.kind,
            "serial": row.serial,
            "vehicle": row.vehicle,
            "number": row.number,
            "ordered_at": row.issued_at,
            "ordered_by": row.issued_by,
            "reason": row.reason,
            "hold_until": row.hold_until,
            "handed_out_at": row.handed_out_at,
            "done_at": row.done_at,
            "count": row.count,
            "ended_at": row.ended_at,
        }
        for row in orders
    ]


def due(central: Central, tx: Connection, vehicle: Vehicle, now: datetime) -> tuple[Order, ...]:
    """What a car is to do: orders without a receipt, and freezes in force; all marked as handed."""
    table = db.car_orders
    live = (table.c.kind == "freeze") & table.c.ended_at.is_(None) & (table.c.hold_until > now)
    rows = tx.execute(
        select(table)
        .where(table.c.vehicle == vehicle.name, or_(table.c.done_at.is_(None), live))
        .order_by(table.c.done_at.is_not(None), table.c.number)
        .limit(MOST_AT_ONCE)
    ).all()
    for row in rows:
        if row.handed_out_at is None:
            tx.execute(update(table).where(table.c.serial == row.serial).values(handed_out_at=now))
            central.trail.record(
                tx,
                Event.ORDER_HANDED_OUT,
                vehicle.actor,
                at=now,
                subjects=[row.serial],
                detail={"vehicle": vehicle.name, "kind": row.kind},
            )
    found = (Order.model_validate_json(row.document) for row in rows)
    return tuple(sorted(found, key=lambda order: order.number))


def accept_receipts(
    central: Central, vehicle: Vehicle, document: crypto.SignedDocument
) -> crypto.SignedDocument:
    """Note what a car has done; the same receipt again changes nothing.

    Raises:
        SignatureError: not signed by this car's batch key.
        RefusedError: of another car or enrolment, or of an order it was never given.
    """
    said = crypto.verify_document(document, "order-receipts", vehicle.batch_key, OrderReceipts)
    _own(central, vehicle, said.agency, said.vehicle)
    if said.enrolment != crypto.key_id(vehicle.batch_key):
        raise RefusedError("receipts are of another enrolment", reason="wrong_enrolment")
    now = central.clock()
    table = db.car_orders
    with central.database.write() as tx:
        for item in said.items:
            mine = (table.c.vehicle == vehicle.name) & (table.c.serial == item.serial)
            row = tx.execute(select(table).where(mine)).one_or_none()
            if row is None or row.handed_out_at is None:
                raise RefusedError("a receipt is for an order not given", reason="unknown_order")
            if row.done_at is not None:
                continue
            tx.execute(update(table).where(mine).values(done_at=now, count=item.count))
            central.trail.record(
                tx,
                Event.ORDER_DONE,
                vehicle.actor,
                at=now,
                subjects=[item.serial],
                detail={"vehicle": vehicle.name, "kind": row.kind, "count": item.count},
            )
        touch(tx, vehicle, now, dock=False)
    return _ack(central, vehicle, "orders", tuple(item.serial for item in said.items))


def accept_health(
    central: Central, vehicle: Vehicle, document: crypto.SignedDocument
) -> crypto.SignedDocument:
    """Keep how a car does: the newest report alone.

    Raises:
        SignatureError: not signed by this car's batch key.
        RefusedError: of another car.
    """
    said = crypto.verify_document(document, "health", vehicle.batch_key, CarHealth)
    _own(central, vehicle, said.agency, said.vehicle)
    now = central.clock()
    table = db.car_health
    values = {"received_at": now, "document": said.model_dump_json()}
    with central.database.write() as tx:
        mine = table.c.vehicle == vehicle.name
        if tx.execute(update(table).where(mine).values(**values)).rowcount == 0:
            tx.execute(insert(table).values(vehicle=vehicle.name, **values))
        touch(tx, vehicle, now, dock=False)
    return _ack(central, vehicle, "health", ())


def _own(central: Central, vehicle: Vehicle, agency: str, name: str) -> None:
    if (agency, name) != (central.config.agency, vehicle.name):
        raise RefusedError("report is for another agency or vehicle", reason="wrong_sender")


def _ack(
    central: Central, vehicle: Vehicle, kind: AckKind, ids: tuple[str, ...]
) -> crypto.SignedDocument:
    ack = Ack(agency=central.config.agency, vehicle=vehicle.name, kind=kind, ids=ids)
    return crypto.sign_document("ack", ack, central.receipt_key())


def _text(text: str, what: str) -> str:
    text = text.strip()
    if not text or len(text) > _MAX_TEXT:
        raise InputError(f"the {what} is missing or longer than {_MAX_TEXT} characters")
    return text


def _names(tx: Connection, vehicle: str) -> list[str]:
    query = select(db.vehicles.c.vehicle).order_by(db.vehicles.c.vehicle)
    if vehicle:
        query = query.where(db.vehicles.c.vehicle == vehicle)
    names = list(tx.scalars(query))
    if vehicle and not names:
        raise InputError(f"no car named {vehicle}", remedy="see alprd-central status")
    return names


def _forget_permits(tx: Connection, names: list[str]) -> None:
    tx.execute(update(db.vehicles).where(db.vehicles.c.vehicle.in_(names)).values(permit=None))


def _still_suspended(tx: Connection, name: str) -> bool:
    table = db.suspensions
    return (
        tx.scalar(
            select(table.c.serial).where(
                table.c.vehicle.in_([name, ""]), table.c.lifted_at.is_(None)
            )
        )
        is not None
    )


def _issue(
    central: Central,
    tx: Connection,
    vehicle: str,
    kind: Any,
    reason: str,
    by: Actor,
    *,
    scope: Scope | None = None,
    hold_until: datetime | None = None,
    ends: str | None = None,
) -> Order:
    now = central.clock()
    reason = _text(reason, "reason")
    scope = scope or Scope()
    _names(tx, vehicle)
    table = db.car_orders
    last = tx.scalar(select(func.max(table.c.number)).where(table.c.vehicle == vehicle)) or 0
    try:
        order = Order(
            number=last + 1,
            serial=new_id(),
            kind=kind,
            issued=now,
            reads=scope.reads,
            sessions=scope.sessions,
            since=scope.since,
            until=scope.until,
            hold_until=hold_until,
            ends=ends,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"order: {first['loc'][0]}: {first['msg']}") from None
    tx.execute(
        insert(table).values(
            vehicle=vehicle,
            number=order.number,
            serial=order.serial,
            kind=kind,
            document=order.model_dump_json(),
            issued_at=now,
            issued_by=by.id,
            reason=reason,
            hold_until=hold_until,
        )
    )
    central.trail.record(
        tx,
        Event.ORDER_ISSUED,
        by,
        at=now,
        subjects=[order.serial],
        detail={"vehicle": vehicle, "kind": kind, "number": order.number, "reason": reason},
    )
    return order
