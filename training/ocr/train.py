"""The training loop: batches out of the pool, AdamW, a cosine over wall time, averaged weights.

The schedule runs over minutes of training, not steps, so that a run ends when it must on any
machine; a resumed run goes on where its minutes stopped. The averaged weights (EMA) are what is
evaluated and exported.
"""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F

from training.ocr.labels import IGNORE, REGIONS, us_crops, us_text
from training.ocr.layout import HEIGHT, PAD, PLATE_SLOTS, STACKED_SLOTS, WIDTH
from training.ocr.network import Logits, PlateReader
from training.ocr.warm import load_shipped
from training.shares import check_loss

# Share of each kind in a batch; the first trials had 48 rendered, 56 crops, 24 street.
MIX = {"rendered": 0.38, "crops": 0.40, "street": 0.18, "negative": 0.04}
SMOOTHING = 0.0  # smoothed targets would cap the confidence that floors are set on
# CTC over the columns only helps the trunk to find characters early; it is not exported.
REGION_SHARE, STACKED_SHARE, COLUMNS_SHARE = 0.4, 0.5, 0.25
CHECKPOINT_SECONDS, EVALUATE_SECONDS, RESCAN_SECONDS = 150.0, 420.0, 45.0


@dataclass(frozen=True)
class Plan:
    """What a run is: total minutes, batch size, peak learning rate, threads, seed, ablation, and
    the `ocr.onnx` to start from (None: from chance). `steps`, where given, ends the run instead of
    the minutes, so that runs beside other work can be compared."""

    minutes: float = 90
    steps: int | None = None
    batch: int = 128
    rate: float = 1.2e-3
    threads: int = 1
    seed: int = 13
    without: tuple[str, ...] = ()
    start: Path | None = None


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


def loss_of(logits: Logits, targets: Tensor, columns: float = COLUMNS_SHARE) -> Tensor:
    """Sum over the outputs of the cross entropy of labelled places, and `columns` times the
    columns' CTC loss."""
    plate, stacked = targets[:, :PLATE_SLOTS], targets[:, PLATE_SLOTS:-1]
    loss = F.cross_entropy(
        logits.plate.float().flatten(0, 1), plate.flatten(), label_smoothing=SMOOTHING
    )
    if (stacked != IGNORE).any():
        loss = loss + STACKED_SHARE * F.cross_entropy(
            logits.stacked.float().flatten(0, 1), stacked.flatten(), ignore_index=IGNORE
        )
    if columns:
        lengths = (plate != PAD).sum(1)
        loss = loss + columns * F.ctc_loss(
            logits.columns.float().log_softmax(-1),
            plate,
            torch.full_like(lengths, logits.columns.shape[0]),
            lengths,
            blank=PAD,
            zero_infinity=True,
        )
    if (targets[:, -1] != IGNORE).any():
        loss = loss + REGION_SHARE * F.cross_entropy(
            logits.region.float(), targets[:, -1], ignore_index=IGNORE, label_smoothing=0.02
        )
    return loss


class Averaged:
    """Exponential moving average of weights and normalisation statistics."""

    def __init__(self, model: nn.Module) -> None:
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        decay = min(0.9985, (1 + step) / (12 + step))
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if value.dtype.is_floating_point:
                    self.state[key].lerp_(value, 1 - decay)
                else:
                    self.state[key].copy_(value)


def cosine(progress: float, step: int, peak: float) -> float:
    """Learning rate: 200 steps of rise, then half a cosine over the run (`progress` 0-1)."""
    warm = min(1.0, (step + 1) / 200)
    return peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside its place and rename it over the old one."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)  # noqa: PTH105 - one atomic step


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of :func:`save`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the `train` command first")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.PickleError) as error:
        raise ValueError(f"{path} is no checkpoint; delete it to begin anew") from error
    return state


