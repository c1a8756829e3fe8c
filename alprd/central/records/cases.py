"""Reads linked to an active criminal investigation: the one exception of the 60 days (R-460.5-5).

::

    requested ──approved by another──► active ──inactive──► schedule ──period over──► released
        └─refused                        └───────── no schedule item: a person decides ──┘

Only an approved link exempts; a request does not, nor does a match alone. Its review date (90 days
by default) is told when it passes. When the investigation is no longer active the retention
schedule governs (R-460.5-5b): with no item set a person must decide within 30 days, and until then
the reads are kept and the register says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.central.hotlists.entry import in_own_words
from alprd.central.public import logbook
from alprd.central.records import exemptions, schedule
from alprd.central.records.exemptions import Exemption
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, not_own
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import new_id
from alprd.wire import Person

REVIEW_AFTER: Final = timedelta(days=90)
LONGEST_REVIEW: Final = timedelta(days=180)
DECIDE_WITHIN: Final = timedelta(days=30)
MANY: Final = 20
"""More reads than these, or a whole session, need a reason for linking in bulk."""
OUTCOMES: Final = ("declined", "charge_time_expired", "convicted", "acquitted")
"""What makes an investigation inactive (§ 13.82 subd. 7): not pursued by the agency or prosecutor;
the time to charge has passed; a conviction with its appeals done; an acquittal."""
NUMBER: Final = re.compile(r"^(?=(?:.*\d){4})[0-9A-Z][0-9A-Z-]{3,19}$")
_CHUNK: Final = 500


def ask(
    central: Central,
    person: Person,
    *,
    case: str,
    relation: str,
    reads: Sequence[str] = (),
    session: str = "",
    bulk_reason: str = "",
) -> Exemption:
    """Ask for a link; nothing is exempt before a different person approves it.

    Raises:
        RefusedError: the role, or a statement that says too little.
        InputError: no case number, or a read that is not stored or past its life.
    """
    now = central.clock()
    people.require(person, Act.LINK_ASK, now)
    case = case_number(case)
    in_own_words("relation", relation)
    with central.database.write() as tx:
        names = tuple(dict.fromkeys(reads))
        if session:
            names = tuple(dict.fromkeys((*names, *_session(tx, session, now))))
        if not names:
            raise InputError("the link names no read", remedy="give --read, or --session")
        if session or len(names) > MANY:
            in_own_words("bulk reason", bulk_reason)
        _check(tx, names, now)
        row = Exemption(
            id=new_id(),
            kind="case",
            state="requested",
            number=case,
            statement=relation.strip(),
            opened_by=person.id,
            opened_at=now,
            reads=names,
            bulk_reason=bulk_reason.strip(),
        )
        exemptions.add(central, tx, row)
        _record(central, tx, Event.LINK_REQUESTED, person, row, now, reads=names)
    return row


def ask_for_package(
    central: Central, person: Person, *, case: str, relation: str, package: str, origin: str
) -> Exemption:
    """Ask for a link of what a package of another agency holds past its life (R-460.5-3).

    Args:
        package: its SHA-256.
        origin: sender and transfer reference.

    Raises:
        RefusedError: the role, or a statement that says too little.
        InputError: no case number.
    """
    now = central.clock()
    people.require(person, Act.LINK_ASK, now)
    row = Exemption(
        id=new_id(),
        kind="case",
        state="requested",
        number=case_number(case),
        statement=relation.strip(),
        opened_by=person.id,
        opened_at=now,
        bulk_reason=f"import: {origin}",
        package=package,
    )
    in_own_words("relation", relation)
    with central.database.write() as tx:
        exemptions.add(central, tx, row)
        _record(central, tx, Event.LINK_REQUESTED, person, row, now)
    return row


def approve(central: Central, person: Person, link: str, reason: str) -> Exemption:
    """Exempt the reads of a request that still live; by a different person than asked.

    Raises:
        RefusedError: the role, the requester himself, a decided request, or no read left.
    """
    now = central.clock()
    people.require(person, Act.LINK_DECIDE, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        row = _requested(central, tx, link)
        not_own(row.opened_by, person.id, "approves a request")
        left = _living(tx, row.reads, now)
        keys = exemptions.current_keys(central, tx, left)
        if not keys and not row.package:
            raise RefusedError("no read of this request is left", reason="too_late")
        row = row.model_copy(
            update={
                "state": "active",
                "decided_by": person.id,
                "decided_at": now,
                "decision": reason.strip(),
                "due": now + REVIEW_AFTER,
            }
        )
        exemptions.replace(central, tx, row)
        exemptions.take_in(central, tx, row.id, keys)
        exemptions.classify(tx, keys)
        day = now.astimezone(central.config.zone()).date()
        logbook.add_correction(
            central,
            tx,
            now,
            "linked",
            note=f"{len(keys)} read(s) collected earlier became active investigative data on {day}",
            figures={"active_investigative": len(keys)},
        )
        _record(central, tx, Event.LINK_APPROVED, person, row, now, reads=sorted(keys))
    return row


def refuse(central: Central, person: Person, link: str, reason: str) -> Exemption:
    """Turn a request down; its reads keep their 60 days.

    Raises:
        RefusedError: the role, or a decided request.
    """
    now = central.clock()
    people.require(person, Act.LINK_DECIDE, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        row = _requested(central, tx, link).model_copy(
            update={
                "state": "refused",
                "decided_by": person.id,
                "decided_at": now,
                "decision": reason.strip(),
            }
        )
        exemptions.replace(central, tx, row)
        _record(central, tx, Event.LINK_REFUSED, person, row, now)
    return row


def review(
    central: Central, person: Person, link: str, reason: str, until: datetime | None = None
) -> Exemption:
    """State that the investigation is still active; the next review date, 90 days by default.

    Raises:
        RefusedError: the role, the requester of the link himself, or a link that is not active.
        InputError: a date that has passed or is too far.
    """
    now = central.clock()
    people.require(person, Act.LINK_DECIDE, now)
    in_own_words("reason", reason)
    until = until or now + REVIEW_AFTER
    if not now < until <= now + LONGEST_REVIEW:
        raise InputError(f"the next review is within {LONGEST_REVIEW.days} days")
    with central.database.write() as tx:
        row = _in_state(central, tx, link, "active")
        not_own(row.opened_by, person.id, "reviews a link")
        said = f"{now:%Y-%m-%dT%H:%MZ} {person.id}: {reason.strip()}"
        row = row.model_copy(
            update={"due": until, "overdue_told": False, "reviews": (*row.reviews, said)}
        )
        exemptions.replace(central, tx, row)
        _record(central, tx, Event.LINK_REVIEWED, person, row, now)
    return row


def inactive(central: Central, person: Person, link: str, outcome: str) -> Exemption:
    """The investigation is no longer active: the retention schedule governs (R-460.5-5b).

    Raises:
        RefusedError: the role, or a link that is not active.
        InputError: no such outcome.
    """
    now = central.clock()
    people.require(person, Act.LINK_DECIDE, now)
    if outcome not in OUTCOMES:
        raise InputError(f"unknown outcome {outcome!r}", remedy=f"one of {', '.join(OUTCOMES)}")
    with central.database.write() as tx:
        row = _in_state(central, tx, link, "active")
        item = schedule.period(tx, schedule.INACTIVE)
        state: dict[str, Any] = {"outcome": outcome, "overdue_told": False}
        if item is None:
            state |= {"state": "inactive", "due": now + DECIDE_WITHIN}
        else:
            state |= {"state": "schedule", "due": None, "ends": now + item[0], "citation": item[1]}
        row = row.model_copy(update=state)
        exemptions.replace(central, tx, row)
        _reclassify(tx, row)
        _record(central, tx, Event.LINK_INACTIVE, person, row, now, outcome=outcome)
    return row


def put_on_schedule(
    central: Central, person: Person, link: str, citation: str, ends: datetime
) -> Exemption:
    """Decide on an inactive link: kept until ``ends`` under an item of the schedule.

    Raises:
        RefusedError: the role, or a link that is not inactive.
        InputError: no citation, or an end that has passed.
    """
    now = central.clock()
    people.require(person, Act.LINK_DECIDE, now)
    citation = " ".join(citation.split())
    if len(citation) < 3:
        raise InputError("the schedule's citation is missing")
    if ends <= now:
        raise InputError("the end has passed", remedy="release the link instead")
    with central.database.write() as tx:
        row = _in_state(central, tx, link, "inactive").model_copy(
            update={"state": "schedule", "due": None, "ends": ends, "citation": citation}
        )
        exemptions.replace(central, tx, row)
        _record(central, tx, Event.LINK_SCHEDULED, person, row, now, citation=citation)
    return row


def release(central: Central, person: Person, link: str, reason: str) -> Exemption:
    """End a link (made in error, or inactive and decided to destroy): schedule or destruction.

    Raises:
        RefusedError: the role, or a link that is not live.
    """
    now = central.clock()
    people.require(person, Act.LINK_DECIDE, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        row = _in_state(central, tx, link, *exemptions.LIVE)
        return exemptions.release(central, tx, row, people.actor(person), reason.strip(), now)


def case_number(text: str) -> str:
    """A case, complaint or incident number in capitals.

    Raises:
        InputError: not of its form.
    """
    number = text.strip().upper()
    if not NUMBER.match(number):
        raise InputError(
            "the case or complaint number is missing or not of its form",
            remedy="give a number such as 26001234",
        )
    return number


def _session(tx: Connection, session: str, now: datetime) -> list[str]:
    table = db.reads
    return list(
        tx.scalars(select(table.c.id).where(table.c.session == session, table.c.destroy_by > now))
    )


def _living(tx: Connection, names: Sequence[str], now: datetime) -> list[str]:
    """Those that are not past their life, or that another exemption keeps."""
    table = db.reads
    found: list[str] = []
    for start in range(0, len(names), _CHUNK):
        alive = (table.c.destroy_by > now) | table.c.id.in_(exemptions.exempted())
        part = table.c.id.in_(names[start : start + _CHUNK])
        found += tx.scalars(select(table.c.id).where(part, alive))
    return found


def _check(tx: Connection, names: Sequence[str], now: datetime) -> None:
    missing = set(names) - set(_living(tx, names, now))
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} reads are not stored, such as {min(missing)}",
            remedy="take the ids from a documented search",
        )


def _requested(central: Central, tx: Connection, link: str) -> Exemption:
    return _in_state(central, tx, link, "requested")


def _in_state(central: Central, tx: Connection, link: str, *states: str) -> Exemption:
    row = exemptions.find(central, tx, link, "case")
    if row.state not in states:
        raise RefusedError(f"the link is {row.state}", reason="wrong_state")
    return row


def _reclassify(tx: Connection, row: Exemption) -> None:
    mine = select(db.exempted.c.read).where(db.exempted.c.exemption == row.id)
    exemptions.classify(tx, list(tx.scalars(mine)))


def _record(
    central: Central,
    tx: Connection,
    event: Event,
    person: Person,
    row: Exemption,
    now: datetime,
    *,
    reads: Sequence[str] = (),
    **detail: str,
) -> None:
    central.trail.record(
        tx,
        event,
        people.actor(person),
        at=now,
        subjects=[row.id, *reads],
        detail={"case": row.number, "reads": len(reads or row.reads), **detail},
    )
