"""Start from a shipped `ocr.onnx`: its weights back in the network that is trained.

Checkpoints do not outlive a machine, the shipped file does. In it normalisation is folded into
the convolutions; here each is unfolded so that the network computes the same in evaluation and
nearly the same with the statistics of a training batch: its mean and variance are measured on
crops of the pool, and scale and offset chosen to undo them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.ocr.eightbit import whole
from training.ocr.network import LAYOUT_STAGE, PlateReader

# Linear layers in the order of the exported file's nameless matrices.
_ATTENTION = ("query", "key_value", "out")
_LINEARS = (
    *(f"encoder.attention.{part}" for part in _ATTENTION),
    "encoder.mlp.0",
    "encoder.mlp.2",
    *(
        f"decoders.{number}.{part}"
        for number in range(2)
        for part in (
            *(f"among.{name}" for name in _ATTENTION),
            *(f"across.{name}" for name in _ATTENTION),
            "mlp.0",
            "mlp.2",
        )
    ),
    "characters",
    "stacked",
)


def _pairs(reader: PlateReader) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions with their normalisation, in the order in which they run."""
    found: list[tuple[nn.Module, nn.Module]] = [(reader.stem[0], reader.stem[1])]
    for number, block in enumerate(reader.trunk.children(), 1):
        found += [(block.first, block.norm1), (block.second, block.norm2)]  # type: ignore[list-item]
        if isinstance(block.shortcut, nn.Sequential):
            found.append((block.shortcut[0], block.shortcut[1]))
        if number == LAYOUT_STAGE:
            found.append((reader.layout[0], reader.layout[1]))
    return [
        (conv, norm)
        for conv, norm in found
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    ]


def _number(name: str) -> int:
    return int(name.removesuffix(".half").rsplit("_", 1)[1])


@torch.no_grad()
def load_shipped(reader: PlateReader, file: Path, crops: NDArray[np.uint8]) -> None:
    """Fill `reader` with the weights of `file`; `crops` (n, 64, 128, 3) are some of the pool.

    The columns' scores, which only training uses, are not in the file and stay as they were.

    Raises:
        ValueError: the file is not of this network.
    """
    tensors = {
        t.name.removesuffix(".half"): torch.from_numpy(
            onnx.numpy_helper.to_array(t).astype(np.float32)
        )
        for t in whole(file).graph.initializer
        if t.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    named = dict(reader.named_parameters())
    try:
        for name, value in tensors.items():
            if name.startswith("reader."):
                _put(named[name.removeprefix("reader.")], value)
        matrices = sorted((n for n in tensors if n.startswith("onnx::MatMul_")), key=_number)
        for layer, name in zip(_LINEARS, matrices, strict=True):
            _put(named[f"{layer}.weight"], tensors[name].T)
        parts = sorted((n for n in tensors if n.startswith("onnx::Conv_")), key=_number)
        pairs = _pairs(reader)
        offsets: dict[nn.BatchNorm2d, Tensor] = {}
        for (conv, norm), weight, bias in zip(pairs, parts[::2], parts[1::2], strict=True):
            _put(conv.weight, tensors[weight])
            offsets[norm] = tensors[bias]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{file} holds other weights than this network has: {error}") from error
    _unfold(reader, offsets, crops)


def _put(place: Tensor, value: Tensor) -> None:
    if place.shape != value.shape:
        raise ValueError(f"{tuple(value.shape)} where {tuple(place.shape)} belongs")
    place.copy_(value)


def _unfold(
    reader: PlateReader, offsets: dict[nn.BatchNorm2d, Tensor], crops: NDArray[np.uint8]
) -> None:
    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(offsets[norm] + mean)

    hooks = [norm.register_forward_pre_hook(measure) for norm in offsets]
    reader.eval()(torch.from_numpy(crops))
    for hook in hooks:
        hook.remove()
