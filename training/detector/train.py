"""Training on the CPU: resumable, seeded, with an exponential moving average of the weights.

The learning rate rises, stays, and falls linearly over the last ``cooldown`` of the run. The run
is counted in minutes of training, not steps, so that it ends when it must on any machine; it can
be continued from any checkpoint with more minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.detector import store
from training.detector.loss import Targets, detection_loss
from training.detector.network import NetworkConfig, PlateDetector, decode
from training.detector.scenes import Batch, Mix, Scenes
from training.licences import check_start, still_strict
from training.shares import check_loss
from training.weights import put_weights, read_saved, read_weights

NO_END = 1 << 40
_PARTS = {"config", "model", "average", "optimiser", "step", "minutes"}  # of every checkpoint


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; minutes count from the first run's start. `steps`, where
    given, ends the run instead of the minutes, so that runs beside other work can be compared."""

    minutes: float = 120
    steps: int | None = None
    batch: int = 16
    rate: float = 1.5e-3
    # The backbone knows much already and is changed more carefully.
    backbone_share: float = 0.3
    warmup: int = 200
    cooldown: float = 0.5
    weight_decay: float = 0.03
    seed: int = 1
    checkpoint_every: int = 100
    workers: int = 1

    def rate_at(self, step: int, spent: float) -> float:
        """Learning rate of ``step`` after ``spent`` minutes, as a share of the peak."""
        warmup = self.warmup if self.steps is None else min(self.warmup, self.steps // 5)
        up = min(1.0, (step + 1) / max(1, warmup))
        down = min(1.0, (1 - self.done(step, spent)) / max(1e-6, self.cooldown))
        return up * max(down, 0.01)

    def done(self, step: int, spent: float) -> float:
        """Share of the run that is over after ``step`` steps and ``spent`` minutes."""
        return spent / self.minutes if self.steps is None else step / self.steps


class MovingAverage:
    """Exponential moving average of weights and of batch-normalisation statistics."""

    def __init__(self, model: PlateDetector, decay: float = 0.9985) -> None:
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model``; faster during the first steps."""
        keep = min(self.decay, (1 + step) / (20 + step))
        source = model.state_dict()
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(source[name].to(value.dtype), 1 - keep)
            else:
                value.copy_(source[name])


def build_photos(data: Path, work: Path) -> None:
    """Decode the training photographs into ``work/photos`` (some 2 GB) unless done already.

    Raises :class:`TrainingDataError` where there are none, or no rendered plates to set in.
    """
    if not any((data / "detect" / "train").glob("*.jpg")):
        raise store.TrainingDataError(
            f"{data / 'detect' / 'train'} holds no photographs; pass --data with the folder of "
            "SOURCES.md"
        )
    if not len(store.PictureStore(work / "plates")):
        raise store.TrainingDataError(
            f"{work} holds no rendered plates yet: run `python -m training.detector pool` first"
        )
    photos = store.PictureStore(work / "photos")
    have = photos.names()
    if len(have) < len(list((data / "detect" / "train").glob("*.jpg"))):
        photos.append(item for item in store.read_split(data, "train") if item.name not in have)


def optimiser_of(model: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW; no decay on biases and normalisation, a lower rate for the backbone.

    Each group's ``share`` is its part of the schedule's rate.
    """
    groups: list[dict[str, Any]] = []
    for below, share in ((False, 1.0), (True, schedule.backbone_share)):
        mine = [
            p
            for name, p in model.named_parameters()
            if p.requires_grad and name.startswith("backbone.") == below
        ]
        heavy = [p for p in mine if p.ndim > 1]
        light = [p for p in mine if p.ndim <= 1]
        decay = 0.0 if below else schedule.weight_decay
        groups.append({"params": heavy, "weight_decay": decay, "share": share})
        groups.append({"params": light, "weight_decay": 0.0, "share": share})
    return torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.99))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint written by :func:`train`; raises TrainingDataError when unreadable."""
    if not path.exists():
        raise store.TrainingDataError(f"{path} is missing: run the `train` command first")
    remedy = f"delete {path} to begin anew"
    try:
        state: Any = read_saved(path)
    except ValueError as exc:
        raise store.TrainingDataError(
            f"{path} is no checkpoint of this trainer: {exc}", remedy=remedy
        ) from exc
    if not isinstance(state, dict) or not state.keys() >= _PARTS:
        raise store.TrainingDataError(f"{path} is no checkpoint of this trainer", remedy=remedy)
    return state


def load_average(path: Path) -> PlateDetector:
    """The averaged network of a checkpoint, in evaluation mode."""
    state = load_checkpoint(path)
    model = PlateDetector(NetworkConfig(**state["config"]))
    model.load_state_dict(state["average"])
    return model.eval()


def _loader(work: Path, schedule: Schedule, start: int, mix: Mix, strict: bool) -> Iterator[Batch]:
    keep = store.STRICT_PREFIXES if strict else ()
    scenes = Scenes(work, schedule.batch, start, NO_END, schedule.seed, mix, keep)
    loader: DataLoader[Batch] = DataLoader(
        scenes,
        batch_size=None,
        num_workers=schedule.workers,
        prefetch_factor=4 if schedule.workers else None,
    )
    return iter(loader)


def step_loss(model: PlateDetector, batch: Batch) -> tuple[Tensor, str]:
    """Forward pass in bf16, decoding and loss in float32; returns the loss and a log text."""
    x = batch.pixels.permute(0, 3, 1, 2).to(torch.bfloat16) / 255
    with torch.autocast("cpu", torch.bfloat16):
        maps = model(x.contiguous(memory_format=torch.channels_last))
    boxes, logits, cells = decode(maps)
    # The batch is padded to a fixed number of boxes; most of that is never used.
    used = max(1, int((batch.kinds > 0).sum(1).max()))
    targets = Targets(batch.boxes[:, :used], batch.kinds[:, :used])
    losses = detection_loss(boxes, logits, cells, targets)
    return losses.total, f"box {losses.box:.3f} score {losses.score:.3f}"


def train(
    data: Path,
    work: Path,
    schedule: Schedule,
    *,
    config: NetworkConfig | None = None,
    mix: Mix | None = None,
    strict: bool = False,
    threads: int = 1,
    start: Path | None = None,
) -> Path:
    """Train, or go on from ``work/last.pt``; returns the checkpoint's path.

    Without a checkpoint the weights of the file ``start`` are gone on from, if one is given.
    ``strict`` leaves out the sources of doubtful licence, and refuses what may have seen them.

    Raises:
        TrainingDataError: photographs, plates or a whole checkpoint are not there.
        InputError: the run is strict, and has a ``start`` or a checkpoint that has not been.
        ValueError: ``start`` or the checkpoint is of another network, or the loss no number.
    """
    check_start(start, strict=strict)
    last = work / "last.pt"
    state = load_checkpoint(last) if last.exists() else None
    all_strict = strict
    if state is not None:
        all_strict = still_strict(last, state, strict=strict, clean=strict)
    torch.set_num_threads(threads)
    torch.manual_seed(schedule.seed)
    build_photos(data, work)
    step, spent = 0, 0.0
    if state is not None:
        model = PlateDetector(NetworkConfig(**state["config"]))
        put_weights(model, state["model"], last)
        average = MovingAverage(model)
        average.model.load_state_dict(state["average"])
        optimiser = optimiser_of(model, schedule)
        optimiser.load_state_dict(state["optimiser"])
        step, spent = int(state["step"]), float(state["minutes"])
        if start is not None:
            print(f"{last} is gone on from; {start} is not used")
    else:
        model = PlateDetector(config)
        if start is None:
            model.backbone.load_imagenet()
        else:
            read_weights(start, model)
        average = MovingAverage(model)
        optimiser = optimiser_of(model, schedule)
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    running, counted, mark = 0.0, 0, time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, (work / "log.jsonl").open("a") as log:
        task = progress.add_task(
            "train", total=10_000, completed=int(10_000 * schedule.done(step, spent))
        )
        batches = _loader(work, schedule, step, mix or Mix(), strict)
        began = time.monotonic() - 60 * spent
        while schedule.done(step, spent) < 1:
            batch = next(batches)
            share = schedule.rate_at(step, spent)
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate * group["share"] * share
            loss, note = step_loss(model, batch)
            check_loss(float(loss.detach()), step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimiser.step()
            average.update(model, step)
            step += 1
            spent = (time.monotonic() - began) / 60
            running, counted = running + float(loss.detach()), counted + 1
            done = 10_000 * schedule.done(step, spent)
            progress.update(task, completed=done, description=f"step {step} {note}")
            if step % 50 == 0:
                # After a resume the first row is of fewer than 50 steps.
                speed = counted * schedule.batch / (time.monotonic() - mark)
                row = {"step": step, "minutes": spent, "loss": running / counted, "note": note}
                log.write(json.dumps(row | {"pictures_s": speed}) + "\n")
                log.flush()
                running, counted, mark = 0.0, 0, time.monotonic()
            if step % schedule.checkpoint_every == 0:
                save(last, model, average, optimiser, step, spent, strict=all_strict)
        save(last, model, average, optimiser, step, spent, strict=all_strict)
    return last


def save(
    path: Path,
    model: PlateDetector,
    average: MovingAverage,
    optimiser: torch.optim.Optimizer,
    step: int,
    minutes: float,
    *,
    strict: bool,
) -> None:
    """Write a checkpoint; the old one stays until the new one is complete.

    ``minutes`` are of training in all; ``strict`` says that it was on strict licences throughout.
    """
    part = path.with_suffix(".part")
    torch.save(
        {
            "config": model.config.as_dict(),
            "model": model.state_dict(),
            "average": average.model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "minutes": minutes,
            "strict": strict,
        },
        part,
    )
    part.replace(path)
