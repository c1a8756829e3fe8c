"""A camera's web server (MJPEG over HTTP) that can misbehave, as a process of its own for tests.

``python tests/mjpeg_server.py PORT FOLDER``: serves what ``FOLDER/mode`` names at this moment,
with pictures from ``FOLDER/NAME.jpg``, 20 a second, and prints ``ready PORT``. ``FOLDER/login``,
if it is there, holds ``SCHEME USER:PASSWORD`` with the scheme ``basic`` or ``digest``; the path
``/query?user=U&pwd=P`` takes the login from the query instead. Each refused request adds a byte
to ``FOLDER/refused``. Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import random
import re
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FOLDER = Path(sys.argv[2])
NONCE = "0123456789abcdef"


def login() -> tuple[str, str, str] | None:
    """Scheme, user and password that are asked for."""
    try:
        scheme, _, rest = (FOLDER / "login").read_text().partition(" ")
    except FileNotFoundError:
        return None
    user, _, password = rest.partition(":")
    return scheme, user, password


def md5(text: str) -> str:
    """Hexadecimal MD5, as RFC 7616 digest authentication of old cameras uses it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """One viewer."""

    def allowed(self) -> bool:
        """Whether the request carries the right login."""
        wanted = login()
        if wanted is None:
            return True
        scheme, user, password = wanted
        parts = urlsplit(self.path)
        if parts.path == "/query":
            given = parse_qs(parts.query)
            return given.get("user") == [user] and given.get("pwd") == [password]
        header = self.headers.get("Authorization", "")
        if scheme == "basic":
            return header == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        told = dict(re.findall(r'(\w+)="?([^",]*)"?', header))
        first, second = md5(f"{user}:camera:{password}"), md5(f"GET:{self.path}")
        middle = f"{NONCE}:{told.get('nc')}:{told.get('cnonce')}:{told.get('qop')}"
        return told.get("response") == md5(f"{first}:{middle}:{second}")

    def do_GET(self) -> None:
        """Answer with the stream."""
        if not self.allowed():
            with (FOLDER / "refused").open("ab") as file:
                file.write(b".")
            scheme = (login() or ("basic",))[0]
            ask = 'Basic realm="camera"'
            if scheme == "digest":
                ask = f'Digest realm="camera", nonce="{NONCE}", qop="auth", algorithm=MD5'
            self.send_response(401)
            self.send_header("WWW-Authenticate", ask)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        try:
            self.stream()
        except OSError:
            self.close_connection = True

    def stream(self) -> None:
        """Send as the mode says until the viewer leaves."""
        mode = (FOLDER / "mode").read_text()
        if mode == "header":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            while True:
                self.wfile.write(b"X-More: of the same\r\n" * 50)
                time.sleep(0.01)
        if mode in ("page", "playlist"):
            kind = "text/html" if mode == "page" else "application/vnd.apple.mpegurl"
            page = "<html>camera</html>\n" * 100
            playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write((page if mode == "page" else playlist).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        self.end_headers()
        while True:
            mode = (FOLDER / "mode").read_text()
            if mode in ("header", "page", "playlist"):
                return  # ends; the next request is answered in that way
            if mode == "garbage":
                self.wfile.write(random.randbytes(4000))
            elif mode == "half":
                picture = (FOLDER / "day.jpg").read_bytes()
                self.picture(picture[: len(picture) // 2])
            elif mode == "stuck":  # the beginning of a picture, then nothing
                picture = (FOLDER / "day.jpg").read_bytes()
                head = f"--b\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
                self.wfile.write(head + picture[:500])
                while (FOLDER / "mode").read_text() == "stuck":
                    time.sleep(0.05)
                return
            elif mode != "silent":
                self.picture((FOLDER / f"{mode}.jpg").read_bytes())
            time.sleep(0.05)

    def picture(self, picture: bytes) -> None:
        """Send one part."""
        head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        self.wfile.write(head.encode() + picture + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    """Serves until killed."""
    http.server.ThreadingHTTPServer.daemon_threads = True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"ready {server.server_port}", flush=True)
    server.serve_forever(0.05)


if __name__ == "__main__":
    main()
