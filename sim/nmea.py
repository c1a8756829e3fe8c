"""The GPS receiver's log of a drive: NMEA 0183 RMC and GGA on the videos' clock.

Twice a second a GGA and an RMC; the talker changes between GP and GN as multi-constellation
receivers do.  In the tunnel RMC has status V and empty position fields, GGA quality 0.  Some
sentences are damaged the way serial lines damage them: a flipped digit under an old checksum, a
line cut off, a burst of binary noise.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np

from sim.seeds import stream
from sim.world import World

RATE_HZ = 2
START_LAT, START_LON, BEARING_DEG = 46.8214, -95.8702, 71.0
"""Where the invented street begins and which way it runs (Becker County, Minnesota)."""
EARTH_M = 111_320.0
KNOT = 0.514444


def position(world: World, t: float) -> tuple[float, float]:
    """True latitude and longitude of the patrol car at time ``t`` (degrees, WGS 84)."""
    d = world.ego_s(t)
    b = math.radians(BEARING_DEG)
    lat = START_LAT + d * math.cos(b) / EARTH_M
    lon = START_LON + d * math.sin(b) / (EARTH_M * math.cos(math.radians(START_LAT)))
    return lat, lon


def checksum(body: str) -> str:
    """XOR of the characters between ``$`` and ``*``, two hexadecimal digits (NMEA 0183, 5.3)."""
    value = 0
    for c in body.encode("ascii"):
        value ^= c
    return f"{value:02X}"


def sentence(body: str) -> bytes:
    """A whole sentence with checksum and line end."""
    return f"${body}*{checksum(body)}\r\n".encode("ascii")


def _angle(value: float, degrees: int, positive: str, negative: str) -> str:
    a = abs(value)
    whole = int(a)
    minutes = (a - whole) * 60
    if round(minutes, 4) >= 60:
        whole, minutes = whole + 1, 0.0
    return f"{whole:0{degrees}d}{minutes:07.4f},{positive if value >= 0 else negative}"


def in_tunnel(world: World, t: float) -> bool:
    """Whether the sky is hidden at time ``t``."""
    a, b = world.tunnel
    return a - 2.0 < world.ego_s(t) < b + 2.0


def _fix(
    world: World, t: float, start: datetime, error: tuple[float, float], talker: str
) -> list[str]:
    now = start + timedelta(seconds=t)
    clock = now.strftime("%H%M%S.") + f"{now.microsecond // 10000:02d}"
    date = now.strftime("%d%m%y")
    if in_tunnel(world, t):
        return [
            f"{talker}GGA,{clock},,,,,0,00,99.9,,M,,M,,",
            f"{talker}RMC,{clock},V,,,,,,,{date},,,N",
        ]
    lat, lon = position(world, t)
    lat += error[0] / EARTH_M
    lon += error[1] / (EARTH_M * math.cos(math.radians(lat)))
    where = f"{_angle(lat, 2, 'N', 'S')},{_angle(lon, 3, 'E', 'W')}"
    speed = (world.ego_s(t + 0.25) - world.ego_s(max(0.0, t - 0.25))) / (0.25 + min(t, 0.25)) / KNOT
    sats = 11 if talker == "GP" else 17
    return [
        f"{talker}GGA,{clock},{where},1,{sats:02d},0.8,412.3,M,-27.4,M,,",
        f"{talker}RMC,{clock},A,{where},{speed:.1f},{BEARING_DEG:.1f},{date},,,A",
    ]


def log(world: World, start: datetime) -> bytes:
    """The whole log of a drive that begins at ``start`` (UTC)."""
    rng = stream(world.split, world.seed, "gps")
    count = math.floor(world.seconds * RATE_HZ) + 1
    walk = np.cumsum(rng.normal(0, 0.18, (count, 2)), axis=0)
    error = 1.6 * np.tanh(walk / 1.6)
    hurt = rng.permutation(np.arange(4, max(count - 2, 10)))[:6]
    damaged = dict(zip(hurt.tolist(), ("digit", "cut", "noise") * 2, strict=False))
    out = bytearray()
    for k in range(count):
        t = k / RATE_HZ
        talker = "GN" if (k // 7) % 2 else "GP"
        off = (float(error[k, 0]), float(error[k, 1]))
        lines = [sentence(body) for body in _fix(world, t, start, off, talker)]
        kind = damaged.get(k)
        if kind == "digit":
            # The checksum is of the true sentence, so the altered time must be rejected.
            bad = bytearray(lines[0])
            bad[7] = ord("0") + (bad[7] - ord("0") + 5) % 10
            lines[0] = bytes(bad)
        elif kind == "cut":
            lines[0] = lines[0][: int(rng.integers(12, 30))] + b"\r\n"
        elif kind == "noise":
            junk = rng.integers(128, 256, int(rng.integers(9, 40))).astype(np.uint8).tobytes()
            lines.insert(1, junk + b"\r\n")
        for line in lines:
            out += line
    return bytes(out)
