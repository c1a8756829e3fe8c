"""People: accounts, verifiers, training and authorisation; sign-on and the roster of the cars.

A role alone opens nothing: training and the sheriff's written authorisation must be live
(R-13.824-7-1, -3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from pydantic import ValidationError
from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd import verifiers
from alprd.audit import Actor
from alprd.central import db
from alprd.central.audit import Event
from alprd.central.permissions import ROLES as ROLES
from alprd.central.permissions import Act, may
from alprd.central.store import Central
from alprd.errors import InputError, RefusedError
from alprd.wire import Clearance, Person

LOCK_AFTER: Final = 5
LOCK_FOR: Final = timedelta(minutes=15)
MIN_PASSWORD: Final = 8
MAX_AUTHORISATION: Final = timedelta(days=731)
"""A written authorisation lives at most 24 months (R-13.824-7-1)."""
_HASHER: Final = PasswordHasher()


def actor(person: Person) -> Actor:
    """A person in the trail."""
    return Actor(person.id, person.name, ",".join(person.roles))


def named_actor(central: Central, person: str) -> Actor:
    """Who gave an order on the command line: a known person by id, or the name as typed."""
    with central.database.read() as tx:
        found = find(tx, person)
    return actor(found) if found else Actor(person[:64], person, "command line")


def add(
    central: Central,
    *,
    person_id: str,
    name: str,
    roles: Sequence[str],
    password: str,
    training_expires: datetime,
    authorised_until: datetime,
    clearances: Iterable[Clearance],
    by: Actor,
) -> Person:
    """Add a person, or replace all that is known of one.

    Raises:
        InputError: unknown role, short password, or an authorisation longer than 24 months.
    """
    now = central.clock()
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise InputError(f"unknown role {', '.join(unknown)}", remedy=f"one of {', '.join(ROLES)}")
    if len(password) < MIN_PASSWORD:
        raise InputError(f"password is shorter than {MIN_PASSWORD} characters")
    if authorised_until > now + MAX_AUTHORISATION:
        raise InputError("an authorisation may not run longer than 24 months (R-13.824-7-1)")
    try:
        person = Person(
            id=person_id,
            name=name,
            roles=tuple(roles),
            verifier=_HASHER.hash(password),
            training_expires=training_expires,
            authorised_until=authorised_until,
            clearances=tuple(clearances),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"person: {first['loc'][0]}: {first['msg']}") from None
    values = {"document": person.model_dump_json(), "added_by": by.id, "changed_at": now}
    with central.database.write() as tx:
        event = Event.PERSON_CHANGED if find(tx, person_id) else Event.PERSON_ADDED
        tx.execute(
            upsert(db.people)
            .values(id=person_id, **values)
            .on_conflict_do_update(index_elements=["id"], set_=values)
        )
        # Rights of an earlier role end at once (R-13.824-7-3).
        tx.execute(delete(db.web_sessions).where(db.web_sessions.c.person == person_id))
        central.trail.record(
            tx, event, by, at=now, subjects=[person_id], detail={"roles": ",".join(roles)}
        )
    return person


def find(tx: Connection, person_id: str) -> Person | None:
    """A person by id."""
    text = tx.scalar(select(db.people.c.document).where(db.people.c.id == person_id))
    return None if text is None else Person.model_validate_json(text)


def everyone(tx: Connection) -> tuple[Person, ...]:
    """All people by id: the cars' roster."""
    texts = tx.scalars(select(db.people.c.document).order_by(db.people.c.id))
    return tuple(Person.model_validate_json(text) for text in texts)


def authenticate(central: Central, person_id: str, password: str) -> Person:
    """Check a password; five failures in 15 minutes lock the account (R-CJIS-3).

    Raises:
        RefusedError: wrong or locked; the message does not tell which part was wrong.
    """
    now = central.clock()
    failures = db.sign_on_failures
    with central.database.read() as tx:
        recent = tx.scalar(
            select(func.count())
            .select_from(failures)
            .where(failures.c.person == person_id, failures.c.at > now - LOCK_FOR)
        )
        person = find(tx, person_id)
    locked = (recent or 0) >= LOCK_AFTER
    # An unknown name costs the same time as a known one.
    good = _verify(person.verifier if person else _decoy(), password) and person is not None
    if locked or not good or person is None:
        reason = "locked" if locked else "wrong_password"
        with central.database.write() as tx:
            if not locked:
                tx.execute(insert(failures).values(person=person_id[:64], at=now))
            central.trail.record(
                tx,
                Event.SIGN_ON_REFUSED,
                Actor(person_id[:64], "", ""),
                at=now,
                detail={"reason": reason},
            )
        message = "account is locked for 15 minutes" if locked else "name or password is wrong"
        raise RefusedError(message, reason=reason)
    with central.database.write() as tx:
        tx.execute(delete(failures).where(failures.c.person == person_id))
    return person


@cache
def _decoy() -> str:
    return _HASHER.hash("no account has this verifier")


def _verify(verifier: str, password: str) -> bool:
    return verifiers.fits(verifier, password)


def require(person: Person, act: Act, now: datetime, *others: Act) -> None:
    """Check role × live training × live authorisation (R-13.824-7-3).

    Args:
        others: acts whose roles do as well.

    Raises:
        RefusedError: one of them is missing.
    """
    if not may(person, act, *others):
        raise RefusedError("this role may not do that", reason="wrong_role")
    if person.training_expires <= now:
        raise RefusedError(
            "training has expired", reason="training_expired", remedy="renew the training"
        )
    if person.authorised_until <= now:
        raise RefusedError(
            "written authorisation has expired",
            reason="authorisation_expired",
            remedy="ask the sheriff or designee",
        )
