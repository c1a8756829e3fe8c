"""Periods of active use: their counters, heartbeat and truthful end (R-460.5.1-0…-c5).

Counting rule: every pass of a plate before a camera counts once in ``plates_read``, also one that
gave no text, is below the floor, or is not kept for any other reason, so that no difference
between figures betrays suppression (R-460.5-b4, T-1). A pass whose text was already counted less
than :data:`SAME_PASS_S` ago, by any camera, is the same pass. ``distinct_plates`` is the size of
a set of digests under a key that lives in RAM and dies with the session (R-460.5.1-b1).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from alprd.audit import DAEMON, Actor
from alprd.records import Category, new_id
from alprd.store import Now, Store
from alprd.wire import Database, EndReason, SessionRow

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 10.0
"""A power cut closes a session at its last heartbeat, so at most this late (law: 60 s)."""
SAME_PASS_S: Final = 30.0
LONGEST_GAP_S: Final = 300.0
"""A longer gap in collecting splits the session (R-460.5.1-a)."""


class SessionKeeper:
    """Keeps the one session of this reader; any thread.

    Args:
        reader: neutral number of the reader in the public log.
        now: the disciplined clock.
    """

    def __init__(self, store: Store, *, reader: str, now: Now) -> None:
        self._store = store
        self._reader = reader
        self._now = now
        self._lock = threading.Lock()
        self._row: SessionRow | None = None
        self._actor = DAEMON
        self._key = b""
        self._seen: dict[bytes, float] = {}
        self._beat = 0.0

    def recover(self) -> int:
        """Close what a power cut left open, at its last heartbeat; how many (R-460.5.1-a)."""
        left = self._store.open_sessions()
        for row in left:
            self._store.close_session(row.model_copy(update={"end_reason": "power_lost"}))
        if left:
            log.warning("%d session(s) ended by loss of power were closed", len(left))
        return len(left)

    def open(
        self, actor: Actor, *, purpose: str, policy_version: str, databases: Iterable[Database]
    ) -> str:
        """Begin a session and return its id; an open one is closed first."""
        if self.is_open:
            self.close("stopped", actor)
        at, _ = self._now()
        row = SessionRow(
            id=new_id(),
            reader=self._reader,
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
        )
        self._store.open_session(row, actor)
        with self._lock:
            self._row = row
            self._actor = actor
            self._key = secrets.token_bytes(32)
            self._seen = {}
            self._beat = time.monotonic()
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
        at: datetime = max(self._now()[0], self._row.started)
        self._row = self._row.model_copy(update={"ended": at})
        return self._row

    def count_pass(self, text: str | None, categories: Iterable[Category]) -> SessionRow | None:
        """Count one finished pass; the row to commit with its read, or None without a session."""
        with self._lock:
            row = self._row
            if row is None:
                return None
            now = time.monotonic()
            repeat = False
            if text is not None:
                mark = hmac.digest(self._key, text.encode(), hashlib.sha256)
                repeat = now - self._seen.get(mark, -SAME_PASS_S) < SAME_PASS_S
                self._seen[mark] = now
            matches = dict(row.matches)
            if not repeat:
                for category in set(categories):
                    matches[category] = matches.get(category, 0) + 1
            self._row = row.model_copy(
                update={
                    "plates_read": row.plates_read + (0 if repeat else 1),
                    "distinct_plates": len(self._seen),
                    "matches": matches,
                }
            )
            return self._snapshot()

    def count_misread(self) -> None:
        """A person marked a match as misread (R-460.5.1-c5)."""
        with self._lock:
            if self._row is not None:
                self._row = self._row.model_copy(
                    update={"marked_misread": self._row.marked_misread + 1}
                )

    def note_databases(self, databases: Iterable[Database]) -> None:
        """Lists were activated in mid-session: the row names every one loaded (R-460.5.1-b2)."""
        with self._lock:
            if self._row is not None:
                merged = dict.fromkeys((*self._row.databases, *databases))
                self._row = self._row.model_copy(update={"databases": tuple(merged)})

    def heartbeat(self) -> None:
        """Write the counters if the last time is :data:`HEARTBEAT_S` ago."""
        if time.monotonic() - self._beat < HEARTBEAT_S:
            return
        row = self.row()
        if row is not None:
            self._store.heartbeat(row)
            self._beat = time.monotonic()

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
            self._seen = {}
            self._key = b""
        if row is None:
            return
        at = max(row.started, ended) if ended is not None else row.ended
        self._store.close_session(row.model_copy(update={"end_reason": reason, "ended": at}), actor)
