"""The public log of use: one row a session, open to everyone (R-460.5.1-0 … -c5).

No plate, picture, place of a mobile reader, person or case. Times are local with their offset.
Rows come from the append-only book (:mod:`logbook`). Two cells follow a decision that is not in
the row itself: a source whose existence is not public (R-460.5.1-b2), and a fixed location that is
withheld as security information (R-460.5.1-e2). Both say that something is withheld, and why.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from alprd.central.public import fixedplaces, logbook
from alprd.central.public.logbook import CATEGORIES, UNTRUSTED, LogEntry
from alprd.central.public.sources import hidden
from alprd.central.storage.store import Central

COLUMNS: Final = (
    "reader",
    "kind",
    "date",
    "start",
    "end",
    "end_reason",
    "plates_read",
    "distinct_plates",
    "databases_compared",
    *CATEGORIES,
    "marked_misread",
    "fixed_location",
    "correction_of",
    "correction_note",
    "time_note",
)
__all__ = ("COLUMNS", "UNTRUSTED", "as_csv", "rows", "table_csv")


def rows(central: Central) -> list[dict[str, Any]]:
    """Every row, oldest first; a session appears once it has ended and reached central."""
    logbook.catch_up(central)
    with central.database.read() as tx:
        return rows_in(central, tx)


def rows_in(central: Central, tx: Connection) -> list[dict[str, Any]]:
    """As :func:`rows`, from one view of the database."""
    flagged = hidden(tx)
    places = fixedplaces.shown(central, tx)
    found = sorted(logbook.entries(tx), key=lambda one: (_moment(one), one.number))
    return [_row(one, flagged, places) for one in found]


def _moment(entry: LogEntry) -> str:
    """Where a row stands among the others: a session by its start, a correction by its date."""
    return entry.added.isoformat() if not entry.start else _utc(entry.start)


def _utc(local: str) -> str:
    return datetime.fromisoformat(local).astimezone(UTC).isoformat()


def _row(entry: LogEntry, flagged: Mapping[str, str], places: fixedplaces.Shown) -> dict[str, Any]:
    def blank(value: int | None) -> int | str:
        return "" if value is None else value

    return {
        "reader": entry.reader,
        "kind": entry.mode,
        "date": entry.date,
        "start": entry.start,
        "end": entry.end,
        "end_reason": entry.end_reason,
        "plates_read": blank(entry.plates_read),
        "distinct_plates": blank(entry.distinct_plates),
        "databases_compared": _compared(entry, flagged),
        **{name: blank(entry.figures.get(name)) for name in CATEGORIES},
        "marked_misread": blank(entry.marked_misread),
        "fixed_location": places.of(entry.reader, entry.date, entry.place),
        "correction_of": entry.correction_of,
        "correction_note": entry.correction_note,
        "time_note": entry.time_note,
    }


def _compared(entry: LogEntry, flagged: Mapping[str, str]) -> str:
    told = [
        f"{one.source} {one.bundle} ({one.day})"
        for one in entry.sources
        if one.source.casefold() not in flagged
    ]
    # The citation once, never the number: two lists of one source must not be told apart.
    told += [
        f"withheld: its existence is not public ({citation})"
        for citation in sorted(
            {
                flagged[one.source.casefold()]
                for one in entry.sources
                if one.source.casefold() in flagged
            }
        )
    ]
    return "; ".join(told)


def as_csv(table: list[dict[str, Any]]) -> str:
    """The rows as CSV with a header (RFC 4180)."""
    return table_csv(COLUMNS, table)


def table_csv(columns: Iterable[str], table: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a header (RFC 4180); a text that a spreadsheet could run is quoted."""
    out = io.StringIO()
    names = list(columns)
    writer = csv.DictWriter(out, names, lineterminator="\r\n")
    writer.writeheader()
    for row in table:
        writer.writerow({name: _plain(row[name]) for name in names})
    return out.getvalue()


def _plain(value: object) -> object:
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value
