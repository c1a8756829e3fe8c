"""Additional entries: plates of an active criminal investigation, beside the state's list.

Only where needed for and related to the investigation (R-460.4.1-b2): plate, case number, offence,
relation, requester, approval by a different person, start, end. A *monitoring* entry, which follows
a plate instead of stopping it, needs a search warrant or exigent circumstances besides
(R-460.4.1-c). Purpose never stands in for any of them (R-460.3-2).

The entries in force are a list of their own, ``additional``, published like any other. Each entry
carries its end, so it stops matching in a car that never hears from us again. The register keeps
every request with who asked, approved, refused, revoked and why; what a person typed lies sealed.
A plate under address confidentiality is treated like any other here (T-12): the answer tells
nothing about requests of that kind (R-460.5-b4).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select, update

from alprd.central.hotlists.entry import Entry, Request, check, effective_end, in_own_words
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may, not_own
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import mac, seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import hour_floor, new_id
from alprd.wire import Hotlist, HotlistEntry, Person

LIST_ID: Final = "additional"
SOURCE: Final = "additional"
"""Name of the source in the policy's allow-list and in the public log."""
_PURPOSE: Final = "additional entries"


def default_end(central: Central, starts: datetime) -> datetime:
    """The end of an entry for which the requester gives none."""
    return starts + timedelta(days=central.config.additional.default_days)


def ask(central: Central, person: Person, request: Request) -> Entry:
    """Enter a request; nothing matches before a different person approves it.

    Raises:
        RefusedError: the role, a missing or insufficient statement, or a life that is too long;
            recorded without the plate.
    """
    now = central.clock()
    people.require(person, Act.ENTRY_ASK, now)
    request = request.model_copy(update={"case": request.case.strip().upper()})
    check(central, person, request, now)
    entry = Entry(
        id=new_id(),
        state="requested",
        request=request,
        effective_end=effective_end(central, request),
        requested_by=person.id,
        requested_at=now,
    )
    with central.database.write() as tx:
        tx.execute(
            insert(db.additional).values(
                id=entry.id,
                state=entry.state,
                requested_at=now,
                requested_by=person.id,
                changed_at=now,
                sealed=_seal(central, entry),
            )
        )
        central.trail.record(
            tx,
            Event.ENTRY_REQUESTED,
            people.actor(person),
            at=now,
            subjects=[entry.id],
            detail={
                "case": request.case,
                "kind": request.kind,
                "purpose": request.purpose,
                "ends": entry.effective_end.isoformat(timespec="seconds"),
            },
            terms=request.plate,
        )
    return entry


def approve(central: Central, person: Person, entry_id: str, reason: str) -> Entry:
    """Let an entry match from its start on; by a different person than asked for it.

    Raises:
        RefusedError: the role, the requester himself, a request that is decided or lapsed, or a
            policy that does not allow additional entries.
    """
    now = central.clock()
    people.require(person, Act.ENTRY_APPROVE, now)
    in_own_words("reason", reason)
    if SOURCE not in central.config.policy.sources:
        raise RefusedError(
            f"the signed policy does not allow the source {SOURCE!r}",
            reason="source_not_allowed",
            remedy=f"add {SOURCE!r} to sources in [policy] of central.toml (R-460.4.1-b)",
        )
    with central.database.write() as tx:
        entry = _undecided(central, tx, entry_id)
        not_own(
            entry.requested_by,
            person.id,
            "approves a request",
            remedy="another administration supervisor decides (R-460.4.1-b2)",
        )
        if entry.effective_end <= now:
            raise RefusedError(
                "the request's end has passed", reason="lapsed", remedy="ask for it anew"
            )
        entry = entry.model_copy(
            update={
                "state": "approved",
                "decided_by": person.id,
                "decided_at": now,
                "decision": reason.strip(),
            }
        )
        _keep(central, tx, entry, person, Event.ENTRY_APPROVED, now)
    return entry


