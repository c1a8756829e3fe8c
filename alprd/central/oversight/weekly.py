"""The weekly exception report: made by the program, signed off by a person (R-AT-7, CJIS AU-6).

From the trail alone: accesses at odd hours, many searches by one person, one plate again and again,
reasons that are poor, and reviews and sign-offs that are missing. A report is made once for each
week that is over, also an empty one: that nobody looked would else not show. Nobody signs off a
report that has a finding about himself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, insert, select, update

from alprd.central.grounds import legalbasis
from alprd.central.oversight import quality
from alprd.central.staff import notices, people
from alprd.central.staff.permissions import Act, not_own
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.audit_tables import exception_reports
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.search_tables import searched
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Utc
from alprd.wire import AuditEvent, Person

SIGN_WITHIN: Final = timedelta(days=7)
REPEATED: Final = 3
ACCESS: Final = frozenset(
    {
        Event.SEARCHED.value,
        Event.SEARCH_STOPPED.value,
        Event.PICTURE_VIEWED.value,
        Event.EXEMPTION_VIEWED.value,
        Event.TERMS_VIEWED.value,
        Event.TRAIL_EXPORTED.value,
    }
)
_POOR: Final = ("short_", "canned_", "same_text", "long_")
_MOST_BACK: Final = 8
"""Weeks that are made up for after a stand-still."""
_PURPOSE: Final = "exception reports"


class Finding(Closed):
    """One thing that a person should look at."""

    kind: str
    person: str = ""
    count: int = 1
    events: tuple[int, ...] = ()
    """Numbers of the events in the trail, fifty at most."""
    detail: str = ""


class Report(Closed):
    """The report of one week."""

    week: str
    """ISO week, such as ``2026-W05``."""
    since: Utc
    until: Utc
    accesses: int
    findings: tuple[Finding, ...]


class Made(Closed):
    """A report with its sign-off."""

    report: Report
    made_at: Utc
    signed_by: str = ""
    signed_at: Utc | None = None
    note: str = ""


KINDS: Final = {
    "odd_hours": "access at an odd hour",
    "many_searches": "more searches than usual",
    "repeated_plate": "one plate searched again and again by one person",
    "stopped_searches": "searches that stopped for a legal basis",
    "poor_reasons": "reasons that were refused, or judged poor",
    "unsigned_report": "an earlier report is not signed off",
    "unreviewed_exigency": "exigent circumstances without their review",
    "unjudged_reasons": "a monthly sample is not judged",
    "alarm": "an alarm of the trail or of destruction",
}


def keep_up(central: Central) -> list[str]:
    """Make the reports of the weeks that are over, and tell who must sign; which were made."""
    now, zone = central.clock(), central.config.zone()
    made = []
    with central.database.write() as tx:
        first = tx.scalar(select(db.audit.c.at).order_by(db.audit.c.seq).limit(1))
        done = set(tx.scalars(select(exception_reports.c.week)))
        for week in _weeks_over(now, first, zone):
            if week not in done:
                _make(central, tx, week, now)
                made.append(week)
        month = f"{now.astimezone(zone).replace(day=1) - timedelta(days=1):%Y-%m}"
        if quality.draw(central, tx, month, now):
            notices.add_once(tx, "sample_due", at=now, subject=month)
        for row in legalbasis.every(central, tx):
            if row.review_due(now):
                notices.add_once(
                    tx, "exigency_review", at=now, about=row.entered_by, subject=row.id
                )
    return made


def reports(central: Central, person: Person) -> list[Made]:
    """Every report, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.REPORT_SIGN, now)
    with central.database.write() as tx:
        rows = tx.execute(select(exception_reports).order_by(exception_reports.c.week.desc())).all()
        central.trail.record(
            tx, Event.REPORT_VIEWED, people.actor(person), at=now, detail={"reports": len(rows)}
        )
    return [_opened(central, row) for row in rows]


def every(central: Central, tx: Connection) -> Iterator[Made]:
    """Every report, oldest first, for the audit's package."""
    for row in tx.execute(select(exception_reports).order_by(exception_reports.c.week)).all():
        yield _opened(central, row)


def _opened(central: Central, row: Any) -> Made:
    key = central.keystore.purpose_key(_PURPOSE)
    return Made(
        report=Report.model_validate_json(unseal(key, row.sealed, _aad(row.week))),
        made_at=row.made_at,
        signed_by=row.signed_by or "",
        signed_at=row.signed_at,
        note=unseal(key, row.signing, _aad(row.week)).decode() if row.signing else "",
    )


def sign(central: Central, person: Person, week: str, note: str) -> None:
    """Sign a report off with what was looked at and found.

    Raises:
        RefusedError: the role, a finding about oneself, or a report that is signed.
        InputError: no such report, or no note.
    """
    now = central.clock()
    people.require(person, Act.REPORT_SIGN, now)
    if len(note.strip()) < 3:
        raise InputError("the note is missing", remedy="write what was looked at and found")
    key = central.keystore.purpose_key(_PURPOSE)
    with central.database.write() as tx:
        mine = exception_reports.c.week == week
        row = tx.execute(select(exception_reports).where(mine)).one_or_none()
        if row is None:
            raise InputError(f"there is no report of {week!r}", remedy="see the list of reports")
        if row.signed_at is not None:
            raise RefusedError("the report is signed off already", reason="signed")
        report = Report.model_validate_json(unseal(key, row.sealed, _aad(week)))
        for finding in report.findings:
            not_own(
                finding.person,
                person.id,
                "signs off a report with a finding",
                remedy="another auditor, the sheriff or another supervisor signs it",
            )
        tx.execute(
            update(exception_reports)
            .where(mine)
            .values(
                signed_at=now,
                signed_by=person.id,
                signing=seal(key, note.strip()[:4000].encode(), _aad(week)),
            )
        )
        central.trail.record(
            tx, Event.REPORT_SIGNED, people.actor(person), at=now, detail={"week": week}
        )


