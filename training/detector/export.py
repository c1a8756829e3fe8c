"""ONNX export: the network with its decoding and suppression inside the graph.

The graph is written node by node, not traced, so that height, width and batch are dynamic,
batch normalisation is folded into the convolutions, and nothing is in it that the runtime does
not need. Weights are stored in half precision and widened once when a session is made.

Layout: input ``images`` float32 ``[N, 3, H, W]``, RGB 0..1, H and W multiples of 32; output
``output0`` float32 ``[K, 7]``: batch, x0, y0, x1, y1 (input pixels), class 0, score; the same as
the end-to-end detectors of open-image-models. Rows of a picture are in order of falling score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.backbone import Lite0, LiteBlock, LiteConv
from training.detector.network import (
    MAX_LOG_SIZE,
    STRIDES,
    TAPS,
    ConvBlock,
    Head,
    PlateDetector,
    Residual,
)
from training.quantise import quantise

OPSET = 17
MAX_ROWS = 100
MIN_SCORE = 0.05
NMS_IOU = 0.45


class _Graph:
    """Nodes and initialisers in the order they are added."""

    def __init__(self, half: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.half = half
        self._count = 0

    def name(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}_{self._count}"

    def const(self, value: NDArray[np.generic]) -> str:
        name = self.name("const")
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, value: torch.Tensor) -> str:
        array = value.detach().numpy()
        if not self.half:
            return self.const(array.astype(np.float32))
        return self.op("Cast", self.const(array.astype(np.float16)), to=TensorProto.FLOAT)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        out = self.name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [out], out, **attributes))
        return out

    def split(self, x: str, parts: list[int], axis: int) -> list[str]:
        outs = [self.name("split") for _ in parts]
        sizes = self.const(np.asarray(parts, np.int64))
        self.nodes.append(helper.make_node("Split", [x, sizes], outs, outs[0], axis=axis))
        return outs

    def conv(
        self, x: str, weight: torch.Tensor, bias: torch.Tensor, stride: int, group: int = 1
    ) -> str:
        k = weight.shape[-1]
        return self.op(
            "Conv",
            x,
            self.weight(weight),
            self.weight(bias),
            kernel_shape=[k, k],
            strides=[stride, stride],
            pads=[k // 2] * 4,
            group=group,
        )

    def lite(self, x: str, layer: LiteConv) -> str:
        """A convolution of the backbone with its ReLU6."""
        conv = layer.conv
        assert conv.bias is not None
        y = self.conv(x, conv.weight, conv.bias, conv.stride[0], conv.groups)
        if not layer.act:
            return y
        low, high = (self.const(np.asarray(v, np.float32)) for v in (0, 6))
        return self.op("Clip", y, low, high)

    def backbone(self, x: str, net: Lite0, taps: tuple[int, ...]) -> list[str]:
        """Outputs of the blocks ``taps``."""
        found = []
        x = self.lite(x, net.stem)
        for number, block in enumerate(net.blocks):
            assert isinstance(block, LiteBlock)
            y = x
            for layer in block.layers():
                y = self.lite(y, layer)
            x = self.op("Add", x, y) if block.skip else y
            if number in taps:
                found.append(x)
        return found

    def block(self, x: str, block: ConvBlock) -> str:
        """A convolution with its batch normalisation folded in."""
        weight, bias = block.folded()
        y = self.conv(x, weight, bias, block.conv.stride[0])
        return self.op("Relu", y) if block.act else y

    def stage(self, x: str, modules: torch.nn.Sequential) -> str:
        for module in modules:
            if isinstance(module, ConvBlock):
                x = self.block(x, module)
            elif isinstance(module, Residual):
                inner = self.block(self.block(x, module.first), module.second)
                x = self.op("Relu", self.op("Add", x, inner))
            else:
                raise TypeError(f"no ONNX form for {type(module).__name__}")
        return x

    def double(self, x: str) -> str:
        scales = self.const(np.asarray([1, 1, 2, 2], np.float32))
        return self.op(
            "Resize",
            x,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def steps(self, raw: str, axis: int, shape: list[int]) -> str:
        """0, 1, ... along an axis of ``raw`` as float32, reshaped for broadcasting."""
        size = self.op("Shape", raw)
        index = self.const(np.asarray(axis, np.int64))
        count = self.op("Gather", size, index, axis=0)
        zero, one = self.const(np.asarray(0, np.int64)), self.const(np.asarray(1, np.int64))
        line = self.op("Cast", self.op("Range", zero, count, one), to=TensorProto.FLOAT)
        return self.op("Reshape", line, self.const(np.asarray(shape, np.int64)))

    def head(self, x: str, head: Head, stride: int) -> tuple[str, str]:
        """Boxes ``[N, 4, h*w]`` in pixels and scores ``[N, 1, h*w]`` of one level."""
        assert head.out.bias is not None
        raw = self.conv(self.block(x, head.trunk), head.out.weight, head.out.bias, 1)
        dx, dy, size, logit = self.split(raw, [1, 1, 2, 1], 1)
        pixels = self.const(np.asarray(stride, np.float32))
        half_stride = self.const(np.asarray(stride / 2, np.float32))
        cx = self.op("Mul", self.op("Add", dx, self.steps(raw, 3, [1, 1, 1, -1])), pixels)
        cy = self.op("Mul", self.op("Add", dy, self.steps(raw, 2, [1, 1, -1, 1])), pixels)
        low = self.const(np.asarray(-MAX_LOG_SIZE, np.float32))
        high = self.const(np.asarray(MAX_LOG_SIZE, np.float32))
        half = self.op("Mul", self.op("Exp", self.op("Clip", size, low, high)), half_stride)
        centre = self.op("Concat", cx, cy, axis=1)
        box = self.op("Concat", self.op("Sub", centre, half), self.op("Add", centre, half), axis=1)
        flat4 = self.const(np.asarray([0, 4, -1], np.int64))
        flat1 = self.const(np.asarray([0, 1, -1], np.int64))
        return (
            self.op("Reshape", box, flat4),
            self.op("Reshape", self.op("Sigmoid", logit), flat1),
        )

    def select(self, boxes: str, scores: str) -> str:
        """Suppress and lay out the rows; ``boxes`` ``[N, A, 4]``, ``scores`` ``[N, 1, A]``."""
        chosen = self.op(
            "NonMaxSuppression",
            boxes,
            scores,
            self.const(np.asarray([MAX_ROWS], np.int64)),
            self.const(np.asarray([NMS_IOU], np.float32)),
            self.const(np.asarray([MIN_SCORE], np.float32)),
        )
        batch, klass, cell = self.split(chosen, [1, 1, 1], 1)
        box = self.op("GatherND", boxes, self.op("Concat", batch, cell, axis=1))
        score = self.op("GatherND", scores, chosen)
        column = self.op("Unsqueeze", score, self.const(np.asarray([1], np.int64)))
        first = self.op("Cast", batch, to=TensorProto.FLOAT)
        kind = self.op("Cast", klass, to=TensorProto.FLOAT)
        return self.op("Concat", first, box, kind, column, axis=1)


def build(model: PlateDetector, *, half: bool = True) -> onnx.ModelProto:
    """The network as a checked ONNX model; ``half`` stores weights in 16 bits."""
    model = model.eval()
    g = _Graph(half)
    with torch.no_grad():
        f4, f8, f16 = g.backbone("images", model.backbone, TAPS)
        f32 = g.stage(f16, model.s32)
        f16 = g.op("Add", g.block(f16, model.lateral16), g.double(g.block(f32, model.lateral32)))
        f16 = g.block(g.op("Relu", f16), model.fuse16)
        f8 = g.op("Add", g.block(f8, model.lateral8), g.block(f4, model.detail))
        f8 = g.op("Add", f8, g.double(g.block(f16, model.down16)))
        f8 = g.block(g.op("Relu", f8), model.fuse8)
        box8, score8 = g.head(f8, model.head8, STRIDES[0])
        box16, score16 = g.head(f16, model.head16, STRIDES[1])
    boxes = g.op("Transpose", g.op("Concat", box8, box16, axis=2), perm=[0, 2, 1])
    rows = g.select(boxes, g.op("Concat", score8, score16, axis=2))
    g.nodes.append(helper.make_node("Identity", [rows], ["output0"], "output0"))
    graph = helper.make_graph(
        g.nodes,
        "alprd-plate-detector",
        [
            helper.make_tensor_value_info(
                "images", TensorProto.FLOAT, ["batch", 3, "height", "width"]
            )
        ],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["rows", 7])],
        g.weights,
    )
    onnx_model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="alprd.training"
    )
    onnx_model.ir_version = 8
    onnx.checker.check_model(onnx_model, full_check=True)
    return onnx_model


def quantised(model: PlateDetector, pictures: Iterable[NDArray[np.float32]]) -> onnx.ModelProto:
    """The network with its convolutions in 8 bits, calibrated on ``pictures`` ``[1, 3, H, W]``.

    The first three convolutions stay in float32 (few channels, large values, no time saved), and
    the last one of each head, which gives sizes and scores themselves.
    """
    whole = build(model, half=False)
    convolutions = [node.name for node in whole.graph.node if node.op_type == "Conv"]
    return quantise(whole, pictures, keep=[*convolutions[:3], convolutions[-3], convolutions[-1]])


def write(model: onnx.ModelProto, path: Path) -> str:
    """Write the ONNX file; returns its SHA-256 in hex."""
    data = model.SerializeToString(deterministic=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
