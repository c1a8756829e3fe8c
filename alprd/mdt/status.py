"""What the status bar tells about the car, as plain data that the daemon fills.

Ages are seconds or hours; ``None`` means never, or unknown. Counts and health only: the page has
no reads to browse (R-460.6-a2). Rules: R-460.4.1-b4 (list age light), R-13.824-6-6 (permit).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Light = Literal["ok", "warn", "stop"]

CAMERA_STALE_S = 2.0
"""A camera whose last decoded frame is older is shown as down: judged by age, never by handle."""
PERMIT_WARN_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera; ``age_s`` is the age of its last decoded frame, ``text`` one line for people."""

    name: str
    up: bool
    age_s: float | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class ListState:
    """One loaded list and how long ago its supplier made it."""

    list_id: str
    source: str
    age_h: float


@dataclass(frozen=True, slots=True)
class CarStatus:
    """The car at one moment.

    ``dock`` is the dock worker's own plain text; ``queued`` counts sealed reads not yet received
    by central; ``person`` names who is signed on, if anyone.
    """

    cameras: tuple[CameraState, ...] = ()
    gps_fix: bool = False
    gps_age_s: float | None = None
    clock_trusted: bool = False
    lists: tuple[ListState, ...] = ()
    permit_expires: datetime | None = None
    queued: int = 0
    dock: str = ""
    session_open: bool = False
    plates_read: int = 0
    person: str | None = None
    list_warn_hours: float = 24
    list_stop_hours: float = 72
    alarms: tuple[str, ...] = ()
    """What is wrong with the car itself, in words ready to show; never plates or names."""
    post: bool = False
    """The car has collected at one place for hours: it is to be declared stationary
    (R-460.5.1-d)."""

    def list_light(self) -> Light:
        """Colour of the oldest list; no list at all stops matching too."""
        if not self.lists or any(one.age_h >= self.list_stop_hours for one in self.lists):
            return "stop"
        old = any(one.age_h >= self.list_warn_hours for one in self.lists)
        return "warn" if old else "ok"

    def permit_light(self, now: datetime) -> Light:
        """Colour of the permit: warns four hours ahead."""
        if self.permit_expires is None or self.permit_expires <= now:
            return "stop"
        return "warn" if self._permit_left_s(now) < PERMIT_WARN_S else "ok"

    def _permit_left_s(self, now: datetime) -> float:
        left = self.permit_expires - now if self.permit_expires else None
        return max(0.0, left.total_seconds()) if left is not None else 0.0

    def as_json(self, now: datetime) -> dict[str, object]:
        """The ``status`` event of the page; every light is decided here, not in the browser.

        ``now`` lets the page count ages by the car's clock: the browser's may stand wrong.
        """
        return {
            "now": now.isoformat(),
            "cameras": [
                {
                    "name": camera.name,
                    "light": _camera_light(camera),
                    "age_s": None if camera.age_s is None else round(camera.age_s, 1),
                    "text": camera.text,
                }
                for camera in self.cameras
            ],
            "gps": {
                "light": "ok" if self.gps_fix else "warn",
                "age_s": None if self.gps_age_s is None else round(self.gps_age_s, 1),
            },
            "clock": {"light": "ok" if self.clock_trusted else "warn"},
            "lists": {
                "light": self.list_light(),
                "oldest_h": round(max((one.age_h for one in self.lists), default=0.0), 1),
                "each": [
                    {"list": one.list_id, "source": one.source, "age_h": round(one.age_h, 1)}
                    for one in self.lists
                ],
            },
            "permit": {
                "light": self.permit_light(now),
                "left_s": round(self._permit_left_s(now)),
            },
            "queued": self.queued,
            "dock": self.dock,
            "session_open": self.session_open,
            "plates_read": self.plates_read,
            "person": self.person,
            "alarms": list(self.alarms),
            "post": self.post,
        }


def _camera_light(camera: CameraState) -> Light:
    fresh = camera.age_s is not None and camera.age_s <= CAMERA_STALE_S
    return "ok" if camera.up and fresh else "stop"
