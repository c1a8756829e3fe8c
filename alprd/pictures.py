"""The two pictures of a read, cut from one frame so that they show one plate only.

R-460.5-b5: a picture of the surroundings may show a plate that must leave nothing behind, and
nobody knows yet which one that is. So *every* plate-like box but the read's own is painted over,
in the wide picture and in the margin of the plate picture, before either leaves the frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from alprd.frames import Box, Image
from alprd.ocr import crop
from alprd.profiles import ReaderSettings

_SAME: Final = 0.4
"""Overlap from which two boxes are two finds of one plate."""
MASK_COLOUR: Final = (64, 64, 64)


def plate_picture(image: Image, box: Box, others: Iterable[Box], settings: ReaderSettings) -> Image:
    """The plate with a small margin; a copy, other plates in the margin painted over."""
    x, y = box[0] - settings.plate_margin * box[2], box[1] - settings.plate_margin * box[3]
    left = min(max(round(x), 0), image.shape[1] - 1)
    top = min(max(round(y), 0), image.shape[0] - 1)
    picture: Image = crop(image, box, settings.plate_margin).copy()
    _mask(picture, box, others, 1.0, (left, top), settings.mask_margin)
    return picture


def wide_picture(image: Image, box: Box, others: Iterable[Box], settings: ReaderSettings) -> Image:
    """Vehicle and surroundings, at most ``wide_width`` wide, every other plate painted over."""
    height, width = image.shape[:2]
    scale = min(1.0, settings.wide_width / width)
    if scale < 1.0:
        size = (round(width * scale), max(1, round(height * scale)))
        picture: Image = np.asarray(
            cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
    else:
        picture = image.copy()
    _mask(picture, box, others, scale, (0, 0), settings.mask_margin)
    return picture


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return min(1.0, w * h / (a[2] * a[3] + b[2] * b[3] - w * h))


def _mask(
    picture: Image,
    box: Box,
    others: Iterable[Box],
    scale: float,
    origin: tuple[int, int],
    margin: float,
) -> None:
    """Paint every other box and its margin solid, then put the plate's own box back.

    A neighbour's margin, or a false box around a whole bumper, must not hide the plate that a
    deputy has to verify; what lies inside its own box is no other plate.
    """
    own = _pixels(picture, box, scale, origin)
    kept = picture[own].copy()
    for other in others:
        if overlap(box, other) < _SAME:
            picture[_pixels(picture, _grown(other, margin), scale, origin)] = MASK_COLOUR
    picture[own] = kept


def _grown(box: Box, margin: float) -> Box:
    x, y, w, h = box
    return x - margin * w, y - margin * h, w * (1 + 2 * margin), h * (1 + 2 * margin)


def _pixels(picture: Image, box: Box, scale: float, origin: tuple[int, int]) -> tuple[slice, slice]:
    """The pixels of ``picture`` that a box of the frame touches, rounded outwards."""
    x, y, w, h = box
    rows = slice(
        max(0, math.floor(y * scale) - origin[1]), max(0, math.ceil((y + h) * scale) - origin[1])
    )
    columns = slice(
        max(0, math.floor(x * scale) - origin[0]), max(0, math.ceil((x + w) * scale) - origin[0])
    )
    return rows, columns
