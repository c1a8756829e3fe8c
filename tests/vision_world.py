"""A world simple enough to be read exactly, for tests of the pipeline around the models.

Its plates and its two models are :mod:`bench.tiny_models`'s.
"""

from __future__ import annotations

import cv2
import numpy as np

from alprd.frames import Detection, Image
from bench.tiny_models import (
    RED,
    REGIONS,
    SLOTS,
    STEP,
    WIDEN,
    draw_plate,
    write_detector,
    write_ocr,
)

__all__ = [
    "BACKGROUND",
    "RED",
    "REGIONS",
    "SLOTS",
    "STEP",
    "WIDEN",
    "RedBoxDetector",
    "blank",
    "draw_plate",
    "write_detector",
    "write_ocr",
]

BACKGROUND = 60


def blank(width: int = 640, height: int = 360) -> Image:
    """A textured picture without plates."""
    ramp = np.linspace(BACKGROUND - 20, BACKGROUND + 20, width, dtype=np.uint8)
    return np.repeat(np.tile(ramp, (height, 1))[:, :, None], 3, axis=2).copy()


class RedBoxDetector:
    """Every red-framed box of a picture, as the one-box ONNX detector cannot tell several."""

    def __init__(self, score: float = 0.9) -> None:
        self.score = score
        self.calls = 0

    def detect(self, image: Image) -> list[Detection]:
        self.calls += 1
        blue, green, red = (image[:, :, c].astype(np.int16) for c in range(3))
        mask = ((red - green > 128) & (red - blue > 128)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        found = []
        for left, top, width, height, area in stats[1:]:
            if area > 20 and width > 8:
                box = (float(left), float(top), float(width), float(height))
                found.append(Detection(box, self.score))
        return found
