"""``make bench-recognition``: this reader, profile by profile, beside fast-alpr in one run.

What is measured, and on what:

* *cost of a frame*: rendered 1280x720 frames with exactly one plate, each through ``road``,
  ``photo`` and the peer in turn, one thread each. ``road`` here looks at and reads every frame:
  the worst case, without the daemon's motion gate, tracking and choice of crops;
* *the daemon on video* (``video_…``): consecutive frames of ``fixtures/drive`` through the
  daemon's reader, which has those; the peer reads every frame;
* *peak memory*: a process of its own for each;
* *accuracy*: photographs of ``detect/val`` and of ``us-text``, read as
  ``alprd read --profile road|photo`` reads them; and crops, for the OCR alone.

Exit code: 0 when everything was measured, 3 when the peer or accuracy could not be ("not
measured"; the other figures are printed and written all the same).

``--json FILE`` writes one object::

    {"version": 1, "made": UTC, "machine": {"processor", "cores", "load_average", "python",
     "onnxruntime", "opencv"}, "models": {name: SHA-256}, "peer": {"measured": bool, "missing":
     why not or null, "package", "detector", "ocr", "threshold"}, "accuracy": {"measured",
     "missing"}, "counts": {what: number}, "thresholds": {profile: {"reported", "told"}},
     "profiles": [one object for each of road, photo]}

An object of ``profiles`` has ``profile``; the keys of :data:`bench.report.MEASURES` for ours and,
with ``peer_`` before, for the peer; ratios ours / peer's (``ratio_cpu``, ``ratio_exact``, …,
``video_ratio_cpu``); and ``peer_widened_exact…``, the peer reading crops grown by 10 % a side.
null: not measured, or no such thing in this profile. Times are ms, memory MB, accuracy shares:

* ``cpu_ms`` (processor time, mean; of it ``detect|ocr|state_cpu_ms``), ``frames_s`` and
  ``total|detect|ocr|state|rest_ms_p50|p95`` (by the clock): cost of a frame, decoded before; the
  state classifier, where our models have one, is part of it though the peer tells no state, and
  is asked about every crop, as it is not in the daemon;
* ``handed``: frames in which nothing was found and the known plate was given to the OCR, so that
  nobody looks quick by overlooking; ``plates_a_frame``, ``crops_a_frame``: work done;
* ``detect_recall50``, ``false_boxes``: what is reported, at the threshold of ``thresholds``;
  ``detector_…``: the detector's boxes at that threshold, before shape and overlap are judged;
  ``told_…`` (``road``): boxes that reach the score which the daemon asks of a pass in its best
  frame;
* ``exact``, ``exact_o0``: plates of ``us-text`` val, unseen in training; ``…_trained_on``: those
  of its train split, which the shipped models were trained on, so only the peer's figure there
  can be clean, and nobody here knows what the peer was trained on;
* ``crops_…`` (``us-crops`` val), ``text_crops_…`` (``us-text`` val): the OCR alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
from rich.console import Console
from rich.progress import Progress

from alprd.errors import AlprdError, InputError
from alprd.models import FOLDER, ModelSet, shipped
from alprd.profiles import PROFILES
from bench import accuracy, data, report, timing
from bench.frames import VIDEOS, one_plate_frames, video_length
from bench.memory import ROOT, peak_mb
from bench.options import count, writable
from bench.ours import Ours
from bench.peer import DETECTOR, OCR, THRESHOLD, Peer, PeerAbsentError
from bench.systems import System
from bench.timing import Figures

NOT_MEASURED: Final = 3
SHARED: Final = ROOT.parent / "shared"
CAMERAS: Final = ("front", "left")
MEMORY_FRAMES: Final = 8


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    args = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        return _Run(args).run()
    except AlprdError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench recognition",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--models", type=Path, metavar="DIR", help="other models than the shipped")
    parser.add_argument(
        "--shared", type=Path, default=SHARED, metavar="DIR", help="folder of data/ and peers/"
    )
    parser.add_argument("--frames", type=count, default=150, help="rendered frames to time on")
    parser.add_argument(
        "--video-frames", type=count, metavar="N", help="frames of each video (default: all)"
    )
    parser.add_argument(
        "--photos", type=count, metavar="N", help="photographs and crops of each set (all)"
    )
    return parser


class _Bar:
    """Progress on stderr, drawn between measurements only and by no thread of its own.

    Where stderr is no terminal, a line as each stage begins.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self._drawn = progress, 0.0

    def stage(self, name: str, total: int) -> Callable[[], None]:
        """Begin a stage; the function to call after each of its steps."""
        task = self._progress.add_task(name, total=total)
        if not self._progress.console.is_terminal:
            sys.stderr.write(f"{name}: {total}\n")

        def advance() -> None:
            self._progress.advance(task)
            now = time.monotonic()
            if now - self._drawn > 0.5 or self._progress.tasks[task].finished:
                self._progress.refresh()
                self._drawn = now

        return advance


