"""What the car must tell a person until it is put right: a few flags with plain words.

A log line is read by nobody in a patrol car. Whatever keeps an alarm here is shown on the in-car
page and by the health address until the part that raised it clears it. Words name counts, sizes
and files, never a plate, place or person.
"""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

log = logging.getLogger(__name__)


class Alarm(NamedTuple):
    """One thing that is wrong now; ``code`` is stable and for programs."""

    code: str
    text: str


class AlarmBook:
    """The alarms in force, oldest first; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alarms: dict[str, str] = {}

    def raise_alarm(self, code: str, text: str) -> None:
        """Put an alarm in force, or change its words; logged when it is new."""
        with self._lock:
            new = code not in self._alarms
            self._alarms[code] = text
        if new:
            log.error("alarm %s: %s", code, text)

    def clear(self, code: str) -> None:
        """The matter is put right; without such an alarm nothing happens."""
        with self._lock:
            gone = self._alarms.pop(code, None)
        if gone is not None:
            log.info("alarm %s is over", code)

    def now(self) -> tuple[Alarm, ...]:
        """The alarms in force."""
        with self._lock:
            return tuple(Alarm(code, text) for code, text in self._alarms.items())
