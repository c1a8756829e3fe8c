"""The vehicle daemon: every part wired together, started, kept alive and stopped cleanly.

Start: state folder locked, trail opened, sessions that a power cut left open closed, reads past
their life destroyed — all before anything collects (R-460.5-2b). Then a table of workers
(:mod:`alprd.workers`). Stop (SIGTERM): cameras' passes are ended and committed, the session is
closed, the queue is closed.

Collecting goes on only while a session is open: a trained operator is signed on, the permit is
live, the policy is effective (R-460.1-1, R-460.4-a, R-460.4-d, R-13.824-6-6).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
from datetime import datetime, timedelta
from typing import Final, TextIO

from alprd.alerts import AlertBoard
from alprd.audit import DAEMON, Actor, Event
from alprd.capture import Camera, CameraConfig
from alprd.choice import choose
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector
from alprd.config import CameraSection, Config
from alprd.crypto import key_id, write_secret
from alprd.errors import AlprdError, ModelError, RefusedError
from alprd.gps import GpsConfig, GpsReceiver
from alprd.lanes import Lane
from alprd.mark import PurgeClock, TimeMark
from alprd.mdt.app import MdtContext, create_app, serve_in_thread
from alprd.mdt.status import CameraState, CarStatus, ListState
from alprd.models import check_providers
from alprd.permits import PermitBook, check_policy
from alprd.process import harden, lock_state, notify
from alprd.profiles import PROFILES
from alprd.reader import RoadReader, load
from alprd.roster import RosterBook
from alprd.session import LONGEST_GAP_S, SessionKeeper
from alprd.store import Store
from alprd.sync import DockSync
from alprd.targets import TargetSet
from alprd.trust import Trust
from alprd.wire import EndReason, Person
from alprd.workers import Beat, Supervisor, Worker

log = logging.getLogger(__name__)

PURGE_EVERY_S: Final = 3600.0
DRAIN_S: Final = 3.0
"""How long the cameras may take to end their passes when a session closes."""
_MARK: Final = "time-mark"


class Daemon:
    """One car's daemon.

    Args:
        config: of this car.
        witness: see :class:`alprd.collect.Collector`.

    Raises:
        AlprdError: the car cannot run at all: not enrolled, state folder in use, models damaged.
    """

    def __init__(self, config: Config, *, witness: TextIO | None = None) -> None:
        self._config = config
        self._stop = threading.Event()
        self._control = threading.RLock()
        self._collecting = threading.Event()
        self._actor: Actor | None = None
        self._no_frame_since: float | None = None
        self._last_frame_at: datetime | None = None
        self._purged_at = -PURGE_EVERY_S
        harden()
        self._lock = lock_state(config.state_dir)
        self.trust = Trust.load(config.state_dir)
        self.clock = DisciplinedClock()
        self.positions = PositionTrack()
        self.store = Store(
            config.state_dir / "queue.db", now=self.clock.now, device=self.trust.vehicle
        )
        self.store.enrolled_as(key_id(self.trust.batch_key))
        self.mark = PurgeClock(self.clock, TimeMark.load(self.store.get_meta(_MARK)))
        self.sessions = SessionKeeper(self.store, reader=self.trust.reader, now=self.clock.now)
        self.board = AlertBoard(self.store)
        self.roster = RosterBook()
        self.permits = PermitBook(
            self.store,
            agency=self.trust.agency,
            vehicle=self.trust.vehicle,
            receipt_key=self.trust.receipt_key,
        )
        self.targets: TargetSet | None = None
        self.collector = Collector(
            store=self.store,
            sessions=self.sessions,
            board=self.board,
            clock=self.clock,
            positions=self.positions,
            targets=lambda: self.targets,
            agency=self.trust.agency,
            vehicle=self.trust.vehicle,
            witness=witness,
        )
        self.gps = GpsReceiver(
            GpsConfig(config.gps.source, baud=config.gps.baud), self.clock, self.positions
        )
        self.cameras = [_camera(section, config) for section in config.camera]
        self.lanes = self._make_lanes()
        self.dock = DockSync(
            self.trust,
            self.store,
            carrier_file=config.dock.carrier_file,
            interval_s=config.dock.interval_s,
            clock_agrees=self.clock.system_agrees,
            on_time=lambda utc, mono_ns: self.mark.central(utc),
            on_permit=self.permits.renew,
            on_targets=self._adopt,
        )

    def _make_lanes(self) -> list[Lane]:
        section = self._config.reader
        settings = PROFILES[section.profile]
        # One pair for all cameras: a second one costs 26 MB and makes nothing faster.
        detector, ocr = load(
            choose(self._config), settings, threads=section.threads, providers=section.providers
        )
        lanes = []
        for camera in self.cameras:
            reader = RoadReader(camera.config.name, detector, ocr, settings)
            lanes.append(Lane(camera, reader, self.collector, self._collecting))
        return lanes

    # --- life -------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until :meth:`stop` or SIGTERM; then end everything within five seconds."""
        self.store.record(Event.STARTED)
        self._purge()  # before anything collects: a car off for 60 days destroys at boot
        self.sessions.recover()
        self._load_last_lists()
        # The page first: an address that cannot be used must end the start before any thread
        # of a device runs.
        page = serve_in_thread(
            create_app(self._mdt_context()), self._config.mdt.host, self._config.mdt.port
        )
        if self._config.mdt.run_file is not None:
            told = {"host": self._config.mdt.host, "port": page.port, "pid": os.getpid()}
            write_secret(self._config.mdt.run_file, json.dumps(told).encode())
        self.gps.start()
        for camera in self.cameras:
            camera.start()
        supervisor = Supervisor(self._table())
        log.info("started: %d camera(s), page on port %d", len(self.cameras), page.port)
        notify("READY=1")
        try:
            while not self._stop.wait(1.0):
                supervisor.reconcile()
                silent = supervisor.silent()
                if silent:
                    log.error("silent workers: %s", ", ".join(silent))
                else:
                    notify("WATCHDOG=1")
        finally:
            notify("STOPPING=1")
            self.stop_collecting("stopped", DAEMON)
            late = supervisor.stop()
            if late:
                log.warning("workers did not stop in time: %s", ", ".join(late))
            page.stop()
            self.gps.stop()
            for camera in self.cameras:
                camera.stop()
            self.store.record(Event.STOPPED)
            self._save_mark()
            self.store.close()
            self._lock.close()
            log.info("stopped")

    def stop(self) -> None:
        """End :meth:`run`; safe from a signal handler."""
        self._stop.set()

    def _table(self) -> list[Worker]:
        lanes = [Worker(f"camera-{lane.name}", lane.run, silence_s=20.0) for lane in self.lanes]
        return [
            *lanes,
            Worker("keeper", self._keep, silence_s=20.0),
            Worker("dock", self.dock.run, silence_s=180.0, required=False),
        ]

    # --- collecting -------------------------------------------------------------------------

    def signed_on(self, person: Person, purpose: str, unit: str) -> None:
        """A trained operator signed on: collecting begins, or the refusal says why not.

        Raises:
            RefusedError: no policy, no live permit, or the like; nobody is signed on then.
        """
        with self._control:
            self._begin(Actor(person.id, person.name, "operator"), purpose)
        log.info("collecting began, unit %s", unit)

    def signed_off(self, reason: str) -> None:
        """The operator signed off: collecting ends."""
        log.info("signed off: %s", reason)
        self.stop_collecting("signed_off", self._actor or DAEMON)

    def _begin(self, actor: Actor, purpose: str) -> None:
        now, _ = self.clock.now()
        try:
            targets = check_policy(self.targets, now)
            self.permits.check(now)
        except RefusedError as error:
            self.store.record(Event.COLLECTION_REFUSED, actor, detail={"reason": error.reason})
            raise
        self.stop_collecting("stopped", actor)
        self.clock.begin_session()
        self.sessions.open(
            actor,
            purpose=purpose,
            policy_version=targets.policy.version,
            databases=targets.matcher.databases(),
        )
        self._actor = actor
        self._collecting.set()

    def stop_collecting(
        self, reason: EndReason, actor: Actor, *, ended: datetime | None = None
    ) -> None:
        """End collecting truthfully: passes first, then the session (R-460.5.1-a)."""
        with self._control:
            if not self.sessions.is_open:
                return
            self._collecting.clear()
            end = time.monotonic() + DRAIN_S
            for lane in self.lanes:
                if not lane.drained(max(0.0, end - time.monotonic())):
                    log.error("camera %s did not end its passes in time", lane.name)
            self.sessions.close(reason, actor, ended=ended)
            self._actor = None

    # --- the keeper: what must happen by the clock ------------------------------------------

    def _keep(self, beat: Beat) -> None:
        while not beat.sleep(1.0):
            self.sessions.heartbeat()
            self.board.expire()
            self._check_leave()
            self._check_gap()
            if time.monotonic() - self._purged_at >= PURGE_EVERY_S:
                self._purge()

    def _check_leave(self) -> None:
        """Permit lapsed, suspension, authority ended: collecting ends within a second."""
        if not self.sessions.is_open or self._actor is None:
            return
        now, _ = self.clock.now()
        try:
            self.permits.check(now)
            self.roster.authorise(self._actor.id, now=now)
        except RefusedError as error:
            log.warning("collecting ends: %s", error.reason)
            reason: EndReason = "suspended" if error.reason == "suspended" else "permit_lapsed"
            if error.reason not in {"suspended", "permit_lapsed", "no_permit"}:
                reason = "signed_off"
            self.store.record(Event.COLLECTION_REFUSED, detail={"reason": error.reason})
            self.stop_collecting(reason, DAEMON)

    def _check_gap(self) -> None:
        """A gap of five minutes without any frame ends the session at the last frame."""
        now = time.monotonic()
        seen = any(lane.status().up for lane in self.lanes)
        if seen or not self.sessions.is_open:
            self._no_frame_since = now
            self._last_frame_at = self.clock.now()[0]
        elif self._no_frame_since is not None and now - self._no_frame_since > LONGEST_GAP_S:
            self.stop_collecting("no_camera", DAEMON, ended=self._last_frame_at)

    def _purge(self) -> None:
        """Destroy what is past its life, by time that only trusted sources raise (R-460.5-2b)."""
        self._purged_at = time.monotonic()
        when = self.mark.purge_time()
        if when is not None:
            destroyed = self.store.expire(when)
            if destroyed:
                log.info("%d read(s) past their life were destroyed", destroyed)
        self._save_mark()

    def _save_mark(self) -> None:
        mark = self.mark.tick()
        self.store.set_meta(_MARK, mark.dump())

    # --- what central pushes ----------------------------------------------------------------

    def _load_last_lists(self) -> None:
        """A cold boot without contact uses the last verified set (design: lists to the car)."""
        try:
            found = self.dock.targets.load_offline()
        except AlprdError as error:
            log.error("the last lists cannot be used: %s", error.diagnostics())
            return
        if found is not None:
            self._adopt(found)

    def _adopt(self, targets: TargetSet) -> None:
        """Put a verified set in force, all of it at once."""
        self.roster.load(targets.roster)
        self.targets = targets
        self.sessions.note_databases(targets.matcher.databases())

    # --- what the page shows ----------------------------------------------------------------

    def _mdt_context(self) -> MdtContext:
        return MdtContext(
            board=self.board,
            roster_book=self.roster,
            trail=self.store,
            status=self.status,
            collection=self,
            clock=self.clock.now,
        )

    def status(self) -> CarStatus:
        """The state of the car at this moment: counts and health, never a read."""
        now, trusted = self.clock.now()
        gps = self.gps.status()
        targets = self.targets
        permit = self.permits.permit
        row = self.sessions.row()
        actor = self._actor
        policy = targets.policy if targets else None
        return CarStatus(
            cameras=tuple(
                CameraState(camera.name, camera.up, camera.age_s)
                for camera in (lane.status() for lane in self.lanes)
            ),
            gps_fix=gps.fix,
            gps_age_s=gps.age_s,
            clock_trusted=trusted,
            lists=tuple(
                ListState(item.list_id, item.source, item.age(now) / timedelta(hours=1))
                for item in (targets.matcher.lists() if targets else ())
            ),
            permit_expires=permit.expires if permit and not permit.suspended else None,
            queued=self.store.pending().reads,
            dock=self.dock.status().text,
            session_open=row is not None,
            plates_read=row.plates_read if row else 0,
            person=actor.name if actor else None,
            list_warn_hours=policy.list_warn_hours if policy else 24,
            list_stop_hours=policy.list_stop_hours if policy else 72,
        )


