"""What the person on duty may do with collecting, as the page asks for it."""

from __future__ import annotations

from typing import Protocol


class Duty(Protocol):
    """What the person on duty does with collecting; :class:`alprd.collecting.Collecting`."""

    incident: str

    def pause(self) -> None:
        """Rest."""

    def resume(self) -> None:
        """Go on."""

    def canvass(self, incident: str) -> None:
        """Begin a canvass of an incident, or end it (empty)."""

    def declare_post(self) -> None:
        """This place is a stationary post."""
