"""A patrol: where the patrol car and every other vehicle are at any instant, and the light.

Cross-section of the road: the patrol car drives at x = 0; vehicles park on its right or crawl in
the same strip; oncoming traffic flows on its left as one stream, so nothing ever collides; leading
cars are caught up with, pull over to the right and are overtaken.  A tunnel covers part of the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plates
from sim.bodies import Style
from sim.lighting import DAY, DUSK, NIGHT, OVERCAST, RAIN, TUNNEL, Light
from sim.mesh import Body, build_body
from sim.raster import Pose
from sim.seeds import Split, stream

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FPS = 15
STEP = 0.05
STYLES: tuple[Style, ...] = ("sedan", "hatch", "suv", "pickup", "van")
REAR_ONLY = frozenset("AL AR AZ DE FL GA IN KS KY LA MI MS NC NM OH OK PA SC TN WV".split())
"""Jurisdictions that issue one plate, worn behind."""
REGION_WEIGHTS: dict[str, float] = {
    "MN": 0.60, "ND": 0.10, "WI": 0.09, "SD": 0.06, "IA": 0.05, "IL": 0.02, "TX": 0.02,
    "CA": 0.015, "CO": 0.015, "NE": 0.01, "MT": 0.01, "FL": 0.01,
}  # fmt: skip


@dataclass(frozen=True)
class Path:
    """Motion sampled every ``STEP`` seconds from t = 0: lateral x, road distance s, heading."""

    x: F64
    s: F64
    yaw: float

    def at(self, t: float) -> tuple[float, float, float, float]:
        """x, s, heading (rad) and braking (0 or 1) at time ``t``."""
        k = min(max(t / STEP, 0.0), len(self.s) - 1.001)
        i, f = int(k), k - int(k)
        x = float(self.x[i] + (self.x[i + 1] - self.x[i]) * f)
        s = float(self.s[i] + (self.s[i + 1] - self.s[i]) * f)
        dx, ds = float(self.x[i + 1] - self.x[i]), float(self.s[i + 1] - self.s[i])
        turn = math.atan2(dx, max(abs(ds), 0.05)) * (1 if ds >= 0 else -1)
        j = max(0, i - 6)
        slowing = abs(float(self.s[j + 1] - self.s[j])) - abs(ds) > 0.02
        return x, s, self.yaw + 0.9 * turn, 1.0 if slowing else 0.0


@dataclass(frozen=True)
class Vehicle:
    """A vehicle of the drive; ``ends`` are the ends that carry its plate."""

    id: int
    body: Body
    spec: plates.PlateSpec
    path: Path
    ends: tuple[str, ...]
    parked: bool

    def quad(self, end: str) -> F32:
        """Corners of the plate of one end in the body's own frame."""
        return self.body.plate_rear if end == "tail" else self.body.plate_front


