"""The car's side of ``make bench-matching``: a process of its own that loads a list and looks up.

``python -m bench.matching_car TARGET`` gets a JSON object on its standard input (``key`` in hex,
``sha256``, ``readings``) and prints one. Only what matching needs is imported: the peak memory is
that of interpreter, libraries and list.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from alprd.frames import Character, PlateReading
from alprd.hotlist import Matcher, load_hotlist_file
from alprd.wire import Policy

NAME = "hotlist-bench.bin"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
_CALM = {"O": "0", "0": "O", "B": "8", "8": "B", "S": "5", "5": "S", "Z": "2", "2": "Z", "1": "I"}


def reading(text: str, stacked: str, state: str) -> PlateReading:
    """A reading in which every character that has a look-alike is in doubt."""
    characters = tuple(
        Character(char, 0.8, ((_CALM[char], 0.1),) if char in _CALM else ()) for char in text
    )
    return PlateReading(text, stacked, characters, state, 0.9, 0.8, sure=True)


def policy() -> Policy:
    """The least that a matcher needs."""
    return Policy(
        agency="bench",
        agency_name="Bench",
        version="1",
        sha256="0" * 64,
        adopted_by="bench",
        effective=NOW,
    )


def high_water_mb() -> float:
    """Peak resident memory of this process, mapped pages included (MB of 10**6 bytes).

    As :func:`bench.memory.high_water_mb`, whose module would bring the libraries of recognition.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("/proc/self/status does not tell VmHWM: this bench needs Linux")


def forget(path: Path) -> None:
    """Ask the kernel to drop the file from its cache, as after a start of the car."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def measure(path: Path, key: bytes, sha256: str, texts: list[list[str]]) -> dict[str, float]:
    """Load the list, look every reading up, and tell times (s, µs) and peak memory (MB)."""
    readings = [reading(*words) for words in texts]
    base = high_water_mb()
    forget(path)
    began, worked_began = time.perf_counter(), time.process_time()
    loaded = load_hotlist_file(path, name=NAME, key=key, sha256=sha256)
    matcher = Matcher([loaded], policy())
    load_s = time.perf_counter() - began
    load_cpu_s = time.process_time() - worked_began
    took, worked = np.empty(len(readings)), np.empty(len(readings))
    hits = 0
    gc.collect()
    gc.freeze()
    for number, item in enumerate(readings):
        worked_began, began = time.thread_time(), time.perf_counter()
        found = matcher.match(item, NOW)
        took[number] = time.perf_counter() - began
        worked[number] = time.thread_time() - worked_began
        hits += bool(found)
    return {
        "entries": len(loaded),
        "load_s": load_s,
        "load_cpu_s": load_cpu_s,
        "peak_mb": high_water_mb(),
        "base_mb": base,
        "lookup_us_p50": float(np.percentile(took, 50) * 1e6),
        "lookup_us_p99": float(np.percentile(took, 99) * 1e6),
        "lookup_cpu_us_p99": float(np.percentile(worked, 99) * 1e6),
        "lookup_us_max": float(took.max() * 1e6),
        "lookups": len(readings),
        "hits": hits,
    }


if __name__ == "__main__":
    _asked = json.load(sys.stdin)
    _found = measure(
        Path(sys.argv[1]), bytes.fromhex(_asked["key"]), _asked["sha256"], _asked["readings"]
    )
    sys.stdout.write(json.dumps(_found) + "\n")
