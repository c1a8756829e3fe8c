"""Register of every device with ALPR capability: the ground of the notices to the BCA.

A device that is enrolled as a car's reader enters by itself, installed on the day of its enrolment
and first used with its first session; a person may put an earlier day, and enters devices that are
no car. A device is never removed: it is retired (R-460.4.1-d).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update

from alprd.audit import Actor
from alprd.central.public.localdays import local_day
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.public_tables import readers
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import Person

KINDS: Final[dict[str, str]] = {
    "mobile": "mounted in a vehicle",
    "fixed": "fixed reader",
    "added": "added to another surveillance device",
}


def ensure(central: Central, tx: Connection, vehicle: str) -> None:
    """Enter an enrolled car that is not in the register, and note its first use."""
    mine = readers.c.device == vehicle
    row = tx.execute(select(readers).where(mine)).one_or_none()
    if row is None:
        enrolled = tx.scalar(
            select(db.vehicles.c.enrolled_at).where(db.vehicles.c.vehicle == vehicle)
        )
        if enrolled is None:
            return
        _enter(central, tx, vehicle, "mobile", "reader of a patrol car", _local(central, enrolled))
    if row is None or row.first_used is None:
        table = db.sessions
        first = tx.execute(
            select(func.min(table.c.started), func.min(table.c.received_at)).where(
                table.c.vehicle == vehicle
            )
        ).one()
        if first[0] is not None:
            # A car whose clock stood at 1970 was first used when its report came, at the latest.
            day = _local(central, first[0] if first[0].year > 2000 else first[1])
            tx.execute(update(readers).where(mine).values(first_used=day))
            _record(central, tx, CENTRAL, vehicle, {"first_used": day})


def ensure_all(central: Central, tx: Connection) -> None:
    """As :func:`ensure`, for every enrolled car."""
    for vehicle in tx.scalars(select(db.vehicles.c.vehicle)).all():
        ensure(central, tx, vehicle)


def add(central: Central, person: Person, *, device: str, kind: str, what: str, day: str) -> None:
    """Enter a device that is no enrolled car, installed on a day.

    Raises:
        RefusedError: the role.
        InputError: a name, kind or day that cannot be, or a device that is known.
    """
    now = central.clock()
    people.require(person, Act.READERS_KEEP, now)
    what = " ".join(what.split())
    if kind not in KINDS:
        raise InputError(f"the kind is one of {', '.join(KINDS)}")
    if not 3 <= len(what) <= 200:
        raise InputError("say what the device is, in 3 to 200 characters")
    if not device or len(device) > 64 or not device.replace("-", "").replace("_", "").isalnum():
        raise InputError("the device's name is 1 to 64 letters, digits, '-' and '_'")
    day = local_day(central, day, now)
    with central.database.write() as tx:
        ensure_all(central, tx)
        if tx.scalar(select(readers.c.device).where(readers.c.device == device)) is not None:
            raise InputError(f"{device} is in the register already")
        _enter(central, tx, device, kind, what, day, people.actor(person))


def set_day(central: Central, person: Person, device: str, what: str, day: str) -> None:
    """Put the day a device was installed, first used or retired.

    Raises:
        RefusedError: the role.
        InputError: unknown device, a day in the future, or a later one than is known of its use.
    """
    now = central.clock()
    people.require(person, Act.READERS_KEEP, now)
    if what not in ("installed", "first_used", "retired"):
        raise InputError("the day is one of installed, first_used, retired")
    day = local_day(central, day, now)
    with central.database.write() as tx:
        row = known(tx, device)
        before = getattr(row, what)
        # A later day would move the BCA's ten days: what has begun has begun.
        if before is not None and what != "retired" and day > before:
            raise InputError(f"{device} was {what.replace('_', ' ')} on {before} already")
        tx.execute(update(readers).where(readers.c.device == device).values({what: day}))
        _record(central, tx, people.actor(person), device, {what: day, "before": before or ""})


def known(tx: Connection, device: str) -> Row[Any]:
    """The register's row of a device.

    Raises:
        InputError: there is none.
    """
    row = tx.execute(select(readers).where(readers.c.device == device)).one_or_none()
    if row is None:
        raise InputError(
            f"no device {device} is in the register", remedy="see alprd-central readers list"
        )
    return row


def register(tx: Connection) -> list[Row[Any]]:
    """Every device, by name."""
    return list(tx.execute(select(readers).order_by(readers.c.device)).all())


def _enter(
    central: Central,
    tx: Connection,
    device: str,
    kind: str,
    what: str,
    installed: str,
    by: Actor = CENTRAL,
) -> None:
    now = central.clock()
    tx.execute(
        insert(readers).values(
            device=device, kind=kind, what=what, installed=installed, added_by=by.id, added_at=now
        )
    )
    _record(central, tx, by, device, {"kind": kind, "installed": installed})


def _record(
    central: Central, tx: Connection, by: Actor, device: str, detail: dict[str, str | int | bool]
) -> None:
    told = {"device": device, **detail}
    central.trail.record(tx, Event.READER_RECORDED, by, at=central.clock(), detail=told)


def _local(central: Central, at: datetime) -> str:
    return at.astimezone(central.config.zone()).date().isoformat()


def today(central: Central) -> date:
    """The agency's date."""
    return central.clock().astimezone(central.config.zone()).date()
