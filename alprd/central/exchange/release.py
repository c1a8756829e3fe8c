"""Releases to other agencies: request, review by another, package, receipt (460.7).

A release is the only way out of the store. It begins with a written request on file that has the
five elements of the policy (R-460.7-a1…-a5). Its scope is the record ids that were asked for: it is
frozen with the request, and another scope is another request. A different person, who has looked at
exactly these records, finds reasonable suspicion that they are pertinent to an active criminal
investigation, in own words (R-460.7-b, -b1), or refuses. Nothing is ever taken out of the register.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import Connection, insert, select, update

from alprd.central.exchange import recipients
from alprd.central.hotlists.entry import in_own_words
from alprd.central.records import exemptions
from alprd.central.records.cases import case_number
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may, not_own
from alprd.central.storage import attachments, db, vault
from alprd.central.storage import release_tables as tables
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.crypto import sha256_hex
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Id, Name, Utc, new_id
from alprd.wire import Person

State = Literal["asked", "approved", "refused", "sent", "receipted"]
MOST_READS: Final = 500
_PURPOSE: Final = "releases"
_Short = Annotated[str, Field(max_length=200)]
_Text = Annotated[str, Field(max_length=2000)]


class Asked(Closed):
    """What the requesting agency's paper says, and the records it is about."""

    agency: Name
    requester: _Short
    contact: _Short
    purpose: _Text
    facts: _Text
    number: str = ""
    """Case, complaint or incident number; empty only with ``no_number``."""
    no_number: _Text = ""
    statement: _Text
    """That the head of the agency or a designee authorised the request."""
    head: _Short
    title: _Short
    authorised: date
    received: Utc
    citation: _Short = ""
    opinion: _Short = ""
    reads: tuple[Id, ...]


class Release(Closed):
    """A row of the register."""

    id: Id
    state: State
    asked: Asked
    scope_sha256: str
    request_sha256: str
    prepared_by: str
    prepared_at: Utc
    decided_by: str = ""
    decided_at: Utc | None = None
    finding: str = ""
    """Why the approver finds reasonable suspicion, or why it was refused."""
    sent_by: str = ""
    sent_at: Utc | None = None
    package_sha256: str = ""
    manifest_sha256: str = ""
    received_by: str = ""
    """Who at the recipient confirmed the package."""
    receipted_at: Utc | None = None
    receipt_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """One record of a release, opened for the approver or the package."""

    id: str
    classification: str
    destroy_by: datetime
    cell: vault.Cell
    key: bytes


def scope_digest(reads: Sequence[str]) -> str:
    """SHA-256 over the sorted record ids: what the approver saw and what goes out are one."""
    return sha256_hex("\n".join(sorted(set(reads))).encode())


def ask(central: Central, person: Person, asked: Asked, request: bytes) -> Release:
    """Enter a written request with its document; nothing goes out before another approves.

    Raises:
        RefusedError: the role, a statement that says too little, or a recipient without a rule.
        InputError: an element is missing, no document, or a record that is not (or no longer) here.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_PREPARE, now)
    asked = _checked(asked, now)
    reads = tuple(sorted(set(asked.reads)))
    row = Release(
        id=new_id(),
        state="asked",
        asked=asked.model_copy(update={"reads": reads}),
        scope_sha256=scope_digest(reads),
        request_sha256=sha256_hex(request),
        prepared_by=person.id,
        prepared_at=now,
    )
    with central.database.write() as tx:
        recipients.require_fit(recipients.find(tx, asked.agency), asked.citation, asked.opinion)
        if len(opened(central, tx, row, now)) != len(reads):
            raise InputError(
                "a record of the scope is not (or no longer) in the store",
                remedy="search again and give the ids of records that exist",
            )
        attachments.put(central, tx, row.id, "written_request", request)
        tx.execute(
            insert(tables.releases).values(
                id=row.id,
                agency=asked.agency,
                state=row.state,
                asked_at=now,
                changed_at=now,
                sealed=_seal(central, row),
            )
        )
        tx.execute(insert(tables.released), [{"release": row.id, "read": r} for r in reads])
        record(central, tx, Event.RELEASE_ASKED, person, row, now, reads=len(reads))
    return row


def look(central: Central, person: Person, release: str) -> tuple[Release, list[Opened]]:
    """Exactly the records that would go out, for who decides; the look is recorded first.

    Raises:
        RefusedError: the role, or the person who prepared the request.
        InputError: no such release.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_DECIDE, now)
    with central.database.write() as tx:
        row = find(central, tx, release)
        not_own(row.prepared_by, person.id, "reviews a release", remedy="another supervisor does")
        records = opened(central, tx, row, now)
        central.trail.record(
            tx,
            Event.RELEASE_VIEWED,
            people.actor(person),
            at=now,
            subjects=[row.id, *(record.id for record in records)],
            detail={"agency": row.asked.agency, "records": len(records)},
        )
    return row, records


