"""The register of biennial audits: when the next is due, when its report must be out (460.6(c)).

An audit is due two years after the last one was completed, or after the first use of a reader; the
summary report goes out within 30 days of its completion (R-13.824-6-5). Rows are only added.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection, insert, select, update

from alprd.central.oversight.todo import Todo
from alprd.central.public import readers
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import attachments
from alprd.central.storage.audit import Event
from alprd.central.storage.oversight_tables import audits
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Id, Utc, new_id
from alprd.wire import Person

REPORT_WITHIN: Final = timedelta(days=30)
REMIND: Final = (timedelta(days=183), timedelta(days=92), timedelta(days=31))
RECIPIENTS: Final = (
    "Commissioner of Administration",
    "Chairs and ranking minority members of the committees on data practices and public safety",
)


class Audit(Closed):
    """One completed audit."""

    id: Id
    auditor: Annotated[str, Field(min_length=3, max_length=200)]
    since: date
    until: date
    completed: date
    reference: Annotated[str, Field(max_length=200)] = ""
    """The auditor's letter, or how it is filed."""
    results_sha256: str
    """Of the results, which are public; the paper is an attachment."""
    entered_by: str
    entered_at: Utc
    reported: date | None = None
    reported_to: Annotated[str, Field(max_length=400)] = ""

    @property
    def report_due(self) -> date:
        """Last day for the summary report."""
        return self.completed + REPORT_WITHIN


def enter(
    central: Central,
    person: Person,
    auditor: str,
    since: date,
    until: date,
    completed: date,
    results: bytes,
    reference: str = "",
) -> Audit:
    """Enter a completed audit with its results.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: dates that cannot be, no auditor, or no paper.
    """
    now = central.clock()
    people.require(person, Act.AUDIT_KEEP, now)
    if not since < until <= completed <= readers.today(central):
        raise InputError("the audit's dates are not in order, or lie in the future")
    if not 3 <= len(auditor.strip()) <= 200:
        raise InputError("the auditor's name is missing")
    row = Audit(
        id=new_id(),
        auditor=auditor.strip(),
        since=since,
        until=until,
        completed=completed,
        reference=reference.strip()[:200],
        results_sha256="",
        entered_by=person.id,
        entered_at=now,
    )
    with central.database.write() as tx:
        digest = attachments.put(central, tx, row.id, "results", results)
        row = row.model_copy(update={"results_sha256": digest})
        tx.execute(
            insert(audits).values(
                id=row.id, completed=row.completed.isoformat(), document=row.model_dump_json()
            )
        )
        central.trail.record(
            tx,
            Event.AUDIT_ENTERED,
            people.actor(person),
            at=now,
            subjects=[row.id],
            detail={"completed": row.completed.isoformat(), "results": digest},
        )
    return row


def reported(central: Central, person: Person, audit: str, day: date, to: str) -> Audit:
    """The summary report went out.

    Raises:
        RefusedError: the role, or a report that went out already.
        InputError: no such audit, no recipients, or a day that cannot be.
    """
    now = central.clock()
    people.require(person, Act.AUDIT_KEEP, now)
    if len(to.strip()) < 3:
        raise InputError("to whom the report went is missing", remedy="; ".join(RECIPIENTS))
    with central.database.write() as tx:
        document = tx.scalar(select(audits.c.document).where(audits.c.id == audit))
        if document is None:
            raise InputError("there is no audit with this id")
        row = Audit.model_validate_json(document)
        if row.reported is not None:
            raise RefusedError("the report went out already", reason="decided")
        if not row.completed <= day <= readers.today(central):
            raise InputError("the report went out before the audit was completed, or in the future")
        row = row.model_copy(update={"reported": day, "reported_to": to.strip()[:400]})
        tx.execute(
            update(audits).where(audits.c.id == audit).values(document=row.model_dump_json())
        )
        central.trail.record(
            tx,
            Event.AUDIT_REPORTED,
            people.actor(person),
            at=now,
            subjects=[audit],
            detail={"day": day.isoformat(), "in_time": day <= row.report_due},
        )
    return row


def results(central: Central, audit: str) -> bytes:
    """The paper of an audit's results, which are public.

    Raises:
        InputError: there is none.
    """
    with central.database.read() as tx:
        if tx.scalar(select(audits.c.id).where(audits.c.id == audit)) is None:
            raise InputError("there is no audit with this id")
        return attachments.get(central, tx, audit, "results")


def every(tx: Connection) -> list[Audit]:
    """Every audit, oldest first."""
    rows = tx.scalars(select(audits.c.document).order_by(audits.c.completed))
    return [Audit.model_validate_json(document) for document in rows]


def next_due(tx: Connection) -> date | None:
    """When the next audit is due; ``None`` before the first reader is in use."""
    done = every(tx)
    if done:
        return _two_years(done[-1].completed)
    used = [
        day
        for row in readers.register(tx)
        for day in (row.installed, row.first_used)
        if day is not None
    ]
    return _two_years(date.fromisoformat(min(used))) if used else None


def _two_years(day: date) -> date:
    # 29 February: the day before, never late.
    return day.replace(year=day.year + 2, day=min(day.day, 28) if day.month == 2 else day.day)


def todos(central: Central, tx: Connection, now: datetime) -> list[Todo]:
    """Reminders at six, three and one months, and reports that are due."""
    today = now.astimezone(central.config.zone()).date()
    acts = (Act.AUDIT_KEEP,)
    found = []
    due = next_due(tx)
    if due is not None and due - today <= REMIND[0]:
        urgent = due - today <= REMIND[-1]
        text = f"the biennial audit is due by {due.isoformat()}"
        found.append(Todo("Audit", text, "/audits", acts, "now" if urgent else "soon"))
    found += [
        Todo(
            "Audit",
            f"the report of the audit completed {row.completed} is due by {row.report_due}",
            "/audits",
            acts,
        )
        for row in every(tx)
        if row.reported is None
    ]
    return found
