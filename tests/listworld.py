"""Packed lists for tests: real rows, packed and encrypted as central does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from io import BytesIO

from hypothesis import strategies as st

from alprd.packed import pack, row_of
from alprd.records import Category
from alprd.rows import CATEGORIES
from alprd.targetfile import TargetWriter
from alprd.wire import Hotlist, HotlistEntry

SUPPLIED = datetime(2026, 11, 20, 9, tzinfo=UTC)
KEY = bytes(range(32))
NAME = "hotlist-lpdf.bin"


def header(version: str = "1") -> Callable[[int, dict[Category, int]], Hotlist]:
    def made(entries: int, counts: dict[Category, int]) -> Hotlist:
        return Hotlist(
            list_id="lpdf",
            source="LPDF",
            version=version,
            supplied_at=SUPPLIED,
            entries=entries,
            counts=counts,
        )

    return made


def entry(number: int, plate: str = "", text: str = "stolen vehicle") -> HotlistEntry:
    return HotlistEntry(
        id=f"{number:016x}",
        plate=plate or f"{'BSO'[number % 3]}{number:06d}",
        state="MN",
        plate_type=None,
        category=CATEGORIES[number % 5],
        priority="high",
        text=f"{text} {number % 97}",
    )


def packed(entries: Iterable[HotlistEntry], version: str = "1") -> bytes:
    out = BytesIO()
    pack(header(version), sorted(row_of(item) for item in entries), out)
    return out.getvalue()


def sealed(plain: bytes, *, name: str = NAME, key: bytes = KEY) -> tuple[bytes, str]:
    """Encrypted bytes, and their SHA-256."""
    out = BytesIO()
    with TargetWriter(out, name=name, key=key) as writer:
        writer.write(plain)
    return out.getvalue(), writer.sha256


texts = st.text(st.characters(codec="utf-8"), max_size=30)
entries = st.builds(
    HotlistEntry,
    id=st.one_of(st.integers(0, 2**64 - 1).map(lambda n: f"{n:016x}"), texts),
    plate=st.text("AB80O1ISQXZ", min_size=1, max_size=10),
    state=st.sampled_from((None, "MN", "WI", "ÖX")),
    plate_type=st.sampled_from((None, "truck", "trailer", "motorcycle", "passenger")),
    category=st.sampled_from(CATEGORIES),
    priority=st.sampled_from(("high", "medium", "low")),
    restricted=st.booleans(),
    text=texts,
    expires=st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
)
lists = st.lists(entries, max_size=60, unique_by=row_of)