def written_request(central: Central, person: Person, release: str) -> bytes:
    """The requesting agency's paper; the look is recorded.

    Raises:
        RefusedError: the role.
        InputError: no such release.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_SEE, now, Act.RELEASE_DECIDE)
    with central.database.write() as tx:
        row = find(central, tx, release)
        content = attachments.get(central, tx, row.id, "written_request")
        record(central, tx, Event.RELEASE_VIEWED, person, row, now, what="written request")
    return content


def approve(
    central: Central, person: Person, release: str, finding: str, scope_sha256: str
) -> Release:
    """Let exactly these records go to exactly this agency.

    Args:
        finding: the reasonable suspicion that they are pertinent, in own words (R-460.7-b1).
        scope_sha256: of the records that the approver looked at.

    Raises:
        RefusedError: the role, the preparer, a decided request, or another scope than was seen.
        InputError: a record was destroyed meanwhile.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_DECIDE, now)
    in_own_words("finding", finding)
    with central.database.write() as tx:
        row = _in_state(central, tx, release, "asked")
        not_own(row.prepared_by, person.id, "approves a release", remedy="another supervisor does")
        if row.scope_sha256 != scope_sha256:
            raise RefusedError(
                "the records seen are not those of the request",
                reason="changed_scope",
                remedy="look at the records again",
            )
        _whole(central, tx, row, now)
        return _decide(central, tx, row, person, "approved", finding, now)


def refuse(central: Central, person: Person, release: str, reason: str) -> Release:
    """Turn a request down; it stays on file with its reason (R-460.7-c).

    Raises:
        RefusedError: the role, the preparer, or a decided request.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_DECIDE, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        row = _in_state(central, tx, release, "asked")
        not_own(row.prepared_by, person.id, "refuses a release", remedy="another supervisor does")
        return _decide(central, tx, row, person, "refused", reason, now)


def receipt(
    central: Central, person: Person, release: str, received_by: str, paper: bytes
) -> Release:
    """The recipient confirmed the package; its paper goes on file.

    Raises:
        RefusedError: the role, or a release that was not sent.
        InputError: no name, or no paper.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_SEND, now)
    if len(received_by.strip()) < 3:
        raise InputError("who received the package is missing")
    with central.database.write() as tx:
        row = _in_state(central, tx, release, "sent")
        digest = attachments.put(central, tx, row.id, "receipt", paper)
        row = row.model_copy(
            update={
                "state": "receipted",
                "received_by": " ".join(received_by.split()),
                "receipted_at": now,
                "receipt_sha256": digest,
            }
        )
        replace(central, tx, row, now)
        record(central, tx, Event.RELEASE_RECEIPTED, person, row, now)
    return row


def register(central: Central, person: Person) -> list[Release]:
    """Every release, newest first, refused ones too; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_SEE, now, Act.RELEASE_PREPARE)
    with central.database.write() as tx:
        rows = [
            row
            for row in every(central, tx)
            if may(person, Act.RELEASE_SEE) or row.prepared_by == person.id
        ]
        central.trail.record(
            tx, Event.RELEASES_LISTED, people.actor(person), at=now, detail={"rows": len(rows)}
        )
    return rows[::-1]


def one(central: Central, person: Person, release: str) -> Release:
    """A single release; the look is recorded. Who only prepares sees his own.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: there is none, or it is another's.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_SEE, now, Act.RELEASE_PREPARE)
    with central.database.write() as tx:
        row = find(central, tx, release)
        if not may(person, Act.RELEASE_SEE) and row.prepared_by != person.id:
            raise InputError("there is no release with this id")
        central.trail.record(
            tx, Event.RELEASES_LISTED, people.actor(person), at=now, subjects=[row.id]
        )
    return row


# --- the register -----------------------------------------------------------------------------


def every(central: Central, tx: Connection) -> Iterator[Release]:
    """The register, oldest first."""
    table = tables.releases
    for row in tx.execute(select(table).order_by(table.c.asked_at, table.c.id)).all():
        yield _open(central, row.id, row.sealed)


def find(central: Central, tx: Connection, release: str) -> Release:
    """A row by id.

    Raises:
        InputError: there is none.
    """
    table = tables.releases
    sealed = tx.scalar(select(table.c.sealed).where(table.c.id == release))
    if sealed is None:
        raise InputError(
            "there is no release with this id", remedy="see alprd-central releases list"
        )
    return _open(central, release, sealed)


