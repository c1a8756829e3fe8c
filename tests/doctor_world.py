"""A car to examine: enrolled, docked once, with lists, permit, a camera file and a GPS on a pty."""

from __future__ import annotations

import os
import pty
import shutil
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from dock_world import AGENCY, CAR, Shelf, World
from dock_world import Car as DockedCar

from alprd import wire
from alprd.config import Config
from alprd.crypto import canonical
from alprd.doctor.car import Car
from alprd.doctor.report import Row, examine
from alprd.doctor.table import CHECKS
from alprd.frames import Image
from alprd.permits import PermitBook
from alprd.roster import hash_password
from alprd.selfcheck import load_picture


@dataclass
class Shifted(Car):
    """A car whose system clock stands elsewhere."""

    shift: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift


def enrolled(home: Path) -> World:
    """A central and, below ``home``, the state folder of a car that has docked once."""
    world = World(home)
    try:
        _dock_once(world)
    except BaseException:
        world.stop()  # its thread would keep the tests from ending
        raise
    return world


def _dock_once(world: World) -> None:
    now = datetime.now(UTC)
    person = wire.Person(
        id="d1", name="Invented Deputy", roles=("deputy",), verifier=hash_password("invented"),
        clearances=("stolen",), training_expires=now + timedelta(days=300),
        authorised_until=now + timedelta(days=300),
    )  # fmt: skip
    roster = wire.Roster(
        agency=AGENCY, issued=now, expires=now + timedelta(days=7), people=(person,)
    )
    world.repository.plain[wire.ROSTER] = canonical(roster)
    trust = world.enrol()
    Shelf(world, trust)
    car = DockedCar(trust)
    try:
        permits = PermitBook(
            car.store, agency=AGENCY, vehicle=CAR, receipt_key=trust.receipt_key
        )  # fmt: skip
        dock = car.dock(on_permit=permits.renew)
        dock.step()
        assert dock.status().state == "done", dock.status().text
        car.commit()  # one read waits for the next dock
    finally:
        car.store.close()


def failing(rows: dict[str, Row]) -> set[str]:
    """Keys of the failed rows."""
    return {key for key, row in rows.items() if row.level == "fail"}


class Copy:
    """A copy of the enrolled car in a folder of its own, for one test to break."""

    def __init__(self, world: World, folder: Path, *, bare: bool = False) -> None:
        self.world = world
        self.folder = folder
        self.state = folder / "state"
        self.root = Path("/")
        self.shift = timedelta(0)
        self.pictures: Path | None = None
        self.seconds = 0.5
        self.stack = ExitStack()
        """Closed after the test: what the broken car brought along."""
        if bare:
            self.state.mkdir(mode=0o700)
        else:
            shutil.copytree(world.home / "state", self.state, symlinks=True)
        self.file = folder / "alprd.toml"
        self.file.write_text("# examined\n")
        self.file.chmod(0o640)
        self.values: dict[str, Any] = {
            "state_dir": self.state,
            "camera": [{"name": "front", "source": f"file:{folder / 'front.mp4'}", "fps": 2}],
            "gps": {"source": f"file:{folder / 'none.nmea'}"},
        }

    def car(self) -> Car:
        return Shifted(
            config=Config.model_validate(self.values),
            config_file=self.file,
            pictures=self.pictures,
            seconds=self.seconds,
            root=self.root,
            shift=self.shift,
        )

    def run(self, *only: str, timeout_s: float = 20.0) -> dict[str, Row]:
        """Rows of these checks, by ``check/name``."""
        chosen = [check for check in CHECKS if not only or check.name in only]
        report = examine(self.car(), chosen, timeout_s=timeout_s)
        return {f"{row.check}/{row.name}": row for row in report.rows}

    def machine(self, **files: str) -> Path:
        """A machine of one's own below ``root``: ``proc__swaps="…"`` writes ``/proc/swaps``."""
        self.root = self.folder / "machine"
        for name, text in files.items():
            path = self.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self.root

    def systemctl(self, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
        """A machine with systemd whose ``systemctl show`` says this, in its real form."""
        self.machine(run__systemd__system__x="")
        program = self.folder / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def hears(self, **options: Any) -> None:
        """A receiver on a pty for as long as the test runs."""
        self.values["gps"] = {"source": self.stack.enter_context(receiver(**options))}


def scene(width: int = 1280, height: int = 720) -> Image:
    """A picture in focus with the test plate in it."""
    plate, _ = load_picture()
    return np.asarray(
        cv2.resize(plate, (width, height), interpolation=cv2.INTER_LANCZOS4), np.uint8
    )


def video(path: Path, picture: Image, frames: int = 60, rate: int = 15) -> Path:
    """A still life as H.264."""
    height, width = picture.shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


def _sentence(body: str) -> bytes:
    total = 0
    for char in body:
        total ^= ord(char)
    return f"${body}*{total:02X}\r\n".encode()


def epoch(at: datetime, *, fix: bool = True, satellites: int = 9, hdop: float = 0.9) -> bytes:
    """The sentences of one instant in an invented place."""
    clock, day = f"{at:%H%M%S}.{at.microsecond // 10000:02d}", f"{at:%d%m%y}"
    if not fix:
        return _sentence(f"GPRMC,{clock},V,,,,,,,{day},,,N") + _sentence(
            f"GPGGA,{clock},,,,,0,00,,,M,,M,,"
        )
    place = "4649.0260,N,09550.7180,W"
    return _sentence(f"GPGGA,{clock},{place},1,{satellites:02d},{hdop},400,M,-28,M,,") + _sentence(
        f"GPRMC,{clock},A,{place},0.0,0.0,{day},,,A"
    )


@contextmanager
def receiver(
    *, fix: bool = True, off: timedelta = timedelta(0), garbage: bool = False, silent: bool = False,
    rate: float = 5.0,
) -> Iterator[str]:  # fmt: skip
    """A GPS receiver on a pty; the path of its device."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(1 / rate):
            if garbage:
                os.write(master, os.urandom(80).replace(b"$", b"#") + b"\n")
            elif not silent:
                os.write(master, epoch(datetime.now(UTC) + off, fix=fix))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stop.set()
        thread.join()
        time.sleep(0.05)
        os.close(slave)
        os.close(master)
