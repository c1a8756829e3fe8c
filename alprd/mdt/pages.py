"""Sign-on and sign-off, the page itself and its events."""

from __future__ import annotations

import json
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from alprd.dispositions import ACTIONS, CLEARED_REASONS, REASONS, RESULTS
from alprd.errors import RefusedError
from alprd.mdt.answers import error_json, page, wants_page
from alprd.mdt.context import MdtContext
from alprd.mdt.events import EventStream
from alprd.mdt.present import CATEGORY_LABELS
from alprd.mdt.security import (
    FORM_COOKIE,
    SESSION_COOKIE,
    FormTokens,
    RateLimit,
)
from alprd.mdt.signons import NOTICE, Screen, SignOns
from alprd.roster import PURPOSES
from alprd.settling import Settling

_WORDS: Final = json.dumps(
    {
        "results": dict(RESULTS),
        "actions": dict(ACTIONS),
        "reasons": dict(REASONS),
        "cleared_reasons": dict(CLEARED_REASONS),
        "categories": CATEGORY_LABELS,
    }
)
"""Codes and labels for the page's script."""

_ROSTER: Final = "the roster no longer admits you; the next sign-on says why."
ENDED: Final = {
    "signed_off": "You are signed off.",
    "hand_over": "You are signed off: somebody else has signed on in this car.",
    "new_purpose": "You are signed off here: you have signed on anew on another screen.",
    "renewed": "You are signed off here: you have signed on anew on another screen.",
    "idle": "You are signed off: no page was open for half an hour.",
    "ignition_off": "You are signed off: the ignition is off.",
    "shift_over": "You are signed off: the longest shift is over.",
}
"""By the reason of the last end (:class:`alprd.mdt.signons.Collection`)."""
RESTARTED: Final = "The plate reader was started anew, so nobody is signed on. Sign on again."
NOT_KEPT: Final = (
    "Alerts from before are not kept on this computer: ask dispatch about what was still open."
)


