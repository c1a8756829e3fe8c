"""A data subject's look-up of the own plate: off until counsel approves (R-460.7-g, T-8).

Records staff verify identity and ownership and ask; a supervisor approves; then one look is made
and recorded as an access of its own kind. It shows instant and place of reads of exactly that plate
and state that have no other reason to be kept: what is linked to an investigation or held is left
out, and so are pictures, which may show others.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select

from alprd.central.exchange import outside
from alprd.central.exchange.outside import Lookup, Outside
from alprd.central.hotlists.entry import in_own_words
from alprd.central.records import exemptions
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, not_own
from alprd.central.storage import db, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import STATES, fold, normalise
from alprd.wire import Person

_MOST: Final = 14


@dataclass(frozen=True, slots=True)
class Seen:
    """One read of the subject's plate: when and where, nothing else."""

    instant: datetime
    lat: float | None
    lon: float | None


def ask(
    central: Central,
    person: Person,
    request: str,
    plate: str,
    state: str,
    identity: str,
    ownership: str,
) -> Outside:
    """Ask for the look-up under a data subject's request.

    Raises:
        RefusedError: access of data subjects is off, the role, or a request of another kind.
        InputError: plate, state, or how identity and ownership were verified is missing.
    """
    now = central.clock()
    people.require(person, Act.SUBJECT_ASK, now)
    outside.subject_access(central)
    text = normalise(plate)
    if not 1 <= len(text) <= _MOST or state not in STATES:
        raise InputError("plate or state is missing", remedy="both stand on the registration")
    in_own_words("identity", identity)
    in_own_words("ownership", ownership)
    with central.database.write() as tx:
        row = outside.find(central, tx, request)
        if row.kind != "data_subject" or row.state != "open":
            raise RefusedError("this is no open request of a data subject", reason="wrong_kind")
        if row.lookup is not None and row.lookup.decision == "approved":
            # Another plate under an approval that was given for the first would go unlooked at.
            raise RefusedError("a look-up is approved already", reason="decided")
        lookup = Lookup(
            plate=text,
            state=state,
            identity=identity.strip()[:500],
            ownership=ownership.strip()[:500],
            asked_by=person.id,
            asked_at=now,
        )
        row = row.model_copy(update={"lookup": lookup})
        outside.replace(central, tx, row)
        central.trail.record(
            tx,
            Event.SUBJECT_ASKED,
            people.actor(person),
            at=now,
            subjects=[row.id],
            terms=text,
        )
    return row


def decide(central: Central, person: Person, request: str, approve: bool, reason: str) -> Outside:
    """Approve or refuse the look-up; by another than who asked.

    Raises:
        RefusedError: off, the role, the person who asked, or nothing waits for a decision.
    """
    now = central.clock()
    people.require(person, Act.SUBJECT_DECIDE, now)
    outside.subject_access(central)
    in_own_words("reason", reason)
    with central.database.write() as tx:
        row, lookup = _lookup(outside.find(central, tx, request))
        if lookup.decision:
            raise RefusedError("the look-up is decided already", reason="decided")
        not_own(lookup.asked_by, person.id, "approves a look-up", remedy="another supervisor does")
        decided = lookup.model_copy(
            update={
                "decision": "approved" if approve else "refused",
                "decided_by": person.id,
                "decided_at": now,
                "reason": reason.strip(),
            }
        )
        row = row.model_copy(update={"lookup": decided})
        outside.replace(central, tx, row)
        event = Event.SUBJECT_APPROVED if approve else Event.SUBJECT_REFUSED
        central.trail.record(tx, event, people.actor(person), at=now, subjects=[row.id])
    return row


def look(central: Central, person: Person, request: str) -> list[Seen]:
    """The reads of the subject's plate, oldest first; recorded before it is shown.

    Raises:
        RefusedError: off, the role, or a look-up that is not approved.
    """
    now = central.clock()
    people.require(person, Act.SUBJECT_ASK, now)
    outside.subject_access(central)
    with central.database.write() as tx:
        row, lookup = _lookup(outside.find(central, tx, request))
        if lookup.decision != "approved" or row.state != "open":
            raise RefusedError("the look-up is not approved", reason="not_approved")
        table, found = db.reads, []
        # One hour after the other: each has its own digests (R-460.5-4b).
        for hour in tx.scalars(select(table.c.hour).distinct().order_by(table.c.hour)).all():
            key = central.keystore.hour_key(hour)
            if key is None:
                continue
            digest = vault.plate_digest(key, fold(lookup.plate))
            rows = tx.execute(
                select(table).where(
                    table.c.hour == hour,
                    table.c.destroy_by > now,
                    table.c.id.not_in(exemptions.exempted()),
                    (table.c.digest0 == digest)
                    | (table.c.digest1 == digest)
                    | (table.c.digest2 == digest),
                )
            ).all()
            keys = central.keystore.open_read_keys((read.id for read in rows), [hour])
            for read in rows:
                cell = vault.open_cell(read, keys[read.id]) if read.id in keys else None
                if cell is not None and _is(cell, lookup):
                    place = cell.position
                    found.append(
                        (
                            read.id,
                            Seen(
                                cell.instant,
                                place.lat if place else None,
                                place.lon if place else None,
                            ),
                        )
                    )
        central.trail.record(
            tx,
            Event.SUBJECT_LOOKED_UP,
            people.actor(person),
            at=now,
            subjects=[row.id, *(name for name, _ in found)],
            detail={"results": len(found)},
            terms=lookup.plate,
        )
    return sorted((seen for _, seen in found), key=lambda seen: seen.instant)


def _is(cell: vault.Cell, lookup: Lookup) -> bool:
    """Exactly that plate and state: a read of another, or of an unknown state, is not the
    subject's for certain, so it is somebody else's data."""
    plate = cell.plate
    forms = (plate.text, plate.text + plate.stacked, plate.stacked + plate.text)
    return lookup.plate in forms and plate.state == lookup.state


def _lookup(row: Outside) -> tuple[Outside, Lookup]:
    if row.lookup is None:
        raise RefusedError("no look-up was asked for under this request", reason="not_asked")
    return row, row.lookup
