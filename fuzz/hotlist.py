"""Packed lists, their rows, and deltas between them, as they come from central.

The first byte of an input says which parser gets the rest. They stand behind a signature and an
authenticated cipher; a fault of central's must still not take a car down.
"""

from __future__ import annotations

import struct
import zlib
from datetime import UTC, datetime
from io import BytesIO
from random import Random
from typing import Final

from alprd.delta import apply_delta, make_delta
from alprd.errors import EnvelopeError, InputError
from alprd.loadedlist import LoadedList
from alprd.packed import pack
from alprd.records import Category
from alprd.rows import CATEGORIES, entry_of, row_of
from alprd.targetfile import BytesSource, TargetReader, TargetWriter
from alprd.unpack import block_rows, blocks
from alprd.wire import Hotlist, HotlistEntry
from fuzz.mutate import damaged

OUTCOMES: Final = ("refused", "opened")
MEMORY_MB: Final = 128

LIST, SECTION, ROW, DELTA, EDITS, TARGET = range(6)
_NAME: Final = "hotlist-fuzz.bin"
_KEY: Final = bytes(range(32))
_START: Final = 44
"""Where the sections of a packed list begin."""


def _entry(number: int) -> HotlistEntry:
    return HotlistEntry.model_validate(
        {
            "id": f"{number:016x}" if number % 50 else f"entry {number}",
            "plate": f"{'BSO'[number % 3]}{number:05d}",
            "state": "MN",
            "plate_type": "truck" if number % 7 else None,
            "category": CATEGORIES[number % 5],
            "priority": "high",
            "text": f"invented {number % 13}",
        }
    )


def _header(entries: int, counts: dict[Category, int]) -> Hotlist:
    supplied = datetime(2026, 6, 1, 12, tzinfo=UTC)
    return Hotlist(
        list_id="fuzz",
        source="LPDF",
        version="1",
        supplied_at=supplied,
        entries=entries,
        counts=counts,
    )


def _packed(numbers: range) -> bytes:
    out = BytesIO()
    pack(_header, sorted(row_of(_entry(number)) for number in numbers), out)
    return out.getvalue()


def _sealed(plain: bytes) -> bytes:
    out = BytesIO()
    with TargetWriter(out, name=_NAME, key=_KEY) as writer:
        writer.write(plain)
    return out.getvalue()


_OLD: Final = _packed(range(1, 150))
_NEW: Final = _packed(range(20, 170))
_DELTA: Final = make_delta(BytesSource(_OLD), BytesSource(_NEW))
_EDITS: Final = zlib.decompress(_DELTA[80:])
_ROWS: Final = (row_of(_entry(7)), row_of(_entry(50)))
_TARGETS: Final = (_sealed(b"list " * 20), _sealed(bytes(20_000)))
_PLAIN: Final = (b"list " * 20, bytes(20_000))


def make(rng: Random) -> bytes:
    """One input; one in twelve is left whole."""
    kind = rng.randrange(6)
    whole = rng.random() < 0.08
    if kind == SECTION:  # the frame stays right: what is inside the sections is damaged
        end = len(_OLD) - 16 - struct.unpack("<I", _OLD[-8:-4])[0]
        inside = _OLD[_START:end] if whole else damaged(_OLD[_START:end], rng)
        return bytes((kind,)) + _OLD[:_START] + inside + _OLD[end:]
    if kind == EDITS:
        return bytes((kind,)) + (_EDITS if whole else damaged(_EDITS, rng))
    seed = {LIST: (_OLD, _NEW), ROW: _ROWS, DELTA: (_DELTA,), TARGET: _TARGETS}[kind]
    data = rng.choice(seed)
    return bytes((kind,)) + (data if whole else damaged(data, rng))


def run(data: bytes) -> str:
    """Opens what can be opened; nothing but the new list may come out of a delta."""
    kind, rest = data[0], data[1:]
    try:
        if kind in {LIST, SECTION}:
            source = BytesSource(rest)
            loaded = LoadedList(source)
            loaded.find_all(["800050", "500007", "000000"])
            for block in blocks(source):
                for row in block_rows(block):
                    entry_of(row)
        elif kind == ROW:
            entry_of(rest)
        elif kind in {DELTA, EDITS}:
            whole = rest if kind == DELTA else _DELTA[:80] + zlib.compress(rest)
            out = BytesIO()
            apply_delta(BytesSource(_OLD), whole, out)
            if out.getvalue() != _NEW:
                raise AssertionError("a damaged delta gave another list")
        else:
            reader = TargetReader(rest, name=_NAME, key=_KEY)
            if reader.read_at(0, reader.size) not in _PLAIN:
                raise AssertionError("a damaged target was decrypted")
    except (EnvelopeError, InputError):
        return "refused"
    return "opened"
