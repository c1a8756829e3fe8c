"""Serving the page from a daemon thread of the vehicle process."""

from __future__ import annotations

import ipaddress
import ssl
import threading
import time
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette

from alprd.errors import ConfigError

_START_S: Final = 10.0
_STOP_S: Final = 5.0


class ServerHandle:
    """A running server; ``port`` is the real one when 0 was asked for."""

    def __init__(self, server: uvicorn.Server, thread: threading.Thread, app: Starlette) -> None:
        self._server = server
        self._thread = thread
        self.app = app
        self.port: int = server.servers[0].sockets[0].getsockname()[1]

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The live context; what is loaded into it counts from the next connection on."""
        return self._server.config.ssl

    @property
    def alive(self) -> bool:
        """Whether the page is still being served."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the open event streams, then the server; returns when the thread has ended."""
        self.app.state.stopping.set()  # the streams look at it within a second
        self._server.should_exit = True
        self._thread.join(_STOP_S)


def serve_in_thread(
    app: Starlette,
    host: str,
    port: int,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
) -> ServerHandle:
    """Serve ``app`` on ``host:port`` from a daemon thread, with TLS if a certificate is given.

    Signals are left to the process; nothing is logged by request, since a path holds an alert's
    id.

    Raises:
        ConfigError: the address cannot be used; or see :func:`check_page`.
    """
    check_page(host, certificate, key)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = uvicorn.Server(config)
    failed = threading.Event()

    def run() -> None:
        try:
            server.run()
        except SystemExit:  # uvicorn's answer to an address it cannot bind
            failed.set()

    thread = threading.Thread(target=run, name="mdt", daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    if not server.started:
        server.should_exit = True
        raise ConfigError(
            f"the in-car page cannot be served on {host}:{port}",
            remedy="choose another address or port in [mdt], or stop what uses it",
        )
    return ServerHandle(server, thread, app)


def check_page(host: str, certificate: Path | None, key: Path | None) -> None:
    """Whether a page could be served with these, found without serving it (R-CJIS-1).

    Raises:
        ConfigError: ``host`` lies beyond this computer and there is no certificate, or the
            certificate and its key cannot be used.
    """
    if certificate is None and not _is_loopback(host):
        raise ConfigError(
            f"the in-car page would be served on {host} without TLS",
            remedy="serve it on 127.0.0.1, or give a certificate and its key",
        )
    if certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        why = "do not fit, or are no PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"[mdt] tls_cert {certificate} and tls_key {key} cannot be used: {why}",
            remedy="give the certificate's PEM and its unencrypted key, readable by the daemon",
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
