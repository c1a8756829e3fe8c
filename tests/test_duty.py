"""Pause, canvass and post: sessions that begin and end as the person on duty says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from test_custody import Car, make, person

from alprd.audit import Event
from alprd.errors import AlprdError, RefusedError


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Car]:
    made = make(tmp_path)
    made.permit()
    yield made
    with suppress(AlprdError):
        made.store.close()


def names(car: Car) -> list[str]:
    return [event.event for event in car.store.audit_events()]


def test_a_pause_ends_the_session_and_only_the_person_resumes(car: Car) -> None:
    with pytest.raises(RefusedError, match="Nothing is being collected"):
        car.collecting.pause()
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    car.collecting.pause()
    assert [row.end_reason for row in car.store.unsent_sessions()] == ["paused"]
    car.collecting.tend()
    row = car.collecting._sessions.row()
    assert row is None  # a pause is not taken over by whatever tends
    car.collecting.resume()
    assert car.collecting._sessions.is_open
    assert names(car).count(Event.COLLECTION_PAUSED) == 1
    assert names(car).count(Event.COLLECTION_RESUMED) == 1
    car.collecting.pause()
    car.collecting.signed_off("signed_off")
    car.collecting.resume()
    assert not car.collecting._sessions.is_open


@pytest.mark.policy("R-460.4-c")
def test_a_canvass_is_a_session_of_its_own_with_its_incident(car: Car) -> None:
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    patrol = car.collecting._sessions.row()
    car.collecting.canvass("26-004711")
    own = car.collecting._sessions.row()
    assert patrol is not None
    assert own is not None
    assert own.id != patrol.id
    (event,) = [one for one in car.store.audit_events() if one.event == Event.CANVASS_BEGUN]
    assert (event.session, event.detail["incident"]) == (own.id, "26-004711")
    car.collecting.canvass("")
    assert car.collecting.incident == ""
    assert names(car)[-1] == Event.CANVASS_ENDED


def test_a_post_is_declared_until_the_sign_off(car: Car) -> None:
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    car.collecting.declare_post()
    assert car.collecting.post_declared
    assert names(car)[-1] == Event.POST_DECLARED
    car.collecting.signed_off("signed_off")
    assert not car.collecting.post_declared
