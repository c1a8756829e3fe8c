"""Weights to go on from, small enough for the repository: `training/weights/*.pt`, float16.

A shipped file cannot be trained on where its convolutions are in 8 bits, and checkpoints with
their optimiser are three times as large and do not outlive a machine.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.shares import check_share

FOLDER = Path(__file__).parent / "weights"


def write_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dictionary, floating values as float16.

    Raises:
        ValueError: a value is not finite, or the path a folder; nothing is then written.
    """
    small = {k: v.half() if v.dtype.is_floating_point else v for k, v in state.items()}
    if spoilt := [k for k, v in small.items() if not torch.isfinite(v).all()]:
        raise ValueError(f"{path} is not written: {spoilt[0]} holds values that are no numbers")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file for the weights")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(small, part)
    os.replace(part, path)  # noqa: PTH105 - one atomic step


def read_saved(path: Path) -> Any:
    """What `torch.save` wrote into a file: weights, or a checkpoint.

    Raises:
        ValueError: the file is missing, cannot be read, or `torch.save` did not write it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a text file it says which pickle protocol it is
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing") from error
    except Exception as error:  # of other files unpickling raises nearly anything
        raise ValueError(f"{path} holds no weights: {type(error).__name__}") from error


def put_weights(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Fill ``model`` with the state dictionary that ``path`` held.

    Raises:
        ValueError: it is of another network.
    """
    wanted = {k: v.shape for k, v in model.state_dict().items()}
    if {k: getattr(v, "shape", None) for k, v in state.items()} != wanted:
        raise ValueError(f"{path} holds no weights of this network ({type(model).__name__})")
    model.load_state_dict(
        {k: v.float() if v.dtype.is_floating_point else v for k, v in state.items()}
    )


def _load(path: Path) -> dict[str, Tensor]:
    """The state dictionary of a file; ValueError names what is wrong with it."""
    state = read_saved(path)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no weights (a checkpoint? `export --weights` writes them)")
    if spoilt := [k for k, v in state.items() if not torch.isfinite(v).all()]:
        raise ValueError(f"{path}: {spoilt[0]} holds values that are no numbers")
    return state


def read_weights(path: Path, model: nn.Module) -> None:
    """Fill ``model`` with the weights of a file of :func:`write_weights`.

    Raises:
        ValueError: the file is missing, damaged or of another network.
    """
    put_weights(model, _load(path), path)


def mix_weights(first: Path, second: Path, share: float, out: Path) -> str:
    """Write ``out``: ``share`` of the weights of ``second`` and the rest of ``first``.

    Both must be of one network and one descent: a run that went on from the other, or two that
    went on from one file.

    Returns:
        a line that says what was written.

    Raises:
        ValueError: the share is not within 0 and 1; a file is missing, damaged, or of another
            network; nothing is then written.
    """
    check_share(share)
    mine, theirs = _load(first), _load(second)
    if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in theirs.items()}:
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
    return f"{out}: {share:.0%} of {second} in {first}"
