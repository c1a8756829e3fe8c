"""``make bench-matching``: a list of millions of entries, from central's import to the alert.

The list is invented: plates of the usual patterns, texts as an import writes them. It is packed and
encrypted as central does it, then a process of its own loads it as a car does and looks readings
up (:mod:`bench.matching_car`). A second version of a shorter list gives the size of a day's delta.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from alprd.delta import apply_delta, make_delta
from alprd.packed import pack
from alprd.records import Category
from alprd.rows import CATEGORIES, row_of
from alprd.targetfile import BytesSource, TargetWriter
from alprd.wire import Hotlist, HotlistEntry
from bench.matching_car import NAME, NOW

ROOT: Final = Path(__file__).resolve().parent.parent
KEYS: Final = (
    "entries", "import_rows_s", "load_s", "peak_mb", "lookup_us_p50", "lookup_us_p99",
    "delta_kb_per_1m",
)  # fmt: skip
GOAL: Final = {"load_s": 3.0, "peak_mb": 250.0, "lookup_us_p99": 100.0}
LEAST: Final = {"load_s": 10.0, "peak_mb": 400.0, "lookup_us_p99": 300.0}
CHANGED: Final = 0.01
"""Share of a list's entries that a day exchanges: half a percent go, as many come."""
_LETTERS: Final = "ABCDEFGHIJKLMNOPRSTUVWXYZ"
_MAKES: Final = "CHEV FORD TOYT HOND NISS DODG JEEP GMC BUIC KIA HYUN SUBA VOLK BMW".split()
_COLOURS: Final = "BLK WHI SIL RED BLU GRY GRN TAN".split()
_STATES: Final = ("MN", "MN", "MN", "WI", "ND", "SD", "IA", None)


def entry(rng: Random) -> HotlistEntry:
    """An invented entry, its text as rich as an import's."""
    letters, digits = "".join(rng.choices(_LETTERS, k=3)), f"{rng.randrange(10_000):04d}"
    plate = letters + digits if rng.random() < 0.5 else digits[1:] + letters
    category = rng.choice(CATEGORIES)
    return HotlistEntry.model_construct(
        id=rng.randbytes(8).hex(),
        plate=plate,
        state=rng.choice(_STATES),
        plate_type=rng.choice(("passenger", "truck", None)),
        category=category,
        priority="high",
        text=f"Stolen vehicle {rng.randint(1990, 2026)} {rng.choice(_MAKES)} "
        f"{rng.choice(_COLOURS)}, NIC V{rng.randrange(10**9):09d}, ORI MN0{rng.randint(1, 87):02d}"
        f"0000, entered 2026-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        expires=None,
    )


def rows(count: int, rng: Random, tick: Callable[[], None]) -> list[bytes]:
    """Rows of so many entries, sorted."""
    found = []
    for _ in range(count):
        found.append(row_of(entry(rng)))
        tick()
    found.sort()
    return found


def header(version: str) -> Callable[[int, dict[Category, int]], Hotlist]:
    """What :func:`alprd.packed.pack` asks for when it has counted."""

    def made(entries: int, counts: dict[Category, int]) -> Hotlist:
        return Hotlist(
            list_id="bench",
            source="LPDF",
            version=version,
            supplied_at=NOW - timedelta(hours=1),
            entries=entries,
            counts=counts,
        )

    return made


def some_readings(count: int, rng: Random, listed: Callable[[], str]) -> list[list[str]]:
    """Half are of listed plates; one in four has stacked letters. (text, stacked, state)"""
    found = []
    for number in range(count):
        text = listed() if number % 2 else entry(rng).plate
        found.append([text, "TR" if number % 4 >= 2 else "", "MN"])
    return found


