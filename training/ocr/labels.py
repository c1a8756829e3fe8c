"""The labelled photographs of `--data` and how their labels become training targets.

Layout and caveats of the folder: its `SOURCES.md`. Nothing of a `val` split is ever returned for
training, and rows that the reader doubted (`sure` = 0) are left out.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from plates import states
from training.ocr.layout import ALPHABET, PAD, PLATE_SLOTS, STACKED_SLOTS

Image = NDArray[np.uint8]
Split = Literal["train", "val"]

REGIONS = (*sorted(states()), "other")
OTHER = REGIONS.index("other")
IGNORE = -1
TARGET_WIDTH = PLATE_SLOTS + STACKED_SLOTS + 1
# A stricter reading of the licences keeps these sources of `detect` only (SOURCES.md).
STRICT_PREFIXES = ("oi_", "oif_", "rl_")


@dataclass(frozen=True)
class Sample:
    """One labelled plate.

    `box` is (x0, y0, x1, y1) in shares of the picture, or None if the picture is a tight crop.
    `stacked` None means not labelled; `region` None means unknown.
    """

    path: Path
    text: str
    stacked: str | None
    region: str | None
    box: tuple[float, float, float, float] | None = None


def encode(text: str, stacked: str | None, region: str | None) -> NDArray[np.int8]:
    """Targets of one sample, int8 (9 + 3 + 1): slots, stacked slots, region; -1 = not labelled.

    Raises:
        ValueError: the text is longer than the slots or has a character outside the alphabet.
    """
    if len(text) > PLATE_SLOTS or (stacked is not None and len(stacked) > STACKED_SLOTS):
        raise ValueError(f"{len(text)}+{len(stacked or '')} characters do not fit the slots")
    target = np.full(TARGET_WIDTH, PAD, np.int8)
    target[: len(text)] = [ALPHABET.index(char) for char in text]
    if stacked is None:
        target[PLATE_SLOTS:-1] = IGNORE
    else:
        end = PLATE_SLOTS + len(stacked)
        target[PLATE_SLOTS:end] = [ALPHABET.index(char) for char in stacked]
    target[-1] = IGNORE if region is None else REGIONS.index(region)
    return target


def decode(slots: NDArray[np.integer]) -> str:
    """Characters of slot indices; trailing pads are dropped, as fast-plate-ocr does."""
    return "".join(ALPHABET[int(i)] for i in slots).rstrip(ALPHABET[PAD])


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: --data must be the folder with SOURCES.md")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def state_of_folder(name: str) -> str:
    """USPS code of a folder of `us-crops`, such as NORTH_DAKOTA."""
    wanted = name.replace("_", " ").lower()
    for code, state in states().items():
        if state.name.lower().replace(",", "") == wanted:
            return code
    raise ValueError(f"us-crops folder {name!r} is no state's name")


def us_crops(data: Path, split: Split) -> list[Sample]:
    """Tight, frontal crops with state. In `val` only those with two characters or more."""
    found: list[Sample] = []
    for row in _rows(data / "us-crops" / "labels.csv"):
        text, stacked = row["text"], row["stacked"]
        if row["split"] != split or row["sure"] != "1" or not text:
            continue
        if split == "val" and len(text) < 2:
            continue
        found.append(
            Sample(
                data / "us-crops" / row["file"],
                text[:PLATE_SLOTS],
                stacked if len(stacked) <= STACKED_SLOTS else None,
                state_of_folder(row["file"].split("/")[0]),
            )
        )
    return found


def us_states(data: Path, split: Split) -> list[Sample]:
    """All crops of `us-crops` with their state, also those whose text is in doubt (no text)."""
    return [
        Sample(data / "us-crops" / row["file"], "", "", state_of_folder(row["file"].split("/")[0]))
        for row in _rows(data / "us-crops" / "labels.csv")
        if row["split"] == split
    ]


def us_text(data: Path, split: Split, *, strict: bool = False) -> list[Sample]:
    """Crops of US plates on vehicles, with a margin of about 8 % a side."""
    return [
        Sample(data / "us-text" / row["file"], row["text"], None, row["state"] or None)
        for row in _rows(data / "us-text" / "labels.csv")
        if row["split"] == split and not (strict and not row["source"].startswith("oi-"))
    ]


def street(data: Path, split: Split, *, strict: bool = False) -> list[Sample]:
    """Plates of many countries in whole photographs (`detect/text.csv`)."""
    found: list[Sample] = []
    for row in _rows(data / "detect" / "text.csv"):
        name = row["image"].split("/")[1]
        if not row["image"].startswith(split) or row["o0_ambiguous"] == "1":
            continue
        if strict and not name.startswith(STRICT_PREFIXES):
            continue
        path = data / "detect" / row["image"]
        boxes = read_boxes(path)
        country = row["country"]
        region = None if country in ("United States", "Unknown", "Canada", "Mexico") else "other"
        found.append(Sample(path, row["text"][:PLATE_SLOTS], None, region, boxes[int(row["box"])]))
    return found


def read_boxes(image: Path) -> list[tuple[float, float, float, float]]:
    """Plate boxes (x0, y0, x1, y1), shares of the picture, from the YOLO file beside `image`."""
    boxes: list[tuple[float, float, float, float]] = []
    for line in image.with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        _, cx, cy, w, h = (float(value) for value in line.split())
        boxes.append((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
    return boxes


def photographs(data: Path, *, strict: bool = False) -> list[Path]:
    """Whole training photographs, for surroundings and for crops without a plate."""
    found = sorted((data / "detect" / "train").glob("*.jpg"))
    return [path for path in found if not strict or path.name.startswith(STRICT_PREFIXES)]


def read_rgb(path: Path) -> Image:
    """A picture as uint8 RGB.

    Raises:
        ValueError: it cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a readable picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
