"""Peak memory of one system: a process of its own that reads a few frames and nothing else.

``python -m bench.memory NAME FRAMES MODELS WEIGHTS`` prints one JSON object. What counts is the
high-water mark of the resident set, of the whole process with its interpreter and libraries.
``ru_maxrss`` would not do: a child inherits that of its parent, who holds all frames.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from alprd.errors import AlprdError
from alprd.frames import Image
from alprd.models import shipped
from alprd.profiles import PROFILES

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 600


class MemoryFailedError(AlprdError):
    """The process that was to be measured failed."""


def peak_mb(name: str, images: Sequence[Image], models: Path, weights: Path) -> float:
    """Peak resident memory in MB (10**6 bytes) of a process in which ``name`` reads ``images``.

    Args:
        name: a profile, or ``peer``.
        models: folder of our models.
        weights: folder of the peer's.

    Raises:
        MemoryFailedError: the process failed; the message has its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(images):
            np.save(Path(folder) / f"{number:04d}.npy", image)
        done = subprocess.run(
            [sys.executable, "-m", "bench.memory", name, folder, str(models), str(weights)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise MemoryFailedError(f"measuring the memory of {name} failed: {last[0]}")
    return float(json.loads(done.stdout)["peak_mb"])


def high_water_mb() -> float:
    """Peak resident memory of this process so far, MB."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _main(name: str, folder: Path, models: Path, weights: Path) -> None:
    cv2.setNumThreads(1)
    # Only what this system needs is imported: the rest would count as its memory.
    if name in PROFILES:
        from bench.ours import Ours

        read = Ours("road" if name == "road" else "photo", shipped(models, verify=False)).read
    else:
        from bench.peer import Peer

        read = Peer(weights).read
    for path in sorted(folder.glob("*.npy")):
        read(np.load(path))
    sys.stdout.write(json.dumps({"peak_mb": high_water_mb()}) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1], *(Path(word) for word in sys.argv[2:5]))
