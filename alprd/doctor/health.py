"""What the running daemon tells of itself on loopback, for checks whose devices it holds."""

from __future__ import annotations

from typing import Any, Final

import httpx

from alprd.config import Config

TIMEOUT_S: Final = 3.0


def ask(config: Config) -> dict[str, Any] | None:
    """The daemon's ``/healthz`` document; None if there is none or it cannot be understood."""
    section = getattr(config, "health", None)
    port = getattr(section, "port", None)
    if not port:
        return None
    host = getattr(section, "host", "127.0.0.1")
    try:
        # 503 carries the same document: it says that something is wrong, which is asked for here.
        reply = httpx.Client(trust_env=False, timeout=TIMEOUT_S).get(
            f"http://{host}:{port}/healthz"
        )
        found = reply.json()
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None
