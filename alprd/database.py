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
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from pydantic import ValidationError
from sqlite_utils import Database

from alprd import audit, salvage
from alprd.alarms import AlarmBook
from alprd.audit import DAEMON, Actor, Event
from alprd.damage import is_damage, set_aside_if_damaged
from alprd.errors import AuditError, DiskFullError, StoreError, no_room
from alprd.rescue import TRAIL_BASE, Rescue
from alprd.wire import AuditEvent

log = logging.getLogger(__name__)

Now = Callable[[], tuple[datetime, bool]]
"""Disciplined UTC and whether it is trusted."""

SCHEMA_VERSION: Final = 4
RESCUE_AT_START_S: Final = 5.0
"""What can be saved from a damaged queue in this time is there before anything else happens."""
_PRAGMAS: Final = (
    "page_size=4096",  # alprd.carve reads pages of this size
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",
    "temp_store=MEMORY",
    "foreign_keys=ON",
)
_ZONE_KEY: Final = "timezone"

_Method = TypeVar("_Method", bound=Callable[..., Any])


class QueueReplacedError(StoreError):
    """The database turned out damaged in mid-act and a new one was begun: do the act again."""


def again(method: _Method) -> _Method:
    """Do an act once more when the database was replaced under it, or room was made for it."""

    @wraps(method)
    def twice(self: CarDatabase, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except QueueReplacedError:
            return method(self, *args, **kwargs)
        except StoreError as error:
            # Not within an outer act, which must be done again as a whole.
            if self.in_transaction or not self.on_no_room or not no_room(error):
                raise
            if not self.on_no_room():
                raise
            return method(self, *args, **kwargs)

    return cast(_Method, twice)


class CarDatabase:
    """One writer, any thread; nested transactions join the outer one.

    A database that is damaged, at the start or at any later moment, is set aside whole, a new one
    is begun, and what proves itself is saved into it (:mod:`alprd.rescue`): the trail, sessions,
    ledger and small facts at once, the reads by :meth:`rescue_step`.

    Args:
        path: database file; its folder must exist and be on the encrypted partition.
        now: the disciplined clock, for audit events.
        device: the vehicle's name, recorded as *where* in the trail (R-AT-2).
        alarms: where damage is told.

    Raises:
        StoreError: the database cannot be opened, or is of a newer version.
    """

    def __init__(
        self, path: Path, *, now: Now, device: str, alarms: AlarmBook | None = None
    ) -> None:
        self.path = path
        self._now = now
        self._device = device
        self.alarms = alarms or AlarmBook()
        self._lock = threading.RLock()
        self._depth = 0
        self._rescue = Rescue(self, self.alarms)
        self.on_no_room: Callable[[], bool] | None = None
        """Called when the disk is full; whether it made room (:mod:`alprd.disk`)."""
        set_aside_if_damaged(path)
        self._open()
        self._zone = self.get_meta(_ZONE_KEY) or ""
        with suppress(DiskFullError):  # it goes on when there is room
            self._rescue.begin_without()
            self.rescue_step(RESCUE_AT_START_S)
            self._zone = self.get_meta(_ZONE_KEY) or ""

    def _open(self) -> None:
        """Open the file, a new one if there is none."""
        try:
            self.path.touch(mode=0o600, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, check_same_thread=False, isolation_level=None, timeout=10
            )
            self._db = Database(self._connection)
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"queue {self.path} cannot be opened: {error}", remedy="run alprd doctor"
            ) from error

    def _replace(self) -> None:
        """Set the damaged database aside and begin a new one; the caller holds the lock."""
        self._rescue.close()
        salvage.set_aside(self.path)
        with suppress(sqlite3.Error):
            self._connection.close()
        salvage.part(self.path)
        self._depth = 0
        self._open()
        self._rescue.step(0.0)  # trail, sessions, ledger: nothing may be written before them

    def rescue_step(self, budget_s: float) -> bool:
        """Save from quarantined files for about so long; whether something is left to do.

        Raises:
            StoreError: the database cannot be written now.
        """
        with self._lock:
            return self._rescue.busy and self._rescue.step(budget_s)

    def purge_quarantine(self, when: datetime | None, *, now: bool = False) -> int:
        """Destroy quarantined files that have had their time; see :meth:`Rescue.purge`."""
        with self._lock:
            return self._rescue.purge(when, now=now)

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
            if version == 0:
                self._create()
            elif version == 1:
                self._from_version_1()
            if version < 3:
                self._create_reads("rotten")
            # Since version 4: the trail of years is not looked through for what is unsent, which
            # the page asks for every second.
            self._connection.execute(
                "CREATE INDEX IF NOT EXISTS idx_audit_unsent ON audit (seq) WHERE sent = 0"
            )
            self._connection.execute(
                "CREATE INDEX IF NOT EXISTS idx_sessions_unsent ON sessions (open) WHERE sent = 0"
            )
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _from_version_1(self) -> None:
        """Version 1 kept leases in the rows, and every look at a row read its whole envelope."""
        self._connection.execute("ALTER TABLE ledger ADD COLUMN lost INTEGER NOT NULL DEFAULT 0")
        self._connection.execute("DROP INDEX IF EXISTS idx_reads_id")
        self._connection.execute("DROP INDEX IF EXISTS idx_reads_destroy_by")
        self._connection.execute("ALTER TABLE reads RENAME TO reads_1")
        self._create_reads()
        self._connection.execute(
            "INSERT INTO reads (seq, id, session, sha256, destroy_by, hit, envelope) "
            "SELECT seq, id, session, sha256, destroy_by, hit, envelope FROM reads_1"
        )
        self._connection.execute("DROP TABLE reads_1")

    def _create_reads(self, table: str = "reads") -> None:
        # The envelope last: what stands behind it can only be reached through all its pages.
        self._db.table(table).create(
            {
                "seq": int,
                "id": str,
                "session": str,
                "sha256": str,
                "destroy_by": str,
                "hit": int,
                "envelope": bytes,
            },
            pk="seq",
            not_null={"id", "session", "sha256", "destroy_by", "hit", "envelope"},
        )
        self._db.table(table).create_index(["id"], unique=True)
        self._db.table(table).create_index(["destroy_by"])
        if table == "reads":
            self._connection.execute("CREATE INDEX idx_reads_order ON reads (hit DESC, seq)")

    def _create(self) -> None:
        self._create_reads()
        self._db.table("ledger").create(
            {"session": str, "committed": int, "receipted": int, "expired": int, "lost": int},
            pk="session",
            not_null={"lost"},
            defaults={"lost": 0},
        )
        self._db.table("sessions").create(
            {"id": str, "row": str, "open": int, "sent": int}, pk="id"
        )
        self._db.table("audit").create({"seq": int, "event": str, "sent": int}, pk="seq")
        self._db.table("meta").create({"key": str, "value": str}, pk="key")

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
                raise self._failed(error, "written") from error
            self._depth += 1
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._failed(error, "written") from error
                raise
            finally:
                self._depth = max(0, self._depth - 1)

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                if self._depth and is_damage(error):
                    raise  # the transaction around it must end first
                raise self._failed(error, "read") from error

    def _failed(self, error: sqlite3.Error, what: str) -> StoreError:
        """What to raise for an error of SQLite; a damaged database is replaced first."""
        if is_damage(error):
            log.error("queue is damaged: %s", error)
            self._replace()
            return QueueReplacedError("the queue was damaged and a new one begun; try again")
        message = f"queue {self.path.name} cannot be {what}: {error}"
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return DiskFullError(message, remedy="make room on the disk: alprd doctor")
        return StoreError(message, remedy="check the disk: alprd doctor")

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside a transaction."""
        with self._lock:
            return self._depth > 0

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction, for :class:`alprd.rescue.Rescue`."""
        return self._transaction()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, for :class:`alprd.rescue.Rescue`."""
        return self._rows(sql, parameters)

    # --- audit ------------------------------------------------------------------------------

    @again
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
                made = self._continued(made)
                tx.execute(
                    "INSERT INTO audit (seq, event, sent) VALUES (?, ?, 0)",
                    (made.seq, json.dumps(made.model_dump(mode="json"))),
                )
        except (AuditError, QueueReplacedError):
            raise
        except (StoreError, sqlite3.Error) as error:
            if is_damage(error):
                raise  # the database is replaced first, then the act is done again
            raise AuditError(
                f"the trail cannot be written, so the act is refused: {error}",
                remedy="check the disk: alprd doctor",
            ) from error

    def _continued(self, event: AuditEvent) -> AuditEvent:
        """The event in its place behind what central holds, where rows before it were lost."""
        base = self.get_meta(TRAIL_BASE)
        if base is None:
            return event
        kept = json.loads(base)
        if kept["seq"] < event.seq:
            return event
        moved = event.model_copy(update={"seq": kept["seq"] + 1, "previous": kept["digest"]})
        return moved.model_copy(update={"digest": audit.digest(moved.model_dump(mode="json"))})

    @again
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

    @again
    def audit_events(self, *, after: int = 0, limit: int = 10_000) -> list[AuditEvent]:
        """Events after a sequence number, in order."""
        return [
            AuditEvent.model_validate_json(event)
            for (event,) in self._rows(
                "SELECT event FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
        ]

    @again
    def unsent_audit(self, limit: int) -> list[AuditEvent]:
        """The oldest events that central has not acknowledged."""
        return [
            AuditEvent.model_validate_json(event)
            for (event,) in self._rows(
                "SELECT event FROM audit WHERE sent = 0 ORDER BY seq LIMIT ?", (limit,)
            )
        ]

    @again
    def mark_audit_sent(self, seq: int) -> None:
        """Central holds all events up to ``seq``, and none after it."""
        with self._transaction() as tx:
            # Without the second condition the whole trail would be written anew at every dock. The
            # sign before seq makes SQLite take the index of what is unsent, not look through all.
            tx.execute("UPDATE audit SET sent = 1 WHERE +seq <= ? AND sent = 0", (seq,))
            tx.execute("UPDATE audit SET sent = 0 WHERE seq > ? AND sent = 1", (seq,))
            last = tx.execute("SELECT event FROM audit WHERE seq = ?", (seq,)).fetchone()
        if last is not None:
            salvage.write_head(self.path.parent, seq, json.loads(last[0])["digest"])

    def renumber_trail(self) -> None:
        """Let the trail begin at its first number for a central that holds none of it yet.

        Only after damage anything changes: events that followed lost ones are chained anew.
        """
        with self._transaction() as tx:
            events = self.audit_events(limit=-1)
            tx.execute("DELETE FROM meta WHERE key = ?", (TRAIL_BASE,))
            salvage.forget_head(self.path.parent)
            if not events or events[-1].seq == len(events):
                return
            tx.execute("DELETE FROM audit")
            previous = audit.FIRST
            for seq, event in enumerate(events, 1):
                moved = event.model_copy(update={"seq": seq, "previous": previous})
                fields = moved.model_dump(mode="json")
                fields["digest"] = previous = audit.digest(fields)
                tx.execute(
                    "INSERT INTO audit (seq, event, sent) VALUES (?, ?, 0)",
                    (seq, json.dumps(fields)),
                )

    @again
    def set_zone(self, name: str) -> None:
        """The agency's time zone, in which the trail also tells local time (R-AT-2)."""
        if name != self.get_meta(_ZONE_KEY):
            self.set_meta(_ZONE_KEY, name)
        self._zone = name

    # --- small facts ------------------------------------------------------------------------

    @again
    def get_meta(self, key: str) -> str | None:
        """A small fact that must survive a power cut, such as the time high-water mark."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    @again
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
