"""One database of central: a SQLite file by default, a PostgreSQL database where configured.

Both give the same promise: ``write`` is alone. What was checked inside a write transaction still
holds when it commits, also against other processes and other hosts: SQLite takes its write lock at
once (``BEGIN IMMEDIATE``), PostgreSQL an advisory lock of the database (one agency writes a few
batches a minute; correctness is worth more here than parallel writers).

What is deleted must be gone (R-460.5-4b): SQLite overwrites it (``secure_delete``) and its
write-ahead log is emptied by :meth:`Database.checkpoint`; PostgreSQL rewrites the tables, or the
parts of tables, whose rows were destroyed, and begins a new log (:mod:`.rewriting`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError

from alprd.central.storage import instep, migrate, partitions, rewriting
from alprd.central.storage.replica import Replica, empty_log
from alprd.errors import ConfigError, StoreError

log: Final = logging.getLogger("alprd.central.storage.engine")
_LOCK: Final = 0x616C7072_00000000  # "alpr"; below it the CRC of the first table's name
_SERVER_OUT: Final = re.compile(r"connection|refused|timeout|resolve|shut|terminat", re.I)


GUARD: Final[ContextVar[tuple[Database, Callable[[Connection], None]] | None]] = ContextVar(
    "GUARD", default=None
)
"""What every write transaction of this thread's work on one database must pass first."""


