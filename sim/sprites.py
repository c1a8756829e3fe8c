"""Cut-outs of trees, houses, lamps and signs, drawn at random for a world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.ground import noise
from sim.seeds import Split, stream

U8 = NDArray[np.uint8]


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
