"""Enrolment of a car: a one-time code against a certificate of the agency's CA."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd import crypto
from alprd.audit import Actor
from alprd.central.fleet import vehicles
from alprd.central.fleet.vehicles import Vehicle, point
from alprd.central.storage import ca, db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import new_id
from alprd.wire import EnrolReply, EnrolRequest, Renewal, RenewRequest

_READER: Final = re.compile(r"^[0-9]{1,4}$")
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


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
        reason = "" if good else _why(row, request.vehicle, now)
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
        detail: dict[str, str | int | bool] = {"vehicle": request.vehicle}
        central.trail.record(
            tx, event, at=now, detail=detail | ({"reason": reason} if reason else {})
        )
    if not good or row is None:
        raise RefusedError(
            _WHY[reason], reason=reason, remedy="make a new one with alprd-central enrol-code"
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
        unlock=vehicles.unlock_secret(
            central, crypto.key_id(point(request.batch_key, "batch_key"))
        ),
    )


_WHY: Final = {
    "bad_code": "enrolment code is wrong",
    "code_used": "enrolment code was used already",
    "code_expired": "enrolment code has expired",
    "wrong_vehicle": "enrolment code is for another vehicle",
}


def _why(row: Row[Any] | None, vehicle: str, now: datetime) -> str:
    """Why a code is refused. Who has one of 128 bits may be told what is wrong with it."""
    if row is None:
        return "bad_code"
    if row.used_at is not None:
        return "code_used"
    return "code_expired" if row.expires <= now else "wrong_vehicle"


def renew(
    central: Central, vehicle: Vehicle, document: crypto.SignedDocument
) -> crypto.SignedDocument:
    """A certificate for a car's new key; the present one holds until the new one is used.

    Raises:
        SignatureError: not signed by this car's batch key.
        RefusedError: of another car or enrolment.
        InputError: the signing request is not usable.
    """
    said = crypto.verify_document(document, "renew", vehicle.batch_key, RenewRequest)
    enrolment = crypto.key_id(vehicle.batch_key)
    if (said.agency, said.vehicle, said.enrolment) != (
        central.config.agency,
        vehicle.name,
        enrolment,
    ):
        raise RefusedError("request is of another car or enrolment", reason="wrong_sender")
    now = central.clock()
    made = ca.issue_car(central.ca, central.keystore.private("ca"), said.csr, vehicle.name, now)
    table = db.renewals
    mine = table.c.enrolment == vehicle.enrolment
    values = {"serial": ca.serial_text(made), "issued_at": now}
    with central.database.write() as tx:
        if tx.execute(update(table).where(mine).values(**values)).rowcount == 0:
            tx.execute(insert(table).values(enrolment=vehicle.enrolment, **values))
        central.trail.record(
            tx,
            Event.CERTIFICATE_ISSUED,
            vehicle.actor,
            at=now,
            detail={"vehicle": vehicle.name},
        )
    reply = Renewal(
        agency=said.agency, vehicle=vehicle.name, enrolment=enrolment, certificate=ca.pem(made)
    )
    return crypto.sign_document("renewal", reply, central.receipt_key())


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
