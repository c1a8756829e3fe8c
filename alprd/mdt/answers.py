"""Pages and errors as they go out: one set of templates, one shape of error.

An error is one line of what is wrong, a remedy and a code. A program and the page's own scripts
get it as JSON; a browser that navigates gets a page in the page's own style with a way back, never
a bare word on white: a deputy at night must not be dazzled by a mistyped address.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(("html",)),
    undefined=StrictUndefined,
)


def wants_page(headers: Headers) -> bool:
    """Whether the client is a browser that navigates, not a program or a script."""
    return "text/html" in headers.get("accept", "")


def page(headers: Headers, template: str, http_status: int = 200, **values: object) -> HTMLResponse:
    """A template as a page in the theme of the client.

    The theme comes with the page itself, so that night mode never flashes white.
    """
    cookies = cookie_parser(headers.get("cookie", ""))
    theme = "day" if cookies.get("alprd_theme") == "day" else "night"
    dim = cookies.get("alprd_dim", "0")
    dim = dim if dim in {"1", "2"} else "0"
    html = _TEMPLATES.get_template(template).render(theme=theme, dim=dim, **values)
    return HTMLResponse(html, status_code=http_status)


class ErrorAnswer(JSONResponse):
    """An error; who asks decides whether it goes out as JSON or as a page."""

    def __init__(self, status: int, code: str, message: str, remedy: str = "") -> None:
        self.code, self.message, self.remedy = code, message, remedy
        body = {"error": code, "message": message}
        super().__init__(body | ({"remedy": remedy} if remedy else {}), status_code=status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        headers = Headers(scope=scope)
        if not wants_page(headers):
            await super().__call__(scope, receive, send)
            return
        shown = page(
            headers,
            "error.html",
            self.status_code,
            status=self.status_code,
            code=self.code,
            message=self.message,
            remedy=self.remedy,
        )
        await shown(scope, receive, send)


def error_json(status: int, code: str, message: str, remedy: str = "") -> ErrorAnswer:
    """An error for programs, for the page's own scripts and, where a browser asks, as a page."""
    return ErrorAnswer(status, code, message, remedy)


async def no_route(request: Request, error: Exception) -> Response:
    """404, 405 and whatever else no route has answered."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code, message, remedy = _UNROUTED.get(
        status,
        (
            HTTPStatus(status).name.lower(),
            "The plate reader cannot answer this.",
            "go back to the alerts",
        ),
    )
    answer = error_json(status, code, message, remedy)
    if isinstance(error, HTTPException) and error.headers:
        answer.headers.update(error.headers)
    return answer


def failed() -> Response:
    """A fault of ours: nothing of it goes out."""
    return error_json(
        500,
        "failed",
        "This did not work.",
        "try again; if it stays so, call the ALPR administrator",
    )


_UNROUTED: Final = {
    404: ("no_such_page", "There is no such page here.", "go back to the alerts"),
    405: ("no_such_act", "This address does not take such a request.", "go back to the alerts"),
}
