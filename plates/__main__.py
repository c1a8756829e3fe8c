"""`python -m plates OUT.jpg`: a contact sheet of rendered plates, to look at and for the docs."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from plates import FontPool, designs, random_spec, render
from plates.pixels import resized

CELL = (180, 90)
GAP = 6
MINNESOTA = tuple(
    f"mn-{name}"
    for name in (
        "lake lake blackout explore veteran habitat truck trailer motorcycle disability 1970s "
        "special-reg"
    ).split()
)


def contact_sheet(seed: int, columns: int = 6) -> NDArray[np.uint8]:
    """Minnesota's designs, then one plate of every other named design, RGB."""
    rng, fonts = np.random.default_rng(seed), FontPool.load("train")
    wanted = list(MINNESOTA) + [d.id for d in designs().values() if d.region != "MN"]
    cells: list[NDArray[np.uint8]] = []
    for name in wanted[: len(wanted) // columns * columns]:
        spec = random_spec(rng, region=designs()[name].region)
        while spec.design != name:
            spec = random_spec(rng, region=designs()[name].region)
        image = render(spec, rng, fonts=fonts).image
        width = round(image.shape[1] * CELL[1] / image.shape[0])
        small = resized(image, min(width, CELL[0]), CELL[1], cv2.INTER_AREA)
        cell = np.full((CELL[1] + GAP, CELL[0] + GAP, 3), 255, np.uint8)
        left = (CELL[0] - small.shape[1]) // 2
        cell[: CELL[1], left : left + small.shape[1]] = small
        cells.append(cell)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m plates", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sheet = cv2.cvtColor(contact_sheet(options.seed), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(options.out), sheet, [cv2.IMWRITE_JPEG_QUALITY, 82]):
        raise SystemExit(
            f"{options.out} cannot be written: name a .jpg or .png in a folder that exists"
        )


if __name__ == "__main__":
    main()
