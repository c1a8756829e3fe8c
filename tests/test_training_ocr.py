"""The reader's training: labels, degradation, pool; and the model that ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fast_plate_ocr import LicensePlateRecognizer
from hypothesis import given
from hypothesis import strategies as st
from training_world import lay_out

from alprd.models import shipped
from plates import FontPool, PlateSpec, random_spec, render
from plates.designs import designs
from training import serials
from training.ocr import degrade, labels, pool
from training.ocr.evaluate import distance
from training.ocr.layout import ALPHABET, HEIGHT, PLATE_SLOTS, WIDTH

REAL = Path(__file__).parents[2] / "shared" / "data"
CHARACTERS = st.text(st.sampled_from(ALPHABET[:-1]), max_size=PLATE_SLOTS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder laid out as `../shared/data`."""
    return lay_out(tmp_path)


@given(text=CHARACTERS, stacked=st.text(st.sampled_from(ALPHABET[:-1]), max_size=3))
def test_targets_keep_the_text(text: str, stacked: str) -> None:
    target = labels.encode(text, stacked, "MN")
    assert labels.decode(target[:PLATE_SLOTS]) == text
    assert labels.decode(target[PLATE_SLOTS:-1]) == stacked
    assert labels.REGIONS[target[-1]] == "MN"


def test_unlabelled_parts_are_ignored_not_guessed() -> None:
    target = labels.encode("ABC", None, None)
    assert (target[PLATE_SLOTS:] == labels.IGNORE).all()


def test_a_text_too_long_for_the_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        labels.encode("A" * (PLATE_SLOTS + 1), "", None)


def test_training_never_sees_val_or_doubtful_labels(data: Path) -> None:
    assert [s.text for s in labels.us_crops(data, "train")] == ["AAA111"]
    assert [s.region for s in labels.us_crops(data, "train")] == ["ND"]
    assert [s.text for s in labels.us_text(data, "train")] == ["DDD444", "EEE555"]
    sources = pool.Sources.load(data, strict=False, rng=np.random.default_rng(1))
    used = {s.path.name for s in [*sources.crops, *sources.street]}
    assert used == {"a.jpg", "d.jpg", "e.jpg", "oi_1.jpg", "km_2.jpg"}


