"""Pages of address-confidentiality requests, for the two roles alone (R-460.5-b … -b6).

That a request exists is private: no other page, count or line of the first page of another role
tells of it, and the pages' own looks stand in the trail where only the two roles can read them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import instant, paging, sentence, text
from alprd.central.records import confidentiality
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

FIELDS = ("plates", "received", "verified_by", "reference", "review")


class PrivatePages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/confidentiality", guard(self.requests), methods=["GET"]),
            Route("/confidentiality", guard(self.enter), methods=["POST"]),
            Route("/confidentiality/history", guard(self.history), methods=["GET"]),
            Route("/confidentiality/{asked}", guard(self.act), methods=["POST"]),
        ]

    async def requests(self, request: Request, session: SignedOn) -> Response:
        """Every request with what is done and what is left, and the form of a new one."""
        return await run_in_threadpool(self._requests, request, session, {}, "", 200)

    def _requests(
        self, request: Request, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        central, now = self._central, self._central.clock()
        due = request.query_params.get("show") == "due"
        rows = confidentiality.listing(central, session.person, due=due)
        cut = paging(request, len(rows), "show", size=25)
        return self._pages.render(
            "confidentiality.html",
            code,
            session=session,
            error=error,
            rows=[
                row.model_dump(mode="json")
                | {
                    "complete": row.complete,
                    "due": confidentiality.needs_person(row, now),
                }
                for row in rows[cut.offset : cut.offset + cut.size]
            ],
            show="due" if due else "all",
            paging=cut,
            given={name: given.get(name, "") for name in FIELDS},
            zone=central.config.timezone,
        )

    async def enter(self, request: Request, session: SignedOn) -> Response:
        """Enter a verified request; what is held of its plates is destroyed at once."""
        return await run_in_threadpool(self._enter, request, await request.form(), session)

    def _enter(self, request: Request, form: FormData, session: SignedOn) -> Response:
        central = self._central
        given = {name: text(form, name) for name in FIELDS}
        try:
            confidentiality.enter(
                central,
                session.person,
                plates=given["plates"].replace(",", " ").split(),
                received=instant(central, given["received"], "received"),
                verified_by=given["verified_by"],
                reference=given["reference"],
                review=instant(central, given["review"], "review") if given["review"] else None,
            )
        except AlprdError as error:
            return self._requests(request, session, given, sentence(error), 400)
        # No publication now: its time in the trail would tell of the request (ADR 0053).
        return RedirectResponse("/confidentiality", 303)

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Add or remove plates, end, review, note or confirm a store."""
        return await run_in_threadpool(self._act, request, await request.form(), session)

    def _act(self, request: Request, form: FormData, session: SignedOn) -> Response:
        central, person = self._central, session.person
        asked, said = request.path_params["asked"], text(form, "said")
        plates = text(form, "plates").replace(",", " ").split()

        def end() -> object:
            if text(form, "confirm") != "yes":
                raise InputError("tick that the participant ended it in writing")
            return confidentiality.remove(central, person, asked, said)

        def remove() -> object:
            if not plates:
                raise InputError("no plate is given", remedy="end the request instead")
            return confidentiality.remove(central, person, asked, said, plates)

        def again() -> object:
            until = instant(central, text(form, "until"), "next review")
            return confidentiality.review(central, person, asked, until, said)

        acts: dict[str, Callable[[], Any]] = {
            "add": lambda: confidentiality.add_plates(central, person, asked, plates, said),
            "remove": remove,
            "end": end,
            "review": again,
            "released": lambda: confidentiality.released_to(central, person, asked, said),
            "confirm": lambda: confidentiality.confirm(
                central, person, asked, text(form, "store"), said
            ),
        }
        chosen = text(form, "act")
        try:
            done = acts.get(chosen)
            if done is None:
                raise InputError("no such act")
            done()
        except AlprdError as error:
            return self._requests(request, session, {}, sentence(error), 400)
        return RedirectResponse("/confidentiality", 303)

    async def history(self, request: Request, session: SignedOn) -> Response:
        """Who did what with the requests."""
        rows = await run_in_threadpool(confidentiality.history, self._central, session.person)
        rows = rows[::-1]
        cut = paging(request, len(rows))
        return self._pages.render(
            "private_history.html",
            session=session,
            rows=rows[cut.offset : cut.offset + cut.size],
            paging=cut,
        )
