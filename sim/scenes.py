"""Training scenes for the plate detector: single frames with boxes, from the training half only.

They share the renderer with the drives, but never their type faces, textures, cameras or seeds
(``sim.seeds``), and cover more: other focal lengths and heights, cars at every angle, heavier blur
and noise, empty roads, and vehicles without a plate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

import plates
from sim.camera import HEIGHT, MARGIN, WIDTH, Camera
from sim.frame import draw_vehicle
from sim.ground import Ground
from sim.lighting import DAY, DUSK, NIGHT, OVERCAST, RAIN, TUNNEL, Light
from sim.mesh import Body, build_body
from sim.optics import Sensor
from sim.paint import paint_body
from sim.raster import Pose, Texture
from sim.scenery import CHUNK_M, Sky, draw_prop, props_of_chunk
from sim.seeds import stream
from sim.truth import outline
from sim.world import STYLES, Path, Vehicle

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Box = tuple[float, float, float, float]

RIGS = 6
LEAST_PX = 11.0
"""Narrower plates are drawn but not labelled: nobody could tell them from a sticker."""
_STILL = Path(np.zeros(2), np.zeros(2), 0.0)
_LIGHTS = (DAY, OVERCAST, RAIN, DUSK, NIGHT, TUNNEL)


@dataclass(frozen=True)
class _Rig:
    camera: Camera
    ground: Ground
    sky: Sky
    sensor: Sensor


@lru_cache(maxsize=RIGS)
def _rig(index: int) -> _Rig:
    rng = stream("train", index, "rig")
    cam = Camera(
        f"train{index}", float(np.exp(rng.uniform(np.log(1000), np.log(2900)))),
        math.radians(rng.uniform(-26, 26)), math.radians(rng.uniform(-5.0, -1.0)),
        float(rng.uniform(1.0, 2.1)),
    )  # fmt: skip
    return _Rig(cam, Ground(cam, "train", index), Sky(cam, "train", index),
                Sensor(stream("train", index, "sensor")))  # fmt: skip


@lru_cache(maxsize=28)
def _car(index: int) -> tuple[Body, Texture]:
    rng = stream("train", index, "car")
    body = build_body(STYLES[int(rng.choice(5, p=[0.28, 0.14, 0.28, 0.18, 0.12]))], rng)
    return body, paint_body(body, rng)


@lru_cache(maxsize=128)
def _plate(index: int) -> tuple[plates.PlateSpec, U8]:
    rng = stream("train", index, "plate")
    while True:
        spec = plates.random_spec(rng, any_share=0.3)
        if spec.plate_type != "motorcycle":
            return spec, plates.render(spec, rng, fonts=_fonts(), wear=True).image


@lru_cache(maxsize=1)
def _fonts() -> plates.FontPool:
    return plates.FontPool.load("train")


def _light(rng: np.random.Generator) -> Light:
    a, b = (_LIGHTS[int(k)] for k in rng.integers(0, len(_LIGHTS), 2))
    light = a.mix(b, float(rng.uniform(0, 0.5)))
    gain = float(np.exp(rng.normal(0.0, 0.22)))
    amb = (light.ambient[0] * gain, light.ambient[1] * gain, light.ambient[2] * gain)
    return replace(
        light, ambient=amb, sun_azimuth=float(rng.uniform(-180, 180)),
        headlights=light.headlights * float(rng.uniform(0.4, 1.3)),
        noise=light.noise * float(rng.uniform(0.5, 3.5)),
    )  # fmt: skip


def _place(rng: np.random.Generator, cam: Camera) -> list[Pose]:
    """Vehicles that do not overlap: in lanes beside each other, each lane from near to far."""
    out: list[Pose] = []
    for lane in (-6.8, -3.5, 0.0, 3.2, 6.4):
        z = float(rng.uniform(5.5, 30))
        while z < 60:
            if rng.random() < (0.62 if abs(lane) < 5 else 0.3):
                yaw = float(rng.normal(0, 0.09))
                if rng.random() < 0.15:
                    yaw += float(rng.uniform(-0.7, 0.7))
                if rng.random() < (0.9 if lane < -1 else 0.15):
                    yaw += math.pi
                out.append(Pose(lane + float(rng.normal(0, 0.25)), z, yaw))
            z += float(rng.uniform(6.5, 22))
    # Only a few near ones at a time keep a frame quick; far ones are cheap.
    visible = []
    for p in sorted(out, key=lambda p: p.z):
        uv, _ = cam.project(np.array([[p.x, 0.8, p.z]], np.float32))
        if -150 < float(uv[0, 0]) < cam.canvas[0] + 150:
            visible.append(p)
    return visible[: int(rng.integers(1, 6))] if rng.random() > 0.06 else []


def training_frame(seed: int) -> tuple[U8, list[Box]]:
    """One scene: RGB picture (720, 1280, 3) uint8 and the boxes (x, y, w, h) of its plates, pixels.

    Equal seeds give equal frames.  Neighbouring seeds share cached vehicles, plates and cameras, so
    walk through them in order (about 0.1 s a frame once warm).
    """
    rng = stream("train", seed, "scene")
    rig = _rig(seed % RIGS)
    cam, light = rig.camera, _light(rng)
    canvas = np.empty((cam.canvas[1], cam.canvas[0], 3), np.uint8)
    rig.sky.draw(canvas, light)
    town, ego = (seed // 240) % 1000, float(rng.uniform(0, 800))
    rig.ground.draw_road(canvas, ego, light, None)
    items: list[tuple[float, object]] = []
    for chunk in range(int(ego // CHUNK_M), int((ego + 75) // CHUNK_M) + 1):
        items += [(p.s - ego, p) for p in props_of_chunk("train", town, chunk) if p.s - ego > 3]
    vehicles: list[tuple[Vehicle, Pose, U8 | None]] = []
    window = seed // 48
    for pose in _place(rng, cam):
        body, texture = _car(window * 8 + int(rng.integers(0, 20)))
        spec, image = _plate(window * 24 + int(rng.integers(0, 72)))
        ends = ("tail", "nose") if rng.random() < 0.8 else ("tail",)
        v = Vehicle(len(vehicles), body, spec, _STILL, ends, bool(rng.random() < 0.4))
        plate = image if rng.random() > 0.07 else None
        vehicles.append((v, pose, plate))
        items.append((pose.z, (v, pose, plate, texture)))
    for z, what in sorted(items, key=lambda it: -it[0]):
        if isinstance(what, tuple):
            v, pose, plate, texture = what
            smear = rng.normal(0, 1.6, 2) * min(1.0, 8.0 / max(z, 1.0))
            draw_vehicle(canvas, cam, v, texture, plate, pose, light, dim=1.0,
                         brake=float(rng.integers(0, 2)), drift=(float(smear[0]), float(smear[1])),
                         under_roof=False)  # fmt: skip
        else:
            draw_prop(canvas, cam, what, z, light, 1.0)  # type: ignore[arg-type]
    boxes = _boxes(cam, vehicles)
    image = rig.sensor.expose(canvas, (0, 0), light, rng)
    if rng.random() < 0.35:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 1.6))), np.uint8)
    return image, boxes


def _boxes(cam: Camera, vehicles: list[tuple[Vehicle, Pose, U8 | None]]) -> list[Box]:
    hulls = [(pose.z, k, outline(cam, v, pose)[0]) for k, (v, pose, _) in enumerate(vehicles)]
    out: list[Box] = []
    for k, (v, pose, plate) in enumerate(vehicles):
        if plate is None or len(hulls[k][2]) == 0:
            continue
        for end in v.ends:
            quad = pose.place(v.quad(end))
            normal = np.cross(quad[0] - quad[3], quad[1] - quad[0])
            to = cam.position - quad.mean(0)
            if float(normal @ to) <= 0.2 * float(np.linalg.norm(normal) * np.linalg.norm(to)):
                continue
            uv, depth = cam.project(quad)
            if float(depth.min()) <= 1.0 or np.ptp(uv[:, 0]) < LEAST_PX:
                continue
            points = [*uv, uv.mean(0)]
            hidden = sum(
                any(oz < pose.z and o != k and len(h)
                    and cv2.pointPolygonTest(h, (float(p[0]), float(p[1])), False) >= 0
                    for oz, o, h in hulls)
                for p in points
            )  # fmt: skip
            if hidden >= 2:
                continue
            lo, hi = uv.min(0) - MARGIN, uv.max(0) - MARGIN
            area = float(np.prod(hi - lo))
            lo, hi = np.maximum(lo, 0), np.minimum(hi, [WIDTH, HEIGHT])
            if min(hi - lo) <= 3 or float(np.prod(hi - lo)) < 0.6 * area:
                continue
            x, y, w, h = (float(q) for q in (*lo, *(hi - lo)))
            out.append((x, y, w, h))
    return out
