"""Textures of vehicle bodies: lamps, grilles, windows, bumpers, lettering, wheels.

Drawings are made in metres on the end and side views of the atlas (``sim.mesh.ATLAS``).  The last
channel of ``paint`` is gloss (glass 255, paint about 90, plastic about 20); ``glow`` marks what
shines when the lamps are on.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.bodies import (
    ATLAS,
    SOLID_DARK,
    SOLID_GLASS,
    SOLID_PAINT,
    SOLID_RUBBER,
)
from sim.fascia import draw_nose, draw_tail
from sim.mesh import Body
from sim.raster import Texture
from sim.sheet import DARK, GLASS, Colour, Sheet, shade

U8 = NDArray[np.uint8]

PAINTS: tuple[tuple[Colour, float], ...] = (
    ((226, 227, 226), 0.20), ((168, 172, 176), 0.16), ((96, 100, 105), 0.14),
    ((24, 25, 28), 0.17), ((132, 22, 26), 0.10), ((28, 58, 118), 0.10), ((38, 66, 54), 0.05),
    ((168, 152, 124), 0.05), ((62, 44, 36), 0.03),
)  # fmt: skip


def _side(s: Sheet, body: Body, paint: Colour, rng: np.random.Generator) -> None:
    p = body.plan
    zs = np.linspace(0, p.length, 90)
    roof = np.interp(zs, [z for z, _ in p.roof], [y for _, y in p.roof])
    belt = np.interp(zs, [z for z, _ in p.shoulder], [y for _, y in p.shoulder])
    s.box(0, p.bottom - 0.05, p.length, p.bottom + 0.13, DARK, 20)
    glass = (roof - belt) > 0.20
    if body.style == "pickup":
        glass &= zs > 2.0
    run = np.flatnonzero(glass)
    if len(run) > 3:
        i0, i1 = run[0] + 1, run[-1] - 1
        lower = [(float(z), float(y) + 0.02) for z, y in zip(zs[i0:i1], belt[i0:i1], strict=True)]
        upper = [(float(z), float(y) - 0.10) for z, y in zip(zs[i0:i1], roof[i0:i1], strict=True)]
        upper = [(z, max(y, lo[1] + 0.02)) for (z, y), lo in zip(upper, lower, strict=True)]
        s.poly(lower + upper[::-1], DARK, 160)
        pane = [(z, y + 0.02) for z, y in lower[1:-1]]
        pane += [(z, y - 0.02) for z, y in upper[-2:0:-1]]
        s.poly(pane, GLASS, 255)
        z0, z1 = lower[0][0], lower[-1][0]
        for f in (0.40, 0.72) if body.style != "pickup" else (0.45,):
            z = z0 + (z1 - z0) * f
            s.line([(z, float(belt.mean())), (z, float(roof.max()))], DARK, 0.07, 60)
    seam = shade(paint, 0.4)
    doors = [p.axles[0] + 0.50, p.axles[0] + 1.30, p.axles[1] - 0.55]
    if body.style == "pickup":
        doors = [2.05, 2.9, p.axles[1] - 0.60]
    for z in doors:
        s.line([(z, p.bottom + 0.14), (z, 1.0)], seam, 0.012)
    for z in doors[1:]:
        s.box(z - 0.28, 0.83, z - 0.10, 0.86, shade(paint, 0.62), 150, r=0.01)
    s.line([(0.2, 0.70), (p.length - 0.5, 0.62)], shade(paint, 1.2), 0.014, 110)
    s.line([(0.2, 0.67), (p.length - 0.5, 0.59)], shade(paint, 0.8), 0.016, 80)
    rear, front = float(body.lamps_rear[0, 1]), float(body.lamps_front[0, 1])
    s.box(0.0, rear - 0.09, 0.15, rear + 0.10, (130, 14, 16), 190, 130, r=0.03)
    s.box(p.length - 0.26, front - 0.05, p.length, front + 0.06, (150, 152, 154), 220, 90, r=0.03)
    for z in p.axles:
        r = p.wheel
        s.disc(z, r, r + 0.07, r + 0.08, (10, 10, 11), 10)
        s.disc(z, r, r, r, (24, 24, 25), 15)
        s.disc(z, r, r * 0.68, r * 0.68, (152, 154, 158), 150)
        spokes = int(rng.integers(5, 8))
        for k in range(spokes):
            a = 2 * np.pi * (k + 0.5) / spokes
            c, d = float(np.cos(a)), float(np.sin(a))
            s.poly([(z + r * 0.2 * c - r * 0.05 * d, r + r * 0.2 * d + r * 0.05 * c),
                    (z + r * 0.6 * c - r * 0.14 * d, r + r * 0.6 * d + r * 0.14 * c),
                    (z + r * 0.6 * c + r * 0.14 * d, r + r * 0.6 * d - r * 0.14 * c)],
                   (30, 30, 32), 60)  # fmt: skip
        s.disc(z, r, r * 0.13, r * 0.13, (110, 112, 116), 150)


def paint_body(body: Body, rng: np.random.Generator) -> Texture:
    """Draw the whole atlas of a body and its mip levels."""
    weights = np.array([w for _, w in PAINTS])
    base = PAINTS[int(rng.choice(len(PAINTS), p=weights / weights.sum()))][0]
    jitter = rng.uniform(0.88, 1.08)
    paint: Colour = shade(
        (base[0] * rng.uniform(0.96, 1.04), base[1], base[2] * rng.uniform(0.96, 1.04)), jitter
    )
    w, h = ATLAS.size
    sheet = np.empty((h, w, 4), np.uint8)
    sheet[:] = (*(int(c) for c in paint), 95)
    glow = np.zeros((h, w), np.uint8)
    length = body.plan.length
    # Ends are clipped to their own half so that a wide lamp never bleeds into the neighbour.
    for kind in ("tail", "nose"):
        s = Sheet(sheet, glow, kind, length)
        keep = sheet[: ATLAS.end_h].copy(), glow[: ATLAS.end_h].copy()
        (draw_tail if kind == "tail" else draw_nose)(s, body, paint, rng)
        other = slice(ATLAS.end_w, None) if kind == "tail" else slice(0, ATLAS.end_w)
        sheet[: ATLAS.end_h, other] = keep[0][:, other]
        glow[: ATLAS.end_h, other] = keep[1][:, other]
    _side(Sheet(sheet, glow, "side", length), body, paint, rng)
    _dirt(sheet, rng)
    for (x, y), rgb, gloss in (
        (SOLID_PAINT, paint, 95), (SOLID_DARK, DARK, 15), (SOLID_GLASS, GLASS, 255),
        (SOLID_RUBBER, (17.0, 17.0, 18.0), 5),
    ):  # fmt: skip
        x0, y0 = int(x) - 48, int(y) - 32
        sheet[y0 : y0 + 64, x0 : x0 + 110] = (*(int(c) for c in rgb), gloss)
        glow[y0 : y0 + 64, x0 : x0 + 110] = 0
    levels, glows = [sheet], [glow]
    for _ in range(4):
        size = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
        levels.append(
            np.asarray(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA), np.uint8)
        )
        glows.append(
            np.asarray(cv2.resize(glows[-1], size, interpolation=cv2.INTER_AREA), np.uint8)
        )
    return Texture(levels, glows)


def _dirt(sheet: U8, rng: np.random.Generator) -> None:
    """Road grime: stronger low on the body, dulling paint and gloss."""
    amount = float(rng.choice([0.0, 0.10, 0.22, 0.42], p=[0.35, 0.35, 0.2, 0.1]))
    if amount == 0.0:
        return
    a = ATLAS
    noise = cv2.resize(
        rng.uniform(0, 1, (20, 40)).astype(np.float32), a.size, interpolation=cv2.INTER_CUBIC
    )
    rows = np.arange(a.size[1], dtype=np.float32)
    y_end = (a.end_h - 12 - rows) / a.scale
    y_side = (a.end_h + a.side_h - 10 - rows) / a.side_scale
    y = np.where(rows < a.end_h, y_end, y_side)
    k = amount * np.clip(1.15 - y / 0.9, 0, 1)[:, None] * (0.5 + 0.7 * np.clip(noise, 0, 1))
    k = np.clip(k, 0, 0.8)
    clean, mud = 1 - k, np.array([112, 104, 92, 10], np.float32)
    planes = [
        (plane * clean + mud[c] * k).astype(np.uint8) for c, plane in enumerate(cv2.split(sheet))
    ]
    sheet[...] = cv2.merge(planes)
