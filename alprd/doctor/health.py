"""What the running daemon tells of itself on loopback, for checks whose devices it holds."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

from alprd.config import Config

TIMEOUT_S: Final = 3.0


def ask(config: Config) -> dict[str, Any] | None:
    """The daemon's ``/healthz`` document; None if there is none or it cannot be understood."""
    section = config.health
    port = section.port
    if section.run_file is not None:
        try:
            port = int(json.loads(section.run_file.read_text())["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
    try:
        # 503 carries the same document: it says that something is wrong, which is asked for here.
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            found = client.get(f"http://{section.host}:{port}/healthz").json()
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None
