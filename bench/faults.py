"""Everything that fails in a patrol car, one fault after the other: recovery and losses.

    make bench-faults

A real daemon reads plates from two network cameras beside a GPS receiver, while cameras freeze,
die, refuse and talk rubbish, the receiver falls silent or lies, the disk fills, the clock stands
30 years off, pages of the queue are damaged and envelopes tampered with. At the end everything is
docked to a real central and compared with what an outside witness saw committed.

Ends with 0 when cameras and GPS were back within 10 s, the rest within its bound, and nothing was
lost or untrue, else with 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from alprd.errors import AlprdError
from bench import fault_rows as rows
from bench import fault_store as store
from bench.crash_world import BenchError, car_status
from bench.fault_rows import Row
from bench.fault_score import judge
from bench.fault_world import FaultWorld

FAULTS: Final[dict[str, Callable[[FaultWorld], Row]]] = {
    "camera-freeze": rows.camera_freeze,
    "camera-kill": rows.camera_kill,
    "camera-refuse": rows.camera_refuse,
    "camera-garbage": rows.camera_garbage,
    "gps-silence": rows.gps_silence,
    "gps-garbage": rows.gps_garbage,
    "gps-place": rows.gps_place_jump,
    "gps-time": rows.gps_time_jump,
    "clock-ahead": rows.clock_ahead,
    "clock-behind": rows.clock_behind,
    "clock-start": rows.clock_at_start,
    "disk-full": store.disk_full,
    "database-header": store.database_header,
    "database-index": store.database_index,
    "database-read": store.database_read,
    "envelope-forged": store.envelope_forged,
    "envelope-rotten": store.envelope_rotten,
}
DOCK_S: Final = 180.0


def run(
    root: Path, names: Sequence[str], progress: Callable[[str], None], found: list[Row]
) -> None:
    """Make the faults in their order; a row each into ``found``.

    Args:
        root: an empty folder for all state; left as it is.
        progress: told the name of the fault that begins.

    Raises:
        AlprdError: the car could not be brought back after a fault, or not be emptied.
    """
    with ExitStack() as stack:
        world = FaultWorld(root, stack)
        world.start(docked=True)
        world.ready()
        world.place.dock(False)
        for name in names:
            progress(name)
            row = Row(name, None, since=time.monotonic())
            found.append(row)
            try:
                row = found[-1] = FAULTS[name](world)
                world.ready()
            except BenchError as error:
                row.wrong.append(error.message)
                world.recover()
        progress("docking")
        _dock(world)
        judge(world, found)
        world.stop()


def _dock(world: FaultWorld) -> None:
    """End collecting, and send everything but what the bench itself has spoiled."""
    world.stop()
    world.start(docked=True, sign_on=False)

    def empty() -> bool:
        counts = car_status(world.place)
        return counts["pending"] <= len(world.spoiled) and not counts["sessions_unsent"]

    world.until("the car is empty", empty, DOCK_S)


def print_rows(found: Sequence[Row], console: Console) -> None:
    """The table for people."""
    table = Table(title="Faults of a car", title_justify="left")
    for column in ("fault", "noticed s", "recovery s", "bound s", "reads", "lost", "untrue", ""):
        table.add_column(column, justify="left" if column in {"fault", ""} else "right")
    for row in found:
        times = (row.noticed_s, row.recovery_s, row.bound_s)
        table.add_row(
            row.fault, *("–" if t is None else f"{t:g}" for t in times), str(row.reads),
            str(row.lost), str(row.untrue), "[green]held[/]" if row.held else "[red]broken[/]",
        )  # fmt: skip
    console.print(table)
    for row in found:
        for words in [*row.wrong, *([row.note] if row.note else [])]:
            colour = "red" if words in row.wrong else "dim"
            console.print(f"[{colour}]{row.fault}:[/] {words}", highlight=False)


def document(found: Sequence[Row]) -> dict[str, Any]:
    """The figures as JSON has them."""
    return {
        "held": all(row.held for row in found),
        "lost": sum(row.lost for row in found),
        "untrue": sum(row.untrue for row in found),
        "rows": [{**asdict(row), "held": row.held} for row in found],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench; returns the exit code."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = args.fault or list(FAULTS)
    columns = (TextColumn("{task.description:<18}"), BarColumn(),
               TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())  # fmt: skip
    root = args.work or Path(tempfile.mkdtemp(prefix="alprd-faults-"))
    began = time.monotonic()
    found: list[Row] = []
    broken = 0
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("setting up", total=len(names))

            def step(name: str) -> None:
                begun = names.index(name) if name in names else len(names)
                bar.update(task, description=name, completed=begun)

            run(root, names, step, found)
    except AlprdError as error:
        broken = error.exit_code
        print(error.diagnostics(), file=sys.stderr)
    finally:
        if args.work is None:
            shutil.rmtree(root, ignore_errors=True)
    print_rows(found, Console(width=None if sys.stdout.isatty() else 110))
    if args.json is not None:
        figures = {**document(found), "wall_s": round(time.monotonic() - began, 1)}
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return broken or (0 if all(row.held for row in found) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("fault", nargs="*", choices=[*FAULTS, []], help="these alone (all)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep everything in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
