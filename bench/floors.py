"""What each threshold of a *sure* reading costs, on rendered drives kept for setting thresholds.

Clips come of seeds of their own (``sim.seeds.TUNING_SEEDS``): thresholds are set on them and on
validation photographs, and measured on test drives they have never seen (``bench drives``). Every
final report becomes a row with the evidence of its text; ``--dump`` writes the rows, so that a
setting can be tried without reading again. A setting can only be stricter than the profile it was
read with. Exact, and wrong and sure, are counted as ``bench drives`` counts them.

    python -m bench floors --plates 900 --work drives/tuning
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from alprd.detect import Detector
from alprd.errors import AlprdError, InputError
from alprd.frames import PassEvent
from alprd.models import shipped
from alprd.ocr import PlateReader
from alprd.profiles import ROAD, ReaderSettings
from alprd.reader import load
from alprd.serials import TWINS
from bench.drive_read import events_of
from bench.drive_score import Report, may_be, owner
from bench.drive_world import SCENES, Clip, render, wanted
from bench.options import count
from sim.seeds import TUNING_SEEDS

FLOORS: Final = (ROAD.char_floor, 0.985, 0.99, 0.993)
TWIN_FLOORS: Final = (0.95, 0.97, 0.98, 0.99)
"""Floors of a character and of a twin's own probability that the table shows, from those of the
profile on: what it left out cannot be known again."""


_SIDES: Final = (32, 4096)
"""Least and most pixels of a side of the detector's input."""


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
    """Every character above its floor, O and 0, I and 1 taken as one."""
    probs: tuple[float, ...]
    """Probability of each character, its like in shape counted in."""
    own: tuple[float, ...]
    """The same without its like."""
    left_open: tuple[int, ...]
    """Places that the reader left open, at the profile's floors."""
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

    def open(self, floor: float) -> tuple[int, ...]:
        """Places left open at this floor (``ReaderSettings.twin_floor``)."""
        pairs = enumerate(zip(self.text, self.own, strict=True))
        return tuple(n for n, (c, p) in pairs if n in self.left_open or (c in TWINS and p < floor))


@dataclass(frozen=True, slots=True)
class Floors:
    """Thresholds to be tried; each must be at least the profile's."""

    char: float = ROAD.char_floor
    twin: float = ROAD.twin_floor
    score: float = ROAD.sure_score
    width: float = ROAD.sure_width

    def sure(self, row: Row) -> bool:
        """Whether the text would still be sure."""
        enough = row.score >= self.score and row.widest >= self.width
        return row.sure and enough and min(*row.probs, row.end) >= self.char

    def exact(self, row: Row) -> bool:
        """Whether it would be sure, with no place left open, and right."""
        return row.right and self.sure(row) and not row.open(self.twin)

    def misleads(self, row: Row) -> bool:
        """Whether it would be sure and wrong; an open place may be either of two."""
        if not self.sure(row):
            return False
        return row.expected is None or not may_be(row.text, row.expected, row.open(self.twin))


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
        sure=reading.sure,
        probs=tuple(
            c.prob + dict(c.alternatives).get(TWINS.get(c.char, ""), 0.0)
            for c in reading.characters
        ),
        own=tuple(c.prob for c in reading.characters),
        left_open=reading.open,
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


def rows_of(
    clip: Clip, detector: Detector, ocr: PlateReader, settings: ReaderSettings = ROAD
) -> list[Row]:
    """The rows of a clip, read with ``settings``.

    Raises:
        InputError: the video does not fit its truth.
        ModelError: a model failed.
    """
    found = (row_of(clip, event) for event in events_of(clip, detector, ocr, settings))
    return [row for row in found if row is not None]


def kept(rows: Sequence[Row], floors: Floors, plates: int) -> dict[str, float]:
    """Shares of the readable plates that stay exact, and wrong and sure, at some floors."""
    exact = sum(row.readable and floors.exact(row) for row in rows)
    wrong = sum(floors.misleads(row) for row in rows)
    return {"exact": exact / plates, "wrong_sure": wrong / plates, "wrong_sure_count": wrong}


