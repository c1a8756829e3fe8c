"""Memory stays memory: no core, no reading by others, no swap. Asked of the kernel itself."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHILD = """
import ctypes, json, os, sys
from alprd.process import harden
harden()
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
limits = {l[:25].strip(): l[26:46].strip() for l in open("/proc/self/limits").read().splitlines()}
mine = bytearray(4_000_000)
vmlck = int(dict(l.split(":", 1) for l in open("/proc/self/status"))["VmLck"].split()[0])
print(json.dumps({
    "core": limits["Max core file size"],
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    "owner": os.stat("/proc/self/mem").st_uid,
    "locked_kb": vmlck,
}), flush=True)
sys.stdin.readline()
os.abort()
"""


@pytest.mark.policy("R-460.5-b2")
def test_the_kernel_shows_no_dumps_and_locked_memory(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None and child.stdin is not None
    told = json.loads(child.stdout.readline())
    assert (told["core"], told["dumpable"], told["owner"]) == ("0", 0, 0)
    may_lock = (
        os.geteuid() == 0
        or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    )
    # What is allocated after the call is locked as well; where it may not be, the unit says so.
    assert (told["locked_kb"] > 4_000) == may_lock
    child.stdin.write(b"\n")
    child.stdin.close()
    child.stdout.close()
    assert child.wait(20) == -6  # it did abort, and left nothing
    assert list(tmp_path.iterdir()) == []


@pytest.mark.policy("R-460.5-b2")
def test_the_unit_keeps_memory_off_the_disk_as_well() -> None:
    unit = (ROOT / "systemd" / "alprd.service").read_text().splitlines()
    assert {"LimitCORE=0", "MemorySwapMax=0"} <= set(unit)


ARENAS_OF_A_CHILD = """
import ctypes, os, re, threading
from alprd.process import harden
harden()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
libc.fclose.argtypes = (ctypes.c_void_p,)
ready = threading.Barrier(13)
def take():
    libc.malloc(40_000)  # without Python's lock: the threads are there at the same time
    ready.wait()
    ready.wait()
for _ in range(12):
    threading.Thread(target=take, daemon=True).start()
ready.wait()
told = os.memfd_create("arenas")
out = libc.fdopen(os.dup(told), b"w")
libc.malloc_info(0, out)
libc.fclose(out)
print(len(re.findall(rb"<heap nr=", os.pread(told, 1 << 20, 0))))
ready.wait()
"""


def test_what_one_thread_has_freed_serves_another(tmp_path: Path) -> None:
    """Locked pages are not given back; the allocator's arenas are therefore few."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ARENAS_OF_A_CHILD],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=environment, timeout=120,
    )  # fmt: skip
    assert 1 <= int(done.stdout) <= 2
