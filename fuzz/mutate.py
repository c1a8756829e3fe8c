"""Damage that bytes suffer, and damage that breaks parsers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

MOST: Final = 200_000
"""Bytes; longer inputs are cut, for speed."""

_NUMBERS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000)
_NUMBERS_MORE: Final = (0xFFFFFFFF, 0xFFFFFFFE, 2**16 + 1, 2**24, 2**20 - 1)


def flip(data: bytearray, rng: Random) -> None:
    """One bit."""
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def change(data: bytearray, rng: Random) -> None:
    """One byte becomes any byte."""
    data[rng.randrange(len(data))] = rng.randrange(256)


def cut(data: bytearray, rng: Random) -> None:
    """A short stretch is lost."""
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 16)]


def truncate(data: bytearray, rng: Random) -> None:
    """The end is lost."""
    del data[rng.randrange(len(data)) :]


def insert(data: bytearray, rng: Random) -> None:
    """Random bytes come in between."""
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.randint(1, 8))


def repeat(data: bytearray, rng: Random) -> None:
    """A stretch is repeated, sometimes often."""
    at = rng.randrange(len(data))
    piece = data[at : at + rng.randint(1, 24)]
    data[at:at] = piece * rng.choice((1, 1, 1, 2, 8, 60))


def number(data: bytearray, rng: Random) -> None:
    """A number at the edge of its type, in either byte order."""
    size = rng.choice((1, 2, 4))
    value = rng.choice(_NUMBERS + _NUMBERS_MORE) & (256**size - 1)
    order = "big" if rng.random() < 0.5 else "little"
    at = rng.randrange(len(data))
    data[at : at + size] = value.to_bytes(size, "big" if order == "big" else "little")


def digits(data: bytearray, rng: Random) -> None:
    """A run of digits grows, or becomes another number."""
    places = [i for i, byte in enumerate(data[:4096]) if 0x30 <= byte <= 0x39]
    if places:
        at = rng.choice(places)
        data[at : at + 1] = rng.choice((b"", b"-1", b"9" * rng.randint(2, 20), b"0", b".5", b"1e9"))


DAMAGES: Final[tuple[Callable[[bytearray, Random], None], ...]] = (
    flip, flip, change, change, cut, truncate, insert, repeat, number, number, digits,
)  # fmt: skip


def damaged(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """``data`` after one to six kinds of damage, or spliced with one of ``others``."""
    result = bytearray(data)
    if others and rng.random() < 0.1:
        other = rng.choice(others)
        result = result[: rng.randint(0, len(result))] + other[rng.randint(0, len(other)) :]
    for _ in range(min(rng.randint(1, 6), rng.randint(1, 6))):
        if result:
            rng.choice(DAMAGES)(result, rng)
    return bytes(result[:MOST])
