"""The packed form of a hotlist: what stands in the plaintext of ``hotlist-<list>.bin``.

Made for millions of entries: the folds of all plates load as one array of integers, what an alert
says stays in small compressed blocks of which a hit reads one. Integers are little-endian::

    offset  size  field
    0       4     magic  b"ALRL"
    4       1     version = 1
    5       3     zero
    8       36    fold("ABC…XYZ0…9"): a car with another fold must not match this list
    44      …     sections, back to back
    …       H     header: JSON of alprd.wire.Hotlist
    end-16  8     number of entries
    end-8   4     H
    end-4   4     b"LRLA"

    section:  u32 bytes that follow, u32 entries, u16 blocks, u16 zero, u32 length of the keys,
              keys: zlib of the differences between the keys, the first of them from zero, as u64,
              lowest byte of each, then next byte of each, …;
              for each block u16 × 5 its entries by category (order of CATEGORIES);
              for each block u32 its length; the blocks, back to back

    block:    flags (1: the section ends naturally behind it; 2: ids are not 16 hex digits),
              ids (8 bytes each, or none where flag 2 is set), zlib of the lines, joined by "\\n"

Keys, ids and lines are those of the entries' rows (:mod:`alprd.rows`). Rows sort as bytes, and a
list is its rows in order, none twice. Blocks and sections end where a checksum of the row says so,
not after a count: an entry that comes or goes changes its own block, and all later ones stay as
they are. That keeps deltas cheap to make and to apply (:mod:`alprd.delta`).

Rules: R-460.4.1-b4 (counts by category).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from pydantic import ValidationError

from alprd.errors import InputError
from alprd.records import Category, fold
from alprd.rows import ALPHABET, CATEGORIES, category_of
from alprd.rows import entry_of as entry_of
from alprd.rows import row_of as row_of
from alprd.targetfile import Source
from alprd.wire import Hotlist

MAGIC: Final = b"ALRL\x01\0\0\0"
_FOLDS: Final = fold(ALPHABET).encode()
START: Final = len(MAGIC) + len(_FOLDS)
_END: Final = struct.Struct("<QI4s")
_END_MAGIC: Final = b"LRLA"
SECTION: Final = struct.Struct("<IHHI")

_BLOCK_MASK: Final = 31
"""A block ends after a row whose checksum has these bits zero: 32 entries on average."""
BLOCK_MOST: Final = 128
_SECTION_MASK: Final = 127 << 5
SECTION_MOST: Final = 512
"""Blocks."""
_MAX_HEADER: Final = 65_536
_LEVEL: Final = 6
"""Of zlib. Deltas rely on it: a car compresses changed blocks again, to the same bytes."""
_ENDS_SECTION: Final = 1
LONG_IDS: Final = 2
REMEDY: Final = "publish the list again; the car keeps the one before"


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive entries: their keys, their number by category, and the packed rest."""

    keys: tuple[int, ...]
    counts: tuple[int, ...]
    body: bytes


# --- writing --------------------------------------------------------------------------------------


class Sink(Protocol):
    """Where bytes go: a file, or a :class:`alprd.targetfile.TargetWriter`."""

    def write(self, data: bytes, /) -> int:
        """Take all of ``data``."""


HeaderOf = Callable[[int, dict[Category, int]], Hotlist]
"""Makes the header when the number of entries and the counts by category are known."""


def pack(header: Hotlist | HeaderOf, rows: Iterable[bytes], out: Sink) -> Hotlist:
    """Write a list from its rows, in ascending order, none twice; memory is that of one section.

    Rows come from :func:`row_of`; big lists are sorted outside, as bytes (sorted runs and
    ``heapq.merge``).

    Raises:
        InputError: rows out of order, or a header whose numbers do not fit.
    """
    packer = Packer(out)
    for row in rows:
        packer.add(row)
    return packer.finish(header)


