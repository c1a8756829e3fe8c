"""GPS receiver: disciplines the clock and feeds the position track.

Sources: a serial device (``/dev/gps``, a pty), ``socket://host:port`` (NMEA over TCP, as routers
in cars serve it), ``file:PATH`` (a recorded log at its own pace). A source that fails or falls
silent is opened again after a growing, jittered pause. What is missing stays missing: without a
fix nothing is added, and the clock and the track say so by themselves (R-460.4.1-a2).
"""

from __future__ import annotations

import logging
import secrets
import termios
import threading
import time
from dataclasses import dataclass
from datetime import time as time_of_day
from pathlib import Path
from typing import Final

import serial

from alprd import nmea
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.errors import ConfigError, GpsError
from alprd.nmealog import replay

_log = logging.getLogger(__name__)

SECOND: Final = 1_000_000_000
PAUSE_S: Final = (0.5, 3.0)
"""First and longest pause between attempts, before jitter. With a silent source given up after
5 s and a connection attempt that hangs for 5 s, a source is heard within 10 s of its return."""
BAUDS: Final = (9600, 4800, 38400, 115200, 19200, 57600)
"""Rates that are tried while none is given, likeliest first."""
TRY_S: Final = 2.5
"""How long a rate is tried: twice the second that receivers take between epochs."""
FRESH_NS: Final = 5 * SECOND
"""Accuracy of an earlier epoch counts for so long."""


@dataclass(frozen=True, slots=True)
class GpsConfig:
    """Where the receiver is.

    Args:
        source: device path, ``socket://host:port`` or ``file:PATH``.
        baud: of a serial device; NMEA receivers use 4800, 9600, 38400 or 115200. 0 tries
            :data:`BAUDS` in turn until sentences come.
        silence_s: a source without a valid sentence for so long is opened again.
        start_gate: as of :class:`alprd.capture.CameraConfig`, for file sources.

    Raises:
        ConfigError: an impossible value.
    """

    source: str
    baud: int = 9600
    silence_s: float = 5.0
    start_gate: Path | None = None

    def __post_init__(self) -> None:
        if not self.source.startswith(("/", "socket://", "file:")):
            raise ConfigError(
                "gps: unknown kind of source",
                remedy="use a device path, socket://host:port or file:PATH",
            )
        if self.baud != 0 and self.baud not in serial.Serial.BAUDRATES:
            raise ConfigError(
                f"gps: baud is {self.baud}, not a serial rate",
                remedy="give the receiver's rate, or 0 to try the usual ones",
            )


@dataclass(frozen=True, slots=True)
class GpsStatus:
    """How the receiver does; never where the car is."""

    up: bool
    """Valid sentences arrive (with or without a fix)."""
    fix: bool
    """The last epoch had a fix, not longer than 3 s ago."""
    age_s: float | None
    """Seconds since the last fix; None before the first."""
    satellites: int | None
    accuracy_m: float | None
    sentences: int
    """Lines with a right checksum of a kind that is used here."""
    rejected: int
    """Pieces and lines that were not."""
    restarts: int
    ended: bool
    """A file has been played to its end."""
    last_error: str = ""
    source: str = ""
    baud: int | None = None
    """Of a serial device: as configured, or the rate that is tried or was found; else None."""
    talker: str = ""
    """Who sent the last position: GP, GN, GL, GA…; "" before the first."""
    rollover: bool = False
    """The receiver's last date lay a multiple of 1024 weeks back; its firmware is out of date."""
    dropped: int = 0
    """Fixes out of reach of the last one believed that no others confirmed."""


