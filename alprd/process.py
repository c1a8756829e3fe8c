"""What the daemon asks of the operating system: hardening, one at a time, a word to systemd."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
from pathlib import Path
from typing import TextIO

from alprd.errors import StoreError


def harden() -> None:
    """No core dumps, and new files for their owner only: memory holds plates (design)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def lock_state(folder: Path) -> TextIO:
    """Hold the state folder for this process alone.

    Raises:
        StoreError: it is missing, or another daemon holds it.
    """
    try:
        handle = (folder / "daemon.lock").open("w")
    except OSError as error:
        raise StoreError(
            f"state folder {folder}: {error.strerror}", remedy="enrol the car: alprd enrol"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise StoreError(
            f"state folder {folder} is in use", remedy="another alprd runs; stop it first"
        ) from error
    return handle


def notify(state: str) -> None:
    """Tell systemd, when it started us (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, contextlib.suppress(OSError):
        out.sendto(state.encode(), name)
