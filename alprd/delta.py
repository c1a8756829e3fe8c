"""From one version of a packed hotlist to the next: only the entries that came and went.

A delta is the difference of two plaintexts (:mod:`alprd.packed`). The car applies it to the old
plaintext, which it decrypts from its own disk, and gets the new one byte for byte; its digest is
in the delta, and the encrypted result is compared with what the signed targets metadata names.
Integers are unsigned LEB128 varints but for the fixed ones::

    offset  size  field
    0       4     magic  b"ALRD"
    4       1     version = 1
    5       3     zero
    8       32    SHA-256 of the old plaintext
    40      32    SHA-256 of the new plaintext
    72      8     probe: SHA-256 of a known text as this zlib compresses it, first bytes
    80      …     zlib of: header of the new list (varint length, JSON), then edits until the end

    edit:   rows to keep from the old list, rows to leave out, rows to add; then each of these:
            its key less the one of the row added before, varint length of the rest, the rest

Blocks of entries that are the same in both are neither opened by who makes a delta nor by who
applies it. Other blocks are compressed again by the car, which must give the same bytes as at
central: the probe tells a zlib that does not before any work is done, and then the car takes the
whole list instead.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from pydantic import ValidationError

from alprd.errors import InputError
from alprd.packed import Block, Packer, Sink, header_of
from alprd.rows import MAX_ROW, entry_of
from alprd.targetfile import Source
from alprd.unpack import block_rows, blocks
from alprd.wire import Hotlist

_MAGIC: Final = b"ALRD\x01\0\0\0"
_HEAD: Final = 80
_PROBE_TEXT: Final = "\n".join(
    f'["MN","{number * 7919 % 13}","-{number % 5}h","Vehicle {number * 104729 % 9973}"]'
    for number in range(96)
).encode()
_READ: Final = 1 << 20
_MAX_HEADER: Final = 65_536
_REMEDY: Final = "fetch the whole list instead"


def make_delta(old: Source, new: Source) -> bytes:
    """The delta that turns the packed list ``old`` into ``new``; the lists are never whole in RAM.

    Raises:
        InputError: one of them is not a packed list.
    """
    common = {_mark(b) for b in _but_last(old)} & {_mark(b) for b in _but_last(new)}
    squeeze = zlib.compressobj(9)
    parts = [_MAGIC, digest(old), digest(new), _probe()]
    header = header_of(new).model_dump_json().encode()
    parts.append(squeeze.compress(_varint(len(header)) + header))
    kept, left_out, last_key = 0, 0, 0
    added: list[bytes] = []

    def flush() -> None:
        nonlocal kept, left_out, last_key
        if not left_out and not added:
            return
        edit = [_varint(kept), _varint(left_out), _varint(len(added))]
        for row in added:
            key = int.from_bytes(row[:8], "big")
            edit += (_varint(key - last_key), _varint(len(row) - 8), row[8:])
            last_key = key
        parts.append(squeeze.compress(b"".join(edit)))
        kept, left_out = 0, 0
        added.clear()

    for change, count, row in _compare(_Walk(old, common), _Walk(new, common)):
        if change == "keep":
            if left_out or added:
                flush()
            kept += count
        elif change == "drop":
            left_out += 1
        else:
            added.append(row)
            if len(added) == 4096:
                flush()
    flush()
    parts.append(squeeze.flush())
    return b"".join(parts)


def apply_delta(old: Source, delta: bytes, out: Sink) -> Hotlist:
    """Write the new list's plaintext to ``out`` as a stream; returns its header.

    ``out`` may be a :class:`alprd.targetfile.TargetWriter`. Until this has returned, what was
    written is worth nothing.

    Raises:
        InputError: not a delta, for another list, damaged, or made with another zlib.
    """
    if len(delta) < _HEAD or delta[:8] != _MAGIC:
        raise InputError("not a delta of version 1", remedy=_REMEDY)
    if delta[72:_HEAD] != _probe():
        raise InputError(
            "delta was made with a zlib that compresses otherwise than the one here",
            remedy=_REMEDY,
        )
    if delta[8:40] != digest(old):
        raise InputError("delta is for another version of the list", remedy=_REMEDY)
    edits = _Stream(delta[_HEAD:])
    try:
        header = Hotlist.model_validate_json(edits.take(edits.number(_MAX_HEADER)))
    except ValidationError:
        raise InputError(
            "header in a delta does not fit the closed schema", remedy=_REMEDY
        ) from None
    hashed = _Hashed(out)
    packer = Packer(hashed)
    rest = _Old(old)
    key = 0
    while not edits.ended():
        keep, leave_out, add = (edits.number(1 << 40) for _ in range(3))
        if not leave_out and not add:  # millions of these would pack into a few bytes
            raise InputError("delta has an edit that changes nothing", remedy=_REMEDY)
        rest.keep(keep, packer)
        rest.leave_out(leave_out)
        for _ in range(add):
            key += edits.number(1 << 49)
            if key >> 64:
                raise InputError("delta adds a key that no plate has", remedy=_REMEDY)
            row = key.to_bytes(8, "big") + edits.take(edits.number(MAX_ROW))
            entry_of(row)  # refuses what does not fit the closed schema
            packer.add(row)
    rest.keep(None, packer)
    packer.finish(header)
    if hashed.digest() != delta[40:72]:
        raise InputError("applying the delta did not give the list it names", remedy=_REMEDY)
    return header


def digest(source: Source) -> bytes:
    """SHA-256 of a plaintext, read piece by piece."""
    found = hashlib.sha256()
    for at in range(0, source.size, _READ):
        found.update(source.read_at(at, min(_READ, source.size - at)))
    return found.digest()


# --- making ---------------------------------------------------------------------------------------


def _but_last(source: Source) -> Iterator[Block]:
    """All blocks but the last: that one ended with the list, not by its rows."""
    before: Block | None = None
    for block in blocks(source):
        if before is not None:
            yield before
        before = block


def _mark(block: Block) -> bytes:
    keys = b"".join(key.to_bytes(8, "big") for key in block.keys)
    return hashlib.blake2b(keys + block.body, digest_size=16).digest()


class _Walk:
    """The rows of a list up to the next common block, then that block, and so on."""

    def __init__(self, source: Source, common: set[bytes]) -> None:
        self._blocks = blocks(source)
        self._common = common
        self.anchor: tuple[bytes, int] | None = None
        """Mark and number of rows of the common block met; None at the end."""

    def rows(self) -> Iterator[bytes]:
        self.anchor = None
        for block in self._blocks:
            mark = _mark(block)
            if mark in self._common:
                self.anchor = (mark, len(block.keys))
                return
            yield from block_rows(block)


def _compare(old: _Walk, new: _Walk) -> Iterator[tuple[str, int, bytes]]:
    """("keep", rows, b""), ("drop", 1, b"") or ("add", 1, row), in order of the lists."""
    while True:
        mine, theirs = old.rows(), new.rows()
        a, b = next(mine, None), next(theirs, None)
        while a is not None or b is not None:
            if a is not None and (b is None or a < b):
                yield "drop", 1, b""
                a = next(mine, None)
            elif b is not None and (a is None or b < a):
                yield "add", 1, b
                b = next(theirs, None)
            else:
                yield "keep", 1, b""
                a, b = next(mine, None), next(theirs, None)
        if old.anchor != new.anchor:
            raise InputError("a hotlist holds the same block twice")
        if old.anchor is None:
            return
        yield "keep", old.anchor[1], b""


# --- applying -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Held:
    """A block of the old list; ``final`` if none follows."""

    block: Block
    final: bool


class _Old:
    """The old list's rows in order, whole blocks unopened where all of one is kept."""

    def __init__(self, source: Source) -> None:
        self._blocks = self._held(source)
        self._rows: list[bytes] = []
        self._at = 0

    @staticmethod
    def _held(source: Source) -> Iterator[_Held]:
        before: Block | None = None
        for block in chain(blocks(source), [None]):
            if before is not None:
                yield _Held(before, block is None)
            before = block

    def keep(self, count: int | None, packer: Packer) -> None:
        """Hand the next ``count`` rows over, all that are left for None."""
        while count is None or count > 0:
            if self._at < len(self._rows):
                packer.add(self._rows[self._at])
                self._at += 1
                count = None if count is None else count - 1
                continue
            held = next(self._blocks, None)
            if held is None:
                if count is None:
                    return
                raise InputError("delta keeps more rows than the old list has", remedy=_REMEDY)
            size = len(held.block.keys)
            whole = count is None or count >= size
            if whole and not held.final and packer.between_blocks:
                packer.add_block(held.block)
                count = None if count is None else count - size
            else:
                self._rows, self._at = block_rows(held.block), 0

    def leave_out(self, count: int) -> None:
        """Pass over the next ``count`` rows."""
        while count:
            step = min(count, len(self._rows) - self._at)
            self._at += step
            count -= step
            if count:
                held = next(self._blocks, None)
                if held is None:
                    raise InputError("delta drops more rows than there are", remedy=_REMEDY)
                self._rows, self._at = block_rows(held.block), 0


