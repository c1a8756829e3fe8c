"""Outcomes by list from the trails of cars, and the place of a post in the public log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from central_world import PASSWORD, Car, Server, add_person, audit_events, run, session_row

from alprd.audit import FIRST, digest
from alprd.central.oversight import figurecharts, outcomes
from alprd.central.public import publiclog
from alprd.central.storage.store import Central
from alprd.dispositions import Disposition
from alprd.shift import Shift
from alprd.wire import AuditEvent, AuditReport, SessionReport

RESULTS = ("confirmed", "confirmed", "confirmed", "not_confirmed", "cleared")


def shifts() -> list[AuditEvent]:
    """A car's trail with two shifts, summed up as the car sums them up."""
    made: list[AuditEvent] = []
    for person in ("p1", "p2"):
        shift = Shift(person=person)
        for number, result in enumerate(RESULTS):
            found = Disposition.model_validate({"agrees": True, "result": result})
            shift = shift.count(f"{person}{number}", "state:mn", found, "left")
        shift = shift.count(f"{person}m", "local", Disposition(agrees=False, misread=True), "right")
        (event,) = audit_events(1, first=len(made) + 1, previous=made[-1].digest if made else FIRST)
        event = event.model_copy(update={"event": "shift.ended", "detail": shift.summary(1)})
        made.append(event.model_copy(update={"digest": digest(event.model_dump(mode="json"))}))
    return made


@pytest.mark.policy("R-460.4-f")
def test_what_deputies_recorded_becomes_each_lists_share(server: Server, car: Car) -> None:
    """R-460.4-f: the list's own false-hit rate, by the program and on the page."""
    assert run(server.home, "status")["outcomes"] == []
    report = AuditReport(agency="becker", vehicle="car-1", events=tuple(shifts()))
    assert car.post("/v1/audit", "audit", report).status_code == 200
    local, state = run(server.home, "status")["outcomes"]
    assert (local["list_id"], local["misread"], local["share_confirmed"]) == ("local", 2, 0.0)
    assert state == {
        "list_id": "state:mn", "confirmed": 6, "not_confirmed": 2, "misread": 0, "cleared": 2,
        "not_practicable": 0, "share_confirmed": 0.75,
    }  # fmt: skip
    with Central(server.home) as central, central.database.read() as tx:
        left, right = outcomes.by_camera(tx)
        figures = {one.title: one for one in figurecharts.figures(tx, [])}
    assert (left["vehicle"], left["camera"], outcomes.false_share(left)) == ("car-1", "left", 0.25)
    assert (right["camera"], right["misread"], outcomes.false_share(right)) == ("right", 2, 1.0)
    assert figures["False hits of each camera"].rows == (
        ("car-1 left", "25 %", "8"), ("car-1 right", "100 %", "2"),
    )  # fmt: skip
    assert figures["Precision of each list"].rows == (
        ("local", "0 %", "2"), ("state:mn", "75 %", "8"),
    )  # fmt: skip
    assert figures["False hits of each list"].rows[1] == ("state:mn", "25 %", "8")
    for title in ("Precision of each list", "False hits of each camera"):
        assert 'role="img"' in figures[title].chart and "<desc" in figures[title].chart
    add_person(server.home, "boss", "admin_supervisor")
    with httpx.Client(base_url=server.page_url, follow_redirects=True) as client:
        page = client.get("/sign-on").text
        csrf = page.split('name="csrf" value="')[1].split('"')[0]
        form = {"csrf": csrf, "person": "boss", "password": PASSWORD}
        home = client.post("/sign-on", data=form).text
        page = client.get("/compliance").text
    assert "How alerts came out" in home
    assert "75 %" in home
    for title in ("each camera", "each list", "Time to dock", "Oldest read", "Use over time"):
        assert title in page
    assert page.count('<svg class="chart"') >= 3 and "car-1 right: 100 % false hits of 2" in page


@pytest.mark.policy("R-460.5.1-d")
def test_the_place_of_a_fixed_session_stands_in_the_public_log(server: Server, car: Car) -> None:
    """R-460.5.1-d: and a mobile one has none."""
    rows = (
        session_row(kind="fixed", fixed_location="46.8172, -95.8454"),
        session_row(
            started=datetime(2026, 11, 21, tzinfo=UTC), ended=datetime(2026, 11, 22, tzinfo=UTC)
        ),
    )
    report = SessionReport(agency="becker", vehicle="car-1", rows=rows)
    assert car.post("/v1/sessions", "sessions", report).status_code == 200
    with Central(Path(server.home)) as central:
        log = publiclog.rows(central)
    told = [(row["kind"], row["fixed_location"]) for row in log]
    assert told == [("fixed", "46.8172, -95.8454"), ("mobile", "")]
    assert '"46.8172, -95.8454"' in publiclog.as_csv(log)
