"""O or 0 by the order of a state's serial; I and 1 by the picture; other countries left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alprd.errors import ModelError
from alprd.frames import PlateReading
from alprd.fuse import decode, fuse
from alprd.ocr import ALPHABET, PAD, OcrResult, Probabilities
from alprd.profiles import PHOTO, ROAD
from alprd.serials import FILE, Serials, one_shape, order_of, shipped_serials

REGIONS = ("ND", "SD", None)


def places(text: str, twins: float = 0.5, slots: int = 9) -> Probabilities:
    """A reading of ``text``: 0.97 for each character, of O and 0 together; ``twins`` of that is
    the character's own."""
    rows = np.full((slots, len(ALPHABET)), 0.03 / 36, np.float32)
    for n in range(slots):
        char = text[n] if n < len(text) else ALPHABET[PAD]
        rows[n, ALPHABET.index(char)] = 0.97
        other = {"O": "0", "0": "O", "I": "1", "1": "I"}.get(char)
        if other is not None:
            rows[n, ALPHABET.index(char)] = 0.97 * twins
            rows[n, ALPHABET.index(other)] = 0.97 * (1 - twins)
    return rows


def state(**shares: float) -> Probabilities:
    """A distribution over REGIONS."""
    return np.array([shares.get(r or "other", 0.0) for r in REGIONS], np.float32)


def told(text: str, issuer: Probabilities | None, twins: float = 0.5) -> str:
    """What three equal frames are told as."""
    result = OcrResult(places(text, twins), None, issuer)
    fused = fuse([decode(result, 1.0, n) for n in range(3)], REGIONS, ROAD)
    assert fused is not None
    return fused.reading.text


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ("0KX417", "OKX417"),
        ("KX0417", "KXO417"),  # AAA999 is nine times as common as AA9999 in North Dakota
        ("KXT4O7", "KXT407"),
        ("417K0X", "417KOX"),
        ("O17KTX", "017KTX"),
    ],
)
def test_the_order_of_the_state_decides_between_o_and_zero(seen: str, expected: str) -> None:
    assert told(seen, state(ND=0.95, SD=0.05)) == expected


def test_another_state_orders_otherwise() -> None:
    # South Dakota begins with the number of a county; where nothing is known, AAA999 is usual.
    assert told("0KX417", state(SD=0.99)) == "0KX417"
    assert told("0KX417", state(ND=0.99)) == "OKX417"


def test_a_clear_picture_stands_against_a_rare_order() -> None:
    """A word is no order of the state: what the picture says stays."""
    assert told("GOPHER", state(ND=0.95), twins=0.95) == "GOPHER"


def reading(text: str, issuer: Probabilities | None, twins: float) -> PlateReading:
    """The fused reading of three equal frames."""
    result = OcrResult(places(text, twins), None, issuer)
    fused = fuse([decode(result, 1.0, n) for n in range(3)], REGIONS, ROAD)
    assert fused is not None
    return fused.reading


@pytest.mark.parametrize("text", ["GOPHER", "G0PHER", "4LO0N", "L0ON4U"])
def test_a_chosen_word_leaves_open_what_the_picture_does_not_say_plainly(text: str) -> None:
    """ADR 0062: no order of numbering says whether a word has an O or a 0."""
    seen = reading(text, state(ND=0.95), twins=0.97)
    twins = tuple(n for n, char in enumerate(seen.text) if char in "O0")
    assert seen.open == twins
    assert not seen.exact


def test_a_chosen_word_is_exact_where_the_picture_says_plainly() -> None:
    seen = reading("GOPHER", state(ND=0.95), twins=0.999)
    assert (seen.text, seen.open) == ("GOPHER", ())


def test_a_numbered_order_decides_what_the_picture_does_not_say() -> None:
    seen = reading("KXO427", state(ND=0.95), twins=0.95)
    assert (seen.text, seen.open) == ("KXO427", ())


def test_no_word_of_another_country_or_without_the_table_is_left_open_for_its_order() -> None:
    assert reading("GOPHER", state(other=0.9, ND=0.1), twins=0.97).open == ()
    result = OcrResult(places("GOPHER", 0.97), None, state(ND=0.95))
    off = fuse(
        [decode(result, 1.0, n) for n in range(3)], REGIONS, replace(ROAD, serials=False)
    )  # fmt: skip
    assert off is not None
    assert off.reading.open == ()


