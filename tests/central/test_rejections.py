"""Lines that no list may bring, and the report of every rejected line and its end."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import PASSWORD, add_person, make_home, run
from sqlalchemy import insert

from alprd.central.hotlists import categories, lists, liststore, rejections
from alprd.central.hotlists.hotfiles.layouts import LAYOUTS
from alprd.central.staff import people
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event, events
from alprd.central.storage.store import Central
from alprd.central.upkeep import retention
from alprd.errors import InputError, RefusedError
from alprd.packed import header_of
from alprd.records import utc_now

HEAD = "plate,state,type,category,source,entered,text\n"
SIGN = ("--as", "dana", "--password-stdin")
WHY = categories.WHY_NOT
ASKED = "Active  Investigative"
"""As a supplier may write it."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_home(tmp_path_factory.mktemp("rejections") / "home")
    add_person(made, "dana", "admin_supervisor")
    add_person(made, "ida", "investigator")
    return made


def taken(home: Path, path: Path, *more: str, name: str = "lpdf", check: bool = True) -> object:
    supplied = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    return run(
        home, "lists", "import", str(path), "--list", name, "--source", "LPDF",
        "--supplied-at", supplied, "--by", "dana", *more, check=check,
    )  # fmt: skip


def line_of(layout: str, code: str, plate: str) -> str:
    """A whole line of a delimited layout that has a code."""
    fields = {
        "own": [plate, "MN", "", code, "LPDF", "", "Invented"],
        "iowa": [plate, "9999", "PC", "IA", "26-1", code, "IA0070000"],
        "florida": [code, "FL1", "AG", "26-1", *[""] * 6, plate, "2026", "FL", "PC", "20261120"],
        "genetec": [code, "MN", plate, "", "", "Invented"],
        "vigilant": [plate, "MN", code, "Invented"],
        "mapping": [plate, code],
    }[layout]  # fmt: skip
    return {"florida": ";", "genetec": ";", "mapping": "|"}.get(layout, ",").join(fields)


HEADS = {
    "own": HEAD.strip(),
    "genetec": "Category;PlateState;PlateNumber;EffectiveDate;ExpiryDate;Remark",
    "vigilant": "Hot Plate,State,Alert,Note",
    "mapping": "Tag|Why",
}
MAPPING = 'name = "county"\ndelimiter = "|"\n[fields]\nplate = "Tag"\ncode = "Why"\n'


@pytest.mark.policy("R-460.4.1-b2", "R-460.5.1-c4")
@pytest.mark.parametrize("layout", ["own", "iowa", "florida", "genetec", "vigilant", "mapping"])
def test_no_layout_brings_an_entry_of_an_investigation(
    home: Path, tmp_path: Path, layout: str
) -> None:
    """R-460.4.1-b2: the line is rejected with number, reason and remedy; the others are taken."""
    words = [HEADS[layout]] if layout in HEADS else []
    words += [line_of(layout, "STOLEN", "NRT042"), line_of(layout, ASKED, "KZM905")]
    path = tmp_path / "list.txt"
    path.write_text("\n".join(words) + "\n")
    (tmp_path / "county.toml").write_text(MAPPING)
    how = ("--mapping", str(tmp_path / "county.toml")) if layout == "mapping" else (
        "--layout", layout,
    )  # fmt: skip
    report = taken(home, path, *how, name=f"l-{layout}")
    assert isinstance(report, dict)
    assert report["counts"] == {"stolen": 1}
    assert report["rejected"] == [{"line": len(words), "reason": WHY}]
    assert "additional request" in report["remedy"]


@pytest.mark.policy("R-460.4.1-b2")
@pytest.mark.parametrize("layout", ["california", "texas-tcic", "rekor"])
def test_no_code_of_the_command_brings_one(home: Path, tmp_path: Path, layout: str) -> None:
    """R-460.4.1-b2: a list for which ``--code`` says so has no line left, and says what to do."""
    lines = {
        "california": "NRT042  CA1920261120",
        "texas-tcic": "1,NRT042,TX,2019,DODG,RAM,PK,BLK",
        "rekor": "Plate Number,Description,State/Province\nNRT042,Invented,MN",
    }
    path = tmp_path / "list.txt"
    path.write_text(lines[layout] + "\n")
    done = taken(home, path, "--layout", layout, "--code", "active_investigative", check=False)
    assert WHY in done.stderr and "additional request" in done.stderr  # type: ignore[attr-defined]
    assert set(LAYOUTS) >= {layout}


