"""Pages of the biennial audit and of the yearly security assessments (460.6(c), § 13.055 subd. 6).

Due dates, the register with results and reports, the package (built as long work, checked, fetched
by its builder), and samples, which only an auditor draws.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd import crypto
from alprd.central.oversight import assessments, auditfiles, audits, samples
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import download, instant, sentence, text, upload
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.upkeep import jobs
from alprd.central.upkeep.jobs import Outcome, Report
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_ENTER: Final = ("auditor_name", "reference", "since", "until", "completed")


class AuditPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/audits", guard(self.audits), methods=["GET"]),
            Route("/audits", guard(self.act), methods=["POST"]),
            Route("/audits/package", guard(self.package), methods=["POST"]),
            Route("/audits/package/{package}", guard(self.take), methods=["GET"]),
            Route("/audits/sample", guard(self.sample), methods=["POST"]),
            Route("/audits/{audit}/results", guard(self.results), methods=["GET"]),
            Route("/assessments", guard(self.assessments), methods=["GET"]),
            Route("/assessments", guard(self.assess), methods=["POST"]),
            Route("/assessments/{assessment}", guard(self.paper), methods=["GET"]),
        ]

    # --- the biennial audit -----------------------------------------------------------------

    async def audits(self, request: Request, session: SignedOn) -> Response:
        """The register, what is due, and the forms."""
        return await run_in_threadpool(self._audits, session, {}, "", 200)

    def _audits(
        self,
        session: SignedOn,
        given: dict[str, str],
        error: str,
        code: int,
        drawn: samples.Sample | None = None,
    ) -> Response:
        central, person = self._central, session.person
        with central.database.read() as tx:
            done, due = audits.every(tx), audits.next_due(tx)
        today = central.clock().astimezone(central.config.zone()).date()
        return self._pages.render(
            "audits.html",
            code,
            session=session,
            error=error,
            rows=[
                {**row.model_dump(mode="json"), "due": row.report_due,
                 "late": row.reported is None and row.report_due < today}
                for row in reversed(done)
            ],
            due=due,
            overdue=due is not None and due < today,
            recipients=audits.RECIPIENTS,
            given={name: given.get(name, "") for name in _ENTER},
            kinds=samples.KINDS,
            most=samples.MOST,
            drawn=drawn,
            key=crypto.public_bytes(central.receipt_key()).hex(),
            may_keep=may(person, Act.AUDIT_KEEP),
            may_package=may(person, Act.AUDIT_PACKAGE),
            may_sample=may(person, Act.AUDIT_SAMPLE),
        )  # fmt: skip

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Enter a completed audit, or record that its report went out."""
        form = await request.form()
        paper = await upload(form, "results")
        return await run_in_threadpool(self._act, form, session, paper)

    def _act(self, form: FormData, session: SignedOn, paper: bytes) -> Response:
        central, person = self._central, session.person
        given = {name: text(form, name) for name in _ENTER}
        try:
            match text(form, "act"):
                case "enter":
                    audits.enter(
                        central,
                        person,
                        given["auditor_name"],
                        _day(given["since"], "from"),
                        _day(given["until"], "to"),
                        _day(given["completed"], "completed"),
                        paper,
                        given["reference"],
                    )
                case "reported":
                    day = _day(text(form, "day"), "day")
                    audits.reported(central, person, text(form, "audit"), day, text(form, "to"))
                case _:
                    raise InputError("this is nothing that can be done with an audit")
        except AlprdError as error:
            return self._audits(session, given, sentence(error), 400)
        return RedirectResponse("/audits", 303)

    async def package(self, request: Request, session: SignedOn) -> Response:
        """Build the package as long work."""
        form = await request.form()
        return await run_in_threadpool(self._package, form, session)

    def _package(self, form: FormData, session: SignedOn) -> Response:
        central, person = self._central, session.person
        try:
            since = instant(central, text(form, "since"), "from")
            until = instant(central, text(form, "until"), "to")
            if since >= until:
                raise InputError("the span is empty", remedy="let it begin before it ends")
        except AlprdError as error:
            return self._audits(session, {}, sentence(error), 400)

        def work(report: Report) -> Outcome:
            name, found = auditfiles.build(central, person, since, until, report)
            return Outcome(
                f"the package is built and verifies: {found.files} files, {found.chains} chains "
                f"with {found.events} events, {found.anchors} anchors agree, the ledger of "
                f"{found.days} days reconciles",
                f"/audits/package/{name}",
            )

        job = jobs.start(central, "package for the audit", people.actor(person), work)
        return RedirectResponse(f"/jobs/{job}", 303)

    async def take(self, request: Request, session: SignedOn) -> Response:
        """Fetch a package that one built."""
        name = request.path_params["package"]
        content = await run_in_threadpool(auditfiles.take, self._central, session.person, name)
        return download(content, f"audit-{name[:8]}.zip", "application/zip")

    async def sample(self, request: Request, session: SignedOn) -> Response:
        """Draw a sample; the same seed draws the same."""
        form = await request.form()
        return await run_in_threadpool(self._sample, form, session)

    def _sample(self, form: FormData, session: SignedOn) -> Response:
        central, size = self._central, text(form, "size")
        try:
            drawn = samples.draw(
                central,
                session.person,
                cast(samples.Kind, text(form, "kind")),  # checked there
                text(form, "seed"),
                int(size) if size.isascii() and size.isdecimal() and len(size) < 5 else 0,
                instant(central, text(form, "since"), "from"),
                instant(central, text(form, "until"), "to"),
            )
        except AlprdError as error:
            return self._audits(session, {}, sentence(error), 400)
        return self._audits(session, {}, "", 200, drawn)

    async def results(self, request: Request, session: SignedOn) -> Response:
        """The results of an audit, as its auditor gave them; they are public."""
        name = request.path_params["audit"]
        content = await run_in_threadpool(audits.results, self._central, name)
        return download(content, f"audit-results-{name[:8]}.bin")

    # --- security assessments ---------------------------------------------------------------

    async def assessments(self, request: Request, session: SignedOn) -> Response:
        """The register, what is due, and the form."""
        return await run_in_threadpool(self._assessments, session, "", 200)

    def _assessments(self, session: SignedOn, error: str, code: int) -> Response:
        central = self._central
        with central.database.read() as tx:
            rows, due = assessments.register(tx), assessments.next_due(tx)
        return self._pages.render(
            "assessments.html",
            code,
            session=session,
            error=error,
            rows=[
                {"id": r.id, "done": r.done_at.isoformat(), "by": r.recorded_by,
                 "at": r.recorded_at.isoformat(), "sha256": r.sha256}
                for r in rows
            ],
            due=due.isoformat() if due else None,
            late=due is None or due <= central.clock(),
            zone=central.config.timezone,
            may_enter=may(session.person, Act.INCIDENT_WORK),
        )  # fmt: skip

    async def assess(self, request: Request, session: SignedOn) -> Response:
        """Enter an assessment with its paper."""
        form = await request.form()
        paper = await upload(form, "paper")
        return await run_in_threadpool(self._assess, form, session, paper)

    def _assess(self, form: FormData, session: SignedOn, paper: bytes) -> Response:
        central = self._central
        try:
            done = instant(central, text(form, "done"), "done")
            assessments.enter(central, session.person, done, paper)
        except AlprdError as error:
            return self._assessments(session, sentence(error), 400)
        return RedirectResponse("/assessments", 303)

    async def paper(self, request: Request, session: SignedOn) -> Response:
        """The paper of an assessment; recorded."""
        name = request.path_params["assessment"]
        content = await run_in_threadpool(assessments.paper, self._central, session.person, name)
        return download(content, f"assessment-{name[:8]}.bin")


def _day(typed: str, name: str) -> date:
    try:
        return date.fromisoformat(typed)
    except ValueError:
        raise InputError(f"{name}: not a date") from None
