"""Chunked encryption of targets: what is altered, moved, cut or renamed does not open."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listworld import KEY, NAME, sealed

from alprd.errors import EnvelopeError, StoreError
from alprd.targetfile import CHUNK, TargetReader

BODY = bytes(range(256)) * (3 * CHUNK // 256) + b"the end"
STEP = CHUNK + 16


def opened(data: bytes, *, name: str = NAME, key: bytes = KEY) -> bytes:
    reader = TargetReader(data, name=name, key=key)
    return reader.read_at(0, reader.size)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_every_length_comes_back(size: int) -> None:
    data, digest = sealed(BODY[:size])
    assert opened(data) == BODY[:size]
    assert digest == hashlib.sha256(data).hexdigest()


def test_the_same_key_and_plaintext_give_the_same_bytes_however_written() -> None:
    """A car that makes a list from its delta must get the published bytes."""
    from io import BytesIO

    from alprd.targetfile import TargetWriter

    out = BytesIO()
    with TargetWriter(out, name=NAME, key=KEY) as writer:
        for at in range(0, len(BODY), 1000):
            writer.write(BODY[at : at + 1000])
    assert (out.getvalue(), writer.sha256) == sealed(BODY)
    assert writer.length == len(out.getvalue())
    assert sealed(BODY, key=bytes(32))[0] != out.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d[:-1],
        lambda d: d[: 8 + 2 * STEP],  # ends at a chunk: its end is not marked
        lambda d: d[: 8 + 3 * STEP],
        lambda d: d + b"\0",
        lambda d: d + d[8 : 8 + STEP],
        lambda d: d[:8] + d[8 + STEP : 8 + 2 * STEP] + d[8 : 8 + STEP] + d[8 + 2 * STEP :],
        lambda d: d[:8] + d[8 : 8 + STEP] + d[8:],
        lambda d: b"ALRT\1" + d[5:],
        lambda d: d[:8],
        lambda d: b"",
    ],
    ids=["cut", "2-chunks", "3-chunks", "byte-more", "chunk-more", "swapped", "twice", "v1",
         "head", "empty"],
)  # fmt: skip
def test_what_is_not_whole_does_not_open(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(EnvelopeError):
        opened(damage(sealed(BODY)[0]))


def test_another_name_or_key_does_not_open() -> None:
    data, _ = sealed(BODY)
    with pytest.raises(EnvelopeError, match="another key"):
        opened(data, name="hotlist-local.bin")
    with pytest.raises(EnvelopeError):
        opened(data, key=bytes(32))


@settings(deadline=None)
@given(st.integers(0, len(sealed(BODY)[0]) - 1), st.integers(1, 255))
def test_no_altered_byte_passes(at: int, change: int) -> None:
    data = bytearray(sealed(BODY)[0])
    data[at] ^= change
    with pytest.raises(EnvelopeError):
        opened(bytes(data))


@settings(deadline=None)
@given(st.integers(0, len(BODY)), st.integers(0, len(BODY)))
def test_any_piece_can_be_read(start: int, stop: int) -> None:
    reader = TargetReader(sealed(BODY)[0], name=NAME, key=KEY)
    if start <= stop:
        assert reader.read_at(start, stop - start) == BODY[start:stop]
    with pytest.raises(EnvelopeError, match="too early"):
        reader.read_at(start, len(BODY) - start + 1)


def test_a_file_stays_readable_when_replaced_and_is_closed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "list"
    data, digest = sealed(BODY)
    path.write_bytes(data)
    reader = TargetReader(path, name=NAME, key=KEY)
    (tmp_path / "new").write_bytes(b"another")
    (tmp_path / "new").replace(path)
    assert reader.read_at(CHUNK, 10) == BODY[CHUNK : CHUNK + 10]
    assert reader.sha256() == digest
    reader.close()
    with pytest.raises(StoreError, match="closed"):
        reader.read_at(0, 1)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        TargetReader(tmp_path / "none", name=NAME, key=KEY)
