"""Honest figures of the shipped file: every val split, unused type faces, calibration.

Nothing here is ever trained on. The ONNX file is read as the daemon reads it, through
fast-plate-ocr's preprocessing, not the training checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from alprd.models import ModelSet
from plates import FontPool, random_spec, render
from training.ocr import degrade, profile
from training.ocr.labels import (
    IGNORE,
    REGIONS,
    Image,
    Sample,
    decode,
    encode,
    photographs,
    read_boxes,
    read_rgb,
    street,
    us_crops,
    us_text,
)
from training.ocr.layout import HEIGHT, PLATE_SLOTS, WIDTH

FLOORS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
SEED = 20_261_122
Inputs = tuple[NDArray[np.uint8], NDArray[np.int8]]


@dataclass(frozen=True)
class Calibration:
    """Reads whose least sure character is at least `floor`: share of all, share of those wrong."""

    floor: float
    kept: float
    wrong: float


@dataclass(frozen=True)
class Figures:
    """Accuracy on one set; shares 0-1. `state` and `stacked` are None where not labelled."""

    name: str
    plates: int
    exact: float
    exact_o0: float
    character_error: float
    state: float | None
    stacked: float | None
    calibration: tuple[Calibration, ...]


def val_inputs(
    data: Path, name: Literal["us-crops", "us-text"], size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Inputs:
    """:func:`load_inputs` of a val split, for the log of a training.

    Raises:
        FileNotFoundError: its labels are missing.
        ValueError: it is empty, or a picture cannot be decoded.
    """
    samples = us_crops(data, "val") if name == "us-crops" else us_text(data, "val")
    if not samples:
        raise ValueError(
            f"{data / name / 'labels.csv'} has no plate of the val split to evaluate on: --data "
            "must be the folder with SOURCES.md"
        )
    return load_inputs(samples, size=size)


def load_inputs(
    samples: list[Sample], widen: float = 0.0, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Inputs:
    """Network inputs of `size` (height, width) and targets; boxes of whole photographs are widened
    by `widen` a side."""
    images: list[Image] = []
    for sample in samples:
        image = read_rgb(sample.path)
        if sample.box is not None:
            h, w = image.shape[:2]
            x0, y0, x1, y1 = sample.box
            dx, dy = (x1 - x0) * widen, (y1 - y0) * widen
            box = ((x0 - dx) * w, (y0 - dy) * h, (x1 + dx) * w, (y1 + dy) * h)
            image = degrade.crop_box(image, box)
        images.append(degrade.to_input(image, size))
    targets = [encode(s.text, s.stacked, s.region) for s in samples]
    return np.stack(images), np.stack(targets)


def rendered_inputs(count: int, data: Path) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Plates in type faces that no training saw, photographed with difficulty 0-0.7, in front of
    val photographs."""
    rng = np.random.default_rng(SEED)
    fonts = FontPool.load("test")
    surroundings = val_surroundings(data, rng)
    images: list[Image] = []
    targets: list[NDArray[np.int8]] = []
    for _ in range(count):
        spec = random_spec(rng)
        plate = render(spec, rng, fonts=fonts).image
        behind = surroundings[int(rng.integers(len(surroundings)))]
        images.append(degrade.photograph(plate, behind, rng, hard=float(rng.uniform(0, 0.7))))
        targets.append(encode(spec.text, spec.stacked, spec.region))
    return np.stack(images), np.stack(targets)


