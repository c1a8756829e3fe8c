"""Rendered plates and lettering set into photographs.

Plates teach what a plate is; lettering (signs, stickers, firm names, grilles) teaches what it
is not. Both come as RGBA pictures and are warped, lit and blended the same way, so that the
paste itself tells nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from training.detector.augment import PLATE, Kinds, clip_boxes
from training.detector.store import Boxes, Pixels

_WORDS = (
    "FIRE LANE,NO PARKING,STOP,EXIT,SPEED LIMIT 55,ONE WAY,FOR SALE,PLUMBING,ELECTRIC,SCHOOL BUS,"
    "TAXI,HEATING & AIR,RENTAL,TRAILERS,FORD,CHEVROLET,TURBO DIESEL,4X4,TOWING,CAUTION,OPEN 24,"
    "MAIN ST,US 10,HWY 34,FRESH FISH,BAKERY,BAIT,LAKES,ROOFING,COFFEE,PIZZA,MARINE,CONSTRUCTION,"
    "CO-OP,BANK,VOTE,HONK,BABY ON BOARD,MY KID,WIDE TURNS,DEALER,KEEP RIGHT,YIELD,GMC,RAM,DODGE"
).split(",")
_FACES = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
)


def lettering(rng: Generator) -> Pixels:
    """A sign, sticker, firm name or grille as RGBA, 120 px high, 60 to 600 px wide."""
    height = 120
    width = int(height * np.exp(rng.uniform(np.log(0.6), np.log(5.0))))
    picture = np.zeros((height, width, 4), np.uint8)
    ground = rng.integers(0, 256, 3)
    if rng.random() < 0.3:
        ground = np.full(3, rng.integers(150, 256))
    kind = rng.random()
    bare = kind > 0.8
    picture[..., :3] = ground
    picture[..., 3] = 0 if bare else 255
    ink = rng.integers(0, 256, 3)
    if abs(int(ink.mean()) - int(ground.mean())) < 70:
        ink = np.full(3, 255 if ground.mean() < 128 else 0)
    colour = (int(ink[0]), int(ink[1]), int(ink[2]), 255)
    if kind < 0.18:
        # A grille or a row of louvres: parallel bars without any letters.
        step = int(rng.integers(8, 26))
        upright = rng.random() < 0.5
        for at in range(0, width if upright else height, step):
            end = (at, height) if upright else (width, at)
            start = (at, 0) if upright else (0, at)
            cv2.line(picture, start, end, colour, max(2, step // 3))
        return picture
    lines = int(rng.integers(1, 4))
    for row in range(lines):
        text = str(rng.choice(_WORDS))
        if rng.random() < 0.15:
            text = f"{rng.integers(200, 999)}-{rng.integers(100, 999)}-{rng.integers(1000, 9999)}"
        face = int(rng.choice(_FACES))
        thick = int(rng.integers(2, 9))
        band = height / lines
        (tw, th), _ = cv2.getTextSize(text, face, 1.0, thick)
        size = min(0.92 * width / max(tw, 1), 0.7 * band / max(th, 1))
        (tw, th), _ = cv2.getTextSize(text, face, size, thick)
        x, y = int((width - tw) / 2), int(band * row + (band + th) / 2)
        cv2.putText(picture, text, (x, y), face, size, colour, thick, cv2.LINE_AA)
    if not bare and rng.random() < 0.4:
        cv2.rectangle(picture, (3, 3), (width - 4, height - 4), colour, 3)
    return picture


def _quad(width: float, height: float, rng: Generator) -> np.ndarray:
    """Corners of a plate seen a little from the side: turned, sheared, narrowed at one end."""
    angle = rng.normal(0, 0.05)
    shear = rng.normal(0, 0.08)
    near, far = 1.0 + rng.normal(0, 0.06), 1.0 + rng.normal(0, 0.06)
    corners = np.asarray(
        [
            [-width / 2, -height / 2 * near],
            [width / 2, -height / 2 * far],
            [width / 2, height / 2 * far],
            [-width / 2, height / 2 * near],
        ]
    )
    corners[:, 1] += corners[:, 0] * shear
    c, s = np.cos(angle), np.sin(angle)
    turned: np.ndarray = corners @ np.asarray([[c, s], [-s, c]])
    return turned


def paste(
    canvas: Pixels, patch: Pixels, centre: tuple[float, float], width: float, rng: Generator
) -> tuple[float, float, float, float]:
    """Blend an RGBA ``patch`` into ``canvas`` in place, about ``width`` px wide.

    The patch takes the local brightness of the place it covers. Returns the upright box
    (x0, y0, x1, y1) of its four corners, not clipped.
    """
    ph, pw = patch.shape[:2]
    squeeze = float(rng.uniform(0.75, 1.0)) if rng.random() < 0.5 else 1.0
    height = width * ph / pw / squeeze
    quad = _quad(width, height, rng) + np.asarray(centre)
    x0, y0 = quad.min(0)
    x1, y1 = quad.max(0)
    h, w = canvas.shape[:2]
    ix0, iy0 = max(0, int(x0) - 1), max(0, int(y0) - 1)
    ix1, iy1 = min(w, int(x1) + 2), min(h, int(y1) + 2)
    box = (float(x0), float(y0), float(x1), float(y1))
    if ix1 - ix0 < 2 or iy1 - iy0 < 2:
        return box
    # Shrink to twice the final size first: warping 240 px straight to 20 px would alias.
    over = 2
    shrink = max(1.0, pw / max(width * over, 1.0))
    small = cv2.resize(
        patch,
        (max(2, round(pw / shrink)), max(2, round(ph / shrink))),
        interpolation=cv2.INTER_AREA,
    )
    sh, sw = small.shape[:2]
    source = np.asarray([[0, 0], [sw, 0], [sw, sh], [0, sh]], np.float32)
    target = ((quad - [ix0, iy0]) * over).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    size = ((ix1 - ix0) * over, (iy1 - iy0) * over)
    opaque = small.astype(np.float32)
    opaque[..., :3] *= opaque[..., 3:] / 255
    warped = cv2.warpPerspective(opaque, matrix, size, flags=cv2.INTER_LINEAR)
    warped = cv2.resize(warped, (ix1 - ix0, iy1 - iy0), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        warped = cv2.GaussianBlur(warped, (0, 0), float(rng.uniform(0.3, 0.9)))
    place = canvas[iy0:iy1, ix0:ix1].astype(np.float32)
    bright = float(np.percentile(place.mean(-1), 75))
    gain = float(np.clip((0.35 + 0.65 * bright / 140) * np.exp(rng.normal(0, 0.2)), 0.2, 1.35))
    tint = np.clip(place.reshape(-1, 3).mean(0) / max(float(place.mean()), 1.0), 0.85, 1.15)
    alpha = warped[..., 3:] / 255
    mixed = place * (1 - alpha) + warped[..., :3] * gain * tint
    canvas[iy0:iy1, ix0:ix1] = np.clip(mixed, 0, 255).astype(np.uint8)
    return box


def overlaps(box: tuple[float, float, float, float], boxes: Boxes, margin: float = 0.15) -> bool:
    """Whether ``box``, widened by ``margin`` of its size, touches any of ``boxes``."""
    if not len(boxes):
        return False
    mx, my = (box[2] - box[0]) * margin, (box[3] - box[1]) * margin
    return bool(
        np.any(
            (boxes[:, 0] < box[2] + mx)
            & (boxes[:, 2] > box[0] - mx)
            & (boxes[:, 1] < box[3] + my)
            & (boxes[:, 3] > box[1] - my)
        )
    )


def add_lettering(canvas: Pixels, boxes: Boxes, rng: Generator) -> None:
    """Set one to three unlabelled letterings beside the plates."""
    h, w = canvas.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        patch = lettering(rng)
        width = float(np.exp(rng.uniform(np.log(16), np.log(200))))
        centre = (float(rng.uniform(0, w)), float(rng.uniform(0, h)))
        tall = width * patch.shape[0] / patch.shape[1] * 1.4
        around = (
            centre[0] - width * 0.6,
            centre[1] - tall * 0.7,
            centre[0] + width * 0.6,
            centre[1] + tall * 0.7,
        )
        if not overlaps(around, boxes):
            paste(canvas, patch, centre, width, rng)


def cover_plates(
    canvas: Pixels, boxes: Boxes, kinds: Kinds, plates: list[Pixels], rng: Generator
) -> Boxes:
    """Put a rendered plate over each labelled one; returns the new boxes, same order.

    The rendered plate is at least as large as the real one in both directions, so that
    nothing of it is left to see.
    """
    out = boxes.copy()
    h, w = canvas.shape[:2]
    for k in range(len(boxes)):
        bw, bh = float(boxes[k, 2] - boxes[k, 0]), float(boxes[k, 3] - boxes[k, 1])
        if kinds[k] != PLATE or bw > 220:
            continue
        patch = plates[int(rng.integers(len(plates)))]
        ratio = patch.shape[1] / patch.shape[0]
        width = max(bw, bh * ratio) * float(rng.uniform(1.0, 1.08))
        centre = (float(boxes[k, 0] + boxes[k, 2]) / 2, float(boxes[k, 1] + boxes[k, 3]) / 2)
        x0, y0, x1, y1 = paste(canvas, patch, centre, width, rng)
        out[k] = [max(0.0, x0), max(0.0, y0), min(float(w), x1), min(float(h), y1)]
    return out


def scatter_plates(
    canvas: Pixels, boxes: Boxes, kinds: Kinds, plates: list[Pixels], rng: Generator
) -> tuple[Boxes, Kinds]:
    """Set one or two rendered plates anywhere free; returns boxes and kinds with them."""
    h, w = canvas.shape[:2]
    for _ in range(int(rng.integers(1, 3))):
        patch = plates[int(rng.integers(len(plates)))]
        width = float(np.exp(rng.uniform(np.log(13), np.log(140))))
        tall = width * patch.shape[0] / patch.shape[1]
        if width * 1.4 > w or tall * 1.4 > h:
            continue
        centre = (
            float(rng.uniform(0.6 * width, w - 0.6 * width)),
            float(rng.uniform(0.7 * tall, h - 0.7 * tall)),
        )
        around = (
            centre[0] - width * 0.65,
            centre[1] - tall * 0.9,
            centre[0] + width * 0.65,
            centre[1] + tall * 0.9,
        )
        if overlaps(around, boxes):
            continue
        box = np.asarray([paste(canvas, patch, centre, width, rng)], np.float32)
        box, kind = clip_boxes(box, h, w)  # one far askew at the border is cut by it
        boxes, kinds = np.concatenate((boxes, box)), np.concatenate((kinds, kind))
    return boxes, kinds.astype(np.int64)
