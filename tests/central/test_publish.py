"""Publication, as a car sees it through ``tuf.ngclient``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from central_world import AGENCY, Car, Server, add_person, enrol, fetch_target, make_home, run
from tuf.api.exceptions import BadVersionNumberError

from alprd import crypto, wire
from alprd.central.publication import publish
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError
from alprd.hotlist import load_hotlist_file
from alprd.packed import header_of
from alprd.records import fold
from alprd.rows import entry_of
from alprd.targetfile import TargetReader
from alprd.unpack import block_rows, blocks

HOTLIST = """plate,state,type,category,source,entered,text
STL-001,MN,passenger,stolen,LPDF,2026-11-20,Stolen vehicle
WRN 442,WI,,owner_warrant,LPDF,,Warrant
SUS9911,MN,truck,owner_suspended_revoked,LPDF,2026-11-01T10:00:00Z,Suspended
0,MN,,stolen,LPDF,,
000,,,stolen,LPDF,,
TEST,MN,,stolen,LPDF,,
BAD001,QQ,,stolen,LPDF,,
BAD002,MN,boat,stolen,LPDF,,
BAD003,MN,,,LPDF,,
BAD004,MN,,stolen,LPDF,yesterday,
STL001,MN,passenger,stolen,LPDF,,again
"""


@pytest.fixture(scope="module")
def stocked(server: Server, car: Car, tmp_path_factory: pytest.TempPathFactory) -> Car:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "hot.csv").write_text(HOTLIST)
    (folder / "private.csv").write_text("plate,state\nACP817,MN\n")
    supplied = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    report = run(
        server.home, "lists", "import", str(folder / "hot.csv"), "--list", "lpdf",
        "--source", "LPDF", "--supplied-at", supplied, "--by", "supervisor",
    )  # fmt: skip
    assert report["entries"] == 3
    assert [r["line"] for r in report["rejected"]] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert report["counts"] == {"stolen": 1, "owner_warrant": 1, "owner_suspended_revoked": 1}
    assert "BAD" not in str(report["rejected"])
    run(
        server.home, "suppression", "import", str(folder / "private.csv"), "--by", "supervisor"
    )  # fmt: skip
    add_person(server.home, "ole", "operator", clearance="stolen")
    changed = run(server.home, "publish", "--by", "supervisor")["changed"]
    assert {"hotlist-lpdf.bin", "suppression.bin", "roster.bin"} <= set(changed)
    return car


def target(car: Car, name: str) -> bytes:
    data = fetch_target(car, name)
    assert data is not None
    return data


def wraps_of(car: Car) -> wire.Wraps:
    return wire.Wraps.model_validate_json(target(car, wire.wraps_target(car.name)))


def opened(car: Car, name: str) -> bytes:
    wrapped = wraps_of(car).targets[name]
    key = crypto.unwrap_key(wrapped, purpose=name, key=car.wrap_key)
    return crypto.decrypt_target(target(car, name), name=name, key=key)


def opened_list(car: Car, name: str) -> tuple[wire.Hotlist, dict[str, wire.HotlistEntry]]:
    key = crypto.unwrap_key(wraps_of(car).targets[name], purpose=name, key=car.wrap_key)
    with TargetReader(target(car, name), name=name, key=key) as reader:
        rows = [row for block in blocks(reader) for row in block_rows(block)]
        return header_of(reader), {entry.plate: entry for entry in map(entry_of, rows)}


def test_hotlist_reaches_the_car(stocked: Car) -> None:
    head, entries = opened_list(stocked, "hotlist-lpdf.bin")
    assert (head.list_id, head.source, head.entries) == ("lpdf", "LPDF", 3)
    assert set(entries) == {"STL001", "WRN442", "SUS9911"}
    assert [entries[p].priority for p in ("STL001", "WRN442", "SUS9911")] == ["high", "high", "low"]
    assert entries["WRN442"].plate_type is None
    assert entries["SUS9911"].plate_type == "truck"


def test_the_cars_own_loader_reads_the_list(stocked: Car, tmp_path: Path) -> None:
    name = "hotlist-lpdf.bin"
    key = crypto.unwrap_key(wraps_of(stocked).targets[name], purpose=name, key=stocked.wrap_key)
    (tmp_path / name).write_bytes(target(stocked, name))
    assert len(load_hotlist_file(tmp_path / name, name=name, key=key)) == 3


@pytest.mark.policy("R-460.5-b4")
def test_suppression_is_padded_and_keyed(stocked: Car) -> None:
    digests = wire.Suppression.model_validate_json(opened(stocked, wire.SUPPRESSION)).digests
    assert len(digests) == 4096
    assert list(digests) == sorted(set(digests))
    wrapped = wraps_of(stocked).suppression_key
    key = crypto.unwrap_key(wrapped, purpose="suppression-key", key=stocked.wrap_key)
    mine = hmac.new(key, fold("ACP817").encode(), hashlib.sha256).digest()[:16].hex()
    assert mine in digests


@pytest.mark.policy("R-460.5-b4")
def test_two_versions_of_the_suppression_list_have_nothing_in_common(
    server: Server, stocked: Car, tmp_path: Path
) -> None:
    """Else their intersection would count the requests."""
    first = set(wire.Suppression.model_validate_json(opened(stocked, wire.SUPPRESSION)).digests)
    more = tmp_path / "more.csv"
    more.write_text("plate,state\nACP818,MN\n")
    run(server.home, "suppression", "import", str(more), "--by", "supervisor")
    assert wire.SUPPRESSION in run(server.home, "publish")["changed"]
    second = set(wire.Suppression.model_validate_json(opened(stocked, wire.SUPPRESSION)).digests)
    assert len(first) == len(second) == 4096
    assert first.isdisjoint(second)
    wrapped = wraps_of(stocked).suppression_key
    key = crypto.unwrap_key(wrapped, purpose="suppression-key", key=stocked.wrap_key)
    for plate in ("ACP817", "ACP818"):
        mine = hmac.new(key, fold(plate).encode(), hashlib.sha256).digest()[:16].hex()
        assert mine in second


def test_roster_and_policy_and_keys(stocked: Car) -> None:
    roster = wire.Roster.model_validate_json(opened(stocked, wire.ROSTER))
    ole = next(p for p in roster.people if p.id == "ole")
    assert ole.roles == ("operator",)
    assert ole.clearances == ("stolen",)
    assert ole.verifier.startswith("$argon2id$")
    policy = wire.Policy.model_validate_json(target(stocked, wire.POLICY))
    assert (policy.agency, policy.retention_hours) == (AGENCY, 1440)
    keys = wire.IntakeKeys.model_validate_json(target(stocked, wire.INTAKE_KEYS)).keys
    days = [key.day for key in keys]
    today = datetime.now(UTC).date()
    assert days == sorted(days)
    assert days[0] == (today - timedelta(days=60)).isoformat()
    assert days[-1] == (today + timedelta(days=120)).isoformat()


def test_without_a_change_a_publication_has_the_suppression_list_alone(
    server: Server, stocked: Car
) -> None:
    """ADR 0053: it is in every one, so none tells that a request came in."""
    first = run(server.home, "publish")
    assert first["changed"] == [wire.SUPPRESSION, wire.wraps_target(stocked.name)]
    again = run(server.home, "publish")
    assert again == {**first, "version": first["version"] + 1}


def test_car_gets_no_other_cars_wraps_and_no_other_file(
    server: Server, stocked: Car, tmp_path: Path
) -> None:
    other = enrol(server, tmp_path / "car", "car-7", "7")
    assert fetch_target(other, wire.wraps_target("car-7"))
    sha256 = hashlib.sha256(target(stocked, wire.wraps_target(stocked.name))).hexdigest()
    with other.client() as client:
        for path in (
            f"/tuf/targets/{sha256}.wraps-car-1.json",
            "/tuf/metadata/..%2f..%2fkeystore.db",
            "/tuf/metadata/9.root.json",
            "/tuf/targets/central.toml",
        ):
            assert client.get(path).status_code == 404, path


def test_revocation_changes_the_content_keys(server: Server, stocked: Car, tmp_path: Path) -> None:
    other = enrol(server, tmp_path / "car", "car-8", "8")
    name = "hotlist-lpdf.bin"
    wrapped = wire.Wraps.model_validate_json(target(other, "wraps-car-8.json")).targets[name]
    old = crypto.unwrap_key(wrapped, purpose=name, key=other.wrap_key)
    TargetReader(target(stocked, name), name=name, key=old)
    run(server.home, "vehicles", "revoke", "--vehicle", "car-8", "--by", "supervisor")
    assert opened_list(stocked, name)
    with pytest.raises(EnvelopeError):
        TargetReader(target(stocked, name), name=name, key=old)
    assert fetch_target(stocked, "wraps-car-8.json") is None


def test_older_list_is_held_and_unusable_file_refused(
    server: Server, stocked: Car, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HOTLIST)
    base = ("lists", "import", str(path), "--list", "lpdf", "--source", "LPDF", "--by", "s")
    old = run(server.home, *base, "--supplied-at", "2026-01-01T00:00:00Z", check=False)
    assert old.returncode == 3, "held for a person; see test_gate.py"
    for content in (
        b"nonsense\n",
        b"\xff\xfe\x00",
        b"plate,state,type,category,source,entered,text\n",
    ):
        path.write_bytes(content)
        foul = run(server.home, *base, "--supplied-at", "2026-11-22T00:00:00Z", check=False)
        assert foul.returncode == 1, foul
    assert "SUS9911" in opened_list(stocked, "hotlist-lpdf.bin")[1]


def test_list_without_a_usable_line_says_why(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    base = ("lists", "import", str(path), "--list", "x", "--source", "LPDF", "--by", "s")
    head = HOTLIST.splitlines()[0]
    path.write_text(f"{head}\nBAD001,QQ,,stolen,LPDF,,\n" + "BAD003,MN,,,LPDF,,\n" * 12)
    done = run(server.home, *base, "--supplied-at", "2026-11-01", check=False)
    assert done.returncode == 1
    assert "\n  line 2: unknown state\n  line 3: no category or code" in done.stderr
    assert "line 11: " in done.stderr
    assert "line 12: " not in done.stderr
    assert "and 3 more lines" in done.stderr
    assert "docs/hotlist-format.md" in done.stderr
    assert "BAD" not in done.stderr
    path.write_text(f"{head}\n")
    done = run(server.home, *base, "--supplied-at", "2026-11-01", check=False)
    assert "no line follows the header" in done.stderr


@pytest.mark.parametrize("name", ["Bad Name!", "", "../keys", "x" * 65, "lpdf\n"])
def test_impossible_name_of_a_list_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HOTLIST)
    done = run(
        server.home, "lists", "import", str(path), "--list", name, "--source", "LPDF",
        "--supplied-at", "2026-11-01", "--by", "s", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: --list: ")
    assert "letters, digits" in done.stderr


def test_list_of_the_future_is_refused_with_a_remedy(
    server: Server, stocked: Car, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HOTLIST)
    soon = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = run(
        server.home, "lists", "import", str(path), "--list", "lpdf", "--source", "LPDF",
        "--supplied-at", soon, "--by", "s", check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert soon in done.stderr
    remedy = done.stderr.partition("remedy: ")[2]
    assert "--supplied-at" in remedy
    assert "clock" in remedy


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[tuple[Path, list[datetime]]]:
    yield make_home(tmp_path / "home"), [datetime.now(UTC)]


def test_signatures_are_renewed_before_they_expire(
    clocked: tuple[Path, list[datetime]],
) -> None:
    """Two weeks of housekeeping, twice a day: the timestamp never has less than a day left."""
    from tuf.api.metadata import Metadata

    home, now = clocked
    with Central(home, lambda: now[0]) as central:
        for _ in range(28):
            now[0] += timedelta(hours=12)
            publish.publish(central)
            folder = home / "tuf" / "metadata"
            stamp: Any = Metadata.from_file(str(folder / "timestamp.json")).signed
            assert stamp.expires - now[0] >= timedelta(hours=23)
            shot = Metadata.from_file(
                str(folder / f"{stamp.snapshot_meta.version}.snapshot.json")
            ).signed
            assert shot.expires - now[0] >= timedelta(days=3)


def test_rolled_back_repository_is_refused_by_the_car(server: Server, stocked: Car) -> None:
    folder = server.home / "tuf" / "metadata"
    before = (folder / "timestamp.json").read_bytes()
    add_person(server.home, "ada", "operator")
    run(server.home, "publish")
    target(stocked, wire.POLICY)
    after = (folder / "timestamp.json").read_bytes()
    try:
        (folder / "timestamp.json").write_bytes(before)
        with pytest.raises(BadVersionNumberError):
            fetch_target(stocked, wire.POLICY)
    finally:
        (folder / "timestamp.json").write_bytes(after)
    assert httpx.get(f"{server.page_url}/public/log").status_code == 200
