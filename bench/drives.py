"""The whole road reader on rendered test drives: read exactly, and wrong and sure, of each plate.

``render`` makes the clips that are missing, ``read`` reads those that are there; without a word
both are done. Clips are reused, so other models are measured on the very same pictures:

    python -m bench drives --plates 2000 --work drives/bench
    python -m bench drives read --work drives/bench --models FOLDER

Drives have textures, seeds and type faces that no training run has seen. Equal seeds give equal
clips and figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from alprd import models
from alprd.errors import AlprdError, InputError
from bench.drive_read import Task, read
from bench.drive_score import Case, Tally, confusions, groups
from bench.drive_world import SCENES, Clip, render, wanted
from bench.options import count

GOAL: Final = {"exact": (0.97, 0.93), "wrong_sure": (0.001, 0.005)}
"""The owner's goal and least for each share of the readable plates."""
_LISTED: Final = 40
"""Wrong and sure cases shown in the table for people; the JSON file has all."""
_WIDTH: Final = 132
"""Columns where the output is no terminal."""


@dataclass(frozen=True, slots=True)
class Result:
    """All cases of a run."""

    clips: tuple[Clip, ...]
    cases: tuple[Case, ...]

    @property
    def total(self) -> Tally:
        """Everything in one tally."""
        return Tally.of(self.cases)

    def document(self) -> dict[str, Any]:
        """The figures as JSON has them; shares are of the readable plates."""
        total = self.total
        return {
            **_figures(total),
            "exact_interval": total.interval("exact"),
            "wrong_sure_interval": total.interval("wrong_sure"),
            "groups": {
                group: {name: _figures(tally) for name, tally in rows.items()}
                for group, rows in groups(self.cases).items()
            },
            "confusions": [
                {"expected": a, "got": b, "times": n}
                for (a, b), n in confusions(self.cases).most_common()
            ],
            "failures": [c.document() for c in self.cases if c.outcome != "exact"],
            "clips": [clip.name for clip in self.clips],
            "simulators": sorted({clip.source for clip in self.clips}),
        }


def _figures(tally: Tally) -> dict[str, Any]:
    names = (
        "exact", "exact_o0", "unsure", "wrong", "unread", "missed", "wrong_sure", "wrong_sure_o0",
        "told_wrong", "state_right", "state_wrong",
    )  # fmt: skip
    return {
        "plates": tally.plates,
        **{name: tally.count(name) for name in names},
        **{f"{name}_share": tally.share(name) for name in names},
        "wrong_sure_no_plate": tally.count("no_plate"),
        "wrong_sure_unreadable": tally.count("unreadable_wrong_sure"),
        "stacked_right": tally.count("stacked_right"),
        "stacked_right_share": tally.share("stacked_right", "exact"),
    }


def _per_cent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def print_result(result: Result, console: Console) -> None:
    """The tables for people."""
    total = result.total
    console.print(
        f"{total.plates} readable plates in {len(result.clips)} clips. Readable: by sim.truth, "
        "60 px wide for 0.6 s on end, whole, uncovered, lit, less than 5 % smeared."
    )
    head = Table(title="Rendered test drives", title_justify="left")
    for column in ("figure", "plates", "share", "95 % interval", "goal", "least"):
        head.add_column(column, justify="left" if column == "figure" else "right")
    for name, words in (
        ("exact", "read exactly and sure"),
        ("exact_o0", "the same, O and 0 as one"),
        ("wrong_sure", "wrong and sure"),
        ("wrong_sure_o0", "the same, O and 0 as one"),
        ("no_plate", "of them, on what is no plate"),
        ("unreadable_wrong_sure", "of them, on plates not counted as readable"),
        ("told_wrong", "wrong and sure at any moment"),
        ("unsure", "right, not sure"),
        ("wrong", "wrong, not sure"),
        ("unread", "seen, without a text"),
        ("missed", "missed"),
        ("state_right", "state right"),
        ("state_wrong", "state told wrong"),
    ):
        spread = total.interval(name) if name in GOAL else None
        aims = [_per_cent(aim) for aim in GOAL[name]] if name in GOAL else ["", ""]
        span = f"{_per_cent(spread[0], 2)} to {_per_cent(spread[1], 2)}" if spread else ""
        head.add_row(words, str(total.count(name)), _per_cent(total.share(name), 2), span, *aims)
    stacked = _per_cent(total.share("stacked_right", "exact"), 2)
    head.add_row("stacked letters right, of those exact", "", stacked, "", "", "")
    console.print(head)
    for group, rows in groups(result.cases).items():
        table = Table(title=f"By {group}", title_justify="left")
        for column in (group, "plates", "exact", "right, unsure", "wrong, unsure", "no text",
                       "missed", "wrong and sure", "state right"):  # fmt: skip
            table.add_column(column, justify="left" if column == group else "right")
        for name, tally in rows.items():
            shares = [
                _per_cent(tally.share(key))
                for key in ("exact", "unsure", "wrong", "unread", "missed")
            ]
            sure = tally.count("wrong_sure")
            table.add_row(name, str(tally.plates), *shares, f"{sure}",
                          _per_cent(tally.share("state_right")))  # fmt: skip
        console.print(table)
    _print_errors(result, console)


