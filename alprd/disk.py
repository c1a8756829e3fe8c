"""Low disk: what is given up, in which order, and what never is.

====================  ========================================================================
free (``[storage]``)  what happens
====================  ========================================================================
below ``alarm_mb``    an alarm on the page, an event in the trail
below ``caches_mb``   files that nobody needs are destroyed: quarantined queues already saved
                      from, the emptied write-ahead log
below ``no_wide_mb``  new reads are kept without the wide picture, a tenth of their size
below ``stop_mb``     collecting ends truthfully, as ``disk_full``
====================  ========================================================================

A committed read is never sacrificed. A *reserve* of ``reserve_mb`` stands on the disk from the
start and is given up when a commit finds no room, so that the read in hand, the end of the session
and the events of it all can still be written. Each level ends only when a quarter more than its
limit is free again. Collecting then begins by itself, as a session of its own, if the operator is
still signed on; the gap is told by the two rows of the public log (R-460.5.1-a).
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Literal, Protocol

from alprd.alarms import AlarmBook
from alprd.audit import Event, Trail
from alprd.config import Config
from alprd.errors import StoreError, no_room

log = logging.getLogger(__name__)

RESERVE_FILE: Final = "reserve.bin"
ALARM: Final = "disk_low"
LOST_ALARM: Final = "reads_lost"
IN_RAM_S: Final = 2.0
"""The longest a read that cannot be committed waits in memory (design: the queue)."""
LOG_ROOM: Final = 8_000_000
"""The queue's log needs so much before anything can be kept or destroyed: twice its usual size."""
_RETRY_S: Final = 0.1
_MORE: Final = 1.25
_FEWEST_FILES: Final = 64
"""A file system without room for so many more files is full, whatever its bytes say."""
_MB: Final = 1_000_000

StopReason = Literal["disk_full", "error"]


