"""Pages of the documented search: the law's form, results page by page, pictures one at a time.

Nothing is filled in beforehand, and no address holds a plate: what was typed goes by POST, and the
results are known by the number of the search's event (R-13.824-7-2, R-AT-4).
"""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.grounds.searchform import Purpose
from alprd.central.grounds.searchform import Request as Search
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import instant, paging, sentence, text
from alprd.central.searches import pictureview, resultpages
from alprd.central.searches.search import Place, StoppedError, answer
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

FIELDS: Final = (
    "case", "offence", "purpose", "facts", "suspicion", "since", "until", "plate", "lat", "lon",
    "radius", "unplaced", "basis",
)  # fmt: skip
_PICTURES_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Pictures stand inside their page, so that one look is one answer and one event."""


class SearchPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/search", guard(self.form), methods=["GET"]),
            Route("/search", guard(self.search), methods=["POST"]),
            Route("/search/{seq}", guard(self.results), methods=["GET"]),
            Route("/search/{seq}/{read}", guard(self.picture), methods=["GET"]),
            Route("/links/{link}/reads/{read}", guard(self.linked), methods=["GET"]),
            Route("/holds/{hold}/reads/{read}", guard(self.held), methods=["GET"]),
        ]

    async def form(self, request: Request, session: SignedOn) -> Response:
        """The empty form."""
        return self._form(session, {}, "", 200)

    def _form(
        self, session: SignedOn, given: dict[str, str], error: str, code: int, stopped: bool = False
    ) -> Response:
        settings = self._central.config.search
        return self._pages.render(
            "search.html",
            code,
            session=session,
            error=error,
            stopped=stopped,
            given={name: given.get(name, "") for name in FIELDS},
            zone=self._central.config.timezone,
            other_purposes=bool(settings.civil_opinion),
            longest_radius=settings.longest_radius_m,
            may_basis=may(session.person, Act.BASIS_ENTER),
        )

    async def search(self, request: Request, session: SignedOn) -> Response:
        """Search, record, and go to the results."""
        return await run_in_threadpool(self._search, await request.form(), session)

    def _search(self, form: FormData, session: SignedOn) -> Response:
        given = {name: text(form, name) for name in FIELDS}
        try:
            done = answer(self._central, session.person, self._request(given))
        except StoppedError as error:
            return self._form(session, given, sentence(error), 403, stopped=True)
        except AlprdError as error:
            return self._form(session, given, sentence(error), 400)
        return RedirectResponse(f"/search/{done.seq}", 303)

    def _request(self, given: dict[str, str]) -> Search:
        purposes: tuple[Purpose, ...] = get_args(Purpose)
        named = [one for one in purposes if one == given["purpose"]]
        place = None
        if given["lat"] or given["lon"] or given["radius"]:
            place = Place(
                _number(given["lat"], "latitude"),
                _number(given["lon"], "longitude"),
                _number(given["radius"], "radius"),
            )
        return Search(
            case=given["case"],
            offence=given["offence"],
            facts=given["facts"],
            suspicion=given["suspicion"],
            since=instant(self._central, given["since"], "window from"),
            until=instant(self._central, given["until"], "window to"),
            plate=given["plate"] or None,
            place=place,
            unplaced=given["unplaced"] == "yes",
            basis=given["basis"],
            purpose=named[0] if named else purposes[0],
        )

    async def results(self, request: Request, session: SignedOn) -> Response:
        """A page of the results of one's own search."""
        seq = _seq(request)
        cut = paging(request, await run_in_threadpool(resultpages.total, self._central, seq))
        found = await run_in_threadpool(
            resultpages.of_search, self._central, session.person, seq, cut.offset, cut.size
        )
        return self._pages.render(
            "results.html",
            session=session,
            seq=seq,
            found=found,
            paging=cut,
            may_link=may(session.person, Act.LINK_ASK),
        )

    async def picture(self, request: Request, session: SignedOn) -> Response:
        """The pictures of one result; an access of its own."""
        seq, read = _seq(request), request.path_params["read"]
        found = await run_in_threadpool(
            pictureview.of_search, self._central, session.person, seq, read
        )
        return self._picture(session, found, read, f"/search/{seq}", "Results")

    async def linked(self, request: Request, session: SignedOn) -> Response:
        """The pictures of a read that a link keeps."""
        link, read = request.path_params["link"], request.path_params["read"]
        found = await run_in_threadpool(
            pictureview.of_exemption, self._central, session.person, link, "case", read
        )
        return self._picture(session, found, read, f"/links/{link}/reads", "Reads of the link")

    async def held(self, request: Request, session: SignedOn) -> Response:
        """The pictures of a read that a hold keeps."""
        hold, read = request.path_params["hold"], request.path_params["read"]
        found = await run_in_threadpool(
            pictureview.of_exemption, self._central, session.person, hold, "hold", read
        )
        return self._picture(session, found, read, f"/holds/{hold}/reads", "Reads of the hold")

    def _picture(
        self, session: SignedOn, found: pictureview.Pictures, read: str, back: str, title: str
    ) -> Response:
        people.require(session.person, Act.PAGES, self._central.clock())
        page = self._pages.render(
            "picture.html",
            session=session,
            read=read,
            back=back,
            title=title,
            plate=base64.b64encode(found.plate).decode(),
            wide=base64.b64encode(found.wide).decode(),
        )
        page.headers["content-security-policy"] = _PICTURES_POLICY
        return page


def _number(typed: str, name: str) -> float:
    try:
        return float(typed)
    except ValueError:
        raise InputError(f"{name}: not a number", remedy="give all of a place or none") from None


def _seq(request: Request) -> int:
    typed = request.path_params["seq"]
    if not (typed.isascii() and typed.isdecimal() and len(typed) < 12):
        raise InputError("there is no such search")
    return int(typed)
