"""The public log of use: one row a session, open to everyone (R-460.5.1-0 … -c5).

No plate, picture, place of a mobile reader, person or case. Times are local with their offset.
"""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from sqlalchemy import select

from alprd.central import db
from alprd.central.store import Central
from alprd.wire import SessionRow

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
    "stolen",
    "owner_warrant",
    "owner_suspended_revoked",
    "active_investigative",
    "other_lpdf",
    "marked_misread",
    "fixed_location",
    "correction_of",
    "correction_note",
    "time_note",
)
UNTRUSTED: Final = "times by the car's own clock, not confirmed by GPS or the agency"
_CATEGORIES: Final = COLUMNS[9:14]


def rows(central: Central) -> list[dict[str, Any]]:
    """Every row, oldest first; a session appears once it has ended and reached central."""
    with central.database.read() as tx:
        texts = tx.scalars(select(db.sessions.c.row).order_by(db.sessions.c.started))
        return [_row(central, SessionRow.model_validate_json(text)) for text in texts]


def _row(central: Central, session: SessionRow) -> dict[str, Any]:
    zone = central.config.zone()
    start, end = session.started.astimezone(zone), session.ended.astimezone(zone)
    compared = [
        f"{base.source} {base.bundle} ({base.supplied_at.astimezone(zone):%Y-%m-%d})"
        for base in session.databases
    ]
    matches: dict[str, int] = {str(name): number for name, number in session.matches.items()}
    return {
        "reader": session.reader,
        "kind": session.kind,
        "date": start.date().isoformat(),
        "start": start.isoformat(timespec="seconds"),
        "end": end.isoformat(timespec="seconds"),
        "end_reason": session.end_reason,
        "plates_read": session.plates_read,
        "distinct_plates": session.distinct_plates,
        "databases_compared": "; ".join(compared),
        **{name: matches.get(name, 0) for name in _CATEGORIES},
        "marked_misread": session.marked_misread,
        "fixed_location": session.fixed_location,
        "correction_of": "",
        "correction_note": "",
        "time_note": "" if session.time_trusted else UNTRUSTED,
    }


def as_csv(table: list[dict[str, Any]]) -> str:
    """The rows as CSV with a header (RFC 4180); a text that a spreadsheet could run is quoted."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for row in table:
        writer.writerow({name: _plain(value) for name, value in row.items()})
    return out.getvalue()


def _plain(value: object) -> object:
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value
