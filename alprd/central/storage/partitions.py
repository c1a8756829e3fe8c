"""Tables that PostgreSQL holds in parts by day, so that an hour's or a day's end is cheap.

``reads`` and ``read_keys`` hold one row for each read. On PostgreSQL they are partitioned by the
day (UTC) of the hour of collection, some sixty-one parts: a destroyed hour makes one part to be
rewritten, not all rows of the agency, and a day whose last row is gone is dropped with its file
(R-460.5-4b, docs/adr/0051). SQLite overwrites what it deletes and needs none of it.

What case links and holds keep past its day stays where it is until its whole month is past; then
the month's days become one part, so that years of old cases do not make thousands of parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

TABLES: Final = ("reads", "read_keys")
"""The tables that are held in parts."""
_PART: Final = re.compile(r"_(d[0-9]{8}|m[0-9]{6})$")


def day_of(hour: datetime) -> date:
    """The day (UTC) whose part holds an hour."""
    return hour.astimezone(UTC).date()


def name_of(table: str, hour: datetime) -> str:
    """The name of the part for a day."""
    return f"{table}_d{day_of(hour).isoformat().replace('-', '')}"


def ensure(tx: Connection, table: str, hours: Iterable[datetime]) -> None:
    """Make the missing parts for rows of these hours; only inside a write transaction.

    A part is made beside its table and then attached, which keeps no reader out.
    """
    if tx.dialect.name != "postgresql":
        return
    for day in sorted({day_of(hour) for hour in hours}):
        part = f"{table}_d{day.isoformat().replace('-', '')}"
        month = f"{table}_m{part[-8:-2]}"
        if _is_there(tx, part) or _is_there(tx, month):
            continue
        _attach(tx, table, part, day, day + timedelta(days=1))


def names(tx: Connection, table: str) -> list[str]:
    """The parts of a table, oldest first; none on SQLite."""
    if tx.dialect.name != "postgresql":
        return []
    found = tx.scalars(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = to_regclass(:name)"
        ),
        {"name": table},
    )
    return sorted(found, key=lambda name: name.rpartition("_")[2][1:].ljust(8, "0"))


def tidy(tx: Connection, table: str, before: date) -> list[str]:
    """Drop the empty parts, and join those of a month that is wholly past; what went.

    Only inside a write transaction of its own: it waits for readers of the table, and new ones
    wait for it.

    Args:
        before: the first day that may still have rows of an ordinary life.
    """
    gone: list[str] = []
    left: dict[str, list[str]] = {}
    for part in names(tx, table):
        if not _PART.search(part):
            continue
        if tx.scalar(text(f'SELECT EXISTS (SELECT 1 FROM "{part}")')):  # noqa: S608 - our name
            if part.rpartition("_")[2].startswith("d") and _last_day(part) < before:
                left.setdefault(part[-8:-2], []).append(part)
            continue
        tx.execute(text(f'DROP TABLE "{part}"'))
        gone.append(part)
    for month, parts in left.items():
        first, after = _month(month)
        if after <= before:
            gone += _join(tx, table, month, parts, first, after)
    return gone


def _join(
    tx: Connection, table: str, month: str, parts: list[str], first: date, after: date
) -> list[str]:
    for part in parts:
        tx.execute(text(f'ALTER TABLE "{table}" DETACH PARTITION "{part}"'))
    whole = f"{table}_m{month}"
    if not _is_there(tx, whole):
        _attach(tx, table, whole, first, after)
    for part in parts:
        tx.execute(text(f'INSERT INTO "{table}" SELECT * FROM "{part}"'))  # noqa: S608 - our names
        tx.execute(text(f'DROP TABLE "{part}"'))
    return parts


def _attach(tx: Connection, table: str, part: str, first: date, after: date) -> None:
    tx.execute(text(f'CREATE TABLE "{part}" (LIKE "{table}" INCLUDING ALL)'))
    tx.execute(
        text(
            f'ALTER TABLE "{table}" ATTACH PARTITION "{part}" '
            f"FOR VALUES FROM ('{first.isoformat()}') TO ('{after.isoformat()}')"
        )
    )


def _is_there(tx: Connection, name: str) -> bool:
    return tx.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is not None


def _last_day(part: str) -> date:
    sign = part.rpartition("_")[2]
    if sign.startswith("m"):
        return _month(sign[1:])[1] - timedelta(days=1)
    return date.fromisoformat(f"{sign[1:5]}-{sign[5:7]}-{sign[7:9]}")


def _month(sign: str) -> tuple[date, date]:
    """Its first day and the first day after it."""
    first = date(int(sign[:4]), int(sign[4:6]), 1)
    return first, (first + timedelta(days=31)).replace(day=1)
