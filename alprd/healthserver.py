"""``/healthz`` and ``/metrics`` over HTTP, on loopback only, one answer at a time.

Only programs on this computer may ask: another address is refused at the start, and a request
whose ``Host`` is not this computer's is refused too, so that no web page can have a browser read
it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST

from alprd.crypto import write_secret
from alprd.errors import ConfigError
from alprd.health import Health
from alprd.workers import Beat

log = logging.getLogger(__name__)

PATIENCE_S: Final = 2.0
"""A client that sends or takes nothing for so long is left."""
_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class HealthServer:
    """A worker that answers; :meth:`run` ends with an error if the address cannot be used.

    Args:
        run_file: where the bound address is written, as JSON.

    Raises:
        ConfigError: the address is not this computer's alone.
    """

    def __init__(self, health: Health, host: str, port: int, run_file: Path | None = None) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ConfigError(
                f"[health] host {host} can be reached from outside",
                remedy="use 127.0.0.1 or ::1; forward it yourself if another computer shall ask",
            )
        self._answers: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]] = {
            "/healthz": lambda: _document(health),
            "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, health.metrics()),
        }
        self._host, self._port, self._run_file = host, port, run_file

    def run(self, beat: Beat) -> None:
        """Answer until told to stop.

        Raises:
            ConfigError: another program has the address.
        """
        try:
            server = _Server(self._host, self._port, self._answers)
        except OSError as error:
            raise ConfigError(
                f"health cannot be served on {self._host}:{self._port}: {error.strerror}",
                remedy="choose another port in [health], or stop what uses it",
            ) from None
        with server:
            if self._run_file is not None:
                port = server.socket.getsockname()[1]
                told = {"host": self._host, "port": port, "pid": os.getpid()}
                write_secret(self._run_file, json.dumps(told).encode())
            while not beat.stopping:
                beat()
                server.handle_request()


class _Server(HTTPServer):
    timeout = 0.5
    request_queue_size = 16

    def __init__(
        self,
        host: str,
        port: int,
        answers: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]],
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answers = answers
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # The base class asks the resolver for this computer's name, which may take long.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; the base class prints a traceback."""
        log.debug("a health request was not answered")


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S
    server: _Server
    server_version = "alprd"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one request."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.lower() not in _NAMES:
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"ask this computer\n")
            return
        found = self.server.answers.get(self.path.partition("?")[0])
        if found is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/healthz or /metrics\n")
            return
        self._answer(*found())

    do_HEAD = do_GET  # noqa: N815 - the names are the base class's

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def _document(health: Health) -> tuple[HTTPStatus, str, bytes]:
    ok, told = health.report()
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", (json.dumps(told) + "\n").encode()
