"""The breach file: incidents decided on record, notice, report, and what is kept for them.

The plates that a notice needs are the one thing that may outlive the reads here, and only until the
duty is done (R-13.055-8, T-9): they lie under a key of their own in the keystore, which closing the
incident destroys. Who did what when is in the trail; records are found through it, by id.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select, update

from alprd.central.hotlists.entry import in_own_words
from alprd.central.oversight import incident
from alprd.central.oversight.incident import Delay, Elements, Incident, Kind, Step
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import incident_tables as tables
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import new_id
from alprd.wire import Person

LONGEST_DELAY: Final = timedelta(days=90)
_PURPOSE: Final = "incidents"


def open_incident(
    central: Central, person: Person, kind: Kind, what: str, discovered: datetime
) -> Incident:
    """Begin an incident; the clock of the notice runs from its discovery.

    Raises:
        RefusedError: the role, or a description that says too little.
        InputError: unknown kind, or a discovery in the future.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    if kind not in incident.KINDS:
        raise InputError("this is no kind of incident", remedy=", ".join(incident.KINDS))
    if discovered > now:
        raise InputError("the incident was discovered in the future")
    in_own_words("what", what)
    row = Incident(
        id=new_id(),
        state="open",
        kind=kind,
        what=what.strip(),
        discovered=discovered,
        opened_by=person.id,
        opened_at=now,
    )
    with central.database.write() as tx:
        tx.execute(
            insert(tables.incidents).values(
                id=row.id,
                state=row.state,
                discovered_at=discovered,
                changed_at=now,
                sealed=_seal(central, row),
            )
        )
        record(central, tx, Event.INCIDENT_OPENED, person, row, kind=kind)
    return row


def decide(
    central: Central, person: Person, incident_id: str, elements: Elements, words: str
) -> Incident:
    """Answer the decision table, with the reasons in own words (R-13.055-1).

    Raises:
        RefusedError: the role, somebody whom the incident is about, or a decided incident.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    in_own_words("decision", words)
    with central.database.write() as tx:
        row = live(central, tx, incident_id)
        if row.affected is not None and row.affected.actor == person.id:
            raise RefusedError("nobody decides about himself", reason="own_request")
        if row.state not in ("open", "no_breach"):
            raise RefusedError(f"the incident is {row.state}", reason="wrong_state")
        row = row.model_copy(
            update={
                "state": "breach" if elements.breach else "no_breach",
                "elements": elements,
                "decision": words.strip(),
                "decided_by": person.id,
                "decided_at": now,
            }
        )
        replace(central, tx, row, now)
        record(central, tx, Event.INCIDENT_DECIDED, person, row, breach=elements.breach)
    return row


def delay(
    central: Central, person: Person, incident_id: str, reason: str, review: datetime
) -> Incident:
    """The notice would impede an active criminal investigation, until it is looked at again.

    Raises:
        RefusedError: the role, a reason that says too little, or no breach to give notice of.
        InputError: a review date that has passed or is more than 90 days off.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    in_own_words("reason", reason)
    if not now < review <= now + LONGEST_DELAY:
        raise InputError(f"the delay is looked at again within {LONGEST_DELAY.days} days")
    with central.database.write() as tx:
        row = in_state(central, tx, incident_id, "breach")
        made = Delay(reason=reason.strip(), decided_by=person.id, decided_at=now, review=review)
        row = row.model_copy(update={"delay": made})
        replace(central, tx, row, now)
        record(central, tx, Event.INCIDENT_DELAYED, person, row)
    return row


def notified(central: Central, person: Person, incident_id: str, number: int, how: str) -> Incident:
    """The people affected were told: how many, and how.

    Raises:
        RefusedError: the role, or no breach to give notice of.
        InputError: nobody was told, or no word on how.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    if number < 1 or len(how.strip()) < 3:
        raise InputError("how many were told, and how, is missing")
    with central.database.write() as tx:
        row = in_state(central, tx, incident_id, "breach")
        row = row.model_copy(
            update={
                "state": "notified",
                "notified_at": now,
                "notified": number,
                "how": how.strip(),
                "steps": (*row.steps, Step(item="notice", at=now, by=person.id, reference=how)),
            }
        )
        replace(central, tx, row, now)
        record(central, tx, Event.INCIDENT_NOTIFIED, person, row, people=number)
    return row


def mark(central: Central, person: Person, incident_id: str, item: str, reference: str) -> Incident:
    """A step of the checklist was done.

    Raises:
        RefusedError: the role.
        InputError: no such step, or it is done already.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    with central.database.write() as tx:
        row = live(central, tx, incident_id)
        if item not in row.undone():
            raise InputError("this step is done, or none of the incident's", remedy="see its list")
        step = Step(item=item, at=now, by=person.id, reference=reference.strip()[:200])
        row = row.model_copy(update={"steps": (*row.steps, step)})
        replace(central, tx, row, now)
        record(central, tx, Event.INCIDENT_STEP, person, row, step=item)
    return row


