"""The daily compliance run: what the store says of itself, read and signed by a person (R-460.5-1).

Once a local day, also when nobody asks: the findings are the lines of the first page (what is late,
unmapped, unsigned, not docked) and what only this run looks at, which is whether any read is past
its life without an exemption, whether the ledger reconciles, and whether every chain of the trail
is whole. A report is made also when it finds nothing: that nobody looked would else not show.
Nobody has to be told of a missing report: the next one says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from alprd.central.hotlists.entry import in_own_words
from alprd.central.oversight import outcomes, todos
from alprd.central.records import exemptions, ledger
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.oversight_tables import collected, compliance_reports
from alprd.central.storage.store import Central
from alprd.central.trail import trailcheck
from alprd.errors import AlprdError, InputError, RefusedError
from alprd.records import Closed, Utc
from alprd.wire import Person, SessionRow

SIGN_WITHIN: Final = timedelta(days=3)
_PURPOSE: Final = "compliance reports"


class Finding(Closed):
    """One thing that is not as it must be."""

    area: str
    text: str
    urgent: bool


class Figures(Closed):
    """Counts of the day; none of them is of a plate or a person."""

    oldest_read: dict[str, str]
    """By class: the hour of collection of the oldest read that is not exempt."""
    reads: int
    collected: int
    """Taken in within the last 24 h."""
    destroyed: int
    """Within the last 24 h."""
    open_links: int
    open_holds: int
    dock_hours_p50: float | None
    """From the end of a period of use to its arrival, of the last 30 days; ``None``: none."""
    dock_hours_p95: float | None
    lists: tuple[dict[str, Any], ...]
    """By list: how alerts came out, and the share confirmed."""
    cameras: tuple[dict[str, Any], ...] = ()
    """By vehicle and camera: the same."""


class Report(Closed):
    """The run of one local day."""

    day: str
    made_at: Utc
    findings: tuple[Finding, ...]
    figures: Figures
    events: int
    """Events of the trail that were checked."""


class Made(Closed):
    """A report and its signature."""

    report: Report
    signed_by: str = ""
    signed_at: Utc | None = None
    note: str = ""


def keep_up(central: Central) -> bool:
    """Make today's report when there is none yet; whether one was made."""
    now = central.clock()
    day = now.astimezone(central.config.zone()).date()
    table = compliance_reports
    with central.database.read() as tx:
        if tx.scalar(select(table.c.day).where(table.c.day == day.isoformat())) is not None:
            return False
        last = tx.scalar(select(func.max(table.c.day)))
    report = run(central, now, last)
    with central.database.write() as tx:
        if tx.scalar(select(table.c.day).where(table.c.day == report.day)) is not None:
            return False  # another worker was faster
        tx.execute(
            insert(table).values(
                day=report.day,
                made_at=now,
                findings=len(report.findings),
                sealed=_seal(central, report.day, report.model_dump_json()),
            )
        )
        central.trail.record(
            tx,
            Event.COMPLIANCE_RUN,
            CENTRAL,
            at=now,
            detail={
                "day": report.day,
                "findings": len(report.findings),
                "urgent": sum(finding.urgent for finding in report.findings),
            },
        )
    return True


def run(central: Central, now: datetime, last: str | None = None) -> Report:
    """Look at everything now, without keeping it.

    Args:
        last: day of the last report, to tell of days without one.
    """
    day = now.astimezone(central.config.zone()).date()
    findings = [*_missed(day, last), *_own(central, now), *_lines(central, now)]
    events = 0
    try:
        result = trailcheck.verify(central)
        events = result.events
        findings += [
            Finding(area="Audit trail", text=f"{chain.chain}: {chain.problem}", urgent=True)
            for chain in result.chains
            if chain.problem
        ]
        if result.anchor_problem:
            findings.append(Finding(area="Audit trail", text=result.anchor_problem, urgent=True))
    except AlprdError as error:
        findings.append(Finding(area="Audit trail", text=error.message, urgent=True))
    with central.database.read() as tx:
        figures = _figures(central, tx, now)
    return Report(
        day=day.isoformat(),
        made_at=now,
        findings=tuple(findings),
        figures=figures,
        events=events,
    )


def reports(central: Central, person: Person, most: int = 60) -> list[Made]:
    """The last reports, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.COMPLIANCE_SEE, now, Act.COMPLIANCE_SIGN)
    table = compliance_reports
    with central.database.write() as tx:
        rows = tx.execute(select(table).order_by(table.c.day.desc()).limit(most)).all()
        central.trail.record(
            tx,
            Event.COMPLIANCE_VIEWED,
            people.actor(person),
            at=now,
            detail={"reports": len(rows)},
        )
        return [_made(central, row) for row in rows]


def every(central: Central, tx: Connection) -> Iterator[Made]:
    """Every report, oldest first, for the audit's package."""
    table = compliance_reports
    for row in tx.execute(select(table).order_by(table.c.day)).all():
        yield _made(central, row)


