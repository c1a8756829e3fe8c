"""What the fault bench runs: one car with two network cameras and a receiver that can all fail.

The cameras are processes of their own, so that SIGSTOP freezes one and SIGKILL ends one. The car's
state folder lies on a small file system in memory where root may mount one, so that a disk can be
filled without filling the machine's.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from alprd.demo.home import DEPUTY, child_environment, program
from bench.crash_clip import FPS
from bench.crash_world import BenchError, CarPlace, Central, Life, QuickPage, Told, wait_for
from bench.fault_camera import CLIP_S, USER
from bench.fault_clock import WrongClock
from bench.fault_gps import GpsServer

DISK_MB: Final = 192
_STORAGE: Final = (
    "[storage]", "alarm_mb = 100", "caches_mb = 80", "no_wide_mb = 60", "stop_mb = 30",
    "reserve_mb = 8",
)  # fmt: skip
READY_S: Final = 90.0


class CameraServer:
    """One camera's process."""

    def __init__(
        self, name: str, root: Path, seed: int, password: Path, seconds: float = CLIP_S
    ) -> None:
        self.name = name
        self._seconds = seconds
        self._seed = seed
        self._password = password
        self._mode = root / f"{name}.mode"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None
        self.mode("pictures")
        self.start()

    @property
    def source(self) -> str:
        """Its address, without the login."""
        return f"http://127.0.0.1:{self.port}/{self.name}"

    def mode(self, mode: str) -> None:
        """What it does from now on: see :mod:`bench.fault_camera`."""
        part = self._mode.with_suffix(".part")
        part.write_text(mode)
        part.replace(self._mode)

    def start(self) -> None:
        """Start it, at the same port as ever; returns when it listens."""
        self._process = subprocess.Popen(
            program(
                "bench.fault_camera",
                *(str(self.port), str(self._password), str(self._seed), str(self._mode)),
                str(self._seconds),
            ),
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(),
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        if self._process.stdout.readline().strip() != "ready":
            raise BenchError(f"camera {self.name} did not start")

    def signal(self, number: signal.Signals) -> None:
        """Freeze (SIGSTOP), thaw (SIGCONT) or kill it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it, whatever state it is in."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
            if self._process.stdout is not None:
                self._process.stdout.close()


class FaultWorld:
    """Central, car, cameras, receiver and clock; everything that was told so far.

    ``told`` holds every commit that a witness heard, by read id.
    """

    def __init__(self, root: Path, stack: ExitStack) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.stack = stack
        self.began = datetime.now(UTC)
        self.told: dict[str, Told] = {}
        self.spoiled: set[str] = set()
        """Reads whose very bytes the bench destroyed; nothing can bring them back."""
        self.clock = WrongClock(root)
        self.central = Central(root / "agency", stack)
        self.gps = GpsServer()
        stack.callback(self.gps.stop)
        self.place = CarPlace(root / "car-1", "car-1")
        self.place.state.mkdir(mode=0o700, parents=True)
        self.small_disk = _mount(self.place.state, stack)
        password = root / "camera-password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(12))
        self.cameras = {
            name: CameraServer(name, root, seed, password)
            for seed, name in enumerate(("front", "left"), 1)
        }
        for camera in self.cameras.values():
            stack.callback(camera.kill)
        self.place.write_config(
            [(name, camera.source) for name, camera in self.cameras.items()],
            self.gps.source,
            float(FPS),
            _STORAGE if self.small_disk else (),
            login=(USER, password),
        )
        self.central.enrol(self.place.name, 1, self.place.state)
        self.central.publish()
        self.life: Life | None = None
        self.page: QuickPage | None = None

    # --- the daemon -------------------------------------------------------------------------

    def start(self, *, docked: bool, sign_on: bool = True) -> None:
        """Start the daemon, and sign on."""
        self.place.dock(docked)
        self.life = Life(self.place, self.clock.environment)
        self.stack.callback(self.life.kill)
        self.page = self.life.page()
        if sign_on:
            self.sign_on()

    def sign_on(self) -> None:
        """The deputy signs on, and the page is followed."""
        if self.page is not None:
            self.page.sign_on(DEPUTY, self.central.home.deputy_password)
            self.page.listen()

    def ready(self) -> None:
        """Wait until cameras, GPS and clock are well and reads are being committed."""
        self.until("cameras, GPS and clock are well", self.all_well, READY_S)
        before = self.committed()
        self.until("reads are committed", lambda: self.committed() > before, READY_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon."""
        if self.page is not None:
            self.page.close()
            self.page = None
        if self.life is not None:
            if number is signal.SIGKILL:
                self.life.kill()
            else:
                self.life.stop()
            self._hear(self.life)
            self.life = None

    def recover(self) -> None:
        """After a row that broke off: everything as it should be, with a fresh daemon."""
        self.stop(signal.SIGKILL)
        self.clock.shift(0)
        self.gps.mode, self.gps.shift, self.gps.away = "steady", timedelta(0), 0.0
        (self.place.state / "ballast.bin").unlink(missing_ok=True)
        for camera in self.cameras.values():
            camera.mode("pictures")
            camera.kill()
            camera.start()
        self.start(docked=False)
        self.ready()

    def _hear(self, life: Life) -> None:
        for told in life.listen():
            self.told.setdefault(told.id, told)

    def committed(self) -> int:
        """Commits witnessed so far, in all lives."""
        if self.life is not None:
            self._hear(self.life)
        return len(self.told)

    # --- what the page shows ----------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The newest status event of the page; empty before the first."""
        return self.page.status() if self.page is not None else {}

    def light(self, camera: str) -> str:
        """A camera's light: ok, warn or stop."""
        found = {one["name"]: one["light"] for one in self.status().get("cameras", ())}
        return str(found.get(camera, ""))

    def gps_light(self) -> str:
        """The receiver's light."""
        return str(self.status().get("gps", {}).get("light", ""))

    def clock_light(self) -> str:
        """The clock's light."""
        return str(self.status().get("clock", {}).get("light", ""))

    def cameras_well(self) -> bool:
        """Whether both cameras are shown as up, or nothing has been shown yet."""
        return {self.light(name) for name in self.cameras} <= {"ok", ""}

    def all_well(self) -> bool:
        """Whether both cameras, GPS and clock are shown as well."""
        lights = [self.light(name) for name in self.cameras]
        return {*lights, self.gps_light(), self.clock_light()} == {"ok"}

    def queue(self, sql: str) -> int:
        """A number from the car's own database."""
        with closing(sqlite3.connect(self.place.state / "queue.db", timeout=30)) as connection:
            return int(connection.execute(sql).fetchone()[0])

    def texts(self, sql: str) -> list[str]:
        """A column of texts from the car's own database."""
        with closing(sqlite3.connect(self.place.state / "queue.db", timeout=30)) as connection:
            return [str(text) for (text,) in connection.execute(sql)]

    # --- waiting ----------------------------------------------------------------------------

    def until(self, what: str, true: Callable[[], bool], seconds: float) -> float:
        """Wait, hearing the witness; how many seconds it took.

        Raises:
            BenchError: the daemon ended, or it did not become true in time.
        """
        life = self.life

        def look() -> bool:
            if life is not None:
                life.alive()
                self._hear(life)
            return true()

        return wait_for(what, look, seconds, every_s=0.05)

    def rest(self, seconds: float) -> None:
        """Let time pass, hearing the witness."""
        end = time.monotonic() + seconds
        self.until("time passes", lambda: time.monotonic() >= end, seconds + 5)


def _mount(folder: Path, stack: ExitStack) -> bool:
    """Put a small file system in memory over ``folder``; False where that is not allowed."""
    if os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "alprd-bench", str(folder)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        return False
    stack.callback(subprocess.run, ["umount", "-l", str(folder)], capture_output=True, check=False)
    return True