def dispose(
    central: Central,
    person: Person,
    incident_id: str,
    results: str,
    disposition: str = "",
    responsible: tuple[str, ...] = (),
) -> Incident:
    """The investigation is complete, and discipline (if any) is final: the report may be made.

    Raises:
        RefusedError: the role, or texts that say too little.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    in_own_words("results", results)
    with central.database.write() as tx:
        row = in_state(central, tx, incident_id, "breach", "notified")
        if row.kind == "insider":
            in_own_words("disposition", disposition)
        row = row.model_copy(
            update={
                "results": results.strip(),
                "disposition": disposition.strip(),
                "disposed_at": now,
                "responsible": tuple(name.strip() for name in responsible if name.strip()),
            }
        )
        replace(central, tx, row, now)
        record(central, tx, Event.INCIDENT_DISPOSED, person, row)
    return row


def report(central: Central, person: Person, incident_id: str) -> str:
    """The report for affected people; not before the final disposition (R-13.055-4).

    Raises:
        RefusedError: the role, or no final disposition yet.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now, Act.INCIDENT_SEE)
    with central.database.write() as tx:
        row = find(central, tx, incident_id)
        if row.disposed_at is None:  # before the event: no report was made
            raise RefusedError(
                "the report waits for the final disposition",
                reason="not_final",
                remedy="record results and disposition first",
            )
        central.trail.record(
            tx, Event.INCIDENT_REPORTED, people.actor(person), at=now, subjects=[incident_id]
        )
    return incident.report_text(central.config.agency_name, row)


def close(central: Central, person: Person, incident_id: str, words: str) -> Incident:
    """Every duty is done: the plates kept for the notice are destroyed.

    Raises:
        RefusedError: the role, or a step that is not done.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    in_own_words("reason", words)
    with central.database.write() as tx:
        row = live(central, tx, incident_id)
        if row.state == "open" or (row.state == "breach" and row.notified_at is None):
            raise RefusedError(
                "the incident is not decided, or nobody was told yet", reason="not_done"
            )
        undone = row.undone()
        if undone and row.state != "no_breach":
            raise RefusedError(
                f"steps are not done: {', '.join(undone)}",
                reason="not_done",
                remedy="mark each with its reference",
            )
        row = row.model_copy(update={"state": "closed", "closed_by": person.id, "closed_at": now})
        tx.execute(
            update(tables.incidents).where(tables.incidents.c.id == row.id).values(affected=None)
        )
        replace(central, tx, row, now)
        record(central, tx, Event.INCIDENT_CLOSED, person, row)
        # First the key: if the commit fails, a list that nobody can open is all that is left.
        central.keystore.forget_secret(key_name(row.id))
    central.keystore.database.checkpoint()
    central.database.checkpoint()
    return row


def register(central: Central, person: Person) -> list[Incident]:
    """Every incident, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now, Act.INCIDENT_SEE)
    with central.database.write() as tx:
        rows = list(every(central, tx))
        central.trail.record(
            tx, Event.INCIDENTS_LISTED, people.actor(person), at=now, detail={"rows": len(rows)}
        )
    return rows[::-1]


def one(central: Central, person: Person, incident_id: str) -> Incident:
    """A single incident; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: there is none.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now, Act.INCIDENT_SEE)
    with central.database.write() as tx:
        row = find(central, tx, incident_id)
        central.trail.record(
            tx, Event.INCIDENTS_LISTED, people.actor(person), at=now, subjects=[row.id]
        )
    return row


# --- the file ---------------------------------------------------------------------------------


def every(central: Central, tx: Connection) -> Iterator[Incident]:
    """Every incident, oldest first."""
    table = tables.incidents
    for row in tx.execute(select(table).order_by(table.c.discovered_at, table.c.id)).all():
        yield _unseal(central, row.id, row.sealed)


def find(central: Central, tx: Connection, incident_id: str) -> Incident:
    """An incident by id.

    Raises:
        InputError: there is none.
    """
    table = tables.incidents
    sealed = tx.scalar(select(table.c.sealed).where(table.c.id == incident_id))
    if sealed is None:
        raise InputError(
            "there is no incident with this id", remedy="see alprd-central incidents list"
        )
    return _unseal(central, incident_id, sealed)


def live(central: Central, tx: Connection, incident_id: str) -> Incident:
    """The incident, unless it is closed.

    Raises:
        RefusedError: it is closed.
    """
    row = find(central, tx, incident_id)
    if row.state == "closed":
        raise RefusedError("the incident is closed", reason="wrong_state")
    return row


def in_state(central: Central, tx: Connection, incident_id: str, *states: str) -> Incident:
    """The incident, when it is in one of these states.

    Raises:
        RefusedError: it is in another.
    """
    row = find(central, tx, incident_id)
    if row.state not in states:
        raise RefusedError(f"the incident is {row.state}", reason="wrong_state")
    return row


def replace(central: Central, tx: Connection, row: Incident, now: datetime) -> None:
    """Write an incident's new content."""
    tx.execute(
        update(tables.incidents)
        .where(tables.incidents.c.id == row.id)
        .values(state=row.state, changed_at=now, sealed=_seal(central, row))
    )


def record(
    central: Central,
    tx: Connection,
    event: Event,
    person: Person,
    row: Incident,
    **detail: str | int | bool,
) -> None:
    """Put an act on an incident into the trail."""
    central.trail.record(
        tx,
        event,
        people.actor(person),
        at=central.clock(),
        subjects=[row.id],
        detail={"state": row.state, **detail},
    )


def key_name(incident_id: str) -> str:
    """Name of the key of the plates kept for the notice."""
    return f"incident:{incident_id}"


def _seal(central: Central, row: Incident) -> bytes:
    key = central.keystore.purpose_key(_PURPOSE)
    return seal(key, row.model_dump_json().encode(), aad(row.id))


def _unseal(central: Central, name: str, sealed: bytes) -> Incident:
    key = central.keystore.purpose_key(_PURPOSE)
    return Incident.model_validate_json(unseal(key, sealed, aad(name)))


def aad(name: str) -> bytes:
    """What binds a sealed text to its incident."""
    return f"incident {name}".encode()
