"""The public files over central's own server: without sign-on, kept by browsers for a while."""

from __future__ import annotations

import threading
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.public import publicsite
from alprd.central.storage.store import Central

_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ALIASES: Final = {"log": "index.html", "log.csv": publicsite.LOG_CSV, "fixed": "fixed.html"}


class PublicPages:
    """The handlers; the files are made anew when the log, the list or the day has changed."""

    def __init__(self, central: Central) -> None:
        self._central = central
        self._lock = threading.Lock()
        self._version: tuple[object, ...] = ()
        self._files: dict[str, bytes] = {}

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        return [
            Route("/public", self.start, methods=["GET"]),
            Route("/public/{name}", self.file, methods=["GET"]),
        ]

    async def start(self, request: Request) -> Response:
        """The first page, at an address from which relative links work."""
        return RedirectResponse("/public/index.html", 303)

    async def file(self, request: Request) -> Response:
        """One public file."""
        name = request.path_params["name"]
        name = _ALIASES.get(name, name)
        data = (await run_in_threadpool(self._current)).get(name)
        if data is None:
            raise HTTPException(404, "there is no such public page")
        kind = "." + name.rpartition(".")[2]
        headers = {"cache-control": "public, max-age=600"}
        if kind == ".csv":
            headers["content-disposition"] = f'attachment; filename="{name}"'
        return Response(data, media_type=_KINDS[kind], headers=headers)

    def _current(self) -> dict[str, bytes]:
        with self._lock:  # whoever asks meanwhile waits instead of making it again
            with self._central.database.read() as tx:
                now = publicsite.version(self._central, tx)
            if now != self._version:
                self._files = publicsite.files(self._central, live=True)
                with self._central.database.read() as tx:
                    self._version = publicsite.version(self._central, tx)
            return self._files
