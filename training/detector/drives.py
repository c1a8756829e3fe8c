"""Frames of rendered test drives with the plates that a person could see, for evaluation.

The drives use the simulator's test textures and the reserved type faces, which training never
sees. The frames are not video-coded.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim.camera import patrol_cameras
from sim.frame import FrameRenderer
from sim.truth import SEEN_PX, sights
from sim.world import FPS, build_world
from training.detector.store import Labelled

# Drives of the model card; no test and no training run uses these seeds.
SEEDS = (910_001, 910_002, 910_003)


def drive_frames(
    seed: int, *, seconds: float = 60.0, every: float = 1.0, phase: float = 0.5
) -> Iterator[Labelled]:
    """Frames (720, 1280) of both cameras, one each ``every`` seconds.

    Labels are the clear plates of at least 40 px; those that are smaller, covered, cut, smeared
    or unlit are optional: to find them is neither required nor false.
    """
    world = build_world(seed, seconds, "test")
    for camera in patrol_cameras().values():
        renderer = FrameRenderer(world, camera)
        for index in range(int(phase * FPS), world.frames, max(1, round(every * FPS))):
            wanted: list[list[float]] = []
            optional: list[list[float]] = []
            for sight in sights(world, camera, index).values():
                x, y, w, h = sight.box
                row = [x, y, x + w, y + h]
                (wanted if sight.clear and sight.width >= SEEN_PX else optional).append(row)
            yield Labelled(
                f"drive_{seed}_{camera.name}_{index}",
                renderer.render(index),
                np.asarray(wanted, np.float32).reshape(-1, 4),
                np.asarray(optional, np.float32).reshape(-1, 4),
            )
