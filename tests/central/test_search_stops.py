"""Searches that would track a plate by accumulation stop for a legal basis (R-460.4.1-c, -c2)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import AGENCY, make_read
from hold_world import START, WORDS, World
from sqlalchemy import select

from alprd import crypto
from alprd.central.grounds import legalbasis
from alprd.central.oversight import quality
from alprd.central.searches import pictureview, search
from alprd.central.staff import notices
from alprd.central.storage import audit
from alprd.central.storage.audit import Event
from alprd.central.storage.search_tables import searched
from alprd.central.upkeep import retention
from alprd.errors import InputError, RefusedError
from alprd.records import Position
from alprd.wire import AuditEvent

FACTS = "A grey van was seen at the burgled store at noon."
HOUR = timedelta(hours=1)
HERE = search.Place(46.8172, -95.8454, 200)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    with made.central.database.read() as tx:
        audit.verify(tx)
    made.close()


def asked(plate: str | None = None, **changes: Any) -> search.Request:
    values: dict[str, Any] = {
        "case": "26001234", "offence": "burglary", "facts": FACTS, "suspicion": WORDS,
        "since": START - HOUR, "until": START + HOUR, "plate": plate, **changes,
    }  # fmt: skip
    return search.Request(**values)


def look(world: World, plate: str | None = None, who: str = "ida", **changes: Any) -> list[str]:
    done = search.run(world.central, world.people[who], asked(plate, **changes))
    return [found.id for found in done]


def at(world: World, plate: str, lat: float, **changes: Any) -> str:
    """Store a read at a latitude."""
    read, _ = world.envelope(plate, world.now)
    read = make_read(plate, at=world.now, id=read.id, position=Position(lat=lat, lon=-95.8454))
    return store(world, read)


def store(world: World, read: Any) -> str:
    day = read.instant.date().isoformat()
    point = next(k.key for k in world.central.keystore.intake_public() if k.day == day)
    key = crypto.public_from_bytes(base64.urlsafe_b64decode(point))
    sealed = crypto.seal_read(read, agency=AGENCY, vehicle="car-1", intake_key=key)
    assert world.send(read, sealed) == "stored"
    return str(read.id)


def events(world: World, kind: Event) -> list[AuditEvent]:
    with world.central.database.read() as tx:
        return [event for event in audit.events(tx) if event.event == kind.value]


@pytest.mark.policy("R-460.4.1-c2", "T-20")
def test_the_third_search_of_a_plate_by_anyone_stops_before_its_results(world: World) -> None:
    read = world.store("ACU1001")
    assert look(world, "ACU1001") == [read]
    assert look(world, "acu-1oo1", who="sue") == []  # the same fold: O for 0, I for 1
    with pytest.raises(search.StoppedError, match="30 days") as stopped:
        look(world, "ACU1001", who="sam")
    assert stopped.value.reasons == ("repeated",)
    event = events(world, Event.SEARCH_STOPPED)[-1]
    assert event.subjects == () and "results" not in event.detail
    assert world.central.trail.terms(event) == "ACU1001"
    assert "ACU1001" not in event.model_dump_json()
    waiting = notices.waiting(world.central, world.people["sue"])
    assert [(row["kind"], row["about"]) for row in waiting] == [("search_stopped", "sam")]
    with pytest.raises(RefusedError, match="of his own"):
        notices.answer(world.central, world.people["sam"], waiting[0]["id"], "It was mine.")
    notices.answer(world.central, world.people["sue"], waiting[0]["id"], "Talked with Sam.")
    assert notices.waiting(world.central, world.people["sue"]) == []
    assert look(world, "ACU1002") == []  # another plate is another matter


@pytest.mark.policy("R-460.4.1-c2", "R-AT-4")
def test_thirty_days_later_a_plate_counts_anew_and_no_digest_is_left(world: World) -> None:
    for _ in range(2):
        look(world, "ACU1003")
    world.now += timedelta(days=30, hours=1)
    look(world, "ACU1003")
    retention.purge(world.central)
    with world.central.database.read() as tx:
        assert len(tx.execute(select(searched)).all()) == 1


@pytest.mark.policy("R-460.4.1-c2")
def test_partial_plates_are_no_way_around(world: World) -> None:
    read = world.store("ACU1004")
    assert look(world, "ACU?004") == [read]
    assert look(world, "*1004") == [read]
    with pytest.raises(search.StoppedError):
        look(world, "ACU1004")
    with pytest.raises(search.StoppedError):
        look(world, "AC*04")
    assert look(world, "XYZ*") == []


@pytest.mark.policy("R-13.824-7-2")
def test_partial_plates_are_found_inside_the_window_only(world: World) -> None:
    mine, other = world.store("PRT5512"), world.store("PRT5599")
    world.store("PRT5513", START - timedelta(hours=2))
    assert look(world, "PRT55?2") == [mine]
    assert sorted(look(world, "P?T55*")) == sorted([mine, other])
    with pytest.raises(RefusedError, match="too little"):
        look(world, "P*")


@pytest.mark.policy("R-460.4.1-c2")
def test_one_plate_at_two_places_stops(world: World) -> None:
    at(world, "ACU1005", 46.8172)
    assert len(look(world, "ACU1005")) == 1
    at(world, "ACU1005", 46.8272)  # 1.1 km on
    with pytest.raises(search.StoppedError, match="more than one place"):
        look(world, "ACU1005")


@pytest.mark.policy("R-460.4.1-c2")
def test_a_read_without_a_place_cannot_be_said_to_be_at_the_same_one(world: World) -> None:
    at(world, "ACU1006", 46.8172)
    store(world, make_read("ACU1006", at=world.now, position=None))
    with pytest.raises(search.StoppedError, match="more than one place"):
        look(world, "ACU1006")


@pytest.mark.policy("R-460.4.1-c2")
def test_a_window_over_24_h_stops(world: World) -> None:
    with pytest.raises(search.StoppedError, match="24 h"):
        look(world, "ACU1007", since=START - timedelta(hours=24))
    with pytest.raises(RefusedError, match="60 days"):
        look(world, "ACU1007", since=START - timedelta(days=60))


def warrant(world: World, plate: str, **changes: Any) -> legalbasis.Basis:
    values: dict[str, Any] = {
        "case": "26001234", "plate": plate, "court": "Seventh District", "number": "W-26-11",
        "issued": START - HOUR, "expires": START + timedelta(days=5),
        "scope": f"Reads of the van {plate} from January on.", **changes,
    }  # fmt: skip
    return legalbasis.enter_warrant(world.central, world.people["ida"], **values)


@pytest.mark.policy("R-460.4.1-c", "R-460.4.1-c2")
def test_a_warrant_carries_the_search_until_it_expires(world: World) -> None:
    read = world.store("ACU1008")
    basis = warrant(world, "ACU1008")
    assert basis.warrant is not None and "ACU1008" not in basis.warrant.scope
    wide: dict[str, Any] = {"since": START - timedelta(days=3), "basis": basis.id}
    for _ in range(4):
        assert look(world, "ACU1008", **wide) == [read]
    assert events(world, Event.SEARCHED)[-1].detail["basis"] == basis.id
    with pytest.raises(search.StoppedError):
        look(world, "ACU1009", **wide)  # another plate
    with pytest.raises(RefusedError, match="another case"):
        look(world, "ACU1008", case="26009999", **wide)
    world.now = START + timedelta(days=5)
    with pytest.raises(RefusedError, match="ended"):
        look(world, "ACU1008", **wide)
    with pytest.raises(RefusedError, match="not in force"):
        warrant(world, "ACU1008", expires=START + timedelta(days=4))
    with pytest.raises(RefusedError, match="court"):
        warrant(world, "ACU1008", court="", expires=START + timedelta(days=9))
    kinds = [row["kind"] for row in notices.waiting(world.central, world.people["sue"])]
    assert "warrant_entered" in kinds


@pytest.mark.policy("R-460.4.1-c", "R-460.4.1-c2")
def test_exigent_circumstances_are_found_by_another_and_end_after_a_day(world: World) -> None:
    central, ida, sue = world.central, world.people["ida"], world.people["sue"]
    read = world.store("ACU1010")
    with pytest.raises(RefusedError, match="carry"):
        legalbasis.ask_exigency(
            central, ida, case="26001234", plate="ACU1010", facts=WORDS, at=START - 2 * 24 * HOUR
        )
    basis = legalbasis.ask_exigency(
        central, sue, case="26001234", plate="ACU1010", facts=WORDS, at=START
    )
    wide: dict[str, Any] = {"since": START - timedelta(days=3), "basis": basis.id}
    with pytest.raises(RefusedError, match="requested"):
        look(world, "ACU1010", **wide)
    with pytest.raises(RefusedError, match="of his own"):
        legalbasis.decide(central, sue, basis.id, found=True, reason=WORDS)
    with pytest.raises(RefusedError, match="role"):
        legalbasis.decide(central, ida, basis.id, found=True, reason=WORDS)
    legalbasis.decide(central, world.people["sam"], basis.id, found=True, reason=WORDS)
    assert look(world, "ACU1010", **wide) == [read]
    with pytest.raises(RefusedError, match="no review"):
        legalbasis.review(central, world.people["sam"], basis.id, WORDS)
    world.now = START + 24 * HOUR
    with pytest.raises(RefusedError, match="ended"):
        look(world, "ACU1010", **wide)
    with pytest.raises(RefusedError, match="of his own"):
        legalbasis.review(central, sue, basis.id, WORDS)
    legalbasis.review(central, world.people["sam"], basis.id, WORDS)
    row = legalbasis.register(central, world.people["sam"])[0]
    assert (row.stands(world.now), row.review_due(world.now)) == ("ended", False)
    assert legalbasis.register(central, ida) == []  # a searcher sees his own


@pytest.mark.policy("R-13.824-7-2", "R-460.6-b", "T-3")
def test_a_search_names_a_plate_or_a_place_and_its_purpose_is_criminal(world: World) -> None:
    with pytest.raises(RefusedError, match="neither a plate nor a place"):
        look(world)
    with pytest.raises(RefusedError, match="radius"):
        look(world, place=search.Place(46.8, -95.8, 60_000))
    with pytest.raises(RefusedError, match="county attorney"):
        look(world, "ACU1011", purpose="civil")
    with pytest.raises(RefusedError, match="says the same"):
        look(world, "ACU1011", suspicion=FACTS)
    here, far = at(world, "PLC1001", 46.8172), at(world, "PLC1002", 46.9)
    nowhere = store(world, make_read("PLC1003", at=world.now, position=None))
    assert look(world, place=HERE) == [here]
    assert sorted(look(world, place=HERE, unplaced=True)) == sorted([here, nowhere])
    assert far not in look(world, place=HERE)


@pytest.mark.policy("R-13.824-7-2")
def test_a_text_that_served_another_case_is_refused(world: World) -> None:
    look(world, "ACU1012")
    look(world, "ACU1012")  # the same case may be searched with the same words
    with pytest.raises(RefusedError, match="another case"):
        look(world, "ACU1013", case="26005678")
    with pytest.raises(RefusedError, match="another case"):  # not even in the other field
        look(world, "ACU1013", case="26005678", facts=WORDS, suspicion="It may be the same van.")
    assert [e.detail["reason"] for e in events(world, Event.SEARCH_REFUSED)] == [
        "canned_facts", "canned_facts"
    ]  # fmt: skip


@pytest.mark.policy("R-13.824-7-2", "R-AT-1")
def test_a_picture_is_an_access_of_its_own(world: World) -> None:
    central, ida = world.central, world.people["ida"]
    read = world.store("PIC1001")
    done = search.answer(central, ida, asked("PIC1001"))
    shown = pictureview.of_search(central, ida, done.seq, read)
    assert shown.plate.startswith(b"\xff\xd8") and shown.wide.startswith(b"\xff\xd8")
    event = events(world, Event.PICTURE_VIEWED)[-1]
    assert (event.actor, event.subjects) == ("ida", (read,))
    assert event.detail["case"] == "26001234"
    for person, seq, name in (
        ("sue", done.seq, read),
        ("ida", done.seq, "f" * 32),
        ("ida", 1, read),
    ):
        with pytest.raises(RefusedError, match="not a result"):
            pictureview.of_search(central, world.people[person], seq, name)
    world.now += timedelta(hours=12)
    with pytest.raises(RefusedError, match="not a result"):
        pictureview.of_search(central, ida, done.seq, read)


@pytest.mark.policy("R-13.824-7-2")
def test_the_monthly_sample_is_drawn_once_and_judged_by_another(world: World) -> None:
    central = world.central
    for number in range(12):
        look(world, f"SMP10{number:02}")
    with pytest.raises(InputError, match="not over"):
        quality.sample(central, world.people["sue"], "2026-01")
    world.now = START + timedelta(days=40)
    drawn = quality.sample(central, world.people["sue"], "2026-01")
    assert len(drawn) == 10 and {row["facts"] for row in drawn} == {FACTS}
    again = quality.sample(central, world.people["sam"], "2026-01")
    assert [row["seq"] for row in again] == [row["seq"] for row in drawn]
    with pytest.raises(InputError, match="note"):
        quality.judge(central, world.people["sue"], drawn[0]["seq"], "poor", "")
    quality.judge(central, world.people["sue"], drawn[0]["seq"], "poor", "Says nothing of why.")
    with pytest.raises(RefusedError, match="already"):
        quality.judge(central, world.people["sam"], drawn[0]["seq"], "good", "")
    with pytest.raises(RefusedError, match="role"):
        quality.judge(central, world.people["ida"], drawn[1]["seq"], "good", "")
    row = quality.sample(central, world.people["sam"], "2026-01")[0]
    assert (row["finding"], row["note"]) == ("poor", "Says nothing of why.")