def car(folder: Path, count: int, lookups: int, seed: int, bar: Progress) -> dict[str, Any]:
    """Publish a list of ``count`` entries and measure a car that loads it."""
    rng = Random(seed)
    task = bar.add_task("list", total=count)
    packed_rows = rows(count, rng, lambda: bar.advance(task))
    plates = [row_plate(row) for row in rng.sample(packed_rows, min(count, lookups))]
    key, path = os.urandom(32), folder / NAME
    began = time.perf_counter()
    task = bar.add_task("pack", total=count)
    with path.open("wb") as file, TargetWriter(file, name=NAME, key=key) as out:
        pack(header("1"), ticking(packed_rows, lambda: bar.advance(task)), out)
    pack_s = time.perf_counter() - began
    del packed_rows
    asked = {
        "key": key.hex(),
        "sha256": out.sha256,
        "readings": some_readings(lookups, rng, lambda: rng.choice(plates)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.matching_car", str(path)],
        cwd=ROOT,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the car's process failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"target_mb": out.length / 1e6, "pack_rows_s": count / pack_s}


def row_plate(row: bytes) -> str:
    """The plate of a row."""
    from alprd.rows import entry_of

    return entry_of(row).plate


def ticking(items: list[bytes], tick: Callable[[], None]) -> Iterator[bytes]:
    """The items, each told."""
    for item in items:
        yield item
        tick()


def delta(count: int, seed: int, bar: Progress) -> dict[str, float]:
    """Size of a day's delta of a list of ``count`` entries, per million, and the times of it."""
    rng = Random(seed + 1)
    task = bar.add_task("delta", total=count)
    old = rows(count, rng, lambda: bar.advance(task))
    changes = int(count * CHANGED / 2)
    gone = set(rng.sample(range(count), changes))
    new = [row for number, row in enumerate(old) if number not in gone]
    new = sorted(new + [row_of(entry(rng)) for _ in range(changes)])
    before, after = io.BytesIO(), io.BytesIO()
    pack(header("1"), old, before)
    pack(header("2"), new, after)
    began = time.perf_counter()
    made = make_delta(BytesSource(before.getvalue()), BytesSource(after.getvalue()))
    made_s = time.perf_counter() - began
    began = time.perf_counter()
    out = io.BytesIO()
    apply_delta(BytesSource(before.getvalue()), made, out)
    applied_s = time.perf_counter() - began
    if out.getvalue() != after.getvalue():
        raise SystemExit("applying the delta gave another list")
    return {
        "delta_kb_per_1m": len(made) / 1e3 * 1e6 / count,
        "delta_entries": count,
        "delta_make_s": made_s,
        "delta_apply_s": applied_s,
    }


def imported(folder: Path, count: int, seed: int) -> dict[str, float]:
    """Rows a second of ``alprd-central lists import``: the whole command on ``count`` rows."""
    rng = Random(seed + 2)
    home, file = folder / "central", folder / "list.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("plate", "state", "type", "category", "source", "entered", "text"))
        for _ in range(count):
            one = entry(rng)
            writer.writerow(
                (one.plate, one.state, one.plate_type, one.category, "LPDF", "", one.text)
            )
    _central(home, "init", "--agency", "bench", "--name", "Bench")
    year = (datetime.now(UTC) + timedelta(days=365)).strftime("%Y-%m-%dT%H:%M:%SZ")
    _central(
        home,
        *("people", "add", "--id", "admin", "--name", "Bench", "--role", "admin_supervisor"),
        *("--password-stdin", "--training-expires", year, "--authorised-until", year),
        *("--clearance", "stolen", "--by", "admin"),
        secret="Four-odd-words-here\n",  # noqa: S106 - of a central that lives for a minute
    )
    supplied = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    began = time.perf_counter()
    _central(
        home,
        *("lists", "import", str(file), "--list", "bench", "--source", "LPDF"),
        *("--supplied-at", supplied, "--by", "admin"),
    )
    return {"import_rows_s": count / (time.perf_counter() - began), "import_rows": count}


def _central(home: Path, *words: str, secret: str = "") -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alprd.central.cli", *words, "--home", str(home)],
        cwd=ROOT,
        input=secret,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"alprd-central {words[0]} failed:\n{done.stderr[-2000:]}")


def main(argv: list[str]) -> int:
    """Measure and print; 0 if every goal's least was met."""
    parser = argparse.ArgumentParser(prog="python -m bench matching", description=__doc__)
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--lookups", type=int, default=20_000)
    parser.add_argument("--delta-entries", type=int, default=1_000_000)
    parser.add_argument("--import-rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory(prefix="bench-matching-") as name,
        Progress(console=Console(stderr=True)) as bar,
    ):
        folder = Path(name)
        figures = car(folder, given.entries, given.lookups, given.seed, bar)
        figures |= delta(given.delta_entries, given.seed, bar)
        figures |= imported(folder, given.import_rows, given.seed)
    ordered = {key: figures[key] for key in KEYS} | figures
    ordered = {k: round(v, 3) if isinstance(v, float) else v for k, v in ordered.items()}
    text = json.dumps(ordered, indent=1)
    sys.stdout.write(text + "\n")
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
    return int(any(figures[key] > most for key, most in LEAST.items()))
