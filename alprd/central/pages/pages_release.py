"""Pages of releases, agencies, orders to recipients, and requests of others (460.7)."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.exchange import outside, recipients, release, releasepackage
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import download, instant, sentence, text, upload
from alprd.central.records import recipientorders
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_ASK: Final = (
    "agency", "requester", "contact", "purpose", "facts", "number", "no_number", "statement",
    "head", "title", "authorised", "received", "citation", "opinion", "reads",
)  # fmt: skip
_AGENCY: Final = ("id", "name", "kind", "ori", "contact", "verified")
_OUTSIDE: Final = ("kind", "requester", "contact", "what", "received", "returns")
_MARKS: Final = {
    "asked": "suspended", "approved": "enrolled", "refused": "revoked", "sent": "suspended",
    "receipted": "enrolled", "open": "suspended", "answered": "enrolled",
}  # fmt: skip


class ReleasePages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/releases", guard(self.releases), methods=["GET"]),
            Route("/releases", guard(self.ask), methods=["POST"]),
            Route("/releases/{release}", guard(self.release), methods=["GET"]),
            Route("/releases/{release}", guard(self.act), methods=["POST"]),
            Route("/releases/{release}/records", guard(self.records), methods=["GET"]),
            Route("/releases/{release}/request", guard(self.paper), methods=["GET"]),
            Route("/releases/{release}/package", guard(self.package), methods=["POST"]),
            Route("/agencies", guard(self.agencies), methods=["GET"]),
            Route("/agencies", guard(self.set_agency), methods=["POST"]),
            Route("/recipient-orders", guard(self.orders), methods=["GET"]),
            Route("/recipient-orders/{order}", guard(self.order), methods=["POST"]),
            Route("/requests", guard(self.requests), methods=["GET"]),
            Route("/requests", guard(self.receive), methods=["POST"]),
            Route("/requests/{asked}", guard(self.request), methods=["GET"]),
            Route("/requests/{asked}", guard(self.answer), methods=["POST"]),
        ]

    # --- releases ---------------------------------------------------------------------------

    async def releases(self, request: Request, session: SignedOn) -> Response:
        """The register, and the form of a request."""
        return await run_in_threadpool(self._releases, session, {}, "", 200)

    def _releases(
        self, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        central, person = self._central, session.person
        rows = release.register(central, person)
        return self._pages.render(
            "releases.html",
            code,
            session=session,
            error=error,
            rows=[_release_values(row) for row in rows],
            agencies=[one for one in recipients.every(central, person) if not one.retired],
            given={name: given.get(name, "") for name in _ASK},
            may_ask=may(person, Act.RELEASE_PREPARE),
            zone=central.config.timezone,
            most=release.MOST_READS,
        )

    async def ask(self, request: Request, session: SignedOn) -> Response:
        """Enter a written request."""
        form = await request.form()
        paper = await upload(form, "paper")
        return await run_in_threadpool(self._ask, form, session, paper)

    def _ask(self, form: FormData, session: SignedOn, paper: bytes) -> Response:
        given = {name: text(form, name) for name in _ASK}
        try:
            values: dict[str, Any] = {
                **given,
                "authorised": _day(given["authorised"], "authorised"),
                "received": instant(self._central, given["received"], "received"),
                "reads": tuple(given["reads"].replace(",", " ").split()),
            }
            made = release.ask(
                self._central, session.person, release.Asked.model_validate(values), paper
            )
        except ValidationError as error:
            place = str(error.errors(include_url=False)[0]["loc"][0])
            words = f"Not done: {place} cannot be. Ids have 32 digits of 0-9 and a-f."
            return self._releases(session, given, words, 400)
        except AlprdError as error:
            return self._releases(session, given, sentence(error), 400)
        return RedirectResponse(f"/releases/{made.id}", 303)

    async def release(self, request: Request, session: SignedOn) -> Response:
        """One release with what may be done next."""
        return await run_in_threadpool(
            self._release, request.path_params["release"], session, "", 200
        )

    def _release(self, name: str, session: SignedOn, error: str, code: int) -> Response:
        central, person = self._central, session.person
        row = release.one(central, person, name)
        others = person.id != row.prepared_by
        return self._pages.render(
            "release.html",
            code,
            session=session,
            error=error,
            row=_release_values(row),
            own=not others,
            may_decide=row.state == "asked" and others and may(person, Act.RELEASE_DECIDE),
            may_send=row.state in ("approved", "sent") and may(person, Act.RELEASE_SEND),
            may_receipt=row.state == "sent" and may(person, Act.RELEASE_SEND),
            may_paper=may(person, Act.RELEASE_SEE, Act.RELEASE_DECIDE),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Approve, refuse, or record the receipt."""
        form = await request.form()
        paper = await upload(form, "paper")
        return await run_in_threadpool(
            self._act, request.path_params["release"], form, session, paper
        )

    def _act(self, name: str, form: FormData, session: SignedOn, paper: bytes) -> Response:
        central, person, reason = self._central, session.person, text(form, "reason")
        try:
            match text(form, "act"):
                case "approve":
                    release.approve(central, person, name, reason, text(form, "scope"))
                case "refuse":
                    release.refuse(central, person, name, reason)
                case "receipt":
                    release.receipt(central, person, name, text(form, "received_by"), paper)
                case _:
                    raise InputError("this is nothing that can be done with a release")
        except AlprdError as error:
            return self._release(name, session, sentence(error), 400)
        return RedirectResponse(f"/releases/{name}", 303)

    async def records(self, request: Request, session: SignedOn) -> Response:
        """Exactly the records that would go out, with the decision below them."""
        return await run_in_threadpool(self._records, request.path_params["release"], session)

    def _records(self, name: str, session: SignedOn) -> Response:
        row, records = release.look(self._central, session.person, name)
        return self._pages.render(
            "release_records.html",
            session=session,
            row=_release_values(row),
            records=[
                {
                    "id": record.id,
                    "plate": record.cell.plate.text,
                    "stacked": record.cell.plate.stacked,
                    "state": record.cell.plate.state or "?",
                    "instant": record.cell.instant.isoformat(),
                    "classification": record.classification,
                }
                for record in records
            ],
        )

    async def paper(self, request: Request, session: SignedOn) -> Response:
        """The written request as a file."""
        name = request.path_params["release"]
        content = await run_in_threadpool(
            release.written_request, self._central, session.person, name
        )
        return download(content, f"request-{name[:8]}.bin")

    async def package(self, request: Request, session: SignedOn) -> Response:
        """Make the encrypted package and hand it out; it is not kept here."""
        name = request.path_params["release"]
        try:
            made = await run_in_threadpool(
                releasepackage.build, self._central, session.person, name
            )
        except AlprdError as error:
            return await run_in_threadpool(self._release, name, session, sentence(error), 400)
        return download(made.content, made.name)

    # --- agencies, orders to recipients -----------------------------------------------------

    async def agencies(self, request: Request, session: SignedOn) -> Response:
        """Who may receive reads."""
        return await run_in_threadpool(self._agencies, session, {}, "", 200)

    def _agencies(
        self, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        return self._pages.render(
            "agencies.html",
            code,
            session=session,
            error=error,
            rows=[
                {**one.model_dump(), "fingerprint": one.fingerprint}
                for one in recipients.every(self._central, session.person)
            ],
            kinds=recipients.KINDS,
            given={name: given.get(name, "") for name in _AGENCY},
            may_set=may(session.person, Act.AGENCIES_SET),
        )

    async def set_agency(self, request: Request, session: SignedOn) -> Response:
        """Enter an agency or change its row."""
        form = await request.form()
        certificate = await upload(form, "certificate")
        return await run_in_threadpool(self._set_agency, form, session, certificate)

    def _set_agency(self, form: FormData, session: SignedOn, certificate: bytes) -> Response:
        given = {name: text(form, name) for name in _AGENCY}
        try:
            agency = recipients.Agency.model_validate(
                {
                    **given,
                    "certificate": certificate.decode("ascii", "replace"),
                    "set_by": session.person.id,
                    "set_at": self._central.clock(),
                    "retired": text(form, "retired") == "yes",
                }
            )
            recipients.put(self._central, session.person, agency)
        except ValidationError as error:
            place = str(error.errors(include_url=False)[0]["loc"][0])
            return self._agencies(session, given, f"Not done: {place} cannot be.", 400)
        except AlprdError as error:
            return self._agencies(session, given, sentence(error), 400)
        return RedirectResponse("/agencies", 303)

    async def orders(self, request: Request, session: SignedOn) -> Response:
        """Orders to recipients that are not confirmed, with their letters."""
        return await run_in_threadpool(self._orders, session, "", 200)

    def _orders(self, session: SignedOn, error: str, code: int) -> Response:
        rows = recipientorders.waiting(self._central, session.person)
        sender = self._central.config.agency_name
        return self._pages.render(
            "recipient_orders.html",
            code,
            session=session,
            error=error,
            rows=[{**row.model_dump(mode="json"), "letter": row.letter(sender)} for row in rows],
        )

    async def order(self, request: Request, session: SignedOn) -> Response:
        """Record that an order went out, or that the recipient did it."""
        form = await request.form()
        return await run_in_threadpool(self._order, request.path_params["order"], form, session)

    def _order(self, name: str, form: FormData, session: SignedOn) -> Response:
        central, person, said = self._central, session.person, text(form, "said")
        try:
            if text(form, "act") == "sent":
                recipientorders.sent(central, person, name, said)
            else:
                recipientorders.confirmed(central, person, name, said)
        except AlprdError as error:
            return self._orders(session, sentence(error), 400)
        return RedirectResponse("/recipient-orders", 303)

    # --- requests of others -----------------------------------------------------------------

    async def requests(self, request: Request, session: SignedOn) -> Response:
        """The register, and the form of a request."""
        return await run_in_threadpool(self._requests, session, {}, "", 200)

    def _requests(
        self, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        central = self._central
        return self._pages.render(
            "requests.html",
            code,
            session=session,
            error=error,
            rows=[_outside_values(row) for row in outside.register(central, session.person)],
            kinds=outside.KINDS,
            given={name: given.get(name, "") for name in _OUTSIDE},
            may_work=may(session.person, Act.OUTSIDE_WORK),
            zone=central.config.timezone,
        )

    async def receive(self, request: Request, session: SignedOn) -> Response:
        """Enter a request with its paper."""
        form = await request.form()
        paper = await upload(form, "paper")
        return await run_in_threadpool(self._receive, form, session, paper)

    def _receive(self, form: FormData, session: SignedOn, paper: bytes) -> Response:
        central = self._central
        given = {name: text(form, name) for name in _OUTSIDE}
        returns = given["returns"]
        try:
            made = outside.receive(
                central,
                session.person,
                given["kind"],  # type: ignore[arg-type]  # checked there
                given["requester"][:200],
                given["contact"][:200],
                given["what"][:2000],
                instant(central, given["received"], "received"),
                paper,
                instant(central, returns, "returns") if returns else None,
            )
        except AlprdError as error:
            return self._requests(session, given, sentence(error), 400)
        return RedirectResponse(f"/requests/{made.id}", 303)

    async def request(self, request: Request, session: SignedOn) -> Response:
        """One request with the answer that its kind is given."""
        return await run_in_threadpool(
            self._request, request.path_params["asked"], session, "", 200
        )

    def _request(self, name: str, session: SignedOn, error: str, code: int) -> Response:
        central, person = self._central, session.person
        row = outside.one(central, person, name)
        orders = row.kind in ("court_order", "discovery")
        shown = ("to_counsel", "withdrawn") if orders else tuple(outside.OUTCOMES)
        if row.lookup is None or row.lookup.decision != "approved":
            shown = tuple(one for one in shown if one != "produced_own")
        return self._pages.render(
            "request.html",
            code,
            session=session,
            error=error,
            row=_outside_values(row),
            outcomes={one: outside.OUTCOMES[one] for one in shown},
            default=outside.default_answer(row.kind),
            may_work=row.state == "open" and may(person, Act.OUTSIDE_WORK),
        )

    async def answer(self, request: Request, session: SignedOn) -> Response:
        """Record the answer."""
        form = await request.form()
        return await run_in_threadpool(self._answer, request.path_params["asked"], form, session)

    def _answer(self, name: str, form: FormData, session: SignedOn) -> Response:
        people.require(session.person, Act.OUTSIDE_WORK, self._central.clock())
        try:
            outside.answer(
                self._central,
                session.person,
                name,
                text(form, "outcome"),  # type: ignore[arg-type]  # checked there
                text(form, "answer"),
            )
        except AlprdError as error:
            return self._request(name, session, sentence(error), 400)
        return RedirectResponse(f"/requests/{name}", 303)


def _release_values(row: release.Release) -> dict[str, Any]:
    values = row.model_dump(mode="json")
    return {**values, "mark": _MARKS[row.state], "count": len(row.asked.reads)}


def _outside_values(row: outside.Outside) -> dict[str, Any]:
    values = row.model_dump(mode="json", exclude={"lookup"})
    told = outside.OUTCOMES[row.outcome] if row.outcome else ""
    return {**values, "mark": _MARKS[row.state], "name": outside.KINDS[row.kind], "told": told}


def _day(typed: str, name: str) -> date:
    try:
        return date.fromisoformat(typed)
    except ValueError:
        raise InputError(f"{name}: not a date") from None
