"""Keys of reads that a case link or a hold keeps: re-keyed away from their hour (R-460.5-4b).

::

    agency.key ── keeper key (one for each link or hold) ── read key (again, beside the hour's)

The wrap under the hour dies with the hour, on time, as if there were no exemption; the wrap under
the keeper lives as long as the exemption. So destroying an hour destroys no kept read, and ending
an exemption leaves a read that is past its life without any key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from alprd.central.storage import db
from alprd.central.storage.keys import Keystore, seal, unseal

_CHUNK: Final = 500
_PURPOSE: Final = "keepers"


def keep(keystore: Keystore, keeper: str, keys: Mapping[str, bytes]) -> None:
    """Wrap read keys under the keeper's key, which is made when missing; durable on return."""
    table = db.kept_keys
    with keystore.database.write() as tx:
        key = _keeper_key(keystore, tx, keeper)
        if key is None:
            key = os.urandom(32)
            wrapped = seal(keystore.purpose_key(_PURPOSE), key, _keeper_aad(keeper))
            tx.execute(insert(db.keepers).values(id=keeper, wrapped=wrapped))
        names = list(keys)
        for start in range(0, len(names), _CHUNK):
            part = names[start : start + _CHUNK]
            # What an act that never committed left behind is replaced.
            tx.execute(delete(table).where(table.c.keeper == keeper, table.c.id.in_(part)))
            tx.execute(
                insert(table),
                [
                    {"keeper": keeper, "id": n, "wrapped": seal(key, keys[n], _aad(keeper, n))}
                    for n in part
                ],
            )


def open_kept(keystore: Keystore, keeper: str, reads: Iterable[str]) -> dict[str, bytes]:
    """The read keys that this keeper holds of these, by read id."""
    wanted = list(reads)
    found: dict[str, bytes] = {}
    table = db.kept_keys
    with keystore.database.read() as tx:
        key = _keeper_key(keystore, tx, keeper)
        if key is None:
            return {}
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            for row in tx.execute(
                select(table).where(table.c.keeper == keeper, table.c.id.in_(part))
            ):
                found[row.id] = unseal(key, row.wrapped, _aad(keeper, row.id))
    return found


def sweep(keystore: Keystore, live: Mapping[str, set[str]]) -> int:
    """Destroy every kept key that no live exemption names, and keepers without any; how many.

    Args:
        live: the read ids of each live exemption. The caller holds the main database's write
            lock, so that none can begin meanwhile.
    """
    table = db.kept_keys
    gone = 0
    with keystore.database.write() as tx:
        for row in tx.execute(select(table.c.keeper, table.c.id)).all():
            if row.id not in live.get(row.keeper, set()):
                tx.execute(delete(table).where(table.c.keeper == row.keeper, table.c.id == row.id))
                gone += 1
        for keeper in tx.scalars(select(db.keepers.c.id)).all():
            if keeper not in live:
                gone += tx.execute(delete(db.keepers).where(db.keepers.c.id == keeper)).rowcount
        if gone:
            keystore.database.mark(tx, "kept_keys")
            keystore.database.mark(tx, "keepers")
    if gone:
        keystore.database.checkpoint()
    return gone


def _keeper_key(keystore: Keystore, tx: Connection, keeper: str) -> bytes | None:
    wrapped = tx.scalar(select(db.keepers.c.wrapped).where(db.keepers.c.id == keeper))
    if wrapped is None:
        return None
    return unseal(keystore.purpose_key(_PURPOSE), wrapped, _keeper_aad(keeper))


def _keeper_aad(keeper: str) -> bytes:
    return f"keeper {keeper}".encode()


def _aad(keeper: str, read: str) -> bytes:
    return f"kept {keeper} {read}".encode()
