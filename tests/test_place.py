"""Fixes that jump: what is doubted, what is dropped, and what is believed in the end."""

from __future__ import annotations

import pytest

from alprd.place import FASTEST, LATE_S, PositionTrack
from alprd.records import Position

SECOND = 1_000_000_000
LAT, LON = 46.82, -95.87
DEGREE = 111_195.0
ACCURACY = 4.5


class Drive:
    """A track that is told a fix a second, as metres north of the start."""

    def __init__(self) -> None:
        self.slept = 0
        self.track = PositionTrack(suspended_ns=lambda: self.slept)

    def fix(self, second: float, north_m: float) -> None:
        self.track.add(int(second * SECOND), LAT + north_m / DEGREE, LON, ACCURACY)

    def at(self, second: float) -> Position | None:
        return self.track.at(int(second * SECOND))

    def north(self, second: float) -> float:
        place = self.at(second)
        assert place is not None
        return (place.lat - LAT) * DEGREE


@pytest.fixture
def drive() -> Drive:
    """20 m/s north for ten seconds."""
    made = Drive()
    for second in range(11):
        made.fix(second, 20.0 * second)
    return made


@pytest.mark.policy("R-460.4.1-a2")
def test_a_single_outlier_is_dropped_and_the_track_goes_on_at_once(drive: Drive) -> None:
    drive.fix(11, 111_195)
    for second in (10.1, 10.9, 11.0, 11.5, 12.0):
        assert drive.at(second) is None  # in doubt: no position, neither old nor new
    assert drive.north(10) == pytest.approx(200)
    assert drive.track.dropped == 0
    drive.fix(12, 240)
    assert drive.north(12) == pytest.approx(240)
    assert drive.north(11) == pytest.approx(220, abs=0.1)
    assert drive.north(13) == pytest.approx(240)  # held
    assert drive.track.dropped == 1


@pytest.mark.policy("R-460.4.1-a2")
def test_a_new_place_is_believed_once_three_fixes_over_two_seconds_agree(drive: Drive) -> None:
    for second in (11, 12):
        drive.fix(second, 111_195 + 20 * second)
        assert drive.at(second) is None
    drive.fix(13, 111_195 + 260)
    assert drive.north(13) == pytest.approx(111_455)
    drive.fix(14, 111_195 + 280)
    assert drive.north(13.5) == pytest.approx(111_465, abs=0.1)
    assert drive.track.dropped == 0
    for tenth in range(101, 130):  # nothing is drawn across the jump, nor held into it
        assert drive.at(tenth / 10) is None
    assert drive.north(10) == pytest.approx(200)


def test_three_fixes_in_less_than_two_seconds_prove_nothing(drive: Drive) -> None:
    for tenth in range(110, 130):
        drive.fix(tenth / 10, 111_195)
        assert drive.at(tenth / 10) is None
    drive.fix(13.0, 111_195)
    assert drive.north(13.0) == pytest.approx(111_195)


@pytest.mark.policy("R-460.4.1-a2")
def test_a_receiver_that_leaps_about_is_never_believed(drive: Drive) -> None:
    for second in range(11, 60):
        drive.fix(second, 111_195 * (1 + second % 3))
        assert drive.at(second) is None
    drive.fix(60, 300)
    assert drive.north(60) == pytest.approx(300)
    assert drive.track.dropped == 49


@pytest.mark.parametrize("silence", [1.0, 60.0, 900.0])
def test_the_reach_grows_with_silence(drive: Drive, silence: float) -> None:
    """What can have been driven meanwhile is believed at once; a little more is doubted."""
    far = FASTEST * (silence + LATE_S) + 2 * ACCURACY
    drive.fix(10 + silence, 200 + far + 1)
    assert drive.at(10 + silence) is None
    again = Drive()
    again.fix(10, 200)
    again.fix(10 + silence, 200 + far - 1)
    assert again.north(10 + silence) == pytest.approx(200 + far - 1)


def test_a_sleep_of_the_machine_counts_as_time(drive: Drive) -> None:
    drive.slept = 3600 * SECOND
    drive.fix(11, 100_000)
    assert drive.north(11) == pytest.approx(100_000)


def test_after_a_jump_speed_is_not_reckoned_across_it(drive: Drive) -> None:
    for second in (11, 12, 13):
        drive.fix(second, 111_195)
    held = drive.at(14)
    assert held is not None and held.accuracy_m is not None
    assert held.accuracy_m < 60  # a pursuit's 40 m/s, not 111 km a second


def test_a_late_sentence_is_no_jump() -> None:
    """Two epochs arrive 20 ms apart, because the first one waited; the car drives 40 m/s."""
    drive = Drive()
    drive.fix(0, 0)
    drive.fix(1.98, 40)
    drive.fix(2.0, 80)
    assert drive.north(2.0) == pytest.approx(80)


def test_fixes_out_of_order_are_dropped_also_among_doubted_ones(drive: Drive) -> None:
    drive.fix(12, 111_195)
    drive.fix(11, 220)  # older than what is doubted
    assert drive.at(12) is None
    drive.fix(12.5, 250)
    assert drive.north(12.5) == pytest.approx(250)


def test_a_drive_of_hours_keeps_three_minutes_of_fixes(drive: Drive) -> None:
    """What nobody can ask for any more would only fill memory, for as long as the car drives."""
    for second in range(11, 4 * 3600):
        drive.fix(second, 20.0 * second)
    end = 4 * 3600 - 1
    assert drive.north(end - 120) == pytest.approx(20.0 * (end - 120), abs=1)
    assert drive.at(end - 600) is None
    assert len(drive.track._fixes) < 200


@pytest.mark.policy("R-460.4.1-a2")
@pytest.mark.parametrize("rate", [5, 10, 20])
def test_a_fast_receiver_makes_the_car_forget_no_sooner(drive: Drive, rate: int) -> None:
    """A pass may end two minutes after its best frame, whose place its read needs."""
    for number in range(11 * rate, 400 * rate):
        drive.fix(number / rate, 20.0 * number / rate)
    assert drive.north(399 - 150) == pytest.approx(20.0 * (399 - 150), abs=1)


def test_the_last_fix_before_a_long_silence_is_kept_for_the_way_to_the_next(drive: Drive) -> None:
    drive.fix(1000, 200 + 20 * 990)
    drive.fix(1001, 200 + 20 * 991)
    assert drive.at(500) is None
    assert drive.north(1000.5) == pytest.approx(200 + 20 * 990.5, abs=1)
