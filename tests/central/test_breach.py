"""The breach file and the alarms that begin it (§ 13.055)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import storekind
from hold_world import LIFE, START, WORDS, World, template
from office_world import Office
from sqlalchemy import select
from sqlalchemy.event import listen, remove

from alprd.central.fleet import wipes
from alprd.central.oversight import assessments, breach, breachlist, incident, todos
from alprd.central.oversight.incident import Elements
from alprd.central.staff import notices, people
from alprd.central.storage import audit, db
from alprd.central.storage.audit import Event
from alprd.central.storage.incident_tables import incidents
from alprd.central.trail import watch
from alprd.central.upkeep import retention
from alprd.errors import InputError, RefusedError

YES = Elements(acquired=True, not_public=True, compromised=True, good_faith=False)
NO = Elements(acquired=True, not_public=True, compromised=True, good_faith=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def world(source: Path, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home", source)
    yield made
    with made.central.database.read() as tx:
        audit.verify(tx)
    made.close()


def opened(world: World, kind: incident.Kind = "insider") -> incident.Incident:
    return breach.open_incident(world.central, world.people["sue"], kind, WORDS, world.now)


@pytest.mark.policy("R-13.055-1")
def test_the_decision_table() -> None:
    for values in itertools.product((False, True), repeat=4):
        elements = Elements(**dict(zip(Elements.model_fields, values, strict=True)))
        acquired, not_public, compromised, good_faith = values
        expected = (acquired, not_public, compromised, good_faith) == (True, True, True, False)
        assert elements.breach is expected


@pytest.mark.policy("R-13.055-2", "R-13.055-8", "R-460.6-d", "T-9")
def test_affected_plates_come_from_the_trail_and_die_with_the_incident(world: World) -> None:
    world.store("BRE1001")
    world.store("BRE1002")
    world.found(START, "BRE1001")  # ida's look
    row = opened(world)
    window = (START - timedelta(hours=1), START + timedelta(hours=1))
    row = breachlist.affected(world.central, world.people["sue"], row.id, *window, actor="ida")
    assert row.affected is not None
    assert (row.affected.records, row.affected.plates) == (1, 1)
    assert breachlist.plates(world.central, world.people["sue"], row.id) == [
        {"plate": "BRE1001", "state": "MN", "day": "2026-01-01"}
    ]
    # The list outlives the reads, which die on time all the same.
    world.now = START + LIFE
    retention.purge(world.central)
    assert len(breachlist.plates(world.central, world.people["sue"], row.id)) == 1
    breach.decide(world.central, world.people["sue"], row.id, YES, WORDS)
    with pytest.raises(RefusedError, match="nobody was told"):
        breach.close(world.central, world.people["sue"], row.id, WORDS)
    breach.notified(world.central, world.people["sue"], row.id, 1, "first class mail")
    for item in ("contain", "preserve", "cjis", "referral", "owners", "report"):
        with pytest.raises(RefusedError, match="not done"):
            breach.close(world.central, world.people["sue"], row.id, WORDS)
        breach.mark(world.central, world.people["sue"], row.id, item, "reference 26-17")
    breach.close(world.central, world.people["sue"], row.id, WORDS)
    with pytest.raises(RefusedError, match="closed"):
        breachlist.plates(world.central, world.people["sue"], row.id)
    assert world.central.keystore.find_secret(f"incident:{row.id}") is None
    with world.central.database.read() as tx:
        assert tx.scalar(select(incidents.c.affected)) is None
    assert b"BRE1001" not in storekind.database_bytes(world.home)


@pytest.mark.policy("R-13.055-1")
def test_nobody_decides_about_himself_and_roles_are_kept(world: World) -> None:
    row = opened(world)
    window = (START - timedelta(hours=1), START + timedelta(hours=1))
    breachlist.affected(world.central, world.people["sam"], row.id, *window, actor="sue")
    with pytest.raises(RefusedError, match="himself"):
        breach.decide(world.central, world.people["sue"], row.id, YES, WORDS)
    with pytest.raises(RefusedError):
        breach.decide(world.central, world.people["ida"], row.id, YES, WORDS)
    made = breach.decide(world.central, world.people["sam"], row.id, NO, WORDS)
    assert made.state == "no_breach"
    assert breach.close(world.central, world.people["sam"], row.id, WORDS).state == "closed"


@pytest.mark.policy("R-13.055-3")
def test_a_delay_has_a_reason_and_is_looked_at_again(world: World) -> None:
    row = opened(world)
    sue = world.people["sue"]
    with pytest.raises(RefusedError, match="open"):
        breach.delay(world.central, sue, row.id, WORDS, START + timedelta(days=9))
    breach.decide(world.central, sue, row.id, YES, WORDS)
    with pytest.raises(InputError, match="90 days"):
        breach.delay(world.central, sue, row.id, WORDS, START + timedelta(days=91))
    made = breach.delay(world.central, sue, row.id, WORDS, START + timedelta(days=30))
    assert made.delay is not None
    assert (made.delay.decided_by, made.delay.reason) == ("sue", WORDS)


@pytest.mark.policy("R-13.055-2", "R-13.055-4")
def test_notice_and_report_say_what_the_law_asks_and_names_wait(world: World) -> None:
    row = opened(world)
    sue = world.people["sue"]
    breach.decide(world.central, sue, row.id, YES, WORDS)
    with pytest.raises(RefusedError, match="final disposition"):
        breach.report(world.central, sue, row.id)
    notice = incident.notice_text("Becker County", row, "records@becker.example", START)
    for phrase in ("report on the facts and results will be prepared", "by mail or email"):
        assert phrase in " ".join(notice.split())
    with pytest.raises(RefusedError, match="disposition"):
        breach.dispose(world.central, sue, row.id, WORDS)
    breach.dispose(world.central, sue, row.id, WORDS, "Ten days of suspension, final.", ("P. Roe",))
    text = breach.report(world.central, sue, row.id)
    assert "P. Roe" in text and WORDS in text and "Individuals" in text
    with world.central.database.read() as tx:  # of the one that was made, not of the refused one
        names = [event.event for event in audit.events(tx)]
    assert names.count(Event.INCIDENT_REPORTED.value) == 1


@pytest.mark.policy("R-13.055-5", "R-CJIS-7")
def test_the_checklist_grows_with_the_incident(world: World) -> None:
    row = opened(world, "contractor")
    items = dict(row.checklist())
    assert {"cjis", "contractor"} <= set(items) and "notice" not in items
    assert "BCA" in items["cjis"]
    breach.decide(world.central, world.people["sue"], row.id, YES, WORDS)
    told = breach.notified(world.central, world.people["sue"], row.id, 1001, "mail and email")
    assert "agencies" in dict(told.checklist())
    assert "notice" not in told.undone()
    few = told.model_copy(update={"notified": 1000})
    assert "agencies" not in dict(few.checklist())
    with pytest.raises(InputError, match="done"):
        breach.mark(world.central, world.people["sue"], row.id, "notice", "again")


@pytest.mark.policy("R-13.055-6")
def test_the_yearly_assessment_is_entered_and_the_next_is_told_in_time(world: World) -> None:
    """R-13.055-6: from the first day without one, a month ahead, and for as long as it is late."""
    sue, central = world.people["sue"], world.central

    def told(person: str = "sue") -> list[tuple[str, str]]:
        found = todos.for_person(central, world.people[person], world.now)
        return [(one.text, one.urgency) for one in found if one.link == assessments.PATH]

    assert told() == [("no yearly security assessment is on file", "now")]
    assert told("ida") == []
    for done_at, paper, words in (
        (START, b"", "empty"),
        (START + timedelta(days=1), b"Assessment", "future"),
    ):
        with pytest.raises(InputError, match=words):
            assessments.enter(central, sue, done_at, paper)
    with pytest.raises(RefusedError):
        assessments.enter(central, world.people["ida"], START, b"Assessment")
    row = assessments.enter(central, sue, START, b"Assessment 2025 (invented)")
    assert row.next_due == START + timedelta(days=365)
    assert told() == []
    world.now = START + timedelta(days=333)
    assert told() == []
    world.now = START + timedelta(days=335)
    assert told() == [("the yearly security assessment is due by 2027-01-01", "soon")]
    world.now = START + timedelta(days=366)
    with central.database.read() as tx:
        assert [line.urgency for line in assessments.todos(central, tx, world.now)] == ["now"]
        assert assessments.register(tx) == [row]
    assert assessments.paper(central, sue, row.id) == b"Assessment 2025 (invented)"
    with central.database.read() as tx:
        looked = [e.subjects for e in audit.events(tx) if e.event == "assessment.viewed"]
    assert looked == [(row.id,)]


@pytest.mark.policy("R-13.055-7")
def test_an_auditor_sees_the_file_and_changes_nothing(world: World) -> None:
    row = opened(world)
    auditor = world.people["sue"].model_copy(update={"id": "aud", "roles": ("auditor",)})
    assert [one.id for one in breach.register(world.central, auditor)] == [row.id]
    with pytest.raises(RefusedError):
        breach.decide(world.central, auditor, row.id, YES, WORDS)


def waiting(world: World) -> list[str]:
    return [row["kind"] for row in notices.waiting(world.central, world.people["sam"])]


@pytest.mark.policy("R-BR-1")
def test_bulk_views_failed_sign_ons_and_foreign_devices_raise_alarms_once(world: World) -> None:
    settings = world.central.config.watch.model_copy(update={"bulk_records": 10})
    world.central.config = world.central.config.model_copy(update={"watch": settings})
    for number in range(4):
        world.store(f"BLK100{number}")
    assert watch.look(world.central) == 0
    for _ in range(2):
        world.found(START)
    watch.look(world.central)
    assert "bulk_view" not in waiting(world)  # eight records
    world.found(START)
    assert watch.look(world.central) == 1
    world.found(START)
    assert watch.look(world.central) == 0  # one an hour
    assert waiting(world).count("bulk_view") == 1
    for _ in range(5):
        with pytest.raises(RefusedError):
            people.authenticate(world.central, "ida", "wrong password", "")
    with world.central.database.write() as tx:
        world.central.trail.record(tx, Event.ENROL_REFUSED, at=world.now)
        world.central.trail.record(tx, Event.TRAIL_BROKEN, at=world.now)
    watch.look(world.central)
    assert {"sign_on_failures", "unknown_device", "chain_break"} <= set(waiting(world))


@pytest.mark.policy("R-BR-1")
def test_an_export_at_night_raises_an_alarm_and_by_day_none(world: World) -> None:
    sue = people.actor(world.people["sue"])
    for hours, expected in ((0, False), (12, True), (50, True)):  # 10:00, 22:00, Saturday noon
        world.now = START + timedelta(hours=hours)
        with world.central.database.write() as tx:
            world.central.trail.record(tx, Event.TRAIL_EXPORTED, sue, at=world.now)
        assert (watch.look(world.central) == 1) is expected


@pytest.mark.policy("R-BR-1", "R-CJIS-5")
def test_a_car_that_may_be_lost_raises_an_alarm_and_its_keys_can_be_killed(tmp_path: Path) -> None:
    """R-BR-1: told once for each silence; killed, revoked or heard of it is no alarm any more."""
    office = Office(tmp_path / "home", START)
    try:
        for name, reader in (("car-1", "1"), ("car-2", "2"), ("car-3", "3")):
            office.car(name, reader)
        office.now = START + timedelta(hours=167)
        assert watch.look(office.central) == 0
        with office.central.database.write() as tx:
            heard = db.vehicles.update().where(db.vehicles.c.vehicle == "car-2")
            tx.execute(heard.values(last_contact=office.now))
        by = people.actor(office.person("admin_supervisor"))
        wipes.order_kill(office.central, "car-3", "it was stolen with the trailer", by)
        office.now = START + timedelta(hours=169)
        assert watch.look(office.central) == 1
        assert watch.look(office.central) == 0
        with office.central.database.read() as tx:
            [row] = tx.execute(select(notices.notices).where(notices.notices.c.kind == "lost_car"))
            [alarm] = [e for e in audit.events(tx) if e.event == "alarm.raised"]
        assert row.subject.startswith("car-1:") and "keys destroyed" in row.detail
        assert alarm.detail["about"] == "car-1"
    finally:
        office.close()


@pytest.mark.policy("R-BR-1")
def test_a_look_counts_what_the_last_look_saw_and_costs_no_more_than_its_events(
    world: World,
) -> None:
    """R-BR-1: the hour slides over looks; a look takes as many statements for many views as few."""
    central, ida = world.central, people.actor(world.people["ida"])

    def view(minutes: float, records: int) -> None:
        at = START + timedelta(minutes=minutes)
        subjects = [f"{number:032x}" for number in range(records)]
        with central.database.write() as tx:
            central.trail.record(tx, Event.PICTURE_VIEWED, ida, at=at, subjects=subjects)

    view(0, 120)
    assert watch.look(central) == 0
    view(61, 120)  # the first hour is over
    assert watch.look(central) == 0
    view(100, 80)  # 120 of the look before and these
    assert watch.look(central) == 1
    reads: list[str] = []

    def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        reads.append(statement)

    def cost(number: int, hour: int) -> int:
        for each in range(number):
            view(60 * hour + each / 60, 0)
        reads.clear()
        listen(central.database.engine, "before_cursor_execute", count)
        try:
            watch.look(central)
        finally:
            remove(central.database.engine, "before_cursor_execute", count)
        return len(reads)

    # Statements grow neither with the views nor with their square: an alarm takes a fixed few.
    assert cost(150, 10) == cost(20, 20)
