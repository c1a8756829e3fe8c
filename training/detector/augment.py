"""Geometry and light of training scenes.

All functions draw from the generator they are given, so a scene is a function of its seed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.detector.store import Boxes, Labelled, Pixels

PLATE, IGNORE = 1, 2
GREY = 114
# Plates smaller than this in the network's input are neither taught nor punished.
MIN_WIDTH, MIN_HEIGHT = 9.0, 4.0
_MIN_VISIBLE = 0.6
Kinds = NDArray[np.int64]


def crop_scaled(
    item: Labelled, out: tuple[int, int], scale: tuple[float, float], origin: tuple[float, float]
) -> tuple[Pixels, Boxes, Kinds]:
    """Scale a picture by (x, y) and cut a window of ``out`` = (height, width).

    ``origin`` is the window's top left corner in scaled pixels (may lie outside: filled grey).
    """
    h, w = item.pixels.shape[:2]
    oh, ow = out
    sx, sy = scale
    ox, oy = origin
    x0, y0 = max(0, int(np.floor(ox / sx))), max(0, int(np.floor(oy / sy)))
    x1, y1 = min(w, int(np.ceil((ox + ow) / sx))), min(h, int(np.ceil((oy + oh) / sy)))
    canvas = np.full((oh, ow, 3), GREY, np.uint8)
    if x1 - x0 >= 2 and y1 - y0 >= 2:
        tw, th = max(1, round((x1 - x0) * sx)), max(1, round((y1 - y0) * sy))
        how = cv2.INTER_AREA if min(sx, sy) < 0.8 else cv2.INTER_LINEAR
        part = cv2.resize(item.pixels[y0:y1, x0:x1], (tw, th), interpolation=how)
        px, py = round(x0 * sx - ox), round(y0 * sy - oy)
        part = part[max(0, -py) :, max(0, -px) :]
        px, py = max(0, px), max(0, py)
        part = part[: oh - py, : ow - px]
        canvas[py : py + part.shape[0], px : px + part.shape[1]] = part
    boxes = np.concatenate((item.boxes, item.optional)).astype(np.float32)
    boxes = boxes * np.asarray([sx, sy, sx, sy], np.float32)
    boxes = boxes - np.asarray([ox, oy, ox, oy], np.float32)
    kinds = np.full(len(boxes), PLATE, np.int64)
    kinds[len(item.boxes) :] = IGNORE
    return canvas, *clip_boxes(boxes, oh, ow, kinds)


def clip_boxes(
    boxes: Boxes, height: int, width: int, kinds: Kinds | None = None
) -> tuple[Boxes, Kinds]:
    """Clip boxes to the picture; cut or tiny ones become regions to ignore, lost ones vanish.

    What was a region to ignore in ``kinds`` stays one.
    """
    full = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    clipped = boxes.copy()
    clipped[:, 0::2] = clipped[:, 0::2].clip(0, width)
    clipped[:, 1::2] = clipped[:, 1::2].clip(0, height)
    w, h = clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1]
    visible = w * h / np.maximum(full, 1e-6)
    good = (visible >= _MIN_VISIBLE) & (w >= MIN_WIDTH) & (h >= MIN_HEIGHT)
    if kinds is not None:
        good &= kinds == PLATE
    out = np.where(good, PLATE, IGNORE)
    keep = (w > 1) & (h > 1)
    return clipped[keep].astype(np.float32), out[keep].astype(np.int64)


def random_window(
    item: Labelled, out: tuple[int, int], rng: Generator
) -> tuple[Pixels, Boxes, Kinds]:
    """A random view of a picture: whole, zoomed on a plate, or anywhere."""
    h, w = item.pixels.shape[:2]
    oh, ow = out
    fit = min(oh / h, ow / w)
    mode = rng.random()
    widths = item.boxes[:, 2] - item.boxes[:, 0]
    aspect = float(np.exp(rng.uniform(-0.14, 0.14)))
    if mode < 0.6 and len(widths):
        # Zoom so that one plate gets a width drawn from what the camera will show.
        k = int(rng.integers(len(widths)))
        largest = 0.95 * ow if rng.random() < 0.15 else min(260, 0.7 * ow)
        smallest = 0.5 * largest if largest > 0.8 * ow else 12
        goal = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        s = float(np.clip(goal / max(widths[k], 4.0), 0.7 * fit, max(2.2, fit)))
        sx, sy = s * aspect, s / aspect
        cx = float(item.boxes[k, 0] + item.boxes[k, 2]) / 2 * sx
        cy = float(item.boxes[k, 1] + item.boxes[k, 3]) / 2 * sy
        ox = cx - rng.uniform(0.1, 0.9) * ow
        oy = cy - rng.uniform(0.1, 0.9) * oh
    else:
        s = fit * float(np.exp(rng.uniform(np.log(0.75), np.log(2.2))))
        sx, sy = s * aspect, s / aspect
        ox = rng.uniform(min(0.0, w * sx - ow), max(0.0, w * sx - ow))
        oy = rng.uniform(min(0.0, h * sy - oh), max(0.0, h * sy - oh))
    # Avoid showing mostly grey border: pull the window back over the picture.
    ox = _pull(ox, w * sx, ow)
    oy = _pull(oy, h * sy, oh)
    return crop_scaled(item, out, (sx, sy), (ox, oy))


def _pull(origin: float, size: float, window: int) -> float:
    if size <= window:
        return float(np.clip(origin, size - window, 0))
    slack = 0.1 * window
    return float(np.clip(origin, -slack, size - window + slack))


def flip(pixels: Pixels, boxes: Boxes) -> tuple[Pixels, Boxes]:
    """Mirror left to right."""
    width = pixels.shape[1]
    mirrored = boxes.copy()
    mirrored[:, 0], mirrored[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
    return np.ascontiguousarray(pixels[:, ::-1]), mirrored


def rotate(
    pixels: Pixels, boxes: Boxes, kinds: Kinds, degrees: float
) -> tuple[Pixels, Boxes, Kinds]:
    """Turn about the centre; a box becomes the upright box of its turned middle section.

    The upright hull of a turned box would be looser than the plate: its ends are taken at a
    third of the height, which fits the plates themselves to a few per cent below 8 degrees.
    """
    h, w = pixels.shape[:2]
    m = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1.0)
    turned = cv2.warpAffine(
        pixels, m, (w, h), flags=cv2.INTER_LINEAR, borderValue=(GREY, GREY, GREY)
    )
    if len(boxes):
        cx, cy = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        bw, bh = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        nx, ny = m[0, 0] * cx + m[0, 1] * cy + m[0, 2], m[1, 0] * cx + m[1, 1] * cy + m[1, 2]
        c, s = abs(np.cos(np.radians(degrees))), abs(np.sin(np.radians(degrees)))
        nw, nh = bw * c + bh * s * 0.66, bh * c + bw * s * 0.66
        boxes = np.stack((nx - nw / 2, ny - nh / 2, nx + nw / 2, ny + nh / 2), -1)
    return (turned.astype(np.uint8), *clip_boxes(boxes.astype(np.float32), h, w, kinds))


def light(pixels: Pixels, rng: Generator) -> Pixels:
    """Exposure, contrast, colour of the light, night, infrared-like monochrome."""
    ramp = np.arange(256, dtype=np.float32) / 255
    night = rng.random() < 0.12
    gamma = float(np.exp(rng.uniform(0.3, 1.1) if night else rng.normal(0, 0.25)))
    gain = float(np.exp(rng.normal(0, 0.2)))
    contrast = float(np.exp(rng.normal(0, 0.18)))
    base = ((ramp**gamma) - 0.45) * contrast + 0.45
    tint = np.exp(rng.normal(0, 0.09, 3))
    lut = np.stack([np.clip(base * gain * t, 0, 1) * 255 for t in tint], -1).astype(np.uint8)
    out = cv2.LUT(pixels, lut[None])
    mono = rng.random()
    if mono < 0.1:
        grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)
        out = np.repeat(grey[..., None], 3, -1)
    elif mono < 0.2:
        grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        colour = float(rng.uniform(0.1, 0.9))
        out = cv2.addWeighted(out, colour, grey, 1 - colour, 0)
    return out.astype(np.uint8)


def sensor(pixels: Pixels, rng: Generator) -> Pixels:
    """Defocus, motion, noise, JPEG blocks."""
    out: Pixels = pixels
    kind = rng.random()
    if kind < 0.14:
        sigma = float(rng.uniform(0.4, 1.6))
        out = cv2.GaussianBlur(out, (0, 0), sigma).astype(np.uint8)
    elif kind < 0.28:
        length = int(rng.integers(2, 8))
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(-0.5, 0.5) if rng.random() < 0.7 else rng.uniform(0, np.pi)
        dx, dy = np.cos(angle) * length / 2, np.sin(angle) * length / 2
        c = (length - 1) / 2
        cv2.line(
            kernel,
            (round(c - dx), round(c - dy)),
            (round(c + dx), round(c + dy)),
            (1.0,),
            1,
        )
        out = cv2.filter2D(out, -1, kernel / max(float(kernel.sum()), 1.0)).astype(np.uint8)
    if rng.random() < 0.3:
        sigma = float(rng.exponential(6.0))
        h, w, _ = out.shape
        coarse = rng.normal(0, sigma, (h, w, 1 if rng.random() < 0.5 else 3)).astype(np.float32)
        out = np.clip(out + coarse, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = int(rng.integers(25, 85))
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # our own JPEG a line above
        out = decoded.astype(np.uint8)
    return out
