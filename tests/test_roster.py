"""Sign-on against the roster: who is admitted, who is refused and why."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd import totp
from alprd.errors import InputError, RefusedError
from alprd.roster import (
    FAILURE_WINDOW_S,
    MAX_FAILURES,
    PURPOSES,
    LockedError,
    RosterBook,
    hash_password,
)
from alprd.store import Store
from alprd.wire import Person, Roster

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
PASSWORD = "a long invented phrase"
# The cheapest parameters Argon2 takes: the cost is not what these tests are about.
VERIFIER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


class Seconds:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def person(**changes: object) -> Person:
    fields: dict[str, object] = {
        "id": "dep.one",
        "name": "Deputy One",
        "roles": ("operator",),
        "verifier": VERIFIER,
        "training_expires": NOW + timedelta(days=30),
        "authorised_until": NOW + timedelta(days=30),
        "clearances": ("stolen",),
    }
    return Person.model_validate(fields | changes)


def roster(*people: Person, expires: datetime = NOW + timedelta(days=3)) -> Roster:
    return Roster(
        agency="becker",
        issued=NOW - timedelta(days=1),
        expires=expires,
        people=people or (person(),),
    )


def book(*people: Person, clock: Seconds | None = None) -> RosterBook:
    made = RosterBook(monotonic=clock or Seconds())
    made.load(roster(*people))
    return made


def refused(made: RosterBook, password: str = PASSWORD, who: str = "dep.one", **at: object) -> str:
    with pytest.raises(RefusedError) as caught:
        made.sign_on(who, password, **({"now": NOW, "trusted": True} | at))  # type: ignore[arg-type]
    assert caught.value.message
    return caught.value.reason


def test_hash_password_makes_argon2id() -> None:
    verifier = hash_password("x" * 12)
    assert verifier.startswith("$argon2id$")
    assert book(person(verifier=verifier)).sign_on("dep.one", "x" * 12, now=NOW, trusted=True)
    with pytest.raises(InputError):
        hash_password("")


def test_right_password_signs_on() -> None:
    assert book().sign_on("dep.one", PASSWORD, now=NOW, trusted=False).name == "Deputy One"


@pytest.mark.policy("R-460.4-d")
def test_refusals_after_the_right_password() -> None:
    assert refused(book(person(roles=("auditor",)))) == "no_operator_role"
    assert refused(book(person(training_expires=NOW))) == "training_expired"
    assert refused(book(person(authorised_until=NOW))) == "not_authorised"


def test_nothing_about_a_person_is_told_before_the_password() -> None:
    made = book(person(training_expires=NOW))
    assert refused(made, password="wrong") == "wrong_password"
    assert refused(made, who="nobody", password="wrong") == "wrong_password"
    assert refused(made, password="x" * 5000) == "wrong_password"
    assert refused(made, password="\ud800") == "wrong_password"


@pytest.mark.policy("R-460.4-d")
def test_stale_or_missing_roster_refuses() -> None:
    assert refused(RosterBook()) == "no_roster"
    assert refused(book(), now=NOW + timedelta(days=4)) == "roster_expired"


@pytest.mark.policy("R-460.4-d")
def test_clock_moved_back_refuses() -> None:
    made = book()
    assert refused(made, now=NOW - timedelta(days=2)) == "clock_moved"  # before the issue
    made.sign_on("dep.one", PASSWORD, now=NOW + timedelta(hours=5), trusted=True)
    assert refused(made, now=NOW, trusted=False) == "clock_moved"
    # An untrusted jump forward raises no mark: a wrong clock must not lock the car out.
    fresh = book()
    fresh.sign_on("dep.one", PASSWORD, now=NOW + timedelta(hours=5), trusted=False)
    fresh.sign_on("dep.one", PASSWORD, now=NOW, trusted=False)


@pytest.mark.policy("R-CJIS-3")
def test_five_failures_lock_for_fifteen_minutes() -> None:
    clock = Seconds()
    made = book(clock=clock)
    for _ in range(MAX_FAILURES - 1):
        assert refused(made, password="wrong") == "wrong_password"
    with pytest.raises(LockedError) as caught:
        made.sign_on("dep.one", "wrong", now=NOW, trusted=True)
    assert caught.value.began
    clock.now += FAILURE_WINDOW_S - 1
    with pytest.raises(LockedError) as caught:
        made.sign_on("dep.one", PASSWORD, now=NOW + timedelta(days=1), trusted=False)
    assert not caught.value.began
    clock.now += 2
    made.sign_on("dep.one", PASSWORD, now=NOW, trusted=True)


def test_unknown_names_lock_as_known_ones_do() -> None:
    made = book()
    reasons = [refused(made, who="nobody", password="wrong") for _ in range(MAX_FAILURES + 1)]
    assert reasons == ["wrong_password"] * (MAX_FAILURES - 1) + ["locked"] * 2


def test_failures_grow_old_and_success_clears_them() -> None:
    clock = Seconds()
    made = book(clock=clock)
    for _ in range(3 * MAX_FAILURES):
        assert refused(made, password="wrong") == "wrong_password"
        clock.now += FAILURE_WINDOW_S / (MAX_FAILURES - 1) + 1
    for _ in range(2 * MAX_FAILURES):
        assert refused(made, password="wrong") == "wrong_password"
        made.sign_on("dep.one", PASSWORD, now=NOW, trusted=True)


def test_parallel_guesses_do_not_slip_past_the_count() -> None:
    made = book()
    reasons: list[str] = []

    def guess() -> None:
        try:
            made.sign_on("dep.one", "wrong", now=NOW, trusted=True)
        except RefusedError as error:
            reasons.append(error.reason)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reasons.count("wrong_password") == MAX_FAILURES - 1
    assert reasons.count("locked") == 12 - (MAX_FAILURES - 1)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1000)), max_size=40))
@settings(max_examples=40, deadline=None)
def test_lock_holds_exactly_when_five_failures_lie_in_the_window(
    tries: list[tuple[bool, float]],
) -> None:
    clock = Seconds()
    made = book(clock=clock)
    failures: list[float] = []
    locked_until = 0.0
    for right, pause in tries:
        clock.now += pause
        try:
            made.sign_on("dep.one", PASSWORD if right else "wrong", now=NOW, trusted=True)
            outcome = "on"
        except RefusedError as error:
            outcome = error.reason
        if clock.now < locked_until:
            assert outcome == "locked"
        elif right:
            assert outcome == "on"
            failures.clear()
        else:
            failures = [*(at for at in failures if at > clock.now - FAILURE_WINDOW_S), clock.now]
            if len(failures) >= MAX_FAILURES:
                assert outcome == "locked"
                locked_until = clock.now + FAILURE_WINDOW_S
                failures.clear()
            else:
                assert outcome == "wrong_password"


@pytest.mark.policy("R-460.4-d")
def test_authorise_follows_a_newer_roster() -> None:
    made = book()
    made.sign_on("dep.one", PASSWORD, now=NOW, trusted=True)
    assert made.authorise("dep.one", now=NOW + timedelta(days=4))  # stale roster: may go on
    with pytest.raises(RefusedError, match="training"):
        made.authorise("dep.one", now=NOW + timedelta(days=31))
    made.load(roster(person(id="dep.two")))
    with pytest.raises(RefusedError) as caught:
        made.authorise("dep.one", now=NOW)
    assert caught.value.reason == "revoked"


@pytest.mark.policy("R-460.4-0")
def test_bad_roster_leaves_the_former_in_force() -> None:
    made = book()
    heavy = "$argon2id$v=19$m=99999999,t=1,p=1$" + VERIFIER.split("$", 4)[4]
    for people in (
        (person(), person()),
        (person(verifier="plain"),),
        (person(verifier=VERIFIER.replace("argon2id", "argon2i")),),
        (person(verifier=heavy),),
    ):
        with pytest.raises(InputError, match="roster, person"):
            made.load(roster(*people))
    made.sign_on("dep.one", PASSWORD, now=NOW, trusted=True)


@pytest.mark.policy("R-460.3-1")
def test_purposes_are_closed() -> None:
    assert len(PURPOSES) == 8
    assert not {"other", "patrol", "general"} & set(PURPOSES)
    with pytest.raises(TypeError):
        PURPOSES["other"] = "Other"  # type: ignore[index]


@pytest.mark.policy("R-CJIS-2")
def test_second_factor_is_asked_after_the_password_and_works_once(tmp_path: Path) -> None:
    secret = totp.new_secret()
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="unit-12")
    book = RosterBook(steps=totp.StepBook(store))
    book.load(roster(person(totp=secret)))
    code = totp.code_at(secret, int(NOW.timestamp()) // 30)

    def sign_on(password: str, code: str) -> str:
        try:
            book.sign_on("dep.one", password, now=NOW, trusted=True, code=code)
        except RefusedError as error:
            return error.reason
        return "in"

    assert sign_on("not it", code) == "wrong_password", "a code proves nothing alone"
    assert sign_on(PASSWORD, "") == "code_wanted"
    assert sign_on(PASSWORD, f"{(int(code) + 1) % 10**6:06}") == "wrong_code"
    assert sign_on(PASSWORD, code) == "in"
    assert sign_on(PASSWORD, code) == "wrong_code", "replay"
    assert [sign_on(PASSWORD, code) for _ in range(4)][-1] == "locked", "wrong codes count"
    store.close()


def test_a_secret_that_is_none_keeps_the_old_roster() -> None:
    book = RosterBook()
    book.load(roster())
    with pytest.raises(InputError, match="TOTP"):
        book.load(roster(person(totp="ABC")))
    assert book.find("dep.one") == person()
    book.load(roster(person(totp=totp.new_secret())))
    with pytest.raises(RefusedError) as refused:  # a car that cannot check refuses
        book.sign_on("dep.one", PASSWORD, now=NOW, trusted=True, code="123456")
    assert refused.value.reason == "wrong_code"
