"""The training loop of the state classifier, over a pool like the reader's at a larger size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.nn import functional as F

from training.licences import check_pool, check_start, pool_is_strict, still_strict
from training.ocr.batches import Pool, augment
from training.ocr.evaluate import val_inputs
from training.ocr.labels import IGNORE, REGIONS
from training.ocr.train import Averaged, cosine, read_checkpoint, save
from training.shares import check_loss, smoothed
from training.state.network import HEIGHT, WIDTH, StateClassifier
from training.weights import put_weights, read_weights

MIX = {"rendered": 0.3, "crops": 0.6, "street": 0.1}
SMOOTHING = 0.05
# The backbone knows much already and is changed more carefully.
BACKBONE_SHARE = 0.3
CHECKPOINT_SECONDS, EVALUATE_SECONDS = 120.0, 240.0


@dataclass(frozen=True)
class Plan:
    """What a run is: total minutes, batch size, peak learning rate, threads, seed, ablation, and
    the weights to go on from (None: general features). `steps`, where given, ends the run instead
    of the minutes, so that runs beside other work can be compared. `strict` refuses all that has
    seen sources of doubtful licence."""

    minutes: float = 60
    steps: int | None = None
    batch: int = 64
    rate: float = 2e-3
    threads: int = 1
    seed: int = 17
    without: tuple[str, ...] = ()
    start: Path | None = None
    strict: bool = False


def optimiser_of(model: StateClassifier, rate: float) -> torch.optim.AdamW:
    """AdamW; a lower rate for the backbone (`share` of each group), no decay on vectors."""
    groups: list[dict[str, Any]] = []
    for below, share in ((False, 1.0), (True, BACKBONE_SHARE)):
        for heavy in (True, False):
            mine = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad
                and name.startswith("backbone.") == below
                and (p.ndim > 1) == heavy
            ]
            decay = 0.03 if heavy and not below else 0.0
            groups.append({"params": mine, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=rate)


def accuracy(model: StateClassifier, images: NDArray[np.uint8], regions: NDArray[np.int8]) -> float:
    """Share of crops (N, 96, 192, 3) whose most probable region is right."""
    model.eval()
    right = 0
    with torch.no_grad():
        for at in range(0, len(images), 64):
            best = model(torch.from_numpy(images[at : at + 64])).argmax(-1).numpy()
            right += int((best == regions[at : at + 64]).sum())
    return right / max(1, len(images))


def train(work: Path, plan: Plan, *, data: Path) -> None:
    """Train until `plan.steps`, or else `plan.minutes`, have passed in all; resumes by itself.

    Raises:
        FileNotFoundError: no shards, or no labels to evaluate on.
        ValueError: a checkpoint, `plan.start` or a picture is damaged, or the loss no number.
        InputError: `plan.strict`, and pool, checkpoint or start may hold other sources.
    """
    check_start(plan.start, strict=plan.strict)
    check_pool(work / "pool", strict=plan.strict)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    model = StateClassifier(len(REGIONS))
    step, spent, strict = 0, 0.0, plan.strict
    checkpoint = work / "checkpoint.pt"
    state: dict[str, Any] | None = None
    if checkpoint.is_file():
        state = read_checkpoint(checkpoint)
        clean = plan.strict or pool_is_strict(work / "pool") is True
        strict = still_strict(checkpoint, state, strict=plan.strict, clean=clean)
        put_weights(model, state["model"], checkpoint)
        step, spent = int(state["step"]), float(state["spent"])
        if plan.start is not None:
            print(f"{checkpoint} is gone on from; {plan.start} is not used")
    elif plan.start is not None:
        read_weights(plan.start, model)
    else:
        model.backbone.load_imagenet()
    optimiser, averaged = optimiser_of(model, plan.rate), Averaged(model)
    if state is not None:
        optimiser.load_state_dict(state["optimiser"])
        averaged.state = state["averaged"]
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pool = Pool(work / "pool", plan.without, plan.seed + step, mix=MIX, size=(HEIGHT, WIDTH))
    generator = torch.Generator().manual_seed(plan.seed + step)
    val_images, val_targets = val_inputs(data, "us-crops", (HEIGHT, WIDTH))
    shadow = StateClassifier(len(REGIONS))
    total = 60 * plan.minutes
    saved = evaluated = spent
    running: float | None = None

    def done() -> float:
        return spent / total if plan.steps is None else step / plan.steps

    def keep() -> None:
        weights = {"model": model.state_dict(), "averaged": averaged.state}
        run = {"optimiser": optimiser.state_dict(), "step": step, "spent": spent}
        save(checkpoint, {**weights, **run, "strict": strict})

    bars = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*bars) as progress, (work / "train.log").open("a", encoding="utf-8") as log:
        bar = progress.add_task("training", total=10_000, completed=int(10_000 * done()))
        while done() < 1:
            begun = time.monotonic()
            for group in optimiser.param_groups:
                group["lr"] = group["share"] * cosine(done(), step, plan.rate)
            images, targets = pool.batch(plan.batch)
            goal = torch.from_numpy(targets[:, -1].astype(np.int64))
            model.train()
            inputs = augment(torch.from_numpy(images).float(), generator)
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(inputs)
            loss = F.cross_entropy(
                scores.float(), goal, ignore_index=IGNORE, label_smoothing=SMOOTHING
            )
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
            if spent - saved > CHECKPOINT_SECONDS or done() >= 1:
                keep()
                saved = spent
            if spent - evaluated > EVALUATE_SECONDS or done() >= 1:
                evaluated = spent
                shadow.load_state_dict(averaged.state)
                share = accuracy(shadow, val_images, val_targets[:, -1])
                log.write(f"{spent / 60:.1f} min step {step} loss {running:.3f} val {share:.3f}\n")
                log.flush()