@pytest.mark.parametrize(
    ("text", "issued"),
    [("KXT417", True), ("417KXT", True), ("12345", True), ("GOPHER", False), ("LOON", False),
     ("4LOON", False), ("L00N", False), ("", False)],
)  # fmt: skip
def test_what_counts_as_an_order_that_plates_are_numbered_in(text: str, issued: bool) -> None:
    assert shipped_serials().issued(text) is issued
    assert not Serials({}).issued(text)


def test_one_and_i_are_left_to_the_picture() -> None:
    assert told("1MAPLE", state(ND=0.95), twins=0.9) == "1MAPLE"


def test_plates_of_other_countries_are_left_alone() -> None:
    assert told("KX0417", state(other=0.9, ND=0.1), twins=0.6) == "KX0417"


def test_a_pair_is_as_sure_as_before_and_frames_still_agree() -> None:
    result = OcrResult(places("0KX417", 0.6), None, state(ND=0.95))
    readings = [decode(result, 1.0, n) for n in range(3)]
    ours = fuse(readings, REGIONS, ROAD)
    assert ours is not None
    assert ours.reading.text == "OKX417"
    assert ours.agreeing == 3
    first, second = ours.reading.characters[:2]
    assert (first.char, first.alternatives[0][0]) == ("O", "0")
    assert first.prob + first.alternatives[0][1] == pytest.approx(second.prob, abs=0.01)


def test_a_twin_that_stays_doubtful_is_open_though_an_alarm_may_sound() -> None:
    """``sure`` is what an alarm asks, ``exact`` also tells O and 0, I and 1 apart."""

    def fused(text: str, twins: float) -> PlateReading:
        result = OcrResult(places(text, twins), None, state(ND=0.95))
        settings = replace(ROAD, char_floor=0.9)
        told = fuse([decode(result, 1.0, n) for n in range(6)], REGIONS, settings)
        assert told is not None
        return told.reading

    for text, twins, wanted in (
        ("1MAPLE", 0.6, (0,)),
        ("1MAPLE", 0.999, ()),
        ("MAPLE1O", 0.55, (5, 6)),
        ("417KTX", 0.6, (1,)),
        ("MAPLES", 0.6, ()),
    ):
        reading = fused(text, twins)
        assert reading.sure, text
        assert (reading.open, reading.exact) == (wanted, not wanted), text


def test_many_doubtful_places_are_bounded() -> None:
    rows = places("0O0O0O0O")
    text = shipped_serials().decide("0O0O0O0O", rows, {"MN": 1.0})
    assert one_shape(text) == "00000000"
    assert np.allclose(rows.sum(axis=1), 1.0, atol=1e-3)


def test_the_shipped_table_counts_plates_and_names_none() -> None:
    table = json.loads(FILE.read_text())
    assert len(table) == 51
    for row in table.values():
        assert all(set(order) <= {"A", "9"} and n >= 2 for order, n in row["orders"].items())
    assert table["MN"]["orders"]["AAA999"] > table["MN"]["orders"]["AA9999"]


@pytest.mark.parametrize(
    "row", [{}, {"orders": 3}, {"orders": {"AAA999": "many"}, "letters": 1, "digits": 1}, "MN"]
)
def test_a_broken_table_is_told(row: object) -> None:
    with pytest.raises(ModelError, match=r"serials\.json"):
        Serials({"MN": row})


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.json"):
        shipped_serials(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ModelError, match="no table"):
        shipped_serials(tmp_path / "list.json")


def test_the_setting_turns_it_off() -> None:
    result = OcrResult(places("KX0417", 0.6), None, state(ND=0.95))
    readings = [decode(result, 1.0, n) for n in range(3)]
    off = fuse(readings, REGIONS, replace(PHOTO, serials=False))
    assert off is not None and off.reading.text == "KX0417"


def test_order_of() -> None:
    assert order_of("KXO417") == "AAA999"
