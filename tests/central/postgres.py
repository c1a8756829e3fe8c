"""A PostgreSQL server of its own for tests: real, in a temporary folder, on a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
MISSING = "needs PostgreSQL 15 or newer: apt-get install postgresql"


class Postgres:
    """A running server; :meth:`database` makes an empty database and gives its URL."""

    def __init__(self, folder: Path) -> None:
        if BIN is None:
            raise FileNotFoundError(MISSING)
        self.folder = folder
        self._made = 0
        folder.mkdir(mode=0o700)
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "alprd", "-N")

    def _run(self, program: str, *args: str) -> None:
        assert BIN is not None
        subprocess.run(
            [str(BIN / program), *args],
            check=True,
            capture_output=True,
            cwd="/",
            user=self._user if os.geteuid() == 0 else None,
            timeout=60,
        )

    def start(self) -> None:
        """Start it; returns when it answers."""
        options = f"-k {self.folder} -c listen_addresses= -c max_connections=60"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-o", options,
            "-l", str(self.folder / "log"), "-w", "start",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` is as good as a kill."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def database(self) -> str:
        """A new, empty database."""
        self._made += 1
        name = f"alprd_{self._made}"
        self._run("createdb", "-h", str(self.folder), "-U", "alprd", name)
        return f"postgresql://alprd@/{name}?host={self.folder}"


@contextmanager
def postgres(parent: Path) -> Iterator[Postgres]:
    """A server that runs while the block does. ``parent`` must be open to the user postgres."""
    server = Postgres(parent / "pg")
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
