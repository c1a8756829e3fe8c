"""Driving mode judges by GPS; the page asks for the second factor where the roster does."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import httpx
import pytest

from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.motion import MOVING_MPS, STANDING_MPS, Motion
from alprd.place import PositionTrack
from alprd.roster import RosterBook
from alprd.totp import STEP_S, StepBook, code_at, new_secret
from mdt.world import Car, person, roster

SECOND = 1_000_000_000
DEGREE_M = 111_195.0


def drive(speeds: list[float]) -> list[bool]:
    """Whether the car moves after each second at these speeds."""
    track, lat, found = PositionTrack(), 46.8, []
    now = [100 * SECOND]
    moving = Motion(track.at, monotonic_ns=lambda: now[0])
    for speed in speeds:
        lat += speed / DEGREE_M
        now[0] += SECOND
        track.add(now[0], lat, -95.8, 3.0)
        found.append(moving())
    return found


def test_moving_begins_and_ends_with_hysteresis() -> None:
    between = (MOVING_MPS + STANDING_MPS) / 2
    assert not any(drive([0.0] * 12))
    assert drive([0.0] * 8 + [10.0] * 8)[-1] is True
    assert drive([between] * 12)[-1] is False
    assert drive([10.0] * 10 + [between] * 8)[-1] is True
    assert drive([10.0] * 10 + [0.0] * 8)[-1] is False


def test_without_positions_the_car_counts_as_standing() -> None:
    track = PositionTrack()
    assert Motion(track.at)() is False
    assert Motion(track.at).speed() is None


@pytest.mark.policy("R-CJIS-2")
def test_the_page_asks_for_the_second_factor(
    car: Car, sign_on: Callable[..., httpx.Response]
) -> None:
    secret = new_secret()
    book = RosterBook(steps=StepBook(car.store))
    book.load(roster(person("one", totp=secret)))
    context = dataclasses.replace(car.context, roster_book=book)
    server = serve_in_thread(create_app(context), "127.0.0.1", 0)
    base, headers = f"http://127.0.0.1:{server.port}", {"Accept": "application/json"}
    try:
        with httpx.Client(base_url=base, headers=headers, trust_env=False) as by:
            code = code_at(secret, int(time.time()) // STEP_S)
            assert sign_on(by=by).json()["error"] == "code_wanted"
            assert sign_on(by=by, code="12").json()["error"] == "wrong_code"
            assert sign_on(by=by, code=code).status_code == 200
            assert sign_on(by=by, code=code).json()["error"] == "wrong_code"  # used already
    finally:
        server.stop()
