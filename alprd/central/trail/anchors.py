"""Daily signed anchors of every chain of the trail, in a separate store (R-AT-3).

::

    <anchors>/anchor-2026-01-01.json    signed: day, number, digest of the anchor before,
                                        and for each chain its length and last digest

Whoever could rewrite the whole database, keystore included, still cannot change what an anchor on
another host or a write-once medium says. Files are made once and never replaced; the public key is
printed by ``alprd-central audit anchor-key``, to be kept elsewhere too.

Order: the file first, durable, then its event. After a crash between the two the next run finds the
file, checks it and only writes the event.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Connection, func, select

from alprd import crypto
from alprd.central.staff import notices
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.store import Central
from alprd.central.storage.trailheads import CENTRAL_CHAIN, car_chain
from alprd.errors import AlprdError, AuditError, StoreError
from alprd.records import Closed, Digest, Name, Utc

KIND: Final = "audit-anchor"
_KEY: Final = "audit anchors"
_FILE: Final = re.compile(r"^anchor-\d{4}-\d{2}-\d{2}\.json$")
FIRST: Final = "0" * 64


class Chain(Closed):
    """How far a chain had come."""

    chain: str
    events: int
    digest: Digest


class Anchor(Closed):
    """What is signed."""

    agency: Name
    number: int
    day: str
    at: Utc
    previous: Digest
    """SHA-256 of the file of the anchor before; zeros for the first."""
    chains: tuple[Chain, ...]


def folder(central: Central) -> Path:
    """Where anchors lie: ``[audit] anchors``, or ``anchors`` in the home folder."""
    named = central.config.audit.anchors
    return central.home / named if named else central.home / "anchors"


def apart(central: Central) -> bool:
    """Whether anchors go to another place than the home folder."""
    return not folder(central).resolve().is_relative_to(central.home.resolve())


def public_key(central: Central) -> str:
    """The key that anchors are checked with, base64url of the point."""
    return base64.urlsafe_b64encode(crypto.public_bytes(_key(central))).decode()


def daily(central: Central) -> bool:
    """Make today's anchor when there is none yet; whether one was made.

    A failure is told in the trail and to the supervisor once a day, and tried again at each run.
    """
    now = central.clock()
    day = now.astimezone(central.config.zone()).date().isoformat()
    with central.database.read() as tx:
        table = db.audit
        query = select(table.c.document).where(table.c.event == Event.ANCHORED.value)
        last = tx.scalar(query.order_by(table.c.seq.desc()).limit(1))
    if last is not None and f'"day":"{day}"' in last:
        return False
    try:
        with central.database.write() as tx:
            _anchor(central, tx, day, now)
    except (AlprdError, OSError) as error:
        with central.database.write() as tx:
            if notices.add_once(tx, "anchor_failed", at=now, subject=day):
                central.trail.record(
                    tx,
                    Event.ANCHOR_FAILED,
                    CENTRAL,
                    at=now,
                    detail={"day": day, "error": type(error).__name__, "alarm": True},
                )
        raise
    return True


def _anchor(central: Central, tx: Connection, day: str, now: datetime) -> None:
    place = folder(central)
    path = place / f"anchor-{day}.json"
    if not path.exists():
        before = list(every(central))
        previous = before[-1] if before else None
        made = Anchor(
            agency=central.config.agency,
            number=previous[1].number + 1 if previous else 1,
            day=day,
            at=now,
            previous=crypto.sha256_hex(previous[0].read_bytes()) if previous else FIRST,
            chains=tuple(_chains(tx)),
        )
        signed = crypto.sign_document(KIND, made, _key(central, make=True))
        _write_once(path, signed.model_dump_json().encode())
    sha256 = crypto.sha256_hex(path.read_bytes())
    _read(central, path)  # one that another run left behind must be ours
    central.trail.record(tx, Event.ANCHORED, CENTRAL, at=now, detail={"day": day, "sha256": sha256})


def every(central: Central, key: str = "") -> Iterator[tuple[Path, Anchor]]:
    """The anchors by day, checked by the key given, or by the keystore's.

    Raises:
        AuditError: one is forged or damaged.
        StoreError: the store cannot be read.
    """
    place = folder(central)
    try:
        paths = sorted(path for path in place.iterdir() if _FILE.match(path.name))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"anchors in {place} cannot be read: {error.strerror}") from error
    for path in paths:
        yield path, _read(central, path, key)


def _read(central: Central, path: Path, key: str = "") -> Anchor:
    point = key or public_key(central)
    try:
        public = crypto.public_from_bytes(base64.urlsafe_b64decode(point))
        document = crypto.SignedDocument.model_validate_json(path.read_bytes())
        found = crypto.verify_document(document, KIND, public, Anchor)
    except (AlprdError, ValidationError, ValueError) as error:
        raise AuditError(
            f"anchor {path.name} is damaged or forged", remedy="bring it back from its store"
        ) from error
    if found.agency != central.config.agency or path.name != f"anchor-{found.day}.json":
        raise AuditError(f"anchor {path.name} is of another agency or day")
    return found


def _chains(tx: Connection) -> Iterator[Chain]:
    table = db.audit
    last = tx.execute(
        select(table.c.seq, table.c.digest).order_by(table.c.seq.desc()).limit(1)
    ).one_or_none()
    if last is not None:
        yield Chain(chain=CENTRAL_CHAIN, events=last.seq, digest=last.digest)
    cars = db.car_events
    ends = (
        select(cars.c.enrolment, func.max(cars.c.seq).label("seq"))
        .group_by(cars.c.enrolment)
        .subquery()
    )
    query = select(cars.c.vehicle, cars.c.enrolment, cars.c.seq, cars.c.digest).join(
        ends, (ends.c.enrolment == cars.c.enrolment) & (ends.c.seq == cars.c.seq)
    )
    for row in tx.execute(query.order_by(cars.c.enrolment)):
        yield Chain(chain=car_chain(row.vehicle, row.enrolment), events=row.seq, digest=row.digest)


def _key(central: Central, *, make: bool = False) -> crypto.PrivateKey:
    if central.keystore.find_secret(_KEY) is None:
        if not make and any(folder(central).glob("anchor-*.json")):
            raise AuditError(
                "the keystore has no key of the anchors", remedy="give the kept one with --key"
            )
        central.keystore.put_private(_KEY, crypto.generate_key())
    return central.keystore.private(_KEY)


def _write_once(path: Path, data: bytes) -> None:
    """Whole and durable, or not at all; an existing file is never replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o440)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.link(new, path)  # fails where the name exists
    finally:
        new.unlink(missing_ok=True)
    parent = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
