"""`python -m plates OUT.jpg [--sheet NAME]`: a contact sheet of rendered plates.

Sheets: `states` (one plate of each jurisdiction), `midwest` (all designs of Minnesota and its
neighbours), `weather` (the same plates in bad conditions). All numbers are invented.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from plates import FontPool, designs, random_spec, render, states
from plates.designs import Design, designs_of
from plates.pixels import resized
from plates.weather import CONDITIONS

CELL = (180, 90)
GAP, LABEL = 6, 14
MIDWEST = ("MN", "WI", "IA", "ND", "SD", "IL", "MI")
WEATHERED = ("mn-lake", "mn-blackout", "wi-dairyland", "ia-county", "nd-legendary", "sd-rushmore")
Image = NDArray[np.uint8]


def plate_of(design: Design, rng: np.random.Generator, fonts: FontPool, *, wear: bool) -> Image:
    """A plate of `design` with an invented number, RGB."""
    share = 1.0 if design.era == "old" else 0.0
    while True:
        spec = random_spec(rng, region=design.region, vanity_share=0.0, old_share=share)
        if spec.design == design.id:
            return render(spec, rng, fonts=fonts, wear=wear).image


def _cell(image: Image, label: str) -> Image:
    width = min(round(image.shape[1] * CELL[1] / image.shape[0]), CELL[0])
    small = resized(image, width, CELL[1], cv2.INTER_AREA)
    cell = np.full((CELL[1] + LABEL + GAP, CELL[0] + GAP, 3), 255, np.uint8)
    left = (CELL[0] - width) // 2
    cell[: CELL[1], left : left + width] = small
    at = (left, CELL[1] + LABEL - 3)
    cv2.putText(cell, label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (60, 60, 60), 1, cv2.LINE_AA)
    return cell


def _grid(cells: list[Image], columns: int) -> Image:
    blank = np.full_like(cells[0], 255)
    cells = cells + [blank] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.asarray(np.vstack(rows), np.uint8)


def states_sheet(rng: np.random.Generator, fonts: FontPool) -> Image:
    """The first design of every jurisdiction, little worn."""
    cells = [_cell(plate_of(designs_of(c)[0], rng, fonts, wear=False), c) for c in sorted(states())]
    return _grid(cells, 6)


def midwest_sheet(rng: np.random.Generator, fonts: FontPool) -> Image:
    """Every design of Minnesota and its neighbours, worn as in traffic."""
    own = [design for code in MIDWEST for design in designs_of(code)]
    return _grid([_cell(plate_of(d, rng, fonts, wear=True), d.id) for d in own], 6)


def weather_sheet(rng: np.random.Generator, fonts: FontPool) -> Image:
    """Some designs (columns) new and in every condition (rows)."""
    plates = [plate_of(designs()[name], rng, fonts, wear=False) for name in WEATHERED]
    cells = [_cell(plate, "new") for plate in plates]
    for name, condition in CONDITIONS.items():
        for column, plate in enumerate(plates):
            strength = 0.2 + 0.7 * column / (len(plates) - 1)
            cells.append(_cell(condition(plate, rng, strength), f"{name} {strength:.1f}"))
    return _grid(cells, len(plates))


SHEETS = {"states": states_sheet, "midwest": midwest_sheet, "weather": weather_sheet}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m plates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--sheet", choices=sorted(SHEETS), default="states")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    image = SHEETS[options.sheet](np.random.default_rng(options.seed), FontPool.load("train"))
    sheet = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        written = cv2.imwrite(str(options.out), sheet, [cv2.IMWRITE_JPEG_QUALITY, 80])
    except cv2.error:  # a suffix that no encoder knows
        written = False
    if not written:
        raise SystemExit(
            f"{options.out} cannot be written: name a .jpg or .png in a folder that exists"
        )


if __name__ == "__main__":
    main()
