"""Exculpatory holds: kept on written request until the matter is resolved (R-460.5-a).

A hold needs a pending charge or complaint with its number, a written request (kept sealed) and a
statement (T-2: where there is only an investigation, the reads are linked to the case instead). It
is in force from the day of receipt for what still exists: what is stored, what arrives later, and
what is in a car, which a freeze keeps until it is uploaded. Held reads are out of the purge and out
of ordinary search.

A plate is compared exactly as typed (with a stacked part in either order); a requester who fears a
misread gives the other spellings too, or reads by id. A read of a protected plate is never held
(R-460.5-b2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from alprd.audit import Actor
from alprd.central.fleet import orders
from alprd.central.hotlists.entry import in_own_words
from alprd.central.records import exemptions, recipientorders
from alprd.central.records.cases import case_number
from alprd.central.records.exemptions import Exemption
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, vault
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.crypto import sha256_hex
from alprd.errors import InputError, RefusedError
from alprd.records import MAX_LIFE, Plate, Read, fold, hour_floor, new_id, normalise
from alprd.wire import Person

LONGEST_WINDOW: Final = timedelta(days=60)
RENEW_BEFORE: Final = timedelta(days=14)
"""A freeze is ordered anew this long before it ends, so that a docking car hears it in time."""
MAX_REQUEST: Final = 20_000_000
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the written request asks for."""

    requester: str
    received: datetime
    number: str
    statement: str
    plates: tuple[str, ...]
    since: datetime
    until: datetime
    request: bytes
    """The written request as it came (scan or text)."""


def place(central: Central, person: Person, asked: Asked) -> tuple[Exemption, int]:
    """Hold what fits, freeze the cars, and stand ready for what arrives; reads held at once.

    Raises:
        RefusedError: the role, or a statement that says too little.
        InputError: number, request, plate or window missing or out of range.
    """
    now = central.clock()
    people.require(person, Act.HOLD_PLACE, now)
    row = _row(person, asked, now)
    sealed = seal(_file_key(central, row.id), asked.request, _aad(row.id))
    central.objects.put("holds", {row.id: sealed})
    actor = people.actor(person)
    with central.database.write() as tx:
        row = _freeze(central, tx, row, actor)
        exemptions.add(central, tx, row)
        number = _apply(central, tx, row)
        central.trail.record(
            tx,
            Event.HOLD_PLACED,
            actor,
            at=now,
            subjects=[row.id],
            detail={
                "number": row.number,
                "received": asked.received.isoformat(timespec="seconds"),
                "from": asked.since.isoformat(timespec="seconds"),
                "to": asked.until.isoformat(timespec="seconds"),
                "request": row.request_sha256,
                "reads": number,
                "cars": len(row.orders),
            },
            terms=" ".join(row.plates),
        )
    return row, number


def release(central: Central, person: Person, hold: str, reason: str) -> Exemption:
    """The matter is resolved or dismissed: the next purge takes what is past its life.

    Raises:
        RefusedError: the role, or a hold that is over.
    """
    now = central.clock()
    people.require(person, Act.HOLD_PLACE, now)
    in_own_words("reason", reason)
    actor = people.actor(person)
    with central.database.write() as tx:
        row = _active(central, tx, hold)
        for serial in row.orders:
            orders.end_freeze(central, tx, serial, "hold released", actor)
        mine = select(db.exempted.c.read).where(db.exempted.c.exemption == row.id)
        recipientorders.tell(central, tx, "end_hold", tx.scalars(mine).all())
        return exemptions.release(central, tx, row, actor, reason.strip(), now)


def collected(central: Central, person: Person, hold: str) -> Exemption:
    """Every car has uploaded its window: the freezes end, what is held stays held.

    Raises:
        RefusedError: the role, or a hold that is over.
    """
    now = central.clock()
    people.require(person, Act.HOLD_PLACE, now)
    actor = people.actor(person)
    with central.database.write() as tx:
        row = _active(central, tx, hold)
        for serial in row.orders:
            orders.end_freeze(central, tx, serial, "uploaded", actor)
        ended, row = len(row.orders), row.model_copy(update={"orders": (), "collected": True})
        exemptions.replace(central, tx, row)
        central.trail.record(
            tx,
            Event.HOLD_COLLECTED,
            actor,
            at=now,
            subjects=[row.id],
            detail={"number": row.number, "freezes": ended},
        )
    return row


