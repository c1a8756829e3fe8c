"""What can be saved out of a damaged queue: rows that prove themselves, and a trail that goes on.

A row is believed only for what is in it: a read whose envelope parses, bears the row's id and has
the row's SHA-256; an audit event whose digest fits; a session row that fits its schema. Where the
same row is found in several versions, the one that tells more wins.

The trail is the delicate part, since central takes only what continues the chain it holds. The
car keeps, outside the database, how far central has acknowledged it (:func:`write_head`), so that
even a file of zeros is followed by a chain that central accepts:

* events up to the first hole are kept as they are;
* then comes ``queue.quarantined``, which tells how many are missing;
* events found behind the hole are appended again with their own content, and with
  ``salvaged_seq`` in their detail: their number and digest have changed, their words have not.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from alprd.audit import FIRST, digest
from alprd.carve import CarvedFile, Record, Row, Value
from alprd.crypto import envelope_header, sha256_hex, write_secret
from alprd.errors import EnvelopeError, StoreError
from alprd.wire import AuditEvent, SessionRow

log = logging.getLogger(__name__)

HEAD_FILE: Final = "trail.head"
SUFFIXES: Final = ("", "-wal", "-shm")
_CHUNK: Final = 1 << 20


# --- files --------------------------------------------------------------------------------------


def set_aside(path: Path) -> Path:
    """Give a damaged database and its log a second name; the first ones stay until :func:`part`.

    Hard links, so that nothing is copied: a full disk is no reason to lose a queue, and SQLite,
    which folds its log into the file when it closes it, cannot take the log away from us.

    Raises:
        StoreError: the folder cannot be written.
    """
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}.db")).exists():
        number += 1
    try:
        path.touch(mode=0o600)
        for suffix in ("-wal", ""):  # the log first: a file without it looks complete
            source = path.with_name(path.name + suffix)
            if source.exists():
                source.chmod(0o600)
                target = aside.with_name(aside.name + suffix)
                target.unlink(missing_ok=True)
                _second_name(source, target)
        _fsync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"damaged queue {path} cannot be set aside: {error.strerror}",
            remedy="check the disk: alprd doctor",
        ) from error
    log.error("queue was damaged and is kept as %s; a new one begins", aside.name)
    return aside


def _second_name(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        target.chmod(0o600)


def part(path: Path) -> None:
    """Take the old name away from a damaged database that was set aside."""
    for suffix in reversed(SUFFIXES):  # the file last: a log alone must never meet a new file
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _fsync_folder(path.parent)


def quarantined(path: Path) -> list[Path]:
    """Damaged predecessors of the database at ``path`` that are still kept."""
    return sorted(path.parent.glob(f"{path.stem}.damaged-*.db"))


def destroy_file(aside: Path) -> None:
    """Overwrite a quarantined database and its log, then remove them.

    On an SSD the overwriting may land elsewhere; there the reads die with central's intake key of
    their day (R-460.5-4b).

    Raises:
        StoreError: the disk refuses; to be tried again.
    """
    try:
        for suffix in SUFFIXES:
            path = aside.with_name(aside.name + suffix)
            if not path.exists():
                continue
            with path.open("r+b") as file:
                left = path.stat().st_size
                while left > 0:
                    left -= file.write(bytes(min(left, _CHUNK)))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        _fsync_folder(aside.parent)
    except OSError as error:
        raise StoreError(
            f"{aside.name} cannot be destroyed: {error.strerror}",
            remedy="check the disk: alprd doctor; it is tried again every minute",
        ) from error


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- the head of the trail ----------------------------------------------------------------------


def write_head(folder: Path, seq: int, event_digest: str) -> None:
    """Note outside the database how far central holds the trail; best effort, never an error."""
    try:
        write_secret(
            folder / HEAD_FILE, json.dumps({"seq": seq, "digest": event_digest}).encode() + b"\n"
        )
    except OSError as error:
        log.warning("%s cannot be written: %s", HEAD_FILE, error.strerror)


def forget_head(folder: Path) -> None:
    """The car is enrolled anew: central holds nothing of its trail."""
    (folder / HEAD_FILE).unlink(missing_ok=True)


def read_head(folder: Path) -> tuple[int, str]:
    """Number and digest of the last event central holds; ``(0, zeros)`` when nothing is noted."""
    try:
        kept = json.loads((folder / HEAD_FILE).read_text(encoding="ascii"))
        seq, event_digest = kept["seq"], kept["digest"]
        if isinstance(seq, int) and seq >= 0 and len(bytes.fromhex(event_digest)) == 32:
            return seq, event_digest
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, FIRST


# --- rows ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SavedRead:
    """A row of ``reads`` that proved itself."""

    seq: int
    id: str
    session: str
    envelope: bytes
    sha256: str
    destroy_by: datetime
    hit: bool


@dataclass
class Found:
    """What stands in a damaged file beside the reads, and where the reads are."""

    sessions: dict[str, tuple[SessionRow, bool, bool]] = field(default_factory=dict)
    """By id: row, open, sent."""
    audit: dict[int, tuple[AuditEvent, bool]] = field(default_factory=dict)
    ledger: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """By session: committed, receipted, expired, lost."""
    meta: dict[str, str] = field(default_factory=dict)
    read_pages: list[int] = field(default_factory=list)
    """Leaf pages that hold reads, ascending."""
    reads_seen: int = 0
    damaged_cells: int = 0
    damaged_frames: int = 0


def look(file: CarvedFile) -> Found:
    """Everything small in one pass over the file; reads are only located."""
    found = Found()
    for number in file.leaves():
        reads = 0
        for row in file.rows(number):
            reads += _take(found, row)
        if reads:
            found.read_pages.append(number)
            found.reads_seen += reads
    found.damaged_cells, found.damaged_frames = file.damaged_cells, file.damaged_frames
    return found


def reads_of(file: CarvedFile, pages: Sequence[int]) -> Iterator[SavedRead]:
    """The reads on some leaf pages whose envelope is whole."""
    for number in pages:
        for row in file.rows(number):
            saved = _read(row)
            if saved is not None:
                yield saved


def _take(found: Found, row: Row) -> int:
    """Sort one row into ``found``; 1 if it is a read. The shape tells the table."""
    values = row.values
    try:
        if _columns(values) is not None:
            return 1
        if len(values) == 3 and values[0] is None and isinstance(values[1], str):
            event = AuditEvent.model_validate_json(values[1])
            if event.seq == row.rowid and digest(event.model_dump(mode="json")) == event.digest:
                found.audit[event.seq] = (event, values[2] == 1)
        elif len(values) == 4 and isinstance(values[1], str) and isinstance(values[0], str):
            session = SessionRow.model_validate_json(values[1])
            if session.id == values[0]:
                _newer(found, session, values[2] == 1, values[3] == 1)
        elif len(values) in {4, 5} and isinstance(values[0], str):
            counts = [v for v in values[1:] if isinstance(v, int) and v >= 0]
            if len(counts) == len(values) - 1 and len(values[0]) == 32:
                kept = found.ledger.get(values[0], (0, 0, 0, 0))
                fresh = (*counts, 0)[:4]
                found.ledger[values[0]] = max(kept, (fresh[0], fresh[1], fresh[2], fresh[3]))
        elif len(values) == 2 and isinstance(values[0], str) and isinstance(values[1], str):
            found.meta[values[0]] = values[1]
    except (ValidationError, ValueError):
        found.damaged_cells += 1
    return 0


def _newer(found: Found, row: SessionRow, is_open: bool, sent: bool) -> None:
    kept = found.sessions.get(row.id)
    if kept is None or (not is_open, row.ended) > (not kept[1], kept[0].ended):
        found.sessions[row.id] = (row, is_open, sent)


def _columns(values: Record) -> Record | None:
    """id, session, sha256, destroy_by, hit, envelope of a row of ``reads``, of either version."""
    if len(values) == 7 and isinstance(values[6], bytes):
        return values[1:]
    if len(values) == 8 and isinstance(values[3], bytes):  # version 1
        return (*values[1:3], *values[4:7], values[3])
    return None


def _read(row: Row) -> SavedRead | None:
    columns = _columns(row.values)
    if columns is None:
        return None
    read, session, told, end, hit, envelope = columns
    if not isinstance(envelope, bytes):
        return None
    try:
        header = envelope_header(envelope)
    except EnvelopeError:
        return None
    if (header.id, header.session, sha256_hex(envelope)) != (read, session, told):
        return None
    return SavedRead(
        seq=row.rowid,
        id=header.id,
        session=header.session,
        envelope=envelope,
        sha256=sha256_hex(envelope),
        destroy_by=_stamp(end) or header.destroy_by,
        hit=hit == 1,
    )


def _stamp(value: Value) -> datetime | None:
    """A destroy-by as the queue keeps it; it may have been set anew since the read was sealed."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


