"""Following plates from frame to frame.

A plate is small and moves by more than its own size between two frames of an oncoming car, so
boxes are matched by the distance of their centres from where a constant-velocity filter expects
them, measured in plate sizes, and by size. As in ByteTrack (Zhang et al., 2022), boxes of low
score may continue a track but never begin one. Time comes from the frames' instants: dropped
frames stretch the prediction, not the bookkeeping.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from alprd.frames import Box, Detection, Image
from alprd.profiles import ReaderSettings

_NS: Final = 1e-9
_GATE: Final = 1.2
"""Largest distance, in mean plate widths, from the predicted centre of an established track."""
_FRESH_GATE: Final = 3.0
"""The same while the velocity is unknown (one box seen)."""
_GATE_GROWTH: Final = 4.0
"""The gate widens by this much for each second without a box."""
_MAX_RATIO: Final = 1.7
"""Largest change of size between two boxes of one plate."""
_APART: Final = 0.7
"""Farther than this from where it was expected, in mean plate widths, a box must also be of the
plate's shape: behind a vehicle that hid the plate a false box of twice its height was taken."""
_MAX_SIDE_RATIO: Final = 1.5
"""Largest change of width, and of height, of such a box, and 1 more for each second without one.
A track that has one box only does not know where to expect the next, nor how sizes change."""


@dataclass(slots=True, eq=False)
class Track:
    """One plate-like thing in view. Positions in pixels, speeds in pixels a second."""

    number: int
    box: Box
    score: float
    first_mono_ns: int
    last_mono_ns: int
    frames: int = 1
    best_score: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)
    growth: float = 0.0
    """Relative change of size a second."""

    def predict(self, mono_ns: int) -> Box:
        """Where the box should be at an instant, at constant velocity and growth."""
        dt = max(0.0, (mono_ns - self.last_mono_ns) * _NS)
        x, y, w, h = self.box
        scale = math.exp(max(-0.7, min(0.7, self.growth * dt)))
        cx = x + w / 2 + self.velocity[0] * dt
        cy = y + h / 2 + self.velocity[1] * dt
        return cx - w * scale / 2, cy - h * scale / 2, w * scale, h * scale

    def update(self, detection: Detection, mono_ns: int) -> None:
        """Take in the box of this frame; an alpha-beta filter smooths speed and growth."""
        dt = (mono_ns - self.last_mono_ns) * _NS
        if dt > 0:
            ox, oy = centre(self.box)
            nx, ny = centre(detection.box)
            speed = ((nx - ox) / dt, (ny - oy) / dt)
            growth = math.log(size(detection.box) / size(self.box)) / dt
            keep = 0.0 if self.frames == 1 else 0.5
            self.velocity = (
                keep * self.velocity[0] + (1 - keep) * speed[0],
                keep * self.velocity[1] + (1 - keep) * speed[1],
            )
            slow = 0.5 if self.frames == 1 else 0.8  # sizes jitter more than centres
            self.growth = slow * self.growth + (1 - slow) * growth
        self.box, self.score, self.last_mono_ns = detection.box, detection.score, mono_ns
        self.best_score = max(self.best_score, detection.score)
        self.frames += 1


@dataclass(slots=True)
class Step:
    """What one frame brought."""

    seen: list[tuple[Track, Detection]] = field(default_factory=list)
    lost: list[Track] = field(default_factory=list)


