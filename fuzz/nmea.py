"""NMEA: bytes of a receiver into the line assembler, the parser and the receiver itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from alprd import nmea
from alprd.clock import EARLIEST, LATEST, DisciplinedClock
from alprd.gps import GpsConfig, GpsReceiver
from alprd.instants import SECOND
from alprd.place import PositionTrack
from fuzz.mutate import damaged

OUTCOMES: Final = ("nothing", "sentences", "time or place")
MEMORY_MB: Final = 64

_TALKERS: Final = ("GP", "GN", "GL", "GA", "GB", "BD", "GQ", "QZ", "GI", "XX", "P")
_ODD: Final = ("", "-", "0", "999999", "1e9", "nan", "inf", "٣", "60", "-1", " ", "A,A", "*", "$")
_START: Final = datetime(2026, 11, 20, 23, 59, 50, tzinfo=UTC)


def _line(body: str) -> bytes:
    total = 0
    for char in body:
        total ^= ord(char) & 0xFF
    return f"${body}*{total:02X}\r\n".encode("utf-8", "replace")


def _angle(value: float, width: int) -> str:
    return f"{int(value):0{width}d}{value % 1 * 60:08.5f}"


def _fields(kind: str, at: datetime, rng: Random) -> list[str]:
    lat, lon = rng.uniform(0, 90), rng.uniform(0, 180)
    clock = f"{at:%H%M%S}.{rng.randrange(100):02d}"
    if rng.random() < 0.05:
        clock = f"{at:%H%M}60"
    where = [_angle(lat, 2), rng.choice("NS"), _angle(lon, 3), rng.choice("EW")]
    if kind == "RMC":
        day = at - timedelta(weeks=1024 * rng.choice((0, 0, 0, 1, 2)))
        return [clock, rng.choice("AAAV"), *where, "22.4", "84.4", f"{day:%d%m%y}", "", "", "A"]
    if kind == "GGA":
        tail = ["09", f"{rng.uniform(0, 30):.1f}", "420.0", "M", "-28.0", "M", "", ""]
        return [clock, *where, rng.choice("0112456"), *tail]
    if kind == "GSA":
        return ["A", rng.choice("123"), *[""] * 12, "2.5", "1.3", "2.1"]
    if kind == "GST":
        return [clock, "0.01", "0.02", "0.02", "273.6", f"{rng.uniform(0, 9):.3f}", "1.0", "3.1"]
    return [clock, f"{at:%d}", f"{at:%m}", f"{at:%Y}", "00", "00"]


def _sentence(at: datetime, rng: Random) -> bytes:
    kind = rng.choice(("RMC", "RMC", "GGA", "GGA", "GSA", "GST", "ZDA", "GSV", "TXT"))
    fields = _fields(kind, at, rng)
    if rng.random() < 0.3:
        fields[rng.randrange(len(fields))] = rng.choice(_ODD)
    if rng.random() < 0.1:
        del fields[rng.randrange(len(fields)) :]
    if rng.random() < 0.05:
        fields += ["7"] * rng.randint(1, 40)
    return _line(f"{rng.choice(_TALKERS)}{kind},{','.join(fields)}")


def make(rng: Random) -> bytes:
    """A few sentences of some seconds, half of the time damaged."""
    at = _START + timedelta(seconds=rng.randint(0, 20))
    lines = []
    for _ in range(rng.randint(1, 5)):
        lines.append(_sentence(at, rng))
        at += timedelta(seconds=rng.choice((0, 0, 1)))
    data = b"".join(lines)
    return damaged(data, rng, [_sentence(at, rng)]) if rng.random() < 0.5 else data


def run(data: bytes) -> str:
    """Frames and parses; then a receiver takes the bytes in pieces."""
    framer = nmea.Framer()
    lines = framer.feed(data)
    told = [sentence for line in lines if (sentence := nmea.parse(line)) is not None]
    for sentence in told:
        _check(sentence)
    clock, track = DisciplinedClock(), PositionTrack()
    receiver = GpsReceiver(GpsConfig("/dev/null"), clock, track)
    step = 1 + len(data) // 3
    for number, start in enumerate(range(0, len(data), step)):
        receiver.feed(data[start : start + step], number * SECOND)
    status = receiver.status()
    if status.sentences != len(told):
        raise AssertionError("pieces gave other sentences than the whole")
    position = track.at(SECOND)
    if position is not None and position.accuracy_m is not None and position.accuracy_m < 1:
        raise AssertionError("a position better than any receiver's")
    if any(s.utc is not None or s.lat is not None for s in told):
        return "time or place"
    return "sentences" if told else "nothing"


def _check(sentence: nmea.Sentence) -> None:
    if (sentence.lat is None) != (sentence.lon is None):
        raise AssertionError("half a place")
    if sentence.lat is not None and sentence.lon is not None:
        if not (abs(sentence.lat) <= 90 and abs(sentence.lon) <= 180):
            raise AssertionError("no place on Earth")
        if not sentence.fix:
            raise AssertionError("a place without a fix")
    if sentence.utc is not None and not EARLIEST <= sentence.utc < LATEST:
        raise AssertionError("a time outside the window")
    if sentence.hdop is not None and not 0 < sentence.hdop <= nmea.MAX_HDOP:
        raise AssertionError("an HDOP out of range")
