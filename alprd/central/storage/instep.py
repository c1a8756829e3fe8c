"""Keeps a keystore's replica in step: what every transaction does, and the hourly look at it.

The hooks of :class:`alprd.central.storage.engine.Database`, and what housekeeping does; the files
themselves are :mod:`alprd.central.storage.replica`'s.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, event, func, select, update

from alprd.central.storage import replica as files
from alprd.central.storage.replica import Mark, Replica
from alprd.errors import StoreError

if TYPE_CHECKING:
    from alprd.central.storage.store import Central

log: Final = logging.getLogger("alprd.central.storage.instep")
_STEPS: Final = "alprd_steps"
_ROWS: Final = ("INSERT", "UPDATE", "DELETE")
_SHAPES: Final = ("CREATE", "ALTER ", "DROP T", "DROP I")
_TOLD_AGAIN: Final = timedelta(hours=24)


def note_steps(engine: Engine) -> None:
    """Let the statements of each write transaction be remembered until it commits."""
    event.listen(engine, "before_cursor_execute", _note)


def _note(
    connection: Connection, cursor: Any, statement: str, values: Any, context: Any, many: bool
) -> None:
    steps = connection.info.get(_STEPS)
    if steps is not None and statement.lstrip()[:6].upper() in (*_ROWS, *_SHAPES):
        steps.append((statement, values, many))


@contextmanager
def around(
    connection: Connection, replica: Replica | None, *, marked: bool, both: bool
) -> Iterator[Callable[[], None]]:
    """Wraps a write transaction; the function it gives is called right before the commit.

    Args:
        marked: whether the file is a keystore's, whose transactions are counted.
        both: nothing is written unless it is in the replica, too.

    Raises:
        StoreError: the keystore is older than the replica; or ``both``, and the replica is not
            there.
    """
    if not marked:
        yield lambda: None
        return
    steps: list[files.Step] = []
    follower: list[tuple[sqlite3.Connection, Mark]] = []

    def before_commit() -> None:
        if not steps:
            return
        first: Any = connection.connection.dbapi_connection
        mark = files.next_mark(files.read_mark(first))
        # Where tables changed their shape the next transaction makes the whole file alike.
        shaped = any(statement.lstrip()[:6].upper() in _SHAPES for statement, _, _ in steps)
        raw = replica.begin(first, steps) if replica is not None and not shaped else None
        if raw is not None:
            follower.append((raw, mark))
        elif both and replica is not None:
            raise _alone(replica)
        files.write_mark(first, mark)

    connection.info[_STEPS] = steps
    try:
        yield before_commit
    except BaseException:
        for raw, _ in follower:
            raw.close()  # rolls back
        raise
    finally:
        connection.info.pop(_STEPS, None)
    for raw, mark in follower:
        if replica is not None and not replica.end(raw, mark) and both:
            raise _alone(replica)


def _alone(replica: Replica) -> StoreError:
    return StoreError(
        f"the keystore's replica {replica.path} cannot be written: no new read is taken in",
        remedy="mount its disk, or alprd-central keys make-replica",
    )


def look_after(central: Central) -> str:
    """Bring a replica that was away back into step; why it is not, if it still is not.

    Each day every row of both files is compared. What cannot be mended is told in the trail.
    """
    from alprd.central.storage import db
    from alprd.central.storage.audit import Event

    keystore = central.keystore
    if keystore.replica is None:
        return ""
    if keystore.replica.state():
        with keystore.database.write() as tx:  # any transaction makes it alike
            table = db.secrets
            tx.execute(update(table).where(table.c.name == "ca").values(name="ca"))
    why = keystore.replica.state()
    now = central.clock()
    if not why and keystore.replica.compared != now.date():
        keystore.replica.compared = now.date()
        if different := files.differences(keystore.replica.keystore, keystore.replica.path):
            why = f"{different} rows differ"
    if why:
        keystore.replica.alarm(why)
        with central.database.write() as tx:
            told = tx.scalar(
                select(func.max(db.audit.c.at)).where(db.audit.c.event == Event.REPLICA_BEHIND)
            )
            if told is None or now - told > _TOLD_AGAIN:
                central.trail.record(tx, Event.REPLICA_BEHIND, at=now, detail={"why": why[:200]})
    return why
