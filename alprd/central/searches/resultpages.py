"""Results of one's own documented search, page by page, without searching again (R-13.824-7-2).

The search's event in the trail names its results; a page opens those that still exist, for the
searcher alone and for 12 h, and is an access of its own (R-AT-1). What meanwhile was held,
protected or destroyed is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from alprd.central.records import exemptions, protected
from alprd.central.searches.pictureview import FRESH
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import RefusedError
from alprd.wire import AuditEvent, Person


@dataclass(frozen=True, slots=True)
class ResultPage:
    """One page of a search's results; ``total`` counts those of the search."""

    case: str
    total: int
    reads: list[dict[str, Any]]


def of_search(central: Central, person: Person, seq: int, offset: int, size: int) -> ResultPage:
    """Results ``offset`` to ``offset + size`` of a search, in the order of the search.

    Args:
        seq: number of the search's event in the trail.

    Raises:
        RefusedError: the role, another person's search, or one of more than 12 h ago.
    """
    now = central.clock()
    people.require(person, Act.SEARCH, now)
    with central.database.write() as tx:
        event = _own(central, tx.scalar(select(db.audit.c.document).where(db.audit.c.seq == seq)))
        if event is None or event.actor != person.id or event.at <= now - FRESH:
            raise RefusedError(
                "these are not results of your search",
                reason="not_a_result",
                remedy="search again; results open for 12 h",
            )
        ids = event.subjects[offset : offset + size]
        rows = {
            row.id: row
            for row in tx.execute(
                select(db.reads).where(
                    db.reads.c.id.in_(ids),
                    db.reads.c.destroy_by > now,
                    db.reads.c.id.not_in(exemptions.held()),
                )
            )
        }
        keys = central.keystore.open_read_keys(rows, {row.hour for row in rows.values()})
        private = protected.suppressed_folds(central, tx)
        shown = []
        for read in ids:
            row, key = rows.get(read), keys.get(read)
            cell = vault.open_cell(row, key) if row is not None and key is not None else None
            if row is None or cell is None or not private.isdisjoint(vault.folds(cell.plate)):
                continue
            shown.append(
                {
                    "id": read,
                    "plate": cell.plate.text,
                    "stacked": cell.plate.stacked,
                    "state": cell.plate.state,
                    "instant": cell.instant.isoformat(),
                    "place": cell.position,
                    "vehicle": row.vehicle,
                    "pictures": vault.has_pictures(central.objects, read),
                }
            )
        central.trail.record(
            tx,
            Event.RESULTS_VIEWED,
            people.actor(person),
            at=now,
            subjects=[row["id"] for row in shown],
            detail={"search": seq, "case": str(event.detail.get("case", "")), "rows": len(shown)},
        )
    return ResultPage(str(event.detail.get("case", "")), len(event.subjects), shown)


def total(central: Central, seq: int) -> int:
    """How many results a search had; 0 for what is no search."""
    with central.database.read() as tx:
        event = _own(central, tx.scalar(select(db.audit.c.document).where(db.audit.c.seq == seq)))
    return 0 if event is None else len(event.subjects)


def _own(central: Central, document: str | None) -> AuditEvent | None:
    event = AuditEvent.model_validate_json(document) if document else None
    return event if event is not None and event.event == Event.SEARCHED else None
