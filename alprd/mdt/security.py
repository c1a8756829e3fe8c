"""The gate before every route: deny by default, CSRF, headers, size and rate limits.

A request reaches a route only if its path is open (:data:`OPEN_PATHS`, static files) or it brings
the cookie of a live sign-on. Anything else is answered before any route runs: a page is sent to
the sign-on, a program gets 401, neither with data (R-460.6-a). A POST behind the sign-on must
bring the screen's CSRF token in ``X-CSRF-Token`` or in the form field ``csrf``.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alprd.errors import AuditError
from alprd.mdt.answers import error_json, failed, wants_page
from alprd.mdt.signons import Screen, SignOns, same
from alprd.workers import describe

log = logging.getLogger(__name__)

SESSION_COOKIE: Final = "alprd_session"
FORM_COOKIE: Final = "alprd_form"
OPEN_PATHS: Final = frozenset({"/sign-on", "/healthz"})
STATIC: Final = "/static/"
MAX_BODY: Final = 16_384
CSRF_HEADER: Final = "x-csrf-token"

_LOCAL_NAMES: Final = frozenset({"127.0.0.1", "::1", "localhost"})

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class RateLimit:
    """Token buckets by client address, the least recently used address forgotten first."""

    def __init__(
        self,
        *,
        burst: int,
        per_second: float,
        monotonic: Callable[[], float] = time.monotonic,
        addresses: int = 256,
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._monotonic = monotonic
        self._addresses = addresses
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Take one token of this address, if there is one."""
        now = self._monotonic()
        level, at = self._buckets.pop(address, (float(self._burst), now))
        level = min(self._burst, level + (now - at) * self._per_second)
        allowed = level >= 1
        self._buckets[address] = (level - 1 if allowed else level, now)
        while len(self._buckets) > self._addresses:
            self._buckets.popitem(last=False)
        return allowed

    def give_back(self, address: str) -> None:
        """Return a token: the try told nothing to guess by."""
        if address in self._buckets:
            level, at = self._buckets[address]
            self._buckets[address] = (min(self._burst, level + 1), at)


class FormTokens:
    """CSRF tokens of the sign-on form, bound to a cookie: there is no sign-on yet to bind to."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def new_cookie(self) -> str:
        """A random value for :data:`FORM_COOKIE`."""
        return secrets.token_urlsafe(24)

    def token(self, cookie: str) -> str:
        """The form field that belongs to a cookie."""
        return hmac.new(self._key, cookie.encode("utf-8", "replace"), sha256).hexdigest()

    def fits(self, cookie: str | None, token: str) -> bool:
        """Whether cookie and form field were given out together."""
        return bool(cookie) and same(self.token(cookie or ""), token)


def no_trail() -> Response:
    """The trail cannot be written, so the act did not happen (R-AT-3)."""
    return error_json(
        503,
        "no_trail",
        "The audit trail cannot be written, so this was not done.",
        "call the ALPR administrator; the disk may be full",
    )


class Gate:
    """ASGI middleware; puts the :class:`Screen` into ``request.state.screen``."""

    def __init__(self, app: ASGIApp, signons: SignOns, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._signons = signons
        self._hosts = frozenset(name.lower() for name in hosts)
        self._rate = RateLimit(burst=600, per_second=60)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or answer in the route's stead."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSocket here: the server closes it

        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                fresh = "no-cache" if scope["path"].startswith(STATIC) else "no-store"
                headers["Cache-Control"] = fresh
            await send(message)

        request = Request(scope, receive)
        refusal = (
            self._refuse_host(request)
            or self._refuse_flood(request)
            or _refuse_shape(request)
            or await self._admit(request)
        )
        try:
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the server would log its words: plate text, perhaps
            log.error("the page failed at a request: %s", describe(error))
            if not started:
                await failed()(scope, receive, send_with_headers)

    def _refuse_host(self, request: Request) -> Response | None:
        """A page of another name that points here (DNS rebinding) gets nothing."""
        named = request.headers.get("host", "")
        name = named[1 : named.find("]")] if named.startswith("[") else named.partition(":")[0]
        server = request.scope.get("server")
        own = {server[0]} if server else set()
        if name.lower() in self._hosts | _LOCAL_NAMES | own:
            return None
        return error_json(
            421,
            "wrong_host",
            "This is not the address of the plate reader.",
            "open the page by the car's own name",
        )

    def _refuse_flood(self, request: Request) -> Response | None:
        """More than any page asks for, from one address."""
        if self._rate.allow(request.client.host if request.client else ""):
            return None
        return error_json(429, "rate", "Too many requests.", "wait a few seconds")

    async def _admit(self, request: Request) -> Response | None:
        path = request.url.path
        if path in OPEN_PATHS or (path.startswith(STATIC) and request.method in ("GET", "HEAD")):
            return None
        token = request.cookies.get(SESSION_COOKIE)
        try:
            screen = await run_in_threadpool(self._signons.check, token) if token else None
        except AuditError:
            return no_trail()
        if screen is None:
            if request.method == "GET" and wants_page(request.headers):
                return RedirectResponse("/sign-on", status_code=303)
            return error_json(401, "not_signed_on", "Sign on first.")
        request.scope.setdefault("state", {})["screen"] = screen
        return None


def _refuse_shape(request: Request) -> Response | None:
    if request.method in ("GET", "HEAD"):
        return None
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return error_json(403, "cross_site", "This came from another site.", "use the page itself")
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isascii() or not length.isdigit():
        return error_json(
            411, "length_required", "The length of the body is missing.", "send Content-Length"
        )
    if int(length[:9]) > MAX_BODY or len(length) > 9:
        return error_json(413, "too_large", "This is too much text.", "shorten it")
    return None


async def csrf_fits(request: Request, screen: Screen) -> bool:
    """Whether a POST brings its screen's token."""
    token = request.headers.get(CSRF_HEADER)
    if token is None:
        field = (await request.form()).get("csrf")
        token = field if isinstance(field, str) else ""
    return same(screen.csrf, token)
