"""Pages of case links: the register, a request, the decisions of its life, its reads.

Nothing is exempt before a different person approves (R-460.5-5); each page says what its form does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import Paging, instant, paging, sentence, text
from alprd.central.records import cases, exemptions, registers
from alprd.central.records.exemptions import Exemption, Kept
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError
from alprd.wire import Person

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

OUTCOMES: Final = (
    ("declined", "not pursued by the agency or the prosecutor"),
    ("charge_time_expired", "the time to charge has passed"),
    ("convicted", "conviction, appeals done"),
    ("acquitted", "acquittal"),
)
_READS_A_PAGE: Final = 100


class LinkPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/links", guard(self.links), methods=["GET"]),
            Route("/links", guard(self.ask), methods=["POST"]),
            Route("/links/{link}", guard(self.link), methods=["GET"]),
            Route("/links/{link}", guard(self.act), methods=["POST"]),
            Route("/links/{link}/reads", guard(self.reads), methods=["GET"]),
        ]

    async def links(self, request: Request, session: SignedOn) -> Response:
        """The register, cut into pages, and the form of a request."""
        show = chosen(request)
        total = await run_in_threadpool(
            registers.total, self._central, session.person, "case", show
        )
        cut = paging(request, total, "show")
        return await run_in_threadpool(self._links, session, show, cut, {}, "", 200)

    def _links(
        self,
        session: SignedOn,
        show: str,
        cut: Paging,
        given: dict[str, str],
        error: str,
        code: int,
    ) -> Response:
        central, now = self._central, self._central.clock()
        rows = registers.page(central, session.person, "case", show, cut.offset, cut.size)
        return self._pages.render(
            "links.html",
            code,
            session=session,
            error=error,
            rows=[registers.values(row, now) for row in rows],
            shows=registers.SHOWS,
            show=show,
            paging=cut,
            whole=may(session.person, Act.EXEMPTIONS_SEE, Act.LINK_DECIDE),
            may_ask=may(session.person, Act.LINK_ASK),
            given={name: given.get(name, "") for name in _FIELDS},
            many=cases.MANY,
            review_days=cases.REVIEW_AFTER.days,
        )

    async def ask(self, request: Request, session: SignedOn) -> Response:
        """Enter a request for a link."""
        return await run_in_threadpool(self._ask, await request.form(), session)

    def _ask(self, form: FormData, session: SignedOn) -> Response:
        given = {name: text(form, name) for name in _FIELDS}
        picked = [value for value in form.getlist("read") if isinstance(value, str)]
        try:
            made = cases.ask(
                self._central,
                session.person,
                case=given["case"],
                relation=given["relation"],
                reads=[*picked, *given["reads"].split()],
                session=given["session"],
                bulk_reason=given["bulk_reason"],
            )
        except AlprdError as error:
            total = registers.total(self._central, session.person, "case", "live")
            given["reads"] = " ".join([*given["reads"].split(), *picked])
            cut = Paging(1, total)
            return self._links(session, "live", cut, given, sentence(error), 400)
        return RedirectResponse(f"/links/{made.id}", 303)

    async def link(self, request: Request, session: SignedOn) -> Response:
        """One link with its life so far and what may be decided now."""
        return await run_in_threadpool(self._link, session, request.path_params["link"], "", 200)

    def _link(self, session: SignedOn, link: str, error: str, code: int) -> Response:
        central, now, person = self._central, self._central.clock(), session.person
        row = registers.one(central, person, link, "case")
        return self._pages.render(
            "link.html",
            code,
            session=session,
            error=error,
            link=registers.values(row, now),
            acts=link_acts(row, person),
            outcomes=OUTCOMES,
            may_read=may(person, Act.LINK_READ) and row.state in exemptions.LIVE,
            own=row.opened_by == person.id,
            longest_days=cases.LONGEST_REVIEW.days,
            today=now.astimezone(central.config.zone()).date().isoformat(),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Approve, refuse, review, end or release a link."""
        form, link = await request.form(), request.path_params["link"]
        return await run_in_threadpool(self._act, form, session, link)

    def _act(self, form: FormData, session: SignedOn, link: str) -> Response:
        central, person, reason = self._central, session.person, text(form, "reason")

        def review() -> Exemption:
            typed = text(form, "until")
            until = instant(central, typed, "next review") if typed else None
            return cases.review(central, person, link, reason, until)

        def put() -> Exemption:
            ends = instant(central, text(form, "ends"), "kept until")
            return cases.put_on_schedule(central, person, link, text(form, "citation"), ends)

        def release() -> Exemption:
            if text(form, "confirm") != "yes":
                raise InputError("tick that the reads may be destroyed")
            return cases.release(central, person, link, reason)

        acts: dict[str, Callable[[], Exemption]] = {
            "approve": lambda: cases.approve(central, person, link, reason),
            "refuse": lambda: cases.refuse(central, person, link, reason),
            "review": review,
            "inactive": lambda: cases.inactive(central, person, link, text(form, "outcome")),
            "schedule": put,
            "release": release,
        }
        try:
            done = acts.get(text(form, "act"))
            if done is None:
                raise InputError("no such act")
            done()
        except AlprdError as error:
            return self._link(session, link, sentence(error), 400)
        return RedirectResponse(f"/links/{link}", 303)

    async def reads(self, request: Request, session: SignedOn) -> Response:
        """The reads that a link keeps; the look is recorded."""
        row, kept = await run_in_threadpool(
            exemptions.open_reads,
            self._central,
            session.person,
            request.path_params["link"],
            "case",
        )
        return show_reads(self._pages, request, session, row, kept, "Case link", "links")


_FIELDS: Final = ("case", "relation", "reads", "session", "bulk_reason")


def chosen(request: Request) -> str:
    """Which rows of a register are asked for; those in force by default."""
    asked = request.query_params.get("show", "live")
    return asked if asked in dict(registers.SHOWS) else "live"


def link_acts(row: Exemption, person: Person) -> list[str]:
    """What a person may do with a link now."""
    if not may(person, Act.LINK_DECIDE):
        return []
    own = row.opened_by == person.id
    acts = {
        "requested": ["refuse"] if own else ["approve", "refuse"],
        "active": ["inactive", "release"] if own else ["review", "inactive", "release"],
        "inactive": ["schedule", "release"],
        "schedule": ["release"],
    }
    return acts.get(row.state, [])


def show_reads(
    pages: Pages,
    request: Request,
    session: SignedOn,
    row: Exemption,
    kept: list[Kept],
    title: str,
    back: str,
) -> Response:
    """The page of an exemption's reads, oldest first."""
    cut = paging(request, len(kept), size=_READS_A_PAGE)
    shown: list[dict[str, Any]] = [
        {
            "id": read.id,
            "plate": read.cell.plate.text,
            "stacked": read.cell.plate.stacked,
            "state": read.cell.plate.state,
            "instant": read.cell.instant.isoformat(),
            "place": read.cell.position,
            "vehicle": read.vehicle,
        }
        for read in kept[cut.offset : cut.offset + cut.size]
    ]
    return pages.render(
        "kept_reads.html",
        session=session,
        title=title,
        number=row.number,
        back=f"/{back}/{row.id}",
        reads=shown,
        paging=cut,
    )
