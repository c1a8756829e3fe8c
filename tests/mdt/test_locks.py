"""A lock after failed sign-ons outlives the daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alprd.mdt.locks import LockBook
from alprd.roster import FAILURE_WINDOW_S, MAX_FAILURES, LockedError
from alprd.store import Store

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.policy("R-CJIS-3")
@pytest.mark.parametrize("trusted", [True, False])
def test_failures_and_lock_survive_a_restart(tmp_path: Path, trusted: bool) -> None:
    now = [NOW]
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")

    def start() -> LockBook:
        return LockBook(store, lambda: (now[0], trusted))

    before = start()
    for _ in range(MAX_FAILURES - 1):
        before.failed("dep.one")
    after = start()
    after.check("dep.one")
    with pytest.raises(LockedError):
        after.failed("dep.one")
    again = start()
    with pytest.raises(LockedError):
        again.check("dep.one")
    again.check("dep.two")
    now[0] += timedelta(seconds=FAILURE_WINDOW_S + 1)
    later = start()
    if trusted:
        later.check("dep.one")  # its time is truly over
    else:
        with pytest.raises(LockedError):  # a clock that nobody vouches for lifts no lock
            later.check("dep.one")
    store.close()


def test_a_sign_on_forgets_failures(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    book = LockBook(store, lambda: (NOW, True))
    for _ in range(MAX_FAILURES - 1):
        book.failed("dep.one")
    book.passed("dep.one")
    for _ in range(MAX_FAILURES - 1):
        LockBook(store, lambda: (NOW, True)).failed("dep.one")
    store.close()
