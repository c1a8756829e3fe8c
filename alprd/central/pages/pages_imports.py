"""Pages of imports from another agency: the register, a package with how far it is, its link.

A read keeps the clock of its collection; what is past 60 days comes in only under an approved link
made for this very package (R-460.5-4, R-13.824-2-2). The file lies on disk without a name.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.exchange import foreign
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import paging, sentence, text
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.upkeep import jobs
from alprd.central.upkeep.jobs import Outcome, Report
from alprd.errors import AlprdError, InputError
from alprd.wire import Person

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_FOLDER: Final = "imports"


class ImportPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/imports", guard(self.imports), methods=["GET"]),
            Route("/imports", guard(self.take), methods=["POST"]),
        ]

    async def imports(self, request: Request, session: SignedOn) -> Response:
        """The register of transfers, and the form of a package."""
        return await run_in_threadpool(self._imports, request, session, "", 200)

    def _imports(self, request: Request, session: SignedOn, error: str, code: int) -> Response:
        rows = foreign.register(self._central, session.person)
        cut = paging(request, len(rows))
        return self._pages.render(
            "imports.html",
            code,
            session=session,
            error=error,
            rows=[
                row | {"received_at": row["received_at"].isoformat()}
                for row in rows[cut.offset : cut.offset + cut.size]
            ],
            paging=cut,
            may_import=may(session.person, Act.TRANSFER_IMPORT),
        )

    async def take(self, request: Request, session: SignedOn) -> Response:
        """Take a package in as long work, or ask for the link of its older reads."""
        return await run_in_threadpool(self._take, request, await request.form(), session)

    def _take(self, request: Request, form: FormData, session: SignedOn) -> Response:
        central, person = self._central, session.person
        try:
            people.require(person, Act.TRANSFER_IMPORT, central.clock())
            plain = self._nameless(form.get("file"))
            path = Path(f"/proc/self/fd/{plain.fileno()}")
            try:
                foreign.head(path)
                if text(form, "act") == "link":
                    made = foreign.ask_link(
                        central,
                        person,
                        path,
                        case=text(form, "case"),
                        relation=text(form, "relation"),
                    )
                    plain.close()
                    return RedirectResponse(f"/links/{made.id}", 303)
            except BaseException:
                plain.close()
                raise
        except AlprdError as error:
            return self._imports(request, session, sentence(error), 400)
        work = partial(self._work, plain, person, text(form, "link"))
        job = jobs.start(central, "import of a package", people.actor(person), work)
        return RedirectResponse(f"/jobs/{job}", 303)

    def _work(self, plain: IO[bytes], person: Person, link: str, report: Report) -> Outcome:
        with plain:
            path = Path(f"/proc/self/fd/{plain.fileno()}")
            done = foreign.take(
                self._central, person, path, link=link, progress=lambda n: report(n, 0)
            )
        counts = ", ".join(
            f"{done.count(name)} {name.replace('_', ' ')}"
            for name in sorted({one.outcome for one in done.lines})
        )
        return Outcome(f"{len(done.lines)} lines: {counts}", "/imports")

    def _nameless(self, file: object) -> IO[bytes]:
        """The upload on disk without a name, so that no crash leaves it behind."""
        if not isinstance(file, UploadFile) or not file.filename:
            raise InputError("no file was sent")
        folder = self._central.home / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        plain = os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
        shutil.copyfileobj(file.file, plain)
        plain.flush()
        return plain
