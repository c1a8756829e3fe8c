"""Pages of what a search may need and what a supervisor must look at: legal bases, notices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.grounds import legalbasis
from alprd.central.grounds.legalbasis import Basis
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import instant, paging, sentence, text
from alprd.central.staff import notices
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError
from alprd.wire import Person

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_FIELDS: Final = ("case", "plate", "court", "number", "issued", "expires", "scope", "facts", "at")
_LINKS: Final = {
    "search_stopped": "/trail",
    "warrant_entered": "/bases",
    "exigency_asked": "/bases",
    "exigency_review": "/bases",
    "report_due": "/reports",
    "sample_due": "/reports",
    "anchor_failed": "/trail",
    "trail_broken": "/trail",
    "credential_reset": "/resets",
    "lost_car": "/cars",
    "chain_break": "/incidents",
    "unknown_device": "/incidents",
    "sign_on_failures": "/incidents",
    "off_hours_export": "/incidents",
    "bulk_view": "/incidents",
}


class BasisPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/bases", guard(self.bases), methods=["GET"]),
            Route("/bases", guard(self.enter), methods=["POST"]),
            Route("/bases/{basis}", guard(self.act), methods=["POST"]),
            Route("/notices", guard(self.notices), methods=["GET"]),
            Route("/notices/{notice}", guard(self.answer), methods=["POST"]),
        ]

    async def bases(self, request: Request, session: SignedOn) -> Response:
        """The register as far as the person may see it, and the two forms."""
        return await run_in_threadpool(self._bases, request, session, {}, "", 200)

    def _bases(
        self, request: Request, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        central, now, person = self._central, self._central.clock(), session.person
        rows = legalbasis.register(central, person)
        cut = paging(request, len(rows), size=25)
        return self._pages.render(
            "bases.html",
            code,
            session=session,
            error=error,
            rows=[
                row.model_dump(mode="json")
                | {"stands": row.stands(now), "acts": basis_acts(row, person, now)}
                for row in rows[cut.offset : cut.offset + cut.size]
            ],
            paging=cut,
            whole=may(person, Act.BASIS_REGISTER),
            may_enter=may(person, Act.BASIS_ENTER),
            given={name: given.get(name, "") for name in _FIELDS},
            hours=central.config.additional.exigency_hours,
            zone=central.config.timezone,
        )

    async def enter(self, request: Request, session: SignedOn) -> Response:
        """Enter a warrant, or ask for exigent circumstances."""
        return await run_in_threadpool(self._enter, request, await request.form(), session)

    def _enter(self, request: Request, form: FormData, session: SignedOn) -> Response:
        central, person = self._central, session.person
        given = {name: text(form, name) for name in _FIELDS}
        try:
            if text(form, "kind") == "warrant":
                legalbasis.enter_warrant(
                    central,
                    person,
                    case=given["case"],
                    plate=given["plate"],
                    court=given["court"],
                    number=given["number"],
                    issued=instant(central, given["issued"], "issued"),
                    expires=instant(central, given["expires"], "expires"),
                    scope=given["scope"],
                )
            else:
                legalbasis.ask_exigency(
                    central,
                    person,
                    case=given["case"],
                    plate=given["plate"],
                    facts=given["facts"],
                    at=instant(central, given["at"], "time"),
                )
        except AlprdError as error:
            return self._bases(request, session, given, sentence(error), 400)
        return RedirectResponse("/bases", 303)

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Find, refuse, review or withdraw."""
        return await run_in_threadpool(self._act, request, await request.form(), session)

    def _act(self, request: Request, form: FormData, session: SignedOn) -> Response:
        central, person, reason = self._central, session.person, text(form, "reason")
        basis = request.path_params["basis"]
        acts: dict[str, Callable[[], Any]] = {
            "find": partial(legalbasis.decide, central, person, basis, found=True, reason=reason),
            "refuse": partial(
                legalbasis.decide, central, person, basis, found=False, reason=reason
            ),
            "review": partial(legalbasis.review, central, person, basis, reason),
            "withdraw": partial(legalbasis.withdraw, central, person, basis, reason),
        }
        try:
            done = acts.get(text(form, "act"))
            if done is None:
                raise InputError("no such act")
            done()
        except AlprdError as error:
            return self._bases(request, session, {}, sentence(error), 400)
        return RedirectResponse("/bases", 303)

    # --- notices ------------------------------------------------------------------------------

    async def notices(self, request: Request, session: SignedOn) -> Response:
        """What the product found and a supervisor must look at."""
        return await run_in_threadpool(self._notices, request, session, "", 200)

    def _notices(self, request: Request, session: SignedOn, error: str, code: int) -> Response:
        answered = request.query_params.get("show") == "all"
        rows = notices.waiting(self._central, session.person, answered=answered)
        cut = paging(request, len(rows), "show", size=25)
        return self._pages.render(
            "notices.html",
            code,
            session=session,
            error=error,
            show="all" if answered else "open",
            paging=cut,
            notices=[
                row
                | {
                    "at": row["at"].isoformat(),
                    "done_at": row["done_at"].isoformat() if row["done_at"] else None,
                    "link": _LINKS.get(row["kind"]),
                    "own": row["about"] == session.person.id,
                }
                for row in rows[cut.offset : cut.offset + cut.size]
            ],
        )

    async def answer(self, request: Request, session: SignedOn) -> Response:
        """Close a notice with what was found."""
        return await run_in_threadpool(self._answer, request, await request.form(), session)

    def _answer(self, request: Request, form: FormData, session: SignedOn) -> Response:
        notice = request.path_params["notice"]
        try:
            notices.answer(self._central, session.person, notice, text(form, "answer"))
        except AlprdError as error:
            return self._notices(request, session, sentence(error), 400)
        return RedirectResponse("/notices", 303)


def basis_acts(row: Basis, person: Person, now: Any) -> list[str]:
    """What a person may do with a legal basis now."""
    stands, own = row.stands(now), row.entered_by == person.id
    decides, acts = may(person, Act.BASIS_DECIDE), []
    if row.kind == "exigency" and stands == "requested" and decides and not own:
        acts += ["find", "refuse"]
    if row.review_due(now) and decides and not own:
        acts.append("review")
    if stands in ("requested", "active") and (own or decides):
        acts.append("withdraw")
    return acts
