"""Pages of the audit trail: search, verify, typed terms, export; weekly reports; monthly sample."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.oversight import quality, weekly
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import instant, sentence, text
from alprd.central.staff.permissions import Act, may
from alprd.central.storage.audit import Event
from alprd.central.trail import trailcheck, trailview
from alprd.central.trail.trailview import Filter
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_FIELDS: Final = ("person", "event", "since", "until", "record", "cars")
_SHOWN: Final = 50
"""Events of a page."""
_HIDDEN: Final = ("terms", "terms_key")


class TrailPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/trail", guard(self.trail), methods=["GET"]),
            Route("/trail/verify", guard(self.verify), methods=["POST"]),
            Route("/trail/export", guard(self.export), methods=["POST"]),
            Route("/trail/{seq}/term", guard(self.term), methods=["POST"]),
            Route("/reports", guard(self.reports), methods=["GET"]),
            Route("/reports/{week}", guard(self.sign), methods=["POST"]),
            Route("/reasons", guard(self.reasons), methods=["GET"]),
            Route("/reasons/{seq}", guard(self.judge), methods=["POST"]),
        ]

    async def trail(self, request: Request, session: SignedOn) -> Response:
        """Events that fit the filter, newest first; the look is an event itself."""
        given = {name: request.query_params.get(name, "")[:200].strip() for name in _FIELDS}
        after = request.query_params.get("after", "")[:100]
        return await run_in_threadpool(self._trail, session, given, after)

    def _filter(self, given: dict[str, str]) -> Filter:
        def when(name: str, more: timedelta) -> datetime | None:
            if not given[name]:
                return None
            return instant(self._central, given[name], name) + more

        return Filter(
            person=given["person"],
            event=given["event"],
            since=when("since", timedelta(0)),
            until=when("until", timedelta(days=1)),
            record=given["record"],
            cars=given["cars"] == "yes",
        )

    def _trail(
        self,
        session: SignedOn,
        given: dict[str, str],
        after: str = "",
        **more: Any,
    ) -> Response:
        error, found = more.get("error", ""), trailview.Look([], "", None)
        try:
            wanted = self._filter(given)
            found = trailview.search(
                self._central, session.person, wanted, after=after, most=_SHOWN
            )
        except InputError as wrong:
            error = sentence(wrong)
        keep = [(name, value) for name, value in given.items() if value]
        return self._pages.render(
            "trail.html",
            400 if error else 200,
            session=session,
            error=error,
            check=more.get("check"),
            term=more.get("term"),
            given=given,
            rows=[_line(line) for line in found.lines],
            newest=not after,
            after=found.after,
            back=found.looked_back_to.isoformat() if found.looked_back_to else "",
            keep=keep,
            events=sorted({event.value.partition(".")[0] for event in Event}),
            may_terms=may(session.person, Act.TRAIL_TERMS),
            zone=self._central.config.timezone,
        )

    async def verify(self, request: Request, session: SignedOn) -> Response:
        """Check every chain against its head and the anchors; recorded."""
        result = await run_in_threadpool(trailcheck.checked, self._central, session.person)
        given = dict.fromkeys(_FIELDS, "")
        return await run_in_threadpool(self._trail, session, given, check=result.as_json())

    async def term(self, request: Request, session: SignedOn) -> Response:
        """Open a typed term of one event, shown once; opening it is an event itself."""
        return await run_in_threadpool(self._term, _number(request, "seq"), session)

    def _term(self, seq: int, session: SignedOn) -> Response:
        given = dict.fromkeys(_FIELDS, "")
        try:
            opened = trailview.terms(self._central, session.person, seq)
        except AlprdError as error:
            return self._trail(session, given, error=sentence(error))
        return self._trail(session, given, term={"seq": seq, "text": opened})

    async def export(self, request: Request, session: SignedOn) -> Response:
        """Every event that fits, as CSV; its SHA-256 stands in the trail."""
        return await run_in_threadpool(self._export, await request.form(), session)

    def _export(self, form: FormData, session: SignedOn) -> Response:
        given = {name: text(form, name)[:200] for name in _FIELDS}
        # Beside the store, so that what it holds lies on no other disk.
        with tempfile.TemporaryDirectory(dir=self._central.home, prefix=".export-") as folder:
            file = Path(folder) / "trail.csv"
            try:
                trailview.export(self._central, session.person, self._filter(given), file)
            except InputError as error:
                return self._trail(session, given, error=sentence(error))
            data = file.read_bytes()
        return Response(
            data,
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="alpr-trail.csv"'},
        )

    # --- weekly reports, monthly sample -------------------------------------------------------

    async def reports(self, request: Request, session: SignedOn) -> Response:
        """The weekly exception reports with their sign-off."""
        return await run_in_threadpool(self._reports, session, "", 200)

    def _reports(self, session: SignedOn, error: str, code: int) -> Response:
        found = weekly.reports(self._central, session.person)
        own = session.person.id
        return self._pages.render(
            "reports.html",
            code,
            session=session,
            error=error,
            kinds=weekly.KINDS,
            reports=[
                made.model_dump(mode="json")
                | {"own": any(one.person == own for one in made.report.findings)}
                for made in found[:52]
            ],
        )

    async def sign(self, request: Request, session: SignedOn) -> Response:
        """Sign a report off."""
        form, week = await request.form(), request.path_params["week"]
        return await run_in_threadpool(self._sign, form, session, week)

    def _sign(self, form: FormData, session: SignedOn, week: str) -> Response:
        try:
            weekly.sign(self._central, session.person, week, text(form, "note"))
        except AlprdError as error:
            return self._reports(session, sentence(error), 400)
        return RedirectResponse("/reports", 303)

    async def reasons(self, request: Request, session: SignedOn) -> Response:
        """The drawn searches of a month with their reasons; last month by default."""
        last = self._central.clock().astimezone(self._central.config.zone()).replace(day=1)
        month = request.query_params.get("month", f"{last - timedelta(days=1):%Y-%m}")[:10]
        return await run_in_threadpool(self._reasons, session, month, "", 200)

    def _reasons(self, session: SignedOn, month: str, error: str, code: int) -> Response:
        found: list[dict[str, Any]] = []
        try:
            found = quality.sample(self._central, session.person, month)
        except InputError as wrong:
            error, code = sentence(wrong), 400
        return self._pages.render(
            "reasons.html", code, session=session, error=error, month=month, rows=found
        )

    async def judge(self, request: Request, session: SignedOn) -> Response:
        """Say whether the reason of a drawn search is good."""
        form, seq = await request.form(), _number(request, "seq")
        return await run_in_threadpool(self._judge, form, session, seq)

    def _judge(self, form: FormData, session: SignedOn, seq: int) -> Response:
        month = text(form, "month")[:10]
        finding: Literal["good", "poor"] = "good" if text(form, "finding") == "good" else "poor"
        try:
            quality.judge(self._central, session.person, seq, finding, text(form, "note"))
        except AlprdError as error:
            return self._reasons(session, month, sentence(error), 400)
        return RedirectResponse(f"/reasons?month={month}" if month else "/reasons", 303)


def _line(line: trailview.Line) -> dict[str, Any]:
    event = line.event
    detail = {k: v for k, v in event.detail.items() if k not in _HIDDEN}
    return {
        "chain": line.chain,
        "seq": event.seq,
        "at": event.at.isoformat(),
        "event": event.event,
        "actor": event.actor,
        "actor_name": event.actor_name,
        "role": event.role,
        "subjects": event.subjects,
        "detail": detail,
        "terms": line.terms,
    }


def _number(request: Request, name: str) -> int:
    typed = request.path_params[name]
    if not (typed.isascii() and typed.isdecimal() and len(typed) < 12):
        raise InputError("there is no such event")
    return int(typed)
