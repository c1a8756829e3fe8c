"""Requests of anyone who is not a law enforcement agency (R-460.7-f, -g).

They follow the Records Maintenance and Release Policy. Each kind has its clock and a default answer
that gives what is public and refuses, with the citation, what is not. Read data are never given out
here: a subpoena or a discovery order goes to the county attorney, and what must go out goes as a
release. A data subject's access is off until the agency has counsel's opinion (T-8).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import Connection, insert, select, update

from alprd.central.hotlists.entry import in_own_words
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import attachments
from alprd.central.storage import release_tables as tables
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Id, PlateText, Utc, new_id
from alprd.wire import Person

Kind = Literal["public_data", "data_subject", "court_order", "discovery"]
Outcome = Literal["produced_public", "produced_own", "refused", "to_counsel", "withdrawn"]
KINDS: Final[dict[Kind, str]] = {
    "public_data": "Public data request",
    "data_subject": "Request of a data subject",
    "court_order": "Subpoena or court order",
    "discovery": "Discovery in a criminal case",
}
OUTCOMES: Final[dict[Outcome, str]] = {
    "produced_public": "Public items produced, the rest refused",
    "produced_own": "Own reads shown to the data subject, after an approved look-up",
    "refused": "Refused",
    "to_counsel": "Handed to the county attorney",
    "withdrawn": "Withdrawn",
}
SUBJECT_DAYS: Final = 10
"""Working days to answer a data subject (Minn. Stat. § 13.04 subd. 3). Legal holidays are counted
as working days here, so the date shown is never late."""
PROMPT_DAYS: Final = 10
"""Public data are due in a reasonable time (§ 13.03 subd. 2); shown as ten working days."""
_PURPOSE: Final = "outside requests"
_PUBLIC: Final = """\
These items are public and are enclosed or published:
  - the public log of use (Minn. Stat. section 13.824, subdivision 5);
  - the list of fixed locations (subdivision 5, paragraph (b));
  - the data audit trail as far as it is not otherwise classified (subdivision 7, paragraph (c));
  - the agency's policy, and the results of its audits (subdivision 6).
"""
_REFUSAL: Final = """\
Data collected by automated license plate readers are private data on individuals or nonpublic data
(Minn. Stat. section 13.824, subdivision 2, paragraph (b)). They are not open to you, and the
request is refused as far as it asks for them.
"""
_ANSWERS: Final[dict[Kind, str]] = {
    "public_data": _PUBLIC + "\n" + _REFUSAL,
    "data_subject": _REFUSAL
    + "\nWhether you are the subject of a record, and whether one exists, can neither be confirmed "
    "nor denied\nby this answer. The county attorney is considering how access of data subjects is "
    "given.\n\n" + _PUBLIC,
    "court_order": "The order was received and handed to the county attorney, who will answer it. "
    "Data that may fall under\nit are kept if the court, or a written request under Minn. Stat. "
    "section 13.824, subdivision 3,\nparagraph (b), asks for that.\n",
    "discovery": "The request was received and handed to the prosecuting attorney, through whom "
    "discovery is given.\nA written request to keep data that may be exculpatory is honoured at "
    "its receipt (Minn. Stat.\nsection 13.824, subdivision 3, paragraph (b)).\n",
}


class Lookup(Closed):
    """A look-up of a data subject's own plate, under one request (R-460.7-g)."""

    plate: PlateText
    state: str
    identity: Annotated[str, Field(max_length=500)]
    """How identity was verified."""
    ownership: Annotated[str, Field(max_length=500)] = ""
    """How it was verified that the vehicle is the subject's."""
    asked_by: str
    asked_at: Utc
    decision: Literal["", "approved", "refused"] = ""
    decided_by: str = ""
    decided_at: Utc | None = None
    reason: Annotated[str, Field(max_length=2000)] = ""


