"""What the daemon asks of the operating system: hardening, one at a time, a word to systemd.

Bounds: the threads of OpenCV and ONNX Runtime are set (:mod:`alprd.reader`), so the number of
threads is constant while the daemon runs. Memory has the unit's ``MemoryMax=``: at that limit the
kernel kills the daemon, systemd starts it again, and what was committed is safe as after any loss
of power (R-460.5-2). Within a worker a failed allocation ends that worker only.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pwd
import socket
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO

from alprd.errors import OTHER_USER, StoreError
from alprd.memory import protect

log = logging.getLogger(__name__)


def harden() -> None:
    """No core dumps, no swap, new files for their owner only: memory holds plates (design)."""
    kept = protect()
    if not kept.locked:
        log.warning("memory is not locked (%s); the unit's MemorySwapMax= must hold", kept.reason)
    os.umask(0o077)


def lock_state(folder: Path) -> TextIO:
    """Hold the state folder for this process alone.

    Raises:
        StoreError: it is missing, or another daemon holds it.
    """
    try:
        path = folder / "daemon.lock"
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)  # one of an earlier version may be wider
        handle = path.open("w")
    except OSError as error:
        other = isinstance(error, PermissionError)
        raise StoreError(
            f"state folder {folder}: {error.strerror}",
            remedy=OTHER_USER if other else "enrol the car: alprd enrol",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise StoreError(
            f"state folder {folder} is in use", remedy="another alprd runs; stop it first"
        ) from error
    return handle


def close_to_others(folder: Path) -> list[str]:
    """Take every right of others from a folder and all in it that is ours; names of what was open.

    A backup brought back or a copy made by hand is often open to others, and nobody looks at the
    car for months (R-CJIS-1).
    """
    opened = []
    for path in (folder, *sorted(folder.rglob("*"))):
        with contextlib.suppress(OSError):  # gone meanwhile; what stays open the doctor tells
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
                continue
            if found.st_mode & 0o077:
                path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
                opened.append(str(path.relative_to(folder)))
    return opened


def refuse_foreign(folder: Path) -> None:
    """Refuse to work in another user's state folder: its owner could not read what is left there.

    Raises:
        StoreError: it belongs to somebody else, such as the daemon's user when root comes.
    """
    try:
        owner = folder.stat().st_uid
    except OSError:  # not there yet, or closed to us: whoever opens it next says so
        return
    if owner != os.geteuid():
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"  # as sudo takes a number
        raise StoreError(
            f"state folder {folder} belongs to user {name}",
            remedy=f"run it as that user: sudo -u {name} alprd ...",
        )


def notify(*lines: str) -> bool:
    """Tell systemd, when it started us (sd_notify(3)); whether it could be told.

    Args:
        lines: such as ``READY=1`` or ``STATUS=2 of 2 cameras``; sent as one message.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    name = "\0" + address[1:] if address.startswith("@") else address
    told = "\n".join(line.replace("\n", " ") for line in lines)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, contextlib.suppress(OSError):
        out.setblocking(False)  # a systemd that does not listen must not hold the daemon up
        out.sendto(told.encode(), name)
        return True
    return False


def ready() -> None:
    """Tell systemd that the daemon is at work."""
    notify("READY=1")


def still_starting() -> bool:
    """Tell systemd that the start goes on and may take another minute; never enough (False)."""
    notify("EXTEND_TIMEOUT_USEC=60000000")
    return False


def reloading() -> None:
    """Tell systemd that the configuration is read again; ``READY=1`` must follow."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def start_again(*, keep: Sequence[int] = ()) -> NoReturn:
    """Replace this process by a fresh one of the same command line, under the same number.

    Call it with everything stopped and closed. What still hangs in a dead source dies here, and
    no file stays open in the new life but standard streams and ``keep``.
    """
    for entry in Path("/proc/self/fd").iterdir():
        number = int(entry.name)
        if number > 2 and number not in keep:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                os.set_inheritable(number, False)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - own command


@dataclass(frozen=True, slots=True)
class Footprint:
    """What this process holds at one moment."""

    resident_bytes: int
    private_bytes: int
    """Anonymous memory: not what files of the program are mapped."""
    threads: int
    files: int
    """Open descriptors."""


def footprint(pid: int | None = None) -> Footprint:
    """Memory, threads and files of a process (default: this one), from ``/proc``.

    Raises:
        OSError: there is no such process, or it is not ours to look at.
    """
    folder = Path("/proc") / ("self" if pid is None else str(pid))
    values: dict[str, int] = {}
    for line in (folder / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in {"VmRSS", "RssAnon", "Threads"}:
            values[name] = int(value.split()[0])
    return Footprint(
        resident_bytes=values.get("VmRSS", 0) * 1024,
        private_bytes=values.get("RssAnon", 0) * 1024,
        threads=values.get("Threads", 0),
        files=sum(1 for _ in (folder / "fd").iterdir()) - (pid is None),
    )
