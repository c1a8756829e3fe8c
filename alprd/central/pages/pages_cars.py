"""Pages of cars: the register, one car with its health and orders, and what may be done to it.

What reaches the lists of cars (revoked, key-kill, retired) is published anew as a job whose page
tells how far it is: everything is encrypted under new content keys (R-460.6-0).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.fleet import enrolment, orders, vehicles, wipes
from alprd.central.pages import carfacts, pagekit
from alprd.central.pages.pagekit import instant, sentence, text
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage.audit import Event
from alprd.central.upkeep.jobs import start_publication
from alprd.errors import AlprdError, InputError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

_MAX_CERTIFICATE: Final = 1_000_000


class CarPages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._central = pages.central

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        guard = partial(pagekit.guard, self._pages)
        return [
            Route("/cars", guard(self.cars), methods=["GET"]),
            Route("/cars", guard(self.enrol), methods=["POST"]),
            Route("/cars/{car}", guard(self.car), methods=["GET"]),
            Route("/cars/{car}", guard(self.act), methods=["POST"]),
        ]

    # --- all cars ---------------------------------------------------------------------------

    async def cars(self, request: Request, session: SignedOn) -> Response:
        """Every car with its state and contact, open codes, and the form of a new one."""
        return await run_in_threadpool(self._cars, session, {}, "", 200)

    def _cars(
        self,
        session: SignedOn,
        given: dict[str, str],
        error: str,
        code: int,
        made: dict[str, str] | None = None,
    ) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.CARS_SEE, now)
        with central.database.write() as tx:
            self._note(tx, session, now, "all")
            codes = carfacts.open_codes(tx, now)
        return self._pages.render(
            "cars.html",
            code,
            session=session,
            error=error,
            given={"vehicle": "", "reader": ""} | given,
            made=made,
            cars=[carfacts.row(car, now) for car in vehicles.listing(central)],
            codes=codes,
            may_enrol=may(session.person, Act.CAR_MANAGE),
        )

    def _note(self, tx: Connection, session: SignedOn, now: datetime, what: str) -> None:
        self._central.trail.record(
            tx,
            Event.STATUS_VIEWED,
            people.actor(session.person),
            at=now,
            detail={"page": "cars", "vehicle": what},
        )

    async def enrol(self, request: Request, session: SignedOn) -> Response:
        """Make a one-time code."""
        return await run_in_threadpool(self._enrol, await request.form(), session)

    def _enrol(self, form: FormData, session: SignedOn) -> Response:
        given = {name: text(form, name) for name in ("vehicle", "reader")}
        try:
            people.require(session.person, Act.CAR_MANAGE, self._central.clock())
            code = enrolment.issue_code(
                self._central, given["vehicle"], given["reader"], people.actor(session.person)
            )
        except AlprdError as error:
            return self._cars(session, given, sentence(error), 400)
        address = carfacts.car_address(self._central)
        made = {"code": code, "car": given["vehicle"], "address": address}
        return self._cars(session, {}, "", 200, made)

    # --- one car ----------------------------------------------------------------------------

    async def car(self, request: Request, session: SignedOn) -> Response:
        """One car: state, contact, permit, health, orders with receipts, certificates of wiping."""
        return await run_in_threadpool(self._car, session, request.path_params["car"], "", 200)

    def _car(self, session: SignedOn, name: str, error: str, code: int) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.CARS_SEE, now)
        car = next((car for car in vehicles.listing(central) if car["vehicle"] == name), None)
        if car is None:
            raise InputError("no car has this name")
        with central.database.write() as tx:
            self._note(tx, session, now, name)
            facts = carfacts.of_car(tx, name, now)
        return self._pages.render(
            "car.html",
            code,
            session=session,
            error=error,
            car=carfacts.row(car, now),
            health=car["health"],
            **facts,
            today=now.astimezone(central.config.zone()).date().isoformat(),
            zone=central.config.timezone,
            may_manage=may(session.person, Act.CAR_MANAGE),
            may_kill=may(session.person, Act.CAR_KILL),
            may_order=may(session.person, Act.CAR_ORDER),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Do what a form of the car's page asks for."""
        form, name = await request.form(), request.path_params["car"]
        certificate = None
        file = form.get("certificate")
        if isinstance(file, UploadFile) and file.filename:
            data = await file.read(_MAX_CERTIFICATE + 1)
            certificate = data[:_MAX_CERTIFICATE].decode("utf-8", "replace")
        return await run_in_threadpool(self._act, form, session, name, certificate)

    def _act(
        self, form: FormData, session: SignedOn, name: str, certificate: str | None
    ) -> Response:
        acts: dict[str, Callable[[FormData, SignedOn, str], object]] = {
            "suspend": self._suspend,
            "lift": self._lift,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "revoke": self._revoke,
            "kill": self._kill,
            "retire": partial(self._retire, certificate),
        }
        chosen = text(form, "act")
        try:
            done = acts.get(chosen)
            if done is None:
                raise InputError("no such act")
            done(form, session, name)
        except AlprdError as error:
            return self._car(session, name, sentence(error), 400)
        if chosen in ("revoke", "kill", "retire"):
            job = start_publication(self._central, people.actor(session.person), fresh_keys=True)
            return RedirectResponse(f"/jobs/{job}", 303)
        return RedirectResponse(f"/cars/{name}", 303)

    def _ordering(self, session: SignedOn, act: Act) -> Any:
        people.require(session.person, act, self._central.clock())
        return people.actor(session.person)

    def _suspend(self, form: FormData, session: SignedOn, name: str) -> None:
        by = self._ordering(session, Act.CAR_ORDER)
        orders.suspend(self._central, name, text(form, "reason"), by)

    def _lift(self, form: FormData, session: SignedOn, name: str) -> None:
        by = self._ordering(session, Act.CAR_ORDER)
        with self._central.database.read() as tx:
            serial = carfacts.suspension(tx, name)
        if serial is None:
            raise InputError("this car is not suspended by an order of its own")
        orders.lift(self._central, serial, text(form, "reference"), by)

    def _freeze(self, form: FormData, session: SignedOn, name: str) -> None:
        by = self._ordering(session, Act.CAR_ORDER)
        scope = orders.Scope(
            since=instant(self._central, text(form, "since"), "from"),
            until=instant(self._central, text(form, "until"), "to"),
        )
        orders.freeze(self._central, name, scope, None, text(form, "reason"), by)

    def _thaw(self, form: FormData, session: SignedOn, name: str) -> None:
        by = self._ordering(session, Act.CAR_ORDER)
        serial = text(form, "serial")
        with self._central.database.read() as tx:
            carfacts.own_order(tx, name, serial)
        orders.thaw(self._central, serial, text(form, "reason"), by)

    def _revoke(self, form: FormData, session: SignedOn, name: str) -> None:
        by = self._ordering(session, Act.CAR_MANAGE)
        _sure(form, name)
        vehicles.change(self._central, name, Event.REVOKED, by)

    def _kill(self, form: FormData, session: SignedOn, name: str) -> None:
        by = self._ordering(session, Act.CAR_KILL)
        _sure(form, name)
        wipes.order_kill(self._central, name, text(form, "reason"), by)

    def _retire(
        self, certificate: str | None, form: FormData, session: SignedOn, name: str
    ) -> None:
        by = self._ordering(session, Act.CAR_MANAGE)
        _sure(form, name)
        wipes.retire(
            self._central, name, certificate=certificate, reason=text(form, "reason"), actor=by
        )


def _sure(form: FormData, name: str) -> None:
    """Acts that cannot be undone ask for the name (nobody clicks one away by mistake)."""
    if text(form, "confirm") != name:
        raise InputError("type the name of the car to be sure")
