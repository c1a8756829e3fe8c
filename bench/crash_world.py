"""What the crash and fault benches run: a real central and real daemons, each its own process.

Everything is set up with the product's own commands, as an administrator and an installer would
(:mod:`alprd.demo.home`). Several cars share one central; each has its own state folder.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alprd.demo.home import (
    INVESTIGATOR,
    central,
    central_json,
    child_environment,
    command,
    make_home,
    prepare_central,
    program,
)
from alprd.demo.page import PageClient
from alprd.demo.score import load_truth
from alprd.errors import AlprdError

DRIVE: Final = Path(__file__).resolve().parent.parent / "fixtures" / "drive"
"""Its lists and its protected plates are used, not its pictures."""
LAT: Final = 46.82
"""Of the road that the benches' cars drive, within some kilometres."""
START_S: Final = 240.0
"""Longest start of a program on a busy machine."""

ANSWER_S: Final = 30.0
"""Longest answer of the in-car page on a busy machine. A client that gives up sooner signs on
again and again, although the car has long let it in."""


class BenchError(AlprdError):
    """A program of the product did not do what the bench needs of it."""


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the witness pipe: a read was committed. Instants monotonic, ns."""

    id: str
    mono_ns: int
    last_frame_mono_ns: int

    @property
    def ram_ms(self) -> float:
        """How long the read was in RAM alone: from its last frame to its commit."""
        return (self.mono_ns - self.last_frame_mono_ns) / 1e6


class Central:
    """Central storage as a process, with an agency, its people and a small list.

    Args:
        root: an empty folder for everything.
        stack: where the process's end is noted.
    """

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.home = make_home(root)
        prepare_central(self.home, DRIVE, load_truth(DRIVE))
        self._log = stack.enter_context((root / "central.log").open("ab"))
        self.process = subprocess.Popen(
            program(
                "alprd.central.cli",
                *("serve", "--home", str(self.home.central)),
                *("--car-port", "0", "--page-port", "0"),
            ),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=child_environment(),
            start_new_session=True,
        )
        stack.callback(self.stop)
        run_file = self.home.central / "run.json"
        wait_for("central serves", run_file.exists, START_S, self._alive)
        time.sleep(0.2)  # the file is there before its text is
        self.car_url: str = json.loads(run_file.read_text())["car_url"]

    def _alive(self) -> None:
        if self.process.poll() is not None:
            raise BenchError(f"central ended with {self.process.returncode}")

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def enrol(self, name: str, reader: int, state: Path) -> None:
        """Enrol a car with a one-time code, as the installer does."""
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        answer = central_json(self.home, "enrol-code", "--vehicle", name, "--reader", str(reader))
        command(
            "alprd.cli",
            *("enrol", "--central", self.car_url, "--vehicle", name, "--state", str(state)),
            environment={"ALPRD_ENROL_CODE": answer["code"]},
        )

    def publish(self) -> None:
        """Sign the lists for all enrolled cars."""
        central(self.home, "publish")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What stands in central's database, read beside the running server."""
        with closing(
            sqlite3.connect(
                f"file:{self.home.central / 'central.db'}?mode=ro", uri=True, timeout=30
            )
        ) as connection:
            return connection.execute(sql).fetchall()

    def search(self, since: datetime, until: datetime, *, lat: float = LAT) -> list[dict[str, Any]]:
        """Every read of a window (at most 24 h) on a road at this latitude, or without a place.

        By a documented search, which asks for a place (R-13.824-7-2).
        """
        found = central(
            self.home,
            *("search", "--as", INVESTIGATOR, "--password-stdin", "--case", "26001234"),
            *("--offence", "motor vehicle theft"),
            *("--near", f"{lat},-95.87", "--radius", "10000", "--unplaced"),
            *("--facts", "Crash bench: the reads of these invented cars are counted and compared."),
            *(
                "--suspicion",
                "The reads that the witness saw committed must all have arrived here.",
            ),
            *("--from", since.isoformat(), "--to", until.isoformat(), "--json"),
            secret=self.home.staff_password + "\n",
        )
        return [json.loads(line) for line in found.splitlines() if line.strip()]


