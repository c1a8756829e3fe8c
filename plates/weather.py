"""What stands between a plate and a reader: dirt, snow, rain, glare, infrared, night, blur.

Every condition takes a rendered plate (H x W x 3, uint8, RGB) and gives one of the same size. They
show what the renderer's plates look like in bad conditions; `strength` 0-1 runs from a trace to
about the limit of what an eye still reads.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from plates.pixels import blur, resized
from plates.trim import snow as packed_snow
from plates.trim import wear_off

Image = NDArray[np.uint8]
Condition = Callable[[Image, np.random.Generator, float], Image]


def _image(canvas: NDArray[np.float32]) -> Image:
    return np.asarray(np.clip(canvas, 0, 255), np.uint8)


def dirt(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Mud thrown up from below and a film of road salt."""
    h, w = image.shape[:2]
    canvas = image.astype(np.float32)
    wear_off(canvas, rng, 0.3 * strength)
    cells: NDArray[np.float32] = rng.normal(0, 1, (9, 18)).astype(np.float32)
    field = resized(cells, w, h, cv2.INTER_CUBIC)
    field += np.linspace(-1.2, 1.6, h, dtype=np.float32)[:, None]
    share = np.clip(field * 0.6, 0, 1)[..., None] * np.float32(0.35 + 0.45 * strength)
    mud = np.array([112, 92, 70], np.float32) * np.float32(rng.uniform(0.6, 1.2))
    canvas += (mud - canvas) * share
    return _image(canvas)


def snow(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Packed snow at the edges and flakes in the air."""
    h, w = image.shape[:2]
    canvas = image.astype(np.float32)
    packed_snow(canvas, rng)
    flakes = np.zeros((h, w), np.uint8)
    for _ in range(int(40 + 120 * strength)):
        at = int(rng.integers(w)), int(rng.integers(h))
        cv2.circle(flakes, at, int(rng.integers(1, 4)), 255, -1, cv2.LINE_AA)
    share = blur(flakes, 1.2).astype(np.float32)[..., None] / 255 * np.float32(0.85)
    canvas += (np.array([240, 243, 248], np.float32) - canvas) * share
    return _image(canvas)


def rain(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Drops on the sheet and a grey veil."""
    h, w = image.shape[:2]
    canvas = image.astype(np.float32) * np.float32(1 - 0.25 * strength) + 20
    soft = blur(canvas, 5)
    drops = np.zeros((h, w), np.uint8)
    for _ in range(int(60 + 120 * strength)):
        at, size = (int(rng.integers(w)), int(rng.integers(h))), int(rng.integers(2, 7))
        cv2.ellipse(drops, at, (size, int(size * 1.4)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    share = drops.astype(np.float32)[..., None] / 255
    canvas += (soft * np.float32(1.12) - canvas) * share
    return _image(canvas)


def glare(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """The sun, or the cruiser's own lamps, mirrored by the sheet."""
    h, w = image.shape[:2]
    spot = np.zeros((h, w), np.float32)
    centre = (int(w * rng.uniform(0.15, 0.85)), int(h * rng.uniform(0.1, 0.9)))
    axes = (int(w * rng.uniform(0.1, 0.22)), int(h * rng.uniform(0.12, 0.3)))
    cv2.ellipse(spot, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    bloom = blur(spot, 0.09 * w)[..., None]
    return _image(image.astype(np.float32) * 0.92 + bloom * np.float32(110 + 150 * strength))


def infrared(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """A monochrome picture by infrared lamps: the sheet shines, painted colours mostly pale, only
    dark inks stay dark; red and orange inks fade most."""
    mix = np.array([0.62, 0.28, 0.10]) + rng.normal(0, 0.03, 3)
    grey = image.astype(np.float32) @ mix.astype(np.float32)
    grey = np.asarray(255 * (np.clip(grey, 0, 255) / 255) ** 0.75, np.float32)
    h, w = grey.shape
    x, y = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    grey *= 1 - np.float32(0.35 * strength) * (x * x + 0.5 * y * y)
    grey += rng.normal(0, 4 + 10 * strength, grey.shape).astype(np.float32)
    return _image(np.repeat(grey[..., None], 3, axis=2))


def night(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Low light: little exposure, a warm or cold cast, sensor noise."""
    cast = np.array([1.1, 1.0, 0.8]) if rng.random() < 0.6 else np.array([0.85, 0.95, 1.15])
    exposure = 0.42 - 0.24 * strength
    canvas = image.astype(np.float32) * (cast * exposure).astype(np.float32)
    h, w = image.shape[:2]
    noise = resized(rng.normal(0, 1, (h // 2, w // 2, 3)).astype(np.float32), w, h)
    return _image(canvas + noise * np.float32(8 + 10 * strength))


def motion(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """A short streak along a random direction near the horizontal."""
    length = int(5 + 16 * strength) | 1
    kernel = np.zeros((length, length), np.float32)
    rise, half = float(rng.uniform(-0.4, 0.4)), length // 2
    start, end = (0, int(half - rise * half)), (length - 1, int(half + rise * half))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def defocus(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """A far or badly focused plate: few pixels, enlarged again."""
    h, w = image.shape[:2]
    share = float(rng.uniform(0.9, 1.1)) * (0.35 - 0.2 * strength)
    small = resized(blur(image, 2.0), max(16, int(w * share)), max(8, int(h * share)))
    return resized(small, w, h, cv2.INTER_LINEAR)


CONDITIONS: dict[str, Condition] = {
    f.__name__: f for f in (dirt, snow, rain, glare, infrared, night, motion, defocus)
}
