"""`--strict-licences` held from the pool to the last checkpoint.

Weights that have once seen a source are not rid of it by leaving it out later. So a pool says in
`sources.json` whether it was made strictly, and a checkpoint whether its run has been strict from
its first step on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alprd.errors import InputError
from training.files import replace

SOURCES = "sources.json"
_OWN = "give such a run a --work of its own"


def pool_is_strict(pool: Path) -> bool | None:
    """Whether the crops of a pool folder are of strict sources only; None: nothing was made yet.

    Shards without the file are of the time before it and count as made of all sources.

    Raises:
        InputError: the file is damaged.
    """
    path = pool / SOURCES
    try:
        strict = json.loads(path.read_bytes())["strict"]
    except FileNotFoundError:
        return False if any(pool.glob("*.npy")) else None
    except (ValueError, KeyError, TypeError):
        strict = None
    if not isinstance(strict, bool):
        raise InputError(
            f"{path} does not say which sources this pool was made of",
            remedy=f"delete {pool} and run the `pool` command again",
        )
    return strict


def mark_pool(pool: Path, *, strict: bool) -> None:
    """Write into a pool folder, which must exist, how it is made.

    Raises:
        InputError: what it holds was made the other way; nothing is then written.
    """
    before = pool_is_strict(pool)
    if before is not None and before != strict:
        was, asked = ("with", "without") if before else ("without", "with")
        raise InputError(
            f"{pool} was made {was} --strict-licences and cannot go on {asked}",
            remedy=f"{_OWN}, or delete {pool} and make it anew",
        )
    if not (pool / SOURCES).exists():
        replace(pool / SOURCES, json.dumps({"strict": strict}).encode() + b"\n")


def check_start(start: Path | None, *, strict: bool) -> None:
    """Refuse to begin a strict run from weights.

    Raises:
        InputError: it is strict and has a `start`.
    """
    if strict and start is not None:
        raise InputError(
            f"--start {start} may have seen sources that --strict-licences leaves out",
            remedy="leave --start away: a strict run begins from chance or general features",
        )


def check_pool(pool: Path, *, strict: bool) -> None:
    """Refuse a strict run on a pool that is not.

    Raises:
        InputError: it is strict and the pool is of all sources, or not begun yet.
    """
    if strict and not (made := pool_is_strict(pool)):
        why = "holds no pool yet" if made is None else "was made without --strict-licences"
        raise InputError(f"{pool} {why}", remedy=f"run `pool --strict-licences` first; {_OWN}")


def still_strict(checkpoint: Path, state: dict[str, Any], *, strict: bool, clean: bool) -> bool:
    """Whether the run of a checkpoint, gone on from now, has been strict from its first step on.

    Args:
        checkpoint: its file, for messages.
        state: what it holds; without the key `strict` it is of the time before it.
        strict: `--strict-licences` was given.
        clean: what is trained on from now is of strict sources only, asked for or not.

    Raises:
        InputError: it was given, and the run has seen other sources.
    """
    was = bool(state.get("strict", False))
    if strict and not was:
        raise InputError(
            f"{checkpoint} was not begun with --strict-licences, or has gone on without",
            remedy=f"{_OWN}, or delete {checkpoint} to begin anew",
        )
    if was and not clean:
        print(f"{checkpoint} has been strict and is now gone on from with all sources")
    return was and clean
