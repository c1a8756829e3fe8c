"""What the administration pages share: the guard of every handler, and forms as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from alprd.central.pages import inventory, navigation
from alprd.central.staff import people
from alprd.central.storage import attachments
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import AlprdError, InputError, RefusedError

if TYPE_CHECKING:
    from alprd.central.pages.app import Pages, SignedOn

Handler = Callable[[Request, "SignedOn"], Any]
_MAX_FIELD: Final = 4000


def guard(pages: Pages, handler: Handler) -> Callable[[Request], Any]:
    """Deny by default: nothing without an entry in the inventory, a session and one of its acts.

    A form from elsewhere does nothing. What is refused for the role or the person's standing is
    recorded (R-AT-1, R-13.824-7-3); what a handler refuses in a form it shows there itself.
    """

    async def guarded(request: Request) -> Response:
        entry = inventory.find(request.method, request.url.path)
        if entry is None:
            return PlainTextResponse("There is no such page.", 404)
        session = await run_in_threadpool(pages.current, request)
        if session is None:
            return RedirectResponse("/sign-on", 303)
        navigation.HERE.set(request.url.path)
        if request.method == "POST":
            form = await request.form(max_files=2, max_fields=300)
            if not pages.from_session(form, session):
                await request.close()
                return pages.refused(session, "The form was not from this session.", 403)
        try:
            people.require(session.person, entry.acts[0], pages.central.clock(), *entry.acts[1:])
            answer: Response = await handler(request, session)
        except RefusedError as error:
            await run_in_threadpool(note_refusal, pages.central, session, entry, error)
            return pages.refused(session, f"Not allowed: {error.message}.", 403)
        except InputError as error:
            return pages.refused(session, f"Not found: {error.message}.", 404)
        finally:
            await request.close()  # the file that was sent
        return answer

    return guarded


def note_refusal(
    central: Central, session: SignedOn, entry: inventory.Entry, error: RefusedError
) -> None:
    """Put into the trail who was refused what, by the route's template and never by its values."""
    with central.database.write() as tx:
        central.trail.record(
            tx,
            Event.ACCESS_REFUSED,
            people.actor(session.person),
            at=central.clock(),
            detail={"route": f"{entry.method} {entry.path}", "reason": error.reason},
        )


@dataclass(frozen=True, slots=True)
class Paging:
    """One page of a long register; the server cuts it, never the browser."""

    page: int
    total: int
    size: int = 50
    keep: tuple[tuple[str, str], ...] = ()
    """What else stands in the address of a page, such as the filter."""

    @property
    def pages(self) -> int:
        """How many there are, at least one."""
        return max(1, -(-self.total // self.size))

    @property
    def offset(self) -> int:
        """Rows before this page."""
        return (self.page - 1) * self.size

    def query(self, page: int) -> str:
        """The query of another page."""
        return urlencode([*self.keep, ("page", str(page))])


def paging(request: Request, total: int, *keep: str, size: int = 50) -> Paging:
    """The page that a request asks for; what is no page is the first or the last."""
    typed = request.query_params.get("page", "1")
    number = int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 9 else 1
    kept = tuple((n, request.query_params[n][:200]) for n in keep if n in request.query_params)
    made = Paging(max(1, number), total, size, kept)
    return made if made.page <= made.pages else replace(made, page=made.pages)


def text(form: FormData, name: str) -> str:
    """A field as typed, without space around it; empty when it was not sent."""
    value = form.get(name, "")
    return value.strip()[:_MAX_FIELD] if isinstance(value, str) else ""


async def upload(form: FormData, name: str) -> bytes:
    """A file of a form, one byte more than may be kept at most; empty when none was sent."""
    file = form.get(name)
    return await file.read(attachments.MAX_BYTES + 1) if isinstance(file, UploadFile) else b""


def download(content: bytes, name: str, kind: str = "application/octet-stream") -> Response:
    """A file for the browser to keep; ``name`` is the program's own, never typed by a person."""
    head = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=head)


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
