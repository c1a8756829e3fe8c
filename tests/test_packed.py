"""The packed form of lists: what goes in comes out, and damage is refused without quoting."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listworld import entries, entry, header, lists, packed

from alprd.errors import EnvelopeError, InputError
from alprd.packed import MAGIC, Packer, header_of, pack
from alprd.records import fold
from alprd.rows import KEY_LIMIT, entry_of, folded_of, key_of, row_of
from alprd.targetfile import BytesSource
from alprd.unpack import block_rows, blocks, sections
from alprd.wire import HotlistEntry

LIST = [entry(number) for number in range(20_000)]
PLAIN = packed(LIST)
SMALL = packed(LIST[:300])


def unpacked(plain: bytes) -> list[HotlistEntry]:
    return [entry_of(row) for block in blocks(BytesSource(plain)) for row in block_rows(block)]


@pytest.mark.policy("R-460.4-e")
@settings(deadline=None)
@given(entries)
def test_an_entry_comes_back_from_its_row_and_nothing_else_is_in_it(item: HotlistEntry) -> None:
    assert entry_of(row_of(item)) == item


@settings(deadline=None)
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=10))
def test_keys_are_numbers_of_folds(plate: str) -> None:
    key = key_of(fold(plate))
    assert 0 < key < KEY_LIMIT < 2**49
    assert folded_of(key) == fold(plate)


@settings(deadline=None)
@given(lists)
def test_a_list_comes_back_in_the_order_of_its_rows(items: list[HotlistEntry]) -> None:
    plain = packed(items)
    assert unpacked(plain) == sorted(items, key=row_of)
    assert header_of(BytesSource(plain)).entries == len(items)


def test_many_sections_and_blocks() -> None:
    assert {item.id for item in unpacked(PLAIN)} == {item.id for item in LIST}
    found = list(sections(BytesSource(PLAIN)))
    assert len(found) > 2
    assert 200 < sum(len(section.lengths) for section in found) < 2_000
    assert header_of(BytesSource(PLAIN)).counts == dict.fromkeys(
        ("stolen", "owner_warrant", "owner_suspended_revoked", "active_investigative",
         "other_lpdf"), 4_000
    )  # fmt: skip


def test_one_more_entry_changes_one_block() -> None:
    before = {block.body for block in blocks(BytesSource(PLAIN))}
    after = {block.body for block in blocks(BytesSource(packed([*LIST, entry(20_001)])))}
    assert len(after - before) <= 2
    assert len(before - after) <= 2


def test_rows_out_of_order_or_twice_are_refused() -> None:
    first, second = sorted(row_of(entry(number)) for number in (1, 2))
    for rows in ([second, first], [first, first]):
        with pytest.raises(InputError, match="out of order, or one is there twice"):
            pack(header(), rows, BytesIO())


def test_a_header_that_does_not_fit_is_refused() -> None:
    packer = Packer(BytesIO())
    packer.add(row_of(entry(1)))
    with pytest.raises(InputError, match="holds 1 entries and its header names 0"):
        packer.finish(header()(0, {}))


def test_a_text_that_cannot_be_shown_is_refused_at_central() -> None:
    with pytest.raises(InputError, match="4096"):
        row_of(entry(1, text="x" * 5_000))
    lone = HotlistEntry.model_construct(**{**dict(entry(1)), "text": "\ud800"})
    with pytest.raises(InputError, match="UTF-8"):
        row_of(lone)


@pytest.mark.parametrize(
    "row",
    [b"", b"\0" * 8, bytes(7) + b"\1\0", row_of(entry(1))[:-1], row_of(entry(1)) + b"x",
     row_of(entry(1)).replace(b'"MN"', b"{}"), row_of(entry(1)).replace(b"-1h", b"-9h"),
     b"\xff" * 8 + row_of(entry(1))[8:]],
    ids=range(8),
)  # fmt: skip
def test_a_damaged_row_is_refused_without_quoting_it(row: bytes) -> None:
    with pytest.raises(InputError) as caught:
        entry_of(row)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "stolen" not in caught.value.diagnostics()


def test_another_fold_is_told() -> None:
    other = PLAIN[: len(MAGIC)] + b"X" + PLAIN[len(MAGIC) + 1 :]
    with pytest.raises(InputError, match="other look-alikes"):
        unpacked(other)


@settings(deadline=None)
@given(st.integers(0, 1_000_000), st.integers(1, 255))
def test_a_damaged_byte_never_gives_another_error(at: int, change: int) -> None:
    small = bytearray(SMALL)
    small[at % len(small)] ^= change
    try:
        unpacked(bytes(small))
    except (InputError, EnvelopeError) as error:
        assert "stolen vehicle" not in error.diagnostics()


@settings(deadline=None)
@given(st.integers(0, 5_000))
def test_a_list_cut_short_is_refused(length: int) -> None:
    with pytest.raises(InputError):
        unpacked(SMALL[: min(length, len(SMALL) - 1)])
