"""Valid records to start tests from; every plate, place and name is invented."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np

from alprd.records import Plate, Position, Read, destroy_by, new_id
from alprd.wire import SessionRow

NOW = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)


def jpeg(width: int = 60, height: int = 30, seed: int = 0) -> bytes:
    """A small picture as the car encodes it."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    ok, data = cv2.imencode(".jpg", pixels)
    assert ok
    return data.tobytes()


def read(**changes: Any) -> Read:
    """A read of an invented plate."""
    instant = changes.pop("instant", NOW)
    values: dict[str, Any] = {
        "id": new_id(),
        "session": new_id(),
        "destroy_by": destroy_by(instant),
        "plate": Plate(text="ZQX417", state="MN", plate_type="passenger"),
        "instant": instant,
        "time_trusted": True,
        "position": Position(lat=46.8171, lon=-95.8453, accuracy_m=4.0),
        "plate_picture": jpeg(),
        "wide_picture": jpeg(120, 80, 1),
    }
    return Read.model_validate(values | changes)


def session_row(**changes: Any) -> SessionRow:
    """A row of the public log that has counted nothing yet."""
    values: dict[str, Any] = {
        "id": new_id(),
        "reader": "1",
        "purpose": "routine patrol",
        "policy_version": "460-2026",
        "started": NOW,
        "ended": NOW,
        "end_reason": "power_lost",
        "plates_read": 0,
        "distinct_plates": 0,
        "queued": 0,
        "matches": {},
    }
    return SessionRow.model_validate(values | changes)
