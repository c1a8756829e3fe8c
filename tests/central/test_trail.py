"""The trail: any one change is found, anchors hold, the auditor sees it, somebody signs for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import audit_events
from hold_world import START, WORDS, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from alprd import crypto, wire
from alprd.audit import FIRST, digest
from alprd.central.fleet.vehicles import Vehicle
from alprd.central.oversight import weekly
from alprd.central.receiving import reports
from alprd.central.searches import search
from alprd.central.staff import notices, people
from alprd.central.storage import audit, db, trailheads
from alprd.central.storage.audit import Event
from alprd.central.trail import anchors, trailcheck, trailview
from alprd.errors import InputError, RefusedError, StoreError
from alprd.wire import AuditEvent, Person

FACTS = "A grey van was seen at the burgled store at noon."
DAY = timedelta(days=1)
BATCH = crypto.generate_key()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One store with events of central and of a car, and two anchors."""
    world = World(tmp_path_factory.mktemp("trail") / "home")
    busy(world)
    yield world
    world.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    made.close()


def busy(world: World) -> None:
    for number in range(4):
        look(world, f"TRL100{number}")
    anchors.daily(world.central)
    world.now += DAY
    vehicle = Vehicle("car-1", "1", "a" * 32, BATCH.public_key(), BATCH.public_key(), False)
    report = wire.AuditReport(agency="becker", vehicle="car-1", events=tuple(audit_events(6)))
    signed = crypto.sign_document("audit", report, BATCH)
    reports.accept_audit(world.central, vehicle, signed)
    anchors.daily(world.central)
    look(world, "TRL2001")
    look(world, "TRL2002")


def look(world: World, plate: str, who: str = "ida", **changes: Any) -> search.Answer:
    values: dict[str, Any] = {
        "case": "26001234", "offence": "burglary", "facts": FACTS, "suspicion": WORDS,
        "since": START - timedelta(hours=1), "until": START, "plate": plate, **changes,
    }  # fmt: skip
    return search.answer(world.central, world.people[who], search.Request(**values))


def add(world: World, name: str, role: str) -> Person:
    return people.add(
        world.central, person_id=name, name=name, roles=[role], password="correct horse battery",
        training_expires=START + 700 * DAY, authorised_until=START + 700 * DAY, clearances=[],
        by=audit.CENTRAL,
    )  # fmt: skip


TABLES = {"central": db.audit, "car": db.car_events}


@pytest.mark.policy("R-AT-3")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_removing_editing_or_reordering_any_one_row_is_found(shared: World, data: Any) -> None:
    """R-AT-3: whichever row, whichever column, the newest included."""
    central = shared.central
    table = TABLES[data.draw(st.sampled_from(sorted(TABLES)), "chain")]
    with central.database.read() as tx:
        rows = tx.execute(select(table).order_by(table.c.seq)).all()
    row = data.draw(st.sampled_from(rows), "row")
    mine = table.c.seq == row.seq
    how = data.draw(st.sampled_from(("remove", "edit", "swap", "column", "rewrite")), "how")
    with central.database.write() as tx:
        if how == "remove":
            tx.execute(delete(table).where(mine))
        elif how == "edit":
            values = json.loads(row.document)
            field = data.draw(
                st.sampled_from(("at", "event", "actor", "actor_name", "role", "device",
                                 "subjects", "detail", "version", "local_offset", "address"))
            )  # fmt: skip
            values[field] = other(values.get(field, ""), field)
            tx.execute(update(table).where(mine).values(document=json.dumps(values)))
        elif how == "column":
            beside = [c for c in ("actor", "event", "digest") if c in table.c]
            column = data.draw(st.sampled_from(beside))
            tx.execute(update(table).where(mine).values({column: "0" * 64}))
        elif how == "swap":
            second = next(one for one in reversed(rows) if one.seq != row.seq)
            for seq, document in ((row.seq, second.document), (second.seq, row.document)):
                tx.execute(update(table).where(table.c.seq == seq).values(document=document))
        else:  # a new event in its place, and every digest after it reckoned anew
            rewrite(tx, table, rows, row.seq)
    try:
        result = trailcheck.verify(central)
        assert not result.whole, how
        assert any("event" in problem for problem in result.problems)
    finally:
        with central.database.write() as tx:
            tx.execute(delete(table))
            tx.execute(insert(table), [dict(one._mapping) for one in rows])
        assert trailcheck.verify(central).whole


def other(value: Any, field: str) -> Any:
    if field == "at":
        return (datetime.fromisoformat(value) + timedelta(seconds=1)).isoformat()
    if field == "subjects":
        return [*value, "x"]
    if field == "detail":
        return {**value, "results": 99}
    return "+01:00" if field == "local_offset" else f"{value}x"


