"""Address-confidentiality suppression in RAM, before anything is written, shown or sent.

The car holds keyed digests of folded plates only: ``HMAC-SHA-256(key, fold(plate))[:16]``
(R-460.5-b4, T-10). The space of plates is small, so the key is the protection, and the fold puts
every look-alike of a protected plate into the set: over-suppression is accepted (T-10). No count,
log line or return value of this module tells how many requests there are.

Decision table of R-460.5-b3 (T-12), a row a matched entry::

    category                    plate covered     plate not covered
    stolen                      alert, not kept   alert, kept
    owner_warrant               alert, not kept   alert, kept
    active_investigative        alert, not kept   alert, kept
    owner_suspended_revoked     nothing           alert, kept
    other_lpdf                  nothing           alert, kept
    (no match)                  nothing           kept
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import ClassVar, Final

from alprd.errors import InputError
from alprd.frames import PlateReading
from alprd.hotlist import Match, Variant, variants
from alprd.records import Category, fold

CRIMINAL: Final[frozenset[Category]] = frozenset(
    ("stolen", "owner_warrant", "active_investigative")
)
"""Categories that alert even for a covered plate (R-460.5-b3)."""

MAX_COMBINATIONS: Final = 4_096
_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Decision:
    """What may happen with a reading: the row of the R-460.5-b3 table that fits it.

    ``alerts`` are the matches that may be shown. ``keep``: the read may be sealed and queued; if
    False, nothing of it is written, and its box is masked in other reads' pictures (R-460.5-b5).
    """

    alerts: tuple[Match, ...]
    keep: bool


def plate_digest(key: bytes, plate: str) -> bytes:
    """The 16-byte keyed digest of a plate's fold, as central publishes it."""
    return hmac.digest(key, fold(plate).encode(), "sha256")[:_DIGEST_BYTES]


class SuppressionSet:
    """Keyed digests of protected plates, padding included; immutable.

    Its printed form and its attributes tell nothing: not the key, not the size.
    """

    EMPTY: ClassVar[SuppressionSet]
    __slots__ = ("_digests", "_key")

    def __init__(self, digests: Iterable[str], key: bytes) -> None:
        """Take the digests of ``suppression.bin`` (32 hex digits each) and their key.

        Raises:
            InputError: a digest of another shape, or a key shorter than 16 bytes.
        """
        try:
            self._digests: Final = frozenset(bytes.fromhex(item) for item in digests)
        except ValueError:
            raise InputError("suppression digest is not hex", remedy="publish it again") from None
        if any(len(item) != _DIGEST_BYTES for item in self._digests):
            raise InputError("suppression digest is not 16 bytes", remedy="publish it again")
        if self._digests and len(key) < _DIGEST_BYTES:
            raise InputError("suppression key is too short", remedy="publish the wraps again")
        self._key: Final = key

    def covers(self, reading: PlateReading) -> bool:
        """Whether the reading may be of a protected plate (R-460.5-b2).

        Tried are the text, the text with the stacked letters in both orders, and every
        combination of the characters' alternatives (all above 1 %). Beyond
        :data:`MAX_COMBINATIONS` a form, the least likely alternatives are left out.
        """
        return any(
            hmac.digest(self._key, folded.encode(), "sha256")[:_DIGEST_BYTES] in self._digests
            for variant in variants(reading)
            for folded in _folds(variant)
        )

    def covers_text(self, text: str) -> bool:
        """Whether a plate text by itself may be a protected plate's."""
        return plate_digest(self._key, text) in self._digests

    def __repr__(self) -> str:
        return "SuppressionSet(…)"


SuppressionSet.EMPTY = SuppressionSet((), b"")


def _folds(variant: Variant) -> Iterator[str]:
    """Folds of every combination of alternatives, at most :data:`MAX_COMBINATIONS`."""
    choices: list[dict[str, float]] = []
    for item in variant.characters:
        # Folded first: alternatives of one fold (8 and B) are a single choice.
        position: dict[str, float] = {fold(item.char): 2.0}  # never left out
        for char, probability in item.alternatives:
            folded = fold(char)
            position[folded] = max(position.get(folded, 0.0), probability)
        choices.append(position)
    while prod(len(position) for position in choices) > MAX_COMBINATIONS:
        least = min(
            (position for position in choices if len(position) > 1),
            key=lambda position: min(position.values()),
        )
        del least[min(least, key=least.__getitem__)]
    return ("".join(chars) for chars in product(*choices))


def decide(covered: bool, matches: Sequence[Match]) -> Decision:
    """The decision table of R-460.5-b3 (T-12); see the module's docstring."""
    if not covered:
        return Decision(tuple(matches), keep=True)
    return Decision(tuple(m for m in matches if m.entry.category in CRIMINAL), keep=False)
