"""The tunnel over the road: lining, lamps and portal, as a camera on the patrol car sees them."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.camera import Camera
from sim.ground import noise
from sim.lighting import Light
from sim.seeds import Split, stream

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

LEFT, RIGHT, TOP = -6.3, 5.0, 5.4
"""The clear opening, metres."""
PERIOD_M = 12.0
_LINING_PX_M = 30
_FACE_PX_M = 16
_FACE_REACH_M = 60.0
_FACE_HEIGHT_M = 10.0
_DEPTH = 1.3


def _lining(split: Split, seed: int) -> U8:
    """One period of the lining, unrolled: left wall, ceiling, right wall (columns); the fourth
    channel marks the lamps."""
    rng = stream(split, seed, "tunnel")
    girth = 2 * TOP + RIGHT - LEFT
    h, w = int(PERIOD_M * _LINING_PX_M), int(girth * _LINING_PX_M)
    g = (np.arange(w) + 0.5) / _LINING_PX_M
    z = (np.arange(h) + 0.5) / _LINING_PX_M
    base = 128 + 34 * (noise(rng, (h, w), (10, 14)) - 0.5)
    base = base + rng.standard_normal((h, w)) * 3
    wall_y = np.where(g < girth / 2, g, girth - g)
    tiles = wall_y < 2.6
    base[:, tiles] = base[:, tiles] * 0.6 + 78
    base[np.ix_((z % 0.6) < 0.03, tiles)] *= 0.8
    base[:, tiles & ((wall_y % 0.6) < 0.04)] *= 0.82
    base[:, (wall_y < 0.7)] *= 0.6
    base[(z % 6.0) < 0.1] *= 0.7
    img = np.dstack([base, base * 0.97, base * 0.92, 0 * base]).astype(np.float32)
    for centre in (TOP + 2.2, girth - TOP - 2.2):
        lamp = np.ix_((z > 2.0) & (z < 4.4), np.abs(g - centre) < 0.16)
        img[lamp] = (255, 246, 222, 255)
    return np.clip(img, 0, 255).astype(np.uint8)


def _face(split: Split, seed: int) -> U8:
    """The portal: concrete round the opening, a grassed embankment beside and above; RGBA."""
    rng = stream(split, seed, "portal")
    w, h = int(2 * _FACE_REACH_M * _FACE_PX_M), int(_FACE_HEIGHT_M * _FACE_PX_M)
    x = (np.arange(w) + 0.5)[None, :] / _FACE_PX_M - _FACE_REACH_M
    y = _FACE_HEIGHT_M - (np.arange(h) + 0.5)[:, None] / _FACE_PX_M
    tuft = noise(rng, (h, w), (60, 600)) - 0.5
    patch = noise(rng, (h, w), (6, 40)) - 0.5
    level = 1 + 0.34 * tuft + 0.4 * patch - 0.03 * (_FACE_HEIGHT_M - y)
    img = np.array([104, 108, 68]) * level[..., None]
    framed = (x > LEFT - 2.2) & (x < RIGHT + 2.2) & (y < TOP + 1.7)
    stain = 0.10 * (noise(rng, (h, w), (3, 500)) - 0.5) + 0.10 * (
        noise(rng, (h, w), (12, 150)) - 0.5
    )
    concrete = 158 * (1 + 2 * stain)
    concrete = np.where(((y % 1.9) < 0.07) | ((x % 2.6) < 0.05), concrete * 0.86, concrete)
    concrete = np.where(y > TOP + 1.45, concrete * 1.12, concrete)
    rim = (x > LEFT - 0.35) & (x < RIGHT + 0.35) & (y < TOP + 0.35)
    concrete = np.where(rim, concrete * 0.78, concrete)
    img = np.where(framed[..., None], concrete[..., None] * np.array([1.0, 0.985, 0.95]), img)
    hole = (x > LEFT + 0.1) & (x < RIGHT - 0.1) & (y < TOP - 0.1)
    crest = y > 8.6 + 1.0 * noise(rng, (1, w), (1, 60))
    alpha = np.where(hole | crest, 0, 255)
    return np.dstack([np.clip(img, 0, 255), alpha]).astype(np.uint8)


class Tunnel:
    """Draws the tunnel for one camera."""

    def __init__(self, cam: Camera, split: Split, seed: int) -> None:
        self.cam = cam
        texture = _lining(split, seed)
        small = cv2.resize(
            texture, (texture.shape[1], texture.shape[0] // 4), interpolation=cv2.INTER_AREA
        )
        self._texture = np.asarray(cv2.GaussianBlur(small, (5, 1), 0), np.uint8)
        self._portal = _face(split, seed)
        self._ahead, self._girth = self._trace()

    def _trace(self) -> tuple[F32, F32]:
        """Which lining point each pixel would see: distance along the road, unrolled girth."""
        rays, lens = self.cam.rays(), self.cam.height
        rx, ry, rz = rays[..., 0], rays[..., 1], np.maximum(rays[..., 2], 1e-3)
        never = np.float32(1e6)
        t_left = np.where(rx < -1e-4, LEFT / np.minimum(rx, -1e-4), never)
        t_right = np.where(rx > 1e-4, RIGHT / np.maximum(rx, 1e-4), never)
        t_top = np.where(ry > 1e-4, (TOP - lens) / np.maximum(ry, 1e-4), never)
        t = np.minimum(np.minimum(t_left, t_right), t_top)
        floor = np.where(ry < -1e-4, lens / np.maximum(-ry, 1e-4), never)
        y, x = lens + ry * t, rx * t
        girth = np.where(
            t == t_left, y, np.where(t == t_top, TOP + x - LEFT, 2 * TOP + RIGHT - LEFT - y)
        )
        ahead = np.where(t < floor, rz * t, -1.0)
        return ahead.astype(np.float32), (girth * _LINING_PX_M).astype(np.float32)

    def draw_lining(
        self, canvas: U8, travelled: float, start: float, end: float, light: Light, dim: float
    ) -> None:
        """Draw walls and ceiling between two distances ahead (metres from the car)."""
        mask = (self._ahead > max(start, 0.0)) & (self._ahead < end)
        if not mask.any():
            return
        rows = np.flatnonzero(mask.any(1))
        sl = slice(int(rows[0]), int(rows[-1]) + 1)
        per = np.float32(self._texture.shape[0])
        mv = (self._ahead[sl] + np.float32(travelled % PERIOD_M)) * (per / np.float32(PERIOD_M))
        mv -= np.floor(mv / per) * per
        lining = cv2.remap(
            self._texture, self._girth[sl], mv, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        fade = np.clip(1.1 - self._ahead[sl] / 220.0, 0.35, 1.0) * (dim * 0.98)
        mixer = np.zeros((3, 4), np.float32)
        mixer[[0, 1, 2], [0, 1, 2]] = light.ambient
        walls = cv2.multiply(cv2.transform(lining, mixer), cv2.merge([fade] * 3), dtype=cv2.CV_8U)
        lamp = lining[..., 3] > 150
        walls[lamp] = (255, 248, 228)
        part = canvas[sl]
        cv2.copyTo(walls, mask[sl].astype(np.uint8), part)

    def draw_portal(self, canvas: U8, z: float, light: Light) -> None:
        """Draw the portal's face at distance ``z`` ahead."""
        cam = self.cam
        sy, cy = math.sin(cam.yaw), math.cos(cam.yaw)
        # Only the part before the lens: depth = sy * x + cy * z must stay positive.
        x0, x1 = -_FACE_REACH_M, _FACE_REACH_M
        if sy > 0:
            x0 = max(x0, (_DEPTH - cy * z) / sy)
        elif sy < 0:
            x1 = min(x1, (_DEPTH - cy * z) / sy)
        if x1 - x0 < 1:
            return
        top = _FACE_HEIGHT_M
        pts = np.array([[x0, top, z], [x1, top, z], [x1, 0, z], [x0, 0, z]], np.float32)
        uv, depth = cam.project(pts)
        if float(depth.min()) < 0.2:
            return
        px = _FACE_PX_M
        a, b = (x0 + _FACE_REACH_M) * px, (x1 + _FACE_REACH_M) * px
        src = np.array([[a, 0], [b, 0], [b, top * px], [a, top * px]], np.float32)
        h, w = canvas.shape[:2]
        m = cv2.getPerspectiveTransform(src, uv.astype(np.float32))
        layer = cv2.warpPerspective(self._portal, m, (w, h), flags=cv2.INTER_LINEAR)
        level = np.asarray(light.ambient, np.float32) + 0.22 * light.sun
        air = 1 - float(np.exp(-light.haze * max(0.0, z - 10) * 1.6))
        mixer: NDArray[Any] = np.zeros((3, 4), np.float32)
        mixer[[0, 1, 2], [0, 1, 2]] = level * (1 - air)
        mixer[:, 3] = np.asarray(light.horizon) * air
        rgb = cv2.transform(layer, mixer)
        alpha = cv2.merge([layer[..., 3]] * 3)
        front = cv2.multiply(rgb, alpha, scale=1 / 255.0)
        back = cv2.multiply(canvas, cv2.subtract(np.full_like(alpha, 255), alpha), scale=1 / 255.0)
        canvas[...] = cv2.add(front, back)
