"""Cars: who they are by their certificates, their permits, and central's signed time."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from cryptography import x509
from sqlalchemy import Connection, Row, delete, select, update

from alprd import crypto
from alprd.audit import Actor
from alprd.central.public import bcanotices
from alprd.central.storage import ca, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, InputError, RefusedError
from alprd.records import new_id
from alprd.wire import (
    CentralTime,
    Permit,
    Unlock,
)

PERMIT_LIFE: Final = timedelta(hours=24)
_PERMIT_OLD: Final = timedelta(hours=4)
"""A permit that lacks no more of its life than this is handed out again instead of a new one."""


@dataclass(frozen=True, slots=True)
class Vehicle:
    """An enrolled car, as its certificate proved it."""

    name: str
    reader: str
    enrolment: str
    batch_key: crypto.PublicKey
    wrap_key: crypto.PublicKey
    suspended: bool

    @property
    def actor(self) -> Actor:
        """The car in the trail."""
        return Actor(self.name, f"reader {self.reader}", "service")


def point(text: str, what: str) -> crypto.PublicKey:
    """A public key from base64url.

    Raises:
        InputError: not a P-256 point.
    """
    try:
        return crypto.public_from_bytes(base64.urlsafe_b64decode(text))
    except (binascii.Error, ValueError, EnvelopeError) as error:
        raise InputError(f"{what} is not a P-256 point in base64url") from error


def _vehicle(row: Row[Any]) -> Vehicle:
    return Vehicle(
        name=row.vehicle,
        reader=row.reader,
        enrolment=row.enrolment,
        batch_key=point(row.batch_key, "batch key"),
        wrap_key=point(row.wrap_key, "wrap key"),
        suspended=row.suspended,
    )


def enrolled(tx: Connection) -> list[Vehicle]:
    """Every car that is enrolled, not revoked and not ordered to kill itself, by name."""
    killed = select(db.kill_orders.c.enrolment)
    query = select(db.vehicles).where(
        db.vehicles.c.revoked_at.is_(None), db.vehicles.c.enrolment.not_in(killed)
    )
    return [_vehicle(row) for row in tx.execute(query.order_by(db.vehicles.c.vehicle))]


def by_certificate(central: Central, der: bytes | None, *, revoked: bool = False) -> Vehicle:
    """The car whose verified client certificate this is.

    Args:
        revoked: let a revoked car through too: it may still be told to kill itself.

    Raises:
        RefusedError: no certificate, an unknown or replaced one, or a revoked car.
    """
    if der is None:
        raise RefusedError("no client certificate", reason="no_certificate", remedy="enrol the car")
    certificate = x509.load_der_x509_certificate(der)
    query = select(db.vehicles).where(db.vehicles.c.vehicle == ca.common_name(certificate))
    with central.database.read() as tx:
        row = tx.execute(query).one_or_none()
    if row is not None and row.serial != ca.serial_text(certificate):
        row = _renewed(central, row, ca.serial_text(certificate))
    if row is None:
        raise RefusedError(
            "certificate is of no enrolled car", reason="unknown_vehicle", remedy="enrol the car"
        )
    if row.revoked_at is not None and not revoked:
        raise RefusedError("car is revoked", reason="revoked", remedy="ask the administrator")
    return _vehicle(row)


def _renewed(central: Central, row: Row[Any], serial: str) -> Row[Any] | None:
    """The car, if this is the renewed certificate it was given; the old one ends with its use."""
    table = db.renewals
    waiting = (table.c.enrolment == row.enrolment) & (table.c.serial == serial)
    with central.database.write() as tx:
        if tx.scalar(select(table.c.serial).where(waiting)) is None:
            return None
        tx.execute(delete(table).where(waiting))
        tx.execute(
            update(db.vehicles).where(db.vehicles.c.vehicle == row.vehicle).values(serial=serial)
        )
        central.trail.record(
            tx,
            Event.CERTIFICATE_RENEWED,
            _vehicle(row).actor,
            at=central.clock(),
            detail={"vehicle": row.vehicle},
        )
    return row


def change(central: Central, vehicle: str, event: Event, actor: Actor) -> None:
    """Revoke, suspend or resume a car.

    Raises:
        InputError: no such car, or one that is to be resumed and is ordered to kill itself.
    """
    now = central.clock()
    changes: dict[Event, dict[str, Any]] = {
        Event.REVOKED: {"revoked_at": now, "permit": None},
        Event.SUSPENDED: {"suspended": True, "permit": None},
        Event.RESUMED: {"suspended": False, "permit": None},
    }
    values = changes[event]
    with central.database.write() as tx:
        if event is Event.RESUMED and _killed(tx, vehicle):
            raise InputError(
                f"{vehicle} is ordered to kill itself", remedy="enrol it with a new code"
            )
        done = tx.execute(
            update(db.vehicles).where(db.vehicles.c.vehicle == vehicle).values(**values)
        )
        if done.rowcount == 0:
            raise InputError(f"no car named {vehicle}", remedy="see alprd-central status")
        central.trail.record(tx, event, actor, at=now, detail={"vehicle": vehicle})


def _killed(tx: Connection, vehicle: str) -> bool:
    """Whether the car's present enrolment is ordered to kill itself."""
    query = select(db.kill_orders.c.serial).join(
        db.vehicles, db.vehicles.c.enrolment == db.kill_orders.c.enrolment
    )
    return tx.scalar(query.where(db.vehicles.c.vehicle == vehicle)) is not None