# --- the trail ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trail:
    """A trail put together again.

    ``kept`` goes into the new file as it is, with its *sent* flag; ``again`` is appended as new
    events; ``missing`` numbers between and before them are gone from the car (central may hold
    those up to ``head``). ``head`` and ``digest`` are what the next event continues.
    """

    kept: tuple[tuple[AuditEvent, bool], ...]
    again: tuple[AuditEvent, ...]
    missing: int
    head: int
    digest: str


def mend_trail(found: dict[int, tuple[AuditEvent, bool]], head: tuple[int, str]) -> Trail:
    """Where the chain can be continued so that central will take it.

    Args:
        found: events by number, each with its own digest already checked.
        head: :func:`read_head`; what central is known to hold.
    """
    sent = [seq for seq, (_, was_sent) in found.items() if was_sent]
    if sent and max(sent) > head[0]:  # the note is older than the database
        head = (max(sent), found[max(sent)][0].digest)
    last, last_digest = head
    while (following := found.get(last + 1)) is not None and following[0].previous == last_digest:
        last, last_digest = last + 1, following[0].digest
    kept = tuple(
        (event, was_sent or seq <= head[0])
        for seq, (event, was_sent) in sorted(found.items())
        if seq <= last
    )
    again = tuple(event for seq, (event, _) in sorted(found.items()) if seq > last)
    top = max(found, default=0)
    missing = max(top, last) - len(found)
    return Trail(kept, again, max(missing, 0), last, last_digest)
