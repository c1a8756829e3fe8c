"""Queued reads whose bytes changed on the disk: set aside instead of being offered to central.

Central refuses an envelope that does not match the digest the car names, and nobody can open it
any more: it would be sent and refused at every dock. It leaves the queue for the table ``rotten``
(of the shape of ``reads``), is counted as lost, recorded and told, and destroyed at its destroy-by
like any other read (R-460.5-2b).
"""

from __future__ import annotations

from sqlite3 import Connection
from typing import Final

from alprd.alarms import AlarmBook
from alprd.audit import Event
from alprd.crypto import sha256_hex
from alprd.recorded import RecordedRows

ALARM: Final = "reads_rotten"
_PART: Final = 20
"""So many are destroyed at once, some megabytes."""
_COLUMNS: Final = "id, session, sha256, destroy_by, hit, envelope"


def is_rotten(envelope: bytes, sha256: str) -> bool:
    """Whether stored bytes are no longer those whose digest was noted when they were sealed."""
    return sha256_hex(envelope) != sha256


def set_aside(target: RecordedRows, seq: int) -> None:
    """Take one read out of the queue: recorded and counted as lost in the same transaction.

    Raises:
        StoreError: it cannot be written now; the read stays where it is.
    """
    with target.transaction() as tx:
        read, session = tx.execute("SELECT id, session FROM reads WHERE seq = ?", (seq,)).fetchone()
        tx.execute(
            f"INSERT INTO rotten ({_COLUMNS}) SELECT {_COLUMNS} FROM reads WHERE seq = ?",  # noqa: S608 - own names
            (seq,),
        )
        tx.execute("DELETE FROM reads WHERE seq = ?", (seq,))
        tx.execute(
            "INSERT INTO ledger (session, committed, receipted, expired, lost) "
            "VALUES (?, 0, 0, 0, 1) ON CONFLICT (session) DO UPDATE SET lost = lost + 1",
            (session,),
        )
        target.record(
            Event.READS_ROTTEN, session=session, subjects=(read,), detail={"reads_lost": 1}
        )


def expire(tx: Connection, stamp: str) -> int:
    """Destroy some that are past their destroy-by; how many. They were counted as lost before."""
    return tx.execute(
        "DELETE FROM rotten WHERE seq IN "
        "(SELECT seq FROM rotten WHERE destroy_by <= ? ORDER BY destroy_by LIMIT ?)",
        (stamp, _PART),
    ).rowcount


def tell(target: RecordedRows, alarms: AlarmBook) -> None:
    """The alarm is in force as long as any such read lies in the car."""
    count = target.rows("SELECT count(*) FROM rotten")[0][0]
    if count:
        alarms.raise_alarm(
            ALARM, f"{count} queued read(s) rotted on the disk and are lost; have the disk checked"
        )
    else:
        alarms.clear(ALARM)