@dataclass(frozen=True)
class World:
    """A whole drive."""

    split: Split
    seed: int
    seconds: float
    ego: F64
    tunnel: tuple[float, float]
    schedule: tuple[tuple[float, Light], ...]
    vehicles: tuple[Vehicle, ...]

    @property
    def frames(self) -> int:
        """Frames of each camera."""
        return round(self.seconds * FPS)

    def ego_s(self, t: float) -> float:
        """Distance driven at time ``t``, metres."""
        k = t / STEP
        i = int(min(max(math.floor(k), 0), len(self.ego) - 2))
        return float(self.ego[i] + (self.ego[i + 1] - self.ego[i]) * (k - i))

    def inside(self, t: float) -> float:
        """How far the cameras are adapted to the tunnel, 0..1."""
        s = self.ego_s(t)
        a, b = self.tunnel
        return float(np.clip(min((s - a + 3) / 7, (b - 2 - s) / 7), 0.0, 1.0))

    def open_light(self, t: float) -> Light:
        """The light under the open sky at time ``t``."""
        sch = self.schedule
        i = max(k for k in range(len(sch)) if sch[k][0] <= t or k == 0)
        now = sch[i][1]
        if i + 1 < len(sch) and sch[i + 1][0] > sch[i][0]:
            f = (t - sch[i][0]) / (sch[i + 1][0] - sch[i][0])
            f = min(max(f, 0.0), 1.0)
            now = now.mix(sch[i + 1][1], round(f * f * (3 - 2 * f), 3))
        return now

    def light(self, t: float) -> Light:
        """The light round the patrol car at time ``t``: the open sky's, or the tunnel's."""
        now, a = self.open_light(t), self.inside(t)
        if a <= 0:
            return now
        return now.mix(TUNNEL, a) if a < 1 else TUNNEL

    def dim(self, s: float, t: float) -> float:
        """Daylight factor of a thing at road distance ``s``, as exposed at time ``t``."""
        a, b = self.tunnel
        depth = np.clip(min(s - a, b - s) / 6.0, 0, 1)
        adapted = self.inside(t)
        within = 0.40 + 0.60 * adapted
        without = 1.0 + 0.30 * adapted
        return float(without + (within - without) * depth)

    def pose(self, v: Vehicle, t: float) -> tuple[Pose, float]:
        """Pose of a vehicle relative to the patrol car, and braking."""
        x, s, yaw, brake = v.path.at(t)
        return Pose(x, s - self.ego_s(t), yaw), brake

    def shake(self, camera: str, frame: int) -> tuple[int, int]:
        """Camera shake of a frame in whole pixels, at most 6."""
        rng = stream(self.split, self.seed, "shake", camera)
        ph, fr = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.25, 2.3, 6)
        t = frame / FPS
        v = min(1.0, (self.ego_s(t + 0.1) - self.ego_s(t)) / 0.5)
        y = np.sin(2 * np.pi * fr[:3] * t + ph[:3]) @ [1.6, 1.2, 0.7]
        x = np.sin(2 * np.pi * fr[3:] * t + ph[3:]) @ [1.2, 0.6, 0.4]
        return round(float(x) * v), round(float(y) * v)


def _smooth(t: F64, a: float, b: float) -> F64:
    f = np.clip((t - a) / max(b - a, 1e-6), 0, 1)
    return np.asarray(f * f * (3 - 2 * f), np.float64)


def _ego(rng: np.random.Generator, seconds: float) -> tuple[F64, F64]:
    """Times and speed-integrated distance of the patrol car."""
    t = np.arange(0, seconds + 2 + STEP, STEP)
    v = (
        5.4
        + 0.4 * np.sin(t * 0.31 + rng.uniform(0, 6))
        + 0.3 * np.sin(t * 0.83 + rng.uniform(0, 6))
    )
    if seconds >= 40:
        stop = seconds * rng.uniform(0.66, 0.70)
        v *= 1 - _smooth(t, stop - 3.0, stop) * (1 - _smooth(t, stop + 1.8, stop + 4.8))
    s = np.concatenate([[0.0], np.cumsum((v[1:] + v[:-1]) / 2 * STEP)])
    return t, s


def _schedule(seconds: float, rng: np.random.Generator) -> tuple[tuple[float, Light], ...]:
    """A shift in a minute: clear day, rain, tunnel, dusk, night."""
    keys = (
        (0.0, DAY),
        (0.22, DAY),
        (0.30, OVERCAST),
        (0.35, RAIN),
        (0.46, RAIN),
        (0.53, DUSK.mix(RAIN, 0.25)),
        (0.60, DUSK),
        (0.70, DUSK),
        (0.80, NIGHT),
        (1.0, NIGHT),
    )
    _ = rng
    return tuple((k * seconds, light) for k, light in keys)


def draw_spec(rng: np.random.Generator, taken: set[str], rear_only_ok: bool) -> plates.PlateSpec:
    """A car's plate that no other vehicle carries, whichever way its look-alikes are read."""
    while True:
        spec = plates.random_spec(rng, region_weights=REGION_WEIGHTS)
        if spec.plate_type in ("trailer", "motorcycle") or len(spec.text) < 5:
            continue
        if spec.region in REAR_ONLY and not rear_only_ok:
            continue
        key = fold(spec.text)
        if key in taken:
            continue
        taken.add(key)
        return spec


_FOLD = str.maketrans({"O": "0", "Q": "0", "D": "0", "I": "1", "B": "8", "S": "5", "Z": "2",
                       "G": "6"})  # fmt: skip


def fold(text: str) -> str:
    """A text with look-alike characters made equal."""
    return text.translate(_FOLD)


def draw_style(rng: np.random.Generator, plate_type: str) -> Style:
    if plate_type == "truck":
        return "pickup"
    return STYLES[int(rng.choice(5, p=[0.30, 0.13, 0.30, 0.15, 0.12]))]


