"""The page of long work: how far it is, and where to go on when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alprd.central.pages.pagekit import guard
from alprd.central.staff import people
from alprd.central.upkeep import jobs
from alprd.central.upkeep.jobs import Outcome, Report
from alprd.central.upkeep.retention import purge

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

REFRESH_S: Final = "2"


class JobPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        return [
            Route("/jobs", guard(self._pages, self.begin), methods=["POST"]),
            Route("/jobs/{job}", guard(self._pages, self.job), methods=["GET"]),
        ]

    async def begin(self, request: Request, session: SignedOn) -> Response:
        """Begin the destruction or a publication now instead of at its hour."""
        kind = (await request.form()).get("kind")
        job = await run_in_threadpool(self._begin, session, kind == "purge")
        return await run_in_threadpool(self._job, job, session)

    def _begin(self, session: SignedOn, destroy: bool) -> str:
        central, actor = self._central, people.actor(session.person)
        if not destroy:
            return jobs.start_publication(central, actor)

        def work(report: Report) -> Outcome:
            done = purge(central, ordered=actor)
            return Outcome(f"{done.reads} reads are destroyed", "/")

        return jobs.start(central, "destruction of what is past its life", actor, work)

    async def job(self, request: Request, session: SignedOn) -> Response:
        """How far a job is; the page looks again by itself until it has ended."""
        return await run_in_threadpool(self._job, request.path_params["job"], session)

    def _job(self, job: str, session: SignedOn) -> Response:
        found = jobs.find(self._central, job)
        page = self._pages.render("job.html", session=session, job=found)
        if found["state"] == "running":
            page.headers["refresh"] = f"{REFRESH_S};url=/jobs/{found['id']}"
        return page
