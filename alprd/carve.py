"""Rows out of a damaged SQLite file, page by page, without SQLite.

SQLite reads a table from its root downwards, so one bad page in the middle hides every row below
it. Here each page stands for itself: every *table leaf* of the file is parsed, wherever the tree
above it has gone, and every row that still decodes is handed out. Nothing is ever written.

The newest version of a page wins: frames of the write-ahead log cover pages of the main file. A
frame counts if its salts are those of the log and its checksum fits, continued from the checksum
*stored* in the frame before it; so one damaged frame does not hide those behind it, as it does
for SQLite. Format: https://www.sqlite.org/fileformat2.html (cell, record, WAL formats).

::

    table leaf page              cell                          record
    0  u8   0x0D                 varint  payload length P      varint  length of header
    1  u16  first free block     varint  row id                varint  serial type, a column each
    3  u16  number of cells      …       payload, local part   …       values
    5  u16  start of cells       u32     first overflow page
    8  u16  pointer, one a cell          (if P > 4061)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = 4096
"""The page size that :mod:`alprd.database` gives its files, whatever a damaged header says."""
MAX_PAYLOAD: Final = 16_000_000
_LEAF: Final = 0x0D
_MOST_LOCAL: Final = PAGE - 35
_LEAST_LOCAL: Final = (PAGE - 12) * 32 // 255 - 23
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_INTEGER_SIZES: Final = (0, 1, 2, 3, 4, 6, 8)

Value = None | int | float | str | bytes
Record = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One decoded row of some table: row id and column values as stored."""

    rowid: int
    values: Record


class _DamagedError(Exception):
    """A cell or record that does not decode."""


