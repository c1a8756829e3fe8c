"""The mean of two readers of one descent, weight by weight.

A run that goes on from a shipped file drifts from what that file knew to what the new pool shows.
The mean of both keeps most of each (Wortsman et al., "Model soups", ICML 2022), and costs nothing
when it runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from training.files import replace
from training.ocr.eightbit import whole
from training.shares import check_share


def average(first: Path, second: Path, share: float, out: Path) -> str:
    """Write `out`: `share` of `second` and the rest of `first`, both whole `ocr.onnx` files.

    Returns:
        a line that says what was written.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: no share, a damaged file, or not of one network; nothing is then replaced.
    """
    check_share(share)
    model, other = whole(first), whole(second)
    theirs = {tensor.name: tensor for tensor in other.graph.initializer}
    mixed = 0
    for tensor in model.graph.initializer:
        match = theirs.pop(tensor.name, None)
        if match is None or list(match.dims) != list(tensor.dims):
            raise ValueError(f"{second} has no weights {tensor.name} like those of {first}")
        mine, its = onnx.numpy_helper.to_array(tensor), onnx.numpy_helper.to_array(match)
        if mine.dtype.kind != "f":
            if not np.array_equal(mine, its):
                raise ValueError(f"{first} and {second} differ in more than weights: {tensor.name}")
            continue
        mean = (1 - share) * mine.astype(np.float64) + share * its.astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(mean.astype(mine.dtype), tensor.name))
        mixed += mine.size
    if theirs:
        raise ValueError(f"{second} has weights that {first} has not: {min(theirs)}")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name a file")
    replace(out, model.SerializeToString())
    return f"{out.name}: {share:.0%} of {second.name} in {first.name}, {mixed / 1e6:.2f} M weights"