def refuse(central: Central, person: Person, entry_id: str, reason: str) -> Entry:
    """Turn a request down.

    Raises:
        RefusedError: the role, or a request that is decided.
    """
    now = central.clock()
    people.require(person, Act.ENTRY_APPROVE, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        entry = _undecided(central, tx, entry_id).model_copy(
            update={
                "state": "refused",
                "decided_by": person.id,
                "decided_at": now,
                "decision": reason.strip(),
            }
        )
        _keep(central, tx, entry, person, Event.ENTRY_REFUSED, now)
    return entry


def revoke(central: Central, person: Person, entry_id: str, reason: str) -> Entry:
    """End an entry before its time; cars learn of it at their next contact.

    Raises:
        RefusedError: neither the requester nor an administration supervisor, or it is over.
    """
    now = central.clock()
    people.require(person, Act.ENTRY_ASK, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        entry = find(central, tx, entry_id)
        if entry.requested_by != person.id and not may(person, Act.ENTRY_APPROVE):
            raise RefusedError("the entry is another person's", reason="wrong_role")
        if entry.stands(now) not in {"requested", "approved", "in force"}:
            raise RefusedError("the entry is over already", reason="over")
        return _revoke(central, tx, entry, person, reason, now)


def close_case(central: Central, person: Person, case: str, reason: str) -> tuple[Entry, ...]:
    """End every entry of a case that is closed (R-460.4.1-b2); those that were ended.

    Raises:
        RefusedError: the role.
        InputError: no entry of that case is open.
    """
    now, case = central.clock(), case.strip().upper()
    people.require(person, Act.ENTRY_APPROVE, now)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        ended = tuple(
            _revoke(central, tx, entry, person, reason, now)
            for entry in list(entries(central, tx))
            if entry.request.case == case
            and entry.stands(now) in {"requested", "approved", "in force"}
        )
    if not ended:
        raise InputError("no entry of this case is open", remedy="see `additional list`")
    return ended


def review(central: Central, person: Person, entry_id: str, text: str) -> Entry:
    """Write the review that exigent circumstances need afterwards (R-460.4.1-c).

    Raises:
        RefusedError: the role, the requester himself, or no exigent circumstances to review.
    """
    now = central.clock()
    people.require(person, Act.ENTRY_REVIEW, now)
    in_own_words("review", text)
    with central.database.write() as tx:
        entry = find(central, tx, entry_id)
        not_own(entry.requested_by, person.id, "reviews a request")
        if not entry.review_due(now):
            raise RefusedError("no review is due for this entry", reason="no_review_due")
        entry = entry.model_copy(
            update={"reviewed_by": person.id, "reviewed_at": now, "review": text.strip()}
        )
        _keep(central, tx, entry, person, Event.ENTRY_REVIEWED, now)
    return entry


def register(central: Central, person: Person) -> tuple[Entry, ...]:
    """The register, newest first, as far as the person may see it; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.ENTRY_REGISTER, now, Act.ENTRY_ASK)
    whole = may(person, Act.ENTRY_REGISTER)
    with central.database.write() as tx:
        seen = tuple(
            entry for entry in entries(central, tx) if whole or entry.requested_by == person.id
        )
        central.trail.record(
            tx,
            Event.ENTRIES_VIEWED,
            people.actor(person),
            at=now,
            detail={"entries": len(seen), "whole": whole},
        )
    return seen[::-1]


def entries(central: Central, tx: Connection) -> Iterator[Entry]:
    """Every entry of the register, oldest first."""
    key, table = _key(central), db.additional
    for row in tx.execute(select(table).order_by(table.c.requested_at, table.c.id)):
        yield Entry.model_validate_json(unseal(key, row.sealed, _aad(row.id)))


def find(central: Central, tx: Connection, entry_id: str) -> Entry:
    """An entry by id.

    Raises:
        InputError: there is none.
    """
    table = db.additional
    sealed = tx.scalar(select(table.c.sealed).where(table.c.id == entry_id))
    if sealed is None:
        raise InputError(
            "there is no additional entry with this id",
            remedy="see `alprd-central additional list`",
        )
    return Entry.model_validate_json(unseal(_key(central), sealed, _aad(entry_id)))


def hotlist(central: Central, tx: Connection) -> tuple[Hotlist, tuple[HotlistEntry, ...]] | None:
    """The list to publish: the entries in force, with their ends; ``None`` when there is none.

    Its time of supply is the latest of this hour's start and the last change, so that the list
    never grows stale while central publishes, and does not change within the hour by itself.
    """
    if SOURCE not in central.config.policy.sources:
        return None
    now = central.clock()
    live = [entry for entry in entries(central, tx) if entry.stands(now) == "in force"]
    if not live:
        return None
    changes = [entry.decided_at or entry.requested_at for entry in live]
    last = tx.scalar(select(db.additional.c.changed_at).order_by(db.additional.c.changed_at.desc()))
    supplied = max(hour_floor(now), *changes, *([last] if last else []))
    supplied = min(supplied, now).replace(microsecond=0)
    made = tuple(_entry(entry) for entry in live)
    tag = mac(
        central.keystore.purpose_key("list entries"),
        b"\n".join(item.model_dump_json().encode() for item in made),
    ).hex()[:6]
    header = Hotlist(
        list_id=LIST_ID,
        source=SOURCE,
        version=f"{supplied:%Y%m%dT%H%M%SZ}.{tag}",
        supplied_at=supplied,
        entries=len(made),
        counts={"active_investigative": len(made)},
    )
    return header, made


def _entry(entry: Entry) -> HotlistEntry:
    """What the car needs for the alert: neither relation nor requester (R-460.4-e)."""
    request = entry.request
    lead = (
        "MONITORING, do not stop on this alone"
        if request.kind == "monitoring"
        else "Active investigation"
    )
    parts = [lead, f"case {request.case}", " ".join(request.alert.split())]
    return HotlistEntry(
        id=entry.id[:16],
        plate=request.plate,
        state=request.state,
        plate_type=request.plate_type,
        category="active_investigative",
        priority="high",
        text="; ".join(part for part in parts if part),
        expires=entry.effective_end,
    )


# --- the register -----------------------------------------------------------------------------


def _undecided(central: Central, tx: Connection, entry_id: str) -> Entry:
    entry = find(central, tx, entry_id)
    if entry.state != "requested":
        raise RefusedError(f"the request is {entry.state} already", reason="decided")
    return entry


def _revoke(
    central: Central, tx: Connection, entry: Entry, person: Person, reason: str, now: datetime
) -> Entry:
    entry = entry.model_copy(
        update={
            "state": "revoked",
            "revoked_by": person.id,
            "revoked_at": now,
            "revocation": reason.strip(),
        }
    )
    _keep(central, tx, entry, person, Event.ENTRY_REVOKED, now)
    return entry


def _keep(
    central: Central, tx: Connection, entry: Entry, person: Person, event: Event, now: datetime
) -> None:
    """Write an entry's new state and its event, together."""
    table = db.additional
    tx.execute(
        update(table)
        .where(table.c.id == entry.id)
        .values(state=entry.state, changed_at=now, sealed=_seal(central, entry))
    )
    central.trail.record(
        tx,
        event,
        people.actor(person),
        at=now,
        subjects=[entry.id],
        detail={"case": entry.request.case, "kind": entry.request.kind},
    )


def _seal(central: Central, entry: Entry) -> bytes:
    return seal(_key(central), entry.model_dump_json().encode(), _aad(entry.id))


def _key(central: Central) -> bytes:
    return central.keystore.purpose_key(_PURPOSE)


def _aad(entry_id: str) -> bytes:
    return f"additional {entry_id}".encode()
