"""``python -m fuzz [TARGET…] --inputs N --seed S --json``: see :mod:`fuzz`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Final, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fuzz.harness import Result, Target, fuzz, work
from fuzz.hotfile import IMPORTERS, Importer

TARGETS: Final = ("nmea", "envelope", "config", "image", "hotlist", "hotfile", "container")


def load(name: str) -> Target:
    """The module of a target: one of ours, or of that name (for tests)."""
    if name in IMPORTERS:
        return Importer(name.removeprefix("hotfile-"))
    return cast(Target, importlib.import_module(f"fuzz.{name}" if name in TARGETS else name))


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 without a crash, 1 with any, 2 for wrong arguments."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["--child"]:
        name, seed, first, last, shared = words[1:]
        return work(load(name), int(seed), int(first), int(last), Path(shared))
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)} or all")
    parser.add_argument("--inputs", type=int, default=200_000, help="of each target")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs")
    parser.add_argument("--out", type=Path, default=Path("fuzz-crashes"), help="for crashes")
    parser.add_argument("--json", action="store_true", help="the counts as JSON")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one saved input again")
    given = parser.parse_args(words)
    names = [n for n in given.targets if n != "all"] or [*TARGETS, *IMPORTERS]
    unknown = [name for name in names if name not in (*TARGETS, *IMPORTERS)]
    if unknown or given.inputs < 1 or (given.replay and len(names) != 1):
        parser.error(f"no target {unknown[0]}" if unknown else "give --inputs > 0, one target")
    if given.replay:
        return _replay(load(names[0]), given.replay)
    results = _run(names, given.inputs, given.seed, given.out)
    if given.json:
        sys.stdout.write(json.dumps({"fuzz": [r.to_json() for r in results]}) + "\n")
    else:
        _print(results)
    return 1 if any(result.crashes for result in results) else 0


def _run(names: list[str], inputs: int, seed: int, out: Path) -> list[Result]:
    results = []
    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        for name in names:
            task = bar.add_task(name, total=inputs)
            results.append(
                fuzz(
                    name, load(name), inputs=inputs, seed=seed, out=out,
                    progress=lambda done, task=task: bar.update(task, completed=done),  # type: ignore[misc]
                )
            )  # fmt: skip
            bar.update(task, completed=results[-1].inputs)
    return results


def _print(results: list[Result]) -> None:
    table = Table("target", "inputs", "crashes", "seconds", "inputs/s", "outcomes")
    for result in results:
        told = ", ".join(f"{count} {name}" for name, count in result.outcomes.items())
        rate = f"{result.inputs / result.seconds:.0f}"
        table.add_row(
            result.target, str(result.inputs), str(result.crashes),
            f"{result.seconds:.1f}", rate, told,
        )  # fmt: skip
    console = Console()
    console.print(table)
    for result in results:
        for crash in result.kept:
            console.print(f"CRASH {crash.target}: {crash.why}: {crash.file}", markup=False)


def _replay(target: Target, file: Path) -> int:
    try:
        sys.stdout.write(target.run(file.read_bytes()) + "\n")
    except Exception:  # noqa: BLE001 - to be looked at
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