def written_request(central: Central, person: Person, hold: str) -> bytes:
    """The written request; the look is recorded.

    Raises:
        RefusedError: the role.
        EnvelopeError: the file was altered.
    """
    now = central.clock()
    people.require(person, Act.HOLD_PLACE, now)
    with central.database.write() as tx:
        row = exemptions.find(central, tx, hold, "hold")
        sealed = central.objects.get("holds", row.id)
        plain = unseal(_file_key(central, row.id), sealed, _aad(row.id))
        central.trail.record(
            tx,
            Event.EXEMPTION_VIEWED,
            people.actor(person),
            at=now,
            subjects=[row.id],
            detail={"kind": "hold", "number": row.number, "what": "written request"},
        )
    return plain


# --- intake and purge -------------------------------------------------------------------------


def pending(central: Central, tx: Connection) -> tuple[Exemption, ...]:
    """The holds in force, for an intake."""
    return tuple(exemptions.every(central, tx, "hold", ["active"]))


def frozen_for(
    central: Central, tx: Connection, vehicle: str, holds: Sequence[Exemption], now: datetime
) -> tuple[Exemption, ...]:
    """Those whose freeze is in force in this car: it may bring reads past their header's life."""
    table = db.car_orders
    alive = set(
        tx.scalars(
            select(table.c.serial).where(
                table.c.vehicle == vehicle,
                table.c.kind == "freeze",
                table.c.ended_at.is_(None),
                table.c.hold_until > now,
            )
        )
    )
    return tuple(hold for hold in holds if alive & set(hold.orders))


def matching(holds: Sequence[Exemption], read: Read, destroy_by: datetime) -> tuple[str, ...]:
    """Ids of the holds that this read falls under.

    A read whose life had ended when the request came in was no longer to exist: not held.
    """
    return tuple(
        hold.id
        for hold in holds
        if hold.received is not None
        and hold.received < destroy_by
        and _fits(hold, read.plate, read.instant)
    )


def take_arrivals(
    central: Central, tx: Connection, arrived: dict[str, tuple[bytes, tuple[str, ...]]]
) -> None:
    """Put new reads, with their keys, under the holds they fall under; in intake's transaction."""
    now = central.clock()
    for hold in {name for _, names in arrived.values() for name in names}:
        keys = {read: key for read, (key, names) in arrived.items() if hold in names}
        exemptions.take_in(central, tx, hold, keys)
        central.trail.record(
            tx,
            Event.HOLD_APPLIED,
            CENTRAL,
            at=now,
            subjects=[hold, *sorted(keys)],
            detail={"reads": len(keys)},
        )


def renew_freezes(central: Central, tx: Connection, now: datetime) -> None:
    """At each purge: order anew the freezes that end soon, and freeze the cars that came later."""
    table = db.car_orders
    for hold in pending(central, tx):
        serials, told = [], set()
        for serial in hold.orders:
            row = tx.execute(select(table).where(table.c.serial == serial)).one()
            told.add(row.vehicle)
            if row.hold_until is None or row.hold_until - RENEW_BEFORE > now:
                serials.append(serial)
                continue
            tx.execute(table.update().where(table.c.serial == serial).values(ended_at=now))
            scope = orders.Scope(since=hold.since, until=hold.until)
            fresh = orders.freeze_for_hold(central, tx, row.vehicle, scope, CENTRAL)
            serials.append(fresh.serial)
        for name in _came_later(tx, hold, now):
            if name not in told:
                scope = orders.Scope(since=hold.since, until=hold.until)
                serials.append(orders.freeze_for_hold(central, tx, name, scope, CENTRAL).serial)
        if tuple(serials) != hold.orders:
            made = hold.model_copy(update={"orders": tuple(serials)})
            exemptions.replace(central, tx, made)


def _came_later(tx: Connection, hold: Exemption, now: datetime) -> Sequence[str]:
    """Cars enrolled since a hold was placed that may collect in its window, or did."""
    if hold.collected or hold.until is None or hold.until <= now - MAX_LIFE:
        return ()
    table = db.vehicles
    later = (
        table.c.revoked_at.is_(None),
        table.c.enrolled_at > hold.opened_at,
        table.c.enrolled_at <= hold.until,
    )
    return tx.scalars(select(table.c.vehicle).where(*later).order_by(table.c.vehicle)).all()


