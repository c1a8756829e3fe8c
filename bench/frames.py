"""Pictures to time on: rendered frames with one plate, and the videos of the ready drive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from alprd.errors import InputError
from alprd.frames import Box, Frame, Image
from bench.data import spread
from sim.camera import HEIGHT, WIDTH, Camera, patrol_cameras
from sim.drive import FIXTURE_DIR
from sim.frame import FrameRenderer
from sim.truth import SEEN_PX, Sight, sights
from sim.world import FPS, World, build_world

SEED: Final = 920_001
"""First of the drives that are rendered for timing; no training and no test uses them."""
CAMERA: Final = "left"
"""This camera of a patrol car mostly sees one plate or none, the other a street full."""
PER_DRIVE: Final = 100
SECONDS: Final = 60.0
VIDEOS: Final = FIXTURE_DIR


@dataclass(frozen=True, slots=True)
class OnePlate:
    """A 1280x720 BGR frame and the box of the only plate in view."""

    image: Image
    box: Box


def one_plate_frames(count: int, advance: Callable[[], None] = lambda: None) -> list[OnePlate]:
    """``count`` frames with exactly one plate in view, clear and 40 px wide or more.

    They are rendered from the drives that begin at :data:`SEED`, spread over each drive.
    """
    frames: list[OnePlate] = []
    seed = SEED
    while len(frames) < count:
        world = build_world(seed, SECONDS, "test")
        camera = patrol_cameras()[CAMERA]
        wanted = min(PER_DRIVE, count - len(frames))
        # Every fourth of what is looked through would do: most frames have one plate.
        step = max(1, world.frames // (4 * wanted))
        chosen = spread(_alone(world, camera, step), wanted)
        renderer = FrameRenderer(world, camera)
        for index, box in chosen:
            bgr = np.ascontiguousarray(renderer.render(index)[:, :, ::-1])
            frames.append(OnePlate(bgr, box))
            advance()
        seed += 1
    return frames


def _alone(world: World, camera: Camera, step: int) -> list[tuple[int, Box]]:
    """Frames with one plate, of every ``step``-th, and its box."""
    found: list[tuple[int, Box]] = []
    for index in range(0, world.frames, step):
        visible = [s for s in sights(world, camera, index).values() if _in_view(s)]
        if len(visible) == 1 and visible[0].clear and visible[0].width >= SEEN_PX:
            found.append((index, visible[0].box))
    return found


def _in_view(sight: Sight) -> bool:
    low, high = sight.quad.min(0), sight.quad.max(0)
    return bool(high[0] > 0 and high[1] > 0 and low[0] < WIDTH and low[1] < HEIGHT)


def video_frames(path: Path, limit: int | None = None) -> Iterator[Frame]:
    """The first ``limit`` frames of a video, decoded one by one on the calling thread.

    Raises:
        InputError: it cannot be opened.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise InputError(f"{path} cannot be opened", remedy="render it: make fixtures")
        number = 0
        while limit is None or number < limit:
            told, image = capture.read()
            if not told:
                return
            instant = round(number * 1e9 / FPS)
            yield Frame(path.stem, np.asarray(image, np.uint8), instant, number)
            number += 1
    finally:
        capture.release()


def video_length(path: Path) -> int:
    """Number of frames that a video says it has.

    Raises:
        InputError: it cannot be opened.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise InputError(f"{path} cannot be opened", remedy="render it: make fixtures")
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
