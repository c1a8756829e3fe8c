"""Health: truthful, on this computer only, and nothing in it that tells of a read."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from dock_world import World
from prometheus_client.parser import text_string_to_metric_families
from test_collect import PROTECTED, _targets, events, reading

from alprd import daemon as daemon_module
from alprd import disk as disk_module
from alprd import health as health_module
from alprd.audit import DAEMON
from alprd.config import load
from alprd.daemon import Daemon
from alprd.errors import ConfigError
from alprd.health import QUEUE_STEP, rounded_disk, rounded_queue
from alprd.healthserver import HealthServer
from alprd.workers import Beat, Worker

PLAIN = "ZQX417"


@pytest.fixture(scope="module")
def car(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A real daemon with all its parts, which does not run; enrolled, with a session open."""
    folder = tmp_path_factory.mktemp("health")
    with contextlib.ExitStack() as stack:
        world = World(folder)
        stack.callback(world.stop)
        trust = world.enrol()
        config = folder / "alprd.toml"
        config.write_text(
            f'state_dir = "{trust.state_dir}"\n'
            f'[[camera]]\nname = "front"\nsource = "file:{folder}/none.mp4"\n'
            f'[gps]\nsource = "{folder}/none"\n[health]\nport = 0\n'
        )
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(daemon_module, "harden", lambda: None)  # the limits of this process stay
        made = Daemon(load(config), config)
        stack.callback(made._lock.close)
        stack.callback(made.store.close)
        made.targets = _targets(made.clock)
        made.sessions.open(DAEMON, purpose="stolen_vehicles", policy_version="460", databases=[])
        yield made


@pytest.fixture
def served(car: Daemon, tmp_path: Path) -> Iterator[int]:
    """The port of a server that runs as a worker does."""
    file, beat = tmp_path / "health.json", Beat()
    server = HealthServer(car.health, "127.0.0.1", 0, file)
    thread = threading.Thread(target=server.run, args=(beat,))
    thread.start()
    end = time.monotonic() + 5
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.01)
    yield json.loads(file.read_text())["port"]
    beat.stop()
    thread.join(5)
    assert not thread.is_alive()


def ask(port: int, path: str, *, host: str | None = None, method: str = "GET") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_the_document_and_the_metrics_say_the_same(car: Daemon, served: int) -> None:
    status, body = ask(served, "/healthz")
    told = json.loads(body)
    assert status == 503  # it collects, and its camera gives no picture
    assert told["problems"] == ["collecting, and no camera gives pictures"]
    assert told["cameras"][0]["name"] == "front" and not told["cameras"][0]["up"]
    assert told["gps"]["fix"] is False and told["clock"]["trusted"] is False
    status, body = ask(served, "/metrics")
    assert status == 200
    families = {f.name: f for f in text_string_to_metric_families(body.decode())}
    assert families["alprd_healthy"].samples[0].value == 0
    assert families["alprd_camera_up"].samples[0].labels == {"camera": "front"}
    assert families["alprd_clock_trusted"].samples[0].value == 0
    assert families["alprd_collecting"].samples[0].value == 1
    assert families["alprd_threads"].samples[0].value >= 2
    assert not families["alprd_camera_frame_age_seconds"].samples  # never: left out, not invented


def test_a_silent_worker_makes_it_unhealthy(car: Daemon) -> None:
    release = threading.Event()

    def freeze(beat: Beat) -> None:
        release.wait(20)

    car.supervisor.add(Worker("frozen", freeze, 0.05))
    car.supervisor.reconcile()
    time.sleep(0.2)
    ok, told = car.health.report()
    assert not ok and "worker frozen" in told["problems"]
    release.set()
    assert car.supervisor.remove("frozen")
    assert "worker frozen" not in car.health.report()[1]["problems"]


def test_stages_are_timed_by_camera(car: Daemon) -> None:
    lane = car.devices.lanes[0]
    for took in (0.004, 0.03, 0.04, 99.0):
        lane.timing.note("read", took)
    text = car.health.metrics().decode()
    assert 'alprd_frame_read_seconds_bucket{camera="front",le="0.005"} 1.0' in text
    assert 'alprd_frame_read_seconds_bucket{camera="front",le="0.05"} 3.0' in text
    assert 'alprd_frame_read_seconds_bucket{camera="front",le="5.0"} 3.0' in text
    assert 'alprd_frame_read_seconds_count{camera="front"} 4.0' in text


# --- who may ask ------------------------------------------------------------------------------


