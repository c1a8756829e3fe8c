"""``docs/hotlist-format.md`` says what the import does: its examples and tables tried out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import make_home, run

from alprd.central.hotlists import lists
from alprd.central.records import protected
from alprd.central.storage.audit import CENTRAL
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.records import PLATE_TYPES, fold

DOCUMENT = (Path(__file__).parents[2] / "docs" / "hotlist-format.md").read_text(encoding="utf-8")
HOTLIST, REQUESTS = re.findall(r"```csv\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("format") / "home")


def take_in(home: Path, path: Path, text: str) -> Any:
    path.write_text(text, encoding="utf-8")
    supplied = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    return run(
        home, "lists", "import", str(path), "--list", path.stem, "--source", "LPDF",
        "--supplied-at", supplied, "--by", "s",
    )  # fmt: skip


@pytest.mark.policy("R-460.4.1-b")
def test_documented_hotlist_is_taken_in_whole(home: Path, tmp_path: Path) -> None:
    report = take_in(home, tmp_path / "good.csv", HOTLIST)
    assert report["rejected"] == []
    assert report["entries"] == len(HOTLIST.splitlines()) - 1
    assert set(report["counts"]) == set(lists.PRIORITY)  # every category


def test_documented_suppression_file_is_taken_in_whole(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS, encoding="utf-8")
    report = run(home, "suppression", "import", str(path), "--by", "s")
    assert (report["entries"], report["rejected"]) == (2, [])
    with Central(home) as central, central.database.read() as tx:
        assert protected.suppressed_folds(central, tx) == {fold("GFN614"), fold("VLD8805")}


@pytest.mark.policy("R-460.5-b6")
@pytest.mark.parametrize("content", ["plate,state\n", "plate,state\nGFN614,MN\n---,MN\n"])
def test_a_damaged_file_drops_no_request(home: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS, encoding="utf-8")
    with Central(home) as central:
        protected.import_suppression(central, path, actor=CENTRAL)
        with central.database.read() as tx:
            before = protected.suppressed_folds(central, tx)
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="cannot replace"):
            protected.import_suppression(central, path, actor=CENTRAL, replace=True)
        with central.database.read() as tx:
            assert protected.suppressed_folds(central, tx) == before


def test_every_reason_and_value_is_documented(home: Path, tmp_path: Path) -> None:
    section = DOCUMENT.partition("### Lines that are rejected")[2].partition("\n\nIf")[0]
    documented = re.findall(r"^\| (?!Reason)([a-z].*?) \|", section, re.MULTILINE)
    fillers = re.findall(r"`([A-Z]+)`", section.splitlines()[4])
    assert "NOPLATE" in fillers
    foul = [
        *(f"{filler},MN,,stolen,LPDF,," for filler in ("0", "000", "7", "--", *fillers)),
        "NRT042,MN,,stolen,LPDF,," + "a" * 9_000,
        "ABCDEFGH123,MN,,stolen,LPDF,,",
        "NRT042,QQ,,stolen,LPDF,,",
        "NRT042,MN,boat,stolen,LPDF,,",
        "NRT042,MN,,active_investigative,LPDF,,",
        "NRT042,MN,,,LPDF,,",
        "NRT042,MN,,stolen,LPDF,yesterday,",
        "n r t 0 4 2,mn,Passenger,STOLEN,LPDF,,",
    ]
    report = take_in(home, tmp_path / "foul.csv", HOTLIST + "\n".join(foul) + "\n")
    assert report["entries"] == len(HOTLIST.splitlines()) - 1
    assert len(report["rejected"]) == len(foul)
    reasons = {re.sub(r"\d+$", "…", r["reason"]) for r in report["rejected"][-7:]}
    reasons |= {r["reason"] for r in report["rejected"][:-7]}
    assert reasons == {re.sub(r"\d+$", "…", reason) for reason in documented}
    for value in (*lists.COLUMNS, *lists.PRIORITY, *PLATE_TYPES):
        assert f"`{value}`" in DOCUMENT
    for category, priority in lists.PRIORITY.items():
        assert f"| `{category}` | {priority} |" in DOCUMENT
