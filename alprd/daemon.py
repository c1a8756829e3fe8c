"""The vehicle daemon: every part wired together, started, kept alive and stopped cleanly.

Start: state folder locked, trail opened, sessions that a power cut left open closed, reads past
their life destroyed — all before anything collects (R-460.5-2b). Then a table of workers
(:mod:`alprd.workers`). Stop (SIGTERM): cameras' passes are ended and committed, the session is
closed, the queue is closed.

This file only wires. Who may collect is in :mod:`alprd.collecting`, what happens by the clock in
:mod:`alprd.keeper`, cameras and GPS in :mod:`alprd.devices`, what is shown in
:mod:`alprd.carstatus`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Final, NoReturn, TextIO

from alprd import pagecert, selftest
from alprd.alarms import AlarmBook
from alprd.alerts import AlertBoard
from alprd.audit import DAEMON, Event
from alprd.carreport import car_report
from alprd.carstatus import StatusBook
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector
from alprd.collecting import Collecting
from alprd.config import Config
from alprd.crypto import key_id, write_secret
from alprd.custody import HeldAlerts, local_alert_key
from alprd.devices import Devices
from alprd.disk import guard
from alprd.errors import AlprdError, ConfigError
from alprd.health import Health, Parts
from alprd.healthserver import HealthServer
from alprd.ignition import Ignition
from alprd.journal import set_level
from alprd.keeper import MARK_KEY, Keeper
from alprd.lives import Lives
from alprd.mark import PurgeClock, TimeMark
from alprd.mdt import leftopen, locks, motion
from alprd.mdt.app import MdtContext, ServerHandle, create_app, serve_in_thread
from alprd.mdt.certificate import followers
from alprd.orderbook import OrderBook
from alprd.permits import PermitBook
from alprd.process import (
    close_to_others,
    harden,
    lock_state,
    notify,
    ready,
    refuse_foreign,
    reloading,
    start_again,
    still_starting,
)
from alprd.rehearsal import check as check
from alprd.rehearsal import rehearse
from alprd.reload import Reloader
from alprd.renewal import note_enrolment
from alprd.roster import RosterBook
from alprd.selfcheck import SelfCheck
from alprd.session import SessionKeeper
from alprd.shiftstore import ShiftStore
from alprd.store import Store
from alprd.sync import DockSync
from alprd.targets import TargetSet
from alprd.totp import StepBook
from alprd.trust import Trust
from alprd.verification import HttpGateway, from_config
from alprd.wipe import kill, refuse_wiped
from alprd.workers import Supervisor, Worker, told_only

log = logging.getLogger(__name__)

WORKERS_STOP_S: Final = 1.0
PAGE_STOP_S: Final = 0.5
"""With the passes' and the devices' time (DRAIN_S, STOP_S) a stop lasts at most 5 s."""


class Daemon:
    """One car's daemon.

    Args:
        config: of this car, read from ``config_file``, which is watched for changes.
        witness: see :class:`alprd.collect.Collector`.

    Raises:
        AlprdError: the car cannot run at all: not enrolled, state folder in use, models damaged.
    """

    def __init__(self, config: Config, config_file: Path, *, witness: TextIO | None = None) -> None:
        self._config = config
        self._stop = threading.Event()
        harden()
        selftest.check()
        self._lock = lock_state(config.state_dir)
        self.trust = Trust.load(config.state_dir)
        self.clock = DisciplinedClock()
        self.positions = PositionTrack()
        self.alarms = AlarmBook()
        if opened := close_to_others(config.state_dir):
            log.error("open to others until now: %s", ", ".join(opened))
            self.alarms.raise_alarm(
                "state_open",
                f"{len(opened)} file(s) of this car were open to others until now: if strangers "
                "may have had this disk, enrol the car again",
            )
        self.store = Store(
            config.state_dir / "queue.db",
            now=self.clock.now,
            device=self.trust.vehicle,
            alarms=self.alarms,
        )
        self.disk = guard(config, self.store)
        note_enrolment(self.store, self.trust)
        self.orders = OrderBook(
            self.store,
            giver=f"{self.trust.vehicle} {key_id(self.trust.receipt_key)}",
            now=self.clock.now,
        )
        self.mark = PurgeClock(self.clock, TimeMark.load(self.store.get_meta(MARK_KEY)))
        self.sessions = SessionKeeper(self.store, reader=self.trust.reader, now=self.clock.now)
        alert_key = self._alert_key = local_alert_key()
        shift = ShiftStore(self.store, alert_key, now=lambda: self.clock.now()[0])
        self.board = AlertBoard(self.store, journal=shift, now=lambda: self.clock.now()[0])
        shift.restore(self.board)
        self.roster = RosterBook(steps=StepBook(self.store))
        self.permits = PermitBook(
            self.store,
            agency=self.trust.agency,
            vehicle=self.trust.vehicle,
            receipt_key=self.trust.receipt_key,
            bounds=self.mark.bounds,
            suspended=lambda: self.orders.suspended,
        )
        self.targets: TargetSet | None = None
        if self.permits.permit is not None:  # a floor of time, should the mark have been lost
            self.mark.at_least(self.permits.permit.not_before)
        lives = Lives(self.store, self.clock, self.mark)
        self._held = held = HeldAlerts(
            self.store, self.board, folder=config.state_dir / "held", key=alert_key
        )
        self.collector = Collector(
            lives=lives,
            disk=self.disk,
            longest_life=timedelta(hours=config.storage.retention_hours),
            store=self.store,
            sessions=self.sessions,
            board=self.board,
            clock=self.clock,
            positions=self.positions,
            targets=lambda: self.targets,
            agency=self.trust.agency,
            vehicle=self.trust.vehicle,
            witness=witness,
            held=held,
        )
        collecting = threading.Event()
        self.devices = Devices(
            config,
            collector=self.collector,
            collecting=collecting,
            clock=self.clock,
            positions=self.positions,
        )
        self.collecting = Collecting(
            on=collecting,
            drained=self.devices.drained,
            store=self.store,
            sessions=self.sessions,
            permits=self.permits,
            clock=self.clock,
            targets=lambda: self.targets,
            roster=self.roster,
            vehicle=self.trust.vehicle,
            held=held,
            where=lambda: self.positions.at(time.monotonic_ns()) or self.keeper.post.place,
        )
        self.keeper = Keeper(
            store=self.store,
            sessions=self.sessions,
            board=self.board,
            permits=self.permits,
            roster=self.roster,
            clock=self.clock,
            mark=self.mark,
            lives=lives,
            disk=self.disk,
            collecting=self.collecting,
            camera_up=lambda: any(lane.status().up for lane in self.devices.lanes),
            held=held,
            where=lambda: self.positions.at(time.monotonic_ns()),
        )
        self.dock = DockSync(
            self.trust,
            self.store,
            carrier_file=config.dock.carrier_file,
            interval_s=config.dock.interval_s,
            clock_agrees=self.clock.system_agrees,
            on_time=self.mark.central,
            on_permit=self.permits.renew,
            on_targets=self._adopt,
            on_kill=self._kill,
            orders=self.orders,
            health=lambda: car_report(
                self.health.report()[1], trust=self.trust, store=self.store, targets=self.targets
            ),
            permit_over=config.dock.permit_over,
            limit_kbit_s=config.dock.limit_kbit_s,
        )
        self.self_check = SelfCheck(self.devices.reader, trail=self.store, now=self.clock.now)
        self.status = StatusBook(
            devices=self.devices,
            clock=self.clock,
            store=self.store,
            sessions=self.sessions,
            permits=self.permits,
            dock=self.dock,
            collecting=self.collecting,
            targets=lambda: self.targets,
            alarms=lambda: (
                *filter(
                    None, (self.trust.locker.alarm, self.self_check.alarm, self.reloader.alarm)
                ),
                *(alarm.text for alarm in self.alarms.now()),
            ),
            post=lambda: self.keeper.post.beyond and not self.collecting.post_declared,
        )
        self.ignition = Ignition(config.ignition.file, after_s=config.ignition.off_after_min * 60.0)
        self.supervisor = Supervisor([])
        self.hung: list[str] = []
        """What did not stop in time."""
        self.reloader = Reloader(
            config_file,
            config,
            store=self.store,
            apply=self._reconfigure,
            rehearse=lambda found: rehearse(found, config),
            reloading=lambda begun: reloading() if begun else ready(),
        )
        self.health = Health(
            Parts(
                devices=self.devices,
                clock=self.clock,
                status=self.status,
                supervisor=self.supervisor,
                reloader=self.reloader,
                state_dir=config.state_dir,
                disk=self.disk,
                self_check=self.self_check.health,
            )
        )

    # --- life -------------------------------------------------------------------------------

    def run(self) -> bool:
        """Work until :meth:`stop` or SIGTERM; then end everything within five seconds.

        Returns:
            Whether a fresh start is wanted, because of a changed configuration.
        """
        self.store.record(Event.STARTED)
        leftopen.close_left_open(self.store)
        self.reloader.begin()
        # Before anything collects: a car off for 60 days destroys at boot, which may take minutes.
        self.keeper.purge(still_starting)
        self.sessions.recover()
        self.trust.locker.on_open = self._load_last_lists
        with told_only("the unlock credential"):
            self.trust.locker.by_credential()
        self._load_last_lists()
        # The page first: an address that cannot be used must end the start before any thread
        # of a device runs.
        page = serve_in_thread(
            create_app(self._mdt_context()),
            self._config.mdt.host,
            self._config.mdt.port,
            certificate=self._config.mdt.tls_cert,
            key=self._config.mdt.tls_key,
        )
        if self._config.mdt.run_file is not None:
            told = {"host": self._config.mdt.host, "port": page.port, "pid": os.getpid()}
            write_secret(self._config.mdt.run_file, json.dumps(told).encode())
        self.devices.start()
        for worker in (*self._table(), *followers(page, self._config.mdt, self.alarms)):
            self.supervisor.add(worker)
        log.info("started: %d camera(s), page on port %d", len(self.devices.cameras), page.port)
        ready()
        again = False
        try:
            again = self._watch_over()
        finally:
            self._end(page)
        return again

    def _watch_over(self) -> bool:
        """Keep the table until told to stop; nothing here may wait for a device or the disk."""
        told: list[str] = []
        while not self._stop.wait(1.0):
            self.supervisor.reconcile()
            silent = self.supervisor.silent()
            if silent != told:
                log.error("silent workers: %s", ", ".join(silent) or "none any more")
                told = silent
            if not silent:
                notify("WATCHDOG=1")
            if self.reloader.due(collecting=self.sessions.is_open):
                log.info("a fresh start for %s", ", ".join(self.reloader.restart))
                return True
        return False

    def _end(self, page: ServerHandle) -> None:
        """Every step is tried, whatever becomes of the one before: nothing here can be refused."""
        notify("STOPPING=1", "STATUS=stopping")
        with told_only("end of collecting"):
            self.collecting.stop("stopped", DAEMON)
        closing = threading.Thread(target=page.stop, name="stop-page", daemon=True)
        closing.start()
        self.hung = self.supervisor.stop(timeout_s=WORKERS_STOP_S)
        self.hung += self.devices.stop()
        closing.join(PAGE_STOP_S)
        if self.hung:
            log.warning("did not stop in time: %s", ", ".join(self.hung))
        with told_only("last record"):
            self.store.record(Event.STOPPED)
            self.keeper.save_mark()
        with told_only("closing the queue"):
            self.store.close()
        self.trust.locker.close()
        self._lock.close()
        log.info("stopped")

    def stop(self) -> None:
        """End :meth:`run`; safe from a signal handler."""
        self._stop.set()

    def _table(self) -> list[Worker]:
        section = self._config.health
        server = HealthServer(self.health, section.host, section.port, section.run_file)
        return [
            *self.devices.workers(),
            Worker("keeper", self.keeper.run, silence_s=20.0),
            Worker("reload", self.reloader.run, required=False),
            Worker("ignition", self.ignition.run, wanted=lambda: self.ignition.watched),
            Worker("health", server.run, required=False),
            Worker("teller", self.status.tell, required=False),
            Worker("dock", self.dock.run, silence_s=180.0, required=False),
            Worker("self-check", self.self_check.run, silence_s=120.0, required=False),
        ]

    def _reconfigure(self, config: Config) -> None:
        """Put what can change at once in force: cameras, GPS source, dock, log level."""
        hung = self.devices.apply(config, self.supervisor)
        self.dock.retune(
            carrier_file=config.dock.carrier_file,
            interval_s=config.dock.interval_s,
            permit_over=config.dock.permit_over,
            limit_kbit_s=config.dock.limit_kbit_s,
        )
        set_level(config.log.level)
        if hung:
            log.error("these do not end and are left behind: %s", ", ".join(hung))

    # --- what central pushes ----------------------------------------------------------------

    def _kill(self, order: str) -> None:
        """Central ordered this car to destroy itself: no more collecting; :func:`run` wipes it."""
        log.error("central orders this car to destroy its keys and data (order %s)", order)
        kill(self.trust, order, at_trusted=self.clock.now()[1])
        self._stop.set()
        self.collecting.stop("stopped", DAEMON)
        self.store.record(Event.KILL_ORDERED, subjects=(order,))

    def _load_last_lists(self) -> None:
        """A cold boot without contact uses the last verified set (design: lists to the car)."""
        try:
            if self.trust.locker.locked:
                log.warning("%s", self.trust.locker.alarm)
                return
            found = self.dock.targets.load_offline()
        except AlprdError as error:
            log.error("the last lists cannot be used: %s", error.diagnostics())
            return
        if found is not None:
            self._adopt(found)

    def _adopt(self, targets: TargetSet) -> None:
        """Put a verified set in force, all of it at once."""
        self.roster.load(targets.roster)
        with told_only("sign-ons that open the car's keys"):
            self.trust.locker.prune(targets.roster.people)
        self.targets = targets
        self.board.reconsider(targets.suppression)
        with told_only("held hits"):
            self._held.reconsider(targets, self.clock.now()[0])
        self.store.set_zone(targets.policy.timezone)
        self.sessions.note_databases(targets.matcher.databases())

    # --- what the page shows ----------------------------------------------------------------

    def _page_names(self) -> tuple[str, ...]:
        """Names that the page's own certificate is for: by these a laptop asks for it."""
        certificate = self._config.mdt.tls_cert
        return pagecert.names_of(certificate) if certificate is not None else ()

    def _gateway(self) -> HttpGateway | None:
        """The query gateway; a car whose gateway cannot be used collects without it."""
        try:
            return from_config(self._config.verification)
        except ConfigError as error:
            log.error("%s", error.diagnostics())
            self.alarms.raise_alarm(
                "gateway", "the query gateway is off: its ca_file cannot be used"
            )
            return None

    def _mdt_context(self) -> MdtContext:
        return MdtContext(
            board=self.board,
            roster_book=self.roster,
            trail=self.store,
            status=self.status.now,
            collection=self.collecting,
            clock=self.clock.now,
            misread=self.sessions.count_misread,
            moving=motion.Motion(self.positions.at),
            locks=locks.LockBook(self.store, self.clock.now),
            locker=self.trust.locker,
            gateway=self._gateway(),
            hosts=(*self._config.mdt.hosts, *self._page_names()),
            ignition_over=self.ignition.over,
            duty=self.collecting,
            lasting=self._alert_key[1],
        )


def run(config: Config, config_file: Path, *, witness_fd: int | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Raises:
        AlprdError: the car cannot run, or was wiped by order of central; says why.
    """
    refuse_foreign(config.state_dir)
    with lock_state(config.state_dir):
        refuse_wiped(config.state_dir)
    with contextlib.ExitStack() as stack:
        witness = (
            stack.enter_context(os.fdopen(witness_fd, "w")) if witness_fd is not None else None
        )
        daemon = Daemon(config, config_file, witness=witness)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        signal.signal(signal.SIGHUP, lambda *_: daemon.reloader.hang_up())
        if daemon.run():
            reloading()  # the new life says READY=1
            start_again(keep=[witness_fd] if witness_fd is not None else [])
        if daemon.hung:
            _leave(config)
    with lock_state(config.state_dir):
        refuse_wiped(config.state_dir)


def _leave(config: Config) -> NoReturn:
    """End at once, past what hangs: it may hold a lock that a clean end of Python waits for."""
    code = 0
    try:
        with lock_state(config.state_dir):
            refuse_wiped(config.state_dir)
    except AlprdError as error:
        log.error("%s", error.diagnostics())
        code = error.exit_code
    logging.shutdown()
    os._exit(code)
