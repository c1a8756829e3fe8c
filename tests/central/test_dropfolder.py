"""The drop folder: whole files become lists in use, others stay or are refused with a report."""

from __future__ import annotations

import csv
import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from central_world import Server, make_home, run, wait_until

from alprd.central.hotlists.dropfolder import TAKING, DropFolder, Outcome
from alprd.central.storage import config, db
from alprd.central.storage.namedtime import pattern_of, time_in_name
from alprd.central.storage.store import Central
from alprd.errors import InputError, StoreError

HEAD = "plate,state,type,category,source,entered,text\n"
GOOD = HEAD + "DRP101,MN,passenger,stolen,LPDF,2026-11-20,Stolen\nDRP102,WI,,owner_warrant,LPDF,,\n"
FOUL = GOOD + "TEST,MN,,stolen,LPDF,,\nDRP103,QQ,,stolen,LPDF,,\n"


def drop_home(home: Path, **changes: Any) -> Path:
    """An agency with a drop folder; ``lpdf*.csv`` is the list lpdf."""
    make_home(home)
    settings = config.load(home)
    wanted = config.DropList(files=("lpdf*.csv",), source="LPDF")
    drop = config.DropSettings(
        folder="drop", **{"settle_s": 0.3, "lists": {"lpdf": wanted}, **changes}
    )
    text = config.render(settings.model_copy(update={"drop": drop}))
    (home / config.CONFIG_FILE).write_text(text, encoding="utf-8")
    assert config.load(home).drop == drop, "what is rendered is read back"
    (home / "drop").mkdir()
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drop_home(tmp_path_factory.mktemp("drop") / "home")


def put(home: Path, name: str, content: str | bytes, age: timedelta = timedelta(hours=1)) -> Path:
    path = home / "drop" / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))
    return path


def taken(home: Path) -> list[Outcome]:
    """Looks twice, with the settling time between."""
    drop = DropFolder(home, config.load(home))
    drop.prepare()
    assert drop.take() == [], "a file just seen is not known to be whole"
    time.sleep(0.35)
    return drop.take()


def in_use(home: Path) -> Any:
    with Central(home) as central, central.database.read() as tx:
        return tx.execute(db.lists.select()).one_or_none()


@pytest.mark.policy("R-460.4.1-b4")
def test_a_list_that_is_dropped_is_imported_and_told(home: Path) -> None:
    """R-460.4.1-b4: the supplier's time is the file's; the bundle log counts and names lines."""
    path = put(home, "lpdf-1.csv", FOUL)
    changed = path.stat().st_mtime
    (outcome,) = taken(home)
    assert (outcome.list_id, outcome.result) == ("lpdf", "done")
    assert not path.exists() and outcome.file.read_bytes() == FOUL.encode()
    report = json.loads(outcome.report.read_text())
    assert report["import"]["entries"] == 2 and report["error"] == ""
    assert "DRP10" not in outcome.report.read_text()
    lines = outcome.file.with_name(outcome.file.name + ".rejected.csv").read_text()
    assert [row[0] for row in csv.reader(lines.splitlines())] == ["line", "4", "5"]
    assert "DRP" not in lines
    row = in_use(home)
    assert row.entries == 2 and row.source == "LPDF"
    assert row.supplied_at == datetime.fromtimestamp(int(changed), UTC)
    with Central(home) as central, central.database.read() as tx:
        names = [found.target for found in tx.execute(db.published.select())]
    assert "hotlist-lpdf.bin" in names, "it is published, too"


@pytest.mark.policy("R-460.4.1-b")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("lpdf-2.csv", b"PK\x03\x04 cut short", ""),
        ("county.csv", GOOD, "no list expects"),
        ("lpdf-6.csv; rm -rf x\n.csv", "nonsense", ""),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(
    home: Path, name: str, content: str | bytes, words: str
) -> None:
    """R-460.4.1-b: the list in use stays."""
    before = in_use(home)
    path = put(home, name, content)
    (outcome,) = taken(home)
    assert outcome.result == "refused" and not path.exists()
    report = json.loads(outcome.report.read_text())
    assert report["error"] and words in report["error"] and "Traceback" not in report["error"]
    assert in_use(home) == before


@pytest.mark.policy("R-460.4.1-b4")
def test_a_list_that_looks_wrong_is_held(home: Path) -> None:
    """R-460.4.1-b4: an older list waits for a person; the one in use stays."""
    put(home, "lpdf-a.csv", GOOD)
    assert [outcome.result for outcome in taken(home)] == ["done"]
    before = in_use(home)
    put(home, "lpdf-b.csv", GOOD, timedelta(hours=40))
    (outcome,) = taken(home)
    assert outcome.result == "held" and outcome.file.parent.name == "held"
    assert json.loads(outcome.report.read_text())["import"]["held"]
    assert in_use(home) == before


