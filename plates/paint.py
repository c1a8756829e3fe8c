"""Colours, fades and filled polygons on a canvas: what scenes, words and trim are drawn with.

A canvas is float32, H x W x 3, RGB 0-255, and is changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.float32]
Colour = tuple[float, float, float]


def rgb(text: str) -> Colour:
    """`#rrggbb` as three floats 0-255."""
    return float(int(text[1:3], 16)), float(int(text[3:5], 16)), float(int(text[5:7], 16))


def random_colour(rng: np.random.Generator, low: float, high: float) -> Colour:
    """A colour whose luminance lies about in [low, high] (0-255)."""
    colour = rng.uniform(0, 255, 3)
    luminance = float(colour @ np.array([0.299, 0.587, 0.114])) + 1e-6
    wanted = rng.uniform(low, high)
    scaled = np.clip(colour * (wanted / luminance), 0, 255)
    grey = np.full(3, wanted)
    mix = rng.uniform(0.3, 1.0)
    red, green, blue = (float(v) for v in scaled * mix + grey * (1 - mix))
    return red, green, blue


def luminance(colour: Colour) -> float:
    """Rec. 601 luma of an RGB colour."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def fade(height: int, width: int, colours: Sequence[Colour], *, across: bool = False) -> Canvas:
    """A canvas that runs through `colours` from top to bottom (or from left to right)."""
    length = width if across else height
    stops = np.linspace(0, 1, max(2, len(colours)))
    table = np.array(colours if len(colours) > 1 else [colours[0], colours[0]])
    t = np.linspace(0, 1, length)
    line = np.stack([np.interp(t, stops, table[:, c]) for c in range(3)], axis=1)
    line = line.astype(np.float32)
    if across:
        return np.broadcast_to(line[None], (height, width, 3)).copy()
    return np.broadcast_to(line[:, None], (height, width, 3)).copy()


def blend(canvas: Canvas, mask: NDArray[np.uint8], colour: Colour, alpha: float) -> None:
    """Lay `colour` over `canvas` where `mask` (0-255) is set."""
    x, y, w, h = cv2.boundingRect(mask)  # most masks are small: touch only what they cover
    if w == 0:
        return
    part = canvas[y : y + h, x : x + w]
    share = mask[y : y + h, x : x + w].astype(np.float32)[..., None] * np.float32(alpha / 255)
    part += (np.array(colour, np.float32) - part) * share


def fill_polygon(canvas: Canvas, points: NDArray[np.float64], colour: Colour, alpha: float) -> None:
    """Lay `colour` over a polygon of corners (n, 2) in px; only the box around it is touched."""
    h, w = canvas.shape[:2]
    low = np.maximum(np.floor(points.min(0)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(points.max(0)) + 2, (w, h)).astype(int)
    if low[0] >= high[0] or low[1] >= high[1]:
        return
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    corners = np.round((points - low) * 16).astype(np.int32)  # 4 bits of sub-pixel place
    cv2.fillPoly(mask, [corners], 255, lineType=cv2.LINE_AA, shift=4)
    part = canvas[low[1] : high[1], low[0] : high[0]]
    share = mask.astype(np.float32)[..., None] * np.float32(alpha / 255)
    part += (np.array(colour, np.float32) - part) * share
