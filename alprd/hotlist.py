"""Hotlists in the car: loading a verified list and matching a reading against it, in RAM.

A list arrives as gzip of JSON lines (:class:`alprd.wire.Hotlist`, then one
:class:`alprd.wire.HotlistEntry` a line). It is kept *packed*: the folds of all entries as one
sorted array of 10-byte strings, and the entries' own JSON in compressed blocks in the same order,
so that an entry costs about 40 bytes and only a hit unpacks a block.

Matching compares the whole plate, never a part of it: the text alone, and the stacked letters
before and after it. An entry with the same look-alike fold but another text matches only where
the reader itself was unsure (:data:`LOOK_ALIKE_FLOOR`): a surely read B is not a listed 8.

Rules: R-460.4.1-b (allowed sources only), -b2 (entries expire offline), -b4 (a list past its age
matches nothing but stays loaded), R-460.4-f (other and unknown state are told as such).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from alprd.frames import PlateReading
from alprd.records import Category, PlateType
from alprd.wire import Database, HotlistEntry, Policy

MatchKind = Literal["exact", "look-alike", "other-state", "state-unknown"]


@dataclass(frozen=True, slots=True)
class Match:
    """One list entry that a reading fits, and how well.

    ``kind`` names the gravest doubt: *other-state* (both states known, different), *look-alike*
    (text differs at ``differing``), *state-unknown* (of the reading or of the entry), *exact*.
    """

    entry: HotlistEntry
    list_id: str
    source: str
    version: str
    supplied_at: datetime
    kind: MatchKind
    differing: tuple[int, ...]
    """Positions in ``entry.plate`` whose character differs from the one read."""
    with_stacked: bool
    """The entry was met by the text together with the stacked letters."""


@dataclass(frozen=True, slots=True)
class ListStatus:
    """A loaded list, for the MDT and the log (R-460.4.1-b4, R-460.5.1-b2)."""

    list_id: str
    source: str
    version: str
    supplied_at: datetime
    entries: int
    counts: Mapping[Category, int]


@dataclass(frozen=True)
class LoadedList:
    """One list, packed; made by :func:`load_hotlist`."""

    status: ListStatus


def load_hotlist(plain: bytes) -> LoadedList:
    """Unpack and check a decrypted hotlist target.

    Raises:
        InputError: not a hotlist, cut short, or a field too many; names the line.
    """
    raise NotImplementedError


class Matcher:
    """Immutable snapshot over the loaded lists; swap the whole object to change a list."""

    def __init__(self, lists: Sequence[LoadedList], policy: Policy) -> None:
        """Refuses a list whose source the policy does not allow (R-460.4.1-b).

        Raises:
            RefusedError: ``source_not_allowed``.
        """

    def match(
        self, reading: PlateReading, now: datetime, *, plate_type: PlateType | None = None
    ) -> tuple[Match, ...]:
        """Every entry that the reading fits at ``now`` (aware UTC), best kind first."""
        raise NotImplementedError

    def databases(self) -> tuple[Database, ...]:
        """Every loaded list for the public log, stale ones too (R-460.5.1-b2)."""
        raise NotImplementedError

    def lists(self) -> list[ListStatus]:
        """Every loaded list with its age and counts by category (R-460.4.1-b4)."""
        raise NotImplementedError
