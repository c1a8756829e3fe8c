"""Tables of what the public and the BCA get; rows of the records among them are only added.

A trigger of the database itself refuses to change or remove a row of an append-only table, also
for a program that is not this one. It is no defence against whoever owns the database and drops
the trigger: that is what the hash chain and the trail are for
(:mod:`alprd.central.public.logbook`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Column, Connection, Index, Integer, LargeBinary, String, Table, Text, text

from alprd.central.storage.db import UtcTime, main

_APPEND_ONLY_SQLITE: Final = (
    "CREATE TRIGGER IF NOT EXISTS {table}_keeps_{verb} BEFORE {verb} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'rows of {table} are only added'); END"
)
_APPEND_ONLY_FUNCTION = (
    "CREATE OR REPLACE FUNCTION alprd_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ "
    "BEGIN RAISE EXCEPTION 'rows of % are only added', TG_TABLE_NAME; END $$"
)
_APPEND_ONLY_POSTGRESQL = (
    "CREATE OR REPLACE TRIGGER {table}_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
    "FOR EACH STATEMENT EXECUTE FUNCTION alprd_append_only()"
)


def append_only_statements(name: str, dialect: str) -> list[str]:
    """What makes a table append-only, as statements of one dialect (also for a migration)."""
    if dialect == "sqlite":
        return [
            _APPEND_ONLY_SQLITE.format(table=name, verb=verb.lower())
            for verb in ("UPDATE", "DELETE")
        ]
    return [_APPEND_ONLY_FUNCTION, _APPEND_ONLY_POSTGRESQL.format(table=name)]


@contextmanager
def rewriting(tx: Connection) -> Iterator[None]:
    """Lets a restore put the rows of a backup in place of all rows; nothing else may use it."""
    dialect = tx.dialect.name
    for name in APPEND_ONLY:
        if dialect == "sqlite":
            for verb in ("update", "delete"):
                tx.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}_keeps_{verb}")
        else:
            tx.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}_keeps ON {name}")
    yield  # a failure undoes all of it with the transaction
    for name in APPEND_ONLY:
        for statement in append_only_statements(name, dialect):
            tx.exec_driver_sql(statement.replace("%", "%%") if dialect != "sqlite" else statement)


public_log = Table(
    "public_log",
    main,
    # The public log of use: every row that was ever added, chained like the trail.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("session", String(32), index=True),
    Column("added_at", UtcTime, nullable=False),
    Column("document", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index(
        "public_log_one_row_a_session",
        "session",
        unique=True,
        sqlite_where=text("kind = 'session'"),
        postgresql_where=text("kind = 'session'"),
    ),
)

hidden_sources = Table(
    "hidden_sources",
    main,
    # Sources whose very existence is not public, and when that ended (R-460.5.1-b2).
    Column("id", String(32), primary_key=True),
    Column("source", String(64), nullable=False, index=True),
    Column("citation", String(200), nullable=False),
    Column("flagged_by", String(64), nullable=False),
    Column("flagged_at", UtcTime, nullable=False),
    Column("lifted_by", String(64)),
    Column("lifted_at", UtcTime),
)

fixed_events = Table(
    "fixed_events",
    main,
    # What became of each fixed location; place and reasons only inside `sealed`, because a
    # location may be security information (R-460.5.1-e2).
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("entry", String(32), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("device", String(64), nullable=False, index=True),
    Column("on_day", String(10), nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Column("recorded_by", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

readers = Table(
    "readers",
    main,
    # Every device with ALPR capability (R-460.4.1-d); days are local dates.
    Column("device", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("what", String(200), nullable=False),
    Column("installed", String(10)),
    Column("first_used", String(10)),
    Column("retired", String(10)),
    Column("added_by", String(64), nullable=False),
    Column("added_at", UtcTime, nullable=False),
)

bca_notices = Table(
    "bca_notices",
    main,
    # Notices sent to the BCA; the receipt lies sealed in <home>/bca/<id>.
    Column("id", String(32), primary_key=True),
    Column("device", String(64), nullable=False, index=True),
    # Entry of a fixed location that it tells of; empty: installation or use of the device.
    Column("entry", String(32), nullable=False),
    Column("sent_at", UtcTime, nullable=False),
    Column("sent_by", String(64), nullable=False),
    Column("how", String(32), nullable=False),
    Column("reference", String(200), nullable=False),
    Column("receipt_sha256", String(64), nullable=False),
    Column("recorded_by", String(64), nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
)

bca_reminders = Table(
    "bca_reminders",
    main,
    # Which reminders of a duty were given, so that each is given once.
    Column("duty", String(128), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("given_at", UtcTime, nullable=False),
)

bca_checks = Table(
    "bca_checks",
    main,
    # The BCA's published entry compared with the register (R-460.4.1-d2).
    Column("id", String(32), primary_key=True),
    Column("checked_at", UtcTime, nullable=False),
    Column("checked_by", String(64), nullable=False),
    Column("published", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("agrees", String(3), nullable=False),
    Column("note", String(500), nullable=False),
)

redactions = Table(
    "redactions",
    main,
    # Changes to what the public trail export withholds; the newest row of a field counts.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("field", String(64), nullable=False, index=True),
    Column("treatment", String(16), nullable=False),
    Column("citation", String(200), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("set_by", String(64), nullable=False),
    Column("set_at", UtcTime, nullable=False),
)

protected_cases = Table(
    "protected_cases",
    main,
    # Keyed digests of case numbers that the public trail export withholds.
    Column("digest", String(64), primary_key=True),
    Column("citation", String(200), nullable=False),
    Column("set_by", String(64), nullable=False),
    Column("set_at", UtcTime, nullable=False),
)

APPEND_ONLY: Final = (
    "public_log", "fixed_events", "bca_notices", "bca_checks", "redactions",
)  # fmt: skip
"""Their migration makes the triggers; :func:`append_only_statements` gives them."""
