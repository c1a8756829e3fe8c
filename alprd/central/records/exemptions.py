"""The register of exemptions from the 60-day limit: case links, holds (R-460.5-5, -a).

A read outlives its destroy-by only while a *live* exemption names it. This module keeps the
register, re-keys what an exemption takes in, and releases what it leaves; :mod:`cases` and
:mod:`holds` hold the two kinds' own rules.

Order of a new exemption: keys first (keystore, durable), then rows and trail in one transaction;
keys without a row are swept at the next purge. Order of a release: rows and trail, then the keys
at the next purge, so that no interruption leaves a kept read without a key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import Connection, Select, delete, insert, select, update

from alprd.audit import Actor
from alprd.central.records import protected
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, keeping, vault
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Utc
from alprd.wire import Person

Kind = Literal["case", "hold"]
State = Literal["requested", "refused", "active", "inactive", "schedule", "released"]
LIVE: Final = frozenset({"active", "inactive", "schedule"})
CONFIDENTIAL: Final = "confidential"
_CHUNK: Final = 500
_PURPOSE: Final = "exemptions"


class Exemption(Closed):
    """One row of the register; ``due`` is when a person must act, ``ends`` when it ends itself."""

    id: str
    kind: Kind
    state: State
    number: str
    """Case, or case or complaint number."""
    statement: str
    """A link's relation to the case; what a hold's requester asserts."""
    opened_by: str
    opened_at: Utc
    reads: tuple[str, ...] = ()
    bulk_reason: str = ""
    package: str = ""
    """SHA-256 of the package of another agency that it was asked for; empty for stored reads."""
    decided_by: str = ""
    decided_at: Utc | None = None
    decision: str = ""
    due: Utc | None = None
    overdue_told: bool = False
    ends: Utc | None = None
    outcome: str = ""
    """Why the investigation is no longer active."""
    citation: str = ""
    """The item of the retention schedule that governs an inactive link."""
    requester: str = ""
    received: Utc | None = None
    plates: tuple[str, ...] = ()
    since: Utc | None = None
    until: Utc | None = None
    request_sha256: str = ""
    """Of the written request, which lies sealed in ``<home>/holds/<id>``."""
    orders: tuple[str, ...] = ()
    """Serials of the freeze orders in force for it."""
    collected: bool = False
    """Whether every car has uploaded its window, so that none is frozen any more."""
    reviews: tuple[str, ...] = ()
    """Each review: when, by whom, what was found."""
    closed_by: str = ""
    closed_at: Utc | None = None
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A read that an exemption keeps, opened."""

    id: str
    vehicle: str
    session: str
    cell: vault.Cell


def add(central: Central, tx: Connection, made: Exemption) -> None:
    """Enter a new row."""
    tx.execute(
        insert(db.exemptions).values(
            id=made.id,
            kind=made.kind,
            state=made.state,
            opened_at=made.opened_at,
            due_at=made.due,
            ends_at=made.ends,
            sealed=_seal(central, made),
        )
    )


def replace(central: Central, tx: Connection, made: Exemption) -> None:
    """Write a row's new content."""
    tx.execute(
        update(db.exemptions)
        .where(db.exemptions.c.id == made.id)
        .values(state=made.state, due_at=made.due, ends_at=made.ends, sealed=_seal(central, made))
    )


def find(central: Central, tx: Connection, exemption_id: str, kind: Kind) -> Exemption:
    """A row by id.

    Raises:
        InputError: there is none of that kind.
    """
    table = db.exemptions
    sealed = tx.scalar(
        select(table.c.sealed).where(table.c.id == exemption_id, table.c.kind == kind)
    )
    if sealed is None:
        group = "cases" if kind == "case" else "holds"
        raise InputError(
            f"there is no {kind} {exemption_id}", remedy=f"see alprd-central {group} list"
        )
    return _open(central, exemption_id, sealed)


