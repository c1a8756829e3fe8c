"""Whether the ignition is off, and for how long: a file that the system keeps at 1 or 0.

That is the value file of a GPIO line (``/sys/class/gpio/gpio17/value``), the ``online`` file of
the car's power supply (``/sys/class/power_supply/AC/online``), or any file that a script of the
car keeps. A deputy who left with the engine off must not stay signed on (R-CJIS-3), so the page
ends a sign-on when the ignition has been off for long enough.

A file that cannot be read, or says something else, counts as on and is told in the log: a loose
wire must sign nobody off in a pursuit, and the idle rule holds all the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alprd.workers import Beat

log = logging.getLogger(__name__)

POLL_S: Final = 2.0
_LONGEST: Final = 64
"""Bytes looked at: a device that never ends must not fill the memory."""


def awake_or_asleep() -> float:
    """Seconds since boot, those of sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Ignition:
    """The worker that watches the file.

    Args:
        file: says ``0`` while the ignition is off; ``None``: nothing is watched, it is always on.
        after_s: seconds off after which a sign-on ends.
        elapsed: evenly running seconds.
    """

    def __init__(
        self, file: Path | None, *, after_s: float, elapsed: Callable[[], float] = awake_or_asleep
    ) -> None:
        self._file = file
        self._after_s = after_s
        self._elapsed = elapsed
        self._off_since: float | None = None
        self._told = ""

    @property
    def watched(self) -> bool:
        """Whether a file is configured."""
        return self._file is not None

    def run(self, beat: Beat) -> None:
        """Look every :data:`POLL_S` seconds until told to stop."""
        while not beat.stopping:
            self.look()
            beat.sleep(POLL_S)

    def look(self) -> None:
        """Read the file once."""
        if self._file is None:
            return
        problem = ""
        try:
            with self._file.open("rb") as file:
                said = file.read(_LONGEST).strip()
            if said not in (b"0", b"1"):
                problem = "says neither 0 nor 1"
        except OSError as error:
            said, problem = b"", f"cannot be read: {error.strerror}"
        if problem and problem != self._told:
            log.error("ignition file %s %s: counted as on", self._file, problem)
        self._told = problem
        if said != b"0":
            self._off_since = None
        elif self._off_since is None:
            self._off_since = self._elapsed()

    def over(self, signed_on_s: float) -> bool:
        """Whether a sign-on of this age has to end.

        Who signs on with the engine off has the whole time from then on.
        """
        since = self._off_since
        return since is not None and min(self._elapsed() - since, signed_on_s) > self._after_s
