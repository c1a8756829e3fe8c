"""Scenes of named designs as lists of shapes: `"band #123456 0 0.2"` and the like.

Every shape is one line of text: a name, a colour, numbers. Places are shares of the plate's width
(x) and height (y, and all sizes). Only the box that a shape covers is touched, so a scene costs
less than a millisecond. What each name draws is said at its function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from plates.marks import outline
from plates.paint import Canvas, Colour, fill_polygon, rgb
from plates.scenery import PAINTERS, emblem

Shape = Callable[[Canvas, Colour, Sequence[float], np.random.Generator], None]


def paint_scene(canvas: Canvas, scene: Sequence[str], rng: np.random.Generator) -> None:
    """Draw the shapes and painters of `scene` in their order.

    Raises:
        ValueError: a shape has an unknown name.
    """
    for entry in scene:
        name, *rest = entry.split()
        if name in PAINTERS:
            PAINTERS[name](canvas, rng)
        elif name == "mark":
            _mark(canvas, rest)
        elif name == "emblem":
            emblem(canvas, rng, float(rest[0]))
        elif name in SHAPES:
            SHAPES[name](canvas, rgb(rest[0]), [float(v) for v in rest[1:]], rng)
        else:
            raise ValueError(f"shape {name!r} is unknown: see plates/shapes.py")


def _mark(canvas: Canvas, rest: Sequence[str]) -> None:
    """`mark NAME #colour x y size [alpha]`: a silhouette, `size` = half its height."""
    h, w = canvas.shape[:2]
    x, y, size, *more = (float(v) for v in rest[2:])
    points = outline(rest[0]) * (size * h) + (x * w, y * h)
    fill_polygon(canvas, points, rgb(rest[1]), more[0] if more else 1.0)


def _lay(part: Canvas, colour: Colour, alpha: float) -> None:
    part += (np.array(colour, np.float32) - part) * np.float32(alpha)


def band(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`band #c y0 y1 [alpha [x0 x1]]`: a bar."""
    h, w = canvas.shape[:2]
    x0, x1 = (v[3], v[4]) if len(v) > 4 else (0.0, 1.0)
    part = canvas[round(v[0] * h) : round(v[1] * h), round(x0 * w) : round(x1 * w)]
    _lay(part, colour, v[2] if len(v) > 2 else 1.0)


