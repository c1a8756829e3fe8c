"""Whether the car collects, and for whom: begun by a sign-on, ended truthfully.

Collecting goes on only while a session is open: a trained operator is signed on, the permit is
live, the policy is effective (R-460.1-1, R-460.4-a, R-460.4-d, R-13.824-6-6). What ended by
itself (a gap without pictures or of sleep, a full disk, a lapsed permit) begins again as a new
session as soon as its cause is gone, for as long as the operator is still signed on
(R-460.5.1-a). Where the signed policy allows it, the car collects under its custodian while nobody
is signed on (:mod:`alprd.custody`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from alprd.audit import DAEMON, Actor, Event
from alprd.clock import DisciplinedClock
from alprd.custody import CUSTODIAN_ROLE, HeldAlerts, custodian
from alprd.errors import AlprdError, RefusedError
from alprd.permits import PermitBook, check_policy
from alprd.post import RADIUS_M, apart_m
from alprd.records import Position
from alprd.roster import OPERATOR_ROLE, RosterBook
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.targets import TargetSet
from alprd.wire import EndReason, Person

log = logging.getLogger(__name__)

RESUMED: Final[frozenset[EndReason]] = frozenset(
    ("gap", "no_camera", "disk_full", "error", "permit_lapsed")
)
"""Ends after which collecting begins again by itself once the cause is gone."""
CUSTODY_AFTER_S: Final = 30.0
"""How long after a sign-off the custodian's session begins: one operator hands over to the next."""
DRAIN_S: Final = 2.5
"""How long the cameras may take to end their passes when a session closes."""