def unlock_secret(central: Central, enrolment: str) -> str:
    """What opens the wrap key of one enrolment at rest, base64url (:class:`alprd.wire.Unlock`).

    Derived and not kept: a central that was restored from its backup still opens its cars.

    Args:
        enrolment: key id of the car's batch key.
    """
    secret = central.keystore.purpose_key(f"car unlock {enrolment}")
    return base64.urlsafe_b64encode(secret).decode()


def unlock(central: Central, vehicle: Vehicle) -> crypto.SignedDocument:
    """Release a live car's wrap key (R-460.6-0); recorded.

    Raises:
        RefusedError: ``killed``: it is to destroy itself, and gets nothing any more.
    """
    now = central.clock()
    with central.database.write() as tx:
        if _killed(tx, vehicle.name):
            raise RefusedError("car is ordered to kill itself", reason="killed")
        central.trail.record(
            tx, Event.UNLOCK_GIVEN, vehicle.actor, at=now, detail={"vehicle": vehicle.name}
        )
        touch(tx, vehicle, now, dock=False)
    enrolment = crypto.key_id(vehicle.batch_key)
    reply = Unlock(
        agency=central.config.agency,
        vehicle=vehicle.name,
        enrolment=enrolment,
        secret=unlock_secret(central, enrolment),
    )
    return crypto.sign_document("unlock", reply, central.receipt_key())


def _suspended_by_order(tx: Connection, vehicle: str) -> bool:
    """Whether this car, or every car, is suspended by order (:mod:`alprd.central.fleet.orders`)."""
    table = db.suspensions
    query = select(table.c.serial).where(
        table.c.vehicle.in_([vehicle, ""]), table.c.lifted_at.is_(None)
    )
    return tx.scalar(query.limit(1)) is not None


def touch(tx: Connection, vehicle: Vehicle, now: datetime, *, dock: bool) -> None:
    """Note that a car was heard; ``dock`` when it brought or fetched data."""
    values = {"last_contact": now, "last_dock": now} if dock else {"last_contact": now}
    tx.execute(update(db.vehicles).where(db.vehicles.c.vehicle == vehicle.name).values(**values))


def listing(central: Central) -> list[dict[str, Any]]:
    """Every car by name: state, last contact, and the health it last reported (no plates)."""
    health = db.car_health
    query = select(db.vehicles, health.c.received_at, health.c.document).outerjoin(
        health, health.c.vehicle == db.vehicles.c.vehicle
    )
    found = []
    with central.database.read() as tx:
        for row in tx.execute(query.order_by(db.vehicles.c.vehicle)):
            stopped = row.suspended or _suspended_by_order(tx, row.vehicle)
            state = "revoked" if row.revoked_at else "suspended" if stopped else "enrolled"
            found.append(
                {
                    "vehicle": row.vehicle,
                    "reader": row.reader,
                    "state": state,
                    "enrolled_at": row.enrolled_at,
                    "last_contact": row.last_contact,
                    "last_dock": row.last_dock,
                    "health_at": row.received_at,
                    "health": json.loads(row.document) if row.document else None,
                }
            )
    return found


def hello(central: Central, vehicle: Vehicle, nonce: str) -> crypto.SignedDocument:
    """Central's time, signed, with the caller's nonce."""
    now = central.clock()
    with central.database.write() as tx:
        touch(tx, vehicle, now, dock=False)
    body = CentralTime(agency=central.config.agency, time=now, nonce=nonce)
    return crypto.sign_document("hello", body, central.receipt_key())


def permit(central: Central, vehicle: Vehicle) -> crypto.SignedDocument:
    """Leave to collect for 24 h, or the news that the car is suspended (R-13.824-6-6).

    Without a notice to the BCA on record it never reaches beyond the tenth day (R-460.4.1-d).
    """
    now = central.clock()
    end = now + PERMIT_LIFE
    reason: Literal["", "order", "notice"] = ""
    with central.database.write() as tx:
        row = tx.execute(
            select(db.vehicles.c.permit, db.vehicles.c.suspended).where(
                db.vehicles.c.vehicle == vehicle.name
            )
        ).one()
        blocked = bcanotices.blocked_from(central, tx, vehicle.name)
        if row.suspended or _suspended_by_order(tx, vehicle.name):
            reason = "order"
        elif blocked is not None and blocked <= now:
            reason = "notice"
        elif blocked is not None:
            end = min(end, blocked)  # out of contact it must stop then too (R-460.4.1-d)
        suspended = reason != ""
        current = Permit.model_validate_json(row.permit) if row.permit else None
        if current is not None and (current.suspended, current.reason) != (suspended, reason):
            current = None  # a permit never outlives what it says
        if current is None or current.expires > end or end - current.expires > _PERMIT_OLD:
            current = Permit(
                agency=central.config.agency,
                vehicle=vehicle.name,
                serial=new_id(),
                not_before=now,
                expires=end,
                suspended=suspended,
                reason=reason,
            )
            tx.execute(
                update(db.vehicles)
                .where(db.vehicles.c.vehicle == vehicle.name)
                .values(permit=current.model_dump_json())
            )
            central.trail.record(
                tx,
                Event.PERMIT_ISSUED,
                vehicle.actor,
                at=now,
                subjects=[current.serial],
                detail={"suspended": suspended, "reason": reason},
            )
        touch(tx, vehicle, now, dock=False)
    return crypto.sign_document("permit", current, central.receipt_key())
