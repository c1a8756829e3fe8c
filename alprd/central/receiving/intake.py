"""Intake of sealed batches: check, open, classify, store, and only then receipt (R-460.5-2).

Order inside one write transaction of the main database::

    check signature and digests → look up what arrived before → open against the closed schema
    → second-line suppression → pending holds → read keys (keystore, durable)
    → rows, pictures (durable), ledger, trail → commit → sign the receipt

A crash before the commit leaves keys and files without a row, which :mod:`retention` sweeps; the
car holds its ciphertext until the receipt and sends it again. What cannot be used is quarantined
with an alarm in the trail, never dropped.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final, Literal

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd import crypto
from alprd.central.fleet.vehicles import Vehicle
from alprd.central.records import exemptions, holds, ledger, protected
from alprd.central.storage import db, partitions, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal
from alprd.central.storage.store import Central, count
from alprd.errors import EnvelopeError, InputError, RefusedError, SignatureError
from alprd.records import Read, destroy_by, hour_floor
from alprd.wire import BatchHeader, BatchItem, Receipt, ReceiptItem, split_batch

log: Final = logging.getLogger("alprd.central.receiving.intake")
Outcome = Literal["stored", "quarantined", "expired"]


@dataclass(slots=True)
class _Arrival:
    """One envelope on its way through the checks."""

    item: BatchItem
    envelope: bytes
    outcome: Outcome = "stored"
    reason: str = ""
    read: Read | None = None
    hour: datetime | None = None
    destroy_by: datetime | None = None
    suppressed: bool = False
    known: bool = False
    session: str | None = None
    holds: tuple[str, ...] = ()
    """Exculpatory holds that it falls under."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """What every envelope of a batch is checked against."""

    suppressed: frozenset[str]
    holds: tuple[exemptions.Exemption, ...]
    frozen: tuple[exemptions.Exemption, ...]
    """Holds whose freeze is in force in this car."""


def accept_batch(central: Central, vehicle: Vehicle, body: bytes) -> crypto.SignedDocument:
    """Store a batch and answer with a signed receipt; the same batch again gives the same receipt.

    Raises:
        InputError: the body is not what its signed header says; the car sends it again.
        SignatureError: not signed by this car's enrolled batch key.
        RefusedError: the batch is for another agency or vehicle (R-13.824-2-2).
        StoreError: nothing was stored; the car keeps its copy.
    """
    document, rest = split_batch(body)
    try:
        header = crypto.verify_document(document, "batch", vehicle.batch_key, BatchHeader)
        if header.agency != central.config.agency or header.vehicle != vehicle.name:
            raise RefusedError("batch is for another agency or vehicle", reason="wrong_sender")
    except (SignatureError, RefusedError) as error:
        _record_refusal(central, vehicle, error.message)
        raise
    arrivals = _split(header, rest)
    mark = crypto.sha256_hex(document.body.encode())
    with central.database.write() as tx:
        now = central.clock()
        done = tx.execute(
            select(db.batches).where(db.batches.c.header_sha256 == mark)
        ).one_or_none()
        if done is not None:
            count(tx, "duplicates_refused", len(arrivals))
            received_at = done.received_at
            items = tuple(ReceiptItem(**item) for item in json.loads(done.items))
        else:
            received_at = now
            _examine(central, tx, vehicle, arrivals, now)
            _store(central, tx, vehicle, arrivals, now)
            items = tuple(
                ReceiptItem(id=a.item.id, sha256=a.item.sha256, outcome=a.outcome) for a in arrivals
            )
            _record_batch(central, tx, vehicle, header, mark, items, now)
    receipt = Receipt(
        agency=header.agency,
        vehicle=vehicle.name,
        batch=header.batch,
        received_at=received_at,
        items=items,
    )
    return crypto.sign_document("receipt", receipt, central.receipt_key())


def _split(header: BatchHeader, rest: memoryview) -> list[_Arrival]:
    """The envelopes by the header's lengths and digests.

    A digest that does not fit means damage on the way: nothing is receipted, because central
    does not hold what the car signed, and a receipt would make the car destroy it.
    """
    if len({item.id for item in header.items}) != len(header.items):
        raise InputError("batch names a read twice")
    ends = list(accumulate(item.length for item in header.items))
    if ends[-1] != len(rest):
        raise InputError("envelopes of the batch do not have the signed length")
    arrivals = []
    for item, end in zip(header.items, ends, strict=True):
        envelope = bytes(rest[end - item.length : end])
        if crypto.sha256_hex(envelope) != item.sha256:
            raise InputError(f"envelope {item.id} does not have the signed digest")
        arrivals.append(_Arrival(item, envelope))
    return arrivals


def _examine(
    central: Central, tx: Connection, vehicle: Vehicle, arrivals: list[_Arrival], now: datetime
) -> None:
    """Decide the outcome of each envelope."""
    pending = holds.pending(central, tx)
    rules = _Rules(
        protected.suppressed_folds(central, tx),
        pending,
        holds.frozen_for(central, tx, vehicle.name, pending, now),
    )
    query = select(db.arrivals).where(db.arrivals.c.id.in_([a.item.id for a in arrivals]))
    before = {row.id: row for row in tx.execute(query)}
    private: dict[str, crypto.PrivateKey | None] = {}
    for arrival in arrivals:
        earlier = before.get(arrival.item.id)
        if earlier is not None and earlier.sha256 == arrival.item.sha256:
            arrival.known = True
            arrival.outcome = earlier.outcome
        elif earlier is not None:
            arrival.outcome, arrival.reason = "quarantined", "other_digest"
        else:
            _open(central, vehicle, arrival, now, private, rules)


def _open(
    central: Central,
    vehicle: Vehicle,
    arrival: _Arrival,
    now: datetime,
    private: dict[str, crypto.PrivateKey | None],
    rules: _Rules,
) -> None:
    try:
        header = crypto.envelope_header(arrival.envelope)
        key_id = crypto.envelope_key_id(arrival.envelope)
    except EnvelopeError:
        arrival.outcome, arrival.reason = "quarantined", "malformed"
        return
    arrival.session = header.session
    foreign = (header.agency, header.vehicle) != (central.config.agency, vehicle.name)
    if foreign or header.id != arrival.item.id:
        arrival.outcome, arrival.reason = "quarantined", "foreign_header"
        return
    # Past the life in its header a read comes only out of a freeze, and stays only when held.
    if header.destroy_by <= now and not rules.frozen:
        arrival.outcome = "expired"
        return
    if key_id not in private:
        private[key_id] = central.keystore.intake_private(key_id)
    key = private[key_id]
    if key is None and header.destroy_by <= now:
        arrival.outcome = "expired"
        return
    if key is None:
        arrival.outcome, arrival.reason = "quarantined", "no_intake_key"
        return
    try:
        read = crypto.open_read(arrival.envelope, key)
    except EnvelopeError:
        arrival.outcome, arrival.reason = "quarantined", "does_not_open"
        return
    # The car's figure may shorten a life, never lengthen it beyond what central's own settings
    # give from the collection instant, nor from now (an instant in the future) (R-460.5-4).
    try:
        from_instant = destroy_by(read.instant, central.life)
    except OverflowError:
        arrival.outcome, arrival.reason = "quarantined", "impossible_instant"
        return
    arrival.destroy_by = hour_floor(
        min(header.destroy_by, from_instant, destroy_by(now, central.life))
    )
    arrival.suppressed = any(form in rules.suppressed for form in vault.folds(read.plate))
    past = arrival.destroy_by <= now
    if not arrival.suppressed:
        arrival.holds = holds.matching(
            rules.frozen if past else rules.holds, read, arrival.destroy_by
        )
    if past and not arrival.holds:
        arrival.outcome = "expired"
        return
    arrival.read = read
    arrival.hour = hour_floor(read.instant)


def _store(
    central: Central, tx: Connection, vehicle: Vehicle, arrivals: list[_Arrival], now: datetime
) -> None:
    """Keys, then rows and pictures; the caller's transaction commits the rows last."""
    fresh = [a for a in arrivals if not a.known]
    wanted = [(a.read.id, a.hour) for a in fresh if a.read is not None and a.hour is not None]
    wanted += [(a.item.sha256, hour_floor(now)) for a in fresh if a.outcome == "quarantined"]
    made = central.keystore.new_read_keys(wanted) if wanted else {}
    held: dict[str, tuple[bytes, tuple[str, ...]]] = {}
    pictures: dict[str, bytes] = {}
    partitions.ensure(tx, "reads", (a.hour for a in fresh if a.hour is not None))
    for arrival in fresh:
        if arrival.outcome == "quarantined":
            _quarantine(central, tx, vehicle, arrival, made[arrival.item.sha256][0], now)
        elif arrival.read is not None:
            read, hour, end = arrival.read, arrival.hour, arrival.destroy_by
            if hour is None or end is None:  # set together with the read
                raise InputError("read without hour or destroy-by")
            read_key, hour_key = made[read.id]
            if arrival.suppressed:
                size = len(read.plate_picture) + len(read.wide_picture or b"")
                sealed = vault.seal_void(read.id, size, read_key)
            else:
                sealed = vault.seal_read(read, read_key, hour_key)
            pictures[read.id] = sealed.pictures
            tx.execute(
                insert(db.reads).values(
                    vault.row_values(read, sealed, vehicle=vehicle.name, hour=hour, destroy_by=end)
                )
            )
            if arrival.holds:
                held[read.id] = (read_key, arrival.holds)
            arrival.read = None
        if arrival.reason != "other_digest":
            tx.execute(
                insert(db.arrivals).values(
                    id=arrival.item.id,
                    sha256=arrival.item.sha256,
                    vehicle=vehicle.name,
                    session=arrival.session,
                    outcome=arrival.outcome,
                )
            )
    ledger.note(
        tx,
        [(a.hour, a.session or "") for a in fresh if a.hour and a.item.id in pictures],
    )
    central.objects.put("pictures", pictures)
    holds.take_arrivals(central, tx, held)
    count(tx, "duplicates_refused", len(arrivals) - len(fresh))


