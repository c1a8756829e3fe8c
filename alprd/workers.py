"""The table of workers and the loop that keeps them alive (design: one process, one table).

A worker is a function that runs in a thread until told to stop and *beats* a monotonic timestamp
as it goes. The reconcile step starts what should run, stops what should not, and restarts what
died, with a capped backoff: a worker that always dies at once is started 7 times in its first
minute and twice a minute from then on, so it neither spins the processor nor stays dead for good.

A worker that is silent for longer than it may be cannot be killed (Python threads cannot), so it
makes the whole process unhealthy: the systemd watchdog is then no longer fed and restarts the
daemon. A worker that dies again and again does so too (:data:`LAST_STRAW`), unless the others do
well without it: a car with one dead camera goes on with the other.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alprd.errors import AlprdError

log = logging.getLogger(__name__)

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
LAST_STRAW: Final = 10
"""Deaths in a row, none after :data:`LONGEST_BACKOFF_S` of life, that a restart of the thread will
not mend: about three minutes of them."""


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


@contextlib.contextmanager
def told_only(what: str) -> Iterator[None]:
    """An error inside is logged and goes no further: for ways out that must be gone to the end."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - see above
        log.error("%s: %s", what, describe(error))


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
    run now; a worker that is not ``required`` may be silent without stopping the watchdog. One
    that the others can do ``without`` may die for good, but not hang: it could hold a lock.
    """

    name: str
    run: Callable[[Beat], None]
    silence_s: float = 30.0
    wanted: Callable[[], bool] = _always
    required: bool = True
    without: bool = False


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """How a worker does. ``age_s``: seconds since its last beat; None before the first start."""

    name: str
    alive: bool
    fresh: bool
    """It runs and beat in time, or should not run."""
    required: bool
    age_s: float | None
    restarts: int
    last_error: str
    """Why it died the last time: kind and place, never what a foreign error quotes."""


@dataclass(slots=True)
class _State:
    worker: Worker
    thread: threading.Thread | None = None
    beat: Beat | None = None
    failures: int = 0
    """Starts in a row without :data:`LONGEST_BACKOFF_S` of life between them."""
    not_before: float = 0.0
    started: float = 0.0
    restarts: int = 0
    last_error: str = ""

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def overdue(self) -> bool:
        """Whether it should have beaten by now."""
        if not self.worker.wanted():
            return False
        if self.failures > LAST_STRAW and not self.worker.without:
            return True
        now = time.monotonic()
        if not self.alive:
            return now - self.not_before > self.worker.silence_s
        return self.beat is not None and self.beat.age_s() > self.worker.silence_s


class Supervisor:
    """Holds the table to what is wanted; call :meth:`reconcile` about once a second.

    Any thread may ask; the table may change while it runs.
    """

    def __init__(self, table: Sequence[Worker]) -> None:
        self._lock = threading.RLock()
        self._states = {worker.name: _State(worker) for worker in table}

    def add(self, worker: Worker) -> None:
        """A further row; the next :meth:`reconcile` starts it.

        Raises:
            ValueError: the name is taken.
        """
        with self._lock:
            if worker.name in self._states:
                raise ValueError(f"worker {worker.name} is in the table")
            self._states[worker.name] = _State(worker)

    def remove(self, name: str, *, timeout_s: float = 4.0) -> bool:
        """Take a row out and end its worker; False when it did not return in time."""
        with self._lock:
            state = self._states.pop(name)
        return not _stop([state], timeout_s)

    def reconcile(self) -> None:
        """Start, stop and restart workers so that the table holds."""
        now = time.monotonic()
        with self._lock:
            for state in self._states.values():
                wanted = state.worker.wanted()
                if state.alive and not wanted and state.beat is not None:
                    state.beat.stop()
                elif wanted and not state.alive and now >= state.not_before:
                    if state.thread is not None:
                        state.restarts += 1
                        log.warning("worker %s is started again", state.worker.name)
                    self._start(state)
                elif state.alive and now - state.started > LONGEST_BACKOFF_S:
                    state.failures = 0

    @staticmethod
    def _start(state: _State) -> None:
        worker, beat = state.worker, Beat()
        backoff = min(FIRST_BACKOFF_S * 2 ** min(state.failures, 16), LONGEST_BACKOFF_S)
        state.beat = beat
        state.started = time.monotonic()
        state.not_before = state.started + backoff
        state.failures += 1

        def body() -> None:
            try:
                worker.run(beat)
            except Exception as error:  # noqa: BLE001 - one worker never ends the others
                state.last_error = describe(error)
                log.error("worker %s ended by %s", worker.name, state.last_error)
            else:
                if not beat.stopping:
                    state.last_error = "it returned without being asked to"
                    log.error("worker %s: %s", worker.name, state.last_error)

        thread = threading.Thread(target=body, name=worker.name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # no thread or no memory is to be had at this moment
            state.last_error = "the system gives no further thread"
            log.error("worker %s: %s", worker.name, state.last_error)
        else:
            state.thread = thread

    def silent(self) -> list[str]:
        """Names of required workers that are not fresh."""
        with self._lock:
            return [
                name
                for name, state in self._states.items()
                if state.worker.required and state.overdue()
            ]

    def statuses(self) -> list[WorkerStatus]:
        """How every worker does."""
        with self._lock:
            return [
                WorkerStatus(
                    name=name,
                    alive=state.alive,
                    fresh=not state.overdue(),
                    required=state.worker.required,
                    age_s=state.beat.age_s() if state.beat else None,
                    restarts=state.restarts,
                    last_error=state.last_error,
                )
                for name, state in self._states.items()
            ]

    def stop(self, names: Sequence[str] | None = None, *, timeout_s: float = 4.0) -> list[str]:
        """Ask workers to return and wait; names of those that did not."""
        with self._lock:
            chosen = [s for name, s in self._states.items() if names is None or name in names]
        return _stop(chosen, timeout_s)


def _stop(states: Sequence[_State], timeout_s: float) -> list[str]:
    for state in states:
        if state.beat is not None:
            state.beat.stop()
    end = time.monotonic() + timeout_s
    late = []
    for state in states:
        if state.thread is not None:
            state.thread.join(max(0.0, end - time.monotonic()))
            if state.thread.is_alive():
                late.append(state.worker.name)
    return late