def intake_days(central: Central, tx: Connection) -> frozenset[str]:
    """Days whose intake key must live on: cars may still hold frozen reads of them."""
    days: set[str] = set()
    for hold in pending(central, tx):
        if not hold.orders or hold.since is None or hold.until is None:
            continue
        day = hold.since.date() - timedelta(days=1)
        while day <= hold.until.date() + timedelta(days=1):
            days.add(day.isoformat())
            day += timedelta(days=1)
    return frozenset(days)


# --- the hold ---------------------------------------------------------------------------------


def _row(person: Person, asked: Asked, now: datetime) -> Exemption:
    number = case_number(asked.number)
    in_own_words("statement", asked.statement)
    plates = tuple(dict.fromkeys(normalise(plate) for plate in asked.plates))
    if not asked.requester.strip():
        raise InputError("the requester's name is missing")
    if not asked.request or len(asked.request) > MAX_REQUEST:
        raise InputError("the written request is empty or larger than 20 MB")
    if not plates or any(not 1 <= len(plate) <= 14 for plate in plates):
        raise InputError("a hold names at least one plate", remedy="give --plate")
    if asked.received > now:
        raise InputError("the request was received in the future")
    if not asked.since < asked.until <= asked.since + LONGEST_WINDOW:
        raise InputError(f"the window is not within {LONGEST_WINDOW.days} days")
    if asked.until < asked.received - MAX_LIFE:
        raise InputError("nothing of the window existed any more when the request came in")
    return Exemption(
        id=new_id(),
        kind="hold",
        state="active",
        number=number,
        statement=asked.statement.strip(),
        opened_by=person.id,
        opened_at=now,
        requester=" ".join(asked.requester.split()),
        received=asked.received,
        plates=plates,
        since=asked.since,
        until=asked.until,
        request_sha256=sha256_hex(asked.request),
    )


def _freeze(central: Central, tx: Connection, row: Exemption, actor: Actor) -> Exemption:
    """A freeze of the window in every car that may still hold reads."""
    table = db.vehicles
    names = tx.scalars(
        select(table.c.vehicle).where(table.c.revoked_at.is_(None)).order_by(table.c.vehicle)
    ).all()
    scope = orders.Scope(since=row.since, until=row.until)
    made = [orders.freeze_for_hold(central, tx, name, scope, actor) for name in names]
    return row.model_copy(update={"orders": tuple(order.serial for order in made)})


def _apply(central: Central, tx: Connection, row: Exemption) -> int:
    """Hold what is stored and fits: by digest inside each hour, then by the opened cell."""
    if row.since is None or row.until is None or row.received is None:
        raise InputError("the hold has no window")
    table = db.reads
    forms = [fold(plate) for plate in row.plates]
    found: dict[str, bytes] = {}
    hour, last = hour_floor(row.since), hour_floor(row.until)
    while hour <= last:
        query = select(table).where(
            table.c.hour == hour,
            (table.c.destroy_by > row.received) | table.c.id.in_(exemptions.exempted()),
        )
        rows = tx.execute(query).all()
        hour_key = central.keystore.hour_key(hour) if rows else None
        if hour_key is not None:
            marks = {vault.plate_digest(hour_key, form) for form in forms}
            kept = set(tx.scalars(exemptions.exempted()))
            # What outlived an earlier key of its hour is looked at by opening it.
            rows = [
                r for r in rows
                if r.id in kept or not marks.isdisjoint((r.digest0, r.digest1, r.digest2))
            ]  # fmt: skip
        keys = exemptions.current_keys(central, tx, [r.id for r in rows])
        for read in rows:
            cell = vault.open_cell(read, keys[read.id]) if read.id in keys else None
            if cell is not None and _fits(row, cell.plate, cell.instant):
                found[read.id] = keys[read.id]
        hour += _HOUR
    recipientorders.tell(central, tx, "hold", found)
    return exemptions.take_in(central, tx, row.id, found)


def _fits(row: Exemption, plate: Plate, instant: datetime) -> bool:
    if row.since is None or row.until is None or not row.since <= instant <= row.until:
        return False
    text, stacked = plate.text, plate.stacked
    return not {text, text + stacked, stacked + text}.isdisjoint(row.plates)


def _active(central: Central, tx: Connection, hold: str) -> Exemption:
    row = exemptions.find(central, tx, hold, "hold")
    if row.state != "active":
        raise RefusedError(f"the hold is {row.state}", reason="wrong_state")
    return row


def _file_key(central: Central, hold: str) -> bytes:
    return central.keystore.purpose_key(f"hold request {hold}")


def _aad(hold: str) -> bytes:
    return f"hold-request {hold}".encode()