def every(
    central: Central, tx: Connection, kind: Kind | None = None, states: Iterable[str] = ()
) -> Iterator[Exemption]:
    """The register, oldest first."""
    table = db.exemptions
    query = select(table).order_by(table.c.opened_at, table.c.id)
    if kind:
        query = query.where(table.c.kind == kind)
    if states:
        query = query.where(table.c.state.in_(sorted(states)))
    for row in tx.execute(query).all():
        yield _open(central, row.id, row.sealed)


def exempted() -> Select[tuple[str]]:
    """Ids of every read under a live exemption, as a subquery."""
    return select(db.exempted.c.read)


def held() -> Select[tuple[str]]:
    """Ids of every read under a hold: out of ordinary search (R-460.5-a), as a subquery."""
    return (
        select(db.exempted.c.read)
        .join(db.exemptions, db.exemptions.c.id == db.exempted.c.exemption)
        .where(db.exemptions.c.kind == "hold")
    )


def live(tx: Connection) -> dict[str, set[str]]:
    """The read ids of each live exemption, also of those that keep none yet."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in tx.scalars(select(db.exemptions.c.id).where(db.exemptions.c.state.in_(LIVE))):
        found[name] = set()
    for row in tx.execute(select(db.exempted)):
        found[row.exemption].add(row.read)
    return dict(found)


def current_keys(central: Central, tx: Connection, reads: Sequence[str]) -> dict[str, bytes]:
    """The keys of reads, from their hour or from what keeps them; for re-keying only."""
    keys = central.keystore.open_read_keys(reads)
    missing = [read for read in reads if read not in keys]
    table = db.exempted
    for start in range(0, len(missing), _CHUNK):
        part = missing[start : start + _CHUNK]
        for row in tx.execute(select(table).where(table.c.read.in_(part))).all():
            if row.read not in keys:
                keys |= keeping.open_kept(central.keystore, row.exemption, [row.read])
    return keys


def take_in(central: Central, tx: Connection, exemption_id: str, keys: dict[str, bytes]) -> int:
    """Put reads under an exemption: re-key, then rows; how many were not under it yet."""
    table = db.exempted
    names = sorted(keys)
    have: set[str] = set()
    for start in range(0, len(names), _CHUNK):
        part = names[start : start + _CHUNK]
        query = select(table.c.read).where(
            table.c.exemption == exemption_id, table.c.read.in_(part)
        )
        have |= set(tx.scalars(query))
    fresh = {name: keys[name] for name in names if name not in have}
    if fresh:
        keeping.keep(central.keystore, exemption_id, fresh)
        tx.execute(insert(table), [{"exemption": exemption_id, "read": name} for name in fresh])
    return len(fresh)


def classify(tx: Connection, reads: Iterable[str]) -> None:
    """Confidential or protected nonpublic while linked, private otherwise (R-13.824-2-1)."""
    linked = (
        select(db.exempted.c.read)
        .join(db.exemptions, db.exemptions.c.id == db.exempted.c.exemption)
        .where(db.exemptions.c.kind == "case", db.exemptions.c.state == "active")
    )
    names, table = list(reads), db.reads
    for start in range(0, len(names), _CHUNK):
        part = table.c.id.in_(names[start : start + _CHUNK])
        tx.execute(
            update(table).where(part, table.c.id.in_(linked)).values(classification=CONFIDENTIAL)
        )
        tx.execute(
            update(table).where(part, table.c.id.not_in(linked)).values(classification="private")
        )


def release(
    central: Central,
    tx: Connection,
    row: Exemption,
    actor: Actor,
    closing: str,
    now: datetime,
) -> Exemption:
    """End an exemption: its reads have their own schedule again.

    What is past its life is invisible from here on and goes with the next purge; what is not lives
    to its destroy-by. A plate that was protected meanwhile is destroyed now (R-460.5-b).
    """
    table = db.exempted
    reads = list(tx.scalars(select(table.c.read).where(table.c.exemption == row.id)))
    tx.execute(delete(table).where(table.c.exemption == row.id))
    made = row.model_copy(
        update={
            "state": "released",
            "due": None,
            "ends": None,
            "orders": (),
            "closed_by": actor.id,
            "closed_at": now,
            "closing": closing,
        }
    )
    replace(central, tx, made)
    classify(tx, reads)
    if reads:
        protected.destroy_held(central, tx, protected.suppressed_folds(central, tx))
    central.trail.record(
        tx,
        Event.EXEMPTION_RELEASED,
        actor,
        at=now,
        subjects=[row.id],
        detail={"kind": row.kind, "number": row.number, "reads": len(reads)},
    )
    return made


def end_due(central: Central, tx: Connection, now: datetime) -> None:
    """At each purge: end what its schedule ends, and tell once of what waits for a person."""
    for row in every(central, tx, states=LIVE):
        if row.state == "schedule" and row.ends is not None and row.ends <= now:
            release(central, tx, row, CENTRAL, f"retention schedule: {row.citation}", now)
        elif row.due is not None and row.due <= now and not row.overdue_told:
            replace(central, tx, row.model_copy(update={"overdue_told": True}))
            central.trail.record(
                tx,
                Event.EXEMPTION_OVERDUE,
                CENTRAL,
                at=now,
                subjects=[row.id],
                detail={"kind": row.kind, "number": row.number, "state": row.state, "alarm": True},
            )


def open_reads(
    central: Central, person: Person, exemption_id: str, kind: Kind
) -> tuple[Exemption, list[Kept]]:
    """The reads that a live exemption keeps, oldest first; the look is recorded first (R-AT-1).

    Raises:
        RefusedError: the role, or an exemption that is not live.
    """
    now = central.clock()
    people.require(person, Act.LINK_READ if kind == "case" else Act.HOLD_PLACE, now)
    with central.database.write() as tx:
        row = find(central, tx, exemption_id, kind)
        if row.state not in LIVE:
            raise RefusedError(f"the {kind} is {row.state}", reason="not_live")
        mine = select(db.exempted.c.read).where(db.exempted.c.exemption == row.id)
        rows = tx.execute(select(db.reads).where(db.reads.c.id.in_(mine))).all()
        keys = keeping.open_kept(central.keystore, row.id, [read.id for read in rows])
        kept = []
        for read in rows:
            cell = vault.open_cell(read, keys[read.id]) if read.id in keys else None
            if cell is not None:
                kept.append(Kept(read.id, read.vehicle, read.session, cell))
        kept.sort(key=lambda read: (read.cell.instant, read.id))
        central.trail.record(
            tx,
            Event.EXEMPTION_VIEWED,
            people.actor(person),
            at=now,
            subjects=[row.id, *(read.id for read in kept)],
            detail={"kind": kind, "number": row.number, "reads": len(kept)},
        )
    return row, kept


def register(central: Central, person: Person, kind: Kind, *, overdue: bool) -> list[Exemption]:
    """The register of one kind, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.EXEMPTIONS_SEE, now, Act.LINK_DECIDE)
    with central.database.write() as tx:
        rows = [
            row
            for row in every(central, tx, kind)
            if not overdue or (row.due is not None and row.due <= now)
        ]
        central.trail.record(
            tx,
            Event.EXEMPTIONS_LISTED,
            people.actor(person),
            at=now,
            detail={"kind": kind, "rows": len(rows)},
        )
    return rows[::-1]


def _open(central: Central, name: str, sealed: bytes) -> Exemption:
    return Exemption.model_validate_json(
        unseal(central.keystore.purpose_key(_PURPOSE), sealed, _aad(name))
    )


def _seal(central: Central, made: Exemption) -> bytes:
    key = central.keystore.purpose_key(_PURPOSE)
    return seal(key, made.model_dump_json().encode(), _aad(made.id))


def _aad(name: str) -> bytes:
    return f"exemption {name}".encode()