def _quarantine(
    central: Central,
    tx: Connection,
    vehicle: Vehicle,
    arrival: _Arrival,
    key: bytes,
    now: datetime,
) -> None:
    """Keep an unusable envelope, encrypted again (it may hold anything), and raise the alarm."""
    sha256 = arrival.item.sha256
    sealed = seal(key, arrival.envelope, f"quarantine {sha256}".encode())
    central.objects.put("quarantine", {sha256: sealed})
    tx.execute(
        upsert(db.quarantine)
        .values(
            sha256=sha256,
            id=arrival.item.id,
            vehicle=vehicle.name,
            reason=arrival.reason,
            hour=hour_floor(now),
            destroy_by=destroy_by(now, central.life),
        )
        .on_conflict_do_nothing()
    )
    central.trail.record(
        tx,
        Event.QUARANTINED,
        vehicle.actor,
        at=now,
        subjects=[arrival.item.id],
        detail={"reason": arrival.reason, "sha256": sha256, "alarm": True},
    )
    log.error("ALARM: envelope %s quarantined: %s", arrival.item.id, arrival.reason)


def _record_batch(
    central: Central,
    tx: Connection,
    vehicle: Vehicle,
    header: BatchHeader,
    mark: str,
    items: tuple[ReceiptItem, ...],
    now: datetime,
) -> None:
    tx.execute(
        insert(db.batches).values(
            header_sha256=mark,
            vehicle=vehicle.name,
            batch=header.batch,
            received_at=now,
            items=json.dumps([item.model_dump() for item in items]),
        )
    )
    outcomes: Counter[str] = Counter(item.outcome for item in items)
    central.trail.record(
        tx,
        Event.BATCH_RECEIVED,
        vehicle.actor,
        at=now,
        subjects=[header.batch],
        detail={"reads": len(items), **outcomes},
    )


def _record_refusal(central: Central, vehicle: Vehicle, why: str) -> None:
    log.error("ALARM: batch of %s refused: %s", vehicle.name, why)
    with central.database.write() as tx:
        central.trail.record(
            tx, Event.BATCH_REFUSED, vehicle.actor, at=central.clock(), detail={"reason": why}
        )
