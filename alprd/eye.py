"""The reading process of one live camera: ``python -m alprd.eye NAME SOCKET MEMORY``.

Started by :mod:`alprd.feed`, which documents what passes between the two. Its command line holds
no more than the camera's name. It ends by itself when the daemon does, also by SIGKILL, and
leaves signals to the daemon, which ends its cameras after their last pass.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np

from alprd.feed import SLOT_BYTES, SLOTS
from alprd.frames import Image
from alprd.process import harden
from alprd.sources import CameraConfig
from alprd.streams import read_live

MOST_MEMORY: Final = 640 << 20
"""Bytes of its own that a reading process may hold. 130 MB are in use after the start; a decoder
of 12 megapixels with sixteen reference pictures wants 300 MB more."""
_SIGNS_S: Final = 0.25
"""Signs of life are not told more often."""


class DaemonLine:
    """The line to the daemon, as a :class:`alprd.streams.Sink`."""

    def __init__(self, line: socket.socket, memory: mmap.mmap) -> None:
        self._line = line
        self._memory = memory
        self._free = set(range(SLOTS))
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._told_s = (0.0, 0.0)
        threading.Thread(target=self._listen, daemon=True).start()

    def alive(self, allow_s: float) -> None:
        """See :class:`alprd.streams.Sink`."""
        now, (allowed, told) = time.monotonic(), self._told_s
        if allowed == allow_s and now - told < _SIGNS_S:
            return
        self._told_s = (allow_s, now)
        self._send({"allow": allow_s})

    def wait(self, seconds: float) -> bool:
        """See :class:`alprd.streams.Sink`."""
        return self._end.wait(seconds) if seconds > 0 else self._end.is_set()

    def take(self, picture: Image, mono_ns: int) -> None:
        """See :class:`alprd.streams.Sink`; dropped while the daemon holds every slot."""
        with self._lock:
            slot = self._free.pop() if self._free else None
        if slot is None:
            return
        target = np.frombuffer(self._memory, np.uint8, picture.size, slot * SLOT_BYTES)
        np.copyto(target.reshape(picture.shape), picture)
        self._send({"slot": slot, "size": picture.shape[:2], "at": mono_ns})

    def failed(self, why: str) -> None:
        """See :class:`alprd.streams.Sink`."""
        self._send({"failed": why})

    def noted(self, what: str) -> None:
        """See :class:`alprd.streams.Sink`."""
        self._send({"noted": what})

    def _send(self, packet: dict[str, object]) -> None:
        try:
            self._line.send(json.dumps(packet).encode())
        except OSError:
            self._end.set()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while packet := self._line.recv(64):
                with self._lock:
                    self._free.add(int(packet))
        self._end.set()  # the daemon has ended, or wants no more
        time.sleep(0.5)
        os._exit(0)  # whatever the source does


def main() -> None:
    """Read the camera until the daemon wants no more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # where memory runs out, a camera goes before the daemon
        Path("/proc/self/oom_score_adj").write_text("500")
    harden()  # after which this process may not write there any more
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    line = socket.socket(fileno=int(sys.argv[2]))
    memory = mmap.mmap(int(sys.argv[3]), SLOTS * SLOT_BYTES)
    config = CameraConfig.load(json.loads(line.recv(65536)))
    if config.kind == "device":
        import alprd.v4l  # noqa: F401 - OpenCV is read in now, not in the time for opening
    read_live(config, DaemonLine(line, memory))


if __name__ == "__main__":
    main()
