"""What a person does to an alert, over HTTP: each route is one act on the board, or refused.

While the car moves, what the inventory does not allow then is refused here, not only hidden by
the page (:mod:`alprd.mdt.motion`). An alert whose category the person is not cleared for can be
silenced and acknowledged, but not verified: its plate is none of theirs (R-460.4-e).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alprd.audit import Event
from alprd.board import Act
from alprd.cards import AlertView
from alprd.errors import InputError, RefusedError
from alprd.mdt.answers import error_json
from alprd.mdt.context import MdtContext
from alprd.mdt.duty import Duty
from alprd.mdt.present import is_cleared
from alprd.mdt.signons import Screen, SignOns
from alprd.settling import Settling
from alprd.verification import GatewayError

_INCIDENT: Final = re.compile(r"(?=.*[0-9])[A-Z0-9][A-Z0-9-]{3,19}")


class Acts:
    """The endpoints that change something, and the pictures, over one context."""

    def __init__(self, context: MdtContext, signons: SignOns, settling: Settling) -> None:
        self._context = context
        self._board = context.board
        self._signons = signons
        self._settling = settling

    async def plate_picture(self, request: Request) -> Response:
        return await self._picture(request, wide=False)

    async def wide_picture(self, request: Request) -> Response:
        return await self._picture(request, wide=True)

    async def _picture(self, request: Request, *, wide: bool) -> Response:
        screen: Screen = request.state.screen
        alert_id = request.path_params["alert_id"]
        board = self._board
        view = board.view(alert_id)
        jpeg = None
        if view is not None and is_cleared(view, self._signons.person_of(screen)):
            jpeg = await run_in_threadpool(
                board.picture, alert_id, "wide" if wide else "plate", screen.sign_on.actor
            )
        if jpeg is None:
            return error_json(
                404, "no_picture", "There is no such picture.", "go back to the alerts"
            )
        return Response(jpeg, media_type="image/jpeg")

    async def silence(self, request: Request) -> Response:
        """Stop the sound of one card."""
        return await self._act(request, self._board.silence)

    async def unsilence(self, request: Request) -> Response:
        """Let it sound again."""
        return await self._act(request, self._board.unsilence)

    async def acknowledge(self, request: Request) -> Response:
        """Take note of one card."""
        return await self._act(request, self._board.acknowledge)

    async def misread(self, request: Request) -> Response:
        """The text is not what the picture shows."""
        return await self._act(request, self._settling.misread, seeing=True)

    async def compare(self, request: Request) -> Response:
        """Plate and state agree with the picture, or not."""
        agrees = await _field(request, "agrees")
        if agrees not in ("yes", "no"):
            return error_json(400, "bad_field", "Say yes or no.", "answer the question")
        return await self._act(request, self._settling.look, seeing=True, agrees=agrees == "yes")

    async def verify(self, request: Request) -> Response:
        """The result of the verification."""
        fields = {name: await _field(request, name) for name in ("result", "reason", "reference")}
        return await self._act(request, self._settling.verify, seeing=True, **fields)

    async def action(self, request: Request) -> Response:
        """What was done."""
        action = await _field(request, "action")
        return await self._act(request, self._settling.take_action, seeing=True, action=action)

    async def dispatch(self, request: Request) -> Response:
        """Dispatch was told of an alert that this person may not see, or was not."""
        done = await _field(request, "dispatched")
        if done not in ("yes", "no"):
            return error_json(400, "bad_field", "Say yes or no.", "answer the question")
        view = self._board.view(request.path_params["alert_id"])
        if view is not None and is_cleared(view, self._signons.person_of(self._screen(request))):
            return error_json(409, "out_of_order", "You may see this alert.", "verify it yourself")
        return await self._act(request, self._settling.tell_dispatch, done=done == "yes")

    async def unclear(self, request: Request) -> Response:
        """A cleared plate alarms again."""
        return await self._act(request, self._settling.unclear, seeing=True)

    async def copied(self, request: Request) -> Response:
        """The plate goes to the clipboard: recorded before it does."""
        return await self._act(request, self._settling.copied, seeing=True)

    async def query(self, request: Request) -> Response:
        """Ask the agency's gateway about the plate of one alert (R-460.4-f2)."""
        gateway, screen = self._context.gateway, self._screen(request)
        if gateway is None:
            return error_json(404, "no_gateway", "No query gateway is configured.", "ask dispatch")
        found: list[AlertView] = []

        def record(alert_id: str, actor: object, *, seen: int | None) -> None:
            def change(view: AlertView) -> Act:
                found.append(view)
                return Act(
                    Event.ALERT_QUERIED, view.state, view.disposition,
                    cleared_until=view.cleared_until,
                )  # fmt: skip

            self._board.act(alert_id, screen.sign_on.actor, change, seen=seen)

        refused = await self._act(request, record, seeing=True)
        if not found or refused.status_code != 204:
            return refused
        reading = found[0].reading
        try:
            answer = await run_in_threadpool(
                lambda: gateway.ask(
                    reading.text,
                    reading.region,
                    person=screen.sign_on.person.id,
                    unit=screen.sign_on.unit,
                )
            )
        except GatewayError as error:
            return error_json(502, "gateway", error.message, error.remedy)
        return JSONResponse(answer.model_dump(mode="json"))

    async def silence_category(self, request: Request) -> Response:
        """Silence a category for the shift, or undo it."""
        category, on = await _field(request, "category"), await _field(request, "on")
        if on not in ("yes", "no"):
            return error_json(400, "bad_field", "Say yes or no.", "answer the question")
        event = Event.CATEGORY_SILENCED if on == "yes" else Event.CATEGORY_UNSILENCED
        try:
            await run_in_threadpool(
                self._board.change_shift,
                lambda shift: shift.silence(category, on=on == "yes"),
                event,
                self._screen(request).sign_on.actor,
                {"category": category[:40]},
            )
        except RefusedError as error:
            return error_json(400, error.reason, error.message, error.remedy)
        return Response(status_code=204)

    async def pause(self, request: Request) -> Response:
        """Rest from collecting."""
        return await self._with_duty(lambda duty: duty.pause())

    async def resume(self, request: Request) -> Response:
        """Collect again."""
        return await self._with_duty(lambda duty: duty.resume())

    async def canvass(self, request: Request) -> Response:
        """Begin or end a canvass of an incident (R-460.4-c)."""
        incident = (await _field(request, "incident")).strip().upper()
        if incident and not _INCIDENT.fullmatch(incident):
            message = (
                "An incident number has 4 to 20 letters, digits and dashes, a digit among them."
            )
            return error_json(400, "bad_field", message)
        return await self._with_duty(lambda duty: duty.canvass(incident))

    async def declare_post(self, request: Request) -> Response:
        """This place is a stationary post (R-460.5.1-d)."""
        return await self._with_duty(lambda duty: duty.declare_post())

    async def _with_duty(self, do: Callable[[Duty], None]) -> Response:
        duty = self._context.duty
        if duty is None:
            return error_json(
                404, "no_duty", "This page cannot change what is collected.", "use the car"
            )
        try:
            await run_in_threadpool(do, duty)
        except RefusedError as error:
            return error_json(409, error.reason, error.message, error.remedy)
        return Response(status_code=204)

    async def _act(
        self, request: Request, act: Callable[..., None], *, seeing: bool = False, **fields: object
    ) -> Response:
        """One act on the card of the path; ``seeing``: only for who may see the plate."""
        screen = self._screen(request)
        alert_id = request.path_params["alert_id"]
        seen = await _field(request, "seen")
        if seen and not (seen.isascii() and seen.isdigit()):
            return error_json(400, "bad_field", "'seen' is the number of an alarm.")
        view = self._board.view(alert_id)
        if seeing and view is not None and not is_cleared(view, self._signons.person_of(screen)):
            return error_json(403, "not_cleared", "You may not see this alert.", "contact dispatch")
        try:
            await run_in_threadpool(
                lambda: act(
                    alert_id, screen.sign_on.actor, seen=int(seen[:18]) if seen else None, **fields
                )
            )
        except InputError as error:
            return error_json(404, "no_alert", error.message)
        except RefusedError as error:
            status = 400 if error.reason == "bad_field" else 409
            return error_json(status, error.reason, error.message, error.remedy)
        return Response(status_code=204)

    @staticmethod
    def _screen(request: Request) -> Screen:
        screen: Screen = request.state.screen
        return screen


async def _field(request: Request, name: str) -> str:
    """A field of the form; empty when it is missing or is a file."""
    value = (await request.form()).get(name, "")
    return value if isinstance(value, str) else ""
