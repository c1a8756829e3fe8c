"""A pool of ready training crops on disk, refreshed without end by one low-priority process.

A fixed pool of 80,000 stalled at 57 % on real plates, so shards are replaced while training reads
them: a shard is written beside its place and renamed over it, and a reader that has the old file
mapped keeps it. A shard is two files, `<kind>-<nnn>.images.npy` (n, 64, 128, 3) uint8 and
`<kind>-<nnn>.targets.npy` (n, 13) int8 (see `labels.encode`).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from plates import FontPool, PlateSpec, random_spec, render, states
from plates.designs import designs
from plates.pixels import resized
from plates.trim import words
from training.licences import mark_pool
from training.ocr import degrade
from training.ocr.labels import (
    Image,
    Sample,
    encode,
    photographs,
    read_boxes,
    read_rgb,
    street,
    us_crops,
    us_text,
)
from training.ocr.layout import HEIGHT, WIDTH

SHARD = 1000
# Shards kept of each kind, and the order of work: rendered plates come twice as often.
KINDS = {"rendered": 48, "crops": 40, "street": 14, "negative": 4}
# Becker County sees Minnesota, then its neighbours.
REGION_WEIGHTS = {"MN": 9.0, "WI": 3.0, "IA": 3.0, "ND": 4.0, "SD": 3.0}
# Designs whose animal, plant or rock stands behind a character, and the share of rendered plates
# that they are drawn for besides their own: test drives showed T read as I, F as E and V as Y
# where a dark animal hides the foot of the last letter.
MOTIFS = {
    "nd-legendary": 6, "nd-bison": 1, "sd-rushmore": 1, "sd-2016": 1, "la-pelican": 1,
    "az-highways": 1, "az-2020": 1, "sc-sunset": 1, "or-tree": 1, "ok-rainmaker": 1,
}  # fmt: skip
_MOTIF_SHARE = 0.14
_LETTERING = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 &-."
Made = tuple[Image, NDArray[np.int8]]


@dataclass
class Sources:
    """What the pool is made of; `surroundings` are patches of photographs without a plate, `size`
    the (height, width) of the crops, `strict` leaves doubtful licences out."""

    fonts: FontPool
    crops: list[Sample]
    street: list[Sample]
    surroundings: list[Image]
    size: tuple[int, int] = (HEIGHT, WIDTH)
    strict: bool = False

    @classmethod
    def load(cls, data: Path, *, strict: bool, rng: np.random.Generator) -> Sources:
        """Read the lists of `data` and cut some 900 patches of surroundings."""
        found = photographs(data, strict=strict)
        patches: list[Image] = []
        for path in (found[int(i)] for i in rng.permutation(len(found))[:300]):
            image = read_rgb(path)
            boxes = read_boxes(path)
            for _ in range(12):
                patch = _patch(image, boxes, rng)
                if patch is not None:
                    patches.append(patch)
                    if len(patches) % 3 == 0:
                        break
        return cls(
            FontPool.load("train"),
            [] if strict else us_crops(data, "train"),
            us_text(data, "train", strict=strict) * 3 + street(data, "train", strict=strict),
            patches,
            strict=strict,
        )


def _patch(
    image: Image, boxes: list[tuple[float, float, float, float]], rng: np.random.Generator
) -> Image | None:
    """A random part of a photograph that no labelled plate touches, or None."""
    w, h = float(rng.uniform(0.08, 0.5)), float(rng.uniform(0.08, 0.4))
    x, y = float(rng.uniform(0, 1 - w)), float(rng.uniform(0, 1 - h))
    for x0, y0, x1, y1 in boxes:
        if x < x1 + 0.02 and x + w > x0 - 0.02 and y < y1 + 0.02 and y + h > y0 - 0.02:
            return None
    height, width = image.shape[:2]
    part = image[int(y * height) : int((y + h) * height), int(x * width) : int((x + w) * width)]
    if part.shape[0] < 12 or part.shape[1] < 24:
        return None
    return np.asarray(resized(part, 256, 128, cv2.INTER_AREA), np.uint8)


def _hard(rng: np.random.Generator) -> float:
    """Difficulty of one crop: a quarter clean, the rest spread."""
    return 0.0 if rng.random() < 0.22 else float(rng.beta(1.4, 1.3))


def _surroundings(sources: Sources, rng: np.random.Generator) -> Image:
    if rng.random() < 0.2:
        colour = rng.integers(0, 255, 3).astype(np.uint8)
        return np.broadcast_to(colour, (16, 32, 3)).copy()
    return sources.surroundings[int(rng.integers(len(sources.surroundings)))]


def _photograph(plate: Image, sources: Sources, rng: np.random.Generator) -> Image:
    behind = _surroundings(sources, rng)
    return degrade.photograph(plate, behind, rng, hard=_hard(rng), size=sources.size)


def make_rendered(sources: Sources, rng: np.random.Generator) -> Iterator[Made]:
    """A rendered plate, photographed three times."""
    if rng.random() < _MOTIF_SHARE:
        spec = before_a_motif(rng)
    else:
        weights = None if rng.random() < 0.5 else {**_flat_weights(), **REGION_WEIGHTS}
        spec = random_spec(rng, region_weights=weights, any_share=0.6, vanity_share=0.1)
    plate = render(spec, rng, fonts=sources.fonts, wear=bool(rng.random() < 0.85)).image
    target = encode(spec.text, spec.stacked, spec.region)
    for _ in range(3):
        yield _photograph(plate, sources, rng), target


def before_a_motif(rng: np.random.Generator) -> PlateSpec:
    """A plate of one of the designs of `MOTIFS`."""
    names = list(MOTIFS)
    shares = np.array([MOTIFS[name] for name in names], np.float64)
    wanted = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    region = designs()[wanted].region
    while True:
        spec = random_spec(rng, region=region, vanity_share=0.1, old_share=0.0)
        if spec.design == wanted:
            return spec


def _flat_weights() -> dict[str, float]:
    return dict.fromkeys(states(), 1.0)


def make_crops(sources: Sources, rng: np.random.Generator) -> Iterator[Made]:
    """A real frontal crop: half of them nearly as it is, the others photographed as a plate is."""
    sample = sources.crops[int(rng.integers(len(sources.crops)))]
    image = read_rgb(sample.path)
    target = encode(sample.text, sample.stacked, sample.region)
    for _ in range(2):
        if rng.random() < 0.35:
            h, w = image.shape[:2]
            side = rng.uniform(-0.035, 0.035, 4)
            box = (side[0] * w, side[1] * h, w * (1 + side[2]), h * (1 + side[3]))
            near = degrade.relight(degrade.crop_box(image, box), rng, hard=0.35)
            yield degrade.to_input(near, sources.size), target
        else:
            wide = resized(image, 256, 128)
            yield _photograph(wide, sources, rng), target


def make_street(sources: Sources, rng: np.random.Generator) -> Iterator[Made]:
    """A plate cut out of its photograph by a detector-like box, four times in other light."""
    sample = sources.street[int(rng.integers(len(sources.street)))]
    image = read_rgb(sample.path)
    h, w = image.shape[:2]
    target = encode(sample.text, sample.stacked, sample.region)
    if sample.box is None:  # already a crop, with about 8 % around the plate
        box = (0.07 * w, 0.07 * h, 0.93 * w, 0.93 * h)
    else:
        x0, y0, x1, y1 = sample.box
        box = (x0 * w, y0 * h, x1 * w, y1 * h)
    for _ in range(4):
        turned = _turn(image, box, rng) if rng.random() < 0.6 else image
        seen = degrade.relight(degrade.crop_box(turned, box, rng), rng, hard=0.7)
        yield degrade.to_input(seen, sources.size), target


def _turn(image: Image, box: tuple[float, float, float, float], rng: np.random.Generator) -> Image:
    """Turn and shear the picture a little about the centre of `box`."""
    angle, shear = np.deg2rad(rng.normal(0, 2.5)), rng.normal(0, 0.04)
    linear = np.array([[np.cos(angle), -np.sin(angle) + shear], [np.sin(angle), np.cos(angle)]])
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    matrix = np.hstack([linear, (centre - linear @ centre)[:, None]])
    size = (image.shape[1], image.shape[0])
    return np.asarray(
        cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def make_negative(sources: Sources, rng: np.random.Generator) -> Iterator[Made]:
    """No plate: parts of photographs, and badges or lettering that must not be read as one."""
    target = encode("", "", None)
    image = _surroundings(sources, rng).copy()
    image = np.asarray(resized(image, 256, 128), np.uint8)
    if rng.random() < 0.5:
        letters = rng.choice(list(_LETTERING[:26] + "   "), int(rng.integers(8, 26)))
        mask = words(
            sources.fonts, rng, "".join(letters) + "X", "plain", int(rng.integers(8, 26)), 240
        )
        y, x = int(rng.integers(0, 128 - mask.shape[0])), int(rng.integers(0, 256 - mask.shape[1]))
        area = image[y : y + mask.shape[0], x : x + mask.shape[1]]
        share = mask[..., None].astype(np.float32) / 255
        area[:] = (area * (1 - share) + rng.uniform(0, 255, 3) * share).astype(np.uint8)
    yield _photograph(image, sources, rng), target


MAKERS: dict[str, Callable[[Sources, np.random.Generator], Iterator[Made]]] = {
    "rendered": make_rendered,
    "crops": make_crops,
    "street": make_street,
    "negative": make_negative,
}


def make_shard(kind: str, sources: Sources, rng: np.random.Generator, count: int = SHARD) -> Made:
    """`count` crops of one kind with their targets, shuffled."""
    images: list[Image] = []
    targets: list[NDArray[np.int8]] = []
    while len(images) < count:
        for image, target in MAKERS[kind](sources, rng):
            images.append(image)
            targets.append(target)
    order = rng.permutation(len(images))[:count]
    return np.stack([images[int(i)] for i in order]), np.stack([targets[int(i)] for i in order])


def write_shard(folder: Path, name: str, made: Made) -> None:
    """Write both files and rename them into place, targets last."""
    for part, array in zip(("images", "targets"), made, strict=True):
        path = folder / f"{name}.{part}.npy"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.save(file, array)
        os.replace(temporary, path)  # noqa: PTH105 - one atomic step, as the docstring says


def plan(kinds: dict[str, int], first: dict[str, int]) -> Iterator[tuple[str, int]]:
    """The order in which shards are made: a little of every kind first, then round and round."""
    for kind, count in first.items():
        for number in range(min(count, kinds[kind])):
            yield kind, number
    at = {kind: first.get(kind, 0) for kind in kinds}
    for step in itertools.count():
        for kind, every in (
            ("rendered", 1),
            ("crops", 1),
            ("rendered", 2),
            ("street", 3),
            ("negative", 12),
        ):
            if kind in kinds and step % every == 0:
                yield kind, at[kind] % kinds[kind]
                at[kind] += 1


def fill(
    folder: Path, sources: Sources, seed: int, *, minutes: float | None, kinds: dict[str, int]
) -> int:
    """Make shards until `minutes` have passed (None: until stopped). Returns how many were made.

    Raises:
        InputError: the folder was made of other `sources` (strict ones, or all).
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark_pool(folder, strict=sources.strict)
    cv2.setNumThreads(1)
    begun, made = time.monotonic(), 0
    first = {"rendered": 6, "crops": 6, "street": 2, "negative": 1}
    generation = len(list(folder.glob("*.targets.npy")))
    rng = np.random.default_rng([seed, generation, int(time.time()) if generation else 0])
    for kind, number in plan(kinds, {k: v for k, v in first.items() if k in kinds}):
        if minutes is not None and time.monotonic() - begun > 60 * minutes:
            break
        write_shard(folder, f"{kind}-{number:03d}", make_shard(kind, sources, rng))
        made += 1
    return made
