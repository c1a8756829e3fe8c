"""Alarms from the trail: what may be a breach, noticed every ten minutes (R-BR-1).

Looked at once each, in order, from where the last look ended; what is found becomes a notice to the
supervisor and an event with an alarm. Thresholds are in ``[watch]`` of ``central.toml``. What was
seen within the hour before is read once a look and then slid along, so a look costs as much as it
has events, however many views one person makes. A car that nobody has heard of for days may be
lost: the notice leads to the order that destroys its keys (R-CJIS-5).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd.central.staff import notices
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.incident_tables import watched
from alprd.central.storage.store import Central
from alprd.wire import AuditEvent

BULK_WITHIN: Final = timedelta(hours=1)
FAILURES_WITHIN: Final = timedelta(hours=1)
_VIEWS: Final = frozenset(
    {
        Event.SEARCHED.value,
        Event.PICTURE_VIEWED.value,
        Event.EXEMPTION_VIEWED.value,
        Event.SUBJECT_LOOKED_UP.value,
    }
)
_EXPORTS: Final = frozenset(
    {
        Event.TRAIL_EXPORTED.value,
        Event.RELEASE_SENT.value,
        Event.AUDIT_PACKAGED.value,
        Event.AUDIT_PACKAGE_TAKEN.value,
    }
)
_BROKEN: Final = frozenset({Event.TRAIL_BROKEN.value})
_UNKNOWN: Final = frozenset({Event.ENROL_REFUSED.value})
_NEEDED: Final = sorted(_VIEWS | _EXPORTS | _BROKEN | _UNKNOWN | {Event.SIGN_ON_REFUSED.value})


def look(central: Central) -> int:
    """Look at what is new in the trail; how many alarms were raised."""
    now, table = central.clock(), db.audit
    with central.database.write() as tx:
        last = tx.scalar(select(watched.c.seq).where(watched.c.what == "trail")) or 0
        newest = tx.scalar(select(table.c.seq).order_by(table.c.seq.desc()).limit(1)) or 0
        fresh = [
            AuditEvent.model_validate_json(document)
            for document in tx.scalars(
                select(table.c.document)
                .where(table.c.seq > last, table.c.seq <= newest, table.c.event.in_(_NEEDED))
                .order_by(table.c.seq)
            )
        ]
        raised = _silent(central, tx, now)
        recent = _Recent()
        if fresh:
            recent.take(_before(tx, fresh, last))
        for event in fresh:
            recent.take([event])
            for kind, about, detail in _alarms(central, event, recent):
                # One alarm an hour of a kind and a person: a flood would bury the first.
                subject = f"{about}:{event.at:%Y-%m-%dT%H}"
                if notices.add_once(
                    tx, kind, at=now, about=about, subject=subject[:64], detail=detail
                ):
                    raised += 1
                    central.trail.record(
                        tx,
                        Event.ALARM_RAISED,
                        CENTRAL,
                        at=now,
                        subjects=[str(event.seq)],
                        detail={"kind": kind, "about": about, "alarm": True},
                    )
        statement = upsert(watched).values(what="trail", seq=newest)
        tx.execute(statement.on_conflict_do_update(index_elements=["what"], set_={"seq": newest}))
    return raised


class _Recent:
    """What each person saw, and each failed sign-on, within the hour up to the last event taken."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, bool], deque[tuple[datetime, int]]] = defaultdict(deque)
        self._sums: dict[tuple[str, bool], int] = defaultdict(int)

    def take(self, events: Iterable[AuditEvent]) -> None:
        """Events in their order; others than views and failures are passed over."""
        for event in events:
            views = event.event in _VIEWS
            if not views and event.event != Event.SIGN_ON_REFUSED.value:
                continue
            key, number = (event.actor, views), max(1, len(event.subjects)) if views else 1
            self._seen[key].append((event.at, number))
            self._sums[key] += number

    def number(self, event: AuditEvent) -> int:
        """Records seen (or sign-ons failed) by this person within the hour up to this event."""
        views = event.event in _VIEWS
        key, within = (event.actor, views), BULK_WITHIN if views else FAILURES_WITHIN
        seen = self._seen[key]
        while seen and seen[0][0] <= event.at - within:
            self._sums[key] -= seen.popleft()[1]
        return self._sums[key]


def _before(tx: Connection, fresh: list[AuditEvent], last: int) -> list[AuditEvent]:
    """What the persons of the fresh events did in the hour before, as far as it was looked at."""
    table = db.audit
    kinds = _VIEWS | {Event.SIGN_ON_REFUSED.value}
    actors = {event.actor for event in fresh if event.event in kinds}
    if not actors:
        return []
    since = min(event.at for event in fresh) - max(BULK_WITHIN, FAILURES_WITHIN)
    documents = tx.scalars(
        select(table.c.document)
        .where(
            table.c.at > since,
            table.c.seq <= last,
            table.c.event.in_(sorted(kinds)),
            table.c.actor.in_(sorted(actors)),
        )
        .order_by(table.c.seq)
    )
    return [AuditEvent.model_validate_json(document) for document in documents]


def _silent(central: Central, tx: Connection, now: datetime) -> int:
    """A notice for each car without contact for so long that it may be lost; how many were raised.

    It is about the car as last heard of: once it was in contact again, the next silence is news.
    """
    table = db.vehicles
    ordered = select(db.kill_orders.c.enrolment)
    rows = tx.execute(
        select(table).where(table.c.revoked_at.is_(None), table.c.enrolment.not_in(ordered))
    ).all()
    raised, longest = 0, timedelta(hours=central.config.watch.lost_car_hours)
    for row in rows:
        heard = max(at for at in (row.last_contact, row.last_dock, row.enrolled_at) if at)
        if now - heard <= longest:
            continue
        subject = f"{row.vehicle}:{heard:%Y-%m-%dT%H:%M}"[:64]
        detail = "no contact since; if it is lost, order its keys destroyed"
        if notices.add_once(tx, "lost_car", at=now, subject=subject, detail=detail):
            raised += 1
            central.trail.record(
                tx,
                Event.ALARM_RAISED,
                CENTRAL,
                at=now,
                detail={"kind": "lost_car", "about": row.vehicle, "alarm": True},
            )
    return raised


def _alarms(central: Central, event: AuditEvent, recent: _Recent) -> list[tuple[str, str, str]]:
    """Kind, person or machine, and a word for each alarm that an event gives rise to."""
    settings = central.config.watch
    if event.event in _BROKEN:
        return [("chain_break", event.actor, "a car's trail")]
    if event.event in _UNKNOWN:
        return [("unknown_device", event.actor, "")]
    if event.event == Event.SIGN_ON_REFUSED.value:
        number = recent.number(event)
        return [("sign_on_failures", event.actor, str(number))] if number >= 5 else []
    found = []
    if event.event in _EXPORTS and _off_hours(central, event.at):
        found.append(("off_hours_export", event.actor, event.event))
    if event.event in _VIEWS:
        seen = recent.number(event)
        if seen >= settings.bulk_records:
            found.append(("bulk_view", event.actor, f"{seen} records within an hour"))
    return found


def _off_hours(central: Central, at: datetime) -> bool:
    """Outside the agency's office hours, or at a week-end, in local time."""
    settings = central.config.watch
    local = at.astimezone(central.config.zone())
    return local.weekday() >= 5 or not settings.office_from <= local.hour < settings.office_to
