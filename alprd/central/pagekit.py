"""What the administration pages share: the guard of every handler, and forms as values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from alprd.central.store import Central
from alprd.errors import AlprdError, InputError, RefusedError

if TYPE_CHECKING:
    from alprd.central.app import Pages, SignedOn

Handler = Callable[[Request, "SignedOn"], Any]
_MAX_FIELD: Final = 4000


def guard(pages: Pages, handler: Handler) -> Callable[[Request], Any]:
    """Deny by default: no session, no page; a form from elsewhere does nothing."""

    async def guarded(request: Request) -> Response:
        session = await run_in_threadpool(pages.current, request)
        if session is None:
            return RedirectResponse("/sign-on", 303)
        if request.method == "POST":
            form = await request.form(max_files=1, max_fields=40)
            if not pages.from_session(form, session):
                await request.close()
                return PlainTextResponse("The form was not from this session.", 403)
        try:
            answer: Response = await handler(request, session)
        except RefusedError as error:
            return PlainTextResponse(f"Not allowed: {error.message}.", 403)
        except InputError as error:
            return PlainTextResponse(f"Not found: {error.message}.", 404)
        finally:
            await request.close()  # the file that was sent
        return answer

    return guarded


def text(form: FormData, name: str) -> str:
    """A field as typed, without space around it; empty when it was not sent."""
    value = form.get(name, "")
    return value.strip()[:_MAX_FIELD] if isinstance(value, str) else ""


def sentence(error: AlprdError) -> str:
    """A refusal for a page."""
    remedy = f" ({error.remedy})" if error.remedy else ""
    return f"Not done: {error.message}{remedy}."


def instant(central: Central, typed: str, name: str) -> datetime:
    """A time or date of a form, in the agency's zone, as UTC.

    Raises:
        InputError: not a time.
    """
    try:
        value = datetime.fromisoformat(typed)
        if value.tzinfo is None:
            value = value.replace(tzinfo=central.config.zone())
        return value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{name}: not a time") from None
