"""The end of a car: orders to kill itself, and the certificates of what was wiped (R-CJIS-5).

An order belongs to one enrolment. It is handed out at every contact until the car's certificate
arrives, also to a revoked car, and from the moment it is given the car gets no permit and nothing
new is encrypted for it. A certificate ends the enrolment.
"""

from __future__ import annotations

import json
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd import crypto
from alprd.audit import Actor
from alprd.central.fleet import orders as vehicle_orders
from alprd.central.fleet.vehicles import Vehicle, point, touch
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import new_id
from alprd.wire import Ack, Orders, WipeCertificate

_MAX_REASON: Final = 500


def order_kill(central: Central, vehicle: str, reason: str, actor: Actor) -> str:
    """Order a car to destroy its keys and data at its next contact; the order's serial.

    Raises:
        InputError: no such car, no reason, or the car is wiped already.
    """
    now = central.clock()
    reason = _reason(reason)
    with central.database.write() as tx:
        enrolment = _enrolment(tx, vehicle)
        if tx.scalar(select(db.wipes.c.kind).where(db.wipes.c.enrolment == enrolment)):
            raise InputError(f"{vehicle} has been wiped already")
        serial = new_id()
        entered = tx.scalar(
            upsert(db.kill_orders)
            .values(
                enrolment=enrolment,
                vehicle=vehicle,
                serial=serial,
                ordered_at=now,
                ordered_by=actor.id,
                reason=reason,
            )
            .on_conflict_do_nothing()
            .returning(db.kill_orders.c.serial)
        )
        if entered is None:  # PostgreSQL's driver counts no rows of an insertion
            raise InputError(f"{vehicle} is ordered to kill itself already")
        tx.execute(
            update(db.vehicles)
            .where(db.vehicles.c.vehicle == vehicle)
            .values(suspended=True, permit=None)
        )
        central.trail.record(
            tx,
            Event.KILL_ORDERED,
            actor,
            at=now,
            subjects=[serial],
            detail={"vehicle": vehicle, "reason": reason},
        )
    return serial


def orders_for(central: Central, vehicle: Vehicle, nonce: str) -> crypto.SignedDocument:
    """What the car is to do, signed for this enrolment and this question."""
    now = central.clock()
    mine = db.kill_orders.c.enrolment == vehicle.enrolment
    with central.database.write() as tx:
        row = tx.execute(select(db.kill_orders).where(mine)).one_or_none()
        live = vehicle_orders.due(central, tx, vehicle, now) if row is None else ()
        touch(tx, vehicle, now, dock=False)
        if row is not None and row.handed_out_at is None:
            tx.execute(update(db.kill_orders).where(mine).values(handed_out_at=now))
            central.trail.record(
                tx,
                Event.KILL_HANDED_OUT,
                vehicle.actor,
                at=now,
                subjects=[row.serial],
                detail={"vehicle": vehicle.name},
            )
    orders = Orders(
        agency=central.config.agency,
        vehicle=vehicle.name,
        enrolment=crypto.key_id(vehicle.batch_key),
        nonce=nonce,
        kill=row.serial if row else None,
        ordered=row.ordered_at if row else None,
        orders=live,
    )
    return crypto.sign_document("orders", orders, central.receipt_key())


def accept_wipe(
    central: Central, vehicle: Vehicle, document: crypto.SignedDocument
) -> crypto.SignedDocument:
    """Keep a car's wipe certificate and end its enrolment; the same one again changes nothing.

    Raises:
        SignatureError: not signed by this car's batch key.
        RefusedError: for another car or enrolment.
    """
    now = central.clock()
    with central.database.write() as tx:
        said = _verify(central, vehicle.name, vehicle.batch_key, document)
        _keep(central, tx, vehicle.enrolment, said, document, vehicle.actor)
        touch(tx, vehicle, now, dock=False)
    ack = Ack(agency=central.config.agency, vehicle=vehicle.name, kind="wipe", ids=(said.serial,))
    return crypto.sign_document("ack", ack, central.receipt_key())


