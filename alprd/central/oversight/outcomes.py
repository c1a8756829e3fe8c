"""How alerts came out, by list and by camera: false-hit rates, from what deputies recorded.

Every car ends a shift with one event ``shift.ended`` whose detail counts outcomes by list and by
camera (:meth:`alprd.shift.Shift.summary`). Here they are added up, over all cars and since the
beginning.
The share confirmed is ``confirmed / (confirmed + not confirmed + misread)``: what was cleared or
could not be verified says nothing about the list either way, and is told beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.central.storage import db
from alprd.wire import AuditEvent

SHIFT_ENDED: Final = "shift.ended"
CAMERA: Final = "camera/"
"""As :data:`alprd.shift.CAMERA`, which central does not import."""
OUTCOMES: Final = ("confirmed", "not_confirmed", "misread", "cleared", "not_practicable")
_JUDGED: Final = OUTCOMES[:3]


def by_list(tx: Connection) -> list[dict[str, Any]]:
    """Counts and the share confirmed (0 to 1, ``None`` before the first judged alert), by list."""
    counts: dict[str, Counter[str]] = {}
    for _, name, outcome, number in _counted(tx):
        if not name.startswith(CAMERA):
            counts.setdefault(name, Counter())[outcome] += number
    return [_told(list_id, counts[list_id]) for list_id in sorted(counts)]


def by_camera(tx: Connection) -> list[dict[str, Any]]:
    """Counts and the share of false hits (not confirmed or misread), by vehicle and camera."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for vehicle, name, outcome, number in _counted(tx):
        if name.startswith(CAMERA):
            key = (vehicle, name.removeprefix(CAMERA))
            counts.setdefault(key, Counter())[outcome] += number
    rows = []
    for (vehicle, camera), found in sorted(counts.items()):
        told = _told("", found)
        told.pop("list_id")
        rows.append({"vehicle": vehicle, "camera": camera, **told})
    return rows


def false_share(row: dict[str, Any]) -> float | None:
    """Of a row of this module: the share of judged alerts that were false hits, 0 to 1."""
    share = row["share_confirmed"]
    return None if share is None else round(1 - share, 3)


def _counted(tx: Connection) -> Iterator[tuple[str, str, str, int]]:
    """Vehicle, list or camera, outcome and number, of every shift's summary."""
    table = db.car_events
    # The text is searched first, so that a trail of a year is not parsed for some hundred events.
    found = select(table.c.vehicle, table.c.document).where(
        table.c.document.contains(f'"{SHIFT_ENDED}"')
    )
    for row in tx.execute(found):
        event = AuditEvent.model_validate_json(row.document)
        if event.event != SHIFT_ENDED:
            continue
        for key, number in event.detail.items():
            name, _, outcome = key.rpartition(":")
            if name and outcome in OUTCOMES and isinstance(number, int):
                yield row.vehicle, name, outcome, number


def _told(list_id: str, counts: Counter[str]) -> dict[str, Any]:
    judged = sum(counts[outcome] for outcome in _JUDGED)
    return {
        "list_id": list_id,
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "share_confirmed": round(counts["confirmed"] / judged, 3) if judged else None,
    }
