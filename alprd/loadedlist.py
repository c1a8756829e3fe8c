"""A verified hotlist, ready to match: what of it stands in RAM, and what stays on the disk.

In RAM stand the keys of all entries (:func:`alprd.rows.key_of`, 8 bytes each, sorted) and the
places of their blocks. What an entry says stays encrypted in the target's file, of which a hit
reads, verifies and unpacks one chunk; a list of up to :data:`RESIDENT` bytes is kept whole, still
encrypted, so that the disk does not matter to it (ADR 0025). The open file stays readable when
the list is replaced or its name removed; each chunk is verified each time that it is read.

Rules: R-460.4.1-b (only what was verified is loaded), -b4 (counts by category).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from alprd.crypto import decrypt_target
from alprd.errors import EnvelopeError, InputError, StoreError
from alprd.packed import MAGIC, header_of, pack
from alprd.records import Category
from alprd.rows import entry_of, key_of, row_of
from alprd.targetfile import BytesSource, Source, TargetReader
from alprd.unpack import open_body, row_from, sections
from alprd.wire import Hotlist, HotlistEntry

RESIDENT: Final = 32_000_000
"""Longest target, in bytes, that is kept whole in RAM: about a million entries."""
_MAX_LINE: Final = 4_096
_V1: Final = b"ALRT\x01"
_REMEDY: Final = "publish the list again; the car keeps the one before"


@dataclass(frozen=True, slots=True)
class ListStatus:
    """A loaded list, for the MDT and the log (R-460.4.1-b4, R-460.5.1-b2)."""

    list_id: str
    source: str
    version: str
    supplied_at: datetime
    entries: int
    counts: Mapping[Category, int]
    damaged: bool = False
    """An entry could not be read back from the disk: the list must be fetched again."""

    def age(self, now: datetime) -> timedelta:
        """Time since the supplier made the list."""
        return now - self.supplied_at


class LoadedList:
    """One list, immutable; made by :func:`load_hotlist` or :func:`load_hotlist_file`.

    Several threads may search it at once.
    """

    def __init__(self, source: Source) -> None:
        """Read keys and places of a packed list, and check its numbers.

        Raises:
            InputError: not a packed list, or damaged.
            EnvelopeError: a chunk of the target does not open.
        """
        header = header_of(source)
        self.status: Final = ListStatus(
            header.list_id,
            header.source,
            header.version,
            header.supplied_at,
            header.entries,
            {name: count for name, count in header.counts.items() if count},
        )
        self._source: Final = source
        # Made in their final size: nothing stands in RAM twice while a list loads.
        self._keys: Final[NDArray[np.uint64]] = np.empty(header.entries, dtype=np.uint64)
        firsts: list[NDArray[np.uint32]] = []
        offsets: list[NDArray[np.uint64]] = []
        lengths: list[NDArray[np.uint32]] = []
        row = 0
        for section in sections(source):
            self._keys[row : row + len(section.keys)] = section.keys
            sizes = section.counts.sum(axis=1, dtype=np.uint32)
            firsts.append(sizes.cumsum(dtype=np.uint32) - sizes + np.uint32(row))
            offsets.append(section.offsets)
            lengths.append(section.lengths.copy())  # a view would hold the section's bytes
            row += len(section.keys)
        none = [np.empty(0, dtype=np.uint32)]
        self._firsts: Final = np.concatenate(firsts or none)
        """First row of each block."""
        self._offsets: Final = np.concatenate(offsets or none).astype(np.uint64, copy=False)
        self._lengths: Final = np.concatenate(lengths or none)

    def find(self, folded: str) -> Iterator[HotlistEntry]:
        """Every entry whose plate has this fold; raises as :meth:`find_all`."""
        return (entry for _, entry in self.find_all([folded]))

    def find_all(self, folds: Sequence[str]) -> list[tuple[int, HotlistEntry]]:
        """Every entry with one of these folds, each with the place of its fold in ``folds``.

        Raises:
            EnvelopeError: a chunk was altered on the disk since the list was loaded.
            StoreError: the disk cannot be read.
            InputError: an entry does not fit the closed schema.
        """
        keys = self._keys
        if not keys.size:
            return []
        wanted = np.array([key_of(folded) for folded in folds], dtype=np.uint64)
        found: list[tuple[int, HotlistEntry]] = []
        for number, row in enumerate(keys.searchsorted(wanted).tolist()):
            key = wanted[number]
            if row == keys.size or keys[row] != key:
                continue
            stop = row + 1
            while stop < keys.size and keys[stop] == key:
                stop += 1
            found += ((number, entry) for entry in self._entries(int(key), row, stop))
        return found

    def _entries(self, key: int, row: int, stop: int) -> Iterator[HotlistEntry]:
        """The entries of some rows, which share a key."""
        # As uint32: for another type numpy would copy the whole array at each look-up.
        block = int(self._firsts.searchsorted(np.uint32(row), side="right")) - 1
        while row < stop:
            first = int(self._firsts[block])
            after = int(self._firsts[block + 1]) if block + 1 < self._firsts.size else len(self)
            body = self._source.read_at(int(self._offsets[block]), int(self._lengths[block]))
            long_ids, ids, lines = open_body(body, after - first)
            for at in range(row - first, min(stop, after) - first):
                yield entry_of(row_from(key, long_ids, ids, at, lines[at]))
            row, block = after, block + 1

    def __len__(self) -> int:
        return int(self._keys.size)


def load_hotlist_file(
    path: Path, *, name: str, key: bytes, sha256: str | None = None
) -> LoadedList:
    """Open, verify and load an encrypted list; big ones stay on the disk.

    Args:
        name: of the target, such as ``hotlist-lpdf.bin``.
        key: its content key.
        sha256: what the signed targets metadata names, in hex; None where the file was compared
            with it already. A big file is compared through the handle that is then kept.

    Raises:
        EnvelopeError: altered, of another name, or under another key.
        InputError: not a list, or its numbers do not fit.
        StoreError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            small = file.read(len(_V1)) == _V1 or path.stat().st_size <= RESIDENT
            file.seek(0)
            data = file.read() if small else None
    except OSError as error:
        raise StoreError(
            f"target {name}: {error.strerror}", remedy="check the state folder's owner"
        ) from error
    if data is not None and data[:5] == _V1:
        return load_hotlist(decrypt_target(data, name=name, key=key))
    reader = TargetReader(data if data is not None else path, name=name, key=key)
    try:
        if sha256 is not None and reader.sha256() != sha256:
            raise EnvelopeError(
                f"target {name} is not the file that was signed",
                remedy="the car fetches it again at the next dock",
            )
        return LoadedList(reader)
    except BaseException:
        reader.close()
        raise


