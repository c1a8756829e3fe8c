"""Big encrypted targets (lists to the car), in chunks: written and read without standing in RAM.

A list of millions of entries has hundreds of megabytes. It is encrypted once at central, verified
and opened in the car, where a hit later reads back one chunk only. Layout, version 2 (version 1 is
:func:`alprd.crypto.encrypt_target`, for small targets)::

    offset  size  field
    0       4     magic  b"ALRT"
    4       1     version = 2
    5       3     zero
    8       …     chunks, back to back: AES-256-GCM ciphertext of CHUNK bytes, and its tag (16);
                  the last one holds the rest, 0 to CHUNK bytes

    nonce of chunk i  = 3 zero bytes | 1 if it is the last, else 0 | u64 big-endian i
    associated data   = b"alprd target v2\\0" + name

So no chunk can be altered, exchanged, moved, repeated, left out, added or taken from a target of
another name: the position is in the nonce, and the end is marked in it.

**A key seals one plaintext, ever.** The nonces count from zero: the same key and plaintext give
the same bytes. That is wanted (a car that made the plaintext from its old list and a delta
encrypts it to exactly the published bytes, and compares their SHA-256 with the signed one), and
it is safe only because central draws a fresh key for each version of a target.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from alprd.errors import EnvelopeError, StoreError

CHUNK: Final = 16_384
"""Plain bytes a chunk. A hit decrypts one: few microseconds with AES instructions, and still below
a millisecond on a processor without them."""
_HEAD: Final = b"ALRT\x02\0\0\0"
_TAG: Final = 16
_MAX_BYTES: Final = 1 << 40


class Source(Protocol):
    """Bytes that can be read at any place; several threads may do so at once."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``.

        Raises:
            EnvelopeError: altered, or not there.
            StoreError: the disk cannot be read.
        """


class BytesSource:
    """A :class:`Source` over bytes in RAM."""

    def __init__(self, data: bytes) -> None:
        self._data: Final = data

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self._data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; see :class:`Source`."""
        found = self._data[offset : offset + length]
        if offset < 0 or len(found) != length:
            raise EnvelopeError("data ends too early")
        return found


