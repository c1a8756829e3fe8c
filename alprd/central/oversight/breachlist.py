"""Whom a breach affects: records found through the trail, and the plates that the notice needs.

The plates are the one thing that may outlive the reads, and only until the duty is done
(R-13.055-8, T-9): they lie under a key of their own, which closing the incident destroys.
"""

from __future__ import annotations

import json
from datetime import datetime
from os import urandom
from typing import Any, Final

from sqlalchemy import Connection, select, update

from alprd.central.oversight import breach
from alprd.central.oversight.incident import Affected, Incident
from alprd.central.records import exemptions
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, vault
from alprd.central.storage import incident_tables as tables
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import AuditEvent, Person

_ACCESSES: Final = frozenset(
    {
        Event.SEARCHED.value,
        Event.PICTURE_VIEWED.value,
        Event.EXEMPTION_VIEWED.value,
        Event.RELEASE_VIEWED.value,
        Event.RELEASE_SENT.value,
        Event.SUBJECT_LOOKED_UP.value,
    }
)


def affected(
    central: Central,
    person: Person,
    incident_id: str,
    since: datetime,
    until: datetime,
    *,
    actor: str = "",
    device: str = "",
) -> Incident:
    """Find the records that were accessed, from the trail, and keep the plates for the notice.

    Args:
        actor: id of the person whose accesses are meant; empty for anybody's.
        device: the machine from which; empty for any.

    Raises:
        RefusedError: the role, or an incident that is closed.
        InputError: a window that ends before it begins.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    if until <= since:
        raise InputError("the window ends before it begins")
    with central.database.write() as tx:
        row = breach.live(central, tx, incident_id)
        ids = _accessed(tx, since, until, actor, device)
        found = _open_records(central, tx, ids)
        key = urandom(32)
        # Before the row: a list without its key would be lost, a key without a list harms nobody.
        central.keystore.put_secret(breach.key_name(row.id), key)
        plain = json.dumps(found, separators=(",", ":")).encode()
        told = Affected(
            records=len(ids),
            identified=len(found),
            plates=len({(one["plate"], one["state"]) for one in found}),
            since=since,
            until=until,
            actor=actor,
            device=device,
        )
        row = row.model_copy(update={"affected": told})
        tx.execute(
            update(tables.incidents)
            .where(tables.incidents.c.id == row.id)
            .values(affected=seal(key, plain, breach.aad(row.id)))
        )
        breach.replace(central, tx, row, now)
        breach.record(
            central, tx, Event.INCIDENT_COUNTED, person, row,
            records=told.records, identified=told.identified,
        )  # fmt: skip
    return row


def plates(central: Central, person: Person, incident_id: str) -> list[dict[str, str]]:
    """The plates to notify, with state and local time; the look is recorded.

    Raises:
        RefusedError: the role, or an incident that is closed.
        InputError: no list was made.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    with central.database.write() as tx:
        row = breach.live(central, tx, incident_id)
        sealed = tx.scalar(
            select(tables.incidents.c.affected).where(tables.incidents.c.id == row.id)
        )
        key = central.keystore.find_secret(breach.key_name(row.id))
        if sealed is None or key is None:
            raise InputError("no list of affected records was made", remedy="count them first")
        found: list[dict[str, str]] = json.loads(unseal(key, sealed, breach.aad(row.id)))
        breach.record(central, tx, Event.INCIDENT_PLATES_VIEWED, person, row, plates=len(found))
    return found


def _accessed(
    tx: Connection, since: datetime, until: datetime, actor: str, device: str
) -> list[str]:
    """Record ids that accesses of the window showed."""
    table = db.audit
    query = select(table.c.document).where(
        table.c.at >= since, table.c.at <= until, table.c.event.in_(sorted(_ACCESSES))
    )
    if actor:
        query = query.where(table.c.actor == actor)
    ids: dict[str, None] = {}
    for document in tx.scalars(query.order_by(table.c.seq)):
        event = AuditEvent.model_validate_json(document)
        if not device or event.device == device:
            ids |= dict.fromkeys(event.subjects)
    return list(ids)


def _open_records(central: Central, tx: Connection, ids: list[str]) -> list[dict[str, str]]:
    zone = central.config.zone()
    rows: list[Any] = []
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        rows += tx.execute(select(db.reads).where(db.reads.c.id.in_(part))).all()
    keys = exemptions.current_keys(central, tx, [row.id for row in rows])
    found = []
    for row in rows:
        cell = vault.open_cell(row, keys[row.id]) if row.id in keys else None
        if cell is not None:
            found.append(
                {
                    "plate": cell.plate.text,
                    "state": cell.plate.state or "",
                    "day": cell.instant.astimezone(zone).date().isoformat(),
                }
            )
    return found
