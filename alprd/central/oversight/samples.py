"""Samples that an auditor draws: seeded, recorded, repeatable (R-13.824-6-3).

The population is put in an order of its own (by SHA-256 of seed and id), and the first are taken:
the same seed over the same records gives the same sample on any machine, and nobody can choose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, select

from alprd.central.exchange import release
from alprd.central.records import ledger
from alprd.central.staff import memberlog, people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.crypto import sha256_hex
from alprd.errors import InputError
from alprd.wire import AuditEvent, Person

Kind = Literal["ledger", "searches", "releases", "users"]
KINDS: Final = ("ledger", "searches", "releases", "users")
MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn."""

    kind: Kind
    seed: str
    population: int
    population_sha256: str
    """Over the sorted ids: shows that two draws were over the same records."""
    rows: tuple[dict[str, Any], ...]


def draw(
    central: Central,
    person: Person,
    kind: Kind,
    seed: str,
    size: int,
    since: datetime,
    until: datetime,
) -> Sample:
    """Draw a sample of a kind of record of a span of time; the draw is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: unknown kind, no seed, or a size out of range.
    """
    now = central.clock()
    people.require(person, Act.AUDIT_SAMPLE, now)
    if kind not in KINDS:
        raise InputError("this is no kind of sample", remedy=", ".join(KINDS))
    if not 1 <= len(seed) <= 64 or not 1 <= size <= MOST:
        raise InputError(f"a sample needs a seed, and 1 to {MOST} rows")
    sources: dict[str, Callable[[Central, Connection, datetime, datetime], _Rows]] = {
        "ledger": _ledger,
        "searches": _searches,
        "releases": _releases,
        "users": _users,
    }
    with central.database.write() as tx:
        population = sources[kind](central, tx, since, until)
        chosen = order(seed, list(population))[:size]
        sample = Sample(
            kind=kind,
            seed=seed,
            population=len(population),
            population_sha256=sha256_hex("\n".join(sorted(population)).encode()),
            rows=tuple(population[name] for name in chosen),
        )
        central.trail.record(
            tx,
            Event.AUDIT_SAMPLED,
            people.actor(person),
            at=now,
            detail={
                "kind": kind,
                "seed": seed,
                "size": len(sample.rows),
                "population": sample.population,
                "population_sha256": sample.population_sha256,
                "from": since.isoformat(),
                "to": until.isoformat(),
            },
        )
    return sample


def order(seed: str, names: Sequence[str]) -> list[str]:
    """The names in the order that a seed gives them."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}|{name}".encode()).digest())


_Rows = dict[str, dict[str, Any]]


def _ledger(central: Central, tx: Connection, since: datetime, until: datetime) -> _Rows:
    """Days of collection: what was taken in, and when it was destroyed."""
    first, last = since.date().isoformat(), until.date().isoformat()
    gone: dict[str, list[str]] = {}
    for row in tx.execute(select(db.destructions).order_by(db.destructions.c.number)):
        gone.setdefault(row.collection_day, []).append(row.at.isoformat())
    return {
        day.day: {
            "day": day.day,
            "collected": day.collected,
            "destroyed": day.destroyed,
            "kept": day.linked + day.held + day.live,
            "destroyed_at": gone.get(day.day, []),
            "reconciles": day.reconciles,
        }
        for day in ledger.days(tx, first, last)
    }


def _searches(central: Central, tx: Connection, since: datetime, until: datetime) -> _Rows:
    """Searches with reason and case, and the searcher's authorisation and training then."""
    table = db.audit
    documents = tx.scalars(
        select(table.c.document).where(
            table.c.event == Event.SEARCHED.value, table.c.at >= since, table.c.at < until
        )
    ).all()
    found: _Rows = {}
    for document in documents:
        event = AuditEvent.model_validate_json(document)
        found[str(event.seq)] = {
            "event": event.seq,
            "at": event.at.isoformat(),
            "person": event.actor,
            "case": event.detail.get("case", ""),
            "offence": event.detail.get("offence", ""),
            "facts": event.detail.get("facts", ""),
            "suspicion": event.detail.get("suspicion", ""),
            "results": len(event.subjects),
            "standing": _standing(tx, event.actor, event.at),
        }
    return found


def _releases(central: Central, tx: Connection, since: datetime, until: datetime) -> _Rows:
    """Releases with who asked, decided and sent, and why."""
    return {
        row.id: {
            "release": row.id,
            "agency": row.asked.agency,
            "state": row.state,
            "prepared_by": row.prepared_by,
            "prepared_at": row.prepared_at.isoformat(),
            "decided_by": row.decided_by,
            "finding": row.finding,
            "records": len(row.asked.reads),
            "request_sha256": row.request_sha256,
            "package_sha256": row.package_sha256,
        }
        for row in release.every(central, tx)
        if since <= row.prepared_at < until
    }


def _users(central: Central, tx: Connection, since: datetime, until: datetime) -> _Rows:
    """People with roles, and what was on record of them at the end of the span."""
    return {
        one.id: {
            "person": one.id,
            "roles": list(one.roles),
            "standing": _standing(tx, one.id, until),
        }
        for one in people.everyone(tx)
    }


def _standing(tx: Connection, person_id: str, at: datetime) -> list[dict[str, str]]:
    """Training, authorisations, assignments and screening in force at an instant."""
    return [
        {
            "kind": fact.kind,
            "title": fact.title,
            "recorded_by": fact.recorded_by,
            "starts": fact.starts.isoformat(),
            "ends": fact.ends.isoformat() if fact.ends else "",
        }
        for fact in memberlog.history(tx, person_id)
        if fact.starts <= at and (fact.ends is None or fact.ends > at) and fact.recorded_at <= at
    ]
