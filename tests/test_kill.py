"""kill -9 of the real daemon in mid-drive: what was committed is not lost (R-460.5-2)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from alprd.central.receiving.carapi import _body
from alprd.demo.gpsfeed import GpsFeed
from alprd.demo.home import (
    DEPUTY,
    INVESTIGATOR,
    Home,
    central,
    central_json,
    child_environment,
    command,
    enrol_car,
    make_home,
    prepare_central,
    program,
    write_config,
)
from alprd.demo.page import PageClient
from alprd.demo.score import Truth, load_truth

DRIVE = Path(__file__).resolve().parent.parent / "fixtures" / "drive"

pytestmark = pytest.mark.timeout(300)


class Car:
    """The daemon as a process, with its witness pipe."""

    def __init__(self, home: Home) -> None:
        self.home = home
        home.page.unlink(missing_ok=True)
        reader, writer = os.pipe()
        self.log = (home.root / "daemon.log").open("ab")
        self.process = subprocess.Popen(
            program("alprd.cli", "run", "--config", str(home.config), "--witness-fd", str(writer)),
            stdout=self.log,
            stderr=subprocess.STDOUT,
            pass_fds=(writer,),
            env=child_environment(),
        )
        os.close(writer)
        os.set_blocking(reader, False)
        self._pipe = os.fdopen(reader, "rb")
        self._rest = b""
        self.witnessed: list[str] = []

    def page(self, seconds: float = 60) -> PageClient:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.home.root / "daemon.log").read_text()
            if self.home.page.exists():
                told = json.loads(self.home.page.read_text())
                return PageClient(f"http://{told['host']}:{told['port']}")
            time.sleep(0.1)
        raise AssertionError("the daemon did not serve its page")

    def listen(self) -> int:
        """How many commits were told so far."""
        self._rest += self._pipe.read() or b""
        *lines, self._rest = self._rest.split(b"\n")
        self.witnessed += [json.loads(line)["id"] for line in lines]
        return len(self.witnessed)

    def end(self, number: signal.Signals) -> None:
        """Signal it, wait, hear its last words; nothing the second time."""
        if self._pipe.closed:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(20)
        self.listen()
        self._pipe.close()
        self.log.close()


def status(home: Home) -> dict[str, Any]:
    said = command("alprd.cli", "status", "--config", str(home.config), "--json")
    found: dict[str, Any] = json.loads(said)
    return found


def end_reasons(home: Home) -> list[str]:
    connection = sqlite3.connect(home.car / "queue.db")
    try:
        rows = connection.execute("SELECT row FROM sessions ORDER BY rowid").fetchall()
    finally:
        connection.close()
    return [json.loads(row)["end_reason"] for (row,) in rows]


def a_busy_port_is_refused(home: Home) -> int:
    """Exit code of a daemon whose page's port is taken: an error with a remedy, no crash."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = home.config.read_text()
        home.config.write_text(text.replace("port = 0", f"port = {port}"))
        done = subprocess.run(
            program("alprd.cli", "run", "--config", str(home.config)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        home.config.write_text(text)
    assert str(port) in done.stderr and "remedy" in done.stderr, done.stderr
    return done.returncode


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.policy("R-460.5-2", "R-460.5.1-a", "R-AT-3")
def test_kill_in_mid_drive_loses_no_committed_read(tmp_path: Path, stack: ExitStack) -> None:
    truth: Truth = load_truth(DRIVE)
    home = make_home(tmp_path / "home")
    prepare_central(home, DRIVE, truth)
    server = subprocess.Popen(
        program(
            "alprd.central.cli",
            *("serve", "--home", str(home.central), "--car-port", "0", "--page-port", "0"),
        ),
        stdout=subprocess.DEVNULL,
        env=child_environment(),
    )
    stack.callback(lambda: (server.terminate(), server.wait(20)))
    run_file = home.central / "run.json"
    end = time.monotonic() + 60
    while not run_file.exists() and time.monotonic() < end:
        time.sleep(0.1)
    enrol_car(home, json.loads(run_file.read_text())["car_url"])
    feed = GpsFeed(DRIVE / truth.gps, truth.start_utc)
    stack.callback(feed.stop)
    write_config(home, DRIVE, truth, feed.device)

    car = Car(home)
    stack.callback(car.end, signal.SIGKILL)
    page = car.page()
    stack.callback(page.close)
    page.sign_on(DEPUTY, home.deputy_password)
    home.carrier.write_text("0\n")
    zero_ns, _ = feed.start(1.0)
    home.gate.write_text(str(zero_ns))
    end = time.monotonic() + truth.duration_s
    while car.listen() < 4:
        assert time.monotonic() < end, "the drive gave fewer than four reads"
        time.sleep(0.02)
    car.process.send_signal(signal.SIGKILL)
    car.process.wait(10)
    car.end(signal.SIGKILL)
    witnessed = set(car.witnessed)
    before = status(home)
    assert before["committed"] >= len(witnessed) >= 4
    assert before["pending"] == before["committed"]
    assert before["sessions_open"] == 1

    home.gate.unlink()  # the cameras wait: the second life only docks
    home.carrier.write_text("1\n")
    again = Car(home)
    stack.callback(again.end, signal.SIGKILL)
    page = again.page()
    stack.callback(page.close)
    end = time.monotonic() + 60
    while status(home)["pending"] or status(home)["sessions_unsent"]:
        assert time.monotonic() < end, status(home)
        time.sleep(0.3)
    page.sign_on(DEPUTY, home.deputy_password)
    assert status(home)["sessions_open"] == 1
    again.end(signal.SIGTERM)
    assert again.process.returncode == 0, (home.root / "daemon.log").read_text()
    assert end_reasons(home) == ["power_lost", "stopped"]  # SIGTERM ends a session truthfully
    assert a_busy_port_is_refused(home) == 2

    after = status(home)
    assert after["committed"] == before["committed"] == after["receipted"]
    assert after["sessions_open"] == 0

    held = central_json(home, "status")
    assert held["received_total"] == before["committed"]
    found = central(
        home,
        *("search", "--as", INVESTIGATOR, "--password-stdin", "--case", "26001234"),
        *("--offence", "theft", "--facts", "Crash test of the car: all of its reads are wanted."),
        *("--suspicion", "The reads of this invented patrol are the evidence of the test."),
        *("--near", "46.82,-95.87", "--radius", "10000", "--unplaced"),
        *("--from", (truth_now := _window())[0], "--to", truth_now[1], "--json"),
        secret=home.staff_password + "\n",
    )
    ids = [json.loads(line)["id"] for line in found.splitlines() if line]
    assert len(ids) == len(set(ids))
    assert witnessed <= set(ids)
    rows = json.loads(central(home, "publiclog", "--json"))
    assert [row["end_reason"] for row in rows][:1] == ["power_lost"]


def _window() -> tuple[str, str]:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    return (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()


@pytest.mark.policy("R-460.5-2")
def test_a_car_that_is_cut_off_in_mid_upload_is_no_error_of_central() -> None:
    """The half that came is not taken, and the log of central tells no failure of its own."""
    parts = iter(
        [
            {"type": "http.request", "body": b"half of a batch", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> dict[str, Any]:
        return next(parts)

    with pytest.raises(HTTPException) as refused:
        asyncio.run(_body(Request({"type": "http", "method": "POST", "headers": []}, receive), 99))
    assert refused.value.status_code == 400
