"""Pages of the register of exemptions: cut, filtered and recorded at the server (R-AT-1).

State and dates stand in clear beside each sealed row, so that only the rows of a page are opened.
Whoever may not see the register sees the links that he asked for himself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select

from alprd.central.records import exemptions
from alprd.central.records.exemptions import Exemption, Kind
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import RefusedError
from alprd.wire import Person

SHOWS: Final = (
    ("live", "In force"),
    ("waiting", "Waiting for a decision"),
    ("due", "Review overdue"),
    ("over", "Over"),
    ("all", "All"),
)
_WHOLE: Final = (Act.EXEMPTIONS_SEE, Act.LINK_DECIDE)


def page(
    central: Central, person: Person, kind: Kind, show: str, offset: int, size: int
) -> list[Exemption]:
    """Rows of one page, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, _WHOLE[0], now, *_WHOLE[1:], Act.LINK_ASK)
    table = db.exemptions
    with central.database.write() as tx:
        query = (
            select(table.c.id)
            .where(*_filter(kind, show, now))
            .order_by(table.c.opened_at.desc(), table.c.id)
        )
        if may(person, *_WHOLE):
            ids = tx.scalars(query.offset(offset).limit(size)).all()
            rows = [exemptions.find(central, tx, one, kind) for one in ids]
        else:
            found = (exemptions.find(central, tx, one, kind) for one in tx.scalars(query).all())
            rows = [row for row in found if row.opened_by == person.id][offset : offset + size]
        central.trail.record(
            tx,
            Event.EXEMPTIONS_LISTED,
            people.actor(person),
            at=now,
            detail={"kind": kind, "rows": len(rows), "show": show},
        )
    return rows


def total(central: Central, person: Person, kind: Kind, show: str) -> int:
    """How many rows all pages have for this person."""
    table, now = db.exemptions, central.clock()
    with central.database.read() as tx:
        query = _filter(kind, show, now)
        if may(person, *_WHOLE):
            return tx.scalar(select(func.count()).select_from(table).where(*query)) or 0
        ids = tx.scalars(select(table.c.id).where(*query)).all()
        rows = [exemptions.find(central, tx, one, kind) for one in ids]
    return sum(row.opened_by == person.id for row in rows)


def one(central: Central, person: Person, exemption_id: str, kind: Kind) -> Exemption:
    """One row; the look is recorded.

    Raises:
        InputError: there is none.
        RefusedError: neither the register nor this link is for this person.
    """
    now = central.clock()
    people.require(person, _WHOLE[0], now, *_WHOLE[1:], Act.LINK_ASK)
    with central.database.write() as tx:
        row = exemptions.find(central, tx, exemption_id, kind)
        team = may(person, Act.LINK_READ) and row.state in exemptions.LIVE and kind == "case"
        if not (may(person, *_WHOLE) or row.opened_by == person.id or team):
            raise RefusedError("this link is another person's", reason="not_own")
        central.trail.record(
            tx,
            Event.EXEMPTION_VIEWED,
            people.actor(person),
            at=now,
            subjects=[row.id],
            detail={"kind": kind, "number": row.number, "what": "register entry"},
        )
    return row


def _filter(kind: Kind, show: str, now: datetime) -> list[ColumnElement[bool]]:
    table = db.exemptions
    chosen: list[ColumnElement[bool]] = [table.c.kind == kind]
    if show == "live":
        chosen.append(table.c.state.in_(sorted(exemptions.LIVE)))
    elif show == "waiting":
        chosen.append(table.c.state == "requested")
    elif show == "due":
        chosen += [table.c.state.in_(sorted(exemptions.LIVE)), table.c.due_at <= now]
    elif show == "over":
        chosen.append(table.c.state.in_(["refused", "released"]))
    return chosen


def values(row: Exemption, now: datetime) -> dict[str, Any]:
    """A row for a template: dates as text, and how the state is marked."""
    made = row.model_dump(mode="json")
    overdue = row.due is not None and row.due <= now and row.state in exemptions.LIVE
    mark = {"active": "enrolled", "requested": "suspended", "inactive": "suspended"}
    return made | {
        "overdue": overdue,
        "mark": mark.get(row.state, "" if row.state != "refused" else "revoked"),
        "count": len(row.reads),
    }
