"""Measures of vehicle bodies, and where the drawings of a body lie in its texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Style = Literal["sedan", "hatch", "suv", "pickup", "van"]

PLATE_W, PLATE_H = 0.305, 0.152
"""A US plate, metres (SAE J686: 12 x 6 inches)."""


@dataclass(frozen=True)
class BodyPlan:
    """Measures of a body style, metres; profiles are (z from the tail, y) pairs."""

    length: float
    width: float
    roof: tuple[tuple[float, float], ...]
    shoulder: tuple[tuple[float, float], ...]
    bottom: float
    tumble: float
    wheel: float
    axles: tuple[float, float]
    plate_rear: float
    plate_front: float


PLANS: dict[Style, BodyPlan] = {
    "sedan": BodyPlan(
        4.80, 1.84,
        ((0, 0.98), (0.10, 1.06), (0.55, 1.09), (0.85, 1.17), (1.35, 1.37), (1.75, 1.44),
         (2.45, 1.455), (2.85, 1.40), (3.70, 1.03), (4.35, 0.90), (4.70, 0.78), (4.80, 0.70)),
        ((0, 0.93), (0.5, 0.97), (2.4, 0.94), (3.7, 0.93), (4.5, 0.80), (4.8, 0.66)),
        0.22, 0.42, 0.33, (0.98, 3.82), 0.80, 0.47),
    "hatch": BodyPlan(
        4.15, 1.78,
        ((0, 0.95), (0.10, 1.04), (0.30, 1.20), (0.60, 1.40), (1.10, 1.48), (2.0, 1.50),
         (2.45, 1.44), (3.25, 1.06), (3.85, 0.92), (4.08, 0.80), (4.15, 0.72)),
        ((0, 0.92), (0.5, 0.96), (2.2, 0.94), (3.2, 0.94), (4.0, 0.80), (4.15, 0.68)),
        0.20, 0.40, 0.31, (0.70, 3.30), 0.74, 0.46),
    "suv": BodyPlan(
        4.75, 1.90,
        ((0, 1.02), (0.08, 1.12), (0.22, 1.36), (0.42, 1.62), (0.75, 1.71), (2.4, 1.74),
         (2.85, 1.66), (3.55, 1.18), (4.2, 1.08), (4.62, 0.98), (4.75, 0.86)),
        ((0, 1.00), (0.5, 1.06), (2.6, 1.06), (3.6, 1.08), (4.5, 0.96), (4.75, 0.82)),
        0.30, 0.34, 0.37, (0.92, 3.75), 0.86, 0.56),
    "pickup": BodyPlan(
        5.70, 2.00,
        ((0, 1.12), (0.06, 1.16), (1.85, 1.18), (1.98, 1.22), (2.08, 1.55), (2.22, 1.84),
         (2.6, 1.89), (3.55, 1.88), (3.85, 1.80), (4.40, 1.30), (5.2, 1.22), (5.58, 1.12),
         (5.70, 1.00)),
        ((0, 1.10), (1.9, 1.14), (3.0, 1.16), (4.4, 1.20), (5.4, 1.12), (5.7, 0.96)),
        0.38, 0.30, 0.40, (1.20, 4.70), 0.62, 0.60),
    "van": BodyPlan(
        5.05, 1.96,
        ((0, 1.05), (0.06, 1.20), (0.14, 1.50), (0.30, 1.70), (0.60, 1.77), (2.7, 1.78),
         (3.3, 1.66), (4.20, 1.14), (4.75, 0.98), (4.98, 0.86), (5.05, 0.76)),
        ((0, 1.02), (0.5, 1.04), (3.0, 1.00), (4.2, 1.02), (4.8, 0.88), (5.05, 0.72)),
        0.22, 0.28, 0.34, (0.95, 4.05), 0.78, 0.50),
}  # fmt: skip


@dataclass(frozen=True)
class Atlas:
    """Where the four drawings of a vehicle lie in its texture (pixels) and their scale."""

    scale: int = 300
    end_w: int = 640
    end_h: int = 600
    side_w: int = 1280
    side_h: int = 416
    side_scale: int = 210

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole texture."""
        return 2 * self.end_w, self.end_h + self.side_h + 64


ATLAS = Atlas()


SOLID_PAINT = (48.0, float(ATLAS.end_h + ATLAS.side_h + 32))
SOLID_DARK = (176.0, float(ATLAS.end_h + ATLAS.side_h + 32))
SOLID_GLASS = (304.0, float(ATLAS.end_h + ATLAS.side_h + 32))
SOLID_RUBBER = (432.0, float(ATLAS.end_h + ATLAS.side_h + 32))
"""Atlas pixels in the middle of the plain patches."""


def end_px(x: F32, y: F32, tail: bool) -> F32:
    """Atlas pixels of a point of an end view; seen from outside, x of the drawing runs right.

    From behind the vehicle's right side is on the right; from the front it is on the left.
    """
    a = ATLAS
    u = a.end_w / 2 + (x if tail else -x) * a.scale + (0 if tail else a.end_w)
    v = a.end_h - 12 - y * a.scale
    return np.stack([np.asarray(u, np.float32), np.asarray(v, np.float32)], -1)


def side_px(z: F32, y: F32, length: float) -> F32:
    """Atlas pixels of a point of the side view (tail at the left)."""
    a = ATLAS
    u = 24 + (z + length / 2) * a.side_scale
    v = a.end_h + a.side_h - 10 - y * a.side_scale
    return np.stack([np.asarray(u, np.float32), np.asarray(v, np.float32)], -1)
