"""Imports from another agency: the original clock, a closed schema, links for old reads."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import jpeg
from hold_world import LIFE, START, WORDS, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from alprd.central.exchange import foreign, foreignpackage
from alprd.central.records import cases, confidentiality, exemptions, ledger
from alprd.central.searches import search
from alprd.central.storage import audit, db
from alprd.central.storage.audit import Event
from alprd.central.upkeep import retention
from alprd.errors import InputError, RefusedError

DAY = timedelta(days=1)
FACTS = "A grey van was seen at the burgled store at noon."


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    with made.central.database.read() as tx:
        audit.verify(tx)
        assert all(day.reconciles for day in ledger.days(tx)), ledger.days(tx)
    made.close()


def line(number: int, plate: str, at: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"X-{number}", "plate": plate, "state": "MN", "instant": at.isoformat(),
        "lat": 46.8172, "lon": -95.8454, "plate_picture": f"pictures/{number}.jpg", **changes,
    }  # fmt: skip


def package(path: Path, lines: list[Any], **changes: Any) -> Path:
    head = {
        "format": foreignpackage.FORMAT, "sender": "Example Police", "reference": "EP-26-7",
        "terms": "For case EP-26-7 only; destroyed 60 days after collection.",
        "made": START.isoformat(), **changes,
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("transfer.json", json.dumps(head))
        texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        out.writestr("reads.jsonl", "\n".join(texts))
        for number in range(1, 41):
            out.writestr(f"pictures/{number}.jpg", jpeg())
    return path


def take(world: World, path: Path, who: str = "sue", **more: Any) -> foreign.Report:
    return foreign.take(world.central, world.people[who], path, **more)


def look(world: World, plate: str, around: datetime) -> list[str]:
    request = search.Request(
        "26001234", "burglary", FACTS, WORDS, around - timedelta(hours=1),
        around + timedelta(hours=1), plate,
    )  # fmt: skip
    return [found.id for found in search.run(world.central, world.people["ida"], request)]


@pytest.mark.policy("R-460.5-3", "R-13.824-1-1", "R-460.5-4", "T-22")
def test_the_clock_runs_from_the_original_collection(world: World, tmp_path: Path) -> None:
    at = START - 59 * DAY
    path = package(tmp_path / "a.zip", [line(1, "FRN1001", at), line(2, "FRN1002", START)])
    report = take(world, path)
    assert [(one.line, one.outcome) for one in report.lines] == [(1, "stored"), (2, "stored")]
    assert len(look(world, "FRN1001", at)) == 1
    with world.central.database.read() as tx:
        row = tx.execute(select(db.reads).where(db.reads.c.vehicle.startswith("import-"))).first()
        assert row is not None and row.classification == "private"
        event = next(e for e in audit.events(tx) if e.event == Event.TRANSFER_IMPORTED)
    assert (event.detail["sender"], event.detail["reference"]) == ("Example Police", "EP-26-7")
    assert len(event.subjects) == 3
    world.now = at + LIFE
    retention.purge(world.central)
    assert look(world, "FRN1001", at) == []
    assert len(look(world, "FRN1002", START)) == 1
    (transfer,) = foreign.register(world.central, world.people["sue"])
    assert (transfer["stored"], transfer["received_by"]) == (2, "sue")


@pytest.mark.policy("R-460.5-3", "R-460.4.1-a")
def test_every_unusable_line_is_told_and_the_others_come_in(world: World, tmp_path: Path) -> None:
    lines: list[Any] = [
        line(1, "FRN1003", START),
        line(2, "FRN1004", START, confidence=0.9),  # no permitted field
        {k: v for k, v in line(3, "FRN1005", START).items() if k != "instant"},
        line(4, "FRN1006", START, instant="2026-01-01T10:00:00"),  # no zone
        line(5, "FRN1007", START + DAY),
        line(6, "FRN1008", START - LIFE - timedelta(hours=1)),
        line(7, "FRN1009", START, plate_picture="../../etc/passwd"),
        line(8, "FRN1010", START, plate_picture="pictures/none.jpg"),
        line(9, "frn 1011", START),
        line(1, "FRN1003", START),
        "{",
        line(12, "FRN1012", START, state="ZZ"),
    ]
    report = take(world, package(tmp_path / "a.zip", lines))
    told = {one.line: (one.outcome, one.reason) for one in report.lines}
    assert told[1] == ("stored", "")
    assert {one.outcome for one in report.lines[1:]} == {"refused"}
    for number, says in ((2, "confidence"), (3, "instant"), (4, "instant"), (5, "future"),
                         (6, "60 days"), (7, "name"), (8, "missing"), (9, "text"),
                         (10, "twice"), (11, "JSON"), (12, "state")):  # fmt: skip
        assert says in told[number][1], told[number]
    assert not any("FRN" in one.reason for one in report.lines)


@pytest.mark.policy("R-460.5-3")
def test_a_package_that_comes_twice_doubles_nothing(world: World, tmp_path: Path) -> None:
    lines = [line(number, f"FRN11{number:02}", START) for number in range(1, 31)]
    path = package(tmp_path / "a.zip", lines)

    class CutError(Exception):
        pass

    def cut(done: int) -> None:
        raise CutError

    with pytest.raises(CutError):  # after the first part was committed
        take(world, path, progress=cut)
    report = take(world, path)
    assert (report.count("known"), report.count("stored")) == (foreign.PART, 30 - foreign.PART)
    assert take(world, path).count("known") == 30
    lines[0] = line(1, "OTH9999", START)
    again = take(world, package(tmp_path / "b.zip", lines))
    assert again.lines[0].outcome == "refused" and "another plate" in again.lines[0].reason
    with world.central.database.read() as tx:
        assert len(tx.execute(select(db.reads)).all()) == 30
    assert retention.purge(world.central).orphans == 0


@pytest.mark.policy("R-460.5-3", "R-460.5-5")
def test_what_is_old_comes_under_a_link_that_another_person_approved(
    world: World, tmp_path: Path
) -> None:
    central, sue, sam = world.central, world.people["sue"], world.people["sam"]
    old = START - 100 * DAY
    path = package(tmp_path / "a.zip", [line(1, "FRN1201", old), line(2, "FRN1202", START)])
    link = foreign.ask_link(central, sue, path, case="26001234", relation=WORDS)
    with pytest.raises(RefusedError, match="requested"):
        take(world, path, link=link.id)
    with pytest.raises(RefusedError, match="of his own"):
        cases.approve(central, sue, link.id, WORDS)
    cases.approve(central, sam, link.id, WORDS)
    other = package(tmp_path / "b.zip", [line(3, "FRN1203", old)])
    with pytest.raises(RefusedError, match="another package"):
        take(world, other, link=link.id)
    report = take(world, path, link=link.id)
    assert (report.count("stored"), report.linked) == (2, 1)
    for _ in range(2):  # the hour's key of an old read goes, the link's stays
        retention.purge(central)
        (kept,) = world.kept(link).values()
        assert kept == "FRN1201"
        assert look(world, "FRN1201", old) == []
    with central.database.read() as tx:
        row = tx.execute(select(db.reads).where(db.reads.c.destroy_by <= world.now)).one()
    assert row.classification == exemptions.CONFIDENTIAL
    (read,) = world.kept(link)
    cases.release(central, sam, link.id, WORDS)
    retention.purge(central)
    assert world.traces(read) == []


@pytest.mark.policy("R-460.5-b", "R-460.5-3")
def test_protected_plates_are_dropped_and_the_report_does_not_tell(
    world: World, tmp_path: Path
) -> None:
    confidentiality.enter(
        world.central, world.people["sue"], plates=["FRN1301"], received=world.now,
        verified_by="Records clerk", reference="AC-26-1",
    )  # fmt: skip
    lines = [line(1, "FRN1301", START), line(2, "FRN1302", START)]
    report = take(world, package(tmp_path / "a.zip", lines))
    assert {one.outcome for one in report.lines} == {"stored"}
    assert look(world, "FRN1301", START) == []
    assert len(look(world, "FRN1302", START)) == 1


@pytest.mark.policy("R-460.5-3")
def test_a_package_without_its_facts_is_refused_whole(world: World, tmp_path: Path) -> None:
    for name, changes in (("sender", {"sender": ""}), ("reference", {"reference": ""}),
                          ("terms", {"terms": ""}), ("format", {"format": "other"}),
                          ("extra", {"extra": 1})):  # fmt: skip
        with pytest.raises(InputError, match=name):
            take(world, package(tmp_path / f"{name}.zip", [line(1, "A", START)], **changes))
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="not a package"):
        take(world, tmp_path / "no.zip")
    with pytest.raises(RefusedError, match="role"):
        take(world, package(tmp_path / "x.zip", [line(1, "A", START)]), who="ida")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=300))
def test_no_line_of_whatever_bytes_crashes_the_reader(tmp_path: Path, data: bytes) -> None:
    path = package(tmp_path / "f.zip", [])
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("transfer.json", json.dumps({
            "format": foreignpackage.FORMAT, "sender": "Example", "reference": "EP-1",
            "terms": "For one case only.", "made": START.isoformat()}))  # fmt: skip
        out.writestr("reads.jsonl", data)
    with foreignpackage.Package(path) as opened:
        for parsed in opened.lines(lambda name: "0" * 32, "0" * 32):
            assert parsed.read is None and parsed.reason
