"""A recorded NMEA log, cut into epochs that are played at their own pace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import time as time_of_day
from pathlib import Path
from typing import Final

from alprd import nmea
from alprd.errors import GpsError

MAX_REPLAY_GAP_S: Final = 900.0
"""A longer gap in a recording is a pause or a faulty time, and is played as one second."""
_DAY_S: Final = 86_400.0


def _seconds(at: time_of_day) -> float:
    return at.hour * 3600 + at.minute * 60 + at.second + at.microsecond / 1e6


def replay(path: Path | str) -> Iterator[tuple[float, bytes]]:
    """The epochs of a recorded log: seconds from the first valid time, and the raw bytes.

    An epoch is all lines of one time of day. Lines without a valid time (corrupt, binary, void)
    ride along with the epoch before them, or with the first one. Times never decrease; a backward
    time rides along too, and a gap over :data:`MAX_REPLAY_GAP_S` is played as one second.

    Raises:
        GpsError: the file cannot be read, or holds no valid time.
    """
    elapsed, clock = 0.0, None
    epoch = bytearray()
    try:
        with Path(path).open("rb") as file:
            # Bounded lines: a binary file must not be read into memory as one line.
            while line := file.readline(4096):
                told = _line_time(line)
                if told is not None and clock is None:
                    clock = told
                elif told is not None and clock is not None:
                    ahead = (told - clock) % _DAY_S  # over midnight
                    if 0 < ahead < _DAY_S / 2:
                        yield elapsed, bytes(epoch)
                        epoch.clear()
                        elapsed += ahead if ahead <= MAX_REPLAY_GAP_S else 1.0
                        clock = told
                epoch += line
    except OSError as error:
        raise GpsError(f"GPS log {path} cannot be read: {error.strerror}") from None
    if clock is None:
        raise GpsError(
            f"GPS log {path} holds no sentence with a valid time",
            remedy="give an NMEA 0183 log with RMC, GGA or ZDA sentences and checksums",
        )
    yield elapsed, bytes(epoch)


def _line_time(line: bytes) -> float | None:
    for text in nmea.Framer().feed(line + b"\n"):
        sentence = nmea.parse(text)
        if sentence is not None and sentence.time_of_day is not None:
            return _seconds(sentence.time_of_day)
    return None
