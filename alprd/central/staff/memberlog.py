"""What is on record of a member: training, written authorisations, assignments, screening.

Rows are only added; the latest of a kind counts. What cars need of them (the two dates of
:class:`alprd.wire.Person`) is written into the person in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from sqlalchemy import Connection, insert, select

from alprd.central.storage import db
from alprd.records import Closed, Name, Utc, new_id
from alprd.wire import Person

Kind = Literal["training", "authorisation", "assignment", "screening"]
Short = Annotated[str, Field(min_length=1, max_length=200)]
ASSIGNED_ROLE: Final = "alpr_admin"
"""The role that counts only inside a live assignment (R-460.3-4)."""

TOLD: Final = "as told on the command line"
"""Title of what came without a record; any record of the same kind counts before it."""


class Fact(Closed):
    """One row of the record."""

    id: str
    person: Name
    kind: Kind
    recorded_at: Utc
    recorded_by: str
    starts: Utc
    """Training completed, authorisation signed, assignment begun, screening completed."""
    ends: Utc | None
    """When it lapses; None: it does not."""
    title: Short
    """Course, purposes, scope of the assignment, or who screened."""
    evidence: str = ""
    """Number of the certificate, letter or file; digest of the document."""


def add(
    tx: Connection,
    person_id: str,
    kind: Kind,
    *,
    at: datetime,
    by: str,
    starts: datetime,
    ends: datetime | None,
    title: str,
    evidence: str = "",
) -> Fact:
    """Add a row inside the transaction of the act.

    Raises:
        ValidationError: a text that is empty or too long.
    """
    fact = Fact(
        id=new_id(),
        person=person_id,
        kind=kind,
        recorded_at=at,
        recorded_by=by,
        starts=starts,
        ends=ends,
        title=title,
        evidence=evidence,
    )
    tx.execute(
        insert(db.member_records).values(
            id=fact.id,
            person=person_id,
            kind=kind,
            recorded_at=at,
            document=fact.model_dump_json(),
        )
    )
    return fact


def history(tx: Connection, person_id: str, kind: Kind | None = None) -> tuple[Fact, ...]:
    """Everything on record of a person, newest first."""
    table = db.member_records
    query = select(table.c.document).where(table.c.person == person_id)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    found = [Fact.model_validate_json(text) for text in tx.scalars(query)]
    return tuple(sorted(found, key=lambda fact: (fact.recorded_at, fact.id), reverse=True))


def screened(tx: Connection, person_id: str) -> bool:
    """Whether a completed screening is on record (R-CJIS-6)."""
    return bool(history(tx, person_id, "screening"))


def assigned(facts: Sequence[Fact], now: datetime) -> bool:
    """Whether the latest assignment is live."""
    latest = next((fact for fact in facts if fact.kind == "assignment"), None)
    return (
        latest is not None and latest.starts <= now and (latest.ends is None or latest.ends > now)
    )


def in_force(tx: Connection, person: Person, now: datetime) -> Person:
    """The person without a role that needs an assignment and has none (R-460.3-4)."""
    if ASSIGNED_ROLE not in person.roles:
        return person
    if assigned(history(tx, person.id, "assignment"), now):
        return person
    kept = tuple(role for role in person.roles if role != ASSIGNED_ROLE)
    return person.model_copy(update={"roles": kept})


def values(facts: Sequence[Fact], now: datetime) -> list[dict[str, Any]]:
    """Rows for pages and programs, with whether each is live."""
    return [
        fact.model_dump(mode="json")
        | {"live": fact.starts <= now and (fact.ends is None or fact.ends > now)}
        for fact in facts
    ]
