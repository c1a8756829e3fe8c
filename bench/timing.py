"""Time of several systems on the same frames, in one process, turn by turn.

Every frame goes through every system before the next one comes, in an order that changes with
each frame: what else the machine does meets all of them alike, so ratios hold where milliseconds
do not. Processor time is that of the whole process (a hidden thread would count); everything here
runs on one thread, and nothing else of this process runs meanwhile.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alprd.models import ModelSet
from alprd.reader import RoadReader
from bench.frames import OnePlate, video_frames
from bench.ours import Ours
from bench.systems import System

Figures = dict[str, float | None]
"""Figures of one system by key; None was not measured, or does not exist for it."""
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame of one system. Times in seconds: processor, clock, and stages by the clock."""

    cpu: float
    wall: float
    detect: float
    ocr: float
    state: float
    state_cpu: float
    plates: int
    crops: int
    handed: int


def interleave(
    systems: Sequence[System],
    frames: Sequence[OnePlate],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, list[Sample]]:
    """Time every system on every frame; samples by name of the system."""
    for system in systems:
        for frame in frames[:WARM_UP]:
            system.read(frame.image, frame.box)
    samples: dict[str, list[Sample]] = {system.name: [] for system in systems}
    orders = itertools.cycle(list(itertools.permutations(systems)))
    gc.collect()
    for frame, order in zip(frames, orders, strict=False):
        for system in order:
            samples[system.name].append(_sample(system, frame))
        advance()
    return samples


def _sample(system: System, frame: OnePlate) -> Sample:
    wall, cpu = time.perf_counter(), time.process_time()
    plates = system.read(frame.image, frame.box)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    watch = system.watch
    return Sample(
        cpu,
        wall,
        watch.detect_s,
        watch.ocr_s,
        watch.state_s,
        watch.state_cpu_s,
        len(plates),
        watch.crops,
        watch.handed,
    )


def summary(samples: Sequence[Sample]) -> Figures:
    """The figures of one system: means a frame, and percentiles in milliseconds."""
    cpu = [s.cpu * 1e3 for s in samples]
    wall = [s.wall * 1e3 for s in samples]
    stages = {
        "total": wall,
        "detect": [s.detect * 1e3 for s in samples],
        "ocr": [s.ocr * 1e3 for s in samples],
        "rest": [(s.wall - s.detect - s.ocr - s.state) * 1e3 for s in samples],
    }
    if any(s.state for s in samples):
        stages["state"] = [s.state * 1e3 for s in samples]
    figures: Figures = {
        "cpu_ms": float(np.mean(cpu)),
        "cpu_ms_p50": float(np.median(cpu)),
        "frames_s": 1e3 / float(np.mean(wall)),
        "plates_a_frame": float(np.mean([s.plates for s in samples])),
        "crops_a_frame": float(np.mean([s.crops for s in samples])),
        "handed": float(sum(s.handed for s in samples)),
    }
    if "state" in stages:
        figures["state_cpu_ms"] = float(np.mean([s.state_cpu * 1e3 for s in samples]))
    for name, values in stages.items():
        figures[f"{name}_ms_p50"] = float(np.percentile(values, 50))
        figures[f"{name}_ms_p95"] = float(np.percentile(values, 95))
    return figures


def follow(
    videos: Iterable[Path],
    models: ModelSet,
    peer: System | None,
    limit: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Figures]:
    """The daemon's reader (``road``) on consecutive frames of videos; the peer on each frame.

    The daemon skips still pictures, follows plates and reads only crops that may add something;
    the peer has no such thing and reads every frame. Decoding is not counted for either.

    Args:
        videos: one camera each.
        limit: frames of each video, None for all.

    Returns:
        The figures by system, ``road`` and ``peer``; the latter only where there is one.
    """
    spent = {"road": 0.0} | ({"peer": 0.0} if peer is not None else {})
    crops = dict.fromkeys(spent, 0)
    frames = looks = 0
    for video in videos:
        ours = Ours("road", models)
        reader = RoadReader(video.stem, ours.detector, ours.ocr, ours.settings)
        for frame in video_frames(video, limit):
            for name in sorted(spent, reverse=frames % 2 == 0):
                ours.watch.reset()
                began = time.process_time()
                if name == "road":
                    reader.process(frame)
                elif peer is not None:
                    peer.read(frame.image)
                spent[name] += time.process_time() - began
                watch = ours.watch if name == "road" or peer is None else peer.watch
                crops[name] += watch.crops
                looks += name == "road" and watch.detect_s > 0
            frames += 1
            advance()
    if not frames:
        return {}
    figures: dict[str, Figures] = {
        name: {
            "video_cpu_ms": spent[name] * 1e3 / frames,
            "video_crops_a_frame": crops[name] / frames,
            "video_detects_a_frame": 1.0,
            "video_frames": float(frames),
        }
        for name in spent
    }
    figures["road"]["video_detects_a_frame"] = looks / frames
    return figures