class Level(IntEnum):
    """How low the disk is."""

    OK = 0
    LOW = 1
    CACHES = 2
    NO_WIDE = 3
    STOP = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes free below which each level begins, and the size of the reserve."""

    alarm: int = 1000 * _MB
    caches: int = 500 * _MB
    no_wide: int = 250 * _MB
    stop: int = 100 * _MB
    reserve: int = 16 * _MB

    def level(self, free: float) -> Level:
        """The level for so many bytes free."""
        found = Level.OK
        for level, limit in zip(
            (Level.LOW, Level.CACHES, Level.NO_WIDE, Level.STOP),
            (self.alarm, self.caches, self.no_wide, self.stop),
            strict=True,
        ):
            if free < limit:
                found = level
        return found


def free_bytes(folder: Path) -> int:
    """Bytes the daemon may still write on the file system of ``folder``.

    Raises:
        OSError: it cannot be asked.
    """
    told = os.statvfs(folder)
    if told.f_files and told.f_favail < _FEWEST_FILES:
        return 0
    return told.f_bavail * told.f_frsize


class DiskGuard:
    """Watches the file system of the state folder; call :meth:`look` every second.

    Args:
        drop_caches: destroys what nobody needs.
        reusable: bytes inside the queue's file that new reads can use; they count as free, since
            that file never shrinks.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        *,
        trail: Trail,
        alarms: AlarmBook,
        drop_caches: Callable[[], object] = lambda: None,
        reusable: Callable[[], int] = lambda: 0,
    ) -> None:
        self._reusable = reusable
        self._folder = folder
        self._limits = limits
        self._trail = trail
        self._alarms = alarms
        self._drop_caches = drop_caches
        self._lock = threading.RLock()
        self._level = Level.OK
        self._told = Level.OK
        self._failed: StopReason | None = None
        """Why a commit failed; stays until the disk takes writes again."""
        self._lost = 0
        self._lost_untold = 0
        self._reserve = folder / RESERVE_FILE
        self._make_reserve()

    @property
    def level(self) -> Level:
        """The level as of the last look."""
        return self._level

    @property
    def keep_wide(self) -> bool:
        """Whether new reads may keep their wide picture."""
        return self._level < Level.NO_WIDE

    @property
    def stop_reason(self) -> StopReason | None:
        """Why collecting must end or may not begin; None while it may go on."""
        with self._lock:
            if self._failed is not None:
                return self._failed
            return "disk_full" if self._level >= Level.STOP else None

    @property
    def lost(self) -> int:
        """Reads that could not be committed since the start; they are counted in the session."""
        return self._lost

    # --- the look ---------------------------------------------------------------------------

    def look(self) -> Level:
        """Measure, act on the level, and write down what changed; the level."""
        with self._lock:
            try:
                free = self._free()
            except OSError as error:
                log.error("free space cannot be asked: %s", error.strerror)
                self._failed, free = "error", 0
            level = self._limits.level(free)
            if level < self._level:  # better, but only by enough
                level = min(self._level, self._limits.level(free / _MORE))
            if self._failed is not None:
                level = Level.STOP
                if self._writable(free):
                    self._failed = None
                    level = self._limits.level(free / _MORE)
            rising, self._level = level > self._level, level
            # Not where there is no room at all: emptying the log would take the last of it.
            if level in {Level.CACHES, Level.NO_WIDE} and rising:
                with suppress(StoreError):
                    self._drop_caches()
            elif level <= Level.CACHES:
                self._make_reserve()
            self._tell(free)
            return self._level

    def _free(self) -> int:
        """Bytes for new reads; only what the file system has while the log could not grow."""
        free = free_bytes(self._folder)
        if free >= min(LOG_ROOM, self._limits.stop):
            with suppress(StoreError):
                free += self._reusable()
        return free

    def _writable(self, free: int) -> bool:
        """Whether the file system takes and keeps a small file again."""
        if free < self._limits.stop * _MORE:
            return False
        probe = self._folder / ".disk-probe"
        try:
            with probe.open("wb") as file:
                file.write(bytes(8192))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return False
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        return True

    def _tell(self, free: int) -> None:
        mb = free // _MB
        if self._failed == "error":
            self._alarms.raise_alarm(ALARM, "the disk takes no writes; nothing is collected")
        elif self._level is Level.OK:
            self._alarms.clear(ALARM)
        else:
            self._alarms.raise_alarm(ALARM, f"{mb} MB left on the disk; {_MEANING[self._level]}")
        try:
            if self._level is not self._told:
                event = Event.DISK_LOW if self._level > self._told else Event.DISK_ENOUGH
                self._trail.record(event, detail={"level": self._level.name.lower(), "free_mb": mb})
                self._told = self._level
            if self._lost_untold:
                self._trail.record(
                    Event.READS_LOST, detail={"count": self._lost_untold, "why": "disk"}
                )
                self._lost_untold = 0
        except StoreError as error:
            log.error("the state of the disk cannot be written down yet: %s", error.message)

    # --- commits that fail --------------------------------------------------------------------

    def commit(self, write: Callable[[], None]) -> bool:
        """Do a commit, again and again for :data:`IN_RAM_S` if the disk refuses; whether it held.

        The reserve is given up at the first refusal. When nothing helps, the read is lost: it
        stays counted in ``plates_read``, the loss is logged, recorded and shown, and
        :attr:`stop_reason` ends collecting.
        """
        end = time.monotonic() + IN_RAM_S
        while True:
            try:
                write()
                return True
            except StoreError as error:
                if no_room(error):
                    if self.no_room():
                        continue
                else:
                    with self._lock:
                        self._failed = self._failed or "error"
                if time.monotonic() + _RETRY_S > end:
                    self._lose(error)
                    return False
            time.sleep(_RETRY_S)

    def no_room(self) -> bool:
        """A write found no room: collecting is to end; whether giving up the reserve made some."""
        with self._lock:
            self._failed = "disk_full"
            return self._give_up_reserve()

    def _lose(self, error: StoreError) -> None:
        with self._lock:
            self._lost += 1
            self._lost_untold += 1
            count = self._lost
        log.error("a read could not be committed and is lost: %s", error.message)
        self._alarms.raise_alarm(LOST_ALARM, f"{count} read(s) could not be kept since the start")

    # --- the reserve --------------------------------------------------------------------------

    def _make_reserve(self) -> None:
        """Have the reserve stand on the disk; without room for it, go on without."""
        size = self._limits.reserve
        try:
            if not size or (self._reserve.exists() and self._reserve.stat().st_size == size):
                return
            handle = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.posix_fallocate(handle, 0, size)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            with suppress(OSError):
                self._reserve.unlink(missing_ok=True)
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                log.warning("no reserve on the disk: %s", error.strerror)

    def _give_up_reserve(self) -> bool:
        """Make its room free; whether there was any."""
        try:
            if not self._reserve.exists():
                return False
            self._reserve.unlink()
        except OSError as error:
            log.error("the reserve cannot be given up: %s", error.strerror)
            return False
        log.warning("the disk is full: the reserve was given up")
        return True


_MEANING: Final = {
    Level.LOW: "dock the car soon",
    Level.CACHES: "dock the car now",
    Level.NO_WIDE: "reads are kept without the wide picture",
    Level.STOP: "nothing is collected",
}


class GuardedStore(Trail, Protocol):
    """What the guard needs of the car's store; :class:`alprd.store.Store` has it."""

    alarms: AlarmBook
    on_no_room: Callable[[], bool] | None

    def reusable_bytes(self) -> int:
        """Room inside the file."""

    def drop_caches(self) -> None:
        """Destroy what nobody needs."""


def guard(config: Config, store: GuardedStore) -> DiskGuard:
    """The guard of a car's state folder, as its ``[storage]`` says."""
    section = config.storage
    watch = DiskGuard(
        config.state_dir,
        Limits(
            alarm=section.alarm_mb * _MB,
            caches=section.caches_mb * _MB,
            no_wide=section.no_wide_mb * _MB,
            stop=section.stop_mb * _MB,
            reserve=section.reserve_mb * _MB,
        ),
        trail=store,
        alarms=store.alarms,
        drop_caches=store.drop_caches,
        reusable=store.reusable_bytes,
    )
    store.on_no_room = watch.no_room
    return watch
