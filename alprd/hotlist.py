"""Hotlists in the car: matching a reading against all loaded lists, in RAM.

Matching compares the whole plate, never a part of it: the text alone, and the stacked letters
before and after it. An entry with the same look-alike fold but another text matches only where
the reader itself was unsure (:data:`LOOK_ALIKE_FLOOR`): a surely read B is not a listed 8.
Loading and what stands in RAM: :mod:`alprd.loadedlist`.

Rules: R-460.4.1-b (allowed sources only), -b2 (entries expire offline), -b4 (a list past its age
matches nothing but stays loaded), R-460.4-f (other and unknown state are told as such).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from alprd.errors import AlprdError, RefusedError
from alprd.frames import Character, PlateReading
from alprd.loadedlist import ListStatus, LoadedList, load_hotlist, load_hotlist_file
from alprd.records import PlateType, fold
from alprd.rows import MAX_PLATE
from alprd.wire import Database, HotlistEntry, Policy

__all__ = [
    "ListStatus", "LoadedList", "Match", "MatchKind", "Matcher", "Variant", "load_hotlist",
    "load_hotlist_file", "variants",
]  # fmt: skip

log = logging.getLogger(__name__)

MatchKind = Literal["exact", "state-unknown", "look-alike", "other-state"]

LOOK_ALIKE_FLOOR: Final = 0.02
"""Least fused probability of the listed character where text and entry differ."""

_TWINS: Final = (frozenset("O0"), frozenset("I1"))
"""Pairs that many plate designs print alike: no reader can tell them apart."""
_KINDS: Final[tuple[MatchKind, ...]] = ("exact", "state-unknown", "look-alike", "other-state")
_PRIORITIES: Final = ("high", "medium", "low")


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
    type_differs: bool = False
    """The entry is for another plate type than the one read: told, and never a reason to be silent
    (ADR 0037)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to write a reading as a whole plate; ``characters`` has an item a position."""

    text: str
    characters: tuple[Character, ...]
    with_stacked: bool


def variants(reading: PlateReading) -> tuple[Variant, ...]:
    """The text alone, and with the stacked letters before and after it (design: stacked letters).

    A position the reader gave no :class:`~alprd.frames.Character` for counts as surely read.
    """
    known, length = reading.characters, len(reading.text)
    sure = known if len(known) == length else known[:length]
    if "".join([item.char for item in sure]) != reading.text:
        sure = tuple(Character(char, 1.0) for char in reading.text)
    found = [Variant(reading.text, sure, with_stacked=False)]
    if reading.stacked:
        side = known[length:]
        if "".join([item.char for item in side]) != reading.stacked:
            side = tuple(Character(char, 1.0) for char in reading.stacked)
        found.append(Variant(reading.stacked + reading.text, side + sure, with_stacked=True))
        if reading.stacked + reading.text != reading.text + reading.stacked:
            found.append(Variant(reading.text + reading.stacked, sure + side, with_stacked=True))
    return tuple(found)


class Matcher:
    """Immutable snapshot over the loaded lists; swap the whole object to change a list."""

    def __init__(self, lists: Sequence[LoadedList], policy: Policy) -> None:
        """Refuses a list whose source the policy does not allow (R-460.4.1-b).

        Raises:
            RefusedError: ``source_not_allowed``, or two lists with one id (``list_twice``).
        """
        names: set[str] = set()
        for loaded in lists:
            status = loaded.status
            if status.source not in policy.sources:
                raise RefusedError(
                    f"hotlist {status.list_id} comes from source {status.source!r}, which the "
                    "signed policy does not allow",
                    reason="source_not_allowed",
                    remedy="match only lists of the policy's sources (R-460.4.1-b)",
                )
            if status.list_id in names:
                raise RefusedError(
                    f"hotlist {status.list_id} is there twice",
                    reason="list_twice",
                    remedy="give every list an id of its own",
                )
            names.add(status.list_id)
        self._lists: Final = tuple(lists)
        self._longest_use: Final = timedelta(hours=policy.list_stop_hours)
        self._damaged: Final[set[str]] = set()
        """Ids of lists of which an entry could not be read back from the disk."""

    def match(
        self, reading: PlateReading, now: datetime, *, plate_type: PlateType | None = None
    ) -> tuple[Match, ...]:
        """Every entry that the reading fits at ``now`` (aware UTC), best kind first.

        A list past its longest use matches nothing (R-460.4.1-b4), an entry past its end neither
        (R-460.4.1-b2); both are judged by ``now`` alone, so they hold offline. ``plate_type`` is
        compared where entry and reading both know it: another type makes a match the lesser one
        of its kind and is told with it. A list of which an entry cannot be read
        back matches nothing for this reading and is told by :meth:`lists` as damaged.
        """
        forms = [form for form in variants(reading) if len(form.text) <= MAX_PLATE]
        folds = [fold(form.text) for form in forms]
        found: list[Match] = []
        for loaded in self._lists:
            status = loaded.status
            if status.age(now) > self._longest_use:
                continue
            try:
                entries = loaded.find_all(folds)
            except AlprdError as error:
                # What a damaged disk took must not take the other lists, nor the read.
                if status.list_id not in self._damaged:
                    log.error("hotlist %s cannot be read: %s", status.list_id, error)
                self._damaged.add(status.list_id)
                continue
            for number, entry in entries:
                if entry.expires is not None and entry.expires <= now:
                    continue
                variant = forms[number]
                differing = _differing(entry.plate, variant)
                if differing is None:
                    continue
                found.append(
                    Match(
                        entry=entry,
                        list_id=status.list_id,
                        source=status.source,
                        version=status.version,
                        supplied_at=status.supplied_at,
                        kind=_kind(entry.state, reading.region, differing),
                        differing=differing,
                        with_stacked=variant.with_stacked,
                        type_differs=bool(
                            plate_type and entry.plate_type and plate_type != entry.plate_type
                        ),
                    )
                )
        found.sort(
            key=lambda m: (
                _KINDS.index(m.kind),
                m.type_differs,
                _PRIORITIES.index(m.entry.priority),
            )
        )
        return tuple(found)

    def databases(self) -> tuple[Database, ...]:
        """Every loaded list for the public log, stale ones too (R-460.5.1-b2)."""
        return tuple(
            Database(
                source=status.source,
                bundle=f"{status.list_id} {status.version}",
                supplied_at=status.supplied_at,
            )
            for status in self.lists()
        )

    def lists(self) -> list[ListStatus]:
        """Every loaded list with its age and counts by category (R-460.4.1-b4)."""
        return [
            replace(item.status, damaged=item.status.list_id in self._damaged)
            for item in self._lists
        ]


def _differing(listed: str, variant: Variant) -> tuple[int, ...] | None:
    """Where an entry of the same fold differs; None if the reader was sure it does."""
    found: list[int] = []
    for at, (wanted, read) in enumerate(zip(listed, variant.characters, strict=True)):
        if wanted == read.char:
            continue
        doubt = max((p for char, p in read.alternatives if char == wanted), default=0.0)
        if doubt < LOOK_ALIKE_FLOOR and frozenset((wanted, read.char)) not in _TWINS:
            return None
        found.append(at)
    return tuple(found)


def _kind(listed: str | None, read: str | None, differing: tuple[int, ...]) -> MatchKind:
    if listed is not None and read is not None and listed != read:
        return "other-state"
    if differing:
        return "look-alike"
    return "exact" if listed is not None and read is not None else "state-unknown"