def run(config: Config, *, witness_fd: int | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        AlprdError: the car cannot run; says why.
    """
    with contextlib.ExitStack() as stack:
        witness = (
            stack.enter_context(os.fdopen(witness_fd, "w")) if witness_fd is not None else None
        )
        daemon = Daemon(config, witness=witness)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        daemon.run()


def check(config: Config) -> list[str]:
    """What a start of the daemon would stumble over, without starting it (``run --check``).

    Raises:
        ConfigError: a camera or GPS source of an unknown kind, or the like.
    """
    GpsConfig(config.gps.source, baud=config.gps.baud)
    doubts = []
    for section in config.camera:
        settings = _camera(section, config).config
        if settings.kind != "url" and not settings.path.exists():
            doubts.append(f"camera {section.name}: {settings.path} is not there")
    if not (config.state_dir / "trust" / "identity.json").exists():
        doubts.append(f"state_dir {config.state_dir}: this car is not enrolled (alprd enrol)")
    try:
        wanted = config.reader
        check_providers(wanted.providers)
        load(  # a file may be whole and yet no model
            choose(config, fetch=False),
            PROFILES[wanted.profile],
            threads=wanted.threads,
            providers=wanted.providers,
        )
    except ModelError as error:
        doubts.append(f"{error.message} ({error.remedy})")
    return doubts


def _camera(section: CameraSection, config: Config) -> Camera:
    is_file = section.source.startswith("file:")
    return Camera(
        CameraConfig(
            name=section.name,
            source=section.source,
            fps=section.fps,
            user=section.user or None,
            password_file=section.password_file,
            rotate=section.rotate,
            start_gate=config.replay.start_file if is_file else None,
        )
    )
