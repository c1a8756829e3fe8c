"""Lives of reads that were collected before the car knew the time.

Such a read is stamped with the earliest end its life can have, because nothing says how long the
car had been without power (:meth:`alprd.mark.PurgeClock.life_from`): it never lives too long, but
might die early by that time. As soon as time is trusted in the same boot, its true instant is
known by the machine's own running clock, and the queue's destroy-by is set to the true end. The
clear header of the envelope keeps the early one: it is sealed, and central may only shorten.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from alprd.clock import DisciplinedClock
from alprd.errors import StoreError
from alprd.instants import DRIFT, boottime_ns
from alprd.mark import PurgeClock
from alprd.records import destroy_by
from alprd.store import Store

log = logging.getLogger(__name__)

MOST: Final = 50_000
"""Reads remembered; of more, the oldest keep their early end. 50,000 take some 10 MB."""


class Lives:
    """Stamps reads with their end, and corrects it once when the time becomes known. Thread-safe.

    Args:
        running_ns: the boot-time clock, replaceable to test it.
    """

    def __init__(
        self,
        store: Store,
        clock: DisciplinedClock,
        mark: PurgeClock,
        *,
        running_ns: Callable[[], int] = boottime_ns,
    ) -> None:
        self._store = store
        self._clock = clock
        self._mark = mark
        self._running_ns = running_ns
        self._lock = threading.Lock()
        self._unsure: deque[tuple[str, int, timedelta]] = deque(maxlen=MOST)

    def end(self, instant: datetime, trusted: bool, life: timedelta) -> datetime:
        """Destroy-by of a read collected at ``instant`` (R-460.5-4).

        Raises:
            InputError: ``life`` is negative or longer than 60x24 h.
        """
        return destroy_by(self._mark.life_from(instant, trusted), life)

    def unsure(self, read: str, age_ns: int, life: timedelta) -> None:
        """A read was committed in untrusted time, ``age_ns`` after its frame."""
        with self._lock:
            self._unsure.append((read, self._running_ns() - age_ns, life))

    def settle(self) -> int:
        """Correct what can be corrected now; how many ends changed.

        Also cuts ends that no read may have any more (stamped in poisoned time).

        Raises:
            StoreError: nothing was changed; the next call tries again.
        """
        now, trusted = self._clock.now()
        latest = self._mark.latest_destroy_by()
        if not trusted or latest is None:
            return 0
        with self._lock:
            waiting = list(self._unsure)
            self._unsure.clear()
        running = self._running_ns()
        ends = []
        for read, at, life in waiting:
            # A crystal that runs slow would make the read younger than it is.
            age = timedelta(microseconds=(running - at) * (1 + DRIFT) // 1000)
            ends.append((read, min(destroy_by(now - age, life), latest)))
        try:
            changed = self._store.restamp(ends, latest)
        except StoreError:
            with self._lock:
                self._unsure.extendleft(reversed(waiting))
            raise
        if changed:
            log.info("the time is known: %d read(s) have their true destroy-by", changed)
        return changed
