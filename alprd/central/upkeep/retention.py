"""Destruction on time (R-460.5-4, -4b): keys first, then files, then rows, then the ledger.

A read past its destroy-by is invisible to every query at once; this module makes it
undeterminable. Keys go first, so that an interruption leaves only ciphertext that nothing opens;
the next run ends the work. A read past its life that a live case link or hold keeps loses the key
of its hour like any other and lives on by the key of that exemption alone (:mod:`keeping`).
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from alprd.audit import Actor
from alprd.central.grounds import accumulation
from alprd.central.hotlists import rejections
from alprd.central.records import exemptions, holds, schedule
from alprd.central.storage import db, keeping
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.objects import Kind
from alprd.central.storage.store import Central, count, counter
from alprd.records import MAX_LIFE

log: Final = logging.getLogger("alprd.central.upkeep.retention")
_IDLE_LOCK: Final = timedelta(minutes=30)
_WHOLE: Final = "whole_sweep"
"""Counter that holds the hour, since 1970, of the last comparison of everything."""
_FAILURES_KEPT: Final = timedelta(days=1)
"""Failed sign-ons count for the lock only this long at most; the trail keeps them."""


@dataclass(frozen=True, slots=True)
class Purge:
    """What one run destroyed."""

    reads: int
    quarantined: int
    intake_keys: int
    orphans: int


def purge(central: Central, *, whole: bool = True, ordered: Actor | None = None) -> Purge:
    """Destroy what is past its life, and what an interrupted intake left behind.

    Args:
        whole: compare every key and file with the rows, also those that no interruption of this
            program explains. It lists everything; without it the work is that of what is due.
        ordered: who asked for it instead of waiting for its hour. The order stands in the trail
            also where nothing was due (R-AT-1).

    Raises:
        StoreError: the store cannot be written; recorded as an alarm where possible.
    """
    try:
        done = _purge(central, whole, ordered)
        # A bucket or a server may have been set otherwise since the start.
        central.objects.check()
        central.keystore.database.check()
    except Exception as error:  # whatever it was: not destroying is told (R-460.5-4)
        with central.database.write() as tx:
            central.trail.record(
                tx,
                Event.PURGE_FAILED,
                ordered or CENTRAL,
                at=central.clock(),
                detail={"error": type(error).__name__, "alarm": True},
            )
        raise
    central.database.checkpoint()
    # After the commit: while the transaction of a purge is open in the same PostgreSQL database,
    # a rewritten table keeps the rows that were deleted since it began.
    central.keystore.database.checkpoint()
    oldest = (central.clock() - MAX_LIFE - timedelta(days=1)).date()
    central.keystore.database.tidy("read_keys", oldest)
    central.database.tidy("reads", oldest)
    return done


def whole_due(central: Central) -> bool:
    """Whether the last comparison of everything is a day old, or was under a later clock."""
    with central.database.read() as tx:
        return not 0 <= _hours(central) - counter(tx, _WHOLE) < 24


def _hours(central: Central) -> int:
    return int(central.clock().timestamp()) // 3600


def _purge(central: Central, whole: bool, ordered: Actor | None) -> Purge:
    # Committed before any key goes: what ends here must not be undone when its key is destroyed.
    with central.database.write() as tx:
        exemptions.end_due(central, tx, central.clock())
        holds.renew_freezes(central, tx, central.clock())
    with central.database.write() as tx:  # also keeps intake out while orphans are counted
        now = central.clock()
        kept = exemptions.live(tx)
        exempt = set().union(*kept.values())
        table = db.reads
        _shorten(central, tx, now)
        past = tx.execute(
            select(table.c.id, table.c.hour, table.c.classification).where(
                table.c.destroy_by <= now
            )
        ).all()
        due = [row for row in past if row.id not in exempt]
        foul = tx.execute(select(db.quarantine).where(db.quarantine.c.destroy_by <= now)).all()
        ids = [row.id for row in due]
        stale = central.keystore.read_key_ids(row.id for row in past)
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
        # Without their keys the rows are noise; but under a key of an hour that lives on a digest
        # that stays in a file would still answer.
        central.database.mark(tx, "reads", {row.hour for row in due})
        tx.execute(delete(db.quarantine).where(db.quarantine.c.destroy_by <= now))
        tx.execute(delete(db.batches).where(db.batches.c.received_at <= now - MAX_LIFE))
        tx.execute(delete(db.web_sessions).where(db.web_sessions.c.last_seen <= now - _IDLE_LOCK))
        failures = db.sign_on_failures
        tx.execute(delete(failures).where(failures.c.at <= now - _FAILURES_KEPT))
        if due or foul:
            _ledger(tx, [(row.hour, row.classification) for row in due], now)
        if due or foul or ordered:
            central.trail.record(
                tx,
                Event.DESTROYED,
                ordered or CENTRAL,
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
        orphans = _sweep_fresh(central, tx)
        if whole:
            orphans += _sweep_all(central, tx)
            count(tx, _WHOLE, _hours(central) - counter(tx, _WHOLE))
    return Purge(len(due), len(foul), keys, orphans)


def _shorten(central: Central, tx: Connection, now: datetime) -> None:
    """A read whose destroy-by was altered in the database ends 60 days after its hour all the same.

    Central writes none that is later than its hour and 60 x 24 h (R-460.5-4).
    """
    table = db.reads
    altered = tx.scalars(
        select(table.c.id).where(table.c.hour <= now - MAX_LIFE, table.c.destroy_by > now)
    ).all()
    for start in range(0, len(altered), 500):
        mine = table.c.id.in_(altered[start : start + 500])
        tx.execute(update(table).where(mine).values(destroy_by=now))
    if altered:
        log.error("ALARM: %d reads had a destroy-by beyond 60 days", len(altered))
        central.trail.record(
            tx,
            Event.ALARM_RAISED,
            CENTRAL,
            at=now,
            subjects=list(altered[:100]),
            detail={"kind": "destroy_by_altered", "reads": len(altered), "alarm": True},
        )


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


def _sweep_fresh(central: Central, tx: Connection) -> int:
    """Remove keys and files without a row: an intake that died before its commit.

    Each key is noted as fresh when it is made, before its file is written and its row committed.
    So what an interrupted intake left is among the keys that are fresh.
    """
    fresh = sorted(central.keystore.fresh_ids())
    known: set[str] = set()
    for start in range(0, len(fresh), 500):
        part = fresh[start : start + 500]
        for column in (db.reads.c.id, db.quarantine.c.sha256):
            known.update(tx.scalars(select(column).where(column.in_(part))))
    lost = [name for name in fresh if name not in known]
    keyless = central.keystore.read_key_ids(lost)
    if keyless:
        central.keystore.destroy_read_keys(keyless)
    central.objects.remove("pictures", lost)
    central.objects.remove("quarantine", lost)
    central.keystore.settled(fresh)  # last: until here an error leaves all of it to the next round
    return len(keyless)


def _sweep_all(central: Central, tx: Connection) -> int:
    """Remove every key and file without a row, whatever left it."""
    held = set(tx.scalars(select(db.reads.c.id)))
    foul = set(tx.scalars(select(db.quarantine.c.sha256)))
    keyless = central.keystore.read_key_ids() - held - foul
    if keyless:
        central.keystore.destroy_read_keys(keyless)
    orphans = len(keyless) + central.keystore.forget_empty_hours()
    kinds: tuple[tuple[Kind, set[str]], ...] = (("pictures", held), ("quarantine", foul))
    for kind, known in kinds:
        lost = [name for name in central.objects.names(kind) if name not in known]
        central.objects.remove(kind, lost)
        orphans += len(lost)
    return orphans
