"""What lens, air and sensor add: glow of lamps, rain, vignetting, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.camera import HEIGHT, MARGIN, WIDTH
from sim.lighting import Light

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


def _glow_tile(n: int = 129) -> F32:
    yy, xx = np.mgrid[0:n, 0:n].astype(np.float32) / (n - 1) * 2 - 1
    r = np.hypot(xx, yy)
    halo = np.clip(1 - r, 0, 1) ** 3.2
    core = np.exp(-((r / 0.09) ** 2))
    spikes = np.exp(-np.abs(xx) * 60) * np.clip(1 - np.abs(yy), 0, 1) ** 4
    return np.asarray(0.35 * halo + 0.95 * core + 0.10 * spikes, np.float32)


_GLOW = _glow_tile()


def flare(
    canvas: U8,
    u: float,
    v: float,
    radius: float,
    rgb: tuple[float, float, float],
    stretch: float = 1,
) -> None:
    """Add the glow of a lamp at canvas pixel (u, v); ``stretch`` > 1 draws it out downwards."""
    w, h = int(2 * radius) | 1, int(2 * radius * stretch) | 1
    if w < 3 or max(rgb) < 2.0:
        return
    x0, y0 = int(u - w / 2), int(v - h / 2)
    x1, y1 = x0 + w, y0 + h
    cx0, cy0 = max(x0, 0), max(y0, 0)
    cx1, cy1 = min(x1, canvas.shape[1]), min(y1, canvas.shape[0])
    if cx1 - cx0 < 2 or cy1 - cy0 < 2:
        return
    tile = cv2.resize(_GLOW, (w, h), interpolation=cv2.INTER_LINEAR)
    tile = tile[cy0 - y0 : cy1 - y0, cx0 - x0 : cx1 - x0, None]
    part = canvas[cy0:cy1, cx0:cx1]
    light = tile * np.asarray(rgb, np.float32)
    # Screen blending: light adds, but nothing exceeds white.
    part[...] = (255.0 - (255.0 - part) * (1.0 - np.clip(light / 255.0, 0, 1))).astype(np.uint8)


class Sensor:
    """The optics and sensor of one camera."""

    def __init__(self, rng: np.random.Generator) -> None:
        yy, xx = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        r = np.hypot((xx - WIDTH / 2) / WIDTH, (yy - HEIGHT / 2) / WIDTH) * 2
        self.vignette = np.dstack([1.0 - 0.20 * r**2.2] * 3).astype(np.float32)
        shape = (HEIGHT + 160, WIDTH + 160)
        raw = rng.standard_normal((*shape, 1), np.float32)
        raw = raw + 0.35 * rng.standard_normal((*shape, 3), np.float32)
        grain = cv2.GaussianBlur(raw, (0, 0), 0.7)
        self.grain = (grain * (255.0 / grain.std())).astype(np.float32)
        self.rain = [self._streaks(rng) for _ in range(3)]

    @staticmethod
    def _streaks(rng: np.random.Generator) -> U8:
        img = np.zeros((HEIGHT // 2 + 100, WIDTH // 2 + 100), np.uint8)
        for _ in range(260):
            x, y = rng.uniform(0, img.shape[1]), rng.uniform(0, img.shape[0])
            length = rng.uniform(8, 34)
            slant = rng.normal(0.10, 0.03) * length
            level = float(rng.uniform(20, 85))
            a = np.array([[[x * 16, y * 16], [(x + slant) * 16, (y + length) * 16]]], np.int32)
            cv2.polylines(img, [a], False, level, 1, cv2.LINE_AA, 4)
        return img

    def expose(
        self, canvas: U8, shake: tuple[int, int], light: Light, rng: np.random.Generator
    ) -> U8:
        """Canvas to the recorded picture (HEIGHT, WIDTH, 3)."""
        x0, y0 = MARGIN + shake[0], MARGIN + shake[1]
        img = canvas[y0 : y0 + HEIGHT, x0 : x0 + WIDTH]
        if light.rain > 0.02:
            tile = self.rain[int(rng.integers(0, 3))]
            oy, ox = int(rng.integers(0, 99)), int(rng.integers(0, 99))
            cut = tile[oy : oy + HEIGHT // 2, ox : ox + WIDTH // 2]
            drops = cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
            drops = (drops * (0.55 * light.rain)).astype(np.uint8)
            img = np.asarray(cv2.add(img, cv2.merge([drops, drops, drops])), np.uint8)
        out = cv2.multiply(img, self.vignette, dtype=cv2.CV_32F)
        if light.bloom > 0.02:
            small = cv2.resize(img, (WIDTH // 8, HEIGHT // 8), interpolation=cv2.INTER_AREA)
            hot = np.clip(small.astype(np.float32) - 190.0, 0, None) * (1.6 * light.bloom)
            wide = cv2.GaussianBlur(hot, (0, 0), 3.2) + 0.6 * cv2.GaussianBlur(hot, (0, 0), 9.0)
            out = cv2.add(out, cv2.resize(wide, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR))
        oy, ox = int(rng.integers(0, 160)), int(rng.integers(0, 160))
        grain = self.grain[oy : oy + HEIGHT, ox : ox + WIDTH]
        return np.asarray(
            cv2.addWeighted(out, 1.0, grain, light.noise, 0.0, dtype=cv2.CV_8U), np.uint8
        )
