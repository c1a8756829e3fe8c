"""``python -m bench poweroff``: hard power-offs of a guest that runs the installed car.

A life is a boot of the guest (:mod:`bench.guest`), a sign-on, collecting for a random time with
the dock's cable in or out by chance, and the power gone between two instructions. The state is on
a drive that forgets by chance what was not flushed. Before its end a life is also *forked* some
times: what the drive would hold if the power went at that instant is written as an image, its
journal is replayed, and the car's database in it is asked. An emulated boot takes minutes, a fork
none. A line a commit leaves the guest on a serial
line and is written down outside: that is the witness. After each boot the witness is compared
with the queue and central; at the end everything is synced to the real central and the three
sides are compared as in the crash bench (:mod:`bench.crash_score`).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from bench.crash_facts import car_facts, central_facts
from bench.crash_score import Lived, Score, score
from bench.crash_world import BenchError, CarPlace, Told
from bench.guest.car import NAME, GuestCar, clip_camera
from bench.guest.image import GuestError, call, missing
from bench.guest.machine import accelerated, patience

KEYS: Final = (
    *("cuts", "committed", "received", "lost", "duplicated", "sessions_wrong", "chain_breaks"),
)
QUEUE: Final = "/var/lib/alprd/queue.db"
IDS: Final = "runuser -u alprd -- python3 /usr/lib/guest-ids.py " + QUEUE
LISTING: Final = """\
import sqlite3, sys
queue = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=60)
print(*(name for (name,) in queue.execute("SELECT id FROM reads")))
"""
"""Run in the guest beside the daemon: ids of the reads in the queue."""
CLIP_S: Final = 900
SYNC_S: Final = 120.0
COMMIT_S: Final = 60.0
"""How long the first commit after a sign-on may take."""


def told(line: str) -> Told | None:
    """A line of the witness; None for one that a cut tore."""
    try:
        found = json.loads(line.strip("\r\n \0"))
        return Told(found["id"], found["mono_ns"], found["last_frame_mono_ns"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return None


def queued(image: Path) -> set[str]:
    """Ids of the reads in the queue on a drive whose power was cut.

    Raises:
        GuestError: its file system cannot be replayed, or the database is damaged.
        sqlite3.Error: the database cannot be opened.
    """
    # 1: errors were corrected, the journal was replayed
    call("e2fsck", "-y", "-E", "journal_only", image, good=(0, 1))
    with tempfile.TemporaryDirectory(dir=image.parent) as folder:
        for name in ("queue.db", "queue.db-wal"):
            call("debugfs", "-R", f"dump /{name} {folder}/{name}", image)
        with closing(sqlite3.connect(f"{folder}/queue.db")) as queue:
            (sound,) = queue.execute("PRAGMA integrity_check").fetchone()
            if sound != "ok":
                raise GuestError(f"the database is damaged: {sound}")
            return {name for (name,) in queue.execute("SELECT id FROM reads")}


class Run:
    """One run of the bench.

    Args:
        longest: seconds after the first commit of a life by which the power is cut at the latest.
        forks: of the drive in a life, at random instants.
    """

    def __init__(self, car: GuestCar, *, cuts: int, seed: int, longest: float, forks: int) -> None:
        self._car = car
        self.asked = cuts
        self._chance = random.Random(seed)
        self._longest = longest
        self._forks = forks
        self._read = 0
        self.enough = threading.Event()
        """Once set no further life begins; what was lived is still compared and told."""
        self.lives: list[Lived] = []
        self.lost_at_boot: set[str] = set()
        self.lost_in_forks: set[str] = set()
        self.forks = 0
        self.fork_groups = 0
        self.forks_broken: list[str] = []
        self.began = datetime.now(UTC)

    def lives_until(self, deadline: float | None, progress: Progress) -> None:
        """Boot, collect, cut; as often as asked, or until the monotonic ``deadline``."""
        task = progress.add_task("power-offs", total=self.asked)
        for number in range(self.asked):
            late = deadline is not None and time.monotonic() > deadline
            if late or self.enough.is_set():
                break
            self._life(docked=number > 0 and self._chance.random() < 0.5)
            progress.advance(task)

    def _life(self, *, docked: bool) -> None:
        car = self._car
        machine = car.boot()
        page = car.page()
        self._compare()
        began = datetime.now(UTC)
        car.sign_on(page)
        page.close()
        machine.dock(plugged=docked)
        before = len(car.witnessed())
        end = time.monotonic() + COMMIT_S * patience()
        while len(car.witnessed()) == before:
            if time.monotonic() > end:
                raise BenchError(f"no read was committed in {COMMIT_S * patience():.0f} s")
            car.wait(0.2)
        for _ in range(self._forks):
            car.wait(self._chance.uniform(0.0, 1.0) * self._longest / self._forks)
            self._fork()
        car.wait(self._chance.uniform(0.0, 1.0) * self._longest)
        ended = car.cut() or began
        lines = tuple(found for line in self._new_lines() if (found := told(line)))
        self.lives.append(
            Lived(
                car=NAME,
                kind="docked" if docked else "on the road",
                began=began,
                ended=ended,
                signed_on=True,
                closing=False,
                killed=True,
                told=lines,
                last_commit=None,
            )
        )

    def _new_lines(self) -> list[str]:
        text = (self._car.folder / "witness.log").read_text(errors="replace")
        new, self._read = text[self._read :], len(text)
        return new.split("\n")

    def _compare(self) -> None:
        """What was witnessed is in the queue or at central; the queue is asked first."""
        here = set(self._car.running.run(IDS, seconds=60 * patience()).split())
        there = {name for (name,) in self._car.central.rows("SELECT id FROM arrivals")}
        self.lost_at_boot |= {t.id for life in self.lives for t in life.told} - here - there

    def _fork(self) -> None:
        """A cut of the drive alone; whatever was witnessed before it must be in it."""
        witnessed = set(self._car.witnessed())
        image = self._car.folder / "fork.img"
        self.fork_groups += self._car.disk.fork(image)
        self.forks += 1
        try:
            here = queued(image)
        except (GuestError, sqlite3.Error) as error:
            self.forks_broken.append(str(error))
            return
        there = {name for (name,) in self._car.central.rows("SELECT id FROM arrivals")}
        self.lost_in_forks |= witnessed - here - there

    def finish(self) -> Score:
        """Dock for the last time, stop in order, and compare all sides.

        Raises:
            BenchError: the car does not get rid of its reads.
        """
        car = self._car
        car.boot()
        car.page()
        self._compare()
        end = time.monotonic() + SYNC_S * patience()
        while True:
            counts = car.status()
            if not (counts["pending"] or counts["sessions_unsent"] or counts["sessions_open"]):
                break
            if time.monotonic() > end:
                raise BenchError(
                    f"the car is not empty after {SYNC_S * patience():.0f} s: {counts}"
                )
            car.wait(1.0)
        car.running.run("systemctl stop alprd.service", seconds=60 * patience())
        car.power_down()
        place = CarPlace(car.folder / "end", NAME)
        place.state.mkdir(parents=True)
        call("debugfs", "-R", f"rdump / {place.state}", car.folder / "state.img")
        since = self.began - timedelta(minutes=1)
        return score(
            self.lives,
            [car_facts(place, cameras=1, skip=0)],
            central_facts(car.central, since, skip=0),
        )


def report(result: Score, run: Run, car: GuestCar, seconds: float) -> dict[str, object]:
    """The JSON object of a run: the promised keys first."""
    told_all = asdict(result)
    figures: dict[str, object] = {"cuts": result.kills}
    figures |= {key: told_all[key] for key in KEYS[1:]}
    return figures | {
        "cuts_asked": run.asked,
        "lost_at_boot": len(run.lost_at_boot),
        "forks": run.forks,
        "lost_in_forks": len(run.lost_in_forks),
        "forks_broken": len(run.forks_broken),
        "blocks_lacking_in_forks": run.fork_groups,
        "unwitnessed": result.unwitnessed,
        "ledger_off": result.ledger_off,
        "audit_events": result.audit_events,
        "max_end_before_cut_s": result.max_end_before_kill_s,
        "cuts_docked": result.kinds.get("docked", 0),
        "blocks_forgotten": car.disk.forgotten,
        "flushes": car.disk.flushes,
        "accelerated": accelerated(),
        "seconds": round(seconds, 1),
        "faults": [*result.faults, *run.forks_broken],
    }


def main(argv: list[str]) -> int:
    """The command; 0 when nothing was lost, doubled, untrue or broken, 2 when it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m bench poweroff", description=__doc__)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--longest", type=float, default=20.0, help="seconds from a life's first commit to its cut"
    )
    parser.add_argument("--forks", type=int, default=10, help="of the drive in each life")
    parser.add_argument("--minutes", type=float, help="begin no further life after so long")
    parser.add_argument(
        "--work",
        default="/var/tmp",  # noqa: S108 - a fresh folder of mkdtemp's, on a disk
        metavar="DIR",
        help="where the disks are made, 5 GB for the time of the run (/dev/shm spares a slow disk)",
    )
    parser.add_argument(
        "--forgetful",
        action="store_true",
        help="a car whose database never flushes, to see that losses are counted",
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args(argv)
    if (reason := missing()) != "":
        print(f"the power-off bench needs a guest: {reason}", file=sys.stderr)
        return 2
    began = time.monotonic()
    console = Console(stderr=True)
    car: GuestCar | None = None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.work)))
        try:
            with console.status("the guest's disks are made"):
                camera, copies, sections = clip_camera(folder, CLIP_S, given.seed)
                listing = folder / "ids.py"
                listing.write_text(LISTING)
                copies["/usr/lib/guest-ids.py"] = listing
                car = GuestCar(
                    folder,
                    stack,
                    cameras=(camera,),
                    copies=copies,
                    sections=sections,
                    seed=given.seed,
                    forgetful=given.forgetful,
                )
            run = Run(
                car, cuts=given.cuts, seed=given.seed, longest=given.longest, forks=given.forks
            )
            # Asked to end, it still counts: an emulated guest needs an hour for twenty cuts.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: run.enough.set())
            deadline = None if given.minutes is None else time.monotonic() + 60 * given.minutes
            with Progress(console=console) as progress:
                run.lives_until(deadline, progress)
            result = run.finish()
        except (GuestError, BenchError) as error:
            print(f"the power-off bench did not end: {error}", file=sys.stderr)
            if car is not None and (told_last := car.journal()):
                print(f"the guest's journal:\n{told_last}", file=sys.stderr)
            return 2
        figures = report(result, run, car, time.monotonic() - began)
    if result.kills < run.asked:
        print(f"ended early: {result.kills} of {run.asked} power-offs", file=sys.stderr)
    text = json.dumps(figures, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")
    lost = run.lost_at_boot or run.lost_in_forks or run.forks_broken
    good = result.held and not lost and result.kills > 0 and result.committed > 0
    return 0 if good else 1
