"""From a quarantined database into the new one, in small transactions that a power cut may end.

First, in one transaction, what the car cannot go on without: the trail, sessions, ledger, small
facts. Then the reads, some pages at a time, each batch in one transaction with the mark of how
far it came; so it goes on where it stopped, and the daemon collects meanwhile. At the end the
ledger is set against the rows that are there, and what cannot be accounted for is written down
as *lost*.

A quarantined file is kept for :data:`PURGES_KEPT` purges after that (one an hour, and one at each
boot), and never beyond the earliest destroy-by of a read in it (R-460.5-2b).
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Final, Protocol

from alprd import salvage
from alprd.alarms import AlarmBook
from alprd.audit import Actor, Event
from alprd.carve import CarvedFile
from alprd.recorded import RecordedRows
from alprd.salvage import Found, SavedRead, Trail

log = logging.getLogger(__name__)

PURGES_KEPT: Final = 24
BATCH_PAGES: Final = 8
"""Leaf pages a transaction: about 50 reads."""
TRAIL_BASE: Final = "trail-base"
"""Small fact: number and digest that the trail continues where its own rows do not tell."""
_STATE: Final = "salvage:"
_SALVAGED_SEQ: Final = "salvaged_seq"
ALARM: Final = "queue_damaged"


class Target(RecordedRows, Protocol):
    """What the rescue needs of the new database."""

    path: Path

    def get_meta(self, key: str) -> str | None:
        """A small fact."""

    def set_meta(self, key: str, value: str) -> None:
        """Keep a small fact."""


@dataclass
class _State:
    """How far the rescue of one file has come."""

    at: int = 0
    saved: int = 0
    done: bool = False
    purges: int = 0
    earliest: str | None = None

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class _Work:
    aside: Path
    file: CarvedFile
    found: Found


class Rescue:
    """Saves what the quarantined files beside one database hold; the caller holds its lock."""

    def __init__(self, target: Target, alarms: AlarmBook) -> None:
        self._target = target
        self._alarms = alarms
        self._work: _Work | None = None

    # --- saving -----------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a file still waits to be saved from."""
        return self._next() is not None

    def step(self, budget_s: float) -> bool:
        """Save for about ``budget_s`` seconds; whether something is left to do.

        Raises:
            StoreError: the new database cannot be written now; nothing of a batch was kept.
        """
        end = time.monotonic() + budget_s
        while (aside := self._next()) is not None:
            try:
                work = self._open(aside)
            except OSError as error:
                self._give_up(aside, error.strerror or "unreadable")
                continue
            state = self._state(aside)
            if state is None:
                self._begin(work)
            elif state.at < len(work.found.read_pages):
                self._batch(work, state)
            else:
                self._finish(work, state)
            if time.monotonic() >= end:
                break
        return self.busy

    def begin_without(self) -> None:
        """The database is new though the car had one: it vanished, and nobody set it aside."""
        seq, digest = salvage.read_head(self._target.path.parent)
        if not seq or self._target.rows("SELECT count(*) FROM audit")[0][0] or self.busy:
            return
        self._alarms.raise_alarm(ALARM, "the queue had vanished; its reads are lost")
        with self._target.transaction():
            self._target.set_meta(TRAIL_BASE, json.dumps({"seq": seq, "digest": digest}))
            self._target.record(Event.QUEUE_QUARANTINED, detail={"file": "", "vanished": True})

    def _next(self) -> Path | None:
        for aside in salvage.quarantined(self._target.path):
            state = self._state(aside)
            if state is None or not state.done:
                return aside
        return None

    def _state(self, aside: Path) -> _State | None:
        text = self._target.get_meta(_STATE + aside.name)
        return None if text is None else _State(**json.loads(text))

    def _keep(self, aside: Path, state: _State) -> None:
        self._target.set_meta(_STATE + aside.name, state.dump())

    def _open(self, aside: Path) -> _Work:
        if self._work is None or self._work.aside != aside:
            self.close()
            file = CarvedFile(aside)
            self._work = _Work(aside, file, salvage.look(file))
        return self._work

    def close(self) -> None:
        """Close the file that is being read, if any."""
        if self._work is not None:
            self._work.file.close()
            self._work = None

    def _begin(self, work: _Work) -> None:
        """The trail, sessions, ledger and small facts, and the event that tells of it all."""
        found, aside = work.found, work.aside
        trail = salvage.mend_trail(found.audit, salvage.read_head(aside.parent))
        self._alarms.raise_alarm(ALARM, f"the queue was damaged; saving from {aside.name}")
        with self._target.transaction() as tx:
            fresh = tx.execute("SELECT count(*) FROM audit").fetchone()[0] == 0
            for key, value in found.meta.items():
                if not key.startswith((_STATE, TRAIL_BASE)):
                    tx.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
            for session, is_open, sent in found.sessions.values():
                tx.execute(
                    "INSERT OR IGNORE INTO sessions (id, row, open, sent) VALUES (?, ?, ?, ?)",
                    (session.id, session.model_dump_json(), int(is_open), int(sent)),
                )
            for name, counts in found.ledger.items():
                tx.execute(
                    "INSERT OR IGNORE INTO ledger (session, committed, receipted, expired, lost) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (name, *counts),
                )
            self._trail(tx, trail, aside, found, fresh=fresh)
            self._keep(aside, _State())

    def _trail(
        self, tx: Connection, trail: Trail, aside: Path, found: Found, *, fresh: bool
    ) -> None:
        if fresh:
            tx.executemany(
                "INSERT INTO audit (seq, event, sent) VALUES (?, ?, ?)",
                [(e.seq, json.dumps(e.model_dump(mode="json")), int(s)) for e, s in trail.kept],
            )
            base = {"seq": trail.head, "digest": trail.digest}
            self._target.set_meta(TRAIL_BASE, json.dumps(base))
        self._target.record(
            Event.QUEUE_QUARANTINED,
            detail={
                "file": aside.name,
                "events_missing": trail.missing,
                "damaged_cells": found.damaged_cells,
                "damaged_frames": found.damaged_frames,
            },
        )
        known = {event.digest for event, _ in trail.kept} if fresh else set()
        for event in trail.again:
            if event.digest in known:
                continue
            try:
                kind = Event(event.event)
            except ValueError:
                continue  # of another version of this program
            self._target.record(
                kind,
                Actor(event.actor, event.actor_name, event.role),
                session=event.session,
                subjects=event.subjects,
                detail={
                    **event.detail,
                    _SALVAGED_SEQ: event.seq,
                    "salvaged_at": event.at.isoformat(),
                },
            )

    def _batch(self, work: _Work, state: _State) -> None:
        pages = work.found.read_pages[state.at : state.at + BATCH_PAGES]
        with self._target.transaction() as tx:
            for read in salvage.reads_of(work.file, pages):
                state.saved += _insert(tx, read)
                stamp = read.destroy_by.isoformat()
                state.earliest = min(state.earliest or stamp, stamp)
            state.at += len(pages)
            self._keep(work.aside, state)

    def _finish(self, work: _Work, state: _State) -> None:
        """Set the ledger against the rows; what is not accounted for is lost, and said so."""
        with self._target.transaction() as tx:
            lost, rebuilt = _reconcile(tx)
            missing = _sessions_missing(tx)
            state.done = True
            self._keep(work.aside, state)
            self._target.record(
                Event.QUEUE_SALVAGED,
                detail={
                    "file": work.aside.name,
                    "reads": state.saved,
                    "reads_lost": lost,
                    "ledger_rebuilt": rebuilt,
                    "sessions": len(work.found.sessions),
                    "sessions_missing": missing,
                },
            )
        self.close()
        told = f"{state.saved} reads saved, {lost} lost" if lost else f"all {state.saved} saved"
        self._alarms.raise_alarm(ALARM, f"the queue was damaged; {told}; have the disk checked")

    def _give_up(self, aside: Path, reason: str) -> None:
        log.error("nothing can be saved from %s: %s", aside.name, reason)
        with self._target.transaction() as tx:
            lost, _ = _reconcile(tx)
            self._keep(aside, _State(done=True))
            self._target.record(
                Event.QUEUE_SALVAGED, detail={"file": aside.name, "reads": 0, "reads_lost": lost}
            )

    # --- the end of a quarantined file --------------------------------------------------------

    def purge(self, when: datetime | None, *, now: bool = False) -> int:
        """Destroy quarantined files that have had their time; how many.

        Args:
            when: destruction time, None while no time is certain; then only purges are counted.
            now: destroy every file that has been saved from (low disk).

        Raises:
            StoreError: a file cannot be destroyed; tried again at the next purge.
        """
        gone = 0
        for aside in salvage.quarantined(self._target.path):
            state = self._state(aside)
            if state is None or not state.done:
                continue
            state.purges += 1
            overdue = (
                when is not None
                and state.earliest is not None
                and datetime.fromisoformat(state.earliest) <= when
            )
            if now or overdue or state.purges >= PURGES_KEPT:
                salvage.destroy_file(aside)
                with self._target.transaction() as tx:
                    tx.execute("DELETE FROM meta WHERE key = ?", (_STATE + aside.name,))
                    self._target.record(Event.QUARANTINE_DESTROYED, detail={"file": aside.name})
                gone += 1
            else:
                self._keep(aside, state)
        if gone and not salvage.quarantined(self._target.path):
            self._alarms.clear(ALARM)
        return gone


