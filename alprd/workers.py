"""The table of workers and the loop that keeps them alive (design: one process, one table).

A worker is a function that runs in a thread until told to stop and *beats* a monotonic timestamp
as it goes. The reconcile step starts what should run, stops what should not, and restarts what
died, with a capped backoff so that a broken device cannot spin the processor. A worker that is
silent for longer than it may be cannot be killed (Python threads cannot), so it makes the whole
process unhealthy: the systemd watchdog is then no longer fed and restarts the daemon.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alprd.errors import AlprdError

log = logging.getLogger(__name__)

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0


def describe(error: BaseException) -> str:
    """An error for the log: its kind and where it rose, and its words only if they are ours.

    The words of a foreign error may quote what it was given, and that may be plate text.
    """
    where = " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)[-4:])
    )
    words = f": {error.diagnostics()}" if isinstance(error, AlprdError) else ""
    return f"{type(error).__name__}{words} at {where}"


class Beat:
    """What a worker holds: it beats, and asks whether it should stop."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._stop = threading.Event()

    def __call__(self) -> None:
        """I am alive."""
        self._last = time.monotonic()

    def age_s(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last

    @property
    def stopping(self) -> bool:
        """Whether the worker should return soon."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the worker to return."""
        self._stop.set()

    def sleep(self, seconds: float) -> bool:
        """Wait, beating, until the time is over or stop is asked; True when it should stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self()
            if self._stop.wait(min(left, 1.0)):
                return True
        self()
        return self._stop.is_set()


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Worker:
    """A row of the table.

    ``silence_s`` is the longest time it may go without a beat; ``wanted`` says whether it should
    run now; a worker that is not ``required`` may be silent without stopping the watchdog.
    """

    name: str
    run: Callable[[Beat], None]
    silence_s: float = 30.0
    wanted: Callable[[], bool] = _always
    required: bool = True


@dataclass(slots=True)
class _State:
    thread: threading.Thread | None = None
    beat: Beat | None = None
    failures: int = 0
    not_before: float = 0.0
    started: float = 0.0


class Supervisor:
    """Holds the table to what is wanted; call :meth:`reconcile` about once a second."""

    def __init__(self, table: Sequence[Worker]) -> None:
        self._table = tuple(table)
        self._states = {worker.name: _State() for worker in self._table}

    def reconcile(self) -> None:
        """Start, stop and restart workers so that the table holds."""
        now = time.monotonic()
        for worker in self._table:
            state = self._states[worker.name]
            alive = state.thread is not None and state.thread.is_alive()
            wanted = worker.wanted()
            if alive and not wanted and state.beat is not None:
                state.beat.stop()
            elif wanted and not alive and now >= state.not_before:
                if state.thread is not None:
                    log.warning("worker %s is started again", worker.name)
                self._start(worker, state)
            elif alive and now - state.started > LONGEST_BACKOFF_S:
                state.failures = 0

    def _start(self, worker: Worker, state: _State) -> None:
        beat = Beat()
        backoff = min(FIRST_BACKOFF_S * 2**state.failures, LONGEST_BACKOFF_S)
        state.beat = beat
        state.started = time.monotonic()
        state.not_before = state.started + backoff
        state.failures += 1

        def body() -> None:
            try:
                worker.run(beat)
            except Exception as error:  # noqa: BLE001 - one worker never ends the others
                log.error("worker %s ended by %s", worker.name, describe(error))

        state.thread = threading.Thread(target=body, name=worker.name, daemon=True)
        state.thread.start()

    def silent(self) -> list[str]:
        """Names of required workers that should run and have not beaten in time."""
        found = []
        for worker in self._table:
            state = self._states[worker.name]
            if not worker.required or not worker.wanted():
                continue
            dead = state.thread is None or not state.thread.is_alive()
            age = (
                time.monotonic() - state.not_before
                if dead
                else (state.beat.age_s() if state.beat else 0.0)
            )
            if age > worker.silence_s:
                found.append(worker.name)
        return found

    def stop(self, names: Sequence[str] | None = None, *, timeout_s: float = 4.0) -> list[str]:
        """Ask workers to return and wait; names of those that did not."""
        chosen = [w.name for w in self._table if names is None or w.name in names]
        for name in chosen:
            beat = self._states[name].beat
            if beat is not None:
                beat.stop()
        end = time.monotonic() + timeout_s
        late = []
        for name in chosen:
            thread = self._states[name].thread
            if thread is not None:
                thread.join(max(0.0, end - time.monotonic()))
                if thread.is_alive():
                    late.append(name)
        return late
