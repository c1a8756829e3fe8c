"""The road and what lies flat on it, as a camera on the patrol car sees it.

The camera never moves against the road surface but along it, so the point that each pixel sees is
computed once; a frame shifts the texture by the distance travelled.  Textures have separate mip
levels along the road, where perspective shrinks them most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.camera import Camera
from sim.lighting import Light
from sim.raster import headlight
from sim.seeds import Split, stream

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

PERIOD_M = 48.0
HALF_WIDTH_M = 17.0
PX_M = 40
KERB_RIGHT, KERB_LEFT, CENTRE_LINE, EDGE_RIGHT = 4.35, -5.6, -1.78, 1.85
"""Lateral positions of the cross-section, metres (the patrol car drives at 0)."""


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> F32:
    """Smooth periodic noise 0..1 with ``cells`` features down and across."""
    grid = rng.uniform(0, 1, cells).astype(np.float32)
    tiled = np.pad(grid, 2, mode="wrap")
    big = cv2.resize(
        tiled,
        (round(shape[1] * (cells[1] + 4) / cells[1]), round(shape[0] * (cells[0] + 4) / cells[0])),
        interpolation=cv2.INTER_CUBIC,
    )
    y0, x0 = round(shape[0] * 2 / cells[0]), round(shape[1] * 2 / cells[1])
    return np.clip(big[y0 : y0 + shape[0], x0 : x0 + shape[1]], 0, 1).astype(np.float32)


def _band(x: NDArray[np.floating[Any]], lo: float, hi: float) -> NDArray[np.bool_]:
    return np.asarray((x >= lo) & (x < hi))


def road_texture(split: Split, seed: int) -> U8:
    """One period of the road, RGB: rows along the road, columns across."""
    rng = stream(split, seed, "road")
    h, w = int(PERIOD_M * PX_M), int(2 * HALF_WIDTH_M * PX_M)
    x = (np.arange(w, dtype=np.float32) + 0.5) / PX_M - HALF_WIDTH_M
    z = (np.arange(h, dtype=np.float32) + 0.5) / PX_M
    grain = rng.standard_normal((h, w), np.float32)
    fine = np.asarray(cv2.GaussianBlur(grain, (0, 0), 1.1), np.float32)
    mid = noise(rng, (h, w), (60, 50))
    coarse = noise(rng, (h, w), (8, 6))
    base = rng.uniform(96, 118)
    grey = base + 13 * fine + 16 * (mid - 0.5) + 22 * (coarse - 0.5)
    for lane in (0.0, -3.55):
        for track in (-0.8, 0.8):
            grey -= 9 * np.exp(-(((x - lane - track) / 0.28) ** 2))[None, :]
    img = np.dstack([grey, grey, grey * 0.985]).astype(np.float32)
    # Patches, seams and cracks.
    for _ in range(9):
        px, pz = rng.uniform(KERB_LEFT, KERB_RIGHT), rng.uniform(0, PERIOD_M - 6)
        a, b = rng.uniform(0.5, 1.6), rng.uniform(1.0, 5.0)
        sel = np.ix_(_band(z, pz, pz + b), _band(x, px, px + a))
        img[sel] *= rng.uniform(0.72, 0.9)
    for _ in range(11):
        pts = [(rng.uniform(KERB_LEFT, KERB_RIGHT), rng.uniform(0, PERIOD_M))]
        for _ in range(14):
            pts.append((pts[-1][0] + rng.normal(0, 0.25), pts[-1][1] + rng.normal(0.1, 0.3)))
        p = np.array([[(a + HALF_WIDTH_M) * PX_M, b * PX_M] for a, b in pts], np.int32)
        cv2.polylines(img, [p], False, (52, 52, 54), int(rng.integers(1, 3)), cv2.LINE_AA)
    _markings(img, x, z, mid)
    # Kerb, pavement, grass.
    for lo, hi in ((KERB_RIGHT, KERB_RIGHT + 0.22), (KERB_LEFT - 0.22, KERB_LEFT)):
        img[:, _band(x, lo, hi)] = 148 + 20 * (mid[:, _band(x, lo, hi), None] - 0.5)
    for lo, hi in ((KERB_RIGHT - 0.12, KERB_RIGHT), (KERB_LEFT, KERB_LEFT + 0.12)):
        img[:, _band(x, lo, hi)] *= 0.62
    grass_a = np.array([92, 104, 62], np.float32) * rng.uniform(0.85, 1.15)
    grass_b = np.array([134, 126, 82], np.float32)
    mix = np.clip(0.5 + 0.9 * (noise(rng, (h, w), (110, 60)) - 0.5) + 0.12 * fine, 0, 1)[..., None]
    grass = grass_a * (1 - mix) + grass_b * mix + 7 * fine[..., None]
    verge = (x > KERB_RIGHT + 0.22) | (x < KERB_LEFT - 0.22)
    img[:, verge] = grass[:, verge]
    for lo, hi in ((KERB_RIGHT + 1.3, KERB_RIGHT + 2.9), (KERB_LEFT - 2.9, KERB_LEFT - 1.3)):
        walk = _band(x, lo, hi)
        img[:, walk] = 158 + 5 * fine[:, walk, None] + 16 * (mid[:, walk, None] - 0.5)
        joints = (z % 1.5) < 0.05
        img[np.ix_(joints, walk)] *= 0.8
    return np.clip(img, 0, 255).astype(np.uint8)


def _markings(
    img: F32, x: NDArray[np.floating[Any]], z: NDArray[np.floating[Any]], wear: F32
) -> None:
    """Double yellow centre (dashed on the patrol car's side) and a white parking-lane line."""
    dashed = (z % 12.0) < 3.6
    yellow, white = np.array([206, 164, 58], np.float32), np.array([206, 206, 200], np.float32)
    for lo, colour, rows in (
        (CENTRE_LINE - 0.17, yellow, np.ones_like(dashed)), (CENTRE_LINE + 0.07, yellow, dashed),
        (EDGE_RIGHT, white, np.ones_like(dashed)),
    ):  # fmt: skip
        sel = np.ix_(rows, _band(x, lo, lo + 0.11))
        k = np.clip(1.25 - 0.75 * wear[sel], 0.25, 0.95)[..., None]
        img[sel] = img[sel] * (1 - k) + colour * k


@dataclass
class _Band:
    rows: slice
    texture: U8
    map_x: F32
    map_z: F32
    scale_z: float


class Ground:
    """The road as one camera sees it."""

    def __init__(self, cam: Camera, split: Split, seed: int) -> None:
        self.cam = cam
        rays = cam.rays()
        down = rays[..., 1] < -0.003
        t = np.where(down, cam.height / np.maximum(-rays[..., 1], 1e-4), 400.0)
        self.x = (rays[..., 0] * t).astype(np.float32)
        self.z = (rays[..., 2] * t).astype(np.float32)
        self.top = int(np.argmax(down.any(1)))
        self.valid_rows = slice(self.top, cam.canvas[1])
        self._bands = self._mip_bands(road_texture(split, seed))
        pts = np.dstack([self.x, np.zeros_like(self.x), self.z])[self.valid_rows]
        unit = Light(
            (0, 0, 0), 0, 0, 45, (0, 0, 0), (0, 0, 0), 1.0, 0, 0, 0, 0, 0, 0, 0.001, 0, 0, 0
        )
        beam = headlight(pts, unit)
        # Grazing light: little comes back from a road far ahead.
        beam = (beam * np.clip(7.0 / np.maximum(self.z[self.valid_rows], 4.0), 0.06, 1.0)
                     ).astype(np.float32)  # fmt: skip
        sky_v = np.clip(-rays[..., 1] / 0.16, 0, 1)[self.valid_rows]
        gloss = ((1 - sky_v) ** 2.2).astype(np.float32)
        far = np.clip((np.hypot(self.x, self.z)[self.valid_rows] - 60.0) / 160.0, 0, 1)
        self._small = tuple(
            np.ascontiguousarray(k[::4, ::4], np.float32) for k in (beam, gloss, far)
        )

    def _mip_bands(self, texture: U8) -> list[_Band]:
        h, _ = self.x.shape
        period_px = texture.shape[0]
        levels = [texture]
        for k in range(1, 6):
            rows = max(4, period_px >> k)
            cols = texture.shape[1] >> max(0, k - 3)
            levels.append(
                np.asarray(
                    cv2.resize(texture, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8
                )
            )
        mid = self.z[:, self.z.shape[1] // 2]
        foot = np.abs(np.gradient(mid)) * PX_M
        want = np.clip(np.log2(np.maximum(foot, 1e-3)) + 0.35, 0, 5).astype(int)
        out: list[_Band] = []
        row = self.top
        while row < h:
            k = int(want[row])
            end = row
            while end < h and int(want[end]) == k:
                end += 1
            tex = levels[k]
            sz = tex.shape[0] / PERIOD_M
            sx = tex.shape[1] / (2 * HALF_WIDTH_M)
            out.append(
                _Band(slice(row, end), tex, (self.x[row:end] + HALF_WIDTH_M) * sx - 0.5,
                      np.mod(self.z[row:end] * sz - 0.5, tex.shape[0]).astype(np.float32), sz)
            )  # fmt: skip
            row = end
        return out

    def draw_road(self, canvas: U8, travelled: float, light: Light, dim: F32 | None) -> None:
        """Draw the road into the canvas rows below the horizon.

        ``dim`` scales daylight a pixel (tunnel), or None.
        """
        amb = np.asarray(light.ambient, np.float32)
        sun = light.sun * max(0.0, float(light.sun_direction[1])) * np.array([1.0, 0.95, 0.86])
        day = (amb * (1 - 0.32 * light.wet) + sun).astype(np.float32)
        for b in self._bands:
            rows = b.texture.shape[0]
            mz = b.map_z + np.float32((travelled * b.scale_z) % rows)
            np.subtract(mz, np.float32(rows), out=mz, where=mz >= rows)
            canvas[b.rows] = cv2.remap(
                b.texture, b.map_x, mz, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
        # Light and shine vary slowly: worked out at a quarter of the size, then enlarged.
        beam, gloss, far = self._small
        near = np.ones_like(beam) if dim is None else dim[self.valid_rows][::4, ::4]
        level = day * near[..., None] + light.headlights * 0.95 * beam[..., None]
        hor = np.asarray(light.horizon, np.float32) * 255
        shine = (0.05 + 0.55 * light.wet) * gloss * near
        mix = np.clip(shine + (far * 0.6 if dim is None else 0.0), 0, 0.92)[..., None]
        part = canvas[self.valid_rows]
        size = (part.shape[1], part.shape[0])
        gain = cv2.resize((level * (1 - mix)).astype(np.float32), size)
        add = cv2.resize((hor * 0.82 * mix).astype(np.float32), size)
        lit = cv2.multiply(part, gain, dtype=cv2.CV_32F)
        canvas[self.valid_rows] = cv2.add(lit, add, dtype=cv2.CV_8U)

    def defocus(self, canvas: U8, beyond: float) -> None:
        """Blur what has been drawn of the scene farther away than ``beyond`` metres."""
        mid = self.z[:, self.z.shape[1] // 2]
        row = int(np.argmax(mid[self.top :] < beyond)) + self.top
        far = canvas[:row]
        far[...] = cv2.GaussianBlur(far, (0, 0), 1.25)
