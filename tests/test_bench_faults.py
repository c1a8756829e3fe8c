"""The fault bench: its parts fail as they are told, and its judge finds every loss."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from alprd.clock import DisciplinedClock
from alprd.gps import GpsConfig, GpsReceiver
from alprd.place import PositionTrack
from bench import faults
from bench.crash_world import Told, wait_for
from bench.fault_camera import USER
from bench.fault_clock import WrongClock
from bench.fault_gps import GpsServer, north
from bench.fault_rows import DECADES, Row
from bench.fault_score import count
from bench.fault_store import _fill
from bench.fault_world import CameraServer

PASSWORD = "invented"

# --- the judge ----------------------------------------------------------------------------------


def rows_of_two() -> tuple[Row, Row]:
    now = time.monotonic()
    first = Row("camera freezes", 10.0, recovery_s=1.0, since=now - 100, until=now - 80)
    second = Row("GPS jumps 111 km", 10.0, recovery_s=1.0, since=now - 50, until=now - 30)
    return first, second


def commit(ago_s: float, letter: str) -> Told:
    at = time.monotonic_ns() - int(ago_s * 1e9)
    return Told(letter * 32, at, at - 1_600_000_000)


def stored(ago_s: float, lat: float = 46.82) -> dict[str, object]:
    instant = datetime.now(UTC) - timedelta(seconds=ago_s + 1.8)
    return {"instant": instant.isoformat(), "lat": lat}


def test_a_read_that_arrived_with_true_instant_and_place_holds() -> None:
    first, second = rows_of_two()
    reads = {"a" * 32: commit(90, "a"), "b" * 32: commit(40, "b")}
    count([first, second], reads, {"a" * 32: stored(90), "b" * 32: stored(40)}, ())
    assert first.held and second.held


@pytest.mark.policy("R-460.5-2")
def test_a_lost_read_counts_for_the_fault_that_lost_it() -> None:
    first, second = rows_of_two()
    reads = {"a" * 32: commit(90, "a"), "b" * 32: commit(40, "b")}
    count([first, second], reads, {"a" * 32: stored(90)}, ())
    assert (first.lost, second.lost) == (0, 1) and not second.held


def test_a_read_that_the_bench_spoiled_is_not_a_loss() -> None:
    first, second = rows_of_two()
    count([first, second], {"a" * 32: commit(90, "a")}, {}, {"a" * 32})
    assert first.held and second.held


def test_a_false_instant_and_a_false_place_are_found() -> None:
    first, second = rows_of_two()
    reads = {letter * 32: commit(90, letter) for letter in "ab"}
    count([first, second], reads, {"a" * 32: stored(3690), "b" * 32: stored(90, 47.82)}, ())
    assert first.untrue == 2 and not first.held


def test_a_receiver_that_lies_is_believed_only_while_it_lies() -> None:
    first, second = rows_of_two()
    reads = {"a" * 32: commit(40, "a"), "b" * 32: commit(20, "b")}
    count([first, second], reads, {"a" * 32: stored(40, 47.82), "b" * 32: stored(20, 47.82)}, ())
    assert second.untrue == 1


def test_a_false_place_before_it_can_be_confirmed_is_untrue() -> None:
    first, second = rows_of_two()
    reads = {"a" * 32: commit(45, "a"), "b" * 32: commit(48, "b")}
    count([first, second], reads, {"a" * 32: stored(45, 47.82), "b" * 32: stored(48, 47.82)}, ())
    assert second.untrue == 1 and second.note.startswith("1 reads carry")


@pytest.mark.parametrize(
    "row",
    [
        Row("late", 10.0, recovery_s=10.5),
        Row("never back", 10.0),
        Row("lost", None, lost=1),
        Row("untrue", None, untrue=1),
        Row("wrong", None, wrong=["something"]),
    ],
    ids=lambda row: row.fault,
)
def test_each_kind_of_failure_breaks_a_row(row: Row) -> None:
    assert not row.held
    assert faults.document([row])["held"] is False


# --- what fails ---------------------------------------------------------------------------------


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[CameraServer]:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    server = CameraServer("front", tmp_path, 1, password, seconds=1.2)
    try:
        yield server
    finally:
        server.kill()


def first_bytes(camera: CameraServer, password: str = PASSWORD) -> tuple[int, bytes]:
    with (
        httpx.Client(trust_env=False, timeout=5) as client,
        client.stream("GET", camera.source, auth=(USER, password)) as answer,
    ):
        parts = answer.iter_raw(2_000) if answer.status_code == 200 else iter([b""])
        return answer.status_code, next(parts)


def test_the_camera_does_what_it_is_told(camera: CameraServer) -> None:
    status, data = first_bytes(camera)
    assert status == 200 and data.startswith(b"--picture\r\nContent-Type: image/jpeg")
    assert first_bytes(camera, "wrong") == (401, b"")
    camera.mode("garbage")
    status, data = first_bytes(camera)
    assert status == 200 and not data.startswith(b"--picture")
    camera.mode("refuse")
    assert first_bytes(camera) == (401, b"")
    camera.kill()
    with pytest.raises(httpx.ConnectError):
        first_bytes(camera)
    camera.mode("pictures")
    camera.start()
    assert first_bytes(camera)[0] == 200


def test_the_receiver_does_what_it_is_told() -> None:
    server = GpsServer()
    clock, track = DisciplinedClock(), PositionTrack()
    receiver = GpsReceiver(GpsConfig(server.source), clock, track)
    receiver.start()
    try:
        wait_for("a fix", lambda: receiver.status().fix, 15)
        here = track.at(time.monotonic_ns())
        assert here is not None and here.lat == pytest.approx(46.82, abs=0.01)
        assert here.lon == pytest.approx(-95.87, abs=0.001)
        server.away = 1.0

        def moved() -> bool:
            at = track.at(time.monotonic_ns())
            return at is not None and at.lat > 47.5

        wait_for("the place has jumped", moved, 10)
        rejected = receiver.status().rejected
        server.mode = "garbage"
        wait_for("garbage is noticed", lambda: receiver.status().rejected > rejected, 10)
        wait_for("the fix is gone", lambda: not receiver.status().fix, 10)
    finally:
        receiver.stop()
        server.stop()


_TELL = (
    "import sqlite3, time\n"
    "day = sqlite3.connect(':memory:').execute(\"SELECT date('now')\").fetchone()[0]\n"
    "print(time.time(), time.monotonic(), day)"
)


def test_the_system_clock_of_one_process_jumps_and_no_other(tmp_path: Path) -> None:
    clock = WrongClock(tmp_path)
    if not clock.there:
        pytest.skip("no C compiler (cc): the rows of the wrong clock are left out")

    def tell() -> tuple[float, float, str]:
        said = subprocess.run(
            [sys.executable, "-c", _TELL], env=os.environ | clock.environment,
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.split()  # fmt: skip
        return float(said[0]), float(said[1]), said[2]

    for shift in (0, DECADES, -DECADES):
        clock.shift(shift)
        before = time.time()
        system, monotonic, day = tell()
        assert before <= system - shift <= time.time()
        assert monotonic <= time.monotonic()
        assert day == datetime.fromtimestamp(system, UTC).date().isoformat()


def test_ballast_takes_every_byte(tmp_path: Path) -> None:
    with ExitStack() as stack:
        if os.geteuid() != 0:
            pytest.skip("only root may mount a small disk")
        disk = tmp_path / "disk"
        disk.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "alprd-test", str(disk)],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip("this machine lets nobody mount a small disk")
        stack.callback(subprocess.run, ["umount", "-l", str(disk)], check=False)
        _fill(disk / "ballast.bin")
        with pytest.raises(OSError, match="No space"), closing((disk / "more").open("wb")) as file:
            file.write(bytes(8192))
            file.flush()


def test_the_road_of_a_long_run_stays_within_reach_of_one_search() -> None:
    """A run of 38 minutes once drove out of the search's 10 km, and half its reads seemed lost."""
    way = [north(second) * 111_195 for second in range(6 * 3600)]
    assert min(way) == 0 and 6_000 < max(way) < 9_000
    assert max(abs(b - a) for a, b in itertools.pairwise(way)) < 12
