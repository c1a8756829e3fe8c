"""The pages: named sign-on, one page of counts, and the public log that anyone may read.

Server-rendered, no script, strict content security policy; counts only, never a read (R-460.6-a).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import delete, insert, select, update
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alprd.central.oversight import todos
from alprd.central.pages import inventory, navigation
from alprd.central.pages.pagekit import guard
from alprd.central.pages.pages_audits import AuditPages
from alprd.central.pages.pages_bases import BasisPages
from alprd.central.pages.pages_cars import CarPages
from alprd.central.pages.pages_fixed import FixedPages
from alprd.central.pages.pages_holds import HoldPages
from alprd.central.pages.pages_imports import ImportPages
from alprd.central.pages.pages_jobs import JobPages
from alprd.central.pages.pages_links import LinkPages
from alprd.central.pages.pages_lists import ListPages
from alprd.central.pages.pages_openness import OpennessPages
from alprd.central.pages.pages_oversight import OversightPages
from alprd.central.pages.pages_people import PeoplePages
from alprd.central.pages.pages_private import PrivatePages
from alprd.central.pages.pages_readers import ReaderPages
from alprd.central.pages.pages_release import ReleasePages
from alprd.central.pages.pages_resets import ResetPages
from alprd.central.pages.pages_search import SearchPages
from alprd.central.pages.pages_subject import SubjectPages
from alprd.central.pages.pages_trail import TrailPages
from alprd.central.public.publicpages import PublicPages
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.central.upkeep import jobs, status
from alprd.errors import AlprdError, ConfigError, RefusedError
from alprd.wire import Person

IDLE: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=12)
# Cookies ignore ports: the in-car page on the same host must have other names.
COOKIE: Final = "alprd_central_session"
FORM_COOKIE: Final = "alprd_central_form"
_HERE: Final = Path(__file__).parents[1]
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


class SecurityHeaders:
    """Puts the security headers on every answer; nothing but styles may be kept by a browser."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the head of its answer."""

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = headers.get("content-security-policy")  # the page of pictures has its own
                headers.update(_HEADERS)
                if own is not None:
                    headers["content-security-policy"] = own
                static = scope["path"].startswith("/static/")
                public = scope["path"].startswith("/public/") and "cache-control" in headers
                if not public:
                    headers["cache-control"] = "max-age=3600" if static else "no-store"
            await send(message)

        await self.app(scope, receive, complete)


@dataclass(frozen=True, slots=True)
class SignedOn:
    """A live web session."""

    person: Person
    csrf: str
    token_hash: str


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _same(sent: str, kept: str) -> bool:
    """Compare form tokens in constant time; ``compare_digest`` takes no str beyond ASCII."""
    return hmac.compare_digest(sent.encode("utf-8", "replace"), kept.encode("utf-8", "replace"))


