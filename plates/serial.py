"""The serial number of a plate: cells, separators, stacked letters, die rounding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from plates.designs import Token, parse_format
from plates.fonts import FontPool, glyph
from plates.marks import outline
from plates.pixels import blur, resized
from plates.spec import PlateSpec, format_of

Mask = NDArray[np.uint8]
# Silhouettes as high as the characters.
_TALL = frozenset({"horse", "bear", "pine", "liberty", "palm", "flag"})


@dataclass(frozen=True)
class Lettering:
    """How one serial is set: shares are of the plate's height unless said otherwise."""

    height: float
    squeeze: float  # width of a capital H / its natural width in the type face
    gap: float  # between characters, share of the character height
    pitch: bool  # equal cells, as plate dies have, instead of proportional ones
    rounding: float  # sigma, px, of the corner rounding
    swell: float  # -1 thinner ... +1 bolder strokes


def random_lettering(rng: np.random.Generator, *, free: bool) -> Lettering:
    """A lettering near the common US one; with `free`, anything that plates were seen with."""
    return Lettering(
        height=float(rng.uniform(0.36, 0.62) if free else rng.uniform(0.43, 0.53)),
        squeeze=float(rng.uniform(0.75, 1.4) if free else rng.uniform(0.85, 1.2)),
        gap=float(rng.uniform(0.06, 0.34) if free else rng.uniform(0.09, 0.22)),
        pitch=bool(rng.random() < 0.6),
        rounding=float(rng.choice([0.6, 1.5, 2.6, 4.0], p=[0.35, 0.25, 0.25, 0.15])),
        swell=float(np.clip(rng.normal(0, 0.45), -1, 1)),
    )


