"""Named random streams, with the test drives' streams apart from the training scenes'.

Every texture, shape and choice of the simulator draws from ``stream(split, seed, ...)``.  The split
is part of the key, so no seed a training run can choose ever reproduces a texture of a test drive:
the two sets of streams are disjoint by construction, not by a range that someone may overstep.
"""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np

Split = Literal["train", "test"]
"""Which half of the simulator's world: ``train`` for training scenes, ``test`` for drives."""

BENCH_SEEDS = range(770_000_000, 771_000_000)
"""Seeds of the dense test drives that the benchmark renders (``sim.convoy``): no fixture, no test,
no training run and no tuning uses one of them."""

TUNING_SEEDS = range(880_000_000, 881_000_000)
"""Seeds of the dense drives on which the reader's thresholds are set, and of nothing else."""

_SPLIT_KEY: dict[str, int] = {"train": 0x7261696E, "test": 0x74657374}


def stream(split: Split, seed: int, *names: str | int) -> np.random.Generator:
    """An independent generator for one purpose.

    ``names`` tells the purpose (``"car", 12``); equal arguments give equal streams on every
    machine and in every process (CRC-32, not ``hash``, which Python salts).
    """
    key = [_SPLIT_KEY[split], seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    key += [n & 0xFFFFFFFF if isinstance(n, int) else zlib.crc32(n.encode()) for n in names]
    return np.random.default_rng(np.random.SeedSequence(key))