def glow(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`glow #c y0 y1 a0 a1`: a bar whose strength runs from a0 to a1."""
    h = canvas.shape[0]
    y0, y1 = round(v[0] * h), round(v[1] * h)
    share = np.linspace(v[2], v[3], max(1, y1 - y0), dtype=np.float32)[:, None, None]
    part = canvas[y0:y1]
    part += (np.array(colour, np.float32) - part) * share


def ridge(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`ridge #c y rise peaks base [alpha [x0 x1]]`: jagged mountains between y - rise and base."""
    h, w = canvas.shape[:2]
    x0, x1 = (v[5], v[6]) if len(v) > 6 else (0.0, 1.0)
    count = int(v[2]) * 2 + 1
    heights = v[0] - v[1] * np.where(np.arange(count) % 2, 1.0, 0.25) * rng.uniform(0.6, 1, count)
    xs = np.linspace(x0, x1, count)
    points = np.concatenate([np.stack([xs, heights], 1), [[x1, v[3]], [x0, v[3]]]]) * (w, h)
    fill_polygon(canvas, points, colour, v[4] if len(v) > 4 else 1.0)


def hill(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`hill #c y rise waves base [alpha]`: a soft line of hills, or a wave."""
    h, w = canvas.shape[:2]
    x = np.linspace(0, 1, 25)
    wave = np.sin(2 * np.pi * (x * v[2] + rng.uniform(0, 0.35)))
    points = np.concatenate([np.stack([x, v[0] - v[1] * wave], 1), [[1, v[3]], [0, v[3]]]])
    fill_polygon(canvas, points * (w, h), colour, v[4] if len(v) > 4 else 1.0)


def pines(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`pines #c x0 x1 y size [alpha]`: a row of firs that stand on y."""
    h, w = canvas.shape[:2]
    count = max(2, round((v[1] - v[0]) * w / (v[3] * h * 0.45)))
    xs = np.linspace(v[0], v[1], 2 * count + 1)
    tops = v[2] - np.where(np.arange(len(xs)) % 2, v[3], 0.25 * v[3]) * rng.uniform(0.6, 1, len(xs))
    points = np.concatenate([np.stack([xs, tops], 1), [[v[1], v[2]], [v[0], v[2]]]]) * (w, h)
    fill_polygon(canvas, points, colour, v[4] if len(v) > 4 else 1.0)


def skyline(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`blocks #c x0 x1 y size [alpha]`: houses, silos and towers that stand on y."""
    h, w = canvas.shape[:2]
    count = max(2, round((v[1] - v[0]) * 22))
    xs = np.repeat(np.linspace(v[0], v[1], count + 1), 2)[1:-1]
    tops = v[2] - v[3] * np.repeat(rng.uniform(0.15, 1, count), 2)
    points = np.concatenate([np.stack([xs, tops], 1), [[v[1], v[2]], [v[0], v[2]]]]) * (w, h)
    fill_polygon(canvas, points, colour, v[4] if len(v) > 4 else 1.0)


def disc(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`disc #c x y r [alpha [rx]]`: a sun, a fruit, a lake."""
    h, w = canvas.shape[:2]
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    rx = v[4] if len(v) > 4 else v[2]
    points = np.stack([v[0] * w + rx * h * np.cos(angles), v[1] * h + v[2] * h * np.sin(angles)], 1)
    fill_polygon(canvas, points, colour, v[3] if len(v) > 3 else 1.0)


def rays(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`rays #c x y r count [alpha]`: thin wedges from a centre."""
    h, w = canvas.shape[:2]
    half = np.pi / v[3] / 2
    for angle in np.arange(int(v[3])) * 2 * np.pi / v[3]:
        ends = np.array([angle - half, angle + half])
        points = np.zeros((3, 2))
        points[1:] = np.stack([np.cos(ends), np.sin(ends)], 1) * v[2] * h
        points += (v[0] * w, v[1] * h)
        fill_polygon(canvas, points, colour, v[4] if len(v) > 4 else 1.0)


def zia(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`zia #c x y r`: a ring with four groups of bars."""
    h, w = canvas.shape[:2]
    x, y, r = v[0] * w, v[1] * h, v[2] * h
    disc(canvas, colour, [v[0], v[1], v[2] * 0.45], rng)
    for k in (-0.24, -0.08, 0.08, 0.24):
        for box in (
            (x + k * r - 2, y - r, x + k * r + 2, y + r),
            (x - r, y + k * r - 2, x + r, y + k * r + 2),
        ):
            points = np.array([box[:2], (box[2], box[1]), box[2:], (box[0], box[3])])
            fill_polygon(canvas, points, colour, 1.0)


def poly(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`poly #c alpha x y x y ...`: any polygon."""
    h, w = canvas.shape[:2]
    fill_polygon(canvas, np.array(v[1:]).reshape(-1, 2) * (w, h), colour, v[0])


def border(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`border #c inset width`: a painted line along the edge."""
    h, w = canvas.shape[:2]
    a, b = round(v[0] * h), max(1, round(v[1] * h))
    for part in (
        canvas[a : a + b, a : w - a],
        canvas[h - a - b : h - a, a : w - a],
        canvas[a : h - a, a : a + b],
        canvas[a : h - a, w - a - b : w - a],
    ):
        _lay(part, colour, 0.95)


def stripes(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`stripes #c y0 y1 count [alpha [x0 x1]]`: lines of one width with gaps between."""
    step = (v[1] - v[0]) / (2 * v[2] - 1)
    for i in range(int(v[2])):
        band(canvas, colour, [v[0] + 2 * i * step, v[0] + (2 * i + 1) * step, *v[3:]], rng)


def arc(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`arc #c x y rx ry width [alpha]`: an upper half ring, as of a rainbow (rx in widths)."""
    h, w = canvas.shape[:2]
    angles = np.linspace(np.pi, 2 * np.pi, 30)
    ring: list[NDArray[np.float64]] = []
    for grow, order in ((0.0, 1), (v[4] * h, -1)):
        rx, ry = v[2] * w - grow, v[3] * h - grow
        points = np.stack([v[0] * w + rx * np.cos(angles), v[1] * h + ry * np.sin(angles)], 1)
        ring.append(points[::order])
    fill_polygon(canvas, np.concatenate(ring), colour, v[5] if len(v) > 5 else 1.0)


def checks(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`checks #c x0 x1 y0 y1 columns rows`: a slanting chequer."""
    h, w = canvas.shape[:2]
    dx, dy = (v[1] - v[0]) / v[4], (v[3] - v[2]) / v[5]
    for i in range(int(v[4])):
        for k in range(int(v[5])):
            if (i + k) % 2 == 0:
                x, y = v[0] + i * dx + k * 0.01, v[2] + k * dy - i * 0.008
                points = np.array(
                    [[x, y], [x + dx, y - 0.01], [x + dx, y + dy - 0.01], [x, y + dy]]
                )
                fill_polygon(canvas, points * (w, h), colour, 0.95)


def clouds(canvas: Canvas, colour: Colour, v: Sequence[float], rng: np.random.Generator) -> None:
    """`clouds #c y0 y1 strength`: soft patches."""
    h, w = canvas.shape[:2]
    y0, y1 = round(v[0] * h), round(v[1] * h)
    field: NDArray[np.float32] = rng.uniform(-0.6, 1, (4, 9)).astype(np.float32)
    share = cv2.resize(field, (w, y1 - y0), interpolation=cv2.INTER_LINEAR)
    part = canvas[y0:y1]
    weight = np.clip(np.asarray(share, np.float32), 0, 1)[..., None] * np.float32(v[2])
    part += (np.array(colour, np.float32) - part) * weight


SHAPES: dict[str, Shape] = {
    "band": band, "glow": glow, "ridge": ridge, "hill": hill, "pines": pines, "blocks": skyline,
    "disc": disc, "rays": rays, "zia": zia, "poly": poly, "border": border, "stripes": stripes,
    "arc": arc, "checks": checks, "clouds": clouds,
}  # fmt: skip
