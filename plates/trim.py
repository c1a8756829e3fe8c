"""What is on and around a plate besides its design: stickers, bolts, frames, dirt and snow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from plates.fonts import FontPool, line
from plates.paint import Canvas, Colour, blend, luminance, random_colour
from plates.pixels import blur, resized

_FRAME_WORDS = (
    "LAKES AUTO", "NORTHWOODS MOTORS", "PRAIRIE CHEVY", "OTTER TRUCK CENTER", "FORD", "TOYOTA",
    "DRIVEN BY QUALITY", "LAKESHORE", "BIG PINE RV", "www.plainsmotors.example", "SMITHVILLE",
    "GO TEAM", "ALUMNI", "MY OTHER CAR", "STATE UNIVERSITY", "HARBOR HONDA", "SUBARU", "USA",
)  # fmt: skip
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
Box = tuple[int, int, int, int]


def put_text(
    canvas: Canvas,
    mask: NDArray[np.uint8],
    x: float,
    y: float,
    colour: Colour,
    alpha: float = 1.0,
    emboss: float = 0.0,
) -> None:
    """Lay a text's coverage on the canvas with its upper left corner at (x, y); clips at edges.
    `emboss` > 0 raises it, lit from above."""
    h, w = canvas.shape[:2]
    x0, y0 = round(x), round(y)
    left, top = max(0, x0), max(0, y0)
    right, bottom = min(w, x0 + mask.shape[1]), min(h, y0 + mask.shape[0])
    if right <= left or bottom <= top:
        return
    part = canvas[top:bottom, left:right]
    inside = mask[top - y0 : bottom - y0, left - x0 : right - x0]
    blend(part, inside, colour, alpha)
    if emboss > 0 and min(inside.shape) > 4:
        height = np.asarray(blur(inside, 1.5), np.float32)
        slope: NDArray[np.float32] = np.zeros(height.shape, np.float32)
        slope[1:-1] = height[2:] - height[:-2]
        canvas[top:bottom, left:right] += np.float32(0.5 * emboss) * slope[..., None]


def raise_up(
    canvas: Canvas, mask: NDArray[np.uint8], rng: np.random.Generator, strength: float
) -> None:
    """Light and shade on the flanks of raised characters, lit from a random side above."""
    x, y, w, h = cv2.boundingRect(mask)
    angle, sigma = float(rng.uniform(-2.6, -0.5)), float(rng.uniform(2.0, 4.0))
    if w == 0:
        return
    top, left, bottom, right = max(0, y - 8), max(0, x - 8), y + h + 8, x + w + 8
    height = blur(mask[top:bottom, left:right], sigma).astype(np.float32)
    scale = 75 * strength / 255
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=scale * np.cos(angle))
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=scale * np.sin(angle))
    canvas[top:bottom, left:right] += np.asarray(cv2.add(across, down), np.float32)[..., None]


def words(
    fonts: FontPool, rng: np.random.Generator, text: str, face: str, height: int, max_width: int
) -> NDArray[np.uint8]:
    """A word in a face of the kind `face` (plain, script, serif, slab), `height` px high, squeezed
    to `max_width` if longer."""
    pool = fonts.of_kind(face)
    chosen = pool[int(rng.integers(len(pool)))]
    # Block letters stand apart on plates, now and then far apart; script letters join.
    wide = height * (0.3 if face == "plain" else 0.15)
    spacing = int(rng.uniform(0, 1) ** 2 * wide) if face != "script" else 0
    mask = line(chosen.path, text, height, spacing)
    if mask.shape[1] > max_width:
        mask = resized(mask, max_width, mask.shape[0], cv2.INTER_AREA)
    return mask


def sticker(canvas: Canvas, rng: np.random.Generator, fonts: FontPool, x: int, y: int) -> None:
    """A month or year sticker with its upper left corner at (x, y)."""
    h, w = canvas.shape[:2]
    width, height = int(w * rng.uniform(0.06, 0.11)), int(h * rng.uniform(0.09, 0.15))
    x, y = int(np.clip(x, 0, w - width)), int(np.clip(y, 0, h - height))
    patch = canvas[y : y + height, x : x + width]
    colour = random_colour(rng, 50, 240)
    patch += (np.array(colour, np.float32) - patch) * np.float32(rng.uniform(0.8, 1.0))
    kind = rng.random()
    text = str(rng.integers(10, 32)) if kind < 0.55 else _MONTHS[int(rng.integers(12))]
    if kind > 0.85:
        text = str(rng.integers(2010, 2030))
    dark = luminance(colour) > 130
    ink: Colour = (20, 20, 25) if dark else (245, 245, 245)
    size = int(height * rng.uniform(0.45, 0.75))
    mask = words(fonts, rng, text, "plain", max(6, size), int(width * 0.85))
    put_text(patch, mask, (width - mask.shape[1]) / 2, (height - mask.shape[0]) / 2, ink)
    if rng.random() < 0.4:
        small = line(fonts.words[0].path, str(rng.integers(1_000_000, 9_999_999)), 5)
        put_text(patch, small, 2, height - 6, ink, 0.8)


def stickers(canvas: Canvas, rng: np.random.Generator, fonts: FontPool) -> None:
    """Stickers in some of the corners."""
    h, w = canvas.shape[:2]
    places = [(0.03, 0.04), (0.9, 0.04), (0.03, 0.83), (0.88, 0.84), (0.14, 0.84), (0.78, 0.05)]
    for at in rng.permutation(len(places))[
        : int(rng.choice([0, 1, 2, 3], p=[0.25, 0.3, 0.35, 0.1]))
    ]:
        x, y = places[int(at)]
        shift = rng.normal(0, 0.012, 2)
        sticker(canvas, rng, fonts, int((x + shift[0]) * w), int((y + shift[1]) * h))


def bolts(canvas: Canvas, rng: np.random.Generator) -> None:
    """Holes and bolt heads at the usual four places (often only the upper two used)."""
    h, w = canvas.shape[:2]
    used = rng.random() < 0.75
    x_share, y_share = float(rng.uniform(0.1, 0.22)), float(rng.uniform(0.06, 0.1))
    for i, (x, y) in enumerate(
        [
            (x_share, y_share),
            (1 - x_share, y_share),
            (x_share, 1 - y_share),
            (1 - x_share, 1 - y_share),
        ]
    ):
        if i >= 2 and rng.random() < 0.5:
            continue
        centre = (int(w * x), int(h * y))
        radius = int(rng.integers(4, 10))
        mask = np.zeros((h, w), np.uint8)
        if used and rng.random() < 0.85:
            grey = float(rng.uniform(30, 215))
            cv2.circle(mask, centre, radius, 255, -1, cv2.LINE_AA)
            blend(canvas, mask, (grey, grey, grey), 0.95)
            mask[:] = 0
            cv2.circle(
                mask,
                (centre[0] - radius // 3, centre[1] - radius // 3),
                max(1, radius // 3),
                255,
                -1,
            )
            blend(canvas, mask, (min(255, grey + 60),) * 3, 0.7)
        else:
            cv2.ellipse(
                mask, centre, (radius + 4, max(3, radius // 2)), 0, 0, 360, 255, -1, cv2.LINE_AA
            )
            blend(canvas, mask, (35, 35, 38), 0.85)


def rim(canvas: Canvas, rng: np.random.Generator) -> None:
    """The raised edge of the sheet, as a light and a dark line."""
    h, w = canvas.shape[:2]
    inset = int(rng.integers(2, 7))
    for a, step in ((inset, np.float32(24)), (inset + 2, np.float32(-28))):
        for y in (a, h - a - 1):
            canvas[y, a : w - a] += step
        for x in (a, w - a - 1):
            canvas[a : h - a, x] += step


def frame(canvas: Canvas, rng: np.random.Generator, fonts: FontPool, serial: Box) -> None:
    """A dealer's frame around the plate; it never covers the number (`serial` = its box)."""
    h, w = canvas.shape[:2]
    _, y0, _, y1 = serial
    # Most frames leave the state's name open; some cover half or all of it, above or below.
    covers = rng.random(2) < 0.28
    shares = [
        float(rng.uniform(0.08, 0.2) if cover else rng.uniform(0.015, 0.07)) for cover in covers
    ]
    top = int(min(shares[0] * h, max(2, y0 - 4)))
    bottom = int(min(shares[1] * h, max(2, h - y1 - 4)))
    side = int(rng.uniform(0.01, 0.035) * w)
    colour = random_colour(rng, 8, 50)
    if rng.random() < 0.35:  # chrome, seldom a bright colour
        grey = float(rng.uniform(120, 225))
        colour = (grey, grey, grey) if rng.random() < 0.75 else random_colour(rng, 90, 220)
    mask = np.zeros((h, w), np.uint8)
    mask[:top], mask[h - bottom :], mask[:, :side], mask[:, w - side :] = 255, 255, 255, 255
    blend(canvas, mask, colour, 1.0)
    ink: Colour = (235, 235, 235) if luminance(colour) < 110 else (25, 25, 25)
    for at, thick in ((0, top), (h - bottom, bottom)):
        if thick > 16 and rng.random() < 0.7:
            text = _FRAME_WORDS[int(rng.integers(len(_FRAME_WORDS)))]
            size = max(7, int(thick * rng.uniform(0.4, 0.65)))
            text_mask = words(fonts, rng, text, "plain", size, int(w * 0.8))
            put_text(
                canvas,
                text_mask,
                (w - text_mask.shape[1]) / 2,
                at + (thick - text_mask.shape[0]) / 2,
                ink,
            )


