"""Pages of the breach file and of the daily compliance reports."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from alprd.central.oversight import breach, breachlist, compliance, figurecharts, incident
from alprd.central.oversight.incident import Elements, Incident
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import instant, sentence, text
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

QUESTIONS: Final = {
    "acquired": "Somebody without authority obtained, accessed or viewed the data, or one of our "
    "own did for a purpose outside the written procedures",
    "not_public": "The data are not public, and we (or a contractor for us) hold them",
    "compromised": "Their security and classification are compromised",
    "good_faith": "It was one of our own, in good faith and for our purposes, and it went no "
    "further",
}
_MARKS: Final = {
    "open": "suspended", "breach": "revoked", "notified": "suspended", "no_breach": "enrolled",
    "closed": "enrolled",
}  # fmt: skip
_OPEN: Final = ("kind", "what", "discovered")


class OversightPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/incidents", guard(self.incidents), methods=["GET"]),
            Route("/incidents", guard(self.begin), methods=["POST"]),
            Route("/incidents/{incident}", guard(self.incident), methods=["GET"]),
            Route("/incidents/{incident}", guard(self.act), methods=["POST"]),
            Route("/incidents/{incident}/plates", guard(self.plates), methods=["GET"]),
            Route("/incidents/{incident}/report", guard(self.report), methods=["GET"]),
            Route("/compliance", guard(self.compliance), methods=["GET"]),
            Route("/compliance", guard(self.sign), methods=["POST"]),
        ]

    # --- the breach file --------------------------------------------------------------------

    async def incidents(self, request: Request, session: SignedOn) -> Response:
        """The file, and the form of an incident."""
        return await run_in_threadpool(self._incidents, session, {}, "", 200)

    def _incidents(
        self, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        return self._pages.render(
            "incidents.html",
            code,
            session=session,
            error=error,
            rows=[_values(row) for row in breach.register(self._central, session.person)],
            kinds=incident.KINDS,
            given={name: given.get(name, "") for name in _OPEN},
            may_work=may(session.person, Act.INCIDENT_WORK),
            zone=self._central.config.timezone,
        )

    async def begin(self, request: Request, session: SignedOn) -> Response:
        """Begin an incident."""
        form = await request.form()
        return await run_in_threadpool(self._begin, form, session)

    def _begin(self, form: FormData, session: SignedOn) -> Response:
        given = {name: text(form, name) for name in _OPEN}
        try:
            row = breach.open_incident(
                self._central,
                session.person,
                given["kind"],  # type: ignore[arg-type]  # checked there
                given["what"],
                instant(self._central, given["discovered"], "discovered"),
            )
        except AlprdError as error:
            return self._incidents(session, given, sentence(error), 400)
        return RedirectResponse(f"/incidents/{row.id}", 303)

    async def incident(self, request: Request, session: SignedOn) -> Response:
        """One incident with its checklist and texts."""
        return await run_in_threadpool(
            self._incident, request.path_params["incident"], session, "", 200
        )

    def _incident(self, name: str, session: SignedOn, error: str, code: int) -> Response:
        central, person = self._central, session.person
        row = breach.one(central, person, name)
        return self._pages.render(
            "incident.html",
            code,
            session=session,
            error=error,
            row=_values(row),
            questions=QUESTIONS,
            checklist=[(item, words, item not in row.undone()) for item, words in row.checklist()],
            notice=incident.notice_text(central.config.agency_name, row, "(contact)", None),
            may_work=row.state != "closed" and may(person, Act.INCIDENT_WORK),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Count, decide, delay, notify, mark, dispose or close."""
        form = await request.form()
        return await run_in_threadpool(self._act, request.path_params["incident"], form, session)

    def _act(self, name: str, form: FormData, session: SignedOn) -> Response:
        try:
            self._do(name, form, session)
        except AlprdError as error:
            return self._incident(name, session, sentence(error), 400)
        return RedirectResponse(f"/incidents/{name}", 303)

    def _do(self, name: str, form: FormData, session: SignedOn) -> None:
        central, person, reason = self._central, session.person, text(form, "reason")
        match text(form, "act"):
            case "count":
                breachlist.affected(
                    central,
                    person,
                    name,
                    instant(central, text(form, "since"), "since"),
                    instant(central, text(form, "until"), "until"),
                    actor=text(form, "person"),
                )
            case "decide":
                answers = {key: text(form, key) == "yes" for key in QUESTIONS}
                breach.decide(central, person, name, Elements(**answers), reason)
            case "delay":
                review = instant(central, text(form, "review"), "review")
                breach.delay(central, person, name, reason, review)
            case "notified":
                told = text(form, "people")
                number = int(told) if told.isascii() and told.isdecimal() and len(told) < 8 else 0
                breach.notified(central, person, name, number, text(form, "how"))
            case "mark":
                breach.mark(central, person, name, text(form, "step"), text(form, "reference"))
            case "dispose":
                breach.dispose(
                    central,
                    person,
                    name,
                    text(form, "results"),
                    text(form, "disposition"),
                    tuple(text(form, "responsible").split(",")),
                )
            case "close":
                breach.close(central, person, name, reason)
            case _:
                raise InputError("this is nothing that can be done with an incident")

    async def plates(self, request: Request, session: SignedOn) -> Response:
        """The plates whose owners are to be told; recorded."""
        name = request.path_params["incident"]
        return await run_in_threadpool(self._plates, name, session)

    def _plates(self, name: str, session: SignedOn) -> Response:
        rows = breachlist.plates(self._central, session.person, name)
        return self._pages.render("incident_plates.html", session=session, incident=name, rows=rows)

    async def report(self, request: Request, session: SignedOn) -> Response:
        """The report for affected people, as text."""
        name = request.path_params["incident"]
        words = await run_in_threadpool(breach.report, self._central, session.person, name)
        return PlainTextResponse(words)

    # --- compliance -------------------------------------------------------------------------

    async def compliance(self, request: Request, session: SignedOn) -> Response:
        """The daily reports with their signatures, and the register of audits."""
        return await run_in_threadpool(self._compliance, session, "", 200)

    def _compliance(self, session: SignedOn, error: str, code: int) -> Response:
        central = self._central
        rows = compliance.reports(central, session.person)
        with central.database.read() as tx:
            charts = figurecharts.figures(tx, rows)
        return self._pages.render(
            "compliance.html",
            code,
            session=session,
            error=error,
            rows=[row.model_dump(mode="json") for row in rows],
            charts=charts,
            may_sign=may(session.person, Act.COMPLIANCE_SIGN),
        )

    async def sign(self, request: Request, session: SignedOn) -> Response:
        """Sign a report."""
        form = await request.form()
        return await run_in_threadpool(self._sign, form, session)

    def _sign(self, form: FormData, session: SignedOn) -> Response:
        try:
            compliance.sign(self._central, session.person, text(form, "day"), text(form, "note"))
        except AlprdError as error:
            return self._compliance(session, sentence(error), 400)
        return RedirectResponse("/compliance", 303)


def _values(row: Incident) -> dict[str, Any]:
    values = row.model_dump(mode="json")
    told = row.state.replace("_", " ")
    return {**values, "mark": _MARKS[row.state], "name": incident.KINDS[row.kind], "told": told}
