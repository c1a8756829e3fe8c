"""What the pages tell of a car: marks, health in words, permit, orders, certificates of wiping."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.central.oversight import todo_cars
from alprd.central.storage import db
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import Permit

MARKS: Final = {"enrolled": "enrolled", "suspended": "suspended"}
_ORDERS_SHOWN: Final = 50


def row(car: dict[str, Any], now: datetime) -> dict[str, Any]:
    """A car of :func:`alprd.central.fleet.vehicles.listing` for a table."""
    health = car["health"]
    told = [] if health is None else [*health["problems"], *health["warnings"]]
    seen = car["last_dock"] or car["enrolled_at"]
    return {
        **{
            name: car[name].isoformat() if car[name] else None
            for name in ("enrolled_at", "last_contact", "last_dock", "health_at")
        },
        "vehicle": car["vehicle"],
        "reader": car["reader"],
        "state": car["state"],
        "mark": MARKS.get(car["state"], "revoked"),
        "silent": car["state"] != "revoked" and now - seen > todo_cars.NOT_DOCKED,
        "told": told,
        "bad": bool(health and health["problems"]),
        "version": health["version"] if health else None,
        "collecting": bool(health and health["collecting"]),
    }


def open_codes(tx: Connection, now: datetime) -> list[dict[str, Any]]:
    """Enrolment codes that may still be used; the code itself is not kept."""
    table = db.enrol_codes
    rows = tx.execute(
        select(table.c.vehicle, table.c.reader, table.c.expires)
        .where(table.c.used_at.is_(None), table.c.expires > now)
        .order_by(table.c.expires)
    )
    return [row._asdict() | {"expires": row.expires.isoformat()} for row in rows]


def car_address(central: Central) -> str:
    """Where cars find this central, as far as its settings tell."""
    path = central.home / "run.json"
    if path.exists():
        return str(json.loads(path.read_text(encoding="utf-8"))["car_url"])
    return f"https://{central.config.hosts[0]}:{central.config.car_port}"


def of_car(tx: Connection, name: str, now: datetime) -> dict[str, Any]:
    """Permit, orders with receipts, own suspension and the ends of earlier enrolments."""
    permit_text = tx.scalar(select(db.vehicles.c.permit).where(db.vehicles.c.vehicle == name))
    permit = Permit.model_validate_json(permit_text) if permit_text else None
    table = db.car_orders
    rows = tx.execute(
        select(table)
        .where(table.c.vehicle == name)
        .order_by(table.c.number.desc())
        .limit(_ORDERS_SHOWN)
    )
    wiped = tx.execute(
        select(db.wipes).where(db.wipes.c.vehicle == name).order_by(db.wipes.c.received_at.desc())
    )
    kill = tx.execute(
        select(db.kill_orders)
        .join(db.vehicles, db.vehicles.c.enrolment == db.kill_orders.c.enrolment)
        .where(db.vehicles.c.vehicle == name)
    ).one_or_none()
    return {
        "permit": None
        if permit is None
        else {
            "expires": permit.expires.isoformat(),
            "suspended": permit.suspended,
            "over": permit.expires <= now,
        },
        "orders": [_order(one, now) for one in rows],
        "suspension": _suspension(tx, name),
        "all_suspended": suspension(tx, "") is not None,
        "wipes": [
            {
                "kind": one.kind,
                "received_at": one.received_at.isoformat(),
                "certificate": _certificate(one.certificate),
            }
            for one in wiped
        ],
        "kill": None
        if kill is None
        else {
            "ordered_at": kill.ordered_at.isoformat(),
            "ordered_by": kill.ordered_by,
            "reason": kill.reason,
            "handed_out_at": kill.handed_out_at.isoformat() if kill.handed_out_at else None,
        },
    }


def suspension(tx: Connection, name: str) -> str | None:
    """Serial of the suspension in force for one car, or for all (empty name)."""
    table = db.suspensions
    mine = (table.c.vehicle == name) & table.c.lifted_at.is_(None)
    found: str | None = tx.scalar(select(table.c.serial).where(mine))
    return found


def own_order(tx: Connection, name: str, serial: str) -> None:
    """Refuse the serial of another car's order.

    Raises:
        InputError: no order of this car has it.
    """
    table = db.car_orders
    mine = (table.c.vehicle == name) & (table.c.serial == serial)
    if tx.scalar(select(table.c.serial).where(mine)) is None:
        raise InputError("this car has no such order")


def _suspension(tx: Connection, name: str) -> dict[str, Any] | None:
    table = db.suspensions
    mine = (table.c.vehicle == name) & table.c.lifted_at.is_(None)
    found = tx.execute(select(table).where(mine)).one_or_none()
    if found is None:
        return None
    return {
        "ordered_at": found.ordered_at.isoformat(),
        "ordered_by": found.ordered_by,
        "reason": found.reason,
    }


def _order(one: Any, now: datetime) -> dict[str, Any]:
    if one.done_at is not None:
        state, mark = "done", "enrolled"
    elif one.ended_at is not None:
        state, mark = "ended", ""
    else:
        state, mark = ("handed out" if one.handed_out_at else "waits for contact"), "suspended"
    in_force = one.kind == "freeze" and one.ended_at is None
    return {
        "number": one.number,
        "kind": one.kind,
        "serial": one.serial,
        "issued_at": one.issued_at.isoformat(),
        "issued_by": one.issued_by,
        "reason": one.reason,
        "done_at": one.done_at.isoformat() if one.done_at else None,
        "count": one.count,
        "state": state,
        "mark": mark,
        "thaw": in_force and one.hold_until is not None and one.hold_until > now,
    }


def _certificate(document: str | None) -> dict[str, Any] | None:
    """The signed statement of a wipe, which was verified when it came."""
    if document is None:
        return None
    values = json.loads(document)
    body = values.get("body", values)
    said: dict[str, Any] = json.loads(body) if isinstance(body, str) else body
    return said
