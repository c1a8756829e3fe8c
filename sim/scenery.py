"""What stands beside the road: sky, woods, houses, street lamps, signs with lettering.

Things are flat cut-outs with their own resolution, seeded by the stretch of road they stand on.
Signs and shop boards carry letters and digits on purpose: a plate reader must not report them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.camera import Camera
from sim.ground import KERB_LEFT, KERB_RIGHT, noise
from sim.lighting import Light
from sim.seeds import Split, stream
from sim.sprites import Sprite, library

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

CHUNK_M = 16.0


@dataclass(frozen=True)
class Prop:
    """A cut-out standing at ``x`` and road distance ``s``; ``base`` is the height of its foot."""

    sprite: Sprite
    x: float
    s: float
    base: float = 0.0
    near: bool = False


def props_of_chunk(split: Split, seed: int, chunk: int) -> list[Prop]:
    """What stands on one stretch of ``CHUNK_M`` metres."""
    lib = library(split, seed)
    rng = stream(split, seed, "chunk", chunk)
    s0 = chunk * CHUNK_M
    out: list[Prop] = []
    for side, kerb in ((1, KERB_RIGHT), (-1, KERB_LEFT)):
        if rng.random() < 0.55:
            sp = lib["house"][int(rng.integers(0, 6))]
            out.append(
                Prop(sp, kerb + side * (9 + sp.width / 2 + rng.uniform(0, 3)),
                     s0 + rng.uniform(4, 12))
            )  # fmt: skip
        for _ in range(int(rng.integers(1, 4))):
            kind = "conifer" if rng.random() < 0.6 else "tree"
            sp = lib[kind][int(rng.integers(0, len(lib[kind])))]
            out.append(Prop(sp, kerb + side * rng.uniform(6, 26), s0 + rng.uniform(0, CHUNK_M)))
        if (chunk + (side > 0)) % 2 == 0:
            out.append(Prop(lib["lamp"][0], kerb + side * 0.7, s0 + 5.0, near=True))
        elif rng.random() < 0.4:
            sp = lib["pole"][int(rng.integers(0, 2))]
            out.append(Prop(sp, kerb + side * 3.6, s0 + rng.uniform(2, 12), near=True))
        if rng.random() < 0.40:
            sp = lib["sign"][int(rng.integers(0, 8))]
            out.append(Prop(sp, kerb + side * 0.75, s0 + rng.uniform(1, 14), near=True))
        if rng.random() < 0.25:
            sp = lib["board"][int(rng.integers(0, 5))]
            out.append(Prop(sp, kerb + side * rng.uniform(4.0, 6.0), s0 + rng.uniform(1, 14)))
    return out


def draw_prop(canvas: U8, cam: Camera, prop: Prop, z: float, light: Light, dim: float) -> None:
    """Draw a cut-out at distance ``z`` ahead, lit and hazed."""
    sp = prop.sprite
    foot = np.array([[prop.x, prop.base, z], [prop.x, prop.base + sp.height, z]], np.float32)
    uv, depth = cam.project(foot)
    if float(depth[0]) < 4.0:
        return
    scale_m = float(uv[0, 1] - uv[1, 1]) / sp.height
    pw, ph = sp.width * scale_m, sp.height * scale_m
    x0, y0 = float(uv[0, 0]) - pw / 2, float(uv[1, 1])
    cw, ch = cam.canvas
    if pw < 2 or x0 > cw or x0 + pw < 0 or y0 > ch or y0 + ph < 0:
        return
    k = 0
    while k + 1 < len(sp.levels) and sp.levels[k].shape[1] > pw * 1.3:
        k += 1
    src, glow = sp.levels[k], sp.glow[k]
    ix0, iy0 = max(0, int(x0)), max(0, int(y0))
    ix1, iy1 = min(cw, int(np.ceil(x0 + pw))), min(ch, int(np.ceil(y0 + ph)))
    if ix1 - ix0 < 1 or iy1 - iy0 < 1:
        return
    fx, fy = pw / src.shape[1], ph / src.shape[0]
    m = np.array([[fx, 0, x0 - ix0 + (fx - 1) / 2], [0, fy, y0 - iy0 + (fy - 1) / 2]], np.float32)
    size = (ix1 - ix0, iy1 - iy0)
    layer = cv2.warpAffine(src, m, size, flags=cv2.INTER_LINEAR)
    level = np.asarray(light.ambient, np.float32) * 0.85 + light.sun * 0.28
    level = level * dim
    if light.headlights > 0.02:
        reach = min(1.0, 14.0 / max(z, 5.0))
        level = level + light.headlights * reach * (1.5 if sp.retro else 0.28)
    if sp.lit:
        level = np.maximum(level, 0.62 * light.windows)
    air = 1 - float(np.exp(-light.haze * max(0.0, z - 10) * 1.6))
    hor = np.asarray(light.horizon, np.float32) * 255
    # Each colour: level * (1 - air) of the cut-out, air of the horizon through its alpha.
    mixer = np.zeros((3, 4), np.float32)
    mixer[[0, 1, 2], [0, 1, 2]] = np.minimum(level, 3.0) * (1 - air)
    mixer[:, 3] = hor / 255.0 * air
    rgb = cv2.transform(layer, mixer)
    lit = light.windows if glow.any() else 0.0
    if lit > 0.02:
        g = cv2.warpAffine(glow, m, size, flags=cv2.INTER_LINEAR)
        warm = np.array([[1.0], [0.80], [0.50]], np.float32) * lit
        rgb = np.maximum(rgb, cv2.transform(g, warm))
    part = canvas[iy0:iy1, ix0:ix1]
    alpha = layer[..., 3]
    clear = cv2.merge([255 - alpha] * 3)
    part[...] = cv2.add(rgb, cv2.multiply(part, clear, scale=1 / 255.0))


class Sky:
    """Sky with clouds and the woods on the horizon, for one camera."""

    def __init__(self, cam: Camera, split: Split, seed: int) -> None:
        rng = stream(split, seed, "sky", cam.name)
        rays = cam.rays()
        el = rays[..., 1] / np.hypot(rays[..., 0], rays[..., 2])
        self.rows = int(np.argmax((el < -0.004).all(1))) or el.shape[0]
        # Clouds and far woods are soft: drawn at half size.
        el = el[: self.rows : 2, ::2]
        self.height = np.clip(el / 0.35, 0, 1).astype(np.float32)
        h, w = el.shape
        c = noise(rng, (h, w), (5, 6)) * 0.5 + noise(rng, (h, w), (11, 16)) * 0.3
        c += noise(rng, (h, w), (26, 40)) * 0.2
        self.cloud = np.clip((c - 0.42) * 3.2, 0, 1).astype(np.float32)
        az = np.arctan2(rays[0, ::2, 0], rays[0, ::2, 2])
        line = 0.012 + 0.008 * np.interp(
            az, np.linspace(-1.2, 1.2, 2600), rng.uniform(0, 1, 2600) ** 2
        ) + 0.010 * np.interp(az, np.linspace(-1.2, 1.2, 24), rng.uniform(0, 1, 24))  # fmt: skip
        edge = (line[None, :] - el) * cam.focal / 2
        self.woods = np.clip(edge / 1.5 + 0.5, 0, 1).astype(np.float32)
        self.tone = (0.8 + 0.4 * noise(rng, (h, w), (60, 110))).astype(np.float32)
        self._cache: tuple[Light, U8] | None = None

    def draw(self, canvas: U8, light: Light) -> None:
        """Fill the canvas down to the horizon."""
        if self._cache is None or self._cache[0] != light:
            zen, hor = (np.asarray(c, np.float32) * 255 for c in (light.zenith, light.horizon))
            g = np.power(self.height, 0.6)[..., None]
            sky = hor * (1 - g) + zen * g
            lumi = float(np.mean(light.horizon))
            white = np.array([1.0, 0.985, 0.97], np.float32) * 255 * min(1.0, lumi * 1.12)
            k = (self.cloud * light.clouds * 0.8)[..., None]
            sky = sky * (1 - k) + (0.35 * hor + 0.65 * white) * k
            amb = np.asarray(light.ambient, np.float32)
            wood = np.array([70, 78, 66], np.float32) * (amb + 0.3 * light.sun)
            wood = wood * self.tone[..., None]
            air = min(0.75, 0.35 + light.haze * 40)
            wood = wood * (1 - air) + hor * air * 0.9
            m = self.woods[..., None]
            small = np.clip(sky * (1 - m) + wood * m, 0, 255).astype(np.uint8)
            full = cv2.resize(small, (canvas.shape[1], self.rows), interpolation=cv2.INTER_LINEAR)
            self._cache = (light, np.asarray(full, np.uint8))
        canvas[: self.rows] = self._cache[1]
