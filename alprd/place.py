"""Where the car was at a frame's instant: fixes on the monotonic clock, interpolated.

A position is never invented (R-460.4.1-a2): without a fix near enough there is none, and what is
told carries the accuracy that is left.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from alprd.instants import SECOND, suspended_ns
from alprd.records import Position


@dataclass(frozen=True, slots=True)
class _Fix:
    mono_ns: int
    lat: float
    lon: float
    accuracy_m: float
    slept_ns: int


class PositionTrack:
    """Fixes on the monotonic clock, interpolated at a frame's instant. Thread-safe.

    Between two fixes at most ``max_gap_s`` apart: linear. The remainder of linear interpolation
    is bounded by ``a/2 * (t - t0) * (t1 - t)`` for acceleration ``a`` (3 m/s², hard driving); it
    is combined with the fixes' accuracy as a root of squares. Up to ``hold_s`` after a fix: that
    fix, its accuracy widened by the way that may have been driven since. Else None: a position is
    never invented (R-460.4.1-a2). Nor is one told over a sleep of the machine, in which the
    monotonic clock stands still and the car may have been towed away.

    Args:
        max_gap_s: longest time between fixes that are joined.
        hold_s: how long the last fix holds.
        suspended_ns: how long the machine has slept, replaceable to test it.
    """

    ACCELERATION = 3.0
    METRES_PER_DEGREE = 111_195.0  # mean sphere of 6 371 009 m

    def __init__(
        self,
        *,
        max_gap_s: float = 5.0,
        hold_s: float = 2.0,
        suspended_ns: Callable[[], int] = suspended_ns,
    ) -> None:
        self._suspended_ns = suspended_ns
        self._max_gap = int(max_gap_s * SECOND)
        self._hold = int(hold_s * SECOND)
        self._fixes: deque[_Fix] = deque(maxlen=1200)
        self._lock = threading.Lock()

    def add(self, mono_ns: int, lat: float, lon: float, accuracy_m: float) -> None:
        """Adds a fix (WGS 84 degrees, 1-sigma metres). Fixes out of order are dropped.

        Raises:
            ValueError: a number that is not finite or not a place on Earth.
        """
        if not (abs(lat) <= 90 and abs(lon) <= 180 and 0 <= accuracy_m < math.inf):
            raise ValueError("fix is not a place on Earth")  # never the numbers: they go to logs
        with self._lock:
            if not self._fixes or mono_ns > self._fixes[-1].mono_ns:
                self._fixes.append(_Fix(mono_ns, lat, lon, accuracy_m, self._suspended_ns()))

    def at(self, mono_ns: int) -> Position | None:
        """The position at an instant, or None when no fix is near enough."""
        with self._lock:
            index = bisect.bisect_right(self._fixes, mono_ns, key=lambda f: f.mono_ns)
            if index == 0:
                return None
            before = self._fixes[index - 1]
            after = self._fixes[index] if index < len(self._fixes) else None
            earlier = self._fixes[index - 2] if index >= 2 else None
        if after is not None:
            joined = after.mono_ns - before.mono_ns <= self._max_gap
            if joined and after.slept_ns - before.slept_ns <= SECOND:
                return self._between(before, after, mono_ns)
        awake = after is not None or self._suspended_ns() - before.slept_ns <= SECOND
        if awake and mono_ns - before.mono_ns <= self._hold:
            return self._held(earlier, before, mono_ns)
        return None

    def _between(self, a: _Fix, b: _Fix, mono_ns: int) -> Position:
        since, until = (mono_ns - a.mono_ns) / SECOND, (b.mono_ns - mono_ns) / SECOND
        w = since / (since + until)
        turn = (b.lon - a.lon + 180.0) % 360.0 - 180.0  # the short way over the date line
        lon = (a.lon + w * turn + 180.0) % 360.0 - 180.0
        curve = self.ACCELERATION / 2 * since * until
        fixes = (1 - w) * a.accuracy_m + w * b.accuracy_m
        return Position(
            lat=a.lat + w * (b.lat - a.lat), lon=lon, accuracy_m=math.hypot(fixes, curve)
        )

    def _held(self, earlier: _Fix | None, last: _Fix, mono_ns: int) -> Position:
        since = (mono_ns - last.mono_ns) / SECOND
        speed = 40.0  # unknown: a pursuit's
        if earlier is not None and last.mono_ns - earlier.mono_ns <= self._max_gap:
            elapsed = (last.mono_ns - earlier.mono_ns) / SECOND
            north = last.lat - earlier.lat
            east = (last.lon - earlier.lon + 180.0) % 360.0 - 180.0
            east *= math.cos(math.radians(last.lat))
            speed = math.hypot(north, east) * self.METRES_PER_DEGREE / elapsed
        way = speed * since + self.ACCELERATION / 2 * since * since
        return Position(lat=last.lat, lon=last.lon, accuracy_m=math.hypot(last.accuracy_m, way))
