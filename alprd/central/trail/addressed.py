"""Tells the trail from which address a request came (R-AT-2)."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from alprd.central.storage.audit import ADDRESS


class Addressed:
    """Sets the address for everything that a request does, also in worker threads.

    Behind a proxy this is the proxy's address: its own log tells the rest.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        client = scope.get("client")
        mark = ADDRESS.set(str(client[0])[:128] if client else "")
        try:
            await self.app(scope, receive, send)
        finally:
            ADDRESS.reset(mark)
