"""What the checks share: the configuration, the machine, and what was found out on the way."""

from __future__ import annotations

import fcntl
import functools
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alprd.config import Config

if TYPE_CHECKING:
    from alprd.clock import ClockStatus
    from alprd.detect import Detector
    from alprd.gps import GpsStatus
    from alprd.ocr import PlateReader
    from alprd.trust import Trust


@dataclass(frozen=True, slots=True)
class GpsHeard:
    """What one watch of the receiver told."""

    status: GpsStatus
    clock: ClockStatus
    heard_bytes: int


@dataclass
class Car:
    """One car under examination.

    Args:
        config: valid.
        config_file: where it was read from; its permissions are checked too.
        pictures: folder for one picture of each camera; None: no pixel leaves RAM.
        plate_at_m: a car with a plate stands this far in front of the cameras.
        seconds: how long each device is watched.
        root: of ``/proc``, ``/sys``, ``/run`` and ``/dev``; another one only for tests.
    """

    config: Config
    config_file: Path
    pictures: Path | None = None
    plate_at_m: float | None = None
    seconds: float = 4.0
    root: Path = Path("/")

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.config.state_dir

    @property
    def enrolled(self) -> bool:
        """Whether an enrolment was completed (``identity.json`` is written last)."""
        try:
            return (self.state / "trust" / "identity.json").exists()
        except PermissionError:  # another user's: the checks say themselves what they cannot see
            return True

    @functools.cached_property
    def daemon_runs(self) -> bool:
        """Whether a daemon holds the state folder; its devices must then be left alone.

        The shared lock is let go at once; a daemon that starts at that very instant is started
        again by systemd two seconds later.
        """
        try:
            handle = os.open(self.state / "daemon.lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    @functools.cached_property
    def health(self) -> dict[str, Any] | None:
        """What a running daemon tells on loopback; None if it cannot be asked."""
        from alprd.doctor.health import ask

        return ask(self.config)

    @functools.cached_property
    def trust(self) -> Trust:
        """The enrolled car.

        Raises:
            StoreError: not enrolled, or a file is damaged.
        """
        from alprd.trust import Trust

        return Trust.load(self.state)

    @functools.cached_property
    def recognition(self) -> tuple[Detector, PlateReader]:
        """The models as the daemon would load them, without going to the network.

        Raises:
            ModelError: missing, altered, or of the wrong shape.
        """
        from alprd.choice import choose
        from alprd.profiles import PROFILES
        from alprd.reader import load

        section = self.config.reader
        return load(
            choose(self.config, fetch=False),
            PROFILES[section.profile],
            threads=section.threads,
            providers=section.providers,
        )

    @functools.cached_property
    def gps(self) -> GpsHeard:
        """What the receiver tells in ``seconds`` and a little more; only while no daemon runs."""
        from alprd.doctor.place import listen

        return listen(self)

    def now(self) -> datetime:
        """The system clock, which certificates and lists are judged by."""
        return datetime.now(UTC)

    def below(self, path: str) -> Path:
        """A path of the machine, below :attr:`root`."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str | None:
        """A short text file of the machine, stripped; None if it is not there or not readable."""
        try:
            return self.below(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None
