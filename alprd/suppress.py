"""Address-confidentiality suppression in RAM, before anything is written, shown or sent.

The car holds keyed digests of folded plates only (R-460.5-b4, T-10). No count, log line or return
value of this module tells how many requests there are or which plate was covered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alprd.frames import PlateReading
from alprd.hotlist import Match


@dataclass(frozen=True, slots=True)
class Decision:
    """What may happen with a reading: the row of the R-460.5-b3 table that fits it.

    ``alerts`` are the matches that may be shown. ``keep``: the read may be sealed and queued; if
    False, nothing of it is written, and its box is masked in other reads' pictures (R-460.5-b5).
    """

    alerts: tuple[Match, ...]
    keep: bool


class SuppressionSet:
    """Keyed digests of protected plates; immutable."""

    EMPTY: SuppressionSet

    def __init__(self, digests: Iterable[str], key: bytes) -> None: ...

    def covers(self, reading: PlateReading) -> bool:
        """Whether the reading may be of a protected plate; over-suppression is accepted (T-10)."""
        raise NotImplementedError


def decide(covered: bool, matches: Sequence[Match]) -> Decision:
    """The decision table of R-460.5-b3 (T-12)."""
    raise NotImplementedError
