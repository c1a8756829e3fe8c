"""A small folder of labelled photographs, drawn, and pools of noise: enough for a few steps."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from training.detector.store import Labelled, PictureStore
from training.ocr.labels import encode
from training.ocr.pool import write_shard


def lay_out(folder: Path) -> Path:
    """Lay `folder` out as `../shared/data`, with drawn pictures and invented plates."""
    picture = np.full((60, 120, 3), 90, np.uint8)

    def write(path: Path, rows: list[dict[str, str]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    crop = {"stacked": "", "stacked_pos": "", "source": "eye"}
    write(
        folder / "us-crops" / "labels.csv",
        [
            {"file": "NORTH_DAKOTA/a.jpg", "text": "AAA111", "sure": "1", "split": "train", **crop},
            {"file": "IOWA/b.jpg", "text": "BBB222", "sure": "1", "split": "val", **crop},
            {"file": "IOWA/c.jpg", "text": "CCC333", "sure": "0", "split": "train", **crop},
        ],
    )
    write(
        folder / "us-text" / "labels.csv",
        [
            {"file": "d.jpg", "text": "DDD444", "state": "MN", "source": "oi-x", "split": "train"},
            {"file": "e.jpg", "text": "EEE555", "state": "", "source": "km", "split": "train"},
            {"file": "f.jpg", "text": "FFF666", "state": "", "source": "oi-x", "split": "val"},
        ],
    )
    rows = []
    for split, name, country in (
        ("train", "oi_1.jpg", "United States"),
        ("train", "km_2.jpg", "Norway"),
        ("val", "rl_3.jpg", "Romania"),
    ):
        rows.append(
            {"image": f"{split}/{name}", "box": "0", "text": "GGG777", "o0_ambiguous": "0",
             "country": country}
        )  # fmt: skip
        path = folder / "detect" / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
        path.with_suffix(".txt").write_text("0 0.5 0.8 0.4 0.2\n", encoding="utf-8")
    write(folder / "detect" / "text.csv", rows)
    for name in (
        "us-crops/NORTH_DAKOTA/a.jpg",
        "us-crops/IOWA/b.jpg",
        "us-crops/IOWA/c.jpg",
        "us-text/d.jpg",
        "us-text/e.jpg",
        "us-text/f.jpg",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), picture)
    return folder


def noise_shard(pool: Path, height: int, width: int) -> None:
    """Eight crops of noise as one shard of rendered plates, whose labels are of Minnesota."""
    pool.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(5).integers(0, 256, (8, height, width, 3), np.uint8)
    write_shard(pool, "rendered-000", (images, np.stack([encode("ABC123", "", "MN")] * 8)))


def plates_store(work: Path) -> None:
    """One plate to set in, grey, as the detector's `pool` makes them."""
    plate = np.full((120, 240, 4), 200, np.uint8)
    PictureStore(work / "plates").append(
        iter([Labelled("plate_0", plate, np.zeros((0, 4), np.float32))])
    )
