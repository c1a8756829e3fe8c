"""The high-water mark of time that decides destruction (R-460.5-2b, R-460.5-4).

A car's system clock may stand at 1970 or 2099. Set back, it must not extend the life of a read;
set forward, it must not destroy reads early. So destruction goes by a mark that only trusted time
raises: GPS that agrees with the monotonic clock, or time signed by central.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from alprd.clock import EARLIEST, LATEST, DisciplinedClock

log = logging.getLogger(__name__)

LONGEST_WAIT: Final = timedelta(days=7)
"""Running time without trusted time after which the untrusted clock decides destruction."""
MARK_WINDOW: Final = timedelta(days=400)
"""GPS may raise the mark by at most this over the last certain time."""


@dataclass(frozen=True, slots=True)
class TimeMark:
    """High-water mark of time for destroy-by; immutable, persisted by the store.

    ``utc + ran`` never exceeds the true time unless ``utc`` was poisoned: a rolled-back clock
    cannot extend the life of a read, and a clock that jumps ahead cannot shorten it (R-460.5-2b).
    Only :meth:`raised` and :meth:`by_central` take in time, and only trusted time.
    """

    utc: datetime | None = None
    """The latest trusted time."""
    ran: timedelta = timedelta(0)
    """Running time since then, over all boots."""
    central: datetime | None = None
    """The latest time signed by central."""

    def dump(self) -> str:
        """The mark as text for the store."""
        return json.dumps(
            {
                "utc": self.utc.isoformat() if self.utc else None,
                "ran_s": self.ran.total_seconds(),
                "central": self.central.isoformat() if self.central else None,
            }
        )

    @classmethod
    def load(cls, text: str | None) -> TimeMark:
        """The inverse of :meth:`dump`; a damaged text is no mark at all, and is logged."""
        if text is None:
            return cls()
        try:
            values = json.loads(text)
            return cls(
                utc=datetime.fromisoformat(values["utc"]) if values["utc"] else None,
                ran=timedelta(seconds=values["ran_s"]),
                central=datetime.fromisoformat(values["central"]) if values["central"] else None,
            )
        except (ValueError, KeyError, TypeError):
            log.error("the kept time mark is damaged; trusted time must set a new one")
            return cls()

    def advanced(self, running: timedelta) -> TimeMark:
        """The mark after ``running`` more of the monotonic clock."""
        return replace(self, ran=self.ran + max(running, timedelta(0)))

    def raised(self, utc: datetime) -> TimeMark:
        """The mark after trusted GPS time; unchanged when ``utc`` lies outside the sane window.

        The window ends :data:`MARK_WINDOW` after the last certain time. A car that never met
        central takes its first GPS time inside ``EARLIEST``…``LATEST``.
        """
        certain = max((t for t in (self.utc, self.central) if t is not None), default=None)
        ceiling = LATEST if certain is None else certain + self.ran + MARK_WINDOW
        if not EARLIEST <= utc < min(ceiling, LATEST):
            return self
        floor = self.lower_bound()
        return replace(self, utc=utc if floor is None else max(utc, floor), ran=timedelta(0))

    def by_central(self, utc: datetime) -> TimeMark:
        """The mark after time signed by central in a fresh exchange; repairs a poisoned mark.

        An older signed time than one already seen is a replay and changes nothing, so it cannot
        extend the life of a read. The caller must have made sure of freshness (own nonce).
        """
        if self.central is not None and utc <= self.central:
            return self
        return TimeMark(utc=utc, ran=timedelta(0), central=utc)

    def lower_bound(self) -> datetime | None:
        """The true time is at least this."""
        return None if self.utc is None else self.utc + self.ran

    def purge_time(self, untrusted_now: datetime | None = None) -> datetime | None:
        """Reads whose destroy-by is not later than this must go; None: nothing is certain yet.

        ``untrusted_now`` (the system clock) counts only after :data:`LONGEST_WAIT` of running
        without trusted time.
        """
        floor = self.lower_bound()
        if untrusted_now is None or self.ran < LONGEST_WAIT:
            return floor
        return untrusted_now if floor is None else max(floor, untrusted_now)

    def locked(self, destroy_by: datetime, untrusted_now: datetime) -> bool:
        """Whether a read may be overdue by an untrusted clock: keep, but neither show nor use."""
        certain = self.purge_time(untrusted_now)
        return untrusted_now >= destroy_by and (certain is None or certain < destroy_by)


class PurgeClock:
    """Joins clock and mark: call :meth:`tick` every minute or so, persist :attr:`mark` after it."""

    def __init__(self, clock: DisciplinedClock, mark: TimeMark | None = None) -> None:
        self._clock = clock
        self._mark = mark or TimeMark()
        self._lock = threading.Lock()
        self._ticked_ns = time.monotonic_ns()

    @property
    def mark(self) -> TimeMark:
        """The mark to persist."""
        return self._mark

    def tick(self) -> TimeMark:
        """Advances the mark by running time and, when time is trusted, raises it."""
        with self._lock:
            now_ns = time.monotonic_ns()
            running = timedelta(microseconds=(now_ns - self._ticked_ns) // 1000)
            self._ticked_ns = now_ns
            self._mark = self._mark.advanced(running)
            utc, trusted = self._clock.utc(now_ns)
            if trusted:
                self._mark = self._mark.raised(utc)
            return self._mark

    def central(self, utc: datetime) -> TimeMark:
        """Takes time signed by central in a fresh exchange, for clock and mark alike."""
        with self._lock:
            now_ns = time.monotonic_ns()
            self._clock.observe_central(utc, now_ns)
            self._ticked_ns = now_ns
            self._mark = self._mark.by_central(utc)
            return self._mark

    def purge_time(self) -> datetime | None:
        """Reads with destroy-by up to this instant must go now; None: destroy nothing."""
        self.tick()
        return self._mark.purge_time(self._clock.now()[0])
