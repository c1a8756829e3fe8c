"""Pages of exculpatory holds, and of the retention schedule.

A hold works from the day its written request was received, for what is stored, what arrives and
what is still in cars (R-460.5-a). The written request is kept sealed and handed out as a file.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import Paging, instant, paging, sentence, text
from alprd.central.pages.pages_links import chosen, show_reads
from alprd.central.records import exemptions, holds, registers, schedule
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_FIELDS: Final = ("requester", "number", "received", "statement", "plates", "since", "until")


class HoldPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/holds", guard(self.holds), methods=["GET"]),
            Route("/holds", guard(self.place), methods=["POST"]),
            Route("/holds/{hold}", guard(self.hold), methods=["GET"]),
            Route("/holds/{hold}", guard(self.act), methods=["POST"]),
            Route("/holds/{hold}/reads", guard(self.reads), methods=["GET"]),
            Route("/holds/{hold}/request", guard(self.request), methods=["GET"]),
            Route("/schedule", guard(self.schedule), methods=["GET"]),
            Route("/schedule", guard(self.put), methods=["POST"]),
        ]

    async def holds(self, request: Request, session: SignedOn) -> Response:
        """The register, cut into pages, and the form of a hold."""
        show = chosen(request)
        total = await run_in_threadpool(
            registers.total, self._central, session.person, "hold", show
        )
        cut = paging(request, total, "show")
        return await run_in_threadpool(self._holds, session, show, cut, {}, "", 200)

    def _holds(
        self,
        session: SignedOn,
        show: str,
        cut: Paging,
        given: dict[str, str],
        error: str,
        code: int,
    ) -> Response:
        central, now = self._central, self._central.clock()
        rows = registers.page(central, session.person, "hold", show, cut.offset, cut.size)
        return self._pages.render(
            "holds.html",
            code,
            session=session,
            error=error,
            rows=[registers.values(row, now) for row in rows],
            shows=[one for one in registers.SHOWS if one[0] not in ("waiting", "due")],
            show=show,
            paging=cut,
            may_place=may(session.person, Act.HOLD_PLACE),
            given={name: given.get(name, "") for name in _FIELDS},
            zone=central.config.timezone,
            longest_days=holds.LONGEST_WINDOW.days,
        )

    async def place(self, request: Request, session: SignedOn) -> Response:
        """Place a hold; the written request comes with it."""
        form = await request.form()
        file, written = form.get("request"), b""
        if isinstance(file, UploadFile):
            written = await file.read(holds.MAX_REQUEST + 1)
        return await run_in_threadpool(self._place, form, session, written)

    def _place(self, form: FormData, session: SignedOn, written: bytes) -> Response:
        central = self._central
        given = {name: text(form, name) for name in _FIELDS}

        def when(name: str) -> datetime:
            return instant(central, given[name], name)

        try:
            asked = holds.Asked(
                requester=given["requester"],
                received=when("received"),
                number=given["number"],
                statement=given["statement"],
                plates=tuple(given["plates"].replace(",", " ").split()),
                since=when("since"),
                until=when("until"),
                request=written,
            )
            made, _ = holds.place(central, session.person, asked)
        except AlprdError as error:
            total = registers.total(central, session.person, "hold", "live")
            return self._holds(session, "live", Paging(1, total), given, sentence(error), 400)
        return RedirectResponse(f"/holds/{made.id}", 303)

    async def hold(self, request: Request, session: SignedOn) -> Response:
        """One hold with what it keeps and what it waits for."""
        return await run_in_threadpool(self._hold, session, request.path_params["hold"], "", 200)

    def _hold(self, session: SignedOn, hold: str, error: str, code: int) -> Response:
        central, person = self._central, session.person
        row = registers.one(central, person, hold, "hold")
        works = may(person, Act.HOLD_PLACE)
        return self._pages.render(
            "hold.html",
            code,
            session=session,
            error=error,
            hold=registers.values(row, central.clock()),
            may_work=works and row.state == "active",
            may_see=works,
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Say that every car has uploaded, or release the hold."""
        form, hold = await request.form(), request.path_params["hold"]
        return await run_in_threadpool(self._act, form, session, hold)

    def _act(self, form: FormData, session: SignedOn, hold: str) -> Response:
        try:
            chosen_act = text(form, "act")
            if chosen_act == "collected":
                holds.collected(self._central, session.person, hold)
            elif chosen_act == "release":
                if text(form, "confirm") != "yes":
                    raise InputError("tick that the reads may be destroyed")
                holds.release(self._central, session.person, hold, text(form, "reason"))
            else:
                raise InputError("no such act")
        except AlprdError as error:
            return self._hold(session, hold, sentence(error), 400)
        return RedirectResponse(f"/holds/{hold}", 303)

    async def reads(self, request: Request, session: SignedOn) -> Response:
        """The reads that a hold keeps; the look is recorded."""
        row, kept = await run_in_threadpool(
            exemptions.open_reads,
            self._central,
            session.person,
            request.path_params["hold"],
            "hold",
        )
        return show_reads(self._pages, request, session, row, kept, "Hold", "holds")

    async def request(self, request: Request, session: SignedOn) -> Response:
        """The written request as a file, never shown inside a page; the look is recorded."""
        hold = request.path_params["hold"]
        written = await run_in_threadpool(
            holds.written_request, self._central, session.person, hold
        )
        return Response(
            written,
            media_type="application/octet-stream",
            headers={"content-disposition": 'attachment; filename="written-request.bin"'},
        )

    # --- the retention schedule ---------------------------------------------------------------

    async def schedule(self, request: Request, session: SignedOn) -> Response:
        """Every record type with its item, or with none: kept."""
        return await run_in_threadpool(self._schedule, session, "", 200)

    def _schedule(self, session: SignedOn, error: str, code: int) -> Response:
        people.require(session.person, Act.EXEMPTIONS_SEE, self._central.clock())
        return self._pages.render(
            "schedule.html",
            code,
            session=session,
            error=error,
            rows=schedule.table(self._central),
            may_set=may(session.person, Act.SCHEDULE_SET),
        )

    async def put(self, request: Request, session: SignedOn) -> Response:
        """Set the item of one record type."""
        return await run_in_threadpool(self._put, await request.form(), session)

    def _put(self, form: FormData, session: SignedOn) -> Response:
        days = text(form, "days")
        try:
            if not (days.isascii() and days.isdecimal() and len(days) < 9):
                raise InputError("days: not a number")
            schedule.put(
                self._central, session.person, text(form, "type"), text(form, "citation"), int(days)
            )
        except AlprdError as error:
            return self._schedule(session, sentence(error), 400)
        return RedirectResponse("/schedule", 303)
