"""Pools of rendered plates and rendered street scenes, made ahead of training.

Rendering a plate takes longer than training on a picture of it, so plates are rendered once
and re-used under ever new perspective, light and blur. Training seeds and the training split of
the type faces only: drives of the tests and benchmarks use others.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from plates import FontPool, random_spec, render
from training.detector.store import Boxes, Labelled, PictureStore, TrainingDataError

PLATE_WIDTH = 240
# (seed) -> RGB picture and plates as x, y, width, height in pixels.
FrameMaker = Callable[[int], tuple[NDArray[np.uint8], Iterable[tuple[float, float, float, float]]]]


def _rounded(height: int, width: int, radius: int) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    cv2.rectangle(mask, (radius, 0), (width - radius - 1, height - 1), (255,), -1)
    cv2.rectangle(mask, (0, radius), (width - 1, height - radius - 1), (255,), -1)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(mask, (x, y), radius, (255,), -1)
    return mask


def plate_patches(first: int, count: int) -> Iterator[Labelled]:
    """Rendered plates as RGBA pictures 240 px wide, named by their seed."""
    fonts = FontPool.load("train")
    for seed in range(first, first + count):
        rng = np.random.default_rng([0x504C41, seed])
        spec = random_spec(rng, any_share=0.15)
        image = render(spec, rng, fonts=fonts).image
        h, w = image.shape[:2]
        height = round(PLATE_WIDTH * h / w)
        small = cv2.resize(image, (PLATE_WIDTH, height), interpolation=cv2.INTER_AREA)
        mask = _rounded(height, PLATE_WIDTH, int(rng.integers(2, 10)))
        patch = np.dstack((small, mask)).astype(np.uint8)
        yield Labelled(f"plate_{seed}", patch, np.zeros((0, 4), np.float32))


def real_patches(data: Path, count: int) -> Iterator[Labelled]:
    """Frontal crops of real US plates (``us-crops``, training split), as RGBA patches.

    The crops' width is squeezed to 1.75:1; they are widened back to 2:1. The source's licence
    is the uploader's claim, so the names carry a prefix that the strict selection drops.
    """
    table = data / "us-crops" / "labels.csv"
    if not table.exists():
        raise TrainingDataError(f"{table} is missing; pass --data with the folder of SOURCES.md")
    with table.open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["split"] == "train"]
    rng = np.random.default_rng(0x5553)
    for name in rng.permutation(names)[:count]:
        bgr = cv2.imread(str(table.parent / str(name)), cv2.IMREAD_COLOR)
        if bgr is None:
            raise TrainingDataError(f"{table.parent / str(name)} cannot be decoded")
        size = (PLATE_WIDTH, PLATE_WIDTH // 2)
        small = cv2.resize(bgr[..., ::-1], size, interpolation=cv2.INTER_AREA)
        mask = _rounded(size[1], size[0], int(rng.integers(2, 10)))
        patch = np.dstack((small, mask)).astype(np.uint8)
        yield Labelled(f"uscrop_{name}", patch, np.zeros((0, 4), np.float32))


def street_frames(first: int, count: int) -> Iterator[Labelled]:
    """Rendered street scenes of ``sim`` with their plate boxes, named by their seed."""
    try:
        maker: FrameMaker = importlib.import_module("sim.scenes").training_frame
    except (ImportError, AttributeError) as exc:
        raise TrainingDataError(f"sim.scenes.training_frame is not there: {exc}") from exc
    for seed in range(first, first + count):
        pixels, boxes = maker(seed)
        rows = np.asarray([list(box) for box in boxes], np.float32).reshape(-1, 4)
        corners: Boxes = np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:]), 1)
        yield Labelled(f"sim_{seed}", pixels, corners)


def fill(work: Path, data: Path, *, plates: int, crops: int, frames: int) -> None:
    """Bring the pools under ``work`` up to these sizes."""
    real = PictureStore(work / "crops")
    if crops > len(real):
        have = real.names()
        real.append(item for item in real_patches(data, crops) if item.name not in have)
    for name, goal, make in (("plates", plates, plate_patches), ("frames", frames, street_frames)):
        pool = PictureStore(work / name)
        missing = goal - len(pool)
        if missing > 0:
            items = make(len(pool), missing)
            pool.append(iter(track(items, f"rendering {name}", total=missing)))
