"""Recall, false boxes and time of detectors on labelled photographs.

A label is found when a box at or above the threshold has at least the stated IoU with it; boxes
are matched in order of score, each label once; every other box is false. Every detector gets
the same decoded pictures in the same run, one after the other, so that the times compare.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from training.detector.augment import GREY
from training.detector.store import Boxes, Labelled, Pixels

Rows = NDArray[np.float32]
# Plate widths (in pixels of the photograph) that are reported apart.
WIDTH_BANDS = ((0, 20), (20, 40), (40, 80), (80, 160), (160, 10_000))


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the network's input: ``input = picture * scale + offset``."""

    scale: float
    left: int
    top: int


def letterbox(pixels: Pixels, height: int, width: int, *, square: bool) -> tuple[Rows, Letterbox]:
    """Fit a picture into ``height`` x ``width`` on grey 114; ``[1, 3, H, W]`` float32 0..1.

    With ``square`` the input is exactly that large, otherwise it is the smallest multiple of 32
    that holds the scaled picture.
    """
    h, w = pixels.shape[:2]
    scale = min(height / h, width / w)
    nh, nw = max(1, round(h * scale)), max(1, round(w * scale))
    if not square:
        height, width = -(-nh // 32) * 32, -(-nw // 32) * 32
    # As the runtime does: area averaging where strokes would fall between samples.
    how = cv2.INTER_AREA if scale < 0.75 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (nw, nh), interpolation=how)
    top, left = (height - nh) // 2, (width - nw) // 2
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[top : top + nh, left : left + nw] = small
    tensor = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None].astype(np.float32))
    tensor /= np.float32(255)
    return tensor, Letterbox(scale, left, top)


class OnnxDetector:
    """An end-to-end detector file at one input size.

    A file with a fixed input shape keeps it; otherwise ``size`` = (height, width) is the
    largest input and narrower pictures get less.
    """

    def __init__(self, path: Path, size: tuple[int, int], threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        spec = self.session.get_inputs()[0]
        self.input_name = spec.name
        fixed = isinstance(spec.shape[2], int) and isinstance(spec.shape[3], int)
        self.size = (int(spec.shape[2]), int(spec.shape[3])) if fixed else size
        self.fixed = fixed
        self.milliseconds: list[float] = []

    def __call__(self, pixels: Pixels) -> Rows:
        """Boxes of an RGB picture: ``[K, 5]`` x0, y0, x1, y1 in its pixels, score."""
        tensor, place = letterbox(pixels, *self.size, square=self.fixed)
        begin = time.perf_counter()
        rows = np.asarray(self.session.run(None, {self.input_name: tensor})[0])
        self.milliseconds.append((time.perf_counter() - begin) * 1e3)
        boxes = rows[:, 1:5].copy()
        boxes[:, 0::2] = (boxes[:, 0::2] - place.left) / place.scale
        boxes[:, 1::2] = (boxes[:, 1::2] - place.top) / place.scale
        out: Rows = np.concatenate((boxes, rows[:, 6:7]), 1).astype(np.float32)
        return out[np.argsort(-out[:, 4], kind="stable")]


def iou_matrix(a: Boxes, b: Boxes) -> Rows:
    """IoU of each of ``a`` with each of ``b``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    inter = (high - low).clip(0).prod(-1)
    area_a = (a[:, 2:4] - a[:, :2]).clip(0).prod(-1)
    area_b = (b[:, 2:4] - b[:, :2]).clip(0).prod(-1)
    result: Rows = inter / (area_a[:, None] + area_b[None] - inter + 1e-9)
    return result


@dataclass
class Tally:
    """What a detector did on a set of pictures, before any threshold."""

    pictures: int = 0
    # Boxes of each picture as they came, so that they can be counted against other labels.
    rows: list[Rows] = field(default_factory=list)
    # One row a label: width in px, best matched score at IoU 0.5, and at 0.3 (-1 = never).
    labels: list[tuple[float, float, float]] = field(default_factory=list)
    false50: list[float] = field(default_factory=list)
    false30: list[float] = field(default_factory=list)

    def add(self, boxes: Boxes, rows: Rows, optional: Boxes | None = None) -> None:
        """Count one picture; false boxes that touch an optional one are not counted."""
        self.pictures += 1
        self.rows.append(rows)
        score50, false50 = _match(boxes, rows, 0.5, optional)
        score30, false30 = _match(boxes, rows, 0.3, optional)
        for k in range(len(boxes)):
            self.labels.append((float(boxes[k, 2] - boxes[k, 0]), score50[k], score30[k]))
        self.false50 += false50
        self.false30 += false30

    def recall(
        self, threshold: float, *, loose: bool = False, band: tuple[float, float] = (0, 1e9)
    ) -> float:
        """Share of labels found at IoU 0.5 (``loose``: 0.3); NaN where the band is empty."""
        scores = [row[2 if loose else 1] for row in self.labels if band[0] <= row[0] < band[1]]
        return float(np.mean([s >= threshold for s in scores])) if scores else float("nan")

    def false_rate(self, threshold: float, *, loose: bool = False) -> float:
        """False boxes a picture."""
        scores = self.false30 if loose else self.false50
        return sum(s >= threshold for s in scores) / max(1, self.pictures)

    def threshold_for(self, false_rate: float) -> float:
        """The lowest threshold (step 0.01) that keeps false boxes a picture at or below."""
        for step in range(5, 100):
            if self.false_rate(step / 100) <= false_rate:
                return step / 100
        return 1.0

    def count(self, band: tuple[float, float]) -> int:
        """Labels in a band of widths."""
        return sum(band[0] <= row[0] < band[1] for row in self.labels)


def _match(
    boxes: Boxes, rows: Rows, least: float, optional: Boxes | None
) -> tuple[list[float], list[float]]:
    scores = [-1.0] * len(boxes)
    false: list[float] = []
    overlap = iou_matrix(rows[:, :4], boxes)
    excused = np.zeros(len(rows), bool)
    if optional is not None and len(optional):
        excused |= (iou_matrix(rows[:, :4], optional) > 0.1).any(1)
    for i in range(len(rows)):
        free = [k for k in range(len(boxes)) if scores[k] < 0 and overlap[i, k] >= least]
        if free:
            scores[max(free, key=lambda k: float(overlap[i, k]))] = float(rows[i, 4])
        elif not excused[i]:
            false.append(float(rows[i, 4]))
    return scores, false


def evaluate(
    pictures: Iterable[Labelled],
    detectors: dict[str, OnnxDetector],
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tally]:
    """Run every detector on every picture, interleaved."""
    tallies = {name: Tally() for name in detectors}
    for number, item in enumerate(pictures):
        for name, detector in detectors.items():
            tallies[name].add(item.boxes, detector(item.pixels), item.optional)
        if progress:
            progress(number + 1)
    return tallies
