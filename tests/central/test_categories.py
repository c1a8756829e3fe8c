"""Every source code lands in exactly one column of the public log, or blocks its list."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import PASSWORD, add_person, make_home, run
from hypothesis import given
from hypothesis import strategies as st

from alprd.central.hotlists import categories, lists
from alprd.central.hotlists.categories import CategoryMap, Mapping, canonical_code
from alprd.central.storage.audit import Event, events
from alprd.central.storage.store import Central

FORMATS = Path(__file__).resolve().parents[3] / "shared" / "docs" / "hotfiles.md"
NCIC = dict.fromkeys("VPR", "stolen") | {"W": "owner_warrant"} | dict.fromkeys(
    "AFMCHKLNTX", "other_lpdf"
)  # fmt: skip
STATE_FILES = {
    "KOPS": "other_lpdf",
    "Minnesota warrant": "owner_warrant",
    "suspended": "owner_suspended_revoked",
    "revoked": "owner_suspended_revoked",
    "cancelled": "owner_suspended_revoked",
    "disqualified": "owner_suspended_revoked",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_home(tmp_path_factory.mktemp("categories") / "home")
    add_person(made, "dana", "admin_supervisor")
    add_person(made, "ole", "alpr_admin")
    return made


@pytest.mark.policy("R-460.5.1-c1", "R-460.5.1-c2", "R-460.5.1-c3", "R-460.5.1-c4", "R-460.5.1-c5")
@pytest.mark.parametrize("source", sorted(categories.RECORD_TYPE_SOURCES))
def test_every_record_type_lands_in_exactly_one_column(source: str) -> None:
    """R-460.5.1-c1…-c5: each NCIC record type has one column, one priority, one clearance."""
    known = CategoryMap()
    for code, column in NCIC.items():
        mapping = known.column(source, code)
        assert mapping is not None, code
        assert mapping.column == column
        assert mapping.priority in categories.PRIORITIES
        assert known.column(source, code.lower()) == mapping


@pytest.mark.policy("R-460.5.1-c5")
@pytest.mark.skipif(not FORMATS.exists(), reason="the notes on formats are not beside the project")
def test_the_documented_record_types_are_the_mapped_ones() -> None:
    """R-460.5.1-c5: what the notes document and what the map knows are the same codes."""
    section = FORMATS.read_text().partition("## Record type codes")[2].partition("##")[0]
    letters = set(re.findall(r"(?:^|· )([A-Z]) [A-Z]?[a-z]", section, re.MULTILINE))
    assert letters == set(NCIC)
    restricted = re.search(r"Types ([A-Z, ]+) are restricted", section)
    assert restricted
    named = set(restricted[1].replace(" ", "").split(","))
    shipped = {
        row.code
        for row in categories.shipped()
        if row.source == "ncic" and row.mapping.clearance == "restricted_files"
    }
    assert shipped == named == set("CKLTX")


@pytest.mark.policy("R-460.5.1-c3", "R-460.5.1-c5")
def test_state_files_and_words_of_csv_feeds_are_mapped() -> None:
    """R-460.5.1-c3: suspended, revoked, cancelled and disqualified owners are one column."""
    known = CategoryMap()
    for source in ("minnesota", "vigilant", "genetec", "own"):
        for code, column in STATE_FILES.items():
            mapping = known.column(source, code)
            assert mapping is not None and mapping.column == column, code
    # A letter means a record type only where the layout says so.
    assert known.column("vigilant", "V") is None
    assert known.column("ncic", "Q") is None
    assert known.column("ncic", "") is None


def test_no_code_has_two_shipped_rows() -> None:
    keys = [(row.source, row.code) for row in categories.shipped()]
    assert len(keys) == len(set(keys))
    assert all(code == canonical_code(code) for _, code in keys)
    known = CategoryMap()
    for row in categories.shipped():
        source = "anything" if row.source == categories.ANY else row.source
        assert known.column(source, row.code) == row.mapping


def test_columns_of_the_own_format_keep_their_documented_priority() -> None:
    known = CategoryMap()
    for column in categories.MAPPABLE:
        mapping = known.column("own", column)
        assert mapping == Mapping(column, lists.PRIORITY[column])
    assert set(lists.PRIORITY) == set(categories.MAPPABLE)


@given(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.text(st.characters(codec="utf-8"), max_size=40),
)
def test_any_code_has_one_answer(source: str, code: str) -> None:
    known = CategoryMap({("x", canonical_code(code)): Mapping("stolen", "low")})
    assert known.column("x", code) == Mapping("stolen", "low")
    assert known.column("x", f" {code} ") == Mapping("stolen", "low")
    found = known.column(source, code)
    assert found is None or found.column in categories.COLUMNS


@pytest.mark.policy("R-460.5.1-c5", "R-460.3-3")
def test_an_unmapped_code_blocks_its_list_until_it_is_mapped(home: Path, tmp_path: Path) -> None:
    """R-460.5.1-c5: nobody can accept a list with an unmapped code; mapping it lets it through."""
    path = tmp_path / "bolo.csv"
    path.write_text(
        "plate,state,type,category,source,entered,text\n"
        "NRT042,MN,,stolen,LPDF,,\nKZM905,MN,,Fire Watch,LPDF,,\n"
    )
    supplied = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    done = run(
        home, "lists", "import", str(path), "--list", "bolo", "--source", "LPDF",
        "--supplied-at", supplied, "--by", "dana", check=False,
    )  # fmt: skip
    assert done.returncode == 3
    held = run(home, "lists", "held")["held"]
    assert [finding["code"] for finding in held[0]["findings"]] == ["unmapped"]
    assert held[0]["still_unmapped"] == ["FIRE WATCH"]
    assert run(home, "status")["lists"] == []

    sign = ("--as", "dana", "--password-stdin")
    decide = ("lists", "accept", held[0]["id"], *sign, "--reason", "The state added one new code")
    early = run(home, *decide, stdin=PASSWORD + "\n", check=False)
    assert (early.returncode, "categories set" in early.stderr) == (6, True)

    row = ("--source", "own", "--code", "fire_watch", "--column", "other_lpdf", "--priority", "low")
    clerk = run(
        home, "categories", "set", *row, "--as", "ole", "--password-stdin",
        stdin=PASSWORD + "\n", check=False,
    )  # fmt: skip
    assert clerk.returncode == 6
    run(home, "categories", "set", *row, *sign, stdin=PASSWORD + "\n")
    report = run(home, *decide, stdin=PASSWORD + "\n")
    assert report["counts"] == {"stolen": 1, "other_lpdf": 1}
    assert run(home, "status")["lists"][0]["entries"] == 2
    assert run(home, "lists", "held")["held"] == []
    assert list((home / "held").iterdir()) == []

    own = [r for r in run(home, "categories", "list")["rows"] if r["origin"] == "agency"]
    assert [(r["source"], r["code"], r["set_by"]) for r in own] == [("own", "FIRE WATCH", "dana")]
    key = ("--source", "own", "--code", "Fire Watch")
    run(home, "categories", "remove", *key, *sign, stdin=PASSWORD + "\n")
    again = run(home, "categories", "remove", *key, *sign, stdin=PASSWORD + "\n", check=False)
    assert again.returncode == 1
    with Central(home) as central, central.database.read() as tx:
        trail = [event for event in events(tx) if event.event == Event.CATEGORY_MAPPED]
    assert [(e.actor, e.detail["before"], e.detail["after"]) for e in trail] == [
        ("dana", "unmapped", "other_lpdf low"),
        ("dana", "other_lpdf low", "unmapped"),
    ]


@pytest.mark.parametrize(
    ("source", "code"), [("No Layout!", "A"), ("", "A"), ("own", ""), ("own", "x" * 65)]
)
def test_impossible_rows_are_refused(home: Path, source: str, code: str) -> None:
    done = run(
        home, "categories", "set", "--source", source, "--code", code, "--column", "stolen",
        "--priority", "high", "--as", "dana", "--password-stdin", stdin=PASSWORD + "\n",
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
