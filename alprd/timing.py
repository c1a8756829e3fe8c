"""How long the stages of a frame take: histograms in RAM, of bounded size.

Only stages before the suppression decision are measured. Times or counts after it (matching,
sealing, committing) would tell, pass by pass, which reads were kept (R-460.5-b4).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

BOUNDS_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets, seconds; one more has none."""
STAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wait": "from a frame's instant until the reader takes it",
        "read": "detection, tracking and reading of one frame",
    }
)


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram at one moment: ``buckets`` has a count for each bound, and one beyond them."""

    buckets: tuple[int, ...]
    total_s: float


class Timing:
    """The histograms of one camera. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets = {stage: [0] * (len(BOUNDS_S) + 1) for stage in STAGES}
        self._totals = dict.fromkeys(STAGES, 0.0)

    def note(self, stage: str, seconds: float) -> None:
        """Count one frame's time in a stage of :data:`STAGES`."""
        took = max(0.0, seconds)
        with self._lock:
            self._buckets[stage][bisect_left(BOUNDS_S, took)] += 1
            self._totals[stage] += took

    def counts(self) -> dict[str, Counts]:
        """Every stage's histogram as of now."""
        with self._lock:
            return {
                stage: Counts(tuple(self._buckets[stage]), self._totals[stage]) for stage in STAGES
            }
