"""Warrants and exigent circumstances on which a search may go further (R-460.4.1-c).

A warrant is a court's: whoever may search enters it, and it carries until it expires. Exigent
circumstances are asked for by the searcher and found by another person who may; they carry 24 h
from their time at most and need a written review afterwards. A basis belongs to one case and one
plate, which it keeps as a keyed digest; what was written lies sealed, the plate left out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from alprd.central.grounds import accumulation
from alprd.central.grounds.searchform import MIN_KNOWN, Request
from alprd.central.grounds.unplated import without_plate
from alprd.central.hotlists.entry import Warrant, in_own_words
from alprd.central.staff import notices, people
from alprd.central.staff.permissions import Act, may, not_own
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.search_tables import legal_bases
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Utc, new_id, normalise
from alprd.wire import Person

TOLERANCE: Final = timedelta(minutes=10)
_PURPOSE: Final = "legal bases"
Kind = Literal["warrant", "exigency"]
State = Literal["requested", "active", "refused", "withdrawn"]


class Basis(Closed):
    """A row of the register of warrants and exigencies."""

    id: str
    kind: Kind
    state: State
    case: str
    mark: str
    """Keyed digest of the plate, hex."""
    entered_by: str
    entered_at: Utc
    ends: Utc
    warrant: Warrant | None = None
    facts: str = ""
    at: Utc | None = None
    """Time of the exigent circumstances."""
    decided_by: str = ""
    decided_at: Utc | None = None
    decision: str = ""
    reviewed_by: str = ""
    reviewed_at: Utc | None = None
    review: str = ""

    def stands(self, now: datetime) -> str:
        """Its state; ``ended`` for an active one past its end, ``lapsed`` for an unanswered one."""
        if now >= self.ends and self.state in {"active", "requested"}:
            return "ended" if self.state == "active" else "lapsed"
        return self.state

    def review_due(self, now: datetime) -> bool:
        """Whether the written review after exigent circumstances is missing."""
        found = self.kind == "exigency" and self.state in {"active", "withdrawn"}
        return found and not self.review and self.stands(now) != "active"


def enter_warrant(
    central: Central,
    person: Person,
    *,
    case: str,
    plate: str,
    court: str,
    number: str,
    issued: datetime,
    expires: datetime,
    scope: str,
) -> Basis:
    """Enter a warrant that is in force; the supervisor is told.

    Raises:
        RefusedError: the role, a field that says too little, or a warrant not in force.
    """
    now = central.clock()
    people.require(person, Act.BASIS_ENTER, now)
    try:
        warrant = Warrant(
            court=court.strip(),
            number=number.strip(),
            issued=issued,
            expires=expires,
            scope=without_plate(scope.strip(), plate),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RefusedError(
            f"warrant: {first['loc'][0]}: {first['msg']}",
            reason="bad_warrant",
            remedy="give court, number, issue, expiry and scope",
        ) from None
    if not warrant.issued <= now < warrant.expires:
        raise RefusedError("the warrant is not in force", reason="warrant_not_in_force")
    made = _new(central, person, "warrant", "active", case, plate, expires, warrant=warrant)
    _enter(central, person, made, Event.WARRANT_ENTERED, "warrant_entered", plate)
    return made


def ask_exigency(
    central: Central, person: Person, *, case: str, plate: str, facts: str, at: datetime
) -> Basis:
    """Ask for exigent circumstances; nothing opens before another person finds them.

    Raises:
        RefusedError: the role, facts that say too little, or a time that is over.
    """
    now = central.clock()
    people.require(person, Act.BASIS_ENTER, now)
    in_own_words("exigency facts", facts)
    life = timedelta(hours=central.config.additional.exigency_hours)
    if not now - life < at <= now + TOLERANCE:
        raise RefusedError(
            f"exigent circumstances carry {life} from their time", reason="exigency_over"
        )
    made = _new(
        central, person, "exigency", "requested", case, plate, at + life,
        facts=without_plate(facts.strip(), plate), at=at,
    )  # fmt: skip
    _enter(central, person, made, Event.EXIGENCY_ASKED, "exigency_asked", plate)
    return made


def decide(central: Central, person: Person, basis: str, *, found: bool, reason: str) -> Basis:
    """Find exigent circumstances, or refuse them; never one's own request.

    Raises:
        RefusedError: the role, the requester himself, or no request that waits.
    """
    now = central.clock()
    people.require(person, Act.BASIS_DECIDE, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        row = find(central, tx, basis)
        if row.kind != "exigency" or row.stands(now) != "requested":
            raise RefusedError("no request that waits has this id", reason="decided")
        not_own(row.entered_by, person.id, "finds exigent circumstances")
        row = row.model_copy(
            update={
                "state": "active" if found else "refused",
                "decided_by": person.id,
                "decided_at": now,
                "decision": reason.strip(),
            }
        )
        _keep(central, tx, row, person, Event.EXIGENCY_DECIDED, now)
    return row


def review(central: Central, person: Person, basis: str, text: str) -> Basis:
    """Write the review that exigent circumstances need afterwards; never of one's own request.

    Raises:
        RefusedError: the role, the requester himself, or no review due.
    """
    now = central.clock()
    people.require(person, Act.BASIS_DECIDE, now)
    in_own_words("review", text)
    with central.database.write() as tx:
        row = find(central, tx, basis)
        not_own(row.entered_by, person.id, "reviews a request")
        if not row.review_due(now):
            raise RefusedError("no review is due for this basis", reason="no_review_due")
        row = row.model_copy(
            update={"reviewed_by": person.id, "reviewed_at": now, "review": text.strip()}
        )
        _keep(central, tx, row, person, Event.EXIGENCY_REVIEWED, now)
    return row


def withdraw(central: Central, person: Person, basis: str, reason: str) -> Basis:
    """End a basis before its time: by whoever entered it, or by whoever may decide.

    Raises:
        RefusedError: another person's, or over already.
    """
    now = central.clock()
    people.require(person, Act.BASIS_ENTER, now, Act.BASIS_DECIDE)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        row = find(central, tx, basis)
        if row.entered_by != person.id and not may(person, Act.BASIS_DECIDE):
            raise RefusedError("the basis is another person's", reason="wrong_role")
        if row.stands(now) not in {"requested", "active"}:
            raise RefusedError("the basis is over already", reason="over")
        row = row.model_copy(update={"state": "withdrawn", "decision": reason.strip()})
        _keep(central, tx, row, person, Event.BASIS_WITHDRAWN, now)
    return row


def register(central: Central, person: Person) -> list[Basis]:
    """The register, newest first: all of it, or one's own; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.BASIS_REGISTER, now, Act.BASIS_ENTER)
    whole = may(person, Act.BASIS_REGISTER)
    with central.database.write() as tx:
        rows = [row for row in every(central, tx) if whole or row.entered_by == person.id]
        central.trail.record(
            tx,
            Event.BASES_VIEWED,
            people.actor(person),
            at=now,
            detail={"rows": len(rows), "whole": whole},
        )
    return rows[::-1]


