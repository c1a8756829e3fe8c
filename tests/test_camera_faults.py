"""What patrol cars do to cameras: a row a fault, on real servers and real reading processes.

All faults of the table happen at once, each to a camera of its own, while one more camera is
watched: its pictures must keep coming as if nothing had happened to the others.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from camera_world import WebCamera, wait_for

import alprd.capture
from alprd.capture import MAX_ABANDONED, Camera, CameraConfig, CameraStatus
from alprd.eye import MOST_MEMORY
from alprd.feed import Feed

HOLD_S = 4.0
"""How long a fault lasts; long enough for every stage of giving up and trying again."""


@dataclass(frozen=True)
class Row:
    """A fault, how it ends, and what is told meanwhile."""

    begin: Callable[[WebCamera], None]
    end: Callable[[WebCamera], None]
    told: str


def mode(name: str) -> Callable[[WebCamera], None]:
    return lambda camera: camera.mode(name)


ROWS = {
    "unplugged": Row(WebCamera.down, WebCamera.up, "nothing listens at its address"),
    "frozen": Row(WebCamera.freeze, WebCamera.thaw, "did not answer in time"),
    "silent": Row(mode("silent"), mode("day"), "did not answer in time"),
    "stuck in a picture": Row(mode("stuck"), mode("day"), "did not answer in time"),
    "half pictures": Row(mode("half"), mode("day"), "cannot be decoded"),
    "garbage": Row(mode("garbage"), mode("day"), "sends nothing that is a video"),
    "endless header": Row(mode("header"), mode("day"), "did not answer in time"),
    "a page instead": Row(mode("page"), mode("day"), "sends nothing that is a video"),
    "a playlist of files": Row(mode("playlist"), mode("day"), "sends nothing that is a video"),
    "bomb": Row(mode("bomb"), mode("day"), "cannot be decoded"),
    "speck": Row(mode("speck"), mode("day"), "sends pictures of 8x8"),
}


@dataclass
class Outcome:
    """What became of one camera."""

    down: CameraStatus | None = None
    back_s: float = 0.0
    errors: set[str] = field(default_factory=set)
    before: int = 0
    after: int = 0
    restarts: int = 0
    stop_s: float = 0.0


def suffer(name: str, row: Row, folder: Path, ready: threading.Barrier) -> Outcome:
    """One camera through one fault."""
    server, outcome = WebCamera(folder / name), Outcome()
    server.up()
    camera = Camera(server.config(name.replace(" ", "-")))
    try:
        camera.start()
        started = wait_for(lambda: camera.status().up, 120)
        ready.wait(150)
        assert started, camera.status()
        row.begin(server)
        assert wait_for(lambda: not camera.status().up, 20), camera.status()
        held = time.monotonic()
        while time.monotonic() - held < HOLD_S:
            outcome.down = camera.status()
            outcome.errors.add(outcome.down.last_error)
            assert not outcome.down.up, "an old or broken picture passes for a new one"
            time.sleep(0.05)
        frame = camera.latest(-1, 0.0)
        outcome.before = frame.sequence if frame else -1
        row.end(server)
        healed = time.monotonic()
        assert wait_for(lambda: camera.status().up, 15), camera.status()
        outcome.back_s = time.monotonic() - healed
        frame = camera.latest(outcome.before, 2.0)
        assert frame is not None and frame.image.shape == (96, 160, 3)
        outcome.after, outcome.restarts = frame.sequence, camera.status().restarts
        begun = time.monotonic()
        camera.stop()
        outcome.stop_s = time.monotonic() - begun
        return outcome
    finally:
        camera.stop()
        server.down()


@dataclass
class Table:
    """All outcomes, and how the undisturbed camera did."""

    outcomes: dict[str, Future[Outcome]]
    worst_gap_s: float
    calm: float
    """Its frames a second before the faults."""
    rate: float
    """The same while they went on."""
    neighbour: CameraStatus


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("cameras")
    neighbour = WebCamera(folder / "neighbour")
    neighbour.up()
    camera = Camera(neighbour.config("neighbour"))
    camera.start()
    ready = threading.Barrier(len(ROWS) + 1)
    try:
        with ThreadPoolExecutor(len(ROWS)) as pool:
            outcomes = {
                name: pool.submit(suffer, name, row, folder, ready) for name, row in ROWS.items()
            }
            assert wait_for(lambda: camera.status().fps > 0, 120)
            ready.wait(150)
            frame = camera.latest(-1, 120.0)
            calm = camera.status().fps
            assert frame is not None and calm > 0
            begun = last = time.monotonic()
            first, worst = frame.sequence, 0.0
            while not all(outcome.done() for outcome in outcomes.values()):
                newer = camera.latest(frame.sequence, 1.0)
                now = time.monotonic()
                worst = max(worst, now - last)
                if newer is not None:
                    frame, last = newer, now
            return Table(
                outcomes,
                worst,
                calm,
                (frame.sequence - first) / (time.monotonic() - begun),
                camera.status(),
            )
    finally:
        camera.stop()
        neighbour.down()


@pytest.mark.parametrize("name", ROWS)
def test_a_camera_is_back_within_ten_seconds_after(name: str, table: Table) -> None:
    outcome = table.outcomes[name].result()
    print(f"{name}: back after {outcome.back_s:.1f} s, told: {sorted(outcome.errors)}")
    assert outcome.back_s <= 10
    assert outcome.after > outcome.before and outcome.restarts >= 1
    assert outcome.stop_s < 4.0
    assert any(ROWS[name].told in error for error in outcome.errors), outcome.errors
    assert outcome.down is not None
    line = outcome.down.line()
    assert line.startswith(f"{name.replace(' ', '-')}: no picture for ") and "retrying (" in line
    assert "127.0.0.1" not in line


def test_the_other_camera_is_undisturbed(table: Table) -> None:
    rates = f"{table.calm:.1f} frames/s before, {table.rate:.1f} meanwhile"
    print(f"neighbour: {rates}, longest gap {table.worst_gap_s:.2f} s")
    assert table.neighbour.up and table.neighbour.restarts == 0
    assert table.worst_gap_s < 2.0  # never down for a moment
    assert table.rate > 0.5 * table.calm  # a busy machine wavers by itself


def running(config: CameraConfig) -> Camera:
    camera = Camera(config)
    camera.start()
    return camera


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebCamera]:
    server = WebCamera(tmp_path / "web")
    server.up()
    yield server
    server.down()


def eyes() -> set[int]:
    """Reading processes that this process has started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = path.read_text().rpartition(")")[2].split()
            words = (path.parent / "cmdline").read_text().split("\0")
        except OSError:
            continue  # ended meanwhile
        if int(parts[1]) == os.getpid() and "alprd.eye" in words and parts[0] != "Z":
            found.add(int(path.parent.name))
    return found


