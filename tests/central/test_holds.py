"""Case links and exculpatory holds: what may outlive 60 days, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import storekind
from central_world import PASSWORD, everything, run
from hold_world import LIFE, START, WORDS, World, template
from sqlalchemy import insert, select

from alprd.central.records import cases, exemptions, holds, protected, schedule
from alprd.central.staff import members
from alprd.central.storage import audit, db
from alprd.central.upkeep import retention
from alprd.errors import InputError, RefusedError
from alprd.records import hour_floor, new_id

pytestmark = pytest.mark.both_stores

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to copy from."""
    return template(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def world(source: Path, tmp_path: Path) -> Iterator[World]:
    """A central at the moment of collection."""
    made = World(tmp_path / "home", source)
    yield made
    with made.central.database.read() as tx:
        audit.verify(tx)
    made.close()


def linked(world: World, *reads: str) -> exemptions.Exemption:
    row = cases.ask(
        world.central, world.people["ida"], case="26001234", relation=WORDS, reads=reads
    )
    return cases.approve(world.central, world.people["sue"], row.id, WORDS)


def events(world: World) -> list[str]:
    with world.central.database.read() as tx:
        return [event.event for event in audit.events(tx)]


# --- case links -------------------------------------------------------------------------------


@pytest.mark.policy("R-460.5-5", "R-460.5-4b", "R-13.824-2-1", "T-16")
def test_linked_read_outlives_its_hour_and_the_unlinked_beside_it_does_not(world: World) -> None:
    mine, other = world.store("LNK1001"), world.store("LNK1002")
    row = linked(world, mine)
    assert world.found(START) == {mine, other}  # an ordinary read for its 60 days
    world.now = START + LIFE
    assert world.found(START) == set()
    assert retention.purge(world.central).reads == 1
    assert world.traces(other) == []
    assert world.central.keystore.hour_key(hour_floor(START)) is None
    assert world.traces(mine) == ["row", "kept", "picture"]
    assert world.kept(row) == {mine: "LNK1001"}
    assert world.found(START) == set()
    with world.central.database.read() as tx:
        assert tx.scalar(select(db.reads.c.classification)) == "confidential"


@pytest.mark.policy("R-460.5-5")
def test_request_alone_and_refused_request_exempt_nothing(world: World) -> None:
    first, second = world.store("REQ1001"), world.store("REQ1002")
    ida, sue = world.people["ida"], world.people["sue"]
    cases.ask(world.central, ida, case="26001234", relation=WORDS, reads=[first])
    turned = cases.ask(world.central, ida, case="26001234", relation=WORDS, reads=[second])
    cases.refuse(world.central, sue, turned.id, WORDS)
    world.now = START + LIFE
    assert retention.purge(world.central).reads == 2
    with pytest.raises(RefusedError, match="is refused"):
        cases.approve(world.central, sue, turned.id, WORDS)


@pytest.mark.policy("R-460.5-5")
def test_link_is_approved_by_a_different_person_and_only_while_the_read_lives(
    world: World,
) -> None:
    read = world.store("APP1001")
    sue = world.people["sue"]
    row = cases.ask(world.central, sue, case="26001234", relation=WORDS, reads=[read])
    with pytest.raises(RefusedError, match="nobody approves"):
        cases.approve(world.central, sue, row.id, WORDS)
    with pytest.raises(RefusedError, match="role"):
        cases.approve(world.central, world.people["ida"], row.id, WORDS)
    with pytest.raises(RefusedError, match="role"):
        cases.ask(world.central, world.people["olf"], case="26001234", relation=WORDS, reads=[read])
    world.now = START + LIFE
    with pytest.raises(RefusedError, match="no read"):
        cases.approve(world.central, world.people["sam"], row.id, WORDS)
    with pytest.raises(InputError, match="not stored"):
        cases.ask(world.central, sue, case="26001234", relation=WORDS, reads=[read])


@pytest.mark.policy("R-460.5-5")
def test_whole_session_needs_a_reason(world: World) -> None:
    session = new_id()
    reads = {world.store(f"BLK100{n}", session=session) for n in range(3)}
    ida = world.people["ida"]
    with pytest.raises(RefusedError, match="bulk reason"):
        cases.ask(world.central, ida, case="26001234", relation=WORDS, session=session)
    row = cases.ask(
        world.central, ida, case="26001234", relation=WORDS, session=session, bulk_reason=WORDS
    )
    assert set(row.reads) == reads


@pytest.mark.policy("R-460.5-5", "R-460.5-5b")
def test_overdue_review_and_decision_are_told_once_and_destroy_nothing(world: World) -> None:
    read = world.store("DUE1001")
    row = linked(world, read)
    sue, sam = world.people["sue"], world.people["sam"]
    world.now = START + 90 * DAY
    for _ in range(2):
        retention.purge(world.central)
    assert events(world).count(audit.Event.EXEMPTION_OVERDUE) == 1
    assert [r.id for r in exemptions.register(world.central, sue, "case", overdue=True)] == [row.id]
    cases.review(world.central, sam, row.id, WORDS)
    assert exemptions.register(world.central, sue, "case", overdue=True) == []
    row = cases.inactive(world.central, sam, row.id, "declined")
    assert (row.state, row.due) == ("inactive", world.now + 30 * DAY)
    world.now += 31 * DAY
    retention.purge(world.central)
    assert events(world).count(audit.Event.EXEMPTION_OVERDUE) == 2
    assert world.kept(row) == {read: "DUE1001"}  # kept, and said so: no silent keeping
    cases.release(world.central, sue, row.id, "No item of the schedule asks to keep these reads.")
    assert world.traces(read) == ["row", "kept", "picture"]
    assert retention.purge(world.central).reads == 1
    assert world.traces(read) == []


@pytest.mark.policy("R-460.5-5b", "R-460.5-6")
def test_schedule_item_governs_an_inactive_link(world: World) -> None:
    read = world.store("SCH1001")
    row = linked(world, read)
    sue = world.people["sue"]
    schedule.put(world.central, sue, schedule.INACTIVE, "GRS 026-115", 400)
    row = cases.inactive(world.central, sue, row.id, "convicted")
    assert (row.state, row.ends) == ("schedule", START + 400 * DAY)
    with world.central.database.read() as tx:
        assert tx.scalar(select(db.reads.c.classification)) == "private"
    world.now = START + 400 * DAY - timedelta(seconds=1)
    retention.purge(world.central)
    assert world.kept(row) == {read: "SCH1001"}
    world.now = START + 400 * DAY
    assert retention.purge(world.central).reads == 1
    assert world.traces(read) == []


@pytest.mark.policy("R-460.5-6")
def test_records_without_a_row_are_kept_and_with_one_destroyed(world: World) -> None:
    world.store("LED1001")
    world.now = START + LIFE
    retention.purge(world.central)

    def ledger() -> int:
        with world.central.database.read() as tx:
            return len(tx.execute(select(db.destructions)).all())

    world.now += 500 * DAY
    retention.purge(world.central)
    assert ledger() == 1
    schedule.put(world.central, world.people["sue"], "destructions", "GRS 026-120", 400)
    retention.purge(world.central)
    assert ledger() == 0
    with pytest.raises(InputError, match="no retention is enforced"):
        schedule.put(world.central, world.people["sue"], "audit", "GRS 026-1", 400)


# --- holds ------------------------------------------------------------------------------------


@pytest.mark.policy("R-460.5-a", "T-2")
def test_hold_on_day_59_keeps_the_plate_and_nothing_else(world: World) -> None:
    mine, other = world.store("HLD5901"), world.store("HLD5902")
    late = world.store("HLD5901", START + timedelta(seconds=1))
    world.now = START + 59 * DAY
    row = world.hold("hld 5901")
    assert world.found(START) == {other}  # held reads are out of ordinary search
    assert world.found(START, "HLD5901") == set()
    world.now = START + LIFE + DAY
    retention.purge(world.central)
    assert world.kept(row) == {mine: "HLD5901", late: "HLD5901"}
    assert world.traces(other) == []
    holds.release(world.central, world.people["sue"], row.id, "The charge was dismissed by court.")
    with pytest.raises(RefusedError, match="released"):
        world.kept(row)
    retention.purge(world.central)
    assert world.traces(mine) == world.traces(late) == []


@pytest.mark.policy("R-460.5-a")
def test_hold_received_in_time_reaches_what_the_purge_has_not_taken_yet(world: World) -> None:
    read = world.store("HLD6001")
    world.now = START + LIFE + timedelta(minutes=20)
    assert world.found(START) == set()
    row = world.hold("HLD6001", received=START + LIFE - timedelta(hours=1))
    retention.purge(world.central)
    assert world.kept(row) == {read: "HLD6001"}


@pytest.mark.policy("R-460.5-a", "R-460.5-4")
def test_hold_received_too_late_brings_nothing_back(world: World) -> None:
    read = world.store("HLD6002")
    world.now = START + LIFE + timedelta(minutes=20)
    row = world.hold("HLD6002")
    assert world.kept(row) == {}
    assert retention.purge(world.central).reads == 1
    assert world.traces(read) == []


@pytest.mark.policy("R-460.5-a")
def test_hold_released_before_day_60_gives_the_read_back_to_its_life(world: World) -> None:
    read = world.store("HLD1001")
    row = world.hold("HLD1001")
    world.now = START + 5 * DAY
    holds.release(world.central, world.people["sue"], row.id, "The charge was dismissed by court.")
    retention.purge(world.central)
    assert world.found(START, "HLD1001") == {read}
    world.now = START + LIFE
    retention.purge(world.central)
    assert world.traces(read) == []


@pytest.mark.policy("R-460.5-a")
def test_pending_hold_applies_at_intake(world: World) -> None:
    early, envelope = world.envelope("PND1001", START)
    row = world.hold("PND1001")
    assert world.send(early, envelope) == "stored"
    outside = world.store("PND1001", START - 2 * DAY)
    assert set(world.kept(row)) == {early.id}
    world.now = START + LIFE
    retention.purge(world.central)
    assert set(world.kept(row)) == {early.id}
    assert world.traces(outside) == []


@pytest.mark.policy("R-460.5-a", "R-460.5-4b")
def test_read_frozen_in_a_car_past_its_life_is_taken_in_as_held(world: World) -> None:
    frozen, held = world.envelope("FRZ1001", START)
    other, beside = world.envelope("FRZ1002", START)
    again, twin = world.envelope("FRZ1001", START)
    world.now = START + 3 * DAY
    row = world.hold("FRZ1001")
    assert len(row.orders) == 1
    world.now = START + 55 * DAY
    retention.purge(world.central)  # the freeze is ordered anew before it ends
    world.now = START + 80 * DAY
    retention.purge(world.central)
    days = [key.day for key in world.central.keystore.intake_public()]
    assert "2026-01-01" in days
    assert "2025-12-25" not in days
    assert world.send(frozen, held) == "stored"
    assert world.send(other, beside) == "expired"
    assert world.found(START) == set()
    retention.purge(world.central)
    assert world.kept(row) == {frozen.id: "FRZ1001"}
    assert world.traces(other.id) == []
    holds.collected(world.central, world.people["sue"], row.id)
    retention.purge(world.central)
    assert "2026-01-01" not in [key.day for key in world.central.keystore.intake_public()]
    assert world.send(again, twin) == "expired"
    assert world.kept(row) == {frozen.id: "FRZ1001"}


@pytest.mark.policy("R-460.5-a")
def test_a_car_enrolled_after_a_hold_is_frozen_too(world: World) -> None:
    row = world.hold("NEW1001", span=2 * DAY)
    world.now = START + DAY
    with world.central.database.write() as tx:
        first = tx.execute(select(db.vehicles)).one()._asdict()
        second = {"vehicle": "car-2", "reader": "2", "enrolment": new_id(), "serial": "2"}
        tx.execute(insert(db.vehicles).values(first | second | {"enrolled_at": world.now}))

    def frozen() -> list[str]:
        with world.central.database.read() as tx:
            orders = exemptions.find(world.central, tx, row.id, "hold").orders
            table = db.car_orders
            return sorted(tx.scalars(select(table.c.vehicle).where(table.c.serial.in_(orders))))

    assert frozen() == ["car-1"]
    for _ in range(2):
        retention.purge(world.central)
        assert frozen() == ["car-1", "car-2"]
    holds.collected(world.central, world.people["sue"], row.id)
    retention.purge(world.central)
    assert frozen() == []


@pytest.mark.policy("R-460.5-a", "R-460.5-4")
def test_read_whose_life_ended_before_the_request_came_is_not_taken_in(world: World) -> None:
    read, envelope = world.envelope("LAT1001", START)
    world.now = START + LIFE + timedelta(minutes=20)
    row = world.hold("LAT1001")
    assert world.send(read, envelope) == "expired"
    assert world.kept(row) == {}


@pytest.mark.policy("R-460.5-a")
def test_hold_on_a_read_that_only_a_link_keeps(world: World) -> None:
    read = world.store("BTH1001")
    link = linked(world, read)
    world.now = START + 70 * DAY
    retention.purge(world.central)
    row = world.hold("BTH1001", span=2 * DAY, received=START + 50 * DAY)
    cases.release(world.central, world.people["sue"], link.id, WORDS)
    retention.purge(world.central)
    assert world.kept(row) == {read: "BTH1001"}


@pytest.mark.policy("R-460.5-b", "R-460.5-b3")
def test_protected_plate_is_deferred_while_linked_and_destroyed_after(
    world: World, tmp_path: Path
) -> None:
    mine = world.store("ACP4401")
    world.store("ACP4401", START + timedelta(minutes=1))
    row = linked(world, mine)
    path = tmp_path / "request.csv"
    path.write_text("plate,state\nACP4401,MN\n")
    protected.import_suppression(world.central, path, actor=audit.CENTRAL)
    assert world.found(START) == set()  # seen through the link alone (T-11)
    assert world.kept(row) == {mine: "ACP4401"}
    cases.release(world.central, world.people["sue"], row.id, WORDS)
    assert world.found(START) == set()


@pytest.mark.policy("R-460.5-a", "R-AT-4")
def test_nothing_typed_lies_in_clear_and_the_request_opens(world: World) -> None:
    read = world.store("CLR7781")
    row = world.hold("CLR7781")
    linked(world, read)
    world.central.database.checkpoint()
    database = storekind.database_files(world.home)
    for path, data in everything(world.home):
        for secret in (b"CLR7781", b"Defence counsel", b"my client", WORDS.encode()):
            if secret == WORDS.encode() and path in database:
                continue  # a search states its reasons in the trail
            assert secret not in data, f"{secret!r} in {path.name}"
    content = holds.written_request(world.central, world.people["sue"], row.id)
    assert content.startswith(b"Please keep")
    assert audit.Event.HOLD_PLACED in events(world)


def test_commands(world: World, tmp_path: Path) -> None:
    read = world.store("CMD1001")
    request = tmp_path / "request.txt"
    request.write_text("Please keep the reads of my van.")
    home = world.home
    sue, ida = ("--by", "sue"), ("--by", "ida")
    for name, by in (("ida", "sue"), ("sue", "sam")):
        members.screen(world.central, world.people[by], name, screened_by="BCA", on=START,
                       reference="S-26-1")  # fmt: skip

    def act(*args: str, check: bool = True) -> Any:
        return run(home, *args, stdin=f"{PASSWORD}\n", check=check)

    # The commands run at the real time, when this read's life has passed.
    done = act(
        "cases", "request", "--case", "26001234", "--relation", WORDS, "--read", read, *ida,
        check=False,
    )  # fmt: skip
    assert "not stored" in done.stderr
    row = world.hold("CMD1001")
    assert [r["id"] for r in act("holds", "list", *sue)["holds"]] == [row.id]
    assert act("holds", "reads", "--id", row.id, *sue)["reads"][0]["plate"] == "CMD1001"
    out = tmp_path / "out.txt"
    act("holds", "request", "--id", row.id, "--out", str(out), *sue)
    assert out.read_bytes().startswith(b"Please keep")
    assert act("cases", "list", *sue)["cases"] == []
    act("schedule", "set", "--type", "destructions", "--citation", "GRS 1", "--days", "9",
        *sue)  # fmt: skip
    rows = {r["record_type"]: r["days"] for r in run(home, "schedule", "list")["schedule"]}
    assert rows["destructions"] == 9
    assert rows[schedule.INACTIVE] is None


@pytest.mark.policy("R-460.5-5", "R-13.824-7-3")
def test_a_name_on_the_command_line_is_no_person(world: World) -> None:
    """A request is not approved, and no read is shown, by whoever types another's name."""
    for name, by in (("ida", "sue"), ("sue", "sam")):
        members.screen(world.central, world.people[by], name, screened_by="BCA", on=START,
                       reference="S-26-1")  # fmt: skip
    row = world.hold("CMD1001")
    read = world.store("CMD1001")
    link = cases.ask(world.central, world.people["ida"], case="26001234", relation=WORDS,
                     reads=[read])  # fmt: skip
    for stdin in ("", "not her password\n"):
        for args in (
            ("cases", "approve", "--id", link.id, "--reason", WORDS),
            ("holds", "reads", "--id", row.id),
            ("holds", "release", "--id", row.id, "--reason", WORDS),
            ("cases", "list"),
        ):
            refused = run(world.home, *args, "--by", "sue", stdin=stdin, check=False)
            assert refused.returncode, args
            assert "password" in refused.stderr
    with world.central.database.read() as tx:
        assert exemptions.find(world.central, tx, link.id, "case").state == "requested"
        assert exemptions.find(world.central, tx, row.id, "hold").state == "active"