class _Run:
    """One run: its competitors, and the figures so far by name of the system."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.machine = report.machine()
        self.models: ModelSet = (
            shipped(args.models, verify=False) if args.models is not None else shipped()
        )
        self.ours = [Ours(profile, self.models) for profile in PROFILES]
        self.peer: Peer | None = None
        self.peer_missing: str | None = None
        self.data_missing: str | None = None
        self.counts: dict[str, int] = {}
        try:
            self.peer = Peer(args.shared / "peers")
        except PeerAbsentError as error:
            self.peer_missing = error.message
        names = [*PROFILES, "peer", "peer_widened"]
        self.figures: dict[str, Figures] = {name: {} for name in names}

    def run(self) -> int:
        """Measure, print, write; the exit code."""
        if self.args.json is not None:
            writable(self.args.json)
        console = Console(stderr=True)
        with Progress(console=console, auto_refresh=False, transient=True) as progress:
            bar = _Bar(progress)
            self._time(bar)
            self._follow(bar)
            self._mark(bar)
        document = self.document()
        self._print(document)
        if self.args.json is not None:
            self.args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return NOT_MEASURED if self.peer_missing or self.data_missing else 0

    def _time(self, bar: _Bar) -> None:
        count = self.args.frames
        frames = one_plate_frames(count, bar.stage("rendering frames", count))
        systems: list[System] = [*self.ours]
        if self.peer:
            systems.append(self.peer)
        advance = bar.stage("memory", len(systems))
        few = [frame.image for frame in data.spread(frames, MEMORY_FRAMES)]
        for system in systems:
            folder = self.args.models or FOLDER
            mb = peak_mb(system.name, few, folder, self.args.shared / "peers")
            self.figures[system.name]["memory_mb"] = mb
            advance()
        advance = bar.stage("one plate a frame", count)
        for name, samples in timing.interleave(systems, frames, advance).items():
            self.figures[name] |= timing.summary(samples)
        self.counts["frames"] = len(frames)

    def _follow(self, bar: _Bar) -> None:
        videos = [VIDEOS / f"{camera}.mp4" for camera in CAMERAS]
        limit = self.args.video_frames
        total = sum(min(video_length(video), limit or sys.maxsize) for video in videos)
        advance = bar.stage("daemon on video", total)
        found = timing.follow(videos, self.models, self.peer, limit, advance)
        for name, figures in found.items():
            self.figures[name] |= figures
        self.counts["video_frames"] = total

    def _mark(self, bar: _Bar) -> None:
        folder, limit = self.args.shared / "data", self.args.photos
        try:
            pictures = data.photographs(folder, limit)
            sets = {
                "crops": data.frontal_crops(folder, limit),
                "text_crops": data.text_crops(folder, limit),
            }
        except InputError as error:
            self.data_missing = error.message
            names = ("labels", "exact_plates", "trained_on_plates", "crops", "text_crops")
            self.counts |= dict.fromkeys(names, 0)
            return
        advance = bar.stage("photographs", len(pictures))
        marks = accuracy.on_photographs(pictures, self.ours, self.peer, advance)
        for name, mark in marks.items():
            self.figures[name] |= mark.figures(told=name == "road")
        some = marks["road"]
        self.counts |= {
            "photographs": some.reported.pictures,
            "labels": some.reported.labels,
            "exact_plates": some.unseen.plates,
            "trained_on_plates": some.trained_on.plates,
        }
        for name, crops in sets.items():
            advance = bar.stage(name.replace("_", " "), len(crops))
            texts = accuracy.on_crops(crops, self.ours[0], self.peer, advance)
            self.counts[name] = len(crops)
            for whose, text in texts.items():
                for system in PROFILES if whose == "ours" else ("peer",):
                    self.figures[system][f"{name}_exact"] = text.exact
                    self.figures[system][f"{name}_exact_o0"] = text.exact_o0

    def document(self) -> dict[str, Any]:
        """The JSON object of the module's docstring."""
        peer, widened = self.figures["peer"], self.figures["peer_widened"]
        return {
            "version": 1,
            "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": self.machine,
            "models": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in (self.models.detector, self.models.ocr, self.models.state)
                if path is not None
            },
            "peer": {
                "measured": self.peer is not None,
                "missing": self.peer_missing,
                "package": self.peer.package if self.peer else None,
                "detector": DETECTOR,
                "ocr": OCR,
                "threshold": THRESHOLD,
            },
            "accuracy": {"measured": self.data_missing is None, "missing": self.data_missing},
            "counts": self.counts,
            "thresholds": {
                name: {
                    "reported": settings.high_threshold,
                    "told": settings.pass_score if name == "road" else None,
                }
                for name, settings in PROFILES.items()
            },
            "profiles": [
                report.profile_object(name, self.figures[name], peer, widened) for name in PROFILES
            ],
        }

    def _print(self, document: dict[str, Any]) -> None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=140)
        told = document["machine"]
        load = ", ".join(f"{value:.1f}" for value in told["load_average"])
        at = {name: settings.high_threshold for name, settings in PROFILES.items()}
        lines = [
            f"{told['processor']}, {told['cores']} cores, load {load} at the start; "
            f"ONNX Runtime {told['onnxruntime']}; one thread each, turn by turn.",
            f"Boxes are reported from a score of {at['road']} (road), {at['photo']} (photo), "
            f"{THRESHOLD} (peer) on; a pass is told from {PROFILES['road'].pass_score} on (road).",
            "In brackets: frames or plates. Video: the daemon's reader, which follows plates; all "
            "else looks at and reads every picture. TRAINED ON: our models were trained on these.",
            "peer +10 %: its crops grown by so much a side. road on photographs: alprd read "
            "--profile road.",
        ]
        console.print(report.table(document["profiles"], self.counts))
        if self.peer is not None:
            lines.append(f"peer: {self.peer.package}, {DETECTOR}, {OCR}")
        else:
            lines.append(f"peer: not measured ({self.peer_missing})")
        if self.data_missing is not None:
            lines.append(f"accuracy: not measured ({self.data_missing})")
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
