"""Deltas between packed lists: byte for byte the new list, or a clear refusal."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listworld import KEY, NAME, entry, lists, packed, sealed

from alprd import delta as module
from alprd.delta import apply_delta, make_delta
from alprd.errors import InputError
from alprd.targetfile import BytesSource, TargetReader, TargetWriter
from alprd.unpack import blocks
from alprd.wire import HotlistEntry

OLD = packed([entry(number) for number in range(20_000)])
NEW = packed([entry(number) for number in range(20_200) if number % 100 != 7], version="2")
DELTA = make_delta(BytesSource(OLD), BytesSource(NEW))
SMALL_OLD = packed(entry(number) for number in range(40))
SMALL_NEW = packed((entry(number) for number in range(5, 60)), version="2")
SMALL_DELTA = make_delta(BytesSource(SMALL_OLD), BytesSource(SMALL_NEW))


def applied(old: bytes, delta: bytes) -> bytes:
    out = BytesIO()
    apply_delta(BytesSource(old), delta, out)
    return out.getvalue()


@settings(deadline=None)
@given(lists, lists, lists)
def test_any_list_becomes_any_other(
    shared: list[HotlistEntry], gone: list[HotlistEntry], come: list[HotlistEntry]
) -> None:
    old = packed({item.model_dump_json(): item for item in shared + gone}.values())
    new = packed({item.model_dump_json(): item for item in shared + come}.values(), version="2")
    assert applied(old, make_delta(BytesSource(old), BytesSource(new))) == new


@settings(deadline=None, max_examples=15)
@given(st.sets(st.integers(0, 1_999), max_size=40), st.sets(st.integers(2_000, 4_000), max_size=40))
def test_a_list_of_many_blocks_becomes_another(gone: set[int], come: set[int]) -> None:
    old = packed(entry(number) for number in range(2_000))
    kept = [number for number in range(2_000) if number not in gone]
    new = packed((entry(number) for number in [*kept, *come]), version="2")
    assert applied(old, make_delta(BytesSource(old), BytesSource(new))) == new


def test_a_delta_is_small_and_opens_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(DELTA) < len(NEW) / 20
    opened = []
    real = module.block_rows
    monkeypatch.setattr(module, "block_rows", lambda block: opened.append(1) or real(block))
    assert applied(OLD, DELTA) == NEW
    assert len(opened) < len(list(blocks(BytesSource(OLD))))
    again = make_delta(BytesSource(OLD), BytesSource(packed(
        [entry(number) for number in range(20_000)], version="3"
    )))  # fmt: skip
    assert len(again) < 500  # the header alone


def test_a_car_makes_the_published_bytes_from_its_old_target() -> None:
    """As the car does it: decrypt the old, apply, encrypt under the new key, compare digests."""
    fresh = bytes(32)
    published, digest = sealed(NEW, key=fresh)
    old = TargetReader(sealed(OLD)[0], name=NAME, key=KEY)
    out = BytesIO()
    with TargetWriter(out, name=NAME, key=fresh) as writer:
        apply_delta(old, DELTA, writer)
    assert writer.sha256 == digest
    assert out.getvalue() == published


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "not a delta"),
        (b"ALRD\2" + DELTA[5:], "not a delta"),
        (DELTA[:8] + bytes(32) + DELTA[40:], "another version of the list"),
        (DELTA[:40] + bytes(32) + DELTA[72:], "did not give the list"),
        (DELTA[:72] + bytes(8) + DELTA[80:], "zlib that compresses otherwise"),
        (DELTA[:-20], "cut short"),
        (DELTA + b"\0", "behind its end"),
        (DELTA[:80] + b"\0" + DELTA[81:], "not whole zlib"),
    ],
)
def test_a_bad_delta_is_refused_with_its_reason(bad: bytes, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        applied(OLD, bad)
    assert "whole" in caught.value.remedy


@settings(deadline=None)
@given(st.integers(8, len(DELTA) - 1), st.integers(1, 255))
def test_no_damaged_delta_gives_a_list(at: int, change: int) -> None:
    data = bytearray(SMALL_DELTA)
    data[8 + at % (len(data) - 8)] ^= change
    with pytest.raises(InputError):
        applied(SMALL_OLD, bytes(data))


def test_a_list_that_is_none_is_refused() -> None:
    with pytest.raises(InputError):
        make_delta(BytesSource(OLD), BytesSource(b"not a list" * 20))
