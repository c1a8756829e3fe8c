"""Page of what the public log leaves unnamed and the public trail withholds (R-AT-5, T-7, T-15)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import instant, sentence, text
from alprd.central.public import publictrail, redactions, sources
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_ACTS = (Act.SOURCE_HIDE, Act.REDACTION_SET, Act.TRAIL_PUBLIC)


class OpennessPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/openness", guard(self.openness), methods=["GET"]),
            Route("/openness", guard(self.act), methods=["POST"]),
            Route("/openness/fields.csv", guard(self.fields), methods=["GET"]),
        ]

    async def openness(self, request: Request, session: SignedOn) -> Response:
        """Flagged sources, the fields of the trail, and the forms the role allows."""
        return await run_in_threadpool(self._openness, session, "", 200)

    def _openness(self, session: SignedOn, error: str, code: int) -> Response:
        central = self._central
        people.require(session.person, _ACTS[0], central.clock(), *_ACTS[1:])
        with central.database.read() as tx:
            fields = list(redactions.in_force(tx).values())
            cases = len(redactions.protected(tx))
        flagged = [row for row in sources.listing(central) if row["lifted_at"] is None]
        return self._pages.render(
            "openness.html",
            code,
            session=session,
            error=error,
            fields=fields,
            cases=cases,
            flagged=flagged if may(session.person, Act.SOURCE_HIDE) else [],
            may_hide=may(session.person, Act.SOURCE_HIDE),
            may_redact=may(session.person, Act.REDACTION_SET),
            may_export=may(session.person, Act.TRAIL_PUBLIC),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Do what a form of the page asks for."""
        form = await request.form()
        return await run_in_threadpool(self._act, form, session)

    def _act(self, form: FormData, session: SignedOn) -> Response:
        acts: dict[str, Callable[[FormData, SignedOn], Response | None]] = {
            "hide": self._hide,
            "show": self._show,
            "redact": self._redact,
            "protect": self._protect,
            "unprotect": self._unprotect,
            "export": self._export,
        }
        try:
            # A form's second button sends its own act after the hidden one.
            done = acts.get(str(form.getlist("act")[-1]) if form.getlist("act") else "")
            if done is None:
                raise InputError("no such act")
            answer = done(form, session)
        except AlprdError as error:
            return self._openness(session, sentence(error), 400)
        return answer or RedirectResponse("/openness", 303)

    def _hide(self, form: FormData, session: SignedOn) -> None:
        source, citation = text(form, "source"), text(form, "citation")
        sources.flag(self._central, session.person, source, citation)

    def _show(self, form: FormData, session: SignedOn) -> None:
        sources.lift(self._central, session.person, text(form, "source"))

    def _redact(self, form: FormData, session: SignedOn) -> None:
        redactions.put(
            self._central,
            session.person,
            text(form, "field"),
            text(form, "treatment"),
            text(form, "citation"),
            text(form, "reason"),
        )

    def _protect(self, form: FormData, session: SignedOn) -> None:
        case, citation = text(form, "case"), text(form, "citation")
        redactions.protect(self._central, session.person, case, citation)

    def _unprotect(self, form: FormData, session: SignedOn) -> None:
        redactions.unprotect(self._central, session.person, text(form, "case"))

    def _export(self, form: FormData, session: SignedOn) -> Response:
        data = publictrail.download(
            self._central,
            session.person,
            instant(self._central, text(form, "since"), "from"),
            instant(self._central, text(form, "until"), "to"),
        )
        return Response(
            data,
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="alpr-public-trail.csv"'},
        )

    async def fields(self, request: Request, session: SignedOn) -> Response:
        """The classification table as CSV."""
        return await run_in_threadpool(self._fields)

    def _fields(self) -> Response:
        with self._central.database.read() as tx:
            data = publictrail.classification(redactions.in_force(tx))
        return Response(
            data,
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="alpr-trail-fields.csv"'},
        )
