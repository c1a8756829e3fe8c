"""Renders the picture of the car's daily self-check: ``python -m sim.selfcheck``.

One frame of a test scene by day, cut so that only one plate is in it, which is invented as
every plate of the simulator is. ``alprd/models/selfcheck.png`` is the picture and
``selfcheck.txt`` its truth; equal seeds give equal pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.convoy import Convoy, ConvoyRenderer, Scene, build_convoy
from sim.drive import DriveError

FOLDER: Final = Path(__file__).resolve().parent.parent / "alprd" / "models"
SEED: Final = 460
SCENES: Final = 24
SIZE: Final = (270, 480)
"""Height and width of the picture, in pixels of the camera: nothing is scaled."""
WIDTHS: Final = (90.0, 200.0)
"""Bounds of the plate's width in pixels: as near as a car in the next lane."""
SMEAR: Final = 1.0
"""Most motion blur of the plate, in pixels."""


Box = tuple[float, float, float, float]


def picture(seed: int = SEED) -> tuple[NDArray[np.uint8], str]:
    """The picture (H, W, 3) BGR and its truth, ``TEXT STATE``.

    Raises:
        DriveError: no scene of this seed has a readable plate of a fitting size by day.
    """
    convoy = build_convoy(seed, "front", SCENES)
    for scene in convoy.scenes:
        for index, (top, left), truth in _choices(scene):
            frame = _frame(convoy, scene, index)
            cut = frame[top : top + SIZE[0], left : left + SIZE[1]]
            return np.ascontiguousarray(cut[:, :, ::-1]), truth
    raise DriveError(f"seed {seed} has no scene that fits; try another")


def _choices(scene: Scene) -> Iterator[tuple[int, tuple[int, int], str]]:
    """Frames that fit: number, top and left of the cut, truth."""
    if scene.light != "day":
        return
    for actor in scene.actors:
        passed = scene.passes.get(actor.vehicle.id)
        spec = actor.vehicle.spec
        if passed is None or not passed.readable or spec.stacked:
            continue
        for index, sight in scene.seen.get(actor.vehicle.id, []):
            if sight.smear > SMEAR or not WIDTHS[0] <= sight.box[2] <= WIDTHS[1]:
                continue
            place = _place(sight.box)
            others = (
                seen.box
                for vehicle, sights in scene.seen.items()
                for number, seen in sights
                if number == index and vehicle != actor.vehicle.id
            )
            if not any(_in(box, place) for box in others):
                yield index, place, f"{spec.text} {spec.region}"


def _place(box: Box) -> tuple[int, int]:
    """Top and left of a cut around a box, inside the frame of 1280 x 720."""
    x, y, w, h = box
    top, left = y + h / 2 - SIZE[0] / 2, x + w / 2 - SIZE[1] / 2
    return int(np.clip(top, 0, 720 - SIZE[0])), int(np.clip(left, 0, 1280 - SIZE[1]))


def _in(box: Box, place: tuple[int, int]) -> bool:
    (x, y, w, h), (top, left) = box, place
    return x + w > left and x < left + SIZE[1] and y + h > top and y < top + SIZE[0]


def _frame(convoy: Convoy, scene: Scene, index: int) -> NDArray[np.uint8]:
    return next(islice(ConvoyRenderer(convoy).pictures(scene), index - scene.first, None))


def main() -> None:
    """Write picture and truth."""
    parser = argparse.ArgumentParser(prog="python -m sim.selfcheck", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    image, truth = picture(args.seed)
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise SystemExit("the picture cannot be encoded")
    (args.out / "selfcheck.png").write_bytes(data.tobytes())
    (args.out / "selfcheck.txt").write_text(truth + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
