"""A PostgreSQL server of its own for tests: real, in a temporary folder, on a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
MISSING = "needs PostgreSQL 15 or newer: apt-get install postgresql"


class Postgres:
    """A running server; :meth:`database` makes an empty database and gives its URL."""

    def __init__(self, folder: Path, options: str = "") -> None:
        if BIN is None:
            raise FileNotFoundError(MISSING)
        self.folder, self.options = folder, options
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
        options = (
            f"-k {self.folder} -c listen_addresses= -c max_connections=200 -c wal_recycle=off "
            f"{self.options}"
        )
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-o", options,
            "-l", str(self.folder / "log"), "-w", "start",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` is as good as a kill."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def database(self, source: str = "template1") -> str:
        """A new database, empty unless it is made after another one."""
        self._made += 1
        name = f"alprd_{self._made}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
        return f"postgresql://alprd@/{name}?host={self.folder}"

    def clone(self, place: str) -> str:
        """A new database with everything of another one, which nobody has open."""
        return self.database(name_of(place))

    def drop(self, place: str) -> None:
        """Take a database away, whoever has it open."""
        self.sql(f'DROP DATABASE IF EXISTS "{name_of(place)}" WITH (FORCE)')

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; its rows."""
        with psycopg.connect(
            host=str(self.folder), user="alprd", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def files(self, place: str) -> list[Path]:
        """Every file of the server as it lies on the disk, other databases' tables apart."""
        self.sql("CHECKPOINT")
        name = name_of(place)
        ((oid,),) = self.sql(f"SELECT oid FROM pg_database WHERE datname = '{name}'")  # noqa: S608
        data = self.folder / "data"
        return [
            path
            for path in sorted(data.rglob("*"))
            if path.is_file() and ("base" not in path.parts or path.parent.name == str(oid))
        ]


def name_of(place: str) -> str:
    """The name of the database in its URL."""
    return place.partition("@/")[2].partition("?")[0]


@contextmanager
def postgres(parent: Path, options: str = "") -> Iterator[Postgres]:
    """A server that runs while the block does. ``parent`` must be open to the user postgres."""
    server = Postgres(parent / "pg", options)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
