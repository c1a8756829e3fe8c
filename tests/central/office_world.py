"""A central in this process whose clock the test moves, with people of every role and cars."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from central_world import ZONE, session_row
from sqlalchemy import insert

from alprd import crypto
from alprd.audit import DAEMON, Actor, next_event
from alprd.audit import Event as CarEvent
from alprd.central.fleet.vehicles import Vehicle
from alprd.central.receiving import reports
from alprd.central.storage import config, db
from alprd.central.storage.audit import Event
from alprd.central.storage.audit import events as trail_events
from alprd.central.storage.store import Central, initialise
from alprd.records import new_id
from alprd.wire import AuditEvent, AuditReport, Person, SessionReport, SessionRow

AGENCY = "becker"


class Office:
    """One agency, and the time that it lives in."""

    def __init__(self, folder: Path, now: datetime, **settings: Any) -> None:
        self.now = now
        policy = config.default_policy("460", "Sheriff", now)
        initialise(
            folder,
            config.CentralConfig(
                agency=AGENCY, agency_name="Becker County Sheriff's Office (test)", policy=policy,
                **settings,
            ),
            clock=lambda: self.now,
        )  # fmt: skip
        self.central = Central(folder, lambda: self.now)
        self.cars: dict[str, tuple[Vehicle, crypto.PrivateKey]] = {}
        self.trails: dict[str, list[AuditEvent]] = {}

    def close(self) -> None:
        self.central.close()

    def person(self, role: str, name: str = "") -> Person:
        """Somebody with a role, live training and authorisation."""
        later = self.now + timedelta(days=400)
        return Person(
            id=name or f"{role}-1", name=f"Invented {role}", roles=(role,), verifier="none",
            clearances=(), training_expires=later, authorised_until=later,
        )  # fmt: skip

    def car(self, name: str, reader: str) -> Vehicle:
        """An enrolled car."""
        key, wrap = crypto.generate_key(), crypto.generate_key()
        public = [
            base64.urlsafe_b64encode(crypto.public_bytes(one)).decode() for one in (key, wrap)
        ]
        enrolment = crypto.key_id(key.public_key())
        with self.central.database.write() as tx:
            tx.execute(
                insert(db.vehicles).values(
                    vehicle=name, reader=reader, enrolment=enrolment, serial=new_id(),
                    batch_key=public[0], wrap_key=public[1], enrolled_at=self.now,
                )
            )  # fmt: skip
        made = Vehicle(name, reader, enrolment, key.public_key(), wrap.public_key(), False)
        self.cars[name] = (made, key)
        self.trails[name] = []
        return made

    def report(self, car: str, *rows: SessionRow) -> None:
        """A car reports ended sessions, through the real intake."""
        vehicle, key = self.cars[car]
        report = SessionReport(agency=AGENCY, vehicle=car, rows=rows)
        reports.accept_sessions(
            self.central, vehicle, crypto.sign_document("sessions", report, key)
        )

    def drive(self, car: str, **changes: Any) -> SessionRow:
        """A session of a car, reported."""
        row = session_row(reader=self.cars[car][0].reader, **changes)
        self.report(car, row)
        return row

    def tell(self, car: str, *told: AuditEvent) -> None:
        """A car reports events of its trail, through the real intake."""
        vehicle, key = self.cars[car]
        report = AuditReport(agency=AGENCY, vehicle=car, events=told)
        reports.accept_audit(self.central, vehicle, crypto.sign_document("audit", report, key))

    def event(self, car: str, event: CarEvent, actor: Actor = DAEMON, **fields: Any) -> AuditEvent:
        """The next event of a car's trail."""
        trail = self.trails[car]
        made = next_event(
            trail[-1] if trail else None, event, actor, at=self.now, at_trusted=True,
            zone="America/Chicago", device=car, session=fields.get("session"),
            subjects=fields.get("subjects", ()), detail=fields.get("detail", {}),
        )  # fmt: skip
        trail.append(made)
        return made

    def trail(self, *kinds: Event) -> list[AuditEvent]:
        """Central's own events of some kinds."""
        with self.central.database.read() as tx:
            return [e for e in trail_events(tx) if e.event in {kind.value for kind in kinds}]


def local(text: str) -> datetime:
    """A local time as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(UTC)
