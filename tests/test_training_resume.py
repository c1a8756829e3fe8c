"""A training that is stopped goes on as it was begun, and fails before its first step if at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install alprd[training]")

from training_world import lay_out, noise_shard, plates_store  # noqa: E402

from training.detector import __main__ as detector_command  # noqa: E402
from training.detector.train import Schedule  # noqa: E402
from training.detector.train import train as train_detector  # noqa: E402
from training.ocr import __main__ as reader_command  # noqa: E402
from training.ocr import layout  # noqa: E402
from training.ocr import train as reader  # noqa: E402
from training.ocr.__main__ import WHOLE  # noqa: E402
from training.shares import smoothed  # noqa: E402
from training.state import __main__ as state_command  # noqa: E402
from training.state import network as state_network  # noqa: E402
from training.state import train as state  # noqa: E402
from training.weights import FOLDER  # noqa: E402

pytestmark = pytest.mark.usefixtures("torch_threads")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "data")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working folder of the reader, with a pool."""
    noise_shard(tmp_path / "work" / "pool", layout.HEIGHT, layout.WIDTH)
    return tmp_path / "work"


@pytest.fixture
def state_work(tmp_path: Path) -> Path:
    """A working folder of the state classifier, with a pool."""
    noise_shard(tmp_path / "work" / "pool", state_network.HEIGHT, state_network.WIDTH)
    return tmp_path / "work"


def run(work: Path, data: Path, steps: int, start: Path | None = None) -> dict[str, Any]:
    """Train the reader up to `steps`; the checkpoint."""
    reader.train(work, reader.Plan(steps=steps, batch=2, start=start), data=data)
    return reader.load(work)


def columns_learnt(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether the columns' scores, which only their CTC loss moves, have moved."""
    name = "columns.weight"
    return not torch.equal(first["model"][name], second["model"][name])


def test_a_run_from_weights_goes_on_without_the_columns_loss(work: Path, data: Path) -> None:
    first = run(work, data, 1, WHOLE)
    second = run(work, data, 2)
    assert second["step"] == 2
    assert not columns_learnt(first, second)


def test_a_run_from_chance_goes_on_with_the_columns_loss(
    work: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(work, data, 1)
    second = run(work, data, 2, WHOLE)
    assert columns_learnt(first, second)
    assert f"{WHOLE} is not used" in capsys.readouterr().out


def test_a_checkpoint_of_before_follows_start(work: Path, data: Path) -> None:
    first = run(work, data, 1)
    del first["columns"]
    reader.save(work / "checkpoint.pt", first)
    assert not columns_learnt(first, run(work, data, 2, WHOLE))


def test_the_shown_loss_begins_with_the_first_of_each_start() -> None:
    assert smoothed(None, 0.6) == 0.6
    assert smoothed(0.5, 1.0) == pytest.approx(0.51)


def shown(log: Path) -> list[float]:
    return [float(found) for found in re.findall(r"loss ([\d.]+)", log.read_text())]


def test_the_reader_shows_a_whole_loss_after_a_resume(
    work: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHECKPOINT_SECONDS", 0.0)
    run(work, data, 1)
    run(work, data, 2)
    first, second = shown(work / "train.log")
    assert second > first / 2


def test_the_state_classifier_shows_a_whole_loss_after_a_resume(
    state_work: Path, data: Path
) -> None:
    for steps in (1, 2):
        plan = state.Plan(steps=steps, batch=2, start=FOLDER / "state.pt")
        state.train(state_work, plan, data=data)
    first, second = shown(state_work / "train.log")
    assert second > first / 10


def test_the_detector_shows_a_whole_loss_after_a_resume(tmp_path: Path, data: Path) -> None:
    """Its row of 50 steps is of those since the resume."""
    plates_store(tmp_path)
    start = FOLDER / "detector.pt"

    def go(steps: int) -> Path:
        return train_detector(
            data, tmp_path, Schedule(steps=steps, batch=1, workers=0), start=start
        )

    last = go(1)
    checkpoint = torch.load(last, weights_only=True)
    torch.save({**checkpoint, "step": 49}, last)
    go(50)
    (row,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    box, score = map(float, re.findall(r"[\d.]+", row["note"]))
    assert row["loss"] >= 0.9 * max(box, score) > 0


@pytest.mark.parametrize("missing", ["us-crops", "us-text"])
def test_the_reader_looks_for_its_val_splits_first(
    missing: str, work: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / missing / "labels.csv").unlink()
    order = ["train", "--data", str(data), "--work", str(work), "--steps", "1", "--batch", "2"]
    assert reader_command.main(order) == 1
    assert f"{data / missing / 'labels.csv'} is missing" in capsys.readouterr().err
    assert [path.name for path in work.iterdir()] == ["pool"]


def test_the_reader_says_which_val_split_is_empty(work: Path, data: Path) -> None:
    labels = data / "us-text" / "labels.csv"
    labels.write_text(labels.read_text().replace(",val", ",train"))
    with pytest.raises(ValueError, match=r"us-text/labels\.csv has no plate of the val split"):
        run(work, data, 1)
    assert not (work / "checkpoint.pt").exists()


def test_the_state_classifier_looks_for_its_val_split_first(
    state_work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    order = ["train", "--data", str(nowhere), "--work", str(state_work), "--steps", "1"]
    assert state_command.main([*order, "--start", str(FOLDER / "state.pt")]) == 1
    assert str(nowhere / "us-crops" / "labels.csv") in capsys.readouterr().err
    assert [path.name for path in state_work.iterdir()] == ["pool"]


@pytest.mark.parametrize("command", [reader_command, state_command, detector_command])
@pytest.mark.parametrize(
    ("option", "value"),
    [("--minutes", "0"), ("--minutes", "nan"), ("--steps", "0"), ("--rate", "-1")],
)
def test_a_training_of_no_length_is_refused(
    command: ModuleType, option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["train", "--work", str(tmp_path), "--data", str(tmp_path), option, value])
    assert caught.value.code == 2
    assert "must be" in capsys.readouterr().err
