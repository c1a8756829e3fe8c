"""The labelled pictures of ``../shared/data`` (its ``SOURCES.md``), as the benchmark needs them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from alprd.errors import InputError

Split = Literal["train", "val"]
Share = tuple[float, float, float, float]
"""Centre and size (cx, cy, w, h) as shares of the picture."""
T = TypeVar("T")
_TEXT = ("file", "image", "split", "text", "cx", "cy", "w", "h")
_CROPS = ("file", "text", "stacked", "split", "sure")


@dataclass(slots=True)
class Photograph:
    """A photograph with what is known of it.

    ``plates`` are all its labelled boxes, None where detection is not to be counted; ``texts``
    the boxes whose text a person has read.
    """

    path: Path
    split: Split
    plates: list[Share] | None = None
    texts: list[tuple[Share, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Crop:
    """A picture that is one plate. ``stacked`` are its small letters, "" where none or unknown."""

    path: Path
    text: str
    stacked: str = ""


def photographs(data: Path, limit: int | None = None) -> list[Photograph]:
    """All of ``detect/val``, and the photographs of both splits named in ``us-text``.

    Args:
        limit: at most so many of ``detect/val``, and of each split of ``us-text``.

    Raises:
        InputError: the folder or a label in it is missing or malformed.
    """
    found: dict[Path, Photograph] = {}
    folder = data / "detect" / "val"
    pictures = sorted(folder.glob("*.jpg"))
    if not pictures:
        raise InputError(f"{folder} holds no photograph", remedy="see its SOURCES.md")
    for path in spread(pictures, limit):
        found[path] = Photograph(path, "val", plates=_boxes(path.with_suffix(".txt")))
    texts: dict[Split, dict[Path, list[tuple[Share, str]]]] = {"val": {}, "train": {}}
    for row in _rows(data / "us-text" / "labels.csv", _TEXT):
        split: Split = "val" if row["split"] == "val" else "train"
        path = data / "detect" / split / row["image"]
        share = (float(row["cx"]), float(row["cy"]), float(row["w"]), float(row["h"]))
        texts[split].setdefault(path, []).append((share, row["text"]))
    for split, named in texts.items():
        for path in spread(sorted(named), limit):
            found.setdefault(path, Photograph(path, split)).texts = named[path]
    return list(found.values())


def text_crops(data: Path, limit: int | None = None) -> list[Crop]:
    """The crops of ``us-text`` val, cut from the originals of larger size."""
    rows = [r for r in _rows(data / "us-text" / "labels.csv", _TEXT) if r["split"] == "val"]
    return [Crop(data / "us-text" / r["file"], r["text"]) for r in spread(rows, limit)]


def frontal_crops(data: Path, limit: int | None = None) -> list[Crop]:
    """The crops of ``us-crops`` val whose text is certain and has two characters or more."""
    rows = [
        r
        for r in _rows(data / "us-crops" / "labels.csv", _CROPS)
        if r["split"] == "val" and r["sure"] == "1" and len(r["text"]) > 1
    ]
    return [
        Crop(data / "us-crops" / r["file"], r["text"], r["stacked"]) for r in spread(rows, limit)
    ]


def spread(items: Sequence[T], limit: int | None) -> list[T]:
    """``limit`` of ``items`` at equal distances; all of them where there are no more."""
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[number * len(items) // limit] for number in range(limit)]


def _boxes(path: Path) -> list[Share]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        rows = [tuple(float(word) for word in line.split()) for line in lines]
        return [(cx, cy, w, h) for _, cx, cy, w, h in rows]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no labels 'class cx cy w h': {error}") from error


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table that must have ``columns``."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            lacking = [name for name in columns if name not in (table.fieldnames or ())]
            rows = list(table)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    if lacking:
        raise InputError(f"{path}:1: lacks {', '.join(lacking)}", remedy="see its SOURCES.md")
    for number, row in enumerate(rows, 2):
        if any(row[name] is None for name in columns):
            raise InputError(f"{path}: row {number} has too few columns")
    return rows
