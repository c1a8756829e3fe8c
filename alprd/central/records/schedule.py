"""The records retention schedule by record type, as data (R-460.5-6, R-460.5-5b; § 138.17).

Nothing without a row is destroyed: while a type has none, its records are kept. What a row of this
table governs, the purge destroys when its period has passed. Reads have no row: their life is the
law's (:mod:`retention`). Types that this program cannot destroy by age (the hash-chained trail, the
public log) take no row, so that the table never promises what does not happen.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import Person

INACTIVE: Final = "inactive_investigative"
TYPES: Final[dict[str, str]] = {
    INACTIVE: "reads linked to an investigation that is no longer active, from that day on",
    "destructions": "ledger of destroyed reads, from the destruction on",
    "list_versions": "versions of published lists, from their publication on",
}
_MOST_DAYS: Final = 36_525


def period(tx: Connection, record_type: str) -> tuple[timedelta, str] | None:
    """Period and citation of a type; ``None`` while no row is set: keep."""
    table = db.schedule
    row = tx.execute(select(table).where(table.c.record_type == record_type)).one_or_none()
    return None if row is None else (timedelta(days=row.days), row.citation)


def put(central: Central, person: Person, record_type: str, citation: str, days: int) -> None:
    """Set the row of a type; a shorter period takes effect at the next purge.

    Raises:
        InputError: unknown type, no citation, or a period out of range.
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.SCHEDULE_SET, now)
    citation = " ".join(citation.split())
    if record_type not in TYPES:
        raise InputError(
            f"no retention is enforced for {record_type!r}", remedy=f"one of {', '.join(TYPES)}"
        )
    if not 3 <= len(citation) <= 200:
        raise InputError("the schedule's citation is missing or longer than 200 characters")
    if not 1 <= days <= _MOST_DAYS:
        raise InputError(f"a period is 1 to {_MOST_DAYS} days")
    table = db.schedule
    values = {"citation": citation, "days": days, "set_by": person.id, "set_at": now}
    with central.database.write() as tx:
        mine = table.c.record_type == record_type
        before = tx.execute(select(table).where(mine)).one_or_none()
        if before is None:
            tx.execute(insert(table).values(record_type=record_type, **values))
        else:
            tx.execute(update(table).where(mine).values(**values))
        central.trail.record(
            tx,
            Event.SCHEDULE_SET,
            people.actor(person),
            at=now,
            detail={
                "type": record_type,
                "citation": citation,
                "days": days,
                "before": before.days if before else "unset",
            },
        )


def table(central: Central) -> list[dict[str, Any]]:
    """Every type with its row, or with none: kept."""
    with central.database.read() as tx:
        rows = {row.record_type: row for row in tx.execute(select(db.schedule))}
    return [
        {
            "record_type": name,
            "what": what,
            "citation": rows[name].citation if name in rows else None,
            "days": rows[name].days if name in rows else None,
            "set_by": rows[name].set_by if name in rows else None,
        }
        for name, what in TYPES.items()
    ]


def destroy_old(central: Central, tx: Connection, now: datetime) -> int:
    """Destroy records past their row's period; how many. Part of the purge's transaction."""
    gone = 0
    ages = {"destructions": db.destructions.c.at, "list_versions": db.list_versions.c.published_at}
    for name, age in ages.items():
        row = period(tx, name)
        if row is None:
            continue
        number = tx.execute(delete(age.table).where(age <= now - row[0])).rowcount
        if number:
            central.trail.record(
                tx,
                Event.DESTROYED,
                CENTRAL,
                at=now,
                detail={"type": name, "records": number, "citation": row[1]},
            )
        gone += number
    return gone