def replace(central: Central, tx: Connection, row: Release, now: datetime) -> None:
    """Write a row's new content."""
    table = tables.releases
    tx.execute(
        update(table)
        .where(table.c.id == row.id)
        .values(state=row.state, changed_at=now, sealed=_seal(central, row))
    )


def opened(central: Central, tx: Connection, row: Release, now: datetime) -> list[Opened]:
    """The records of a release that exist, opened, oldest first.

    Past its life a record does not exist, unless a case link or hold keeps it (R-460.5-4).
    """
    table = db.reads
    rows = tx.execute(
        select(table).where(
            table.c.id.in_(row.asked.reads),
            (table.c.destroy_by > now) | table.c.id.in_(exemptions.exempted()),
        )
    ).all()
    keys = exemptions.current_keys(central, tx, [read.id for read in rows])
    found = []
    for read in rows:
        key = keys.get(read.id)
        cell = vault.open_cell(read, key) if key is not None else None
        if key is not None and cell is not None:
            found.append(Opened(read.id, read.classification, read.destroy_by, cell, key))
    return sorted(found, key=lambda record: (record.cell.instant, record.id))


def whole_scope(central: Central, tx: Connection, release: str, now: datetime) -> Release:
    """An approved release whose records all still exist.

    Raises:
        RefusedError: it is not approved.
        InputError: a record was destroyed meanwhile.
    """
    row = _in_state(central, tx, release, "approved", "sent")
    _whole(central, tx, row, now)
    return row


def _whole(central: Central, tx: Connection, row: Release, now: datetime) -> None:
    gone = len(row.asked.reads) - len(opened(central, tx, row, now))
    if gone:
        raise InputError(
            f"{gone} of the records no longer exist",
            remedy="ask anew for what is left: a package never differs from what was approved",
        )


def _decide(
    central: Central,
    tx: Connection,
    row: Release,
    person: Person,
    state: Literal["approved", "refused"],
    words: str,
    now: datetime,
) -> Release:
    row = row.model_copy(
        update={
            "state": state,
            "decided_by": person.id,
            "decided_at": now,
            "finding": words.strip(),
        }
    )
    replace(central, tx, row, now)
    event = Event.RELEASE_APPROVED if state == "approved" else Event.RELEASE_REFUSED
    record(central, tx, event, person, row, now)
    return row


def _checked(asked: Asked, now: datetime) -> Asked:
    """The five elements of 460.7(a), complete.

    Raises:
        InputError: names the element that is missing.
        RefusedError: one that says too little.
    """
    for name in ("requester", "contact", "head", "title"):
        if len(getattr(asked, name).strip()) < 3:
            raise InputError(f"{name} is missing", remedy="the written request must name it")
    for name in ("purpose", "facts", "statement"):
        in_own_words(name, getattr(asked, name))
    number = case_number(asked.number) if asked.number.strip() else ""
    if not number:
        # "none" is an answer, but not without saying why (R-460.7-a4).
        in_own_words("no_number", asked.no_number)
    if asked.received > now or asked.authorised > now.date():
        raise InputError("the request's dates lie in the future")
    if not 1 <= len(set(asked.reads)) <= MOST_READS:
        raise InputError(
            f"a release has 1 to {MOST_READS} records",
            remedy="give the ids of a documented search or of a case link",
        )
    return asked.model_copy(update={"number": number})


def record(
    central: Central,
    tx: Connection,
    event: Event,
    person: Person,
    row: Release,
    now: datetime,
    **more: str | int,
) -> None:
    """An event about a release, in the transaction of the act."""
    central.trail.record(
        tx,
        event,
        people.actor(person),
        at=now,
        subjects=[row.id],
        detail={
            "agency": row.asked.agency,
            "number": row.asked.number or "none",
            "scope": row.scope_sha256,
            "request": row.request_sha256,
            **more,
        },
    )


def _in_state(central: Central, tx: Connection, release: str, *states: State) -> Release:
    row = find(central, tx, release)
    if row.state not in states:
        raise RefusedError(f"the release is {row.state}", reason="wrong_state")
    return row


def _open(central: Central, name: str, sealed: bytes) -> Release:
    return Release.model_validate_json(
        unseal(central.keystore.purpose_key(_PURPOSE), sealed, _aad(name))
    )


def _seal(central: Central, row: Release) -> bytes:
    key = central.keystore.purpose_key(_PURPOSE)
    return seal(key, row.model_dump_json().encode(), _aad(row.id))


def _aad(name: str) -> bytes:
    return f"release {name}".encode()
