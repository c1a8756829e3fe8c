"""Whether a database file is damaged: by what SQLite says, and by what it would pass over.

SQLite ends its log silently at the first frame that does not fit, as it must after a loss of
power; a bad sector in the middle of the log would so take committed reads away without a word.
And its checks look at the tree of pages, not at what stands in the rows. So the log is also
looked through for a hole, and the last event of the trail for its digest.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from alprd import salvage
from alprd.audit import digest
from alprd.carve import CarvedFile
from alprd.errors import StoreError
from alprd.wire import AuditEvent

_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_DAMAGE_IO: Final = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file itself is broken."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGE or code in _DAMAGE_IO


def set_aside_if_damaged(path: Path) -> None:
    """Before a database is opened: give a damaged one its quarantine name, with its log.

    Raises:
        StoreError: the file cannot be read or moved, which is not the file's fault.
    """
    log = path.with_name(path.name + "-wal")
    size = path.stat().st_size if path.exists() else 0
    if not size and not log.exists():
        return
    if not size or _log_has_hole(path):
        salvage.set_aside(path)
        salvage.part(path)
        return
    aside = False
    try:
        connection = sqlite3.connect(path)
        try:
            if not _whole(connection):
                # Before it is closed, since SQLite then folds the log into the file.
                salvage.set_aside(path)
                aside = True
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(
            f"queue {path} cannot be opened: {error}", remedy="run alprd doctor"
        ) from error
    if aside:
        salvage.part(path)


def _log_has_hole(path: Path) -> bool:
    try:
        file = CarvedFile(path)
    except OSError as error:
        raise StoreError(
            f"queue {path} cannot be read: {error.strerror}", remedy="run alprd doctor"
        ) from error
    file.close()
    return file.log_has_hole


def _whole(connection: sqlite3.Connection) -> bool:
    try:
        if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            return False
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if "audit" not in tables:
            return True  # a file that was only just begun
        last = connection.execute("SELECT event FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        if last is None:
            return True
        event = AuditEvent.model_validate_json(last[0])
        return digest(event.model_dump(mode="json")) == event.digest
    except ValidationError:
        return False
    except sqlite3.Error as error:
        if is_damage(error):
            return False
        raise
