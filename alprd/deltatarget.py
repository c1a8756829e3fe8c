"""The targets that hold deltas: their names, and their padding.

``delta-<list id>-<old>.bin`` turns the target ``hotlist-<list id>.bin`` whose SHA-256 begins with
``<old>`` (16 hex digits) into the one that is published beside it. It is encrypted under a content
key of its own (:func:`alprd.crypto.encrypt_target`); the plaintext is::

    u64 big-endian length of the delta | delta (alprd.delta) | zeros up to a multiple of STEP

so that its size tells a day's changes only roughly.
"""

from __future__ import annotations

import struct
from typing import Final

from alprd.errors import InputError
from alprd.wire import HOTLIST_PREFIX

DELTA_PREFIX: Final = "delta-"
STEP: Final = 16_384
MOST: Final = 32_000_000
"""A car holds a delta in RAM; a longer one saves little over the whole list."""
_LENGTH: Final = struct.Struct(">Q")


def delta_target(name: str, old_sha256: str) -> str:
    """Name of the delta from the target ``name`` with the digest ``old_sha256`` (hex)."""
    stem = name.removeprefix(HOTLIST_PREFIX).removesuffix(".bin")
    return f"{DELTA_PREFIX}{stem}-{old_sha256[:16]}.bin"


def is_delta_of(delta: str, name: str) -> bool:
    """Whether a target's name is that of a delta to the target ``name``."""
    return len(delta) == len(delta_target(name, "0" * 16)) and delta.startswith(
        delta_target(name, "").removesuffix(".bin")
    )


def pad(delta: bytes) -> bytes:
    """The plaintext of a delta's target."""
    framed = _LENGTH.pack(len(delta)) + delta
    return framed + bytes(-len(framed) % STEP)


def unpad(plain: bytes) -> bytes:
    """The inverse of :func:`pad`.

    Raises:
        InputError: not such a plaintext.
    """
    if len(plain) < _LENGTH.size:
        raise InputError("a delta is cut short", remedy="fetch the whole list instead")
    (length,) = _LENGTH.unpack_from(plain)
    if length > len(plain) - _LENGTH.size or any(plain[_LENGTH.size + length :]):
        raise InputError("a delta is not framed as it should be", remedy="fetch the whole list")
    return plain[_LENGTH.size : _LENGTH.size + length]
