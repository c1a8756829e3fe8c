"""Alarms from the trail: what may be a breach, noticed every ten minutes (R-BR-1).

Looked at once each, in order, from where the last look ended; what is found becomes a notice to the
supervisor and an event with an alarm. Thresholds are in ``[watch]`` of ``central.toml``.
"""

from __future__ import annotations

from collections import Counter
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
    {Event.SEARCHED.value, Event.PICTURE_VIEWED.value, Event.EXEMPTION_VIEWED.value}
)
_EXPORTS: Final = frozenset({Event.TRAIL_EXPORTED.value, Event.RELEASE_SENT.value})
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
        raised = 0
        for event in fresh:
            for kind, about, detail in _alarms(central, tx, event):
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


def _alarms(central: Central, tx: Connection, event: AuditEvent) -> list[tuple[str, str, str]]:
    """Kind, person or machine, and a word for each alarm that an event gives rise to."""
    settings = central.config.watch
    if event.event in _BROKEN:
        return [("chain_break", event.actor, "a car's trail")]
    if event.event in _UNKNOWN:
        return [("unknown_device", event.actor, "")]
    if event.event == Event.SIGN_ON_REFUSED.value:
        failures = _counted(tx, event, {Event.SIGN_ON_REFUSED.value}, FAILURES_WITHIN)
        number = sum(failures.values())
        return [("sign_on_failures", event.actor, str(number))] if number >= 5 else []
    found = []
    if event.event in _EXPORTS and _off_hours(central, event.at):
        found.append(("off_hours_export", event.actor, event.event))
    if event.event in _VIEWS:
        seen = sum(_counted(tx, event, _VIEWS, BULK_WITHIN).values())
        if seen >= settings.bulk_records:
            found.append(("bulk_view", event.actor, f"{seen} records within an hour"))
    return found


def _counted(
    tx: Connection, event: AuditEvent, kinds: frozenset[str] | set[str], within: timedelta
) -> Counter[str]:
    """Records (or events without any) by kind, of the same person, up to this event."""
    table = db.audit
    documents = tx.scalars(
        select(table.c.document).where(
            table.c.actor == event.actor,
            table.c.event.in_(sorted(kinds)),
            table.c.at > event.at - within,
            table.c.seq <= event.seq,
        )
    )
    counts: Counter[str] = Counter()
    for document in documents:
        other = AuditEvent.model_validate_json(document)
        counts[other.event] += max(1, len(other.subjects))
    return counts


def _off_hours(central: Central, at: datetime) -> bool:
    """Outside the agency's office hours, or at a week-end, in local time."""
    settings = central.config.watch
    local = at.astimezone(central.config.zone())
    return local.weekday() >= 5 or not settings.office_from <= local.hour < settings.office_to
