"""The two ends of a vehicle: lamps, grille, windows, bumpers, lettering, plate niche."""

from __future__ import annotations

import numpy as np

from sim.bodies import PLATE_H, PLATE_W
from sim.mesh import Body
from sim.sheet import DARK, GLASS, Colour, Points, Sheet, rounded, shade

BADGES = (
    "NORDEN", "LAKER", "TALON GT", "AWD", "VENTO", "PRAIRIE", "HYBRID", "BOREAL", "4X4",
    "ORBIS", "CALDERA", "SPORT", "KESTREL", "V6", "TERRANE", "LOON", "LIMITED",
)  # fmt: skip
"""Lettering on boots and tailgates, of makes that do not exist: what a reader must not report."""


def _window(s: Sheet, pts: Points, rng: np.random.Generator, front: bool) -> None:
    """Glass with what one guesses behind it: head rests, a wheel, the far window's light."""
    s.poly(pts, DARK, 120)
    xs, ys = [p[0] for p in pts], [p[1] for p in pts]
    cx, cy = sum(xs) / len(xs), sum(ys) / len(ys)
    inner = [(cx + (x - cx) * 0.95, cy + (y - cy) * 0.92) for x, y in pts]
    s.poly(inner, GLASS, 255)
    lo, hi = min(ys), max(ys)
    span, wide = hi - lo, max(xs) - min(xs)
    far = [(cx + (x - cx) * 0.72, cy + 0.10 * span + (y - cy) * 0.45) for x, y in pts]
    s.poly(far, (58, 64, 68), 255)
    for x in (-0.24, 0.24):
        s.box(cx + x * wide - 0.13, lo + 0.08 * span, cx + x * wide + 0.13, lo + 0.62 * span,
              (13, 14, 15), 235, r=0.06)  # fmt: skip
        s.box(cx + x * wide - 0.075, lo + 0.58 * span, cx + x * wide + 0.075, lo + 0.80 * span,
              (15, 16, 17), 235, r=0.04)  # fmt: skip
    if front:
        s.box(cx - wide * 0.42, lo + 0.05 * span, cx + wide * 0.42, lo + 0.16 * span, (28, 28, 29),
              200, r=0.03)  # fmt: skip
        s.disc(cx + wide * 0.23, lo + 0.2 * span, 0.15, 0.06, (10, 10, 11), 220)
        s.box(cx - 0.10, hi - 0.22 * span, cx + 0.10, hi - 0.10 * span, (12, 12, 13), 220, r=0.02)
    else:
        for k in range(1, 6):
            y = lo + span * (0.12 + 0.13 * k)
            s.line([(cx - wide * 0.4, y), (cx + wide * 0.4, y)], (34, 36, 36), 0.004, 240)
        if rng.random() < 0.3:
            x = cx + wide * 0.3 * rng.choice([-1, 1])
            s.box(x - 0.05, lo + 0.1 * span, x + 0.05, lo + 0.25 * span,
                  tuple(rng.uniform(80, 235, 3)), 200, r=0.01)  # fmt: skip


def _recess(s: Sheet, y: float, rng: np.random.Generator, tail: bool, paint: Colour) -> None:
    """The niche or bracket a plate sits in, and the lamps above it."""
    hw, hh = PLATE_W / 2, PLATE_H / 2
    if tail:
        kx, ky = rng.uniform(0.05, 0.16), rng.uniform(0.03, 0.05)
        s.box(-hw - kx, y - hh - ky, hw + kx, y + hh + ky + 0.03, shade(paint, 0.55), 40, r=0.04)
        s.box(-hw - kx + 0.012, y - hh - ky, hw + kx - 0.012, y + hh + ky + 0.02,
              shade(paint, 0.68), 50, r=0.03)  # fmt: skip
        for x in (-0.09, 0.09):
            s.box(x - 0.03, y + hh + 0.022, x + 0.03, y + hh + 0.034, (235, 230, 210), 60, 190)
    else:
        s.box(-hw - 0.012, y - hh - 0.012, hw + 0.012, y + hh + 0.012, DARK, 15, r=0.01)


