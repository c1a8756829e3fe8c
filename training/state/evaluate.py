"""Honest figures of the shipped state classifier, read as the vehicle reads it.

Nothing here is ever trained on: the val splits, and plates in type faces of the `test` split.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alprd.issuer import IssuerReader
from alprd.profiles import PHOTO
from plates import FontPool, random_spec, render
from training.ocr import degrade
from training.ocr.evaluate import SEED, val_surroundings
from training.ocr.labels import Image, read_rgb, us_crops, us_text
from training.state.network import HEIGHT, WIDTH

FLOORS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
NEAR = ("MN", "WI", "IA", "ND", "SD")


@dataclass(frozen=True)
class Figures:
    """One set: share right by one crop and by those fused that the `photo` profile asks for, and
    per floor (one crop) the share told and the share wrong among those."""

    name: str
    plates: int
    right: float
    fused: float
    floors: tuple[tuple[float, float, float], ...]


def _bgr(crop: Image, widening: float) -> Image:
    """`crop` grown by `widening` a side (its edge repeated), BGR."""
    h, w = crop.shape[:2]
    dx, dy = widening * w, widening * h
    return np.ascontiguousarray(degrade.crop_box(crop, (-dx, -dy, w + dx, h + dy))[..., ::-1])


def figures(
    name: str, reader: IssuerReader, crops: list[Image], states: list[str | None]
) -> Figures:
    """Measure RGB `crops` with their true `states`."""
    found: NDArray[np.float32] = reader.read([_bgr(crop, 0.0) for crop in crops])
    logs = [np.log(reader.read([_bgr(c, w) for c in crops]) + 1e-6) for w in PHOTO.widenings]
    fused = [reader.regions[int(n)] for n in np.sum(logs, axis=0).argmax(1)]
    told = [reader.regions[int(n)] for n in found.argmax(1)]
    right = np.array([a == b for a, b in zip(told, states, strict=True)])
    sure = found.max(1)
    floors = []
    for floor in FLOORS:
        kept = sure >= floor
        floors.append((floor, float(kept.mean()), float((~right[kept]).mean()) if any(kept) else 0))
    agreed = np.mean([a == b for a, b in zip(fused, states, strict=True)])
    return Figures(name, len(crops), float(right.mean()), float(agreed), tuple(floors))


def rendered(count: int, data: Path) -> tuple[list[Image], list[str | None]]:
    """Plates in type faces that no training saw, photographed with difficulty 0-0.7."""
    rng = np.random.default_rng(SEED + 1)
    fonts, behind = FontPool.load("test"), val_surroundings(data, rng)
    crops: list[Image] = []
    states: list[str | None] = []
    for _ in range(count):
        spec = random_spec(rng)
        plate = render(spec, rng, fonts=fonts).image
        patch = behind[int(rng.integers(len(behind)))]
        hard = float(rng.uniform(0, 0.7))
        crops.append(degrade.photograph(plate, patch, rng, hard=hard, size=(HEIGHT, WIDTH)))
        states.append(spec.region)
    return crops, states


def all_figures(models: Path, data: Path, count: int) -> list[Figures]:
    """Every set; Minnesota and its neighbours apart."""
    reader = IssuerReader(models / "state.onnx", models / "state.yaml")
    crops = us_crops(data, "val")
    near = [s for s in crops if s.region in NEAR]
    home = [s for s in crops if s.region == "MN"]
    street = [s for s in us_text(data, "val") if s.region]
    found = [
        figures(name, reader, [read_rgb(s.path) for s in part], [s.region for s in part])
        for name, part in (
            ("us-crops val", crops),
            ("us-crops val, MN", home),
            ("us-crops val, MN WI IA ND SD", near),
            ("us-text val, where the state is legible", street),
        )
    ]
    found.append(figures("rendered, unused type faces", reader, *rendered(count, data)))
    return found


def report(models: Path, data: Path, count: int, *, as_json: bool) -> str:
    """The figures as Markdown tables (or JSON) for the model card."""
    found = all_figures(models, data, count)
    if as_json:
        return json.dumps([asdict(f) for f in found], indent=2)
    lines = [
        "| set | plates | state right | fused | "
        + " | ".join(f"told at ≥ {floor}, wrong among them" for floor in FLOORS)
        + " |",
        "|---|---|---|---|" + "---|" * len(FLOORS),
    ]
    for f in found:
        cells = " | ".join(f"{kept:.0%}, {wrong:.1%}" for _, kept, wrong in f.floors)
        lines.append(f"| {f.name} | {f.plates} | {f.right:.1%} | {f.fused:.1%} | {cells} |")
    return "\n".join(lines)
