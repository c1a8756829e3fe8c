"""Draws one plate: background, words, number, trim, wear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from plates import trim
from plates.designs import Design, designs, designs_of, states, words_of
from plates.fonts import FontPool
from plates.paint import Canvas, Colour, blend, fade, luminance, random_colour, rgb
from plates.pixels import resized
from plates.scenery import PAINTERS, emblem
from plates.serial import draw_serial, random_lettering
from plates.shapes import paint_scene
from plates.spec import PlateSpec

SIZE = (240, 480)  # 6 x 12 inches at 40 px an inch
MOTORCYCLE_SIZE = (184, 320)  # 4 x 7 inches, a little larger in scale
_ANY_SCENES = tuple(name for name in PAINTERS if name not in ("white_mountains", "emblem_left"))
_TYPE_WORDS = {"truck": "TRUCK", "trailer": "TRAILER", "motorcycle": "MOTORCYCLE", "passenger": ""}


@dataclass(frozen=True)
class RenderedPlate:
    """A flat frontal plate that fills `image` (H x W x 3, uint8, RGB), and what stands on it."""

    image: NDArray[np.uint8]
    spec: PlateSpec


def _hex(colour: Colour) -> str:
    red, green, blue = (int(np.clip(v, 0, 255)) for v in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _random_design(spec: PlateSpec, rng: np.random.Generator) -> Design:
    """A style drawn at random for the jurisdiction: any colours that keep the number legible."""
    state = states()[spec.region]
    dark_plate = rng.random() < 0.28
    ground = [random_colour(rng, 10, 105) if dark_plate else random_colour(rng, 135, 250)]
    if rng.random() < 0.3:
        ground = [(float(rng.uniform(225, 252)),) * 3]
        dark_plate = False
    if rng.random() < 0.5:
        ground += [
            random_colour(rng, 10, 110) if dark_plate else random_colour(rng, 140, 250)
            for _ in range(int(rng.integers(1, 4)))
        ]
    ink = random_colour(rng, 190, 255) if dark_plate else random_colour(rng, 0, 85)
    word_ink = ink if rng.random() < 0.5 else _opposite(rng, ground[0])
    slogan = state.slogans[int(rng.integers(len(state.slogans)))] if rng.random() < 0.75 else ""
    scenes = rng.choice(
        len(_ANY_SCENES), int(rng.choice([0, 1, 2, 3], p=[0.35, 0.3, 0.25, 0.1])), replace=False
    )
    name = state.name.upper() if rng.random() < 0.6 else state.name
    return Design(
        id=spec.design,
        region=spec.region,
        formats=(),
        paint=tuple(_hex(c) for c in ground),
        scene=tuple(_ANY_SCENES[int(i)] for i in scenes),
        ink=_hex(ink),
        word=name,
        word_ink=_hex(word_ink),
        face=("plain", "plain", "script", "serif", "slab")[int(rng.integers(5))],
        slogan=slogan.upper() if rng.random() < 0.4 else slogan,
        slogan_ink=_hex(word_ink if rng.random() < 0.6 else _opposite(rng, ground[-1])),
        word_at="top" if rng.random() < 0.75 else "bottom",
        plate_type=spec.plate_type,
        emboss=float(rng.uniform(0, 1.2)),
    )


def _opposite(rng: np.random.Generator, ground: Colour) -> Colour:
    if luminance(ground) > 120:
        return random_colour(rng, 0, 100)
    return random_colour(rng, 180, 255)


def _variant(design: Design, rng: np.random.Generator) -> Design:
    """The design of one plate: one coat, one wording, of those the table gives."""
    if design.coats:
        ground, ink = design.coats[int(rng.integers(len(design.coats)))].split("/")
        design = replace(design, paint=(ground,), ink=ink, word_ink=ink, slogan_ink=ink)
    word = words_of(design.word, design.region, rng)
    slogan = words_of(design.slogan, design.region, rng)
    return replace(design, word=word, slogan=slogan)


def _background(
    design: Design, rng: np.random.Generator, size: tuple[int, int], *, free: bool
) -> Canvas:
    stops = [rgb(colour) for colour in design.paint]
    canvas = fade(size[0], size[1], stops, across=free and rng.random() < 0.2)
    paint_scene(canvas, design.scene, rng)
    if design.edge:
        paint_scene(canvas, [f"border {_ink(design, design.edge)} 0.02 0.014"], rng)
    # Sheeting ages and cameras tint: every plate of a design has colours of its own.
    canvas += rng.normal(0, 7, 3).astype(np.float32)
    if rng.random() < 0.3:
        grey = np.float32(rng.uniform(110, 200))
        canvas += (grey - canvas) * np.float32(rng.beta(1.5, 5))
    if free and rng.random() < 0.25:
        PAINTERS["texture"](canvas, rng)
    if free and rng.random() < 0.12:
        emblem(canvas, rng, float(rng.choice([0.06, 0.94])))
    return canvas


def _ink(design: Design, name: str) -> str:
    return design.ink if name == "ink" else name or design.word_ink


def _words(
    canvas: Canvas, design: Design, spec: PlateSpec, rng: np.random.Generator, fonts: FontPool
) -> None:
    h, w = canvas.shape[:2]
    strength = design.emboss * 0.8 if design.emboss > 0.6 else 0.0
    share = design.word_h * float(rng.uniform(0.9, 1.1)) or float(rng.uniform(0.1, 0.16))
    size, room = int(h * share), 2 * min(design.word_x, 1 - design.word_x)
    limit = int(w * 0.72 * room)
    mask = trim.words(fonts, rng, design.word, design.face, size, limit)
    if design.era == "old":  # the block letters of stamped plates are wide and heavy
        wide = max(mask.shape[1], min(limit, int(mask.shape[1] * rng.uniform(1.0, 1.6))))
        mask = resized(mask, wide, mask.shape[0])
        if rng.random() < 0.5:
            mask = np.asarray(cv2.dilate(mask, np.ones((2, 2), np.uint8)), np.uint8)
    top_y, bottom_y = h * float(rng.uniform(0.03, 0.08)), h * float(rng.uniform(0.92, 0.97))
    x = w * design.word_x - mask.shape[1] / 2
    y = top_y if design.word_at == "top" else bottom_y - mask.shape[0]
    trim.put_text(canvas, mask, x, y, rgb(design.word_ink), emboss=strength)
    for extra in design.extras:
        _extra(canvas, extra, design, rng, fonts, strength)
    slogan = design.slogan or (_TYPE_WORDS[spec.plate_type] if rng.random() < 0.5 else "")
    if not slogan:
        return
    share = design.slogan_h * float(rng.uniform(0.9, 1.1)) or float(rng.uniform(0.06, 0.095))
    small = trim.words(fonts, rng, slogan, design.slogan_face, int(h * share), int(w * 0.8))
    below = (design.slogan_at or "bottom") == "bottom"
    if not design.slogan_at:
        below = design.word_at == "top"
    elif design.slogan_at == design.word_at:  # under (or over) the name
        step = mask.shape[0] * 1.12
        top_y, bottom_y = top_y + step, bottom_y - step
    y = bottom_y - small.shape[0] if below else top_y
    x = (w - small.shape[1]) / 2
    trim.put_text(canvas, small, x, y, rgb(design.slogan_ink), emboss=strength)


def _extra(
    canvas: Canvas,
    extra: str,
    design: Design,
    rng: np.random.Generator,
    fonts: FontPool,
    strength: float,
) -> None:
    """One further text of a design: a year, a month, "EXPLORE"."""
    h, w = canvas.shape[:2]
    text, x, y, size, *more = extra.split("|")
    text = words_of(text, design.region, rng)
    face = more[1] if len(more) > 1 else "plain"
    mask = trim.words(fonts, rng, text, face, max(6, int(float(size) * h)), int(0.5 * w))
    at = float(x) * w - mask.shape[1] / 2, float(y) * h - mask.shape[0] / 2
    trim.put_text(canvas, mask, *at, rgb(_ink(design, more[0] if more else "")), emboss=strength)


def _number(
    canvas: Canvas,
    design: Design,
    spec: PlateSpec,
    rng: np.random.Generator,
    fonts: FontPool,
    *,
    free: bool,
) -> trim.Box:
    """Draw the number; returns the box around its full-size characters."""
    h, w = canvas.shape[:2]
    lettering = random_lettering(rng, free=free)
    small = spec.plate_type == "motorcycle"
    if small:
        lettering = replace(lettering, height=lettering.height * 1.05)
    if design.serial_h and not free:
        lettering = replace(lettering, height=design.serial_h * float(rng.uniform(0.95, 1.05)))
    if design.era == "old":  # stamped: round strokes of one width
        lettering = replace(lettering, rounding=max(lettering.rounding, float(rng.uniform(1.2, 3))))
    ends = 0.17 if any(name.startswith("emblem") for name in design.scene) else 0.04
    centre = design.serial_y or (0.54 if design.word_at == "top" else 0.46)
    if design.word_at == "bottom" and (design.slogan or design.slogan_at) and not design.serial_y:
        centre = 0.5
    centre_y = float(rng.normal(centre, 0.013))
    mask, graphics, boxes = draw_serial(
        spec,
        rng,
        fonts,
        lettering,
        (h, w),
        centre_y,
        free=free,
        margin=max(ends, float(rng.uniform(0.025, 0.08))),
        mark=design.mark,
    )
    ink = rgb(design.ink)
    if graphics.any():
        colour = ink if rng.random() < 0.4 else random_colour(rng, 20, 220)
        if design.mark:
            colour = rgb(_ink(design, design.mark_ink or "ink"))
        blend(canvas, graphics, colour, 0.9)
    strength = design.emboss * float(rng.uniform(0.5, 1.3))
    if strength > 0.1:
        trim.raise_up(canvas, mask, rng, strength)
    if free and rng.random() < 0.08:
        edge = np.asarray(cv2.dilate(mask, np.ones((5, 5), np.uint8)), np.uint8)
        blend(canvas, edge, _opposite(rng, ink), 0.9)
    blend(canvas, mask, ink, float(rng.uniform(0.88, 1.0)))
    if strength > 0.1:
        trim.raise_up(canvas, mask, rng, strength * 0.5)
    xs0, ys0, xs1, ys1 = zip(*boxes, strict=True)
    return min(xs0), min(ys0), max(xs1), max(ys1)


def render(
    spec: PlateSpec, rng: np.random.Generator, *, fonts: FontPool, wear: bool = True
) -> RenderedPlate:
    """Draw `spec` as a flat frontal plate.

    The same spec, generator state and fonts give the same picture. With `wear` false the plate is
    new: no frame, sticker, dirt or snow.
    """
    free = spec.design not in designs()
    own = designs_of(spec.region)
    if not free:
        design = designs()[spec.design]
    elif rng.random() < 0.5:
        # A random number on a known plate: what names the issuer stays, the lettering is free.
        design = own[int(rng.integers(len(own)))]
    else:
        design = _random_design(spec, rng)
    design = _variant(design, rng)
    size = MOTORCYCLE_SIZE if spec.plate_type == "motorcycle" else SIZE
    canvas = _background(design, rng, size, free=free)
    _words(canvas, design, spec, rng, fonts)
    box = _number(canvas, design, spec, rng, fonts, free=free)
    trim.rim(canvas, rng)
    if wear:
        trim.stickers(canvas, rng, fonts)
        if rng.random() < 0.8:
            trim.bolts(canvas, rng)
        trim.wear_off(canvas, rng, float(rng.beta(1.2, 2.5)))
        if rng.random() < (0.05 if design.era == "old" else 0.3):
            trim.frame(canvas, rng, fonts, box)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    return RenderedPlate(image, spec)
