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

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from alprd.errors import InputError, RefusedError
from alprd.frames import Character, PlateReading
from alprd.records import Category, PlateType, fold
from alprd.wire import Database, Hotlist, HotlistEntry, Policy

MatchKind = Literal["exact", "state-unknown", "look-alike", "other-state"]

LOOK_ALIKE_FLOOR: Final = 0.02
"""Least fused probability of the listed character where text and entry differ."""

_TWINS: Final = (frozenset("O0"), frozenset("I1"))
"""Pairs that many plate designs print alike: no reader can tell them apart."""
_KINDS: Final[tuple[MatchKind, ...]] = ("exact", "state-unknown", "look-alike", "other-state")
_PRIORITIES: Final = ("high", "medium", "low")
_MAX_PLATE: Final = 10
_MAX_LINE: Final = 4_096
_BLOCK: Final = 64
"""Entries a compressed block: small enough that unpacking one for a hit takes microseconds."""


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

    def age(self, now: datetime) -> timedelta:
        """Time since the supplier made the list."""
        return now - self.supplied_at


@dataclass(frozen=True)
class LoadedList:
    """One list, packed; made by :func:`load_hotlist`."""

    status: ListStatus
    _folds: NDArray[np.bytes_]
    """Sorted folds of the entries' plates, dtype S10."""
    _blocks: tuple[bytes, ...]
    """zlib of JSON lines, :data:`_BLOCK` entries each, in the order of ``_folds``."""

    def find(self, folded: str) -> Iterator[HotlistEntry]:
        """Every entry whose plate has this fold."""
        key = np.bytes_(folded.encode())
        row = int(np.searchsorted(self._folds, key, side="left"))
        stop = int(np.searchsorted(self._folds, key, side="right"))
        while row < stop:
            lines = zlib.decompress(self._blocks[row // _BLOCK]).split(b"\n")
            last = min(stop, (row // _BLOCK + 1) * _BLOCK)
            for line in lines[row % _BLOCK : row % _BLOCK + last - row]:
                yield HotlistEntry.model_validate_json(line)
            row = last


def load_hotlist(plain: bytes) -> LoadedList:
    """Unpack and check a decrypted hotlist target.

    Raises:
        InputError: not a hotlist, cut short, a field too many, or counts that do not fit; names
            the line and never its content.
    """
    folds: list[bytes] = []
    lines: list[bytes] = []
    counts: Counter[Category] = Counter()
    number = 1
    try:
        with gzip.GzipFile(fileobj=BytesIO(plain)) as text:
            header = Hotlist.model_validate_json(text.readline(_MAX_LINE))
            while line := text.readline(_MAX_LINE):
                number += 1
                entry = HotlistEntry.model_validate_json(line)
                counts[entry.category] += 1
                folds.append(fold(entry.plate).encode())
                lines.append(line.rstrip(b"\n"))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"hotlist is not whole gzip data (after line {number})",
            remedy="publish the list again; the car keeps the one before",
        ) from error
    except ValidationError:
        # The cause quotes the line, which holds a plate: it must not travel into logs.
        raise InputError(
            f"hotlist line {number} does not fit the closed schema",
            remedy="publish the list again; the car keeps the one before",
        ) from None
    wanted = {category: count for category, count in header.counts.items() if count}
    if len(lines) != header.entries or dict(counts) != wanted:
        raise InputError(
            f"hotlist {header.list_id} {header.version} holds {len(lines)} entries and its header "
            f"names {header.entries}, or the counts by category differ",
            remedy="publish the list again; the car keeps the one before",
        )
    packed = np.array(folds, dtype=f"S{_MAX_PLATE}")
    order = np.argsort(packed, kind="stable")
    blocks = tuple(
        zlib.compress(b"\n".join(lines[row] for row in order[at : at + _BLOCK]), 1)
        for at in range(0, len(lines), _BLOCK)
    )
    status = ListStatus(
        header.list_id, header.source, header.version, header.supplied_at, len(lines), counts
    )
    return LoadedList(status, packed[order], blocks)


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
    known = reading.characters
    sure = tuple(Character(char, 1.0) for char in reading.text)
    if "".join(item.char for item in known[: len(reading.text)]) == reading.text:
        sure = known[: len(reading.text)]
    found = [Variant(reading.text, sure, with_stacked=False)]
    if reading.stacked:
        side = tuple(Character(char, 1.0) for char in reading.stacked)
        rest = known[len(reading.text) :]
        if "".join(item.char for item in rest) == reading.stacked:
            side = rest
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

    def match(
        self, reading: PlateReading, now: datetime, *, plate_type: PlateType | None = None
    ) -> tuple[Match, ...]:
        """Every entry that the reading fits at ``now`` (aware UTC), best kind first.

        A list past its longest use matches nothing (R-460.4.1-b4), an entry past its end neither
        (R-460.4.1-b2); both are judged by ``now`` alone, so they hold offline. ``plate_type`` is
        compared where entry and reading both know it.
        """
        found: list[Match] = []
        for loaded in self._lists:
            if loaded.status.age(now) > self._longest_use:
                continue
            for variant in variants(reading):
                if len(variant.text) > _MAX_PLATE:
                    continue
                for entry in loaded.find(fold(variant.text)):
                    if entry.expires is not None and entry.expires <= now:
                        continue
                    if plate_type and entry.plate_type and plate_type != entry.plate_type:
                        continue
                    differing = _differing(entry.plate, variant)
                    if differing is None:
                        continue
                    found.append(
                        Match(
                            entry=entry,
                            list_id=loaded.status.list_id,
                            source=loaded.status.source,
                            version=loaded.status.version,
                            supplied_at=loaded.status.supplied_at,
                            kind=_kind(entry.state, reading.region, differing),
                            differing=differing,
                            with_stacked=variant.with_stacked,
                        )
                    )
        found.sort(key=lambda m: (_KINDS.index(m.kind), _PRIORITIES.index(m.entry.priority)))
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
        return [loaded.status for loaded in self._lists]


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