def _cells(spec: PlateSpec, rng: np.random.Generator, *, free: bool) -> list[tuple[str, str]]:
    """(kind, text) from left to right, with the separators of the plate's format."""
    text = format_of(spec)
    tokens = list(parse_format(text)) if text else [Token("char", "?")] * len(spec.text)
    if not text and spec.stacked:
        at = {"left": 0, "right": len(tokens), "middle": max(1, len(tokens) // 2)}[spec.stacked_pos]
        tokens.insert(at, Token("stacked", ""))
    if free and not spec.stacked and len(spec.text) > 3 and rng.random() < 0.55:
        at = int(rng.integers(1, len(spec.text)))
        tokens = [t for t in tokens if t.kind == "char"]
        tokens.insert(at, Token("separator", "- *"[int(rng.integers(3))]))
    cells: list[tuple[str, str]] = []
    chars = iter(spec.text)
    for token in tokens:
        if token.kind == "char":
            cells.append(("char", next(chars)))
        elif token.kind == "stacked":
            cells.append(("stacked", spec.stacked))
        else:
            cells.append((token.pattern, ""))
    return cells


def draw_serial(
    spec: PlateSpec,
    rng: np.random.Generator,
    fonts: FontPool,
    lettering: Lettering,
    size: tuple[int, int],
    centre_y: float,
    *,
    free: bool,
    margin: float = 0.05,
    mark: str = "",
) -> tuple[Mask, Mask, list[tuple[int, int, int, int]]]:
    """Set the number of `spec` on an empty plate.

    Args:
        size: (height, width) of the plate in px.
        centre_y: centre of the characters, share of the plate's height.
        margin: left and right, share of the width.
        mark: the silhouette of a `*`; "" draws one at random.

    Returns:
        coverage (H, W) of the number, coverage of its graphic separators, and the boxes
        (x0, y0, x1, y1) that the full-size characters take.
    """
    height, width = size
    face = fonts.serial[int(rng.integers(len(fonts.serial)))]
    small_face = face if rng.random() < 0.7 else fonts.serial[int(rng.integers(len(fonts.serial)))]
    cell_h = lettering.height * height
    reference = glyph(face.path, "H")
    cell_w = reference.shape[1] / reference.shape[0] * cell_h * lettering.squeeze
    # A die is never wider than it is high, nor a hairline.
    cell_w = float(np.clip(cell_w, 0.32 * cell_h, 0.72 * cell_h))
    scale = cell_w / (reference.shape[1] / reference.shape[0] * cell_h)
    gap = lettering.gap * cell_h
    separator = {"-": 0.5, " ": 0.45, "*": 1.5 if mark in _TALL else 0.85, ".": 0.3}
    cells = _cells(spec, rng, free=free)
    stack_share = float(rng.uniform(0.36, 0.5))
    side_by_side = bool(len(spec.stacked) > 1 and rng.random() < 0.15)
    widths: list[float] = []
    for kind, text in cells:
        if kind == "char":
            ink = glyph(face.path, text)
            natural = ink.shape[1] / ink.shape[0] * cell_h * scale
            widths.append(max(cell_w, 0.0) if lettering.pitch else min(natural, 1.35 * cell_w))
        elif kind == "stacked":
            widths.append(0.68 * cell_w * (len(text) if side_by_side else 1))
        else:
            widths.append(separator[kind] * cell_w)
    total = sum(widths) + gap * (len(widths) - 1)
    usable = width * (1 - 2 * margin)
    fit = min(1.0, usable / total)
    x = (width - total * fit) / 2
    if fit == 1.0 and free:
        x += float(rng.uniform(-0.5, 0.5)) * max(0.0, usable - total) * 0.6
    top = centre_y * height - cell_h / 2
    mask = np.zeros(size, np.uint8)
    graphics = np.zeros(size, np.uint8)
    boxes: list[tuple[int, int, int, int]] = []
    for (kind, text), cell in zip(cells, widths, strict=True):
        w = cell * fit
        if kind == "char":
            ink = glyph(face.path, text)
            natural = ink.shape[1] / ink.shape[0] * cell_h * scale * fit
            drawn = min(natural, w) if lettering.pitch else w
            if lettering.pitch and text not in "1IJ" and drawn > 0.6 * w:
                drawn = w  # dies fill their cell; only thin characters stand free in it
            _paste(mask, ink, x + (w - drawn) / 2, top, drawn, cell_h)
            boxes.append((int(x), int(top), int(x + w), int(top + cell_h)))
        elif kind == "stacked":
            _stack(mask, text, small_face.path, x, top, w, cell_h, stack_share, side_by_side)
        elif kind == "-":
            y = top + cell_h * float(rng.uniform(0.44, 0.54))
            thick = max(2, int(cell_h * rng.uniform(0.06, 0.13)))
            half = w * float(rng.uniform(0.25, 0.48))
            cv2.line(
                mask, (int(x + w / 2 - half), int(y)), (int(x + w / 2 + half), int(y)), 255, thick
            )
        elif kind == ".":
            y, radius = top + cell_h * 0.52, max(2, round(cell_h * 0.06))
            cv2.circle(mask, (round(x + w / 2), round(y)), radius, 255, -1, cv2.LINE_AA)
        elif kind == "*" and mark:
            reach = 0.5 * cell_h if mark in _TALL else min(0.62 * w, 0.5 * cell_h)
            reach *= float(rng.uniform(0.75, 1.05))
            points = outline(mark) * reach + (x + w / 2, top + cell_h * 0.52)
            cv2.fillPoly(graphics, [np.round(points).astype(np.int32)], 255, lineType=cv2.LINE_AA)
        elif kind == "*":
            _graphic(graphics, rng, x + w / 2, top + cell_h * 0.5, min(w, cell_h) * 0.45)
        x += w + gap * fit
    return _die(mask, lettering), graphics, boxes


def _paste(mask: Mask, ink: Mask, x: float, y: float, w: float, h: float) -> None:
    """Draw `ink` into the box, keeping what lies inside the plate."""
    target_w, target_h = max(1, round(w)), max(1, round(h))
    scaled = resized(ink, target_w, target_h, cv2.INTER_AREA)
    x0, y0 = round(x), round(y)
    left, top = max(0, x0), max(0, y0)
    right, bottom = min(mask.shape[1], x0 + target_w), min(mask.shape[0], y0 + target_h)
    if right <= left or bottom <= top:
        return
    area = mask[top:bottom, left:right]
    np.maximum(area, scaled[top - y0 : bottom - y0, left - x0 : right - x0], out=area)


def _stack(
    mask: Mask,
    text: str,
    path: Path,
    x: float,
    top: float,
    w: float,
    h: float,
    share: float,
    side: bool,
) -> None:
    """Small letters one above the other (or side by side) beside full-size ones."""
    count = len(text)
    if side:
        each = w / count
        for i, char in enumerate(text):
            _paste(mask, glyph(path, char), x + i * each, top + h * 0.25, each * 0.88, h * share)
        return
    each_h = min(share * h, h / count * 0.93)
    step = (h - each_h) / max(1, count - 1)
    for i, char in enumerate(text):
        ink = glyph(path, char)
        drawn = min(w, ink.shape[1] / ink.shape[0] * each_h * 1.15)
        y = top + i * step if count > 1 else top + (h - each_h) / 2
        _paste(mask, ink, x + (w - drawn) / 2, y, drawn, each_h)


def _graphic(mask: Mask, rng: np.random.Generator, cx: float, cy: float, r: float) -> None:
    """A little picture between two groups: a dot, a star, a state-like outline, a bird-like one."""
    kind = rng.random()
    if kind < 0.25:
        cv2.circle(
            mask, (int(cx), int(cy)), max(2, int(r * rng.uniform(0.25, 0.7))), 255, -1, cv2.LINE_AA
        )
        return
    n = int(rng.integers(5, 12))
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False) + rng.random()
    radii = r * (np.where(np.arange(n) % 2, 0.45, 1.0) if kind < 0.5 else rng.uniform(0.4, 1.0, n))
    points = np.stack([cx + radii * np.cos(angles), cy + radii * np.sin(angles)], 1)
    cv2.fillPoly(mask, [points.astype(np.int32)], 255, lineType=cv2.LINE_AA)


def _die(mask: Mask, lettering: Lettering) -> Mask:
    """Round the corners and swell or thin the strokes as a stamping die and paint do."""
    sigma = lettering.rounding
    soft = blur(mask, sigma).astype(np.float32) / 255
    level = 0.5 - 0.16 * lettering.swell
    sharp = np.clip((soft - level) * (2.2 * sigma + 1.5) + 0.5, 0, 1) * 255
    return sharp.astype(np.uint8)
