"""Acts on the record of members: training, authorisation, assignment, screening, open sessions.

Each asks :mod:`alprd.central.staff.permissions`, is done by somebody else than it is about, and is
one transaction with its event. What the gates need is written into the person at the same moment.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Connection, delete, select, update

from alprd.central.staff import memberlog, people
from alprd.central.staff.memberlog import ASSIGNED_ROLE, Fact, Kind
from alprd.central.staff.permissions import Act, not_own
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import Person

_REF: Final = 16
"""Characters of a session's hash that name it; nobody signs on with a hash."""


def train(
    central: Central,
    by: Person,
    person_id: str,
    *,
    course: str,
    completed: datetime,
    expires: datetime,
    evidence: str,
) -> Fact:
    """Record a completed training; the one completed last counts (R-460.4-d).

    Raises:
        RefusedError: the role, or one's own training.
        InputError: nobody of this id, no course or evidence, or dates that cannot be.
    """
    now = central.clock()
    _may(by, Act.PEOPLE_RECORD, person_id, "records a training", now)
    if completed > now:
        raise InputError("completed: lies ahead")
    if expires <= completed:
        raise InputError("expires: not after the completion")
    _told(evidence, "evidence", "the number of the certificate or file")
    with central.database.write() as tx:
        person = _known(tx, person_id)
        fact = _add(tx, by, person_id, "training", completed, expires, course, evidence, now)
        latest = max(
            memberlog.history(tx, person_id, "training"),
            key=lambda f: (f.title != memberlog.TOLD, f.starts, f.recorded_at),
        )
        until = latest.ends or now
        _keep(tx, person.model_copy(update={"training_expires": until}), by, now)
        _record(central, tx, Event.TRAINING_RECORDED, by, fact, now)
    return fact


def authorise(
    central: Central,
    by: Person,
    person_id: str,
    *,
    purposes: str,
    until: datetime,
    document: str,
    designation: str = "",
) -> Fact:
    """Sign a written authorisation, as the sheriff or the designee (R-13.824-7-1).

    Args:
        document: number or SHA-256 of the signed document.
        designation: of the designee: number of the sheriff's written designation.

    Raises:
        RefusedError: the role, or one's own authorisation.
        InputError: nobody of this id, no document, past, or longer than 24 months.
    """
    now = central.clock()
    _may(by, Act.PEOPLE_AUTHORISE, person_id, "signs an authorisation", now)
    if not now < until <= now + people.MAX_AUTHORISATION:
        raise InputError("an authorisation ends ahead, within 24 months (R-13.824-7-1)")
    _told(document, "document", "its number or SHA-256")
    evidence = document.strip() + (f"; designation {designation.strip()}" if designation else "")
    with central.database.write() as tx:
        person = _known(tx, person_id)
        fact = _add(tx, by, person_id, "authorisation", now, until, purposes, evidence, now)
        _keep(tx, person.model_copy(update={"authorised_until": until}), by, now)
        _record(central, tx, Event.AUTHORISED, by, fact, now)
    return fact


def withdraw(central: Central, by: Person, person_id: str, reason: str) -> Fact:
    """End a person's authorisation now; central's pages end with it, cars follow.

    Raises:
        RefusedError: the role.
        InputError: nobody of this id, no reason, or none in force.
    """
    now = central.clock()
    people.require(by, Act.PEOPLE_AUTHORISE, now)
    _told(reason, "reason", "why it ends")
    with central.database.write() as tx:
        person = _known(tx, person_id)
        if person.authorised_until <= now:
            raise InputError(f"{person_id} has no authorisation in force")
        fact = _add(tx, by, person_id, "authorisation", now, now, "withdrawn", reason, now)
        _keep(tx, person.model_copy(update={"authorised_until": now}), by, now)
        _record(central, tx, Event.AUTHORISATION_WITHDRAWN, by, fact, now)
    return fact


def assign(
    central: Central, by: Person, person_id: str, *, scope: str, until: datetime, order: str = ""
) -> Fact:
    """Assign a member to the daily work from now on (R-460.3-4); ``until`` now ends it.

    Raises:
        RefusedError: the role, or oneself.
        InputError: nobody of this id or not of the role, no scope, or an end that cannot be.
    """
    now = central.clock()
    _may(by, Act.PEOPLE_RECORD, person_id, "makes an assignment", now)
    ending = until <= now
    if until > now + people.MAX_AUTHORISATION:
        raise InputError("until: an assignment runs 24 months at most")
    with central.database.write() as tx:
        person = _known(tx, person_id)
        if ASSIGNED_ROLE not in person.roles:
            raise InputError(f"{person_id} has not the role {ASSIGNED_ROLE}")
        ends = now if ending else until
        fact = _add(tx, by, person_id, "assignment", now, ends, scope, order, now)
        _end_sessions(tx, person_id)
        event = Event.ASSIGNMENT_ENDED if ending else Event.ASSIGNED
        _record(central, tx, event, by, fact, now)
    return fact


