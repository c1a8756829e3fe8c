"""Requests of others than law enforcement: clocks, default answers, and data subjects."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hold_world import START, WORDS, World, template
from hypothesis import given
from hypothesis import strategies as st

from alprd.audit import Actor
from alprd.central.exchange import outside, subject
from alprd.central.oversight import todos
from alprd.central.records import confidentiality
from alprd.central.staff import people
from alprd.central.storage import audit
from alprd.central.trail import trailview
from alprd.errors import InputError, RefusedError
from alprd.wire import Person

PAPER = b"Please send me everything. (invented)"


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


@pytest.fixture
def rosa(world: World) -> Person:
    """Records staff."""
    return people.add(
        world.central,
        person_id="rosa",
        name="rosa",
        roles=["records"],
        password="correct horse battery",
        training_expires=START + timedelta(days=700),
        authorised_until=START + timedelta(days=700),
        clearances=[],
        by=Actor("sheriff", "sheriff", "sheriff"),
    )


def receive(world: World, who: Person, kind: outside.Kind, **more: datetime) -> outside.Outside:
    return outside.receive(
        world.central, who, kind, "A. Citizen", "a@example.org", "reads of my car", START, PAPER,
        **more,
    )  # fmt: skip


@pytest.mark.policy("R-460.7-f")
def test_the_default_answer_refuses_reads_with_the_citation(world: World, rosa: Person) -> None:
    row = receive(world, rosa, "public_data")
    done = outside.answer(world.central, rosa, row.id, "produced_public")
    assert "section 13.824, subdivision 2, paragraph (b)" in done.answer
    assert "public log of use" in done.answer
    assert "refused as far as it asks for them" in " ".join(done.answer.split())
    with pytest.raises(RefusedError, match="already"):
        outside.answer(world.central, rosa, row.id, "refused")
    assert [r.state for r in outside.register(world.central, rosa)] == ["answered"]


@pytest.mark.policy("R-460.7-f")
def test_orders_have_their_own_date_and_go_to_counsel(world: World, rosa: Person) -> None:
    with pytest.raises(InputError, match="date"):
        receive(world, rosa, "court_order")
    row = receive(world, rosa, "court_order", returns=START + timedelta(days=14))
    assert row.due == START + timedelta(days=14)
    with pytest.raises(RefusedError, match="county attorney"):
        outside.answer(world.central, rosa, row.id, "produced_public")
    assert outside.answer(world.central, rosa, row.id, "to_counsel").outcome == "to_counsel"


@pytest.mark.policy("R-460.7-f")
def test_a_data_subject_is_answered_within_ten_working_days(world: World, rosa: Person) -> None:
    row = receive(world, rosa, "data_subject")  # 1 January 2026 is a Thursday
    assert row.due is not None
    assert row.due.astimezone(world.central.config.zone()).date() == date(2026, 1, 15)
    assert "neither be confirmed nor denied" in outside.default_answer("data_subject").replace(
        "\n", " "
    )


@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.integers(1, 40))
def test_working_days_end_on_a_working_day_and_never_late(day: date, number: int) -> None:
    last = outside.working_days_after(day, number)
    between = [day + timedelta(days=n) for n in range(1, (last - day).days + 1)]
    assert last.weekday() < 5
    assert sum(d.weekday() < 5 for d in between) == number


@pytest.mark.policy("R-460.7-f")
def test_only_records_staff_and_supervisors_work_on_them(world: World, rosa: Person) -> None:
    with pytest.raises(RefusedError):
        receive(world, world.people["ida"], "public_data")
    with pytest.raises(InputError, match="who asks"):
        outside.receive(world.central, rosa, "data_subject", "", "", "my reads", START, PAPER)
    # A public data request may be anonymous.
    assert outside.receive(world.central, rosa, "public_data", "", "", "the log", START, PAPER)
    with pytest.raises(InputError, match="future"):
        outside.receive(
            world.central, rosa, "public_data", "", "", "the log",
            datetime(2027, 1, 1, tzinfo=UTC), PAPER,
        )  # fmt: skip


@pytest.mark.policy("R-460.7-g", "T-8")
def test_access_of_data_subjects_is_off_until_counsel_approves(world: World, rosa: Person) -> None:
    row = receive(world, rosa, "data_subject")
    with pytest.raises(RefusedError, match="off"):
        subject.ask(world.central, rosa, row.id, "SUB1001", "MN", WORDS, WORDS)


def waiting(world: World) -> list[str]:
    """Where the supervisor's first page sends him for a look-up."""
    lines = todos.for_person(world.central, world.people["sue"], world.now)
    return [line.link for line in lines if line.link.endswith("/lookup")]


@pytest.mark.policy("R-460.7-g")
def test_with_an_opinion_a_subject_sees_own_reads_and_nobody_elses(
    world: World, rosa: Person
) -> None:
    config = world.central.config
    world.central.config = config.model_copy(
        update={"release": config.release.model_copy(update={"data_subject_opinion": "CA-26-9"})}
    )
    mine = world.store("SUB1001")
    world.store("SUB1007")
    held = world.store("SUB1001")
    from alprd.central.records import cases

    link = cases.ask(
        world.central, world.people["ida"], case="26001234", relation=WORDS, reads=[held]
    )
    cases.approve(world.central, world.people["sue"], link.id, WORDS)
    row = receive(world, rosa, "data_subject")
    with pytest.raises(RefusedError, match="no look-up"):
        subject.look(world.central, rosa, row.id)
    with pytest.raises(RefusedError, match="approved look-up"):
        outside.answer(world.central, rosa, row.id, "produced_own", WORDS)
    for identity, ownership in ((WORDS, ""), ("", WORDS)):
        with pytest.raises((InputError, RefusedError)):
            subject.ask(world.central, rosa, row.id, "SUB1001", "MN", identity, ownership)
    assert waiting(world) == []
    subject.ask(world.central, rosa, row.id, "sub 1001", "MN", WORDS, WORDS)
    assert waiting(world) == [f"/requests/{row.id}/lookup"]
    with pytest.raises(RefusedError, match="not approved"):
        subject.look(world.central, rosa, row.id)
    with pytest.raises(RefusedError):
        subject.decide(world.central, rosa, row.id, True, WORDS)
    subject.decide(world.central, world.people["sue"], row.id, True, WORDS)
    assert waiting(world) == []
    with pytest.raises(RefusedError, match="approved already"):
        subject.ask(world.central, rosa, row.id, "SUB1007", "MN", WORDS, WORDS)
    seen = subject.look(world.central, rosa, row.id)
    assert [one.instant for one in seen] == [START]
    with world.central.database.read() as tx:
        [event] = [e for e in audit.events(tx) if e.event == "subject.looked-up"]
    assert event.subjects == (row.id, mine)
    assert "SUB1001" not in event.model_dump_json()
    done = outside.answer(world.central, rosa, row.id, "produced_own", WORDS)
    assert done.answer == WORDS
    # T-5: on a confidentiality request the plate that was typed for it opens no more.
    sue = world.people["sue"]
    assert trailview.terms(world.central, sue, event.seq) == "SUB1001"
    confidentiality.enter(
        world.central, sue, plates=["SUB1001/MN"], received=world.now,
        verified_by="Records clerk", reference="AC-26-1",
    )  # fmt: skip
    with pytest.raises(RefusedError, match="erased"):
        trailview.terms(world.central, sue, event.seq)