class Pages:
    """Sign-on, the page itself, its events and the end of the shift, over one context."""

    def __init__(self, context: MdtContext, signons: SignOns, settling: Settling) -> None:
        self._context = context
        self._signons = signons
        self._settling = settling
        self._forms = FormTokens()
        self._rate = RateLimit(burst=10, per_second=1 / 6)

    # --- sign-on -------------------------------------------------------------------------

    async def sign_on_form(self, request: Request) -> Response:
        cookie = request.cookies.get(FORM_COOKIE) or self._forms.new_cookie()
        if wants_page(request.headers):
            response = self._form_page(request, cookie, None, {})
        else:
            response = JSONResponse(
                {
                    "csrf": self._forms.token(cookie),
                    "purposes": dict(PURPOSES),
                    "notice": NOTICE,
                }
            )
        self._set_cookie(request, response, FORM_COOKIE, cookie)
        return response

    async def sign_on(self, request: Request) -> Response:
        form = {k: v for k, v in (await request.form()).items() if isinstance(v, str)}
        cookie = request.cookies.get(FORM_COOKIE)
        if not self._forms.fits(cookie, form.get("csrf", "")):
            old = RefusedError(
                "The form was out of date.", reason="csrf", remedy="fill it in again"
            )
            return self._refused(request, form, 403, old)
        address = request.client.host if request.client else ""
        if not self._rate.allow(address):
            return self._refused(
                request,
                form,
                429,
                RefusedError("Too many tries. Wait a few seconds.", reason="rate"),
            )
        try:
            token, screen = await run_in_threadpool(
                self._signons.sign_on,
                form.get("person", "").strip(),
                form.get("password", ""),
                purpose=form.get("purpose", ""),
                unit=form.get("unit", "").strip(),
                acknowledged=form.get("acknowledged") == "on",
                code=form.get("code", "").strip(),
            )
        except RefusedError as error:
            if error.reason not in ("wrong_password", "wrong_code", "locked", "car_locked"):
                self._rate.give_back(address)
            return self._refused(request, form, 403, error)
        response: Response
        if wants_page(request.headers):
            response = RedirectResponse("/", status_code=303)
        else:
            response = JSONResponse(_session_json(screen))
        self._set_cookie(request, response, SESSION_COOKIE, token)
        return response

    def _refused(
        self, request: Request, form: dict[str, str], status: int, error: RefusedError
    ) -> Response:
        if not wants_page(request.headers):
            return error_json(status, error.reason, error.message, error.remedy)
        cookie = request.cookies.get(FORM_COOKIE) or self._forms.new_cookie()
        response = self._form_page(request, cookie, error, form, status)
        self._set_cookie(request, response, FORM_COOKIE, cookie)
        return response

    def _form_page(
        self,
        request: Request,
        cookie: str,
        error: RefusedError | None,
        form: dict[str, str],
        status: int = 200,
    ) -> Response:
        kept = {name: form.get(name, "") for name in ("person", "purpose", "unit")}
        return self._page(
            request,
            "sign_on.html",
            status,
            csrf=self._forms.token(cookie),
            purposes=PURPOSES,
            notice=NOTICE,
            error=error,
            locked=self._context.locker.alarm if self._context.locker else None,
            ended=self._why_over() if "ended" in request.query_params else "",
            kept=kept,
        )

    def _why_over(self) -> str:
        """Why the sign-on of a page that was open is over, in plain words."""
        reason = self._signons.last_end
        if reason is None:  # nobody's has ended since the start: it ended with the former process
            return RESTARTED if self._context.lasting else f"{RESTARTED} {NOT_KEPT}"
        return ENDED.get(reason, f"You are signed off: {_ROSTER}")

    async def shift(self, request: Request) -> Response:
        """What is left to do before the sign-off, and how the alerts came out."""
        left = self._context.board.unresolved()
        shift = self._context.board.shift
        return JSONResponse(
            {
                "unresolved": [one.id for one in left],
                "by_list": {key: dict(counts) for key, counts in shift.by_list().items()},
                "handed_over": shift.handed_over,
                "silenced": list(shift.categories),
            }
        )

    async def sign_off(self, request: Request) -> Response:
        """Sign off; unresolved alerts are handed over with a note, or it is refused."""
        screen: Screen = request.state.screen
        note = (await request.form()).get("note")
        left = await run_in_threadpool(self._context.board.unresolved)
        if left:
            if self._context.moving():
                message = _unresolved(len(left), ", and the car moves.")
                return error_json(409, "driving", message, "sign off when the car stands")
            if not isinstance(note, str) or not note.strip():
                message = _unresolved(len(left), ": settle {} or hand {} over.")
                return error_json(409, "unresolved", message, "give a note for the next person")
            try:
                await run_in_threadpool(self._settling.hand_over, screen.sign_on.actor, note)
            except RefusedError as error:
                return error_json(400, error.reason, error.message, error.remedy)
        await run_in_threadpool(self._signons.sign_off, request.state.screen)
        response: Response = (
            RedirectResponse("/sign-on", status_code=303)
            if wants_page(request.headers)
            else Response(status_code=204)
        )
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    async def session(self, request: Request) -> Response:
        return JSONResponse(_session_json(request.state.screen))

    # --- page and events -----------------------------------------------------------------

    async def main(self, request: Request) -> Response:
        screen: Screen = request.state.screen
        return self._page(
            request,
            "main.html",
            csrf=screen.csrf,
            signed_on=screen.sign_on.id,
            person=screen.sign_on.person.name,
            unit=screen.sign_on.unit,
            purpose=PURPOSES[screen.sign_on.purpose],
            words=_WORDS,
            gateway=self._context.gateway is not None,
        )

    async def events(self, request: Request) -> Response:
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        stream = EventStream(
            board=self._context.board,
            signons=self._signons,
            status=self._context.status,
            clock=self._context.clock,
            moving=self._context.moving,
            duty=self._context.duty,
            token=request.cookies.get(SESSION_COOKIE, ""),
            stopping=request.app.state.stopping,
        )
        return stream.response(after)

    # --- plumbing ------------------------------------------------------------------------

    @staticmethod
    def _page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
        return page(request.headers, template, status, **values)

    @staticmethod
    def _set_cookie(request: Request, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            name, value, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )


def _session_json(screen: Screen) -> dict[str, str]:
    sign_on = screen.sign_on
    return {
        "person": sign_on.person.id,
        "name": sign_on.person.name,
        "purpose": sign_on.purpose,
        "unit": sign_on.unit,
        "signed_on": sign_on.id,
        "csrf": screen.csrf,
    }


def _unresolved(count: int, rest: str) -> str:
    """``rest`` follows, with the right pronoun in its gaps."""
    one = count == 1
    words = "1 alert is unresolved" if one else f"{count} alerts are unresolved"
    pronoun = "it" if one else "them"
    return words + rest.format(pronoun, pronoun)
