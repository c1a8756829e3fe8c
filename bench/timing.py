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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alprd.models import ModelSet
from alprd.reader import RoadReader
from bench.frames import OnePlate, video_frames
from bench.ours import Ours
from bench.systems import System, Watch

Figures = dict[str, float | None]
"""Figures of one system by key; None was not measured, or does not exist for it."""
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame of one system: seconds of processor and clock, plates reported, its watch."""

    cpu: float
    wall: float
    plates: int
    watch: Watch


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
    return Sample(cpu, wall, len(plates), replace(system.watch))


def summary(samples: Sequence[Sample]) -> Figures:
    """The figures of one system: means a frame, and percentiles in milliseconds."""
    watches = [s.watch for s in samples]
    cpu = [s.cpu * 1e3 for s in samples]
    wall = [s.wall * 1e3 for s in samples]
    stages = {
        "total": wall,
        "detect": [w.detect_s * 1e3 for w in watches],
        "ocr": [w.ocr_s * 1e3 for w in watches],
        "rest": [
            (s.wall - s.watch.detect_s - s.watch.ocr_s - s.watch.state_s) * 1e3 for s in samples
        ],
    }
    figures: Figures = {
        "cpu_ms": float(np.mean(cpu)),
        "cpu_ms_p50": float(np.median(cpu)),
        "detect_cpu_ms": float(np.mean([w.detect_cpu_s * 1e3 for w in watches])),
        "ocr_cpu_ms": float(np.mean([w.ocr_cpu_s * 1e3 for w in watches])),
        "frames_s": 1e3 / float(np.mean(wall)),
        "plates_a_frame": float(np.mean([s.plates for s in samples])),
        "crops_a_frame": float(np.mean([w.crops for w in watches])),
        "handed": float(sum(w.handed for w in watches)),
    }
    if any(w.state_s for w in watches):
        stages["state"] = [w.state_s * 1e3 for w in watches]
        figures["state_cpu_ms"] = float(np.mean([w.state_cpu_s * 1e3 for w in watches]))
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
