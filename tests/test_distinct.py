"""Counting different plates: exact, small, and gone with the session."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from alprd.crypto import SignedDocument
from alprd.distinct import SAME_PASS_S, DistinctPlates, MarkSet
from alprd.frames import PlateReading
from alprd.records import Category, Closed, Uncached
from alprd.wire import AuditEvent, SessionRow

NONE = frozenset[Category]()


@given(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)), max_size=300))
def test_the_set_of_marks_is_a_set(marks: list[int]) -> None:
    """Marks that want the same place, 0 and the largest among them."""
    found, true = MarkSet(), set[int]()
    for mark in marks:
        assert found.add(mark) is ((mark or 1) not in true)
        true.add(mark or 1)
        assert len(found) == len(true)
    assert all(mark in found for mark in true)
    assert not any(mark in found for mark in range(41, 80) if mark not in true)


@pytest.mark.policy("R-460.5.1-b1")
def test_thousands_of_plates_are_counted_exactly_in_few_bytes_each() -> None:
    plates = DistinctPlates()
    texts = [f"{a}{b}{c}{n:03d}" for a in "ABCDE" for b in "FGHJ" for c in "KL" for n in range(500)]
    now = 0.0
    for text in random.Random(4).choices(texts, k=30_000):
        now += 0.2
        plates.count(text, NONE, now)
    seen = set(random.Random(4).choices(texts, k=30_000))
    assert len(plates) == len(seen) > 15_000
    assert plates.table_bytes <= 24 * len(plates)
    assert plates.lately <= SAME_PASS_S / 0.2 + 1


@pytest.mark.policy("R-460.5-b2")
def test_key_and_marks_are_overwritten_at_the_end() -> None:
    plates = DistinctPlates()
    for number in range(5_000):  # through several tables
        plates.count(f"PLT{number:04d}", NONE, 0.0)
    key, table = plates._key, plates._marks._table
    assert any(key) and any(table)
    plates.destroy()
    assert not any(key) and not any(table)
    assert len(plates) == 0 and plates.lately == 0


@pytest.mark.policy("R-460.5-b2")
def test_no_text_of_a_record_stays_in_the_parsers_cache() -> None:
    """Two readings of one text give two strings; from a cache it would be one."""
    text = SignedDocument(
        kind="PLT417", key="0" * 16, body="QQ==", signature="QQ=="
    ).model_dump_json()
    first, second = (SignedDocument.model_validate_json(text) for _ in range(2))
    assert first.kind == second.kind and first.kind is not second.kind
    said = TypeAdapter(PlateReading).dump_json(PlateReading("PLT417", "", (), "MN", 0.9, 0.9, True))
    held, again = (Uncached[PlateReading].model_validate_json(said).root for _ in range(2))
    assert held == again and held.text is not again.text


def _all_records(of: type[Closed]) -> set[type[Closed]]:
    return {of} | {one for below in of.__subclasses__() for one in _all_records(below)}


def test_every_record_keeps_out_of_the_cache() -> None:
    import alprd.central.pages.app
    import alprd.daemon  # noqa: F401 - so that all records are known

    records = _all_records(Closed)
    assert {AuditEvent, SessionRow, SignedDocument} < records
    assert {one.model_config.get("cache_strings") for one in records} == {"none"}
