"""What must happen by the clock: heartbeat, expiry of cards, leave, gaps, purge.

One worker looks every second. A purge also runs at boot, before anything collects: a car that was
off for 60 days destroys then (R-460.5-2b).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from alprd.alerts import AlertBoard
from alprd.audit import DAEMON, Event
from alprd.clock import DisciplinedClock
from alprd.collecting import Collecting
from alprd.custody import HeldAlerts
from alprd.disk import DiskGuard
from alprd.errors import RefusedError, StoreError
from alprd.lives import Lives
from alprd.mark import PurgeClock
from alprd.permits import PermitBook
from alprd.post import PostWatch
from alprd.records import Position
from alprd.roster import RosterBook
from alprd.session import LONGEST_GAP_S, SessionKeeper
from alprd.store import Store
from alprd.wire import EndReason
from alprd.workers import Beat

log = logging.getLogger(__name__)

PURGE_EVERY_S: Final = 3600.0
PURGE_TURN_S: Final = 3.0
"""Of a long purge so much is done between two looks: the rest of the table must not wait for it."""
PURGE_AGAIN_S: Final = 60.0
"""A purge that failed is tried again after this (R-460.5-4)."""
RESCUE_S: Final = 0.5
"""How long the queue is kept from others at a time, to save from a damaged one."""
MARK_EVERY_S: Final = 60.0
"""A power cut forgets at most so much of how far trusted time has come."""
MARK_KEY: Final = "time-mark"
"""Where the store keeps the time mark (:class:`alprd.mark.TimeMark`)."""


class Keeper:
    """The worker that looks at the clock.

    Args:
        camera_up: whether any camera gives pictures at this moment.
        disk: the watch over free space, if any.
        held: hits that wait for a person, if any.
        where: the car's place now, if it is known.
    """

    def __init__(
        self,
        *,
        store: Store,
        sessions: SessionKeeper,
        board: AlertBoard,
        permits: PermitBook,
        roster: RosterBook,
        clock: DisciplinedClock,
        mark: PurgeClock,
        lives: Lives,
        collecting: Collecting,
        camera_up: Callable[[], bool],
        disk: DiskGuard | None = None,
        held: HeldAlerts | None = None,
        where: Callable[[], Position | None] = lambda: None,
    ) -> None:
        self._disk = disk
        self._held = held
        self._where = where
        self.post: Final = PostWatch()
        self._store = store
        self._sessions = sessions
        self._board = board
        self._permits = permits
        self._roster = roster
        self._clock = clock
        self._mark = mark
        self._lives = lives
        self._trusted = False
        self._saved_at = 0.0
        self._collecting = collecting
        self._camera_up = camera_up
        self._no_frame_since: float | None = None
        self._last_frame_at: datetime | None = None
        self._purged_at = -PURGE_EVERY_S
        self._tend_failed = ""

    def run(self, beat: Beat) -> None:
        """Look every second until told to stop."""
        refused = ""
        while not beat.sleep(1.0):
            told = ""
            for step in (
                self._check_disk,  # first: a disk that refuses the others ends collecting here
                self._check_sleep,
                self._sessions.heartbeat,
                self._board.expire,
                self._check_leave,
                self._check_gap,
                self._tend,
                self._look_for_post,
                self._purge_when_due,
            ):
                try:
                    step()
                except StoreError as error:  # one refusal must not keep the rest from running
                    told = told or error.diagnostics()
            if told and told != refused:  # told once, not every second
                log.error("%s", told)
            refused = told
            self._rescue(beat)

    def _look_for_post(self) -> None:
        where = self._where()
        self.post.look(time.monotonic(), where, collecting=self._sessions.is_open)
        self._collecting.watch_post(where)

    def _purge_when_due(self) -> None:
        # Also as soon as the time is known: until then a boot's purge knows of too little.
        was, self._trusted = self._trusted, self._clock.now()[1]
        if time.monotonic() - self._purged_at >= PURGE_EVERY_S or (self._trusted and not was):
            end = time.monotonic() + PURGE_TURN_S
            self.purge(lambda: time.monotonic() > end)
        elif time.monotonic() - self._saved_at >= MARK_EVERY_S:
            self.save_mark()

    def _rescue(self, beat: Beat) -> None:
        """Save from a damaged queue, a little at a time; what finds no room waits."""
        try:
            while self._store.rescue_step(RESCUE_S) and not beat.stopping:
                beat()
        except StoreError as error:
            log.error("saving from the damaged queue waits: %s", error.message)

    def _check_leave(self) -> None:
        """Permit lapsed, suspension, authority ended: collecting ends within a second."""
        actor = self._collecting.actor
        if not self._sessions.is_open or actor is None:
            return
        now, _ = self._clock.now()
        try:
            self._permits.check(now)
            self._roster.authorise(actor.id, now=now)
        except RefusedError as error:
            log.warning("collecting ends: %s", error.reason)
            reason: EndReason = "suspended" if error.reason == "suspended" else "permit_lapsed"
            if error.reason not in {"suspended", "permit_lapsed", "no_permit"}:
                reason = "signed_off"
            self._store.record(Event.COLLECTION_REFUSED, detail={"reason": error.reason})
            self._collecting.stop(reason, DAEMON)

    def _check_sleep(self) -> None:
        """A machine that slept, or a process that stood still, collected nothing meanwhile."""
        ended = self._sessions.gap()
        if ended is not None:
            log.warning("nothing ran for over five minutes: the session ended then")
            self._collecting.stop("gap", DAEMON, ended=ended)

    def _tend(self) -> None:
        """After a gap, collecting begins again; with nobody signed on, under the custodian."""
        if not self._camera_up() or (self._disk is not None and self._disk.stop_reason is not None):
            return
        try:
            self._collecting.tend()
            self._tend_failed = ""
        except StoreError as error:  # without a trail nothing begins (R-AT-3); told once
            if error.message != self._tend_failed:
                log.error("collecting cannot begin: %s", error.diagnostics())
            self._tend_failed = error.message

    def _check_gap(self) -> None:
        """A gap of five minutes without any frame ends the session at the last frame."""
        now = time.monotonic()
        row = self._sessions.row()
        if self._camera_up() or row is None:
            self._no_frame_since = now
            self._last_frame_at = row.ended if row is not None else None
        elif self._no_frame_since is not None and now - self._no_frame_since > LONGEST_GAP_S:
            # Without a single picture nothing was in use: it ended when it began.
            ended = self._last_frame_at or row.started
            self._collecting.stop("no_camera", DAEMON, ended=ended)

    def _check_disk(self) -> None:
        """Low disk ends collecting; with room again, :meth:`_tend` begins a session anew."""
        self._store.write_late()
        if self._disk is None:
            return
        self._disk.look()
        reason = self._disk.stop_reason
        if reason is not None and self._sessions.is_open:
            log.error("collecting ends: %s", reason)
            self._collecting.stop(reason, DAEMON)

    def purge(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Destroy what is past its life, by time that only trusted sources raise (R-460.5-2b).

        Args:
            enough: asked now and then; True leaves the rest for the next look.
        """
        self._purged_at = time.monotonic()
        when = self._mark.purge_time()
        # In this order: time that becomes known after the first line destroys nothing yet.
        try:
            self._lives.settle()
            destroyed = self._store.purge(when, enough)
            if when is not None and self._held is not None:
                self._held.expire(when)
        except StoreError as error:
            log.error("purge failed: %s", error.diagnostics())
            self._purged_at -= PURGE_EVERY_S - PURGE_AGAIN_S
            return
        if destroyed:
            log.info("%d read(s) past their life were destroyed", destroyed)
            if enough():  # perhaps not all of them
                self._purged_at -= PURGE_EVERY_S
        self.save_mark()

    def save_mark(self) -> None:
        """Write down how far trusted time has come."""
        self._saved_at = time.monotonic()
        self._store.set_meta(MARK_KEY, self._mark.tick().dump())
