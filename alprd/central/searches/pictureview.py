"""Look at the pictures of a read: an access of its own, with its own event (R-13.824-7-2, R-AT-1).

Only who found the read, by a search of his own within the last 12 h, or who may see the reads of a
link or hold, sees its pictures. The event is written before the first byte leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from alprd.central.records import exemptions, protected
from alprd.central.records.exemptions import Kind
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, keeping, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import RefusedError
from alprd.wire import AuditEvent, Person

FRESH: Final = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Pictures:
    """JPEGs of a read; ``wide`` is empty when there is none."""

    plate: bytes
    wide: bytes


def of_search(central: Central, person: Person, search: int, read: str) -> Pictures:
    """Pictures of a result of one's own search.

    Args:
        search: number of the search's event in the trail.

    Raises:
        RefusedError: the role, another person's or an old search, a read that is not its result,
            or one that is gone.
        EnvelopeError: the file was altered.
    """
    now = central.clock()
    people.require(person, Act.SEARCH, now)
    with central.database.write() as tx:
        document = tx.scalar(select(db.audit.c.document).where(db.audit.c.seq == search))
        event = AuditEvent.model_validate_json(document) if document else None
        if (
            event is None
            or event.event != Event.SEARCHED
            or event.actor != person.id
            or event.at <= now - FRESH
            or read not in event.subjects
        ):
            raise RefusedError(
                "the read is not a result of your search",
                reason="not_a_result",
                remedy="search again; pictures open for 12 h after a search",
            )
        row = tx.execute(
            select(db.reads).where(
                db.reads.c.id == read,
                db.reads.c.destroy_by > now,
                db.reads.c.id.not_in(exemptions.held()),
            )
        ).one_or_none()
        key = central.keystore.open_read_keys([read]).get(read)
        cell = vault.open_cell(row, key) if row is not None and key is not None else None
        private = protected.suppressed_folds(central, tx)
        if key is None or cell is None or not private.isdisjoint(vault.folds(cell.plate)):
            raise RefusedError("the read is gone", reason="gone")
        case = str(event.detail.get("case", ""))
        return _show(central, tx, person, read, key, now, {"case": case, "search": search})


def of_exemption(
    central: Central, person: Person, exemption: str, kind: Kind, read: str
) -> Pictures:
    """Pictures of a read that a live link or hold keeps.

    Raises:
        RefusedError: the role, an exemption that is not live, or a read that it does not keep.
        EnvelopeError: the file was altered.
    """
    now = central.clock()
    people.require(person, Act.LINK_READ if kind == "case" else Act.HOLD_PLACE, now)
    with central.database.write() as tx:
        row = exemptions.find(central, tx, exemption, kind)
        key = keeping.open_kept(central.keystore, row.id, [read]).get(read)
        if row.state not in exemptions.LIVE or key is None:
            raise RefusedError(f"the {kind} does not keep this read", reason="not_kept")
        return _show(
            central, tx, person, read, key, now, {"number": row.number, "exemption": row.id}
        )


def _show(
    central: Central,
    tx: Connection,
    person: Person,
    read: str,
    key: bytes,
    now: datetime,
    basis: dict[str, str | int | bool],
) -> Pictures:
    plate, wide = vault.open_pictures(central.objects, read, key)
    central.trail.record(
        tx,
        Event.PICTURE_VIEWED,
        people.actor(person),
        at=now,
        subjects=[read],
        detail=basis | {"pictures": 2 if wide else 1},
    )
    return Pictures(plate, wide)