def val_surroundings(data: Path, rng: np.random.Generator) -> list[Image]:
    """Upper parts of val photographs without a plate, to stand behind rendered ones."""
    found = sorted((data / "detect" / "val").glob("*.jpg")) or photographs(data)
    patches: list[Image] = []
    for path in found[:60]:
        if min((box[1] for box in read_boxes(path)), default=1.0) > 0.35:
            image = read_rgb(path)
            patches.append(image[: image.shape[0] // 3])
    return patches or [rng.integers(0, 255, (64, 128, 3)).astype(np.uint8)]


def distance(a: str, b: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (char != other))
    return row[-1]


def run(
    session: ort.InferenceSession, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The three outputs, stacked over batches of 64."""
    parts = [
        session.run(["plate", "region", "stacked"], {"input": images[at : at + 64]})
        for at in range(0, len(images), 64)
    ]
    plate, region, stacked = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return plate, region, stacked


def figures(
    name: str, session: ort.InferenceSession, images: NDArray[np.uint8], targets: NDArray[np.int8]
) -> Figures:
    """Measure one set."""
    plate, region, stacked = run(session, images)
    truth = [decode(row) for row in targets[:, :PLATE_SLOTS]]
    read = [decode(row) for row in plate.argmax(-1)]
    right = np.array([a == b for a, b in zip(truth, read, strict=True)])
    folded = np.array(
        [a.replace("O", "0") == b.replace("O", "0") for a, b in zip(truth, read, strict=True)]
    )
    errors = sum(distance(a, b) for a, b in zip(truth, read, strict=True))
    least = plate.max(-1).min(-1)  # pads count: a doubtful end of the number is a doubt, too
    calibration = tuple(
        Calibration(
            floor,
            float((least >= floor).mean()),
            float((~folded[least >= floor]).mean()) if (least >= floor).any() else 0.0,
        )
        for floor in FLOORS
    )
    known = targets[:, -1] != IGNORE
    labelled = targets[:, PLATE_SLOTS] != IGNORE
    return Figures(
        name,
        len(truth),
        float(right.mean()),
        float(folded.mean()),
        errors / max(1, sum(map(len, truth))),
        float((region.argmax(-1) == targets[:, -1])[known].mean()) if known.any() else None,
        float((stacked.argmax(-1) == targets[:, PLATE_SLOTS:-1]).all(1)[labelled].mean())
        if labelled.any()
        else None,
        calibration,
    )


def all_figures(model: Path, data: Path, rendered: int) -> list[Figures]:
    """Every set; a state of its own for Minnesota and its neighbours."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    crops = us_crops(data, "val")
    near = [s for s in crops if s.region in ("MN", "WI", "IA", "ND", "SD")]
    abroad = street(data, "val")
    american = [s for s in abroad if s.region is None]
    sets: list[tuple[str, tuple[NDArray[np.uint8], NDArray[np.int8]]]] = [
        ("us-crops val", load_inputs(crops)),
        ("us-crops val, MN", load_inputs([s for s in crops if s.region == "MN"])),
        ("us-crops val, MN WI IA ND SD", load_inputs(near)),
        ("us-text val", load_inputs(us_text(data, "val"))),
        ("detect val, North America, box +5 %", load_inputs(american, 0.05)),
        ("detect val, all countries, box +5 %", load_inputs(abroad, 0.05)),
        (
            f"rendered, unused type faces ({len(REGIONS) - 1} states)",
            rendered_inputs(rendered, data),
        ),
    ]
    sets += [
        (f"detect val, all countries, box {widen:+.0%}", load_inputs(abroad, widen))
        for widen in (-0.05, 0.0, 0.1, 0.15)
    ]
    return [figures(name, session, *inputs) for name, inputs in sets]


def report(model: Path, data: Path, rendered: int, *, as_json: bool) -> str:
    """The figures as a Markdown table (or JSON) for the model card."""
    found = all_figures(model, data, rendered)
    if as_json:
        return json.dumps([asdict(f) for f in found], indent=2)
    lines = ["| set | plates | exact | exact, O=0 | character error | state | stacked |"]
    lines.append("|---|---|---|---|---|---|---|")

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    for f in found:
        shares = (f.exact, f.exact_o0, f.character_error, f.state, f.stacked)
        lines.append(f"| {f.name} | {f.plates} | {' | '.join(percent(v) for v in shares)} |")
    lines += [
        "",
        "Reads kept at a floor of the least sure character, and wrong among them (O=0):",
        "",
    ]
    lines.append("| set | " + " | ".join(f"≥ {floor}" for floor in FLOORS) + " |")
    lines.append("|---|" + "---|" * len(FLOORS))
    for f in found[:7]:
        cells = " | ".join(f"{c.kept:.0%}, {c.wrong:.1%}" for c in f.calibration)
        lines.append(f"| {f.name} | {cells} |")
    state = model.with_name("state.onnx")
    models = ModelSet(
        model.with_name("detector.onnx"),
        model,
        model.with_suffix(".yaml"),
        state if state.is_file() else None,
        state.with_suffix(".yaml") if state.is_file() else None,
    )
    lines += ["", "As the `photo` profile reads them, several crops of each plate fused:", ""]
    lines.append(profile.table(models, data))
    return "\n".join(lines)


def write_card(card: Path, figures_text: str) -> None:
    """Replace what stands between the figure marks of a model card.

    Raises:
        ValueError: the card has no such marks.
    """
    begin, end = "<!-- figures: begin -->\n", "<!-- figures: end -->"
    text = card.read_text(encoding="utf-8")
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{card}: the lines {begin.strip()!r} and {end!r} are missing")
    card.write_text(f"{head}{begin}{figures_text}\n{end}{tail}", encoding="utf-8")
