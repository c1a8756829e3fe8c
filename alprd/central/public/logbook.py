"""The public log as kept: an append-only, hash-chained book of rows (R-460.5.1-0).

A row enters in the transaction that brings what it tells: a car's report, a correction, an
approved link. Its text is fixed there, local times included, so that neither destruction of reads
nor a later change of settings alters what was published. The database refuses to change a row; if
somebody gets around that, the chain no longer fits, and the trail names every row's digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from sqlalchemy import Connection, Row, insert, select

from alprd.audit import FIRST, Actor
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event, events
from alprd.central.storage.public_tables import public_log
from alprd.central.storage.store import Central
from alprd.crypto import canonical, sha256_hex
from alprd.errors import AuditError
from alprd.records import Closed, Digest, Utc
from alprd.wire import SessionRow

Kind = Literal["session", "misread", "linked", "note"]
UNTRUSTED: Final = "times by the car's own clock, not confirmed by GPS or the agency"
CATEGORIES: Final = (
    "stolen", "owner_warrant", "owner_suspended_revoked", "active_investigative", "other_lpdf",
)  # fmt: skip


class Source(Closed):
    """A list compared with: its source apart, because its existence may not be public."""

    source: str
    bundle: str
    day: str


class LogEntry(Closed):
    """One row of the book; the figures of a correction are added to what it corrects."""

    number: Annotated[int, Field(ge=1)]
    kind: Kind
    session: str | None
    added: Utc
    reader: str
    mode: str
    date: str
    start: str
    end: str
    end_reason: str
    plates_read: int | None
    distinct_plates: int | None
    sources: tuple[Source, ...] = ()
    figures: dict[str, int] = Field(default_factory=dict)
    marked_misread: int | None = None
    place: str = ""
    correction_of: str = ""
    correction_note: str = ""
    time_note: str = ""
    previous: Digest
    digest: Digest


def add_session(central: Central, tx: Connection, row: SessionRow, now: datetime) -> int:
    """Enter an ended session; its number. One that is in the book already is left alone."""
    table = public_log
    known = select(table.c.number).where(table.c.session == row.id, table.c.kind == "session")
    if (number := tx.scalar(known)) is not None:
        return int(number)
    zone = central.config.zone()
    start, end = row.started.astimezone(zone), row.ended.astimezone(zone)
    matches: dict[str, int] = {str(name): count for name, count in row.matches.items()}
    return _append(
        central,
        tx,
        now,
        "session",
        row.id,
        {
            "reader": row.reader,
            "mode": row.kind,
            "date": start.date().isoformat(),
            "start": start.isoformat(timespec="seconds"),
            "end": end.isoformat(timespec="seconds"),
            "end_reason": row.end_reason,
            "plates_read": row.plates_read,
            "distinct_plates": row.distinct_plates,
            "sources": [
                {
                    "source": base.source,
                    "bundle": base.bundle,
                    "day": f"{base.supplied_at.astimezone(zone):%Y-%m-%d}",
                }
                for base in row.databases
            ],
            "figures": {name: matches.get(name, 0) for name in CATEGORIES},
            "marked_misread": row.marked_misread,
            "place": row.fixed_location,
            "time_note": "" if row.time_trusted else UNTRUSTED,
        },
    )


def add_correction(
    central: Central,
    tx: Connection,
    now: datetime,
    kind: Kind,
    *,
    session: str | None = None,
    note: str,
    figures: dict[str, int] | None = None,
    misread: int | None = None,
    actor: Actor = CENTRAL,
) -> int:
    """Enter a dated correction; its number.

    Args:
        session: the period that it corrects; ``None``: a total of no single period.
        figures: what comes on top, by column.
        misread: matches found wrong on top.
    """
    entry = None if session is None else find(tx, session)
    day = now.astimezone(central.config.zone()).date().isoformat()
    return _append(
        central,
        tx,
        now,
        kind,
        session,
        {
            "reader": entry.reader if entry else "all",
            "mode": "correction",
            "date": day,
            "start": "",
            "end": "",
            "end_reason": "",
            "plates_read": None,
            "distinct_plates": None,
            "figures": figures or {},
            "marked_misread": misread,
            "correction_of": f"reader {entry.reader}, {entry.start}" if entry else "totals",
            "correction_note": note,
        },
        actor,
    )


def find(tx: Connection, session: str) -> LogEntry | None:
    """The row of a session, ``None`` when it is not in the book."""
    table = public_log
    text = tx.scalar(
        select(table.c.document).where(table.c.session == session, table.c.kind == "session")
    )
    return None if text is None else LogEntry.model_validate_json(text)


def misread(tx: Connection, session: str) -> int:
    """Matches of a session that were marked as misread: its row's and its corrections'."""
    table = public_log
    kept = tx.scalars(select(table.c.document).where(table.c.session == session))
    return sum(LogEntry.model_validate_json(text).marked_misread or 0 for text in kept)


def entries(tx: Connection) -> Iterator[LogEntry]:
    """The whole book, in the order of entry."""
    for text in tx.scalars(select(public_log.c.document).order_by(public_log.c.number)):
        yield LogEntry.model_validate_json(text)


def catch_up(central: Central) -> int:
    """Enter sessions that an older version kept without a row; how many."""
    table = db.sessions
    missing = select(table.c.row).where(
        table.c.id.not_in(select(public_log.c.session).where(public_log.c.kind == "session"))
    )
    with central.database.read() as tx:
        if tx.scalar(missing.limit(1)) is None:
            return 0
    with central.database.write() as tx:
        rows = [SessionRow.model_validate_json(text) for text in tx.scalars(missing).all()]
        for row in sorted(rows, key=lambda one: (one.started, one.id)):
            add_session(central, tx, row, central.clock())
    return len(rows)


def verify(tx: Connection) -> int:
    """Check the chain, the trail's digests and the cars' own rows; the number of rows.

    Raises:
        AuditError: a row was changed, removed, inserted or reordered.
    """
    named: dict[int, str] = {}
    for event in events(tx):
        if event.event == Event.LOG_ROW_ADDED.value:
            named[int(event.detail["row"])] = str(event.detail["digest"])
    reported = {row.id: row.row for row in tx.execute(select(db.sessions))}
    previous, number = FIRST, 0
    for row in tx.execute(select(public_log).order_by(public_log.c.number)):
        number += 1
        entry = LogEntry.model_validate_json(row.document)
        _check(row, entry, number, previous)
        if named.pop(number, "") != entry.digest:
            raise AuditError(f"row {number} of the public log is not the one in the trail")
        told = reported.pop(entry.session, None) if entry.kind == "session" else None
        if told is not None and not _same(entry, SessionRow.model_validate_json(told)):
            raise AuditError(f"row {number} of the public log is not what the car reported")
        previous = entry.digest
    if named:
        raise AuditError(f"row {min(named)} of the public log was removed")
    if reported:
        raise AuditError(
            f"{len(reported)} reported sessions are not in the public log",
            remedy="alprd-central publish DIR enters them",
        )
    return number


def _append(
    central: Central,
    tx: Connection,
    now: datetime,
    kind: Kind,
    session: str | None,
    fields: dict[str, Any],
    actor: Actor = CENTRAL,
) -> int:
    table = public_log
    last = tx.execute(
        select(table.c.number, table.c.digest).order_by(table.c.number.desc()).limit(1)
    ).one_or_none()
    made = LogEntry.model_validate(
        {
            **fields,
            "number": (last.number if last else 0) + 1,
            "kind": kind,
            "session": session,
            "added": now,
            "previous": last.digest if last else FIRST,
            "digest": FIRST,
        }
    )
    made = made.model_copy(update={"digest": _digest(made)})
    tx.execute(
        insert(table).values(
            number=made.number,
            kind=kind,
            session=session,
            added_at=now,
            document=made.model_dump_json(),
            previous=made.previous,
            digest=made.digest,
        )
    )
    central.trail.record(
        tx,
        Event.LOG_ROW_ADDED,
        actor,
        at=now,
        subjects=[session] if session else (),
        detail={"row": made.number, "kind": kind, "digest": made.digest},
    )
    return made.number


def _digest(entry: LogEntry) -> str:
    return sha256_hex(canonical(entry.model_copy(update={"digest": FIRST})))


def _check(row: Row[Any], entry: LogEntry, number: int, previous: str) -> None:
    kept: Sequence[object] = (row.number, row.kind, row.session, row.previous, row.digest)
    said = (entry.number, entry.kind, entry.session, entry.previous, entry.digest)
    if row.number != number:
        raise AuditError(f"row {number} of the public log is missing (found {row.number})")
    if kept != said or entry.previous != previous or _digest(entry) != entry.digest:
        raise AuditError(f"row {number} of the public log was altered")


def _same(entry: LogEntry, row: SessionRow) -> bool:
    told = {str(name): count for name, count in row.matches.items() if count}
    figures = {name: count for name, count in entry.figures.items() if count}
    return (
        entry.plates_read == row.plates_read
        and entry.distinct_plates == row.distinct_plates
        and entry.marked_misread == row.marked_misread
        and datetime.fromisoformat(entry.start) == row.started.replace(microsecond=0)
        and datetime.fromisoformat(entry.end) == row.ended.replace(microsecond=0)
        and told == figures
    )
