"""Whether the car collects, and for whom: begun by a sign-on, ended truthfully.

Collecting goes on only while a session is open: a trained operator is signed on, the permit is
live, the policy is effective (R-460.1-1, R-460.4-a, R-460.4-d, R-13.824-6-6).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from alprd.audit import DAEMON, Actor, Event
from alprd.clock import DisciplinedClock
from alprd.errors import RefusedError
from alprd.permits import PermitBook, check_policy
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.targets import TargetSet
from alprd.wire import EndReason, Person

log = logging.getLogger(__name__)

DRAIN_S: Final = 3.0
"""How long the cameras may take to end their passes when a session closes."""


class Collecting:
    """Begins and ends collecting; any thread. The page's sign-ons drive it.

    Args:
        on: set while a session is open; the lanes look at it.
        drained: waits for the lanes' passes (seconds); names of those that still have some.
        targets: the verified set in force, if any.
    """

    def __init__(
        self,
        *,
        on: threading.Event,
        drained: Callable[[float], list[str]],
        store: Store,
        sessions: SessionKeeper,
        permits: PermitBook,
        clock: DisciplinedClock,
        targets: Callable[[], TargetSet | None],
    ) -> None:
        self._on = on
        self._drained = drained
        self._store = store
        self._sessions = sessions
        self._permits = permits
        self._clock = clock
        self._targets = targets
        self._control = threading.RLock()
        self.actor: Actor | None = None
        """Who is collecting; None while nobody is."""

    def signed_on(self, person: Person, purpose: str, unit: str) -> None:
        """A trained operator signed on: collecting begins, or the refusal says why not.

        Raises:
            RefusedError: no policy, no live permit, or the like; nobody is signed on then.
        """
        with self._control:
            self.begin(Actor(person.id, person.name, "operator"), purpose)
        log.info("collecting began, unit %s", unit)

    def signed_off(self, reason: str) -> None:
        """The operator signed off: collecting ends."""
        log.info("signed off: %s", reason)
        self.stop("signed_off", self.actor or DAEMON)

    def begin(self, actor: Actor, purpose: str) -> None:
        """Open a session for ``actor``; one that is open is closed first.

        Raises:
            RefusedError: a rule forbids it; recorded.
        """
        with self._control:
            try:
                now = self._clock.judging_time()
                targets = check_policy(self._targets(), now)
                self._permits.check(now)
            except RefusedError as error:
                self._store.record(Event.COLLECTION_REFUSED, actor, detail={"reason": error.reason})
                raise
            self.stop("stopped", actor)
            self._clock.begin_session()
            self._sessions.open(
                actor,
                purpose=purpose,
                policy_version=targets.policy.version,
                databases=targets.matcher.databases(),
            )
            self.actor = actor
            self._on.set()

    def stop(self, reason: EndReason, actor: Actor, *, ended: datetime | None = None) -> None:
        """End collecting truthfully: passes first, then the session (R-460.5.1-a)."""
        with self._control:
            if not self._sessions.is_open:
                return
            self._on.clear()
            for name in self._drained(DRAIN_S):
                log.error("camera %s did not end its passes in time", name)
            self._sessions.close(reason, actor, ended=ended)
            self.actor = None