def draw_tail(s: Sheet, body: Body, paint: Colour, rng: np.random.Generator) -> None:
    """Draw the view from behind."""
    p = body.plan
    half, pr = p.width / 2, p.plate_rear
    top = p.roof[-1][1]
    deck = float(np.interp(0.1, [z for z, _ in p.roof], [y for _, y in p.roof]))
    roof = max(y for _, y in p.roof)
    tall = body.style in ("suv", "van", "hatch", "pickup")
    bumper = p.bottom + 0.30
    black = body.style in ("suv", "pickup") or rng.random() < 0.35
    chrome = body.style == "pickup" and rng.random() < 0.6
    trim: Colour = (150, 152, 154) if chrome else (DARK if black else shade(paint, 0.93))
    s.poly([(-half, p.bottom), (half, p.bottom), (half, p.bottom + 0.12), (-half, p.bottom + 0.12)],
           DARK, 12)  # fmt: skip
    s.box(-half, p.bottom + 0.10, half, bumper, trim, 160 if chrome else 30 if black else 85)
    s.line([(-half, bumper), (half, bumper)], shade(paint, 0.35), 0.012)
    s.line([(-half, bumper - 0.02), (half, bumper - 0.02)], shade(trim, 1.25), 0.006)
    for sign in (-1, 1):
        s.box(sign * half * 0.86, p.bottom + 0.14, sign * half * 0.64, p.bottom + 0.175,
              (120, 12, 12), 120, 30)  # fmt: skip
    if rng.random() < 0.6:
        side = rng.choice([-1, 1])
        s.disc(side * half * 0.62, p.bottom + 0.045, 0.055, 0.032, (130, 130, 132), 180)
        s.disc(side * half * 0.62, p.bottom + 0.045, 0.040, 0.022, (6, 6, 6), 10)
    # Lid or tailgate seams.
    wx = half * rng.uniform(0.60, 0.68)
    seam = shade(paint, 0.38)
    s.line([(-wx, deck - 0.02), (-wx, bumper + 0.05), (wx, bumper + 0.05), (wx, deck - 0.02)],
           seam, 0.009)  # fmt: skip
    if pr > bumper:
        crease = pr + PLATE_H * 0.95
        s.line([(-half * 0.9, crease), (half * 0.9, crease)], shade(paint, 1.18), 0.010, 110)
        s.line([(-half * 0.9, crease - 0.018), (half * 0.9, crease - 0.018)], shade(paint, 0.72),
               0.012, 80)  # fmt: skip
    # Window.
    if body.style == "pickup":
        lo, hi = deck + 0.06, roof - 0.10
        _window(s, [(-half * 0.66, lo), (half * 0.66, lo), (half * 0.60, hi), (-half * 0.60, hi)],
                rng, False)  # fmt: skip
        s.line([(-half * 0.95, deck - 0.02), (half * 0.95, deck - 0.02)], seam, 0.03)
    else:
        lo = deck + (0.05 if body.style == "sedan" else 0.02)
        hi = roof - (0.05 if body.style == "sedan" else 0.12)
        _window(s, [(-half * 0.74, lo), (half * 0.74, lo), (half * 0.60, hi), (-half * 0.60, hi)],
                rng, False)  # fmt: skip
        if tall:
            s.line([(0, lo + 0.02), (half * 0.38, lo + 0.07)], (8, 8, 8), 0.016, 20)
            s.box(-0.16, roof - 0.075, 0.16, roof - 0.055, (150, 16, 18), 120, 110, r=0.008)
        else:
            s.box(-0.15, lo + 0.02, 0.15, lo + 0.035, (120, 12, 14), 160, 110, r=0.006)
    _tail_lamps(s, body, rng, deck)
    _recess(s, pr, rng, True, trim if pr < bumper else paint)
    ink: Colour = (206, 208, 210) if sum(paint) < 540 else (88, 90, 94)
    badge = bumper + 0.16 if pr > bumper + 0.2 else (bumper + deck) / 2 + 0.1
    up = deck - 0.07 if pr + 0.15 < deck - 0.07 else badge
    s.disc(0, up, 0.055, 0.042, (196, 198, 200), 220)
    s.disc(0, up, 0.040, 0.029, shade(paint, 0.5), 120)
    if rng.random() < 0.8:
        s.text(-half * 0.44, up - 0.03, 0.045, str(rng.choice(BADGES)), ink)
    if rng.random() < 0.5:
        s.text(half * 0.46, up - 0.03, 0.036, str(rng.choice(BADGES)), ink)
    if body.style == "pickup" and rng.random() < 0.5:
        s.text(0, (bumper + deck) / 2 + 0.02, 0.11, str(rng.choice(BADGES[:6])),
               shade(paint, 0.62))  # fmt: skip
    if rng.random() < 0.25:
        x = half * rng.choice([-0.5, 0.5])
        s.box(x - 0.13, bumper - 0.13, x + 0.13, bumper - 0.05, (222, 222, 214), 40)
        s.text(x, bumper - 0.105, 0.04, str(rng.choice(["GO LOONS", "LAKE LIFE", "PINE CO-OP"])),
               (40, 60, 120))  # fmt: skip
    _ = top


