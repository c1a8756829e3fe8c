"""kill -9 of the real daemon at random instants: nothing committed is lost, nothing arrives twice.

    make bench-crash KILLS=300

Real daemons (one process a car) read plates from a camera that plays a rendered clip, and are
killed while they collect, while they sync with a real central, while they start, while they end a
session, and while they idle between heartbeats. This process is the witness: the daemon tells it
of every commit through a pipe, which outlives a kill. After the last kill every car docks until it
is empty, and the witness, the cars' databases and central are compared.

Ends with 0 when nothing was lost, doubled or untrue, else with 1.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from alprd.errors import AlprdError
from bench.crash_facts import car_facts, central_facts
from bench.crash_lives import KINDS, Driver, World
from bench.crash_score import Score, score
from bench.crash_world import BenchError


def run(
    root: Path,
    *,
    kills: int,
    cars: int,
    seed: int,
    kinds: dict[str, int] | None = None,
    minutes: float | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Score:
    """The whole bench.

    Args:
        root: an empty folder for all state; left as it is.
        kills: lives that end by kill -9.
        cars: how many live side by side.
        kinds: shares of the kinds of lives; :data:`KINDS` by default.
        minutes: begin no life after so long, however many kills are left.
        progress: called with the kills so far.

    Raises:
        AlprdError: a program did not start, ended by itself, or a car could not be emptied.
    """
    with ExitStack() as stack:
        world = World(root, cars, stack)
        drivers = _drivers(world, kills, seed, kinds or KINDS)
        end = time.monotonic() + 60 * minutes if minutes else None
        lock, stop, errors = threading.Lock(), threading.Event(), list[BaseException]()
        late: list[str] = []
        done = 0

        def step() -> None:
            nonlocal done
            with lock:
                done += 1
                progress(done)
                if end is not None and time.monotonic() > end:
                    stop.set()

        def work(driver: Driver) -> None:
            try:
                world.prime(driver.place)
                # One car's trouble is told and counted, and throws away nothing of the others.
                parts: tuple[Callable[[], object], ...] = (
                    lambda: driver.run(step, stop),
                    driver.dock,
                )
                for part in parts:
                    try:
                        part()
                    except BenchError as error:
                        late.append(f"{driver.place.name}: {error.message}")
            except BaseException as error:  # noqa: BLE001 - told by the main thread below
                errors.append(error)
                stop.set()

        threads = [threading.Thread(target=work, args=(driver,)) for driver in drivers]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C or SIGTERM: leave no daemon behind
            stop.set()
            for driver in drivers:
                driver.abort()
            raise
        if errors:
            raise errors[0]
        lives = [life for driver in drivers for life in driver.lives]
        facts = [car_facts(place, cameras=1, skip=1) for place in world.places]
        result = score(lives, facts, central_facts(world.central, world.began))
        result.faults += late
        return result


def _drivers(world: World, kills: int, seed: int, kinds: dict[str, int]) -> list[Driver]:
    """Drivers with their plans: every kind as often as its share says, in random order."""
    rng = random.Random(seed)
    total = sum(kinds.values())
    plan = [kind for kind, share in kinds.items() for _ in range(kills * share // total)]
    plan += rng.choices(list(kinds), list(kinds.values()), k=kills - len(plan))
    rng.shuffle(plan)
    count = len(world.places)
    return [
        Driver(place, world, plan[number::count], rng.randrange(2**32))
        for number, place in enumerate(world.places)
    ]


def document(result: Score, **more: Any) -> dict[str, Any]:
    """The figures as JSON has them, the eight that are asked for first."""
    return {**asdict(result), "held": result.held, **more}


def print_score(result: Score, console: Console) -> None:
    """The table for people."""
    table = Table(title="kill -9 of the daemon", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in asdict(result).items():
        if name == "kinds":
            value = ", ".join(f"{number} {kind}" for kind, number in sorted(value.items()))
        if name != "faults":
            table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    for words in result.faults:
        console.print(f"[red]wrong:[/] {words}", highlight=False)
    console.print("[green]Every promise held.[/]" if result.held else "[red]Promises broken.[/]")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench; returns the exit code."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 110)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    began = time.monotonic()
    root = args.work or Path(tempfile.mkdtemp(prefix="alprd-crash-"))
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("kills", total=args.kills)
            result = run(
                root, kills=args.kills, cars=args.cars, seed=args.seed, minutes=args.minutes,
                progress=lambda done: bar.update(task, completed=done),
            )  # fmt: skip
    except AlprdError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code
    finally:
        if args.work is None:
            shutil.rmtree(root, ignore_errors=True)
    print_score(result, console)
    if args.json is not None:
        wall = round(time.monotonic() - began, 1)
        found = document(result, cars=args.cars, seed=args.seed, wall_s=wall)
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if result.held else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=300, help="kills in all (300)")
    parser.add_argument("--cars", type=int, default=3, help="cars side by side (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the random instants (1)")
    parser.add_argument("--minutes", type=float, help="stop killing after so long")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep everything in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
