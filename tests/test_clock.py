"""Disciplined clock, time mark and position track."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.clock import (
    ACQUIRE,
    CONFIRM_JUMP,
    HOLDOVER_NS,
    SECOND,
    DisciplinedClock,
    PositionTrack,
    from_ns,
    to_ns,
)
from alprd.mark import LONGEST_WAIT, PurgeClock, TimeMark

TRUE_START = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Car:
    """A car computer: a monotonic clock, a system clock that may be wrong, and the true time."""

    system_start: datetime = TRUE_START
    mono: int = 40 * SECOND
    slept: int = 0
    clock: DisciplinedClock = field(init=False)

    def __post_init__(self) -> None:
        origin = self.mono
        self.clock = DisciplinedClock(
            system_ns=lambda: to_ns(self.system_start) + self.mono - origin,
            monotonic_ns=lambda: self.mono,
            suspended_ns=lambda: self.slept,
        )
        self._origin = origin

    def true(self) -> datetime:
        return TRUE_START + timedelta(microseconds=(self.mono + self.slept - self._origin) // 1000)

    def drive(self, seconds: int, *, gps: bool = True, error: timedelta = timedelta(0)) -> None:
        for _ in range(seconds):
            self.mono += SECOND
            if gps:
                self.clock.observe(self.true() + error, self.mono)

    def error(self) -> timedelta:
        return abs(self.clock.utc(self.mono)[0] - self.true())


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_nanoseconds_and_back(instant: datetime) -> None:
    assert from_ns(to_ns(instant)) == instant


@pytest.mark.policy("R-460.4.1-a2")
@pytest.mark.parametrize("year", [1970, 2026, 2099])
def test_system_clock_is_a_fallback_and_never_trusted(year: int) -> None:
    car = Car(system_start=datetime(year, 1, 1, tzinfo=UTC))
    utc, trusted = car.clock.utc(car.mono)
    assert (utc.year, trusted) == (year, False)
    assert car.clock.system_agrees() is None
    car.drive(10)
    assert car.clock.utc(car.mono)[1] and car.error() < timedelta(milliseconds=1)
    assert car.clock.system_agrees() is False or year == 2026
    # A frame from before the first fix gets the true time as well.
    assert car.clock.utc(40 * SECOND) == (TRUE_START, True)


def test_trust_needs_agreeing_observations_over_some_seconds() -> None:
    car = Car()
    car.drive(ACQUIRE[0] - 1)
    assert not car.clock.status().trusted
    car.drive(1)
    assert car.clock.status().trusted
    burst = Car()
    for _ in range(50):  # many at once are one opinion
        burst.clock.observe(burst.true(), burst.mono)
    assert not burst.clock.status().trusted


def test_trust_ends_after_the_holdover_and_returns_with_gps() -> None:
    car = Car()
    car.drive(10)
    car.mono += HOLDOVER_NS - SECOND
    assert car.clock.utc(car.mono)[1]
    car.mono += 2 * SECOND
    utc, trusted = car.clock.utc(car.mono)
    assert not trusted
    assert abs(utc - car.true()) < timedelta(seconds=1)  # the time held goes on
    car.drive(1)
    assert car.clock.utc(car.mono)[1]


def test_single_outliers_change_nothing() -> None:
    car = Car()
    car.drive(10)
    for wrong in (timedelta(days=3000), -timedelta(hours=1), timedelta(seconds=40)):
        car.drive(CONFIRM_JUMP[0] // 2, error=wrong)
        assert car.error() < timedelta(milliseconds=1)
        assert car.clock.utc(car.mono)[1]
        car.drive(1)
    assert car.clock.status().rejected == 3 * (CONFIRM_JUMP[0] // 2)


def test_confirmed_forward_jump_is_taken() -> None:
    car = Car()
    car.drive(10, error=-timedelta(hours=2))
    epoch = car.clock.status().epoch
    before = car.clock.utc(car.mono)[0]
    car.drive(CONFIRM_JUMP[0] + 1)
    assert car.error() < timedelta(milliseconds=1)
    assert car.clock.status().epoch == epoch + 1
    assert car.clock.utc(car.mono)[0] > before
    # Frames from before the step keep the answer that they had, now without trust.
    assert car.clock.utc(50 * SECOND) == (TRUE_START + timedelta(seconds=10, hours=-2), False)


def test_backward_jump_waits_for_the_next_session() -> None:
    car = Car()
    car.drive(10, error=timedelta(hours=2))
    before = car.clock.utc(car.mono)[0]
    car.drive(CONFIRM_JUMP[0] + 1)
    utc, trusted = car.clock.utc(car.mono)
    assert utc > before and not trusted and car.clock.status().step_pending
    car.clock.begin_session()
    assert car.clock.utc(car.mono)[1] and car.error() < timedelta(milliseconds=1)


def test_missing_leap_seconds_are_slewed_away() -> None:
    car = Car()
    car.drive(10, error=timedelta(seconds=3))
    instants = []
    for _ in range(120):
        car.drive(1)
        utc, trusted = car.clock.utc(car.mono)
        assert trusted
        instants.append(utc)
    assert instants == sorted(instants) and len(set(instants)) == len(instants)
    assert car.error() < timedelta(milliseconds=2)


def test_sleep_of_the_machine_forgets_the_time() -> None:
    car = Car()
    car.drive(10)
    car.slept += 3600 * SECOND
    assert not car.clock.utc(car.mono)[1]
    car.drive(6)
    assert car.clock.utc(car.mono)[1] and car.error() < timedelta(milliseconds=1)


def test_central_time_outranks_a_lying_receiver() -> None:
    car = Car(system_start=datetime(1970, 1, 1, tzinfo=UTC))
    car.clock.observe_central(car.true(), car.mono)
    assert car.clock.utc(car.mono) == (car.true(), True)
    assert car.clock.status().source == "central"
    car.drive(100, error=timedelta(days=20))
    assert car.error() < timedelta(milliseconds=1)
    car.drive(10, error=timedelta(seconds=2))  # central was 2 s late; GPS refines it
    assert car.clock.status().source == "gps"
    assert car.clock.utc(car.mono)[1]


def test_central_time_renews_trust_without_gps() -> None:
    car = Car()
    car.drive(10)
    car.clock.observe_central(car.true() + timedelta(seconds=5), car.mono)
    assert car.clock.status().source == "gps" and car.error() < timedelta(milliseconds=1)
    car.mono += 2 * HOLDOVER_NS
    assert not car.clock.status().trusted
    for _ in range(2):
        car.clock.observe_central(car.true() + timedelta(seconds=1), car.mono)
        status = car.clock.status()
        assert status.trusted and status.source == "central" and status.age_s == 0
        car.mono += 20 * 3600 * SECOND
        assert car.clock.utc(car.mono)[1] and car.error() <= timedelta(seconds=1)


@pytest.mark.parametrize("year", [1980, 2019, 2099])
def test_times_outside_the_window_are_never_taken(year: int) -> None:
    car = Car()
    for second in range(60):
        car.mono += SECOND
        car.clock.observe(datetime(year, 1, 1, 0, 0, second, tzinfo=UTC), car.mono)
    assert not car.clock.status().trusted


def test_observation_without_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        Car().clock.observe(datetime(2026, 1, 1), 0)


_steps = st.lists(
    st.tuples(
        st.integers(0, 3),  # seconds to the next event
        st.sampled_from([None, 0, 0, 0, 0.2, -0.3, 5, -5, 3600, -3600, 86_400 * 900]),
        st.integers(-3, 3),  # query this many seconds around now
    ),
    max_size=120,
)


@given(_steps, st.sampled_from([1970, 2026, 2099]))
def test_trusted_time_never_runs_backwards_within_a_session(
    steps: list[tuple[int, float | None, int]], year: int
) -> None:
    """Whatever the receiver says, in whatever order old and new frames are asked for."""
    car = Car(system_start=datetime(year, 5, 1, tzinfo=UTC))
    answers: list[tuple[int, datetime]] = []
    epoch = 0
    for wait, error, around in steps:
        for _ in range(wait * 5):
            car.drive(1, gps=error is not None, error=timedelta(seconds=error or 0))
        asked = min(car.mono, car.mono + around * SECOND // 2)
        utc, trusted = car.clock.utc(asked)
        assert car.clock.utc(asked) == (utc, trusted)
        if car.clock.status().epoch != epoch:  # a first time or a step forward
            epoch, answers = car.clock.status().epoch, []
        if trusted:
            answers.append((asked, utc))
    for (mono_a, utc_a), (mono_b, utc_b) in zip(sorted(answers), sorted(answers)[1:], strict=False):
        assert utc_a <= utc_b, (mono_a, mono_b)


# --- the mark for destruction


@pytest.mark.policy("R-460.5-2b", "R-460.5-4")
def test_rollback_never_extends_life() -> None:
    mark = TimeMark().raised(TRUE_START).advanced(timedelta(hours=5))
    due = TRUE_START + timedelta(hours=4)
    purge = mark.purge_time(datetime(1970, 1, 1, tzinfo=UTC))
    assert purge is not None and purge >= due
    assert mark.raised(TRUE_START - 3 * DAY).lower_bound() == mark.lower_bound()


@pytest.mark.policy("R-460.5-2b")
def test_untrusted_jump_forward_locks_and_destroys_nothing() -> None:
    mark = TimeMark().raised(TRUE_START)
    due, wrong = TRUE_START + 60 * DAY, datetime(2099, 1, 1, tzinfo=UTC)
    purge = mark.purge_time(wrong)
    assert purge is not None and purge < due
    assert mark.locked(due, wrong)
    assert not mark.locked(due, TRUE_START)
    waited = mark.advanced(LONGEST_WAIT)
    assert waited.purge_time(wrong) == waited.lower_bound()  # 2099 is impossible, ever
    assert waited.purge_time(due) == due  # a possible clock decides after the stated wait


@pytest.mark.policy("R-460.5-2b")
def test_poisoned_mark_is_bounded_and_repaired_by_central_only() -> None:
    mark = TimeMark().by_central(TRUE_START)
    assert mark.raised(datetime(2040, 1, 1, tzinfo=UTC)) == mark
    poisoned = mark.raised(TRUE_START + 300 * DAY)
    assert poisoned.lower_bound() == TRUE_START + 300 * DAY
    assert poisoned.raised(TRUE_START + DAY).lower_bound() == TRUE_START + 300 * DAY
    assert poisoned.by_central(TRUE_START) == poisoned  # a replay repairs nothing
    assert poisoned.by_central(TRUE_START + DAY).lower_bound() == TRUE_START + DAY


def test_nothing_certain_destroys_nothing() -> None:
    assert TimeMark().purge_time() is None
    assert TimeMark().purge_time(TRUE_START) is None
    assert TimeMark().locked(TRUE_START, TRUE_START + DAY)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("run"), st.integers(0, 10**6)),
            st.tuples(st.just("gps"), st.integers(-(10**9), 10**9)),
        ),
        max_size=40,
    )
)
def test_without_central_the_mark_only_rises(events: list[tuple[str, int]]) -> None:
    mark = TimeMark().raised(TRUE_START)
    for kind, value in events:
        delta = timedelta(seconds=value)
        new = mark.advanced(delta) if kind == "run" else mark.raised(TRUE_START + delta)
        old_bound, new_bound = mark.lower_bound(), new.lower_bound()
        assert old_bound is not None and new_bound is not None and new_bound >= old_bound
        mark = new


def test_purge_clock_follows_trusted_time_only() -> None:
    clock = DisciplinedClock()
    purge = PurgeClock(clock)
    assert purge.purge_time() is None
    purge.central(TRUE_START)
    told = purge.purge_time()
    assert told is not None and timedelta(0) <= told - TRUE_START < timedelta(seconds=10)
    assert purge.mark.central == TRUE_START


# --- position


def test_position_between_fixes_is_interpolated() -> None:
    track = PositionTrack()
    track.add(10 * SECOND, 46.80, -95.80, 4.0)
    track.add(11 * SECOND, 46.8004, -95.8002, 6.0)  # 47 m
    middle = track.at(10 * SECOND + SECOND // 2)
    assert middle is not None and middle.accuracy_m is not None
    assert middle.lat == pytest.approx(46.8002, abs=1e-9)
    assert middle.lon == pytest.approx(-95.8001, abs=1e-9)
    assert 5.0 <= middle.accuracy_m < 5.1
    exact = track.at(10 * SECOND)
    assert exact is not None and exact.lat == 46.80 and exact.accuracy_m == pytest.approx(4.0)


@pytest.mark.policy("R-460.4.1-a2")
def test_no_position_is_invented() -> None:
    track = PositionTrack()
    assert track.at(0) is None
    track.add(10 * SECOND, 46.8, -95.8, 4.0)
    track.add(17 * SECOND, 46.802, -95.802, 4.0)  # a tunnel of 7 s
    assert track.at(9 * SECOND) is None
    assert track.at(13 * SECOND) is None
    assert track.at(19 * SECOND + 1) is None


def test_a_held_fix_grows_uncertain_with_the_way_driven() -> None:
    track = PositionTrack()
    track.add(10 * SECOND, 46.8, -95.8, 4.0)
    track.add(11 * SECOND, 46.8 + 30 / 111_195, -95.8, 4.0)  # 30 m/s north
    held = track.at(12 * SECOND)
    assert held is not None and held.accuracy_m is not None
    assert held.lat == pytest.approx(46.8 + 30 / 111_195)
    assert 30 <= held.accuracy_m < 35


def test_the_date_line_is_crossed_the_short_way() -> None:
    track = PositionTrack()
    track.add(0, 52.0, 179.9998, 5.0)
    track.add(SECOND, 52.0, -179.9998, 5.0)
    middle = track.at(SECOND // 2)
    assert middle is not None and abs(middle.lon) == pytest.approx(180.0)


@pytest.mark.parametrize(
    ("lat", "lon", "accuracy"), [(91, 0, 1), (0, 181, 1), (float("nan"), 0, 1), (0, 0, -1)]
)
def test_impossible_fixes_are_errors_without_the_numbers(
    lat: float, lon: float, accuracy: float
) -> None:
    with pytest.raises(ValueError, match=r"^fix is not a place on Earth$"):
        PositionTrack().add(0, lat, lon, accuracy)


@pytest.mark.policy("R-460.4.1-a2")
def test_hours_of_wandering_time_keep_minutes_of_its_course() -> None:
    """An answer of two minutes ago stands as it was given; the course before that is forgotten."""
    car = Car()
    given: list[tuple[int, datetime]] = []
    for second in range(4 * 3600):
        car.drive(1, error=timedelta(milliseconds=100 * math.sin(second / 40)))
        given.append((car.mono, car.clock.utc(car.mono)[0]))
    for mono, told in given[-120:]:
        assert abs(car.clock.utc(mono)[0] - told) < timedelta(microseconds=5)
    assert len(car.clock._segments) < 200