def retire(
    central: Central, vehicle: str, *, certificate: str | None, reason: str, actor: Actor
) -> str:
    """Record on the agency's side that a car is no more; ``retired`` or ``killed``.

    Args:
        certificate: text of the car's ``wiped.json``, or of the signed document inside it.
        reason: required where there is no certificate.

    Raises:
        InputError: no such car, neither certificate nor reason, or a file that is none.
        SignatureError: not signed by this car's batch key.
        RefusedError: for another car or enrolment.
    """
    now = central.clock()
    with central.database.write() as tx:
        enrolment = _enrolment(tx, vehicle)
        if certificate is None:
            _end(central, tx, enrolment, vehicle, "retired", None)
            detail: dict[str, str | int | bool] = {"vehicle": vehicle, "reason": _reason(reason)}
            central.trail.record(tx, Event.RETIRED, actor, at=now, detail=detail)
            return "retired"
        key = tx.scalar(select(db.vehicles.c.batch_key).where(db.vehicles.c.vehicle == vehicle))
        document = _document_in(certificate)
        said = _verify(central, vehicle, point(str(key), "batch key"), document)
        _keep(central, tx, enrolment, said, document, actor)
        return said.kind


def _enrolment(tx: Connection, vehicle: str) -> str:
    found = tx.scalar(select(db.vehicles.c.enrolment).where(db.vehicles.c.vehicle == vehicle))
    if found is None:
        raise InputError(f"no car named {vehicle}", remedy="see alprd-central status")
    return str(found)


def _reason(text: str) -> str:
    text = text.strip()
    if not text:
        raise InputError("no reason is given", remedy="say why with --reason")
    if len(text) > _MAX_REASON:
        raise InputError(f"the reason is longer than {_MAX_REASON} characters")
    return text


def _document_in(text: str) -> crypto.SignedDocument:
    """The signed certificate in a car's ``wiped.json``, or alone in a file."""
    try:
        values = json.loads(text)
        if isinstance(values, dict) and "certificate" in values:
            values = values["certificate"]
        return crypto.SignedDocument.model_validate(values)
    except (ValueError, ValidationError) as error:
        raise InputError(
            "the file holds no wipe certificate", remedy="give the car's wiped.json"
        ) from error


def _verify(
    central: Central, vehicle: str, key: crypto.PublicKey, document: crypto.SignedDocument
) -> WipeCertificate:
    said = crypto.verify_document(document, "wipe", key, WipeCertificate)
    if (said.agency, said.vehicle) != (central.config.agency, vehicle):
        raise RefusedError("certificate is of another car", reason="wrong_sender")
    if said.enrolment != crypto.key_id(key):
        raise RefusedError("certificate is of another enrolment", reason="wrong_enrolment")
    return said


def _keep(
    central: Central,
    tx: Connection,
    enrolment: str,
    said: WipeCertificate,
    document: crypto.SignedDocument,
    actor: Actor,
) -> None:
    text = document.model_dump_json()
    if not _end(central, tx, enrolment, said.vehicle, said.kind, text):
        return
    detail: dict[str, str | int | bool] = {
        "vehicle": said.vehicle,
        "kind": said.kind,
        "by": said.by,
        "reason": said.reason,
        "keys": ", ".join((*said.keys_destroyed, *said.keys_last)),
        "reads_lost": "unknown" if said.reads_lost is None else said.reads_lost,
        "sessions_lost": "unknown" if said.sessions_lost is None else said.sessions_lost,
    }
    subjects = [said.serial] if said.order is None else [said.serial, said.order]
    central.trail.record(
        tx, Event.WIPED, actor, at=central.clock(), subjects=subjects, detail=detail
    )


def _end(
    central: Central,
    tx: Connection,
    enrolment: str,
    vehicle: str,
    kind: str,
    certificate: str | None,
) -> bool:
    """End the enrolment; whether that is news. A certificate completes one that had none."""
    now = central.clock()
    kept = tx.execute(select(db.wipes).where(db.wipes.c.enrolment == enrolment)).one_or_none()
    if kept is not None and (kept.certificate is not None or certificate is None):
        return False
    values = {"kind": kind, "received_at": now, "certificate": certificate}
    tx.execute(
        upsert(db.wipes)
        .values(enrolment=enrolment, vehicle=vehicle, **values)
        .on_conflict_do_update(index_elements=["enrolment"], set_=values)
    )
    tx.execute(
        update(db.vehicles)
        .where(db.vehicles.c.vehicle == vehicle, db.vehicles.c.enrolment == enrolment)
        .values(revoked_at=now, permit=None)
    )
    return True
