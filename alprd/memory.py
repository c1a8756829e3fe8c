"""What keeps memory, which holds plates for a moment, from reaching the disk.

* No core dump: ``RLIMIT_CORE`` is 0, and the process is not *dumpable* (``prctl(2)``), so neither
  the kernel, nor a crash handler that core_pattern pipes to, nor another process of the same user
  (ptrace, ``/proc/PID/mem``) gets at it.
* No swap: pages are locked as they are first touched (``mlockall`` with ``MCL_ONFAULT``; locking
  all that is merely mapped would pin hundreds of megabytes of libraries). That needs
  ``LimitMEMLOCK=infinity``; where it is refused, the unit's ``MemorySwapMax=0`` holds alone, and
  :func:`protect` says so.

Locked pages cannot be given back while their mapping stands, so the allocator keeps the most that
each of its arenas ever held, and by default every thread gets an arena of its own. With
:data:`ARENAS` of them what one thread has freed serves the next one.

Suspend to disk writes memory whatever a program asks for: a patrol car's computer must not have
it (the installer's list).
"""

from __future__ import annotations

import ctypes
import os
import resource
from dataclasses import dataclass
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
_M_ARENA_MAX: Final = -8
ARENAS: Final = 2
"""Arenas of the allocator (glibc); Python's lock lets few threads allocate at a time anyway."""


@dataclass(frozen=True, slots=True)
class Protection:
    """What of it holds."""

    no_dumps: bool
    locked: bool
    reason: str = ""
    """Why memory is not locked."""


def protect() -> Protection:
    """Ask the kernel for all of it; never an error, since none of it may stop the car."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if hasattr(libc, "mallopt"):  # glibc's; another C library has no arenas
        libc.mallopt(_M_ARENA_MAX, ARENAS)
    no_dumps = libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    allowed = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if allowed != resource.RLIM_INFINITY and os.geteuid() != 0:
        # A limit that is reached later would make an allocation fail in mid-drive.
        return Protection(no_dumps, False, "LimitMEMLOCK is not infinity")
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return Protection(no_dumps, False, os.strerror(ctypes.get_errno()))
    return Protection(no_dumps, True)