def test_strict_licences_leave_doubtful_sources_out(data: Path) -> None:
    sources = pool.Sources.load(data, strict=True, rng=np.random.default_rng(1))
    assert sources.crops == []
    assert {s.path.name for s in sources.street} == {"d.jpg", "oi_1.jpg"}
    assert [p.name for p in labels.photographs(data, strict=True)] == ["oi_1.jpg"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--data must be"):
        labels.us_crops(tmp_path, "train")


def test_real_splits_share_no_plate() -> None:
    if not (REAL / "SOURCES.md").is_file():
        pytest.skip("../shared/data is absent: the labelled photographs are not in the repository")
    train, val = labels.us_crops(REAL, "train"), labels.us_crops(REAL, "val")
    assert len(train) > 5000
    assert len(val) > 400
    assert not {(s.text, s.region) for s in train} & {(s.text, s.region) for s in val}


def test_a_box_over_the_edge_repeats_the_edge() -> None:
    image = np.arange(60 * 100 * 3, dtype=np.uint32).reshape(60, 100, 3).astype(np.uint8)
    crop = degrade.crop_box(image, (-10, -5, 110, 65))
    assert crop.shape == (70, 120, 3)
    assert np.array_equal(crop[5:65, 10:110], image)
    with pytest.raises(ValueError, match="outside"):
        degrade.crop_box(image, (200, 200, 220, 210))


@pytest.mark.parametrize("hard", [0.0, 0.5, 1.0])
def test_photographs_are_inputs_of_the_network(hard: float) -> None:
    rng = np.random.default_rng(4)
    plate = render(PlateSpec("ABC123"), rng, fonts=FontPool.load("train")).image
    made = degrade.photograph(plate, plate[::-1], rng, hard=hard)
    assert made.shape == (HEIGHT, WIDTH, 3)
    assert made.dtype == np.uint8
    assert made.mean() > 5


def test_a_shard_is_whole_and_repeatable(data: Path, tmp_path: Path) -> None:
    def make(kind: str) -> pool.Made:
        rng = np.random.default_rng(9)
        return pool.make_shard(kind, pool.Sources.load(data, strict=False, rng=rng), rng, 8)

    for kind in pool.KINDS:
        images, targets = make(kind)
        assert images.shape == (8, HEIGHT, WIDTH, 3)
        assert targets.shape == (8, labels.TARGET_WIDTH)
        again_images, again_targets = make(kind)
        assert np.array_equal(images, again_images)
        assert np.array_equal(targets, again_targets)
        pool.write_shard(tmp_path, f"{kind}-000", (images, targets))
    assert (make("negative")[1][:, :PLATE_SLOTS] == ALPHABET.index("_")).all()
    assert not list(tmp_path.glob("*.tmp"))


def test_designs_whose_motif_stands_behind_a_character_are_drawn_on_purpose() -> None:
    """Every design named exists, comes up, and paints a motif."""
    rng = np.random.default_rng(3)
    seen = {pool.before_a_motif(rng).design for _ in range(300)}
    assert seen == set(pool.MOTIFS)
    for name in seen:
        assert any(scene.startswith("mark ") for scene in designs()[name].scene), name


def test_the_pool_is_filled_evenly_then_refreshed() -> None:
    kinds = {"rendered": 4, "crops": 3}
    steps: Iterator[tuple[str, int]] = pool.plan(kinds, {"rendered": 1, "crops": 1})
    made = [next(steps) for _ in range(40)]
    assert made[:2] == [("rendered", 0), ("crops", 0)]
    assert set(made) == {(k, i) for k, n in kinds.items() for i in range(n)}


def test_training_resumes_where_it_stopped(data: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is missing: run `make training`")
    from training.ocr.train import Plan, load, train

    rng = np.random.default_rng(2)
    sources = pool.Sources.load(data, strict=False, rng=rng)
    (tmp_path / "pool").mkdir()
    pool.write_shard(
        tmp_path / "pool", "rendered-000", pool.make_shard("rendered", sources, rng, 16)
    )
    threads = torch.get_num_threads()
    try:
        train(tmp_path, Plan(minutes=0.0001, batch=4, seed=1), data=data)
        first = load(tmp_path)
        train(tmp_path, Plan(minutes=0.0001 + first["spent"] / 60, batch=4, seed=1), data=data)
    finally:
        torch.set_num_threads(threads)
    second = load(tmp_path)
    assert second["step"] > first["step"] >= 1
    assert second["spent"] > first["spent"]


def test_orders_of_serials_are_counted_and_texts_are_not_kept() -> None:
    texts = ["KXO417", "ABC120", "GOPHER", "417KXO"]
    samples = [labels.Sample(Path("x.jpg"), text, "", "MN") for text in texts]
    samples.append(labels.Sample(Path("x.jpg"), "1A", "", None))
    assert serials.counts(samples) == {
        "MN": {"orders": {"AAA999": 2}, "letters": 15, "digits": 9, "O": 3, "0": 1}
    }


@pytest.mark.parametrize(("a", "b", "wanted"), [("ABC", "ABC", 0), ("ABC", "AC", 1), ("", "AB", 2)])
def test_edit_distance(a: str, b: str, wanted: int) -> None:
    assert distance(a, b) == wanted


@pytest.fixture(scope="module")
def reader() -> LicensePlateRecognizer:
    models = shipped()
    return LicensePlateRecognizer(
        onnx_model_path=models.ocr, plate_config_path=models.ocr_config, device="cpu"
    )


def test_the_shipped_reader_is_small_and_knows_all_states(reader: LicensePlateRecognizer) -> None:
    assert shipped().ocr.stat().st_size <= 5_000_000
    assert tuple(reader.config.plate_regions or ()) == labels.REGIONS
    assert reader.output_names == ["plate", "region", "stacked"]


@pytest.mark.parametrize("count", [1, 3])
def test_the_shipped_outputs_are_probabilities(reader: LicensePlateRecognizer, count: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    plate, region, stacked = reader.model.run(None, {"input": noise})
    assert plate.shape == (count, PLATE_SLOTS, len(ALPHABET))
    assert region.shape == (count, len(labels.REGIONS))
    assert stacked.shape == (count, 3, len(ALPHABET))
    for part in (plate, region, stacked):
        assert np.allclose(part.sum(-1), 1, atol=1e-4)


def test_the_shipped_reader_reads_clean_plates_of_unused_type_faces(
    reader: LicensePlateRecognizer,
) -> None:
    rng, fonts = np.random.default_rng(11), FontPool.load("test")
    specs = [random_spec(rng, region=r) for r in ("MN", "WI", "IA", "ND", "SD") * 8]
    pictures = [render(spec, rng, fonts=fonts, wear=False).image for spec in specs]
    small = [cv2.resize(p, (160, 80), interpolation=cv2.INTER_AREA) for p in pictures]
    read = reader.run(small, return_confidence=True)
    right = [a.plate == spec.text for a, spec in zip(read, specs, strict=True)]
    states = [a.region == spec.region for a, spec in zip(read, specs, strict=True)]
    assert np.mean(right) >= 0.85
    assert np.mean(states) >= 0.7
