"""Time of a frame: UTC disciplined by GPS and by central's signed time.

Frames are stamped on the monotonic clock (:func:`time.monotonic_ns`), which never steps. This
module maps those stamps to UTC and says truthfully when it cannot (R-460.4.1-a2). A car's system
clock may stand at 1970 or 2099 after a flat battery, so it is only a fallback, always marked
untrusted, and not even that where certain time proves it wrong.

:class:`DisciplinedClock` estimates ``UTC - monotonic`` as the median of recent agreeing GPS
observations. The time a sentence takes to arrive (0.05 to 0.5 s) is accepted as error. The
position is in :mod:`alprd.place`, what destruction goes by in :mod:`alprd.mark`.
"""

from __future__ import annotations

import bisect
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from alprd.errors import RefusedError
from alprd.instants import DRIFT, SECOND, from_ns, suspended_ns, to_ns
from alprd.place import KEPT_NS, PositionTrack

__all__ = ["SECOND", "ClockStatus", "DisciplinedClock", "PositionTrack", "from_ns", "to_ns"]

TOLERANCE_NS: Final = SECOND // 2
"""Observations this close to one another agree: jitter of NMEA over 4800 baud stays below it."""
ACQUIRE: Final = (5, 4 * SECOND)
"""Agreeing observations, and the span they must cover, before the first time is trusted."""
CONFIRM_JUMP: Final = (30, 30 * SECOND)
"""The same for a time that contradicts the one held."""
HOLDOVER_NS: Final = 30 * 60 * SECOND
"""Trust without GPS: a crystal at 100 ppm drifts 0.18 s in 30 minutes."""
CENTRAL_HOLDOVER_NS: Final = 24 * 3600 * SECOND
"""The same after central's signed time, which was only good to seconds: 8.6 s a day."""
CENTRAL_TOLERANCE_NS: Final = 60 * SECOND
"""GPS further than this from central's signed time of the same boot is disbelieved; so is any
time this far outside what certain time allows."""
SLEW: Final = 0.05
"""A backward correction slows time by this share instead of stepping back."""
SLEW_MAX_NS: Final = 20 * SECOND
"""Larger backward corrections wait for the next session (a cold receiver's missing leap seconds,
at most 18 s, are still slewed away)."""
EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
LATEST: Final = EARLIEST + timedelta(weeks=1024)
"""No time outside this window is believed; its width is one GPS week rollover."""

Bounds = tuple[datetime, datetime]
"""The true time is at least the first, and a believable time is before the second."""