class Collecting:
    """Begins and ends collecting; any thread. The page's sign-ons drive it.

    Args:
        on: set while a session is open; the lanes look at it.
        drained: waits for the lanes' passes (seconds); names of those that still have some.
        targets: the verified set in force, if any.
        where: the car's place, or the last one known.
        roster, vehicle, held: for collecting under the custodian; without them it never is.
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
        roster: RosterBook | None = None,
        vehicle: str = "",
        held: HeldAlerts | None = None,
        where: Callable[[], Position | None] = lambda: None,
    ) -> None:
        self._on = on
        self._drained = drained
        self._store = store
        self._sessions = sessions
        self._permits = permits
        self._clock = clock
        self._targets = targets
        self._roster = roster
        self._vehicle = vehicle
        self._held = held
        self._control = threading.RLock()
        self._duty: tuple[Actor, str] | None = None
        """Who is signed on and why, also while nothing is collected."""
        self._refused = ""
        self._off_at = -CUSTODY_AFTER_S
        self._paused: tuple[Actor, str] | None = None
        self.incident = ""
        """Number of the incident that is canvassed, else empty (R-460.4-c)."""
        self._where = where
        self._post: Position | None = None
        self.actor: Actor | None = None
        """Who is collecting; None while nobody is."""

    def signed_on(self, person: Person, purpose: str, unit: str) -> None:
        """A trained operator signed on: collecting begins, or the refusal says why not.

        Raises:
            RefusedError: no policy, no live permit, or the like; nobody is signed on then.
        """
        actor = Actor(person.id, person.name, OPERATOR_ROLE)
        with self._control:
            self.begin(actor, purpose)
            self._show_held(actor)
        log.info("collecting began, unit %s", unit)

    def signed_off(self, reason: str) -> None:
        """The operator signed off: collecting ends."""
        log.info("signed off: %s", reason)
        with self._control:
            self._duty = self._paused = self._post = None
            self.incident = ""
            self._off_at = time.monotonic()
            self.stop("signed_off", self.actor or DAEMON)

    def tend(self) -> None:
        """Begin what should run and does not; called about every second while a camera is up.

        That is the session of an operator who is still signed on, after a gap, or one under the
        custodian. A refusal is recorded once, until the reason changes.
        """
        with self._control:
            if self._sessions.is_open or self._paused is not None:
                return
            try:
                actor, purpose = self._duty or self._custodian()
                self._leave(actor)
            except RefusedError as error:
                if error.reason not in {self._refused, "unattended_off"}:
                    log.info("not collecting: %s", error.reason)
                    self._store.record(Event.COLLECTION_REFUSED, detail={"reason": error.reason})
                self._refused = error.reason
                return
            self._refused, duty = "", self._duty
            self._open(actor, purpose)
            self._duty = duty

    def pause(self) -> None:
        """The person on duty rests from collecting; nothing resumes it but themselves.

        Raises:
            RefusedError: ``not_collecting``.
        """
        with self._control:
            duty = self._on_duty()
            self._store.record(Event.COLLECTION_PAUSED, duty[0])
            self.stop("paused", duty[0])
            self._paused = duty

    def resume(self) -> None:
        """Collect again after a pause; without one nothing happens.

        Raises:
            RefusedError: a rule forbids it by now; recorded.
        """
        with self._control:
            if self._paused is None:
                return
            duty = self._paused
            self.begin(*duty)
            self._paused = None
            self._store.record(Event.COLLECTION_RESUMED, duty[0])

    def canvass(self, incident: str) -> None:
        """Begin a session of its own for an incident; empty: end it, patrol goes on (R-460.4-c).

        Its reads live no longer than any other (R-460.5-5).

        Raises:
            RefusedError: ``not_collecting``.
        """
        with self._control:
            actor, purpose = self._on_duty()
            event = Event.CANVASS_BEGUN if incident else Event.CANVASS_ENDED
            self.begin(actor, purpose)
            row = self._sessions.row()
            number = incident or self.incident
            self._store.record(
                event, actor, session=row.id if row else None, detail={"incident": number}
            )
            self.incident = incident

    @property
    def post_declared(self) -> bool:
        """Whether the person declared this place a stationary post (R-460.5.1-d)."""
        return self._post is not None

    def declare_post(self) -> None:
        """The person declares this place a stationary post: the mobile session ends, a fixed one
        begins, whose row names the place (R-460.5.1-d).

        Raises:
            RefusedError: ``not_collecting``; ``no_place``: GPS has not told one yet.
        """
        with self._control:
            duty = self._on_duty()
            place = self._where()
            if place is None:
                raise RefusedError(
                    "The car's place is not known yet.",
                    reason="no_place",
                    remedy="wait for a GPS fix, then declare the post again",
                )
            self._post, before = place, self._post
            try:
                self.begin(*duty)
            except RefusedError:
                self._post = before
                raise
            self._record_post(Event.POST_DECLARED, duty[0])

    def watch_post(self, place: Position | None) -> None:
        """A declared post that the car has left is over: a mobile session begins.

        Args:
            place: of the car now, if it is known.
        """
        if self._post is None:  # most of the time: the lock is left alone
            return
        with self._control:
            if self._post is None or place is None or apart_m(self._post, place) <= RADIUS_M:
                return
            self._post = None
            if self._duty is None or not self._sessions.is_open:
                return
            duty = self._duty
            try:
                self.begin(*duty)
            except RefusedError as error:  # recorded; a fixed session may not go on elsewhere
                log.warning("collecting ends: %s", error.reason)
                self.stop("signed_off", DAEMON)
                return
            self._record_post(Event.POST_LEFT, DAEMON)

    def _record_post(self, event: Event, actor: Actor) -> None:
        row = self._sessions.row()
        self._store.record(event, actor, session=row.id if row else None)

    def _on_duty(self) -> tuple[Actor, str]:
        if self._duty is None or not self._sessions.is_open:
            raise RefusedError("Nothing is being collected.", reason="not_collecting")
        return self._duty

    def _custodian(self) -> tuple[Actor, str]:
        targets = self._targets()
        waited = time.monotonic() - self._off_at
        if targets is None or self._roster is None or waited < CUSTODY_AFTER_S:
            raise RefusedError("nobody is signed on", reason="unattended_off")
        now, trusted = self._clock.now()
        return custodian(targets.policy, self._vehicle, self._roster, now=now, trusted=trusted)

    def _show_held(self, actor: Actor) -> None:
        targets = self._targets()
        if self._held is None or targets is None:
            return
        try:
            shown = self._held.release(targets, self._clock.now()[0], actor)
        except AlprdError as error:  # a hit that waits on is no reason not to collect
            log.error("held hits cannot be shown: %s", error.message)
        else:
            log.info("%d held hit(s) shown", shown)

    def begin(self, actor: Actor, purpose: str) -> None:
        """Open a session for ``actor``; one that is open is closed first.

        Raises:
            RefusedError: a rule forbids it; recorded.
        """
        with self._control:
            try:
                self._leave(actor)
            except RefusedError as error:
                self._store.record(Event.COLLECTION_REFUSED, actor, detail={"reason": error.reason})
                raise
            self._open(actor, purpose)
            self._duty = (actor, purpose)

    def _leave(self, actor: Actor) -> None:
        """Whether ``actor`` may collect now: policy, permit, standing in the roster.

        Raises:
            RefusedError: a rule forbids it.
        """
        now = self._clock.judging_time()
        check_policy(self._targets(), now)
        self._permits.check(now)
        if self._roster is not None and self._duty is not None and self._duty[0] is actor:
            self._roster.authorise(actor.id, now=now)

    def _open(self, actor: Actor, purpose: str) -> None:
        targets = self._targets()
        if targets is None:
            return
        self.stop("stopped", actor)
        self._clock.begin_session()
        self._sessions.open(
            actor,
            purpose=purpose,
            policy_version=targets.policy.version,
            databases=targets.matcher.databases(),
            fixed_location=(
                f"{self._post.lat:.4f}, {self._post.lon:.4f}" if self._post is not None else ""
            ),
        )
        self.actor = actor
        if self._held is not None:
            self._held.holding = actor.role == CUSTODIAN_ROLE
        self._on.set()

    def stop(self, reason: EndReason, actor: Actor, *, ended: datetime | None = None) -> None:
        """End collecting truthfully: passes first, then the session (R-460.5.1-a).

        Only :data:`RESUMED` reasons leave the way open for :meth:`tend`.
        """
        with self._control:
            if reason not in RESUMED:
                self._duty = None
            if not self._sessions.is_open:
                return
            self._on.clear()
            for name in self._drained(DRAIN_S):
                log.error("camera %s did not end its passes in time", name)
            self._sessions.close(reason, actor, ended=ended)
            self.actor = None
