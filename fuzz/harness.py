"""Runs a target in a process of its own, so that its death, a hang or a flood is only a crash.

The process leaves the input it works on, its number and the counts in a shared file, from which
this side takes them when it dies.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Protocol

from fuzz.mutate import MOST

SLOW_S: Final = 2.0
"""Processor seconds that one input may take."""
STUCK_S: Final = 60.0
"""Seconds without processor time either: it waits for something that never comes."""
KINDS_KEPT: Final = 20
"""Crashes of as many kinds are kept; then the target is given up."""
_COUNTS: Final = 8
_HEAD: Final = struct.Struct(f"<QI{_COUNTS}Q")
_ROOM: Final = _HEAD.size + MOST + 4096
_TOO_MUCH_MEMORY: Final = 77


class Target(Protocol):
    """A module that makes inputs and runs them."""

    OUTCOMES: tuple[str, ...]
    """What :meth:`run` may answer, at most eight."""
    MEMORY_MB: int
    """What one input may add to the process."""

    def make(self, rng: Random) -> bytes:
        """An input; the same for the same state of ``rng``."""

    def run(self, data: bytes) -> str:
        """Give the input to the product; raises only when that breaks its promises."""


@dataclass(frozen=True, slots=True)
class Crash:
    """One input that broke something."""

    target: str
    index: int
    why: str
    file: Path


@dataclass(slots=True)
class Result:
    """What a run of one target found."""

    target: str
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    crashes: int = 0
    kept: list[Crash] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "target": self.target,
            "seed": self.seed,
            "inputs": self.inputs,
            "crashes": self.crashes,
            "seconds": round(self.seconds, 1),
            "inputs_s": round(self.inputs / self.seconds) if self.seconds else 0,
            "outcomes": self.outcomes,
            "kept": [{"why": c.why, "index": c.index, "file": str(c.file)} for c in self.kept],
        }


def generator(seed: int, index: int) -> Random:
    """The random numbers of one input."""
    return Random((seed << 48) + index)


def signature(error: BaseException) -> str:
    """Names a kind of crash: the error and the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    place = f"{Path(last.filename).name}:{last.lineno}" if last else "?"
    return f"{type(error).__name__} at {place}"


def work(target: Target, seed: int, first: int, last: int, shared: Path) -> int:
    """The child's side: runs inputs ``first`` to ``last``; crashes are lines on stdout."""
    with shared.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), _ROOM)
    counts = list(_HEAD.unpack_from(memory)[2:])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    target.run(target.make(generator(seed, 0)))  # what is loaded at the first use is no flood
    # For the machine's sake; what wants less than this in vain is seen by the bound below.
    room = _size_bytes() + target.MEMORY_MB * 2**20 + 2**31
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    begun = _peak_kb()
    bound = begun + target.MEMORY_MB * 1024
    parent = os.getppid()
    for index in range(first, last):
        if index % 256 == 0 and os.getppid() != parent:
            return 1  # nobody listens any more
        data = target.make(generator(seed, index))
        memory[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(memory, 0, index, len(data), *counts)
        started = time.process_time()
        try:
            counts[target.OUTCOMES.index(target.run(data))] += 1
        except Exception as error:  # noqa: BLE001 - finding any is the purpose
            _tell(index, signature(error), traceback.format_exc())
        if time.process_time() - started > SLOW_S:
            _tell(index, "slow", f"took more than {SLOW_S} s of processor time\n")
        if _peak_kb() > bound:
            _tell(index, "memory", f"took more than {target.MEMORY_MB} MB\n")
            _HEAD.pack_into(memory, 0, index, len(data), *counts)
            return _TOO_MUCH_MEMORY
    _HEAD.pack_into(memory, 0, last, 0, *counts)
    return 0


def _peak_kb() -> int:
    """Most resident memory of this program. The kernel's ``ru_maxrss`` will not do: it begins
    with that of the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _size_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _tell(index: int, why: str, detail: str) -> None:
    sys.stdout.write(json.dumps({"index": index, "why": why, "detail": detail}) + "\n")
    sys.stdout.flush()


def fuzz(
    name: str,
    target: Target,
    *,
    inputs: int,
    seed: int,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Runs ``inputs`` inputs of a target; crashes are saved under ``out``.

    Args:
        progress: called with the number of inputs done, a few times a second.
    """
    result = Result(name, seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        shared = Path(folder) / "shared"
        shared.write_bytes(bytes(_ROOM))
        first = 0
        while first < inputs and len(result.kept) < KINDS_KEPT:
            first = _round(name, target, result, shared, (first, inputs), out, progress)
        head = _HEAD.unpack_from(shared.read_bytes())
        result.outcomes = dict(zip(target.OUTCOMES, head[2:], strict=False))
    result.inputs = first
    result.seconds = time.monotonic() - begun
    return result


def _round(
    name: str,
    target: Target,
    result: Result,
    shared: Path,
    span: tuple[int, int],
    out: Path,
    progress: Callable[[int], None],
) -> int:
    """One process, until it is done or dies; the number of the next input."""
    told = shared.with_name("told")
    command = [sys.executable, "-m", "fuzz", "--child", name, str(result.seed)]
    command += [str(span[0]), str(span[1]), str(shared)]
    grumble = shared.with_name("grumble")
    with told.open("wb") as stdout, grumble.open("wb") as stderr:
        child = subprocess.Popen(command, stdout=stdout, stderr=stderr)
    try:
        why = _watch(child, shared, progress)
    finally:
        child.kill()  # when this side is interrupted
        child.wait()
    index, length = _HEAD.unpack_from(shared.read_bytes())[:2]
    for line in told.read_text().splitlines():
        crash = json.loads(line)
        data = target.make(generator(result.seed, crash["index"]))
        _keep(result, out, crash["index"], crash["why"], crash["detail"], data)
    if child.returncode == 0:
        return span[1]
    if child.returncode != _TOO_MUCH_MEMORY:
        data = shared.read_bytes()[_HEAD.size : _HEAD.size + length]
        tail = grumble.read_bytes()[-2000:].decode(errors="replace")
        if not why:
            code = child.returncode
            why = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        _keep(result, out, index, why, tail, data)
    return int(index) + 1


def _watch(child: subprocess.Popen[bytes], shared: Path, progress: Callable[[int], None]) -> str:
    """Waits for the process; kills it when an input takes too long, and says so."""
    seen, since, cpu_then = -1, time.monotonic(), 0.0
    with shared.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        while child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.1)
            index = _HEAD.unpack_from(memory)[0]
            cpu = _cpu_s(child.pid)
            if index < seen:
                continue  # caught while it is being written
            if index != seen:
                seen, since, cpu_then = index, time.monotonic(), cpu
                progress(index)
            elif index and cpu - cpu_then > 2 * SLOW_S:
                child.kill()
                child.wait()
                return f"hangs: more than {2 * SLOW_S:.0f} s of processor time"
            elif time.monotonic() - since > STUCK_S:
                child.kill()
                child.wait()
                return f"hangs: nothing for {STUCK_S:.0f} s"
    return ""


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _keep(result: Result, out: Path, index: int, why: str, detail: str, data: bytes) -> None:
    result.crashes += 1
    if any(crash.why == why for crash in result.kept):
        return
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{result.target}-{result.seed}-{index}.bin"
    file.write_bytes(data)
    file.with_suffix(".txt").write_text(f"{why}\n\n{detail}")
    result.kept.append(Crash(result.target, index, why, file))
