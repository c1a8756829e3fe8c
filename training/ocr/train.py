"""The training loop: batches out of the pool, AdamW, a cosine over wall time, averaged weights.

The schedule runs over minutes of training, not steps, so that a run ends when it must on any
machine; a resumed run goes on where its minutes stopped. The averaged weights (EMA) are what is
evaluated and exported.
"""

from __future__ import annotations

import math
import os
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

from training.licences import check_pool, check_start, pool_is_strict, still_strict
from training.ocr.batches import Pool, augment
from training.ocr.evaluate import Inputs, val_inputs
from training.ocr.labels import IGNORE, REGIONS
from training.ocr.layout import PAD, PLATE_SLOTS
from training.ocr.network import Logits, PlateReader
from training.ocr.warm import load_shipped
from training.shares import check_loss, smoothed
from training.weights import put_weights, read_saved

SMOOTHING = 0.0  # smoothed targets would cap the confidence that floors are set on
# CTC over the columns only helps the trunk to find characters early; it is not exported.
REGION_SHARE, STACKED_SHARE, COLUMNS_SHARE = 0.4, 0.5, 0.25
CHECKPOINT_SECONDS, EVALUATE_SECONDS = 150.0, 420.0
_PARTS = {"model", "averaged", "optimiser", "step", "spent"}  # of every checkpoint


@dataclass(frozen=True)
class Plan:
    """What a run is: total minutes, batch size, peak learning rate, threads, seed, ablation, and
    the `ocr.onnx` to start from (None: from chance). `steps`, where given, ends the run instead of
    the minutes, so that runs beside other work can be compared. `strict` refuses all that has seen
    sources of doubtful licence."""

    minutes: float = 90
    steps: int | None = None
    batch: int = 128
    rate: float = 1.2e-3
    threads: int = 1
    seed: int = 13
    without: tuple[str, ...] = ()
    start: Path | None = None
    strict: bool = False


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
        ValueError: it is damaged, or no checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the `train` command first")
    no_checkpoint = f"{path} is no checkpoint; delete it to begin anew"
    try:
        state: Any = read_saved(path)
    except ValueError as error:
        raise ValueError(no_checkpoint) from error
    if not isinstance(state, dict) or not state.keys() >= _PARTS:
        raise ValueError(no_checkpoint)
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


def _quick(model: PlateReader, val: Mapping[str, Inputs]) -> str:
    """Exact share and state share on the val splits, for the log."""
    out = []
    for name, (images, targets) in val.items():
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
    """Train until `plan.steps`, or else `plan.minutes`, have passed in all; resumes by itself.

    Raises:
        FileNotFoundError: no shards, or no labels to evaluate on.
        ValueError: a checkpoint, `plan.start` or a picture is damaged, or the loss no number.
        InputError: `plan.strict`, and pool, checkpoint or start may hold other sources.
    """
    checkpoint = work / "checkpoint.pt"
    check_start(plan.start, strict=plan.strict)
    check_pool(work / "pool", strict=plan.strict)
    # Read before the first step: a run must not end after hours on what it cannot be judged by.
    val = {name: val_inputs(data, name) for name in ("us-crops", "us-text")}
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
    # The columns' scores are not in a shipped file, and a trunk that reads needs no such help.
    ctc = COLUMNS_SHARE if plan.start is None else 0.0
    strict, resumed = plan.strict, checkpoint.is_file()
    if resumed:
        state = load(work)
        clean = plan.strict or pool_is_strict(work / "pool") is True
        strict = still_strict(checkpoint, state, strict=plan.strict, clean=clean)
        ctc = float(state.get("columns", ctc))  # as the run was begun; older ones do not say
        put_weights(model, state["model"], checkpoint)
        averaged.state = state["averaged"]
        optimiser.load_state_dict(state["optimiser"])
        step, spent = int(state["step"]), float(state["spent"])
        if plan.start is not None:
            print(f"{checkpoint} is gone on from; {plan.start} is not used")
    pool = Pool(work / "pool", plan.without, plan.seed + step)
    if not resumed and plan.start is not None:
        load_shipped(model, plan.start, pool.batch(512)[0])
        averaged = Averaged(model)
    generator = torch.Generator().manual_seed(plan.seed + step)
    shadow = PlateReader(len(REGIONS))
    total = 60 * plan.minutes

    def done() -> float:
        return spent / total if plan.steps is None else step / plan.steps

    saved = evaluated = spent

    def keep() -> None:
        save(
            checkpoint,
            {
                "model": model.state_dict(),
                "averaged": averaged.state,
                "optimiser": optimiser.state_dict(),
                "step": step,
                "spent": spent,
                "columns": ctc,
                "strict": strict,
                "plan": {k: v for k, v in asdict(plan).items() if k not in ("without", "start")},
            },
        )

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, (work / "train.log").open("a", encoding="utf-8") as log:
        bar = progress.add_task("training", total=10_000, completed=int(10_000 * done()))
        running: float | None = None
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
            running = smoothed(running, loss.item())
            spent += time.monotonic() - begun
            progress.update(
                bar, completed=10_000 * done(), description=f"step {step} loss {running:.3f}"
            )
            if spent - saved > CHECKPOINT_SECONDS:
                keep()
                saved = spent
                log.write(f"{spent / 60:.1f} min step {step} loss {running:.4f}\n")
                log.flush()
            if spent - evaluated > EVALUATE_SECONDS:
                evaluated = spent
                shadow.load_state_dict(averaged.state)
                log.write(f"{spent / 60:.1f} min step {step}: {_quick(shadow, val)}\n")
                log.flush()
        keep()
        shadow.load_state_dict(averaged.state)
        log.write(f"end {spent / 60:.1f} min step {step}: {_quick(shadow, val)}\n")
