"""The figures once more, without the labels of detect/val that a person found wrong.

`val_recount.csv` is the project's own list: every box of the shipped detector (512x512, 0.20 and
more) and of the peer (0.12 and more) that had no IoU of 0.5 with a label was looked at, on
2026-11-29, by one person. A row is a plate of a vehicle that has no label (`unlabelled`, by the
boxes of whoever found it) or a label much larger than its plate (`loose`, the label and the boxes
on its plate). All of them are *set aside*: neither found, nor missed, nor false. So a detector wins
nothing by a box of its own that became a label; it only is not punished for a plate.

What nobody's box touched was not looked at, and a detector of another day may find more plates
without a label, which count as false here as there. The figures are a second opinion beside those
by the labels as they are, never instead of them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from training.detector.evaluate import OnnxDetector, Tally, iou_matrix
from training.detector.store import Boxes, Labelled, TrainingDataError

FILE: Final = Path(__file__).with_name("val_recount.csv")
KINDS: Final = ("unlabelled", "loose")
FIELDS: Final = ("photograph", "kind", "x0", "y0", "x1", "y1")
RATES: Final = (0.05, 0.12, 0.20)
"""False boxes a picture at which recall is told."""
_THE_LABEL: Final = 0.8


def read_recount(path: Path = FILE) -> dict[str, list[tuple[str, list[float]]]]:
    """Kind and box (pixels) of every row, by name of photograph.

    Raises:
        TrainingDataError: the file is missing, or a line is not such a row.
    """
    found: dict[str, list[tuple[str, list[float]]]] = {}
    line = 0
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != FIELDS:
                raise TrainingDataError(f"{path}:1: expected the columns {','.join(FIELDS)}")
            for row in rows:
                line = rows.line_num
                try:
                    box = [float(row[key]) for key in FIELDS[2:]]
                except (TypeError, ValueError) as error:
                    raise TrainingDataError(f"{path}:{rows.line_num}: not a box") from error
                x0, y0, x1, y1 = box
                whole = 0 <= x0 < x1 < math.inf and 0 <= y0 < y1 < math.inf
                if row["kind"] not in KINDS or not whole or not row["photograph"]:
                    raise TrainingDataError(f"{path}:{rows.line_num}: not a box of {KINDS}")
                found.setdefault(row["photograph"], []).append((row["kind"], box))
    except OSError as error:
        raise TrainingDataError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataError(
            f"{path} cannot be read as a table, after line {line}: {error}"
        ) from error
    return found


def recounted(tally: Tally, pictures: Sequence[Labelled]) -> Tally:
    """The boxes of ``tally`` counted against other labels of its pictures, in their order."""
    again = Tally()
    for picture, rows in zip(pictures, tally.rows, strict=True):
        again.add(picture.boxes, rows, picture.optional)
    return again


def set_aside(
    pictures: Iterable[Labelled], doubted: dict[str, list[tuple[str, list[float]]]]
) -> list[Labelled]:
    """The same pictures, with what is doubted of them among their optional boxes."""
    out = []
    for picture in pictures:
        rows = doubted.get(picture.name, [])
        if not rows:
            out.append(picture)
            continue
        boxes: Boxes = np.asarray([box for _, box in rows], np.float32)
        loose: Boxes = np.asarray([box for kind, box in rows if kind == "loose"], np.float32)
        overlap = iou_matrix(picture.boxes, loose.reshape(-1, 4))
        wrong = (overlap > _THE_LABEL).any(1)
        optional = np.concatenate((picture.optional, boxes, picture.boxes[wrong]))
        out.append(replace(picture, boxes=picture.boxes[~wrong], optional=optional))
    return out


def table(
    by_label: dict[str, Tally],
    again: dict[str, Tally],
    detectors: dict[str, OnnxDetector],
    names: dict[str, str],
) -> str:
    """Recall at :data:`RATES` by the labels as they are and recounted, as Markdown."""
    heads = [f"at {rate:.2f}" for rate in RATES]
    counted = [len(next(iter(t.values())).labels) for t in (by_label, again)]
    lines = [
        f"| detector | input | {counted[0]} labels as they are, "
        + " | ".join([*heads, f"{counted[1]} labels recounted, {heads[0]}", *heads[1:]])
        + " |",
        "|---|---|" + "---|" * (2 * len(RATES)),
    ]
    for key, first in by_label.items():
        cells = []
        for tally in (first, again[key]):
            cells += [f"{tally.recall(tally.threshold_for(rate)):.1%}" for rate in RATES]
        size = detectors[key].size
        lines.append(f"| {names[key]} | {size[1]}x{size[0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
