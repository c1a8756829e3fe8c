"""The car's one database file: opening, migration, transactions, the trail, small facts.

:class:`alprd.store.Store` adds the queue, the ledger and the sessions. Everything that is written
together is written in one transaction here, so that an act and its audit event can never part
(R-AT-3).
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from sqlite_utils import Database

from alprd import audit
from alprd.audit import DAEMON, Actor, Event
from alprd.errors import AuditError, StoreError
from alprd.wire import AuditEvent

log = logging.getLogger(__name__)

Now = Callable[[], tuple[datetime, bool]]
"""Disciplined UTC and whether it is trusted."""

SCHEMA_VERSION: Final = 1
_ZONE_KEY: Final = "timezone"


class CarDatabase:
    """One writer, any thread; nested transactions join the outer one.

    Args:
        path: database file; its folder must exist and be on the encrypted partition.
        now: the disciplined clock, for audit events.
        device: the vehicle's name, recorded as *where* in the trail (R-AT-2).

    Raises:
        StoreError: the database cannot be opened, or is of a newer version.
    """

    def __init__(self, path: Path, *, now: Now, device: str) -> None:
        self.path = path
        self._now = now
        self._device = device
        self._lock = threading.RLock()
        self._depth = 0
        quarantined = _quarantine_if_damaged(path)
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._connection = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=10
            )
            self._db = Database(self._connection)
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "secure_delete=ON",
                "temp_store=MEMORY",
                "foreign_keys=ON",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.Error as error:
            raise StoreError(
                f"queue {path} cannot be opened: {error}", remedy="run alprd doctor"
            ) from error
        self._zone = self.get_meta(_ZONE_KEY) or ""
        if quarantined is not None:
            self.record(Event.QUEUE_QUARANTINED, detail={"file": quarantined.name})

    def _migrate(self) -> None:
        with self._transaction():
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"queue {self.path} is of version {version}, this program knows "
                    f"{SCHEMA_VERSION}",
                    remedy="install the newer program again",
                )
            if version == SCHEMA_VERSION:
                return
            self._db.table("reads").create(
                {
                    "seq": int,
                    "id": str,
                    "session": str,
                    "envelope": bytes,
                    "sha256": str,
                    "destroy_by": str,
                    "hit": int,
                    "leased_until": float,
                },
                pk="seq",
                not_null={"id", "session", "envelope", "sha256", "destroy_by"},
            )
            self._db.table("reads").create_index(["id"], unique=True)
            self._db.table("reads").create_index(["destroy_by"])
            self._db.table("ledger").create(
                {"session": str, "committed": int, "receipted": int, "expired": int}, pk="session"
            )
            self._db.table("sessions").create(
                {"id": str, "row": str, "open": int, "sent": int}, pk="id"
            )
            self._db.table("audit").create({"seq": int, "event": str, "sent": int}, pk="seq")
            self._db.table("meta").create({"key": str, "value": str}, pk="key")
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """BEGIN IMMEDIATE … COMMIT; nests by joining the outer one."""
        with self._lock:
            if self._depth:
                yield self._connection
                return
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise StoreError(f"queue {self.path.name} cannot be written: {error}") from error
            self._depth += 1
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise StoreError(
                        f"queue {self.path.name} cannot be written: {error}",
                        remedy="check the disk: alprd doctor",
                    ) from error
                raise
            finally:
                self._depth -= 1

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"queue {self.path.name} cannot be read: {error}") from error

    # --- audit ------------------------------------------------------------------------------

    def record(
        self,
        event: Event,
        actor: Actor = DAEMON,
        *,
        session: str | None = None,
        subjects: Sequence[str] = (),
        detail: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        """Append one event to the hash chain; joins the transaction that is under way (R-AT-3).

        Raises:
            AuditError: it could not be written, so the act must not happen.
        """
        try:
            with self._transaction() as tx:
                at, trusted = self._now()
                made = audit.next_event(
                    self.last_audit_event(),
                    event,
                    actor,
                    at=at,
                    at_trusted=trusted,
                    zone=self._zone,
                    device=self._device,
                    session=session,
                    subjects=subjects,
                    detail=detail or {},
                )
                tx.execute(
                    "INSERT INTO audit (seq, event, sent) VALUES (?, ?, 0)",
                    (made.seq, json.dumps(made.model_dump(mode="json"))),
                )
        except AuditError:
            raise
        except (StoreError, sqlite3.Error) as error:
            raise AuditError(
                f"the trail cannot be written, so the act is refused: {error}",
                remedy="check the disk: alprd doctor",
            ) from error

    def last_audit_event(self) -> AuditEvent | None:
        """The newest event, which the next one follows.

        Raises:
            AuditError: it cannot be read, so nothing can follow it.
        """
        rows = self._rows("SELECT event FROM audit ORDER BY seq DESC LIMIT 1")
        try:
            return AuditEvent.model_validate_json(rows[0][0]) if rows else None
        except ValidationError:
            raise AuditError(
                "the last event of the trail is damaged", remedy="run alprd audit verify"
            ) from None

    def audit_events(self, *, after: int = 0, limit: int = 10_000) -> list[AuditEvent]:
        """Events after a sequence number, in order."""
        return [
            AuditEvent.model_validate_json(event)
            for (event,) in self._rows(
                "SELECT event FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
        ]

    def unsent_audit(self, limit: int) -> list[AuditEvent]:
        """The oldest events that central has not acknowledged."""
        return [
            AuditEvent.model_validate_json(event)
            for (event,) in self._rows(
                "SELECT event FROM audit WHERE sent = 0 ORDER BY seq LIMIT ?", (limit,)
            )
        ]

    def mark_audit_sent(self, seq: int) -> None:
        """Central holds all events up to ``seq``."""
        with self._transaction() as tx:
            tx.execute("UPDATE audit SET sent = 1 WHERE seq <= ?", (seq,))

    def set_zone(self, name: str) -> None:
        """The agency's time zone, in which the trail also tells local time (R-AT-2)."""
        if name != self.get_meta(_ZONE_KEY):
            self.set_meta(_ZONE_KEY, name)
        self._zone = name

    # --- small facts ------------------------------------------------------------------------

    def get_meta(self, key: str) -> str | None:
        """A small fact that must survive a power cut, such as the time high-water mark."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Store a small fact."""
        with self._transaction() as tx:
            tx.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )

    def close(self) -> None:
        """Checkpoint and close; safe to call twice."""
        with self._lock:
            self._connection.close()


def _quarantine_if_damaged(path: Path) -> Path | None:
    """Move a damaged database aside, never delete it; its new name, or None when whole."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        connection = sqlite3.connect(path)
        try:
            whole = connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        whole = False
    if whole:
        return None
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}.db")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    log.error("queue was damaged and moved aside as %s; a new one begins", aside.name)
    return aside
