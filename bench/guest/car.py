"""An enrolled car in the guest: its disks, its configuration, its boots and its power cuts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from alprd.demo.gpsfeed import GpsFeed
from alprd.demo.home import DEPUTY
from alprd.demo.score import load_truth
from bench.crash_world import ANSWER_S, Central, QuickPage, wait_for
from bench.guest import agent, tiny
from bench.guest.disk import VolatileDisk
from bench.guest.image import ROOT, GuestError, base, make_disk, root_disk
from bench.guest.machine import Machine, patience

DRIVE: Final = ROOT / "fixtures" / "drive"
NAME: Final = "guest-1"
STATE_MB: Final = 1024
BOOT_S: Final = 120.0
PAGE_S: Final = 90.0
V4L2: Final = "/dev/alprd-camera-platform-vivid_0"
"""Name that the udev rules give to the picture node of the kernel's virtual camera."""

WITNESS: Final = """\
[Service]
# Every commit is told on a serial line that the host writes down.
ExecStart=
ExecStart=/bin/sh -c 'exec /opt/alprd/bin/alprd run --config /etc/alprd/alprd.toml \
--witness-fd 3 3>/dev/ttyS1'
TimeoutStartSec=@START@
WatchdogSec=@WATCHDOG@
"""
FILES: Final = {
    "/etc/systemd/system/alprd.service.d/guest.conf": WITNESS,
    "/etc/udev/rules.d/71-alprd-car.rules": 'KERNEL=="ttyS2", SYMLINK+="alprd-gps"\n',
    "/etc/systemd/system/var-lib-alprd.mount": """\
[Mount]
What=/dev/vdb
Where=/var/lib/alprd
Type=ext4
[Install]
WantedBy=local-fs.target
""",
    # An emulated guest on a busy host takes its time over everything.
    "/etc/systemd/system.conf.d/guest.conf": """\
[Manager]
DefaultTimeoutStartSec=@START@
DefaultDeviceTimeoutSec=@START@
""",
    "/etc/systemd/system/guest-agent.service": """\
[Service]
ExecStart=/usr/bin/python3 /usr/lib/guest-agent.py /dev/ttyS3
Restart=always
[Install]
WantedBy=multi-user.target
""",
    "/etc/systemd/system/guest-page.socket": """\
[Socket]
ListenStream=10.0.3.15:8443
FreeBind=yes
[Install]
WantedBy=sockets.target
""",
    "/etc/systemd/system/guest-page.service": """\
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:8443
""",
    "/etc/systemd/system/guest-central.socket": """\
[Socket]
ListenStream=127.0.0.1:@PORT@
[Install]
WantedBy=sockets.target
""",
    "/etc/systemd/system/guest-central.service": """\
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd 10.0.2.2:@PORT@
""",
    "/etc/systemd/network/10-dock.network": """\
[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
ConfigureWithoutCarrier=yes
LinkLocalAddressing=no
""",
    "/etc/systemd/network/20-page.network": """\
[Match]
Name=eth1
[Network]
Address=10.0.3.15/24
LinkLocalAddressing=no
""",
}
FORGETFUL: Final = ("database.py", '"synchronous=FULL"', '"synchronous=OFF"')
"""Turns the installed car into one that tells reads as committed which no disk holds."""
CONFIG: Final = """\
state_dir = "/var/lib/alprd"
@CAMERAS@
[gps]
source = "/dev/alprd-gps"
[dock]
carrier_file = "/sys/class/net/eth0/carrier"
interval_s = 1.0
"""


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera of the configuration."""

    name: str
    source: str
    fps: float = 10.0


def drive_camera() -> tuple[Camera, dict[str, Path]]:
    """The ready drive's front camera, and the file that the guest needs for it."""
    truth = load_truth(DRIVE)
    camera = truth.cameras[0]
    place = f"/usr/share/alprd-drive/{camera.file}"
    return Camera(camera.id, f"file:{place}", camera.fps), {place: DRIVE / camera.file}


def clip_camera(folder: Path, seconds: float, seed: int) -> tuple[Camera, dict[str, Path], str]:
    """A camera with a plate nearly always in view, for what needs many reads, not true ones.

    Returns:
        The camera; the files that the guest needs; sections of the configuration that put the
        tiny models in the place of the shipped ones (:mod:`bench.guest.tiny`).
    """
    copies, sections = tiny.write_all(folder / "tiny", seconds, seed)
    return Camera("front", f"file:{tiny.FOLDER}/clip.mp4", tiny.RATE), copies, sections