def every(central: Central, tx: Connection) -> Iterator[Basis]:
    """Every basis, oldest first."""
    table = legal_bases
    for row in tx.execute(select(table).order_by(table.c.entered_at, table.c.id)).all():
        yield _open(central, row.id, row.sealed)


def find(central: Central, tx: Connection, basis: str) -> Basis:
    """A basis by id.

    Raises:
        InputError: there is none.
    """
    sealed = tx.scalar(select(legal_bases.c.sealed).where(legal_bases.c.id == basis))
    if sealed is None:
        raise InputError(
            "there is no warrant or exigency with this id", remedy="see alprd-central bases list"
        )
    return _open(central, basis, sealed)


def carries(central: Central, tx: Connection, request: Request, now: datetime) -> Basis | None:
    """The basis that a search names, when it is of this case and in force now.

    Raises:
        RefusedError: it names one that is not.
    """
    if not request.basis:
        return None
    row = find(central, tx, request.basis)
    if row.stands(now) != "active":
        raise RefusedError(f"the legal basis is {row.stands(now)}", reason="basis_not_in_force")
    if row.case != request.number:
        raise RefusedError("the legal basis is of another case", reason="basis_of_another_case")
    return row


def _new(
    central: Central,
    person: Person,
    kind: Kind,
    state: State,
    case: str,
    plate: str,
    ends: datetime,
    **more: Any,
) -> Basis:
    wanted = Request("", "", "", "", ends, ends, plate).wanted
    if len(normalise(plate)) < MIN_KNOWN or len(wanted) > 14:
        raise RefusedError("plate is empty or too long", reason="bad_plate")
    number = case.strip().upper()
    if len(number) < 4:
        raise RefusedError("case number is missing", reason="bad_case")
    return Basis(
        id=new_id(),
        kind=kind,
        state=state,
        case=number,
        mark=accumulation.plate_mark(central, wanted).hex(),
        entered_by=person.id,
        entered_at=central.clock(),
        ends=ends,
        **more,
    )


def _enter(
    central: Central, person: Person, made: Basis, event: Event, notice: str, plate: str
) -> None:
    with central.database.write() as tx:
        tx.execute(
            insert(legal_bases).values(
                id=made.id,
                kind=made.kind,
                state=made.state,
                entered_at=made.entered_at,
                entered_by=made.entered_by,
                ends_at=made.ends,
                sealed=_seal(central, made),
            )
        )
        notices.add(tx, notice, at=made.entered_at, about=person.id, subject=made.id)
        central.trail.record(
            tx,
            event,
            people.actor(person),
            at=made.entered_at,
            subjects=[made.id],
            detail={"case": made.case, "ends": made.ends.isoformat(timespec="seconds")},
            terms=Request("", "", "", "", made.ends, made.ends, plate).wanted,
        )


def _keep(
    central: Central, tx: Connection, row: Basis, person: Person, event: Event, now: datetime
) -> None:
    tx.execute(
        update(legal_bases)
        .where(legal_bases.c.id == row.id)
        .values(state=row.state, sealed=_seal(central, row))
    )
    central.trail.record(
        tx,
        event,
        people.actor(person),
        at=now,
        subjects=[row.id],
        detail={"case": row.case, "kind": row.kind, "state": row.state},
    )


def _open(central: Central, basis: str, sealed: bytes) -> Basis:
    key = central.keystore.purpose_key(_PURPOSE)
    return Basis.model_validate_json(unseal(key, sealed, f"basis {basis}".encode()))


def _seal(central: Central, row: Basis) -> bytes:
    key = central.keystore.purpose_key(_PURPOSE)
    return seal(key, row.model_dump_json().encode(), f"basis {row.id}".encode())
