"""The worker table: restarts, stops, silence."""

from __future__ import annotations

import logging
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