class _Stream:
    """Numbers and bytes out of compressed data, unpacked piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._rest = data
        self._unzip = zlib.decompressobj()
        self._ready = b""
        self._at = 0

    def ended(self) -> bool:
        """Whether everything was taken."""
        return not self._more(1)

    def take(self, length: int) -> bytes:
        """The next bytes."""
        if not self._more(length):
            raise InputError("delta is cut short", remedy=_REMEDY)
        self._at += length
        return self._ready[self._at - length : self._at]

    def number(self, most: int) -> int:
        """The next varint."""
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                raise InputError("delta holds a number too long", remedy=_REMEDY)
        if value > most:
            raise InputError("delta holds an impossible number", remedy=_REMEDY)
        return value

    def _more(self, length: int) -> bool:
        """Have so many bytes ready, if there are."""
        while len(self._ready) - self._at < length:
            if self._unzip.eof:
                if self._unzip.unused_data:
                    raise InputError("delta has bytes behind its end", remedy=_REMEDY)
                return False
            try:
                found = self._unzip.decompress(self._rest, 65_536)
            except zlib.error as error:
                raise InputError("delta is not whole zlib data", remedy=_REMEDY) from error
            self._rest = self._unzip.unconsumed_tail
            if not found and not self._rest and not self._unzip.eof:
                raise InputError("delta is cut short", remedy=_REMEDY)
            self._ready = self._ready[self._at :] + found
            self._at = 0
        return True


class _Hashed:
    """Passes bytes on and digests them."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        return self._out.write(data)

    def digest(self) -> bytes:
        return self._sha256.digest()


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _probe() -> bytes:
    return hashlib.sha256(zlib.compress(_PROBE_TEXT, 6)).digest()[:8]
