"""What needs a person: the line of the first page, and the protocol of those who tell one.

A *source* is a function ``(central, tx, now) -> list[Todo]``; the areas' sources stand in
:data:`alprd.central.oversight.todos.SOURCES`. A line names no plate, no case number and no
requester: whoever is told goes to the page, where the look is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from alprd.central.staff.permissions import Act
from alprd.central.storage.store import Central

Urgency = Literal["now", "soon"]


@dataclass(frozen=True, slots=True)
class Todo:
    """One line: what waits, since or until when, and where it is done."""

    area: str
    text: str
    link: str
    """Path of the page on which it is done."""
    acts: tuple[Act, ...]
    """The line is shown to those who may do one of these."""
    urgency: Urgency = "now"
    due: datetime | None = None


Source = Callable[[Central, Connection, datetime], list[Todo]]


def several(
    found: Sequence[Todo], most: int, rest: str, link: str, acts: tuple[Act, ...]
) -> list[Todo]:
    """The first lines of one kind, and one line for all others, so that none hides the rest."""
    shown = list(found[:most])
    if len(found) > most:
        urgency: Urgency = "now" if any(one.urgency == "now" for one in found[most:]) else "soon"
        shown.append(Todo(found[0].area, f"{len(found) - most} more {rest}", link, acts, urgency))
    return shown
