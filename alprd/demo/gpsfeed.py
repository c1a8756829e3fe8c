"""The drive's GPS log through a pseudo-terminal, in real time, as a receiver on a serial line.

A drive was recorded (rendered) at some past instant; permits, lists and destroy-by count from
now. So the log's clock is moved by a whole number of seconds so that the drive begins now, and
its checksums are made anew. Corrupt sentences pass as they are: the daemon must cope with them.
Before the drive a parked car is played, so that the daemon's clock is disciplined when it begins.
"""

from __future__ import annotations

import os
import threading
import time
import tty
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from alprd.errors import GpsError
from alprd.nmealog import replay

_DATED: Final = {"RMC": (1, 9), "GGA": (1, None), "GLL": (5, None)}
"""Sentence → fields of time of day and of date."""


def checksum(body: str) -> str:
    """NMEA 0183 checksum of the text between ``$`` and ``*``: XOR of its bytes, two hex digits."""
    value = 0
    for char in body.encode("ascii"):
        value ^= char
    return f"{value:02X}"


def shift_sentence(line: bytes, delta: timedelta, day: datetime) -> bytes:
    """A sentence with its clock moved by ``delta``; anything but a whole, known one unchanged.

    Args:
        day: the recorded day, for sentences that carry no date.
    """
    try:
        text = line.strip().decode("ascii")
    except UnicodeDecodeError:
        return line
    body, star, given = text.partition("*")
    if not body.startswith("$") or not star or checksum(body[1:]) != given.upper():
        return line
    fields = body[1:].split(",")
    known = _DATED.get(fields[0][2:])
    if known is None or len(fields) <= known[0] or len(fields[known[0]]) < 6:
        return line
    at, date_at = known
    clock = fields[at]
    date = fields[date_at] if date_at is not None and len(fields) > date_at else ""
    try:
        start = datetime.strptime(date, "%d%m%y") if date else day
        recorded = start.replace(
            hour=int(clock[:2]), minute=int(clock[2:4]), second=int(clock[4:6]), tzinfo=UTC
        )
    except ValueError:
        return line
    moved = recorded + delta
    fields[at] = moved.strftime("%H%M%S") + clock[6:]
    if date and date_at is not None:
        fields[date_at] = moved.strftime("%d%m%y")
    body = ",".join(fields)
    return f"${body}*{checksum(body)}\r\n".encode("ascii")


def parked(epoch: bytes, back_s: int, day: datetime) -> bytes:
    """The first epoch of a drive, ``back_s`` seconds earlier."""
    return b"".join(
        shift_sentence(line, timedelta(seconds=-back_s), day)
        for line in epoch.splitlines(keepends=True)
    )


class GpsFeed:
    """A thread that plays a drive's log into a pseudo-terminal.

    Args:
        log: the drive's ``gps.nmea``.
        recorded_start: instant of the drive's time zero, as recorded.

    ``device`` is the path that the daemon opens as its serial line.

    Raises:
        GpsError: the log cannot be read.
    """

    LEAD_S: Final = 30
    """Longest time that the parked car can be played before the drive."""

    def __init__(self, log: Path, recorded_start: datetime) -> None:
        self._epochs = list(replay(log))
        if not self._epochs:
            raise GpsError(f"GPS log {log} is empty", remedy="render the drive again")
        self._recorded = recorded_start
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.device = os.ttyname(slave)
        self._slave = slave  # held open, so that the line does not hang up between readers
        self._zero: float | None = None
        self._zero_utc = datetime.now(UTC)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gps-feed", daemon=True)

    def start(self, lead_s: float) -> tuple[int, datetime]:
        """Begin with the parked car; the drive's time zero follows after ``lead_s``.

        Returns:
            The monotonic instant (ns) of time zero, and the UTC instant that it now has.
        """
        # Time zero falls on a whole shift, so that the sub-second grid of the log is kept.
        now = datetime.now(UTC) + timedelta(seconds=lead_s)
        delta = timedelta(seconds=round((now - self._recorded).total_seconds()))
        self._zero_utc = self._recorded + delta
        wait = (self._zero_utc - datetime.now(UTC)).total_seconds()
        self._zero = time.monotonic() + wait
        self._lead = min(int(wait), self.LEAD_S)
        self._thread.start()
        return int(self._zero * 1e9), self._zero_utc

    def _run(self) -> None:
        assert self._zero is not None  # noqa: S101 - start() sets it before the thread begins
        delta = self._zero_utc - self._recorded
        day = self._recorded
        first = self._epochs[0][1]
        plan = [(-float(back), parked(first, back, day)) for back in range(self._lead, 0, -1)]
        plan += self._epochs
        for at, raw in plan:
            if self._stop.wait(max(0.0, self._zero + at - time.monotonic())):
                return
            moved = b"".join(
                shift_sentence(line, delta, day) for line in raw.splitlines(keepends=True)
            )
            try:
                os.write(self._master, moved)
            except OSError:  # the line was closed: the demo is over
                return
        # After the drive the car stands: the last fix goes on, second by second.
        last = self._epochs[-1]
        for more in range(1, 3600):
            if self._stop.wait(max(0.0, self._zero + last[0] + more - time.monotonic())):
                return
            moved = b"".join(
                shift_sentence(line, delta + timedelta(seconds=more), day)
                for line in last[1].splitlines(keepends=True)
            )
            try:
                os.write(self._master, moved)
            except OSError:
                return

    def stop(self) -> None:
        """End the thread and close the line."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        for handle in (self._master, self._slave):
            os.close(handle)
