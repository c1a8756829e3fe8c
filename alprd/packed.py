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

    line:     JSON array [state, mark, codes, text], then expiry in ISO form if there is one;
              with flag 2 the id in front

A *key* is the plate's fold as a number to the base 29 (:func:`key_of`), a *mark* says which look-
alike stands at each place (:func:`_mark`), *codes* are plate type, category and priority.

A *row* is one entry with its key in front; rows sort as bytes, and a list is its rows in order,
none twice. Blocks and sections end where a checksum of the row says so, not after a count: an
entry that comes or goes changes its own block, and all later ones stay as they are. That keeps
deltas cheap to make and to apply (:mod:`alprd.delta`).

Rules: R-460.4-e (an entry carries just what the alert needs), R-460.4.1-b4 (counts by category).
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from alprd.errors import InputError
from alprd.records import Category, PlateType, fold
from alprd.targetfile import Source
from alprd.wire import Hotlist, HotlistEntry

MAGIC: Final = b"ALRL\x01\0\0\0"
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_FOLDS: Final = fold(_ALPHABET).encode()
_START: Final = len(MAGIC) + len(_FOLDS)
_END: Final = struct.Struct("<QI4s")
_END_MAGIC: Final = b"LRLA"
_SECTION: Final = struct.Struct("<IHHI")

MAX_PLATE: Final = 10
_BASE: Final = 29
_DIGITS: Final = "".join(sorted(set(fold(_ALPHABET))))
"""The 28 characters that are left after folding; each stands for its place here plus one."""
_VALUE: Final = {char: number + 1 for number, char in enumerate(_DIGITS)}
_MAX_KEY: Final = _BASE**MAX_PLATE
_LOOKS: Final = {
    char: char + "".join(c for c in _ALPHABET if fold(c) == char and c != char) for char in _DIGITS
}
"""What each folded character may have been."""

MAX_ROW: Final = 4_096
_BLOCK_MASK: Final = 31
"""A block ends after a row whose checksum has these bits zero: 32 entries on average."""
_BLOCK_MOST: Final = 128
_SECTION_MASK: Final = 127 << 5
_SECTION_MOST: Final = 512
"""Blocks."""
_MAX_HEADER: Final = 65_536
_LEVEL: Final = 6
"""Of zlib. Deltas rely on it: a car compresses changed blocks again, to the same bytes."""
_ENDS_SECTION: Final = 1
_LONG_IDS: Final = 2
_HEX_ID: Final = re.compile(r"[0-9a-f]{16}")

_TYPE_CODES: Final = {None: "-"} | {
    name: name[0] if name != "truck" else "k" for name in get_args(PlateType)
}
_CATEGORY_CODES: Final = {name: str(number) for number, name in enumerate(CATEGORIES)}
_PRIORITY_CODES: Final = {"high": "h", "medium": "m", "low": "l"}
_TYPES: Final = {code: name for name, code in _TYPE_CODES.items()}
_PRIORITIES: Final = {code: name for name, code in _PRIORITY_CODES.items()}
_REMEDY: Final = "publish the list again; the car keeps the one before"


def key_of(folded: str) -> int:
    """The number of a folded plate of 1 to 10 characters; below 2**49, no two plates share one.

    Raises:
        KeyError: a character that no folded plate has.
    """
    key = 0
    for char in folded:
        key = key * _BASE + _VALUE[char]
    return key


def folded_of(key: int) -> str:
    """The inverse of :func:`key_of`.

    Raises:
        InputError: no plate has this number.
    """
    found = ""
    while key:
        key, digit = divmod(key, _BASE)
        if not digit or len(found) == MAX_PLATE:
            raise InputError("hotlist holds a key that no plate has", remedy=_REMEDY)
        found = _DIGITS[digit - 1] + found
    return found


def _mark(plate: str, folded: str) -> str:
    """One digit a character, which of its look-alikes stands there; zeros at the end left out."""
    if plate == folded:
        return ""
    places = (_LOOKS[f].index(p) for p, f in zip(plate, folded, strict=True))
    return "".join(map(str, places)).rstrip("0")


def _unmark(folded: str, mark: str) -> str:
    return "".join(
        _LOOKS[char][int(digit)]
        for char, digit in zip(folded, mark.ljust(len(folded), "0"), strict=True)
    )


