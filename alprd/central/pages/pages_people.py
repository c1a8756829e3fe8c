"""Pages of people: accounts, the record of each member, and who is signed on.

Every form is done by the signed-on person, and refused or recorded by the function it calls.
Whoever is added here has no training and no authorisation: they come as records, the latter from
the sheriff or the designee, so that no one person lets another in (R-13.824-7-1).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from alprd.central.pages.pagekit import guard, instant, sentence, text
from alprd.central.staff import accounts, memberlog, members, people
from alprd.central.staff.permissions import Act, may, not_own
from alprd.central.storage.audit import Event
from alprd.errors import AlprdError, InputError
from alprd.wire import Clearance

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

SOON: Final = timedelta(days=30)
"""A date nearer than this is marked."""
CLEARANCES: Final = get_args(Clearance)


class PeoplePages:
    """The handlers; ``pages`` gives sessions, templates and the store."""

    def __init__(self, pages: Pages, idle: timedelta) -> None:
        self._pages = pages
        self._central = pages.central
        self._idle = idle

    def routes(self) -> list[Route]:
        """Every route, for the application."""
        return [
            Route("/people", guard(self._pages, self.everyone), methods=["GET"]),
            Route("/people", guard(self._pages, self.add), methods=["POST"]),
            Route("/people/{person}", guard(self._pages, self.one), methods=["GET"]),
            Route("/people/{person}", guard(self._pages, self.act), methods=["POST"]),
            Route("/sign-off/{ref}", guard(self._pages, self.force_off), methods=["POST"]),
        ]

    # --- everyone ---------------------------------------------------------------------------

    async def everyone(self, request: Request, session: SignedOn) -> Response:
        """All people with their dates, who is signed on, and the form of a new account."""
        return await run_in_threadpool(self._everyone, session, {}, "", 200)

    def _everyone(
        self, session: SignedOn, given: dict[str, str], error: str, code: int
    ) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.PEOPLE_SEE, now)
        found = accounts.listing(central)
        with central.database.write() as tx:
            for person in found:
                facts = memberlog.history(tx, person["id"])
                person["screened"] = any(fact.kind == "screening" for fact in facts)
                person["assigned"] = memberlog.assigned(facts, now)
                person["training"] = self._date(person["training_expires"])
                person["authorised"] = self._date(person["authorised_until"])
            signed_on = members.sessions(tx, now, self._idle)
            central.trail.record(
                tx,
                Event.PEOPLE_VIEWED,
                people.actor(session.person),
                at=now,
                detail={"people": len(found)},
            )
        return self._pages.render(
            "people.html",
            code,
            session=session,
            error=error,
            people=found,
            sessions=signed_on,
            given={"id": "", "name": "", "screening": ""} | given,
            roles=people.ROLES,
            may_add=may(session.person, Act.PEOPLE_CHANGE),
            may_end=may(session.person, Act.SESSION_END),
        )

    def _date(self, value: Any) -> dict[str, str]:
        """A date for a cell: its text, and how it is marked."""
        left = value - self._central.clock()
        mark = "revoked" if left <= timedelta(0) else "suspended" if left < SOON else "enrolled"
        return {"text": value.isoformat(), "mark": mark}

    async def add(self, request: Request, session: SignedOn) -> Response:
        """Make an account that may nothing yet."""
        form = await request.form()
        return await run_in_threadpool(self._add, form, session)

    def _add(self, form: FormData, session: SignedOn) -> Response:
        central, now = self._central, self._central.clock()
        person_id = text(form, "id")
        try:
            people.require(session.person, Act.PEOPLE_CHANGE, now)
            if not text(form, "name"):
                raise InputError("name: missing")
            people.add(
                central,
                person_id=person_id,
                name=text(form, "name"),
                roles=_several(form, "roles"),
                password=str(form.get("password", ""))[:1000],
                training_expires=now,
                authorised_until=now,
                clearances=(),
                by=people.actor(session.person),
                screening=text(form, "screening")[:200],
                fresh=True,
            )
        except AlprdError as error:
            given = {name: text(form, name) for name in ("id", "name", "screening")}
            return self._everyone(session, given, sentence(error), 400)
        return RedirectResponse(f"/people/{person_id}", 303)

    async def force_off(self, request: Request, session: SignedOn) -> Response:
        """End an open session."""
        return await run_in_threadpool(self._force_off, session, request.path_params["ref"])

    def _force_off(self, session: SignedOn, ref: str) -> Response:
        try:
            members.force_off(self._central, session.person, ref)
        except InputError as error:
            return self._everyone(session, {}, sentence(error), 400)
        return RedirectResponse("/people", 303)

    # --- one person -------------------------------------------------------------------------

    async def one(self, request: Request, session: SignedOn) -> Response:
        """One person with the whole record and the forms the role allows."""
        return await run_in_threadpool(self._one, session, request.path_params["person"], "", 200)

    def _one(
        self, session: SignedOn, person_id: str, error: str, code: int, secret: str = ""
    ) -> Response:
        central, now = self._central, self._central.clock()
        people.require(session.person, Act.PEOPLE_SEE, now)
        with central.database.write() as tx:
            person = people.find(tx, person_id)
            if person is None:
                raise InputError("nobody has this id")
            facts = memberlog.values(memberlog.history(tx, person_id), now)
            central.trail.record(
                tx,
                Event.PEOPLE_VIEWED,
                people.actor(session.person),
                at=now,
                subjects=[person_id],
            )
        own = person_id == session.person.id
        return self._pages.render(
            "person.html",
            code,
            session=session,
            error=error,
            secret=secret,
            person=person.model_dump(exclude={"verifier", "totp"}),
            has_factor=bool(person.totp),
            training=self._date(person.training_expires),
            authorised=self._date(person.authorised_until),
            screened=any(fact["kind"] == "screening" for fact in facts),
            facts=facts,
            own=own,
            roles=people.ROLES,
            clearances=CLEARANCES,
            needs_assignment=memberlog.ASSIGNED_ROLE in person.roles,
            may_change=may(session.person, Act.PEOPLE_CHANGE) and not own,
            may_record=may(session.person, Act.PEOPLE_RECORD) and not own,
            may_authorise=may(session.person, Act.PEOPLE_AUTHORISE) and not own,
            today=now.astimezone(central.config.zone()).date().isoformat(),
        )

    async def act(self, request: Request, session: SignedOn) -> Response:
        """Do what a form of the person's page asks for."""
        form, person_id = await request.form(), request.path_params["person"]
        return await run_in_threadpool(self._act, form, session, person_id)

    def _act(self, form: FormData, session: SignedOn, person_id: str) -> Response:
        acts: dict[str, Callable[[FormData, SignedOn, str], str | None]] = {
            "change": self._change,
            "password": self._password,
            "factor": self._factor,
            "retire": self._retire,
            "train": self._train,
            "screen": self._screen,
            "assign": self._assign,
            "authorise": self._authorise,
            "withdraw": self._withdraw,
        }
        chosen = text(form, "act")
        try:
            done = acts.get(chosen)
            if done is None:
                raise InputError("no such act")
            secret = done(form, session, person_id)
        except AlprdError as error:
            return self._one(session, person_id, sentence(error), 400)
        if secret:
            return self._one(session, person_id, "", 200, secret)
        return RedirectResponse("/people" if chosen == "retire" else f"/people/{person_id}", 303)

    def _changing(self, session: SignedOn, person_id: str) -> None:
        people.require(session.person, Act.PEOPLE_CHANGE, self._central.clock())
        not_own(person_id, session.person.id, "changes an account")

    def _change(self, form: FormData, session: SignedOn, person_id: str) -> None:
        self._changing(session, person_id)
        roles = _several(form, "roles")
        if not roles or set(roles) - set(people.ROLES):
            raise InputError("roles: at least one of those shown")
        accounts.change(
            self._central,
            person_id,
            by=people.actor(session.person),
            name=text(form, "name") or None,
            roles=roles,
            clearances=cast("list[Clearance]", _several(form, "clearances")),
        )

    def _password(self, form: FormData, session: SignedOn, person_id: str) -> None:
        self._changing(session, person_id)
        accounts.change(
            self._central,
            person_id,
            by=people.actor(session.person),
            password=str(form.get("password", ""))[:1000],
        )

    def _factor(self, form: FormData, session: SignedOn, person_id: str) -> str:
        self._changing(session, person_id)
        return accounts.reset_totp(self._central, person_id, people.actor(session.person))

    def _retire(self, form: FormData, session: SignedOn, person_id: str) -> None:
        self._changing(session, person_id)
        if text(form, "confirm") != person_id:
            raise InputError("type the user id to retire the account")
        accounts.retire(self._central, person_id, people.actor(session.person))

    def _train(self, form: FormData, session: SignedOn, person_id: str) -> None:
        members.train(
            self._central,
            session.person,
            person_id,
            course=text(form, "course"),
            completed=instant(self._central, text(form, "completed"), "completed"),
            expires=instant(self._central, text(form, "expires"), "expires"),
            evidence=text(form, "evidence"),
        )

    def _screen(self, form: FormData, session: SignedOn, person_id: str) -> None:
        members.screen(
            self._central,
            session.person,
            person_id,
            screened_by=text(form, "screened_by"),
            on=instant(self._central, text(form, "completed"), "completed"),
            reference=text(form, "evidence"),
        )

    def _assign(self, form: FormData, session: SignedOn, person_id: str) -> None:
        members.assign(
            self._central,
            session.person,
            person_id,
            scope=text(form, "scope"),
            until=instant(self._central, text(form, "until"), "until"),
            order=text(form, "evidence"),
        )

    def _authorise(self, form: FormData, session: SignedOn, person_id: str) -> None:
        members.authorise(
            self._central,
            session.person,
            person_id,
            purposes=text(form, "purposes"),
            until=instant(self._central, text(form, "until"), "until"),
            document=text(form, "evidence"),
            designation=text(form, "designation")[:100],
        )

    def _withdraw(self, form: FormData, session: SignedOn, person_id: str) -> None:
        members.withdraw(self._central, session.person, person_id, text(form, "reason"))


def _several(form: FormData, name: str) -> list[str]:
    return [value for value in form.getlist(name) if isinstance(value, str)]
