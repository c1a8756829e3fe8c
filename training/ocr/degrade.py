"""From a clean flat plate to what a car's camera hands to the reader.

Order as in nature: pose and light, optics (defocus, motion), sensor (size in px, noise), coding
(JPEG), then the detector's imperfect box and the resize that fast-plate-ocr does.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from plates.pixels import blur, resized
from training.ocr.layout import HEIGHT, WIDTH

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
# How far a detector's box strays from the plate's edge, share of the plate's size, a side.
TIGHTEST, LOOSEST = -0.05, 0.16


def _pose(rng: np.random.Generator, width: float, height: float, hard: float) -> Float:
    """Corners (4, 2) of a plate of width x height, turned, tilted and sheared about its centre."""
    roll = np.deg2rad(rng.normal(0, 3.0 + 4.0 * hard))
    shear = rng.normal(0, 0.02 + 0.1 * hard)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64) * [width / 2, height / 2]
    corners[:, 1] += shear * corners[:, 0]
    corners[:, 0] += rng.normal(0, 0.04 * hard) * corners[:, 1]
    keystone = rng.normal(0, 0.02 + 0.06 * hard, 2)
    corners[:, 1] *= 1 + keystone[0] * corners[:, 0] / (width / 2)
    corners[:, 0] *= 1 + keystone[1] * corners[:, 1] / (height / 2)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return np.asarray(corners @ turn.T, np.float32)


def _light(image: Float, rng: np.random.Generator, hard: float) -> Float:
    """Contrast, colour of the light, shadow edges, glare, night and infra-red-like pictures."""
    h, w = image.shape[:2]
    mono = rng.random() < 0.12
    if mono:
        mix = rng.dirichlet([1.0, 1.0, 1.0]).astype(np.float32)
        grey = image @ mix
        image = np.repeat(grey[..., None], 3, axis=2)
        if rng.random() < 0.4:
            image *= np.array(
                [rng.uniform(0.85, 1.1), rng.uniform(0.8, 1), rng.uniform(0.85, 1.1)], np.float32
            )
    else:
        image = image * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.5:
        slope = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1.2), w, dtype=np.float32)
        image = image * slope[None, :, None]
    if rng.random() < 0.25 + 0.2 * hard:
        mask = np.zeros((h, w), np.float32)
        a, b = rng.uniform(-0.2, 1.2, 2) * w
        points = np.array(
            [[a, 0], [b, h], [w * rng.choice([-1, 2]), h], [w * rng.choice([-1, 2]), 0]]
        )
        cv2.fillPoly(mask, [points.astype(np.int32)], 1.0)
        mask = blur(mask, max(0.5, float(rng.uniform(0.003, 0.08)) * w))
        image = image * (1 - mask[..., None] * np.float32(rng.uniform(0.15, 0.65)))
    if rng.random() < 0.12 * (0.5 + hard):
        spot = np.zeros((h, w), np.float32)
        centre = (int(rng.uniform(0, w)), int(rng.uniform(0, h)))
        cv2.ellipse(
            spot,
            centre,
            (max(1, int(w * rng.uniform(0.05, 0.3))), max(1, int(h * rng.uniform(0.1, 0.5)))),
            0,
            0,
            360,
            1.0,
            -1,
        )
        spot = blur(spot, max(0.8, 0.09 * w))
        image = image + spot[..., None] * np.float32(rng.uniform(30, 170))
    exposure = float(np.exp(rng.normal(0, 0.22 + 0.25 * hard)))
    if rng.random() < 0.16 * (0.4 + hard):
        exposure *= float(rng.uniform(0.12, 0.45))  # night
    image = image * np.float32(exposure)
    contrast = float(rng.uniform(0.45, 1.0)) if rng.random() < 0.3 else 1.0
    haze = float(rng.uniform(0, 110))
    image = image * contrast + haze * (1 - contrast)
    if (mean := float(image.mean())) < 22:  # a camera raises its gain before this
        image = image * np.float32(rng.uniform(22, 45) / max(mean, 1.0))
    gamma = float(np.exp(rng.normal(0, 0.2)))
    return np.asarray(255 * np.clip(image / 255, 0, 1) ** gamma, np.float32)


def _motion(image: Float, rng: np.random.Generator, length: float) -> Float:
    size = max(3, int(length) | 1)
    kernel = np.zeros((size, size), np.float32)
    angle = rng.normal(0, 0.35) if rng.random() < 0.75 else rng.uniform(0, np.pi)
    half = np.array([np.cos(angle), np.sin(angle)]) * (size // 2)
    c = size // 2
    cv2.line(
        kernel, (int(c - half[0]), int(c - half[1])), (int(c + half[0]), int(c + half[1])), 1.0
    )
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def _optics(image: Float, rng: np.random.Generator, plate_width: float, hard: float) -> Float:
    # Limits are in shares of the plate's width: 0.02 is about a fifth of a character.
    if rng.random() < 0.55:
        sigma = plate_width * rng.uniform(0.002, 0.009 + 0.011 * hard)
        if sigma > 0.25:
            image = blur(image, float(sigma))
    if rng.random() < 0.1 + 0.25 * hard:
        image = _motion(image, rng, plate_width * rng.uniform(0.01, 0.03 + 0.05 * hard))
    return image


def _sensor(image: Float, rng: np.random.Generator, hard: float) -> Float:
    if rng.random() < 0.7:
        sigma = float(rng.gamma(1.3, 2.0 + 4.0 * hard))
        noise = rng.standard_normal(image.shape, np.float32)
        if rng.random() < 0.5:
            noise = np.repeat(noise[..., :1], 3, axis=2)
        shot = np.sqrt(np.clip(image, 4, 255) / 128) if rng.random() < 0.5 else np.float32(1)
        image = image + noise * shot * np.float32(sigma)
        if rng.random() < 0.3:
            image = blur(image, 0.7)  # denoiser
    if rng.random() < 0.25:
        soft = blur(image, 1.0)
        image = image + (image - soft) * np.float32(rng.uniform(0.3, 1.6))  # sharpening
    return image


def _code(image: Image, rng: np.random.Generator, hard: float) -> Image:
    if rng.random() < 0.75:
        quality = int(rng.uniform(92 - 65 * hard, 97))
        ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, max(22, quality)])
        if ok:
            return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image


def to_input(crop: Image, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Image:
    """Resize to a network's input as fast-plate-ocr does (linear, aspect not kept)."""
    return np.asarray(resized(crop, size[1], size[0]), np.uint8)


