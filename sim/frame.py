"""One frame of one camera: everything of the world in painter's order, then the optics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

import plates
from sim import raster
from sim.camera import Camera
from sim.ground import Ground
from sim.lighting import Light
from sim.optics import Sensor, flare
from sim.paint import paint_body
from sim.raster import Pose, Texture
from sim.scenery import CHUNK_M, Prop, Sky, draw_prop, props_of_chunk
from sim.seeds import stream
from sim.tunnel import Tunnel
from sim.wear import plate_picture
from sim.world import FPS, Vehicle, World

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

FAR_M = 110.0
VEHICLE_FAR_M = 75.0
FOCUS_FAR_M = 21.0
"""Farther things are out of focus: a 12 mm lens at f/1.8 focused at 9 m."""


@dataclass
class Kit:
    """A vehicle's textures, made when it is first seen."""

    texture: Texture
    plate: U8


@dataclass
class FrameRenderer:
    """Renders the frames of one camera of a world; any frame, in any order, alike."""

    world: World
    camera: Camera
    show_plates: bool = True
    kits: dict[int, Kit] = field(default_factory=dict)
    """By vehicle id; those that are given are not made."""
    props: dict[int, list[Prop]] = field(default_factory=dict)
    """By stretch of road; the same."""

    def __post_init__(self) -> None:
        w = self.world
        self._ground = Ground(self.camera, w.split, w.seed)
        self._tunnel = Tunnel(self.camera, w.split, w.seed)
        self._sky = Sky(self.camera, w.split, w.seed)
        self._sensor = Sensor(stream(w.split, w.seed, "sensor", self.camera.name))
        self._fonts = plates.FontPool.load(w.split)

    def _kit(self, v: Vehicle) -> Kit:
        kit = self.kits.get(v.id)
        if kit is None:
            w = self.world
            texture = paint_body(v.body, stream(w.split, w.seed, "paint", v.id))
            plate = plate_picture(v.spec, w.split, w.seed, v.id, self._fonts)
            kit = self.kits[v.id] = Kit(texture, plate)
        return kit

    def render(self, index: int) -> U8:
        """Frame ``index`` as (720, 1280, 3) uint8 RGB."""
        w = self.world
        t = index / FPS
        light = w.light(t)
        canvas = self.compose(t, light)
        rng = stream(w.split, w.seed, "noise", self.camera.name, index)
        return self._sensor.expose(canvas, w.shake(self.camera.name, index), light, rng)

    def compose(self, t: float, light: Light) -> U8:
        """The scene before the optics, margins included."""
        w, cam = self.world, self.camera
        ego = w.ego_s(t)
        cw, ch = cam.canvas
        canvas = np.empty((ch, cw, 3), np.uint8)
        t0, t1 = w.tunnel[0] - ego, w.tunnel[1] - ego
        sky = w.open_light(t)
        self._sky.draw(canvas, sky)
        dim = self._ground_dim(t, ego) if t0 < FAR_M and t1 > -2 else None
        self._ground.draw_road(canvas, ego, light, dim)
        items: list[tuple[float, Callable[[], None]]] = []
        for prop in self._standing(ego):
            z = prop.s - ego
            draw = partial(draw_prop, canvas, cam, prop, z, sky, w.dim(prop.s, t))
            items.append((z, draw))
        for v in w.vehicles:
            pose, brake = w.pose(v, t)
            if 1.0 < pose.z < VEHICLE_FAR_M:
                shade = light if w.tunnel[0] < pose.z + ego < w.tunnel[1] else sky
                items.append((pose.z, partial(self._vehicle, canvas, v, pose, brake, t, shade)))
        if t1 > 1 and t0 < FAR_M:
            dark = w.dim(sum(w.tunnel) / 2, t)
            args = (canvas, ego, max(t0, 0.0), t1, light, dark)
            items.append((t1, partial(self._tunnel.draw_lining, *args)))
            if t0 > 0.8:
                items.append((t0, partial(self._tunnel.draw_portal, canvas, t0, sky)))
        sharp = False
        for z, paint in sorted(items, key=lambda item: -item[0]):
            if z < FOCUS_FAR_M and not sharp:
                self._ground.defocus(canvas, FOCUS_FAR_M)
                sharp = True
            paint()
        return canvas

    def _standing(self, ego: float) -> Iterator[Prop]:
        """What stands beside the road within sight, outside the tunnel."""
        w = self.world
        for chunk in range(int(ego // CHUNK_M), int((ego + FAR_M) // CHUNK_M) + 1):
            if chunk not in self.props:
                self.props[chunk] = props_of_chunk(w.split, w.seed, chunk)
            for p in self.props[chunk]:
                if p.s - ego > 3 and not w.tunnel[0] - 3 < p.s < w.tunnel[1] + 3:
                    yield p

    def _ground_dim(self, t: float, ego: float) -> F32:
        w = self.world
        a, b = w.tunnel
        s = self._ground.z + ego
        depth = np.clip(np.minimum(s - a, b - s) / 6.0, 0, 1)
        adapted = w.inside(t)
        within, without = 0.40 + 0.60 * adapted, 1.0 + 0.35 * adapted
        return np.asarray(without + (within - without) * depth, np.float32)

    def _vehicle(
        self, canvas: U8, v: Vehicle, pose: Pose, brake: float, t: float, light: Light
    ) -> None:
        w, kit = self.world, self._kit(v)
        dim = w.dim(pose.z + w.ego_s(t), t)
        draw_vehicle(
            canvas, self.camera, v, kit.texture, kit.plate if self.show_plates else None,
            pose, light, dim=dim, brake=brake, drift=self._drift(v, t, light.exposure_s),
            under_roof=dim < 0.9 or w.inside(t) > 0.5,
        )  # fmt: skip

    def _drift(self, v: Vehicle, t: float, exposure: float) -> tuple[float, float]:
        """Movement of a vehicle's middle on the picture during the exposure, pixels."""
        out = []
        for dt in (-exposure / 2, exposure / 2):
            pose, _ = self.world.pose(v, t + dt)
            end = -1.0 if abs(pose.yaw) < 1 else 1.0
            z = pose.z + (end * v.body.plan.length / 2 if end < 0 else -v.body.plan.length / 2)
            uv, _ = self.camera.project(np.array([[pose.x, 0.8, max(z, 1.0)]], np.float32))
            out.append(uv[0])
        return float(out[1][0] - out[0][0]), float(out[1][1] - out[0][1])


def draw_vehicle(
    canvas: U8,
    cam: Camera,
    v: Vehicle,
    texture: Texture,
    plate: U8 | None,
    pose: Pose,
    light: Light,
    *,
    dim: float,
    brake: float,
    drift: tuple[float, float],
    under_roof: bool,
) -> None:
    """Shadow, body, plates, lamps and their glow of one vehicle."""
    lamps = 0.0 if v.parked else 1.0
    lit = light if lamps else replace(light, lamps=0.0)
    layer = raster.draw_body(cam, v.body.mesh, texture, pose, lit, dim=dim, brake=brake)
    if layer is None:
        return
    _shadows(canvas, cam, v, pose, light, under_roof)
    for end in v.ends:
        if plate is None:
            break
        quad = pose.place(v.quad(end))
        normal = np.cross(quad[0] - quad[3], quad[1] - quad[0])
        normal = normal / np.linalg.norm(normal)
        if float(normal @ (quad.mean(0) - cam.position)) >= 0:
            continue
        day, own = raster.plate_light(quad, normal.astype(np.float32), light, dim)
        glow = 0.10 * light.lamps * lamps if end == "tail" else 0.0
        uv, depth = cam.project(quad)
        if float(depth.min()) > 1.0:
            raster.draw_plate(layer, uv, plate, min(1.12, day + own + glow))
    if layer.rgba.shape[1] > 40:
        kernel = raster.motion_kernel(*drift)
        soft = cv2.filter2D(layer.rgba, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        layer.rgba = np.asarray(soft, np.float32)
    hor = np.asarray(light.horizon, np.float32) * 255
    haze = 1 - float(np.exp(-light.haze * max(0.0, pose.z - 8)))
    raster.lay_over(canvas, layer, haze if not under_roof else haze * 0.3, hor)
    if lamps:
        _lamp_glow(canvas, cam, v, pose, light, brake)


def _shadows(
    canvas: U8, cam: Camera, v: Vehicle, pose: Pose, light: Light, under_roof: bool
) -> None:
    plan = v.body.plan
    a, b = plan.width / 2, plan.length / 2
    foot = np.array(
        [[x, 0, z] for x in (-a, a) for z in (-b, b)], np.float32
    )  # fmt: skip
    base = pose.place(foot * np.array([1.0, 1, 0.98], np.float32))
    if light.sun > 0.03 and not under_roof:
        d = light.sun_direction
        roof = pose.place(foot * np.array([0.75, 0, 0.55], np.float32))
        drop = 1.35 / max(float(d[1]), 0.15)
        cast = roof - np.array([d[0] * drop, 0, d[2] * drop], np.float32)
        raster.ground_shadow(
            canvas, cam, np.concatenate([base, cast]).astype(np.float32),
            min(0.62, light.sun * 1.1), 0.10,
        )  # fmt: skip
    raster.ground_shadow(canvas, cam, base, 0.50, 0.42)
    inner = pose.place(foot * np.array([0.86, 1, 0.95], np.float32))
    raster.ground_shadow(canvas, cam, inner, 0.62, 0.16)


def _lamp_glow(canvas: U8, cam: Camera, v: Vehicle, pose: Pose, light: Light, brake: float) -> None:
    """Glow round lamps that face the camera, and their streak on a wet road."""
    for lamps, out, rgb, power in (
        (v.body.lamps_front, 1.0, (255.0, 246.0, 226.0), 0.95),
        (v.body.lamps_rear, -1.0, (255.0, 40.0, 28.0), 0.30 + 0.35 * brake),
    ):
        heading = pose.turn(np.array([0, 0, out], np.float32))
        towards = cam.position - pose.place(lamps.mean(0))
        cos = float(heading @ towards / np.linalg.norm(towards))
        if cos < 0.1:
            continue
        pts = pose.place(lamps)
        uv, depth = cam.project(pts)
        if float(depth.min()) < 2.0:
            continue
        dark = 1.0 - min(1.0, sum(light.ambient) / 2.2)
        k = light.lamps * power * cos**2.0 * (0.25 + 0.75 * dark)
        radius = (0.34 + 0.5 * dark) * cam.focal / float(depth.mean()) * 0.55 + 6 * dark
        for u, vv in uv:
            flare(canvas, float(u), float(vv), radius, (rgb[0] * k, rgb[1] * k, rgb[2] * k))
        if light.wet > 0.1:
            wet = pts * np.array([1, -0.55, 1], np.float32)
            uvw, _ = cam.project(wet)
            kk = 0.34 * light.wet * k
            for u, vv in uvw:
                flare(canvas, float(u), float(vv), radius * 0.8,
                      (rgb[0] * kk, rgb[1] * kk, rgb[2] * kk), 3.0)  # fmt: skip