def load_hotlist(plain: bytes) -> LoadedList:
    """Load a decrypted list from RAM: packed, or as gzip of JSON lines.

    The lines are one :class:`alprd.wire.Hotlist`, then a :class:`alprd.wire.HotlistEntry` each.

    Raises:
        InputError: not a hotlist, cut short, a field too many, or counts that do not fit; names
            the line and never its content.
    """
    try:
        return LoadedList(BytesSource(plain if plain[:8] == MAGIC else _packed(plain)))
    except EnvelopeError as error:
        raise InputError("hotlist is cut short", remedy=_REMEDY) from error


def _packed(plain: bytes) -> bytes:
    """The packed form of gzip'd JSON lines."""
    rows: list[bytes] = []
    number = 1
    try:
        with gzip.GzipFile(fileobj=BytesIO(plain)) as text:
            header = Hotlist.model_validate_json(text.readline(_MAX_LINE))
            while line := text.readline(_MAX_LINE):
                number += 1
                rows.append(row_of(HotlistEntry.model_validate_json(line)))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"hotlist is not whole gzip data (after line {number})", remedy=_REMEDY
        ) from error
    except ValidationError:
        # The cause quotes the line, which holds a plate: it must not travel into logs.
        raise InputError(
            f"hotlist line {number} does not fit the closed schema", remedy=_REMEDY
        ) from None
    out = BytesIO()
    pack(header, sorted(rows), out)
    return out.getvalue()