class Pages:
    """The page handlers of one agency."""

    def __init__(self, central: Central) -> None:
        self.central = central
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        zone = central.config.zone()

        def local(text: str | None) -> str:
            if not text:
                return "–"
            return datetime.fromisoformat(text).astimezone(zone).strftime("%Y-%m-%d %H:%M %z")

        self._templates.filters["local"] = local
        self._templates.globals["agency_name"] = central.config.agency_name
        self._templates.globals["menu"] = navigation.menu

    def render(self, name: str, status_code: int = 200, **values: Any) -> HTMLResponse:
        """A page from its template."""
        return HTMLResponse(self._templates.get_template(name).render(**values), status_code)

    # --- sessions ---------------------------------------------------------------------------

    def _current(self, request: Request) -> SignedOn | None:
        token = request.cookies.get(COOKIE)
        if not token:
            return None
        now = self.central.clock()
        table = db.web_sessions
        with self.central.database.write() as tx:
            row = tx.execute(select(table).where(table.c.token_hash == _hash(token))).one_or_none()
            if row is None:
                return None
            person = people.acting(tx, row.person, now)
            over = row.last_seen <= now - IDLE or row.signed_on <= now - LONGEST
            if over or person is None or person.authorised_until <= now or person.frozen:
                tx.execute(delete(table).where(table.c.token_hash == row.token_hash))
                return None
            tx.execute(
                update(table).where(table.c.token_hash == row.token_hash).values(last_seen=now)
            )
        return SignedOn(person, row.csrf, row.token_hash)

    def _let_in(self, person: Person) -> None:
        """Refuse who has the password but not the standing; by name in the trail (R-AT-1)."""
        now = self.central.clock()
        try:
            people.require(person, Act.PAGES, now)
        except RefusedError as error:
            with self.central.database.write() as tx:
                self.central.trail.record(
                    tx,
                    Event.SIGN_ON_REFUSED,
                    people.actor(person),
                    at=now,
                    detail={"reason": error.reason},
                )
            raise

    def _open(self, person: Person) -> str:
        token, now = secrets.token_urlsafe(32), self.central.clock()
        with self.central.database.write() as tx:
            tx.execute(
                insert(db.web_sessions).values(
                    token_hash=_hash(token),
                    person=person.id,
                    csrf=secrets.token_urlsafe(24),
                    signed_on=now,
                    last_seen=now,
                )
            )
            self.central.trail.record(tx, Event.SIGNED_ON, people.actor(person), at=now)
        return token

    def _close(self, session: SignedOn) -> None:
        table = db.web_sessions
        with self.central.database.write() as tx:
            tx.execute(delete(table).where(table.c.token_hash == session.token_hash))
            self.central.trail.record(
                tx, Event.SIGNED_OFF, people.actor(session.person), at=self.central.clock()
            )

    def current(self, request: Request) -> SignedOn | None:
        """The live session of a request."""
        return self._current(request)

    def from_session(self, form: FormData, session: SignedOn) -> bool:
        """Whether a form was rendered for this session."""
        return _same(str(form.get("csrf", "")), session.csrf)

    # --- pages ------------------------------------------------------------------------------

    async def home(self, request: Request, session: SignedOn) -> Response:
        """What needs a person today, and counts."""
        return await run_in_threadpool(self._home, session)

    def _home(self, session: SignedOn) -> Response:
        central, now = self.central, self.central.clock()
        with central.database.write() as tx:
            central.trail.record(tx, Event.STATUS_VIEWED, people.actor(session.person), at=now)
        return self.render(
            "home.html",
            session=session,
            status=status.collect(central),
            todos=todos.for_person(central, session.person, now),
            may_cars=may(session.person, Act.CARS_SEE),
            may_begin=may(session.person, Act.LISTS_WORK),
        )

    async def sign_on_form(self, request: Request) -> Response:
        """The sign-on form."""
        return self._form("", 200)

    def _form(self, error: str, code: int) -> Response:
        token = secrets.token_urlsafe(24)
        page = self.render("sign_on.html", code, error=error, csrf=token)
        page.set_cookie(FORM_COOKIE, token, httponly=True, samesite="strict", max_age=3600)
        return page

    async def sign_on(self, request: Request) -> Response:
        """Name and password against a session cookie."""
        form = await request.form(max_files=0, max_fields=5)
        sent, kept = str(form.get("csrf", "")), request.cookies.get(FORM_COOKIE, "")
        if not kept or not _same(sent, kept):
            return self._form("The form was too old. Please try again.", 403)
        person_id, password = str(form.get("person", ""))[:64], str(form.get("password", ""))
        code = str(form.get("code", ""))[:16]
        try:
            person = await run_in_threadpool(
                people.authenticate, self.central, person_id, password[:1000], code
            )
            await run_in_threadpool(self._let_in, person)
        except RefusedError as error:
            return self._form(f"Not signed on: {error.message}.", 403)
        token = await run_in_threadpool(self._open, person)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE,
            token,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            max_age=int(LONGEST.total_seconds()),
        )
        answer.delete_cookie(FORM_COOKIE)
        return answer

    async def sign_off(self, request: Request) -> Response:
        """End the session."""
        session = await run_in_threadpool(self._current, request)
        form = await request.form(max_files=0, max_fields=5)
        if session is None:
            return RedirectResponse("/sign-on", 303)
        if not _same(str(form.get("csrf", "")), session.csrf):
            return PlainTextResponse("The form was not from this session.", 403)
        await run_in_threadpool(self._close, session)
        answer = RedirectResponse("/sign-on", 303)
        answer.delete_cookie(COOKIE)
        return answer

    def refused(self, session: SignedOn, message: str, code: int) -> Response:
        """A page that tells why there is none, with the menu."""
        return self.render("refused.html", code, session=session, message=message)

    async def failed(self, request: Request, error: Exception) -> Response:
        """A refusal or failure, in plain words."""
        message = error.message if isinstance(error, AlprdError) else "central failed"
        return PlainTextResponse(message, 503)


def create_app(central: Central) -> Starlette:
    """The pages of one agency.

    Raises:
        ConfigError: a route does not stand in :mod:`alprd.central.pages.inventory`.
    """
    pages = Pages(central)
    jobs.forget_interrupted(central)
    hosts = sorted({*central.config.hosts, central.config.page_host})
    routes = [
        Route("/", guard(pages, pages.home)),
        Route("/sign-on", pages.sign_on_form, methods=["GET"]),
        Route("/sign-on", pages.sign_on, methods=["POST"]),
        Route("/sign-off", pages.sign_off, methods=["POST"]),
        *PublicPages(central).routes(),
        *CarPages(pages).routes(),
        *ReaderPages(pages).routes(),
        *FixedPages(pages).routes(),
        *OpennessPages(pages).routes(),
        *JobPages(pages).routes(),
        *ResetPages(pages).routes(),
        *SearchPages(pages).routes(),
        *BasisPages(pages).routes(),
        *TrailPages(pages).routes(),
        *ImportPages(pages).routes(),
        *PrivatePages(pages).routes(),
        *LinkPages(pages).routes(),
        *HoldPages(pages).routes(),
        *ListPages(pages).routes(),
        *PeoplePages(pages, IDLE).routes(),
        *ReleasePages(pages).routes(),
        *OversightPages(pages).routes(),
        *AuditPages(pages).routes(),
        *SubjectPages(pages).routes(),
    ]
    for route in routes:
        for method in (route.methods or set()) - {"HEAD"}:
            if not inventory.listed(method, route.path):
                raise ConfigError(f"route {method} {route.path} is not in the inventory")
    return Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=_HERE / "static"))],
        middleware=[
            Middleware(SecurityHeaders),
            # A page of another site must not reach this one under its own name (DNS rebinding).
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
        ],
        exception_handlers={AlprdError: pages.failed},
    )
