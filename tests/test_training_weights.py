"""Weights in the repository are of the networks of today, and come back as they were written."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install alprd[training]")

from training.detector import __main__ as detector  # noqa: E402
from training.detector.network import PlateDetector  # noqa: E402
from training.ocr import __main__ as reader  # noqa: E402
from training.shares import check_loss  # noqa: E402
from training.state import __main__ as state  # noqa: E402
from training.state.network import StateClassifier  # noqa: E402
from training.weights import FOLDER, mix_weights, read_weights, write_weights  # noqa: E402


def test_weights_come_back(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model, other = StateClassifier(), StateClassifier()
    path = tmp_path / "w.pt"
    write_weights(path, model.state_dict())
    read_weights(path, other)
    for name, value in model.state_dict().items():
        assert torch.allclose(value.float(), other.state_dict()[name].float(), atol=1e-3), name


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    write_weights(path, PlateDetector().state_dict())
    with pytest.raises(ValueError, match="no weights of this network"):
        read_weights(path, StateClassifier())
    path.write_bytes(b"not a file of weights")
    with pytest.raises(ValueError, match=r"w\.pt"):
        read_weights(path, StateClassifier())
    with pytest.raises(ValueError, match=r"absent\.pt is missing"):
        read_weights(tmp_path / "absent.pt", StateClassifier())
    torch.save({"step": 3, "model": {}}, path)
    with pytest.raises(ValueError, match=r"w\.pt holds no weights \(a checkpoint"):
        read_weights(path, StateClassifier())


@pytest.mark.parametrize("content", [b"hello, no weights\n", b"edge,1\n", b"", b"PK\x03\x04", b"["])
@pytest.mark.parametrize("commands", [detector, state])
def test_files_that_are_no_weights_are_named(
    content: bytes,
    commands: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unpickling raises nearly any error: all of them are told, none is a traceback."""
    path, out = tmp_path / "notes.txt", tmp_path / "models"
    path.write_bytes(content)
    more = ["--models" if commands is detector else "--out", str(out), "--data", str(tmp_path)]
    assert commands.main(["export", "--of", str(path), *more]) == 1
    assert f"{path} holds no weights" in capsys.readouterr().err
    mean = tmp_path / "mean.pt"
    assert commands.main(["average", "--with", str(path), "--out", str(mean)]) == 1
    assert f"{path} holds no weights" in capsys.readouterr().err
    assert not mean.exists()
    assert not out.exists()


@pytest.mark.parametrize("content", [b"hello, no checkpoint\n", b"edge,1\n", b""])
@pytest.mark.parametrize(
    ("commands", "name"),
    [(detector, "last.pt"), (state, "checkpoint.pt"), (reader, "checkpoint.pt")],
)
def test_files_that_are_no_checkpoints_are_named(
    content: bytes,
    commands: ModuleType,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    order = ["export", "--work", str(tmp_path), "--data", str(tmp_path)]
    assert commands.main(order) == 1
    assert f"{path} is missing: run the `train` command first" in capsys.readouterr().err
    path.write_bytes(content)
    assert commands.main(order) == 1
    assert f"{path} is no checkpoint" in capsys.readouterr().err
    write_weights(path, StateClassifier().state_dict())
    assert commands.main(order) == 1
    assert f"{path} is no checkpoint" in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = StateClassifier().state_dict()
    path = tmp_path / "checkpoint.pt"
    whole = {"model": weights, "averaged": weights, "optimiser": {}, "step": 1, "spent": 1.0}
    torch.save(whole, path)
    assert reader.main(["export", "--work", str(tmp_path)]) == 1
    assert f"{path} holds no weights of this network (PlateReader)" in capsys.readouterr().err


def test_a_mean_lies_between_both(tmp_path: Path) -> None:
    first, second, out = (tmp_path / name for name in ("a.pt", "b.pt", "mean.pt"))
    one, two, mean = PlateDetector(), PlateDetector(), PlateDetector()
    write_weights(first, one.state_dict())
    write_weights(second, two.state_dict())
    mix_weights(first, second, 0.25, out)
    read_weights(out, mean)
    for name, value in mean.state_dict().items():
        wanted = 0.75 * one.state_dict()[name].float() + 0.25 * two.state_dict()[name].float()
        assert torch.allclose(value.float(), wanted, atol=5e-3), name


def test_no_mean_of_different_networks(tmp_path: Path) -> None:
    first, second, out = (tmp_path / name for name in ("a.pt", "b.pt", "mean.pt"))
    write_weights(first, PlateDetector().state_dict())
    write_weights(second, StateClassifier().state_dict())
    with pytest.raises(ValueError, match="different networks"):
        mix_weights(first, second, 0.5, out)
    second.write_bytes(b"not a file of weights")
    with pytest.raises(ValueError, match="holds no weights"):
        mix_weights(first, second, 0.5, out)
    assert not out.exists()


@pytest.mark.parametrize("share", [float("nan"), -0.5, 5.0])
def test_no_share_and_no_spoilt_weights_are_written(share: float, tmp_path: Path) -> None:
    first, out = tmp_path / "a.pt", tmp_path / "out.pt"
    state = PlateDetector().state_dict()
    write_weights(first, state)
    with pytest.raises(ValueError, match="from 0 to 1"):
        mix_weights(first, first, share, out)
    name = next(k for k, v in state.items() if v.dtype.is_floating_point)
    state[name] = torch.full_like(state[name], torch.nan)
    with pytest.raises(ValueError, match="no numbers"):
        write_weights(out, state)
    torch.save(state, first)
    with pytest.raises(ValueError, match="no numbers"):
        read_weights(first, PlateDetector())
    with pytest.raises(ValueError, match="is a folder"):
        write_weights(tmp_path, PlateDetector().state_dict())
    assert not out.exists()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(loss: float) -> None:
    with pytest.raises(ValueError, match="the loss of step 7"):
        check_loss(loss, 7)
    check_loss(0.5, 7)


def test_weights_of_the_repository_fit() -> None:
    read_weights(FOLDER / "detector.pt", PlateDetector())
    read_weights(FOLDER / "state.pt", StateClassifier())
