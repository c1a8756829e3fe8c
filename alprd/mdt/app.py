"""The in-car page: sign-on, live alerts, silence and acknowledge, the state of the car.

Routes (all but ``/sign-on``, ``/healthz`` and ``/static/`` need a live sign-on)::

    GET  /                       the page
    GET  /sign-on                the form; JSON {csrf, purposes, notice} for programs
    POST /sign-on                form: person, password, purpose, unit, acknowledged=on, csrf
    POST /sign-off
    GET  /session                who is signed on, and the CSRF token
    GET  /events                 server-sent events, see :mod:`alprd.mdt.events`
    GET  /alerts/<id>/plate.jpg  and wide.jpg: pictures of the latest sighting
    POST /alerts/<id>/silence    and unsilence, acknowledge; optional form field ``seen``
    GET  /healthz                that the page is served, and nothing else

A program asks with ``Accept: application/json`` and sends the CSRF token of its sign-on as
``X-CSRF-Token``. There is no list, search or map of reads (R-460.6-a2).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio.to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from alprd.alerts import AlertBoard
from alprd.audit import Trail
from alprd.errors import AuditError, InputError, RefusedError
from alprd.mdt.events import EventStream
from alprd.mdt.present import is_cleared
from alprd.mdt.security import (
    FORM_COOKIE,
    SESSION_COOKIE,
    FormTokens,
    Gate,
    RateLimit,
    csrf_fits,
    error_json,
    no_trail,
    wants_page,
)
from alprd.mdt.server import ServerHandle, serve_in_thread
from alprd.mdt.signons import IDLE_S, NOTICE, SHIFT_S, Clock, Collection, Screen, SignOns
from alprd.mdt.status import CarStatus
from alprd.records import utc_now
from alprd.roster import PURPOSES, RosterBook

__all__ = ["MdtContext", "ServerHandle", "create_app", "serve_in_thread"]

_HERE: Final = Path(__file__).parent
_SWEEP_S: Final = 5.0
_THREADS: Final = 4


@dataclass(frozen=True)
class MdtContext:
    """What the page needs of the daemon.

    ``clock`` gives UTC and whether it is trusted; the default is the system clock, untrusted.
    ``status`` may be called from any thread, about once a second.
    """

    board: AlertBoard
    roster_book: RosterBook
    trail: Trail
    status: Callable[[], CarStatus]
    collection: Collection
    clock: Clock = field(default=lambda: (utc_now(), False))
    idle_s: float = IDLE_S
    shift_s: float = SHIFT_S


def create_app(context: MdtContext) -> Starlette:
    """The ASGI application; sign-ons live in it, in RAM."""
    signons = SignOns(
        context.roster_book,
        context.trail,
        context.collection,
        context.clock,
        on_end=context.board.end_shift,
        collecting=lambda: context.status().session_open,
        idle_s=context.idle_s,
        shift_s=context.shift_s,
    )
    pages = _Pages(context, signons)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                with suppress(AuditError):  # the end itself holds; the next act will say so
                    await run_in_threadpool(signons.sweep)
                context.board.expire()
                await asyncio.sleep(_SWEEP_S)

        app.state.stopping = threading.Event()
        # One screen asks little; threads come and go no further than this.
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        task = asyncio.create_task(sweep())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = Starlette(
        routes=[
            Route("/", pages.main),
            Route("/sign-on", pages.sign_on_form, methods=["GET"]),
            Route("/sign-on", pages.sign_on, methods=["POST"]),
            Route("/sign-off", _post(pages.sign_off), methods=["POST"]),
            Route("/session", pages.session),
            Route("/events", pages.events),
            Route("/alerts/{alert_id}/plate.jpg", pages.plate_picture),
            Route("/alerts/{alert_id}/wide.jpg", pages.wide_picture),
            Route("/alerts/{alert_id}/silence", _post(pages.silence), methods=["POST"]),
            Route("/alerts/{alert_id}/unsilence", _post(pages.unsilence), methods=["POST"]),
            Route("/alerts/{alert_id}/acknowledge", _post(pages.acknowledge), methods=["POST"]),
            Route("/healthz", _healthz),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[Middleware(Gate, signons=signons)],
        exception_handlers={AuditError: _no_trail},
        lifespan=lifespan,
    )
    app.state.signons = signons
    return app


Endpoint = Callable[[Request], Awaitable[Response]]


def _post(endpoint: Endpoint) -> Endpoint:
    """An act behind the sign-on: refused without the screen's CSRF token."""

    async def checked(request: Request) -> Response:
        if not await csrf_fits(request, request.state.screen):
            return error_json(403, "csrf", "The page is out of date: load it again.")
        return await endpoint(request)

    return checked


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _no_trail(request: Request, error: Exception) -> Response:
    return no_trail()


