"""The keystore's second file: on another disk, in step with the first at every commit.

Without the keystore every read is lost, and no backup may hold it (R-460.5-4b). So a SQLite
keystore can have a replica: each transaction is done in both files before anybody is told that it
is done. A new read's key is in both before its receipt is signed; what is destroyed in one is
destroyed in the other, and both logs are emptied.

Each transaction raises a count and draws a random mark; both stand in the header of each file
(``user_version``, ``application_id``) as part of the transaction. The same pair means the same
rows. The keystore commits first. So:

- count and mark the same: in step.
- the replica is behind (it was away, or the power went between the two commits): the next
  transaction first makes it alike.
- the replica is *ahead*: somebody put an old keystore back. Nothing is written then, because it
  would destroy keys that exist nowhere else.

While the replica cannot be written the keystore goes on alone, except that no new read is taken in:
a car keeps what has no receipt.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from alprd.errors import ConfigError, InputError, StoreError

log: Final = logging.getLogger("alprd.central.storage.replica")
_MOST: Final = 0x7FFFFFFF
_SHORT_S: Final = 0.2
BEHIND: Final = "it is behind the keystore"
AHEAD: Final = "it is ahead of the keystore"
_PRAGMAS: Final = (
    "busy_timeout=30000",
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",
    "temp_store=MEMORY",
)
_MAKE: Final = "alprd-central keys make-replica"
_PROMOTE: Final = "alprd-central keys promote-replica"
Step = tuple[str, Any, bool]
"""A statement, its parameters, and whether there are many sets of them."""
Mark = tuple[int, int]
"""Count and random mark of the newest transaction."""


def read_mark(raw: Any) -> Mark:
    """Count and mark of an open SQLite file."""
    count = raw.execute("PRAGMA user_version").fetchone()[0]
    return int(count), int(raw.execute("PRAGMA application_id").fetchone()[0])


def write_mark(raw: Any, mark: Mark) -> None:
    """Put them, inside the transaction that they belong to."""
    raw.execute(f"PRAGMA user_version = {mark[0]:d}")
    raw.execute(f"PRAGMA application_id = {mark[1]:d}")


def next_mark(before: Mark) -> Mark:
    """Of the transaction after one."""
    return before[0] % _MOST + 1, secrets.randbelow(_MOST) + 1


@dataclass(slots=True)
class Replica:
    """The second file of one keystore.

    Args:
        keystore: path of the first file.
        path: of the second; on another disk, and in no backup.
    """

    keystore: Path
    path: Path
    compared: date | None = field(default=None, init=False)
    """The day on which every row was last compared."""
    _told: str = field(default="", init=False)

    def state(self) -> str:
        """Why the replica is not in step; empty when it is."""
        found = self._state()
        if found == BEHIND:  # perhaps looked at between the two commits
            time.sleep(_SHORT_S)
            found = self._state()
        return found

    def _state(self) -> str:
        if not self.keystore.is_file():
            return "the keystore is not there"
        try:
            with closing(self._open()) as raw, closing(_connect(self.keystore)) as first:
                mine, its = read_mark(raw), read_mark(first)
        except (OSError, sqlite3.Error) as error:
            return _why(error)
        if mine == its:
            return ""
        return AHEAD if mine[0] > its[0] else BEHIND

    def same_disk(self) -> bool:
        """Whether both files lie on one device, so that both go when it does."""
        with suppress(OSError):
            return self.path.stat().st_dev == self.keystore.stat().st_dev
        return False

    def begin(self, first: Any, steps: Sequence[Step]) -> sqlite3.Connection | None:
        """Do a transaction's statements here too, up to its commit; ``None`` when it cannot be.

        Called inside the keystore's transaction, which nobody else can be in.

        Args:
            first: the keystore's raw connection, in the transaction.
            steps: what was done there.

        Raises:
            StoreError: the keystore is older than its replica; nothing may be written.
        """
        mark = read_mark(first)
        raw: sqlite3.Connection | None = None
        try:
            raw = self._open()
            raw.execute("BEGIN IMMEDIATE")
            mine = read_mark(raw)
            if mine[0] > mark[0]:
                raw.close()
                raise ahead(self.path)
            if mine != mark:
                raw.execute("ROLLBACK")
                self._make_alike(raw)
            for statement, values, many in steps:
                (raw.executemany if many else raw.execute)(statement, values)
        except (OSError, sqlite3.Error) as error:
            if raw is not None:
                raw.close()  # rolls back
            self.alarm(_why(error))
            return None
        return raw

    def end(self, raw: sqlite3.Connection, mark: Mark) -> bool:
        """Commit after the keystore did; whether both are in step now."""
        try:
            with closing(raw):
                write_mark(raw, mark)
                raw.execute("COMMIT")
        except sqlite3.Error as error:
            self.alarm(_why(error))
            return False
        if self._told:
            log.warning("the keystore's replica is in step again")
            self._told = ""
        return True

    def checkpoint(self) -> None:
        """Leave nothing of deleted rows in the replica's log."""
        try:
            with closing(self._open()) as raw:
                empty_log(raw, self.path.name)
        except (OSError, sqlite3.Error) as error:
            self.alarm(_why(error))

    def alarm(self, why: str) -> None:
        """Say once that the replica cannot follow, and why."""
        if why != self._told:
            log.error("ALARM: the keystore's replica cannot follow: %s", why)
        self._told = why

    def _open(self) -> sqlite3.Connection:
        # SQLite would make an empty file where a disk is not mounted.
        if not self.path.is_file():
            raise FileNotFoundError(2, "the file is not there")
        return _connect(self.path)

    def _make_alike(self, raw: sqlite3.Connection) -> None:
        """Make this file what the keystore was before the transaction under way; begin another."""
        raw.execute("ATTACH DATABASE ? AS first", (str(self.keystore),))
        # Not IMMEDIATE, which would ask for the keystore's lock too; a write comes first instead.
        raw.execute("BEGIN")
        write_mark(raw, read_mark(raw))
        wanted = _tables(raw, "first")
        for name, made in _tables(raw, "main").items():
            if wanted.get(name) != made:
                raw.execute(f'DELETE FROM main."{name}"')  # noqa: S608 - overwritten, then gone
                raw.execute(f'DROP TABLE main."{name}"')
        have = _tables(raw, "main")
        for name, made in wanted.items():
            if name not in have:
                raw.execute(made)
            raw.execute(
                f'DELETE FROM main."{name}" WHERE rowid IN (SELECT m.rowid FROM main."{name}" m '  # noqa: S608
                f'WHERE NOT EXISTS (SELECT 1 FROM first."{name}" f WHERE {_same(raw, name)}))'
            )
            raw.execute(
                f'INSERT INTO main."{name}" SELECT * FROM first."{name}" '  # noqa: S608
                f'EXCEPT SELECT * FROM main."{name}"'
            )
        indexes = _tables(raw, "main", "index")
        for name, made in _tables(raw, "first", "index").items():
            if name not in indexes:
                raw.execute(made)
        log.warning("the keystore's replica was made alike again")