def _print(rows: Sequence[Row], plates: int) -> None:
    table = Table(title=f"Sure readings of {plates} readable plates", title_justify="left")
    for column in (
        "character floor", "twin floor", "detection", "exact and sure", "wrong and sure", "count",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    tried = [Floors(char=floor) for floor in FLOORS]
    tried += [Floors(twin=floor) for floor in TWIN_FLOORS]
    tried += [Floors(score=score) for score in (0.8, 0.85)]
    for floors in tried:
        found = kept(rows, floors, plates)
        table.add_row(
            f"{floors.char:.3f}", f"{floors.twin:.3f}", f"{floors.score:.2f}",
            f"{100 * found['exact']:.2f} %",
            f"{100 * found['wrong_sure']:.2f} %", f"{found['wrong_sure_count']:.0f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    wrong = Table(title="Wrong and sure", title_justify="left")
    for column in ("expected", "got", "lowest", "twin", "agreeing", "score", "px", "clip"):
        wrong.add_column(column)
    as_it_is = Floors()
    for row in sorted(filter(as_it_is.misleads, rows), key=lambda r: min(r.probs)):
        wrong.add_row(
            row.expected or "no plate", row.text, f"{min(*row.probs, row.end):.4f}",
            f"{min(row.own):.4f}",
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
    parser.add_argument("--plates", type=count, default=900, help="readable plates (900)")
    parser.add_argument("--jobs", type=count, default=1, help="processes (1)")
    parser.add_argument("--work", type=Path, default=Path("drives/tuning"), metavar="DIR")
    parser.add_argument("--models", type=Path, metavar="DIR", help="other models than the shipped")
    parser.add_argument(
        "--input", metavar="HxW", help="read at another input size, such as 320x576"
    )
    parser.add_argument("--dump", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--scenes", type=count, default=SCENES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    try:
        return _run(args)
    except AlprdError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; rendered clips are kept, nothing that was read", file=sys.stderr)
        return 130


def _size(words: str) -> tuple[int, int]:
    try:
        height, width = map(int, words.split("x"))
    except ValueError:
        height = width = 0
    if not (_SIDES[0] <= height <= _SIDES[1] and _SIDES[0] <= width <= _SIDES[1]):
        raise InputError(
            f"--input {words} is no size of {_SIDES[0]} to {_SIDES[1]} pixels a side",
            remedy="give height x width, such as 320x576",
        )
    return height, width


_loaded: tuple[Detector, PlateReader, ReaderSettings] | None = None


def _begin(models: Path | None, size: str | None) -> None:
    """What a reading process begins with.

    Raises:
        InputError: the size is none.
    """
    global _loaded
    settings = ROAD
    if size is not None:
        height, width = _size(size)
        settings = replace(ROAD, input_size=(height, width))
    cv2.setNumThreads(1)
    files = shipped(models, verify=False) if models else shipped()
    _loaded = (*load(files, settings, threads=1), settings)


def _rows(clip: Clip) -> list[Row]:
    assert _loaded is not None  # noqa: S101 - the process began with it
    return rows_of(clip, *_loaded)


def _run(args: Any) -> int:
    if args.dump is not None and not args.dump.parent.is_dir():
        raise InputError(
            f"--dump {args.dump}: there is no folder {args.dump.parent}", remedy="make it first"
        )
    _begin(args.models, args.input)  # what cannot be loaded is told before anything is rendered
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("render", total=args.plates)

        def rendered(_: int, plates: int) -> None:
            bar.update(task, completed=plates)

        clips = wanted(args.work, 0, args.plates, args.scenes, TUNING_SEEDS)
        if sum(clip.readable for clip in clips) < args.plates:
            clips = render(
                args.work, 0, args.plates, args.scenes, args.jobs, rendered, pool=TUNING_SEEDS
            )
        plates = sum(clip.readable for clip in clips)
        bar.update(task, completed=args.plates)
        rows: list[Row] = []
        context = mp.get_context("spawn")
        with ProcessPoolExecutor(args.jobs, context, _begin, (args.models, args.input)) as pool:
            for found in bar.track(pool.map(_rows, clips), len(clips), description="read"):
                rows += found
    if not rows:
        raise InputError("no clip gave a report", remedy="ask for more --plates")
    _print(rows, plates)
    if args.dump is not None:
        document = {"plates": plates, "rows": [asdict(row) for row in rows]}
        args.dump.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
