"""Names and padding of deltas."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.deltatarget import STEP, delta_target, is_delta_of, pad, unpad
from alprd.errors import InputError


@given(st.binary(max_size=3 * STEP))
@settings(max_examples=50)
def test_padding_is_undone_and_hides_the_length(delta: bytes) -> None:
    padded = pad(delta)
    assert len(padded) % STEP == 0
    assert unpad(padded) == delta


@given(st.binary(max_size=64))
def test_what_is_not_padded_so_is_refused_or_read(data: bytes) -> None:
    try:
        assert pad(unpad(data)).startswith(data.rstrip(b"\0"))
    except InputError as error:
        assert "whole list" in error.remedy


def test_a_delta_belongs_to_one_list() -> None:
    name = delta_target("hotlist-lpdf.bin", "0123456789abcdef" * 4)
    assert name == "delta-lpdf-0123456789abcdef.bin"
    assert is_delta_of(name, "hotlist-lpdf.bin")
    assert not is_delta_of(name, "hotlist-lpd.bin")
    assert not is_delta_of(name, "hotlist-lpdf-0123456789abcdef.bin")
    with pytest.raises(InputError):
        unpad(b"")