class QuickPage(PageClient):
    """The page's client, which asks again after a tenth of a second."""

    def __init__(
        self, url: str, alive: Callable[[], None], *, patience_s: float = ANSWER_S
    ) -> None:
        super().__init__(url, patience_s=patience_s)
        self._alive = alive

    def sign_on(self, person: str, password: str, *, within_s: float = START_S) -> None:
        """Sign on, again and again while the car is still fetching its roster and permit.

        Raises:
            BenchError: it was refused to the end, or the daemon ended.
        """
        end = time.monotonic() + within_s
        while (said := self._try(person, password)) is not None:
            self._alive()
            if time.monotonic() > end:
                raise BenchError(f"sign-on was refused: {said}")
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class CarPlace:
    """Where one car lives and how it is plugged together."""

    root: Path
    name: str

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.root / "state"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / "alprd.toml"

    @property
    def carrier(self) -> Path:
        """``1`` while docked."""
        return self.root / "carrier"

    @property
    def page_file(self) -> Path:
        """Where the daemon tells its page's address."""
        return self.root / "mdt.json"

    @property
    def witnessed(self) -> Path:
        """Every line that the witness was told, of all lives."""
        return self.root / "witness.jsonl"

    @property
    def log(self) -> Path:
        """The daemon's log, of all its lives."""
        return self.root / "daemon.log"

    def dock(self, docked: bool) -> None:
        """Plug the car in or out."""
        self.carrier.write_text("1\n" if docked else "0\n")

    def write_config(
        self,
        cameras: Sequence[tuple[str, str]],
        gps: str,
        fps: float,
        more: Sequence[str] = (),
        login: tuple[str, Path] | None = None,
    ) -> None:
        """Write the configuration: cameras as (name, source); ``more`` are further lines.

        Args:
            login: user and password file of every camera.
        """
        lines = [f"state_dir = {json.dumps(str(self.state))}"]
        for name, source in cameras:
            lines += ["[[camera]]", f'name = "{name}"', f"source = {json.dumps(source)}"]
            lines += [f"fps = {fps}"]
            if login is not None:
                lines += [f'user = "{login[0]}"', f"password_file = {json.dumps(str(login[1]))}"]
        lines += ["[gps]", f'source = "{gps}"']
        lines += ["[dock]", f"carrier_file = {json.dumps(str(self.carrier))}", "interval_s = 0.3"]
        lines += ["[mdt]", "port = 0", f"run_file = {json.dumps(str(self.page_file))}"]
        lines += ["[health]", "port = 0", *more]
        self.config.write_text("\n".join(lines) + "\n")


class Life:
    """One life of a daemon, with the pipe on which it tells its witness of every commit."""

    def __init__(self, place: CarPlace, environment: dict[str, str] | None = None) -> None:
        self.place = place
        place.page_file.unlink(missing_ok=True)
        reader, writer = os.pipe()
        self._log = place.log.open("ab")
        self.began = datetime.now(UTC)
        self.began_mono = time.monotonic()
        self.process = subprocess.Popen(
            program("alprd.cli", "run", "--config", str(place.config), "--witness-fd", str(writer)),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=(writer,),
            env=child_environment() | (environment or {}),
            start_new_session=True,
        )
        os.close(writer)
        os.set_blocking(reader, False)
        self._pipe = os.fdopen(reader, "rb")
        self._rest = b""
        self.told: list[Told] = []
        self.ended: datetime | None = None

    def alive(self) -> None:
        """Raise if the daemon has ended by itself."""
        code = self.process.poll()
        if code is not None:
            tail = self.place.log.read_text(errors="replace")[-2500:]
            raise BenchError(f"the daemon of {self.place.name} ended with {code}:\n{tail}")

    def page(self) -> QuickPage:
        """Its page, once it is served."""
        wait_for("the page is served", self.place.page_file.exists, START_S, self.alive, 0.02)
        wait_for("the address is told", lambda: self.place.page_file.stat().st_size > 0, 5)
        told = json.loads(self.place.page_file.read_text())
        return QuickPage(f"http://{told['host']}:{told['port']}", self.alive)

    def listen(self) -> list[Told]:
        """Everything told so far; call it now and then, the pipe holds 64 KiB."""
        if not self._pipe.closed:
            self._rest += self._pipe.read() or b""
            *lines, self._rest = self._rest.split(b"\n")
            if lines:
                with self.place.witnessed.open("ab") as kept:
                    kept.writelines(line + b"\n" for line in lines)
            for line in lines:
                told = json.loads(line)
                self.told.append(Told(told["id"], told["mono_ns"], told["last_frame_mono_ns"]))
        return self.told

    def wait(self, seconds: float) -> None:
        """Let it live on, hearing what it tells.

        Raises:
            BenchError: it ended by itself.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.alive()
            self.listen()
            time.sleep(min(left, 0.05))

    def kill(self) -> None:
        """kill -9, and hear its last words; nothing the second time."""
        self._end(signal.SIGKILL, 20)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._end(signal.SIGTERM, 30)
        return self.process.returncode

    def _end(self, number: signal.Signals, patience_s: float) -> None:
        if self._pipe.closed:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            end = time.monotonic() + patience_s
            while self.process.poll() is None and time.monotonic() < end:
                self.listen()
                time.sleep(0.01)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(10)
        self.ended = datetime.now(UTC)
        self.listen()
        self._pipe.close()
        self._log.close()


def wait_for(
    what: str,
    true: Callable[[], bool],
    seconds: float,
    alive: Callable[[], None] = lambda: None,
    every_s: float = 0.1,
) -> float:
    """Wait until ``true()``; how many seconds that took.

    Raises:
        BenchError: it did not become true in time; names ``what``.
    """
    began = time.monotonic()
    while not true():
        alive()
        if time.monotonic() - began > seconds:
            raise BenchError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def car_status(place: CarPlace) -> dict[str, int]:
    """``alprd status --json``."""
    found: dict[str, int] = json.loads(
        command("alprd.cli", "status", "--config", str(place.config), "--json")
    )
    return found
