"""What needs a person about the store itself: alarms, quarantine, destruction, certificates."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from sqlalchemy import Connection, func, select

from alprd.central.oversight.todo import Todo
from alprd.central.records import exemptions
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, repository
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.wire import SessionRow

ALARM_DAYS: Final = timedelta(days=7)
PURGE_LATE: Final = timedelta(hours=1)
"""Reads past their life for longer than this mean that the hourly destruction does not work."""
CERTIFICATE_SOON: Final = timedelta(days=21)
LEDGER_LATE: Final = timedelta(days=3)
_ALARMS: Final = {
    Event.TRAIL_BROKEN: "a car's trail does not follow on what was received",
    Event.SESSION_CONFLICT: "a car reported a period of use twice and differently",
    Event.PURGE_FAILED: "a run of the destruction failed",
    Event.REPLICA_BEHIND: "the keystore's replica could not follow: docs/storage.md",
    Event.BATCH_REFUSED: "a batch of reads was refused",
}
_COMMAND: Final = (Act.CAR_ORDER, Act.LISTS_WORK, Act.TRAIL_EXPORT)
"""Sheriff, supervisor, the assigned member, auditor."""


def alarms(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Alarms of the last seven days by kind, what lies in quarantine, and unreconciled ledgers."""
    table = db.audit
    names = [event.value for event in _ALARMS]
    rows = tx.execute(
        select(table.c.event, func.count(), func.max(table.c.at))
        .where(table.c.at > now - ALARM_DAYS, table.c.event.in_(names))
        .group_by(table.c.event)
    ).all()
    found = [
        Todo(
            "Alarms",
            f"{_ALARMS[Event(name)]}" + (f" ({number} times in 7 days)" if number > 1 else ""),
            f"/trail?event={name}",
            _COMMAND,
            due=last,
        )
        for name, number, last in rows
    ]
    foul = tx.scalar(select(func.count()).select_from(db.quarantine)) or 0
    if foul:
        text = f"{foul} sealed read{'s' if foul != 1 else ''} could not be opened: quarantine"
        link = f"/trail?event={Event.QUARANTINED.value}"
        found.append(Todo("Alarms", text, link, _COMMAND))
    open_ = _unreconciled(tx, now)
    found += [
        Todo("Cars", f"{car}: {number} periods of use whose reads did not all arrive",
             f"/cars/{car}", (Act.CARS_SEE,))
        for car, number in sorted(open_.items())
    ]  # fmt: skip
    return found


def _unreconciled(tx: Connection, now: datetime) -> Counter[str]:
    """Periods reported three days ago or more whose queued reads are not those received."""
    arrived = {
        (vehicle, session): int(number)
        for vehicle, session, number in tx.execute(
            select(db.arrivals.c.vehicle, db.arrivals.c.session, func.count()).group_by(
                db.arrivals.c.vehicle, db.arrivals.c.session
            )
        )
    }
    late = select(db.sessions).where(db.sessions.c.received_at <= now - LEDGER_LATE)
    counts: Counter[str] = Counter()
    for row in tx.execute(late):
        said = SessionRow.model_validate_json(row.row)
        if said.queued != arrived.get((row.vehicle, row.id), 0):
            counts[row.vehicle] += 1
    return counts


def destruction(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Reads that should be gone and are not (R-460.5-4)."""
    table = db.reads
    late = tx.scalar(
        select(func.count())
        .select_from(table)
        .where(table.c.destroy_by <= now - PURGE_LATE, table.c.id.not_in(exemptions.exempted()))
    )
    if not late:
        return []
    text = f"{late} reads are past their life and not destroyed yet; nobody can see them"
    return [Todo("Destruction", text, f"/trail?event={Event.PURGE_FAILED.value}", _COMMAND)]


def certificates(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Certificates and signatures near their end; central renews them, unless something fails."""
    found = []
    for name, what in (("server.crt", "the server's certificate"), ("ca.crt", "the agency's CA")):
        path = central.home / "keys" / name
        if not path.exists():
            continue
        made = x509.load_pem_x509_certificate(path.read_bytes())
        found.append((what, made.not_valid_after_utc, CERTIFICATE_SOON))
    root = repository.latest_root(central)
    found.append(("the root of the publication", root.signed.expires, CERTIFICATE_SOON))
    return [
        Todo(
            "Certificates",
            f"{what} {'has ended' if ends <= now else 'ends soon'}; docs/key-ceremony.md",
            "/",
            _COMMAND,
            "now" if ends <= now + timedelta(days=7) else "soon",
            ends,
        )
        for what, ends, soon in found
        if ends - now < soon
    ]
