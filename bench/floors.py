"""What each threshold of a *sure* reading costs, on rendered drives kept for setting thresholds.

Clips come of seeds of their own (``sim.seeds.TUNING_SEEDS``): thresholds are set on them and on
validation photographs, and measured on test drives they have never seen (``bench drives``). Every
final report becomes a row with the evidence of its text; ``--dump`` writes the rows, so that a
setting can be tried without reading again. A setting can only be stricter than the profile it was
read with.

    python -m bench floors --plates 900 --work drives/tuning
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from alprd.detect import Detector
from alprd.errors import AlprdError, InputError
from alprd.frames import Frame, PassEvent
from alprd.models import shipped
from alprd.ocr import PlateReader
from alprd.profiles import ROAD
from alprd.reader import RoadReader, load
from alprd.serials import TWINS
from bench.drive_score import Report, owner
from bench.drive_world import SCENES, Clip, frames, render, wanted
from sim.seeds import TUNING_SEEDS
from sim.world import FPS

FLOORS: Final = (0.92, 0.94, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993)
"""Character floors that the table shows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One final report with a text: what it said, on what evidence, and what was there."""

    clip: str
    expected: str | None
    """The plate's full-size characters; None where no plate was."""
    readable: bool
    text: str
    state: str | None
    true_state: str | None
    sure: bool
    probs: tuple[float, ...]
    """Probability of each character, its like in shape counted in."""
    alternatives: tuple[str, ...]
    """The next likely character of each place, empty where none is likely."""
    end: float
    share: float
    agreeing: int
    read: int
    frames: int
    score: float
    widest: float

    @property
    def right(self) -> bool:
        """Whether the text is that of the plate."""
        return self.text == self.expected


def row_of(clip: Clip, event: PassEvent) -> Row | None:
    """The row of an event, or None where it is not final or has no text."""
    reading, detail = event.reading, event.detail
    if event.kind != "final" or reading is None or detail is None:
        return None
    report = Report.of(event)
    scene = next(s for s in clip.scenes if s.first <= report.frame < s.first + s.frames)
    plate = owner(scene, report)
    return Row(
        clip=clip.name,
        expected=plate.text if plate else None,
        readable=plate is not None and plate.readable,
        text=reading.text,
        state=reading.region,
        true_state=plate.state if plate else None,
        sure=reading.exact,
        probs=tuple(
            c.prob + dict(c.alternatives).get(TWINS.get(c.char, ""), 0.0)
            for c in reading.characters
        ),
        alternatives=tuple(
            c.alternatives[0][0] if c.alternatives else "" for c in reading.characters
        ),
        end=detail["end"],
        share=detail["share"],
        agreeing=detail["agreeing"],
        read=detail["read"],
        frames=detail["frames"],
        score=detail["score"],
        widest=detail["widest"],
    )


def rows_of(clip: Clip, detector: Detector, ocr: PlateReader) -> list[Row]:
    """The rows of a clip, read by the ``road`` profile.

    Raises:
        InputError: the video does not fit its truth.
    """
    events: list[PassEvent] = []
    begins = {scene.first for scene in clip.scenes}
    reader: RoadReader | None = None
    for number, image in frames(clip):
        if reader is None or number in begins:
            events += reader.flush() if reader else []
            reader = RoadReader(clip.camera, detector, ocr, ROAD)
        frame = Frame(clip.camera, np.asarray(image, np.uint8), number * 10**9 // FPS, number)
        events += reader.process(frame)
    events += reader.flush() if reader else []
    found = (row_of(clip, event) for event in events)
    return [row for row in found if row is not None]


def kept(rows: Sequence[Row], test: Callable[[Row], bool], plates: int) -> dict[str, float]:
    """Shares of the readable plates that stay right and sure, and wrong and sure, under a test."""
    sure = [row for row in rows if row.sure and test(row)]
    return {
        "exact": sum(row.right and row.readable for row in sure) / plates,
        "wrong_sure": sum(not row.right for row in sure) / plates,
        "wrong_sure_count": sum(not row.right for row in sure),
    }


def above(floor: float, score: float) -> Callable[[Row], bool]:
    """The test of a floor for every character and the end, and one for the detection."""
    return lambda row: min(*row.probs, row.end) >= floor and row.score >= score


def _print(rows: Sequence[Row], plates: int) -> None:
    table = Table(title=f"Sure readings of {plates} readable plates", title_justify="left")
    for column in ("character floor", "detection", "exact and sure", "wrong and sure", "count"):
        table.add_column(column, justify="right")
    for score in (ROAD.pass_score, 0.75, 0.8):
        for floor in FLOORS:
            found = kept(rows, above(floor, score), plates)
            table.add_row(
                f"{floor:.3f}", f"{score:.2f}", f"{100 * found['exact']:.2f} %",
                f"{100 * found['wrong_sure']:.2f} %", f"{found['wrong_sure_count']:.0f}",
            )  # fmt: skip
    console = Console()
    console.print(table)
    wrong = Table(title="Wrong and sure", title_justify="left")
    for column in ("expected", "got", "lowest", "agreeing", "score", "px", "clip"):
        wrong.add_column(column)
    for row in sorted((r for r in rows if r.sure and not r.right), key=lambda r: min(r.probs)):
        wrong.add_row(
            row.expected or "no plate", row.text, f"{min(*row.probs, row.end):.4f}",
            f"{row.agreeing}/{row.read}", f"{row.score:.2f}", f"{row.widest:.0f}", row.clip,
        )  # fmt: skip
    console.print(wrong)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench floors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plates", type=int, default=900, help="readable plates (900)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that render (1)")
    parser.add_argument("--work", type=Path, default=Path("drives/tuning"), metavar="DIR")
    parser.add_argument("--models", type=Path, metavar="DIR", help="other models than the shipped")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="write the rows as JSON")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    try:
        return _run(args)
    except AlprdError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code


def _run(args: Any) -> int:
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("render", total=args.plates)

        def rendered(_: int, plates: int) -> None:
            bar.update(task, completed=plates)

        clips = wanted(args.work, 0, args.plates, SCENES, TUNING_SEEDS)
        if sum(clip.readable for clip in clips) < args.plates:
            clips = render(
                args.work, 0, args.plates, SCENES, args.jobs, rendered, pool=TUNING_SEEDS
            )
        plates = sum(clip.readable for clip in clips)
        bar.update(task, completed=args.plates)
        folder: Path | None = args.models
        pair = load(shipped(folder, verify=False) if folder else shipped(), ROAD, threads=1)
        rows: list[Row] = []
        for clip in bar.track(clips, description="read"):
            rows += rows_of(clip, *pair)
    if not rows:
        raise InputError("no clip gave a report", remedy="ask for more --plates")
    _print(rows, plates)
    if args.dump is not None:
        document = {"plates": plates, "rows": [asdict(row) for row in rows]}
        args.dump.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
