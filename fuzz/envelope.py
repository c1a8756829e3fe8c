"""Sealed reads and what travels like them: headers, bodies, targets, wraps, batches.

The first byte of an input says which parser gets the rest. A *body* is sealed with the right key
before it is opened, so that the parser behind the seal sees damaged bytes too.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from alprd import crypto
from alprd.errors import EnvelopeError, InputError
from alprd.records import Plate, Position, Read, destroy_by
from alprd.wire import split_batch
from fuzz.mutate import damaged

OUTCOMES: Final = ("refused", "header", "opened")
MEMORY_MB: Final = 128

ENVELOPE, BODY, TARGET, WRAP, BATCH = range(5)
_KEY: Final = ec.derive_private_key(0x5EED, ec.SECP256R1())
_CONTENT: Final = bytes(range(32))
_NOW: Final = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
_JPEG: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xda\x00\x02" + bytes(40)


def _read(number: int) -> Read:
    return Read(
        id=f"{number:032x}",
        session=f"{number + 1:032x}",
        destroy_by=destroy_by(_NOW),
        plate=Plate(text="ZQX417", state="MN"),
        instant=_NOW,
        time_trusted=True,
        position=Position(lat=46.8, lon=-95.8, accuracy_m=4.0) if number else None,
        plate_picture=_JPEG,
        wide_picture=_JPEG if number else None,
    )


def _seal(number: int) -> bytes:
    return crypto.seal_read(
        _read(number), agency="becker", vehicle="car-1", intake_key=_KEY.public_key()
    )


# The sealed bytes differ from run to run (HPKE draws a key each time), as long as their layout
# does not: what decides about a crash is in front of the seal, or in the body, which is not.
_SEALED: Final = (_seal(0), _seal(1))
_TARGETS: Final = (crypto.encrypt_target(b"list " * 20, name="lists", key=_CONTENT),)
_WRAPS: Final = (crypto.wrap_key(_CONTENT, purpose="car", recipient=_KEY.public_key()).encode(),)
_SIGNED: Final = b'{"body":"{}","key":"0011223344556677","kind":"batch","signature":"MEUCIQ=="}'
_BATCHES: Final = (b"ALRB\x01" + struct.pack(">I", len(_SIGNED)) + _SIGNED + _SEALED[0],)
_FIELDS: Final = crypto.canonical(
    _read(1).model_dump(mode="json", include={"plate", "instant", "time_trusted", "position"})
)
_BODIES: Final = tuple(
    b"".join(struct.pack(">I", len(part)) + part for part in parts)
    for parts in ((_FIELDS, _JPEG, b""), (_FIELDS, _JPEG, _JPEG))
)
_SEEDS: Final = (_SEALED, _BODIES, _TARGETS, _WRAPS, _BATCHES)


def _header(rng: Random) -> bytes:
    """An envelope whose clear header is damaged, its length put right again."""
    sealed = rng.choice(_SEALED)
    (length,) = struct.unpack(">H", sealed[14:16])
    header = damaged(sealed[16 : 16 + length], rng)[:60_000]
    return sealed[:14] + struct.pack(">H", len(header)) + header + sealed[16 + length :]


def _body(rng: Random) -> bytes:
    """A body whose fields are damaged, their length put right again."""
    fields = damaged(_FIELDS, rng)
    return struct.pack(">I", len(fields)) + fields + rng.choice(_BODIES)[4 + len(_FIELDS) :]


def make(rng: Random) -> bytes:
    """One input; one in twelve is left whole."""
    kind = rng.choice((ENVELOPE, ENVELOPE, ENVELOPE, ENVELOPE, BODY, TARGET, WRAP, BATCH))
    if kind == ENVELOPE and rng.random() < 0.4:
        return bytes((kind,)) + _header(rng)
    if kind == BODY and rng.random() < 0.6:
        return bytes((kind,)) + _body(rng)
    seed = rng.choice(_SEEDS[kind])
    return bytes((kind,)) + (seed if rng.random() < 0.08 else damaged(seed, rng, _SEALED))


def run(data: bytes) -> str:
    """Parses, and opens what can be opened."""
    kind, rest = data[0], data[1:]
    try:
        if kind == ENVELOPE:
            return _open(rest)
        if kind == BODY:
            head = _SEALED[0][: 16 + struct.unpack(">H", _SEALED[0][14:16])[0]]
            sealed = crypto._SUITE.encrypt(rest, _KEY.public_key(), crypto._info(head))
            crypto.open_read(head + sealed, _KEY)
        elif kind == TARGET:
            plain = crypto.decrypt_target(rest, name="lists", key=_CONTENT)
            if rest not in _TARGETS or plain != b"list " * 20:
                raise AssertionError("a damaged target was decrypted")
        elif kind == WRAP:
            text = rest.decode("latin-1")
            if crypto.unwrap_key(text, purpose="car", key=_KEY) != _CONTENT:
                raise AssertionError("a damaged wrap was opened to another secret")
        else:
            split_batch(rest)
    except (EnvelopeError, InputError):
        return "refused"
    return "opened"


def _open(envelope: bytes) -> str:
    header = crypto.envelope_header(envelope)
    crypto.envelope_key_id(envelope)
    try:
        read = crypto.open_read(envelope, _KEY)
    except EnvelopeError:
        return "header"
    if envelope not in _SEALED or read.destroy_by != header.destroy_by:
        raise AssertionError("an altered envelope was opened")
    return "opened"
