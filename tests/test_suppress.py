"""Suppression of address-confidentiality plates and its decision table."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.errors import InputError
from alprd.frames import Character, PlateReading
from alprd.hotlist import Match
from alprd.records import Category, fold
from alprd.suppress import SuppressionSet, decide, plate_digest
from alprd.wire import HotlistEntry

KEY = bytes(range(32))


def suppression(*plates: str, padding: int = 64) -> SuppressionSet:
    digests = [plate_digest(KEY, plate).hex() for plate in plates]
    return SuppressionSet(sorted(digests + [secrets.token_hex(16) for _ in range(padding)]), KEY)


def reading(
    text: str, stacked: str = "", doubts: Mapping[int, tuple[tuple[str, float], ...]] | None = None
) -> PlateReading:
    characters = tuple(Character(c, 0.5, (doubts or {}).get(at, ())) for at, c in enumerate(text))
    return PlateReading(text, stacked, characters, None, 0.0, 0.5, sure=False)


def match(category: Category) -> Match:
    item = HotlistEntry(
        id="1", plate="ABC123", state="MN", plate_type=None, category=category,
        priority="low", text="x",
    )  # fmt: skip
    return Match(item, "lpdf", "LPDF", "1", datetime.now(UTC), "exact", (), with_stacked=False)


def test_digest_is_the_published_formula() -> None:
    assert plate_digest(KEY, "sbo-1 8") == hmac.new(KEY, b"58018", hashlib.sha256).digest()[:16]


@pytest.mark.policy("R-460.5-b2")
@pytest.mark.parametrize(
    ("read", "stacked"),
    [
        ("ABC123", ""), ("A8C123", ""), ("ABCI23", ""), ("A8CI23", ""),
        ("C123", "AB"), ("ABC1", "23"),
    ],
)  # fmt: skip
def test_plate_look_alikes_and_both_stacked_orders_are_covered(read: str, stacked: str) -> None:
    assert suppression("ABC123").covers(reading(read, stacked))


@pytest.mark.policy("R-460.5-b2")
def test_a_doubtful_reading_is_covered_by_its_alternatives() -> None:
    protected = suppression("HBC123")
    assert not protected.covers(reading("MBC1Z7"))
    doubts = {0: (("W", 0.2), ("H", 0.01)), 5: (("3", 0.4),)}
    assert protected.covers(reading("MBC1Z7", doubts=doubts))


def test_others_are_not_covered() -> None:
    protected = suppression("ABC123")
    for plate in ("ABC12", "ABC1234", "ABD123", "XYZ789"):
        assert not protected.covers(reading(plate))
    assert not SuppressionSet.EMPTY.covers(reading("ABC123"))


def test_ten_doubtful_characters_stay_bounded_and_keep_the_likely_forms() -> None:
    others = tuple((c, 0.30 - n / 100) for n, c in enumerate("HKMNPRTUVWXY"))
    read = reading("AAAAAAAAAA", doubts={at: others for at in range(10)})
    assert suppression("AAAAAAAAAA").covers(read)
    assert suppression("HAAAAAAAAH").covers(read)
    assert not suppression("YYYYYYYYYY").covers(read)


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=8), st.data())
def test_no_choice_of_alternatives_escapes(plate: str, data: st.DataObject) -> None:
    doubts: dict[int, tuple[tuple[str, float], ...]] = {}
    read = list(plate)
    for at in data.draw(st.sets(st.integers(0, len(plate) - 1), max_size=6)):
        read[at] = data.draw(st.sampled_from("ABCDEFGHJKLMNPRSTUVWXYZ0123456789"))
        doubts[at] = ((plate[at], 0.05), ("7", 0.02))
    assert suppression(plate, padding=0).covers(reading("".join(read), doubts=doubts))


@pytest.mark.policy("R-460.5-b3", "T-12")
def test_decision_table() -> None:
    alerting = {"stolen", "owner_warrant", "active_investigative"}
    for category in get_args(Category):
        one = match(category)
        assert decide(False, [one]).alerts == (one,)
        assert decide(False, [one]).keep
        covered = decide(True, [one])
        assert covered.alerts == ((one,) if category in alerting else ())
        assert not covered.keep
    assert decide(True, []) == decide(True, [match("other_lpdf"), match("owner_suspended_revoked")])
    assert decide(False, []).keep
    mixed = decide(True, [match("owner_suspended_revoked"), match("stolen")])
    assert [m.entry.category for m in mixed.alerts] == ["stolen"]


@pytest.mark.policy("R-460.5-b4")
def test_the_set_tells_neither_size_nor_key() -> None:
    few, many = suppression("ABC123", padding=0), suppression("ABC123", padding=500)
    assert repr(few) == repr(many)
    assert KEY.hex() not in repr(few)
    assert not hasattr(few, "__len__")
    assert not hasattr(few, "__dict__")


@pytest.mark.parametrize("bad", ["xyz", "00", "0" * 34])
def test_a_damaged_digest_is_refused(bad: str) -> None:
    with pytest.raises(InputError):
        SuppressionSet([bad], KEY)
    with pytest.raises(InputError):
        SuppressionSet(["0" * 32], b"short")


def test_fold_agrees_with_the_records_module() -> None:
    changes: dict[str, Any] = {"O": "0", "Q": "0", "D": "0", "I": "1", "B": "8", "S": "5"}
    for char, folded in changes.items():
        assert fold(char) == folded
