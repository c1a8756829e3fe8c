"""Counts of the store, never contents: for the dashboard and for programs (R-460.5-1)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from alprd.central.oversight import outcomes
from alprd.central.storage import db
from alprd.central.storage.store import Central, counter
from alprd.wire import SessionRow


def collect(central: Central) -> dict[str, Any]:
    """Everything a dashboard shows, from central's own store.

    ``received_total`` counts distinct reads that arrived, whatever became of them, suppressed
    ones like any other (R-460.5-b4); ``duplicates_refused`` counts those that came again.
    """
    now = central.clock()
    with central.database.read() as tx:
        held = select(db.reads.c.classification, func.count()).where(db.reads.c.destroy_by > now)
        by_class = {
            name: int(number)
            for name, number in tx.execute(held.group_by(db.reads.c.classification))
        }
        ended = select(db.arrivals.c.outcome, func.count()).group_by(db.arrivals.c.outcome)
        arrived = {name: int(number) for name, number in tx.execute(ended)}
        oldest = tx.scalar(
            select(func.min(db.reads.c.destroy_by)).where(db.reads.c.destroy_by > now)
        )
        last_purge = tx.scalar(select(func.max(db.destructions.c.at)))
        return {
            "agency": central.config.agency,
            "agency_name": central.config.agency_name,
            "at": now.isoformat(timespec="seconds"),
            "reads_held": sum(by_class.values()),
            "reads_by_class": by_class,
            "received_total": sum(arrived.values()),
            "expired": arrived.get("expired", 0),
            "quarantined": _count(tx, db.quarantine),
            "duplicates_refused": counter(tx, "duplicates_refused"),
            "sessions": _count(tx, db.sessions),
            "audit_events": _count(tx, db.audit),
            "car_events": _count(tx, db.car_events),
            "destroyed": tx.scalar(select(func.coalesce(func.sum(db.destructions.c.count), 0))),
            "next_destroy_by": oldest.isoformat() if oldest else None,
            "last_destruction": last_purge.isoformat() if last_purge else None,
            "vehicles": _vehicles(tx),
            "lists": _lists(tx, now),
            "outcomes": outcomes.by_list(tx),
            "ledger": _ledger(tx),
        }


def _count(tx: Connection, table: Any) -> int:
    return tx.scalar(select(func.count()).select_from(table)) or 0


def _vehicles(tx: Connection) -> list[dict[str, Any]]:
    wiped: dict[str, str] = {row.enrolment: row.kind for row in tx.execute(select(db.wipes))}
    dying = set(tx.scalars(select(db.kill_orders.c.enrolment)))
    ordered = set(
        tx.scalars(select(db.suspensions.c.vehicle).where(db.suspensions.c.lifted_at.is_(None)))
    )

    def state(row: Any) -> str:
        if row.enrolment in wiped or row.enrolment in dying:
            return wiped.get(row.enrolment, "to be killed")
        if row.revoked_at:
            return "revoked"
        stopped = row.suspended or not ordered.isdisjoint({"", row.vehicle})
        return "suspended" if stopped else "enrolled"

    return [
        {
            "vehicle": row.vehicle,
            "reader": row.reader,
            "state": state(row),
            "enrolled_at": row.enrolled_at.isoformat(timespec="seconds"),
            "last_dock": row.last_dock.isoformat(timespec="seconds") if row.last_dock else None,
        }
        for row in tx.execute(select(db.vehicles).order_by(db.vehicles.c.vehicle))
    ]


def _lists(tx: Connection, now: Any) -> list[dict[str, Any]]:
    return [
        {
            "list_id": row.list_id,
            "source": row.source,
            "version": row.version,
            "entries": row.entries,
            "age_h": round((now - row.supplied_at).total_seconds() / 3600, 1),
        }
        for row in tx.execute(select(db.lists).order_by(db.lists.c.list_id))
    ]


def _ledger(tx: Connection) -> list[dict[str, Any]]:
    """What each car says it queued in each session, against what arrived (R-460.5-2)."""
    arrived = {
        (vehicle, session): int(number)
        for vehicle, session, number in tx.execute(
            select(db.arrivals.c.vehicle, db.arrivals.c.session, func.count()).group_by(
                db.arrivals.c.vehicle, db.arrivals.c.session
            )
        )
    }
    ledger = []
    for row in tx.execute(select(db.sessions).order_by(db.sessions.c.started)):
        session = SessionRow.model_validate_json(row.row)
        received = arrived.pop((row.vehicle, row.id), 0)
        ledger.append(
            {
                "vehicle": row.vehicle,
                "session": row.id,
                "queued": session.queued,
                "received": received,
                "reconciled": session.queued == received,
            }
        )
    for (vehicle, session_id), received in sorted(arrived.items(), key=str):
        ledger.append(  # its session has not been reported yet
            {
                "vehicle": vehicle,
                "session": session_id,
                "queued": None,
                "received": received,
                "reconciled": False,
            }
        )
    return ledger
