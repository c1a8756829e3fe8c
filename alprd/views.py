"""What a card says at one moment, frozen: what page, trail and shift are made from. RAM only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from alprd.dispositions import Disposition
from alprd.frames import PlateReading
from alprd.hotlist import Match

State = Literal["new", "silenced", "acknowledged", "withdrawn"]
Picture = Literal["plate", "wide"]


@dataclass(frozen=True, slots=True)
class AlertView:
    """What a card says at one moment; pictures are fetched by id and version."""

    id: str
    number: int
    """Number of the card's last change."""
    alarm: int
    """Number of its last loud change: what a page sounds once for."""
    state: State
    reading: PlateReading
    match: Match
    camera: str
    pass_id: str
    session: str
    instant: datetime
    first_instant: datetime
    time_trusted: bool
    captured_mono_ns: int
    """Monotonic instant of the frame in which this text was first read."""
    count: int
    corrected_from: str
    """Text told before a correction, else empty."""
    reason: str
    """Why it, or one of its sightings, was withdrawn, else empty."""
    has_wide: bool
    picture_version: int
    suppressed: bool
    """Under R-460.5-b3: kept only if linked to a case. Never told to page or trail."""
    disposition: Disposition = field(default_factory=Disposition)
    cleared_until: datetime | None = None
    """Until when this plate does not alarm again, if the person cleared it."""
    decided_mono_ns: int = 0
    """Monotonic instant of the frame whose reading made it an alert; 0: not known."""


@dataclass(frozen=True, slots=True)
class Change:
    """A card as it now is (``view``), or that it has left the board (``None``)."""

    number: int
    alert_id: str
    view: AlertView | None
