"""The doctor on a whole car, on one that is not enrolled, and beside a running daemon."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import pytest
from dock_world import LISTED, NAME, SUPPRESSED, World
from doctor_world import Copy, failing, receiver

from alprd.doctor.report import Row
from alprd.doctor.table import CHECKS

# --- a whole car


@pytest.fixture(scope="module")
def whole(
    world: World, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Copy, dict[str, Row]]:
    """All checks on a car that is as it should be."""
    copy = Copy(world, tmp_path_factory.mktemp("whole"))
    copy.values["camera"] = [
        {"name": "front", "source": f"file:{clip}", "fps": 2, "fov_deg": 20.0}
    ]  # fmt: skip
    copy.seconds = 1.0
    copy.pictures = copy.folder / "pictures"
    with receiver() as device:
        copy.values["gps"] = {"source": device}
        return copy, copy.run(timeout_s=60)


def test_a_whole_car_passes_every_check(whole: tuple[Copy, dict[str, Row]]) -> None:
    _, rows = whole
    # What this machine is (its kernel's core pattern, its swap) is not the car's fault here.
    of_machine = {"leaks/hibernation", "leaks/swap", "disk/space", "machine/heat", "service/unit"}
    assert failing(rows) - of_machine == set(), [rows[key] for key in failing(rows)]
    assert {row.check for row in rows.values()} == {check.name for check in CHECKS}
    levels = {key: row.level for key, row in rows.items()}
    for key in (
        "enrolment/enrolment", "keys/tls.key", "keys/batch.key",
        "certificate/validity", "certificate/chain", "certificate/key", "certificate/name",
        "crypto/self-test", "models/detector", "models/load", "reading/test-plate",
        "cameras/front", "cameras/front-light", "cameras/front-sharpness",
        "cameras/front-plates", "cameras/front-picture", "gps/port", "gps/sentences", "gps/fix",
        "clock/system", "clock/gps", "queue/database", "queue/ledger", "lists/lpdf",
        "lists/policy", "lists/intake-keys", "roster/roster", "permit/permit", "dock/name",
        "page/serving", "dock/connection", "dock/tls", "dock/central", "dock/clock", "files/state",
        "files/config/alprd.toml",
    ):  # fmt: skip
        assert levels.get(key) == "ok", (key, rows.get(key))
    # This car's central is of a version that gives nothing to lock the key with.
    assert levels["keys/wrap.key"] == "warn" and "dock" in rows["keys/wrap.key"].remedy
    assert rows["queue/ledger"].facts["pending"] == 1
    assert rows["lists/lpdf"].facts["entries"] == 1
    assert rows["roster/roster"].facts == {"people": 1, "able": 1, "hours_left": 168.0}
    assert rows["gps/fix"].facts["satellites"] == 9
    assert rows["cameras/front"].facts["width"] == 1280


@pytest.mark.policy("R-AT-4", "R-460.5-b4")
def test_nothing_that_must_stay_inside_is_told(whole: tuple[Copy, dict[str, Row]]) -> None:
    """R-AT-4, R-460.5-b4: no plate, name, place or key, and nothing of the suppression table."""
    copy, rows = whole
    told = json.dumps([row.as_json() for row in rows.values()])
    for secret in (
        LISTED,
        SUPPRESSED,
        "ZQX417",
        "737RBX",
        NAME,
        "46.8",
        "95.84",
        "4649",
        "PRIVATE",
    ):
        assert secret not in told
    assert "suppress" not in told.lower()
    for file in (copy.state / "keys").iterdir():
        assert file.read_text().splitlines()[1] not in told


@pytest.mark.policy("R-460.2-2")
def test_a_picture_is_for_its_owner_only_and_only_on_request(
    whole: tuple[Copy, dict[str, Row]], clip: Path, car: Copy
) -> None:
    """R-460.2-2: nothing is kept that nobody asked for."""
    copy, rows = whole
    assert copy.pictures is not None
    (picture,) = copy.pictures.iterdir()
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.pictures.stat().st_mode) == 0o700
    kept = cv2.imread(str(picture))
    assert kept is not None and kept.shape == (720, 1280, 3)
    assert "delete it" in rows["cameras/front-picture"].text
    car.values["camera"] = [{"name": "front", "source": f"file:{clip}", "fps": 2}]
    before = {path for path in car.folder.rglob("*")}
    assert "cameras/front-picture" not in car.run("cameras")
    assert {path for path in car.folder.rglob("*")} == before


def test_the_doctor_changes_nothing(car: Copy) -> None:
    def contents() -> dict[Path, bytes]:
        # SQLite makes its shared-memory file for any reader beside a writer.
        return {
            path: path.read_bytes()
            for path in car.state.rglob("*")
            if path.is_file() and not path.name.endswith(("-shm", "-wal"))
        }

    before = contents()
    car.run("disk", "files", "keys", "certificate", "queue", "lists", "roster", "permit", "dock")
    assert contents() == before


# --- beside a running daemon


@pytest.fixture
def daemon(car: Copy) -> Iterator[Copy]:
    """Another process holds the state folder, as a daemon does."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from alprd.process import harden, lock_state\nharden(); "
        "held = lock_state(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(car.state)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        yield car
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_devices_of_a_running_daemon_are_left_alone(daemon: Copy) -> None:
    opened = daemon.folder / "front.mp4"
    assert not opened.exists()  # opening it would be a failure
    rows = daemon.run("cameras", "gps", "clock", "queue", "files")
    assert rows["cameras/front"].level == "skipped" and "stop it" in rows["cameras/front"].text
    assert rows["gps/port"].level == "skipped"
    assert rows["queue/database"].level == "ok"
    assert failing(rows) == set()


def test_a_running_daemon_is_asked_for_its_devices(daemon: Copy) -> None:
    told = {
        "cameras": [
            {"name": "front", "up": True, "age_s": 0.1},
            {"name": "left", "up": False, "age_s": 40.0},
        ],
        "gps": {"up": True, "fix": True, "age_s": 0.4, "satellites": 3, "accuracy_m": 60.0},
        "clock": {"trusted": True, "system_error_s": 120.0},
    }

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told).encode()
            self.send_response(503 if self.path == "/healthz" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        daemon.values["health"] = {"port": server.server_address[1]}
        daemon.values["gps"] = {"source": "/dev/alprd-no-gps"}
        daemon.values["camera"].append({"name": "left", "source": "rtsp://192.0.2.1/x"})
        rows = daemon.run("cameras", "gps", "clock")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert rows["cameras/front"].level == "ok"
    assert rows["cameras/left"].level == "fail"
    assert rows["gps/fix"].level == "warn"
    assert rows["clock/gps"].level == "fail" and rows["clock/gps"].facts["system_error_s"] == 120
