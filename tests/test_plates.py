"""Rendered plates: determinism, formats, type-face split, licences."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plates import (
    PLATE_TYPES,
    FontPool,
    PlateSpec,
    designs,
    format_of,
    random_spec,
    render,
    states,
)
from plates.designs import designs_of, fill, format_regex, parse_format, stacked_place, words_of
from plates.fonts import FONT_DIR, read_font_table
from plates.marks import names, outline
from plates.shapes import paint_scene
from plates.spec import vanity
from plates.weather import CONDITIONS

ROOT = Path(__file__).parents[1]
TRAIN = FontPool.load("train")
TEST = FontPool.load("test")


def test_every_state_and_dc_has_a_design_and_a_name() -> None:
    assert len(states()) == 51
    assert {design.region for design in designs().values()} == set(states())
    for region in states():
        assert PlateSpec("ABC123", region=region).design in designs()


def test_minnesota_has_every_plate_type() -> None:
    own = {design.plate_type for design in designs().values() if design.region == "MN"}
    assert own == set(PLATE_TYPES)


def test_every_jurisdiction_has_designs_of_the_road_and_of_collections() -> None:
    for region in states():
        own = designs_of(region)
        assert len(own) >= 4, region
        assert len([d for d in own if d.era == "road" and d.plate_type == "passenger"]) >= 2, region
        assert any(design.era == "old" for design in own), region


def test_old_plates_are_rare_in_traffic_and_frequent_on_request() -> None:
    def share(old_share: float | None) -> float:
        rng = np.random.default_rng(4)
        drawn = [random_spec(rng, region="MN", old_share=old_share) for _ in range(400)]
        return sum(designs()[spec.design].era == "old" for spec in drawn) / len(drawn)

    assert share(None) < 0.08
    assert 0.4 < share(0.5) < 0.6


def test_words_of_a_design_take_their_chances() -> None:
    rng = np.random.default_rng(6)
    seen = {words_of("IOWA {n:53-55}~{county}", "IA", rng) for _ in range(200)}
    assert {"IOWA 53", "IOWA 54", "IOWA 55"} < seen
    assert seen & set(states()["IA"].counties)
    assert words_of("10,000 lakes", "MN", rng) == "10,000 lakes"


def test_every_mark_of_a_design_is_drawn() -> None:
    assert all(design.mark in names() | {""} for design in designs().values())
    with pytest.raises(ValueError, match="unknown"):
        outline("unicorn")


def test_an_unknown_shape_is_refused() -> None:
    canvas = np.zeros((240, 480, 3), np.float32)
    with pytest.raises(ValueError, match="unknown"):
        paint_scene(canvas, ["triangle #ffffff 0 1"], np.random.default_rng(1))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), any_share=st.sampled_from([0.0, 1.0]))
def test_random_specs_are_valid(seed: int, any_share: float) -> None:
    spec = random_spec(np.random.default_rng(seed), any_share=any_share)
    assert 2 <= len(spec.text) <= 8
    assert spec.text.isalnum()
    assert spec.text == spec.text.upper()
    assert bool(spec.stacked) == bool(spec.stacked_pos)


@pytest.mark.parametrize("design", designs().values(), ids=lambda design: design.id)
def test_every_format_of_a_design_is_found_again(design: object) -> None:
    from plates import Design

    assert isinstance(design, Design)
    rng = np.random.default_rng(5)
    skip = states()[design.region].skip
    for text in design.formats:
        tokens = parse_format(text)
        chars = "".join(fill(t.pattern, skip, rng) for t in tokens if t.kind == "char")
        stacked = "".join(fill(t.pattern, skip, rng) for t in tokens if t.kind == "stacked")
        assert format_regex(text, skip).fullmatch(chars)
        spec = PlateSpec(
            chars, stacked, stacked_place(text), design.region, design.plate_type, design.id
        )
        assert format_of(spec), "its own design must know the format, or separators are lost"


def test_left_out_letters_stay_out_of_serials() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        spec = random_spec(rng, region="MN", vanity_share=0.0)
        assert not set("IOQ") & set(spec.text)


def test_separators_are_no_part_of_the_text() -> None:
    spec = PlateSpec("ABC123", design="mn-lake")
    assert format_of(spec) == "@@@*###"


@given(seed=st.integers(0, 2**32 - 1))
def test_vanity_plates_have_two_to_eight_characters(seed: int) -> None:
    assert 2 <= len(vanity(np.random.default_rng(seed))) <= 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": ""}, "1-9 characters"),
        ({"text": "abc"}, "1-9 characters"),
        ({"text": "ABC 12"}, "1-9 characters"),
        ({"stacked": "VT"}, "stacked_pos"),
        ({"stacked_pos": "left"}, "stacked_pos"),
        ({"region": "PR"}, "none of the 50 states"),
        ({"plate_type": "bus"}, "plate_type"),
        ({"design": "mn-none"}, "unknown"),
        ({"design": "wi-any"}, "unknown"),
    ],
)
def test_bad_specs_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlateSpec(**{"text": "ABC123", **change})


def test_rendering_is_repeatable_by_seed() -> None:
    for design in ("mn-lake", "mn-habitat", "mn-any", "wi-dairyland"):
        region = design[:2].upper()
        spec = PlateSpec("ABC123", "VT", "left", region=region, design=design)
        first = render(spec, np.random.default_rng(7), fonts=TRAIN).image
        again = render(spec, np.random.default_rng(7), fonts=TRAIN).image
        other = render(spec, np.random.default_rng(8), fonts=TRAIN).image
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_plates_have_their_size_and_type() -> None:
    plate = render(PlateSpec("ABC123"), np.random.default_rng(1), fonts=TEST)
    assert plate.image.shape == (240, 480, 3)
    assert plate.image.dtype == np.uint8
    small = PlateSpec("12345", plate_type="motorcycle")
    assert render(small, np.random.default_rng(1), fonts=TEST).image.shape == (184, 320, 3)


def test_the_number_is_what_differs_between_two_plates_of_one_seed() -> None:
    def drawn(text: str) -> np.ndarray:
        spec = PlateSpec(text, design="mn-blackout")
        return render(spec, np.random.default_rng(3), fonts=TRAIN, wear=False).image.astype(int)

    difference = np.abs(drawn("111111") - drawn("888888")).max(-1) > 60
    rows = np.nonzero(difference.any(1))[0]
    assert difference.mean() > 0.02
    assert rows.min() > 40
    assert rows.max() < 220


def test_every_design_renders() -> None:
    rng = np.random.default_rng(2)
    for design in designs().values():
        spec = PlateSpec(
            "AB123", region=design.region, plate_type=design.plate_type, design=design.id
        )
        assert render(spec, rng, fonts=TEST).image.std() > 5


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_a_condition_changes_a_plate_but_leaves_its_size(name: str) -> None:
    plate = render(PlateSpec("ABC123"), np.random.default_rng(1), fonts=TRAIN, wear=False).image
    before = plate.copy()
    seen = CONDITIONS[name](plate, np.random.default_rng(2), 0.5)
    again = CONDITIONS[name](plate, np.random.default_rng(2), 0.5)
    assert seen.shape == plate.shape and seen.dtype == np.uint8
    assert np.array_equal(seen, again)
    assert np.array_equal(plate, before), "the plate it was given must stay as it was"
    assert np.abs(seen.astype(int) - plate.astype(int)).mean() > 1


def test_infrared_has_no_colour() -> None:
    plate = render(PlateSpec("ABC123"), np.random.default_rng(1), fonts=TRAIN).image
    seen = CONDITIONS["infrared"](plate, np.random.default_rng(2), 0.5)
    assert np.array_equal(seen[..., 0], seen[..., 2])


def test_type_faces_of_training_and_test_are_disjoint() -> None:
    assert not TRAIN.families & TEST.families
    assert len(TRAIN.families) >= 30
    assert len(TEST.families) >= 8
    # A super-family must stand on one side, too: Saira Condensed beside Saira Semi Condensed.
    first = {family.split("-")[0] for family in TRAIN.families}
    assert not first & {family.split("-")[0] for family in TEST.families}


def test_training_code_never_loads_the_test_faces() -> None:
    asked: dict[str, set[str]] = {}
    for path in (ROOT / "training").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("FontPool.load"):
                asked.setdefault(path.name, set()).add(ast.literal_eval(node.args[0]))
    makers = {name for name, splits in asked.items() if "test" in splits}
    assert makers <= {"evaluate.py"}
    assert "train" in asked["pool.py"]


def test_every_family_is_listed_and_carries_its_licence() -> None:
    listed = {family for family, _, _ in read_font_table()}
    present = {path.name for path in FONT_DIR.iterdir() if path.is_dir()}
    assert listed == present
    for family in listed:
        licence = (FONT_DIR / family / "LICENSE").read_text(encoding="utf-8", errors="replace")
        assert "Open Font License" in licence or "Apache License" in licence, family
    size = sum(path.stat().st_size for path in FONT_DIR.rglob("*.woff2"))
    assert size < 3_000_000


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        FontPool.load("val")  # type: ignore[arg-type]
