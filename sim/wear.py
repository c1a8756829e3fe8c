"""Plates whose wear leaves them legible.

Dirt, snow and glare are drawn at random and now and then hide a character for good.  The truth
promises that a person can read a readable plate, so such a picture is drawn again.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

import plates
from sim.seeds import Split, stream

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

LEAST_CONTRAST = 0.55
"""Least share of the new plate's contrast that must be left in every strip of the number (of 77
plates looked at, the one with a lost character had 0.31, every other 0.81 or more)."""
_STRIPS = 12
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def contrast_left(new: U8, worn: U8) -> float:
    """Least regression slope of the worn on the new plate's luminance over strips of the number."""
    a, b = (image.astype(np.float32) @ _LUMA for image in (new, worn))
    height, width = a.shape
    rows = slice(int(height * 0.30), int(height * 0.78))
    edges = np.linspace(width * 0.06, width * 0.94, _STRIPS + 1).astype(int)
    left = [1.0]
    for x0, x1 in itertools.pairwise(edges):
        p, q = a[rows, x0:x1], b[rows, x0:x1]
        if float(p.std()) > 14.0:
            left.append(float(((p - p.mean()) * (q - q.mean())).mean() / p.var()))
    return min(left)


def plate_picture(
    spec: plates.PlateSpec, split: Split, seed: int, vehicle: int, fonts: plates.FontPool
) -> U8:
    """The picture (H, W, 3) of a vehicle's plate, worn but legible; equal for equal arguments."""
    for attempt in range(8):
        # The same stream draws the same plate up to its wear, so the two can be compared.
        names = ("plate", vehicle) if attempt == 0 else ("plate", vehicle, attempt)
        new, worn = (
            plates.render(spec, stream(split, seed, *names), fonts=fonts, wear=wear).image
            for wear in (False, True)
        )
        if contrast_left(new, worn) >= LEAST_CONTRAST:
            return worn
    return new
