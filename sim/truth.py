"""What a perfect reader could have read: computed from the geometry, never from a reader.

A plate counts as *readable* when some camera shows it for at least ``LEAST_SECONDS`` on end wholly
inside the picture, at least ``READ_PX`` wide, seen less than ``READ_ANGLE`` degrees askew, covered
by no nearer vehicle, lit, and smeared by less than ``SMEAR`` of its width.  A pass lasts from the
first to the last frame in which the plate is that clear and at least ``SEEN_PX`` wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.camera import HEIGHT, MARGIN, WIDTH, Camera
from sim.frame import VEHICLE_FAR_M
from sim.raster import Pose, plate_light
from sim.world import FPS, Vehicle, World

F32 = NDArray[np.float32]

READ_PX = 60.0
SEEN_PX = 40.0
READ_ANGLE = 50.0
LEAST_SECONDS = 0.6
SMEAR = 0.05
EDGE = 3.0
LEAST_LIGHT = 0.33


@dataclass(frozen=True)
class Sight:
    """A plate in one frame: corner points on the recorded picture (4, 2), and how clear it is."""

    quad: F32
    width: float
    angle: float
    smear: float
    light: float
    inside: bool
    covered: bool

    @property
    def clear(self) -> bool:
        """Whether a person could make it out, were it only large enough."""
        return (
            self.inside and not self.covered and self.angle < READ_ANGLE
            and self.smear < SMEAR * self.width and self.light > LEAST_LIGHT
        )  # fmt: skip

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Upright box (x, y, w, h) round the corners, pixels."""
        lo, hi = self.quad.min(0), self.quad.max(0)
        x, y, w, h = (round(float(k), 1) for k in (*lo, *(hi - lo)))
        return x, y, w, h


@dataclass(frozen=True)
class Pass:
    """One vehicle's passage before one camera (times in seconds from the start of the drive)."""

    camera: str
    t_first: float
    t_last: float
    t_best: float
    best_width_px: float
    box_best: tuple[float, float, float, float]
    lat: float
    lon: float
    readable: bool

    def document(self) -> dict[str, object]:
        """The pass as it stands in ``truth.json``."""
        out = asdict(self)
        out.pop("readable")
        out["box_best"] = list(self.box_best)
        return out


def outline(cam: Camera, v: Vehicle, pose: Pose) -> tuple[F32, float]:
    """Convex outline of a body on the canvas, and its distance."""
    pts = pose.place(v.body.mesh.verts[::5])
    uv, depth = cam.project(pts)
    if float(depth.min()) < 0.6:
        return np.zeros((0, 2), np.float32), 0.0
    return cv2.convexHull(uv)[:, 0].astype(np.float32), float(depth.mean())


def sights(world: World, cam: Camera, index: int) -> dict[int, Sight]:
    """Every plate that faces a camera in a frame and is at least 8 pixels wide, by vehicle."""
    t = index / FPS
    light, sky = world.light(t), world.open_light(t)
    sx, sy = world.shake(cam.name, index)
    shift = np.array([MARGIN + sx, MARGIN + sy], np.float32)
    ego = world.ego_s(t)
    near: list[tuple[float, int, F32]] = []
    found: list[tuple[float, int, F32, float, float, float]] = []
    for v in world.vehicles:
        pose, _ = world.pose(v, t)
        if not 1.0 < pose.z < VEHICLE_FAR_M:
            continue
        if pose.z < 32:
            hull, _ = outline(cam, v, pose)
            if len(hull):
                near.append((pose.z, v.id, hull))
        for end in v.ends:
            quad = pose.place(v.quad(end))
            normal = np.cross(quad[0] - quad[3], quad[1] - quad[0])
            normal /= np.linalg.norm(normal)
            to = cam.position - quad.mean(0)
            cos = float(normal @ to / np.linalg.norm(to))
            uv, depth = cam.project(quad)
            if cos <= 0.05 or float(depth.min()) < 1.0:
                continue
            left, right = (uv[0] + uv[3]) / 2, (uv[1] + uv[2]) / 2
            width = float(np.linalg.norm(right - left))
            if width < 8:
                continue
            a = math.degrees(math.acos(min(1.0, cos)))
            roofed = world.tunnel[0] < pose.z + ego < world.tunnel[1]
            day, own = plate_light(
                quad,
                normal.astype(np.float32),
                light if roofed else sky,
                world.dim(pose.z + ego, t),
            )
            found.append((pose.z, v.id, uv, width, a, day + own))
    out: dict[int, Sight] = {}
    by_id = {v.id: v for v in world.vehicles}
    for z, vid, uv, width, angle, lit in found:
        mid = uv.mean(0)
        probes = np.concatenate([uv, mid[None], (uv[:2] + uv[2:][::-1]) / 2])
        covered = any(
            other != vid and oz < z
            and any(cv2.pointPolygonTest(hull, (float(p[0]), float(p[1])), False) >= 0
                    for p in probes)
            for oz, other, hull in near
        )  # fmt: skip
        quad = uv - shift
        lo, hi = quad.min(0), quad.max(0)
        inside = bool(lo.min() >= EDGE and hi[0] <= WIDTH - 1 - EDGE and hi[1] <= HEIGHT - 1 - EDGE)
        smear = _smear(world, cam, by_id[vid], t, light.exposure_s) if width >= SEEN_PX else 0.0
        out[vid] = Sight(quad.astype(np.float32), width, angle, smear, lit, inside, covered)
    return out


def _smear(world: World, cam: Camera, v: Vehicle, t: float, exposure: float) -> float:
    ends = []
    for dt in (-exposure / 2, exposure / 2):
        pose, _ = world.pose(v, t + dt)
        end = "tail" if math.cos(pose.yaw) > 0 else "nose"
        uv, _ = cam.project(pose.place(v.quad(end)).mean(0)[None])
        ends.append(uv[0])
    return float(np.linalg.norm(ends[1] - ends[0]))


def passes(
    world: World,
    cameras: dict[str, Camera],
    position: Callable[[float], tuple[float, float]],
    step: Callable[[], None] = lambda: None,
) -> dict[int, list[Pass]]:
    """All passes by vehicle id; ``position`` gives latitude and longitude at a time."""
    out: dict[int, list[Pass]] = {v.id: [] for v in world.vehicles}
    for cam in cameras.values():
        seen: dict[int, list[tuple[int, Sight]]] = {}
        for index in range(world.frames):
            for vid, sight in sights(world, cam, index).items():
                if sight.clear and sight.width >= SEEN_PX:
                    seen.setdefault(vid, []).append((index, sight))
            step()
        for vid, frames in seen.items():
            out[vid].append(judge(cam, frames, position))
    return out


def judge(
    cam: Camera, frames: list[tuple[int, Sight]], position: Callable[[float], tuple[float, float]]
) -> Pass:
    """The pass made of the frames (number and sight, not empty) in which a plate was clear and at
    least ``SEEN_PX`` wide."""
    best_i, best = max(frames, key=lambda f: f[1].width)
    run = longest = 0
    last = -2
    for i, s in frames:
        if s.width < READ_PX:
            continue
        run = run + 1 if i == last + 1 else 1
        last = i
        longest = max(longest, run)
    lat, lon = position(best_i / FPS)
    return Pass(
        cam.name, round(frames[0][0] / FPS, 3), round(frames[-1][0] / FPS, 3),
        round(best_i / FPS, 3), round(best.width, 1), best.box, round(lat, 6), round(lon, 6),
        longest >= LEAST_SECONDS * FPS,
    )  # fmt: skip
