"""The car's sealed queue, ledger, session rows and audit trail: one SQLite database.

A read is *committed* when :meth:`Store.commit_read` has returned: the transaction that holds its
envelope, the ledger's count and the session's counters is on the disk (``synchronous=FULL``).
From then on only two things end it: a receipt signed by central that names its ciphertext, or
its destroy-by (R-460.5-2, R-460.5-2b). Nothing here can open a read; the rows hold ids, classes,
destroy-by and ciphertext, never plate text, place or instant.

Tables (made through sqlite-utils)::

    reads     seq INTEGER PK, id, session, sha256, destroy_by, hit, envelope BLOB
    rotten    as reads: whose envelope no longer has its sha256 (alprd.rotten)
    ledger    session PK, committed, receipted, expired, lost (by damage of the file or of a read)
    sessions  id PK, row JSON, open, sent
    audit     seq PK, event JSON, sent
    meta      key PK, value
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from alprd import rotten
from alprd.alarms import AlarmBook
from alprd.audit import DAEMON, Actor, Event
from alprd.carve import PAGE
from alprd.crypto import envelope_header, sha256_hex
from alprd.database import CarDatabase, Now, QueueReplacedError, again
from alprd.errors import DiskFullError, StoreError
from alprd.wire import AuditEvent, Receipt, ReceiptItem, SessionRow

log = logging.getLogger(__name__)

PURGE_ALARM: Final = "purge_failed"
EXPIRE_BYTES: Final = 4_000_000
"""What is destroyed at once: half of the room that the log needs anyway
(:data:`alprd.disk.LOG_ROOM`), a quarter of a second on a slow card."""
EXPIRE_LEAST: Final = 64_000
EXPIRE_ROWS: Final = 500

__all__ = ["LedgerTotals", "Now", "Pending", "QueuedRead", "Store"]


@dataclass(frozen=True, slots=True)
class QueuedRead:
    """One sealed read waiting for the dock."""

    id: str
    session: str
    envelope: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Pending:
    """How much still waits for central."""

    reads: int
    sessions: int
    audit: int


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """Reads ever committed on this car, and how they ended."""

    committed: int
    receipted: int
    expired: int
    lost: int = 0
    """Reads that damage took; 0 unless ``queue.salvaged`` or ``reads.rotten`` in the trail says
    so."""

    @property
    def left(self) -> int:
        """Reads that must still be in the queue."""
        return self.committed - self.receipted - self.expired - self.lost


class Store(CarDatabase):
    """One writer, any thread; every public method is one transaction."""

    def __init__(
        self, path: Path, *, now: Now, device: str, alarms: AlarmBook | None = None
    ) -> None:
        self._late: deque[tuple[SessionRow, Actor]] = deque()
        self._leases: dict[str, float] = {}
        super().__init__(path, now=now, device=device, alarms=alarms)
        rotten.tell(self, self.alarms)

    # --- reads ------------------------------------------------------------------------------

    @again
    def commit_read(self, envelope: bytes, *, hit: bool, session_row: SessionRow) -> None:
        """Queue a sealed read; committed once this returns.

        The session's counters go with it in the same transaction, so that a power cut can never
        leave more reads than the session admits to; its end as of now only to ten seconds.

        Raises:
            StoreError: nothing was written.
        """
        header = envelope_header(envelope)
        with self._transaction() as tx:
            tx.execute(
                "INSERT INTO reads (id, session, sha256, destroy_by, hit, envelope) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    header.id,
                    header.session,
                    sha256_hex(envelope),
                    _stamp(header.destroy_by),
                    int(hit),
                    envelope,
                ),
            )
            self._count(header.session, "committed", 1)
            self._write_session(self._as_of_heartbeat(session_row), is_open=True)

    def _as_of_heartbeat(self, row: SessionRow) -> SessionRow:
        """A row whose end does not tell the instant of the read it is written with.

        The log keeps old versions of a row for a while, one a read; each may say no more than
        the heartbeat before the read. A power cut closes a session at that heartbeat.
        """
        kept = self._rows("SELECT row FROM sessions WHERE id = ? AND open = 1", (row.id,))
        last = SessionRow.model_validate_json(kept[0][0]).ended if kept else row.started
        # Trusted time may since have moved the start, by milliseconds or by years.
        return row.model_copy(update={"ended": max(last, row.started)})

    def _count(self, session: str, column: str, by: int) -> None:
        self._connection.execute(
            "INSERT INTO ledger (session, committed, receipted, expired, lost) "
            "VALUES (?, 0, 0, 0, 0) "
            "ON CONFLICT (session) DO NOTHING",
            (session,),
        )
        self._connection.execute(
            f"UPDATE ledger SET {column} = {column} + ? WHERE session = ?",  # noqa: S608 - own name
            (by, session),
        )

    @again
    def claim(self, limit: int, max_bytes: int, lease_s: float) -> list[QueuedRead]:
        """Lease reads for sending, hits first, then oldest; a lease that runs out is free again.

        Leases are by the monotonic clock and in memory: a restart frees them all, and a full
        disk does not keep the car from being emptied. A read that rotted on the disk is not
        given out but set aside; the rest goes on.
        """
        now = time.monotonic()
        with self._lock:
            self._leases = {i: until for i, until in self._leases.items() if until >= now}
            taken: list[QueuedRead] = []
            try:
                self._take(taken, limit, max_bytes, now + lease_s)
            except StoreError:
                self.release([read.id for read in taken])
                raise
        return taken

    def _take(self, taken: list[QueuedRead], limit: int, max_bytes: int, until: float) -> None:
        """Lease reads into ``taken``, which also holds them if this fails."""
        size = 0
        while len(taken) < limit and (free := self._next(limit - len(taken))):
            for seq in free:
                (row,) = self._rows(
                    # The cast: rot may also have turned the value's type.
                    "SELECT id, session, CAST(envelope AS BLOB), sha256 FROM reads WHERE seq = ?",
                    (seq,),
                )
                if rotten.is_rotten(row[2], row[3]):
                    self._set_aside(seq, row[0], until)
                    continue
                if taken and size + len(row[2]) > max_bytes:
                    return
                size += len(row[2])
                taken.append(QueuedRead(*row))
                self._leases[row[0]] = until

    def _next(self, limit: int) -> list[int]:
        """The first reads that nobody leases, ``limit`` of them at most, by ``seq``.

        Of a queue of weeks no more than these and the leased ones come into memory.
        """
        found = self._rows(
            "SELECT seq, id FROM reads ORDER BY hit DESC, seq LIMIT ?",
            (limit + len(self._leases),),
        )
        return [seq for seq, read in found if read not in self._leases][:limit]

    def _set_aside(self, seq: int, read: str, until: float) -> None:
        """Out of the queue with a rotten read; where that cannot be written, it is passed over."""
        try:
            rotten.set_aside(self, seq)
        except QueueReplacedError:
            raise
        except StoreError as error:
            log.error("a rotten read cannot be set aside yet: %s", error.message)
            self._leases[read] = until
        else:
            self._leases.pop(read, None)
            rotten.tell(self, self.alarms)

    def release(self, ids: Sequence[str]) -> None:
        """Give leased reads back."""
        with self._lock:
            for read in ids:
                self._leases.pop(read, None)

    @again
    def destroy_receipted(self, receipt: Receipt) -> int:
        """Destroy the reads whose very ciphertext the (verified) receipt names; how many.

        An item whose digest is not that of the queued ciphertext destroys nothing.
        """
        destroyed = self._destroy(receipt.batch, receipt.items)
        self.release([item.id for item in receipt.items])
        self._wipe_log()
        return destroyed

    def _destroy(self, batch: str, items: Sequence[ReceiptItem]) -> int:
        """Destroy items in one transaction, or in smaller ones where the disk has no room.

        What is destroyed is overwritten, and that goes through the log: a batch needs its own
        size of room there.
        """
        try:
            return self._destroy_at_once(batch, items)
        except DiskFullError:
            if len(items) < 2:
                raise
        half = len(items) // 2
        self._wipe_log()
        destroyed = self._destroy(batch, items[:half])
        self._wipe_log()
        return destroyed + self._destroy(batch, items[half:])

    def _destroy_at_once(self, batch: str, items: Sequence[ReceiptItem]) -> int:
        destroyed = 0
        with self._transaction() as tx:
            for item in items:
                row = tx.execute(
                    "SELECT session FROM reads WHERE id = ? AND sha256 = ?", (item.id, item.sha256)
                ).fetchone()
                if row is None:
                    continue
                tx.execute("DELETE FROM reads WHERE id = ?", (item.id,))
                self._count(row[0], "receipted", 1)
                destroyed += 1
            if destroyed:
                self.record(
                    Event.READS_DESTROYED,
                    detail={"batch": batch, "count": destroyed, "why": "receipt"},
                )
        return destroyed

    def expire(self, purge_time: datetime, enough: Callable[[], bool] = lambda: False) -> int:
        """Destroy every read whose destroy-by has passed at ``purge_time`` (R-460.5-2b); how many.

        Args:
            enough: as of :meth:`in_parts`.

        Raises:
            StoreError: a part could not be destroyed; those before it were.
        """
        stamp = _stamp(purge_time)
        return self.in_parts(lambda most: self._expire_part(stamp, most), enough)

    def in_parts(
        self, part: Callable[[int], int], enough: Callable[[], bool] = lambda: False
    ) -> int:
        """Destroy in parts of :data:`EXPIRE_BYTES`, each a transaction with its event; how many.

        What is destroyed is overwritten through the log, which would else need as much free disk
        as all of it together, and a power cut or the watchdog would undo the work of minutes.

        Args:
            part: destroys the next reads, so many bytes of them and at least one, in a
                transaction of its own; how many, 0 when none is left.
            enough: asked after each part; True leaves the rest for the next call.

        Raises:
            StoreError: a part could not be destroyed; those before it were.
        """
        most, total = EXPIRE_BYTES, 0
        while True:
            try:
                gone = part(most)
            except DiskFullError:
                if most == 1:  # not even one read: the reserve is for this too
                    if self.on_no_room is None or not self.on_no_room():
                        raise
                    continue
                most = most // 8 if most >= 8 * EXPIRE_LEAST else 1
                self._wipe_log()
                continue
            total += gone
            if gone:
                self._wipe_log()
            if not gone or enough():
                return total

    @again
    def _expire_part(self, stamp: str, most: int) -> int:
        """Destroy the next reads past their life, ``most`` bytes of them and at least one."""
        with self._transaction() as tx:
            chosen: list[int] = []
            sessions: Counter[str] = Counter()
            for seq, session, size in tx.execute(
                "SELECT seq, session, length(envelope) FROM reads WHERE destroy_by <= ? "
                "ORDER BY destroy_by LIMIT ?",
                (stamp, EXPIRE_ROWS),
            ).fetchall():
                if chosen and size > most:
                    break
                most -= size
                chosen.append(seq)
                sessions[session] += 1
            gone = 0 if chosen else rotten.expire(tx, stamp)
            if chosen or gone:
                tx.executemany("DELETE FROM reads WHERE seq = ?", [(seq,) for seq in chosen])
                for session, count in sessions.items():
                    self._count(session, "expired", count)
                self.record(
                    Event.READS_EXPIRED,
                    detail={"count": len(chosen)} | ({"rotten": gone} if gone else {}),
                )
        if gone:
            rotten.tell(self, self.alarms)
        return len(chosen) + gone

    def purge(self, when: datetime | None, enough: Callable[[], bool] = lambda: False) -> int:
        """Destroy what is past its life, in the queue, its log and beside it; how many reads.

        Args:
            when: destruction time; None while no time is certain: nothing of the queue goes then.
            enough: as of :meth:`expire`.

        Raises:
            StoreError: something could not be destroyed; an alarm says so until a later call
                succeeds (R-460.5-4).
        """
        try:
            destroyed = self.expire(when, enough) if when is not None else 0
            self.purge_quarantine(when)
            if not self._wipe_log():
                raise StoreError(
                    "the log of the queue is in use and may hold destroyed rows",
                    remedy="end what reads the queue; it is tried again every minute",
                )
        except StoreError:
            if not any(alarm.code == PURGE_ALARM for alarm in self.alarms.now()):
                with suppress(StoreError):
                    self.record(Event.PURGE_FAILED)
            self.alarms.raise_alarm(
                PURGE_ALARM, "reads past their life could not be destroyed; trying again"
            )
            raise
        self.alarms.clear(PURGE_ALARM)
        return destroyed

    def reusable_bytes(self) -> int:
        """Room inside the file that destroyed reads have left, for new ones."""
        return int(self._rows("PRAGMA freelist_count")[0][0]) * PAGE

    def drop_caches(self) -> None:
        """Low disk: destroy quarantined files already saved from, and empty the log.

        Raises:
            StoreError: the disk refuses.
        """
        self.purge_quarantine(None, now=True)
        self._wipe_log()

    @again
    def restamp(self, ends: Sequence[tuple[str, datetime]], latest: datetime) -> int:
        """Set the destroy-by of reads whose true instant became known; how many rows changed.

        Args:
            ends: read id and destroy-by; ids that have left the queue are passed over.
            latest: no read may have a later one; those that do are cut to it.
        """
        with self._transaction() as tx:
            before = self._connection.total_changes
            for table in ("reads", "rotten"):
                tx.executemany(
                    f"UPDATE {table} SET destroy_by = ? WHERE id = ?",  # noqa: S608 - own name
                    [(_stamp(end), read) for read, end in ends],
                )
                tx.execute(
                    f"UPDATE {table} SET destroy_by = ? WHERE destroy_by > ?",  # noqa: S608
                    (_stamp(latest), _stamp(latest)),
                )
            return self._connection.total_changes - before

    def _wipe_log(self) -> bool:
        """Empty the write-ahead log, which may still hold destroyed rows; whether it is empty."""
        with self._lock:
            try:
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error as error:
                raise self._failed(error, "emptied") from error
        if busy:
            log.warning("write-ahead log could not be emptied yet; the next purge tries again")
        return not busy

    @again
    def pending(self) -> Pending:
        """What still waits for central."""
        (row,) = self._rows(
            "SELECT (SELECT count(*) FROM reads), "
            "(SELECT count(*) FROM sessions WHERE open = 0 AND sent = 0), "
            "(SELECT count(*) FROM audit WHERE sent = 0)"
        )
        return Pending(*row)

    @again
    def ledger(self) -> LedgerTotals:
        """The car's own count of its reads, kept apart from the queue's rows."""
        (row,) = self._rows(
            "SELECT coalesce(sum(committed), 0), coalesce(sum(receipted), 0), "
            "coalesce(sum(expired), 0), coalesce(sum(lost), 0) FROM ledger"
        )
        return LedgerTotals(*row)

    # --- sessions ---------------------------------------------------------------------------

    def _write_session(self, row: SessionRow, *, is_open: bool) -> None:
        self._connection.execute(
            "INSERT INTO sessions (id, row, open, sent) VALUES (?, ?, ?, 0) "
            "ON CONFLICT (id) DO UPDATE SET row = excluded.row, open = excluded.open "
            "WHERE open = 1",  # a closed row is a line of the public log: it never changes
            (row.id, row.model_dump_json(), int(is_open)),
        )

    @again
    def heartbeat(self, row: SessionRow) -> None:
        """Keep an open session's counters; ``row.ended`` is the instant of this heartbeat."""
        with self._transaction():
            self._write_session(row, is_open=True)

    @again
    def open_session(self, row: SessionRow, actor: Actor) -> None:
        """Begin a session, with its audit event in the same transaction."""
        with self._transaction():
            self._write_session(row, is_open=True)
            self.record(
                Event.SESSION_OPENED, actor, session=row.id, detail={"purpose": row.purpose}
            )

    @again
    def close_session(self, row: SessionRow, actor: Actor = DAEMON) -> None:
        """End a session; from now on its row is a line of the public log and never changes.

        A disk that refuses cannot keep collecting alive: the end is then held in memory and
        written by :meth:`write_late`; should power be lost before, the next start closes the
        session at its last heartbeat.
        """
        try:
            self._close_session(row, actor)
        except QueueReplacedError:
            raise
        except StoreError as error:
            log.error("the end of a session cannot be written yet: %s", error.message)
            self._late.append((row, actor))

    def write_late(self) -> bool:
        """Write ends of sessions that the disk refused; whether none is left."""
        while self._late:
            try:
                self._close_session(*self._late[0])
            except StoreError:
                return False
            self._late.popleft()
        return True

    def _close_session(self, row: SessionRow, actor: Actor) -> None:
        with self._transaction():
            committed = self._rows(
                "SELECT coalesce(sum(committed), 0) FROM ledger WHERE session = ?", (row.id,)
            )[0][0]
            self._write_session(row.model_copy(update={"queued": committed}), is_open=False)
            self.record(
                Event.SESSION_CLOSED, actor, session=row.id, detail={"reason": row.end_reason}
            )

    @again
    def open_sessions(self) -> list[SessionRow]:
        """Sessions that were never closed: after a boot, those that a power cut ended."""
        return [
            SessionRow.model_validate_json(row)
            for (row,) in self._rows("SELECT row FROM sessions WHERE open = 1")
        ]

    @again
    def unsent_sessions(self) -> list[SessionRow]:
        """Ended sessions that central has not acknowledged."""
        return [
            SessionRow.model_validate_json(row)
            for (row,) in self._rows("SELECT row FROM sessions WHERE open = 0 AND sent = 0")
        ]

    @again
    def mark_sessions_sent(self, ids: Sequence[str]) -> None:
        """Central acknowledged these sessions."""
        with self._transaction() as tx:
            tx.executemany("UPDATE sessions SET sent = 1 WHERE id = ?", [(i,) for i in ids])

    @again
    def central_lost(self, seq: int) -> None:
        """Central holds the trail up to ``seq`` alone, since a backup of it was restored.

        The trail after it is sent again, and so are the rows of sessions that ended about then or
        since: central takes a row that it has only once.
        """
        self.mark_audit_sent(seq)
        with self._transaction() as tx:
            ended = "SELECT event FROM audit WHERE seq > ?"
            for (text,) in self._rows(ended, (seq - _ABOUT,)):
                event = AuditEvent.model_validate_json(text)
                if event.event == Event.SESSION_CLOSED and event.session is not None:
                    tx.execute("UPDATE sessions SET sent = 0 WHERE id = ?", (event.session,))

    @again
    def enrolled_as(self, enrolment: str) -> None:
        """Note under which enrolment the car runs; a new one brings its whole trail again.

        Central counts a trail by enrolment, so a chain that it should continue must be there from
        its first event.
        """
        with self._transaction() as tx:
            if self.get_meta("enrolment") not in (None, enrolment):
                tx.execute("UPDATE audit SET sent = 0")
                self.renumber_trail()
            self.set_meta("enrolment", enrolment)


_ABOUT: Final = 1000
"""Events before a loss whose sessions may have been sent after it."""


def _stamp(instant: datetime) -> str:
    """UTC text that sorts as time does."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
