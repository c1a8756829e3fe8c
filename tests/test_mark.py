"""The time mark: what it takes in, what it bounds, what it survives."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.clock import EARLIEST, LATEST, SECOND, DisciplinedClock
from alprd.instants import DRIFT
from alprd.mark import LONGEST_WAIT, MARK_WINDOW, PurgeClock, TimeMark

START = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)

times = st.datetimes(datetime(2025, 1, 2), datetime(2044, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"utc": null}',
        json.dumps({"utc": "2026-11-20T06:00:00", "ran_s": 1, "central": None}),
        json.dumps({"utc": "9999-12-31T23:59:59+00:00", "ran_s": 1, "central": None}),
        json.dumps({"utc": "0001-01-01T00:00:00+00:00", "ran_s": 1, "central": None}),
        json.dumps({"utc": None, "ran_s": -1, "central": None}),
        json.dumps({"utc": None, "ran_s": 1e300, "central": None}),
        '{"utc": null, "ran_s": NaN, "central": null}',
        json.dumps({"utc": 3, "ran_s": 1, "central": None}),
    ],
)
def test_a_damaged_mark_is_none_at_all(text: str) -> None:
    assert TimeMark.load(text) == TimeMark()


@pytest.mark.policy("R-460.5-2b")
@given(
    central=times,
    ran=st.timedeltas(timedelta(0), timedelta(days=900)),
    told=st.lists(times, max_size=5),
)
def test_gps_never_carries_the_mark_out_of_centrals_window(
    central: datetime, ran: timedelta, told: list[datetime]
) -> None:
    mark = TimeMark().by_central(central).advanced(ran)
    floor = mark.lower_bound()
    assert floor is not None
    for utc in told:
        mark = mark.raised(utc)
        bound = mark.lower_bound()
        assert bound is not None and bound >= floor
        assert bound == floor or bound < min(central + MARK_WINDOW, LATEST)
        floor = bound


@given(utc=times, other=times)
def test_a_signed_document_lifts_the_floor_and_never_lowers_it(
    utc: datetime, other: datetime
) -> None:
    assert TimeMark().at_least(utc).lower_bound() == utc
    mark = TimeMark().by_central(utc).at_least(other)
    assert mark.lower_bound() == max(utc, other)
    assert TimeMark.load(mark.dump()) == mark


def test_without_any_certain_time_the_first_is_taken_from_the_window() -> None:
    assert TimeMark().bounds() is None
    assert TimeMark().raised(EARLIEST - DAY) == TimeMark() == TimeMark().raised(LATEST)
    assert TimeMark().raised(START).bounds() == (START, START + MARK_WINDOW)


def test_running_time_counts_short_by_the_worst_of_crystals() -> None:
    """A fast crystal must not bring the mark ahead of the true time: that destroys early."""
    running = [0]
    purge = PurgeClock(DisciplinedClock(), running_ns=lambda: running[0])
    purge.at_least(START)
    for _ in range(10):  # ticks do not add up errors of their own
        running[0] += int(6 * 24 * 3600 * SECOND * (1 + DRIFT / 2))
        purge.tick()
    bound = purge.mark.lower_bound()
    assert bound is not None
    assert START + 60 * DAY - timedelta(minutes=10) < bound <= START + 60 * DAY
    assert purge.mark.overdue() and purge.mark.ran > LONGEST_WAIT


@pytest.mark.policy("R-460.5-4")
def test_the_latest_end_is_told_only_in_trusted_time() -> None:
    clock = DisciplinedClock()
    purge = PurgeClock(clock)
    purge.at_least(START)
    assert purge.latest_destroy_by() is None
    purge.central(START + DAY)
    assert purge.latest_destroy_by() == START + 61 * DAY
    assert clock.now()[1]


@pytest.mark.policy("R-460.5-2b")
def test_life_counts_from_the_earliest_that_the_time_can_be() -> None:
    purge = PurgeClock(DisciplinedClock(), TimeMark().by_central(START), running_ns=lambda: 0)
    for said in (START + DAY, datetime(2099, 1, 1, tzinfo=UTC)):
        assert purge.life_from(said, trusted=False) == START
        assert purge.life_from(said, trusted=True) == said
    assert purge.life_from(START - DAY, trusted=False) == START - DAY


@pytest.mark.policy("R-460.5-2b")
def test_an_impossible_clock_destroys_nothing_however_long_it_is_alone() -> None:
    waited = TimeMark().by_central(START).advanced(LONGEST_WAIT + DAY)
    assert waited.overdue()
    for said in (datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)):
        assert waited.purge_time(said) == waited.lower_bound()
    assert waited.purge_time(START + 30 * DAY) == START + 30 * DAY
