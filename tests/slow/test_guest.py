"""The installed car in a machine of its own: booted, cut off, booted again; a camera unplugged.

These boot qemu with Debian's kernel and take minutes (many where the processor is emulated), so
`make test` leaves them out and `make test-slow` runs them.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bench.guest import car as guest
from bench.guest.image import call, missing
from bench.guest.machine import patience

REASON = missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(REASON), reason=f"no guest: {REASON}"),
    pytest.mark.timeout(900 * patience()),
]

WATCH = """\
import json, sys, time
from alprd.capture import Camera, CameraConfig
camera = Camera(CameraConfig(name="v4l2", source=sys.argv[1]))
camera.start()
with open(sys.argv[2], "w", buffering=1) as out:
    while True:
        now = camera.status()
        out.write(json.dumps([time.monotonic(), now.up, now.width]) + "\\n")
        time.sleep(0.2)
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.policy("R-460.5-2", "R-460.5.1-a")
def test_the_unit_starts_collects_is_cut_off_and_starts_again(
    tmp_path: Path, stack: ExitStack
) -> None:
    """R-460.5-2: committed reads survive a power cut; R-460.5.1-a: its session ends truthfully."""
    camera, copies, sections = guest.clip_camera(tmp_path, 600, 3)
    car = guest.GuestCar(
        tmp_path / "guest", stack, cameras=(camera,), copies=copies, sections=sections
    )
    machine = car.boot()
    page = car.page()
    car.sign_on(page)
    page.close()
    machine.dock(plugged=False)
    end = time.monotonic() + 60 * patience()
    while len(car.witnessed()) < 3:
        assert time.monotonic() < end, machine.run("journalctl -u alprd --no-pager", check=False)
        car.wait(0.5)
    told = car.witnessed()
    cut = car.cut()
    assert cut is not None

    machine = car.boot()
    car.page().close()
    assert machine.run("systemctl --failed --no-legend").strip() == ""
    counts = car.status()
    assert counts["committed"] >= len(told)
    assert counts["sessions_open"] == 0
    machine.run("systemctl stop alprd.service", seconds=60 * patience())
    car.power_down()
    out = tmp_path / "state"
    out.mkdir()
    call("debugfs", "-R", f"rdump / {out}", car.folder / "state.img")
    with closing(sqlite3.connect(out / "queue.db")) as queue:
        arrived = {name for (name,) in car.central.rows("SELECT id FROM arrivals")}
        here = {name for (name,) in queue.execute("SELECT id FROM reads")}
        rows = [json.loads(row) for (row,) in queue.execute("SELECT row FROM sessions")]
    assert set(told) <= here | arrived
    assert [row["end_reason"] for row in rows] == ["power_lost"]


def test_a_v4l2_camera_comes_back_after_it_was_unplugged(tmp_path: Path, stack: ExitStack) -> None:
    """A real /dev/video0 (the kernel's vivid), opened by the name of our udev rules."""
    camera, copies = guest.drive_camera()
    script = tmp_path / "watch.py"
    script.write_text(WATCH)
    copies["/usr/lib/guest-watch.py"] = script
    car = guest.GuestCar(tmp_path / "guest", stack, cameras=(camera,), copies=copies)
    machine = car.boot()
    machine.run("systemctl stop alprd.service", seconds=120 * patience())
    machine.run("modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0")
    machine.run("udevadm settle", seconds=60 * patience())
    # As the unit: its user, its devices, its sandbox.
    machine.run(
        "systemd-run --unit=watch -p User=alprd -p SupplementaryGroups=video "
        "-p DevicePolicy=closed -p 'DeviceAllow=char-video4linux rw' -p PrivateUsers=yes "
        "-p MemoryDenyWriteExecute=yes -p RuntimeDirectory=watch -p NoNewPrivileges=yes "
        f"/opt/alprd/bin/python3 -I /usr/lib/guest-watch.py {guest.V4L2} /run/watch/log"
    )

    def newest() -> tuple[float, bool, int]:
        said = machine.run("tail -n 1 /run/watch/log", check=False).strip()
        try:
            at, up, width = json.loads(said)
        except json.JSONDecodeError:
            return 0.0, False, 0
        return float(at), bool(up), int(width)

    def wait(up: bool, seconds: float) -> float:
        end = time.monotonic() + seconds
        while True:
            found = newest()
            if found[1] is up and found[0]:
                return found[0]
            assert time.monotonic() < end, (found, machine.run("journalctl -u watch", check=False))
            time.sleep(0.3)

    wait(up=True, seconds=60 * patience())
    assert newest()[2] > 0
    machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")
    wait(up=False, seconds=20 * patience())
    machine.run("test ! -e /dev/video0 && test ! -e " + guest.V4L2)
    machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind; udevadm settle")
    back = float(machine.run("cut -d' ' -f1 /proc/uptime"))
    # Ten seconds is the promise; an emulated processor decodes too slowly to be held to it.
    assert wait(up=True, seconds=60 * patience()) - back <= 10.0 * max(1.0, patience() / 4)
