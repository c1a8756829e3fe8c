"""The monthly sample of reasons for searches: drawn by the program, judged by a person.

One search in ten of a month, ten at least, is drawn by a keyed order that nobody chooses
(R-13.824-7-2, R-460.6-0). A reviewer says of each whether its reason is good; nobody
judges his own.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, insert, select, update

from alprd.central.staff import people
from alprd.central.staff.permissions import Act, not_own
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.keys import mac, seal, unseal
from alprd.central.storage.search_tables import reason_reviews
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.wire import AuditEvent, Person

SHARE: Final = 10
LEAST: Final = 10
Finding = Literal["good", "poor"]
_PURPOSE: Final = "reason reviews"
_MONTH: Final = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")


def draw(central: Central, tx: Connection, month: str, now: datetime) -> int:
    """Draw the sample of a month that is over, once; how many searches are in it.

    Raises:
        InputError: not a month, or one that is not over.
    """
    start, end = bounds(month, central.config.zone())
    if end > now:
        raise InputError(f"{month} is not over", remedy="name a past month, such as 2026-01")
    drawn = select(reason_reviews.c.seq).where(reason_reviews.c.month == month)
    before = len(tx.execute(drawn).all())
    if before:
        return before
    table = db.audit
    rows = tx.execute(
        select(table.c.seq, table.c.actor).where(
            table.c.event == Event.SEARCHED.value, table.c.at >= start, table.c.at < end
        )
    ).all()
    key = central.keystore.purpose_key("reason sample")
    rows = sorted(rows, key=lambda row: mac(key, f"{month} {row.seq}".encode()))
    rows = rows[: max(LEAST, -(-len(rows) // SHARE))]
    if rows:
        tx.execute(
            insert(reason_reviews),
            [{"seq": r.seq, "month": month, "person": r.actor, "drawn_at": now} for r in rows],
        )
        central.trail.record(
            tx,
            Event.REASONS_SAMPLED,
            CENTRAL,
            at=now,
            detail={"month": month, "searches": len(rows)},
        )
    return len(rows)


def sample(central: Central, person: Person, month: str) -> list[dict[str, Any]]:
    """The drawn searches of a month with their reasons and findings; the look is recorded.

    Raises:
        RefusedError: the role.
        InputError: not a past month.
    """
    now = central.clock()
    people.require(person, Act.REASONS_REVIEW, now)
    with central.database.write() as tx:
        draw(central, tx, month, now)
        rows = tx.execute(
            select(reason_reviews)
            .where(reason_reviews.c.month == month)
            .order_by(reason_reviews.c.seq)
        ).all()
        found = [_row(central, tx, row) for row in rows]
        central.trail.record(
            tx,
            Event.REASONS_VIEWED,
            people.actor(person),
            at=now,
            subjects=[str(row["seq"]) for row in found],
            detail={"month": month, "searches": len(found)},
        )
    return found


def judge(central: Central, person: Person, seq: int, finding: Finding, note: str) -> None:
    """Say whether the reason of a drawn search is good; never of one's own.

    Raises:
        RefusedError: the role, one's own search, or one that is judged already.
        InputError: not in any sample, or a poor one without a note.
    """
    now = central.clock()
    people.require(person, Act.REASONS_REVIEW, now)
    if finding == "poor" and len(note.strip()) < 3:
        raise InputError("a poor reason needs a note", remedy="say what is missing")
    with central.database.write() as tx:
        row = tx.execute(select(reason_reviews).where(reason_reviews.c.seq == seq)).one_or_none()
        if row is None:
            raise InputError("this search is in no sample")
        if row.finding is not None:
            raise RefusedError("this search is judged already", reason="judged")
        not_own(row.person, person.id, "judges a reason")
        key = central.keystore.purpose_key(_PURPOSE)
        tx.execute(
            update(reason_reviews)
            .where(reason_reviews.c.seq == seq)
            .values(
                finding=finding,
                reviewed_at=now,
                reviewer=person.id,
                sealed=seal(key, note.strip()[:2000].encode(), _aad(seq)),
            )
        )
        central.trail.record(
            tx,
            Event.REASON_JUDGED,
            people.actor(person),
            at=now,
            subjects=[str(seq)],
            detail={"finding": finding, "month": row.month},
        )


def unjudged(tx: Connection, before: datetime) -> list[str]:
    """Months with a drawn search that nobody judged, drawn before this instant."""
    query = select(reason_reviews.c.month).where(
        reason_reviews.c.finding.is_(None), reason_reviews.c.drawn_at < before
    )
    return sorted(set(tx.scalars(query)))


def bounds(month: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Start and end of a local month.

    Raises:
        InputError: not a month.
    """
    if not _MONTH.match(month):
        raise InputError(f"{month!r} is not a month", remedy="write 2026-01")
    year, number = int(month[:4]), int(month[5:])
    start = datetime(year, number, 1, tzinfo=zone)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return start, end


def _row(central: Central, tx: Connection, row: Any) -> dict[str, Any]:
    document = tx.scalar(select(db.audit.c.document).where(db.audit.c.seq == row.seq))
    event = AuditEvent.model_validate(json.loads(document or "{}"))
    note = ""
    if row.sealed:
        key = central.keystore.purpose_key(_PURPOSE)
        note = unseal(key, row.sealed, _aad(row.seq)).decode()
    return {
        "seq": row.seq,
        "at": event.at,
        "person": event.actor,
        "case": event.detail.get("case", ""),
        "offence": event.detail.get("offence", ""),
        "facts": event.detail.get("facts", ""),
        "suspicion": event.detail.get("suspicion", ""),
        "results": event.detail.get("results", 0),
        "finding": row.finding,
        "reviewer": row.reviewer,
        "note": note,
    }


def _aad(seq: int) -> bytes:
    return f"reason {seq}".encode()
