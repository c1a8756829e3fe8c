"""Suppliers' hot files: layouts, containers, encodings and the traps of real feeds.

Every plate, case and agency here is invented.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import make_home, run
from sqlalchemy import select

from alprd.central.hotlists import lists
from alprd.central.hotlists.hotfiles import containers, layouts, reading, spool
from alprd.central.hotlists.hotfiles.reading import Record, Rejected
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.packed import entry_of
from alprd.unpack import block_rows, blocks
from alprd.wire import HotlistEntry

NCIC = (
    "VEHEXTRT 20261122\n"
    "V123456789MN057020020190509HPJ456    0H2019PC2009D0DGRAMPKBLK\n"
    "P223456789LA057020020261101KZM905    MN2026TL2009YAMACYLMCRED\n"
)
MINNESOTA = (
    "TYPE,ORI,DATE,LIC,LIS,LIY,LIT,VYR,VMA,VMO,VST,VCO\n"
    "C845996328,0H0671200,20211122,JWF4764,0H,2022,TK,2013,CHEV,AVA,PK,CRM\n"
)
MAPPING = """\
name = "county"
delimiter = "|"
[fields]
plate = "Tag"
state = 2
code = "Why"
[constants]
type = "passenger"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("hotfiles") / "home")


def read(
    content: str | bytes, tmp_path: Path, layout: str = "", code: str = "", state: str = ""
) -> list[Record | Rejected]:
    path = tmp_path / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    shape = layouts.LAYOUTS[layout] if layout else None
    with containers.opened(path) as (stream, _):
        lines = containers.lines(stream, path)
        return list(reading.read(lines, path, shape, code=code, state=state)[1])


def facts(found: Record | Rejected) -> tuple[Any, ...]:
    assert isinstance(found, Record), found
    return found.plate, found.state, found.plate_type, found.code