def test_a_change_of_resolution_is_taken_and_sizes_are_true(web: WebCamera) -> None:
    """OpenCV would stretch the new picture to the old size."""
    camera = running(web.config("front"))
    try:
        frame = camera.latest(-1, 20.0)
        assert frame is not None and frame.image.shape == (96, 160, 3)
        web.mode("large")
        assert wait_for(lambda: camera.status().width == 320, 10), camera.status()
        frame = camera.latest(frame.sequence, 2.0)
        assert frame is not None and frame.image.shape == (240, 320, 3)
        corners = [frame.image[y, x].tolist() for y in (20, 220) for x in (20, 300)]
        wanted = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
        for found, expected in zip(corners, wanted, strict=True):
            assert all(abs(a - b) < 40 for a, b in zip(found, expected, strict=True)), corners
        status = camera.status()
        assert status.up and status.restarts == 0
        assert status.line() == f"front: up, {status.fps:.1f} frames/s, 320x240"
    finally:
        camera.stop()


def test_a_reading_process_that_breaks_or_hangs_is_replaced(web: WebCamera) -> None:
    camera = running(web.config("front"))
    try:
        for fault in (signal.SIGSEGV, signal.SIGSTOP):
            frame = camera.latest(-1, 20.0)
            assert frame is not None
            # One of an earlier test may still be ending.
            assert wait_for(lambda: len(eyes()) == 1)
            before = eyes()
            os.kill(next(iter(before)), fault)
            begun = time.monotonic()
            new: set[int] = set()
            while not new and time.monotonic() - begun < 10:
                new = eyes() - before
                time.sleep(0.05)
            newest = camera.latest(-1, 0.0)
            assert new and newest is not None
            assert camera.latest(newest.sequence, 10.0) is not None, camera.status()
            print(f"{fault.name}: back {time.monotonic() - begun:.1f} s after the fault")
            assert wait_for(lambda: len(eyes()) == 1)
        assert camera.status().abandoned == 0
    finally:
        camera.stop()
    assert wait_for(lambda: not eyes())


