"""What waits for a person, and long work: told to whoever can do it, and never silently dropped."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from central_world import wait_until
from office_world import Office
from sqlalchemy import insert, select, update

from alprd.audit import Actor
from alprd.central.oversight import todos
from alprd.central.publication import publish
from alprd.central.storage import db
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.jobs_tables import jobs as table
from alprd.central.upkeep import jobs
from alprd.central.upkeep.jobs import Outcome, Report
from alprd.errors import InputError, StoreError

START = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
BY = Actor("dana", "Dana Example", "admin_supervisor")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "home", START)
    yield made
    made.close()


def told(office: Office, role: str, area: str = "") -> list[str]:
    found = todos.for_person(office.central, office.person(role), office.now)
    return [one.text for one in found if not area or one.area == area]


def test_a_source_that_fails_is_a_line_of_its_own(office: Office) -> None:
    """Without its root the publication's end cannot be told: that is said, the rest still shown."""
    office.car("car-1", "1")
    office.now += timedelta(days=4)
    lines = told(office, "admin_supervisor")
    assert "certificates: could not be looked at" in lines
    assert any("has not docked for 4 days" in one for one in lines)
    publish.create_repository(office.central)
    assert not any("could not be looked at" in one for one in told(office, "admin_supervisor"))


@pytest.mark.policy("R-13.824-7-3")
def test_a_line_is_shown_to_whoever_can_do_something(office: Office) -> None:
    """R-13.824-7-3: by the permission table; a car is no business of records staff."""
    publish.create_repository(office.central)
    office.car("car-1", "1")
    with office.central.database.write() as tx:
        tx.execute(
            insert(db.lists).values(
                list_id="lpdf", source="LPDF", version="1", supplied_at=START, imported_at=START,
                entries=1, file="none",
            )
        )  # fmt: skip
    office.now += timedelta(hours=80)
    for role in ("sheriff", "admin_supervisor", "alpr_admin", "auditor"):
        assert told(office, role, "Cars"), role
    for role in ("investigator", "records"):
        assert told(office, role, "Cars") == [], role
    assert told(office, "alpr_admin", "Lists") == [
        "lpdf is 80 hours old: cars match nothing with it"
    ]
    assert told(office, "auditor", "Lists") == []


@pytest.mark.policy("R-460.5-4")
def test_alarms_and_late_destruction_are_told_first(office: Office) -> None:
    """R-460.5-4: a failed purge is seen the same day, before what comes due later."""
    publish.create_repository(office.central)
    with office.central.database.write() as tx:
        for _ in range(2):
            office.central.trail.record(tx, Event.PURGE_FAILED, CENTRAL, at=office.now)
    found = todos.for_person(office.central, office.person("sheriff"), office.now)
    assert found[0].urgency == "now"
    assert "a run of the destruction failed (2 times in 7 days)" in [one.text for one in found]
    office.now += timedelta(days=8)
    assert told(office, "sheriff", "Alarms") == []


def test_no_line_names_more_than_a_few_of_one_kind(office: Office) -> None:
    publish.create_repository(office.central)
    for number in range(1, 21):
        office.car(f"car-{number}", str(number))
    office.now += timedelta(days=5)
    lines = told(office, "sheriff", "Cars")
    assert len([one for one in lines if "has not docked" in one]) == 8
    assert any("12 more" in one for one in lines)


# --- long work --------------------------------------------------------------------------------


def state(office: Office, job: str) -> dict[str, Any]:
    return jobs.find(office.central, job)


def test_work_tells_how_far_it_is_and_what_came_of_it(office: Office) -> None:
    half, go_on = threading.Event(), threading.Event()

    def work(report: Report) -> Outcome:
        report(5, 10)
        half.set()
        assert go_on.wait(30)
        return Outcome("ten things are done", "/cars")

    job = jobs.start(office.central, "test of work", BY, work)
    assert half.wait(30)
    found = state(office, job)
    assert (found["state"], found["percent"], found["started_by"]) == ("running", 50, "dana")
    go_on.set()
    wait_until(lambda: state(office, job)["state"] == "done", 30)
    assert (state(office, job)["text"], state(office, job)["link"]) == (
        "ten things are done", "/cars",
    )  # fmt: skip
    assert [one["id"] for one in jobs.recent(office.central)] == [job]


@pytest.mark.parametrize(
    ("error", "says"),
    [(StoreError("the disk is full"), "the disk is full"), (OSError("x"), "it failed: OSError")],
)
def test_work_that_fails_says_so(office: Office, error: Exception, says: str) -> None:
    def work(report: Report) -> Outcome:
        raise error

    job = jobs.start(office.central, "test of work", BY, work)
    wait_until(lambda: state(office, job)["state"] == "failed", 30)
    assert state(office, job)["text"] == says


def test_work_of_a_process_that_is_gone_is_told_as_interrupted(office: Office) -> None:
    """A power cut leaves a row that says running; the next start corrects it, and only it."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    made = []
    workers = (
        f"{platform.node()} {gone.pid}", f"{platform.node()} {os.getppid()}",
        f"elsewhere {gone.pid}",
    )  # fmt: skip
    for worker in workers:
        job = jobs.start(office.central, "test of work", BY, lambda report: Outcome("done", "/"))
        wait_until(lambda job=job: state(office, job)["state"] == "done", 30)  # type: ignore[misc]
        with office.central.database.write() as tx:
            mine = table.c.id == job
            tx.execute(update(table).where(mine).values(state="running", worker=worker))
        made.append(job)
    assert jobs.forget_interrupted(office.central) == 1
    assert [state(office, job)["state"] for job in made] == ["interrupted", "running", "running"]
    with pytest.raises(InputError):
        jobs.find(office.central, "0" * 32)
    with office.central.database.read() as tx:
        assert len(tx.scalars(select(table.c.id)).all()) == 3
