"""The public part of the audit trail as CSV: what people did, and why (R-AT-5, T-7).

One row for each act of a person, at central or in a car. Each cell is public, empty, or withheld
with the law that says so. No record id, sequence number, session or address: what is left out
cannot be counted by what stands around it.

Some events are no rows at all. Those about private requests would tell that there is one (§ 5B.07,
§ 13.045). Alerts of cars would, set against the matches of the public log, tell how many plates are
protected (R-460.5-b4, T-1). What machines did among themselves is no use of data by a person. An
event that is not known here is left out until it has been classified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.audit import verify_chain
from alprd.central.public import redactions
from alprd.central.public.publiclog import table_csv
from alprd.central.public.redactions import Field
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import audit, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.central.trail import trailexport
from alprd.errors import InputError
from alprd.wire import AuditEvent, Person

SHOWN: Final = frozenset(
    {
        "access", "agency", "assessment", "audit", "basis", "bca", "case", "category", "central",
        "compliance", "config", "device", "entry", "exemption", "fixed", "list", "notice", "permit",
        "person", "publiclog", "read", "reader", "reasons", "redaction", "release", "request",
        "schedule", "search", "session", "status", "targets", "transfer",
    }
)  # fmt: skip
"""Families of events that are rows: what stands before the dot of an event's name."""
_SEARCHES: Final = frozenset({Event.SEARCHED.value, Event.SEARCH_STOPPED.value})
_NOT_TOLD: Final = "withheld: Minn. Stat. § 13.824, subd. 2(b)"
LEFT_OUT: Final[dict[str, str]] = {
    "alert": "R-460.5-b4: a difference to the public log would tell of protected plates",
    "shift": "R-460.5-b4: counts of alerts by list",
    "requests": "Minn. Stat. § 5B.07, § 13.045: private requests",
    "confidentiality": "Minn. Stat. § 5B.07, § 13.045: private requests",
    "suppression": "Minn. Stat. § 5B.07, § 13.045: private requests",
    "hold": "Minn. Stat. § 13.824, subd. 3(b): requests of data subjects",
    "recipient": "Minn. Stat. § 5B.07, § 13.045: an order may follow from a private request",
    "subject": "Minn. Stat. § 13.04: requests of data subjects about themselves",
    "incident": "Minn. Stat. § 13.055, § 13.43: until the report is made available",
    "credential": "Minn. Stat. § 13.37: security information",
    "alarm": "Minn. Stat. § 13.37: security information",
    "daemon": "no act of a person",
    "disk": "no act of a person",
    "queue": "no act of a person",
    "sessions": "no act of a person",
    "reads": "no act of a person",
    "keys": "Minn. Stat. § 13.37: security information",
}
_SERVICE: Final = "service"
_HIDDEN_SOURCE: Final = frozenset({Event.SOURCE_HIDDEN.value, Event.SOURCE_SHOWN.value})
_FILTERS: Final = ("near", "radius_m", "place", "lat", "lon", "unplaced", "filters")


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is in force while one export is made."""

    fields: dict[str, Field]
    protected: dict[str, str]


def export(
    central: Central, person: Person, since: datetime, until: datetime, file: Path
) -> dict[str, Any]:
    """Write the acts from ``since`` to before ``until``; the count of rows and the digest.

    Beside it lies ``FILE.fields.csv``: each field with its treatment and citation.

    Raises:
        RefusedError: the role.
        InputError: the file exists or cannot be written, or the window is empty.
        AuditError: a chain is broken, or the export cannot be recorded; nothing is left then.
    """
    people.require(person, Act.TRAIL_PUBLIC, central.clock())
    made: list[Path] = []
    try:
        with central.database.write() as tx:
            data, rows, digest = _exported(central, tx, person, since, until)
            table = classification(redactions.in_force(tx))
            trailexport.write_new(file.with_name(f"{file.name}.fields.csv"), table, made)
            trailexport.write_new(file, data, made)
    except BaseException:  # what was not recorded does not exist (R-AT-3)
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return {"file": str(file), "rows": rows, "sha256": digest}


def download(central: Central, person: Person, since: datetime, until: datetime) -> bytes:
    """As :func:`export`, for a page: the CSV alone.

    Raises:
        RefusedError, InputError, AuditError: as :func:`export`.
    """
    people.require(person, Act.TRAIL_PUBLIC, central.clock())
    with central.database.write() as tx:
        return _exported(central, tx, person, since, until)[0]


def _exported(
    central: Central, tx: Connection, person: Person, since: datetime, until: datetime
) -> tuple[bytes, int, str]:
    """The CSV, how many rows it has, and its SHA-256; recorded."""
    if since >= until:
        raise InputError("the window is empty", remedy="let it begin before it ends")
    rows = list(acts(central, tx, since, until))
    data = table_csv(redactions.NAMES, rows).encode()
    digest = hashlib.sha256(data).hexdigest()
    central.trail.record(
        tx,
        Event.PUBLIC_TRAIL_EXPORTED,
        people.actor(person),
        at=central.clock(),
        detail={
            "from": since.isoformat(), "to": until.isoformat(), "rows": len(rows),
            "sha256": digest,
        },
    )  # fmt: skip
    return data, len(rows), digest


def acts(
    central: Central, tx: Connection, since: datetime, until: datetime
) -> Iterator[dict[str, str]]:
    """Every row of a window, in the order of time, after all chains were checked."""
    rules = _Rules(redactions.in_force(tx), redactions.protected(tx))
    found = [
        event
        for event in _events(tx)
        if since <= event.at < until and event.role != _SERVICE and is_shown(event.event)
    ]
    for event in sorted(found, key=lambda one: one.at):
        yield _row(central, event, rules)


def is_shown(event: str) -> bool:
    """Whether an event is a row of the export."""
    return event.partition(".")[0] in SHOWN


def classification(fields: dict[str, Field]) -> bytes:
    """The field-level classification table as CSV."""
    rows = [
        {"field": one.name, "what": one.what, "treatment": one.treatment, "citation": one.citation}
        for one in fields.values()
    ]
    return table_csv(("field", "what", "treatment", "citation"), rows).encode()


def _events(tx: Connection) -> Iterator[AuditEvent]:
    own = list(audit.events(tx))
    verify_chain(own)
    yield from own
    cars: dict[str, list[AuditEvent]] = {}
    table = db.car_events
    for row in tx.execute(select(table).order_by(table.c.enrolment, table.c.seq)):
        event = AuditEvent.model_validate_json(row.document)
        cars.setdefault(row.enrolment, []).append(event)
    for chain in cars.values():
        verify_chain(chain)
        yield from chain


def _row(central: Central, event: AuditEvent, rules: _Rules) -> dict[str, str]:
    at = event.at.astimezone(central.config.zone())
    told = event.detail
    searched = event.event == Event.SEARCHED.value
    values = {
        "date": at.date().isoformat(),
        "time": at.isoformat(timespec="seconds")[11:],
        "user": event.actor,
        "action": _action(event.event),
        "purpose": str(told.get("purpose") or "criminal investigation") if searched else "",
        "case_number": str(told.get("case", "")),
        "stated_reason": str(told.get("offence", "")) if searched else "",
        "result_count": str(told.get("results", "")) if searched else "",
        "searched": "stored reads of this agency" if searched else "",
        "time_from": str(told.get("from", "")) if searched else "",
        "time_to": str(told.get("to", "")) if searched else "",
        "plate": _plate(central, event, rules.fields["plate"]),
        "filters": "; ".join(f"{n}={told[n]}" for n in _FILTERS if told.get(n)) if searched else "",
        "statement": "; ".join(str(told[n]) for n in ("facts", "suspicion") if told.get(n)),
    }
    return {name: _cell(central, name, values[name], rules) for name in redactions.NAMES}


def _plate(central: Central, event: AuditEvent, field: Field) -> str:
    """The plate that was searched for, opened only where that is public.

    Terms of other acts (an entry that waits for its approval, a legal basis) stay withheld, and
    the place of a search belongs to its filters. A term that was erased reads like one that is
    withheld: that it is gone could tell of a private request (R-460.5-b4).
    """
    if "terms" not in event.detail:
        return ""
    if field.treatment == "withheld":
        return "typed"
    typed = central.trail.terms(event) if event.event in _SEARCHES else None
    return _NOT_TOLD if typed is None else typed.partition("@")[0].strip()


def _cell(central: Central, name: str, value: str, rules: _Rules) -> str:
    if not value:
        return ""
    field = rules.fields[name]
    if field.treatment == "withheld":
        return f"withheld: {field.citation}"
    if name == "case_number":
        citation = rules.protected.get(redactions.mark_of(central, value))
        return f"withheld: {citation}" if citation else value
    return value


def _action(event: str) -> str:
    # That a source is flagged is public, which one is not; the name of the event says no more.
    return "publiclog.source-flag" if event in _HIDDEN_SOURCE else event
