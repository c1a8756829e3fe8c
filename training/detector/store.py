"""Decoded pictures with boxes in two plain files, read by memory map.

JPEG decoding of four pictures for every mosaic would cost more than the network's own step, so
pictures are decoded once. ``pictures.bin`` holds the pixels one after another, ``index.jsonl``
one line for each picture. Both only grow; a reader sees what was complete when it opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.errors import AlprdError

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]

# Sources whose licence is traceable to the photographers (data/SOURCES.md).
STRICT_PREFIXES = ("oi_", "oif_", "rl_")


class TrainingDataError(AlprdError):
    """Training data is missing or malformed; the message names the file and what to do."""


@dataclass(frozen=True)
class Labelled:
    """A picture (RGB or RGBA, ``[H, W, C]``) and its plates ``[G, 4]`` as x0, y0, x1, y1 px.

    ``optional`` boxes count neither for nor against a detector, in training and evaluation.
    """

    name: str
    pixels: Pixels
    boxes: Boxes
    optional: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))


class PictureStore:
    """Append-only store of :class:`Labelled` pictures in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bin = folder / "pictures.bin"
        self._index = folder / "index.jsonl"
        self._rows: list[tuple[str, int, tuple[int, int, int], Boxes]] = []
        self._map: NDArray[np.uint8] | None = None
        self._aside: dict[str, tuple[Boxes, set[int]]] = {}
        if self._index.exists():
            for number, line in enumerate(self._index.read_text().splitlines(), 1):
                try:
                    row = json.loads(line)
                    h, w, c = row["shape"]
                    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4)
                    self._rows.append((row["name"], int(row["offset"]), (h, w, c), boxes))
                except (ValueError, KeyError) as exc:
                    raise TrainingDataError(
                        f"{self._index}:{number}: broken line; delete {folder} and build it again"
                    ) from exc

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> set[str]:
        """Names of the pictures held."""
        return {row[0] for row in self._rows}

    def only(self, keep: tuple[str, ...]) -> None:
        """Drop, for this reader, the pictures whose name starts with none of ``keep``."""
        self._rows = [row for row in self._rows if row[0].startswith(keep)]

    def set_aside(self, path: Path) -> None:
        """Apply a review (see :mod:`training.detector.review`) to the pictures read from here."""
        if not path.exists():
            return
        try:
            rows = json.loads(path.read_text())
            self._aside = {
                name: (np.asarray(row["ignore"], np.float32).reshape(-1, 4), set(row["drop"]))
                for name, row in rows.items()
            }
        except (ValueError, KeyError, TypeError) as exc:
            raise TrainingDataError(f"{path} is broken; delete it or review again") from exc

    def append(self, items: Iterator[Labelled]) -> None:
        """Add pictures; the index line is written after the pixels, so a crash loses one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._bin.open("ab") as pixels, self._index.open("a") as index:
            for item in items:
                offset = pixels.tell()
                data = np.ascontiguousarray(item.pixels)
                pixels.write(data.tobytes())
                pixels.flush()
                boxes = np.asarray(item.boxes, np.float32).reshape(-1, 4)
                row = {
                    "name": item.name,
                    "offset": offset,
                    "shape": data.shape,
                    "boxes": [[round(float(v), 2) for v in box] for box in boxes],
                }
                index.write(json.dumps(row) + "\n")
                index.flush()
                h, w, c = data.shape
                self._rows.append((item.name, offset, (h, w, c), boxes))
        self._map = None

    def __getitem__(self, number: int) -> Labelled:
        if self._map is None:
            self._map = np.memmap(self._bin, np.uint8, "r")
        name, offset, shape, boxes = self._rows[number]
        size = shape[0] * shape[1] * shape[2]
        pixels = self._map[offset : offset + size].reshape(shape)
        if name not in self._aside:
            return Labelled(name, pixels, boxes.copy())
        ignore, drop = self._aside[name]
        kept = np.asarray([k not in drop for k in range(len(boxes))], bool)
        return Labelled(name, pixels, boxes[kept], np.concatenate((ignore, boxes[~kept])))


def read_labels(path: Path, width: int, height: int) -> Boxes:
    """Boxes ``[G, 4]`` in pixels from a YOLO text file (``0 cx cy w h``, normalised)."""
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            _, cx, cy, w, h = (float(part) for part in line.split())
        except ValueError as exc:
            raise TrainingDataError(f"{path}:{number}: expected 'class cx cy w h'") from exc
        rows.append(
            [
                (cx - w / 2) * width,
                (cy - h / 2) * height,
                (cx + w / 2) * width,
                (cy + h / 2) * height,
            ]
        )
    return np.asarray(rows, np.float32).reshape(-1, 4)


def read_split(data: Path, split: str, strict: bool = False) -> Iterator[Labelled]:
    """Photographs of ``data/detect/<split>`` in order of name, RGB.

    ``strict`` leaves out the sources whose licence is the uploader's claim only.
    Raises :class:`TrainingDataError` where the folder or a label is missing.
    """
    folder = data / "detect" / split
    if not folder.is_dir():
        raise TrainingDataError(f"{folder} is missing; pass --data with the folder of SOURCES.md")
    for path in sorted(folder.glob("*.jpg")):
        if strict and not path.name.startswith(STRICT_PREFIXES):
            continue
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise TrainingDataError(f"{path} cannot be decoded; fetch it again")
        rgb = np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8)
        label = path.with_suffix(".txt")
        if not label.exists():
            raise TrainingDataError(f"{label} is missing beside its photograph")
        yield Labelled(path.name, rgb, read_labels(label, rgb.shape[1], rgb.shape[0]))
