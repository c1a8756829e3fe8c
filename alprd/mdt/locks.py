"""Failed sign-ons that a restart does not forget (R-CJIS-3).

The roster's own count lives in RAM, so that pulling the plug would give five new tries. Here the
instants of failures of people in the roster are kept as small facts of the store; a name that is
not in the roster may be a mistyped password and is never written. After a restart whose clock
nobody vouches for yet, a failure counts as if it had just happened: a lock may grow longer, never
shorter.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

from alprd.roster import FAILURE_WINDOW_S, MAX_FAILURES, LockedError

_META: Final = "failed-sign-ons"


class Facts(Protocol):
    """Where small facts are kept; :class:`alprd.store.Store` does."""

    def get_meta(self, key: str) -> str | None:
        """A small fact."""

    def set_meta(self, key: str, value: str) -> None:
        """Keep a small fact."""


class LockBook:
    """Failures by person; thread-safe.

    Args:
        clock: UTC now, and whether it is trusted.
    """

    def __init__(
        self,
        facts: Facts,
        clock: Callable[[], tuple[datetime, bool]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._facts = facts
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures = self._load()

    def _load(self) -> dict[str, list[float]]:
        now, trusted = self._clock()
        here = self._monotonic()
        found: dict[str, list[float]] = {}
        for person, instants in json.loads(self._facts.get_meta(_META) or "{}").items():
            ages = [
                max(0.0, (now - datetime.fromisoformat(at)).total_seconds()) if trusted else 0.0
                for at in instants
            ]
            found[person] = [here - age for age in ages if age < FAILURE_WINDOW_S]
        return {person: times for person, times in found.items() if times}

    def check(self, person: str) -> None:
        """Refuse a name that is locked.

        Raises:
            LockedError: with the time that is left.
        """
        with self._lock:
            recent = self._recent(person)
        if len(recent) >= MAX_FAILURES:
            left = recent[-1] + FAILURE_WINDOW_S - self._monotonic()
            raise LockedError(left, began=False)

    def failed(self, person: str) -> None:
        """Note a failure of a person in the roster.

        Raises:
            LockedError: it was one too many.
            StoreError: it cannot be kept.
        """
        with self._lock:
            self._failures[person] = [*self._recent(person), self._monotonic()][-MAX_FAILURES:]
            locked = len(self._failures[person]) >= MAX_FAILURES
            self._save()
        if locked:
            raise LockedError(FAILURE_WINDOW_S, began=True)

    def passed(self, person: str) -> None:
        """The person signed on: earlier failures are forgotten."""
        with self._lock:
            if self._failures.pop(person, None):
                self._save()

    def _recent(self, person: str) -> list[float]:
        since = self._monotonic() - FAILURE_WINDOW_S
        return [at for at in self._failures.get(person, ()) if at > since]

    def _save(self) -> None:
        now, here = self._clock()[0], self._monotonic()
        kept = {
            person: [(now - timedelta(seconds=here - at)).isoformat() for at in times]
            for person in self._failures
            if (times := self._recent(person))
        }
        self._facts.set_meta(_META, json.dumps(kept))
