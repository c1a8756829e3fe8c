"""Pages of the hotlists: lists and held imports, the category map, additional entries.

Server-rendered like the others; every form carries the session's token, every act is done by the
signed-on person and refused or recorded by the function it calls.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from alprd.central.commands.cli_lists import entry_values, held_values, row_values
from alprd.central.commands.requestform import build_request
from alprd.central.hotlists import acceptance, additional, categories, gate, rejections
from alprd.central.hotlists.entry import PURPOSES, Entry
from alprd.central.hotlists.hotfiles.layouts import LAYOUTS
from alprd.central.pages import pagekit, uploadform
from alprd.central.pages.pagekit import instant, sentence, text
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage import db
from alprd.central.upkeep import jobs
from alprd.errors import AlprdError, InputError
from alprd.wire import Person

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

WORDS: Final = {
    "size": "size",
    "older": "older than the list in use",
    "expired": "past its life",
    "test_plates": "test plates missing",
    "unmapped": "codes not mapped",
}
WARRANT: Final = (
    ("warrant_court", "Court", "text"),
    ("warrant_number", "Number", "text"),
    ("warrant_issued", "Issued", "datetime-local"),
    ("warrant_expires", "Expires", "datetime-local"),
    ("warrant_scope", "Scope", "text"),
)
EXIGENCY: Final = (
    ("exigency_facts", "Facts", "text"),
    ("exigency_at", "Time", "datetime-local"),
    ("exigency_approver", "Found by (user id)", "text"),
)
_TIMES: Final = ("warrant_issued", "warrant_expires", "exigency_at")
_PATIENCE_S: Final = 1.5
"""So long a page waits for an import before it shows the progress instead."""


class ListPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/lists", guard(self.lists), methods=["GET"]),
            Route("/lists/upload", guard(self.upload), methods=["POST"]),
            Route("/lists/rejected/{report}", guard(self.rejected), methods=["GET"]),
            Route("/lists/held/{held}", guard(self.held), methods=["GET"]),
            Route("/lists/held/{held}", guard(self.decide), methods=["POST"]),
            Route("/categories", guard(self.categories), methods=["GET"]),
            Route("/categories", guard(self.map_code), methods=["POST"]),
            Route("/additional", guard(self.additional), methods=["GET"]),
            Route("/additional", guard(self.ask), methods=["POST"]),
            Route("/additional/{entry}", guard(self.act), methods=["POST"]),
        ]

    # --- lists ------------------------------------------------------------------------------

    async def lists(self, request: Request, session: SignedOn) -> Response:
        """Lists in use with age and counts, imports that wait, and the form for a file."""
        return await run_in_threadpool(self._lists, session, "", "", 200)

    def _lists(
        self, session: SignedOn, error: str, done: str, code: int, rejected: str = ""
    ) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.LISTS_SEE, now)
        policy = central.config.policy
        with central.database.read() as tx:
            table = db.lists
            chosen = (
                table.c.list_id,
                table.c.source,
                table.c.version,
                table.c.supplied_at,
                table.c.entries,
            )
            used = [
                {
                    **row._asdict(),
                    "supplied_at": row.supplied_at.isoformat(),
                    "age_h": gate.age_hours(row.supplied_at, now),
                }
                for row in tx.execute(select(*chosen).order_by(table.c.list_id))
            ]
            waiting = [gate.report(central, tx, row.id) for row in gate.waiting(tx)]
            reports = rejections.kept(central, tx)
        return self._pages.render(
            "lists.html",
            code,
            session=session,
            error=error,
            done=done,
            rejected=rejected,
            reports=[
                {**row, "made_at": row["made_at"].isoformat(), "until": row["until"].isoformat()}
                for row in reports
            ],
            layouts=sorted(LAYOUTS),
            lists=used,
            held=[held_values(central, row, held) for row, held in waiting],
            words=WORDS,
            warn_h=policy.list_warn_hours,
            stop_h=policy.list_stop_hours,
            sources=[name for name in policy.sources if name != additional.SOURCE],
            zone=central.config.timezone,
            may_change=may(session.person, Act.LISTS_WORK),
        )

    async def upload(self, request: Request, session: SignedOn) -> Response:
        """Take a file in as a job; a short one is shown at once, a long one tells how far it is."""
        form = await request.form()
        return await run_in_threadpool(self._upload, form, session)

    def _upload(self, form: FormData, session: SignedOn) -> Response:
        central, person = self._central, session.person
        try:
            sent = uploadform.receive(central, form, person)
        except AlprdError as error:
            return self._lists(session, sentence(error), "", 400)
        kind = f"import of the list {sent.list_id[:64]}"
        job = jobs.start(central, kind, people.actor(person), sent.work)
        row = jobs.wait(central, job, _PATIENCE_S)
        if row["state"] == "failed":
            return self._lists(session, f"Not done: {row['text']}.", "", 400)
        report = sent.report
        if row["state"] == "running" or report is None:
            return RedirectResponse(f"/jobs/{job}", 303)
        if report.held:
            return RedirectResponse(f"/lists/held/{report.held}", 303)
        return self._lists(session, "", uploadform.told(report), 200, report.rejected_report)

    async def rejected(self, request: Request, session: SignedOn) -> Response:
        """Every rejected line of an import, as a CSV file."""
        return await run_in_threadpool(self._rejected, session, request.path_params["report"])

    def _rejected(self, session: SignedOn, report_id: str) -> Response:
        pieces = rejections.take(self._central, session.person, report_id)
        return StreamingResponse(
            pieces,
            media_type="text/csv; charset=utf-8",
            headers={
                "content-disposition": f'attachment; filename="rejected-{report_id[:8]}.csv"',
                "cache-control": "no-store",
            },
        )

    async def held(self, request: Request, session: SignedOn) -> Response:
        """A held import with its report and the form of the decision."""
        return await run_in_threadpool(self._held, session, request.path_params["held"], "", 200)

    def _held(self, session: SignedOn, held_id: str, error: str, code: int) -> Response:
        central = self._central
        people.require(session.person, Act.LISTS_SEE, central.clock())
        with central.database.read() as tx:
            row, held = gate.report(central, tx, held_id)
            kept = rejections.is_kept(central, tx, held.rejected_report)
        return self._pages.render(
            "held.html",
            code,
            session=session,
            error=error,
            item=held_values(central, row, held),
            open=row.state in gate.OPEN,
            report=held.rejected_report if kept else "",
            words=WORDS,
            may_change=may(session.person, Act.LISTS_WORK),
        )

    async def decide(self, request: Request, session: SignedOn) -> Response:
        """Accept or refuse a held import."""
        form, held_id = await request.form(), request.path_params["held"]
        return await run_in_threadpool(self._decide, form, session, held_id)

    def _decide(self, form: FormData, session: SignedOn, held_id: str) -> Response:
        reason = text(form, "reason")
        try:
            if text(form, "decision") == "accept":
                report = acceptance.accept(self._central, session.person, held_id, reason)
                if report.held:
                    return RedirectResponse(f"/lists/held/{report.held}", 303)
            else:
                acceptance.refuse(self._central, session.person, held_id, reason)
        except AlprdError as error:
            return self._held(session, held_id, sentence(error), 400)
        return RedirectResponse("/lists", 303)

    # --- categories -------------------------------------------------------------------------

    async def categories(self, request: Request, session: SignedOn) -> Response:
        """The category map, and the form of one row."""
        source, code = (request.query_params.get(name, "")[:64] for name in ("source", "code"))
        return await run_in_threadpool(self._categories, session, source, code, "", 200)

    def _categories(
        self, session: SignedOn, source: str, code: str, error: str, status: int
    ) -> Response:
        people.require(session.person, Act.LISTS_SEE, self._central.clock())
        with self._central.database.read() as tx:
            own = [row_values(row) for row in categories.agency_rows(tx)]
        shipped = [row_values(row) for row in categories.shipped()]
        return self._pages.render(
            "categories.html",
            status,
            session=session,
            error=error,
            source=source,
            code=code,
            groups=[("Set by this agency", own), ("Shipped", shipped)],
            columns=categories.MAPPABLE,
            priorities=categories.PRIORITIES,
            may_change=may(session.person, Act.CATEGORY_MAP),
        )

    async def map_code(self, request: Request, session: SignedOn) -> Response:
        """Set one row of the map."""
        form = await request.form()
        return await run_in_threadpool(self._map_code, form, session)

    def _map_code(self, form: FormData, session: SignedOn) -> Response:
        source, code = text(form, "source"), text(form, "code")
        try:
            column = next((c for c in categories.COLUMNS if c == text(form, "column")), None)
            priority = next((p for p in categories.PRIORITIES if p == text(form, "priority")), None)
            if column is None or priority is None:
                raise InputError("column or priority is missing")
            mapping = categories.Mapping(column, priority, text(form, "restricted") == "yes")
            categories.set_row(self._central, session.person, source, code, mapping)
        except AlprdError as error:
            return self._categories(session, source, code, sentence(error), 400)
        return RedirectResponse("/categories", 303)

    # --- additional entries -----------------------------------------------------------------

    async def additional(self, request: Request, session: SignedOn) -> Response:
        """The register as far as the person may see it, and the form of a request."""
        return await run_in_threadpool(self._additional, session, {}, "", 200)

    def _additional(
        self, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        central, person = self._central, session.person
        now = central.clock()
        found = [
            entry_values(entry, now) | {"acts": _acts(entry, person, now)}
            for entry in additional.register(central, person)
        ]
        settings = central.config.additional
        return self._pages.render(
            "additional.html",
            code,
            session=session,
            error=error,
            entries=found,
            whole=may(person, Act.ENTRY_REGISTER),
            may_ask=may(person, Act.ENTRY_ASK),
            given=defaultdict(str, given or {"state": "MN"}),
            purposes=PURPOSES,
            warrant=WARRANT,
            exigency=EXIGENCY,
            default_days=settings.default_days,
            longest_days=settings.longest_days,
            zone=central.config.timezone,
        )

    async def ask(self, request: Request, session: SignedOn) -> Response:
        """Enter a request."""
        form = await request.form()
        return await run_in_threadpool(self._ask, form, session)

    def _ask(self, form: FormData, session: SignedOn) -> Response:
        given = {name: text(form, name) for name in form if name != "csrf"}
        try:
            if not given.get("days", "").isdecimal():
                raise InputError("days: not a number")
            fields = dict(given)
            starts = self._central.clock()
            fields["starts"] = starts.isoformat()
            fields["ends"] = (starts + timedelta(days=int(given["days"][:4]))).isoformat()
            for name in _TIMES:
                if fields.get(name):
                    value = instant(self._central, fields[name], name.replace("_", " "))
                    fields[name] = value.isoformat()
            additional.ask(self._central, session.person, build_request(self._central, fields))
        except AlprdError as error:
            return self._additional(session, given, sentence(error), 400)
        return RedirectResponse("/additional", 303)

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Approve, refuse, revoke or review an entry."""
        form, entry_id = await request.form(), request.path_params["entry"]
        return await run_in_threadpool(self._act, form, session, entry_id)

    def _act(self, form: FormData, session: SignedOn, entry_id: str) -> Response:
        acts = {
            "approve": additional.approve,
            "refuse": additional.refuse,
            "revoke": additional.revoke,
            "review": additional.review,
        }
        try:
            act = acts.get(text(form, "act"))
            if act is None:
                raise InputError("no such act")
            act(self._central, session.person, entry_id, text(form, "reason"))
        except AlprdError as error:
            return self._additional(session, {}, sentence(error), 400)
        return RedirectResponse("/additional", 303)


def _acts(entry: Entry, person: Person, now: datetime) -> list[str]:
    """What the person may do with an entry now."""
    stands, own = entry.stands(now), entry.requested_by == person.id
    acts = []
    if stands == "requested" and may(person, Act.ENTRY_APPROVE):
        acts += ["refuse"] if own else ["approve", "refuse"]
    if stands in {"requested", "approved", "in force"} and (own or may(person, Act.ENTRY_APPROVE)):
        acts.append("revoke")
    if entry.review_due(now) and not own and may(person, Act.ENTRY_REVIEW):
        acts.append("review")
    return acts
