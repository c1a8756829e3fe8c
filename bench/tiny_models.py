"""Two tiny real ONNX models, built node by node in the layouts that the product loads.

Plates are red-framed rectangles whose eight cells have grey levels that spell the text; stacked
letters are spelt in the lower half. One model finds the red box of a picture, the other reads its
cells, both from the pixels and in next to no time: for tests of the pipeline around the models
and for benches of what comes after recognition. They know nothing of real plates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from alprd.frames import Image
from alprd.ocr import ALPHABET

SLOTS: Final = 8
STEP: Final = 7
WIDEN: Final = 0.05
"""Growth of the box that the tiny OCR expects: it samples cells at fixed places."""
RED: Final = (0, 0, 255)
REGIONS: Final = ("MN", "WI", "other")


def draw_plate(
    image: Image, text: str, x: int, y: int, width: int = 96, stacked: str = "", noise: int = 0
) -> None:
    """Draw a plate with its red frame; ``noise`` shifts the grey of every cell."""
    height = width // 2
    cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), RED, -1)
    x0, y0, w, h = x + 1, y + 1, width - 2, height - 2
    for row, word in enumerate((text.ljust(SLOTS, "_"), stacked.ljust(SLOTS, "_"))):
        for cell, char in enumerate(word):
            grey = min(255, ALPHABET.index(char) * STEP + noise)
            left, right = x0 + cell * w // SLOTS, x0 + (cell + 1) * w // SLOTS
            top, bottom = y0 + row * h // 2, y0 + (row + 1) * h // 2
            if left < image.shape[1] and right > 0:
                image[max(0, top) : bottom, max(0, left) : right] = grey


def write_detector(path: Path, fixed: tuple[int, int] | None = None, last: int = 7) -> Path:
    """An ONNX detector of the end-to-end layout: the one red box of the picture, score 0.9.

    Args:
        path: the file to write; returned.
        fixed: (height, width) of its input in pixels; None for any.
        last: numbers of a row; the product wants 7.
    """
    height, width = fixed or ("height", "width")
    const: dict[str, NDArray[Any]] = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "half": np.array(0.5, np.float32),
        "batch": np.array([0], np.float32),
        "tail": np.array([0, 0.9] + [0] * (last - 7), np.float32),
        "one_f": np.array([1], np.float32),
        "rows_axes": np.array([0, 1, 3], np.int64),
        "cols_axes": np.array([0, 1, 2], np.int64),
        "shape": np.array([1, last], np.int64),
    }
    nodes = [
        helper.make_node("Slice", ["images", "zero", "one", "one"], ["r"]),
        helper.make_node("Slice", ["images", "one", "two", "one"], ["g"]),
        helper.make_node("Sub", ["r", "g"], ["redness"]),
        helper.make_node("Greater", ["redness", "half"], ["is_red"]),
        helper.make_node("Cast", ["is_red"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["mask"], ["any"], keepdims=0),  # 0 without a box: score 0
        helper.make_node("Mul", ["tail", "any"], ["rest"]),
    ]
    for name, axes in (("y", "rows_axes"), ("x", "cols_axes")):
        nodes += [
            helper.make_node("ReduceMax", ["mask", axes], [f"{name}_any"], keepdims=0),
            helper.make_node("ArgMax", [f"{name}_any"], [f"{name}_low"], axis=0),
            helper.make_node(
                "ArgMax", [f"{name}_any"], [f"{name}_last"], axis=0, select_last_index=1
            ),
            helper.make_node("Cast", [f"{name}_low"], [f"{name}0"], to=TensorProto.FLOAT),
            helper.make_node("Cast", [f"{name}_last"], [f"{name}_end"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"{name}_end", "one_f"], [f"{name}1"]),
        ]
    nodes += [
        helper.make_node("Concat", ["batch", "x0", "y0", "x1", "y1", "rest"], ["flat"], axis=0),
        helper.make_node("Reshape", ["flat", "shape"], ["output"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", last])
    return _save(path, nodes, [images], [output], const)


def write_ocr(
    folder: Path,
    *,
    stacked: bool = True,
    region: bool = True,
    softmax: bool = True,
    alphabet: str = ALPHABET,
    color: str = "rgb",
) -> tuple[Path, Path]:
    """An ONNX OCR and its YAML in fast-plate-ocr's format; reads :func:`draw_plate`.

    Args:
        folder: where ``ocr.onnx`` and ``ocr.yaml`` are written; made where it is missing.
        stacked, region: whether it has these outputs.
        softmax: whether the characters come as probabilities; else as logits.
        alphabet: of its characters; part of the product's.
        color: ``rgb`` or ``grayscale``.
    """
    channels = 3 if color == "rgb" else 1
    levels = np.array([ALPHABET.index(c) * STEP for c in alphabet], np.float32)
    const: dict[str, NDArray[Any]] = {
        "columns": np.round(128 * (WIDEN + (np.arange(8) + 0.5) / 8) / (1 + 2 * WIDEN)).astype(
            np.int64
        ),
        "first": np.array([0, 1], np.int64),
        "top": np.array([19], np.int64),
        "low": np.array([45], np.int64),
        "channel": np.array([0], np.int64),
        "levels": levels.reshape(1, 1, -1),
        "sharp": np.array(-1.5, np.float32),
        "plate_shape": np.array([-1, SLOTS, 1], np.int64),
        "stacked_shape": np.array([-1, 2, 1], np.int64),
        "axes": np.array([1, 2], np.int64),
        "region_row": np.log(np.array([[0.9, 0.06, 0.04]], np.float32)),
    }
    nodes = [
        helper.make_node("Cast", ["input"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["float", "channel"], ["grey"], axis=3),
        helper.make_node("Gather", ["grey", "columns"], ["cells"], axis=2),
    ]
    last = "Softmax" if softmax else "Identity"
    outputs = [helper.make_tensor_value_info("plate", TensorProto.FLOAT, ["n", SLOTS, 37])]
    for name, row in (("plate", "top"), ("stacked", "low")):
        if name == "stacked" and not stacked:
            continue
        nodes.append(helper.make_node("Gather", ["cells", row], [f"{name}_row"], axis=1))
        source = f"{name}_row"
        if name == "stacked":
            nodes.append(helper.make_node("Gather", [source, "first"], ["two"], axis=2))
            source = "two"
            outputs.append(
                helper.make_tensor_value_info("stacked", TensorProto.FLOAT, ["n", 2, 37])
            )
        nodes += [
            helper.make_node("Reshape", [source, f"{name}_shape"], [f"{name}_cells"]),
            helper.make_node("Sub", [f"{name}_cells", "levels"], [f"{name}_diff"]),
            helper.make_node("Abs", [f"{name}_diff"], [f"{name}_far"]),
            helper.make_node("Mul", [f"{name}_far", "sharp"], [f"{name}_logit"]),
            helper.make_node(last, [f"{name}_logit"], [name]),
        ]
    if region:
        nodes += [
            helper.make_node("ReduceMean", ["plate_far", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "channel_f"], ["nothing"]),
            helper.make_node("Unsqueeze", ["nothing", "one"], ["column"]),
            helper.make_node("Add", ["column", "region_row"], ["region_logit"]),
            helper.make_node("Softmax", ["region_logit"], ["region"]),
        ]
        const |= {"channel_f": np.array(0, np.float32), "one": np.array([1], np.int64)}
        outputs.append(helper.make_tensor_value_info("region", TensorProto.FLOAT, ["n", 3]))
    folder.mkdir(parents=True, exist_ok=True)
    source_info = helper.make_tensor_value_info(
        "input", TensorProto.UINT8, ["n", 64, 128, channels]
    )
    model = _save(folder / "ocr.onnx", nodes, [source_info], outputs, const)
    config = folder / "ocr.yaml"
    options = {
        "max_plate_slots": SLOTS,
        "alphabet": alphabet,
        "pad_char": "_",
        "img_height": 64,
        "img_width": 128,
        "interpolation": "nearest",
        "image_color_mode": color,
    }
    if region:
        options["plate_regions"] = list(REGIONS)
    config.write_text(yaml.safe_dump(options))
    return model, config


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    const: dict[str, NDArray[Any]],
) -> Path:
    used = {name for node in nodes for name in node.input}
    initial = [numpy_helper.from_array(v, k) for k, v in const.items() if k in used]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
