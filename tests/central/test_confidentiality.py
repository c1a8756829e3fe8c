"""Address-confidentiality requests: destroyed everywhere, deferred only for a link, private."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hold_world import LIFE, START, WORDS, World
from sqlalchemy import insert, select

from alprd.central.fleet import vehicles
from alprd.central.public import publiclog
from alprd.central.records import cases, confidentiality, confidentialstore, protected
from alprd.central.records.confidentialstore import Asked
from alprd.central.searches import search
from alprd.central.staff import people
from alprd.central.storage import audit, db, vault
from alprd.central.storage.audit import Event
from alprd.central.trail import trailview
from alprd.central.upkeep import retention, status
from alprd.errors import InputError, RefusedError
from alprd.wire import CarHealth, Person

PLATE = "SAH4410"
DAY = timedelta(days=1)
FACTS = "A grey van was seen at the burgled store at noon."


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    with made.central.database.read() as tx:
        audit.verify(tx)
    made.close()


def enter(world: World, *plates: str, **changes: Any) -> Asked:
    values: dict[str, Any] = {
        "plates": plates or (f"{PLATE}/MN",), "received": world.now,
        "verified_by": "Records clerk", "reference": "AC-26-1", **changes,
    }  # fmt: skip
    return confidentiality.enter(world.central, world.people["sue"], **values)


def row_of(world: World, request: str) -> Asked:
    rows = confidentiality.listing(world.central, world.people["sue"])
    return next(row for row in rows if row.id == request)


def look(world: World, plate: str) -> search.Answer:
    request = search.Request(
        "26001234", "burglary", FACTS, WORDS, START - DAY / 2, START + DAY / 2, plate
    )
    return search.answer(world.central, world.people["ida"], request)


def health(world: World, version: int, oldest: Any = None) -> None:
    """What the car reports."""
    said = CarHealth(
        agency="becker", vehicle="car-1", at=world.now, at_trusted=True, version="1", uptime_s=1,
        collecting=False, problems=(), warnings=(), cameras=(), gps_fix=True, gps_age_s=1,
        system_error_s=0, disk_free_bytes_at_least=1, oldest_destroy_by=oldest,
        lists={"targets": version}, **rest(),
    )  # fmt: skip
    with world.central.database.write() as tx:
        tx.execute(db.car_health.delete())
        tx.execute(
            insert(db.car_health).values(
                vehicle="car-1", received_at=world.now, document=said.model_dump_json()
            )
        )


def rest() -> dict[str, Any]:
    """Fields of the report that later versions added without a default."""
    known = {
        "agency", "vehicle", "at", "at_trusted", "version", "uptime_s", "collecting", "problems",
        "warnings", "cameras", "gps_fix", "gps_age_s", "system_error_s",
        "disk_free_bytes_at_least", "oldest_destroy_by", "lists",
    }  # fmt: skip
    fields = CarHealth.model_fields
    return {n: 0 for n, field in fields.items() if field.is_required() and n not in known}


@pytest.mark.policy("R-460.5-b", "T-10")
def test_what_is_held_is_destroyed_and_what_comes_is_dropped(world: World) -> None:
    central = world.central
    mine, other = world.store(PLATE), world.store("OTH4410")
    misread = world.store("5AH44I0")  # look-alikes: S for 5, 1 for I
    before = central.keystore.open_read_keys([mine])[mine]
    with central.database.read() as tx:
        old = tx.execute(select(db.reads).where(db.reads.c.id == mine)).one()
    row = enter(world)
    assert {(one.store, one.reads) for one in row.receipts} == {
        ("database", 2), ("keystore", 2), ("pictures", 2), ("terms", 0)
    }  # fmt: skip
    assert PLATE not in json.dumps([one.model_dump(mode="json") for one in row.receipts])
    keys = central.keystore.open_read_keys([mine, other, misread])
    assert keys[mine] != before  # what a backup holds opens with no key that exists
    with central.database.read() as tx:
        for name in (mine, misread):
            now = tx.execute(select(db.reads).where(db.reads.c.id == name)).one()
            assert vault.open_cell(now, keys[name]) is None
        with pytest.raises(Exception, match="altered or is under another key"):
            vault.open_cell(old, keys[mine])
    late = world.store(PLATE)  # from the queue of a car that did not know
    with central.database.read() as tx:
        void = tx.execute(select(db.reads).where(db.reads.c.id == late)).one()
        assert vault.open_cell(void, central.keystore.open_read_keys([late])[late]) is None
    assert [found.id for found in look(world, "OTH4410").found] == [other]
    assert look(world, PLATE).found == []


@pytest.mark.policy("R-460.5-b", "T-5")
def test_typed_terms_that_name_the_plate_are_erased_and_the_events_stay(world: World) -> None:
    central = world.central
    searches = [look(world, typed).seq for typed in (PLATE, "SAH*", "OTH4411")]
    row = enter(world)
    assert [one.reads for one in row.receipts if one.store == "terms"] == [2]
    sue = world.people["sue"]
    for seq in searches[:2]:
        with pytest.raises(RefusedError, match="erased"):
            trailview.terms(central, sue, seq)
    assert trailview.terms(central, sue, searches[2]) == "OTH4411"
    with central.database.read() as tx:
        assert audit.verify(tx) > searches[2]
    for _ in range(2):  # neither did the digest of the plate stay
        look(world, PLATE)


@pytest.mark.policy("R-460.5-b")
def test_a_car_is_done_when_it_holds_nothing_from_before_it_knew(world: World) -> None:
    row = enter(world)
    assert [one.car for one in row.cars] == ["car-1"] and not row.complete
    world.now += DAY
    health(world, version=0)  # it was here, and did not get the new lists
    assert row_of(world, row.id).cars[0].told is None
    health(world, version=7, oldest=START + LIFE)
    waiting = row_of(world, row.id).cars[0]
    assert waiting.told == world.now
    world.now += DAY
    health(world, version=7, oldest=START + LIFE)
    assert row_of(world, row.id).cars
    health(world, version=7, oldest=waiting.told + LIFE)
    done = row_of(world, row.id)
    assert done.complete
    assert done.receipts[-1].store == "car car-1" and "nothing from before" in done.receipts[-1].how


@pytest.mark.policy("R-460.5-b", "R-460.5-2b")
def test_an_offline_car_stays_on_the_list_until_every_read_is_past_its_life(world: World) -> None:
    row = enter(world)
    world.now += 8 * DAY
    (due,) = confidentiality.listing(world.central, world.people["sue"], due=True)
    assert due.id == row.id
    world.now = START + LIFE
    assert not row_of(world, row.id).complete
    world.now += timedelta(hours=1)
    assert "past its destroy-by" in row_of(world, row.id).receipts[-1].how


@pytest.mark.policy("R-460.5-b", "R-460.5-b3", "T-11")
def test_only_a_link_or_hold_defers_and_its_end_destroys(world: World) -> None:
    central, sue = world.central, world.people["sue"]
    mine, free = world.store(PLATE), world.store(PLATE)
    link = cases.ask(central, world.people["ida"], case="26001234", relation=WORDS, reads=[mine])
    link = cases.approve(central, sue, link.id, WORDS)
    row = enter(world)
    assert [(one.kind, one.number, one.reads) for one in row.deferred] == [("case", "26001234", 1)]
    assert row.deferred[0].review == link.due
    assert world.kept(link) == {mine: PLATE}
    assert look(world, PLATE).found == []
    cases.release(central, sue, link.id, WORDS)
    row = row_of(world, row.id)
    assert row.deferred == ()
    retention.purge(central)
    keys = central.keystore.open_read_keys([mine, free])
    with central.database.read() as tx:
        for one in tx.execute(select(db.reads)):
            assert vault.open_cell(one, keys[one.id]) is None


@pytest.mark.policy("R-460.5-b6")
def test_a_request_ends_in_writing_only(world: World) -> None:
    central, sue = world.central, world.people["sue"]
    row = enter(world, PLATE, "SAH4411")
    with pytest.raises(InputError, match="reference"):
        confidentiality.remove(central, sue, row.id, "")
    with pytest.raises(InputError, match="does not have"):
        confidentiality.remove(central, sue, row.id, "AC-26-2", ["XXX1111"])
    confidentiality.remove(central, sue, row.id, "AC-26-2", ["SAH4411"])
    confidentiality.add_plates(central, sue, row.id, ["SAH4412"], "AC-26-3")
    with central.database.read() as tx:
        assert len(protected.suppressed_folds(central, tx)) == 2
    world.now += 3 * 366 * DAY  # nothing lapses by itself; the review list tells of it
    confidentiality.settle(central)
    with central.database.read() as tx:
        assert len(protected.suppressed_folds(central, tx)) == 2
        assert confidentiality.due_count(central, tx, world.now) == 1
    with central.database.write() as tx:  # the people of this world are trained for two years
        tx.execute(db.people.delete())
    sue = trained(world, "sue", "admin_supervisor")
    confidentiality.review(central, sue, row.id, world.now + DAY, "Asked, still takes part.")
    with central.database.read() as tx:
        assert confidentiality.due_count(central, tx, world.now) == 0
    confidentiality.remove(central, sue, row.id, "AC-29-1")
    with central.database.read() as tx:
        assert protected.suppressed_folds(central, tx) == frozenset()
    with pytest.raises(RefusedError, match="ended"):
        confidentiality.review(central, sue, row.id, world.now + DAY, "Too late.")


def trained(world: World, name: str, role: str) -> Person:
    return people.add(
        world.central, person_id=name, name=name, roles=[role], password="correct horse battery",
        training_expires=world.now + 300 * DAY, authorised_until=world.now + 300 * DAY,
        clearances=[], by=audit.CENTRAL,
    )  # fmt: skip


def test_recipients_of_releases_confirm(world: World) -> None:
    central, sue = world.central, world.people["sue"]
    row = enter(world)
    confidentiality.released_to(central, sue, row.id, "Example Police")
    assert confidentiality.listing(central, sue, due=True)
    with pytest.raises(InputError, match="no store"):
        confidentiality.confirm(central, sue, row.id, "release Another", "Letter of today.")
    made = confidentiality.confirm(
        central, sue, row.id, "release Example Police", "Letter of 2 January."
    )
    assert made.releases == () and made.receipts[-1].store == "release Example Police"


@pytest.mark.policy("R-460.5-b4")
def test_only_two_roles_see_requests(world: World) -> None:
    central = world.central
    enter(world)
    clerk = trained(world, "rec", "records")
    assert len(confidentiality.listing(central, clerk)) == 1
    assert {one["what"] for one in confidentiality.history(central, clerk)} == {"entered", "listed"}
    for name, role in (("aud", "auditor"), ("she", "sheriff"), ("adm", "alpr_admin"),
                       ("inv", "investigator")):  # fmt: skip
        with pytest.raises(RefusedError, match="role"):
            confidentiality.listing(central, trained(world, name, role))


def outputs(world: World) -> dict[str, Any]:
    """Everything general that tells of the store, as anybody with a general role sees it."""
    central = world.central
    aud = trained(world, "aud", "auditor")
    out = world.home.parent / f"{world.home.parent.name}.jsonl"
    trailview.export(central, aud, trailview.Filter(), out)
    told = [json.loads(line)["event"] for line in out.read_text().splitlines()]
    out.unlink()
    with central.database.read() as tx:
        rows = {table.name: len(tx.execute(select(table)).all()) for table in db.main.sorted_tables}
        sealed = [len(text) for text in tx.scalars(select(db.suppression.c.sealed))]
    collected = status.collect(central)
    for line in collected["ledger"]:
        line["session"] = ""  # random
    return {
        "status": {k: v for k, v in collected.items() if k != "at"},
        "cars": vehicles.listing(central),
        "log": publiclog.rows(central),
        "events": [(e["event"], len(e["subjects"]), sorted(e["detail"]), e["actor"]) for e in told],
        "rows": rows,
        "sealed": sealed,
        "pictures": sorted(
            (p.stat().st_size) for p in (world.home / "pictures").rglob("*") if p.is_file()
        ),
    }


@pytest.mark.policy("R-460.5-b4")
def test_nothing_general_tells_of_a_request_or_of_their_number(tmp_path: Path) -> None:
    """Two stores, alike but for what the supervisor did: looked, or entered requests."""
    told = []
    for requests in (0, 1, 5):
        place = tmp_path / str(requests)
        place.mkdir()
        world = World(place / "home")
        for plate in (PLATE, "SAH4411", "OTH4410"):
            world.store(plate)
        look(world, "OTH4410")
        for number in range(5):  # five acts in each world
            if number < requests:
                enter(world, f"SAH44{number + 10}")
            else:
                confidentiality.listing(world.central, world.people["sue"])
        confidentiality.settle(world.central)
        world.store("SAH4412")
        look(world, "OTH4410")
        told.append(outputs(world))
        with world.central.database.read() as tx:
            assert len(confidentialstore.load(world.central, tx)) == requests
        for path in world.home.rglob("*"):
            if path.is_file():
                assert b"SAH44" not in path.read_bytes(), path
        world.close()
    assert told[0] == told[1] == told[2]
    assert any(name == Event.REQUESTS_WORKED for name, *_ in told[0]["events"])