class Database:
    """One database, opened so that what is deleted is overwritten.

    Args:
        place: the path of a SQLite file, or a ``postgresql://USER@HOST:PORT/NAME`` URL.
        metadata: the tables that belong there.
        create: make the file (SQLite) and the tables.
        upgrade: bring a PostgreSQL database to this program's revision; a SQLite file, which has
            no other users than this program, is brought there at each opening.
        marked: count the transactions of a SQLite file, for :mod:`alprd.central.storage.replica`.
        replica: a second file in which each transaction is done, too.

    Raises:
        StoreError: missing, unreachable, damaged, or of another revision.
        ConfigError: a URL of another kind, or one that holds a password.
    """

    def __init__(
        self,
        place: Path | str,
        metadata: MetaData,
        *,
        create: bool = False,
        upgrade: bool = False,
        marked: bool = False,
        replica: Replica | None = None,
    ) -> None:
        self._metadata = metadata
        self._marked = marked and isinstance(place, Path)
        self._replica = replica
        self.found_revision = ""
        """What was there when it was opened; empty: nothing, or of before migrations."""
        self.name = place.name if isinstance(place, Path) else str(make_url(place).database)
        if isinstance(place, Path):
            if not create and not place.exists():
                raise StoreError(
                    f"database {place} does not exist", remedy="run alprd-central init"
                )
            if create:
                place.touch(mode=0o600, exist_ok=True)
            # hide_parameters: an SQL error must not carry values into a log.
            self.engine: Engine = create_engine(f"sqlite:///{place}", hide_parameters=True)
            event.listen(self.engine, "connect", _on_sqlite_connect)
            event.listen(self.engine, "begin", _on_sqlite_begin)
            if self._marked:
                instep.note_steps(self.engine)
        else:
            _need_driver()
            self.engine = create_engine(
                server_url(place),
                hide_parameters=True,
                pool_pre_ping=True,  # a restarted server costs one reconnect, not a failed request
                connect_args={"connect_timeout": 10, "application_name": "alprd-central"},
            )
            # Main database and keystore may be one PostgreSQL database: a lock each.
            lock = _LOCK | crc32(next(iter(metadata.tables)).encode())
            event.listen(self.engine, "begin", partial(_on_postgresql_begin, lock=lock))
        self.server = not isinstance(place, Path)
        try:
            self._to_this_revision(create=create, upgrade=upgrade or not self.server)
        except DatabaseError as error:
            self.engine.dispose()
            raise StoreError(
                f"database {place} cannot be used: {type(error.orig).__name__}",
                remedy="check the disk and the file's owner; restore it from a backup",
            ) from error
        except StoreError:
            self.engine.dispose()
            raise

    def _to_this_revision(self, *, create: bool, upgrade: bool) -> None:
        if not create:
            with self.read() as tx:
                self.found_revision = migrate.revision(tx, self._metadata) or ""
                if not migrate.behind(tx, self._metadata, self.name):
                    return
            if not upgrade:
                raise StoreError(
                    f"database {self.name} is of an older program",
                    remedy=f"stop every worker, make a backup, then {migrate.UPGRADE}",
                )
        with self.write() as tx:  # another process may have been here meanwhile
            empty = create and migrate.revision(tx, self._metadata) is None
            if empty or migrate.behind(tx, self._metadata, self.name):
                migrate.upgrade(tx, self._metadata)

    @contextmanager
    def write(self, *, both: bool = False) -> Iterator[Connection]:
        """A transaction that holds the write lock; commits unless the block raises.

        Args:
            both: only if the replica, where there is one, can follow.

        Raises:
            StoreError: the database is locked, full or gone; nothing was changed.
        """
        try:
            with (
                self.engine.connect() as connection,
                instep.around(
                    connection, self._replica, marked=self._marked, both=both
                ) as before_commit,
                connection.begin(),
            ):
                guard = GUARD.get()
                if guard is not None and guard[0] is self:
                    guard[1](connection)
                yield connection
                before_commit()
        except OperationalError as error:
            raise self._unavailable(error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that blocks no writer.

        Raises:
            StoreError: the database is gone.
        """
        options: dict[str, Any] = {"alprd_read": True}
        if self.server:
            options["isolation_level"] = "REPEATABLE READ"
        try:
            with self.engine.connect().execution_options(**options) as connection:
                yield connection
        except OperationalError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: DBAPIError) -> StoreError:
        if self.server:
            why = "is not reachable" if _SERVER_OUT.search(str(error.orig)) else "failed"
            return StoreError(
                f"database {self.name} {why}: {type(error.orig).__name__}",
                remedy="check that PostgreSQL runs and has free disk space",
            )
        return StoreError(
            f"database {self.name} cannot be written: {error.orig}",
            remedy="check free disk space and other programs that hold the file",
        )

    def mark(self, tx: Connection, table: str, hours: Iterable[datetime] = ()) -> None:
        """Note inside its transaction that rows were destroyed, so that none stays in a file.

        Args:
            table: where they were; each :meth:`checkpoint` after the commit sees to it, until it
                is done, also after a crash in between.
            hours: of a table that is held in parts, the hours of the destroyed rows.
        """
        if self.server:
            rewriting.mark(tx, self._metadata, table, hours)

    def checkpoint(self) -> int:
        """Leave nothing of destroyed rows in the database's own files and log.

        Returns:
            how many tables must be rewritten again later, because a transaction of before the
            destruction is open and may still look at the rows; always 0 on SQLite.
        """
        if self.server:
            return rewriting.settle(self.engine, self._metadata)
        raw = self.engine.raw_connection()
        try:
            empty_log(raw.cursor(), self.name)
        finally:
            raw.close()
        if self._replica is not None:
            self._replica.checkpoint()
        return 0

    def check(self) -> None:
        """Whether what is destroyed here is gone.

        Raises:
            ConfigError: a PostgreSQL server that keeps its log, or lets nobody end it.
        """
        if self.server:
            rewriting.check(self.engine, self.name)

    def tidy(self, table: str, before: date) -> None:
        """Drop the parts of a table whose days are over and empty; a busy table is left for later.

        Args:
            before: the first day that may still have rows of an ordinary life.
        """
        if not self.server:
            return
        try:
            with self.write() as tx:
                # Readers of before are waited for, and those of after wait: not for long.
                tx.execute(text("SET LOCAL lock_timeout = '5s'"))
                partitions.tidy(tx, table, before)
        except StoreError:
            log.warning("table %s is in use; its empty parts are dropped later", table)

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()


def check_server(place: str) -> None:
    """Whether what is destroyed in this PostgreSQL database would be gone; empty: SQLite, it is.

    Raises:
        ConfigError: see :meth:`Database.check`.
        StoreError: the server is not reachable.
    """
    if place:
        _need_driver()
        engine = create_engine(server_url(place), connect_args={"connect_timeout": 10})
        try:
            rewriting.check(engine, str(make_url(place).database))
        except OperationalError as error:
            raise StoreError(
                f"database {make_url(place).database} is not reachable",
                remedy="check that PostgreSQL runs and that the database is there",
            ) from error
        finally:
            engine.dispose()


def _need_driver() -> None:
    if find_spec("psycopg") is None:
        raise ConfigError(
            "the settings name a PostgreSQL database, but its driver is not installed",
            remedy="pip install 'alprd[central,postgresql]'",
        )


def server_url(place: str) -> URL:
    """The checked URL of a PostgreSQL database, with its driver.

    Raises:
        ConfigError: not such a URL, or a password stands in it.
    """
    try:
        url = make_url(place)
    except ArgumentError:
        raise ConfigError(
            "the database's URL cannot be read", remedy="postgresql://USER@HOST:5432/NAME"
        ) from None
    if url.get_backend_name() != "postgresql":
        raise ConfigError(
            f"databases of {url.get_backend_name()} are not served",
            remedy="leave it empty for SQLite, or give postgresql://USER@HOST:5432/NAME",
        )
    if url.password is not None:
        raise ConfigError(
            "the database's URL holds a password",
            remedy="put it into a file that only the service reads, and name it in PGPASSFILE",
        )
    if not url.database:
        raise ConfigError("the database's URL names no database", remedy="…/NAME at its end")
    return url.set(drivername="postgresql+psycopg")


def _on_sqlite_connect(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin in _on_sqlite_begin, never implicitly
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=30000",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("alprd_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _on_postgresql_begin(connection: Connection, *, lock: int) -> None:
    options = connection.get_execution_options()
    if not options.get("alprd_read") and options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")
