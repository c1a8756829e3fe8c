"""PostgreSQL: destroyed rows leave the files of the tables, and the log (R-460.5-4b).

PostgreSQL only marks a deleted row; its bytes stay in the table's file until the file is written
anew, and in the write-ahead log until its segment is removed. So each destruction marks, in its
own transaction, which tables or parts it touched. After the commit each marked one is rewritten
(``VACUUM FULL``), then the log is switched and a checkpoint removes every segment of before.

A row is kept by a rewrite while a transaction that began before its deletion is open. The mark
stays until there is none, so nothing is forgotten: neither then nor by a crash in between.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, String, Table, text
from sqlalchemy.exc import DBAPIError

from alprd.central.storage import partitions
from alprd.errors import ConfigError, StoreError

log: Final = logging.getLogger("alprd.central.storage.rewriting")
_MARKS: Final = {"main": "row_rewrites", "keystore": "key_rewrites"}
# Whether nobody's transaction but ours is as old as the destruction: a rewrite would keep its rows.
# Of other users' sessions the age is hidden, so one of them counts as old.
_NOBODY_SEES: Final = text(
    "SELECT age((:since)::text::xid8::xid) > "
    "coalesce(max(greatest(age(backend_xid), age(backend_xmin))), -1) "
    "AND (pg_has_role('pg_read_all_stats', 'USAGE') "
    "OR bool_and(usename = current_user) IS NOT FALSE) "
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def marks(metadata: MetaData, name: str) -> Table:
    """The table of marks of a database: a table or part, and the last destruction in it."""
    return Table(
        name,
        metadata,
        Column("name", String(63), primary_key=True),
        Column("since", BigInteger, nullable=False),
    )


def mark(tx: Connection, metadata: MetaData, table: str, hours: Iterable[datetime] = ()) -> None:
    """See :meth:`alprd.central.storage.engine.Database.mark`."""
    if table not in metadata.tables:
        raise ValueError(f"no table {table}")
    if table in partitions.TABLES:
        wanted = {partitions.name_of(table, hour) for hour in hours}
        # The day may have become part of its month.
        names = {n if _exists(tx, n) else n[:-2].replace("_d", "_m") for n in wanted}
    else:
        names = {table}
    kept = _MARKS[metadata.info["tree"]]
    for name in sorted(names):
        tx.execute(
            text(
                f"INSERT INTO {kept} (name, since) "  # noqa: S608 - our own name
                "VALUES (:name, pg_current_xact_id()::text::bigint) "
                "ON CONFLICT (name) DO UPDATE SET since = excluded.since"
            ),
            {"name": name},
        )


def settle(engine: Engine, metadata: MetaData) -> int:
    """See :meth:`alprd.central.storage.engine.Database.checkpoint`.

    Raises:
        StoreError: the server does not let the log be ended.
    """
    kept = _MARKS[metadata.info["tree"]]
    left = 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        found = connection.execute(
            text(f"SELECT name, since FROM {kept} ORDER BY name")  # noqa: S608 - our own name
        ).all()
        if not found:
            return 0
        done = []
        for row in found:
            # Asked for each one: a rewrite takes time, and another's transaction may have ended.
            if not connection.scalar(_NOBODY_SEES, {"since": row.since}):
                left += 1
            elif _rewrite(connection, row.name):
                done.append({"name": row.name, "since": row.since})
            else:
                left += 1
        if not done:
            log.info("%d tables keep destroyed rows until older transactions end", left)
            return left
        try:
            connection.execute(text("SELECT pg_switch_wal()"))
            connection.execute(text("CHECKPOINT"))
        except DBAPIError as error:
            raise StoreError(
                f"the database's log cannot be ended: {type(error.orig).__name__}",
                remedy="GRANT pg_checkpoint and EXECUTE ON FUNCTION pg_switch_wal to the user",
            ) from error
        # Last: until here a crash leaves the marks, and the next round does it again.
        connection.execute(
            text(f"DELETE FROM {kept} WHERE name = :name AND since = :since"),  # noqa: S608
            done,
        )
    return left


def _rewrite(connection: Connection, name: str) -> bool:
    if not _exists(connection, name):
        return True  # a part that was dropped, file and all
    try:
        connection.execute(text(f'VACUUM (FULL) "{name}"'))
    except DBAPIError as error:
        log.warning("table %s was not rewritten: %s", name, type(error.orig).__name__)
        return False
    return True


def _exists(connection: Connection, name: str) -> bool:
    return connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is not None


def check(engine: Engine, name: str) -> None:
    """See :meth:`alprd.central.storage.engine.Database.check`."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        settings = {
            row.name: row.setting
            for row in connection.execute(
                text(
                    "SELECT name, setting FROM pg_settings "
                    "WHERE name IN ('archive_mode', 'wal_recycle', 'wal_keep_size')"
                )
            )
        }
        slots: Any = connection.scalar(
            text("SELECT count(*) FROM pg_replication_slots WHERE NOT active")
        )
        may = connection.execute(
            text(
                "SELECT has_function_privilege('pg_switch_wal()', 'EXECUTE') AS switch, "
                "pg_has_role('pg_checkpoint', 'USAGE') AS checkpoint"
            )
        ).one()
    faults = {
        "archives its log (archive_mode)": settings["archive_mode"] != "off",
        "keeps old segments of its log (wal_recycle)": settings["wal_recycle"] != "off",
        "keeps its log for standbys (wal_keep_size)": settings["wal_keep_size"] != "0",
        "keeps its log for a replication slot that nobody uses": slots > 0,
        "does not let this user end the log (pg_switch_wal)": not may.switch,
        "does not let this user make a checkpoint (pg_checkpoint)": not may.checkpoint,
    }
    for what, true in faults.items():
        if true:
            raise ConfigError(
                f"the server of database {name} {what}, so destroyed keys would stay in it",
                remedy="see PostgreSQL in docs/storage.md: four settings and two grants",
            )
