"""Lives of reads whatever the clocks do: never destroyed early, never kept late (R-460.5-2b)."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import jpeg, read, session_row
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from alprd.clock import ACQUIRE, CONFIRM_JUMP, SECOND, DisciplinedClock, to_ns
from alprd.crypto import generate_key, seal_read
from alprd.errors import RefusedError
from alprd.lives import Lives
from alprd.mark import LONGEST_WAIT, MARK_WINDOW, PurgeClock, TimeMark
from alprd.records import MAX_LIFE, destroy_by, new_id
from alprd.store import Store

TRUE_START = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEY = generate_key()
PICTURE = jpeg()
META = "time-mark"


class Car:
    """A car computer with its queue. ``true`` is the time that nobody in the car knows."""

    def __init__(self, folder: Path, *, drift: float = 0.0) -> None:
        self.true = TRUE_START
        self.system_error = timedelta(0)
        self.drift = drift
        self.boots = 0
        self.store = Store(folder / "queue.db", now=lambda: (TRUE_START, True), device="car-1")
        self.boot()

    def boot(self) -> None:
        """The daemon starts: a new boot, the mark as it was kept."""
        self.boots += 1
        self.mono = 40 * SECOND
        self.running = 40 * SECOND
        self.clock = DisciplinedClock(
            system_ns=lambda: to_ns(self.true + self.system_error),
            monotonic_ns=lambda: self.mono,
            suspended_ns=lambda: self.running - self.mono,
        )
        kept = TimeMark.load(self.store.get_meta(META))
        self.mark = PurgeClock(self.clock, kept, running_ns=lambda: self.running)
        self.lives = Lives(self.store, self.clock, self.mark, running_ns=lambda: self.running)
        self.keep()

    def keep(self) -> int:
        """What :class:`alprd.keeper.Keeper` does: purge, and keep the mark."""
        when = self.mark.purge_time()
        self.lives.settle()
        gone = self.store.expire(when) if when is not None else 0
        self.store.set_meta(META, self.mark.tick().dump())
        return gone

    def run(self, duration: timedelta) -> None:
        """Time goes by without GPS, by a crystal that is not exact."""
        ns = int(duration / timedelta(microseconds=1) * 1000 * (1 + self.drift))
        self.mono += ns
        self.running += ns
        self.true += duration

    def drive(self, seconds: int, error: timedelta = timedelta(0)) -> None:
        """Time goes by with GPS, which is ``error`` wrong."""
        for _ in range(seconds):
            self.run(timedelta(seconds=1))
            self.clock.observe(self.true + error, self.mono)

    def sleep(self, duration: timedelta) -> None:
        """The machine is suspended."""
        self.running += int(duration / timedelta(microseconds=1) * 1000)
        self.true += duration

    def power_off(self, duration: timedelta) -> None:
        """The power is cut, without warning, and comes back."""
        self.true += duration
        self.boot()

    def collect(self, life: timedelta = MAX_LIFE) -> str:
        """A read is committed, as :class:`alprd.collect.Collector` does it; its id."""
        instant, trusted = self.clock.now()
        made = read(
            id=new_id(),
            instant=instant,
            time_trusted=trusted,
            destroy_by=self.lives.end(instant, trusted, life),
            plate_picture=PICTURE,
            wide_picture=None,
        )
        sealed = seal_read(made, agency="becker", vehicle="car-1", intake_key=KEY.public_key())
        self.store.commit_read(sealed, hit=False, session_row=session_row(id=made.session))
        if not trusted:
            self.lives.unsure(made.id, 0, life)
        return made.id

    def ends(self) -> dict[str, datetime]:
        """Destroy-by in the queue of every read that is left."""
        return {
            id_: datetime.strptime(end, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            for id_, end in self.store._rows("SELECT id, destroy_by FROM reads")
        }


@pytest.fixture
def car(tmp_path: Path) -> Car:
    return Car(tmp_path)


WRONG = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)]


@pytest.mark.policy("R-460.5-2b", "R-460.5-4")
@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_system_clock_neither_destroys_early_nor_keeps_late(
    car: Car, said: datetime
) -> None:
    car.mark.central(car.true, car.mono)
    car.keep()
    car.power_off(30 * DAY)
    car.system_error = said - car.true
    taken = car.true
    id_ = car.collect()
    assert car.ends()[id_] <= taken + MAX_LIFE  # not by 2099, and not 60 days after 1970
    car.run(HOUR)
    assert car.keep() == 0 and id_ in car.ends()
    car.drive(ACQUIRE[0] + 1)
    car.keep()
    assert car.ends()[id_] == destroy_by(taken)  # by its true instant, to the hour
    car.power_off(59 * DAY)
    car.drive(ACQUIRE[0] + 1)
    assert car.keep() == 0
    car.power_off(DAY)
    car.drive(ACQUIRE[0] + 1)
    assert car.keep() == 1


@pytest.mark.policy("R-460.5-2b")
def test_a_read_whose_boot_never_learns_the_time_lives_no_longer(car: Car) -> None:
    car.mark.central(car.true, car.mono)
    known = car.true
    car.keep()
    car.power_off(30 * DAY)
    id_ = car.collect()
    car.power_off(DAY)  # before any GPS
    assert car.ends()[id_] == destroy_by(known)
    car.power_off(28 * DAY)
    car.drive(ACQUIRE[0] + 1)
    assert car.keep() == 0
    car.power_off(2 * DAY)
    car.drive(ACQUIRE[0] + 1)
    assert car.keep() == 1


@pytest.mark.policy("R-460.5-2b")
def test_a_reset_of_the_clock_while_running_changes_nothing(car: Car) -> None:
    car.drive(10)
    id_ = car.collect()
    for said in WRONG:
        car.system_error = said - car.true
        car.run(2 * HOUR)
        assert car.keep() == 0
        later = car.collect()
        assert abs(car.ends()[later] - (car.true + MAX_LIFE)) <= HOUR
    assert car.ends()[id_] == destroy_by(TRUE_START + timedelta(seconds=10))


@pytest.mark.policy("R-460.5-2b")
def test_reads_of_a_poisoned_time_are_cut_when_central_repairs_it(car: Car) -> None:
    car.mark.central(car.true, car.mono)
    old = car.collect()
    car.keep()
    car.power_off(DAY)
    spoof = 40 * DAY
    car.drive(ACQUIRE[0] + 1, error=spoof)
    assert car.clock.now()[1]  # taken: nothing in the car contradicts it
    late = car.collect()
    assert car.ends()[late] > car.true + MAX_LIFE + 39 * DAY
    car.keep()
    car.mark.central(car.true, car.mono)
    bound = car.mark.mark.lower_bound()
    assert bound is not None and abs(bound - car.true) < timedelta(seconds=1)
    car.clock.begin_session()
    car.keep()
    assert car.ends()[late] <= car.true + MAX_LIFE
    assert old in car.ends()  # the spoof did not reach its end


@pytest.mark.policy("R-460.5-2b")
def test_a_spoofed_receiver_cannot_creep_to_2035(car: Car) -> None:
    car.mark.central(car.true, car.mono)
    car.keep()
    for days in (300, 600, 1200, 3000):
        car.power_off(HOUR)
        car.drive(CONFIRM_JUMP[0] + 10, error=days * DAY)
        bound = car.mark.tick().lower_bound()
        assert bound is not None and bound < TRUE_START + MARK_WINDOW + DAY
        car.keep()
    assert car.clock.status().disbelieved > 0 and not car.clock.now()[1]


@pytest.mark.policy("R-13.824-6-6")
def test_no_permit_is_judged_by_a_clock_that_is_proven_wrong(car: Car) -> None:
    car.mark.central(car.true, car.mono)
    car.keep()
    car.power_off(30 * DAY)
    assert car.clock.judging_time() == car.true  # plausible: after the mark, within the window
    for said in (*WRONG, TRUE_START - HOUR):
        car.system_error = said - car.true
        with pytest.raises(RefusedError) as caught:
            car.clock.judging_time()
        assert caught.value.reason == "time_unknown"
    car.drive(ACQUIRE[0] + 1)
    assert abs(car.clock.judging_time() - car.true) < timedelta(seconds=1)


@pytest.mark.policy("R-460.5-2b")
def test_a_lost_mark_gets_a_floor_from_the_permit(car: Car) -> None:
    fresh = PurgeClock(car.clock, running_ns=lambda: car.running)
    assert fresh.bounds() is None
    fresh.at_least(TRUE_START)
    bounds = fresh.bounds()
    assert bounds is not None and bounds[0] == TRUE_START
    car.run(HOUR)
    fresh.at_least(TRUE_START)  # lower than what it has become: changes nothing
    bounds = fresh.bounds()
    assert bounds is not None and timedelta(0) <= TRUE_START + HOUR - bounds[0] < HOUR / 1000


errors = st.sampled_from(
    [timedelta(0), -30 * DAY, 30 * DAY, -400 * DAY, 500 * DAY, *(w - TRUE_START for w in WRONG)]
)


class AnyClock(RuleBasedStateMachine):
    """Any order of driving, garages, sleeps, power cuts, clock resets and docks.

    Two promises, for a car whose GPS and central tell the truth:

    - a read is destroyed only after its life by the true time is over; one collected in a boot
      that never learnt the time, only after 60 days from the latest time that was certain then;
      and any, after a stated longest wait without trusted time;
    - no stored end lies beyond 60 days from the true instant, and when time is trusted and the
      purge has run, no read is left whose end has come.
    """

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a place: not durability is tested, and each step commits.
        memory = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)

    @initialize(drift=st.sampled_from([-5e-5, 0.0, 5e-5]), docked=st.booleans())
    def begin(self, drift: float, docked: bool) -> None:
        self.car = Car(Path(self.folder.name), drift=drift)
        # id: true instant, boot, earliest end that may be told (by certain time alone)
        self.taken: dict[str, tuple[datetime, int, datetime]] = {}
        self.settled: set[str] = set()
        self.car.mark.central(self.car.true, self.car.mono)
        self.car.keep()
        if not docked:
            self.car.power_off(timedelta(minutes=1))

    def purge(self) -> None:
        car = self.car
        before = set(car.ends())
        waited = car.mark.tick().overdue()
        if car.clock.now()[1]:  # the reads of this boot have their true end from here on
            self.settled |= {i for i, (_, boot, _) in self.taken.items() if boot == car.boots}
        car.keep()
        after = car.ends()
        for id_ in before - set(after):
            instant, _, certain = self.taken[id_]
            sure = destroy_by(instant - timedelta(minutes=1))
            assert car.true >= (sure if id_ in self.settled else certain) or waited
        if car.clock.now()[1]:
            for id_ in after:
                assert car.true < self.taken[id_][0] + MAX_LIFE + timedelta(minutes=1)

    @rule(minutes=st.integers(0, 600), gps=st.booleans(), parts=st.integers(1, 3))
    def go(self, minutes: int, gps: bool, parts: int) -> None:
        for _ in range(parts):
            self.car.run(timedelta(minutes=minutes) / parts)
            if gps:
                self.car.drive(CONFIRM_JUMP[0] + 2 if minutes > 300 else ACQUIRE[0] + 1)
            self.purge()

    @rule(hours=st.integers(1, 24 * 70), saved=st.booleans(), error=errors, collects=st.booleans())
    def cut(self, hours: int, saved: bool, error: timedelta, collects: bool) -> None:
        if not saved:
            self.car.run(timedelta(seconds=59))  # the mark was kept a minute ago
        self.car.system_error = error
        self.car.power_off(hours * HOUR)
        if collects:
            self.collect()

    @rule(hours=st.integers(1, 200))
    def suspend(self, hours: int) -> None:
        self.car.sleep(hours * HOUR)

    @rule(error=errors)
    def set_clock(self, error: timedelta) -> None:
        self.car.system_error = error

    @rule()
    def dock(self) -> None:
        self.car.mark.central(self.car.true, self.car.mono)
        self.purge()

    @rule()
    def session(self) -> None:
        self.car.clock.begin_session()

    @rule()
    def collect(self) -> None:
        car = self.car
        bounds = car.mark.bounds()
        drifted = (car.true - TRUE_START) * 1e-4  # twice what the quartz may be off
        assert bounds is not None
        assert bounds[0] <= car.true + drifted + timedelta(seconds=1)
        certain = destroy_by(min(bounds[0], car.true) - timedelta(minutes=1))
        self.taken[car.collect()] = (car.true, car.boots, certain)
        id_ = next(reversed(self.taken))
        if car.clock.now()[1]:
            self.settled.add(id_)

    @invariant()
    def no_end_is_too_late(self) -> None:
        if not hasattr(self, "car"):
            return
        for id_, end in self.car.ends().items():
            assert end <= self.taken[id_][0] + MAX_LIFE + timedelta(seconds=10)

    def teardown(self) -> None:
        if hasattr(self, "car"):
            self.car.store.close()
        self.folder.cleanup()


TestAnyClock = pytest.mark.policy("R-460.5-2b", "R-460.5-4")(AnyClock.TestCase)
TestAnyClock.settings = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.policy("R-460.5-2b")
def test_the_longest_wait_lets_the_untrusted_clock_decide(car: Car) -> None:
    car.mark.central(car.true, car.mono)
    id_ = car.collect()
    car.keep()
    car.power_off(100 * DAY)  # the system clock is right, but nothing vouches for it
    car.run(LONGEST_WAIT - DAY)
    assert car.keep() == 0 and id_ in car.ends()
    car.run(DAY + HOUR)
    assert car.mark.tick().overdue() and car.keep() == 1
