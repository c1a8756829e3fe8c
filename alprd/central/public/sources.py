"""Sources whose very existence is not public: the only ones the public log leaves unnamed.

Policy 460.5.1(b) speaks of public databases, the statute of all whose existence is public; every
source is named unless the administration supervisor flagged it with a legal citation (T-15). The
log then says that a source is withheld, and under what law. Flag and end are in the trail.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.audit import Event
from alprd.central.storage.public_tables import hidden_sources
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.records import new_id
from alprd.wire import Person

_LEAST: Final = 5


def hidden(tx: Connection) -> dict[str, str]:
    """Citation by flagged source, its name in lower case."""
    table = hidden_sources
    query = select(table.c.source, table.c.citation).where(table.c.lifted_at.is_(None))
    return {row.source.casefold(): row.citation for row in tx.execute(query)}


def cited(citation: str) -> str:
    """A legal citation as it is kept.

    Raises:
        InputError: too short to be one, without a number, or longer than 200 characters.
    """
    citation = " ".join(citation.split())
    if not _LEAST <= len(citation) <= 200 or not any(c.isdigit() for c in citation):
        raise InputError(
            "the legal citation is missing or not one", remedy="such as 'Minn. Stat. § 13.82 s. 7'"
        )
    return citation


def flag(central: Central, person: Person, source: str, citation: str) -> None:
    """Leave a source unnamed in the public log from now on.

    Raises:
        RefusedError: the role.
        InputError: no source, no citation, or flagged already.
    """
    now = central.clock()
    people.require(person, Act.SOURCE_HIDE, now)
    source, citation = source.strip(), cited(citation)
    if not 1 <= len(source) <= 64:
        raise InputError("the source is missing or longer than 64 characters")
    table = hidden_sources
    with central.database.write() as tx:
        if source.casefold() in hidden(tx):
            raise InputError(f"{source} is flagged already")
        tx.execute(
            insert(table).values(
                id=new_id(), source=source, citation=citation, flagged_by=person.id, flagged_at=now
            )
        )
        central.trail.record(
            tx,
            Event.SOURCE_HIDDEN,
            people.actor(person),
            at=now,
            detail={"source": source, "citation": citation},
        )


def lift(central: Central, person: Person, source: str) -> None:
    """Name a source again, in every row.

    Raises:
        RefusedError: the role.
        InputError: it is not flagged.
    """
    now = central.clock()
    people.require(person, Act.SOURCE_HIDE, now)
    table = hidden_sources
    with central.database.write() as tx:
        if source.strip().casefold() not in hidden(tx):
            raise InputError(f"{source} is not flagged")
        for row in tx.execute(select(table).where(table.c.lifted_at.is_(None))).all():
            if row.source.casefold() == source.strip().casefold():
                tx.execute(
                    update(table)
                    .where(table.c.id == row.id)
                    .values(lifted_by=person.id, lifted_at=now)
                )
        central.trail.record(
            tx,
            Event.SOURCE_SHOWN,
            people.actor(person),
            at=now,
            detail={"source": source.strip()},
        )


def listing(central: Central) -> list[dict[str, Any]]:
    """Every flag, also those that ended."""
    with central.database.read() as tx:
        rows = tx.execute(select(hidden_sources).order_by(hidden_sources.c.flagged_at)).all()
    return [dict(row._mapping) for row in rows]
