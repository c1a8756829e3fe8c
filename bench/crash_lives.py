"""Cars that are killed: how each kind of life goes, and where the kill falls.

``load``: while reads are committed. ``sync``: between the plug and the last receipt, every other
time aimed at the worst moment. ``start``: between the program's start and its first page.
``close``: while a session is being ended. ``idle``: between two heartbeats of an empty road.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from alprd.demo.home import DEPUTY
from bench.crash_clip import FPS, write_clip
from bench.crash_score import Lived
from bench.crash_world import (
    START_S,
    BenchError,
    CarPlace,
    Central,
    Life,
    QuickPage,
    car_status,
    wait_for,
)
from bench.fault_gps import GpsServer

KINDS: Final = {"load": 9, "sync": 6, "start": 2, "close": 2, "idle": 1}
"""How often each kind of life comes, in twentieths."""
CLIPS: Final = 4
"""Clips that the cars share; a life sees one of them."""
CLIP_S: Final = 16.0
LONGEST_LOAD_S: Final = 6.0
"""The first read of a life is committed about 2.5 s after its first frame."""
IDLE_S: Final = (11.0, 24.0)
"""Longer than a heartbeat (10 s), so that it is a heartbeat that tells the session's end."""
DOCK_S: Final = 180.0


class Driver:
    """Lives and kills of one car.

    Args:
        place: of the car, enrolled and configured.
        world: where it lives; its ``configure`` gives the car a camera.
        kinds: the kind of each life, in order.
        seed: of the random instants.
    """

    def __init__(self, place: CarPlace, world: World, kinds: Sequence[str], seed: int) -> None:
        self.place = place
        self.lives: list[Lived] = []
        self._world = world
        self._kinds = kinds
        self._rng = random.Random(seed)
        self._start_s, self._sync_s = 3.0, 1.5  # lately, so that kills fall into them
        self._gate = place.root / "gate"
        self._life: Life | None = None

    def run(self, done: Callable[[], None], stop: threading.Event) -> None:
        """Live and be killed, as often as there are kinds; ``done`` is called after each."""
        for kind in self._kinds:
            killed = False
            while not killed:  # one that ended before its kill came is lived again
                if stop.is_set():
                    return
                killed = self._live(kind)
            done()

    def abort(self) -> None:
        """End the daemon, and with it, by an error, the thread that drives it."""
        if self._life is not None and self._life.process.poll() is None:
            self._life.process.kill()

    def _live(self, kind: str) -> bool:
        """One life; whether it was the kill that ended it."""
        self.place.dock(False)
        self._gate.unlink(missing_ok=True)
        self._world.configure(self.place, self._rng.randrange(CLIPS))
        life = self._life = Life(self.place)
        page: QuickPage | None = None
        try:
            if kind == "start":
                life.wait(self._rng.uniform(0.0, 1.2 * self._start_s))
            else:
                page = life.page()
                self._start_s += 0.3 * (time.monotonic() - life.began_mono - self._start_s)
                page.sign_on(DEPUTY, self._world.central.home.deputy_password)
                ways = {"load": self._load, "sync": self._sync, "idle": self._idle}
                ways.get(kind, self._close)(life, page)
        finally:
            life.kill()
            if page is not None:
                page.close()
        killed = life.process.returncode == -signal.SIGKILL
        self._note(kind, life, signed_on=page is not None, killed=killed)
        return killed

    def _play(self) -> None:
        """The camera begins its clip."""
        part = self._gate.with_suffix(".part")
        part.write_text(str(time.monotonic_ns()))
        part.replace(self._gate)

    def _load(self, life: Life, _: QuickPage) -> None:
        self._play()
        life.wait(self._rng.uniform(0.0, LONGEST_LOAD_S))

    def _sync(self, life: Life, _: QuickPage) -> None:
        """Collect, then dock; the cut falls somewhere between the plug and the last receipt.

        Every other time it is aimed at the worst moment: central has stored a batch, and its
        receipt is on the way.
        """
        self._play()
        life.wait(self._rng.uniform(1.0, 3.5))
        aimed = self._rng.random() < 0.5
        before = self._world.arrived(self.place)
        plugged = time.monotonic()
        self.place.dock(True)
        wait = self._rng.uniform(0.0, 1.3 * self._sync_s)
        if not aimed:
            life.wait(wait)
            return
        while (
            self._world.arrived(self.place) == before
            and time.monotonic() - plugged < 4 * self._sync_s
        ):
            life.alive()
            life.listen()
            time.sleep(0.002)
        self._sync_s += 0.3 * (time.monotonic() - plugged - self._sync_s)
        time.sleep(self._rng.uniform(0.0, 0.02))

    def _close(self, life: Life, page: QuickPage) -> None:
        """The daemon is told to stop, or the deputy signs off; the cut falls into that."""
        self._play()
        life.wait(self._rng.uniform(2.0, 4.0))
        if self._rng.random() < 0.5:
            life.process.terminate()
        else:
            threading.Thread(target=_quietly, args=(page.sign_off,), daemon=True).start()
        end = time.monotonic() + self._rng.uniform(0.0, 0.8)
        while life.process.poll() is None and time.monotonic() < end:
            life.listen()
            time.sleep(0.005)

    def _idle(self, life: Life, _: QuickPage) -> None:
        """Signed on with nothing before the camera: heartbeats alone tell how long it was."""
        life.wait(self._rng.uniform(*IDLE_S))

    def dock(self) -> None:
        """A last life that only docks, until the car is empty, and is stopped gracefully."""
        self._gate.unlink(missing_ok=True)
        self.place.dock(True)
        life = self._life = Life(self.place)
        try:
            wait_for("the daemon has begun", self.place.page_file.exists, START_S, life.alive)
            wait_for("the car is empty", self._empty, DOCK_S, life.alive, 0.5)
            code = life.stop()
            if code != 0:
                raise BenchError(f"{self.place.name}: SIGTERM ended the daemon with {code}")
        finally:
            life.kill()

    def _empty(self) -> bool:
        counts = car_status(self.place)
        return not (counts["pending"] or counts["sessions_unsent"] or counts["sessions_open"])

    def _note(self, kind: str, life: Life, *, signed_on: bool, killed: bool) -> None:
        told = tuple(life.told)
        ended = life.ended or datetime.now(UTC)
        last = None
        if told:
            ago = time.monotonic_ns() - told[-1].mono_ns
            last = datetime.now(UTC) - timedelta(microseconds=ago // 1000)
        self.lives.append(
            Lived(
                self.place.name,
                kind,
                life.began,
                ended,
                signed_on,
                kind == "close",
                killed,
                told,
                last,
            )
        )


def _quietly(act: Callable[[], None]) -> None:
    """A sign-off that the kill cuts off is no error of the bench."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - whatever a dying peer makes of the connection
        _ = error


class World:
    """One central, cars with their cameras and receiver, all enrolled and docked once."""

    def __init__(self, root: Path, cars: int, stack: ExitStack) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.began = datetime.now(UTC)
        self.central = Central(root / "agency", stack)
        self.gps = GpsServer()
        stack.callback(self.gps.stop)
        self.places = [CarPlace(root / f"car-{n}", f"car-{n}") for n in range(1, cars + 1)]
        self._clips = [root / f"clip-{number}.mp4" for number in range(CLIPS)]
        for number, clip in enumerate(self._clips):
            write_clip(clip, CLIP_S, number)
        with ThreadPoolExecutor(cars) as pool:
            list(pool.map(self._enrol, self.places, range(1, cars + 1)))
        self.central.publish()

    def _enrol(self, place: CarPlace, reader: int) -> None:
        self.central.enrol(place.name, reader, place.state)
        self.configure(place, 0)

    def configure(self, place: CarPlace, clip: int) -> None:
        """Put a clip before the car's camera; it plays once the gate is there."""
        place.write_config(
            [("front", f"file:{self._clips[clip]}")],
            self.gps.source,
            float(FPS),
            ["[replay]", f"start_file = {json.dumps(str(place.root / 'gate'))}"],
        )

    def arrived(self, place: CarPlace) -> int:
        """How many reads of a car central has."""
        sql = f"SELECT count(*) FROM arrivals WHERE vehicle = '{place.name}'"  # noqa: S608 - own
        return int(self.central.rows(sql)[0][0])

    def prime(self, place: CarPlace) -> None:
        """Dock a fresh car until it has its lists and its permit."""
        place.dock(True)
        life = Life(place)
        page: QuickPage | None = None
        try:
            page = life.page()
            page.sign_on(DEPUTY, self.central.home.deputy_password)
            page.sign_off()
            life.stop()
        finally:
            life.kill()
            if page is not None:
                page.close()
