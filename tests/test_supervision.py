"""The real daemon as systemd runs it: told, watched, reloaded, frozen, stopped; and its log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from car_world import DRIVE, Car, World, until

from alprd.process import Footprint, footprint

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("supervision") / "home")
    yield made
    made.close()


@pytest.fixture
def car(world: World) -> Iterator[Car]:
    world.home.config.write_text(world.config_text)
    made = Car(world, "--log-format", "json")
    yield made
    made.end(signal.SIGKILL)


def audit(car: Car, event: str) -> list[dict[str, object]]:
    with contextlib.closing(sqlite3.connect(car.world.home.car / "queue.db", timeout=20)) as db:
        table = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if "audit" in name
        ]
        rows = [row for name in table for row in db.execute(f"SELECT * FROM {name}")]  # noqa: S608
    found = []
    for row in rows:
        for cell in row:
            with contextlib.suppress(TypeError, ValueError, AttributeError):
                told = json.loads(cell)
                if told.get("event") == event:
                    found.append(told)
    return found


@pytest.mark.policy("R-AT-1")
def test_a_daemon_is_told_watched_and_reloaded(car: Car, world: World) -> None:
    config = world.home.config
    until(lambda: car.told("READY=1"), 90, "READY")
    until(lambda: car.told("WATCHDOG=1"), 10, "WATCHDOG")
    until(
        lambda: car.told("STATUS=0 of 2 cameras, no GPS fix, not collecting, 0 to go"), 15, "word"
    )
    until(lambda: car.health()[0] == 200, 20, "healthy")
    pid = car.process.pid

    # A camera is added by a drop-in, the others go on; the trail says so.
    folder = config.with_name(config.name + ".d")
    folder.mkdir()
    name = world.truth.cameras[0].id
    (folder / "10.toml").write_text(
        f'[[camera]]\nname = "third"\nsource = "/dev/alprd-none"\n'
        f'[[camera]]\nname = "{name}"\nrotate = 180\n'
    )
    until(lambda: len(car.health()[1]["cameras"]) == 3, 20, "third camera")
    until(lambda: car.told("STATUS=0 of 3 cameras"), 10, "status of three")
    assert car.told("RELOADING=1") and len(car.told("READY=1")) >= 2
    workers = {one["name"]: one for one in car.health()[1]["workers"]}
    assert workers["camera-third"]["alive"]

    # A mistake changes nothing; page and health name it; a removed drop-in takes the camera away.
    (folder / "20.toml").write_text("[gps]\nspeed = 3\n")
    until(lambda: car.health()[1]["configuration"]["problem"], 20, "problem")
    problem = car.health()[1]["configuration"]["problem"]
    assert "20.toml:2: gps.speed: unknown key" in problem and "remedy" in problem
    assert len(car.health()[1]["cameras"]) == 3
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    until(lambda: len(car.health()[1]["cameras"]) == 2, 20, "two cameras")
    assert not car.health()[1]["configuration"]["problem"]
    assert "camera-third" not in {one["name"] for one in car.health()[1]["workers"]}

    # What cannot change at once makes a fresh start under the same number.
    config.write_text(world.config_text + '[reader]\nprofile = "road"\nthreads = 2\n')
    uptime = car.health()[1]["uptime_s"]
    ready = len(car.told("READY=1"))
    world.home.health.unlink()
    until(lambda: len(car.told("READY=1")) > ready + 1, 90, "READY of the fresh start")
    until(world.home.health.exists, 20, "health of the fresh start")
    assert car.process.poll() is None and json.loads(world.home.health.read_text())["pid"] == pid
    told = car.health()[1]
    assert told["uptime_s"] < uptime and told["configuration"]["waits_for_restart"] == []
    events = audit(car, "config.changed")
    assert len(events) >= 3 and len(audit(car, "config.refused")) == 1

    # A queue that another program holds: the keeper dies of it, is started again, and counted.
    with contextlib.closing(
        sqlite3.connect(world.home.car / "queue.db", timeout=20, isolation_level=None)
    ) as db:
        db.execute("BEGIN EXCLUSIVE")
        until(lambda: "is started again" in car.log.read_text(), 60, "a worker that died")
        db.execute("ROLLBACK")
    until(
        lambda: any(one["restarts"] for one in car.health()[1]["workers"]), 20, "restarts counted"
    )
    until(lambda: car.health()[0] == 200, 30, "healthy again")
    died = next(one for one in car.health()[1]["workers"] if one["restarts"])
    assert "database is locked" in died["last_error"]

    assert car.end() < 5
    assert car.process.returncode == 0
    assert car.told("STOPPING=1")


@pytest.mark.slow
@pytest.mark.policy("R-460.5-b2", "R-460.5-b4", "R-CJIS-1")
def test_a_frozen_worker_stops_the_watchdog_and_no_log_tells_what_was_read(
    car: Car, world: World
) -> None:
    world.home.config.write_text(world.config_text + '[log]\nlevel = "debug"\n')
    page = car.sign_on()
    world.start_drive()
    until(lambda: car.told(", collecting, "), 20, "collecting")
    heard = b""
    os.set_blocking(car.witness, False)

    def listen() -> int:
        nonlocal heard
        with contextlib.suppress(BlockingIOError):
            heard += os.read(car.witness, 1 << 16)
        return heard.count(b"\n")

    until(lambda: listen() >= 3, world.truth.duration_s + 60, "three reads")
    status, told = car.health()
    assert status == 200 and told["collecting"], told
    metrics = httpx.get(f"{car.health_url()}/metrics", trust_env=False, timeout=15).text
    assert 'alprd_frame_read_seconds_count{camera="' in metrics

    # A lane freezes for good: its witness does not listen, and the pipe is full.
    os.set_blocking(car.witness_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(car.witness_end, b" " * 512)
    os.set_blocking(car.witness_end, True)
    until(lambda: car.health()[0] == 503, 90, "a silent worker")
    assert any("worker camera-" in problem for problem in car.health()[1]["problems"])
    silent_at = time.monotonic()
    time.sleep(4)
    assert not car.told("WATCHDOG=1", since=silent_at + 1.5)
    page.close()
    assert car.end() < 5.5, "a hung camera holds the stop up"
    assert "did not stop in time" in car.log.read_text()

    log = car.log.read_text()
    truth = json.loads((DRIVE / "truth.json").read_text())
    plates = _plates(truth) | _plates(_lines(DRIVE / world.truth.hotlist))
    plates |= _plates(_lines(DRIVE / world.truth.suppression))
    assert len(plates) > 5
    for text in plates:
        assert text not in log and text not in metrics and text not in json.dumps(told)
    secrets = (world.home.deputy_password, "Pat Pretend")
    for secret in secrets:
        assert secret not in log
    for line in log.splitlines():
        assert set(json.loads(line)) >= {"time", "level", "logger", "message"}, line
    for _, said in car.said:
        assert not any(text in said for text in plates)


def test_threads_stay_and_memory_is_told(car: Car) -> None:
    until(lambda: car.told("READY=1"), 90, "READY")
    until(lambda: car.health()[1]["self_check"].get("ok"), 60, "self-check")
    before = _least(car)
    for _ in range(40):
        car.health()
    after = _least(car)
    assert after.threads <= before.threads and after.files <= before.files
    assert car.health()[1]["process"]["resident_bytes"] < 600e6


def _least(car: Car) -> Footprint:
    """The least of some seconds: a connection to the dock comes and goes."""
    looks = []
    for _ in range(25):
        looks.append(footprint(car.process.pid))
        time.sleep(0.2)
    return Footprint(
        min(one.resident_bytes for one in looks),
        min(one.private_bytes for one in looks),
        min(one.threads for one in looks),
        min(one.files for one in looks),
    )


def _lines(path: Path) -> list[str]:
    return [line.split(",")[0] for line in path.read_text().splitlines()[1:]]


def _plates(value: object) -> set[str]:
    """Every text under a key that names a plate, or every text of a list."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and key in {"text", "plate"}:
                found.add(inner)
            else:
                found |= _plates(inner)
    elif isinstance(value, list):
        for inner in value:
            found |= {inner} if isinstance(inner, str) else _plates(inner)
    return {text for text in found if len(text) >= 5 and any(char.isdigit() for char in text)}