def _clouds(rng: np.random.Generator, h: int, w: int, cells: int) -> NDArray[np.float32]:
    field = rng.normal(0, 1, (max(2, cells // 2), cells)).astype(np.float32)
    return resized(field, w, h, cv2.INTER_CUBIC).astype(np.float32)


def wear_off(canvas: Canvas, rng: np.random.Generator, amount: float) -> None:
    """Dirt, road film, scratches, rust and snow; `amount` 0-1. Characters stay readable by eye up
    to about 0.8."""
    h, w = canvas.shape[:2]
    if rng.random() < 0.55:
        film = np.clip(_clouds(rng, h, w, int(rng.integers(3, 10))) * 0.5 + 0.25, 0, 1)
        film *= np.linspace(rng.uniform(0, 1), 1, h, dtype=np.float32)[:, None]
        grey = float(rng.uniform(50, 180))
        shade = (grey * 1.1, grey, grey * 0.85)  # road salt to mud
        blend(canvas, (film * 255).astype(np.uint8), shade, float(amount * rng.uniform(0.1, 0.55)))
    if rng.random() < 0.35 * amount + 0.1:
        specks = (rng.random((h // 3, w // 3)) < 0.007 * amount).astype(np.uint8) * 255
        specks = np.asarray(cv2.dilate(specks, np.ones((2, 2), np.uint8)), np.uint8)
        specks = resized(specks, w, h)
        grey = float(rng.uniform(30, 130))
        blend(canvas, specks, (grey * 1.1, grey, grey * 0.85), 0.7)
    if rng.random() < 0.3 * amount + 0.05:
        mask = np.zeros((h, w), np.uint8)
        for _ in range(int(rng.integers(1, 9))):
            start = (int(rng.integers(w)), int(rng.integers(h)))
            end = (start[0] + int(rng.normal(0, 60)), start[1] + int(rng.normal(0, 30)))
            cv2.line(mask, start, end, 255, int(rng.integers(1, 3)), cv2.LINE_AA)
        blend(canvas, mask, random_colour(rng, 90, 220), 0.5)
    if rng.random() < 0.12 * amount:
        snow(canvas, rng)
    if rng.random() < 0.15 * amount:
        y, x = (int(rng.choice([0, h])), int(rng.integers(0, w)))
        bend = np.zeros((h, w), np.float32)
        cv2.circle(bend, (x, y), int(rng.integers(20, 70)), 1.0, -1)
        canvas += blur(bend, 12)[..., None] * np.float32(rng.uniform(-60, 60))


def snow(canvas: Canvas, rng: np.random.Generator) -> None:
    """Packed snow along the edges and a dusting over the rest, thin enough to read through."""
    h, w = canvas.shape[:2]
    edge = np.abs(np.linspace(-1, 1, h, dtype=np.float32))[:, None] ** 4
    field = _clouds(rng, h, w, int(rng.integers(6, 16))) * 0.4 + edge * rng.uniform(0.6, 1.3) - 0.55
    mask = (np.clip(field * 3, 0, 1) * 255).astype(np.uint8)
    blend(canvas, mask, (236, 240, 246), float(rng.uniform(0.5, 0.95)))