def _print_errors(result: Result, console: Console) -> None:
    worst = [case for case in result.cases if case.outcome == "wrong_sure"]
    table = Table(title=f"Wrong and sure ({len(worst)})", title_justify="left")
    for column in ("expected", "got", "sure", "state", "px", "light", "type face", "clip", "frame"):
        table.add_column(column)
    for case in worst[:_LISTED]:
        plate = case.plate
        table.add_row(
            case.expected or "no plate", case.got or "", f"{case.confidence:.3f}",
            plate.state if plate else "", f"{plate.width_px:.0f}" if plate else "", case.light,
            plate.face if plate else "", case.clip, str(case.frame),
        )  # fmt: skip
    console.print(table)
    if len(worst) > _LISTED:
        console.print(f"… and {len(worst) - _LISTED} more: see --json")
    pairs = confusions(result.cases).most_common(24)
    console.print(
        "Characters taken for others, sure or not: "
        + (", ".join(f"{a}>{b} {n}" for (a, b), n in pairs) or "none")
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    args = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        return _run(args)
    except AlprdError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench drives",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("phase", nargs="?", choices=("all", "render", "read"), default="all")
    parser.add_argument("--plates", type=count, default=2000, help="readable plates (2000)")
    parser.add_argument("--seed", type=int, default=0, help="0 to 999: other drives (0)")
    parser.add_argument("--jobs", type=count, default=1, help="processes (1)")
    parser.add_argument(
        "--work", type=Path, default=Path("drives/bench"), metavar="DIR", help="folder of the clips"
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="other models than the shipped")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument(
        "--save-errors", type=Path, metavar="DIR", help="pictures of plates not read exactly"
    )
    parser.add_argument("--scenes", type=count, default=SCENES, help=argparse.SUPPRESS)
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.json is not None and not args.json.parent.is_dir():
        raise InputError(
            f"--json {args.json}: there is no folder {args.json.parent}", remedy="make it first"
        )
    columns = (
        TextColumn("{task.description:>7}"), BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"), TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        if args.phase == "read":
            clips = wanted(args.work, args.seed, args.plates, args.scenes)
        else:
            # Two plates a scene of eleven frames, as a rule.
            task = bar.add_task("render", total=args.plates * 5.7, what="frames")

            def rendered(frames: int, plates: int) -> None:
                bar.update(task, completed=frames, what=f"frames, {plates} plates ready")

            clips = render(args.work, args.seed, args.plates, args.scenes, args.jobs, rendered)
            done = max(1.0, bar.tasks[0].completed)
            bar.update(task, total=done, completed=done)
        plates = sum(clip.readable for clip in clips)
        if args.phase == "render":
            print(f"{plates} readable plates in {len(clips)} clips in {args.work}")
            return 0
        if not clips:
            raise InputError(
                f"{args.work} holds no clip of seed {args.seed}", remedy="render first"
            )
        reading = bar.add_task("read", total=len(clips), what="clips")
        cases = read(
            clips, Task(args.models, args.save_errors), args.jobs,
            lambda done: bar.update(reading, completed=done),
        )  # fmt: skip
    result = Result(tuple(clips), tuple(cases))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    print_result(result, console)
    if len({clip.source for clip in clips}) > 1:
        console.print("[yellow]The clips were rendered by different states of the simulator.[/]")
    if plates < args.plates:
        console.print(f"[yellow]Only {plates} of {args.plates} plates have been rendered.[/]")
    if args.json is not None:
        document = {
            "plates_wanted": args.plates,
            "seed": args.seed,
            "models": _digests(args.models),
            "wall_s": round(time.monotonic() - began, 1),
            "cpu_s": round(_cpu_s(), 1),
            **result.document(),
        }
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _cpu_s() -> float:
    """Processor seconds of this run so far, those of ended child processes included."""
    used = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def _digests(folder: Path | None) -> dict[str, str]:
    """SHA-256 of the model files that were read with."""
    found = (folder or models.FOLDER).glob("*.onnx")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found)}


if __name__ == "__main__":
    sys.exit(main())