@pytest.mark.policy("R-460.4.1-b")
@pytest.mark.parametrize(
    ("layout", "content", "expected"),
    [
        ("ncic", NCIC, ("HPJ456", "OH", "passenger", "V")),
        ("minnesota", MINNESOTA, ("JWF4764", "OH", "truck", "C")),
        (
            "texas-ncic",
            "V123456789,TX1010000,20261120,HPJ456,TX,2026,2019,F0RD,F15,PK,BLK\n",
            ("HPJ456", "TX", None, "V"),
        ),
        ("texas-tcic", "T1,HPJ456,TX,2026,F0RD,F15,PK,BLK\n", ("HPJ456", "TX", None, "STOLEN")),
        (
            "iowa",
            'HPJ456,9999,MC,IA,26-1,"STOLEN VEHICLE",IA0070000\n',
            ("HPJ456", "IA", "motorcycle", "STOLEN VEHICLE"),
        ),
        (
            "florida",
            "STOLEN VEHICLE;FL0010000;AG;26-1;;;;;;;HPJ456;2026;FL;PC;20261120\n",
            ("HPJ456", "FL", "passenger", "STOLEN VEHICLE"),
        ),
        ("california", "HPJ456  CA1920261120\n", ("HPJ456", "CA", None, "STOLEN")),
        (
            "genetec",
            "Category;PlateState;PlateNumber;EffectiveDate;ExpiryDate\n"
            "Stolen vehicle;MN;HPJ 456;2026-11-20;\n",
            ("HPJ456", "MN", None, "Stolen vehicle"),
        ),
        (
            "vigilant",
            'Hot Plate,State,Alert,Note\nHPJ-456,MN,STOLEN VEHICLE,"blue, dented"\n',
            ("HPJ456", "MN", None, "STOLEN VEHICLE"),
        ),
        (
            "rekor",
            "Plate Number,Description,State/Province\nHPJ456,blue sedan,MN\n",
            ("HPJ456", "MN", None, "STOLEN"),
        ),
        (
            "own",
            "plate,state,type,category,source,entered,text\nHPJ456,MN,truck,stolen,LPDF,,blue\n",
            ("HPJ456", "MN", "truck", "stolen"),
        ),
    ],
)
def test_every_layout_is_read(
    layout: str, content: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    """R-460.4.1-b: what the supplier wrote is what is matched; by name and by its first lines."""
    found = read(content, tmp_path, layout, code="STOLEN")
    assert facts(found[0]) == expected
    recognisable = {"ncic", "minnesota", "genetec", "vigilant", "rekor", "own"}
    if layout in recognisable:
        assert read(content, tmp_path, code="STOLEN") == found
        assert read(content.replace("\n", "\r\n"), tmp_path, code="STOLEN") == found
    else:
        with pytest.raises(InputError, match="not recognised"):
            read(content, tmp_path, code="STOLEN")


@pytest.mark.parametrize("delimiter", [",", ";", ":", "\t"])
def test_genetec_may_use_any_delimiter(delimiter: str, tmp_path: Path) -> None:
    fields = ("Category", "PlateState", "PlateNumber"), ("Stolen vehicle", "MN", "HPJ456")
    content = "".join(delimiter.join(line) + "\n" for line in fields)
    (found,) = read(content, tmp_path)
    assert facts(found) == ("HPJ456", "MN", None, "Stolen vehicle")


def test_a_layout_without_a_code_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say what its entries are"):
        read("HPJ456  CA1920261120\n", tmp_path, "california")


@pytest.mark.policy("R-460.4.1-b")
def test_zero_for_the_letter_o_is_read_and_kept_as_written(tmp_path: Path) -> None:
    """R-460.4.1-b: the state is the true one, the card shows what the supplier wrote."""
    (found,) = read(MINNESOTA, tmp_path)
    assert isinstance(found, Record)
    assert found.state == "OH" and "0H0671200" in found.text
    ncic = read(NCIC, tmp_path)[0]
    assert isinstance(ncic, Record) and "D0DG" in ncic.text


@pytest.mark.policy("R-460.4.1-b4")
@pytest.mark.parametrize(
    ("plate", "reason"),
    [(junk, "no real plate") for junk in ("0", "000", "190", "TEST", "NONE", "7", "", "--", "xxx")]
    + [(junk, "no real plate") for junk in ("N0NE", "n0-plate", "UNKN0WN")]
    + [("ABCDEFGH123", "plate is longer than 10 characters")],
)
def test_junk_is_set_aside_with_its_reason(plate: str, reason: str, tmp_path: Path) -> None:
    """R-460.4.1-b4: a filler would alarm on everything."""
    (found,) = read(f"Hot Plate,State,Alert\n{plate},MN,STOLEN\n", tmp_path)
    assert isinstance(found, Rejected) and (found.line, found.reason) == (2, reason)


def _zip(data: bytes, method: int = zipfile.ZIP_DEFLATED, **more: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in {"list.csv": data, **more}.items():
            archive.writestr(name, content)
    return out.getvalue()


VIGILANT = "Hot Plate,State,Alert,Note\nHPJ456,MN,STOLEN,Müller\n"


@pytest.mark.parametrize(
    "content",
    [
        VIGILANT.encode(),
        b"\xef\xbb\xbf" + VIGILANT.encode(),
        VIGILANT.encode("latin-1"),
        VIGILANT.encode("utf-16"),
        gzip.compress(VIGILANT.encode()),
        _zip(VIGILANT.encode()),
        _zip(VIGILANT.encode(), zipfile.ZIP_LZMA),
    ],
)
def test_containers_and_encodings(content: bytes, tmp_path: Path) -> None:
    (found,) = read(content, tmp_path)
    assert isinstance(found, Record) and "Müller" in found.text


def _encrypted() -> bytes:
    made = bytearray(_zip(VIGILANT.encode()))
    made[made.index(b"PK\x03\x04") + 6] |= 1
    made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_encrypted(), "encrypted"),
        (_zip(b"x", zipfile.ZIP_STORED, **{"more.csv": b"y"}), "holds 2 files"),
        (_zip(VIGILANT.encode())[:60], "damaged or cut short"),
        (gzip.compress(VIGILANT.encode())[:-6], "damaged or cut short"),
        (gzip.compress(b"\x1f\x8b" * 50), "not recognised"),
        (b"", "not recognised"),
    ],
)
def test_containers_that_cannot_be_used(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read(content, tmp_path)


def test_a_file_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "MAX_BYTES", 1 << 20)
    bomb = gzip.compress(VIGILANT.encode() + b"\n" * (4 << 20))
    with pytest.raises(InputError, match="unpacks to more"):
        read(bomb, tmp_path)
    one_line = gzip.compress(VIGILANT.encode() + b"A" * (4 << 20))
    with pytest.raises(InputError, match="unpacks to more"):
        read(one_line, tmp_path)


def test_foul_lines_do_not_stop_the_others(tmp_path: Path) -> None:
    lines = ["A" * 20_000, 'HPJ457,MN,"STOLEN', "HPJ458,QQ,STOLEN", "HPJ459,MN,", "HPJ460,MN,W"]
    found = read("Hot Plate,State,Alert\n" + "\n".join(lines) + "\n", tmp_path)
    assert [r.line for r in found if isinstance(r, Record)] == [6]
    rejected = [r for r in found if isinstance(r, Rejected)]
    assert all("HPJ" not in r.reason for r in rejected)
    assert [(r.line, r.reason) for r in rejected] == [
        (2, "line is too long"),
        (3, "quotes do not close on this line"), (4, "unknown state"), (5, "no category or code"),
    ]  # fmt: skip


