"""The host name of a car's page, on which car and central must agree (ADR 0038).

The page of car ``unit-12`` is ``unit-12.alprd.internal``; ``.internal`` is kept for private use
and resolves nowhere else.
"""

from __future__ import annotations

import re
from typing import Final

from alprd.errors import ConfigError

DOMAIN: Final = "alprd.internal"
_NAME: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


def page_name(vehicle: str) -> str:
    """The host name of a car's page.

    Raises:
        ConfigError: the vehicle's name cannot stand in a host name.
    """
    name = vehicle.lower()
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the page of {vehicle!r} can have no host name",
            remedy="enrol the car under a name of letters, digits and dashes",
        )
    return f"{name}.{DOMAIN}"
