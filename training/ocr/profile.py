"""The val splits as the `photo` profile reads them: several crops of each plate, fused.

`training.ocr.evaluate` measures the network, one crop a plate. `alprd read` cuts each plate
several times and fuses what it reads; these are the figures of that, with the classes and the
settings of the vehicle's own code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alprd.issuer import IssuerReader
from alprd.models import ModelSet
from alprd.ocr import PlateReader
from alprd.profiles import PHOTO, ReaderSettings
from alprd.still import read_cuts
from training.ocr import degrade
from training.ocr.labels import Image, Sample, read_rgb, street, us_crops, us_text

# Crops of `us-text` have about this much around the plate, a side (SOURCES.md: 8 % of the plate).
TEXT_MARGIN = 0.069


@dataclass(frozen=True)
class Figures:
    """Shares 0-1 of one set; `sure` are told as sure of every character, `sure_wrong` of them have
    another text, O and 0 being two characters."""

    name: str
    plates: int
    exact: float
    exact_o0: float
    sure: float
    sure_wrong: float


def cut_of(sample: Sample, margin: float = 0.0) -> Callable[[float], Image]:
    """What cuts the plate of `sample` as BGR, grown by a share of its size a side."""
    image = read_rgb(sample.path)
    h, w = image.shape[:2]
    x0, y0, x1, y1 = sample.box or (margin, margin, 1 - margin, 1 - margin)

    def cut(widening: float) -> Image:
        dx, dy = (x1 - x0) * widening, (y1 - y0) * widening
        box = ((x0 - dx) * w, (y0 - dy) * h, (x1 + dx) * w, (y1 + dy) * h)
        return np.ascontiguousarray(degrade.crop_box(image, box)[..., ::-1])

    return cut


def figures(
    name: str,
    ocr: PlateReader,
    samples: list[Sample],
    margin: float = 0.0,
    settings: ReaderSettings = PHOTO,
) -> Figures:
    """Read one set."""
    exact = folded = sure = wrong = 0
    for sample in samples:
        (fused,) = read_cuts([cut_of(sample, margin)], ocr, settings)
        text = fused.reading.text if fused else ""
        same = text.replace("O", "0") == sample.text.replace("O", "0")
        exact += text == sample.text
        folded += same
        if fused and fused.reading.exact:
            sure += 1
            wrong += text != sample.text
    count = len(samples)
    return Figures(name, count, exact / count, folded / count, sure / count, wrong / count)


def table(models: ModelSet, data: Path) -> str:
    """Markdown of every set, for the model card."""
    issuer = None
    if models.state is not None and models.state_config is not None:
        issuer = IssuerReader(models.state, models.state_config)
    ocr = PlateReader(models.ocr, models.ocr_config, issuer=issuer)
    abroad = street(data, "val")
    found = [
        figures("us-crops val", ocr, us_crops(data, "val")),
        figures("us-text val", ocr, us_text(data, "val"), TEXT_MARGIN),
        figures(
            "detect val, North America", ocr, [sample for sample in abroad if not sample.region]
        ),
        figures("detect val, all countries", ocr, abroad),
    ]
    lines = [
        "| set | plates | exact | exact, O=0 | sure | wrong and sure |",
        "|---|---|---|---|---|---|",
    ]
    for f in found:
        shares = (f.exact, f.exact_o0, f.sure, f.sure_wrong)
        lines.append(f"| {f.name} | {f.plates} | {' | '.join(f'{v:.1%}' for v in shares)} |")
    return "\n".join(lines)
