"""Weights in the repository are of the networks of today, and come back as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install alprd[training]")

from training.detector.network import PlateDetector  # noqa: E402
from training.shares import check_loss  # noqa: E402
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
