"""A named person's decision about a held import: accept with a reason, or refuse with one.

Acceptance lets pass what the person was shown and nothing else. The file is imported again, with
the category map of now; if something new is wrong with it, it is held anew. What cannot be
accepted are codes without a column of the public log: they are mapped first.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select, update

from alprd.central.hotlists import categories, gate, lists, liststore
from alprd.central.hotlists.entry import in_own_words
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import AlprdError, InputError, RefusedError
from alprd.wire import Person


def still_unmapped(central: Central, held: gate.Held) -> tuple[str, ...]:
    """The codes of a held import that the category map of now still does not know."""
    with central.database.read() as tx:
        columns = categories.load(tx)
    layout = held.candidate.layout
    return tuple(c for c in sorted(held.candidate.unmapped) if columns.column(layout, c) is None)


def accept(central: Central, person: Person, held_id: str, reason: str) -> lists.ImportReport:
    """Use a held list in spite of what was found.

    Returns:
        The report of the import; its ``held`` is set again when something new was found.

    Raises:
        RefusedError: the role, a reason too short, a decision taken before, or unmapped codes.
        InputError, StoreError: the file cannot be imported any more; it keeps waiting.
    """
    now = central.clock()
    people.require(person, Act.LISTS_WORK, now)
    in_own_words("reason", reason)
    with central.database.read() as tx:
        _, held = gate.report(central, tx, held_id)
    unmapped = still_unmapped(central, held)
    if unmapped:
        raise RefusedError(
            f"{len(unmapped)} codes of this list are not mapped to a column of the public log",
            reason="unmapped_codes",
            remedy="map them first with `alprd-central categories set` (R-460.5.1-c5)",
        )
    codes = [finding.code for finding in held.findings if finding.acceptable]
    _decide(central, person, held_id, "accepting", reason, now, Event.LIST_ACCEPTED, codes)
    try:
        report = _import_again(central, person, held_id, held, codes)
    except (AlprdError, OSError):
        _set_state(central, held_id, "waiting")
        raise
    if not report.held:
        _set_state(central, held_id, "activated")
        gate.forget(central, held_id)
    return report


def refuse(central: Central, person: Person, held_id: str, reason: str) -> None:
    """Throw a held list away; its report and the reason stay.

    Raises:
        RefusedError: the role, a reason too short, or a decision taken before.
    """
    now = central.clock()
    people.require(person, Act.LISTS_WORK, now)
    in_own_words("reason", reason)
    with central.database.read() as tx:
        _, held = gate.report(central, tx, held_id)
    codes = [finding.code for finding in held.findings]
    _decide(central, person, held_id, "refused", reason, now, Event.LIST_REFUSED, codes)
    gate.forget(central, held_id)


def remove(central: Central, person: Person, list_id: str, reason: str) -> None:
    """Take a list out of use for good; cars drop it with the next publication.

    Raises:
        RefusedError: the role, or a reason too short.
        InputError: no such list is in use.
    """
    now = central.clock()
    people.require(person, Act.LISTS_WORK, now)
    in_own_words("reason", reason)
    table = db.lists
    with central.database.write() as tx:
        row = tx.execute(select(table).where(table.c.list_id == list_id)).one_or_none()
        if row is None:
            raise InputError(
                f"no list {list_id!r} is in use",
                remedy="see `alprd-central status`",
            )
        tx.execute(delete(table).where(table.c.list_id == list_id))
        central.trail.record(
            tx,
            Event.LIST_REMOVED,
            people.actor(person),
            at=now,
            subjects=[list_id],
            detail={"version": row.version, "entries": row.entries, "reason": reason.strip()},
        )
    liststore.forget(central, row.file)


def _import_again(
    central: Central, person: Person, held_id: str, held: gate.Held, codes: list[gate.Code]
) -> lists.ImportReport:
    """Import the held file from a nameless temporary one, which no crash leaves behind."""
    folder = central.home / gate.FOLDER
    again = dict(held.again)
    if isinstance(again.get("supplied_at"), str):
        again["supplied_at"] = datetime.fromisoformat(again["supplied_at"])
    with os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b") as plain:
        for chunk in gate.file_of(central, held_id):
            plain.write(chunk)
        plain.flush()
        return lists.import_hotlist(
            central,
            Path(f"/proc/self/fd/{plain.fileno()}"),
            actor=people.actor(person),
            accepted=codes,
            **again,
        )


def _decide(
    central: Central,
    person: Person,
    held_id: str,
    state: gate.State,
    reason: str,
    now: datetime,
    event: Event,
    codes: list[gate.Code],
) -> None:
    """The decision and its event, together; two people at once decide only once."""
    table = db.held_lists
    with central.database.write() as tx:
        row, _ = gate.report(central, tx, held_id)
        if row.state not in gate.OPEN:
            raise RefusedError(f"this import is {row.state} already", reason="decided")
        tx.execute(
            update(table)
            .where(table.c.id == held_id)
            .values(state=state, decided_at=now, decided_by=person.id, reason=reason.strip())
        )
        central.trail.record(
            tx,
            event,
            people.actor(person),
            at=now,
            subjects=[row.list_id],
            detail={"held": held_id, "findings": ",".join(codes), "reason": reason.strip()},
        )


def _set_state(central: Central, held_id: str, state: gate.State) -> None:
    table = db.held_lists
    with central.database.write() as tx:
        tx.execute(
            update(table)
            .where(table.c.id == held_id, table.c.state.in_(gate.OPEN))
            .values(state=state)
        )