def screen(
    central: Central, by: Person, person_id: str, *, screened_by: str, on: datetime, reference: str
) -> Fact:
    """Record a completed screening; nobody signs on at central before it (R-CJIS-6).

    Raises:
        RefusedError: the role, or one's own screening.
        InputError: nobody of this id, no reference, or a date ahead.
    """
    now = central.clock()
    _may(by, Act.PEOPLE_RECORD, person_id, "records a screening", now)
    if on > now:
        raise InputError("completed: lies ahead")
    _told(reference, "reference", "the number of the letter or file")
    with central.database.write() as tx:
        _known(tx, person_id)
        fact = _add(tx, by, person_id, "screening", on, None, screened_by, reference, now)
        _record(central, tx, Event.SCREENED, by, fact, now)
    return fact


# --- open sessions ------------------------------------------------------------------------------


def sessions(tx: Connection, now: datetime, idle: timedelta) -> list[dict[str, Any]]:
    """Who is signed on at the pages, oldest first."""
    table = db.web_sessions
    rows = tx.execute(
        select(table).where(table.c.last_seen > now - idle).order_by(table.c.signed_on)
    )
    return [
        {
            "ref": row.token_hash[:_REF],
            "person": row.person,
            "signed_on": row.signed_on.isoformat(),
            "last_seen": row.last_seen.isoformat(),
        }
        for row in rows
    ]


def force_off(central: Central, by: Person, ref: str) -> str:
    """End an open session of another person; whose it was.

    Raises:
        RefusedError: the role.
        InputError: no session has this name any more.
    """
    now = central.clock()
    people.require(by, Act.SESSION_END, now)
    table = db.web_sessions
    with central.database.write() as tx:
        rows = tx.execute(select(table.c.token_hash, table.c.person)).all()
        found = next((row for row in rows if row.token_hash[:_REF] == ref), None)
        if found is None:
            raise InputError("this session is over already")
        tx.execute(delete(table).where(table.c.token_hash == found.token_hash))
        central.trail.record(
            tx, Event.FORCED_OFF, people.actor(by), at=now, subjects=[found.person]
        )
    return str(found.person)


# --- shared -------------------------------------------------------------------------------------


def _may(by: Person, act: Act, about: str, verb: str, now: datetime) -> None:
    people.require(by, act, now)
    not_own(about, by.id, verb, remedy="another person with the role does it")


def _told(text: str, name: str, what: str) -> None:
    if not text.strip():
        raise InputError(f"{name}: missing", remedy=f"give {what}")


def _known(tx: Connection, person_id: str) -> Person:
    person = people.find(tx, person_id)
    if person is None:
        raise InputError(f"nobody has the id {person_id}")
    return person


def _add(
    tx: Connection,
    by: Person,
    person_id: str,
    kind: Kind,
    starts: datetime,
    ends: datetime | None,
    title: str,
    evidence: str,
    now: datetime,
) -> Fact:
    try:
        return memberlog.add(
            tx,
            person_id,
            kind,
            at=now,
            by=by.id,
            starts=starts,
            ends=ends,
            title=title.strip(),
            evidence=evidence.strip()[:500],
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{kind}: {first['loc'][0]}: {first['msg']}") from None


def _keep(tx: Connection, person: Person, by: Person, now: datetime) -> None:
    tx.execute(
        update(db.people)
        .where(db.people.c.id == person.id)
        .values(document=person.model_dump_json(), added_by=by.id, changed_at=now)
    )
    _end_sessions(tx, person.id)


def _end_sessions(tx: Connection, person_id: str) -> None:
    """Open pages start anew with the rights of now (R-13.824-7-3)."""
    tx.execute(delete(db.web_sessions).where(db.web_sessions.c.person == person_id))


def _record(
    central: Central, tx: Connection, event: Event, by: Person, fact: Fact, now: datetime
) -> None:
    central.trail.record(
        tx,
        event,
        people.actor(by),
        at=now,
        subjects=[fact.person],
        detail={
            "record": fact.id,
            "title": fact.title,
            "evidence": fact.evidence,
            "ends": fact.ends.isoformat(timespec="seconds") if fact.ends else "",
        },
    )
