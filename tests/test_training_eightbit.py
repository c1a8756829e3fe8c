"""The reader in 8 bits: it reads what the whole one reads, or nothing is replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from alprd.models import FOLDER, shipped
from alprd.ocr import ALPHABET, PlateReader
from plates import FontPool, random_spec, render
from training.ocr import __main__ as command
from training.ocr import degrade, eightbit
from training.quantise import halve, widen

WHOLE = command.WHOLE
HEIGHT, WIDTH = 64, 128


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of crops of rendered plates, as the training's pool holds them."""
    rng = np.random.default_rng(3)
    fonts = FontPool.load("train")
    behind = np.full((HEIGHT, WIDTH, 3), 80, np.uint8)
    crops = [
        degrade.photograph(
            render(random_spec(rng), rng, fonts=fonts).image, behind, rng, hard=0.2,
            size=(HEIGHT, WIDTH),
        )
        for _ in range(60)
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("pool")
    np.save(folder / "rendered-000.images.npy", np.stack(crops))
    return folder


def operators(path: Path) -> set[str]:
    """The kinds of nodes of a model."""
    return {node.op_type for node in onnx.load(str(path)).graph.node}


def texts(folder: Path, crops: np.ndarray) -> list[str]:
    """What the reader of ``folder`` makes of RGB crops."""
    reader = PlateReader(folder / "ocr.onnx", FOLDER / "ocr.yaml")
    results = reader.read([np.ascontiguousarray(crop[..., ::-1]) for crop in crops])
    return ["".join(ALPHABET[i] for i in r.plate.argmax(axis=1)) for r in results]


def test_shipped_reader_is_in_eight_bits_and_reads_as_the_whole(pool: Path) -> None:
    assert "QuantizeLinear" in operators(shipped().ocr)
    assert "QuantizeLinear" not in operators(WHOLE)
    crops = np.load(pool / "rendered-000.images.npy")
    same = [a == b for a, b in zip(texts(FOLDER, crops), texts(WHOLE.parent, crops), strict=True)]
    assert np.mean(same) >= 0.95


def test_written_file_reads_as_the_whole_and_keeps_its_steps(pool: Path, tmp_path: Path) -> None:
    assert (
        command.main(["quantise", "--work", str(pool.parent), "--out", str(tmp_path)]) == 1
    )  # fmt: skip - the pool is WORK/pool, and there is none of that name
    said = eightbit.eight_bit(WHOLE, pool, tmp_path)
    assert "in 8 bits" in said
    assert (tmp_path / "SHA256SUMS").read_text().split()[1] == "ocr.onnx"
    assert (tmp_path / "ocr.onnx").stat().st_size < 0.8 * WHOLE.stat().st_size
    kept = [
        {p.key: p.value for p in onnx.load(str(path)).metadata_props}
        for path in (WHOLE, tmp_path / "ocr.onnx")
    ]
    assert kept[0] == kept[1] and "steps" in kept[0]


def test_nothing_is_replaced_where_the_two_disagree(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ocr.onnx").write_bytes(b"as it was")
    monkeypatch.setattr(eightbit, "LEAST_EQUAL", 1.01)
    with pytest.raises(ValueError, match=r"only .* of training crops are read as before"):
        eightbit.eight_bit(WHOLE, pool, tmp_path)
    assert (tmp_path / "ocr.onnx").read_bytes() == b"as it was"
    assert [p.name for p in tmp_path.iterdir()] == ["ocr.onnx"]


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path)
    assert command.main(["quantise", "--work", str(tmp_path / "none"), "--out", out]) == 1
    assert "holds no crops" in capsys.readouterr().err
    assert command.main(["quantise", "--weights", str(tmp_path / "no.onnx"), "--out", out]) == 1
    assert "training.ocr export" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.onnx", b"", "is no reader of ours"),
        ("bad.onnx", b"not a model", "is no ONNX file"),
        ("ocr.onnx", (FOLDER / "ocr.onnx").read_bytes(), "is in 8 bits"),
        ("state.onnx", (FOLDER / "state.onnx").read_bytes(), "is no reader of ours"),
    ],
)
def test_another_file_is_told_and_nothing_replaced(
    name: str, content: bytes, told: str, pool: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, mine = tmp_path / name, tmp_path / "mine.onnx"
    path.write_bytes(content)
    mine.write_bytes(WHOLE.read_bytes())
    with pytest.raises(ValueError, match=told):
        eightbit.eight_bit(path, pool, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert command.main(["average", "--with", str(path), "--model", str(mine)]) == 1
    assert told in capsys.readouterr().err
    assert mine.read_bytes() == WHOLE.read_bytes()


@pytest.mark.parametrize("share", ["nan", "-0.1", "1.5"])
def test_no_share_spoils_the_weights(
    share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(WHOLE.read_bytes())
    order = ["average", "--with", str(WHOLE), f"--share={share}", "--model", str(mine)]
    assert command.main(order) == 1
    assert "a number from 0 to 1" in capsys.readouterr().err
    assert mine.read_bytes() == WHOLE.read_bytes()
    assert command.main(["average", "--with", str(WHOLE), "--model", str(mine)]) == 0


def test_weights_that_are_no_numbers_are_refused(pool: Path, tmp_path: Path) -> None:
    model = onnx.load(str(WHOLE))
    tensor = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16)
    spoilt = np.full_like(onnx.numpy_helper.to_array(tensor), np.nan)
    tensor.CopyFrom(onnx.numpy_helper.from_array(spoilt, tensor.name))
    path = tmp_path / "nan.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="no numbers"):
        eightbit.eight_bit(path, pool, tmp_path)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (np.zeros((0, HEIGHT, WIDTH, 3), np.uint8), "empty or damaged"),
        (np.zeros((5, 96, 192, 3), np.uint8), "holds no crops of the reader"),
        (None, "empty or damaged"),
    ],
)
def test_a_pool_that_is_another_is_named(
    made: np.ndarray | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "crops-000.images.npy"
    if made is None:
        path.write_bytes(b"half a shard")
    else:
        np.save(path, made)
    with pytest.raises(ValueError, match=rf"crops-000.*{told}"):
        eightbit.eight_bit(WHOLE, tmp_path, tmp_path / "out")


def test_widen_undoes_halve() -> None:
    model = onnx.load(str(WHOLE))
    before = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    widen(model)
    assert not any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    onnx.checker.check_model(model)
    halve(model)
    after = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