class Tracker:
    """Assigns the boxes of each frame to tracks. Not thread-safe."""

    def __init__(self, settings: ReaderSettings) -> None:
        self._settings = settings
        self._tracks: list[Track] = []
        self._next = 0

    @property
    def tracks(self) -> Sequence[Track]:
        """The live tracks."""
        return tuple(self._tracks)

    def update(self, detections: Sequence[Detection], mono_ns: int) -> Step:
        """Take in the boxes of the frame of ``mono_ns`` (which must not run backwards)."""
        settings = self._settings
        step = Step()
        strong = [d for d in detections if d.score >= settings.high_threshold]
        weak = [
            d for d in detections if settings.low_threshold <= d.score < settings.high_threshold
        ]
        for track in list(self._tracks):
            # After a stall of the camera the gate is as wide as the road: whatever stands there
            # now would be taken for the vehicle of before.
            if (mono_ns - track.last_mono_ns) * _NS > settings.stitch_s:
                self._tracks.remove(track)
                step.lost.append(track)
        free = list(self._tracks)
        for boxes in (strong, weak):
            pairs = _assign(free, boxes, mono_ns)
            for track, detection in pairs:
                track.update(detection, mono_ns)
                free.remove(track)
                boxes.remove(detection)
                step.seen.append((track, detection))
        for track in free:
            if (mono_ns - track.last_mono_ns) * _NS > settings.max_missed_s:
                self._tracks.remove(track)
                step.lost.append(track)
        for detection in strong:
            if len(self._tracks) >= settings.max_tracks:
                break
            track = Track(
                self._next,
                detection.box,
                detection.score,
                mono_ns,
                mono_ns,
                best_score=detection.score,
            )
            self._next += 1
            self._tracks.append(track)
            step.seen.append((track, detection))
        return step

    def clear(self) -> list[Track]:
        """End every track and return them."""
        ended, self._tracks = self._tracks, []
        return ended


def centre(box: Box) -> tuple[float, float]:
    """Middle of a box."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def size(box: Box) -> float:
    """Geometric mean of width and height, at least one pixel."""
    return math.sqrt(max(1.0, box[2]) * max(1.0, box[3]))


def near(track: Track, box: Box, mono_ns: int) -> float | None:
    """Cost of continuing ``track`` with ``box``: 0 is perfect, None is out of the question."""
    expected = track.predict(mono_ns)
    ratio = size(box) / size(expected)
    if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
        return None
    (ex, ey), (bx, by) = centre(expected), centre(box)
    # Sideways a plate is as long as its width; a gate in heights would lose fast crossings.
    reach = max(1.0, (expected[2] + box[2]) / 2)
    distance = math.hypot(ex - bx, ey - by) / reach
    missed = max(0.0, (mono_ns - track.last_mono_ns) * _NS)
    known = track.frames > 1
    if known and distance > _APART and not _alike(expected, box, _MAX_SIDE_RATIO + missed):
        return None
    gate = (_FRESH_GATE if track.frames == 1 else _GATE) + _GATE_GROWTH * missed
    return distance + abs(math.log(ratio)) if distance <= gate else None


def _alike(a: Box, b: Box, most: float) -> bool:
    """Whether neither side changes by more than ``most``."""
    return all(1 / most <= max(1.0, b[side]) / max(1.0, a[side]) <= most for side in (2, 3))


def sharpness(image: Image) -> float:
    """How much fine detail a crop holds for its contrast, about 0 (blurred) to 1.

    Energy of the horizontal gradient over the variance, on a copy of fixed size so that crops of
    different size compare. Motion of cars and camera is mostly sideways, hence horizontal.
    """
    grey = cv2.cvtColor(
        cv2.resize(image, (96, 48), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY
    ).astype(np.float32)
    variance = float(grey.var())
    if variance < 4.0:
        return 0.0
    return min(1.0, float(np.mean(np.square(np.diff(grey, axis=1)))) / (2.0 * variance))


def _assign(
    tracks: Sequence[Track], detections: Sequence[Detection], mono_ns: int
) -> list[tuple[Track, Detection]]:
    """Cheapest pairs first; with a handful of plates in view this is as good as the optimum."""
    costs: list[tuple[float, int, int]] = []
    for i, track in enumerate(tracks):
        for j, detection in enumerate(detections):
            cost = near(track, detection.box, mono_ns)
            if cost is not None:
                costs.append((cost, i, j))
    costs.sort()
    pairs: list[tuple[Track, Detection]] = []
    used_tracks: set[int] = set()
    used_boxes: set[int] = set()
    for _, i, j in costs:
        if i not in used_tracks and j not in used_boxes:
            used_tracks.add(i)
            used_boxes.add(j)
            pairs.append((tracks[i], detections[j]))
    return pairs
