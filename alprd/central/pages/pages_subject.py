"""Pages of a data subject's look-up of the own plate: ask, decide, look (R-460.7-g).

Off until the county attorney approves: then the page says so, with the citation, and does nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.exchange import outside, subject
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import sentence, text
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError
from alprd.records import STATES

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn


class SubjectPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard, path = partial(pagekit.guard, self._pages), "/requests/{asked}/lookup"
        return [
            Route(path, guard(self.lookup), methods=["GET"]),
            Route(path, guard(self.act), methods=["POST"]),
        ]

    async def lookup(self, request: Request, session: SignedOn) -> Response:
        """How the look-up of a request stands, and what may be done next."""
        name = request.path_params["asked"]
        return await run_in_threadpool(self._lookup, name, session, "", 200)

    def _lookup(
        self,
        name: str,
        session: SignedOn,
        error: str,
        code: int,
        found: list[subject.Seen] | None = None,
    ) -> Response:
        central, person = self._central, session.person
        row = outside.one(central, person, name)
        if row.kind != "data_subject":
            raise InputError("this is no request of a data subject")
        lookup, live = row.lookup, row.state == "open"
        on = bool(central.config.release.data_subject_opinion)
        decided = lookup.decision if lookup else ""
        return self._pages.render(
            "lookup.html",
            code,
            session=session,
            error=error,
            row=row.model_dump(mode="json"),
            opinion=central.config.release.data_subject_opinion,
            states=STATES,
            found=None
            if found is None
            else [{"at": one.instant.isoformat(), "lat": one.lat, "lon": one.lon} for one in found],
            may_ask=on and live and decided != "approved" and may(person, Act.SUBJECT_ASK),
            may_decide=on
            and live
            and lookup is not None
            and not decided
            and lookup.asked_by != person.id
            and may(person, Act.SUBJECT_DECIDE),
            may_look=on and live and decided == "approved" and may(person, Act.SUBJECT_ASK),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Ask, approve, refuse or look."""
        form = await request.form()
        return await run_in_threadpool(self._act, request.path_params["asked"], form, session)

    def _act(self, name: str, form: FormData, session: SignedOn) -> Response:
        central, person = self._central, session.person
        outside.subject_access(central)  # a refusal of the whole page, recorded by its guard
        try:
            match text(form, "act"):
                case "ask":
                    subject.ask(
                        central,
                        person,
                        name,
                        text(form, "plate"),
                        text(form, "state"),
                        text(form, "identity"),
                        text(form, "ownership"),
                    )
                case "approve" | "refuse" as word:
                    subject.decide(central, person, name, word == "approve", text(form, "reason"))
                case "look":
                    found = subject.look(central, person, name)
                    return self._lookup(name, session, "", 200, found)
                case _:
                    raise InputError("this is nothing that can be done with a look-up")
        except AlprdError as error:
            return self._lookup(name, session, sentence(error), 400)
        return RedirectResponse(f"/requests/{name}/lookup", 303)
