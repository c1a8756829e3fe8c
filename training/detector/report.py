"""Thresholds, the model's data sheet (``detector.yaml``) and the figures of the model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.progress import Progress

from training.detector import store
from training.detector.evaluate import WIDTH_BANDS, OnnxDetector, Tally, evaluate

# Largest inputs (height, width) by profile: `road` suits 16:9 frames, `photo` photographs.
PROFILES = {"road": (320, 576), "photo": (512, 512)}
# The shipped thresholds keep false boxes a picture on detect/val at or below this, about what the
# peer has on the same labels. By eye most of these boxes are plates that the labels miss.
FALSE_GOAL = 0.20
PEER_FILE = "yolo-v9-t-416-license-plates-end2end-int8.onnx"
PEER_THRESHOLD = 0.25
CARD_BEGIN, CARD_END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True)
class Figures:
    """One detector at one input size and threshold on a set of pictures."""

    name: str
    size: str
    threshold: float
    recall50: float
    recall30: float
    false50: float
    false30: float
    ms_p50: float
    ms_p95: float
    bands50: dict[str, tuple[float, int]]


def figures(name: str, detector: OnnxDetector, tally: Tally, threshold: float) -> Figures:
    """Summarise a tally at a threshold."""
    times = np.asarray(detector.milliseconds)
    bands = {}
    for low, high in WIDTH_BANDS:
        label = f"{low}-{high} px" if high < 1000 else f"{low} px and more"
        bands[label] = (tally.recall(threshold, band=(low, high)), tally.count((low, high)))
    return Figures(
        name=name,
        size=f"{detector.size[1]}x{detector.size[0]}",
        threshold=threshold,
        recall50=tally.recall(threshold),
        recall30=tally.recall(threshold, loose=True),
        false50=tally.false_rate(threshold),
        false30=tally.false_rate(threshold, loose=True),
        ms_p50=float(np.percentile(times, 50)),
        ms_p95=float(np.percentile(times, 95)),
        bands50=bands,
    )


def write_sheet(models: Path, thresholds: dict[str, float], training: dict[str, Any]) -> None:
    """Write ``detector.yaml`` beside ``detector.onnx``."""
    sheet = {
        "file": "detector.onnx",
        "sha256": hashlib.sha256((models / "detector.onnx").read_bytes()).hexdigest(),
        "classes": ["license_plate"],
        "input": {
            "name": "images",
            "layout": "NCHW",
            "colours": "RGB",
            "range": [0.0, 1.0],
            "multiple_of": 32,
            "padding": 114,
        },
        "output": ["batch", "x0", "y0", "x1", "y1", "class", "score"],
        "profiles": {
            name: {"height": size[0], "width": size[1], "threshold": thresholds[name]}
            for name, size in PROFILES.items()
        },
        "training": training,
    }
    text = "# Written by `python -m training.detector export`; do not edit by hand.\n"
    (models / "detector.yaml").write_text(text + yaml.safe_dump(sheet, sort_keys=False))


def read_sheet(models: Path) -> dict[str, Any]:
    """``detector.yaml`` as plain data; raises TrainingDataError when absent."""
    path = models / "detector.yaml"
    try:
        sheet: dict[str, Any] = yaml.safe_load(path.read_text())
    except OSError as exc:
        raise store.TrainingDataError(f"{path} is missing; run the export command first") from exc
    return sheet


def measure(
    data: Path,
    models: Path,
    *,
    threads: int = 1,
    peer: bool = True,
    quiet: bool = False,
    pictures: Sequence[store.Labelled] | None = None,
) -> tuple[dict[str, OnnxDetector], dict[str, Tally]]:
    """Run the shipped model at every profile, and the peer where it lies.

    ``pictures`` are those of detect/val unless given.
    """
    if pictures is None:
        pictures = list(store.read_split(data, "val"))
    model = models / "detector.onnx"
    detectors = {name: OnnxDetector(model, size, threads) for name, size in PROFILES.items()}
    other = data.parent / "peers" / PEER_FILE
    if peer and other.exists():
        detectors["peer"] = OnnxDetector(other, (416, 416), threads)
    with Progress(disable=quiet, console=Console(stderr=True)) as progress:
        task = progress.add_task("detecting", total=len(pictures))
        tallies = evaluate(pictures, detectors, lambda done: progress.update(task, completed=done))
    return detectors, tallies


def table(rows: list[Figures]) -> str:
    """The figures as a Markdown table."""
    out = [
        "| detector | input | threshold | recall IoU 0.5 | recall IoU 0.3 "
        "| false boxes a picture (0.5) | (0.3) | ms p50 | ms p95 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    out += [
        f"| {r.name} | {r.size} | {r.threshold:.2f} | {r.recall50:.1%} | {r.recall30:.1%} "
        f"| {r.false50:.3f} | {r.false30:.3f} | {r.ms_p50:.1f} | {r.ms_p95:.1f} |"
        for r in rows
    ]
    return "\n".join(out)


def band_table(rows: list[Figures]) -> str:
    """Recall at IoU 0.5 by plate width as a Markdown table; number of plates in brackets."""
    bands = [b for b, (_, count) in rows[0].bands50.items() if count]
    out = ["| detector | " + " | ".join(f"{b} ({rows[0].bands50[b][1]})" for b in bands) + " |"]
    out.append("|---" * (len(bands) + 1) + "|")
    for r in rows:
        cells = [f"{r.bands50[b][0]:.0%}" for b in bands]
        out.append(f"| {r.name} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def as_json(sets: dict[str, list[Figures]]) -> str:
    """The figures of each set of pictures for programs."""
    plain = {name: [asdict(row) for row in rows] for name, rows in sets.items()}
    return json.dumps(plain, indent=2)


def update_card(card: Path, text: str) -> None:
    """Replace what stands between the markers of the model card."""
    old = card.read_text()
    if CARD_BEGIN not in old or CARD_END not in old:
        raise store.TrainingDataError(f"{card} lacks the markers {CARD_BEGIN} … {CARD_END}")
    head, rest = old.split(CARD_BEGIN, 1)
    tail = rest.split(CARD_END, 1)[1]
    card.write_text(f"{head}{CARD_BEGIN}\n{text}\n{CARD_END}{tail}")