class CarvedFile:
    """A database file and its log, opened for reading only; close it after use.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._main = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._pages = os.fstat(self._main).st_size // PAGE
        self._log: int | None = None
        self._overlay: dict[int, int] = {}
        """Page number → offset of its newest version in the log."""
        self.damaged_cells = 0
        self.damaged_frames = 0
        self.log_has_hole = False
        """Whether a frame is damaged that was once on the disk whole: a later transaction, which
        begins only after that, stands behind it. (A torn end is what any loss of power leaves.)"""
        log = path.with_name(path.name + "-wal")
        if log.exists():
            self._log = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
            self._read_log()

    def close(self) -> None:
        """Give the files back."""
        for handle in (self._main, self._log):
            if handle is not None:
                os.close(handle)

    def leaves(self) -> Iterator[int]:
        """Numbers of all pages that look like table leaves, ascending."""
        chunk = 256
        first, last = 1, max(self._pages, max(self._overlay, default=0))
        while first <= last:
            count = min(chunk, last - first + 1)
            data = _pread(self._main, count * PAGE, (first - 1) * PAGE)
            for index in range(count):
                number = first + index
                start = index * PAGE + (100 if number == 1 else 0)
                if number in self._overlay:
                    page = self._page(number)
                    if page[100 if number == 1 else 0] == _LEAF:
                        yield number
                elif start < len(data) and data[start] == _LEAF:
                    yield number
            first += count

    def rows(self, number: int) -> Iterator[Row]:
        """Every row of a leaf page that decodes; others are counted in ``damaged_cells``."""
        page = self._page(number)
        head = 100 if number == 1 else 0
        if page[head] != _LEAF:
            return
        (cells,) = struct.unpack_from(">H", page, head + 3)
        for index in range(min(cells, (PAGE - head - 8) // 2)):
            (at,) = struct.unpack_from(">H", page, head + 8 + 2 * index)
            try:
                yield self._row(page, at, head + 8)
            except (_DamagedError, IndexError, struct.error, ValueError):
                self.damaged_cells += 1

    # --- pages and log ----------------------------------------------------------------------

    def _page(self, number: int) -> bytes:
        offset = self._overlay.get(number)
        if offset is not None and self._log is not None:
            return _pread(self._log, PAGE, offset).ljust(PAGE, b"\0")
        if not 1 <= number <= self._pages:
            raise _DamagedError
        return _pread(self._main, PAGE, (number - 1) * PAGE).ljust(PAGE, b"\0")

    def _read_log(self) -> None:
        if self._log is None:
            return
        size = os.fstat(self._log).st_size
        header = _pread(self._log, _WAL_HEADER, 0)
        if len(header) < _WAL_HEADER:
            return
        order = ">" if header[3] & 1 else "<"
        salts: bytes | None = header[16:24]
        before: tuple[int, ...] | None = struct.unpack(">II", header[24:32])
        if _checksum(header[:24], (0, 0), order) != before:
            salts = None  # a damaged header: the first frame that fits its follower decides
            order = "<" if header[:3] != b"\x37\x7f\x06" else order
            before = None
        offset = _WAL_HEADER
        hole = transaction_over = False
        while offset + _FRAME_HEADER + PAGE <= size:
            frame = _pread(self._log, _FRAME_HEADER + PAGE, offset)
            if len(frame) < _FRAME_HEADER + PAGE:
                break
            stored = struct.unpack(">II", frame[16:24])
            fits = (
                before is not None
                and (salts is None or frame[8:16] == salts)
                and _checksum(frame[:8] + frame[24:], before, order) == stored
            )
            number, commits = struct.unpack(">II", frame[:8])
            if fits and number:
                salts = frame[8:16]
                self._overlay[number] = offset + _FRAME_HEADER
                self.log_has_hole = self.log_has_hole or transaction_over
                transaction_over = transaction_over or (hole and commits > 0)
            elif salts is None or frame[8:16] == salts:
                self.damaged_frames += 1
                hole = True
                transaction_over = transaction_over or commits > 0
            before = stored
            offset += _FRAME_HEADER + PAGE

    # --- cells and records ------------------------------------------------------------------

    def _row(self, page: bytes, at: int, least: int) -> Row:
        if not least <= at < PAGE - 3:
            raise _DamagedError
        length, at = _varint(page, at)
        rowid, at = _varint(page, at)
        if rowid >= 1 << 63:
            rowid -= 1 << 64
        if not 0 < length <= MAX_PAYLOAD:
            raise _DamagedError
        if length <= _MOST_LOCAL:
            payload = page[at : at + length]
        else:
            local = _LEAST_LOCAL + (length - _LEAST_LOCAL) % (PAGE - 4)
            if local > _MOST_LOCAL:
                local = _LEAST_LOCAL
            (following,) = struct.unpack_from(">I", page, at + local)
            payload = page[at : at + local] + self._overflow(following, length - local)
        if len(payload) != length:
            raise _DamagedError
        return Row(rowid, _record(payload))

    def _overflow(self, number: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0:
            page = self._page(number)
            part = page[4 : 4 + min(length, PAGE - 4)]
            parts.append(part)
            length -= len(part)
            (number,) = struct.unpack_from(">I", page)
        return b"".join(parts)


def _pread(handle: int, length: int, offset: int) -> bytes:
    """Bytes at an offset; what a bad sector hides reads as zeros (a map of it would kill us)."""
    try:
        return os.pread(handle, length, offset)
    except OSError:
        if length <= PAGE:
            return bytes(length)
        return b"".join(_pread(handle, PAGE, offset + o) for o in range(0, length, PAGE))


def _checksum(data: bytes, start: tuple[int, ...], order: str) -> tuple[int, int]:
    """The log's checksum of 32-bit words, continued from ``start``."""
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9


def _record(payload: bytes) -> Record:
    size, at = _varint(payload, 0)
    if not at <= size <= len(payload):
        raise _DamagedError
    types: list[int] = []
    while at < size:
        kind, at = _varint(payload, at)
        types.append(kind)
    return tuple(_values(payload, size, types))


def _values(payload: bytes, at: int, types: Sequence[int]) -> Iterator[Value]:
    for kind in types:
        if kind == 0:
            yield None
            continue
        if kind in {8, 9}:
            yield kind - 8
            continue
        if kind < 7:
            size = _INTEGER_SIZES[kind]
        elif kind == 7:
            size = 8
        elif kind >= 12:
            size = (kind - 12) // 2
        else:
            raise _DamagedError
        data = payload[at : at + size]
        if len(data) != size:
            raise _DamagedError
        at += size
        if kind < 7:
            yield int.from_bytes(data, "big", signed=True)
        elif kind == 7:
            yield struct.unpack(">d", data)[0]
        else:
            yield data if kind % 2 == 0 else data.decode("utf-8")
