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
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd import totp, verifiers
from alprd.audit import Actor
from alprd.central.staff import memberlog
from alprd.central.staff.permissions import ROLES as ROLES
from alprd.central.staff.permissions import Act, may
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
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
    screening: str = "",
    fresh: bool = False,
) -> Person:
    """Add a person, or replace all that is known of one; the record keeps what it has.

    Args:
        screening: reference of the completed screening; without one on record nobody signs on
            at central (R-CJIS-6).
        fresh: refuse an id that is known, instead of replacing what is known of it.

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
        if _frozen(tx, person_id):  # a new entry is no way around a referral (R-460.6-f)
            values["document"] = person.model_copy(update={"frozen": True}).model_dump_json()
        before = find(tx, person_id)
        known = before is not None
        if known and fresh:
            raise InputError(f"the id {person_id} is taken")
        if before is not None and may(before, Act.CAR_ORDER):
            # Else adding the sheriff anew would be a reset by one person (see credentials).
            raise RefusedError(
                "this person is known: the sheriff's and a supervisor's credentials are changed "
                "by two persons",
                reason="second_person",
                remedy="ask with alprd-central people reset-ask; another person decides",
            )
        event = Event.PERSON_CHANGED if known else Event.PERSON_ADDED
        tx.execute(
            upsert(db.people)
            .values(id=person_id, **values)
            .on_conflict_do_update(index_elements=["id"], set_=values)
        )
        # Rights of an earlier role end at once (R-13.824-7-3).
        tx.execute(delete(db.web_sessions).where(db.web_sessions.c.person == person_id))
        _note(tx, person, by, now, screening)
        central.trail.record(
            tx, event, by, at=now, subjects=[person_id], detail={"roles": ",".join(roles)}
        )
    return person


def _frozen(tx: Connection, person_id: str) -> bool:
    """Whether a freeze of this id is open, also of one who was retired meanwhile."""
    table = db.freezes
    still = (table.c.person == person_id) & table.c.lifted_at.is_(None)
    return tx.scalar(select(func.count()).select_from(table).where(still)) != 0


def _note(tx: Connection, person: Person, by: Actor, now: datetime, screening: str) -> None:
    """Put on record what was told when a person was added."""
    facts: list[tuple[memberlog.Kind, datetime | None, str, str]] = [
        ("training", person.training_expires, memberlog.TOLD, ""),
        ("authorisation", person.authorised_until, memberlog.TOLD, ""),
    ]
    if memberlog.ASSIGNED_ROLE in person.roles:
        facts.append(("assignment", person.authorised_until, memberlog.TOLD, ""))
    if screening:
        facts.append(("screening", None, memberlog.TOLD, screening))
    for kind, ends, title, evidence in facts:
        if ends is not None and ends <= now:
            continue  # told to have nothing: it comes as a record
        memberlog.add(
            tx,
            person.id,
            kind,
            at=now,
            by=by.id,
            starts=now,
            ends=ends,
            title=title,
            evidence=evidence,
        )


def find(tx: Connection, person_id: str) -> Person | None:
    """A person by id."""
    text = tx.scalar(select(db.people.c.document).where(db.people.c.id == person_id))
    return None if text is None else Person.model_validate_json(text)


def everyone(tx: Connection) -> tuple[Person, ...]:
    """All people by id: the cars' roster."""
    texts = tx.scalars(select(db.people.c.document).order_by(db.people.c.id))
    return tuple(Person.model_validate_json(text) for text in texts)


def acting(tx: Connection, person_id: str, now: datetime) -> Person | None:
    """A person with the roles that count now: ``alpr_admin`` only while assigned (R-460.3-4)."""
    person = find(tx, person_id)
    return None if person is None else memberlog.in_force(tx, person, now)


def authenticate(central: Central, person_id: str, password: str, code: str = "") -> Person:
    """Check password and second factor; five failures in 15 minutes lock it (R-CJIS-2, -3).

    Args:
        code: of the second factor, for whoever has one; used once, it never counts again.

    Raises:
        RefusedError: wrong or locked, without telling which part was wrong; or no screening is
            on record (R-CJIS-6).
    """
    now = central.clock()
    failures = db.sign_on_failures
    with central.database.read() as tx:
        known = find(tx, person_id)
    # An unknown name costs the same time as a known one.
    fits = _verify(known.verifier if known else _decoy(), password)
    reason = "wrong_password"
    # One transaction, so that tries at the same moment count and use a code one by one.
    with central.database.write() as tx:
        recent = tx.scalar(
            select(func.count())
            .select_from(failures)
            .where(failures.c.person == person_id[:64], failures.c.at > now - LOCK_FOR)
        )
        locked = (recent or 0) >= LOCK_AFTER
        person = acting(tx, person_id, now)
        # A verifier that changed while it was being checked counts no more.
        same = known is not None and person is not None and person.verifier == known.verifier
        good = fits and same and not locked
        if good and person is not None and person.totp:
            good = _use_code(tx, person, code, now)
        if good and not memberlog.screened(tx, person_id):
            good, reason = False, "not_screened"
        if good:
            tx.execute(delete(failures).where(failures.c.person == person_id))
        else:
            reason = "locked" if locked else reason
            if reason == "wrong_password":
                tx.execute(insert(failures).values(person=person_id[:64], at=now))
            who = Actor(person_id[:64], "", "")
            central.trail.record(tx, Event.SIGN_ON_REFUSED, who, at=now, detail={"reason": reason})
    if not good or person is None:
        raise RefusedError(_REFUSALS[reason], reason=reason)
    return person


_REFUSALS: Final = {
    "locked": "account is locked for 15 minutes",
    "wrong_password": "name, password or code is wrong",
    "not_screened": "no completed screening is on record; the administration supervisor enters it",
}


def _use_code(tx: Connection, person: Person, code: str, now: datetime) -> bool:
    """Whether a code is good; its step is kept, so that it never is again."""
    table = db.totp_steps
    last = tx.scalar(select(table.c.step).where(table.c.person == person.id))
    step = totp.matching_step(person.totp, code, now, last=last)
    if step is None:
        return False
    if last is None:
        tx.execute(insert(table).values(person=person.id, step=step))
    else:
        tx.execute(update(table).where(table.c.person == person.id).values(step=step))
    return True


@cache
def _decoy() -> str:
    return _HASHER.hash("no account has this verifier")


def _verify(verifier: str, password: str) -> bool:
    return verifiers.fits(verifier, password)


def require(person: Person, act: Act, now: datetime, *others: Act) -> None:
    """Check role × live training × live authorisation (R-13.824-7-3), no freeze (R-460.6-f).

    Args:
        others: acts whose roles do as well.

    Raises:
        RefusedError: one of them is missing, or access is frozen.
    """
    if person.frozen:
        raise RefusedError(
            "access is frozen while a referral is looked into",
            reason="frozen",
            remedy="ask the Administration Supervisor",
        )
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