def _tail_lamps(s: Sheet, body: Body, rng: np.random.Generator, deck: float) -> None:
    half = body.plan.width / 2
    y = float(body.lamps_rear[0, 1])
    red: Colour = (148, 14, 18)
    deep: Colour = (92, 8, 12)
    style = int(rng.integers(0, 3))
    if body.style in ("pickup", "van") or (body.style == "suv" and style == 0):
        x0, x1 = half * 0.80, half * 1.0
        lo, hi = y - 0.17, y + 0.20
        s.both([(x0, lo), (x1, lo), (x1, hi), (x0 + 0.02, hi)], deep, 190, 70)
        s.both(rounded(x0 + 0.015, y + 0.02, x1, hi - 0.02, 0.02), red, 200, 230)
        s.both(rounded(x0 + 0.015, y - 0.07, x1, y, 0.01), (196, 196, 190), 200, 20)
        s.both(rounded(x0 + 0.015, lo + 0.02, x1, y - 0.09, 0.01), (180, 84, 22), 200, 20)
    elif style == 1:
        lo, hi = y - 0.055, min(y + 0.07, deck - 0.03)
        s.both([(half * 0.36, lo + 0.03), (half, lo - 0.02), (half, hi + 0.02), (half * 0.36, hi)],
               deep, 200, 80)  # fmt: skip
        x = half * 0.40
        s.both([(x, hi - 0.035), (half, hi - 0.02), (half, hi), (x, hi - 0.015)],
               (190, 20, 24), 200, 250)  # fmt: skip
        s.both(
            rounded(half * 0.52, lo + 0.025, half * 0.66, hi - 0.045, 0.01), (196, 196, 190), 200
        )
        if rng.random() < 0.4:
            s.box(-half * 0.36, lo + 0.05, half * 0.36, hi - 0.03, deep, 200, 60)
    else:
        lo, hi = y - 0.10, min(y + 0.10, deck - 0.02)
        s.both([(half * 0.58, lo + 0.04), (half, lo - 0.03), (half, hi + 0.03), (half * 0.60, hi)],
               deep, 200, 90)  # fmt: skip
        x = half * 0.64
        s.both([(x, (lo + hi) / 2), (half, lo + 0.05), (half, hi), (x, hi - 0.02)],
               red, 200, 230)  # fmt: skip
        s.both(rounded(half * 0.66, lo + 0.045, half * 0.80, (lo + hi) / 2 - 0.01, 0.01),
               (198, 198, 192), 200)  # fmt: skip