def row_of(entry: HotlistEntry) -> bytes:
    """An entry as a row: 8 bytes key (big-endian, so that rows sort), id, line.

    Raises:
        InputError: too long, or text that no alert can show (lone surrogates).
    """
    folded = fold(entry.plate)
    codes = (
        _TYPE_CODES[entry.plate_type]
        + _CATEGORY_CODES[entry.category]
        + _PRIORITY_CODES[entry.priority]
    )
    fields: list[str | None] = [entry.state, _mark(entry.plate, folded), codes, entry.text]
    if entry.expires is not None:
        fields.append(entry.expires.isoformat())
    if _HEX_ID.fullmatch(entry.id):
        ident = b"\0" + bytes.fromhex(entry.id)
    else:
        ident = b"\1"
        fields.insert(0, entry.id)
    try:
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise InputError("an entry's text cannot be written as UTF-8") from None
    row = key_of(folded).to_bytes(8, "big") + ident + line
    if len(row) > MAX_ROW:
        raise InputError(
            f"an entry takes {len(row)} bytes, allowed are {MAX_ROW}", remedy="shorten its text"
        )
    return row


def entry_of(row: bytes) -> HotlistEntry:
    """The inverse of :func:`row_of`.

    Raises:
        InputError: not a row, or it does not fit the closed schema; never quotes it.
    """
    try:
        fields = json.loads(row[17:] if row[8] == 0 else row[9:])
        ident = row[9:17].hex() if row[8] == 0 else fields.pop(0)
        state, mark, codes, text, *expires = fields
        plate_type, category, priority = codes
        return HotlistEntry.model_validate(
            {
                "id": ident,
                "plate": _unmark(folded_of(int.from_bytes(row[:8], "big")), mark),
                "state": state,
                "plate_type": _TYPES[plate_type],
                "category": CATEGORIES[int(category)],
                "priority": _PRIORITIES[priority],
                "text": text,
                "expires": datetime.fromisoformat(expires.pop()) if expires else None,
            }
            | ({"surplus": expires} if expires else {})
        )
    except (ValidationError, ValueError, TypeError, LookupError, AttributeError):
        # The causes quote the entry, which holds a plate: they must not travel into logs.
        raise InputError(
            "an entry of a hotlist does not fit the closed schema", remedy=_REMEDY
        ) from None


def _category(row: bytes) -> int:
    """Place in CATEGORIES of a row's category, without reading all of it."""
    fields = json.loads(row[17:] if row[8] == 0 else row[9:])
    return int(fields[2 + row[8]][1])


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
        if not check & _BLOCK_MASK or len(self._rows) == _BLOCK_MOST:
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
        _check_counts(header, self._entries, counts)
        text = header.model_dump_json().encode()
        if len(text) > _MAX_HEADER:
            raise InputError(f"header of a hotlist has {len(text)} bytes")
        self._out.write(text + _END.pack(self._entries, len(text), _END_MAGIC))
        return header

    def _end_block(self, *, ends_section: bool) -> None:
        rows, self._rows = self._rows, []
        counts = [0] * len(CATEGORIES)
        for row in rows:
            counts[_category(row)] += 1
        flags = _ENDS_SECTION if ends_section else 0
        if all(row[8] == 0 for row in rows):
            body = b"".join(row[9:17] for row in rows)
            lines = [row[17:] for row in rows]
        else:
            flags |= _LONG_IDS
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
        if block.body[0] & _ENDS_SECTION or len(self._blocks) == _SECTION_MOST:
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
                _SECTION.pack(len(keys), len(blocks), 0, len(packed_keys)),
                packed_keys,
                np.array([block.counts for block in blocks], dtype="<u2").tobytes(),
                np.array([len(block.body) for block in blocks], dtype="<u4").tobytes(),
                *(block.body for block in blocks),
            )
        )
        self._out.write(struct.pack("<I", len(inside)) + inside)


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive entries: their keys, their number by category, and the packed rest."""

    keys: tuple[int, ...]
    counts: tuple[int, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """One section, its blocks unopened."""

    keys: NDArray[np.uint64]
    counts: NDArray[np.uint16]
    """(blocks, categories)"""
    offsets: NDArray[np.uint64]
    """Place of each block in the list's plaintext."""
    lengths: NDArray[np.uint32]


def header_of(source: Source) -> Hotlist:
    """The header of a packed list.

    Raises:
        InputError: not a packed list, cut short, or packed with another fold.
    """
    return _frame(source)[0]


