"""The high-water mark of time that decides destruction (R-460.5-2b, R-460.5-4).

A car's system clock may stand at 1970 or 2099. Set back, it must not extend the life of a read;
set forward, it must not destroy reads early. So destruction goes by a mark that only trusted time
raises: GPS that agrees with the monotonic clock, or time signed by central.

What follows from it for the life of a read, and how late destruction can be
(docs/adr/0020-untrusted-time.md):

- Collected in trusted time: its life counts from its instant, and it is destroyed when the mark
  gets there: at boot once time is trusted, else within the hour.
- Collected in untrusted time: its life counts from the earliest that the time can have been
  (:meth:`PurgeClock.life_from`), so never too long; once time is trusted in the same boot, from
  its true instant (:mod:`alprd.lives`).
- No trusted time at all: the mark still advances by running time; after :data:`LONGEST_WAIT` of
  it the untrusted clock decides.
- A poisoned mark destroys up to :data:`MARK_WINDOW` early, until central's signed time repairs
  it; lives counted from poisoned time are cut to what certain time allows.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from alprd.clock import EARLIEST, LATEST, Bounds, DisciplinedClock
from alprd.instants import DRIFT, boottime_ns
from alprd.records import MAX_LIFE, hour_floor

log = logging.getLogger(__name__)

LONGEST_WAIT: Final = timedelta(days=7)
"""Running time without trusted time after which the untrusted clock decides destruction."""
MARK_WINDOW: Final = timedelta(days=400)
"""GPS may raise the mark by at most this over central's last signed time, in however many steps.
A car that has not met central for so long has neither permit nor reads left."""
_OLDEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
    """Running time since then, over all boots; sleep counts, time without power does not."""
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
            utc, central = (
                datetime.fromisoformat(values[name]) if values[name] else None
                for name in ("utc", "central")
            )
            ran = timedelta(seconds=values["ran_s"])
            if not timedelta(0) <= ran < LATEST - EARLIEST:
                raise ValueError("a mark runs forwards")
            if any(t is not None and not _OLDEST <= t < LATEST for t in (utc, central)):
                raise ValueError("no such time")
            return cls(utc=utc, ran=ran, central=central)
        except (ValueError, KeyError, TypeError, OverflowError):
            log.error("the kept time mark is damaged; trusted time must set a new one")
            return cls()

    def advanced(self, running: timedelta) -> TimeMark:
        """The mark after ``running`` more of the monotonic clock."""
        return replace(self, ran=self.ran + max(running, timedelta(0)))

    def raised(self, utc: datetime) -> TimeMark:
        """The mark after trusted GPS time; unchanged when ``utc`` lies outside the sane window.

        The window ends :data:`MARK_WINDOW` after central's last time. A car that never met
        central takes its first GPS time inside ``EARLIEST``…``LATEST``.
        """
        bounds = self.bounds()
        if not EARLIEST <= utc < (LATEST if bounds is None else bounds[1]):
            return self
        floor = self.lower_bound()
        return replace(self, utc=utc if floor is None else max(utc, floor), ran=timedelta(0))

    def at_least(self, utc: datetime) -> TimeMark:
        """The mark after a document that central signed at ``utc``: the time is later than that.

        Gives a car whose mark was lost with its database a floor again; never lowers one.
        """
        floor = self.lower_bound()
        if floor is not None and utc <= floor:
            return self
        return replace(self, utc=utc, ran=timedelta(0), central=max(utc, self.central or utc))

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

    def bounds(self) -> Bounds | None:
        """The earliest that the time can be, and where belief in GPS ends; None: all is open."""
        floor = self.lower_bound()
        if floor is None:
            return None
        return floor, min((self.central or floor) + MARK_WINDOW, LATEST)

    def overdue(self) -> bool:
        """No trusted time for :data:`LONGEST_WAIT` of running: the car must see GPS or the dock."""
        return self.ran >= LONGEST_WAIT

    def purge_time(self, untrusted_now: datetime | None = None) -> datetime | None:
        """Reads whose destroy-by is not later than this must go; None: nothing is certain yet.

        ``untrusted_now`` (the system clock) counts only after :data:`LONGEST_WAIT` of running
        without trusted time, and never where it is impossible: a clock at 2099 destroys nothing.
        """
        floor, bounds = self.lower_bound(), self.bounds()
        if untrusted_now is None or not self.overdue():
            return floor
        if not EARLIEST <= untrusted_now < (LATEST if bounds is None else bounds[1]):
            return floor
        return untrusted_now if floor is None else max(floor, untrusted_now)

    def locked(self, destroy_by: datetime, untrusted_now: datetime) -> bool:
        """Whether a read may be overdue by an untrusted clock: keep, but neither show nor use."""
        certain = self.purge_time(untrusted_now)
        return untrusted_now >= destroy_by and (certain is None or certain < destroy_by)


class PurgeClock:
    """Joins clock and mark: call :meth:`tick` every minute or so, persist :attr:`mark` after it.

    It also tells the clock what certain time leaves room for
    (:meth:`alprd.clock.DisciplinedClock.bound_by`).

    Args:
        mark: as kept from the last boot.
        running_ns: the boot-time clock, replaceable to test it.
    """

    def __init__(
        self,
        clock: DisciplinedClock,
        mark: TimeMark | None = None,
        *,
        running_ns: Callable[[], int] = boottime_ns,
    ) -> None:
        self._clock = clock
        self._running_ns = running_ns
        self._lock = threading.Lock()
        # Mark and the instant it holds for, in one: bounds() reads them without the lock.
        self._held = (mark or TimeMark(), running_ns())
        clock.bound_by(self.bounds)

    @property
    def mark(self) -> TimeMark:
        """The mark to persist."""
        return self._held[0]

    def _current(self, now_ns: int) -> TimeMark:
        """The mark as of now. Running time counts a little short, by the worst of crystals, so
        that a fast one never brings the mark ahead of the true time."""
        mark, since = self._held
        return mark.advanced(timedelta(microseconds=(now_ns - since) * (1 - DRIFT) // 1000))

    def bounds(self) -> Bounds | None:
        """As :meth:`TimeMark.bounds`, of this moment; takes no lock."""
        return self._current(self._running_ns()).bounds()

    def tick(self) -> TimeMark:
        """Advances the mark by running time and, when time is trusted, raises it."""
        with self._lock:
            utc, trusted = self._clock.now()
            now_ns = self._running_ns()
            mark = self._current(now_ns)
            self._held = (mark.raised(utc) if trusted else mark, now_ns)
            return self._held[0]

    def central(self, utc: datetime, mono_ns: int | None = None) -> TimeMark:
        """Takes time signed by central in a fresh exchange, for clock and mark alike.

        Args:
            mono_ns: monotonic instant that ``utc`` belongs to (default: now).
        """
        with self._lock:
            now_ns = self._running_ns()
            self._held = (self._current(now_ns).by_central(utc), now_ns)
            self._clock.observe_central(utc, time.monotonic_ns() if mono_ns is None else mono_ns)
            return self._held[0]

    def at_least(self, utc: datetime) -> TimeMark:
        """As :meth:`TimeMark.at_least`, for a verified document such as the kept permit."""
        with self._lock:
            now_ns = self._running_ns()
            self._held = (self._current(now_ns).at_least(utc), now_ns)
            return self._held[0]

    def life_from(self, instant: datetime, trusted: bool) -> datetime:
        """The instant that a read's life counts from, so that it never lives too long.

        In trusted time its own; else the earliest that the time can be, unless the untrusted
        instant is earlier still.
        """
        bounds = self.bounds()
        return instant if trusted or bounds is None else min(instant, bounds[0])

    def latest_destroy_by(self) -> datetime | None:
        """No read that exists now may have a later destroy-by; None while time is untrusted.

        One that has was stamped in poisoned time: it was collected before now, and lives no
        longer than 60 days (R-460.5-4).
        """
        floor = self.tick().lower_bound()
        trusted = self._clock.now()[1]
        return hour_floor(floor + MAX_LIFE) if trusted and floor is not None else None

    def purge_time(self) -> datetime | None:
        """Reads with destroy-by up to this instant must go now; None: destroy nothing."""
        return self.tick().purge_time(self._clock.system_utc())
