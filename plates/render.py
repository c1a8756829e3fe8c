"""Draws one plate: background, words, number, trim, wear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from plates import trim
from plates.designs import Design, designs, states
from plates.fonts import FontPool
from plates.pixels import blur
from plates.scenery import (
    PAINTERS,
    Canvas,
    Colour,
    blend,
    emblem,
    fade,
    luminance,
    random_colour,
    rgb,
)
from plates.serial import draw_serial, random_lettering
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
        face=("plain", "plain", "plain", "serif")[int(rng.integers(4))],
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


def _background(
    design: Design, rng: np.random.Generator, size: tuple[int, int], *, free: bool
) -> Canvas:
    stops = [rgb(colour) for colour in design.paint]
    canvas = fade(size[0], size[1], stops, across=free and rng.random() < 0.2)
    canvas += np.float32(1) * rng.normal(0, 7, 3).astype(np.float32)
    for name in design.scene:
        PAINTERS[name](canvas, rng)
    if free and rng.random() < 0.25:
        PAINTERS["texture"](canvas, rng)
    if free and rng.random() < 0.12:
        emblem(canvas, rng, float(rng.choice([0.06, 0.94])))
    return canvas


def _words(
    canvas: Canvas, design: Design, spec: PlateSpec, rng: np.random.Generator, fonts: FontPool
) -> None:
    h, w = canvas.shape[:2]
    ink, slogan_ink = rgb(design.word_ink), rgb(design.slogan_ink)
    size = int(h * rng.uniform(0.1, 0.17))
    mask = trim.words(fonts, rng, design.word, design.face, size, int(w * 0.66))
    top_y, bottom_y = h * float(rng.uniform(0.03, 0.08)), h * float(rng.uniform(0.92, 0.97))
    x = (w - mask.shape[1]) / 2
    if rng.random() < 0.12:
        x = w * 0.06
    y = top_y if design.word_at == "top" else bottom_y - mask.shape[0]
    trim.put_text(canvas, mask, x, y, ink)
    slogan = design.slogan or (_TYPE_WORDS[spec.plate_type] if rng.random() < 0.5 else "")
    if not slogan:
        return
    face = "plain" if rng.random() < 0.75 else "serif"
    small = trim.words(fonts, rng, slogan, face, int(h * rng.uniform(0.055, 0.1)), int(w * 0.8))
    y = bottom_y - small.shape[0] if design.word_at == "top" else top_y
    trim.put_text(canvas, small, (w - small.shape[1]) / 2, y, slogan_ink)


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
    ends = 0.17 if "emblem_left" in design.scene else 0.04
    centre_y = (
        float(rng.normal(0.54, 0.015)) if design.word_at == "top" else float(rng.normal(0.46, 0.02))
    )
    mask, graphics, boxes = draw_serial(
        spec,
        rng,
        fonts,
        lettering,
        (h, w),
        centre_y,
        free=free,
        margin=max(ends, float(rng.uniform(0.025, 0.08))),
    )
    ink = rgb(design.ink)
    if graphics.any():
        blend(canvas, graphics, ink if rng.random() < 0.4 else random_colour(rng, 20, 220), 0.9)
    strength = design.emboss * float(rng.uniform(0.5, 1.3))
    if strength > 0.1:
        _emboss(canvas, mask, rng, strength)
    if free and rng.random() < 0.08:
        edge = np.asarray(cv2.dilate(mask, np.ones((5, 5), np.uint8)), np.uint8)
        blend(canvas, edge, _opposite(rng, ink), 0.9)
    blend(canvas, mask, ink, float(rng.uniform(0.88, 1.0)))
    if strength > 0.1:
        _emboss(canvas, mask, rng, strength * 0.5)
    xs0, ys0, xs1, ys1 = zip(*boxes, strict=True)
    return min(xs0), min(ys0), max(xs1), max(ys1)


def _emboss(
    canvas: Canvas, mask: NDArray[np.uint8], rng: np.random.Generator, strength: float
) -> None:
    """Light and shade on the flanks of raised characters, lit from a random side above."""
    height = blur(mask, float(rng.uniform(2.0, 4.0))).astype(np.float32) / 255
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1)
    angle = float(rng.uniform(-2.6, -0.5))
    shade = dx * np.cos(angle) + dy * np.sin(angle)
    canvas += shade[..., None] * np.float32(75 * strength)


def render(
    spec: PlateSpec, rng: np.random.Generator, *, fonts: FontPool, wear: bool = True
) -> RenderedPlate:
    """Draw `spec` as a flat frontal plate.

    The same spec, generator state and fonts give the same picture. With `wear` false the plate is
    new: no frame, sticker, dirt or snow.
    """
    free = spec.design not in designs()
    design = _random_design(spec, rng) if free else designs()[spec.design]
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
        if rng.random() < 0.35:
            trim.frame(canvas, rng, fonts, box)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    return RenderedPlate(image, spec)
