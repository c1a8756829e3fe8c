"""One process, two servers: the car API over mutual TLS and the pages, plus hourly work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from alprd.central.pages import app
from alprd.central.receiving import carapi
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.config import CentralConfig
from alprd.central.storage.store import Central, renew_server_certificate
from alprd.central.trail.addressed import Addressed
from alprd.central.upkeep import dropwatch
from alprd.central.upkeep.housekeeping import Housekeeping
from alprd.errors import ConfigError

log: Final = logging.getLogger("alprd.central.server")


class ClientCertificateProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, which also hands the client's certificate to the application.

    uvicorn 0.54 does not expose it (ASGI's TLS extension is not implemented there).
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the verified certificate of the connection before the first request."""
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        inner: ASGIApp = self.app

        async def with_certificate(scope: Scope, receive: Receive, send: Send) -> None:
            scope["client_certificate"] = certificate
            await inner(scope, receive, send)

        self.app = with_certificate


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone: two of them share it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def tls_context(central: Central) -> Callable[..., ssl.SSLContext]:
    """TLS 1.3 with the server's certificate; a client certificate is verified when presented."""

    def make(*_: Any) -> ssl.SSLContext:
        folder = central.home / "keys"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(
            folder / "server.crt", folder / "server.key", password=central.server_key_password()
        )
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    return make


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            remedy="choose another port, or stop the program that holds it",
        ) from error
    listener.setblocking(False)
    return listener


def _reachable(settings: CentralConfig) -> str:
    """A name of this server that its certificate has and that leads to the listening address."""
    return settings.car_host if settings.car_host in settings.hosts else settings.hosts[0]


def _config(application: ASGIApp, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=10,
        **options,
    )


async def serve(
    central: Central, car_port: int, page_port: int, ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        car_port: 0 takes a free one, as for ``page_port``; both end up in ``run.json``.
        ready: called with the content of ``run.json`` once both servers answer.

    Raises:
        ConfigError: a port cannot be had.
    """
    settings = central.config
    central.objects.check()
    central.keystore.database.check()
    if renew_server_certificate(central):
        log.warning("server certificate issued anew")
    with contextlib.ExitStack() as stack:
        car_socket = stack.enter_context(_listen(settings.car_host, car_port))
        page_socket = stack.enter_context(_listen(settings.page_host, page_port))
        car = _Server(
            _config(
                Addressed(carapi.CarApi(central).app()),
                http=ClientCertificateProtocol,
                ssl_context_factory=tls_context(central),
            )
        )
        pages = _Server(_config(Addressed(app.create_app(central)), http="h11"))
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        duty = Housekeeping(central)
        duty.presence.begin()  # before anything is served: another home is refused

        def stop() -> None:
            stopping.set()
            car.should_exit = pages.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        _record(central, Event.STARTED)
        tasks = [
            asyncio.create_task(car.serve(sockets=[car_socket])),
            asyncio.create_task(pages.serve(sockets=[page_socket])),
            asyncio.create_task(duty.run(stopping)),
            asyncio.create_task(dropwatch.watch(central, stopping, duty)),
        ]
        text = ""
        try:
            while not (car.started and pages.started) and not any(t.done() for t in tasks):
                await asyncio.sleep(0.01)
            run = {
                "car_url": f"https://{_reachable(settings)}:{car_socket.getsockname()[1]}",
                "car_port": car_socket.getsockname()[1],
                "page_url": f"http://{settings.page_host}:{page_socket.getsockname()[1]}",
                "page_port": page_socket.getsockname()[1],
            }
            text = json.dumps(run)
            new = central.home / ".run.json.new"
            new.write_text(text + "\n", encoding="utf-8")
            new.replace(central.home / "run.json")
            ready(text)
            await asyncio.gather(*tasks)
        finally:
            stop()
            _remove_own(central.home / "run.json", text)
        _record(central, Event.STOPPED)


def _remove_own(path: Path, text: str) -> None:
    """Take the file away unless another worker of the same home wrote it anew."""
    with contextlib.suppress(OSError):
        if path.read_text(encoding="utf-8").strip() == text:
            path.unlink()


def _record(central: Central, event: Event) -> None:
    with central.database.write() as tx:
        central.trail.record(tx, event, CENTRAL, at=central.clock())
