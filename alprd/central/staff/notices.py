"""Notices to the administration supervisor: what the product found and a person must look at.

A notice names ids and codes only, never a plate. It stays open until a supervisor answers it in
writing; nobody answers a notice about himself (requirements, part 0).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from alprd.central.staff import people
from alprd.central.staff.permissions import Act, not_own
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.search_tables import notices
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import new_id
from alprd.wire import Person

TEXTS: Final = {
    "search_stopped": "a search stopped for a legal basis",
    "warrant_entered": "a warrant for searches was entered",
    "exigency_asked": "exigent circumstances wait for a decision",
    "exigency_review": "exigent circumstances wait for their written review",
    "anchor_failed": "the daily anchor of the trail could not be written",
    "trail_broken": "the trail does not fit its anchors",
    "report_due": "a weekly exception report waits for its sign-off",
    "sample_due": "a monthly sample of reasons waits for its review",
    "chain_break": "a chain of the trail is broken",
    "unknown_device": "a device that is not known asked for enrolment",
    "sign_on_failures": "many failed sign-ons of one person",
    "off_hours_export": "an export outside office hours",
    "lost_car": "a car was not heard of for so long that it may be lost",
    "bulk_view": "one person saw many records within an hour",
    "credential_reset": "the reset of a supervisor's credential waits for a second person",
}
_PURPOSE: Final = "notices"


def add(
    tx: Connection, kind: str, *, at: datetime, about: str = "", subject: str = "", detail: str = ""
) -> str:
    """Enter a notice in the transaction of what it is about; its id.

    Args:
        about: id of the person whose act it is.
        subject: id or number of the thing to look at.
    """
    made = new_id()
    tx.execute(
        insert(notices).values(
            id=made, at=at, kind=kind, about=about, subject=subject, detail=detail[:200]
        )
    )
    return made


def add_once(
    tx: Connection, kind: str, *, at: datetime, about: str = "", subject: str, detail: str = ""
) -> bool:
    """Enter a notice unless one of this kind and subject is there, open or answered; if it was."""
    same = (notices.c.kind == kind) & (notices.c.subject == subject)
    if tx.execute(select(notices.c.id).where(same).limit(1)).first() is not None:
        return False
    add(tx, kind, at=at, about=about, subject=subject, detail=detail)
    return True


def count_open(tx: Connection) -> int:
    """How many wait."""
    return len(tx.execute(select(notices.c.id).where(notices.c.done_at.is_(None))).all())


def waiting(central: Central, person: Person, *, answered: bool = False) -> list[dict[str, Any]]:
    """The open notices, newest first, or all; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.NOTICES, now)
    query = select(notices).order_by(notices.c.at.desc(), notices.c.id)
    if not answered:
        query = query.where(notices.c.done_at.is_(None))
    with central.database.write() as tx:
        rows = tx.execute(query).all()
        central.trail.record(
            tx, Event.NOTICES_VIEWED, people.actor(person), at=now, detail={"notices": len(rows)}
        )
    return [
        {
            "id": row.id,
            "at": row.at,
            "kind": row.kind,
            "text": TEXTS.get(row.kind, row.kind),
            "about": row.about,
            "subject": row.subject,
            "detail": row.detail,
            "done_at": row.done_at,
            "done_by": row.done_by,
            "answer": _open(central, row.id, row.sealed) if row.sealed else "",
        }
        for row in rows
    ]


def answer(central: Central, person: Person, notice: str, text: str) -> None:
    """Close a notice with what was found.

    Raises:
        RefusedError: the role, one's own notice, or one that is answered.
        InputError: no such notice, or no text.
    """
    now = central.clock()
    people.require(person, Act.NOTICES, now)
    if len(text.strip()) < 3:
        raise InputError("the answer is missing", remedy="write what was found and done")
    with central.database.write() as tx:
        row = tx.execute(select(notices).where(notices.c.id == notice)).one_or_none()
        if row is None:
            raise InputError("there is no notice with this id", remedy="see the list of notices")
        if row.done_at is not None:
            raise RefusedError("the notice is answered already", reason="answered")
        not_own(row.about, person.id, "answers a notice", remedy="another supervisor answers it")
        sealed = seal(_key(central), text.strip()[:2000].encode(), _aad(notice))
        tx.execute(
            update(notices)
            .where(notices.c.id == notice)
            .values(done_at=now, done_by=person.id, sealed=sealed)
        )
        central.trail.record(
            tx,
            Event.NOTICE_ANSWERED,
            people.actor(person),
            at=now,
            subjects=[notice],
            detail={"kind": row.kind},
        )


def _open(central: Central, notice: str, sealed: bytes) -> str:
    return unseal(_key(central), sealed, _aad(notice)).decode()


def _key(central: Central) -> bytes:
    return central.keystore.purpose_key(_PURPOSE)


def _aad(notice: str) -> bytes:
    return f"notice {notice}".encode()
