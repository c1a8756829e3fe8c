"""The reader that ships: the whole one with its convolutions in 8 bits.

A crop costs a processor with 8-bit instructions about two thirds of what it did. The first
convolution sees the picture itself and stays whole, as does everything after the trunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from alprd.models import write_sums
from training.files import replace
from training.ocr.layout import ALPHABET, HEIGHT, PAD, WIDTH
from training.quantise import halve, quantise, widen

_BATCHES, _BATCH = 12, 8
_TRIED = 400
LEAST_EQUAL = 0.97
"""Share of training crops that must be read as the whole network reads them."""


def _crops(pool: Path, count: int, seed: int) -> NDArray[np.uint8]:
    """``count`` crops of the pool, drawn over all its shards: (count, 64, 128, 3) uint8.

    Raises:
        FileNotFoundError: the pool is empty.
    """
    shards = sorted(pool.glob("*.images.npy"))
    if not shards:
        raise FileNotFoundError(f"{pool} holds no crops; run `python -m training.ocr pool` first")
    rng = np.random.default_rng(seed)
    drawn = []
    for number in rng.integers(len(shards), size=count):
        path = shards[int(number)]
        try:
            shard = np.load(path, mmap_mode="r")
            drawn.append(np.asarray(shard[int(rng.integers(len(shard)))]))
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise ValueError(f"{path} is empty or damaged: delete it and go on") from error
        if drawn[-1].shape != (HEIGHT, WIDTH, 3) or drawn[-1].dtype != np.uint8:
            raise ValueError(f"{path} holds no crops of the reader: name its own --work")
    return np.stack(drawn)


def whole(path: Path) -> onnx.ModelProto:
    """A reader that is not in 8 bits: one to go on from, to mix and to quantise.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is no such file, or its weights are not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `python -m training.ocr export` writes one")
    try:
        model = onnx.load(str(path))
    except Exception as error:  # the parser has its own, and more than one
        raise ValueError(f"{path} is no ONNX file: {type(error).__name__}") from error
    if {node.op_type for node in model.graph.node} & {"QuantizeLinear", "QLinearConv"}:
        raise ValueError(
            f"{path} is in 8 bits; name a whole one, such as training/weights/ocr.onnx"
        )
    outputs = {value.name for value in model.graph.output}
    if not {"plate", "stacked"} <= outputs:
        raise ValueError(f"{path} is no reader of ours: its outputs are {sorted(outputs)}")
    for tensor in model.graph.initializer:
        if not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise ValueError(f"{path}: {tensor.name} holds values that are no numbers")
    return model


def _texts(data: bytes, crops: NDArray[np.uint8]) -> list[str]:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    plates = [
        session.run(["plate"], {"input": crops[n : n + _BATCH]})[0].argmax(-1)
        for n in range(0, len(crops), _BATCH)
    ]
    return ["".join(ALPHABET[i] for i in row if i != PAD) for row in np.concatenate(plates)]


def eight_bit(weights: Path, pool: Path, out: Path) -> str:
    """Write ``out / "ocr.onnx"``: the file ``weights`` in 8 bits, calibrated on crops of ``pool``.

    Returns:
        a line that says what was written.

    Raises:
        FileNotFoundError: no whole file, or no crops.
        ValueError: a file is damaged or another; or the two read too many training crops
            differently. Nothing is then replaced.
    """
    model = whole(weights)
    widen(model)
    calibration = _crops(pool, _BATCHES * _BATCH, seed=5)

    def batches() -> Iterator[NDArray[np.uint8]]:
        yield from np.split(calibration, _BATCHES)

    first = next(node.name for node in model.graph.node if node.op_type == "Conv")
    small = quantise(model, batches(), keep=[first], extremes=False)
    halve(small)
    del small.metadata_props[:]
    small.metadata_props.extend(model.metadata_props)
    data = small.SerializeToString()
    tried = _crops(pool, _TRIED, seed=6)
    equal = np.mean(
        [
            a == b
            for a, b in zip(_texts(data, tried), _texts(weights.read_bytes(), tried), strict=True)
        ]
    )
    if not equal >= LEAST_EQUAL:
        raise ValueError(f"in 8 bits only {equal:.1%} of training crops are read as before")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is no folder")
    out.mkdir(parents=True, exist_ok=True)
    replace(out / "ocr.onnx", data)
    write_sums(out)
    return f"ocr.onnx: {len(data) / 1e6:.2f} MB in 8 bits, {equal:.1%} of crops read as the whole"
