"""The worker table: restarts, stops, silence."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from alprd import workers
from alprd.errors import StoreError
from alprd.workers import Beat, Supervisor, Worker, describe


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def _beats(beat: Beat) -> None:
    beat.sleep(5)


def test_a_worker_that_dies_is_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "FIRST_BACKOFF_S", 0.01)
    runs: list[float] = []

    def fail(beat: Beat) -> None:
        runs.append(time.monotonic())
        if len(runs) < 3:
            raise ValueError("plate ABC123")
        beat.sleep(10)

    supervisor = Supervisor([Worker("one", fail)])

    def reconciled() -> bool:
        supervisor.reconcile()
        return len(runs) >= 3

    with caplog.at_level(logging.WARNING):
        until(reconciled)
    assert supervisor.stop() == []
    assert "ABC123" not in caplog.text
    assert "ValueError" in caplog.text


def test_restarts_slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FIRST_BACKOFF_S", 0.05)
    runs: list[float] = []
    supervisor = Supervisor([Worker("one", lambda beat: runs.append(time.monotonic()))])
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        supervisor.reconcile()
        time.sleep(0.005)
    gaps = [b - a for a, b in pairwise(runs)]
    assert 3 <= len(runs) <= 6
    assert gaps[-1] > 2 * gaps[0]


def test_a_worker_that_is_not_wanted_is_stopped_and_wanted_again_is_started() -> None:
    wanted = threading.Event()
    wanted.set()
    starts: list[int] = []

    def work(beat: Beat) -> None:
        starts.append(1)
        while not beat.stopping:
            beat.sleep(0.02)

    supervisor = Supervisor([Worker("one", work, wanted=wanted.is_set)])
    supervisor.reconcile()
    until(lambda: len(starts) == 1)
    wanted.clear()
    supervisor.reconcile()
    assert supervisor.stop() == []
    wanted.set()
    time.sleep(workers.FIRST_BACKOFF_S)
    supervisor.reconcile()
    until(lambda: len(starts) == 2)
    assert supervisor.stop() == []


def test_silence_of_a_required_worker_is_told() -> None:
    release = threading.Event()

    def hang(beat: Beat) -> None:
        release.wait(10)

    supervisor = Supervisor(
        [
            Worker("hangs", hang, silence_s=0.05),
            Worker("may hang", hang, silence_s=0.05, required=False),
            Worker("beats", _beats, silence_s=3.0),
        ]
    )
    supervisor.reconcile()
    assert supervisor.silent() == []
    time.sleep(0.15)
    assert supervisor.silent() == ["hangs"]
    assert set(supervisor.stop(timeout_s=0.1)) == {"hangs", "may hang"}
    release.set()
    assert supervisor.stop() == []


def test_our_own_errors_are_told_in_full_and_foreign_ones_without_their_words() -> None:
    try:
        raise StoreError("disk is full", remedy="make room")
    except StoreError as error:
        assert "make room" in describe(error)
    try:
        int("QQZ999")
    except ValueError as error:
        assert "QQZ999" not in describe(error)
        assert "test_workers.py" in describe(error)


def test_a_worker_that_always_dies_neither_spins_nor_stays_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A hundredth of the real times: this second stands for 100 s.
    monkeypatch.setattr(workers, "FIRST_BACKOFF_S", 0.005)
    monkeypatch.setattr(workers, "LONGEST_BACKOFF_S", 0.3)
    runs: list[float] = []

    def fail(beat: Beat) -> None:
        runs.append(time.monotonic())
        raise StoreError("disk is full")

    supervisor = Supervisor([Worker("one", fail)])
    start = time.monotonic()
    while time.monotonic() - start < 2.0:
        supervisor.reconcile()
        time.sleep(0.002)
    first_minute = [at for at in runs if at - start < 0.6]
    assert 5 <= len(first_minute) <= 8
    later = [at for at in runs if at - start > 0.9]
    assert 2 <= len(later) <= 4  # every 0.3 s, and still at the end
    [status] = supervisor.statuses()
    assert status.restarts == len(runs) - 1
    assert status.last_error.startswith("StoreError: disk is full")


def test_endless_deaths_of_a_worker_that_is_needed_make_the_process_unhealthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(workers, "LONGEST_BACKOFF_S", 0.002)
    supervisor = Supervisor(
        [
            Worker("keeper", lambda beat: None),
            Worker("camera", lambda beat: None, without=True),
        ]
    )

    def told() -> bool:
        supervisor.reconcile()
        return supervisor.silent() != []

    until(told)
    assert supervisor.silent() == ["keeper"]
    by_name = {status.name: status for status in supervisor.statuses()}
    assert by_name["keeper"].restarts >= workers.LAST_STRAW
    assert not by_name["keeper"].fresh and by_name["camera"].fresh
    assert by_name["camera"].last_error == "it returned without being asked to"


def test_a_worker_that_lived_long_starts_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FIRST_BACKOFF_S", 0.05)
    monkeypatch.setattr(workers, "LONGEST_BACKOFF_S", 0.2)
    runs: list[float] = []
    end: list[float] = []

    def work(beat: Beat) -> None:
        runs.append(time.monotonic())
        beat.sleep(0.01 if len(runs) < 4 else 0.5)
        end.append(time.monotonic())

    supervisor = Supervisor([Worker("one", work)])

    def five() -> bool:
        supervisor.reconcile()
        time.sleep(0.002)
        return len(runs) == 5

    until(five)
    assert runs[4] - end[3] < 0.05
    assert supervisor.stop() == []


def test_the_table_changes_while_it_runs() -> None:
    ran: list[str] = []

    def work(beat: Beat) -> None:
        ran.append(threading.current_thread().name)
        beat.sleep(10)

    supervisor = Supervisor([Worker("front", work)])
    supervisor.reconcile()
    supervisor.add(Worker("left", work))
    with pytest.raises(ValueError, match="left"):
        supervisor.add(Worker("left", work))
    supervisor.reconcile()
    until(lambda: ran == ["front", "left"])
    assert supervisor.remove("front")
    supervisor.reconcile()
    assert [status.name for status in supervisor.statuses()] == ["left"]
    assert supervisor.stop() == []
    assert not any(thread.name in ran for thread in threading.enumerate())


def test_a_worker_for_which_there_is_no_thread_is_tried_again() -> None:
    # In a process of its own: a limit cannot be raised again. What a unit's TasksMax= does.
    program = (
        "import resource, threading, time\n"
        "from alprd import workers\n"
        "from alprd.workers import Supervisor, Worker\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_AS)\n"
        "threading.stack_size(512 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (300 << 20, hard))\n"
        "supervisor = Supervisor([Worker('one', lambda beat: beat.sleep(30))])\n"
        "supervisor.reconcile()\n"
        "[status] = supervisor.statuses()\n"
        "assert not status.alive and 'thread' in status.last_error, status\n"
        "resource.setrlimit(resource.RLIMIT_AS, (hard, hard))\n"
        "time.sleep(workers.FIRST_BACKOFF_S + 0.1)\n"
        "supervisor.reconcile()\n"
        "assert supervisor.statuses()[0].alive\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
