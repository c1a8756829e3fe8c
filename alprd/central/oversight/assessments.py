"""The yearly security assessment of personal information (Minn. Stat. § 13.055 subd. 6).

Each is entered with its paper; the next is due a year after the last was done. An agency without
any is told so from its first day: that none was ever made must not look like one that is in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select

from alprd.central.oversight.todo import Todo
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import attachments
from alprd.central.storage.audit import Event
from alprd.central.storage.incident_tables import assessments
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.records import new_id
from alprd.wire import Person

EVERY: Final = timedelta(days=365)
REMIND: Final = timedelta(days=31)
PATH: Final = "/assessments"


@dataclass(frozen=True, slots=True)
class Assessment:
    """A row of the register."""

    id: str
    done_at: datetime
    recorded_by: str
    recorded_at: datetime
    sha256: str

    @property
    def next_due(self) -> datetime:
        """When the one after it must be done."""
        return self.done_at + EVERY


def enter(central: Central, person: Person, done_at: datetime, paper: bytes) -> Assessment:
    """Enter an assessment with its paper (R-13.055-6).

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: no paper, or a date in the future.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now)
    if done_at > now:
        raise InputError("the assessment was done in the future")
    made = new_id()
    with central.database.write() as tx:
        digest = attachments.put(central, tx, made, "assessment", paper)
        row = Assessment(made, done_at, person.id, now, digest)
        tx.execute(
            insert(assessments).values(
                id=made, done_at=done_at, recorded_by=person.id, recorded_at=now, sha256=digest
            )
        )
        central.trail.record(
            tx,
            Event.ASSESSMENT_FILED,
            people.actor(person),
            at=now,
            subjects=[made],
            detail={"sha256": digest, "done": done_at.isoformat()},
        )
    return row


def register(tx: Connection) -> list[Assessment]:
    """Every assessment, newest first."""
    table = assessments
    rows = tx.execute(select(table).order_by(table.c.done_at.desc(), table.c.id))
    return [Assessment(r.id, r.done_at, r.recorded_by, r.recorded_at, r.sha256) for r in rows]


def paper(central: Central, person: Person, assessment: str) -> bytes:
    """The paper of an assessment; it tells of weaknesses, so the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: there is none.
    """
    now = central.clock()
    people.require(person, Act.INCIDENT_WORK, now, Act.INCIDENT_SEE)
    with central.database.write() as tx:
        content = attachments.get(central, tx, assessment, "assessment")
        central.trail.record(
            tx, Event.ASSESSMENT_VIEWED, people.actor(person), at=now, subjects=[assessment]
        )
    return content


def next_due(tx: Connection) -> datetime | None:
    """When the next must be done; ``None``: at once, for there is none on file."""
    last = tx.scalar(select(assessments.c.done_at).order_by(assessments.c.done_at.desc()).limit(1))
    return None if last is None else last + EVERY


def todos(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """A line a month ahead, and for as long as it is due (R-13.055-6)."""
    acts = (Act.INCIDENT_WORK,)
    due = next_due(tx)
    if due is None:
        return [Todo("Security", "no yearly security assessment is on file", PATH, acts)]
    if due - now > REMIND:
        return []
    day = due.astimezone(central.config.zone()).date().isoformat()
    if due <= now:
        text = f"the yearly security assessment was due on {day}"
        return [Todo("Security", text, PATH, acts, due=due)]
    text = f"the yearly security assessment is due by {day}"
    return [Todo("Security", text, PATH, acts, "soon", due)]
