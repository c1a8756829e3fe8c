"""NMEA sentences as a receiver sends them, to start tests from; every drive is invented."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LAT, LON = 46.8175, -95.8453


def sentence(body: str) -> bytes:
    total = 0
    for char in body:
        total ^= ord(char)
    return f"${body}*{total:02X}\r\n".encode()


def _dm(value: float, digits: int) -> str:
    degrees = int(abs(value))
    return f"{degrees:0{digits}d}{(abs(value) - degrees) * 60:08.5f}"


def rmc(
    at: datetime, lat: float = LAT, lon: float = LON, *, talker: str = "GP", status: str = "A"
) -> bytes:
    ns, ew = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    clock = f"{at:%H%M%S}.{at.microsecond // 10_000:02d}"
    where = f"{_dm(lat, 2)},{ns},{_dm(lon, 3)},{ew}" if status == "A" else ",,,"
    return sentence(f"{talker}RMC,{clock},{status},{where},22.4,084.4,{at:%d%m%y},,,A")


def gga(at: datetime, *, quality: int = 1, hdop: float = 0.9, talker: str = "GP") -> bytes:
    clock = f"{at:%H%M%S}.{at.microsecond // 10_000:02d}"
    where = f"{_dm(LAT, 2)},N,{_dm(LON, 3)},W"
    return sentence(f"{talker}GGA,{clock},{where},{quality},09,{hdop},420.0,M,-28.0,M,,")


def drive(seconds: int, start: datetime = NOON) -> bytes:
    return b"".join(
        gga(start + timedelta(seconds=s)) + rmc(start + timedelta(seconds=s))
        for s in range(seconds)
    )


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