class Outside(Closed):
    """A row of the register."""

    id: Id
    kind: Kind
    state: Literal["open", "answered"] = "open"
    requester: Annotated[str, Field(max_length=200)]
    contact: Annotated[str, Field(max_length=200)]
    what: Annotated[str, Field(max_length=2000)]
    received: Utc
    due: Utc | None
    request_sha256: str
    entered_by: str
    entered_at: Utc
    outcome: Outcome | None = None
    answer: Annotated[str, Field(max_length=8000)] = ""
    answered_by: str = ""
    answered_at: Utc | None = None
    lookup: Lookup | None = None


def default_answer(kind: Kind) -> str:
    """What such a request is answered unless a person writes otherwise."""
    return _ANSWERS[kind]


def working_days_after(day: date, number: int) -> date:
    """The date that many working days after ``day``: Saturdays and Sundays do not count."""
    while number:
        day += timedelta(days=1)
        if day.weekday() < 5:
            number -= 1
    return day


def due(kind: Kind, received: datetime, returns: datetime | None, central: Central) -> datetime:
    """When the answer is due, as the end of that local day.

    Args:
        returns: the date that an order itself names.

    Raises:
        InputError: an order without its date.
    """
    if kind in ("court_order", "discovery"):
        if returns is None:
            raise InputError(
                "the date by which the order must be answered is missing",
                remedy="it stands in the order",
            )
        return returns
    zone = central.config.zone()
    days = SUBJECT_DAYS if kind == "data_subject" else PROMPT_DAYS
    last = working_days_after(received.astimezone(zone).date(), days)
    return datetime(last.year, last.month, last.day, 23, 59, tzinfo=zone)


def receive(
    central: Central,
    person: Person,
    kind: Kind,
    requester: str,
    contact: str,
    what: str,
    received: datetime,
    paper: bytes,
    returns: datetime | None = None,
) -> Outside:
    """Enter a request with the paper it came on.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: a field that is missing.
    """
    now = central.clock()
    people.require(person, Act.OUTSIDE_WORK, now)
    if kind not in KINDS:
        raise InputError("this is no kind of request", remedy=", ".join(KINDS))
    if received > now:
        raise InputError("the request was received in the future")
    # A public data request may be anonymous (§ 13.05 subd. 12): who asks need not be told.
    if kind != "public_data" and len(requester.strip()) < 3:
        raise InputError("who asks is missing")
    if len(what.strip()) < 3:
        raise InputError("what is asked for is missing")
    row = Outside(
        id=new_id(),
        kind=kind,
        requester=" ".join(requester.split()),
        contact=contact.strip(),
        what=what.strip(),
        received=received,
        due=due(kind, received, returns, central),
        request_sha256="",
        entered_by=person.id,
        entered_at=now,
    )
    with central.database.write() as tx:
        row = row.model_copy(
            update={"request_sha256": attachments.put(central, tx, row.id, "request", paper)}
        )
        tx.execute(
            insert(tables.outside_requests).values(
                id=row.id,
                kind=kind,
                state=row.state,
                received_at=received,
                due_at=row.due,
                sealed=_seal(central, row),
            )
        )
        central.trail.record(
            tx,
            Event.REQUEST_RECEIVED,
            people.actor(person),
            at=now,
            subjects=[row.id],
            detail={"kind": kind, "request": row.request_sha256},
        )
    return row