def make(keystore: Path, path: Path) -> None:
    """Make a replica, or make one anew; durable when this returns.

    Raises:
        InputError: its folder is not there.
        StoreError: it belongs to another keystore, is ahead of this one, or the disk refuses.
    """
    check_place(path)
    if path.exists():
        _must_belong(keystore, path)
    coming = path.with_name(f"{path.name}.new")
    try:
        coming.unlink(missing_ok=True)
        coming.touch(mode=0o600)
        with closing(_connect(keystore)) as first, closing(_connect(coming)) as second:
            mark = read_mark(first)
            first.backup(second)
            if read_mark(second) < mark:
                raise StoreError("the copy is older than the keystore", remedy=_MAKE)
            empty_log(second, coming.name)
        wipe(path)
        for left in ("-wal", "-shm"):
            coming.with_name(coming.name + left).unlink(missing_ok=True)
        coming.replace(path)
        sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"replica {path}: {_why(error)}", remedy="check the disk") from error


def check_place(path: Path) -> None:
    """Look whether a replica can be made there.

    Raises:
        InputError: its folder is not there.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not there", remedy="mount the disk, make the folder")


def promote(keystore: Path, path: Path, *, replace: bool) -> None:
    """Make the keystore anew from its replica, after its disk was lost.

    Args:
        replace: also where there is a keystore that is older than the replica.

    Raises:
        InputError: no replica, or the keystore is there and is not older.
        StoreError: the replica cannot be read, or the disk refuses.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there", remedy="mount the disk of the replica")
    if keystore.exists():
        state = Replica(keystore, path).state()
        if state != AHEAD and _sound(keystore):
            raise InputError(
                "the keystore is there and is not older", remedy=f"for a new replica: {_MAKE}"
            )
        if not replace:
            raise InputError("a keystore is there", remedy="say --replace: it is destroyed")
    coming = keystore.with_name(f"{keystore.name}.new")
    try:
        coming.unlink(missing_ok=True)
        coming.touch(mode=0o600)
        with closing(_connect(path)) as first, closing(_connect(coming)) as second:
            first.backup(second)
            empty_log(second, coming.name)
        wipe(keystore)
        for left in ("-wal", "-shm"):
            coming.with_name(coming.name + left).unlink(missing_ok=True)
        coming.replace(keystore)
        sync_folder(keystore.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"keystore {keystore}: {_why(error)}", remedy="check the disk") from error


