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
from dataclasses import dataclass, replace
from typing import Final

from alprd.instants import SECOND, suspended_ns
from alprd.records import Position

FASTEST: Final = 100.0
"""Metres a second: no patrol car drives faster."""
LATE_S: Final = 0.5
"""By so much the time between two fixes may be measured short: sentences wait for the wire."""
KEPT_NS: Final = 180 * SECOND
"""How long a fix is remembered: a pass asks for the instant of its best frame when it ends, and
may stay unsure for two minutes (:attr:`alprd.profiles.ReaderSettings.max_unsure_s`)."""
MOST_RATE: Final = 20
"""Fixes a second of the fastest receivers that are sold for cars."""
CONFIRM_JUMP: Final = (3, 2 * SECOND)
"""Fixes that agree, and the span they must cover, before a place out of reach is believed."""


@dataclass(frozen=True, slots=True)
class _Fix:
    mono_ns: int
    lat: float
    lon: float
    accuracy_m: float
    slept_ns: int
    jumped: bool = False
    """Nobody can have driven here from the fix before: one of the two places is false, or the car
    was carried (towed, a ferry, a tunnel)."""

    def metres(self, other: _Fix) -> float:
        """Distance on the mean sphere."""
        here, there = math.radians(self.lat), math.radians(other.lat)
        turn = math.radians(other.lon - self.lon)
        half = (
            math.sin((there - here) / 2) ** 2
            + math.cos(here) * math.cos(there) * math.sin(turn / 2) ** 2
        )
        return 2 * 6_371_009.0 * math.asin(math.sqrt(min(1.0, half)))

    def reaches(self, later: _Fix) -> bool:
        """Whether a car can have driven from here to a later fix, as exact as both are."""
        ran = later.mono_ns - self.mono_ns + max(0, later.slept_ns - self.slept_ns)
        way = FASTEST * (ran / SECOND + LATE_S)
        return self.metres(later) <= way + self.accuracy_m + later.accuracy_m


class PositionTrack:
    """Fixes on the monotonic clock, interpolated at a frame's instant. Thread-safe.

    Between two fixes at most ``max_gap_s`` apart: linear. The remainder of linear interpolation
    is bounded by ``a/2 * (t - t0) * (t1 - t)`` for acceleration ``a`` (3 m/s², hard driving); it
    is combined with the fixes' accuracy as a root of squares. Up to ``hold_s`` after a fix: that
    fix, its accuracy widened by the way that may have been driven since. Else None: a position is
    never invented (R-460.4.1-a2). Nor is one told over a sleep of the machine, in which the
    monotonic clock stands still and the car may have been towed away.

    A fix out of reach of the last one believed (:data:`FASTEST`; multipath, a spoofed receiver)
    is doubted, and there is no position from the last believed one on. If the next fix is within
    reach again, what was doubted is dropped and the track goes on at once. If instead
    :data:`CONFIRM_JUMP` doubted ones agree with each other, the car is there; the way between is
    never told. Silence widens the reach, so that a car out of a garage is believed at once.

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
        self._fixes: deque[_Fix] = deque(maxlen=KEPT_NS // SECOND * MOST_RATE)
        self._doubted: deque[_Fix] = deque(maxlen=64)
        self._dropped = 0
        self._lock = threading.Lock()

    def add(self, mono_ns: int, lat: float, lon: float, accuracy_m: float) -> None:
        """Adds a fix (WGS 84 degrees, 1-sigma metres). Fixes out of order are dropped.

        Raises:
            ValueError: a number that is not finite or not a place on Earth.
        """
        if not (abs(lat) <= 90 and abs(lon) <= 180 and 0 <= accuracy_m < math.inf):
            raise ValueError("fix is not a place on Earth")  # never the numbers: they go to logs
        with self._lock:
            fix = _Fix(mono_ns, lat, lon, accuracy_m, self._suspended_ns())
            newest = self._doubted or self._fixes
            if newest and mono_ns <= newest[-1].mono_ns:
                return
            if not self._fixes or self._fixes[-1].reaches(fix):
                self._dropped += len(self._doubted)
                self._doubted.clear()
                self._believe(fix)
            else:
                self._doubt(fix)

    def _believe(self, fix: _Fix) -> None:
        """Take a fix in, and forget what no pass can ask for any more."""
        self._fixes.append(fix)
        while len(self._fixes) > 2 and self._fixes[1].mono_ns < fix.mono_ns - KEPT_NS:
            self._fixes.popleft()

    def _doubt(self, fix: _Fix) -> None:
        agreeing = [other for other in self._doubted if other.reaches(fix)]
        self._dropped += len(self._doubted) - len(agreeing)
        self._doubted = deque([*agreeing, fix], maxlen=self._doubted.maxlen)
        count, span = CONFIRM_JUMP
        first = self._doubted[0]
        if len(self._doubted) >= count and fix.mono_ns - first.mono_ns >= span:
            # From here on, not from the first: while it was in doubt there was no position.
            self._believe(replace(fix, jumped=True))
            self._doubted.clear()

    @property
    def dropped(self) -> int:
        """Fixes that were out of reach and never confirmed; their places are forgotten."""
        with self._lock:
            return self._dropped

    def at(self, mono_ns: int) -> Position | None:
        """The position at an instant, or None when no fix is near enough, or it is in doubt."""
        with self._lock:
            index = bisect.bisect_right(self._fixes, mono_ns, key=lambda f: f.mono_ns)
            if index == 0:
                return None
            before = self._fixes[index - 1]
            after = self._fixes[index] if index < len(self._fixes) else None
            earlier = self._fixes[index - 2] if index >= 2 and not before.jumped else None
            broken = after.jumped if after is not None else bool(self._doubted)
        if broken and mono_ns > before.mono_ns:
            return None
        if after is not None and not after.jumped:
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