class GuestCar:
    """A car that lives in the guest from boot to power cut, and its real central on the host.

    Args:
        folder: an empty folder for everything.
        cameras: of the configuration; ``copies`` are the files that they play.
        sections: more of the configuration.
        forgetful: the installed car's databases never flush (``PRAGMA synchronous = OFF``): a
            car that loses reads, to see that the loss is counted.
        stack: ends what was started.
        seed: decides what each cut does to unflushed writes.

    Raises:
        GuestError: a disk cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *,
        cameras: tuple[Camera, ...],
        copies: dict[str, Path],
        sections: str = "",
        seed: int = 1,
        forgetful: bool = False,
    ) -> None:
        self.folder = folder
        self.central = Central(folder / "central", stack)
        state = folder / "state"
        self.central.enrol(NAME, 1, state)
        self.central.publish()
        port = urlsplit(self.central.car_url).port or 443
        eyes = "\n".join(
            f'[[camera]]\nname = "{camera.name}"\nsource = "{camera.source}"\nfps = {camera.fps}'
            for camera in cameras
        )
        values = {"@PORT@": port, "@START@": 90 * patience(), "@WATCHDOG@": 30 * patience()}
        files = dict(FILES)
        for mark, value in values.items():
            files = {path: text.replace(mark, f"{value:.0f}") for path, text in files.items()}
        files["/etc/alprd/alprd.toml"] = CONFIG.replace("@CAMERAS@", eyes) + sections
        self._root = folder / "root.img"
        agent_file = Path(agent.__file__)
        user = root_disk(
            self._root,
            files,
            copies | {"/usr/lib/guest-agent.py": agent_file},
            (FORGETFUL,) if forgetful else (),
        )
        for path in (state, *state.rglob("*")):
            os.chown(path, user, user)
        medium = folder / "state.img"
        make_disk(medium, STATE_MB, state)
        shutil.rmtree(state)  # from here on the car's keys are in the guest alone
        self.disk = VolatileDisk(medium, folder / "disk.sock", seed)
        stack.callback(self.disk.close)
        self.machine: Machine | None = None
        self._feed: GpsFeed | None = None
        self._page_port = 0
        stack.callback(self.cut)

    @property
    def running(self) -> Machine:
        """The machine, which is on.

        Raises:
            GuestError: it is off.
        """
        if self.machine is None:
            raise GuestError("the guest is off")
        return self.machine

    def boot(self) -> Machine:
        """Power on; returns when the guest answers.

        Raises:
            GuestError: it does not boot.
        """
        truth = load_truth(DRIVE)
        self._feed = GpsFeed(DRIVE / truth.gps, truth.start_utc)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._page_port = free.getsockname()[1]
        self.machine = Machine(
            self.folder,
            base(),
            root=self._root,
            state=self.disk.drive,
            gps=self._feed.device,
            page_port=self._page_port,
        )
        self._feed.start(1.0)
        self.machine.await_agent(BOOT_S * patience())
        return self.machine

    def page(self, seconds: float = PAGE_S) -> QuickPage:
        """The in-car page, once the daemon serves it.

        Raises:
            BenchError: the unit has failed, or serves nothing in time.
        """
        machine = self.running
        state = "systemctl is-active alprd.service"
        wait_for(
            "alprd.service is up",
            lambda: machine.run(state, check=False).strip() == "active",
            seconds * patience(),
            self._alive,
            0.5,
        )
        return QuickPage(
            f"http://127.0.0.1:{self._page_port}",
            self._alive,
            patience_s=ANSWER_S * patience() / 2,
        )

    def _alive(self) -> None:
        if self.running.process.poll() is not None:
            raise GuestError(f"the guest ended by itself:\n{self.running.last_words()}")

    def sign_on(self, page: QuickPage) -> datetime:
        """The deputy signs on; the instant at which collecting had begun."""
        page.sign_on(DEPUTY, self.central.home.deputy_password, within_s=PAGE_S * patience())
        return datetime.now(UTC)

    def witnessed(self) -> list[str]:
        """Ids of all reads whose commit was told so far, in every life."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.folder / "witness.log").read_text(errors="replace")
            return [found for line in text.split("\n")[:-1] if (found := _id(line))]
        return []

    def status(self) -> dict[str, int]:
        """``alprd status --json`` in the guest."""
        said = self.running.run(
            "runuser -u alprd -- /opt/alprd/bin/alprd status --json --config /etc/alprd/alprd.toml",
            seconds=60 * patience(),
        )
        found: dict[str, int] = json.loads(said)
        return found

    def journal(self) -> str:
        """The daemon's last lines and the unit's state; empty where the guest does not answer."""
        if self.machine is None:
            return ""
        with contextlib.suppress(GuestError, OSError):
            return self.machine.run(
                "systemctl status alprd.service --no-pager --lines=0; "
                "journalctl -u alprd.service --no-pager --output=cat | tail -n 40",
                seconds=20 * patience(),
                check=False,
            )
        return ""

    def cut(self) -> datetime | None:
        """Power off without warning; the instant of it, None if it was off."""
        machine, self.machine = self.machine, None
        if machine is None:
            return None
        machine.cut()
        at = datetime.now(UTC)
        self.disk.cut()
        self._silence()
        return at

    def power_down(self) -> None:
        """An orderly stop."""
        machine, self.machine = self.running, None
        machine.power_down()
        self._silence()

    def _silence(self) -> None:
        if self._feed is not None:
            self._feed.stop()
            self._feed = None

    def wait(self, seconds: float) -> None:
        """Let it run.

        Raises:
            GuestError: it ended by itself.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._alive()
            time.sleep(min(left, 0.25))


def _id(line: str) -> str:
    """The read that a witness line tells of; empty for a line that a cut tore."""
    try:
        told = json.loads(line.strip("\r\n \0"))
    except json.JSONDecodeError:
        return ""
    return str(told["id"]) if isinstance(told, dict) and "id" in told else ""
