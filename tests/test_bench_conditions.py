"""``bench conditions`` spoils plates as it says, counts right, and says what was not measured."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.frames import Box, Image
from bench.conditions import CONDITIONS, Condition, main, measure, spoilt
from bench.data import Crop
from plates import FontPool, PlateSpec, render


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like ``../shared`` with three rendered plates and no peer."""
    folder = tmp_path_factory.mktemp("shared")
    crops = folder / "data" / "us-crops"
    crops.mkdir(parents=True)
    rows = []
    for number, text in enumerate(("ABC123", "473KLW", "HJD822")):
        rng = np.random.default_rng(number)
        spec = PlateSpec(text, region="MN", design="mn-lake")
        image = render(spec, rng, fonts=FontPool.load("test"), wear=False).image
        cv2.imwrite(str(crops / f"{number}.png"), image[..., ::-1])
        rows.append([f"{number}.png", text, "", "val", "1"])
    with (crops / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerows([["file", "text", "stacked", "split", "sure"], *rows])
    return folder


@pytest.fixture
def plate(shared: Path) -> Image:
    image = cv2.imread(str(shared / "data" / "us-crops" / "0.png"))
    assert image is not None
    return np.asarray(image, np.uint8)


@pytest.mark.parametrize("seen", CONDITIONS, ids=lambda seen: seen.name)
def test_the_box_is_where_the_plate_is(plate: Image, seen: Condition) -> None:
    picture, (x, y, w, h) = spoilt(plate, seen, np.random.default_rng(0))
    assert w == pytest.approx(seen.width)
    assert w / h == pytest.approx(plate.shape[1] / plate.shape[0])
    assert x + w < picture.shape[1]
    inside = picture[round(y) + 2 : round(y + h) - 2, round(x) + 2 : round(x + w) - 2]
    outside = picture[: round(y) - 2]
    assert inside.mean() > 1.5 * outside.mean()  # the plate is white, the car grey
    assert inside.mean() == pytest.approx(plate.mean() * seen.light, rel=0.12)
    again, _ = spoilt(plate, seen, np.random.default_rng(0))
    assert np.array_equal(picture, again)


def test_soft_is_softer(plate: Image) -> None:
    def edges(seen: Condition) -> float:
        picture, _ = spoilt(plate, seen, np.random.default_rng(0))
        return float(cv2.Laplacian(picture, cv2.CV_64F).var())

    assert edges(Condition("", 64, blur=1.0)) < 0.3 * edges(Condition("", 64))


def test_counts_texts_sure_ones_and_wrong_ones_among_those(shared: Path) -> None:
    crops = [
        Crop(shared / "data" / "us-crops" / f"{n}.png", text)
        for n, text in enumerate(("AB0123", "473KLW", "HJD822"))
    ]
    said = iter([("ABO123", True), ("473KLV", True), ("", False)] * 2)

    def ours(_image: Image, _box: Box) -> tuple[str, bool]:
        return next(said)

    rows = measure(crops, ours, None, CONDITIONS[:2])
    assert [row.name for row in rows] == ["128 px", "80 px"]
    for row in rows:
        assert row.exact_o0 == pytest.approx(1 / 3)
        assert row.sure == pytest.approx(2 / 3)
        assert row.wrong_sure == pytest.approx(1 / 2)
        assert row.peer_exact_o0 is row.peer_widened_exact_o0 is None


def test_without_the_peer_ours_is_told_and_the_code_says_so(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "figures.json"
    assert main(["--shared", str(shared), "--json", str(out)]) == 3
    told = json.loads(out.read_text())
    assert told["peer"] is None
    assert told["plates"] == 3
    assert [c["name"] for c in told["conditions"]] == [c.name for c in CONDITIONS]
    wide = told["conditions"][0]
    assert wide["exact_o0"] == 1.0
    assert wide["peer_exact_o0"] is None
    printed = capsys.readouterr()
    assert "not measured" in printed.out
    assert "remedy" in printed.err


def test_what_cannot_be_done_is_told_before_the_work(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--shared", str(tmp_path)]) == 3
    told = capsys.readouterr().err
    assert "not measured" in told
    assert "us-crops" in told
    assert main(["--shared", str(shared), "--json", str(tmp_path)]) == 1
    assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--crops", "0"])


HEAD = b"file,text,stacked,split,sure\n"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"", "lacks file"),
        (b"file,text\n0.png,AB\n", "lacks stacked, split, sure"),
        (HEAD, "no crop of val"),
        (HEAD + b"0.png,ABC123,,train,1\n", "no crop of val"),
        (HEAD + b"0.png,ABC123\n", "row 2"),
        (HEAD + b"0.png,\xff\xfe,,val,1\n", "as a table"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: bytes, said: str
) -> None:
    folder = tmp_path / "data" / "us-crops"
    folder.mkdir(parents=True)
    (folder / "labels.csv").write_bytes(table)
    assert main(["--shared", str(tmp_path)]) == 3
    told = capsys.readouterr().err
    assert "not measured" in told
    assert said in told


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (40, 15, 3), (300, 30, 3)])
def test_a_crop_that_is_no_plate_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, int, int]
) -> None:
    folder = tmp_path / "data" / "us-crops"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "odd.png"), np.zeros(shape, np.uint8))
    (folder / "labels.csv").write_bytes(HEAD + b"odd.png,ABC123,,val,1\n")
    assert main(["--shared", str(tmp_path)]) == 1
    assert "odd.png: a crop of" in capsys.readouterr().err


def test_where_nothing_is_sure_no_share_of_it_is_wrong(shared: Path) -> None:
    crops = [Crop(shared / "data" / "us-crops" / "0.png", "ABC123")]
    (row,) = measure(crops, lambda _image, _box: ("ABC123", False), None, CONDITIONS[:1])
    assert (row.exact_o0, row.sure, row.wrong_sure) == (1.0, 0.0, None)
