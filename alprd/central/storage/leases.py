"""Which of several workers does the work that one must do: purge, publication, key series.

A lease is a row: holder, a number, an end. A worker takes it when it is free or ended, and renews
it while it lives; a worker that dies loses it by the end of its time. The number is raised at each
change of hands, and what a holder writes asks for it inside the same transaction: a worker that
stood still past its end, and believes itself the holder, writes nothing.

Time is the database's where it is a server, so that workers' clocks need not agree. Purge and
publication are safe without a lease as well (both hold the write lock, and doing them twice does
no harm); the lease keeps workers from doing everything once each.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select, text, update

from alprd.central.storage.engine import Database
from alprd.central.storage.store_tables import leases
from alprd.errors import StoreError

HOUSEKEEPING: Final = "housekeeping"


@dataclass(frozen=True, slots=True)
class Lease:
    """Held work: prove it with :func:`fence` in every transaction."""

    name: str
    holder: str
    token: int


def new_holder() -> str:
    """An id for one running worker."""
    return secrets.token_hex(16)


def take(database: Database, name: str, holder: str, life: timedelta) -> Lease | None:
    """Take or renew a lease; ``None`` while another worker holds it.

    Raises:
        StoreError: the database is gone.
    """
    with database.write() as tx:
        now = database_now(database, tx)
        row = tx.execute(select(leases).where(leases.c.name == name)).one_or_none()
        ends = now + life
        if row is None:
            values = {"name": name, "holder": holder, "token": 1, "ends_at": ends}
            tx.execute(insert(leases).values(values))
            return Lease(name, holder, 1)
        # An end far ahead was written under a clock that was wrong: it must not stop all work.
        if row.holder != holder and now < row.ends_at <= ends:
            return None
        token = row.token if row.holder == holder else row.token + 1
        tx.execute(
            update(leases)
            .where(leases.c.name == name)
            .values(holder=holder, token=token, ends_at=ends)
        )
        return Lease(name, holder, token)


def fence(tx: Connection, lease: Lease) -> None:
    """Refuse to go on in this transaction when the lease went to another worker.

    Raises:
        StoreError: it did; nothing of the transaction may be committed.
    """
    token = tx.scalar(select(leases.c.token).where(leases.c.name == lease.name))
    if token != lease.token:
        raise StoreError(
            f"the lease for {lease.name} went to another worker",
            remedy="nothing to do: the other worker goes on",
        )


def give_back(database: Database, lease: Lease) -> None:
    """Let another worker begin at once; at an orderly end."""
    with database.write() as tx:
        # The row stays for its number: a later holder must have a higher one.
        tx.execute(
            update(leases)
            .where(
                leases.c.name == lease.name,
                leases.c.holder == lease.holder,
                leases.c.token == lease.token,
            )
            .values(ends_at=database_now(database, tx))
        )


def database_now(database: Database, tx: Connection) -> datetime:
    """The time that all workers share: the server's where there is one."""
    if not database.server:
        return datetime.now(UTC)
    found: datetime = tx.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found.astimezone(UTC)