@pytest.mark.policy("R-460.6-0")
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "2001:db8::1"])  # noqa: S104
def test_an_address_beyond_this_computer_is_refused(car: Daemon, host: str) -> None:
    with pytest.raises(ConfigError, match="from outside"):
        HealthServer(car.health, host, 0)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 503),
        ("localhost:9464", 503),
        ("[::1]:9464", 503),
        ("LOCALHOST", 503),
        ("car.example", 421),
        ("127.0.0.1.example:80", 421),
        ("", 421),
    ],
)
def test_only_this_computers_names_are_answered(served: int, host: str, status: int) -> None:
    assert ask(served, "/healthz", host=host)[0] == status


def test_nothing_else_is_served_or_done(served: int) -> None:
    assert ask(served, "/")[0] == 404
    assert ask(served, "/../etc/passwd")[0] == 404
    assert ask(served, "/healthz", method="POST")[0] == 501
    status, body = ask(served, "/healthz", method="HEAD")
    assert (status, body) == (503, b"")
    with socket.create_connection(("127.0.0.1", served)) as plain:
        plain.sendall(b"\x16\x03\x01\x00garbage\r\n\r\n")
    with socket.create_connection(("127.0.0.1", served)) as plain:
        plain.sendall(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")
        assert b"414" in plain.recv(1000)
    assert ask(served, "/healthz")[0] == 503


def test_a_client_that_says_nothing_does_not_hold_it_up(served: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", served)):
        assert ask(served, "/healthz")[0] == 503
    assert time.monotonic() - began < 5


def test_a_busy_port_is_an_error_with_a_remedy_and_not_the_cars_end(car: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = HealthServer(car.health, "127.0.0.1", port)
        with pytest.raises(ConfigError, match=str(port)) as caught:
            server.run(Beat())
    assert "[health]" in caught.value.remedy


# --- what must not be in it -------------------------------------------------------------------

_VARYING = re.compile(
    r"^(alprd_uptime_seconds|alprd_permit_seconds|\w*age_\w+|alprd_resident_bytes|alprd_threads"
    r"|alprd_open_files|alprd_system_clock_error_seconds)\b.*$",
    re.MULTILINE,
)


def visible(car: Daemon) -> str:
    """What a watcher sees, without what the time alone changes."""
    return _VARYING.sub("", car.health.metrics().decode())


def test_a_low_disk_is_told_by_the_cars_own_limits(
    car: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by limits of health's own: the page and /healthz must say the same."""
    limits = car.disk._limits
    for free, told in ((limits.no_wide * 2, False), (limits.no_wide - 1, True)):
        monkeypatch.setattr(disk_module, "free_bytes", lambda folder, free=free: free)
        car.disk.look()
        assert ("the disk is nearly full" in car.health.report()[1]["problems"]) is told
    monkeypatch.undo()
    car.disk.look()


def test_steps_hide_single_reads_and_their_bytes() -> None:
    assert [rounded_queue(n) for n in (0, 1, 50, 51)] == [0, QUEUE_STEP, QUEUE_STEP, 2 * QUEUE_STEP]
    assert rounded_disk(10**9) == rounded_disk(10**9 - 10**6) < 10**9


@pytest.mark.policy("R-460.5-b4", "R-460.5-b2")
def test_a_suppressed_pass_looks_like_any_other(
    car: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The disk's step is passed by others' files, too: that is not under test here.
    monkeypatch.setattr(health_module, "rounded_disk", lambda free: 0)
    play = car.collector.handle
    for event in events(("final", reading(PLAIN))):
        play(event)  # one read waits already
    before = visible(car)
    assert "alprd_queue_reads_at_most 50.0" in before
    for plate in (*PROTECTED, "ABC123"):
        for event in events(("early", reading(plate)), ("final", reading(plate))):
            play(event)
        assert visible(car) == before
    for event in events(("final", None)):
        play(event)
    assert visible(car) == before


@pytest.mark.policy("R-460.5-b2", "R-460.5-b4", "R-460.6-a2")
def test_no_plate_place_or_count_of_passes_is_told(car: Daemon) -> None:
    plates = [PLAIN, "STL417", *PROTECTED]
    for plate in plates:
        for event in events(("early", reading(plate)), ("final", reading(plate))):
            car.collector.handle(event)
    document = json.dumps(car.health.report()[1])
    metrics = car.health.metrics().decode()
    for text in (document, metrics):
        assert not any(plate in text for plate in plates)
        assert not re.search(r"plates|reads_(total|count)|passes|match|suppress|commit", text)
        assert not re.search(r'\blat\b|\blon\b|position|"person', text)
    names = {family.name for family in text_string_to_metric_families(metrics)}
    # A new metric is looked at by a person before it is added here.
    assert {name for name in names if "queue" in name or "frame" in name} == {
        "alprd_queue_reads_at_most",
        "alprd_camera_frame_age_seconds",
        "alprd_camera_frames_per_second",
        "alprd_frame_wait_seconds",
        "alprd_frame_read_seconds",
    }
