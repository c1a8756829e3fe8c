"""Training scenes: a stream of pictures with boxes, each a function of (seed, number)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import IterableDataset

from training.detector import augment, paste
from training.detector.augment import Kinds
from training.detector.review import REVIEW_FILE
from training.detector.store import Boxes, Labelled, PictureStore, Pixels

# Input shapes (height, width) of about the same area: square for photographs, wide for frames.
SHAPES = ((384, 384), (320, 448), (288, 512))
MAX_BOXES = 24


@dataclass(frozen=True)
class Mix:
    """Chances of the ingredients of a scene."""

    mosaic: float = 0.35
    flip: float = 0.3
    rotate: float = 0.25
    cover: float = 0.25
    scatter: float = 0.1
    lettering: float = 0.25
    rendered: float = 0.1

    def without(self, kinds: Sequence[str]) -> Mix:
        """The mix of an ablation that leaves out ``frames``, ``pasted`` plates or ``lettering``."""
        mix = self
        if "frames" in kinds:
            mix = replace(mix, rendered=0.0)
        if "pasted" in kinds:
            mix = replace(mix, cover=0.0, scatter=0.0)
        if "lettering" in kinds:
            mix = replace(mix, lettering=0.0)
        return mix


@dataclass(frozen=True)
class Batch:
    """Pictures ``[N, H, W, 3]`` uint8 RGB, boxes ``[N, G, 4]`` px, kinds ``[N, G]``."""

    pixels: Tensor
    boxes: Tensor
    kinds: Tensor


class Scenes(IterableDataset[Batch]):
    """Batches ``first, first + 1, ...`` up to ``last``, shared out over the loader's workers.

    ``folder`` holds the stores ``photos`` and, where they were built, ``plates`` (rendered
    plates, RGBA) and ``frames`` (rendered street scenes).
    """

    def __init__(
        self,
        folder: Path,
        batch: int,
        first: int,
        last: int,
        seed: int,
        mix: Mix,
        keep: tuple[str, ...] = (),
    ) -> None:
        self.photos = PictureStore(folder / "photos")
        self.photos.set_aside(folder / REVIEW_FILE)
        if keep:
            self.photos.only(keep)
        self.plates = PictureStore(folder / "plates")
        self.crops = PictureStore(folder / "crops")
        if keep:
            self.crops.only(keep)
        self.frames = PictureStore(folder / "frames")
        self.batch, self.first, self.last, self.seed, self.mix = batch, first, last, seed, mix

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        start, step = (info.id, info.num_workers) if info else (0, 1)
        for number in range(self.first + start, self.last, step):
            yield self.make(number)

    def make(self, number: int) -> Batch:
        """Batch ``number``; one input shape for all its pictures."""
        shape = SHAPES[int(np.random.default_rng([self.seed, number]).integers(len(SHAPES)))]
        pixels = np.empty((self.batch, *shape, 3), np.uint8)
        boxes = np.zeros((self.batch, MAX_BOXES, 4), np.float32)
        kinds = np.zeros((self.batch, MAX_BOXES), np.int64)
        for k in range(self.batch):
            rng = np.random.default_rng([self.seed, number, k])
            picture, b, t = self.scene(shape, rng)
            count = min(len(b), MAX_BOXES)
            pixels[k], boxes[k, :count], kinds[k, :count] = picture, b[:count], t[:count]
        return Batch(torch.from_numpy(pixels), torch.from_numpy(boxes), torch.from_numpy(kinds))

    def _pick(self, rng: Generator) -> Labelled:
        if len(self.frames) and rng.random() < self.mix.rendered:
            return self.frames[int(rng.integers(len(self.frames)))]
        return self.photos[int(rng.integers(len(self.photos)))]

    def _patches(self, rng: Generator) -> list[Pixels]:
        """Four plates to paste: rendered ones and, half the time, real frontal crops."""
        real = len(self.crops) > 0 and rng.random() < 0.5
        pool = self.crops if real else self.plates
        return [pool[int(rng.integers(len(pool)))].pixels for _ in range(4)]

    def scene(self, shape: tuple[int, int], rng: Generator) -> tuple[Pixels, Boxes, Kinds]:
        """One augmented picture with its boxes and kinds."""
        if rng.random() < self.mix.mosaic:
            pixels, boxes, kinds = self._mosaic(shape, rng)
        else:
            pixels, boxes, kinds = augment.random_window(self._pick(rng), shape, rng)
        if rng.random() < self.mix.flip:
            pixels, boxes = augment.flip(pixels, boxes)
        if rng.random() < self.mix.rotate:
            pixels, boxes, kinds = augment.rotate(pixels, boxes, kinds, float(rng.normal(0, 3.0)))
        if len(self.plates):
            if rng.random() < self.mix.cover:
                boxes = paste.cover_plates(pixels, boxes, kinds, self._patches(rng), rng)
            if rng.random() < self.mix.scatter:
                boxes, kinds = paste.scatter_plates(pixels, boxes, kinds, self._patches(rng), rng)
        if rng.random() < self.mix.lettering:
            paste.add_lettering(pixels, boxes, rng)
        pixels = augment.sensor(augment.light(pixels, rng), rng)
        return pixels, boxes, kinds

    def _mosaic(self, shape: tuple[int, int], rng: Generator) -> tuple[Pixels, Boxes, Kinds]:
        h, w = shape
        my, mx = int(h * rng.uniform(0.35, 0.65)), int(w * rng.uniform(0.35, 0.65))
        canvas = np.empty((h, w, 3), np.uint8)
        boxes: list[Boxes] = []
        kinds: list[Kinds] = []
        for y0, y1, x0, x1 in ((0, my, 0, mx), (0, my, mx, w), (my, h, 0, mx), (my, h, mx, w)):
            part, b, k = augment.random_window(self._pick(rng), (y1 - y0, x1 - x0), rng)
            canvas[y0:y1, x0:x1] = part
            boxes.append(b + np.asarray([x0, y0, x0, y0], np.float32))
            kinds.append(k)
        return canvas, np.concatenate(boxes), np.concatenate(kinds)