def sign(central: Central, person: Person, day: str, note: str) -> Made:
    """Sign a report: it was read, and what follows from it.

    Raises:
        RefusedError: the role, or a report that is signed already.
        InputError: no report of that day.
    """
    now = central.clock()
    people.require(person, Act.COMPLIANCE_SIGN, now)
    in_own_words("note", note)
    table = compliance_reports
    with central.database.write() as tx:
        row = tx.execute(select(table).where(table.c.day == day)).one_or_none()
        if row is None:
            raise InputError("there is no compliance report of that day")
        if row.signed_by is not None:
            raise RefusedError("the report is signed already", reason="decided")
        tx.execute(
            update(table)
            .where(table.c.day == day)
            .values(
                signed_at=now,
                signed_by=person.id,
                signing=_seal(central, f"{day} note", note.strip()),
            )
        )
        central.trail.record(
            tx,
            Event.COMPLIANCE_SIGNED,
            people.actor(person),
            at=now,
            detail={"day": day, "findings": row.findings},
        )
        made = tx.execute(select(table).where(table.c.day == day)).one()
        return _made(central, made)


def unsigned(tx: Connection, now: datetime) -> int:
    """Reports that wait for a signature longer than :data:`SIGN_WITHIN`."""
    table = compliance_reports
    late = select(func.count()).where(
        table.c.signed_at.is_(None), table.c.made_at <= now - SIGN_WITHIN
    )
    return tx.scalar(late) or 0


# --- what it looks at -------------------------------------------------------------------------


def _missed(day: date, last: str | None) -> Iterator[Finding]:
    if last is not None and date.fromisoformat(last) < day - timedelta(days=1):
        text = f"no compliance run between {last} and today: central did not run"
        yield Finding(area="Central", text=text, urgent=True)


def _lines(central: Central, now: datetime) -> Iterator[Finding]:
    for source in todos.SOURCES:
        try:
            with central.database.read() as tx:
                lines = source(central, tx, now)
        except AlprdError as error:
            name = source.__name__.replace("_", " ")
            text = f"{name}: could not be looked at ({type(error).__name__})"
            yield Finding(area="Central", text=text, urgent=True)
            continue
        for line in lines:
            yield Finding(area=line.area, text=line.text, urgent=line.urgency == "now")


def _own(central: Central, now: datetime) -> Iterator[Finding]:
    with central.database.read() as tx:
        past = tx.scalar(
            select(func.count())
            .select_from(db.reads)
            .where(
                db.reads.c.destroy_by <= now - timedelta(hours=1),
                db.reads.c.id.not_in(exemptions.exempted()),
            )
        )
        if past:
            text = f"{past} reads are past their life without an exemption"
            yield Finding(area="Retention", text=text, urgent=True)
        wrong = [day.day for day in ledger.days(tx) if not day.reconciles]
        if wrong:
            text = f"the ledger does not reconcile for {', '.join(wrong[:5])}" + (
                f" and {len(wrong) - 5} more days" if len(wrong) > 5 else ""
            )
            yield Finding(area="Retention", text=text, urgent=True)


def _figures(central: Central, tx: Connection, now: datetime) -> Figures:
    reads, day = db.reads, now - timedelta(days=1)
    oldest = tx.execute(
        select(reads.c.classification, func.min(reads.c.hour))
        .where(reads.c.id.not_in(exemptions.exempted()))
        .group_by(reads.c.classification)
    ).all()
    live = {
        kind: tx.scalar(
            select(func.count())
            .select_from(db.exemptions)
            .where(db.exemptions.c.kind == kind, db.exemptions.c.state.in_(exemptions.LIVE))
        )
        or 0
        for kind in ("case", "hold")
    }
    received = tx.scalar(
        select(func.coalesce(func.sum(collected.c["count"]), 0)).where(
            collected.c.day >= day.date().isoformat()
        )
    )
    gone = tx.scalar(
        select(func.coalesce(func.sum(db.destructions.c.count), 0)).where(
            db.destructions.c.at > day
        )
    )
    hours = dock_hours(tx, now)
    return Figures(
        oldest_read={name: hour.isoformat() for name, hour in oldest},
        reads=tx.scalar(select(func.count()).select_from(reads)) or 0,
        collected=int(received or 0),
        destroyed=int(gone or 0),
        open_links=live["case"],
        open_holds=live["hold"],
        dock_hours_p50=_quantile(hours, 0.5),
        dock_hours_p95=_quantile(hours, 0.95),
        lists=tuple(outcomes.by_list(tx)),
        cameras=tuple(outcomes.by_camera(tx)),
    )


def dock_hours(tx: Connection, now: datetime) -> list[float]:
    """Hours from the end of each period of use of the last 30 days to its arrival, in order."""
    rows = tx.execute(
        select(db.sessions.c.row, db.sessions.c.received_at).where(
            db.sessions.c.received_at > now - timedelta(days=30)
        )
    )
    return sorted(
        (row.received_at - SessionRow.model_validate_json(row.row).ended).total_seconds() / 3600
        for row in rows
    )


def _quantile(values: list[float], share: float) -> float | None:
    if not values:
        return None
    return round(values[min(len(values) - 1, int(share * len(values)))], 1)


def _made(central: Central, row: Any) -> Made:
    report = Report.model_validate_json(_open(central, row.day, row.sealed))
    note = _open(central, f"{row.day} note", row.signing) if row.signing else ""
    return Made(report=report, signed_by=row.signed_by or "", signed_at=row.signed_at, note=note)


def _seal(central: Central, name: str, text: str) -> bytes:
    return seal(
        central.keystore.purpose_key(_PURPOSE), text.encode(), f"compliance {name}".encode()
    )


def _open(central: Central, name: str, sealed: bytes) -> str:
    key = central.keystore.purpose_key(_PURPOSE)
    return unseal(key, sealed, f"compliance {name}".encode()).decode()
