"""Whether the car has become a post: it collects at one place for hours (R-460.5.1-d).

A stationary reader's place belongs in the public log, so a car that collects at one place for
longer than :data:`POST_AFTER_H` hours asks its operator to declare it stationary. Only positions
tell that it moved: while there are none (a garage) the time waits, and the next fix says whether it
was spent at the same place. Places stay in RAM.
"""

from __future__ import annotations

import math
from typing import Final

from alprd.records import Position

POST_AFTER_H: Final = 4.0
RADIUS_M: Final = 150.0
"""A car that moves along a kerb or turns in a yard stays at one place."""
_METRES_PER_DEGREE: Final = 111_195.0


class PostWatch:
    """Adds up the time of collecting at one place; one user at a time.

    Args:
        after_h: hours at one place after which it is a post.
    """

    def __init__(self, *, after_h: float = POST_AFTER_H) -> None:
        self._after_s = after_h * 3600
        self._anchor: Position | None = None
        self._here_s = 0.0
        self._waiting_s = 0.0
        self._last: float | None = None

    def look(self, now_s: float, position: Position | None, *, collecting: bool) -> None:
        """One look, about every second.

        Args:
            now_s: evenly running seconds, those of sleep left out.
            position: where the car is, if it is known.
            collecting: whether a session is open; only that time counts.
        """
        passed = now_s - self._last if self._last is not None and collecting else 0.0
        self._last = now_s
        self._waiting_s += max(0.0, passed)
        if position is None:
            return
        if self._anchor is not None and apart_m(self._anchor, position) <= RADIUS_M:
            self._here_s += self._waiting_s
        else:
            self._anchor, self._here_s = position, 0.0
        self._waiting_s = 0.0

    @property
    def place(self) -> Position | None:
        """The place at which it adds up; ``None`` before the first fix."""
        return self._anchor

    @property
    def beyond(self) -> bool:
        """Whether the car has collected at this place for longer than a patrol does."""
        return self._here_s > self._after_s


def apart_m(one: Position, other: Position) -> float:
    """Distance on the ground in metres; good to a percent over a few kilometres."""
    north = (other.lat - one.lat) * _METRES_PER_DEGREE
    turn = (other.lon - one.lon + 180) % 360 - 180
    east = turn * _METRES_PER_DEGREE * math.cos(math.radians(one.lat))
    return math.hypot(north, east)
