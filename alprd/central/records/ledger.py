"""The ledger of reads: collected = destroyed + held + linked + live, day by day (R-13.824-6-1).

What was taken in is counted in the transaction that stores it, and what is destroyed in the one
that destroys it; both are kept without plates and outlive the reads. The store itself is the third
count. A read of a protected plate is stored, counted and destroyed like any other here (as a void),
so no difference between these figures tells how many there are (R-460.5-b4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd.central.storage import db
from alprd.central.storage.oversight_tables import collected


@dataclass(frozen=True, slots=True)
class Day:
    """The reads of one UTC day of collection."""

    day: str
    collected: int
    destroyed: int
    linked: int
    held: int
    live: int
    """In the store under neither a link nor a hold."""

    @property
    def reconciles(self) -> bool:
        """Whether every read that was taken in is accounted for."""
        return self.collected == self.destroyed + self.linked + self.held + self.live


def note(tx: Connection, reads: Iterable[tuple[datetime, str]]) -> None:
    """Count reads (hour of collection, session) into the ledger, in the transaction of intake."""
    counts = Counter((hour.date().isoformat(), session) for hour, session in reads)
    for (day, session), number in sorted(counts.items()):
        statement = upsert(collected).values(day=day, session=session, count=number)
        tx.execute(
            statement.on_conflict_do_update(
                index_elements=["day", "session"],
                set_={"count": collected.c["count"] + number},
            )
        )


def days(tx: Connection, since: str = "", until: str = "9999") -> list[Day]:
    """The ledger by day of collection, oldest first; ``since`` and ``until`` are ISO days."""
    took = _sums(tx, collected.c.day, collected.c["count"])
    gone = _sums(tx, db.destructions.c.collection_day, db.destructions.c.count)
    stored: dict[str, Counter[str]] = {}
    kinds: dict[str, set[str]] = {}
    under = select(db.exempted.c.read, db.exemptions.c.kind).join(
        db.exemptions, db.exemptions.c.id == db.exempted.c.exemption
    )
    for row in tx.execute(under):
        kinds.setdefault(row.read, set()).add(row.kind)
    for row in tx.execute(select(db.reads.c.id, db.reads.c.hour)):
        kind = kinds.get(row.id, set())
        # A read that is both linked and held is one read: told as linked.
        what = "linked" if "case" in kind else "held" if kind else "live"
        stored.setdefault(row.hour.date().isoformat(), Counter())[what] += 1
    names = sorted(set(took) | set(gone) | set(stored))
    return [
        Day(
            day=name,
            collected=took.get(name, 0),
            destroyed=gone.get(name, 0),
            linked=stored.get(name, Counter())["linked"],
            held=stored.get(name, Counter())["held"],
            live=stored.get(name, Counter())["live"],
        )
        for name in names
        if since <= name <= until
    ]


def sessions(tx: Connection, since: str = "", until: str = "9999") -> list[tuple[str, str, int]]:
    """Reads taken in by day and session, for whoever samples the ledger."""
    table = collected
    query = select(table.c.day, table.c.session, table.c["count"]).where(
        table.c.day >= since, table.c.day <= until
    )
    rows = tx.execute(query.order_by(table.c.day, table.c.session))
    return [(day, session, int(number)) for day, session, number in rows]


def _sums(tx: Connection, day: object, number: object) -> dict[str, int]:
    rows = tx.execute(select(day, func.sum(number)).group_by(day))  # type: ignore[call-overload]
    return {name: int(total) for name, total in rows}