def build_world(seed: int, seconds: float, split: Split = "test") -> World:
    """Plan a drive.  Equal arguments give an equal world."""
    rng = stream(split, seed, "world")
    t, ego = _ego(rng, seconds)
    total = float(np.interp(seconds, t, ego))
    tunnel = (total * 0.41, total * 0.41 + min(total * 0.18, 60.0))
    if seconds < 20:
        tunnel = (1e6, 1e6 + 1)
    taken: set[str] = set()
    plans: list[tuple[Path, bool, bool]] = []  # path, shows its tail, parked
    leads = [(0.6, 0.0)] if seconds >= 20 else []
    if seconds >= 40:
        leads.append((seconds * 0.80, 0.0))
    free = [(tunnel[0] - 12.0, tunnel[1] + 10.0)]
    for start, _ in leads:
        s0 = float(np.interp(start, t, ego))
        free.append((s0 - 4.0, float(np.interp(start + 10.0, t, ego)) + 8.0))
        plans.append((_lead(t, ego, start, rng), True, False))
    s = 11.0 + rng.uniform(0, 2)
    while s < total + 60:
        if not any(a < s < b for a, b in free):
            x = 2.98 + rng.uniform(-0.12, 0.14)
            plans.append((Path(np.full(len(t), x), np.full(len(t), s), rng.normal(0, 0.012)),
                          True, True))  # fmt: skip
        s += rng.uniform(9.5, 13.0)
    plans += _crawlers(t, ego, tunnel, rng) if seconds >= 20 else []
    plans += _oncoming(t, ego, total, seconds, rng)
    vehicles = []
    for k, (path, tail, parked) in enumerate(plans):
        spec = draw_spec(rng, taken, tail)
        body = build_body(draw_style(rng, spec.plate_type), stream(split, seed, "body", k))
        ends = ("tail",) if spec.region in REAR_ONLY else ("tail", "nose")
        vehicles.append(Vehicle(k + 1, body, spec, path, ends, parked))
    return World(split, seed, seconds, ego, tunnel, _schedule(seconds, rng), tuple(vehicles))


def _lead(t: F64, ego: F64, start: float, rng: np.random.Generator) -> Path:
    """A car ahead that is caught up with, pulls over to the right and is overtaken."""
    gap = 24.0 - 13.5 * _smooth(t, start - 1.0, start + 5.0)
    v = np.gradient(ego, STEP)
    leave = start + 5.6
    slow = np.cumsum(np.clip(v - 2.0, 0, None) * _smooth(t, leave + 0.4, leave + 2.4) * STEP)
    s = ego + gap + 2.4 - slow
    x = rng.uniform(-0.15, 0.2) + 3.05 * _smooth(t, leave, leave + 2.6)
    return Path(x, s, 0.0)


def _crawlers(
    t: F64, ego: F64, tunnel: tuple[float, float], rng: np.random.Generator
) -> list[tuple[Path, bool, bool]]:
    """Slow cars in the right strip of the tunnel, overtaken one after another."""
    out = []
    enter = float(np.interp(tunnel[0], ego, t))
    for k in range(3):
        meet = enter + 1.2 + 3.3 * k
        speed = rng.uniform(1.6, 1.9)
        s = float(np.interp(meet, t, ego)) + 10.0 + speed * (t - meet)
        out.append((Path(np.full(len(t), 3.1 + rng.uniform(-0.1, 0.1)), s, 0.0), True, False))
    return out


def _oncoming(
    t: F64, ego: F64, total: float, seconds: float, rng: np.random.Generator
) -> list[tuple[Path, bool, bool]]:
    """The oncoming stream: all its cars move together, so their gaps stay."""
    v = 1.5 + 1.1 * np.sin(t * 0.21 + rng.uniform(0, 6))
    v = np.clip(v, 0.0, 2.3)
    moved = np.concatenate([[0.0], np.cumsum((v[1:] + v[:-1]) / 2 * STEP)])
    reach = total + float(np.interp(seconds, t, moved)) + 40
    out = []
    s = 13.0 + rng.uniform(0, 5)
    while s < reach:
        x = -3.5 + rng.uniform(-0.14, 0.14)
        out.append((Path(np.full(len(t), x), s - moved, math.pi), False, False))
        s += rng.uniform(17.0, 25.0)
    return out