@pytest.mark.policy("R-460.4.1-b2", "R-460.5.1-c4")
def test_no_row_of_the_map_brings_one(home: Path, tmp_path: Path) -> None:
    """R-460.4.1-b2: such a row is refused, a code that says so gets no other column, and a row
    that an earlier version let in counts for nothing."""
    row = ("categories", "set", "--source", "own", "--priority", "high", *SIGN)
    for code, column in (("BOLO", categories.INVESTIGATION), (ASKED, "other_lpdf")):
        done = run(
            home, *row, "--code", code, "--column", column, stdin=PASSWORD + "\n", check=False
        )
        assert (done.returncode, WHY in done.stderr) == (6, True)
        assert "additional request" in done.stderr
    with Central(home) as central, central.database.write() as tx:
        tx.execute(
            insert(db.categories).values(
                source="own", code="OLD ROW", category=categories.INVESTIGATION, priority="high",
                restricted=False, set_by="dana", set_at=utc_now(),
            )
        )  # fmt: skip
    path = tmp_path / "list.csv"
    path.write_text(HEAD + "NRT042,MN,,stolen,LPDF,,\nKZM905,MN,,old_row,LPDF,,\n")
    report = taken(home, path, name="rows")
    assert isinstance(report, dict)
    assert report["counts"] == {"stolen": 1}
    assert report["rejected"] == [{"line": 3, "reason": WHY}]
    with Central(home) as central, central.database.read() as tx:
        for name, source in liststore.hotlists(central, tx).items():
            counts = header_of(source.plain).counts
            assert categories.INVESTIGATION not in counts, name


def make_many(path: Path, bad: int) -> None:
    with path.open("w") as out:
        out.write(HEAD)
        for number in range(bad):
            out.write(f"HPJ{number:04d},QQ,,stolen,LPDF,,\n")
        out.write("NRT042,MN,,stolen,LPDF,,\n")


@pytest.mark.policy("R-460.4.1-b4", "R-AT-1")
def test_every_rejected_line_is_in_the_report(home: Path, tmp_path: Path) -> None:
    """2,500 bad lines: the answer has 1,000, the report all; it names no plate, and is sealed."""
    path, to = tmp_path / "list.csv", tmp_path / "rejected.csv"
    make_many(path, 2500)
    report = taken(home, path, name="many")
    assert isinstance(report, dict)
    assert (len(report["rejected"]), report["rejected_total"]) == (1000, 2500)
    ident = report["rejected_report"]
    for path_of in (home / rejections.FOLDER).iterdir():
        data = path_of.read_bytes()
        assert b"unknown state" not in data and b"HPJ" not in data
    listed = run(home, "lists", "rejected", *SIGN, stdin=PASSWORD + "\n")["reports"]
    assert listed[0]["id"] == ident and listed[0]["lines"] == 2500
    run(home, "lists", "rejected", ident, "--to", str(to), *SIGN, stdin=PASSWORD + "\n")
    rows = list(csv.reader(io.StringIO(to.read_text())))
    assert rows[0] == ["line", "reason"]
    assert [int(number) for number, _ in rows[1:]] == list(range(2, 2502))
    assert {reason for _, reason in rows[1:]} == {"unknown state"}
    assert to.stat().st_mode & 0o777 == 0o600
    other = run(
        home, "lists", "rejected", ident, "--as", "ida", "--password-stdin",
        stdin=PASSWORD + "\n", check=False,
    )  # fmt: skip
    assert other.returncode == 6
    twice = run(
        home, "lists", "rejected", ident, "--to", str(to), *SIGN, stdin=PASSWORD + "\n", check=False
    )
    assert twice.returncode == 1  # nothing is overwritten
    with Central(home) as central, central.database.read() as tx:
        done = [e for e in events(tx) if e.event == Event.LIST_REJECTED_TAKEN]
    assert (done[0].actor, done[0].detail["lines"]) == ("dana", 2500)
    assert done[0].detail["report"] == ident


def test_a_list_without_a_usable_line_leaves_its_report(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(HEAD + "HPJ001,QQ,,stolen,LPDF,,\n" * 1200)
    with Central(home) as central:
        with pytest.raises(InputError) as caught:
            lists.import_hotlist(
                central, path, list_id="none", source="LPDF", actor=CENTRAL,
                supplied_at=datetime.now(UTC) - timedelta(hours=1),
            )  # fmt: skip
        with central.database.read() as tx:
            (row,) = [r for r in rejections.kept(central, tx) if r["list_id"] == "none"]
    assert row["lines"] == 1200
    assert f"lists rejected {row['id']}" in caught.value.remedy


@pytest.mark.policy("R-13.824-X-1")
def test_a_report_dies_after_its_days_key_first(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    make_many(path, 5)
    report = taken(home, path, name="old")
    assert isinstance(report, dict)
    ident = report["rejected_report"]
    left = home / rejections.FOLDER / ("f" * 32)
    left.write_bytes(b"of a crash")
    later = utc_now() + timedelta(days=7, seconds=5)
    with Central(home) as central:
        retention.purge(central)
        assert left.exists()  # perhaps of an import that runs
        assert central.keystore.find_secret(f"rejected:{ident}")
    with Central(home, clock=lambda: later) as central:
        with central.database.read() as tx:
            dana, ida = people.find(tx, "dana"), people.find(tx, "ida")
        assert dana is not None and ida is not None
        with pytest.raises(InputError):  # over even before the purge has come
            rejections.take(central, dana, ident)
        retention.purge(central)
        assert central.keystore.find_secret(f"rejected:{ident}") is None
        assert not (home / rejections.FOLDER / ident).exists()
        with central.database.read() as tx:
            assert rejections.kept(central, tx) == []
        with pytest.raises(RefusedError):
            rejections.take(central, ida, ident)
