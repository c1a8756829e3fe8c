"""Painters of simple scenes that vary from plate to plate; `plates/shapes.py` has the fixed ones.

Every painter takes a canvas (float32, H x W x 3, RGB 0-255), changes it in place and draws all of
its chance from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from plates.paint import Canvas, Colour, blend, fill_polygon, random_colour
from plates.pixels import blur, resized

Painter = Callable[[Canvas, np.random.Generator], None]


def _shade(canvas: Canvas, rng: np.random.Generator, low: float, high: float) -> Colour:
    """A darker or lighter relative of the canvas's middle colour."""
    middle = canvas[canvas.shape[0] // 2, canvas.shape[1] // 2] * rng.uniform(low, high)
    tint = np.clip(middle + rng.uniform(-35, 35, 3), 0, 255)
    return float(tint[0]), float(tint[1]), float(tint[2])


def _fill(canvas: Canvas, points: NDArray[np.int32], colour: Colour, alpha: float) -> None:
    fill_polygon(canvas, points.astype(np.float64), colour, alpha)


def _ridge(canvas: Canvas, heights: NDArray[np.float64], colour: Colour, alpha: float) -> None:
    h, w = canvas.shape[:2]
    xs = np.linspace(0, w, len(heights))
    points = np.concatenate([np.stack([xs, heights], 1), [[w, h], [0, h]]]).astype(np.int32)
    _fill(canvas, points, colour, alpha)


def mountains(canvas: Canvas, rng: np.random.Generator) -> None:
    h = canvas.shape[0]
    for level in rng.uniform(0.25, 0.55, int(rng.integers(1, 3))):
        heights = h * (level + rng.uniform(-0.14, 0.14, int(rng.integers(6, 14))))
        _ridge(canvas, heights, _shade(canvas, rng, 0.6, 0.95), float(rng.uniform(0.25, 0.6)))


def white_mountains(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    xs = np.linspace(0, w, 15)
    heights = h * (0.2 + rng.uniform(-0.08, 0.08, 15))
    top = np.stack([xs, heights], 1)
    points = np.concatenate([[[0, 0]], top, [[w, 0]]]).astype(np.int32)
    _fill(canvas, points, (238, 242, 240), 0.95)


def hills(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    x = np.linspace(0, 1, 60)
    for level in (0.62, 0.78):
        heights = h * (level + 0.06 * np.sin(2 * np.pi * (x * rng.uniform(0.6, 2) + rng.random())))
        _ridge(canvas, heights, _shade(canvas, rng, 0.65, 0.95), float(rng.uniform(0.2, 0.45)))
    del w


def treeline(canvas: Canvas, rng: np.random.Generator) -> None:
    """Pines on a far shore, below the state's name."""
    h, w = canvas.shape[:2]
    base = h * rng.uniform(0.24, 0.3)
    points: list[tuple[float, float]] = [(0, base)]
    x = 0.0
    while x < w:
        tree = rng.uniform(3, 9)
        points += [
            (x, base - rng.uniform(0, 4)),
            (x + tree / 2, base - h * rng.uniform(0.02, 0.09)),
        ]
        x += tree
    points += [(w, base), (w, base + h * 0.02), (0, base + h * 0.02)]
    colour = (rng.uniform(40, 90), rng.uniform(80, 120), rng.uniform(80, 130))
    _fill(canvas, np.array(points, np.int32), colour, float(rng.uniform(0.35, 0.75)))


def water(canvas: Canvas, rng: np.random.Generator) -> None:
    """Rippled water in the lowest part."""
    h, w = canvas.shape[:2]
    start = int(h * rng.uniform(0.72, 0.84))
    blend_mask = np.zeros((h, w), np.uint8)
    blend_mask[start:] = 255
    blend(canvas, blur(blend_mask, 6), (110, 160, 205), 0.5)
    for _ in range(10):
        y, x = int(rng.integers(start, h)), int(rng.integers(0, w))
        length = int(rng.integers(20, 90))
        mask = np.zeros((h, w), np.uint8)
        cv2.line(mask, (x, y), (x + length, y), 255, 1, cv2.LINE_AA)
        blend(canvas, mask, (235, 243, 250), 0.5)


def reeds(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    side = int(rng.integers(2))
    for _ in range(14):
        x = int(rng.normal(0.06, 0.05) * w) if side == 0 else int(rng.normal(0.94, 0.05) * w)
        top = int(h * rng.uniform(0.15, 0.6))
        cv2.line(mask, (x, h), (x + int(rng.integers(-25, 25)), top), 255, 2, cv2.LINE_AA)
    blend(canvas, mask, (60, 95, 60), float(rng.uniform(0.3, 0.7)))


def wheat(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    for _ in range(40):
        x = int(rng.uniform(0, w))
        cv2.line(
            mask, (x, h), (x + int(rng.integers(-12, 12)), int(h * rng.uniform(0.72, 0.95))), 255, 2
        )
    blend(canvas, mask, (200, 160, 60), float(rng.uniform(0.2, 0.5)))


def sun(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    centre = (int(w * rng.uniform(0.3, 0.7)), int(h * rng.uniform(0.3, 0.6)))
    radius = int(h * rng.uniform(0.12, 0.3))
    cv2.circle(mask, centre, radius, 255, -1, cv2.LINE_AA)
    if rng.random() < 0.5:
        for angle in np.arange(0, 2 * np.pi, np.pi / 8):
            end = (
                int(centre[0] + 2.2 * radius * np.cos(angle)),
                int(centre[1] + 2.2 * radius * np.sin(angle)),
            )
            cv2.line(mask, centre, end, 255, 3, cv2.LINE_AA)
    mask = blur(mask, float(rng.uniform(1, 10)))
    blend(canvas, mask, random_colour(rng, 150, 230), float(rng.uniform(0.15, 0.45)))


def farm_top(canvas: Canvas, rng: np.random.Generator) -> None:
    """A barn, a silo and fields in the upper corner."""
    h, w = canvas.shape[:2]
    side = w * (0.78 if rng.random() < 0.7 else 0.1)
    barn = np.array(
        [
            [side, h * 0.22],
            [side, h * 0.12],
            [side + 18, h * 0.06],
            [side + 36, h * 0.12],
            [side + 36, h * 0.22],
        ]
    )
    _fill(canvas, barn.astype(np.int32), (178, 50, 44), 0.85)
    silo = np.array(
        [[side + 42, h * 0.22], [side + 42, h * 0.05], [side + 54, h * 0.05], [side + 54, h * 0.22]]
    )
    _fill(canvas, silo.astype(np.int32), (120, 130, 150), 0.8)
    field = np.array([[0, h * 0.24], [w, h * 0.2], [w, h * 0.26], [0, h * 0.27]])
    _fill(canvas, field.astype(np.int32), (110, 150, 90), 0.4)


def skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    x, points = 0.0, [(0.0, h * 0.3)]
    while x < w:
        width, top = rng.uniform(8, 34), h * rng.uniform(0.1, 0.28)
        points += [(x, top), (x + width, top)]
        x += width
    points += [(w, h * 0.3)]
    _fill(
        canvas,
        np.array(points, np.int32),
        _shade(canvas, rng, 0.6, 0.9),
        float(rng.uniform(0.2, 0.4)),
    )


def bands(canvas: Canvas, rng: np.random.Generator) -> None:
    h = canvas.shape[0]
    thick = int(h * rng.uniform(0.05, 0.24))
    mask = np.zeros(canvas.shape[:2], np.uint8)
    mask[:thick] = 255
    if rng.random() < 0.6:
        mask[h - int(thick * rng.uniform(0.4, 0.9)) :] = 255
    blend(canvas, mask, random_colour(rng, 20, 110), 0.95)


def flag(canvas: Canvas, rng: np.random.Generator) -> None:
    """Stripes that fade in from the foot."""
    h, w = canvas.shape[:2]
    count = int(rng.integers(3, 8))
    top = int(h * rng.uniform(0.6, 0.85))
    colour = random_colour(rng, 50, 150)
    for i in range(0, count * 2, 2):
        y0 = top + (h - top) * i // (count * 2)
        y1 = top + (h - top) * (i + 1) // (count * 2)
        canvas[y0:y1] += (np.array(colour, np.float32) - canvas[y0:y1]) * np.float32(0.4)
    del w


def flag_mark(canvas: Canvas, rng: np.random.Generator) -> None:
    _blob(canvas, rng, 0.5, 0.55, 0.12, 0.35)


def watermark(canvas: Canvas, rng: np.random.Generator) -> None:
    _blob(canvas, rng, float(rng.uniform(0.35, 0.65)), 0.55, float(rng.uniform(0.15, 0.35)), 0.3)


def _blob(
    canvas: Canvas, rng: np.random.Generator, cx: float, cy: float, r: float, alpha: float
) -> None:
    h, w = canvas.shape[:2]
    n = int(rng.integers(5, 14))
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radii = r * w * rng.uniform(0.5, 1.1, n)
    points = np.stack([cx * w + radii * np.cos(angles), cy * h + 0.7 * radii * np.sin(angles)], 1)
    _fill(
        canvas,
        points.astype(np.int32),
        _shade(canvas, rng, 0.55, 1.1),
        float(rng.uniform(0.1, alpha)),
    )


def fruit(canvas: Canvas, rng: np.random.Generator) -> None:
    """Round fruit with leaves behind the middle of the number."""
    h, w = canvas.shape[:2]
    for dx in (-0.03, 0.03):
        mask = np.zeros((h, w), np.uint8)
        centre = (int(w * (0.5 + dx)), int(h * rng.uniform(0.48, 0.6)))
        cv2.circle(mask, centre, int(h * 0.11), 255, -1, cv2.LINE_AA)
        blend(canvas, mask, (236, 150, 50), 0.75)
    mask = np.zeros((h, w), np.uint8)
    cv2.ellipse(mask, (w // 2, int(h * 0.38)), (int(w * 0.05), int(h * 0.04)), 20, 0, 360, 255, -1)
    blend(canvas, mask, (80, 140, 70), 0.8)


def rainbow(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    colours = [(224, 90, 80), (236, 170, 70), (236, 222, 100), (110, 180, 110), (90, 130, 200)]
    for i, colour in enumerate(colours):
        mask = np.zeros((h, w), np.uint8)
        cv2.ellipse(
            mask, (w // 2, h), (int(w * 0.42) - i * 9, int(h * 0.85) - i * 9), 0, 180, 360, 255, 9
        )
        blend(canvas, blur(mask, 2.5), colour, 0.55)
    del rng


def cactus(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    x = int(w * rng.uniform(0.03, 0.07))
    cv2.line(mask, (x, h), (x, int(h * 0.6)), 255, 7, cv2.LINE_AA)
    cv2.line(mask, (x - 10, int(h * 0.72)), (x - 10, int(h * 0.66)), 255, 5, cv2.LINE_AA)
    blend(canvas, mask, (60, 110, 80), 0.8)


def emblem_left(canvas: Canvas, rng: np.random.Generator) -> None:
    """A round or shield-shaped emblem before the number, as on special plates."""
    emblem(canvas, rng, float(rng.uniform(0.08, 0.11)))


def emblem(canvas: Canvas, rng: np.random.Generator, cx: float) -> None:
    """A drawn badge of a few shapes centred at `cx` (share of the width)."""
    h, w = canvas.shape[:2]
    size = h * rng.uniform(0.14, 0.22)
    centre = np.array([cx * w, h * rng.uniform(0.45, 0.62)])
    for _ in range(int(rng.integers(2, 6))):
        mask = np.zeros((h, w), np.uint8)
        kind, at = rng.random(), centre + rng.uniform(-0.3, 0.3, 2) * size
        radius = max(3, int(size * rng.uniform(0.25, 1.0)))
        if kind < 0.4:
            cv2.circle(
                mask,
                (int(at[0]), int(at[1])),
                radius,
                255,
                -1 if rng.random() < 0.6 else 4,
                cv2.LINE_AA,
            )
        elif kind < 0.7:
            n = int(rng.integers(3, 11))
            angles = np.linspace(0, 2 * np.pi, n, endpoint=False) + rng.random()
            star = radius * np.where(np.arange(n) % 2, rng.uniform(0.4, 1.0), 1.0)
            points = np.stack([at[0] + star * np.cos(angles), at[1] + star * np.sin(angles)], 1)
            cv2.fillPoly(mask, [points.astype(np.int32)], 255, lineType=cv2.LINE_AA)
        else:
            cv2.line(
                mask,
                (int(at[0]), int(at[1]) - radius),
                (int(at[0]), int(at[1]) + radius),
                255,
                max(2, radius // 5),
            )
        blend(canvas, mask, random_colour(rng, 20, 220), 0.85)


def star_corner(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2, 6.0, 15.0)
    points = np.stack([w * 0.88 + radii * np.cos(angles), h * 0.14 + radii * np.sin(angles)], 1)
    _fill(canvas, points.astype(np.int32), (20, 20, 20), 0.9)
    del rng


def frame_line(canvas: Canvas, rng: np.random.Generator) -> None:
    h, w = canvas.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    inset = int(rng.integers(5, 11))
    cv2.rectangle(
        mask, (inset, inset), (w - inset, h - inset), 255, int(rng.integers(2, 5)), cv2.LINE_AA
    )
    middle = canvas[h // 2, w // 2]
    colour = (235.0, 232.0, 220.0) if float(middle.mean()) < 120 else (40.0, 40.0, 60.0)
    blend(canvas, mask, colour, 0.9)


def texture(canvas: Canvas, rng: np.random.Generator) -> None:
    """Soft random colour clouds: any printed picture, seen from afar."""
    h, w = canvas.shape[:2]
    cells = rng.normal(0, 1, (int(rng.integers(2, 8)), int(rng.integers(3, 14)), 3)).astype(
        np.float32
    )
    canvas += resized(cells, w, h, cv2.INTER_CUBIC) * np.float32(rng.uniform(5, 38))


PAINTERS: dict[str, Painter] = {
    f.__name__: f
    for f in (
        mountains, white_mountains, hills, treeline, water, reeds, wheat, sun, farm_top, skyline,
        bands, flag, flag_mark, watermark, fruit, rainbow, cactus, emblem_left, star_corner,
        frame_line, texture,
    )
}  # fmt: skip