def answer(
    central: Central, person: Person, request: str, outcome: Outcome, text: str = ""
) -> Outside:
    """Record how a request was answered; without a text the default answer of its kind.

    Raises:
        RefusedError: the role, an answered request, or an outcome that its kind does not allow.
        InputError: no such request.
    """
    now = central.clock()
    people.require(person, Act.OUTSIDE_WORK, now)
    if outcome not in OUTCOMES:
        raise InputError("this is no outcome", remedy=", ".join(OUTCOMES))
    with central.database.write() as tx:
        row = find(central, tx, request)
        if row.state != "open":
            raise RefusedError("the request is answered already", reason="decided")
        if row.kind in ("court_order", "discovery") and outcome not in ("to_counsel", "withdrawn"):
            raise RefusedError(
                "an order is answered by the county attorney",
                reason="needs_counsel",
                remedy="record that it was handed over; what must go out goes as a release",
            )
        if outcome == "produced_own":
            if row.lookup is None or row.lookup.decision != "approved":
                raise RefusedError(
                    "own reads are shown only after an approved look-up", reason="not_approved"
                )
            in_own_words("answer", text)  # the default answer refuses, which would be untrue
        elif text.strip():
            in_own_words("answer", text)
        row = row.model_copy(
            update={
                "state": "answered",
                "outcome": outcome,
                "answer": text.strip() or default_answer(row.kind),
                "answered_by": person.id,
                "answered_at": now,
            }
        )
        replace(central, tx, row)
        central.trail.record(
            tx,
            Event.REQUEST_ANSWERED,
            people.actor(person),
            at=now,
            subjects=[row.id],
            detail={"kind": row.kind, "outcome": outcome, "default": not text.strip()},
        )
    return row


def register(central: Central, person: Person) -> list[Outside]:
    """Every request, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.OUTSIDE_WORK, now, Act.OUTSIDE_SEE)
    with central.database.write() as tx:
        rows = list(every(central, tx))
        central.trail.record(
            tx, Event.REQUESTS_LISTED, people.actor(person), at=now, detail={"rows": len(rows)}
        )
    return rows[::-1]


def one(central: Central, person: Person, request: str) -> Outside:
    """A single request; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: there is none.
    """
    now = central.clock()
    people.require(person, Act.OUTSIDE_WORK, now, Act.OUTSIDE_SEE)
    with central.database.write() as tx:
        row = find(central, tx, request)
        central.trail.record(
            tx, Event.REQUESTS_LISTED, people.actor(person), at=now, subjects=[row.id]
        )
    return row


def subject_access(central: Central) -> None:
    """Refuse unless the agency has counsel's opinion on access of data subjects (R-460.7-g, T-8).

    Raises:
        RefusedError: it is off, as it is by default.
    """
    if not central.config.release.data_subject_opinion:
        raise RefusedError(
            "access of data subjects to read data is off: it waits for the county attorney's "
            "opinion (R-460.7-g; Minn. Stat. §§ 13.02, 13.04)",
            reason="subject_access_off",
            remedy="set data_subject_opinion in [release] of central.toml when the county attorney "
            "has approved it",
        )


def every(central: Central, tx: Connection) -> Iterator[Outside]:
    """The register, oldest first."""
    table = tables.outside_requests
    for row in tx.execute(select(table).order_by(table.c.received_at, table.c.id)).all():
        yield _open(central, row.id, row.sealed)


def find(central: Central, tx: Connection, request: str) -> Outside:
    """A row by id.

    Raises:
        InputError: there is none.
    """
    table = tables.outside_requests
    sealed = tx.scalar(select(table.c.sealed).where(table.c.id == request))
    if sealed is None:
        raise InputError(
            "there is no request with this id", remedy="see alprd-central requests list"
        )
    return _open(central, request, sealed)


def replace(central: Central, tx: Connection, row: Outside) -> None:
    """Write a row's new content."""
    table = tables.outside_requests
    tx.execute(
        update(table)
        .where(table.c.id == row.id)
        .values(state=row.state, sealed=_seal(central, row))
    )


def _open(central: Central, name: str, sealed: bytes) -> Outside:
    return Outside.model_validate_json(
        unseal(central.keystore.purpose_key(_PURPOSE), sealed, _aad(name))
    )


def _seal(central: Central, row: Outside) -> bytes:
    key = central.keystore.purpose_key(_PURPOSE)
    return seal(key, row.model_dump_json().encode(), _aad(row.id))


def _aad(name: str) -> bytes:
    return f"outside-request {name}".encode()