def _within(bounds: Bounds | None, utc: datetime) -> bool:
    """Whether certain time leaves room for ``utc``."""
    slack = timedelta(microseconds=CENTRAL_TOLERANCE_NS // 1000)
    return bounds is None or bounds[0] - slack <= utc < bounds[1]


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """What the page, doctor and metrics show of the clock."""

    trusted: bool
    source: Literal["gps", "central", "system"]
    age_s: float | None
    """Seconds since the last agreeing observation."""
    system_error_s: float | None
    """System clock minus disciplined clock."""
    accepted: int
    rejected: int
    epoch: int
    """Counts discontinuities; it is constant while time runs evenly."""
    step_pending: bool
    """A backward correction waits for :meth:`DisciplinedClock.begin_session`."""
    known: bool = True
    """False: nothing tells the time. No GPS since boot, and certain time proves the system clock
    wrong, so no permit or list can be judged."""
    disbelieved: int = 0
    """Of ``rejected``: what contradicts central, or the bounds of certain time (a receiver after
    a lost week rollover, a spoofed one)."""


class DisciplinedClock:
    """Maps monotonic instants to UTC. Thread-safe.

    Trusted time never runs backwards within a session: small corrections are slewed, large
    backward ones leave the clock untrusted until :meth:`begin_session`. Going from the untrusted
    system clock to the first GPS time may go either way; ``status().epoch`` counts that and every
    other discontinuity, so that a caller may split its session there.

    Args:
        system_ns, monotonic_ns, suspended_ns: clocks, replaceable to test their failures.
    """

    def __init__(
        self,
        *,
        system_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        suspended_ns: Callable[[], int] = suspended_ns,
    ) -> None:
        self._system_ns = system_ns
        self._monotonic_ns = monotonic_ns
        self._suspended_ns = suspended_ns
        self._lock = threading.Lock()
        self._suspended = suspended_ns()
        self._epoch = 0
        self._accepted = 0
        self._rejected = 0
        self._disbelieved = 0
        self._woke = -(2**63)  # frames from before the last sleep have no trusted time any more
        self._system_offset: int | None = None
        self._bounds: Callable[[], Bounds | None] = lambda: None
        self._forget()

    def _forget(self) -> None:
        self._source: Literal["gps", "central", "system"] = "system"
        self._offset: int | None = None
        self._pending: tuple[int, Literal["gps", "central"]] | None = None
        self._central: tuple[int, int] | None = None  # offset, instant
        self._last_good = 0
        self._stepped_at: int | None = None
        self._latest_query = 0
        self._good: deque[int] = deque(maxlen=31)
        self._candidates: deque[tuple[int, int]] = deque(maxlen=64)  # offset, instant
        # The mapping in force: (start, offset there, target). Kept, never rewritten, so that a
        # late question about an old frame gets the answer that its time had.
        self._segments: deque[tuple[int, int, int]] = deque(maxlen=4096)

    def bound_by(self, bounds: Callable[[], Bounds | None]) -> None:
        """Certain time bounds what is believed from now on (:class:`alprd.mark.PurgeClock`).

        Args:
            bounds: of this moment, or None while nothing is certain; must not call the clock.
        """
        self._bounds = bounds

    def observe(self, utc: datetime, mono_ns: int, *, corrected: bool = False) -> None:
        """Takes one GPS time that arrived at ``mono_ns``.

        Args:
            corrected: the receiver lost a week rollover, and ``utc`` is its date plus a multiple
                of 1024 weeks. That is a guess unless certain time bounds it: of the dates that
                the receiver may mean, 19.6 years apart, at most one lies in bounds that are
                narrower (:data:`alprd.mark.MARK_WINDOW`).

        Raises:
            ValueError: ``utc`` has no zone.
        """
        if utc.tzinfo is None:
            raise ValueError("observation without a zone; give UTC")
        offset = to_ns(utc) - mono_ns
        bounds = self._bounds()
        with self._lock:
            self._notice_sleep()
            if (
                not EARLIEST <= utc < LATEST
                or (corrected and bounds is None)
                or not _within(bounds, utc)
                or self._contradicts_central(offset, mono_ns)
            ):
                self._rejected += 1
                self._disbelieved += 1
                self._candidates.clear()
                return
            if self._offset is not None and self._source == "gps":
                allowed = TOLERANCE_NS + int(DRIFT * max(0, mono_ns - self._last_good))
                if abs(offset - self._offset) <= allowed:
                    self._accept(offset, mono_ns)
                    return
            self._consider(offset, mono_ns)

    def observe_central(self, utc: datetime, mono_ns: int) -> None:
        """Takes a time signed by central, received at ``mono_ns`` in a fresh exchange.

        Central outranks GPS: a receiver more than a minute away from it is disbelieved for the
        rest of the boot, or until central speaks again.

        Raises:
            ValueError: ``utc`` has no zone.
        """
        if utc.tzinfo is None:
            raise ValueError("observation without a zone; give UTC")
        offset = to_ns(utc) - mono_ns
        with self._lock:
            self._notice_sleep()
            self._central = (offset, mono_ns)
            near = self._offset is not None and abs(offset - self._offset) <= CENTRAL_TOLERANCE_NS
            if near and self._trusted(mono_ns):  # GPS knows it more closely
                if self._source == "central":
                    self._last_good = mono_ns
                return
            self._candidates.clear()
            self._adopt(offset, mono_ns, "central")

    def utc(self, mono_ns: int) -> tuple[datetime, bool]:
        """UTC of a monotonic instant, and whether it may be trusted.

        Before the first trusted time it is the system clock's; where certain time proves that
        wrong (a dead battery's 1970 or 2099), the earliest that the time can be.
        """
        bounds = self._bounds()
        with self._lock:
            self._notice_sleep()
            now = self._monotonic_ns()
            if self._offset is None:
                # Within a session the fallback follows the system clock forwards only.
                system = self._fallback(bounds) - now
                if self._system_offset is None or system > self._system_offset:
                    self._system_offset = system
                return from_ns(mono_ns + self._system_offset), False
            self._latest_query = max(self._latest_query, min(mono_ns, now))
            return from_ns(mono_ns + self._mapped(mono_ns)), self._trusted(mono_ns)

    def now(self) -> tuple[datetime, bool]:
        """:meth:`utc` of this moment."""
        return self.utc(self._monotonic_ns())

    def _fallback(self, bounds: Bounds | None) -> int:
        system = self._system_ns()
        if bounds is None or _within(bounds, from_ns(system)):
            return system
        return to_ns(bounds[0])

    def system_utc(self) -> datetime:
        """What the system clock says, right or wrong."""
        return from_ns(self._system_ns())

    def judging_time(self) -> datetime:
        """The time by which a permit or an authority is judged before a session begins.

        Raises:
            RefusedError: ``time_unknown``; a lapsed permit must not come alive because the
                system clock is wrong (R-13.824-6-6).
        """
        if not self.status().known:
            raise RefusedError(
                "This car does not know the time: its clock is wrong and GPS gives none yet.",
                reason="time_unknown",
                remedy="wait for GPS under open sky, or dock the car; then check the clock's "
                "battery: alprd doctor",
            )
        return self.now()[0]

    def begin_session(self) -> None:
        """A new session begins: a pending backward correction may take effect now."""
        with self._lock:
            self._system_offset = None
            if self._pending is not None:
                self._start(self._pending[0], self._monotonic_ns(), self._pending[1])

    def system_agrees(self, tolerance_s: float = 60.0) -> bool | None:
        """Whether the system clock is near the disciplined one; None while untrusted.

        TLS and the update client read the system clock, so no list, permit or certificate is
        judged while this is False.
        """
        status = self.status()
        if not status.trusted or status.system_error_s is None:
            return None
        return abs(status.system_error_s) <= tolerance_s

    def status(self) -> ClockStatus:
        """A snapshot; does not change the clock."""
        bounds = self._bounds()
        with self._lock:
            now = self._monotonic_ns()
            known = self._offset is not None
            error = self._system_ns() - (now + self._mapped(now)) if known else None
            return ClockStatus(
                trusted=known and self._trusted(now),
                source=self._source,
                age_s=(now - self._last_good) / SECOND if known else None,
                system_error_s=error / SECOND if error is not None else None,
                accepted=self._accepted,
                rejected=self._rejected,
                epoch=self._epoch,
                step_pending=self._pending is not None,
                known=known or _within(bounds, from_ns(self._system_ns())),
                disbelieved=self._disbelieved,
            )

    def _notice_sleep(self) -> None:
        suspended = self._suspended_ns()
        if suspended - self._suspended > SECOND:
            self._forget()
            self._epoch += 1
            self._woke = self._monotonic_ns()
        # Never lowered: a thread held up between the two readings sees too little sleep, not more.
        self._suspended = max(self._suspended, suspended)

    def _contradicts_central(self, offset: int, mono_ns: int) -> bool:
        if self._central is None:
            return False
        central, at = self._central
        return abs(offset - central) > CENTRAL_TOLERANCE_NS + DRIFT * abs(mono_ns - at)

    def _accept(self, offset: int, mono_ns: int) -> None:
        self._accepted += 1
        self._candidates.clear()
        self._pending = None
        self._good.append(offset)
        self._last_good = max(self._last_good, mono_ns)
        self._offset = int(statistics.median(self._good))
        self._retarget(self._offset, mono_ns)

    def _consider(self, offset: int, mono_ns: int) -> None:
        """An observation that contradicts the held time, or comes before there is one."""
        self._rejected += 1
        agreeing = [c for c in self._candidates if abs(c[0] - offset) <= TOLERANCE_NS]
        agreeing.append((offset, mono_ns))
        self._candidates = deque(agreeing, maxlen=64)
        count, span = CONFIRM_JUMP if self._source == "gps" else ACQUIRE
        instants = [c[1] for c in agreeing]
        if len(agreeing) >= count and max(instants) - min(instants) >= span:
            self._adopt(int(statistics.median(c[0] for c in agreeing)), mono_ns, "gps")

    def _adopt(self, offset: int, mono_ns: int, source: Literal["gps", "central"]) -> None:
        if self._offset is None:
            self._start(offset, mono_ns, source)
        elif offset - self._offset < -SLEW_MAX_NS:
            self._pending = (offset, source)  # untrusted from here; candidates keep refining it
        else:
            step = offset - self._offset > SLEW_MAX_NS
            self._reference(offset, mono_ns, source)
            self._retarget(offset, mono_ns, step=step)

    def _start(self, offset: int, mono_ns: int, source: Literal["gps", "central"]) -> None:
        self._segments.clear()
        self._segments.append((mono_ns, offset, offset))
        self._stepped_at = None
        self._latest_query = 0
        self._epoch += 1
        self._reference(offset, mono_ns, source)

    def _reference(self, offset: int, mono_ns: int, source: Literal["gps", "central"]) -> None:
        self._offset = offset
        self._source = source
        self._pending = None
        self._last_good = mono_ns
        self._good.clear()
        self._good.extend(c[0] for c in self._candidates)
        self._accepted += len(self._candidates)
        self._rejected -= len(self._candidates)
        self._candidates.clear()

    def _retarget(self, target: int, mono_ns: int, *, step: bool = False) -> None:
        if not step and abs(target - self._segments[-1][2]) < 1_000_000:
            return  # below a millisecond: not worth a segment
        start = max(mono_ns, self._latest_query + 1, self._segments[-1][0])
        offset = target if step else self._mapped(start)
        if step:
            self._stepped_at = start
            self._epoch += 1
        self._segments.append((start, offset, target))
        while len(self._segments) > 1 and self._segments[1][0] <= start - KEPT_NS:
            self._segments.popleft()  # nobody asks for an instant of before the second one

    def _mapped(self, mono_ns: int) -> int:
        index = bisect.bisect_right(self._segments, mono_ns, key=lambda s: s[0]) - 1
        start, offset, target = self._segments[max(index, 0)]
        reach = int(SLEW * max(0, mono_ns - start))
        return offset + max(-reach, min(reach, target - offset))

    def _trusted(self, mono_ns: int) -> bool:
        if self._pending is not None or mono_ns < self._woke:
            return False
        if self._stepped_at is not None and mono_ns < self._stepped_at:
            return False
        held = HOLDOVER_NS if self._source == "gps" else CENTRAL_HOLDOVER_NS
        return abs(mono_ns - self._last_good) <= held
