"""Weights to go on from, small enough for the repository: `training/weights/*.pt`, float16.

A shipped file cannot be trained on where its convolutions are in 8 bits, and checkpoints with
their optimiser are three times as large and do not outlive a machine.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "weights"


def write_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dictionary, floating values as float16."""
    small = {k: v.half() if v.dtype.is_floating_point else v for k, v in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(small, part)
    os.replace(part, path)  # noqa: PTH105 - one atomic step


def read_weights(path: Path, model: nn.Module) -> None:
    """Fill ``model`` with the weights of a file of :func:`write_weights`.

    Raises:
        ValueError: the file is missing, damaged or of another network.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(
            {k: v.float() if v.dtype.is_floating_point else v for k, v in state.items()}
        )
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        AttributeError,
        pickle.PickleError,
    ) as error:
        raise ValueError(f"{path} holds no weights of this network: {error}") from error


def mix_weights(first: Path, second: Path, share: float, out: Path) -> None:
    """Write ``out``: ``share`` of the weights of ``second`` and the rest of ``first``.

    Both must be of one network and one descent: a run that went on from the other, or two that
    went on from one file.

    Raises:
        ValueError: a file is missing, damaged, or of another network; nothing is then written.
    """
    try:
        mine, theirs = (
            torch.load(path, map_location="cpu", weights_only=True) for path in (first, second)
        )
        shapes = [{k: v.shape for k, v in state.items()} for state in (mine, theirs)]
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        AttributeError,
        pickle.PickleError,
    ) as error:
        raise ValueError(f"{first} or {second} holds no weights: {error}") from error
    if shapes[0] != shapes[1]:
        raise ValueError(f"{first} and {second} are of different networks")
    write_weights(
        out,
        {
            name: torch.lerp(value.float(), theirs[name].float(), share)
            if value.dtype.is_floating_point
            else value
            for name, value in mine.items()
        },
    )
