"""Pause, canvass and post: sessions that begin and end as the person on duty says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from factories import session_row
from test_custody import Car, make, person

from alprd.audit import Event
from alprd.errors import AlprdError, RefusedError
from alprd.records import Position


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Car]:
    made = make(tmp_path)
    made.permit()
    yield made
    with suppress(AlprdError):
        made.store.close()


def names(car: Car) -> list[str]:
    return [event.event for event in car.store.audit_events()]


def at_post(car: Car) -> bool:
    return car.collecting.post_declared


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


@pytest.mark.policy("R-460.5.1-d", "R-460.5.1-a", "T-17")
def test_a_declared_post_is_a_fixed_session_with_its_place_until_the_car_leaves(car: Car) -> None:
    """R-460.5.1-d: the mobile session ends, the fixed one names the place; driving on ends it."""
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    with pytest.raises(RefusedError, match="place is not known"):
        car.collecting.declare_post()
    assert not at_post(car)
    post = Position(lat=46.8172354, lon=-95.8453712, accuracy_m=4.0)
    car.collecting._where = lambda: post
    car.collecting.declare_post()
    assert at_post(car)
    assert names(car)[-1] == Event.POST_DECLARED
    row = car.sessions.row()
    assert row is not None
    assert (row.kind, row.fixed_location) == ("fixed", "46.8172, -95.8454")
    car.collecting.watch_post(None)
    car.collecting.watch_post(post.model_copy(update={"lat": post.lat + 0.0009}))  # 100 m
    car.collecting.pause()
    car.collecting.resume()
    row = car.sessions.row()
    assert row is not None
    assert row.kind == "fixed"  # still the same post
    car.collecting.watch_post(post.model_copy(update={"lat": post.lat + 0.0018}))  # 200 m
    assert not at_post(car)
    assert names(car)[-1] == Event.POST_LEFT
    row = car.sessions.row()
    assert row is not None
    assert (row.kind, row.fixed_location) == ("mobile", "")
    done = [(one.kind, one.end_reason) for one in car.store.unsent_sessions()]
    assert done == [("mobile", "stopped"), ("fixed", "paused"), ("fixed", "stopped")]
    car.collecting.declare_post()
    car.collecting.signed_off("signed_off")
    assert not at_post(car)


def test_no_mobile_session_names_a_place() -> None:
    with pytest.raises(ValueError, match="a mobile session has no place"):
        session_row(fixed_location="46.8172, -95.8454")
