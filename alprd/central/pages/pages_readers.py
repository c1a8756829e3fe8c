"""Pages of the register of readers and the notices to the BCA (R-460.4.1-d, -d2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import instant, sentence, text
from alprd.central.public import bcanotices, noticedoc, readers
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage.audit import Event
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_MARKS = {"sent": "enrolled", "sent late": "suspended", "due": "suspended", "overdue": "revoked"}


class ReaderPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/readers", guard(self.register), methods=["GET"]),
            Route("/readers", guard(self.act), methods=["POST"]),
            Route("/readers/document", guard(self.document), methods=["GET"]),
            Route("/readers/receipts/{notice}", guard(self.receipt), methods=["GET"]),
        ]

    async def register(self, request: Request, session: SignedOn) -> Response:
        """Every device, every notice owed or sent, the published entry, and the forms."""
        return await run_in_threadpool(self._register, session, "", 200)

    def _register(self, session: SignedOn, error: str, code: int) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.READERS_SEE, now)
        today = readers.today(central)
        with central.database.write() as tx:
            readers.ensure_all(central, tx)
            duties = bcanotices.duties(central, tx)
            register = readers.register(tx)
            entry, checks = bcanotices.published_text(central, tx), bcanotices.checks(tx)
            central.trail.record(tx, Event.READERS_VIEWED, people.actor(session.person), at=now)
        told: list[dict[str, Any]] = []
        for duty in duties:
            state = duty.state(today, bcanotices.sent_day(central, duty))
            left = (duty.due - today).days
            told.append({"duty": duty, "state": state, "mark": _MARKS[state], "left": left})
        return self._pages.render(
            "readers.html",
            code,
            session=session,
            error=error,
            register=register,
            kinds=readers.KINDS,
            notices=sorted(told, key=lambda one: one["duty"].notice is not None),
            owed=[one["duty"] for one in told if one["duty"].notice is None],
            entry=entry,
            checks=checks,
            how=bcanotices.HOW,
            may_keep=may(session.person, Act.READERS_KEEP),
            today=today.isoformat(),
            now=now.astimezone(central.config.zone()).strftime("%Y-%m-%dT%H:%M"),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Do what a form of the page asks for."""
        form = await request.form()
        file, receipt = form.get("receipt"), b""
        if isinstance(file, UploadFile) and file.filename:
            receipt = await file.read(bcanotices.MAX_RECEIPT + 1)
        return await run_in_threadpool(self._act, form, session, receipt)

    def _act(self, form: FormData, session: SignedOn, receipt: bytes) -> Response:
        acts: dict[str, Callable[[FormData, SignedOn], object]] = {
            "add": self._add,
            "day": self._day,
            "sent": partial(self._sent, receipt),
            "check": self._check,
        }
        try:
            done = acts.get(text(form, "act"))
            if done is None:
                raise InputError("no such act")
            done(form, session)
        except AlprdError as error:
            return self._register(session, sentence(error), 400)
        return RedirectResponse("/readers", 303)

    def _add(self, form: FormData, session: SignedOn) -> None:
        readers.add(
            self._central,
            session.person,
            device=text(form, "device"),
            kind=text(form, "kind"),
            what=text(form, "what"),
            day=text(form, "day"),
        )

    def _day(self, form: FormData, session: SignedOn) -> None:
        device, which, day = text(form, "device"), text(form, "which"), text(form, "day")
        readers.set_day(self._central, session.person, device, which, day)

    def _sent(self, receipt: bytes, form: FormData, session: SignedOn) -> None:
        device, _, entry = text(form, "duty").partition("/")
        bcanotices.record(
            self._central,
            session.person,
            device=device,
            entry=entry,
            sent_at=instant(self._central, text(form, "at"), "sent at"),
            sent_by=text(form, "sent_by"),
            how=text(form, "how"),
            reference=text(form, "reference"),
            receipt=receipt,
        )

    def _check(self, form: FormData, session: SignedOn) -> None:
        bcanotices.check(self._central, session.person, text(form, "published"), text(form, "note"))

    async def document(self, request: Request, session: SignedOn) -> Response:
        """The notice of one duty as PDF or text, ready to be sent."""
        query = request.query_params
        device, entry = query.get("device", ""), query.get("entry", "")
        return await run_in_threadpool(self._document, session, device, entry, query.get("as", ""))

    def _document(self, session: SignedOn, device: str, entry: str, form: str) -> Response:
        central = self._central
        people.require(session.person, Act.READERS_SEE, central.clock())
        with central.database.read() as tx:
            found = [d for d in bcanotices.duties(central, tx, device) if d.entry == entry]
        if not found:
            raise InputError("no such notice is owed")
        name, today = central.config.agency_name, readers.today(central)
        if form == "text":
            return PlainTextResponse(noticedoc.as_text(name, found[0], today))
        file = f"bca-notice-{device}{'-place' if entry else ''}.pdf"
        return Response(
            noticedoc.as_pdf(name, found[0], today),
            media_type="application/pdf",
            headers={"content-disposition": f'attachment; filename="{file}"'},
        )

    async def receipt(self, request: Request, session: SignedOn) -> Response:
        """The proof of sending as it was attached; recorded."""
        notice = request.path_params["notice"]
        data = await run_in_threadpool(bcanotices.receipt, self._central, session.person, notice)
        return Response(
            data,
            media_type="application/octet-stream",
            headers={"content-disposition": f'attachment; filename="receipt-{notice}"'},
        )