def crop_box(
    image: Image, box: tuple[float, float, float, float], rng: np.random.Generator | None = None
) -> Image:
    """Cut `box` (px), each side moved as by a detector if `rng` is given; edges are repeated."""
    x0, y0, x1, y1 = box
    if rng is not None:
        w, h = x1 - x0, y1 - y0
        common = rng.uniform(TIGHTEST * 0.6, LOOSEST * 0.7)
        side = np.clip(common + rng.normal(0, 0.03, 4), TIGHTEST, LOOSEST)
        x0, x1 = x0 - side[0] * w, x1 + side[1] * w
        y0, y1 = y0 - side[2] * h, y1 + side[3] * h
    left, top, right, bottom = round(x0), round(y0), round(x1), round(y1)
    height, width = image.shape[:2]
    inside = image[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    if inside.size == 0:
        raise ValueError("the box lies outside the picture")
    if inside.shape[:2] == (bottom - top, right - left):
        return inside
    return np.asarray(
        cv2.copyMakeBorder(
            inside,
            max(0, -top),
            max(0, bottom - height),
            max(0, -left),
            max(0, right - width),
            cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )


def photograph(
    plate: Image,
    surroundings: Image,
    rng: np.random.Generator,
    *,
    hard: float,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> Image:
    """One crop of `plate` as photographed in front of `surroundings`.

    Args:
        plate: a flat frontal plate, RGB.
        surroundings: any RGB picture, stretched behind the plate.
        hard: 0 (clean, near, frontal) to 1 (small, tilted, blurred, dark).
        size: (height, width) of the crop.
    """
    longest = 150 + 110 * (1 - hard) * rng.random()
    width = float(np.exp(rng.uniform(np.log(150 - 112 * hard), np.log(longest))))
    height = width * plate.shape[0] / plate.shape[1] * float(rng.uniform(0.88, 1.15 + 0.25 * hard))
    scale = 2.0 if width < 110 else 1.0  # drawn larger, then averaged down, against aliasing
    corners = _pose(rng, width, height, hard)
    margin = 0.3 * np.array([width, height])
    low, high = corners.min(0) - margin, corners.max(0) + margin
    extent = np.maximum(8, np.ceil((high - low) * scale)).astype(int)
    source = plate
    if plate.shape[1] > 1.6 * width * scale:
        source = resized(plate, int(width * scale * 1.2), int(height * scale * 1.2), cv2.INTER_AREA)
    h, w = source.shape[:2]
    target = ((corners - low) * scale).astype(np.float32)
    flat = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    matrix = cv2.getPerspectiveTransform(flat, target)
    canvas = resized(surroundings, int(extent[0]), int(extent[1]))
    cv2.warpPerspective(
        source,
        matrix,
        (int(extent[0]), int(extent[1])),
        dst=canvas,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    if scale != 1.0:
        canvas = resized(canvas, int(extent[0] / scale), int(extent[1] / scale), cv2.INTER_AREA)
    picture = _light(canvas.astype(np.float32), rng, hard)
    picture = _optics(picture, rng, width, hard)
    picture = _sensor(picture, rng, hard)
    coded = _code(np.clip(picture, 0, 255).astype(np.uint8), rng, hard)
    (x0, y0), (x1, y1) = corners.min(0) - low, corners.max(0) - low
    return to_input(crop_box(coded, (float(x0), float(y0), float(x1), float(y1)), rng), size)


def relight(crop: Image, rng: np.random.Generator, *, hard: float) -> Image:
    """A street crop seen again in other light, a little farther off and noisier (any size)."""
    width = crop.shape[1]
    if width > 70 and rng.random() < 0.5:
        smaller = float(np.exp(rng.uniform(np.log(max(48, 0.35 * width)), np.log(width)))) / width
        crop = np.asarray(
            cv2.resize(crop, None, fx=smaller, fy=smaller, interpolation=cv2.INTER_AREA), np.uint8
        )
    if rng.random() < 0.75:
        picture = _light(crop.astype(np.float32), rng, 0.6 * hard)
        picture = _optics(picture, rng, crop.shape[1] * 0.5, hard)
        picture = _sensor(picture, rng, 0.6 * hard)
        crop = _code(np.clip(picture, 0, 255).astype(np.uint8), rng, 0.6 * hard)
    return crop
