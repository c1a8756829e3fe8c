"""Static 8-bit quantisation of convolutions, calibrated on training pictures.

Convolutions run on 8-bit integers where a processor has instructions for them; what decides boxes
and probabilities stays in float32. Weights use seven bits of the eight: processors with AVX2 but
without VNNI add pairs of products in 16 bits, which full 8-bit weights overflow silently.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

# With sums in 8 bits, too, recall fell by two to four points; so it did without ReLU6, for then the
# convolution before it is rounded over its whole range instead of 0 to 6.
_AMONG = ("Conv", "Clip")


class _Feed(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, inputs: Iterable[NDArray[Any]]) -> None:
        self._name = name
        self._inputs: Iterator[NDArray[Any]] = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        value = next(self._inputs, None)
        return None if value is None else {self._name: value}


def quantise(
    model: onnx.ModelProto,
    inputs: Iterable[NDArray[Any]],
    *,
    keep: Iterable[str],
    extremes: bool = True,
) -> onnx.ModelProto:
    """``model`` with its convolutions in 8 bits, but for the nodes named in ``keep``.

    ``inputs`` are calibration inputs of the model's one input: the ranges of all values are
    their extremes over these, or else leave out one value in 100,000 at either end, which suits
    activations without an upper bound (plain ReLU).
    """
    fed = _Feed(model.graph.input[0].name, inputs)
    other = [node.name for node in model.graph.node if node.op_type not in _AMONG]
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        onnx.save(model, str(whole))
        # The library says how it counts values, line by line.
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                str(whole),
                str(small),
                fed,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(_AMONG),
                nodes_to_exclude=[*other, *keep],
                calibrate_method=(
                    CalibrationMethod.MinMax if extremes else CalibrationMethod.Percentile
                ),
            )
        return onnx.load(str(small))


def halve(model: onnx.ModelProto, least: int = 256) -> None:
    """Store float32 weights of ``least`` values or more as float16, cast back as a session loads.

    The file is half as large; the arithmetic stays float32, since the runtime folds the casts.
    """
    graph = model.graph
    casts: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < least:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT)
        )
    for cast in casts:
        graph.node.insert(0, cast)


def widen(model: onnx.ModelProto) -> None:
    """The inverse of :func:`halve`: float32 weights again, without the casts."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        half = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if half is None or not half.name.endswith(".half"):
            continue
        array = onnx.numpy_helper.to_array(half).astype(np.float32)
        half.CopyFrom(onnx.numpy_helper.from_array(array, node.output[0]))
        graph.node.remove(node)