class _Pages:
    """The endpoints, over one context."""

    def __init__(self, context: MdtContext, signons: SignOns) -> None:
        self._context = context
        self._signons = signons
        self._forms = FormTokens()
        self._rate = RateLimit(burst=10, per_second=1 / 6)
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
        )

    # --- sign-on -------------------------------------------------------------------------

    async def sign_on_form(self, request: Request) -> Response:
        cookie = request.cookies.get(FORM_COOKIE) or self._forms.new_cookie()
        if wants_page(request.headers):
            response = self._form_page(request, cookie, None, {})
        else:
            response = JSONResponse(
                {
                    "csrf": self._forms.token(cookie),
                    "purposes": dict(PURPOSES),
                    "notice": NOTICE,
                }
            )
        self._set_cookie(request, response, FORM_COOKIE, cookie)
        return response

    async def sign_on(self, request: Request) -> Response:
        form = {k: v for k, v in (await request.form()).items() if isinstance(v, str)}
        cookie = request.cookies.get(FORM_COOKIE)
        if not self._forms.fits(cookie, form.get("csrf", "")):
            return self._refused(
                request, form, 403, RefusedError("The form was out of date.", reason="csrf")
            )
        address = request.client.host if request.client else ""
        if not self._rate.allow(address):
            return self._refused(
                request,
                form,
                429,
                RefusedError("Too many tries. Wait a few seconds.", reason="rate"),
            )
        try:
            token, screen = await run_in_threadpool(
                self._signons.sign_on,
                form.get("person", "").strip(),
                form.get("password", ""),
                purpose=form.get("purpose", ""),
                unit=form.get("unit", "").strip(),
                acknowledged=form.get("acknowledged") == "on",
            )
        except RefusedError as error:
            if error.reason not in ("wrong_password", "locked"):
                self._rate.give_back(address)
            return self._refused(request, form, 403, error)
        response: Response
        if wants_page(request.headers):
            response = RedirectResponse("/", status_code=303)
        else:
            response = JSONResponse(_session_json(screen))
        self._set_cookie(request, response, SESSION_COOKIE, token)
        return response

    def _refused(
        self, request: Request, form: dict[str, str], status: int, error: RefusedError
    ) -> Response:
        if not wants_page(request.headers):
            return error_json(status, error.reason, error.message, error.remedy)
        cookie = request.cookies.get(FORM_COOKIE) or self._forms.new_cookie()
        response = self._form_page(request, cookie, error, form, status)
        self._set_cookie(request, response, FORM_COOKIE, cookie)
        return response

    def _form_page(
        self,
        request: Request,
        cookie: str,
        error: RefusedError | None,
        form: dict[str, str],
        status: int = 200,
    ) -> Response:
        kept = {name: form.get(name, "") for name in ("person", "purpose", "unit")}
        return self._page(
            request,
            "sign_on.html",
            status,
            csrf=self._forms.token(cookie),
            purposes=PURPOSES,
            notice=NOTICE,
            error=error,
            ended="ended" in request.query_params,
            kept=kept,
        )

    async def sign_off(self, request: Request) -> Response:
        await run_in_threadpool(self._signons.sign_off, request.state.screen)
        response: Response = (
            RedirectResponse("/sign-on", status_code=303)
            if wants_page(request.headers)
            else Response(status_code=204)
        )
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    async def session(self, request: Request) -> Response:
        return JSONResponse(_session_json(request.state.screen))

    # --- page and events -----------------------------------------------------------------

    async def main(self, request: Request) -> Response:
        screen: Screen = request.state.screen
        return self._page(
            request,
            "main.html",
            csrf=screen.csrf,
            person=screen.sign_on.person.name,
            unit=screen.sign_on.unit,
            purpose=PURPOSES[screen.sign_on.purpose],
        )

    async def events(self, request: Request) -> Response:
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        stream = EventStream(
            board=self._context.board,
            signons=self._signons,
            status=self._context.status,
            clock=self._context.clock,
            token=request.cookies.get(SESSION_COOKIE, ""),
            stopping=request.app.state.stopping,
        )
        return stream.response(after)

    # --- pictures and acts ---------------------------------------------------------------

    async def plate_picture(self, request: Request) -> Response:
        return await self._picture(request, wide=False)

    async def wide_picture(self, request: Request) -> Response:
        return await self._picture(request, wide=True)

    async def _picture(self, request: Request, *, wide: bool) -> Response:
        screen: Screen = request.state.screen
        alert_id = request.path_params["alert_id"]
        board = self._context.board
        view = board.view(alert_id)
        jpeg = None
        if view is not None and is_cleared(view, self._signons.person_of(screen)):
            jpeg = await run_in_threadpool(
                board.picture, alert_id, "wide" if wide else "plate", screen.sign_on.actor
            )
        if jpeg is None:
            return error_json(404, "no_picture", "There is no such picture.")
        return Response(jpeg, media_type="image/jpeg")

    async def silence(self, request: Request) -> Response:
        return await self._act(request, self._context.board.silence)

    async def unsilence(self, request: Request) -> Response:
        return await self._act(request, self._context.board.unsilence)

    async def acknowledge(self, request: Request) -> Response:
        return await self._act(request, self._context.board.acknowledge)

    async def _act(self, request: Request, act: Callable[..., None]) -> Response:
        screen: Screen = request.state.screen
        seen = (await request.form()).get("seen")
        if seen is not None and not (isinstance(seen, str) and seen.isascii() and seen.isdigit()):
            return error_json(400, "bad_field", "'seen' is the number of an alarm.")
        try:
            await run_in_threadpool(
                act,
                request.path_params["alert_id"],
                screen.sign_on.actor,
                seen=None if seen is None else int(seen[:18]),
            )
        except InputError as error:
            return error_json(404, "no_alert", error.message)
        except RefusedError as error:
            return error_json(409, error.reason, error.message, error.remedy)
        return Response(status_code=204)

    # --- plumbing ------------------------------------------------------------------------

    def _page(
        self, request: Request, template: str, status: int = 200, **values: object
    ) -> HTMLResponse:
        # The theme comes with the page itself, so that night mode never flashes white.
        theme = "day" if request.cookies.get("alprd_theme") == "day" else "night"
        html = self._templates.get_template(template).render(theme=theme, **values)
        return HTMLResponse(html, status_code=status)

    @staticmethod
    def _set_cookie(request: Request, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            name, value, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )


def _session_json(screen: Screen) -> dict[str, str]:
    sign_on = screen.sign_on
    return {
        "person": sign_on.person.id,
        "name": sign_on.person.name,
        "purpose": sign_on.purpose,
        "unit": sign_on.unit,
        "csrf": screen.csrf,
    }