def draw_nose(s: Sheet, body: Body, paint: Colour, rng: np.random.Generator) -> None:
    """Draw the view from the front."""
    p = body.plan
    half = p.width / 2
    lamp = float(body.lamps_front[0, 1])
    edge = p.roof[-1][1]
    bonnet = float(np.interp(p.length - 1.0, [z for z, _ in p.roof], [y for _, y in p.roof]))
    roof = max(y for _, y in p.roof)
    bumper = p.bottom + 0.30
    black = body.style == "suv" and rng.random() < 0.5
    trim: Colour = DARK if black else shade(paint, 0.95)
    chrome: Colour = (186, 188, 190)
    s.box(-half, p.bottom, half, p.bottom + 0.10, DARK, 12)
    s.box(-half, p.bottom + 0.08, half, bumper, trim, 30 if black else 90)
    wide = half * rng.uniform(0.42, 0.72)
    s.poly([(-wide - 0.08, p.bottom + 0.05), (wide + 0.08, p.bottom + 0.05), (wide, bumper - 0.10),
            (-wide, bumper - 0.10)], (12, 12, 13), 20)  # fmt: skip
    for k in range(3):
        y = p.bottom + 0.08 + k * 0.035
        s.line([(-wide, y), (wide, y)], (38, 38, 40), 0.008)
    # Grille between the lamps.
    g_hi, g_lo = min(edge - 0.015, lamp + 0.07), max(bumper + 0.02, lamp - rng.uniform(0.10, 0.2))
    gx = half * rng.uniform(0.40, 0.58)
    shape = [(-gx, g_hi), (gx, g_hi), (gx * 0.86, g_lo), (-gx * 0.86, g_lo)]
    s.poly([(x * 1.04, y + (0.012 if y > g_lo + 0.01 else -0.012)) for x, y in shape],
           chrome if rng.random() < 0.5 else DARK, 180)  # fmt: skip
    s.poly(shape, (14, 14, 15), 40)
    kind = int(rng.integers(0, 3))
    bars = int(rng.integers(3, 7))
    for k in range(1, bars):
        y = g_lo + (g_hi - g_lo) * k / bars
        c = chrome if kind == 0 else (52.0, 53.0, 55.0)
        s.line([(-gx * 0.92, y), (gx * 0.92, y)], c, 0.011, 160)
    if kind == 2:
        for k in range(-9, 10):
            s.line([(gx * 0.95 * k / 9, g_lo + 0.01), (gx * 0.95 * k / 9, g_hi - 0.01)],
                   (46, 47, 49), 0.009)  # fmt: skip
    mid = (g_lo + g_hi) / 2
    s.disc(0, mid, 0.07, 0.05, chrome, 220)
    s.disc(0, mid, 0.052, 0.036, (30, 32, 40), 150)
    s.text(0, mid - 0.02, 0.045, str(rng.choice(list("NVKTBO"))), (200, 202, 204))
    _head_lamps(s, half, lamp, edge, rng)
    for sign in (-1, 1):
        if rng.random() < 0.9:
            y = p.bottom + 0.14
            s.disc(sign * half * 0.80, y, 0.085, 0.06, (16, 16, 17), 30)
            s.disc(sign * half * 0.80, y, 0.045, 0.036, (190, 192, 190), 220, 40)
    # Bonnet: shut line, creases.
    s.line([(-half * 0.82, edge - 0.005), (half * 0.82, edge - 0.005)], shade(paint, 0.35), 0.010)
    for sign in (-1, 1):
        s.line([(sign * half * 0.45, edge + 0.02), (sign * half * 0.62, bonnet + 0.02)],
               shade(paint, 0.8), 0.010)  # fmt: skip
    s.box(-half * 0.78, bonnet - 0.005, half * 0.78, bonnet + 0.025, (16, 16, 17), 30)
    _window(s, [(-half * 0.80, bonnet + 0.03), (half * 0.80, bonnet + 0.03),
                (half * 0.64, roof - 0.06), (-half * 0.64, roof - 0.06)], rng, True)  # fmt: skip
    s.line([(-half * 0.5, bonnet + 0.05), (0.02, bonnet + 0.035)], (8, 8, 8), 0.014, 20)
    s.line([(0.0, bonnet + 0.05), (half * 0.5, bonnet + 0.035)], (8, 8, 8), 0.014, 20)
    _recess(s, p.plate_front, rng, False, paint)


def _head_lamps(s: Sheet, half: float, lamp: float, edge: float, rng: np.random.Generator) -> None:
    style = int(rng.integers(0, 3))
    hi = min(lamp + 0.085, edge + 0.02)
    if style == 0:
        outline = [(half * 0.60, lamp - 0.06), (half * 0.98, lamp - 0.03), (half * 1.0, hi + 0.03),
                   (half * 0.58, hi)]  # fmt: skip
    elif style == 1:
        outline = [(half * 0.54, lamp - 0.03), (half * 0.96, lamp - 0.075), (half * 1.0, hi),
                   (half * 0.56, hi - 0.03)]  # fmt: skip
    else:
        outline = rounded(half * 0.62, lamp - 0.09, half * 0.97, hi, 0.03)
    s.both(outline, (12, 12, 13), 120)
    cx = sum(x for x, _ in outline) / len(outline)
    cy = sum(y for _, y in outline) / len(outline)
    s.both([(cx + (x - cx) * 0.9, cy + (y - cy) * 0.86) for x, y in outline], (122, 126, 130), 235,
           25)  # fmt: skip
    for k, glow in ((0.86, 255), (0.70, 120)):
        for sign in (-1, 1):
            s.disc(sign * half * k, cy, 0.058, 0.052, (52, 54, 58), 200)
            s.disc(sign * half * k, cy, 0.044, 0.040, (226, 228, 228), 255, glow)
    s.both([(half * 0.93, cy - 0.03), (half * 0.99, cy - 0.02), (half * 0.99, cy + 0.04),
            (half * 0.94, cy + 0.03)], (196, 104, 30), 200, 40)  # fmt: skip
