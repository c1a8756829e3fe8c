"""An enrolled car, central, and the real daemon as systemd would start it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from alprd.demo.gpsfeed import GpsFeed
from alprd.demo.home import (
    DEPUTY,
    Home,
    child_environment,
    enrol_car,
    make_home,
    prepare_central,
    program,
    write_config,
)
from alprd.demo.page import PageClient
from alprd.demo.score import Truth, load_truth

DRIVE = Path(__file__).resolve().parent.parent / "fixtures" / "drive"


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for something true and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(0.05)
    return found


class World:
    """Central with people and lists, and a car that is enrolled there."""

    def __init__(self, folder: Path) -> None:
        with ExitStack() as stack:
            self._make(folder, stack)
            self._stack = stack.pop_all()

    def _make(self, folder: Path, stack: ExitStack) -> None:
        self.truth: Truth = load_truth(DRIVE)
        self.home: Home = make_home(folder)
        prepare_central(self.home, DRIVE, self.truth)
        server = subprocess.Popen(
            program(
                "alprd.central.cli",
                *("serve", "--home", str(self.home.central)),
                *("--car-port", "0", "--page-port", "0"),
            ),
            stdout=subprocess.DEVNULL,
            env=child_environment(),
        )
        stack.callback(server.wait, 20)
        stack.callback(server.terminate)
        run_file = self.home.central / "run.json"
        until(run_file.exists, 180, "central serves")
        enrol_car(self.home, json.loads(run_file.read_text())["car_url"])
        self.feed = GpsFeed(DRIVE / self.truth.gps, self.truth.start_utc)
        stack.callback(self.feed.stop)
        write_config(self.home, DRIVE, self.truth, self.feed.device)
        self.config_text = self.home.config.read_text()

    def start_drive(self) -> None:
        """Let the cameras' files and the GPS log begin."""
        zero_ns, _ = self.feed.start(1.0)
        self.home.gate.write_text(str(zero_ns))

    def close(self) -> None:
        """End central and the feed."""
        self._stack.close()


class Car:
    """The daemon as a process, with its notification socket, log and witness pipe."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.world, home = world, world.home
        for file in (home.page, home.health):
            file.unlink(missing_ok=True)
        self.said: list[tuple[float, str]] = []
        """What systemd was told, with the monotonic instant."""
        path = home.root / "notify"
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        self.witness, self.witness_end = os.pipe()
        self.log = home.root / "daemon.log"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                program(
                    "alprd.cli",
                    *("run", "--config", str(home.config)),
                    *("--witness-fd", str(self.witness_end), *arguments),
                ),
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=(self.witness_end,),
                env=child_environment() | {"NOTIFY_SOCKET": str(path)},
            )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            if select.select([self._notify], [], [], 0.2)[0]:
                self.said.append((time.monotonic(), self._notify.recv(4096).decode()))

    def told(self, text: str, *, since: float = 0.0) -> list[str]:
        """Messages to systemd that hold ``text``."""
        return [said for at, said in list(self.said) if at >= since and text in said]

    def page(self) -> PageClient:
        """A client of the in-car page, once it is served."""
        told = json.loads(until(lambda: self._alive(self.world.home.page), 60, "page"))
        return PageClient(f"http://{told['host']}:{told['port']}")

    def _alive(self, file: Path) -> str:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return file.read_text() if file.exists() else ""

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and document of ``/healthz``."""
        answer = httpx.get(f"{self.health_url()}/healthz", trust_env=False, timeout=15)
        return answer.status_code, answer.json()

    def health_url(self) -> str:
        """Base address of health."""
        told = json.loads(until(lambda: self._alive(self.world.home.health), 60, "health"))
        return f"http://{told['host']}:{told['port']}"

    def sign_on(self) -> PageClient:
        """Sign the deputy on; collecting begins."""
        page = self.page()
        page.sign_on(DEPUTY, self.world.home.deputy_password)
        return page

    def end(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Signal it and wait; seconds until it had ended."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)
        took = time.monotonic() - began
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._notify.close()
            os.close(self.witness)
            os.close(self.witness_end)
        return took
