"""The cars' databases and central's, looked up after a crash run for :mod:`bench.crash_score`."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta

from alprd.wire import AuditEvent, SessionRow
from bench.crash_score import CarFacts, CentralFacts
from bench.crash_world import CarPlace, Central


def car_facts(place: CarPlace, *, cameras: int, skip: int) -> CarFacts:
    """What the car's own database says, its daemon having ended.

    Args:
        skip: sessions at the beginning that are not counted (of the first docking).
    """
    with closing(sqlite3.connect(place.state / "queue.db", timeout=30)) as connection:
        rows = connection.execute("SELECT row, open, sent FROM sessions").fetchall()
        sessions = [SessionRow.model_validate_json(row) for row, _, _ in rows]
        ledger = {
            session: (int(committed), int(receipted), int(expired))
            for session, committed, receipted, expired in connection.execute(
                "SELECT session, committed, receipted, expired FROM ledger"
            )
        }
        left = connection.execute("SELECT count(*) FROM reads").fetchone()[0]
        trail = [
            AuditEvent.model_validate_json(event)
            for (event,) in connection.execute("SELECT event FROM audit ORDER BY seq")
        ]
    sessions.sort(key=lambda row: row.started)
    return CarFacts(
        name=place.name,
        cameras=cameras,
        sessions=sessions[skip:],
        open_or_unsent=sum(bool(is_open) or not sent for _, is_open, sent in rows),
        ledger=ledger,
        left=int(left),
        trail=trail,
    )


def central_facts(central: Central, since: datetime, *, skip: int = 1) -> CentralFacts:
    """What central holds: by a documented search, and from its own rows."""
    sessions: dict[str, list[SessionRow]] = defaultdict(list)
    for vehicle, row in central.rows("SELECT vehicle, row FROM sessions ORDER BY started"):
        sessions[vehicle].append(SessionRow.model_validate_json(row))
    trails: dict[str, list[AuditEvent]] = defaultdict(list)
    for vehicle, text in central.rows("SELECT vehicle, document FROM car_events ORDER BY seq"):
        trails[vehicle].append(AuditEvent.model_validate_json(text))
    own = [
        AuditEvent.model_validate_json(text)
        for (text,) in central.rows("SELECT document FROM audit ORDER BY seq")
    ]
    again = central.rows("SELECT value FROM counters WHERE name = 'duplicates_refused'")
    return CentralFacts(
        found=central.search(
            since - timedelta(minutes=1), datetime.now(UTC) + timedelta(minutes=1)
        ),
        arrived={
            read: (vehicle, outcome)
            for read, vehicle, outcome in central.rows("SELECT id, vehicle, outcome FROM arrivals")
        },
        sessions={name: rows[skip:] for name, rows in sessions.items()},
        trails=trails,
        own_trail=own,
        broken=sum(event.event == "device.trail-broken" for event in own),
        refused_again=int(again[0][0]) if again else 0,
    )
