"""A protected plate on every way out of the car: bytes to central, screen, log, state folder.

:mod:`test_suppression_property` opens what the car keeps; here nothing is opened but what the wire
itself carried. The car docks with a TLS server that notes each byte, a signed-on screen keeps the
bytes of its event stream and pages, and every encoding that the system uses is searched for.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_collect import reading
from wire_world import Recorded, encodings, look_alikes

from alprd.records import fold
from alprd.suppress import CRIMINAL

CATEGORY: Final = {
    "STL417": "stolen", "SUS417": "owner_suspended_revoked", "WNT238": "other_lpdf",
    "HJP227": "owner_warrant",
}  # fmt: skip
PLATES: Final = (*CATEGORY, "ZQX664", "8BC33B")
READ_AS: Final = (*PLATES, "5TL4I7", "BBC338", "WNTZ38")
STEPS: Final = st.one_of(
    st.tuples(
        st.just("edit"),
        st.frozensets(st.sampled_from(PLATES), max_size=4),
        st.frozensets(st.sampled_from(sorted(CATEGORY)), min_size=1),
    ),
    st.tuples(
        st.just("pass"), st.lists(st.sampled_from(READ_AS), min_size=1, max_size=3), st.booleans()
    ),
    st.tuples(
        st.just("pass"), st.lists(st.sampled_from(READ_AS), min_size=1, max_size=3), st.booleans()
    ),
    st.tuples(st.just("dock"), st.none(), st.none()),
)


def _texts(plates: Any) -> set[str]:
    return {alike for plate in plates for alike in look_alikes(plate)}


def _found(data: bytes, texts: set[str], key: bytes) -> list[str]:
    return [text for text in sorted(texts) if any(e in data for e in encodings(text, key))]


def test_the_search_finds_what_it_looks_for() -> None:
    """Each encoding is seen when it is there, at any offset; else the tests below prove nothing."""
    import base64

    key = bytes(32)
    assert set(look_alikes("STL417")) == {"STL417", "5TL417", "STL4I7", "5TL4I7"}
    for shift in range(3):
        text = base64.b64encode(b"x" * shift + b'{"plate":"STL417"}')
        assert _found(text, {"STL417"}, key) == ["STL417"]
    for data in (
        b"..stl-417..",
        b"S T L 4 1 7",
        b"STL417".hex().encode(),
        *encodings("STL417", key),
    ):
        assert _found(b"ab" + data + b"yz", {"STL417"}, key) == ["STL417"]
    assert _found(b"nothing of it", {"STL417"}, key) == []


@pytest.mark.policy("R-460.5-b2", "R-460.5-b3", "R-460.5-b4")
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=4, max_size=9))
def test_no_edits_let_a_protected_plate_out_in_any_encoding(
    steps: list[tuple[str, Any, Any]],
) -> None:
    """R-460.5-b2, -b3, -b4: only an alert of a criminal category is shown, and leaves nothing."""
    with tempfile.TemporaryDirectory() as name:
        car = Recorded(Path(name), CATEGORY)
        try:
            car.publish(frozenset({"ZQX664"}), ["STL417"])
            expected: list[str] = []
            always = _texts(["ZQX664"])
            """Protected during the whole drive."""
            shown: set[str] = set()
            """Folds that an alert may name."""
            listed = {"STL417"}
            for kind, first, second in steps:
                if kind == "edit":
                    car.publish(first, sorted(second))
                    listed = set(second)
                    always &= _texts(first)
                elif kind == "dock":
                    car.dock()
                else:
                    looks = [reading(text, sure=second) for text in first]
                    kinds = ["early", *["corrected"] * (len(looks) - 2), "final"]
                    car.drive_by(*zip(kinds[-len(looks) :], looks, strict=True))
                    if not any(car.covered(text) for text in first):
                        expected.append(first[-1])
                    for text in first:
                        shown |= {
                            fold(plate)
                            for plate in listed
                            if fold(plate) == fold(text)
                            and (not car.covered(text) or CATEGORY[plate] in CRIMINAL)
                        }
            car.screen.settle()
            car.screen.look()
            car.end_session()
            car.dock()
            # The reads: sealed on the wire, and none of a protected plate among them.
            assert Counter(car.sent()) == Counter(expected)
            # No plate at all, protected or not, stands in clear on the wire, in the log or on disk.
            every = _texts(READ_AS)
            outlets = car.outlets()
            if _found(b"\0".join(outlets.values()), every, car.key):
                assert [place for place, d in outlets.items() if _found(d, every, car.key)] == []
            # The screen: nothing of a plate protected all along, but for alerts of R-460.5-b3.
            seen = bytes(car.screen.taken) + bytes(car.screen.pages)
            hidden = {text for text in always if fold(text) not in shown}
            assert _found(seen, hidden, car.key) == []
            for card in car.screen.events("alert"):
                if card["plate"] in always:
                    assert card["category"] in CRIMINAL
        finally:
            car.close()


HIDDEN: Final = ("SUS417", "ZQX664", "BBC338", "WNT238")
"""Plates that no alert of R-460.5-b3 may name."""
OPEN: Final = ("STL417", "HJP227", "KLM902")


def _drive(plates: list[str], protected: frozenset[str], blind: frozenset[str]) -> dict[str, Any]:
    """The figures of one drive; of the plates in ``blind`` nothing can be read."""
    with tempfile.TemporaryDirectory() as name:
        car = Recorded(Path(name), CATEGORY)
        try:
            car.publish(protected, sorted(CATEGORY))
            for plate in plates:
                said = None if plate in blind else reading(plate)
                car.drive_by(("final", said))
            status = car.screen.settle()
            car.end_session()
            car.dock()
            return car.figures() | {"status": status}
        finally:
            car.close()


def _row(figures: dict[str, Any]) -> dict[str, Any]:
    (rows,) = [rest[0] for path, *rest in figures["requests"] if path == "/v1/sessions"]
    return dict(rows[0])


@pytest.mark.policy("R-460.5-b4", "R-460.5.1-b1")
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    # Each once: the same text before two cameras counts once where it is read (ADR 0028).
    st.lists(st.sampled_from((*HIDDEN, *OPEN)), min_size=2, max_size=6, unique=True),
    st.frozensets(st.sampled_from(HIDDEN), min_size=1),
)
def test_no_figure_on_the_wire_or_the_screen_tells_the_number_of_suppressed_reads(
    plates: list[str], protected: frozenset[str]
) -> None:
    """R-460.5-b4: central and the deputy get the same figures whichever of the unqueued passes
    were protected and whichever could not be read, and the published count is always the same."""
    suppressed = _drive(plates, protected, frozenset())
    unread = _drive(plates, frozenset(), protected)
    assert suppressed == unread
    nobody = _row(_drive(plates, frozenset(), frozenset()))
    assert _row(suppressed)["plates_read"] == nobody["plates_read"] == len(plates)