def test_half_written_and_strange_files_are_left_alone(home: Path, tmp_path: Path) -> None:
    drop = DropFolder(home, config.load(home))
    drop.prepare()
    for name in ("lpdf-7.csv.part", ".lpdf-8.csv", "lpdf-9.csv.TMP"):
        put(home, name, GOOD)
    (home / "drop" / "lpdf-link.csv").symlink_to(home / "keys" / "agency.key")
    os.mkfifo(home / "drop" / "lpdf-pipe.csv")
    path = put(home, "lpdf-growing.csv", GOOD)
    with path.open("ab") as upload:
        for _ in range(3):  # grows: never whole
            assert drop.take() == []
            upload.write(b"DRP104,MN,,stolen,LPDF,,\n")
            upload.flush()
            time.sleep(0.2)
        time.sleep(0.35)
        drop.take()
        time.sleep(0.35)
        assert drop.take() == [], "rests, but is still open for writing"
        assert drop.waiting
    (outcome,) = drop.take()
    assert outcome.file.read_text().count("DRP104") == 3
    names = {path.name for path in (home / "drop").iterdir() if not path.is_dir()}
    assert names == {"lpdf-7.csv.part", ".lpdf-8.csv", "lpdf-9.csv.TMP", "lpdf-link.csv",
                     "lpdf-pipe.csv"}  # fmt: skip
    for name in names:
        (home / "drop" / name).unlink()


def test_what_a_crash_interrupted_is_taken_again(home: Path) -> None:
    left = home / "drop" / TAKING / "lpdf-left.csv"
    put(home, "lpdf-left.csv", GOOD).rename(left)
    assert [outcome.file.name[17:] for outcome in taken(home)] == ["lpdf-left.csv"]
    assert not left.exists()


def test_imported_files_do_not_pile_up(tmp_path: Path) -> None:
    home = drop_home(tmp_path / "home", keep_days=0)
    put(home, "lpdf.csv", GOOD)
    (outcome,) = taken(home)
    assert outcome.result == "done"
    taken(home)
    assert not outcome.file.exists() and not outcome.report.exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    home = drop_home(tmp_path / "home")
    (home / "drop").rmdir()
    drop = DropFolder(home, config.load(home))
    with pytest.raises(StoreError, match="drop folder"):
        drop.prepare()
    with pytest.raises(StoreError, match="drop folder"):
        drop.take()


@pytest.mark.policy("R-460.4.1-b4")
def test_the_time_in_a_name_counts() -> None:
    """R-460.4.1-b4: the supplier's time, in the agency's zone; the earlier one where it repeats."""
    zone = ZoneInfo("America/Chicago")
    assert time_in_name("LPDF_20261122_0600.csv", "%Y%m%d_%H%M", zone) == datetime(
        2026, 11, 22, 12, 0, tzinfo=UTC
    )
    assert time_in_name("x2026-07-01.gz", "%Y-%m-%d", zone) == datetime(2026, 7, 1, 5, tzinfo=UTC)
    twice = time_in_name("20261101013000", "%Y%m%d%H%M%S", zone)
    assert twice == datetime(2026, 11, 1, 6, 30, tzinfo=UTC), "the first 01:30 of that night"
    for name in ("LPDF.csv", "LPDF_20261322_0600", "LPDF_20260230_0600", "120261122_0600"):
        with pytest.raises(InputError, match="no time of the form"):
            time_in_name(name, "%Y%m%d_%H%M", zone)
    for form in ("%Y", "%Y%m%d%d", "%Y%m%d%j", "%Y%m%d%", "x"):
        with pytest.raises(ValueError, match="needs"):
            pattern_of(form)
    assert pattern_of("%Y.%m.%d").search("2026x11x22") is None


@pytest.mark.policy("R-460.4.1-b")
def test_the_server_watches_the_folder(tmp_path: Path) -> None:
    """R-460.4.1-b: a dropped list goes out with no command given; SIGTERM leaves no file half."""
    home = drop_home(tmp_path / "home")
    server = Server(home)
    server.start()
    try:
        for name in ("lpdf.csv.part", "lpdf.csv"):
            put(home, name, GOOD)
        done = home / "drop" / "done"
        wait_until(lambda: list(done.glob("*-lpdf.csv")), 30)
        assert run(home, "status")  # the server and the commands share the home
        (home / "drop" / "lpdf.csv.part").rename(home / "drop" / "lpdf-x.csv")
        wait_until(lambda: list(done.glob("*-lpdf-x.csv")), 30)
        put(home, "lpdf-late.csv", GOOD)
        wait_until(lambda: list((home / "drop" / TAKING).iterdir()), 30)
        assert server.stop() == 0
    finally:
        if server.process is not None:
            server.stop()
    assert not list((home / "drop" / TAKING).iterdir())
    late = [path.name for path in (home / "drop").rglob("*lpdf-late.csv")]
    assert late == ["lpdf-late.csv"] or re.fullmatch(r"\[.*Z-lpdf-late.csv'\]", str(late))
    assert "Traceback" not in (home / "serve.log").read_text()
