"""What stands beside the road: sky, woods, houses, street lamps, signs with lettering.

Things are flat cut-outs with their own resolution, seeded by the stretch of road they stand on.
Signs and shop boards carry letters and digits on purpose: a plate reader must not report them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.camera import Camera
from sim.ground import KERB_LEFT, KERB_RIGHT, noise
from sim.lighting import Light
from sim.seeds import Split, stream

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

CHUNK_M = 16.0


@dataclass(frozen=True)
class Sprite:
    """A cut-out: RGBA (uint8) mip levels, emission mask, metres; signs are retroreflective
    (``retro``), shop boards are lit from inside (``lit``)."""

    levels: tuple[U8, ...]
    glow: tuple[U8, ...]
    width: float
    height: float
    retro: bool = False
    lit: bool = False


@dataclass(frozen=True)
class Prop:
    """A cut-out standing at ``x`` and road distance ``s``; ``base`` is the height of its foot."""

    sprite: Sprite
    x: float
    s: float
    base: float = 0.0
    near: bool = False


def _mips(
    rgba: U8, glow: U8 | None, w: float, h: float, retro: bool = False, lit: bool = False
) -> Sprite:
    g = np.zeros(rgba.shape[:2], np.uint8) if glow is None else glow
    pre = rgba.astype(np.float32)
    pre[..., :3] *= pre[..., 3:4] / 255
    levels, glows = [np.clip(pre, 0, 255).astype(np.uint8)], [g]
    while min(levels[-1].shape[:2]) > 10 and len(levels) < 6:
        size = (max(2, levels[-1].shape[1] // 2), max(2, levels[-1].shape[0] // 2))
        levels.append(
            np.asarray(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA), np.uint8)
        )
        glows.append(
            np.asarray(cv2.resize(glows[-1], size, interpolation=cv2.INTER_AREA), np.uint8)
        )
    return Sprite(tuple(levels), tuple(glows), w, h, retro, lit)


def _tree(rng: np.random.Generator, conifer: bool) -> Sprite:
    h, w = 448, 320
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    leaf = noise(rng, (h, w), (64, 46)) * 0.55 + noise(rng, (h, w), (26, 18)) * 0.45
    clump = noise(rng, (h, w), (11, 8))
    lean = (xx - w / 2) / (w / 2)
    if conifer:
        t = np.clip(yy / (h * 0.94), 0, 1)
        tiers = 0.86 + 0.14 * np.abs(np.sin(t * np.pi * rng.uniform(7, 11)))
        edge = 1 - np.abs(lean) / np.maximum(0.03 + 0.80 * t * tiers, 1e-3)
        crown = edge * 1.4 + (leaf - 0.5) * 1.1
        crown[yy > h * 0.94] = -1
        base = np.array([58, 82, 56], np.float32) * rng.uniform(0.75, 1.15)
    else:
        d = np.hypot(lean / 0.92, (yy - h * 0.36) / (h * 0.37))
        crown = (1 - d) * 1.5 + (clump - 0.55) * 1.3 + (leaf - 0.5) * 1.2
        tones = ([138, 112, 52], [150, 92, 44], [112, 104, 58], [124, 118, 60])
        base = np.array(tones[int(rng.integers(0, 4))], np.float32) * rng.uniform(0.8, 1.1)
    alpha = np.clip(crown * 5, 0, 1)
    lit = 0.50 + 0.55 * leaf + 0.35 * (clump - 0.5) + 0.20 * (1 - yy / h) - 0.12 * lean
    img = np.zeros((h, w, 4), np.float32)
    stem = np.abs(xx - w / 2 - 5 * (clump - 0.5)) < 4 + 5 * yy / h
    stem &= yy > h * (0.1 if conifer else 0.42)
    img[stem] = (70, 58, 48, 255)
    if not conifer:
        for _ in range(9):
            x0, y0 = w / 2, h * rng.uniform(0.5, 0.72)
            x1, y1 = w / 2 + rng.uniform(-0.4, 0.4) * w, y0 - rng.uniform(0.1, 0.32) * h
            cv2.line(img, (int(x0), int(y0)), (int(x1), int(y1)), (66, 54, 44, 255), 3, cv2.LINE_AA)
    k = alpha[..., None]
    img[..., :3] = img[..., :3] * (1 - k) + np.clip(base * lit[..., None], 0, 255) * k
    img[..., 3] = np.maximum(img[..., 3], alpha * 255)
    tall = float(rng.uniform(6.5, 12))
    return _mips(img.astype(np.uint8), None, tall * w / h, tall)


def _house(rng: np.random.Generator) -> Sprite:
    wide, tall = float(rng.uniform(9, 15)), float(rng.uniform(5.6, 8.5))
    px = 40
    w, h = int(wide * px), int(tall * px)
    img = np.zeros((h, w, 4), np.uint8)
    glow = np.zeros((h, w), np.uint8)
    tones = ([196, 192, 180], [150, 162, 170], [178, 150, 118], [132, 70, 58], [206, 206, 200])
    wall = np.array(tones[int(rng.integers(0, 5))], np.float32) * rng.uniform(0.85, 1.05)
    roof = np.array([70, 66, 66], np.float32) * rng.uniform(0.7, 1.3)
    eave = int(h * 0.42)
    cv2.fillPoly(
        img, [np.array([[0, eave], [int(w * 0.08), 4], [int(w * 0.92), 4], [w - 1, eave]])],
        (*(int(c) for c in roof), 255),
    )  # fmt: skip
    for y in range(8, eave, 9):
        cv2.line(img, (0, y), (w, y), (*(int(c * 0.86) for c in roof), 255), 1)
    img[:eave, :, 3] = np.where(img[:eave, :, :3].any(2), 255, 0)
    x0, x1 = int(w * 0.03), int(w * 0.97)
    img[eave:, x0:x1] = (*(int(c) for c in wall), 255)
    for y in range(eave, h, 8):
        img[y : y + 2, x0:x1, :3] = (wall * 0.88).astype(np.uint8)
    img[eave : eave + 10, x0:x1, :3] = (wall * 0.55).astype(np.uint8)
    n = int(rng.integers(3, 6))
    door = int(rng.integers(0, n))
    for k in range(n):
        cx = x0 + int((k + 0.5) * (x1 - x0) / n)
        if k == door:
            cv2.rectangle(img, (cx - 20, h - 90), (cx + 20, h - 2), (92, 48, 40, 255), -1)
            cv2.rectangle(img, (cx - 24, h - 94), (cx + 24, h - 2), (220, 220, 214, 255), 4)
            continue
        a, b = (cx - 26, eave + 34), (cx + 26, eave + 34 + 62)
        cv2.rectangle(img, a, b, (38, 46, 56, 255), -1)
        cv2.rectangle(img, a, b, (224, 224, 218, 255), 5)
        cv2.line(img, (cx, a[1]), (cx, b[1]), (224, 224, 218, 255), 3)
        cv2.line(
            img, (a[0], (a[1] + b[1]) // 2), (b[0], (a[1] + b[1]) // 2), (224, 224, 218, 255), 3
        )
        if rng.random() < 0.45:
            cv2.rectangle(glow, (a[0] + 3, a[1] + 3), (b[0] - 3, b[1] - 3), 255, -1)
    return _mips(img, glow, wide, tall)


_SHOPS = ("PINE CO-OP", "LAKE BAIT 24H", "TIRE 4U", "DINER 371", "FEED & SEED", "LOON BOOKS",
          "OPEN 7-11", "HWY 10 MOTEL", "BERG HARDWARE", "CAFE 88")  # fmt: skip
_Rgb = tuple[int, int, int]
_SIGNS: tuple[tuple[tuple[str, ...], _Rgb, _Rgb, float, float], ...] = (
    (("SPEED", "LIMIT", "30"), (232, 232, 228), (14, 14, 14), 0.61, 0.76),
    (("NO", "PARKING", "8-6"), (232, 232, 228), (168, 20, 24), 0.46, 0.61),
    (("ELM ST",), (16, 92, 58), (236, 236, 232), 0.90, 0.23),
    (("NW 4TH AVE",), (16, 92, 58), (236, 236, 232), 1.10, 0.23),
    (("TRUCK", "ROUTE"), (232, 232, 228), (14, 14, 14), 0.61, 0.46),
    (("STOP",), (172, 20, 26), (238, 238, 234), 0.75, 0.75),
    (("DEER", "XING"), (226, 180, 38), (14, 14, 14), 0.75, 0.75),
    (("COUNTY", "17"), (22, 62, 130), (232, 200, 70), 0.61, 0.61),
)  # fmt: skip


def _fit(img: U8, text: str, x0: int, y0: int, x1: int, y1: int, rgb: tuple[int, int, int]) -> None:
    (tw, th), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
    scale = min((x1 - x0) * 0.9 / tw, (y1 - y0) * 0.72 / th)
    t = max(1, round(scale * 2.2))
    org = (int((x0 + x1) / 2 - tw * scale / 2), int((y0 + y1) / 2 + th * scale / 2))
    cv2.putText(img, text, org, cv2.FONT_HERSHEY_DUPLEX, scale, (*rgb, 255), t, cv2.LINE_AA)


def _sign(row: tuple[tuple[str, ...], _Rgb, _Rgb, float, float]) -> Sprite:
    lines, ground, ink, wide, tall = row
    px = 200
    w, h, post = int(wide * px), int(tall * px), int(2.1 * px)
    img = np.zeros((h + post, w, 4), np.uint8)
    cv2.rectangle(img, (w // 2 - 5, h - 2), (w // 2 + 5, h + post), (112, 116, 118, 255), -1)
    if lines[0] == "STOP":
        k = int(w * 0.29)
        pts = [[k, 0], [w - k, 0], [w, k], [w, h - k], [w - k, h], [k, h], [0, h - k], [0, k]]
        cv2.fillPoly(img, [np.array(pts)], (*ground, 255), cv2.LINE_AA)
    else:
        cv2.rectangle(img, (0, 0), (w - 1, h - 1), (*ground, 255), -1)
        cv2.rectangle(img, (5, 5), (w - 6, h - 6), (*ink, 255), 3)
    n = len(lines)
    for k, line in enumerate(lines):
        y0, y1 = (int(h * (0.06 + 0.88 * j / n)) for j in (k, k + 1))
        _fit(img, line, 8, y0, w - 8, y1, ink)
    return _mips(img, None, wide, tall + 2.1, retro=True)


def _lamp_post(_rng: np.random.Generator) -> Sprite:
    px = 44
    w, h = int(2.4 * px), int(7.5 * px)
    img = np.zeros((h, w, 4), np.uint8)
    glow = np.zeros((h, w), np.uint8)
    cv2.rectangle(img, (12, 14), (18, h - 1), (96, 98, 100, 255), -1)
    cv2.line(img, (15, 16), (w - 26, 9), (96, 98, 100, 255), 5, cv2.LINE_AA)
    cv2.ellipse(img, (w - 18, 11), (17, 6), 0, 0, 360, (210, 204, 186, 255), -1, cv2.LINE_AA)
    cv2.ellipse(glow, (w - 18, 12), (15, 4), 0, 0, 360, 255, -1, cv2.LINE_AA)
    return _mips(img, glow, 2.4, 7.5)


def _pole(rng: np.random.Generator) -> Sprite:
    px = 36
    w, h = int(2.6 * px), int(9 * px)
    img = np.zeros((h, w, 4), np.uint8)
    c = int(rng.integers(70, 96))
    cv2.rectangle(img, (w // 2 - 5, 0), (w // 2 + 5, h - 1), (c, c - 12, c - 24, 255), -1)
    cv2.rectangle(img, (4, 18), (w - 4, 26), (c, c - 12, c - 24, 255), -1)
    return _mips(img, None, 2.6, 9.0)


def _board(rng: np.random.Generator, name: str) -> Sprite:
    px = 90
    wide, tall = float(rng.uniform(2.4, 3.6)), 1.0
    w, h, post = int(wide * px), int(tall * px), int(1.6 * px)
    img = np.zeros((h + post, w, 4), np.uint8)
    ground = tuple(int(c) for c in rng.integers(20, 235, 3))
    ink = (240, 240, 234) if sum(ground) < 380 else (20, 22, 30)
    for x in (int(w * 0.15), int(w * 0.85)):
        cv2.rectangle(img, (x - 6, h - 2), (x + 6, h + post), (90, 84, 76, 255), -1)
    cv2.rectangle(img, (0, 0), (w - 1, h - 1), (*ground, 255), -1)
    _fit(img, name, 6, 4, w - 6, h - 4, ink)
    return _mips(img, None, wide, tall + 1.6, lit=True)


@lru_cache(maxsize=4)
def library(split: Split, seed: int) -> dict[str, tuple[Sprite, ...]]:
    """All cut-outs of a world."""
    rng = stream(split, seed, "props")
    return {
        "conifer": tuple(_tree(rng, True) for _ in range(5)),
        "tree": tuple(_tree(rng, False) for _ in range(4)),
        "house": tuple(_house(rng) for _ in range(6)),
        "sign": tuple(_sign(row) for row in _SIGNS),
        "lamp": (_lamp_post(rng),),
        "pole": tuple(_pole(rng) for _ in range(2)),
        "board": tuple(_board(rng, str(name)) for name in rng.permutation(_SHOPS)[:5]),
    }


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
