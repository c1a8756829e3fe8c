"""Misuse referrals: a person's access is frozen, and lifted again (R-460.6-f).

A freeze ends the person's pages at central in the same transaction, and reaches the cars with the
next roster, where it also ends a running sign-on. It stays with the id until it is lifted: neither
a new entry of the person nor a retirement undoes it. The referral's number stands in the trail;
reasons are free text, so they stand in the table alone (R-AT-4).
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from alprd.audit import Actor
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, not_own
from alprd.central.staff.permissions import roles as roles_of
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import new_id

_NUMBER: Final = re.compile(r"(?=.*\d)[A-Za-z0-9][A-Za-z0-9./-]{2,31}")
_MAX_REASON: Final = 500


def acting(central: Central, by: str, act: Act, about: str) -> Actor:
    """Who acts: a known person with the role, live training and authorisation, not on themselves.

    Raises:
        RefusedError: ``unknown_person``, ``same_person``, or as
            :func:`alprd.central.staff.people.require`.
    """
    with central.database.read() as tx:
        found = people.find(tx, by)
    if found is None:
        needed = " or ".join(sorted(roles_of(act)))
        raise RefusedError(
            "this is done by a known person",
            reason="unknown_person",
            remedy=f"give the id of one with the role {needed} with --by",
        )
    people.require(found, act, central.clock())
    not_own(about, found.id, "handles a referral")
    return people.actor(found)


def freeze(central: Central, person_id: str, *, reason: str, referral: str, by: str) -> str:
    """Freeze a person's access at once; the id of the freeze.

    Args:
        referral: number under which the agency looks into it.
        by: id of the sheriff or the administration supervisor.

    Raises:
        InputError: nobody of this id, no reason, no number, or frozen already.
        RefusedError: see :func:`acting`.
    """
    actor = acting(central, by, Act.PERSON_FREEZE, person_id)
    reason = _reason(reason)
    if not _NUMBER.fullmatch(referral):
        raise InputError(
            "the referral's number is missing or no number",
            remedy="give 3 to 32 letters, digits and . / - with a digit among them",
        )
    now, made = central.clock(), new_id()
    with central.database.write() as tx:
        if people.find(tx, person_id) is None:
            raise InputError(
                f"nobody has the id {person_id}", remedy="see alprd-central people list"
            )
        if _open(tx, person_id) is not None:
            raise InputError(f"{person_id} is frozen already")
        tx.execute(
            insert(db.freezes).values(
                id=made, person=person_id, referral=referral, reason=reason,
                frozen_at=now, frozen_by=actor.id,
            )
        )  # fmt: skip
        _mark(tx, person_id, frozen=True)
        tx.execute(delete(db.web_sessions).where(db.web_sessions.c.person == person_id))
        central.trail.record(
            tx, Event.PERSON_FROZEN, actor, at=now, subjects=[person_id, made],
            detail={"referral": referral},
        )  # fmt: skip
    return made


def lift(central: Central, person_id: str, *, reason: str, by: str) -> None:
    """End a freeze; the person signs on again, in the cars with the next roster.

    Raises:
        InputError: not frozen, or no reason.
        RefusedError: see :func:`acting`.
    """
    actor = acting(central, by, Act.PERSON_FREEZE, person_id)
    reason = _reason(reason)
    now = central.clock()
    with central.database.write() as tx:
        found = _open(tx, person_id)
        if found is None:
            raise InputError(f"{person_id} is not frozen")
        tx.execute(
            update(db.freezes)
            .where(db.freezes.c.id == found.id)
            .values(lifted_at=now, lifted_by=actor.id, lift_reason=reason)
        )
        _mark(tx, person_id, frozen=False)
        central.trail.record(
            tx, Event.PERSON_UNFROZEN, actor, at=now, subjects=[person_id, found.id],
            detail={"referral": found.referral},
        )  # fmt: skip


def _reason(text: str) -> str:
    text = text.strip()
    if not text or len(text) > _MAX_REASON:
        raise InputError(f"the reason is missing or longer than {_MAX_REASON} characters")
    return text


def _open(tx: Connection, person_id: str) -> Any:
    table = db.freezes
    return tx.execute(
        select(table).where(table.c.person == person_id, table.c.lifted_at.is_(None))
    ).one_or_none()


def _mark(tx: Connection, person_id: str, *, frozen: bool) -> None:
    person = people.find(tx, person_id)
    if person is None:  # retired meanwhile: a later entry of the id finds the freeze
        return
    changed = person.model_copy(update={"frozen": frozen})
    tx.execute(
        update(db.people)
        .where(db.people.c.id == person_id)
        .values(document=changed.model_dump_json())
    )
