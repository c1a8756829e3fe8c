"""Pages of fixed locations and of the suspension of all readers (R-460.5.1-e, R-13.824-6-6)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from alprd.central.fleet import orders, vehicles
from alprd.central.pages import pagekit
from alprd.central.pages.pagekit import sentence, text
from alprd.central.public import fixedplaces, readers
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn


class FixedPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/fixed-locations", guard(self.places), methods=["GET"]),
            Route("/fixed-locations", guard(self.act), methods=["POST"]),
            Route("/fixed-locations/{entry}/explanation", guard(self.explain), methods=["GET"]),
            Route("/fixed-locations/{entry}/court", guard(self.court), methods=["GET"]),
            Route("/suspension", guard(self.suspension), methods=["GET"]),
            Route("/suspension", guard(self.suspend), methods=["POST"]),
        ]

    # --- fixed locations --------------------------------------------------------------------

    async def places(self, request: Request, session: SignedOn) -> Response:
        """Every entry of the list, in full for those who keep it, and the forms."""
        return await run_in_threadpool(self._places, session, "", 200)

    def _places(self, session: SignedOn, error: str, code: int) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.READERS_SEE, now)
        today = readers.today(central)
        with central.database.write() as tx:
            readers.ensure_all(central, tx)
            found = fixedplaces.listing(central, tx)
            devices = [row.device for row in readers.register(tx)]
            central.trail.record(tx, Event.READERS_VIEWED, people.actor(session.person), at=now)
        return self._pages.render(
            "fixed_locations.html",
            code,
            session=session,
            error=error,
            places=found[::-1],
            kinds=fixedplaces.KINDS,
            devices=devices,
            section=fixedplaces.SECTION,
            today=today.isoformat(),
            latest=(today + fixedplaces.LONGEST_REVIEW).isoformat(),
            may_keep=may(session.person, Act.READERS_KEEP),
            may_withhold=may(session.person, Act.PLACE_WITHHOLD),
            may_full=may(session.person, Act.PLACE_FULL),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Do what a form of the page asks for."""
        form = await request.form()
        return await run_in_threadpool(self._act, form, session)

    def _act(self, form: FormData, session: SignedOn) -> Response:
        acts: dict[str, Callable[[FormData, SignedOn], object]] = {
            "place": self._place,
            "leave": self._leave,
            "withhold": self._withhold,
            "show": self._show,
        }
        try:
            done = acts.get(text(form, "act"))
            if done is None:
                raise InputError("no such act")
            done(form, session)
        except AlprdError as error:
            return self._places(session, sentence(error), 400)
        return RedirectResponse("/fixed-locations", 303)

    def _place(self, form: FormData, session: SignedOn) -> None:
        fixedplaces.place(
            self._central,
            session.person,
            device=text(form, "device"),
            kind=text(form, "kind"),
            at=text(form, "at"),
            since=text(form, "since"),
        )

    def _leave(self, form: FormData, session: SignedOn) -> None:
        fixedplaces.leave(self._central, session.person, text(form, "entry"), text(form, "day"))

    def _withhold(self, form: FormData, session: SignedOn) -> None:
        fixedplaces.withhold(
            self._central,
            session.person,
            text(form, "entry"),
            reason=text(form, "reason"),
            explanation=text(form, "explanation"),
            review=text(form, "review"),
            section=text(form, "section"),
        )

    def _show(self, form: FormData, session: SignedOn) -> None:
        fixedplaces.show(self._central, session.person, text(form, "entry"))

    async def explain(self, request: Request, session: SignedOn) -> Response:
        """The short explanation of a withheld place, for whoever asks."""
        entry = request.path_params["entry"]
        told = await run_in_threadpool(fixedplaces.explanation, self._central, entry)
        return PlainTextResponse(told)

    async def court(self, request: Request, session: SignedOn) -> Response:
        """The full entry with its determination, for a court; recorded."""
        entry = request.path_params["entry"]
        full = await run_in_threadpool(fixedplaces.for_court, self._central, session.person, entry)
        headers = {"content-disposition": f'attachment; filename="fixed-location-{entry}.json"'}
        return JSONResponse(full, headers=headers)

    # --- suspension of all readers ----------------------------------------------------------

    async def suspension(self, request: Request, session: SignedOn) -> Response:
        """Whether all readers are suspended, which cars have stopped, and the forms."""
        return await run_in_threadpool(self._suspension, session, "", 200)

    def _suspension(self, session: SignedOn, error: str, code: int) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.CAR_ORDER, now)
        table = db.suspensions
        with central.database.read() as tx:
            rows = tx.execute(
                select(table).where(table.c.vehicle == "").order_by(table.c.ordered_at.desc())
            ).all()
        live = next((row for row in rows if row.lifted_at is None), None)
        cars = [
            car | _stopped(car, live.ordered_at if live else None)
            for car in vehicles.listing(central)
            if car["state"] != "revoked"
        ]
        return self._pages.render(
            "suspension.html",
            code,
            session=session,
            error=error,
            live=live,
            past=[row for row in rows if row.lifted_at is not None],
            cars=cars,
            everywhere=(live.ordered_at + vehicles.PERMIT_LIFE).isoformat() if live else "",
        )

    async def suspend(self, request: Request, session: SignedOn) -> Response:
        """Suspend all readers, or lift it."""
        form = await request.form()
        return await run_in_threadpool(self._suspend, form, session)

    def _suspend(self, form: FormData, session: SignedOn) -> Response:
        central = self._central
        try:
            people.require(session.person, Act.CAR_ORDER, central.clock())
            by = people.actor(session.person)
            if text(form, "act") == "suspend":
                if text(form, "confirm") != central.config.agency:
                    raise InputError(f"type {central.config.agency} to be sure")
                orders.suspend(central, "", text(form, "reason"), by)
            elif text(form, "act") == "lift":
                orders.lift(central, text(form, "serial"), text(form, "reference"), by)
            else:
                raise InputError("no such act")
        except AlprdError as error:
            return self._suspension(session, sentence(error), 400)
        return RedirectResponse("/suspension", 303)


def _stopped(car: dict[str, Any], ordered: Any) -> dict[str, Any]:
    """Whether a car has heard of the order, and when it stops at the latest without contact."""
    heard = ordered is not None and car["last_contact"] is not None
    heard = heard and car["last_contact"] > ordered
    latest = ""
    if ordered is not None and not heard:
        last = car["last_contact"] or car["enrolled_at"]
        latest = (min(last, ordered) + vehicles.PERMIT_LIFE).isoformat()
    return {"heard": heard, "latest": latest}
