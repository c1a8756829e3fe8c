"""``python -m sim drive --seed N --out DIR`` and ``python -m sim fixtures``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sim.drive import (
    DRIVE_CRF,
    FIXTURE_CRF,
    FIXTURE_DIR,
    FIXTURE_SECONDS,
    FIXTURE_SEED,
    DriveError,
    Plan,
    summary,
    write_drive,
)


def _render(out: Path, seed: int, seconds: float, crf: int) -> Plan:
    console = Console(stderr=True)
    count = TextColumn("{task.completed:.0f}/{task.total:.0f}")
    columns = (TextColumn("{task.description:>6}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        return write_drive(out, seed, seconds, show, crf)


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sim", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    drive = commands.add_parser("drive", help="render a drive into a folder")
    drive.add_argument("--seed", type=int, required=True)
    drive.add_argument("--out", type=Path, required=True)
    drive.add_argument("--seconds", type=float, default=60.0)
    drive.add_argument("--json", action="store_true", help="print the counts as JSON")
    fixtures = commands.add_parser("fixtures", help="rebuild fixtures/drive")
    fixtures.add_argument("--json", action="store_true", help="print the counts as JSON")
    args = parser.parse_args(argv)
    began = time.monotonic()
    try:
        if args.command == "drive":
            plan = _render(args.out, args.seed, args.seconds, DRIVE_CRF)
        else:
            plan = _render(FIXTURE_DIR, FIXTURE_SEED, FIXTURE_SECONDS, FIXTURE_CRF)
    except (DriveError, OSError) as e:
        sys.stderr.write(f"error: {e}\n")
        return 1
    counts = summary(plan) | {"wall_s": round(time.monotonic() - began, 1)}
    if args.json:
        sys.stdout.write(json.dumps(counts) + "\n")
    else:
        sys.stdout.write("\n".join(f"{k:>12}  {v}" for k, v in counts.items()) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
