"""Pages of resets that need two persons: password, factor, roles, end of a sheriff or supervisor.

Whoever could set the sheriff's password alone could sign as the sheriff (R-13.824-7-1): one asks,
another decides, and until then nothing changes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import paging, sentence, text
from alprd.central.staff import accounts, credentials, people
from alprd.central.staff.credentials import Kind
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

KINDS: Final[dict[str, str]] = {
    "password": "new password",
    "totp": "new second factor",
    "totp-off": "no second factor any more",
    "roles": "other roles",
    "retire": "end of the account",
}


class ResetPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/resets", guard(self.resets), methods=["GET"]),
            Route("/resets", guard(self.ask), methods=["POST"]),
            Route("/resets/{reset}", guard(self.decide), methods=["POST"]),
        ]

    async def resets(self, request: Request, session: SignedOn) -> Response:
        """Every request, and the form of a new one."""
        return await run_in_threadpool(self._resets, request, session, "", 200)

    def _resets(
        self, request: Request, session: SignedOn, error: str, code: int, secret: str = ""
    ) -> Response:
        central, now, person = self._central, self._central.clock(), session.person
        rows = credentials.listing(central, person)
        cut = paging(request, len(rows), size=25)
        with central.database.read() as tx:
            guarded = [one for one in people.everyone(tx) if accounts.guarded(one)]
        shown: list[dict[str, Any]] = [
            row.shown()
            | {
                "stands": row.stands(now),
                "asked_at": row.asked_at.isoformat(),
                "ends": row.ends.isoformat(),
                "mine": person.id in (row.asked_by, row.person),
            }
            for row in rows[cut.offset : cut.offset + cut.size]
        ]
        return self._pages.render(
            "resets.html",
            code,
            session=session,
            error=error,
            secret=secret,
            rows=shown,
            paging=cut,
            kinds=KINDS,
            guarded=[(one.id, one.name) for one in guarded],
            chosen=request.query_params.get("person", "")[:64],
            roles=people.ROLES,
            may_ask=may(person, Act.PEOPLE_CHANGE),
        )

    async def ask(self, request: Request, session: SignedOn) -> Response:
        """Ask for a reset; a new second factor is shown once."""
        return await run_in_threadpool(self._ask, request, await request.form(), session)

    def _ask(self, request: Request, form: FormData, session: SignedOn) -> Response:
        kinds: tuple[Kind, ...] = get_args(Kind)
        try:
            kind = next((one for one in kinds if one == text(form, "kind")), None)
            if kind is None:
                raise InputError("what is to change: missing")
            _, uri = credentials.ask(
                self._central,
                session.person,
                text(form, "person"),
                kind,
                text(form, "reason"),
                password=str(form.get("password", ""))[:1000],
                roles=[one for one in form.getlist("roles") if isinstance(one, str)],
            )
        except AlprdError as error:
            return self._resets(request, session, sentence(error), 400)
        if uri:
            return self._resets(request, session, "", 200, uri)
        return RedirectResponse("/resets", 303)

    async def decide(self, request: Request, session: SignedOn) -> Response:
        """Approve or refuse a reset of another."""
        return await run_in_threadpool(self._decide, request, await request.form(), session)

    def _decide(self, request: Request, form: FormData, session: SignedOn) -> Response:
        reset, chosen = request.path_params["reset"], text(form, "decision")
        try:
            if chosen not in ("approve", "refuse"):
                raise InputError("no such decision")
            credentials.decide(self._central, session.person, reset, approve=chosen == "approve")
        except AlprdError as error:
            return self._resets(request, session, sentence(error), 400)
        return RedirectResponse("/resets", 303)