class TargetWriter:
    """Encrypts what is written to it, as a stream; use as a context manager or call ``close``.

    Args:
        out: where the encrypted bytes go; it is neither synced nor closed here.
        name: name of the target, such as ``hotlist-lpdf.bin``.
        key: 32 bytes, drawn for this version of this target alone.
    """

    def __init__(self, out: BinaryIO, *, name: str, key: bytes) -> None:
        self._out = out
        self._aead = AESGCM(key)
        self._aad = _aad(name)
        self._pending = bytearray()
        self._number = 0
        self._digest = hashlib.sha256()
        self._closed = False
        self.length = 0
        """Encrypted bytes written so far."""
        self._put(_HEAD)

    @property
    def sha256(self) -> str:
        """SHA-256 of the encrypted bytes as hex: what the targets metadata names; after close."""
        return self._digest.hexdigest()

    def write(self, data: bytes, /) -> int:
        """Take plain bytes in."""
        self._pending += data
        # A full chunk is sealed only when more follows: the last one is marked as such.
        while len(self._pending) > CHUNK:
            self._seal(bytes(self._pending[:CHUNK]), last=False)
            del self._pending[:CHUNK]
        return len(data)

    def close(self) -> None:
        """Seal the last chunk; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._seal(bytes(self._pending), last=True)
            self._pending.clear()

    def __enter__(self) -> TargetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None:  # a file that is not whole must not look so
            self.close()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        self._put(self._aead.encrypt(_nonce(self._number, last=last), plain, self._aad))
        self._number += 1

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self.length += len(data)
        self._out.write(data)


class TargetReader:
    """A :class:`Source` over an encrypted target, on the disk or in RAM.

    The open file stays the same when its name is replaced or removed. Every chunk is verified
    each time that it is read.
    """

    def __init__(self, sealed: Path | bytes, *, name: str, key: bytes) -> None:
        """Open a target; ``sealed`` is its file, or its bytes.

        Raises:
            EnvelopeError: not a target of this version, cut short, or its last chunk does not open
                (another name, another key, truncated, extended).
            StoreError: the file cannot be read.
        """
        self._name: Final = name
        self._aead: Final = AESGCM(key)
        self._aad: Final = _aad(name)
        self._handle: int | None = None
        self._data: Final = sealed if isinstance(sealed, bytes) else b""
        total = len(self._data)
        if isinstance(sealed, Path):
            try:
                self._handle = os.open(sealed, os.O_RDONLY | os.O_CLOEXEC)
                total = os.fstat(self._handle).st_size
            except OSError as error:
                self.close()
                raise StoreError(
                    f"target {name}: {error.strerror}", remedy="check the state folder's owner"
                ) from error
        body = total - len(_HEAD)
        self._chunks: Final = max(1, -(-body // (CHUNK + _TAG)))
        self._size: Final = body - self._chunks * _TAG
        self._recent: tuple[int, bytes] = (-1, b"")
        try:
            if self._size < 0 or total > _MAX_BYTES or self._raw(0, len(_HEAD)) != _HEAD:
                raise EnvelopeError(f"target {name} is not an encrypted target of version 2")
            self._chunk(self._chunks - 1)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Length of the plain bytes."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` plain bytes from ``offset``; see :class:`Source`."""
        if offset < 0 or length < 0 or offset + length > self._size:
            raise EnvelopeError(f"target {self._name} ends too early")
        first, skip = divmod(offset, CHUNK)
        if skip + length <= CHUNK:
            return self._chunk(first)[skip : skip + length] if length else b""
        last = (offset + length - 1) // CHUNK
        joined = b"".join(self._chunk(number) for number in range(first, last + 1))
        return joined[skip : skip + length]

    def sha256(self) -> str:
        """SHA-256 of the encrypted bytes as hex, read anew through the open file."""
        digest = hashlib.sha256()
        at = 0
        while piece := self._raw(at, 1 << 20):
            digest.update(piece)
            at += len(piece)
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file; reading after this raises StoreError."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> TargetReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A snapshot of lists ends when its last user lets go of it; its file ends with it.
        if getattr(self, "_handle", None) is not None:
            self.close()

    def _chunk(self, number: int) -> bytes:
        known, plain = self._recent  # one assignment of a pair: safe between threads
        if known == number:
            return plain
        last = number == self._chunks - 1
        size = self._size - number * CHUNK if last else CHUNK
        sealed = self._raw(len(_HEAD) + number * (CHUNK + _TAG), size + _TAG)
        try:
            plain = self._aead.decrypt(_nonce(number, last=last), sealed, self._aad)
        except (InvalidTag, ValueError) as error:
            raise EnvelopeError(
                f"target {self._name} was altered, is cut short or is under another key "
                f"(chunk {number} of {self._chunks})",
                remedy="the car fetches it again at the next dock",
            ) from error
        self._recent = (number, plain)
        return plain

    def _raw(self, offset: int, length: int) -> bytes:
        if self._data:
            return self._data[offset : offset + length]
        if self._handle is None:
            raise StoreError(f"target {self._name} is closed")
        try:
            found = os.pread(self._handle, length, offset)
            while 0 < len(found) < length and (
                more := os.pread(self._handle, length - len(found), offset + len(found))
            ):
                found += more
        except OSError as error:
            raise StoreError(
                f"target {self._name}: {error.strerror}", remedy="check the disk of the car"
            ) from error
        return found


def _nonce(number: int, *, last: bool) -> bytes:
    return struct.pack(">3xBQ", last, number)


def _aad(name: str) -> bytes:
    return b"alprd target v2\0" + name.encode()