def rewrite(tx: Any, table: Any, rows: Any, start: int) -> None:
    """What somebody with the whole database, but not the agency key, would do."""
    previous = FIRST
    for one in rows:
        event = AuditEvent.model_validate_json(one.document)
        if one.seq < start:
            previous = event.digest
            continue
        changes: dict[str, Any] = {"previous": previous}
        if one.seq == start:
            changes["detail"] = {"results": 7}
        event = event.model_copy(update=changes)
        event = event.model_copy(update={"digest": digest(event.model_dump(mode="json"))})
        previous = event.digest
        tx.execute(
            update(table)
            .where(table.c.seq == one.seq)
            .values(document=event.model_dump_json(), digest=event.digest)
        )


@pytest.mark.policy("R-AT-3")
def test_an_anchor_tells_of_a_rewriting_by_somebody_who_has_every_key(world: World) -> None:
    """R-AT-3: head and chain made anew with the agency key; only the anchor knows better."""
    busy(world)
    central = world.central
    with central.database.write() as tx:
        rows = tx.execute(select(db.audit).order_by(db.audit.c.seq)).all()
        rewrite(tx, db.audit, rows, 5)
        last = tx.execute(select(db.audit).order_by(db.audit.c.seq.desc()).limit(1)).one()
        trailheads.put(central.keystore, tx, trailheads.CENTRAL_CHAIN, last.seq, last.digest)
        audit.verify(tx)  # the chain alone is whole
    result = trailcheck.checked(central, add(world, "aud", "auditor"))
    (problem,) = result.problems
    assert "anchor of 2026-01-01" in problem
    assert "trail_broken" in [n["kind"] for n in notices.waiting(central, world.people["sue"])]


@pytest.mark.policy("R-AT-3")
def test_anchors_are_made_daily_once_and_their_loss_is_found(world: World) -> None:
    central = world.central
    assert anchors.daily(central) and not anchors.daily(central)
    for _ in range(2):
        world.now += DAY
        assert anchors.daily(central)
    result = trailcheck.verify(central)
    assert (result.whole, result.anchors, result.apart) == (True, 3, False)
    paths = [path for path, _ in anchors.every(central)]
    kept = paths[1].read_bytes()
    paths[1].unlink()
    assert "missing before" in trailcheck.verify(central).problems[0]
    paths[1].write_bytes(kept.replace(b"becker", b"becket"))
    assert "forged" in trailcheck.verify(central).problems[0]
    paths[1].write_bytes(kept)
    paths[2].unlink()
    assert "1 anchor(s)" in trailcheck.verify(central).problems[0]
    stranger = crypto.generate_key().public_key()
    key = base64.urlsafe_b64encode(crypto.public_bytes(stranger)).decode()
    assert "forged" in trailcheck.verify(central, key).problems[0]


@pytest.mark.policy("R-AT-3")
def test_an_anchor_cut_off_before_its_event_is_taken_up_again(world: World) -> None:
    central = world.central
    anchors.daily(central)
    with central.database.write() as tx:  # the power went before the event was committed
        last = tx.scalar(select(db.audit.c.seq).order_by(db.audit.c.seq.desc()).limit(1))
        before = tx.execute(select(db.audit).where(db.audit.c.seq == last - 1)).one()
        tx.execute(delete(db.audit).where(db.audit.c.seq == last))
        trailheads.put(central.keystore, tx, trailheads.CENTRAL_CHAIN, before.seq, before.digest)
    path = next(path for path, _ in anchors.every(central))
    data = path.read_bytes()
    assert anchors.daily(central)
    assert path.read_bytes() == data
    assert trailcheck.verify(central).whole


@pytest.mark.policy("R-AT-3")
def test_a_store_of_anchors_that_cannot_be_written_is_told(world: World) -> None:
    central = world.central
    (world.home / "anchors").write_text("in the way")
    for _ in range(2):
        with pytest.raises(StoreError):
            anchors.daily(central)
    waiting = notices.waiting(central, world.people["sue"])
    assert [n["kind"] for n in waiting] == ["anchor_failed"]
    with central.database.read() as tx:
        assert [e.event for e in audit.events(tx)].count(Event.ANCHOR_FAILED) == 1


