"""What an alert waits for between the first frame that reads its text and the one that decides.

A clip or the demo's drive is read frame by frame as the road reader reads it, outside the daemon,
so that the figures are of frames and not of this machine. For every pass that became sure: the
seconds from the first frame that gave its text to the one that made it sure, and which condition
came last: two agreeing frames, the width (``sure_width``), the detection score, or the characters'
floors. ``after_the_three_ms`` is from the last of the first three conditions to the decision: the
most that reading more often could save (ADR 0057).

JSON: ``{"passes", "wait_ms": {"n", "p50_ms", "p95_ms", "max_ms"}, "last": {condition: count},
"by_condition_ms": {condition: spread}, "after_the_three_ms": spread}``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from alprd.demo.score import load_truth
from alprd.frames import Frame
from alprd.models import shipped
from alprd.passes import Pass
from alprd.profiles import ROAD
from alprd.reader import RoadReader, load
from alprd.serials import one_shape
from bench.alert_latency import spread

DRIVE: Final = Path(__file__).resolve().parent.parent / "fixtures" / "drive"
_CONDITIONS: Final = ("agreeing", "width", "score", "floors")


class Waits:
    """When each condition of each pass was met, as seen after every frame."""

    def __init__(self) -> None:
        self.met: dict[str, dict[str, int]] = {}
        self.first: dict[str, int] = {}

    def look(self, pass_: Pass, now: int) -> None:
        """Note what is true of a pass after the frame of the instant ``now`` (ns)."""
        fused = pass_.fused
        if fused is None or pass_.id in self.first:
            return
        met = self.met.setdefault(pass_.id, {})
        true = {
            "agreeing": fused.agreeing >= ROAD.agree,
            "width": pass_.widest >= ROAD.sure_width,
            "score": pass_.score >= ROAD.sure_score,
        }
        for name, is_true in true.items():
            if is_true:
                met.setdefault(name, now)
        if fused.reading.sure:
            met["sure"] = now
            self.first[pass_.id] = pass_.first_seen.get(one_shape(fused.reading.text), now)

    def results(self) -> list[tuple[str, float, float]]:
        """Of each sure pass: the last condition, the wait (ms), and the rest after it (ms)."""
        told = []
        for number, first in self.first.items():
            met = self.met[number]
            sure = met["sure"]
            # A text that stays the same while it comes nearer: earlier marks count from its first.
            at = {name: max(first, met.get(name, sure)) for name in _CONDITIONS[:3]}
            last = max(at, key=lambda name: at[name])
            rest = (sure - at[last]) / 1e6
            if rest > 0:
                last = "floors"
            told.append((last, (sure - first) / 1e6, rest))
        return told


def read(drive: Path) -> list[tuple[str, float, float]]:
    """Read every camera of a drive."""
    truth = load_truth(drive)
    detector, ocr = load(shipped(), ROAD, threads=1)
    found: list[tuple[str, float, float]] = []
    for camera in truth.cameras:
        waits, reader = Waits(), RoadReader(camera.id, detector, ocr, ROAD)
        video = cv2.VideoCapture(str(drive / camera.file))
        number = 0
        while True:
            more, image = video.read()
            if not more:
                break
            now = round(number * 1e9 / camera.fps)
            reader.process(Frame(camera.id, np.asarray(image, np.uint8), now, number))
            for pass_ in tuple(reader._passes.values()):
                waits.look(pass_, now)
            number += 1
        found += waits.results()
    return found


def main(argv: list[str]) -> int:
    """The command; 0 when something became sure."""
    parser = argparse.ArgumentParser(prog="python -m bench alert_wait", description=__doc__)
    parser.add_argument("--drive", type=Path, default=DRIVE, help="folder of a rendered drive")
    asked = parser.parse_args(argv)
    found = read(asked.drive)
    told: dict[str, Any] = {
        "passes": len(found),
        "wait_ms": spread([wait for _, wait, _ in found]),
        "last": dict(Counter(last for last, _, _ in found)),
        "by_condition_ms": {
            name: spread([wait for last, wait, _ in found if last == name]) for name in _CONDITIONS
        },
        "after_the_three_ms": spread([rest for _, _, rest in found]),
    }
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    return 0 if found else 1
