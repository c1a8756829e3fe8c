"""What cars report beside reads: ended sessions and the events of their trails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select

from alprd import crypto
from alprd.audit import FIRST, verify_chain
from alprd.audit import Event as CarEvent
from alprd.central.fleet.vehicles import Vehicle, touch
from alprd.central.public import logbook, readers
from alprd.central.storage import db, trailheads
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import AuditError, InputError, RefusedError
from alprd.wire import Ack, AuditEvent, AuditReport, SessionReport, SessionRow

SESSION_CORRECTED: Final = CarEvent.SESSION_CORRECTED.value


def _own(central: Central, vehicle: Vehicle, report: SessionReport | AuditReport) -> None:
    if report.agency != central.config.agency or report.vehicle != vehicle.name:
        raise RefusedError("report is for another agency or vehicle", reason="wrong_sender")


def accept_sessions(
    central: Central, vehicle: Vehicle, document: crypto.SignedDocument
) -> crypto.SignedDocument:
    """Keep ended sessions: rows of the public log, never edited afterwards (R-460.5.1-0).

    A row that comes again with other figures is not taken; the first stays and the trail says so.
    """
    report = crypto.verify_document(document, "sessions", vehicle.batch_key, SessionReport)
    _own(central, vehicle, report)
    now = central.clock()
    for row in report.rows:
        # A car that never had trusted time says so; its clock may have stood at 1970 (its row is
        # a row of the public log all the same).
        years = (2001, 2099) if row.time_trusted else (1970, 2199)
        if not years[0] <= row.started.year <= row.ended.year <= years[1]:
            raise InputError(f"a session lies outside the years {years[0]} to {years[1]}")
    with central.database.write() as tx:
        added = [row.id for row in report.rows if _keep_session(central, tx, vehicle, row, now)]
        touch(tx, vehicle, now, dock=True)
        if added:
            readers.ensure(central, tx, vehicle.name)
            central.trail.record(tx, Event.SESSIONS_RECEIVED, vehicle.actor, at=now, subjects=added)
    ack = Ack(
        agency=central.config.agency,
        vehicle=vehicle.name,
        kind="sessions",
        ids=tuple(row.id for row in report.rows),
    )
    return crypto.sign_document("ack", ack, central.receipt_key())


def _keep_session(
    central: Central, tx: Connection, vehicle: Vehicle, row: SessionRow, now: datetime
) -> bool:
    text = crypto.canonical(row).decode()
    kept = tx.scalar(select(db.sessions.c.row).where(db.sessions.c.id == row.id))
    if kept is None:
        tx.execute(
            insert(db.sessions).values(
                id=row.id, vehicle=vehicle.name, started=row.started, row=text, received_at=now
            )
        )
        logbook.add_session(central, tx, row, now)
        # Its corrections, where the trail came before it.
        table = db.car_events
        told = select(table.c.document).where(
            table.c.vehicle == vehicle.name,
            table.c.document.contains(f'"{SESSION_CORRECTED}"'),
            table.c.document.contains(row.id),
        )
        for document in tx.scalars(told).all():
            event = AuditEvent.model_validate_json(document)
            if event.event == SESSION_CORRECTED and event.session == row.id:
                _correct(central, tx, event, now)
        return True
    if kept != text:
        central.trail.record(tx, Event.SESSION_CONFLICT, vehicle.actor, at=now, subjects=[row.id])
    return False


def accept_audit(
    central: Central, vehicle: Vehicle, document: crypto.SignedDocument
) -> crypto.SignedDocument:
    """Keep events of a car's trail verbatim, if they continue its chain (R-AT-3).

    Raises:
        AuditError: altered, or events are missing in between; recorded as an alarm.
    """
    report = crypto.verify_document(document, "audit", vehicle.batch_key, AuditReport)
    _own(central, vehicle, report)
    now = central.clock()
    mine = db.car_events.c.enrolment == vehicle.enrolment
    with central.database.write() as tx:
        seq = tx.scalar(select(func.max(db.car_events.c.seq)).where(mine)) or 0
        if report.events and report.events[0].seq > seq + 1 and _restored(tx):
            # A backup was restored that is older than what the car has sent: it sends it again.
            reason = f"events {seq + 1} to {report.events[0].seq - 1} are asked for again"
            central.trail.record(
                tx,
                Event.TRAIL_BROKEN,
                vehicle.actor,
                at=now,
                detail={"reason": f"{reason}: lost with a restore", "alarm": True},
            )
            report = report.model_copy(update={"events": ()})
        try:
            last = _append_events(central, tx, vehicle, report, seq)
            for event in report.events:
                if event.seq > seq and event.event == SESSION_CORRECTED:
                    _correct(central, tx, event, now)
            seq = last
            broken: AuditError | None = None
        except AuditError as error:
            broken = error
            central.trail.record(
                tx,
                Event.TRAIL_BROKEN,
                vehicle.actor,
                at=now,
                detail={"reason": error.message, "alarm": True},
            )
        touch(tx, vehicle, now, dock=True)
    if broken is not None:
        raise broken
    ack = Ack(agency=central.config.agency, vehicle=vehicle.name, kind="audit", seq=seq)
    return crypto.sign_document("ack", ack, central.receipt_key())


def _restored(tx: Connection) -> bool:
    """Whether a backup was ever restored here."""
    found = select(db.audit.c.seq).where(db.audit.c.event == Event.RESTORED.value).limit(1)
    return tx.scalar(found) is not None


def _append_events(
    central: Central, tx: Connection, vehicle: Vehicle, report: AuditReport, last: int
) -> int:
    """Check the report against the kept chain, then add what is new; the last number held."""
    events: Sequence[AuditEvent] = report.events
    if not events:
        return last
    table = db.car_events

    def kept_digest(seq: int) -> str | None:
        return tx.scalar(
            select(table.c.digest).where(table.c.enrolment == vehicle.enrolment, table.c.seq == seq)
        )

    first = events[0].seq
    if first > last + 1:
        raise AuditError(f"audit event {last + 1} is missing (found {first})")
    previous = FIRST if first == 1 else kept_digest(first - 1) or ""
    end = verify_chain(events, previous=previous, seq=first - 1)
    overlap = min(end, last)
    if overlap >= first and kept_digest(overlap) != events[overlap - first].digest:
        raise AuditError(f"audit event {overlap} differs from the one received before")
    fresh = [event for event in events if event.seq > last]
    if fresh:
        tx.execute(
            insert(table),
            [
                {
                    "enrolment": vehicle.enrolment,
                    "seq": event.seq,
                    "vehicle": vehicle.name,
                    "digest": event.digest,
                    "document": event.model_dump_json(),
                    "at": event.at,
                }
                for event in fresh
            ],
        )
        chain = trailheads.car_chain(vehicle.name, vehicle.enrolment)
        trailheads.put(central.keystore, tx, chain, fresh[-1].seq, fresh[-1].digest)
    return max(end, last)


def _correct(central: Central, tx: Connection, event: AuditEvent, now: datetime) -> None:
    """A match of an ended session was marked as misread: a dated correction (R-460.5.1-c5)."""
    number = event.detail.get("marked_misread")
    if not isinstance(number, int) or number < 1 or event.session is None:
        return
    row = logbook.find(tx, event.session)
    if row is None:
        return  # its row is still on the way, and brings its corrections
    # More misreads than matches would tell everybody of a match that is not told (ADR 0055).
    number = min(number, sum(row.figures.values()) - logbook.misread(tx, event.session))
    if number < 1:
        return
    day = event.at.astimezone(central.config.zone()).date()
    logbook.add_correction(
        central,
        tx,
        now,
        "misread",
        session=event.session,
        note=f"{number} more match(es) of this period marked as misread on {day}",
        misread=number,
    )
