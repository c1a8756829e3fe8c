"""Inside the guest: runs what the host asks for on a serial line, and answers.

A request is one line, the base64 of a shell command; the answer is one line, the exit code and
the base64 of everything printed. Only the standard library: the system's Python runs it.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tty
from pathlib import Path

READY = b"!ready\n"


def serve(line: Path) -> None:
    """Answer for as long as the guest runs."""
    with line.open("r+b", buffering=0) as port:
        tty.setraw(port.fileno())
        port.write(READY)
        pending = b""
        while True:
            pending += port.read(4096) or b""
            while b"\n" in pending:
                request, _, pending = pending.partition(b"\n")
                port.write(answer(request))


def answer(request: bytes) -> bytes:
    """Run one request; what it printed, both streams together."""
    if not request:  # the host asks whether anybody is there
        return READY
    done = subprocess.run(
        ["/bin/sh", "-c", base64.b64decode(request).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return b"%d %s\n" % (done.returncode, base64.b64encode(done.stdout))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