@pytest.mark.policy("R-460.4.1-b4")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_that_is_too_long_is_told(encoding: str, tmp_path: Path) -> None:
    """R-460.4.1-b4: an entry in it would be missing without a word; empty lines say nothing."""
    text = "Hot Plate,State,Alert,Note\nHPJ457,MN,STOLEN," + "a" * 9_000 + "\n\nHPJ458,MN,STOLEN,b"
    found = read(text.encode(encoding), tmp_path)
    assert found[0] == Rejected(2, "line is too long")
    assert [r.line for r in found] == [2, 4]


def test_a_mapping_file_describes_another_layout(tmp_path: Path) -> None:
    layout = layouts.parse_mapping(MAPPING)
    lines = enumerate(["Tag|St|Why", "HPJ456|WI|STOLEN"], 1)
    (found,) = reading.read(lines, tmp_path, layout)[1]
    assert facts(found) == ("HPJ456", "WI", "passenger", "STOLEN")


def test_the_documented_layouts_and_mapping_are_those_of_the_importer() -> None:
    text = (Path(__file__).parents[2] / "docs" / "hotlist-format.md").read_text(encoding="utf-8")
    section = text.partition("## Layouts of suppliers")[2].partition("## Suppression")[0]
    named = re.findall(r"^\| `([a-z][a-z-]+)`(?: \*)? \|", section, re.MULTILINE)
    assert named == list(layouts.LAYOUTS)
    (example,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    layout = layouts.parse_mapping(example)
    assert layout.places == {"plate": "TAG", "state": 1, "code": "WHY", "entered": 4}
    ncic = next(line for line in section.splitlines() if line.startswith("| `ncic`"))
    for name, place in (("record type", "code"), ("date", "entered"), ("plate", "plate")):
        columns = layouts.LAYOUTS["ncic"].places[place]
        assert isinstance(columns, tuple)
        begin, end = columns
        span = f"{begin + 1}–{end}" if end - begin > 1 else f"{begin + 1}"
        assert f"{name} {span}," in ncic


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "county"', 'name = "ncic"', "name"),
        ('delimiter = "|"', 'delimiter = "||"', "delimiter"),
        ('plate = "Tag"', "", "fields.plate"),
        ('code = "Why"', "", "code"),
        ("state = 2", "state = 0", "state"),
        ("state = 2", "colour = 2", "unknown"),
        ("[fields]", "[fields", "mapping"),
    ],
)
def test_a_wrong_mapping_names_its_key(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        layouts.parse_mapping(MAPPING.replace(old, new))


def entries_of(home: Path, list_id: str) -> list[HotlistEntry]:
    with Central(home) as central, central.database.read() as tx:
        source = lists.hotlists(central, tx)[list_id].plain
        return [entry_of(row) for block in blocks(source) for row in block_rows(block)]


@pytest.mark.policy("R-460.5.1-c5")
def test_repeats_are_of_plate_state_and_code_never_of_the_plate(home: Path, tmp_path: Path) -> None:
    """R-460.5.1-c5: a second state or reason of a plate is an entry of its own."""
    path, rejected = tmp_path / "list.csv", tmp_path / "rejected.csv"
    lines = ["HPJ456,MN,STOLEN", "HPJ456,WI,STOLEN", "HPJ456,MN,WARRANT", "HPJ456,MN,STOLEN PLATE",
             "hpj-456,MN,stolen", "TEST,MN,STOLEN"]  # fmt: skip
    path.write_text("Hot Plate,State,Alert\n" + "\n".join(lines) + "\n")
    report = run(
        home, "lists", "import", str(path), "--list", "rep", "--source", "LPDF", "--by", "s",
        "--rejected", str(rejected), "--supplied-at",
        (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
    )  # fmt: skip
    assert (report["entries"], report["layout"], report["rejected_total"]) == (4, "vigilant", 2)
    assert report["rejected"] == [
        {"line": 6, "reason": "the same as line 2"}, {"line": 7, "reason": "no real plate"},
    ]  # fmt: skip
    told = rejected.read_text()
    assert sorted(told.split()) == sorted(
        "line,reason 7,no real plate 6,the same as line 2".split()
    )
    assert {(e.state, e.category) for e in entries_of(home, "rep")} == {
        ("MN", "stolen"), ("WI", "stolen"), ("MN", "owner_warrant"),
    }  # fmt: skip


@pytest.mark.policy("R-460.4-d")
def test_entries_of_restricted_files_stay_restricted(home: Path, tmp_path: Path) -> None:
    """A record type of a restricted NCIC file needs its own clearance up to the car."""
    path = tmp_path / "mn.csv"
    path.write_text(MINNESOTA)
    with Central(home) as central:
        lists.import_hotlist(
            central, path, list_id="mn", source="LPDF", actor=CENTRAL,
            supplied_at=datetime.now(UTC) - timedelta(hours=1),
        )  # fmt: skip
    (entry,) = entries_of(home, "mn")
    assert entry.restricted and entry.category == "other_lpdf"


def test_more_than_memory_holds_comes_out_sorted_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many runs on the disk give what one sort in memory gives; nothing of them can be read."""
    monkeypatch.setattr(spool, "RUN_ROWS", 50)
    rng = random.Random(4)
    rows = [
        (rng.randrange(400).to_bytes(17, "big") + b'["MN"]HPJ%d' % line, line)
        for line in range(1, 1000)
    ]
    repeats: list[tuple[int, int]] = []
    with spool.Spool(tmp_path) as made:
        for row, line in rows:
            made.add(row, line)
        got = list(made.merged(lambda line, first: repeats.append((line, first))))
        assert list(tmp_path.iterdir()) == []  # nameless
    firsts: dict[bytes, tuple[bytes, int]] = {}
    for row, line in rows:
        firsts.setdefault(row[:17], (row, line))
    assert got == [firsts[key][0] for key in sorted(firsts)]
    again = [(line, firsts[row[:17]][1]) for row, line in rows if firsts[row[:17]][1] != line]
    assert sorted(repeats) == again


def test_an_import_beside_another_leaves_its_file_alone(home: Path, tmp_path: Path) -> None:
    young = home / lists.FOLDER / ("a" * 32)
    young.write_bytes(b"another import is writing here")
    path = tmp_path / "list.csv"
    path.write_text(VIGILANT)
    with Central(home) as central:
        for hours in (3, 2):
            lists.import_hotlist(
                central, path, list_id="two", source="LPDF", actor=CENTRAL,
                supplied_at=datetime.now(UTC) - timedelta(hours=hours),
            )  # fmt: skip
        assert young.exists()
        with central.database.read() as tx:
            used = {found for found in tx.scalars(select(db.lists.c.file))}
        assert {p.name for p in (home / lists.FOLDER).iterdir()} == used | {young.name}
    young.unlink()


def test_no_plate_lies_in_clear_in_the_agencys_folder(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("Hot Plate,State,Alert\nPLN4711,MN,STOLEN\n")
    report = run(
        home, "lists", "import", str(path), "--list", "clear", "--source", "LPDF", "--by", "s",
        "--supplied-at", (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
    )  # fmt: skip
    assert "PLN4711" not in json.dumps(report)
    assert [e.plate for e in entries_of(home, "clear")] == ["PLN4711"]
    assert not [p for p in files(home) if b"PLN4711" in p.read_bytes()]


def files(home: Path) -> Iterator[Path]:
    return (path for path in home.rglob("*") if path.is_file())


def _said(text: str, layout: str = "own") -> list[Record | Rejected]:
    numbered = enumerate(text.splitlines(), 1)
    return list(reading.read(numbered, Path("x"), layouts.by_name(layout))[1])


def test_what_stands_in_quotes_never_becomes_an_entry() -> None:
    head = "plate,state,type,category,source,entered,text\n"
    said = _said(
        head
        + 'MUL417,MN,,stolen,,,"first\nWAR666,MN,,stolen,,,inside\nlast"\nNXT042,MN,,stolen,,,\n'
    )
    assert [record.plate for record in said] == ["MUL417", "NXT042"]
    slip = _said(head + 'MUL417,MN,,stolen,,,"12 wheels\n' + "NXT042,MN,,stolen,,,\n" * 60)
    assert isinstance(slip[0], Rejected)
    assert len(slip) == 61
    inches = _said(head + 'MUL417,MN,,stolen,,,12" wheels\n' * 3)
    assert [record.plate for record in inches] == ["MUL417"] * 3


def test_a_file_that_lost_its_header_loses_no_entry() -> None:
    line = "C845996328,MN0671200,20211122,JFJ4764,MN,2022,TK,2013,CHEV,AVA,PK,CRM\n"
    assert len(_said(line * 2, "minnesota")) == 2
    header = "NIC,ORI,DATE,LIC,LIS,LIY,LIT,VYR,VMA,VMO,VST,VCO\n"
    assert len(_said(header + line, "minnesota")) == 1


def test_a_column_that_a_mapping_names_must_be_there() -> None:
    mapping = 'name = "ours"\ndelimiter = ","\n[fields]\nplate = "P"\nstate = "Stat"\ncode = "C"\n'
    shape = layouts.parse_mapping(mapping)
    with pytest.raises(InputError, match="STAT"):
        list(reading.read([(1, "P,St,C"), (2, "ABC417,MN,STOLEN")], Path("x"), shape)[1])
