"""Cars: one-time codes, enrolment, permits, sessions and trails they bring in."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from alprd import crypto
from alprd.audit import FIRST, Actor, verify_chain
from alprd.central import ca, db
from alprd.central.audit import CENTRAL, Event
from alprd.central.store import Central
from alprd.errors import AuditError, EnvelopeError, InputError, RefusedError
from alprd.records import new_id
from alprd.wire import (
    Ack,
    AuditReport,
    CentralTime,
    EnrolReply,
    EnrolRequest,
    Permit,
    SessionReport,
    SessionRow,
)

_READER: Final = re.compile(r"^[0-9]{1,4}$")
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
PERMIT_LIFE: Final = timedelta(hours=24)
_PERMIT_FRESH: Final = timedelta(hours=20)
"""A permit with at least this much left is handed out again instead of a new one."""


@dataclass(frozen=True, slots=True)
class Vehicle:
    """An enrolled car, as its certificate proved it."""

    name: str
    reader: str
    enrolment: str
    batch_key: crypto.PublicKey
    wrap_key: crypto.PublicKey
    suspended: bool

    @property
    def actor(self) -> Actor:
        """The car in the trail."""
        return Actor(self.name, f"reader {self.reader}", "service")


def point(text: str, what: str) -> crypto.PublicKey:
    """A public key from base64url.

    Raises:
        InputError: not a P-256 point.
    """
    try:
        return crypto.public_from_bytes(base64.urlsafe_b64decode(text))
    except (binascii.Error, ValueError, EnvelopeError) as error:
        raise InputError(f"{what} is not a P-256 point in base64url") from error


def _vehicle(row: Row[Any]) -> Vehicle:
    return Vehicle(
        name=row.vehicle,
        reader=row.reader,
        enrolment=row.enrolment,
        batch_key=point(row.batch_key, "batch key"),
        wrap_key=point(row.wrap_key, "wrap key"),
        suspended=row.suspended,
    )


def enrolled(tx: Connection) -> list[Vehicle]:
    """Every car that is enrolled and not revoked, by name."""
    query = select(db.vehicles).where(db.vehicles.c.revoked_at.is_(None))
    return [_vehicle(row) for row in tx.execute(query.order_by(db.vehicles.c.vehicle))]


def by_certificate(central: Central, der: bytes | None) -> Vehicle:
    """The car whose verified client certificate this is.

    Raises:
        RefusedError: no certificate, an unknown or replaced one, or a revoked car.
    """
    if der is None:
        raise RefusedError("no client certificate", reason="no_certificate", remedy="enrol the car")
    certificate = x509.load_der_x509_certificate(der)
    query = select(db.vehicles).where(db.vehicles.c.vehicle == ca.common_name(certificate))
    with central.database.read() as tx:
        row = tx.execute(query).one_or_none()
    if row is None or row.serial != ca.serial_text(certificate):
        raise RefusedError(
            "certificate is of no enrolled car", reason="unknown_vehicle", remedy="enrol the car"
        )
    if row.revoked_at is not None:
        raise RefusedError("car is revoked", reason="revoked", remedy="ask the administrator")
    return _vehicle(row)


def issue_code(central: Central, vehicle: str, reader: str, actor: Actor = CENTRAL) -> str:
    """A one-time enrolment code, valid 24 h; only its hash is kept."""
    if not _READER.match(reader):
        raise InputError("reader number is not 1 to 4 digits", remedy="such as --reader 1")
    if not _NAME.match(vehicle):
        raise InputError("vehicle name is not letters, digits, '-', '_' and '.'")
    code = ca.new_code(central.ca)
    now = central.clock()
    with central.database.write() as tx:
        _check_reader(tx, vehicle, reader)
        tx.execute(
            insert(db.enrol_codes).values(
                code_hash=ca.code_hash(code),
                vehicle=vehicle,
                reader=reader,
                expires=now + ca.CODE_LIFE,
            )
        )
        central.trail.record(tx, Event.CODE_ISSUED, actor, at=now, detail={"vehicle": vehicle})
    return code


def _check_reader(tx: Connection, vehicle: str, reader: str) -> None:
    taken = tx.scalar(
        select(db.vehicles.c.vehicle).where(
            db.vehicles.c.reader == reader, db.vehicles.c.vehicle != vehicle
        )
    )
    if taken is not None:
        raise InputError(
            f"reader number {reader} belongs to {taken}", remedy="choose a free number"
        )


def enrol(central: Central, request: EnrolRequest, tuf_root: str) -> EnrolReply:
    """Exchange a one-time code for a certificate; an earlier enrolment of the car ends.

    Raises:
        RefusedError: the code is wrong, used, expired or for another vehicle.
        InputError: a key or the certificate request is not usable; the code stays valid.
    """
    now = central.clock()
    for text, what in ((request.batch_key, "batch_key"), (request.wrap_key, "wrap_key")):
        point(text, what)
    mark = ca.code_hash(request.code)
    with central.database.write() as tx:
        row = tx.execute(
            select(db.enrol_codes).where(db.enrol_codes.c.code_hash == mark)
        ).one_or_none()
        good = (
            row is not None
            and row.used_at is None
            and row.expires > now
            and row.vehicle == request.vehicle
        )
        if good and row is not None:
            _check_reader(tx, request.vehicle, row.reader)
            certificate = ca.issue_car(
                central.ca, central.keystore.private("ca"), request.csr, request.vehicle, now
            )
            _admit(tx, request, row.reader, certificate, now)
            tx.execute(
                update(db.enrol_codes).where(db.enrol_codes.c.code_hash == mark).values(used_at=now)
            )
            event = Event.ENROLLED
        else:
            event = Event.ENROL_REFUSED
        central.trail.record(tx, event, at=now, detail={"vehicle": request.vehicle})
    if not good or row is None:
        raise RefusedError(
            "enrolment code is wrong, used, expired or for another vehicle",
            reason="bad_code",
            remedy="make a new one with alprd-central enrol-code",
        )
    receipt = crypto.public_bytes(central.receipt_key())
    return EnrolReply(
        agency=central.config.agency,
        vehicle=request.vehicle,
        reader=row.reader,
        certificate=ca.pem(certificate),
        ca=ca.pem(central.ca),
        receipt_key=base64.urlsafe_b64encode(receipt).decode(),
        tuf_root=tuf_root,
    )


def _admit(
    tx: Connection,
    request: EnrolRequest,
    reader: str,
    certificate: x509.Certificate,
    now: datetime,
) -> None:
    values = {
        "reader": reader,
        "enrolment": new_id(),
        "serial": ca.serial_text(certificate),
        "batch_key": request.batch_key,
        "wrap_key": request.wrap_key,
        "enrolled_at": now,
        "revoked_at": None,
        "suspended": False,
        "permit": None,
    }
    tx.execute(
        upsert(db.vehicles)
        .values(vehicle=request.vehicle, **values)
        .on_conflict_do_update(index_elements=["vehicle"], set_=values)
    )


def change(central: Central, vehicle: str, event: Event, actor: Actor) -> None:
    """Revoke, suspend or resume a car.

    Raises:
        InputError: no such car.
    """
    now = central.clock()
    changes: dict[Event, dict[str, Any]] = {
        Event.REVOKED: {"revoked_at": now, "permit": None},
        Event.SUSPENDED: {"suspended": True, "permit": None},
        Event.RESUMED: {"suspended": False, "permit": None},
    }
    values = changes[event]
    with central.database.write() as tx:
        done = tx.execute(
            update(db.vehicles).where(db.vehicles.c.vehicle == vehicle).values(**values)
        )
        if done.rowcount == 0:
            raise InputError(f"no car named {vehicle}", remedy="see alprd-central status")
        central.trail.record(tx, event, actor, at=now, detail={"vehicle": vehicle})


def touch(tx: Connection, vehicle: Vehicle, now: datetime, *, dock: bool) -> None:
    """Note that a car was heard; ``dock`` when it brought or fetched data."""
    values = {"last_contact": now, "last_dock": now} if dock else {"last_contact": now}
    tx.execute(update(db.vehicles).where(db.vehicles.c.vehicle == vehicle.name).values(**values))


def hello(central: Central, vehicle: Vehicle, nonce: str) -> crypto.SignedDocument:
    """Central's time, signed, with the caller's nonce."""
    now = central.clock()
    with central.database.write() as tx:
        touch(tx, vehicle, now, dock=False)
    body = CentralTime(agency=central.config.agency, time=now, nonce=nonce)
    return crypto.sign_document("hello", body, central.receipt_key())


def permit(central: Central, vehicle: Vehicle) -> crypto.SignedDocument:
    """Leave to collect for 24 h, or the news that the car is suspended (R-13.824-6-6)."""
    now = central.clock()
    with central.database.write() as tx:
        row = tx.execute(
            select(db.vehicles.c.permit, db.vehicles.c.suspended).where(
                db.vehicles.c.vehicle == vehicle.name
            )
        ).one()
        current = Permit.model_validate_json(row.permit) if row.permit else None
        if current is None or current.expires - now < _PERMIT_FRESH:
            current = Permit(
                agency=central.config.agency,
                vehicle=vehicle.name,
                serial=new_id(),
                not_before=now,
                expires=now + PERMIT_LIFE,
                suspended=row.suspended,
            )
            tx.execute(
                update(db.vehicles)
                .where(db.vehicles.c.vehicle == vehicle.name)
                .values(permit=current.model_dump_json())
            )
            central.trail.record(
                tx,
                Event.PERMIT_ISSUED,
                vehicle.actor,
                at=now,
                subjects=[current.serial],
                detail={"suspended": row.suspended},
            )
        touch(tx, vehicle, now, dock=False)
    return crypto.sign_document("permit", current, central.receipt_key())


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
    if any(not 2000 < t.year < 2100 for row in report.rows for t in (row.started, row.ended)):
        raise InputError("a session lies outside the years 2001 to 2099")
    with central.database.write() as tx:
        added = [row.id for row in report.rows if _keep_session(central, tx, vehicle, row, now)]
        touch(tx, vehicle, now, dock=True)
        if added:
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
        try:
            seq = _append_events(tx, vehicle, report, seq)
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


def _append_events(tx: Connection, vehicle: Vehicle, report: AuditReport, last: int) -> int:
    """Check the report against the kept chain, then add what is new; the last number held."""
    events: Sequence[Any] = report.events
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
                }
                for event in fresh
            ],
        )
    return max(end, last)
