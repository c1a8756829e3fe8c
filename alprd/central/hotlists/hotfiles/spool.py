"""Sorting more entries than memory holds: encrypted runs on the disk, merged.

Rows (:mod:`alprd.rows`) sort as bytes; the first 17 bytes are key and id, so that entries of the
same plate, state, type and column stand side by side, the earliest line first. The runs are
nameless files in the agency's own folder, encrypted under a key that exists in memory only:
after a crash nothing can be read of them.
"""

from __future__ import annotations

import heapq
import hmac
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from alprd.errors import StoreError
from alprd.targetfile import TargetReader, TargetWriter

RUN_ROWS: Final = 100_000
"""Rows sorted in memory at a time: about 25 MB."""
IDENTITY: Final = 17
"""Bytes of a row that say which entry it is; ``lists`` gives every entry an id of 16 hex digits."""
_HEAD: Final = struct.Struct("<HI")
_PIECE: Final = 1 << 16


class Spool:
    """Takes rows in any order and gives them back sorted, each entry once.

    Args:
        folder: where the runs lie.

    Raises:
        StoreError: the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = os.urandom(32)
        self._rows: list[tuple[bytes, int]] = []
        self._runs: list[BinaryIO] = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.clear()
        for run in self._runs:
            run.close()

    def add(self, row: bytes, line: int) -> None:
        """Take a row of :func:`alprd.rows.row_of` and its line."""
        self._rows.append((row, line))
        if len(self._rows) >= RUN_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._rows.sort(key=_order)
        try:
            handle = os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            run = os.fdopen(handle, "w+b")
            self._runs.append(run)
            name = f"run {len(self._runs)}"
            with TargetWriter(run, name=name, key=self._fresh(name)) as writer:
                for row, line in self._rows:
                    writer.write(_HEAD.pack(len(row), line) + row)
            run.flush()
        except OSError as error:
            raise StoreError(
                f"{self._folder}: {error.strerror}", remedy="check free disk space"
            ) from error
        self._rows.clear()

    def _fresh(self, name: str) -> bytes:
        """A key for one run: a key seals one plaintext only."""
        return hmac.digest(self._key, name.encode(), "sha256")

    def merged(self, repeated: Callable[[int, int], None]) -> Iterator[bytes]:
        """Every entry once, in order; call it once, after the last :meth:`add`.

        Args:
            repeated: called with the line of an entry that is left out, and the line of the same
                entry that stays.
        """
        self._rows.sort(key=_order)
        runs = [self._read(number) for number in range(len(self._runs))]
        last, first_line = b"", 0
        for row, line in heapq.merge(*runs, self._rows, key=_order):
            if row[:IDENTITY] == last:
                repeated(line, first_line)
                continue
            last, first_line = row[:IDENTITY], line
            yield row

    def _read(self, number: int) -> Iterator[tuple[bytes, int]]:
        name = f"run {number + 1}"
        path = Path(f"/proc/self/fd/{self._runs[number].fileno()}")
        with TargetReader(path, name=name, key=self._fresh(name)) as source:
            at, held = 0, b""
            while at < source.size or held:
                piece = source.read_at(at, min(_PIECE, source.size - at))
                at += len(piece)
                held += piece
                place = 0
                while len(held) - place >= _HEAD.size:
                    length, line = _HEAD.unpack_from(held, place)
                    if len(held) - place - _HEAD.size < length:
                        break
                    place += _HEAD.size
                    yield held[place : place + length], line
                    place += length
                held = held[place:]


def _order(item: tuple[bytes, int]) -> tuple[bytes, int]:
    return item[0][:IDENTITY], item[1]
