"""The running guest: qemu, its serial lines, and a power switch without mercy."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from bench.guest.agent import READY
from bench.guest.image import Base, GuestError

MEMORY_MB: Final = 1400
KERNEL_LINE: Final = (
    # no_timer_check: a host that is busy for long lets the kernel's look at the timer fail.
    "console=ttyS0 quiet net.ifnames=0 panic=-1 no_timer_check mitigations=off apparmor=0 "
    "selinux=0 audit=0 cryptomgr.notests "
    "systemd.show_status=0 systemd.log_target=console"
)


def accelerated() -> bool:
    """Whether the processor runs the guest itself; emulated, all of it is some 20 times slower.

    A /dev/kvm alone says little: in some clouds it runs only kernels made for it.
    ``ALPRD_GUEST_ACCEL`` (``kvm`` or ``tcg``) decides otherwise.
    """
    if given := os.environ.get("ALPRD_GUEST_ACCEL"):
        return given == "kvm"
    flags = re.search(r"^flags\s*:.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(), re.M)
    return flags is not None and os.access("/dev/kvm", os.R_OK | os.W_OK)


def patience() -> float:
    """How many times longer things may take in the guest than on a computer of its own."""
    return 1.0 if accelerated() else 12.0


class Machine:
    """One boot of the guest, from power on to power off.

    Serial lines of the guest: ttyS0 console (``console.log``), ttyS1 witness (a file that only
    grows), ttyS2 GPS (a host's terminal), ttyS3 the agent. Network: eth0 stands for the dock
    (10.0.2.0/24, the host is 10.0.2.2; its cable is pulled by :meth:`dock`), eth1 is how the
    host reaches the in-car page.

    Args:
        folder: for sockets and the console's log.
        root: image of the root disk; what the guest writes there is forgotten.
        state: the drive of the car's state as qemu's ``-drive`` names it.
        gps: terminal of the host that speaks NMEA.
        page_port: port of the host's loopback that leads to 10.0.3.15:8443 in the guest.
    """

    def __init__(
        self, folder: Path, base: Base, *, root: Path, state: str, gps: str, page_port: int
    ) -> None:
        self.folder = folder
        self.witness = folder / "witness.log"
        self._agent: socket.socket | None = None
        self._rest = b""
        for name in ("agent.sock", "qmp.sock"):
            (folder / name).unlink(missing_ok=True)
        # arch-capabilities is refused by hosts that are guests themselves.
        how = ("kvm", "host,-arch-capabilities") if accelerated() else ("tcg", "max")
        words = [
            *("qemu-system-x86_64", "-accel", how[0], "-cpu", how[1], "-smp", "1"),
            *("-m", str(MEMORY_MB), "-nodefaults", "-nographic", "-no-reboot"),
            *("-kernel", str(base.kernel), "-initrd", str(base.initrd), "-append", KERNEL_LINE),
            *("-drive", f"file={root},if=virtio,format=raw,snapshot=on"),
            *("-drive", f"{state},if=virtio,format=raw"),
            *("-chardev", f"file,id=console,path={folder / 'console.log'},append=on"),
            *("-chardev", f"file,id=witness,path={self.witness},append=on"),
            *("-chardev", f"serial,id=gps,path={gps}"),
            *("-chardev", f"socket,id=agent,path={folder / 'agent.sock'},server=on,wait=off"),
        ]
        for name in ("console", "witness", "gps", "agent"):
            words += ["-serial", f"chardev:{name}"]
        words += [
            *("-netdev", "user,id=dock,net=10.0.2.0/24"),
            *("-device", "virtio-net-pci,netdev=dock,id=dock0,romfile="),
            *("-netdev", f"user,id=page,net=10.0.3.0/24,restrict=on,hostfwd="
              f"tcp:127.0.0.1:{page_port}-10.0.3.15:8443"),
            *("-device", "virtio-net-pci,netdev=page,romfile="),
            *("-device", "virtio-rng-pci"),
            *("-qmp", f"unix:{folder / 'qmp.sock'},server=on,wait=off"),
        ]  # fmt: skip
        self._log = (folder / "qemu.log").open("ab")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self._log,
                                        stderr=self._log)  # fmt: skip

    def await_agent(self, seconds: float = 120) -> None:
        """Return when the guest has booted so far that it answers.

        Raises:
            GuestError: it does not.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._agent is None:
                with contextlib.suppress(OSError):
                    self._agent = _connect(self.folder / "agent.sock")
                time.sleep(0.1)
                continue
            with contextlib.suppress(TimeoutError, OSError):
                if self._line(1.0) + b"\n" == READY:
                    return
            if self.process.poll() is not None:
                break
        raise GuestError(f"the guest did not boot; its last words:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of the console and of qemu's own messages."""
        texts = []
        for name in ("qemu.log", "console.log"):
            with contextlib.suppress(OSError):
                texts.append((self.folder / name).read_text(errors="replace")[-3000:])
        return "\n".join(texts)

    def _line(self, seconds: float) -> bytes:
        if self._agent is None:
            raise GuestError("the guest has not booted")
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._agent.settimeout(left)
            data = self._agent.recv(65536)
            if not data:
                raise GuestError("the guest's line is closed")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.strip()

    def run(self, command: str, *, seconds: float = 60, check: bool = True) -> str:
        """Run a shell command in the guest as root; what it printed.

        Raises:
            GuestError: it failed (unless ``check`` is False), or the guest does not answer.
        """
        if self._agent is None:
            raise GuestError("the guest has not booted")
        self._agent.sendall(base64.b64encode(command.encode()) + b"\n")
        end = time.monotonic() + seconds
        try:
            while (line := self._line(end - time.monotonic())) + b"\n" == READY:
                pass
        except TimeoutError:
            raise GuestError(f"no answer in {seconds:.0f} s to: {command}") from None
        code, _, text = line.partition(b" ")
        said = base64.b64decode(text).decode(errors="replace")
        if check and code != b"0":
            raise GuestError(f"{command} ended with {code.decode()}: {said[-2000:]}")
        return said

    def dock(self, *, plugged: bool) -> None:
        """Plug the dock's network cable in or out."""
        with _connect(self.folder / "qmp.sock") as line, line.makefile("rwb") as file:
            json.loads(file.readline())
            for name, arguments in (
                ("qmp_capabilities", {}),
                ("set_link", {"name": "dock0", "up": plugged}),
            ):
                file.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
                file.flush()
                answer: dict[str, Any] = {"event": ""}
                while "event" in answer:
                    answer = json.loads(file.readline())
                if "error" in answer:
                    raise GuestError(f"qemu refused {name}: {answer['error']}")

    def cut(self) -> None:
        """The ignition is off: the machine stops between two instructions."""
        self.process.kill()
        self.process.wait(20)
        self._close()

    def power_down(self, seconds: float = 60) -> None:
        """An orderly stop within ``seconds``, times :func:`patience`.

        Raises:
            GuestError: it takes longer.
        """
        with contextlib.suppress(GuestError, OSError):  # it may be off before it has answered
            self.run("systemctl --no-block reboot", seconds=seconds * patience())
        try:
            self.process.wait(seconds * patience())  # with -no-reboot qemu ends instead
        except subprocess.TimeoutExpired:
            self.cut()
            raise GuestError(f"the guest did not stop in {seconds * patience():.0f} s") from None
        self._close()

    def _close(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._log.close()


def _connect(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.settimeout(10)
        line.connect(str(path))
    except OSError:
        line.close()
        raise
    return line
