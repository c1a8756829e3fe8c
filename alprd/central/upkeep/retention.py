"""Destruction on time (R-460.5-4, -4b): keys first, then files, then rows, then the ledger.

A read past its destroy-by is invisible to every query at once; this module makes it
undeterminable. Keys go first, so that an interruption leaves only ciphertext that nothing opens;
the next run ends the work. A read past its life that a live case link or hold keeps loses the key
of its hour like any other and lives on by the key of that exemption alone (:mod:`keeping`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from alprd.central.grounds import accumulation
from alprd.central.hotlists import rejections
from alprd.central.records import exemptions, holds, schedule
from alprd.central.storage import db, keeping, keys
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.objects import Kind
from alprd.central.storage.store import Central
from alprd.errors import AlprdError
from alprd.records import MAX_LIFE

_IDLE_LOCK: Final = timedelta(minutes=30)
_FAILURES_KEPT: Final = timedelta(days=1)
"""Failed sign-ons count for the lock only this long at most; the trail keeps them."""


@dataclass(frozen=True, slots=True)
class Purge:
    """What one run destroyed."""

    reads: int
    quarantined: int
    intake_keys: int
    orphans: int


def purge(central: Central) -> Purge:
    """Destroy what is past its life, and what an interrupted intake left behind.

    Raises:
        StoreError: the store cannot be written; recorded as an alarm where possible.
    """
    try:
        done = _purge(central)
        central.objects.check()  # a bucket may have been changed since the start
    except (AlprdError, OSError) as error:
        with central.database.write() as tx:
            central.trail.record(
                tx,
                Event.PURGE_FAILED,
                CENTRAL,
                at=central.clock(),
                detail={"error": type(error).__name__, "alarm": True},
            )
        raise
    central.database.checkpoint()
    # After the commit: while the transaction of a purge is open in the same PostgreSQL database,
    # a rewritten table keeps the rows that were deleted since it began.
    gone = done.reads or done.quarantined or done.orphans or done.intake_keys
    central.keystore.database.checkpoint(*(keys.DESTROYED_IN if gone else ()))
    return done


def _purge(central: Central) -> Purge:
    # Committed before any key goes: what ends here must not be undone when its key is destroyed.
    with central.database.write() as tx:
        exemptions.end_due(central, tx, central.clock())
        holds.renew_freezes(central, tx, central.clock())
    with central.database.write() as tx:  # also keeps intake out while orphans are counted
        now = central.clock()
        kept = exemptions.live(tx)
        exempt = set().union(*kept.values())
        past = tx.execute(select(db.reads).where(db.reads.c.destroy_by <= now)).all()
        due = [row for row in past if row.id not in exempt]
        foul = tx.execute(select(db.quarantine).where(db.quarantine.c.destroy_by <= now)).all()
        ids = [row.id for row in due]
        stale = {row.id for row in past} & central.keystore.read_key_ids()
        if stale or foul:
            central.keystore.destroy_read_keys([*stale, *(row.sha256 for row in foul)])
        keeping.sweep(central.keystore, kept)
        central.objects.remove("pictures", ids)
        central.objects.remove("quarantine", [row.sha256 for row in foul])
        tx.execute(
            delete(db.reads).where(
                db.reads.c.destroy_by <= now, db.reads.c.id.not_in(exemptions.exempted())
            )
        )
        tx.execute(delete(db.quarantine).where(db.quarantine.c.destroy_by <= now))
        tx.execute(delete(db.batches).where(db.batches.c.received_at <= now - MAX_LIFE))
        tx.execute(delete(db.web_sessions).where(db.web_sessions.c.last_seen <= now - _IDLE_LOCK))
        failures = db.sign_on_failures
        tx.execute(delete(failures).where(failures.c.at <= now - _FAILURES_KEPT))
        if due or foul:
            _ledger(tx, [(row.hour, row.classification) for row in due], now)
            central.trail.record(
                tx,
                Event.DESTROYED,
                CENTRAL,
                at=now,
                detail={"reads": len(due), "quarantined": len(foul)},
            )
        schedule.destroy_old(central, tx, now)
        rejections.destroy_old(central, tx)
        accumulation.forget_old(tx, now)
        keys = central.keystore.destroy_intake_before(now, holds.intake_days(central, tx))
        if keys:
            central.trail.record(
                tx, Event.INTAKE_KEYS_DESTROYED, CENTRAL, at=now, detail={"days": keys}
            )
        orphans = _sweep(central, tx)
    return Purge(len(due), len(foul), keys, orphans)


def _ledger(tx: Connection, gone: list[tuple[datetime, str]], now: datetime) -> None:
    """The destruction ledger: collection day, class and count; no plates."""
    counts = Counter((hour.date().isoformat(), classification) for hour, classification in gone)
    for (day, classification), number in sorted(counts.items()):
        tx.execute(
            insert(db.destructions).values(
                at=now,
                collection_day=day,
                classification=classification,
                count=number,
                result="destroyed",
            )
        )


def _sweep(central: Central, tx: Connection) -> int:
    """Remove keys and files without a row: an intake that died before its commit."""
    held = set(tx.scalars(select(db.reads.c.id)))
    foul = set(tx.scalars(select(db.quarantine.c.sha256)))
    keyless = central.keystore.read_key_ids() - held - foul
    if keyless:
        central.keystore.destroy_read_keys(keyless)
    orphans = len(keyless)
    kinds: tuple[tuple[Kind, set[str]], ...] = (("pictures", held), ("quarantine", foul))
    for kind, known in kinds:
        lost = [name for name in central.objects.names(kind) if name not in known]
        central.objects.remove(kind, lost)
        orphans += len(lost)
    return orphans
