"""Setting thresholds: rows of evidence, counted as the test drives are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alprd.profiles import ROAD
from bench.drive_score import Report
from bench.floors import Floors, Row, kept, main

ROW = Row(
    clip="880000000-front-2", expected="BEM0X", readable=True, text="BEM0X", state="MN",
    true_state="MN", sure=True, probs=(0.99,) * 5, own=(0.99, 0.99, 0.99, 0.93, 0.99),
    left_open=(), alternatives=("",) * 5,
    end=0.99, share=1.0, agreeing=4, read=4, frames=9, score=0.9,
    widest=80.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "floors", "exact", "misleads"),
    [
        (ROW, Floors(), True, False),
        (ROW, Floors(twin=0.95), False, False),  # open: neither exact nor misleading
        (ROW, Floors(char=0.995), False, False),
        (ROW, Floors(score=0.95), False, False),
        (ROW, Floors(width=90.0), False, False),
        (replace(ROW, expected="BEMOX"), Floors(), False, True),
        (replace(ROW, expected="BEMOX"), Floors(twin=0.95), False, False),
        (replace(ROW, expected="BEMOX"), Floors(char=0.995), False, False),
        (replace(ROW, expected="BEMOX", left_open=(3,)), Floors(), False, False),
        (replace(ROW, left_open=(3,)), Floors(), False, False),
        (replace(ROW, expected="BFM0X"), Floors(twin=0.95), False, True),  # open, but elsewhere
        (replace(ROW, expected="BEMOX", left_open=(1,)), Floors(), False, True),  # another place
        (replace(ROW, expected=None), Floors(twin=0.95), False, True),
        (replace(ROW, sure=False), Floors(), False, False),
    ],
)
def test_a_row_counts_as_on_test_drives(
    row: Row, floors: Floors, exact: bool, misleads: bool
) -> None:
    assert (floors.exact(row), floors.misleads(row)) == (exact, misleads)
    if row.expected is not None:
        report = Report(
            True, row.text, "", row.state, floors.sure(row), 0.9, 0, (0, 0, 1, 1),
            row.open(floors.twin),
        )  # fmt: skip
        assert report.misleads(row.expected) == misleads


def test_shares_are_of_the_readable_plates() -> None:
    rows = [ROW, replace(ROW, readable=False), replace(ROW, expected=None), ROW]
    found = kept(rows, Floors(), 10)
    assert found == {"exact": 0.2, "wrong_sure": 0.1, "wrong_sure_count": 1}


def _row(**found: Any) -> Row:
    whole: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return Row(**whole)


def test_a_clip_is_rendered_read_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "rows.json"
    order = ["--plates", "2", "--scenes", "2", "--work", str(tmp_path / "d"), "--dump", str(dump)]
    assert main([*order, "--input", "320x576"]) == 0
    assert "Sure readings of" in capsys.readouterr().out
    document = json.loads(dump.read_text())
    assert document["plates"] >= 2
    rows = [_row(**row) for row in document["rows"]]
    assert rows
    assert all(len(row.own) == len(row.text) == len(row.probs) for row in rows)
    assert any(row.right for row in rows)
    assert all(own <= both for row in rows for own, both in zip(row.own, row.probs, strict=True))
    assert all(row.widest >= ROAD.sure_width for row in rows if row.sure)


@pytest.mark.parametrize("size", ["wide", "0x0", "-32x64", "100000x100000", "320", "320x576x3"])
def test_a_size_that_is_none_is_refused(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--work", str(tmp_path / "d"), f"--input={size}"]) != 0
    assert "such as 320x576" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_dump_that_cannot_be_written_is_refused_before_hours_of_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["--work", str(tmp_path / "d"), "--dump", str(tmp_path / "none" / "rows.json")]
    assert main(order) != 0
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("option", ["--plates", "--jobs"])
@pytest.mark.parametrize("number", ["0", "-5", "many"])
def test_a_number_below_one_is_refused(option: str, number: str) -> None:
    with pytest.raises(SystemExit):
        main([f"{option}={number}"])
