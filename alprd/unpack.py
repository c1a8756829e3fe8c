"""Reading a packed hotlist (layout: :mod:`alprd.packed`) section by section, or block by block.

Every number is checked before memory is reserved for it: the bytes come from the network, though
their signature was verified before. Memory is that of one section.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alprd.errors import InputError
from alprd.packed import (
    BLOCK_MOST,
    LONG_IDS,
    REMEDY,
    SECTION,
    SECTION_MOST,
    START,
    Block,
    check_counts,
    frame_of,
)
from alprd.rows import CATEGORIES, KEY_LIMIT, MAX_ROW
from alprd.targetfile import Source


@dataclass(frozen=True, slots=True)
class Section:
    """One section, its blocks unopened."""

    keys: NDArray[np.uint64]
    counts: NDArray[np.uint16]
    """(blocks, categories)"""
    offsets: NDArray[np.uint64]
    """Place of each block in the list's plaintext."""
    lengths: NDArray[np.uint32]


def sections(source: Source) -> Iterator[Section]:
    """Every section of a packed list, in order; numbers are checked against the header at the end.

    Raises:
        InputError: damaged, keys out of order, or numbers that do not fit.
    """
    header, end = frame_of(source)
    at, last, entries = START, 0, 0
    counts = np.zeros(len(CATEGORIES), dtype=np.int64)
    while at < end:
        (length,) = struct.unpack("<I", _inside(source, at, 4, end))
        section = _section(_inside(source, at + 4, length, end), at + 4)
        if section.keys[0] < last:
            raise InputError("keys of a hotlist are out of order", remedy=REMEDY)
        last = int(section.keys[-1])
        entries += len(section.keys)
        counts += section.counts.sum(axis=0, dtype=np.int64)
        if entries > header.entries:
            break
        yield section
        at += 4 + length
    found = {name: int(n) for name, n in zip(CATEGORIES, counts, strict=True) if n}
    check_counts(header, entries, found)


def _inside(source: Source, at: int, length: int, end: int) -> bytes:
    if at + length > end:
        raise InputError("a section of a hotlist is longer than the list", remedy=REMEDY)
    return source.read_at(at, length)


def _section(data: bytes, place: int) -> Section:
    if len(data) < SECTION.size:
        raise InputError("a section of a hotlist is cut short", remedy=REMEDY)
    n, m, zero, key_bytes = SECTION.unpack_from(data)
    at = SECTION.size + key_bytes
    blocks_at = at + m * (2 * len(CATEGORIES) + 4)
    if not 0 < m <= SECTION_MOST or not m <= n <= m * BLOCK_MOST or zero or blocks_at > len(data):
        raise InputError("a section of a hotlist names impossible numbers", remedy=REMEDY)
    planes = _unzip(data[SECTION.size : at], 8 * n)
    if len(planes) != 8 * n:
        raise InputError("the keys of a section are cut short", remedy=REMEDY)
    gaps = np.frombuffer(planes, dtype=np.uint8).reshape(8, n).T.copy().view("<u8").reshape(n)
    # Each gap is below 2**49 and there are below 2**16: the sum cannot run over.
    keys = gaps.cumsum(dtype=np.uint64)
    if int(gaps.max()) >= KEY_LIMIT or int(keys[-1]) >= KEY_LIMIT or not keys[0]:
        raise InputError("hotlist holds a key that no plate has", remedy=REMEDY)
    counts = np.frombuffer(data, dtype="<u2", count=m * len(CATEGORIES), offset=at)
    counts = counts.reshape(m, len(CATEGORIES))
    lengths = np.frombuffer(data, dtype="<u4", count=m, offset=blocks_at - 4 * m)
    sizes = counts.sum(axis=1, dtype=np.int64)
    ends = lengths.cumsum(dtype=np.uint64) + np.uint64(place + blocks_at)
    if int(sizes.sum()) != n or not sizes.all() or int(ends[-1]) != place + len(data):
        raise InputError("the blocks of a section do not fill it", remedy=REMEDY)
    return Section(keys, counts, ends - lengths, lengths)


def blocks(source: Source) -> Iterator[Block]:
    """Every block of a packed list, unopened; raises as :func:`sections`."""
    for section in sections(source):
        row = 0
        for number, counts in enumerate(section.counts.tolist()):
            body = source.read_at(int(section.offsets[number]), int(section.lengths[number]))
            size = sum(counts)
            yield Block(tuple(section.keys[row : row + size].tolist()), tuple(counts), body)
            row += size


def block_rows(block: Block) -> list[bytes]:
    """The rows of a block.

    Raises:
        InputError: damaged.
    """
    long_ids, ids, lines = open_body(block.body, len(block.keys))
    rows = []
    for at, (key, line) in enumerate(zip(block.keys, lines, strict=True)):
        rows.append(row_from(key, long_ids, ids, at, line))
    return rows


def open_body(body: bytes, entries: int) -> tuple[bool, bytes, list[bytes]]:
    """(ids in the lines, ids of 8 bytes each, lines) of a block's body.

    Raises:
        InputError: damaged.
    """
    long_ids = bool(body[:1] and body[0] & LONG_IDS)
    start = 1 if long_ids else 1 + 8 * entries
    lines = _unzip(body[start:], entries * MAX_ROW).split(b"\n")
    if len(lines) != entries:
        raise InputError("a block of a hotlist has another number of entries", remedy=REMEDY)
    return long_ids, body[1:start], lines


def row_from(key: int, long_ids: bool, ids: bytes, at: int, line: bytes) -> bytes:
    """One row, put together again from what :func:`open_body` gives."""
    front = key.to_bytes(8, "big")
    if not long_ids:
        return front + b"\0" + ids[8 * at : 8 * at + 8] + line
    ident = line[2:18]
    if line[18:20] == b'",' and re.fullmatch(rb"[0-9a-f]{16}", ident):
        return front + b"\0" + bytes.fromhex(ident.decode()) + b"[" + line[20:]
    return front + b"\1" + line


def _unzip(data: bytes, most: int) -> bytes:
    opened = zlib.decompressobj()
    try:
        found = opened.decompress(data, most + 1)
    except zlib.error as error:
        raise InputError("a part of a hotlist is not whole zlib data", remedy=REMEDY) from error
    if len(found) > most or not opened.eof or opened.unused_data:
        raise InputError("a part of a hotlist is not whole zlib data", remedy=REMEDY)
    return found
