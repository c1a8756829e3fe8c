"""The OCR's outputs, colour modes and optional heads, on real ONNX models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from vision_world import WIDEN, blank, draw_plate, write_ocr

from alprd.errors import InputError, ModelError
from alprd.frames import Image
from alprd.fuse import decode
from alprd.ocr import ALPHABET, MAX_BATCH, PAD, PlateReader, crop


def plate(text: str, stacked: str = "") -> Image:
    image = blank(140, 90)
    draw_plate(image, text, 20, 20, 96, stacked)
    return crop(image, (20, 20, 96, 48), WIDEN)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> PlateReader:
    return PlateReader(*write_ocr(tmp_path_factory.mktemp("ocr")))


def test_reads_text_stacked_and_region(reader: PlateReader) -> None:
    (result,) = reader.read([plate("ABC123", "X")])
    assert result.plate.shape == (8, len(ALPHABET))
    assert result.plate.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-4)
    assert decode(result, 1.0, 0).text == "ABC123"
    assert result.stacked is not None
    assert [ALPHABET[i] for i in result.stacked.argmax(axis=1)] == ["X", "_"]
    assert result.region is not None
    assert result.region == pytest.approx([0.9, 0.06, 0.04], abs=1e-3)
    assert reader.regions == ("MN", "WI", None)


def test_more_crops_than_a_batch_keep_their_order(reader: PlateReader) -> None:
    texts = [f"AB{i:03d}" for i in range(2 * MAX_BATCH + 3)]
    results = reader.read([plate(text) for text in texts])
    assert [decode(r, 1.0, 0).text for r in results] == texts
    assert reader.read([]) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 3), np.float32),
    ],
    ids=["grey", "rgba", "empty", "float"],
)
def test_a_crop_of_another_shape_or_type_is_told_so(reader: PlateReader, image: Image) -> None:
    with pytest.raises(InputError, match="cannot be looked at"):
        reader.read([plate("ABC123"), image])


def test_alphabet_of_another_order(tmp_path: Path) -> None:
    other = "_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    reader = PlateReader(*write_ocr(tmp_path, alphabet=other))
    assert decode(reader.read([plate("ZX90")])[0], 1.0, 0).text == "ZX90"


def test_grey_model_without_optional_heads(tmp_path: Path) -> None:
    reader = PlateReader(*write_ocr(tmp_path, stacked=False, region=False, color="grayscale"))
    (result,) = reader.read([plate("KLM456")])
    assert decode(result, 1.0, 0).text == "KLM456"
    assert result.stacked is None
    assert result.region is None
    assert reader.regions == ()


def test_output_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a probability"):
        PlateReader(*write_ocr(tmp_path, softmax=False))


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    model, config = write_ocr(tmp_path)
    with pytest.raises(ModelError, match="missing"):
        PlateReader(tmp_path / "none.onnx", config)
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        PlateReader(rubbish, config)
    options = yaml.safe_load(config.read_text())
    options["alphabet"] = options["alphabet"].replace("Q", "Ö")
    config.write_text(yaml.safe_dump(options))
    with pytest.raises(ModelError, match="alphabet"):
        PlateReader(model, config)


@given(
    x=st.floats(-50, 250),
    y=st.floats(-50, 150),
    w=st.floats(0.1, 300),
    h=st.floats(0.1, 200),
    widen=st.floats(0, 0.5),
)
def test_crop_is_never_empty_nor_outside(
    x: float, y: float, w: float, h: float, widen: float
) -> None:
    image = blank(200, 100)
    part = crop(image, (x, y, w, h), widen)
    assert part.shape[0] >= 1
    assert part.shape[1] >= 1
    assert np.shares_memory(part, image)


def test_empty_place_between_characters_is_closed_up(reader: PlateReader) -> None:
    reading = decode(reader.read([plate("AB_12")])[0], 1.0, 0)
    assert reading.text == "AB12"
    assert reading.places[:, PAD].argmax() >= 4