def test_what_sigkill_does_not_end_is_left_behind_within_a_bound(
    web: WebCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that hangs in the kernel holds its process whatever is done. None can be made on
    purpose, so here it is played: processes that are silent and stay after being killed."""
    released = threading.Event()
    stuck: list[Feed] = []

    class Stuck(Feed):
        def receive(self, timeout_s: float) -> None:
            time.sleep(min(timeout_s, 0.05))

        def close(self, *, kill: bool, timeout_s: float = 1.0) -> str:
            super().close(kill=True)
            return ""

        def gone(self) -> bool:
            return released.is_set()

    def feed(config: CameraConfig) -> Feed:
        if released.is_set():
            return Feed(config)
        stuck.append(Stuck(config))
        return stuck[-1]

    monkeypatch.setattr(alprd.capture, "Feed", feed)
    monkeypatch.setattr(alprd.capture, "START_S", 0.2)
    camera = running(web.config("front"))
    try:
        assert wait_for(lambda: camera.status().abandoned == MAX_ABANDONED, 15)
        assert wait_for(lambda: "its driver hangs" in camera.status().last_error)
        time.sleep(2.5)
        assert len(stuck) == MAX_ABANDONED  # no more of them meanwhile
        monkeypatch.setattr(alprd.capture, "START_S", 20.0)
        released.set()
        assert wait_for(lambda: camera.status().up, 10), camera.status()
        assert camera.status().abandoned == 0
    finally:
        released.set()
        camera.stop()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (shutil.which("false"), "its reading process ended with code 1"),
        ("/nowhere/python", "no reading process can be had (FileNotFoundError)"),
    ],
)
def test_a_reading_process_that_cannot_work_is_told_and_tried_again(
    program: str, words: str, web: WebCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-installed update, or a full process table."""
    monkeypatch.setattr(sys, "executable", program)
    camera = running(web.config("front"))
    try:
        assert wait_for(lambda: camera.status().last_error == words, 10), camera.status()
        monkeypatch.undo()
        assert wait_for(lambda: camera.status().up, 20), camera.status()
    finally:
        camera.stop()


@pytest.mark.policy("R-460.6-0")
def test_a_reading_process_is_held_to_its_memory_and_dumps_no_core(web: WebCamera) -> None:
    camera = running(web.config("front"))
    try:
        assert camera.latest(-1, 20.0) is not None
        place = Path(f"/proc/{eyes().pop()}")
        limits = (place / "limits").read_text()
        assert (place / "oom_score_adj").read_text() == "500\n"  # goes before the daemon does
    finally:
        camera.stop()
    assert re.search(rf"^Max data size +{MOST_MEMORY} +{MOST_MEMORY} ", limits, re.MULTILINE)
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_time_without_a_processor_is_told_apart_from_silence(web: WebCamera) -> None:
    """A reading process and two busy loops on one processor: it waits, and does not hang."""
    feed = Feed(web.config("front"))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        cpu = min(os.sched_getaffinity(0))
        for pid in (feed.pid, *(process.pid for process in busy)):
            os.sched_setaffinity(pid, {cpu})
        seen, end = False, time.monotonic() + 60
        while not seen and time.monotonic() < end:
            news = feed.receive(0.2)
            seen = news is not None and news.picture is not None
        starved = feed.starved_s()
        assert seen and starved > 0.2
        os.kill(feed.pid, signal.SIGSTOP)
        time.sleep(0.3)
        stopped = feed.starved_s()
        time.sleep(1.0)
        assert feed.starved_s() - stopped < 0.1  # one that hangs waits for no processor
    finally:
        for process in busy:
            process.kill()
            process.wait()
        assert feed.close(kill=True) == "ended by signal 9"
    assert feed.starved_s() == 0.0


def test_reading_processes_end_with_the_daemon(web: WebCamera) -> None:
    """Power and SIGKILL give no time to say goodbye."""
    program = (
        "import sys, time\n"
        "from alprd.capture import Camera, CameraConfig\n"
        "camera = Camera(CameraConfig('front', sys.argv[1]))\n"
        "camera.start()\n"
        "assert camera.latest(-1, 20.0) is not None\n"
        "print('seen', flush=True)\n"
        "time.sleep(60)\n"
    )
    source = web.config("front").source
    with subprocess.Popen(
        [sys.executable, "-c", program, source], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline() == "seen\n"
        children = Path(f"/proc/{daemon.pid}/task").glob("*/children")
        eye = int("".join(path.read_text() for path in children).split()[0])
        daemon.kill()
    assert wait_for(lambda: not Path(f"/proc/{eye}").exists() or _zombie(eye), 3)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_device_that_is_missing_then_there(tmp_path: Path) -> None:
    """A file stands for the device here; a real one is pulled in the guest machine's test."""
    place = Path("/dev/shm") / f"alprd-test-{os.getpid()}"
    camera = running(CameraConfig("front", str(place), exposure=40.0))
    try:
        assert wait_for(lambda: f"no device {place}" in camera.status().last_error, 20)
        place.write_bytes(b"no camera")
        assert wait_for(lambda: "cannot be opened" in camera.status().last_error, 10)
        place.unlink()
        assert wait_for(lambda: f"no device {place}" in camera.status().last_error, 10)
        status = camera.status()
        assert not status.up and status.age_s is None and status.restarts >= 3
        assert status.line() == f"front: no picture yet; retrying (no device {place})"
    finally:
        camera.stop()
        place.unlink(missing_ok=True)


def test_a_picture_that_stands_still_is_told(web: WebCamera) -> None:
    camera = running(web.config("front"))
    try:
        assert camera.latest(-1, 20.0) is not None
        assert wait_for(lambda: camera.status().still_s > 1.0)  # the server repeats one picture
        web.mode("large")
        assert wait_for(lambda: camera.status().still_s < 1.0)
    finally:
        camera.stop()
    still = CameraStatus("front", True, 0.1, 0, 320, 240, 15.0, False, still_s=75.0)
    assert still.line() == (
        "front: up, 15.0 frames/s, 320x240; the picture has not changed for 75 s"
    )
