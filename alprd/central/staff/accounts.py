"""Changes to people who are known already: new dates, roles and secrets, and their end.

Each is one transaction with its event, which names what changed and never the value of a secret.
Open pages of the person end at once (R-13.824-7-3); cars follow with the next roster.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, delete, select, update

from alprd import totp, verifiers
from alprd.audit import Actor
from alprd.central.staff import memberlog, people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.wire import Clearance, Person


def change(
    central: Central,
    person_id: str,
    *,
    by: Actor,
    name: str | None = None,
    roles: Sequence[str] | None = None,
    training_expires: datetime | None = None,
    authorised_until: datetime | None = None,
    clearances: Sequence[Clearance] | None = None,
    password: str | None = None,
    scheme: verifiers.Scheme = "argon2id",
) -> Person:
    """Change what is given; None leaves it.

    Raises:
        InputError: nobody of this id, nothing to change, or a value that cannot be.
    """
    now = central.clock()
    if authorised_until is not None and authorised_until > now + people.MAX_AUTHORISATION:
        raise InputError("an authorisation may not run longer than 24 months (R-13.824-7-1)")
    if password is not None and len(password) < people.MIN_PASSWORD:
        raise InputError(f"password is shorter than {people.MIN_PASSWORD} characters")
    given: dict[str, Any] = {
        "name": name,
        "roles": None if roles is None else tuple(roles),
        "training_expires": training_expires,
        "authorised_until": authorised_until,
        "clearances": None if clearances is None else tuple(clearances),
        "verifier": None if password is None else verifiers.make(password, scheme),
    }
    values = {key: value for key, value in given.items() if value is not None}
    if not values:
        raise InputError("nothing is to be changed", remedy="give at least one of the options")
    with central.database.write() as tx:
        person = _known(tx, person_id)
        if password is not None or roles is not None:
            need_second(person)
        try:
            changed = Person.model_validate(person.model_dump() | values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(f"person: {first['loc'][0]}: {first['msg']}") from None
        _keep(central, tx, changed, by, now, {"changed": ",".join(values)})
        told: tuple[tuple[memberlog.Kind, datetime | None], ...] = (
            ("training", training_expires),
            ("authorisation", authorised_until),
        )
        for kind, ends in told:
            if ends is not None:
                memberlog.add(
                    tx,
                    person_id,
                    kind,
                    at=now,
                    by=by.id,
                    starts=now,
                    ends=ends,
                    title=memberlog.TOLD,
                )
    return changed


def reset_totp(central: Central, person_id: str, by: Actor, *, off: bool = False) -> str:
    """A fresh second factor; its ``otpauth://`` address, to be shown once (R-CJIS-2).

    Raises:
        InputError: nobody of this id.
    """
    secret = "" if off else totp.new_secret()
    with central.database.write() as tx:
        person = _known(tx, person_id)
        need_second(person)
        changed = person.model_copy(update={"totp": secret})
        _keep(central, tx, changed, by, central.clock(), {"changed": "totp", "off": off})
    return totp.uri(secret, agency=central.config.agency, person=person_id) if secret else ""


def retire(central: Central, person_id: str, by: Actor) -> None:
    """End a person's account; what the trail says of them stays.

    Raises:
        InputError: nobody of this id.
    """
    with central.database.write() as tx:
        need_second(_known(tx, person_id))
        retire_in(central, tx, person_id, by, central.clock())


def retire_in(central: Central, tx: Connection, person_id: str, by: Actor, now: datetime) -> None:
    """End an account in the transaction of what decided it."""
    _known(tx, person_id)
    tx.execute(delete(db.people).where(db.people.c.id == person_id))
    tx.execute(delete(db.web_sessions).where(db.web_sessions.c.person == person_id))
    central.trail.record(tx, Event.PERSON_RETIRED, by, at=now, subjects=[person_id])


def put_in(
    central: Central,
    tx: Connection,
    person_id: str,
    changes: dict[str, Any],
    by: Actor,
    now: datetime,
    detail: dict[str, str | int | bool],
) -> None:
    """Change an account in the transaction of what two persons decided."""
    changed = _known(tx, person_id).model_copy(update=changes)
    _keep(central, tx, changed, by, now, {"changed": ",".join(changes), **detail})


def guarded(person: Person) -> bool:
    """Whether no one person may reset this one's credentials: the sheriff, and supervisors."""
    return may(person, Act.CAR_ORDER)


def need_second(person: Person) -> None:
    """Refuse to reset, by one person alone, the credentials of somebody who commands.

    Raises:
        RefusedError: ``second_person``.
    """
    if guarded(person):
        raise RefusedError(
            "the sheriff's and a supervisor's credentials, roles and account are changed by two "
            "persons",
            reason="second_person",
            remedy="ask with alprd-central people reset-ask; another person decides",
        )


def listing(central: Central) -> list[dict[str, Any]]:
    """Everybody, by id, without verifiers and secrets."""
    with central.database.read() as tx:
        everyone = [
            Person.model_validate_json(text)
            for text in tx.scalars(select(db.people.c.document).order_by(db.people.c.id))
        ]
    return [
        person.model_dump(exclude={"verifier", "totp"})
        | {"totp": bool(person.totp), "verifier": verifiers.scheme_of(person.verifier)}
        for person in everyone
    ]


def _known(tx: Connection, person_id: str) -> Person:
    person = people.find(tx, person_id)
    if person is None:
        raise InputError(f"nobody has the id {person_id}", remedy="see alprd-central people list")
    return person


def _keep(
    central: Central,
    tx: Connection,
    person: Person,
    by: Actor,
    now: datetime,
    detail: dict[str, str | int | bool],
) -> None:
    tx.execute(
        update(db.people)
        .where(db.people.c.id == person.id)
        .values(document=person.model_dump_json(), added_by=by.id, changed_at=now)
    )
    tx.execute(delete(db.web_sessions).where(db.web_sessions.c.person == person.id))
    central.trail.record(tx, Event.PERSON_CHANGED, by, at=now, subjects=[person.id], detail=detail)