def _insert(tx: Connection, read: SavedRead) -> int:
    return tx.execute(
        "INSERT OR IGNORE INTO reads (id, session, envelope, sha256, destroy_by, hit) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            read.id,
            read.session,
            read.envelope,
            read.sha256,
            read.destroy_by.strftime("%Y-%m-%dT%H:%M:%SZ"),
            int(read.hit),
        ),
    ).rowcount


def _reconcile(tx: Connection) -> tuple[int, int]:
    """Make the ledger agree with the rows: (reads newly lost, sessions whose count was raised)."""
    tx.execute(
        "INSERT OR IGNORE INTO ledger (session, committed, receipted, expired, lost) "
        "SELECT DISTINCT session, 0, 0, 0, 0 FROM reads"
    )
    lost = rebuilt = 0
    for session, left, there in tx.execute(
        "SELECT session, committed - receipted - expired - lost, "
        "(SELECT count(*) FROM reads WHERE reads.session = ledger.session) FROM ledger"
    ).fetchall():
        if left > there:
            lost += left - there
            tx.execute(
                "UPDATE ledger SET lost = lost + ? WHERE session = ?", (left - there, session)
            )
        elif left < there:
            rebuilt += 1
            tx.execute(
                "UPDATE ledger SET committed = committed + ? WHERE session = ?",
                (there - left, session),
            )
    return lost, rebuilt


def _sessions_missing(tx: Connection) -> int:
    """Sessions the ledger knows whose row, a line of the public log, is gone."""
    found: int = tx.execute(
        "SELECT count(*) FROM ledger WHERE session NOT IN (SELECT id FROM sessions)"
    ).fetchone()[0]
    return found
