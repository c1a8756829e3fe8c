"""Periods of active use: their counters, heartbeat and truthful end (R-460.5.1-0…-c5).

Counting rule: every pass of a plate before a camera counts once in ``plates_read``, also one that
gave no text, is below the floor, or is not kept for any other reason, so that no difference
between figures betrays suppression (R-460.5-b4, T-1); a covered pass counts like one without
text, so that ``distinct_plates`` holds kept texts only. A pass whose text was already counted less
than :data:`SAME_PASS_S` ago, by any camera, is the same pass. ``distinct_plates`` is the size of
a set of marks under a key that lives in RAM and dies with the session (R-460.5.1-b1,
:mod:`alprd.distinct`). A match
counts once a pass and category, also when only a later look at the pass brings it (R-460.5.1-c1).

Times of a row: a session's length is measured on a clock that only runs forwards and also runs
while the machine sleeps. Where one end of it is known by trusted time and the other is not, the
trusted end and the length tell the other, so that a system clock at 1970 or a jump of it in
mid-session makes no row longer or shorter. A row that was never under trusted time says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from alprd.audit import DAEMON, Actor, Event
from alprd.distinct import SAME_PASS_S as SAME_PASS_S
from alprd.distinct import DistinctPlates
from alprd.records import Category, new_id
from alprd.store import Now, Store
from alprd.wire import Database, EndReason, SessionRow

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 2.0
"""A power cut closes a session at its last heartbeat, so at most this late (law: 60 s)."""
LONGEST_GAP_S: Final = 300.0
"""A longer gap in collecting splits the session (R-460.5.1-a)."""


def boot_seconds() -> float:
    """Seconds since boot, those of sleep included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SessionKeeper:
    """Keeps the one session of this reader; any thread.

    Args:
        reader: neutral number of the reader in the public log.
        now: the disciplined clock.
        elapsed: seconds that run evenly, also while the machine sleeps.
    """

    def __init__(
        self,
        store: Store,
        *,
        reader: str,
        now: Now,
        elapsed: Callable[[], float] = boot_seconds,
    ) -> None:
        self._store = store
        self._reader = reader
        self._now = now
        self._lock = threading.Lock()
        self._row: SessionRow | None = None
        self._actor = DAEMON
        self._plates = DistinctPlates()
        self._owed: list[Category] = []
        """Matches of alerts of protected plates that are not counted yet."""
        self._owed_misreads = 0
        self._elapsed = elapsed
        self._began = 0.0
        self._start_trusted = False
        self._beat = 0.0
        self._alive: tuple[float, datetime] | None = None

    def recover(self) -> int:
        """Close what a power cut left open, at its last heartbeat; how many (R-460.5.1-a)."""
        left = self._store.open_sessions()
        for row in left:
            self._store.close_session(row.model_copy(update={"end_reason": "power_lost"}))
        if left:
            log.warning("%d session(s) ended by loss of power were closed", len(left))
        return len(left)

    def open(
        self,
        actor: Actor,
        *,
        purpose: str,
        policy_version: str,
        databases: Iterable[Database],
        fixed_location: str = "",
    ) -> str:
        """Begin a session and return its id; an open one is closed first.

        Args:
            fixed_location: of a declared stationary post; empty: the reader is mobile.
        """
        if self.is_open:
            self.close("stopped", actor)
        at, trusted = self._now()
        row = SessionRow(
            id=new_id(),
            reader=self._reader,
            kind="fixed" if fixed_location else "mobile",
            fixed_location=fixed_location,
            purpose=purpose,
            policy_version=policy_version,
            started=at,
            ended=at,
            end_reason="power_lost",  # what is true if nothing closes it
            plates_read=0,
            distinct_plates=0,
            queued=0,
            matches={},
            databases=tuple(databases),
            time_trusted=trusted,
        )
        self._store.open_session(row, actor)
        with self._lock:
            self._row = row
            self._actor = actor
            self._plates = DistinctPlates()
            self._owed, self._owed_misreads = [], 0
            self._began = self._beat = self._elapsed()
            self._start_trusted = trusted
            self._alive = (self._began, at)
        return row.id

    @property
    def is_open(self) -> bool:
        """Whether a session is under way."""
        return self._row is not None

    def row(self) -> SessionRow | None:
        """The open session's row as of now; ``ended`` is the disciplined instant of the call."""
        with self._lock:
            return self._snapshot()

    def _snapshot(self) -> SessionRow | None:
        if self._row is None:
            return None
        at, trusted = self._now()
        length = timedelta(seconds=max(0.0, self._elapsed() - self._began))
        started = self._row.started
        if trusted and not self._start_trusted:
            started, self._start_trusted = at - length, True
        elif not trusted:
            at = started + length
        self._row = self._row.model_copy(
            update={
                "started": started,
                "ended": max(at, started),
                "time_trusted": self._start_trusted,
            }
        )
        return self._row

    def count_pass(self, text: str | None, categories: Iterable[Category]) -> SessionRow | None:
        """Count one finished pass; the row to commit with its read, or None without a session."""
        with self._lock:
            row = self._row
            if row is None:
                return None
            repeat, fresh = False, frozenset(categories)
            if text is not None:
                repeat, fresh = self._plates.count(text, fresh, self._elapsed())
            matches = dict(row.matches)
            for category in fresh:
                matches[category] = matches.get(category, 0) + 1
            self._row = row.model_copy(
                update={
                    "plates_read": row.plates_read + (0 if repeat else 1),
                    "distinct_plates": len(self._plates),
                    "matches": matches,
                }
            )
            self._pay()
            return self._snapshot()

    def owe_matches(self, categories: Iterable[Category]) -> None:
        """A protected plate alerted (R-460.5-b3): count its matches once they cannot be told apart.

        Its alert is in the trail; a match missing from the row would tell of it, and so would one
        more match than plates were read. So it is counted as soon as another plate of this session
        could be the one that matched (R-460.5-b4). What is owed lies in RAM alone: a session that
        ends first ends without it.
        """
        with self._lock:
            if self._row is not None:
                self._owed += categories
                self._pay()

    def _pay(self) -> None:
        """Count what is owed, as far as the plates and matches of the row can carry it."""
        row = self._row
        if row is None:
            return
        matches = dict(row.matches)
        while self._owed and sum(matches.values()) < row.distinct_plates:
            category = self._owed.pop(0)
            matches[category] = matches.get(category, 0) + 1
        paid = min(self._owed_misreads, max(0, sum(matches.values()) - row.marked_misread))
        self._owed_misreads -= paid
        told = {"matches": matches, "marked_misread": row.marked_misread + paid}
        self._row = row.model_copy(update=told)

    def count_misread(self, session: str = "") -> None:
        """A person marked a match as misread (R-460.5.1-c5).

        The row of a session that has ended is never edited: for it an event goes to central,
        which adds a dated correction to the public log (R-460.5.1-0).

        Args:
            session: in which the match was; empty: the open one.

        Raises:
            AuditError: the event could not be written.
        """
        with self._lock:
            row = self._row
            if row is not None and session in ("", row.id):
                # Not before its match: more misreads than matches would tell of one that is owed.
                self._owed_misreads += 1
                self._pay()
                return
        if session:
            self._store.record(
                Event.SESSION_CORRECTED, session=session, detail={"marked_misread": 1}
            )

    def note_databases(self, databases: Iterable[Database]) -> None:
        """Lists were activated in mid-session: the row names every one loaded (R-460.5.1-b2)."""
        with self._lock:
            if self._row is not None:
                merged = dict.fromkeys((*self._row.databases, *databases))
                self._row = self._row.model_copy(update={"databases": tuple(merged)})

    def heartbeat(self) -> None:
        """I am still collecting: about every second; written every :data:`HEARTBEAT_S`."""
        with self._lock:
            row = self._snapshot()
            if row is None:
                return
            self._alive = (self._elapsed(), row.ended)
            due = self._alive[0] - self._beat >= HEARTBEAT_S
        if due:
            self._store.heartbeat(row)
            self._beat = self._alive[0]

    def gap(self) -> datetime | None:
        """The last sign of life, if it is over five minutes ago: the session ended then.

        The machine slept, or the process stood still; nothing was collected (R-460.5.1-a). To be
        asked before :meth:`heartbeat`.
        """
        with self._lock:
            if self._row is None or self._alive is None:
                return None
            since, at = self._alive
            return at if self._elapsed() - since > LONGEST_GAP_S else None

    def close(
        self, reason: EndReason, actor: Actor = DAEMON, *, ended: datetime | None = None
    ) -> None:
        """End the session truthfully; without one, nothing happens.

        Args:
            ended: the instant collecting really ended, when that was before now.
        """
        with self._lock:
            row = self._snapshot()
            self._row = None
            self._owed, self._owed_misreads = [], 0
            self._plates.destroy()
        if row is None:
            return
        at = row.ended if ended is None else min(max(row.started, ended), row.ended)
        self._store.close_session(row.model_copy(update={"end_reason": reason, "ended": at}), actor)
