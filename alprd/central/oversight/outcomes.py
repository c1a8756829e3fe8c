"""How alerts came out, list by list: a list's own false-hit rate, from what deputies recorded.

Every car ends a shift with one event ``shift.ended`` whose detail counts outcomes by list
(:meth:`alprd.shift.Shift.summary`). Here they are added up, over all cars and since the beginning.
The share confirmed is ``confirmed / (confirmed + not confirmed + misread)``: what was cleared or
could not be verified says nothing about the list either way, and is told beside it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.central.storage import db
from alprd.wire import AuditEvent

SHIFT_ENDED: Final = "shift.ended"
OUTCOMES: Final = ("confirmed", "not_confirmed", "misread", "cleared", "not_practicable")
_JUDGED: Final = OUTCOMES[:3]


def by_list(tx: Connection) -> list[dict[str, Any]]:
    """Counts and the share confirmed (0 to 1, ``None`` before the first judged alert), by list."""
    table = db.car_events
    counts: dict[str, Counter[str]] = {}
    # The text is searched first, so that a trail of a year is not parsed for some hundred events.
    found = select(table.c.document).where(table.c.document.contains(f'"{SHIFT_ENDED}"'))
    for text in tx.scalars(found):
        event = AuditEvent.model_validate_json(text)
        if event.event != SHIFT_ENDED:
            continue
        for key, number in event.detail.items():
            list_id, _, outcome = key.rpartition(":")
            if list_id and outcome in OUTCOMES and isinstance(number, int):
                counts.setdefault(list_id, Counter())[outcome] += number
    return [_told(list_id, counts[list_id]) for list_id in sorted(counts)]


def _told(list_id: str, counts: Counter[str]) -> dict[str, Any]:
    judged = sum(counts[outcome] for outcome in _JUDGED)
    return {
        "list_id": list_id,
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "share_confirmed": round(counts["confirmed"] / judged, 3) if judged else None,
    }
