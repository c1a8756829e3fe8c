"""NMEA 0183: framing out of a noisy byte stream, and the sentences that tell time and place.

Understood from every talker: RMC, GGA, GSA, GST, ZDA. A sentence counts only with a right
checksum. Lines may arrive in pieces, be cut by a loose plug, interleave with binary protocols of
the same receiver or run into one another; none of that raises. Field layouts are pynmea2's; values
are checked here, because pynmea2 hands a malformed field on as text and reads an unknown
hemisphere as 0 degrees.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import pynmea2

from alprd.clock import EARLIEST, LATEST

MAX_SENTENCE: Final = 160
"""Bytes. The standard allows 82; multi-constellation receivers exceed it."""
UERE_M: Final = 5.0
"""1-sigma user-equivalent range error of a single-frequency civil receiver, metres."""
UERE_AIDED_M: Final = 2.5
"""The same with differential or satellite-based augmentation (GGA quality 2, 4, 5)."""
UNKNOWN_ACCURACY_M: Final = 25.0
"""Accuracy claimed while no HDOP is known."""
MAX_HDOP: Final = 20.0
"""Above it the geometry is too poor to name a place."""
OLDEST_ROLLOVER: Final = date(1999, 8, 22)
"""Receivers that lost one GPS week rollover date themselves from here; older dates are defaults
of receivers that know no date at all."""

_BODY: Final = re.compile(r"\$([A-Z]{2})([A-Z]{3}),([\x20-\x7e]*)\*([0-9A-Fa-f]{2})")
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)(\.\d{1,9})?")
_DATE: Final = re.compile(r"(\d\d)(\d\d)(\d\d)")
_ANGLE: Final = re.compile(r"(\d{1,3})(\d\d(?:\.\d{1,9})?)")
_NUMBER: Final = re.compile(r"\d{1,4}(?:\.\d{1,6})?")


class Framer:
    """Cuts a byte stream into candidate sentences; keeps at most one sentence in memory."""

    def __init__(self) -> None:
        self._partial = bytearray()
        self.dropped = 0
        """Pieces given up: cut, too long, or with bytes that no sentence has."""

    def feed(self, data: bytes) -> list[str]:
        """The lines completed by ``data``, each from ``$`` to before its line end."""
        lines = []
        for byte in data:
            if byte == 0x24:  # '$' always starts anew: the line before it was cut
                self.dropped += bool(self._partial)
                self._partial[:] = b"$"
            elif not self._partial:
                continue
            elif byte in (0x0D, 0x0A):
                lines.append(self._partial.decode("ascii"))
                self._partial.clear()
            elif not 0x20 <= byte <= 0x7E or len(self._partial) >= MAX_SENTENCE:
                self.dropped += 1
                self._partial.clear()
            else:
                self._partial.append(byte)
        return lines


@dataclass(frozen=True, slots=True)
class Sentence:
    """What one sentence tells; None where it tells nothing.

    ``utc`` needs a date; ``time_of_day`` alone marks the epoch. ``fix`` is the receiver's own
    word: False when it says that it has none, None when the sentence does not speak of it.
    """

    kind: str
    talker: str = ""
    """Two letters: GP, GN (several systems), GL, GA, GB, BD, GQ, QZ…"""
    time_of_day: time | None = None
    utc: datetime | None = None
    corrected: bool = False
    """``utc`` is the receiver's date brought over a lost week rollover: a guess by itself."""
    fix: bool | None = None
    lat: float | None = None
    lon: float | None = None
    hdop: float | None = None
    sigma_m: float | None = None
    """Horizontal standard deviation that the receiver itself estimates (GST), metres."""
    satellites: int | None = None
    aided: bool = False


def accuracy_m(hdop: float | None, *, aided: bool = False) -> float:
    """1-sigma horizontal error in metres: HDOP times the user-equivalent range error.

    Source: Kaplan & Hegarty, *Understanding GPS/GNSS*, "dilution of precision". A floor of one
    range error of an aided receiver keeps optimistic HDOP below 1 honest.
    """
    if hdop is None:
        return UNKNOWN_ACCURACY_M
    return max(UERE_AIDED_M, hdop * (UERE_AIDED_M if aided else UERE_M))


def resolve_date(year: int, month: int, day: int) -> tuple[date, bool] | None:
    """A receiver's date, and whether it had to be brought over lost GPS week rollovers.

    The week number of GPS has ten bits, so receivers fall back by 1024 weeks. Dates are brought
    into ``EARLIEST``…``LATEST``, which is exactly 1024 weeks wide, so that there is one such date;
    whether it is the true one, :meth:`alprd.clock.DisciplinedClock.observe` judges by certain
    time. Two-digit years are 1980–2079. None when it is no date.
    """
    if year < 100:
        year += 2000 if year < 80 else 1900
    try:
        found = date(year, month, day)
    except ValueError:
        return None
    if found < OLDEST_ROLLOVER:
        return None
    told = found
    while found < EARLIEST.date():
        found += timedelta(weeks=1024)
    return (found, found != told) if found < LATEST.date() else None