class Packer:
    """Writes a list row by row; :func:`pack` for who has all of them, else ``add``, ``finish``."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._rows: list[bytes] = []
        self._blocks: list[Block] = []
        self._last = b""
        self._entries = 0
        self._counts = [0] * len(CATEGORIES)
        out.write(MAGIC + _FOLDS)

    @property
    def between_blocks(self) -> bool:
        """Whether :meth:`add_block` may be used now."""
        return not self._rows

    def add(self, row: bytes) -> None:
        """Take the next row.

        Raises:
            InputError: it does not sort behind the one before.
        """
        if row <= self._last:
            raise InputError("rows of a hotlist are out of order, or one is there twice")
        self._last = row
        self._rows.append(row)
        check = zlib.crc32(row)
        if not check & _BLOCK_MASK or len(self._rows) == BLOCK_MOST:
            self._end_block(ends_section=not check & (_BLOCK_MASK | _SECTION_MASK))

    def add_block(self, block: Block) -> None:
        """Take a whole block of another list, unopened; it must not be that list's last one.

        Only where ``between_blocks``: then it is what its rows would have become.

        Raises:
            InputError: its keys do not come after those before.
        """
        if self._rows or block.keys[0] < int.from_bytes(self._last[:8], "big"):
            raise InputError("blocks of a hotlist are out of order")
        # Rows of the same key are not compared with those inside; the digest of a delta's result
        # tells them. The row that comes next is, by its key.
        self._last = block.keys[-1].to_bytes(8, "big")
        self._take(block)

    def finish(self, header: Hotlist | HeaderOf) -> Hotlist:
        """Write what is left and the header; returns the header.

        Raises:
            InputError: it names other numbers than were added.
        """
        if self._rows:
            self._end_block(ends_section=False)
        self._end_section()
        counts = {name: n for name, n in zip(CATEGORIES, self._counts, strict=True) if n}
        if not isinstance(header, Hotlist):
            header = header(self._entries, counts)
        check_counts(header, self._entries, counts)
        text = header.model_dump_json().encode()
        if len(text) > _MAX_HEADER:
            raise InputError(f"header of a hotlist has {len(text)} bytes")
        self._out.write(text + _END.pack(self._entries, len(text), _END_MAGIC))
        return header

    def _end_block(self, *, ends_section: bool) -> None:
        rows, self._rows = self._rows, []
        counts = [0] * len(CATEGORIES)
        for row in rows:
            counts[category_of(row)] += 1
        flags = _ENDS_SECTION if ends_section else 0
        if all(row[8] == 0 for row in rows):
            body = b"".join(row[9:17] for row in rows)
            lines = [row[17:] for row in rows]
        else:
            flags |= LONG_IDS
            body = b""
            lines = [
                row[9:] if row[8] else b'["%s",' % row[9:17].hex().encode() + row[18:]
                for row in rows
            ]
        body = bytes((flags,)) + body + zlib.compress(b"\n".join(lines), _LEVEL)
        keys = tuple(int.from_bytes(row[:8], "big") for row in rows)
        self._take(Block(keys, tuple(counts), body))

    def _take(self, block: Block) -> None:
        self._blocks.append(block)
        if block.body[0] & _ENDS_SECTION or len(self._blocks) == SECTION_MOST:
            self._end_section()

    def _end_section(self) -> None:
        blocks, self._blocks = self._blocks, []
        if not blocks:
            return
        keys = np.array([key for block in blocks for key in block.keys], dtype="<u8")
        planes = np.diff(keys, prepend=np.uint64(0)).view(np.uint8).reshape(-1, 8).T
        packed_keys = zlib.compress(planes.tobytes(), _LEVEL)
        for block in blocks:
            self._entries += len(block.keys)
            self._counts = [a + b for a, b in zip(self._counts, block.counts, strict=True)]
        inside = b"".join(
            (
                SECTION.pack(len(keys), len(blocks), 0, len(packed_keys)),
                packed_keys,
                np.array([block.counts for block in blocks], dtype="<u2").tobytes(),
                np.array([len(block.body) for block in blocks], dtype="<u4").tobytes(),
                *(block.body for block in blocks),
            )
        )
        self._out.write(struct.pack("<I", len(inside)) + inside)


# --- the frame ---------------------------------------------------------------------------------


def header_of(source: Source) -> Hotlist:
    """The header of a packed list.

    Raises:
        InputError: not a packed list, cut short, or packed with another fold.
    """
    return frame_of(source)[0]


def frame_of(source: Source) -> tuple[Hotlist, int]:
    """Header, and where the sections end."""
    size = source.size
    if size < START + _END.size or source.read_at(0, len(MAGIC)) != MAGIC:
        raise InputError("not a packed hotlist of version 1", remedy=REMEDY)
    if source.read_at(len(MAGIC), len(_FOLDS)) != _FOLDS:
        raise InputError(
            "hotlist was packed with other look-alikes than this program folds",
            remedy="bring car and central to the same version, then publish again",
        )
    entries, length, magic = _END.unpack(source.read_at(size - _END.size, _END.size))
    end = size - _END.size - length
    if magic != _END_MAGIC or length > _MAX_HEADER or end < START:
        raise InputError("packed hotlist is cut short", remedy=REMEDY)
    try:
        header = Hotlist.model_validate_json(source.read_at(end, length))
    except ValidationError:
        raise InputError(
            "header of a hotlist does not fit the closed schema", remedy=REMEDY
        ) from None
    # An entry takes a byte at least: who says more must not make a car reserve memory for it.
    if entries != header.entries or entries > end:
        raise InputError(
            f"hotlist {header.list_id} holds {entries} entries and its header names "
            f"{header.entries}",
            remedy=REMEDY,
        )
    return header, end


def check_counts(header: Hotlist, entries: int, counts: dict[Category, int]) -> None:
    named = {name: n for name, n in header.counts.items() if n}
    if entries != header.entries or counts != named:
        raise InputError(
            f"hotlist {header.list_id} {header.version} holds {entries} entries and its header "
            f"names {header.entries}, or the counts by category differ",
            remedy=REMEDY,
        )
