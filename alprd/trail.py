"""``alprd audit verify``: is the car's trail whole? The daemon may run or not (R-AT-3).

The queue's database is opened read-only; nothing of an event is shown but its number, so checking
the trail is no view of it. What was cut off at the very end leaves a whole chain behind, so the end
is held against the last event that central acknowledged (``trail.head``); what central has not seen
yet it misses itself, by the next report.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from pydantic import ValidationError

from alprd import config as configuration
from alprd.audit import Event, verify_chain
from alprd.errors import AuditError, StoreError
from alprd.salvage import read_head
from alprd.wire import AuditEvent


@dataclass(frozen=True, slots=True)
class Verified:
    """A whole trail: events in it, and how many of them central has acknowledged."""

    events: int
    at_central: int


def verify(state_dir: Path) -> Verified:
    """Check the whole chain of a car's trail.

    Raises:
        AuditError: an event was altered, removed, inserted or reordered; names its number.
        StoreError: there is no database, or it cannot be read.
    """
    path = state_dir / "queue.db"
    if not path.exists():
        raise StoreError(f"{path} is not there", remedy="start the daemon once: alprd run")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("BEGIN")  # one view, while the daemon writes on
            try:
                last = verify_chain(_events(db))
                _check_end(db, last, state_dir)
            except AuditError as error:
                raise AuditError(error.message, remedy=_remedy(db, state_dir)) from None
            (acknowledged,) = db.execute(
                "SELECT coalesce(max(seq), 0) FROM audit WHERE sent = 1"
            ).fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}", remedy="run alprd doctor") from error
    return Verified(last, int(acknowledged))


def _remedy(db: sqlite3.Connection, state_dir: Path) -> str:
    """What to do about a trail that is not whole: damage of the file, or somebody's hand."""
    held = read_head(state_dir)[0]
    (salvaged,) = db.execute(
        "SELECT count(*) FROM audit WHERE event LIKE ?", (f"%{Event.QUEUE_SALVAGED.value}%",)
    ).fetchone()
    what = (
        "the queue was damaged and saved from, which may have taken events: have the disk checked"
        if salvaged
        else "no damage of the queue is recorded: tell the agency that the trail may be altered"
    )
    return f"central holds the events up to {held} as they were; {what}"


def _check_end(db: sqlite3.Connection, last: int, state_dir: Path) -> None:
    """A chain whose end was cut off is whole: hold it against what central has acknowledged."""
    seq, kept = read_head(state_dir)
    if seq > last:
        raise AuditError(f"audit event {last + 1} is missing: central holds {seq} events")
    row = db.execute("SELECT event FROM audit WHERE seq = ?", (seq,)).fetchone()
    if row is not None and AuditEvent.model_validate_json(row[0]).digest != kept:
        raise AuditError(f"audit event {seq} is not the one that central acknowledged")


def _events(db: sqlite3.Connection) -> Iterator[AuditEvent]:
    for number, text in db.execute("SELECT seq, event FROM audit ORDER BY seq"):
        try:
            event = AuditEvent.model_validate_json(text)
        except ValidationError:
            raise AuditError(f"audit event {number} is damaged") from None
        if event.seq != number:
            raise AuditError(f"audit event {number} stands in the place of {event.seq}")
        yield event


@click.group("audit")
def audit_group() -> None:
    """The car's audit trail."""


@audit_group.command("verify")
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True)
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def verify_command(config_file: Path, as_json: bool) -> None:
    """Check the hash chain of the trail from its first event to its last."""
    found = verify(configuration.load(config_file).state_dir)
    if as_json:
        click.echo(json.dumps(asdict(found) | {"whole": True}))
    else:
        click.echo(f"{found.events} events, chain is whole; central holds {found.at_central}")