def parse(line: str) -> Sentence | None:
    """One sentence; None when the checksum is wrong or missing, or the kind tells nothing here.

    Understood from every talker (GP, GN, GL, GA, GB, BD, GQ, QZ…): RMC, GGA, GSA, GST, ZDA.
    """
    match = _BODY.fullmatch(line.strip())
    if match is None:
        return None
    talker, kind, fields, told = match.groups()
    total = 0
    for char in f"{talker}{kind},{fields}":
        total ^= ord(char)
    if total != int(told, 16):
        return None
    reader = _READERS.get(kind)
    layout = pynmea2.TalkerSentence.sentence_types.get(kind)
    if reader is None or layout is None:
        return None
    message: Any = layout(talker, kind, fields.split(","))
    return replace(reader(message), talker=talker)


def _raw(message: Any, name: str) -> str:
    """A field as sent, by pynmea2's layout and without its lenient conversion."""
    index: int = type(message).name_to_idx[name]
    return str(message.data[index]) if index < len(message.data) else ""


def _rmc(message: Any) -> Sentence:
    at = _time(_raw(message, "timestamp"))
    # Mode E (dead reckoning), M (manual), S (simulator), N (none) are not measured places.
    fix = _raw(message, "status") == "A" and _raw(message, "mode_indicator") not in set("EMSN")
    lat, lon = _place(message)
    fix = fix and lat is not None
    utc, corrected = None, False
    if fix and at is not None and (match := _DATE.fullmatch(_raw(message, "datestamp"))):
        day, month, year = (int(group) for group in match.groups())
        utc, corrected = _combine(resolve_date(year, month, day), at)
    return Sentence(
        "RMC",
        time_of_day=at,
        utc=utc,
        corrected=corrected,
        fix=fix,
        lat=lat if fix else None,
        lon=lon if fix else None,
    )


def _gga(message: Any) -> Sentence:
    quality = _raw(message, "gps_qual")
    fix = quality in ("1", "2", "3", "4", "5")  # 6 estimated, 7 manual, 8 simulator
    lat, lon = _place(message)
    hdop = _number(_raw(message, "horizontal_dil"))
    used = _raw(message, "num_sats")
    fix = fix and lat is not None and (hdop is None or hdop <= MAX_HDOP)
    return Sentence(
        "GGA",
        time_of_day=_time(_raw(message, "timestamp")),
        fix=fix,
        lat=lat if fix else None,
        lon=lon if fix else None,
        hdop=hdop if fix else None,
        satellites=int(used) if re.fullmatch(r"\d{1,2}", used) else None,
        aided=quality in ("2", "4", "5"),
    )


def _gsa(message: Any) -> Sentence:
    fix = _raw(message, "mode_fix_type") in ("2", "3")
    hdop = _number(_raw(message, "hdop"))
    return Sentence("GSA", hdop=hdop if fix and hdop is not None and hdop <= MAX_HDOP else None)


def _gst(message: Any) -> Sentence:
    north, east = (_number(_raw(message, f"std_dev_{axis}")) for axis in ("latitude", "longitude"))
    sigma = None if north is None or east is None else math.hypot(north, east)
    return Sentence("GST", time_of_day=_time(_raw(message, "timestamp")), sigma_m=sigma)


def _zda(message: Any) -> Sentence:
    at = _time(_raw(message, "timestamp"))
    parts = [_raw(message, name) for name in ("year", "month", "day")]
    utc, corrected = None, False
    if at is not None and all(re.fullmatch(r"\d{1,4}", part) for part in parts):
        utc, corrected = _combine(resolve_date(*(int(part) for part in parts)), at)
    return Sentence("ZDA", time_of_day=at, utc=utc, corrected=corrected)


_READERS: Final = {"RMC": _rmc, "GGA": _gga, "GSA": _gsa, "GST": _gst, "ZDA": _zda}


def _time(text: str) -> time | None:
    """hhmmss[.sss]; None also for second 60: the clock does without that one observation."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = (int(group) for group in match.groups()[:3])
    micro = int(float(match.group(4) or 0) * 1_000_000)
    return time(hour, minute, second, micro, tzinfo=UTC)


def _combine(day: tuple[date, bool] | None, at: time) -> tuple[datetime | None, bool]:
    return (None, False) if day is None else (datetime.combine(day[0], at), day[1])


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) and value > 0 else None


def _place(message: Any) -> tuple[float | None, float | None]:
    lat = _angle(_raw(message, "lat"), _raw(message, "lat_dir"), "NS", 90.0)
    lon = _angle(_raw(message, "lon"), _raw(message, "lon_dir"), "EW", 180.0)
    return (None, None) if lat is None or lon is None else (lat, lon)


def _angle(text: str, hemisphere: str, sides: str, limit: float) -> float | None:
    """dddmm.mmmm and N/S or E/W as signed degrees."""
    match = _ANGLE.fullmatch(text)
    if match is None or hemisphere not in tuple(sides):
        return None
    minutes = float(match.group(2))
    value = int(match.group(1)) + minutes / 60
    if minutes >= 60 or value > limit:
        return None
    return value if hemisphere == sides[0] else -value
