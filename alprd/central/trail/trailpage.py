"""Pages of the trail by keyset: what one page costs does not grow with the trail.

Events are in the order of time, newest first, central's before a car's of the same instant. A page
goes on where the one before ended, by the key of its last event, not by a count: what was recorded
meanwhile (the look itself, for one) moves nothing. A rare filter is looked for through a bounded
number of rows at a time; the page then says how far back it has looked, and the next goes on there.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, or_, select

from alprd.central.storage import db
from alprd.errors import InputError

LOOK: Final = 20_000
"""Rows that one page looks through at most."""
_CHUNK: Final = 500
"""Rows that are held in memory at a time, for each of the two tables."""
_AFTER: Final = re.compile(r"([0-9T:.-]{10,32}Z)~([0-9A-Za-z-]{0,32})~([0-9]{1,18})")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Where an event stands: the greater, the newer."""

    at: datetime
    central: bool
    enrolment: str
    """Empty for central's own chain."""
    seq: int

    def text(self) -> str:
        """For an address or a command's option."""
        at = self.at.astimezone(UTC).replace(tzinfo=None).isoformat()
        return f"{at}Z~{self.enrolment}~{self.seq}"


def key_of(text: str) -> Key | None:
    """The inverse of :meth:`Key.text`; ``None`` for nothing.

    Raises:
        InputError: not such a key.
    """
    if not text:
        return None
    found = _AFTER.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        at = datetime.fromisoformat(found[1]).astimezone(UTC)
    except ValueError:
        raise InputError(
            "the place to go on from cannot be understood", remedy="begin at the newest event"
        ) from None
    return Key(at, not found[2], found[2], int(found[3]))


@dataclass(frozen=True, slots=True)
class Found:
    """A row of one of both tables."""

    key: Key
    vehicle: str
    document: str


@dataclass(frozen=True, slots=True)
class Page:
    """What one look gave."""

    rows: list[Found]
    after: Key | None
    """Where the next page goes on; ``None``: there is nothing older."""
    looked_back_to: datetime | None
    """Set when the page ended at the bound instead of being full."""


def page(
    tx: Connection,
    fits: Callable[[str], bool],
    *,
    after: Key | None,
    most: int,
    since: datetime | None,
    until: datetime | None,
    cars: bool,
) -> Page:
    """The next rows that fit, newest first.

    Args:
        fits: judges a document.
        after: the last key of the page before.
        most: rows of a page.
    """
    sources = [_rows(tx, db.audit, after, since, until)]
    if cars:
        sources.append(_rows(tx, db.car_events, after, since, until))
    kept: list[Found] = []
    last: Key | None = None
    for looked, row in enumerate(heapq.merge(*sources, key=lambda one: one.key, reverse=True)):
        if len(kept) == most:
            return Page(kept, kept[-1].key, None)
        if looked == LOOK:
            return Page(kept, last, last.at if last else None)
        last = row.key
        if fits(row.document):
            kept.append(row)
    return Page(kept, None, None)


def every(
    tx: Connection, since: datetime | None, until: datetime | None, *, cars: bool
) -> Iterator[Found]:
    """Every row of a window, newest first, without holding all of them."""
    sources = [_rows(tx, db.audit, None, since, until)]
    if cars:
        sources.append(_rows(tx, db.car_events, None, since, until))
    return heapq.merge(*sources, key=lambda one: one.key, reverse=True)


def mentions(document: str, words: tuple[str, ...]) -> bool:
    """Whether a document has each word somewhere: a quick look before it is parsed."""
    return all(json.dumps(word)[1:-1] in document or word in document for word in words)


def _rows(
    tx: Connection, table: Any, after: Key | None, since: datetime | None, until: datetime | None
) -> Iterator[Found]:
    """Rows of one table in its order, newest first, a chunk at a time by its index on ``at``."""
    central = table is db.audit
    tail = (table.c.seq,) if central else (table.c.enrolment, table.c.seq)
    query = select(table).order_by(table.c.at.desc(), *(column.desc() for column in tail))
    if since is not None:
        query = query.where(table.c.at >= since)
    if until is not None:
        query = query.where(table.c.at < until)
    bound = None if after is None else _older(table, after, central)
    while True:
        part = query if bound is None else query.where(bound)
        rows = tx.execute(part.limit(_CHUNK)).all()
        for row in rows:
            yield Found(_key(row, central), "" if central else row.vehicle, row.document)
        if len(rows) < _CHUNK:
            return
        bound = _older(table, _key(rows[-1], central), central)


def _key(row: Row[Any], central: bool) -> Key:
    return Key(row.at, central, "" if central else row.enrolment, row.seq)


def _older(table: Any, key: Key, central: bool) -> Any:
    """Rows of a table that stand after a key of either table."""
    same = table.c.at == key.at
    if central:
        # A car's key: central's events of that instant stood before it.
        at_once = and_(same, table.c.seq < key.seq) if key.central else None
    elif key.central:
        at_once = same
    else:
        less = and_(table.c.enrolment == key.enrolment, table.c.seq < key.seq)
        at_once = and_(same, or_(table.c.enrolment < key.enrolment, less))
    older = table.c.at < key.at
    return older if at_once is None else or_(older, at_once)
