"""Credentials of the sheriff and of supervisors: no one person resets them (R-CJIS-2, R-460.6-0).

Whoever holds a supervisor's password and second factor could otherwise make himself the sheriff,
sign his own authorisation and approve his own requests. For these people a new password or second
factor, another role, or the end of the account is asked for by one person and approved by another;
neither is the person whom it is about. It lives 24 h.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, insert, select, update

from alprd import totp, verifiers
from alprd.central.staff import accounts, notices, people
from alprd.central.staff.permissions import ROLES, Act, not_own
from alprd.central.storage.audit import Event
from alprd.central.storage.credential_tables import credential_resets
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Utc, new_id
from alprd.wire import Person

LIFE: Final = timedelta(hours=24)
Kind = Literal["password", "totp", "totp-off", "roles", "retire"]
State = Literal["asked", "approved", "refused"]
_PURPOSE: Final = "credential resets"


class Reset(Closed):
    """One request; what comes into force is sealed and never shown."""

    id: str
    person: str
    kind: Kind
    state: State
    asked_by: str
    asked_at: Utc
    ends: Utc
    reason: str
    roles: tuple[str, ...] = ()
    verifier: str = ""
    secret: str = ""
    decided_by: str = ""
    decided_at: Utc | None = None

    def stands(self, now: datetime) -> str:
        """Its state, ``lapsed`` for one that nobody decided in time."""
        return "lapsed" if self.state == "asked" and now >= self.ends else self.state

    def shown(self) -> dict[str, Any]:
        """For lists: without verifier and secret."""
        return self.model_dump(exclude={"verifier", "secret"})


def ask(
    central: Central,
    person: Person,
    about: str,
    kind: Kind,
    reason: str,
    *,
    password: str = "",
    roles: Sequence[str] = (),
    scheme: verifiers.Scheme = "argon2id",
) -> tuple[Reset, str]:
    """Ask for a reset; with a new second factor its ``otpauth://`` address, to be shown once.

    Nothing changes before another person approves it.

    Raises:
        RefusedError: the role; or one person does it alone for whom it is about.
        InputError: nobody of this id, no reason, a short password, or roles that cannot be.
    """
    now = central.clock()
    people.require(person, Act.PEOPLE_CHANGE, now)
    if not 5 <= len(reason.strip()) <= 500:
        raise InputError("the reason is missing, or longer than 500 characters")
    if kind == "password" and len(password) < people.MIN_PASSWORD:
        raise InputError(f"password is shorter than {people.MIN_PASSWORD} characters")
    if kind == "roles" and (not roles or not set(roles) <= set(ROLES)):
        raise InputError("the roles are missing or unknown", remedy=f"of {', '.join(ROLES)}")
    secret = totp.new_secret() if kind == "totp" else ""
    with central.database.write() as tx:
        found = people.find(tx, about)
        if found is None:
            raise InputError(f"nobody has the id {about}", remedy="see alprd-central people list")
        if not accounts.guarded(found):
            raise RefusedError(
                "this person's credentials are reset by one supervisor", reason="not_guarded"
            )
        made = Reset(
            id=new_id(),
            person=about,
            kind=kind,
            state="asked",
            asked_by=person.id,
            asked_at=now,
            ends=now + LIFE,
            reason=reason.strip(),
            roles=tuple(roles),
            verifier=verifiers.make(password, scheme) if kind == "password" else "",
            secret=secret,
        )
        tx.execute(
            insert(credential_resets).values(
                id=made.id,
                person=about,
                kind=kind,
                asked_at=now,
                asked_by=person.id,
                ends_at=made.ends,
                state=made.state,
                sealed=_seal(central, made),
            )
        )
        notices.add(tx, "credential_reset", at=now, about=person.id, subject=made.id)
        central.trail.record(
            tx,
            Event.RESET_ASKED,
            people.actor(person),
            at=now,
            subjects=[about, made.id],
            detail={"kind": kind},
        )
    uri = totp.uri(secret, agency=central.config.agency, person=about) if secret else ""
    return made, uri


def decide(central: Central, person: Person, reset: str, *, approve: bool) -> Reset:
    """Approve or refuse a reset; the change, the end of open pages and the trail go together.

    Raises:
        RefusedError: the role, whoever asked, whom it is about, or one that is over.
        InputError: no such request.
    """
    now = central.clock()
    people.require(person, Act.CREDENTIAL_DECIDE, now)
    actor = people.actor(person)
    with central.database.write() as tx:
        row = _find(central, tx, reset)
        if row.stands(now) != "asked":
            raise RefusedError(f"the request is {row.stands(now)}", reason="over")
        not_own(row.asked_by, person.id, "approves a reset", remedy="a second person does it")
        not_own(row.person, person.id, "approves a reset", remedy="another person does it")
        row = row.model_copy(
            update={
                "state": "approved" if approve else "refused",
                "decided_by": person.id,
                "decided_at": now,
            }
        )
        tx.execute(
            update(credential_resets)
            .where(credential_resets.c.id == row.id)
            .values(
                state=row.state,
                decided_at=now,
                decided_by=person.id,
                # The new verifier or secret is kept in the account alone.
                sealed=_seal(central, row.model_copy(update={"verifier": "", "secret": ""})),
            )
        )
        if approve and row.kind == "retire":
            accounts.retire_in(central, tx, row.person, actor, now)
        elif approve:
            changes = _changes(row)
            accounts.put_in(central, tx, row.person, changes, actor, now, {"reset": row.id})
        central.trail.record(
            tx,
            Event.RESET_DECIDED,
            actor,
            at=now,
            subjects=[row.person, row.id],
            detail={"kind": row.kind, "state": row.state, "asked_by": row.asked_by},
        )
    return row


def listing(central: Central, person: Person) -> list[Reset]:
    """Every request, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.CREDENTIAL_DECIDE, now)
    table = credential_resets
    with central.database.write() as tx:
        rows = tx.execute(select(table).order_by(table.c.asked_at.desc(), table.c.id)).all()
        central.trail.record(
            tx, Event.RESETS_VIEWED, people.actor(person), at=now, detail={"rows": len(rows)}
        )
    return [_open(central, row.id, row.sealed) for row in rows]


def _changes(row: Reset) -> dict[str, Any]:
    if row.kind == "password":
        return {"verifier": row.verifier}
    if row.kind == "roles":
        return {"roles": row.roles}
    return {"totp": row.secret}  # empty: the second factor is switched off


def _find(central: Central, tx: Connection, reset: str) -> Reset:
    table = credential_resets
    sealed = tx.scalar(select(table.c.sealed).where(table.c.id == reset))
    if sealed is None:
        raise InputError("there is no reset with this id", remedy="see alprd-central people resets")
    return _open(central, reset, sealed)


def _open(central: Central, reset: str, sealed: bytes) -> Reset:
    key = central.keystore.purpose_key(_PURPOSE)
    return Reset.model_validate_json(unseal(key, sealed, f"reset {reset}".encode()))


def _seal(central: Central, row: Reset) -> bytes:
    key = central.keystore.purpose_key(_PURPOSE)
    return seal(key, row.model_dump_json().encode(), f"reset {row.id}".encode())
