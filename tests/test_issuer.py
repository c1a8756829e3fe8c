"""The state classifier: real ONNX models in its layout, and how the reader asks it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from vision_world import WIDEN, RedBoxDetector, blank, draw_plate, write_ocr

from alprd.errors import ModelError
from alprd.frames import Frame, Image
from alprd.issuer import MAX_BATCH, IssuerReader
from alprd.models import shipped
from alprd.ocr import OcrResult, PlateReader, crop
from alprd.profiles import ROAD
from alprd.reader import RoadReader, load
from plates import FontPool, PlateSpec, render

LABELS = ["WI", "MN", "other"]


def write_issuer(folder: Path, *, softmax: bool = True, outputs: int = 3) -> tuple[Path, Path]:
    """A model that tells Wisconsin by red, Minnesota by green and others by blue light."""
    nodes = [
        helper.make_node("Cast", ["input"], ["light"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["light"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["score"]),
    ]
    if outputs == 2:
        nodes.append(helper.make_node("Slice", ["score", "zero", "two", "one"], ["cut"]))
    last = "cut" if outputs == 2 else "score"
    kind = "Softmax" if softmax else "Identity"
    nodes.append(helper.make_node(kind, [last], ["region"]))
    weights: dict[str, np.ndarray] = {
        "gain": np.asarray(0.1, np.float32),
        "zero": np.asarray([0], np.int64),
        "two": np.asarray([2], np.int64),
        "one": np.asarray([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "issuer",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, ["n", 8, 16, 3])],
        [helper.make_tensor_value_info("region", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(folder / "state.onnx"))
    sheet = {"img_height": 8, "img_width": 16, "plate_regions": LABELS}
    (folder / "state.yaml").write_text(yaml.safe_dump(sheet))
    return folder / "state.onnx", folder / "state.yaml"


def light(blue: int, green: int, red: int) -> Image:
    return np.full((30, 60, 3), (blue, green, red), np.uint8)


def test_tells_each_crop_in_order_and_in_rgb(tmp_path: Path) -> None:
    reader = IssuerReader(*write_issuer(tmp_path))
    assert reader.regions == ("WI", "MN", None)
    crops = [light(0, 0, 255), light(0, 255, 0), light(255, 0, 0)] * MAX_BATCH
    found = reader.read(crops)
    assert found.shape == (3 * MAX_BATCH, 3)
    assert found.argmax(1).tolist() == [0, 1, 2] * MAX_BATCH
    assert reader.read([]).shape == (0, 3)


def test_bad_files_are_refused_with_the_remedy(tmp_path: Path) -> None:
    model, sheet = write_issuer(tmp_path)
    with pytest.raises(ModelError, match=r"none\.yaml cannot be read"):
        IssuerReader(model, tmp_path / "none.yaml")
    with pytest.raises(ModelError, match="state model"):
        IssuerReader(tmp_path / "none.onnx", sheet)
    good = sheet.read_text()
    for text in ("img_height: 8", "[", "img_height: tall\nimg_width: 2\nplate_regions: []"):
        sheet.write_text(text)
        with pytest.raises(ModelError, match="does not name img_height") as caught:
            IssuerReader(model, sheet)
        assert "install the package again" in caught.value.remedy
    sheet.write_text(good)
    for made in ({"softmax": False}, {"outputs": 2}):
        write_issuer(tmp_path, **made)
        with pytest.raises(ModelError, match="not a probability for each"):
            IssuerReader(model, sheet)


def test_the_classifier_replaces_the_region_of_the_ocr(tmp_path: Path) -> None:
    ocr = PlateReader(*write_ocr(tmp_path), issuer=IssuerReader(*write_issuer(tmp_path)))
    image = blank(140, 90)
    draw_plate(image, "ABC123", 20, 20, 96)
    plate = crop(image, (20, 20, 96, 48), WIDEN)
    asked, spared = ocr.read([plate, plate], [True, False])
    assert ocr.regions == ("WI", "MN", None)
    assert asked.region is not None and spared.region is None
    assert np.array_equal(asked.plate, spared.plate)
    assert all(result.region is not None for result in ocr.read([plate, plate]))


def test_a_pass_asks_for_its_first_and_its_better_crops_only(tmp_path: Path) -> None:
    ocr = PlateReader(*write_ocr(tmp_path), issuer=IssuerReader(*write_issuer(tmp_path)))

    class Counting:
        regions = ocr.regions
        read_crops = asked = 0

        def read(
            self, crops: Sequence[Image], issuers: Sequence[bool] | None = None
        ) -> list[OcrResult]:
            assert issuers is not None and len(issuers) == len(crops)
            self.read_crops += len(crops)
            self.asked += sum(issuers)
            return ocr.read(crops, issuers)

    counting = Counting()
    reader = RoadReader("front", RedBoxDetector(), counting, ROAD)
    events = []
    for number in range(150):
        image = blank()
        draw_plate(image, "ABC123", 100, 100, 96)
        stamp = number * 66_666_667
        events += reader.process(Frame("front", image, stamp, number))
    events += reader.flush()
    assert counting.asked == ROAD.issuer_readings < counting.read_crops
    final = [event for event in events if event.kind == "final"][-1]
    assert final.reading is not None and final.reading.text == "ABC123"


def test_shipped_models_tell_the_state_of_a_rendered_plate() -> None:
    _, ocr = load(shipped(), ROAD)
    rng = np.random.default_rng(5)
    fonts = FontPool.load("test")
    right = 0
    for number in range(12):
        spec = PlateSpec(f"{100 + number}ABC", region="MN")
        rgb = render(spec, rng, fonts=fonts, wear=False).image
        image = cv2.resize(rgb[..., ::-1], (190, 95), interpolation=cv2.INTER_AREA)
        (result,) = ocr.read([np.asarray(image, np.uint8)])
        assert result.region is not None
        right += ocr.regions[int(result.region.argmax())] == "MN"
    assert right >= 9
