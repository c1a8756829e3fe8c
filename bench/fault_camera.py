"""A camera on the network that can be told to fail: MJPEG over HTTP, with a password.

Its own process, so that it can be frozen and killed as a camera's own computer can::

    python -m bench.fault_camera PORT PASSWORD_FILE SEED MODE_FILE SECONDS

``MODE_FILE`` holds what it does with a request, and with the connections that are open:
``pictures``, ``garbage`` (endless random bytes under an honest header) or ``refuse`` (401). An
open connection ends when the mode changes. The pictures are those of :mod:`bench.crash_clip`.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import cv2

from bench.crash_clip import FPS, pictures

USER: Final = "bench"
CLIP_S: Final = 48.0
"""Longer than the 30 s in which a text that comes again counts as the same pass."""


def jpegs(seconds: float, seed: int) -> list[bytes]:
    """The pictures of a clip as JPEG files."""
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures(seconds, seed)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, password: str, frames: list[bytes], mode: Path) -> None:
        login = base64.b64encode(f"{USER}:{password}".encode()).decode()
        self.expected = f"Basic {login}"
        self.frames = frames
        self.mode = mode
        super().__init__(("127.0.0.1", port), _Answer)

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """A daemon that hangs up is no error of the camera."""


class _Answer(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        mode = self.server.mode.read_text()
        login = self.headers.get("Authorization", "")
        if mode == "refuse" or not hmac.compare_digest(login, self.server.expected):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        for frame in itertools.cycle(self.server.frames):
            if self.server.mode.read_text() != mode:
                return
            if mode == "garbage":
                self.wfile.write(os.urandom(5_000))
            else:
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame)}"
                self.wfile.write(head.encode() + b"\r\n\r\n" + frame + b"\r\n")
            time.sleep(1 / FPS)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    """Serve until killed; prints ``ready`` when it listens."""
    port, password_file, seed, mode, seconds = sys.argv[1:6]
    password = Path(password_file).read_text().strip()
    server = _Server(int(port), password, jpegs(float(seconds), int(seed)), Path(mode))
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
