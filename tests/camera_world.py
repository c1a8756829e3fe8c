"""Real cameras for tests: a web server process with its pictures, and how to wait for things."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alprd.capture import CameraConfig

SERVER = Path(__file__).with_name("mjpeg_server.py")


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether a condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def jpeg(width: int, height: int) -> bytes:
    """Quarters: blue and green above, red and white below (BGR order of the picture)."""
    picture = np.zeros((height, width, 3), np.uint8)
    middle, half = height // 2, width // 2
    picture[:middle, :half] = (255, 0, 0)
    picture[:middle, half:] = (0, 255, 0)
    picture[middle:, :half] = (0, 0, 255)
    picture[middle:, half:] = 255
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def announce(picture: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    at = picture.index(b"\xff\xc0") + 5
    return picture[:at] + height.to_bytes(2) + width.to_bytes(2) + picture[at + 4 :]


class WebCamera:
    """A camera's web server as a process of its own, which can be frozen and killed."""

    def __init__(self, folder: Path, *, login: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        day = jpeg(160, 96)
        (folder / "day.jpg").write_bytes(day)
        (folder / "large.jpg").write_bytes(jpeg(320, 240))
        # FFmpeg's own limit is 268 million pixels; this is below it, and 750 MB decoded.
        (folder / "bomb.jpg").write_bytes(announce(day, 16000, 16000))
        (folder / "speck.jpg").write_bytes(jpeg(8, 8))
        if login:
            (folder / "login").write_text(login)
        self.mode("day")

    def mode(self, name: str) -> None:
        """What it sends from now on."""
        new = self.folder / "mode.new"
        new.write_text(name)
        new.replace(self.folder / "mode")

    def up(self) -> None:
        """Start, on the port of before if there was one."""
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(SERVER), str(self.port), str(self.folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split()
        assert said[:1] == ["ready"]
        self.port = int(said[1])

    def down(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            with self._process:
                self._process = None

    def freeze(self) -> None:
        """It stops working and keeps its connections."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def refused(self) -> int:
        """Requests that were refused."""
        path = self.folder / "refused"
        return path.stat().st_size if path.exists() else 0

    def config(self, name: str, path: str = "/video", **values: Any) -> CameraConfig:
        """How the car sees it."""
        return CameraConfig(name, f"http://127.0.0.1:{self.port}{path}", **values)
