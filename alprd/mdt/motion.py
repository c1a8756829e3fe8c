"""Whether the car moves, by GPS: then nobody may be asked to read or type (driving mode).

Speed is the way between two positions four seconds apart, so that the jitter of a standing
receiver stays below the bound. Without positions the car counts as standing: a garage has no
satellites, and the deputy must be able to record there; the page says that GPS is away.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from alprd.records import Position

MOVING_MPS: Final = 2.5
"""Metres a second from which the car moves."""
STANDING_MPS: Final = 1.5
"""Below this it stands again."""
_SPAN_S: Final = 4.0
_BEHIND_S: Final = 0.5
_METRES_PER_DEGREE: Final = 111_195.0


class Motion:
    """Looks at positions when asked; any thread.

    Args:
        at: position at a monotonic instant (ns), or None.
    """

    def __init__(
        self,
        at: Callable[[int], Position | None],
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._at = at
        self._monotonic_ns = monotonic_ns
        self._moving = False

    def speed(self) -> float | None:
        """Metres a second, or None while there are no positions."""
        now = self._monotonic_ns() - round(_BEHIND_S * 1e9)
        here, before = self._at(now), self._at(now - round(_SPAN_S * 1e9))
        if here is None or before is None:
            return None
        north = here.lat - before.lat
        east = ((here.lon - before.lon + 180) % 360 - 180) * math.cos(math.radians(here.lat))
        return math.hypot(north, east) * _METRES_PER_DEGREE / _SPAN_S

    def __call__(self) -> bool:
        """Whether the car moves, with hysteresis."""
        speed = self.speed()
        bound = STANDING_MPS if self._moving else MOVING_MPS
        self._moving = speed is not None and speed >= bound
        return self._moving
