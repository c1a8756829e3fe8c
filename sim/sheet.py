"""A view of a vehicle's texture that is drawn on in metres."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.bodies import ATLAS, end_px, side_px

U8 = NDArray[np.uint8]
Colour = tuple[float, float, float]
Points = list[tuple[float, float]]

DARK = (20.0, 21.0, 23.0)
GLASS = (22.0, 27.0, 31.0)


@dataclass
class Sheet:
    """A view of the atlas that is drawn on in metres (x to the right, y up)."""

    paint: U8
    glow: U8
    kind: str
    length: float

    def px(self, pts: Points) -> NDArray[np.int32]:
        a = np.asarray(pts, np.float32)
        if self.kind == "side":
            p = side_px(a[:, 0] - self.length / 2, a[:, 1], self.length)
        else:
            # Drawings are made as seen from outside: x runs to the viewer's right.
            p = end_px(a[:, 0] if self.kind == "tail" else -a[:, 0], a[:, 1], self.kind == "tail")
        return np.round(p * 16).astype(np.int32)

    def poly(self, pts: Points, rgb: Colour, gloss: int = 90, glow: int | None = None) -> None:
        p = self.px(pts)
        cv2.fillPoly(self.paint, [p], (*rgb, gloss), cv2.LINE_AA, 4)
        if glow is not None:
            cv2.fillPoly(self.glow, [p], float(glow), cv2.LINE_AA, 4)

    def both(self, pts: Points, rgb: Colour, gloss: int = 90, glow: int | None = None) -> None:
        self.poly(pts, rgb, gloss, glow)
        self.poly([(-x, y) for x, y in pts], rgb, gloss, glow)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, rgb: Colour, gloss: int = 90,
        glow: int | None = None, r: float = 0.0,
    ) -> None:  # fmt: skip
        self.poly(rounded(x0, y0, x1, y1, r), rgb, gloss, glow)

    def line(self, pts: Points, rgb: Colour, width_m: float, gloss: int = 40) -> None:
        scale = ATLAS.side_scale if self.kind == "side" else ATLAS.scale
        t = max(1, round(width_m * scale))
        cv2.polylines(self.paint, [self.px(pts)], False, (*rgb, gloss), t, cv2.LINE_AA, 4)

    def disc(
        self, x: float, y: float, rx: float, ry: float, rgb: Colour, gloss: int = 90,
        glow: int | None = None,
    ) -> None:  # fmt: skip
        a = np.linspace(0, 2 * np.pi, 40)
        self.poly([(x + rx * np.cos(t), y + ry * np.sin(t)) for t in a], rgb, gloss, glow)

    def text(self, x: float, y: float, height: float, text: str, rgb: Colour) -> None:
        scale = height * ATLAS.scale / 22.0
        (tw, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
        p = self.px([(x, y)])[0] / 16
        org = (round(float(p[0]) - tw / 2), round(float(p[1])))
        # A view keeps its own channel order; lettering is chrome, so it shines.
        cv2.putText(
            self.paint, text, org, cv2.FONT_HERSHEY_DUPLEX, scale, (*rgb, 150), 1, cv2.LINE_AA
        )


def rounded(x0: float, y0: float, x1: float, y1: float, r: float) -> Points:
    """Corner points of a rectangle with rounded corners."""
    r = min(r, abs(x1 - x0) / 2, abs(y1 - y0) / 2)
    if r <= 0:
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    out: Points = []
    for cx, cy, a0 in ((x1 - r, y1 - r, 0.0), (x0 + r, y1 - r, 0.5), (x0 + r, y0 + r, 1.0),
                       (x1 - r, y0 + r, 1.5)):  # fmt: skip
        for a in np.linspace(a0 * np.pi, (a0 + 0.5) * np.pi, 6):
            out.append((cx + r * float(np.cos(a)), cy + r * float(np.sin(a))))
    return out


def shade(rgb: Colour, k: float) -> Colour:
    """A colour made darker (k < 1) or lighter."""
    return (min(255.0, rgb[0] * k), min(255.0, rgb[1] * k), min(255.0, rgb[2] * k))
