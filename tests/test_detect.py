"""The detector's layout, letterboxing and mapping back, on real ONNX models."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vision_world import RED, blank, write_detector

from alprd.detect import Detector, _scaled
from alprd.errors import InputError, ModelError


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("models") / "free.onnx")


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("models") / "square.onnx", fixed=(416, 416))


@pytest.mark.parametrize("model", ["free", "square"])
@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(200, 1400),
    height=st.integers(150, 900),
    place=st.tuples(st.floats(0, 0.7), st.floats(0, 0.7)),
)
def test_boxes_come_back_in_pixels_of_the_picture(
    model: str,
    request: pytest.FixtureRequest,
    width: int,
    height: int,
    place: tuple[float, float],
) -> None:
    detector = Detector(request.getfixturevalue(model))
    image = blank(width, height)
    x, y = int(place[0] * width), int(place[1] * height)
    w, h = max(24, width // 5), max(16, height // 8)
    image[y : y + h, x : x + w] = RED
    (found,) = detector.detect(image)
    scale = min(1.0, detector.input_size[0] / height, detector.input_size[1] / width)
    error = 1.5 / scale + 1
    wanted = (x, y, min(w, width - x), min(h, height - y))
    assert np.abs(np.subtract(found.box, wanted)).max() <= error
    assert found.score == pytest.approx(0.9)
    assert found.box[0] >= 0
    assert found.box[0] + found.box[2] <= width


@pytest.mark.parametrize("shape", [(120, 200), (120, 200, 4), (120, 200, 1), (0, 200, 3)])
def test_a_picture_of_another_shape_is_told_so(free: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="cannot be looked at"):
        Detector(free).detect(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.int64, np.bool_])
def test_a_picture_of_another_type_is_told_so(free: Path, kind: type[np.generic]) -> None:
    with pytest.raises(InputError, match="cannot be looked at"):
        Detector(free).detect(np.zeros((120, 200, 3), kind))  # type: ignore[arg-type]


def test_free_model_gets_the_smallest_canvas(free: Path) -> None:
    detector = Detector(free, input_size=(384, 640))
    canvas, scale, left, top = detector._letterbox(blank(1280, 720))
    assert canvas.shape == (1, 3, 384, 640)
    assert (scale, left, top) == (0.5, 0, 12)
    assert detector._letterbox(blank(640, 480))[0].shape == (1, 3, 384, 512)


@given(
    st.integers(1, 1400), st.integers(1, 900), st.integers(1, 640), st.integers(1, 640)
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_size_is_scaled_to_any_other(w: int, h: int, width: int, height: int) -> None:
    image = np.full((h, w, 3), 77, np.uint8)
    small = _scaled(image, width, height)
    assert small.shape == (height, width, 3)
    assert small.dtype == np.uint8
    assert (small == 77).all()


@pytest.mark.parametrize("size", [(569, 320), (640, 360), (512, 288), (400, 225), (320, 180)])
def test_two_steps_keep_thin_strokes_as_one_does(size: tuple[int, int]) -> None:
    """A line of one pixel must not vanish between samples: every place of it stays lighter."""
    image = np.zeros((720, 1280, 3), np.uint8)
    image[:, 100::97] = 255
    slanted = cv2.warpAffine(image, np.array([[1, 0.1, 0], [0, 1, 0]]), (1280, 720))
    small = _scaled(np.asarray(slanted, np.uint8), *size).astype(int)
    wanted = cv2.resize(slanted, size, interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small.sum() - wanted.sum()) < 0.03 * wanted.sum()
    assert np.abs(small - wanted).mean() < 4
    # In each row each line leaves something: the brightest of any 100 neighbours is no background.
    rows = small[10:-10, 60:400, 0]
    assert min(row[n : n + 100].max() for row in rows for n in range(0, 240, 40)) > 40


def test_canvas_is_rgb_with_grey_border(free: Path) -> None:
    detector = Detector(free, input_size=(384, 640))
    image = np.zeros((720, 1280, 3), np.uint8)
    image[:] = (255, 128, 0)
    canvas, *_ = detector._letterbox(image)
    assert canvas[0, :, 200, 300] == pytest.approx([0.0, 128 / 255, 1.0], abs=1e-6)
    assert canvas[0, :, 2, 300] == pytest.approx([114 / 255] * 3, abs=1e-6)
    portrait, *_ = detector._letterbox(image.transpose(1, 0, 2).copy())
    assert portrait[0, :, 0, 0] == pytest.approx([114 / 255] * 3, abs=1e-6)


def test_threshold_drops_rows(free: Path) -> None:
    image = blank()
    image[100:150, 100:200] = RED
    assert Detector(free, threshold=0.89).detect(image)
    assert not Detector(free, threshold=0.91).detect(image)


def test_rows_that_are_no_boxes_are_dropped(free: Path) -> None:
    detector = Detector(free)
    rows = np.array(
        [
            [0, 10, 10, 60, 30, 0, 0.9],
            [0, np.nan, 10, 60, 30, 0, 0.9],
            [0, 10, 10, 10.5, 30, 0, 0.9],  # too thin
            [0, 900, 10, 999, 30, 0, 0.9],  # outside
            [0, 10, 10, 60, 30, 3, 0.9],  # another class
        ],
        np.float32,
    )
    found = detector._map_back(rows, blank(), 1.0, 0, 0)
    assert [d.box for d in found] == [(10, 10, 50, 20)]


def test_threads_share_one_detector(free: Path) -> None:
    detector = Detector(free)
    wrong: list[tuple[float, ...]] = []

    def look(x: int) -> None:
        image = blank()
        image[100:150, x : x + 100] = RED
        for _ in range(20):
            box = detector.detect(image)[0].box
            if abs(box[0] - x) > 2:
                wrong.append(box)

    threads = [threading.Thread(target=look, args=(x,)) for x in (20, 400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_unusable_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing"):
        Detector(tmp_path / "none.onnx")
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Detector(rubbish)
    with pytest.raises(ModelError, match="output") as caught:
        Detector(write_detector(tmp_path / "eight.onnx", last=8))
    assert "x0, y0, x1, y1" in caught.value.remedy


def test_absent_provider_is_named(free: Path) -> None:
    with pytest.raises(ModelError, match="NoSuchExecutionProvider"):
        Detector(free, providers=["NoSuchExecutionProvider"])
