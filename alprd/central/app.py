"""The pages (placeholder while the car API lands)."""

from __future__ import annotations

from starlette.applications import Starlette

from alprd.central.store import Central


def create_app(central: Central) -> Starlette:
    """The pages of one agency."""
    return Starlette()