class GpsReceiver:
    """Reads one source in a thread of its own. Thread-safe."""

    def __init__(self, config: GpsConfig, clock: DisciplinedClock, track: PositionTrack) -> None:
        self.config = config
        self._clock = clock
        self._track = track
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._framer = nmea.Framer()
        self._sentences = 0
        self._bad = 0
        self._restarts = 0
        self._ended = False
        self._error = ""
        self._sentence_ns: int | None = None
        self._fix_ns: int | None = None
        self._fix = False
        self._satellites: int | None = None
        self._accuracy: float | None = None
        self._talker = ""
        self._rollover = False
        self._baud = config.baud or BAUDS[0]
        self._forget_epoch()

    def _forget_epoch(self) -> None:
        self._epoch: time_of_day | None = None
        self._epoch_ns = 0
        self._placed = False
        self._timed = False
        self._void = False
        self._hdop: tuple[float, bool, int] | None = None  # value, aided, instant
        self._sigma: tuple[float, int] | None = None  # metres, instant

    def start(self, start_mono_ns: int | None = None) -> None:
        """Begins to read.

        Args:
            start_mono_ns: monotonic instant of a file's first valid time (default: now).

        Raises:
            GpsError: it was started before.
        """
        if self._thread is not None:
            raise GpsError("the GPS receiver was started before")
        self._thread = threading.Thread(
            target=self._run, args=(start_mono_ns,), name="gps", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stops within a second; a connection attempt that hangs is left to end by itself."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def status(self) -> GpsStatus:
        """A snapshot."""
        with self._lock:
            now = time.monotonic_ns()
            age = None if self._fix_ns is None else (now - self._fix_ns) / SECOND
            heard = None if self._sentence_ns is None else (now - self._sentence_ns) / SECOND
            fix = self._fix and age is not None and age <= 3.0
            return GpsStatus(
                up=heard is not None and heard <= 3.0 and not self._stop.is_set(),
                fix=fix,
                age_s=age,
                satellites=self._satellites if fix else None,
                accuracy_m=self._accuracy if fix else None,
                sentences=self._sentences,
                rejected=self._bad + self._framer.dropped,
                restarts=self._restarts,
                ended=self._ended,
                last_error=self._error,
                source=self.config.source,
                baud=self._baud if self.config.source.startswith("/") else None,
                talker=self._talker,
                rollover=self._rollover,
                dropped=self._track.dropped,
            )

    def feed(self, data: bytes, mono_ns: int) -> None:
        """Takes bytes that arrived at ``mono_ns``. The thread calls it; nothing in them raises."""
        with self._lock:
            for line in self._framer.feed(data):
                sentence = nmea.parse(line)
                if sentence is None:
                    self._bad += not self._known_but_unused(line)
                    continue
                self._sentences += 1
                self._sentence_ns = mono_ns
                if self._error:
                    _log.info("GPS: sentences again")
                    self._error = ""
                self._digest(sentence, mono_ns)

    @staticmethod
    def _known_but_unused(line: str) -> bool:
        """A sound sentence of a kind that tells nothing here (GSV, VTG, TXT…) is not a fault."""
        body, _, told = line[1:].rpartition("*")
        total = 0
        for char in body:
            total ^= ord(char)
        return f"{total:02X}" == told.upper()

    def _digest(self, sentence: nmea.Sentence, mono_ns: int) -> None:
        if sentence.time_of_day is not None and sentence.time_of_day != self._epoch:
            # The first sentence of an epoch stamps it: the later ones wait for the wire.
            self._epoch, self._epoch_ns = sentence.time_of_day, mono_ns
            self._placed = self._timed = self._void = False
        if sentence.hdop is not None:
            self._hdop = (sentence.hdop, sentence.aided, mono_ns)
        if sentence.sigma_m is not None:
            self._sigma = (sentence.sigma_m, mono_ns)
        if sentence.satellites is not None:
            self._satellites = sentence.satellites
        if sentence.fix is False:
            self._fix = False
            self._void = True
        elif sentence.fix and not self._void:
            self._fix = True
            self._fix_ns = self._epoch_ns
            self._place(sentence)
        # ZDA has no validity flag: its time counts only beside a fix of the same epoch.
        sure = sentence.kind == "RMC" or (self._fix and self._fix_ns == self._epoch_ns)
        if sentence.utc is not None and sure and not self._timed:
            self._timed = True
            if sentence.corrected and not self._rollover:
                _log.warning("GPS: the receiver lost a week rollover; its firmware needs an update")
            self._rollover = sentence.corrected
            self._clock.observe(sentence.utc, self._epoch_ns, corrected=sentence.corrected)

    def _place(self, sentence: nmea.Sentence) -> None:
        if self._placed or sentence.lat is None or sentence.lon is None:
            return
        self._placed = True
        self._talker = sentence.talker
        hdop, aided = None, False
        if self._hdop is not None and self._epoch_ns - self._hdop[2] <= FRESH_NS:
            hdop, aided = self._hdop[:2]
        self._accuracy = nmea.accuracy_m(hdop, aided=aided)
        if self._sigma is not None and self._epoch_ns - self._sigma[1] <= FRESH_NS:
            # The receiver's own estimate, which sees multipath; never better than the floor.
            self._accuracy = max(nmea.UERE_AIDED_M, self._sigma[0])
        self._track.add(self._epoch_ns, sentence.lat, sentence.lon, self._accuracy)

    def _run(self, start_mono_ns: int | None) -> None:
        failures = 0
        while not self._stop.is_set():
            before = self._sentences
            try:
                if self.config.source.startswith("file:"):
                    self._play(start_mono_ns)
                    return
                self._listen()
            # pyserial lets termios.error through, which is no OSError.
            except (serial.SerialException, OSError, ValueError, termios.error) as error:
                self._note(f"{type(error).__name__}: {error}")
            except GpsError as error:
                self._note(error.message)
                if self.config.source.startswith("file:"):
                    with self._lock:
                        self._ended = True
                    return
            failures = 1 if self._sentences > before else failures + 1
            first, longest = PAUSE_S
            pause = min(longest, first * 2.0 ** min(failures - 1, 10))
            self._stop.wait(pause * (0.5 + secrets.randbelow(501) / 1000))
            with self._lock:
                self._restarts += not self._stop.is_set()
                dropped = self._framer.dropped
                self._framer = nmea.Framer()  # half a sentence does not go on after a break
                self._framer.dropped = dropped
                self._forget_epoch()

    def _note(self, error: str) -> None:
        with self._lock:
            news = error != self._error
            self._error = error
            self._fix = False
        if news:
            _log.warning("GPS: %s", error)

    def _listen(self) -> None:
        network = self.config.source.startswith("socket://")
        searching = self.config.baud == 0 and not network
        patience = self.config.silence_s + (TRY_S * len(BAUDS) if searching else 0.0)
        with serial.serial_for_url(self.config.source, baudrate=self._baud) as port:
            opened = tried = time.monotonic_ns()
            while not self._stop.is_set():
                port.timeout = 0.5
                data = port.read(1)
                arrived = time.monotonic_ns()
                if data:
                    if network:  # pyserial cannot count what waits in a socket
                        port.timeout = 0
                    data += port.read(1024 if network else port.in_waiting)
                    self.feed(data, arrived)
                heard = max(self._sentence_ns or 0, opened)
                if searching and heard == opened and arrived - tried > TRY_S * SECOND:
                    tried = arrived
                    port.baudrate = self._next_baud()
                if arrived - heard > patience * SECOND:
                    raise GpsError(
                        f"no valid sentence for {patience:.0f} s",
                        remedy="check antenna, plug and baud",
                    )

    def _next_baud(self) -> int:
        with self._lock:
            self._baud = BAUDS[(BAUDS.index(self._baud) + 1) % len(BAUDS)]
            return self._baud

    def _play(self, start_mono_ns: int | None) -> None:
        gate = self.config.start_gate
        while gate is not None and not self._stop.is_set():
            try:
                start_mono_ns = int(gate.read_text())
                break
            except (OSError, ValueError):  # not there yet, or being written
                self._stop.wait(0.05)
        start = time.monotonic_ns() if start_mono_ns is None else start_mono_ns
        for seconds, data in replay(
            self.config.source.removeprefix("file://").removeprefix("file:")
        ):
            due = start + int(seconds * SECOND)
            while (wait := due - time.monotonic_ns()) > 0:
                if self._stop.wait(min(wait / SECOND, 0.5)):
                    return
            self.feed(data, due)
        with self._lock:
            self._ended = True