def load(work: Path) -> dict[str, Any]:
    """The last checkpoint of a working folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    return read_checkpoint(work / "checkpoint.pt")


def read_inputs(model: PlateReader, images: NDArray[np.uint8]) -> Iterator[Logits]:
    """Logits of prepared crops, 128 at a time."""
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(images), 128):
            yield model(torch.from_numpy(images[start : start + 128]))


def _quick(model: PlateReader, data: Path) -> str:
    """Exact share and state share on the val splits, for the log."""
    from training.ocr.evaluate import load_inputs

    out = []
    for name, samples in (("us-crops", us_crops(data, "val")), ("us-text", us_text(data, "val"))):
        images, targets = load_inputs(samples)
        plates, regions = [], []
        for logits in read_inputs(model, images):
            plates.append(logits.plate.argmax(-1).numpy())
            regions.append(logits.region.argmax(-1).numpy())
        exact = (np.concatenate(plates) == targets[:, :PLATE_SLOTS]).all(1).mean()
        known = targets[:, -1] != IGNORE
        right = int((np.concatenate(regions)[known] == targets[known, -1]).sum())
        out.append(f"{name} exact {exact:.3f} state {right / max(1, int(known.sum())):.3f}")
    return ", ".join(out)


def train(work: Path, plan: Plan, *, data: Path) -> None:
    """Train until `plan.steps`, or else `plan.minutes`, have passed in all; resumes by itself."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    model = PlateReader(len(REGIONS))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}],
        lr=plan.rate,
    )
    averaged, step, spent = Averaged(model), 0, 0.0
    if (work / "checkpoint.pt").is_file():
        state = load(work)
        model.load_state_dict(state["model"])
        averaged.state = state["averaged"]
        optimiser.load_state_dict(state["optimiser"])
        step, spent = int(state["step"]), float(state["spent"])
        if plan.start is not None:
            print(f"{work / 'checkpoint.pt'} is gone on from; {plan.start} is not used")
    pool = Pool(work / "pool", plan.without, plan.seed + step)
    if step == 0 and plan.start is not None:
        load_shipped(model, plan.start, pool.batch(512)[0])
        averaged = Averaged(model)
    generator = torch.Generator().manual_seed(plan.seed + step)
    shadow = PlateReader(len(REGIONS))
    total = 60 * plan.minutes

    def done() -> float:
        return spent / total if plan.steps is None else step / plan.steps

    # The columns' scores are not in a shipped file, and a trunk that reads needs no such help.
    ctc = 0.0 if plan.start is not None else COLUMNS_SHARE
    saved = evaluated = spent

    def checkpoint() -> None:
        save(
            work / "checkpoint.pt",
            {
                "model": model.state_dict(),
                "averaged": averaged.state,
                "optimiser": optimiser.state_dict(),
                "step": step,
                "spent": spent,
                "plan": {k: v for k, v in asdict(plan).items() if k not in ("without", "start")},
            },
        )

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, (work / "train.log").open("a", encoding="utf-8") as log:
        bar = progress.add_task("training", total=10_000, completed=int(10_000 * done()))
        running = 0.0
        while done() < 1:
            begun = time.monotonic()
            for group in optimiser.param_groups:
                group["lr"] = cosine(done(), step, plan.rate)
            images, targets = pool.batch(plan.batch)
            model.train()
            inputs = augment(torch.from_numpy(images).float(), generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(inputs)
            loss = loss_of(logits, torch.from_numpy(targets.astype(np.int64)), ctc)
            optimiser.zero_grad(set_to_none=True)
            check_loss(float(loss.detach()), step)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            step += 1
            averaged.update(model, step)
            value = loss.item()
            running = value if step == 1 else 0.98 * running + 0.02 * value
            spent += time.monotonic() - begun
            progress.update(
                bar, completed=10_000 * done(), description=f"step {step} loss {running:.3f}"
            )
            if spent - saved > CHECKPOINT_SECONDS:
                checkpoint()
                saved = spent
                log.write(f"{spent / 60:.1f} min step {step} loss {running:.4f}\n")
                log.flush()
            if spent - evaluated > EVALUATE_SECONDS:
                evaluated = spent
                shadow.load_state_dict(averaged.state)
                log.write(f"{spent / 60:.1f} min step {step}: {_quick(shadow, data)}\n")
                log.flush()
        checkpoint()
        shadow.load_state_dict(averaged.state)
        log.write(f"end {spent / 60:.1f} min step {step}: {_quick(shadow, data)}\n")
