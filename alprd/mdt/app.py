"""The in-car page: sign-on, live alerts, their settling, the state of the car.

The routes stand in :mod:`alprd.mdt.inventory`, and only what stands there exists. A program asks
with ``Accept: application/json`` and sends the CSRF token of its sign-on as ``X-CSRF-Token``.
There is no list, search or map of reads (R-460.6-a2).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from alprd.errors import AuditError
from alprd.mdt.acts import Acts
from alprd.mdt.answers import error_json, no_route
from alprd.mdt.context import MdtContext
from alprd.mdt.inventory import ENTRIES, Entry
from alprd.mdt.pages import Pages
from alprd.mdt.security import Gate, csrf_fits, no_trail
from alprd.mdt.server import ServerHandle, serve_in_thread
from alprd.mdt.signons import SignOns
from alprd.settling import Settling

__all__ = ["MdtContext", "ServerHandle", "create_app", "serve_in_thread"]

_HERE: Final = Path(__file__).parent
_SWEEP_S: Final = 5.0
_THREADS: Final = 4


def create_app(context: MdtContext) -> Starlette:
    """The ASGI application; sign-ons live in it, in RAM."""
    signons = SignOns(
        context.roster_book,
        context.trail,
        context.collection,
        context.clock,
        on_begin=context.board.begin_shift,
        on_end=context.board.end_shift,
        collecting=lambda: context.status().session_open,
        locks=context.locks,
        ignition_over=context.ignition_over,
        locker=context.locker,
        idle_s=context.idle_s,
        shift_s=context.shift_s,
    )
    settling = Settling(context.board, on_misread=context.misread, now=lambda: context.clock()[0])
    pages = Pages(context, signons, settling)
    acts = Acts(context, signons, settling)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                with suppress(AuditError):  # the end itself holds; the next act will say so
                    await run_in_threadpool(signons.sweep)
                await run_in_threadpool(context.board.expire)
                await asyncio.sleep(_SWEEP_S)

        app.state.stopping = threading.Event()
        # One screen asks little; threads come and go no further than this.
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        task = asyncio.create_task(sweep())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def endpoint(entry: Entry) -> Endpoint:
        if entry.name == "healthz":
            return _healthz
        found: Endpoint = getattr(pages, entry.name, None) or getattr(acts, entry.name)
        if entry.method == "POST" and entry.who != "anybody":
            found = _guarded(found)
        return found if entry.moving else _standing(found, context.moving)

    routes: list[BaseRoute] = [
        Route(entry.path, endpoint(entry), methods=[entry.method], name=entry.name)
        for entry in ENTRIES
    ]
    for route in routes:
        if isinstance(route, Route) and route.methods:
            # Only what stands in the inventory: HEAD of /events would hold its connection for good.
            route.methods.discard("HEAD")
    app = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=_HERE / "static"))],
        middleware=[Middleware(Gate, signons=signons, hosts=context.hosts)],
        exception_handlers={AuditError: _no_trail, HTTPException: no_route},
        lifespan=lifespan,
    )
    app.state.signons = signons
    return app


Endpoint = Callable[[Request], Awaitable[Response]]


def _guarded(endpoint: Endpoint) -> Endpoint:
    """An act behind the sign-on: refused without the screen's CSRF token."""

    async def checked(request: Request) -> Response:
        if not await csrf_fits(request, request.state.screen):
            return error_json(403, "csrf", "The page is out of date.", "load it again")
        return await endpoint(request)

    return checked


def _standing(endpoint: Endpoint, moving: Callable[[], bool]) -> Endpoint:
    """An act that waits until the car stands."""

    async def checked(request: Request) -> Response:
        if moving():
            return error_json(
                409, "driving", "This waits until the car stands.", "stop, or ask your dispatcher"
            )
        return await endpoint(request)

    return checked


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _no_trail(request: Request, error: Exception) -> Response:
    return no_trail()