def _make(central: Central, tx: Connection, week: str, now: datetime) -> None:
    since, until = _bounds(week, central.config.zone())
    table = db.audit
    rows = tx.scalars(
        select(table.c.document)
        .where(table.c.at >= since, table.c.at < until)
        .order_by(table.c.seq)
    )
    events = [AuditEvent.model_validate_json(row) for row in rows]
    findings = (*_of_events(central, events), *_repeated(tx, since, until), *_missing(central, tx))
    report = Report(
        week=week,
        since=since,
        until=until,
        accesses=sum(event.event in ACCESS for event in events),
        findings=findings,
    )
    key = central.keystore.purpose_key(_PURPOSE)
    tx.execute(
        insert(exception_reports).values(
            week=week,
            made_at=now,
            findings=len(findings),
            sealed=seal(key, report.model_dump_json().encode(), _aad(week)),
        )
    )
    notices.add_once(tx, "report_due", at=now, subject=week)
    central.trail.record(
        tx,
        Event.REPORT_MADE,
        CENTRAL,
        at=now,
        detail={"week": week, "findings": len(findings)},
    )


def _of_events(central: Central, events: Sequence[AuditEvent]) -> Iterator[Finding]:
    settings, zone = central.config.audit, central.config.zone()
    odd: dict[str, list[int]] = defaultdict(list)
    searches: dict[str, list[int]] = defaultdict(list)
    stopped: dict[str, list[int]] = defaultdict(list)
    poor: dict[str, list[int]] = defaultdict(list)
    alarms = []
    for event in events:
        if event.event in ACCESS and _odd(event.at.astimezone(zone).hour, settings.odd_from,
                                          settings.odd_to):  # fmt: skip
            odd[event.actor].append(event.seq)
        if event.event == Event.SEARCHED:
            searches[event.actor].append(event.seq)
        if event.event == Event.SEARCH_STOPPED:
            stopped[event.actor].append(event.seq)
        why = str(event.detail.get("reason", ""))
        if event.event == Event.SEARCH_REFUSED and why.startswith(_POOR):
            poor[event.actor].append(event.seq)
        if event.event == Event.REASON_JUDGED and event.detail.get("finding") == "poor":
            poor[""].append(event.seq)
        if event.detail.get("alarm") is True:
            alarms.append(event.seq)
    many = {who: seqs for who, seqs in searches.items() if len(seqs) >= settings.many_searches}
    for kind, groups in (("odd_hours", odd), ("many_searches", many),
                         ("stopped_searches", stopped), ("poor_reasons", poor)):  # fmt: skip
        for who, seqs in sorted(groups.items()):
            yield Finding(kind=kind, person=who, count=len(seqs), events=tuple(seqs[:50]))
    if alarms:
        yield Finding(kind="alarm", count=len(alarms), events=tuple(alarms[:50]))


def _repeated(tx: Connection, since: datetime, until: datetime) -> Iterator[Finding]:
    """By the digests of searches, which live for 30 days: no plate is named."""
    rows = tx.execute(
        select(searched.c.person, searched.c.mark, searched.c.seq).where(
            searched.c.at >= since, searched.c.at < until, searched.c.mark.is_not(None)
        )
    ).all()
    counts = Counter((row.person, row.mark) for row in rows)
    for (who, mark), number in sorted(counts.items()):
        if number >= REPEATED:
            seqs = tuple(r.seq for r in rows if (r.person, r.mark) == (who, mark))
            yield Finding(kind="repeated_plate", person=who, count=number, events=seqs[:50])


def _missing(central: Central, tx: Connection) -> Iterator[Finding]:
    now = central.clock()
    table = exception_reports
    late = tx.scalars(
        select(table.c.week).where(
            table.c.signed_at.is_(None), table.c.made_at <= now - SIGN_WITHIN
        )
    )
    for week in sorted(late):
        yield Finding(kind="unsigned_report", detail=week)
    for row in legalbasis.every(central, tx):
        if row.review_due(now):
            yield Finding(kind="unreviewed_exigency", person=row.entered_by, detail=row.id)
    for month in quality.unjudged(tx, now - SIGN_WITHIN):
        yield Finding(kind="unjudged_reasons", detail=month)


def _odd(hour: int, start: int, end: int) -> bool:
    """Whether a local hour lies in the odd ones, over midnight where the start is later."""
    return start <= hour < end if start <= end else hour >= start or hour < end


def _weeks_over(now: datetime, first: datetime | None, zone: ZoneInfo) -> list[str]:
    """ISO weeks that are over, the newest eight at most, none before the first event."""
    if first is None:
        return []
    day = now.astimezone(zone)
    made = []
    for back in range(1, _MOST_BACK + 1):
        year, week, _ = (day - timedelta(days=7 * back)).isocalendar()
        name = f"{year}-W{week:02}"
        if _bounds(name, zone)[1] > first:
            made.append(name)
    return made[::-1]


def _bounds(week: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    start = datetime.fromisocalendar(int(week[:4]), int(week[6:]), 1).replace(tzinfo=zone)
    return start, start + timedelta(days=7)


def _aad(week: str) -> bytes:
    return f"exceptions {week}".encode()
