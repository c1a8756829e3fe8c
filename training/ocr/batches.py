"""Batches of training: crops out of the pool's shards, each changed a little once more."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.ocr.layout import HEIGHT, PLATE_SLOTS, STACKED_SLOTS, WIDTH

# Share of each kind in a batch; the first trials had 48 rendered, 56 crops, 24 street.
MIX = {"rendered": 0.38, "crops": 0.40, "street": 0.18, "negative": 0.04}
RESCAN_SECONDS = 45.0


class Pool:
    """Random batches from the shards in a folder; looks for new shards now and then.

    `mix` is the share of each kind in a batch, `size` the (height, width) of the crops.
    """

    def __init__(
        self,
        folder: Path,
        without: tuple[str, ...],
        seed: int,
        *,
        mix: Mapping[str, float] = MIX,
        size: tuple[int, int] = (HEIGHT, WIDTH),
    ) -> None:
        self.folder, self.mix, self.size = folder, mix, size
        self.rng = np.random.default_rng(seed)
        self.without = without
        self.scanned = 0.0
        self.shards: dict[str, list[tuple[NDArray[np.uint8], NDArray[np.int8]]]] = {}
        self.scan()

    def scan(self) -> None:
        """Map all shards again.

        Raises:
            FileNotFoundError: the pool is empty.
        """
        self.scanned = time.monotonic()
        self.shards = {}
        for targets in sorted(self.folder.glob("*.targets.npy")):
            kind = targets.name.split("-")[0]
            if kind in self.without or kind not in self.mix:
                continue
            images = targets.with_name(targets.name.replace("targets", "images"))
            # A shard replaced between the two reads would pair wrong labels: check the clock.
            before = images.stat().st_mtime_ns
            pair = np.load(images, mmap_mode="r"), np.load(targets)
            if images.stat().st_mtime_ns == before and targets.stat().st_mtime_ns >= before:
                self.shards.setdefault(kind, []).append(pair)
        if not self.shards:
            raise FileNotFoundError(
                f"{self.folder} holds no shard yet: run the `pool` command of this training first"
            )

    def batch(self, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Images (size, height, width, 3) and targets (size, 13)."""
        if time.monotonic() - self.scanned > RESCAN_SECONDS:
            self.scan()
        kinds = [kind for kind in self.mix if kind in self.shards]
        shares = np.array([self.mix[kind] for kind in kinds])
        images = np.empty((size, *self.size, 3), np.uint8)
        targets = np.empty((size, PLATE_SLOTS + STACKED_SLOTS + 1), np.int8)
        for row, kind in enumerate(self.rng.choice(len(kinds), size, p=shares / shares.sum())):
            shards = self.shards[kinds[int(kind)]]
            shard_images, shard_targets = shards[int(self.rng.integers(len(shards)))]
            at = int(self.rng.integers(len(shard_targets)))
            images[row], targets[row] = shard_images[at], shard_targets[at]
        return images, targets


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """A second, cheap change of each crop, so that no pool sample is ever seen twice alike.

    `images` float (N, H, W, 3) 0-255. Small affine, gain, offset, grey, channel order, polarity.
    """
    n, height, width, _ = images.shape

    def normal(scale: float, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    def some(share: float) -> Tensor:
        return torch.nonzero(torch.rand(n, generator=generator) < share).flatten()

    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = 1 + normal(0.025, n)
    theta[:, 1, 1] = 1 + normal(0.025, n)
    theta[:, 0, 1] = normal(0.02, n) * height / width
    theta[:, 1, 0] = normal(0.02, n) * width / height
    theta[:, :, 2] = normal(0.02, n, 2)
    grid = F.affine_grid(theta, [n, 3, height, width], align_corners=False)
    x = images.permute(0, 3, 1, 2).contiguous()
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    # Changed in place and only where drawn: on a processor this is a sixth of a step otherwise.
    grey = some(0.12)
    x[grey] = x[grey].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    mixed = some(0.06)
    x[mixed] = x[mixed][:, torch.randperm(3, generator=generator)]
    negative = some(0.04)
    x[negative] = 255 - x[negative]
    x.mul_(1 + normal(0.12, n, 1, 1, 1)).add_(normal(9.0, n, 1, 1, 1)).clamp_(0, 255)
    return x.permute(0, 2, 3, 1)
