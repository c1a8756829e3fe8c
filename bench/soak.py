"""``make bench-soak MINUTES=…``: does the daemon grow?

The real daemon with two MJPEG cameras that play rendered plates without end, a GPS receiver on a
pseudo-terminal, an operator signed on, and a dock that is left and reached in turns, so that the
queue fills and empties. Each second memory, threads and open files of the daemon and of the
processes that it started are taken from ``/proc``. After the warm-up a straight line is laid
through the private memory by least squares; its slope is the growth.

Threads and files come and go by a few (a request, a connection to the dock); *constant* means
that their median over the last quarter of the time is not above that over the first.

JSON: ``{"minutes", "samples", "growth_mb_per_hour", "growth_error_mb_per_hour",
"resident_growth_mb_per_hour", "first_mb", "last_mb", "resident_mb_last", "threads", "files",
"processes", "restarts", "committed", "judged", "ok"}``; MB are 10^6 bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from alprd.process import Footprint, footprint
from bench.crash_world import BenchError
from bench.fault_world import FaultWorld

GOAL_MB_PER_HOUR: Final = 2.0
WARM_UP_SHARE: Final = 1 / 3
LONGEST_WARM_UP_S: Final = 300.0
EVERY_S: Final = 1.0
DOCK_TURN_S: Final = 45.0
"""The car is docked and away for so long in turns."""
PATIENCE_S: Final = 300.0
"""How long a busy machine may take until the first read."""
SHORTEST_MIN: Final = 5.0
"""A shorter run is refused at once."""
_MB: Final = 1e6


class PtyGps:
    """Carries a receiver's TCP stream to a pseudo-terminal, as a serial line."""

    def __init__(self, source: str) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)
        told = urlsplit(source)
        self._socket = socket.create_connection((told.hostname, told.port))
        self._thread = threading.Thread(target=self._carry, name="pty-gps", daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(4096):
                os.write(self._master, data)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(2)
        os.close(self._master)
        os.close(self._slave)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds since the first, and what the daemon and its children hold."""

    at_s: float
    private: int
    resident: int
    threads: int
    files: int
    processes: int


def children(pid: int) -> list[int]:
    """Processes that a process started and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            for word in task.read_text().split():
                found += [int(word), *children(int(word))]
    return found


def look(pid: int, began: float) -> Sample:
    """One sample of the daemon ``pid`` with all its children."""
    held: list[Footprint] = []
    for number in (pid, *children(pid)):
        try:
            held.append(footprint(number))
        except OSError:
            if number == pid:
                raise
    return Sample(
        time.monotonic() - began,
        sum(one.private_bytes for one in held),
        sum(one.resident_bytes for one in held),
        sum(one.threads for one in held),
        sum(one.files for one in held),
        len(held),
    )


def slope(times_s: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line, and its standard error, in units an hour.

    The error supposes that the samples' deviations are independent; they are not quite, so it is
    a lower bound.
    """
    number = len(times_s)
    if number < 3:
        return 0.0, float("inf")
    mean_t, mean_v = sum(times_s) / number, sum(values) / number
    spread = sum((t - mean_t) ** 2 for t in times_s)
    per_s = sum((t - mean_t) * (v - mean_v) for t, v in zip(times_s, values, strict=True)) / spread
    rest = sum(
        (v - mean_v - per_s * (t - mean_t)) ** 2 for t, v in zip(times_s, values, strict=True)
    )
    return per_s * 3600, (rest / (number - 2) / spread) ** 0.5 * 3600


def summarise(samples: Sequence[Sample], warm_up_s: float) -> dict[str, Any]:
    """The figures of a run, without what happened before the warm-up was over.

    ``judged`` is false where the error of the growth is so large that the goal could be met or
    missed by chance; such a run is never ``ok``.

    Raises:
        BenchError: nothing is left.
    """
    kept = [sample for sample in samples if sample.at_s >= warm_up_s]
    if len(kept) < 8:
        raise BenchError("the run is too short to say anything", remedy="give more MINUTES")
    times = [sample.at_s for sample in kept]
    growth, error = slope(times, [sample.private / _MB for sample in kept])
    quarter = len(kept) // 4
    result: dict[str, Any] = {
        "minutes": round((times[-1] - times[0]) / 60, 2),
        "samples": len(kept),
        "growth_mb_per_hour": round(growth, 2),
        "growth_error_mb_per_hour": round(error, 2),
        "resident_growth_mb_per_hour": round(
            slope(times, [sample.resident / _MB for sample in kept])[0], 2
        ),
        "first_mb": round(median(s.private for s in kept[:quarter]) / _MB, 1),
        "last_mb": round(median(s.private for s in kept[-quarter:]) / _MB, 1),
        "resident_mb_last": round(median(s.resident for s in kept[-quarter:]) / _MB, 1),
    }
    constant = True
    for name in ("threads", "files", "processes"):
        values = [getattr(sample, name) for sample in kept]
        first, last = median(values[:quarter]), median(values[-quarter:])
        constant = constant and last <= first
        result[name] = {"first": first, "last": last, "least": min(values), "most": max(values)}
    result["judged"] = 2 * error <= GOAL_MB_PER_HOUR
    result["ok"] = result["judged"] and growth <= GOAL_MB_PER_HOUR and constant
    return result


def soak(minutes: float, console: Console, every: Path | None = None) -> dict[str, Any]:
    """Run the daemon for so long and measure it; ``every`` takes the samples as JSON lines.

    Raises:
        BenchError: the daemon ended by itself, or never began to commit reads.
    """
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alprd-soak-")))
        console.print("central, car, cameras and receiver are made …")
        world = FaultWorld(root, stack)
        stack.callback(world.stop)
        line = PtyGps(world.gps.source)
        stack.callback(line.close)
        text = world.place.config.read_text()
        world.place.config.write_text(text.replace(world.gps.source, line.device))
        world.start(docked=True)
        world.until("reads are committed", lambda: world.committed() > 0, PATIENCE_S)
        life = world.life
        if life is None:
            raise BenchError("the daemon does not run")
        out = stack.enter_context(every.open("w")) if every else None
        began, samples = time.monotonic(), list[Sample]()
        docked, turn = True, DOCK_TURN_S
        with Progress(
            TextColumn("soak"), BarColumn(), TextColumn("{task.fields[now]}"),
            TimeRemainingColumn(), console=console,
        ) as bar:  # fmt: skip
            task = bar.add_task("soak", total=minutes * 60, now="")
            while (past := time.monotonic() - began) < minutes * 60:
                world.rest(max(0.0, len(samples) * EVERY_S - past))
                if past >= turn:
                    docked, turn = not docked, turn + DOCK_TURN_S
                    world.place.dock(docked)
                sample = look(life.process.pid, began)
                samples.append(sample)
                if out is not None:
                    out.write(json.dumps({n: getattr(sample, n) for n in Sample.__slots__}) + "\n")
                bar.update(
                    task,
                    completed=past,
                    now=f"{sample.private / _MB:.1f} MB, {sample.threads} threads",
                )
        result = summarise(samples, min(LONGEST_WARM_UP_S, minutes * 60 * WARM_UP_SHARE))
        result["committed"] = world.committed()
        result["restarts"] = world.place.log.read_text(errors="replace").count("is started again")
        result["ok"] = result["ok"] and result["restarts"] == 0
        return result


def main(argv: list[str]) -> int:
    """The command; 0 when the goal is met, 1 when it is missed, 2 when nothing can be said."""
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--samples", type=Path, help="write every sample there, as JSON lines")
    asked = parser.parse_args(argv)
    console = Console(stderr=True)
    if not asked.minutes >= SHORTEST_MIN:
        console.print(f"soak: a run under {SHORTEST_MIN:.0f} minutes says nothing about growth")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end what was started, too
    try:
        result = soak(asked.minutes, console, asked.samples)
    except BenchError as error:
        console.print(f"soak: {error.diagnostics()}", markup=False)
        return 2
    text = json.dumps(result, indent=2)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    if not result["judged"]:
        spread = result["growth_error_mb_per_hour"]
        console.print(f"soak: too short to judge: ±{spread} MB an hour; give more MINUTES")
        return 2
    return 0 if result["ok"] else 1
