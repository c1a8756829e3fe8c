"""A camera's reading process, seen from the daemon.

Live cameras are read in a process of their own each (:mod:`alprd.eye`), because a thread cannot
be ended: a V4L2 driver may hang in the kernel, a decoder may loop or write where it should not.
A process can be killed, takes its memory with it, and is held to a limit of memory of its own; the
daemon and the other cameras go on.

Pictures cross in shared memory (``memfd``, never a file) of :data:`SLOTS` slots; a packet on a
socket tells that one is filled, another one gives it back. The reading process never waits for a
slot: while all are taken, newer pictures replace nothing and are dropped, so nothing queues up.

Packets are JSON. To the process: first the camera's settings, later the numbers of slots. From
it: ``{"allow": s}`` (alive; the next word within so many seconds), ``{"slot": n, "size": [h, w],
"at": mono_ns}``, ``{"failed": why}`` and ``{"noted": what}``. Passwords are read by the reading
process itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import select
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np

from alprd.frames import Image
from alprd.sources import CameraConfig

SLOTS: Final = 2
SLOT_BYTES: Final = 3 * 4096 * 3072
"""Room for the largest picture; memory is used only as far as it is written to."""
START_S: Final = 120.0
"""How long a process may take until its first word, which is sent before the camera is touched:
what takes time until then is reading the program in, half a second of one core where this was
measured, many times that on a slow computer with a cold disk."""
_PACKET: Final = 65536


@dataclass(frozen=True, slots=True)
class News:
    """A packet of the reading process: one of the four."""

    allow_s: float | None = None
    failed: str | None = None
    noted: str | None = None
    picture: Image | None = None
    at_ns: int = 0


class FeedEndedError(Exception):
    """The reading process is gone, or talks nonsense."""


class Feed:
    """One reading process; not thread-safe.

    Raises:
        OSError: no process, memory or socket could be had.
    """

    def __init__(self, config: CameraConfig) -> None:
        with contextlib.ExitStack() as stack:
            memory = os.memfd_create("camera", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            stack.callback(os.close, memory)
            os.ftruncate(memory, SLOTS * SLOT_BYTES)
            # Were it made shorter by the other side, reading here would end the daemon.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
            self._memory = mmap.mmap(memory, SLOTS * SLOT_BYTES)
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.callback(theirs.close)
            ends = (theirs.fileno(), memory)
            environment = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("NOTIFY_", "WATCHDOG_"))
            } | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "alprd.eye", config.name, *map(str, ends)],
                    pass_fds=ends,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            except OSError:
                self._socket.close()
                self._memory.close()
                raise
            # Opened now: once it has made itself undumpable, the unit's ProtectProc= hides it.
            self._schedule = -1
            with contextlib.suppress(OSError):
                self._schedule = os.open(f"/proc/{self._process.pid}/schedstat", os.O_RDONLY)
            with contextlib.suppress(OSError):  # it died at once: receive() tells
                self._socket.send(json.dumps(config.dump()).encode())

    @property
    def pid(self) -> int:
        """Of the reading process."""
        return self._process.pid

    def receive(self, timeout_s: float) -> News | None:
        """The next packet, a picture copied out of its slot; None when none came in time.

        Raises:
            FeedEndedError: see there.
        """
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return None
        try:
            packet = self._socket.recv(_PACKET)
            if not packet:
                raise FeedEndedError("the reading process ended")
            told = json.loads(packet)
            if "allow" in told:
                return News(allow_s=float(told["allow"]))
            if "failed" in told:
                return News(failed=str(told["failed"]))
            if "noted" in told:
                return News(noted=str(told["noted"]))
            slot, (height, width) = int(told["slot"]), map(int, told["size"])
            picture = self._picture(slot, height, width)
            self._socket.send(b"%d" % slot)
            return News(picture=picture, at_ns=int(told["at"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FeedEndedError(
                f"the reading process broke off ({type(error).__name__})"
            ) from None

    def _picture(self, slot: int, height: int, width: int) -> Image:
        if not 0 <= slot < SLOTS or min(height, width) < 1 or 3 * height * width > SLOT_BYTES:
            raise ValueError("no such slot")
        view = np.frombuffer(self._memory, np.uint8, 3 * height * width, slot * SLOT_BYTES)
        return view.reshape(height, width, 3).copy()

    def close(self, *, kill: bool, timeout_s: float = 1.0) -> str:
        """End the process: asked first, or killed at once; how it ended, or "" if it did not.

        Even SIGKILL waits for a driver that hangs in the kernel; ask :meth:`gone` later.
        """
        self._socket.close()
        if self._schedule >= 0:
            os.close(self._schedule)
            self._schedule = -1
        if not kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        if self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self._memory.close()
        code = self._process.poll()
        if code is None:
            return ""
        return f"ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def starved_s(self) -> float:
        """Seconds in which the reading thread could have run and was given no processor.

        On an overloaded machine a process that is late must not be taken for one that hangs:
        starting another one would only add to the load.
        """
        try:
            return int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9
        except (OSError, IndexError):  # it has just ended, or a kernel without the figure
            return 0.0

    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None