def differences(keystore: Path, path: Path) -> int:
    """Rows that stand in one file only; every row is compared.

    Raises:
        StoreError: one of both cannot be read.
    """
    try:
        with closing(Replica(keystore, path)._open()) as raw:
            raw.execute("ATTACH DATABASE ? AS first", (str(keystore),))
            raw.execute("BEGIN")
            return sum(
                int(
                    raw.execute(
                        f'SELECT count(*) FROM (SELECT * FROM {one}."{name}" '  # noqa: S608
                        f'EXCEPT SELECT * FROM {other}."{name}")'
                    ).fetchone()[0]
                )
                for name in _tables(raw, "first")
                for one, other in (("first", "main"), ("main", "first"))
            )
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"replica {path}: {_why(error)}", remedy=_MAKE) from error


def ahead(path: Path) -> StoreError:
    """The keystore is older than its replica."""
    return StoreError(
        f"the keystore is older than its replica {path}: an old copy was put back",
        remedy=f"stop every worker, then {_PROMOTE} --replace",
    )


def replica_of(keystore: Path | str, path: str) -> Replica | None:
    """The replica that the settings name, if any.

    Raises:
        ConfigError: the keystore is on a server, which has a standby instead; or the replica
            would lie beside the keystore.
    """
    if not path:
        return None
    if not isinstance(keystore, Path):
        raise ConfigError(
            "[storage] replica is for a keystore in a file",
            remedy="give the keystore's server a synchronous standby: docs/storage.md",
        )
    place = keystore.parent / path
    if place.resolve().is_relative_to(keystore.parent.resolve()):
        raise ConfigError(
            "[storage] replica lies in the home folder", remedy="name a file on another disk"
        )
    return Replica(keystore, place)


def empty_log(raw: Any, name: str) -> bool:
    """Empty a SQLite file's write-ahead log; whether it is empty now."""
    busy = bool(raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
    if busy:
        log.error("ALARM: the log of %s is in use and could not be emptied; tried again", name)
    return not busy


def wipe(path: Path) -> None:
    """Write a SQLite file and what lies beside it over, then remove it."""
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with suppress(FileNotFoundError), name.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            for start in range(0, size, 1 << 20):
                file.write(b"\0" * min(1 << 20, size - start))
            file.flush()
            os.fsync(file.fileno())
        name.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _connect(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        for pragma in _PRAGMAS:
            raw.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        raw.close()
        raise
    return raw


def _tables(raw: Any, schema: str, kind: str = "table") -> dict[str, str]:
    query = f"SELECT name, sql FROM {schema}.sqlite_master WHERE type = ? AND sql IS NOT NULL"  # noqa: S608
    rows = raw.execute(query, (kind,)).fetchall()
    return {str(name): str(made) for name, made in rows if not name.startswith("sqlite_")}


def _same(raw: Any, table: str) -> str:
    columns = [row[1] for row in raw.execute(f'PRAGMA first.table_info("{table}")')]
    return " AND ".join(f'f."{name}" IS m."{name}"' for name in columns)


def _must_belong(keystore: Path, path: Path) -> None:
    """A replica is written over only if it is this keystore's, and not newer than it."""
    try:
        with closing(_connect(path)) as raw, closing(_connect(keystore)) as first:
            query = "SELECT wrapped FROM secrets WHERE name = 'ca'"
            if raw.execute(query).fetchone() != first.execute(query).fetchone():
                raise StoreError(
                    f"{path} is the replica of another keystore", remedy="name another file"
                )
            if read_mark(raw)[0] > read_mark(first)[0]:
                raise ahead(path)
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} is there and is no replica: {_why(error)}", remedy="remove or rename it"
        ) from error


def _sound(path: Path) -> bool:
    try:
        with closing(_connect(path)) as raw:
            good = bool(raw.execute("PRAGMA quick_check").fetchone()[0] == "ok")
            return good and int(raw.execute("SELECT count(*) FROM secrets").fetchone()[0]) > 0
    except sqlite3.Error:
        return False


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__
