"""Search the audit trail, open a typed term, export what was found (R-AT-1, R-AT-4; CJIS AU-7).

For the auditor, the sheriff and the administration supervisor; each look is an event itself. What
concerns address confidentiality is shown to the two roles that work with it: to others such an
event stands there, so that the chain has no gap, and says nothing (R-460.5-b4).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import audit, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.central.storage.trailheads import CENTRAL_CHAIN, car_chain
from alprd.central.trail import trailpage
from alprd.central.trail.trailexport import COLUMNS, plain_cell, write_new
from alprd.central.trail.trailpage import Found
from alprd.errors import InputError, RefusedError
from alprd.wire import AuditEvent, Person

MOST: Final = 500
"""Events of one page of a search; an export has no limit."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is looked for; empty means any."""

    person: str = ""
    event: str = ""
    """A name, or its beginning up to a dot, such as ``search``."""
    since: datetime | None = None
    until: datetime | None = None
    record: str = ""
    """Id of a read, a person or another subject."""
    cars: bool = True
    """Also the chains of the cars."""

    def said(self) -> dict[str, str | int | bool]:
        """The filter as the trail keeps it."""
        values: dict[str, str | int | bool] = {
            "person": self.person,
            "event": self.event,
            "from": self.since.isoformat() if self.since else "",
            "to": self.until.isoformat() if self.until else "",
            "record": self.record,
            "cars": self.cars,
        }
        return {name: value for name, value in values.items() if value != ""}


@dataclass(frozen=True, slots=True)
class Line:
    """An event with the chain that it stands in."""

    chain: str
    event: AuditEvent
    terms: bool
    """Whether it has a typed term that can still be opened."""


@dataclass(frozen=True, slots=True)
class Look:
    """A page of a search."""

    lines: list[Line]
    after: str
    """Where the next page goes on; empty: there is nothing older."""
    looked_back_to: datetime | None
    """Set when a rare filter was looked for as far back as this, and no further yet."""


def search(
    central: Central, person: Person, wanted: Filter, *, after: str = "", most: int = MOST
) -> Look:
    """A page of the events that fit, newest first; the look is recorded.

    Args:
        after: what the page before gave; empty for the newest.
        most: events of the page, at most :data:`MOST`.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: ``after`` is not what a page gave.
    """
    now = central.clock()
    people.require(person, Act.TRAIL_SEE, now)
    start = trailpage.key_of(after)
    with central.database.write() as tx:
        found = trailpage.page(
            tx,
            partial(_document_fits, wanted),
            after=start,
            most=min(most, MOST),
            since=wanted.since,
            until=wanted.until,
            cars=wanted.cars,
        )
        lines = [_line(central, row) for row in found.rows]
        central.trail.record(
            tx,
            Event.TRAIL_SEARCHED,
            people.actor(person),
            at=now,
            detail=wanted.said() | {"found": len(lines)} | ({"after": after} if after else {}),
        )
    return Look(lines, found.after.text() if found.after else "", found.looked_back_to)


def terms(central: Central, person: Person, seq: int) -> str:
    """The plate that a person typed, of one event of central; opening it is an event itself.

    Raises:
        RefusedError: the role; or the key of the term was erased.
        InputError: no such event, or one without a typed term.
    """
    now = central.clock()
    people.require(person, Act.TRAIL_TERMS, now)
    with central.database.write() as tx:
        document = tx.scalar(select(db.audit.c.document).where(db.audit.c.seq == seq))
        event = AuditEvent.model_validate_json(document) if document else None
        if event is None or "terms_key" not in event.detail or _hidden(event):
            raise InputError(f"event {seq} has no typed term")
        opened = central.trail.terms(event)
        central.trail.record(
            tx,
            Event.TERMS_VIEWED,
            people.actor(person),
            at=now,
            subjects=[str(seq)],
            detail={"opened": opened is not None},
        )
    if opened is None:
        raise RefusedError("the term was erased", reason="erased")
    return opened


def export(central: Central, person: Person, wanted: Filter, file: Path) -> dict[str, Any]:
    """Write every event that fits to a CSV or JSON-lines file; count and SHA-256.

    Raises:
        RefusedError: the role.
        InputError: the file exists, cannot be written or has another ending.
    """
    now = central.clock()
    people.require(person, Act.TRAIL_SEE, now)
    if file.suffix not in (".csv", ".jsonl"):
        raise InputError(f"{file.name} ends in none of .csv, .jsonl")
    made: list[Path] = []
    try:
        with central.database.write() as tx:
            found = _found(central, tx, wanted)
            data = _csv(found) if file.suffix == ".csv" else _lines(found)
            sha256 = hashlib.sha256(data).hexdigest()
            central.trail.record(
                tx,
                Event.TRAIL_EXPORTED,
                people.actor(person),
                at=now,
                detail=wanted.said() | {"events": len(found), "sha256": sha256},
            )
            write_new(file, data, made)
    except BaseException:  # what was not recorded does not exist (R-AT-3)
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return {"file": str(file), "events": len(found), "sha256": sha256}


def _found(central: Central, tx: Connection, wanted: Filter) -> list[Line]:
    """Every event that fits, oldest first."""
    found = [
        _line(central, row)
        for row in trailpage.every(tx, wanted.since, wanted.until, cars=wanted.cars)
        if _document_fits(wanted, row.document)
    ]
    return found[::-1]


def _document_fits(wanted: Filter, document: str) -> bool:
    words = tuple(word for word in (wanted.person, wanted.record) if word)
    if not trailpage.mentions(document, words):
        return False
    # As it is shown: nobody finds a private event by what it does not tell.
    return _fits(shown(AuditEvent.model_validate_json(document)), wanted)


def _line(central: Central, row: Found) -> Line:
    event = AuditEvent.model_validate_json(row.document)
    if not row.key.central:
        return Line(car_chain(row.vehicle, row.key.enrolment), event, False)
    name = event.detail.get("terms_key")
    held = isinstance(name, str) and central.keystore.find_secret(name) is not None
    return Line(CENTRAL_CHAIN, shown(event), held and not _hidden(event))


def _fits(event: AuditEvent, wanted: Filter) -> bool:
    if wanted.since is not None and event.at < wanted.since:
        return False
    if wanted.until is not None and event.at >= wanted.until:
        return False
    if wanted.person and wanted.person not in (
        event.actor, *event.subjects, event.detail.get("person")
    ):  # fmt: skip
        return False
    if wanted.record and wanted.record not in event.subjects:
        return False
    return not wanted.event or (f"{event.event}.").startswith(f"{wanted.event.rstrip('.')}.")


def _hidden(event: AuditEvent) -> bool:
    return event.event in audit.PRIVATE


def shown(event: AuditEvent) -> AuditEvent:
    """The event as anybody may see it; digests stay, so that the chain can be followed."""
    if not _hidden(event):
        return event
    return event.model_copy(update={"detail": {}, "subjects": ()})


def _lines(found: list[Line]) -> bytes:
    return "".join(
        json.dumps({"chain": line.chain, "event": line.event.model_dump(mode="json")}) + "\n"
        for line in found
    ).encode()


def _csv(found: list[Line]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for line in found:
        fields = line.event.model_dump(mode="json")
        fields |= {key: json.dumps(fields[key]) for key in ("subjects", "detail")}
        row = {"chain": line.chain} | fields
        writer.writerow({name: plain_cell(row.get(name)) for name in COLUMNS})
    return out.getvalue().encode()
