"""What needs a person about cars: contact, permit, certificate, health, orders without receipt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.central.oversight.todo import Todo, several
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.store import Central
from alprd.wire import CarHealth, Permit

NOT_DOCKED: Final = timedelta(days=3)
"""A car that sent nothing for longer is asked about: its reads wait there (R-460.5-2)."""
PERMIT_SOON: Final = timedelta(hours=4)
CERTIFICATE_SOON: Final = timedelta(days=30)
ORDER_WAITS: Final = timedelta(days=1)
_SEES: Final = (Act.CARS_SEE,)
_MOST: Final = 8


def cars(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Cars that are silent, lapse, fail or are not suspended and yet may not collect."""
    table, health = db.vehicles, db.car_health
    rows = tx.execute(
        select(table, health.c.document)
        .outerjoin(health, health.c.vehicle == table.c.vehicle)
        .where(table.c.revoked_at.is_(None))
        .order_by(table.c.vehicle)
    )
    found = [one for row in rows for one in _car(row, now)]
    return several(found, _MOST, "about cars", "/cars", _SEES)


def _car(row: Any, now: datetime) -> Iterator[Todo]:
    def line(text: str, due: datetime | None, *, soon: bool = False) -> Todo:
        link = f"/cars/{row.vehicle}"
        return Todo("Cars", f"{row.vehicle}: {text}", link, _SEES, "soon" if soon else "now", due)

    seen = row.last_dock or row.enrolled_at
    if now - seen > NOT_DOCKED:
        days = (now - seen).days
        yield line(f"has not docked for {days} days; its reads wait there", seen)
    permit = Permit.model_validate_json(row.permit) if row.permit else None
    if permit is not None and not permit.suspended:
        left = permit.expires - now
        if left <= timedelta(0):
            yield line("its permit has lapsed: it does not collect until it is in contact", None)
        elif left < PERMIT_SOON:
            yield line("its permit lapses soon", permit.expires, soon=True)
    if row.document is None:
        return
    said = CarHealth.model_validate(json.loads(row.document))
    expires = said.certificate_expires
    if expires is not None and expires - now < CERTIFICATE_SOON:
        yield line("its certificate ends; it renews it in contact", expires, soon=expires > now)
    for problem in said.problems[:3]:
        yield line(problem, None)


def orders_waiting(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Orders that a car has not done a day after they were given, and cars to be killed."""
    table = db.car_orders
    rows = tx.execute(
        select(table.c.vehicle, table.c.kind, table.c.issued_at)
        .where(
            table.c.done_at.is_(None),
            table.c.ended_at.is_(None),
            table.c.issued_at <= now - ORDER_WAITS,
        )
        .order_by(table.c.issued_at)
    )
    found = [
        Todo(
            "Cars",
            f"{row.vehicle}: the order to {row.kind} has no receipt yet",
            f"/cars/{row.vehicle}",
            _SEES,
            due=row.issued_at,
        )
        for row in rows
    ]
    wiped = select(db.wipes.c.enrolment)
    kills = tx.execute(select(db.kill_orders).where(db.kill_orders.c.enrolment.not_in(wiped)))
    found += [
        Todo(
            "Cars",
            f"{row.vehicle}: ordered to destroy its keys, no certificate yet",
            f"/cars/{row.vehicle}",
            _SEES,
            due=row.ordered_at,
        )
        for row in kills
    ]
    return several(found, _MOST, "orders without a receipt", "/cars", _SEES)
