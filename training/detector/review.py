"""Regions of the training photographs that the labels are probably wrong about.

By eye, about half of the surest "false" boxes on the photographs are plates that nobody labelled,
or labels much looser than their plate. Teaching against them costs recall. A trained detector
therefore looks through the training photographs (never those of val): sure boxes away from any
label, and labels that a sure box contradicts, are neither taught nor punished from then on.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.progress import track

from training.detector.evaluate import OnnxDetector, iou_matrix
from training.detector.store import PictureStore, TrainingDataError

REVIEW_FILE = "review.json"
SURE = 0.5
# Above this width (px of the photograph) the label is trusted: of large plates a young detector
# surely finds parts.
_WIDEST = 130.0
# Between these a box speaks of the same plate as the label, but of another size.
_SAME, _FITS = 0.1, 0.5


def review(work: Path, model: Path, size: tuple[int, int] = (512, 640)) -> dict[str, int]:
    """Write ``work/review.json``; returns how many regions and labels were set aside.

    Raises:
        TrainingDataError: the working folder holds no photographs yet.
    """
    photos = PictureStore(work / "photos")
    if not len(photos):
        raise TrainingDataError(
            f"{work / 'photos'} holds no photograph yet: the `train` command decodes them"
        )
    detector = OnnxDetector(model, size)
    found: dict[str, dict[str, list[object]]] = {}
    counts = {"unlabelled": 0, "loose": 0}
    for number in track(range(len(photos)), "reviewing photographs"):
        item = photos[number]
        rows = detector(item.pixels)
        wide, high = rows[:, 2] - rows[:, 0], rows[:, 3] - rows[:, 1]
        rows = rows[(rows[:, 4] >= SURE) & (wide < _WIDEST) & (wide > 1.2 * high)]
        overlap = iou_matrix(rows[:, :4], item.boxes)
        best = overlap.max(1) if len(item.boxes) else overlap.sum(1)
        aside = rows[best < _FITS][:, :4].round(1)
        loose = [
            k
            for k in range(len(item.boxes))
            if len(rows)
            and item.boxes[k, 2] - item.boxes[k, 0] < _WIDEST
            and _SAME < float(overlap[:, k].max()) < _FITS
        ]
        if len(aside) or loose:
            found[item.name] = {"ignore": aside.tolist(), "drop": list(loose)}
            counts["unlabelled"] += int((best <= _SAME).sum())
            counts["loose"] += len(loose)
    (work / REVIEW_FILE).write_text(json.dumps(found))
    return counts