def _frame(source: Source) -> tuple[Hotlist, int]:
    """Header, and where the sections end."""
    size = source.size
    if size < _START + _END.size or source.read_at(0, len(MAGIC)) != MAGIC:
        raise InputError("not a packed hotlist of version 1", remedy=_REMEDY)
    if source.read_at(len(MAGIC), len(_FOLDS)) != _FOLDS:
        raise InputError(
            "hotlist was packed with other look-alikes than this program folds",
            remedy="bring car and central to the same version, then publish again",
        )
    entries, length, magic = _END.unpack(source.read_at(size - _END.size, _END.size))
    end = size - _END.size - length
    if magic != _END_MAGIC or length > _MAX_HEADER or end < _START:
        raise InputError("packed hotlist is cut short", remedy=_REMEDY)
    try:
        header = Hotlist.model_validate_json(source.read_at(end, length))
    except ValidationError:
        raise InputError(
            "header of a hotlist does not fit the closed schema", remedy=_REMEDY
        ) from None
    # An entry takes a byte at least: who says more must not make a car reserve memory for it.
    if entries != header.entries or entries > end:
        raise InputError(
            f"hotlist {header.list_id} holds {entries} entries and its header names "
            f"{header.entries}",
            remedy=_REMEDY,
        )
    return header, end


def sections(source: Source) -> Iterator[Section]:
    """Every section of a packed list, in order; numbers are checked against the header at the end.

    Raises:
        InputError: damaged, keys out of order, or numbers that do not fit.
    """
    header, end = _frame(source)
    at, last, entries = _START, 0, 0
    counts = np.zeros(len(CATEGORIES), dtype=np.int64)
    while at < end:
        (length,) = struct.unpack("<I", _inside(source, at, 4, end))
        section = _section(_inside(source, at + 4, length, end), at + 4)
        if section.keys[0] < last:
            raise InputError("keys of a hotlist are out of order", remedy=_REMEDY)
        last = int(section.keys[-1])
        entries += len(section.keys)
        counts += section.counts.sum(axis=0, dtype=np.int64)
        if entries > header.entries:
            break
        yield section
        at += 4 + length
    found = {name: int(n) for name, n in zip(CATEGORIES, counts, strict=True) if n}
    _check_counts(header, entries, found)


def _inside(source: Source, at: int, length: int, end: int) -> bytes:
    if at + length > end:
        raise InputError("a section of a hotlist is longer than the list", remedy=_REMEDY)
    return source.read_at(at, length)


def _section(data: bytes, place: int) -> Section:
    if len(data) < _SECTION.size:
        raise InputError("a section of a hotlist is cut short", remedy=_REMEDY)
    n, m, zero, key_bytes = _SECTION.unpack_from(data)
    at = _SECTION.size + key_bytes
    blocks_at = at + m * (2 * len(CATEGORIES) + 4)
    if not 0 < m <= _SECTION_MOST or not m <= n <= m * _BLOCK_MOST or zero or blocks_at > len(data):
        raise InputError("a section of a hotlist names impossible numbers", remedy=_REMEDY)
    planes = _unzip(data[_SECTION.size : at], 8 * n)
    if len(planes) != 8 * n:
        raise InputError("the keys of a section are cut short", remedy=_REMEDY)
    gaps = np.frombuffer(planes, dtype=np.uint8).reshape(8, n).T.copy().view("<u8").reshape(n)
    # Each gap is below 2**49 and there are below 2**16: the sum cannot run over.
    keys = gaps.cumsum(dtype=np.uint64)
    if int(gaps.max()) >= _MAX_KEY or int(keys[-1]) >= _MAX_KEY or not keys[0]:
        raise InputError("hotlist holds a key that no plate has", remedy=_REMEDY)
    counts = np.frombuffer(data, dtype="<u2", count=m * len(CATEGORIES), offset=at)
    counts = counts.reshape(m, len(CATEGORIES))
    lengths = np.frombuffer(data, dtype="<u4", count=m, offset=blocks_at - 4 * m)
    sizes = counts.sum(axis=1, dtype=np.int64)
    ends = lengths.cumsum(dtype=np.uint64) + np.uint64(place + blocks_at)
    if int(sizes.sum()) != n or not sizes.all() or int(ends[-1]) != place + len(data):
        raise InputError("the blocks of a section do not fill it", remedy=_REMEDY)
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
    long_ids = bool(body[:1] and body[0] & _LONG_IDS)
    start = 1 if long_ids else 1 + 8 * entries
    lines = _unzip(body[start:], entries * MAX_ROW).split(b"\n")
    if len(lines) != entries:
        raise InputError("a block of a hotlist has another number of entries", remedy=_REMEDY)
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
        raise InputError("a part of a hotlist is not whole zlib data", remedy=_REMEDY) from error
    if len(found) > most or not opened.eof or opened.unused_data:
        raise InputError("a part of a hotlist is not whole zlib data", remedy=_REMEDY)
    return found


def _check_counts(header: Hotlist, entries: int, counts: dict[Category, int]) -> None:
    named = {name: n for name, n in header.counts.items() if n}
    if entries != header.entries or counts != named:
        raise InputError(
            f"hotlist {header.list_id} {header.version} holds {entries} entries and its header "
            f"names {header.entries}, or the counts by category differ",
            remedy=_REMEDY,
        )