@pytest.mark.policy("R-AT-2")
def test_an_event_says_who_when_where_what_and_on_what_basis(world: World) -> None:
    mark = audit.ADDRESS.set("192.0.2.7")
    try:
        done = look(world, "FLD1001")
    finally:
        audit.ADDRESS.reset(mark)
    with world.central.database.read() as tx:
        event = next(e for e in audit.events(tx) if e.seq == done.seq)
    assert (event.actor, event.actor_name, event.role) == ("ida", "ida", "investigator")
    assert (event.at, event.local_offset) == (START, "-06:00")
    assert event.address == "192.0.2.7" and event.device
    assert event.detail["case"] == "26001234" and event.detail["results"] == 0
    assert event.version


@pytest.mark.policy("R-AT-1", "R-AT-4")
def test_the_auditor_searches_the_trail_and_opens_terms_and_both_are_recorded(
    world: World, tmp_path: Path
) -> None:
    central, aud = world.central, add(world, "aud", "auditor")
    busy(world)
    done = look(world, "TRM1001", place=search.Place(46.8, -95.8, 200))
    found = trailview.search(central, aud, trailview.Filter(person="ida", event="search")).lines
    assert {line.event.event for line in found} == {"search.done"}
    assert found[0].event.seq == done.seq and found[0].terms
    assert trailview.terms(central, aud, done.seq) == "TRM1001 @ 46.80000,-95.80000 200"
    with pytest.raises(RefusedError, match="role"):
        trailview.terms(central, world.people["ida"], done.seq)
    with pytest.raises(RefusedError, match="role"):
        trailview.search(central, world.people["ida"], trailview.Filter())
    with pytest.raises(InputError, match="no typed term"):
        trailview.terms(central, aud, 1)
    cars = trailview.search(central, aud, trailview.Filter(event="daemon.started")).lines
    assert {line.chain for line in cars} == {f"car:car-1:{'a' * 32}"}
    day = trailview.Filter(since=START + DAY, until=START + 2 * DAY, cars=False)
    assert all(line.event.at >= START + DAY for line in trailview.search(central, aud, day).lines)
    for name in ("trail.csv", "trail.jsonl"):
        told = trailview.export(central, aud, trailview.Filter(), tmp_path / name)
        data = (tmp_path / name).read_bytes()
        assert crypto.sha256_hex(data) == told["sha256"]
        assert b"TRM1001" not in data
    with pytest.raises(InputError, match="exists"):
        trailview.export(central, aud, trailview.Filter(), tmp_path / "trail.csv")
    mine = trailview.search(central, aud, trailview.Filter(person="aud", event="audit")).lines
    assert {line.event.event for line in mine} == {
        Event.TRAIL_SEARCHED, Event.TERMS_VIEWED, Event.TRAIL_EXPORTED
    }  # fmt: skip


@pytest.mark.policy("R-AT-7", "R-CJIS-4")
def test_the_weekly_report_tells_of_exceptions_and_is_signed_by_another(world: World) -> None:
    central = world.central
    sue, sam = world.people["sue"], world.people["sam"]
    world.now = START.replace(hour=8)  # 02:00 in Minnesota
    for _ in range(2):
        look(world, "WKL1001", who="sue")
    with pytest.raises(search.StoppedError):
        look(world, "WKL1001", who="sue")
    with pytest.raises(RefusedError):
        look(world, "WKL1002", facts="because")
    with pytest.raises(InputError, match="no report"):
        weekly.sign(central, sam, "2026-W01", "Looked at all.")
    world.now = START + 5 * DAY
    assert weekly.keep_up(central) == ["2026-W01"]
    assert weekly.keep_up(central) == []
    (made,) = weekly.reports(central, sam)
    kinds = {(f.kind, f.person): f.count for f in made.report.findings}
    assert kinds == {
        ("odd_hours", "sue"): 3, ("stopped_searches", "sue"): 1, ("poor_reasons", "ida"): 1
    }  # fmt: skip
    with pytest.raises(RefusedError, match="of his own"):
        weekly.sign(central, sue, "2026-W01", "Looked at all.")
    with pytest.raises(RefusedError, match="role"):
        weekly.sign(central, world.people["ida"], "2026-W01", "Looked at all.")
    with pytest.raises(InputError, match="note"):
        weekly.sign(central, sam, "2026-W01", "")
    world.now += 14 * DAY
    assert weekly.keep_up(central) == ["2026-W02", "2026-W03"]
    late = weekly.reports(central, sam)[0]
    assert ("unsigned_report", "2026-W01") in [(f.kind, f.detail) for f in late.report.findings]
    weekly.sign(central, sam, "2026-W01", "Sue worked the burglary that night.")
    row = weekly.reports(central, sam)[-1]
    assert (row.signed_by, row.note) == ("sam", "Sue worked the burglary that night.")
    with pytest.raises(RefusedError, match="already"):
        weekly.sign(central, sam, "2026-W01", "Again.")
