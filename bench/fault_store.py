"""Faults of what is stored: a full disk, damaged pages of the queue, envelopes tampered with."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.crash_world import BenchError
from bench.fault_rows import LONGEST_S, Row, fail
from bench.fault_world import FaultWorld

DISK_S: Final = 30.0
_QUARANTINED: Final = "SELECT event FROM audit WHERE event LIKE '%queue.quarantined%'"
_ENOUGH: Final = 12
"""Reads that are to wait in the queue before it is damaged."""


def disk_full(world: FaultWorld) -> Row:
    """Not a byte left while reads are committed; then room again."""
    row = Row("disk full", DISK_S, note="session ended as disk_full, begun again by itself")
    if not world.small_disk:
        row.bound_s, row.note = None, "left out: needs root and mount"
        return row
    ballast = world.place.state / "ballast.bin"
    before = world.queue("SELECT count(*) FROM sessions")
    count = world.committed()

    def well() -> bool:
        return bool(world.status().get("session_open")) and world.committed() > lifted

    lifted = count

    def lift() -> None:
        nonlocal lifted
        ballast.unlink()
        lifted = world.committed()

    fail(
        world,
        row,
        fault=lambda: _fill(ballast),
        lift=lift,
        noticed=lambda: world.status().get("session_open") is False,
        well=well,
        others=world.cameras_well,
    )
    ends = world.texts("SELECT row FROM sessions WHERE open = 0 ORDER BY rowid")
    if not any('"end_reason":"disk_full"' in end for end in ends[before - 1 :]):
        row.wrong.append("no session ended as disk_full")
    lost = world.texts("SELECT event FROM audit WHERE event LIKE '%reads.lost%'")
    row.note += f"; {len(lost)} notes of reads that could not be kept"
    return row


def _fill(ballast: Path) -> None:
    """Take every free byte of the file system."""
    with ballast.open("wb") as file:
        free = os.statvfs(ballast.parent)
        size = free.f_bavail * free.f_frsize
        while size > 0:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                size //= 2


# --- the database -------------------------------------------------------------------------------


def _damaged(world: FaultWorld, row: Row, harm: Callable[[Path], str]) -> Row:
    """Stop the daemon, damage the queue, start it, and wait for new commits."""
    row.since = time.monotonic()
    world.until("reads wait", lambda: world.queue("SELECT count(*) FROM reads") >= _ENOUGH, 120)
    told = len(world.texts(_QUARANTINED))
    before = world.committed()
    world.stop()
    row.note = harm(world.place.state / "queue.db")
    began = time.monotonic()
    world.start(docked=False)
    count = world.committed()
    try:
        world.until("reads are committed", lambda: world.committed() > count, LONGEST_S)
        row.recovery_s = round(time.monotonic() - began, 1)
    except BenchError as error:
        row.wrong.append(error.message)
    if len(world.texts(_QUARANTINED)) <= told:
        row.wrong.append("no event tells that the queue was damaged")
    row.reads = world.committed() - before
    row.until = time.monotonic()
    return row


def _overwrite(path: Path, offset: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(os.urandom(length))
        file.flush()
        os.fsync(file.fileno())


def database_header(world: FaultWorld) -> Row:
    """The first 100 bytes, without which SQLite knows nothing."""

    def harm(path: Path) -> str:
        _overwrite(path, 0, 100)
        return "header of the file overwritten"

    return _damaged(world, Row("database header", LONGEST_S), harm)


def database_index(world: FaultWorld) -> Row:
    """A page of an index of the queue."""

    def harm(path: Path) -> str:
        with closing(sqlite3.connect(path)) as connection:
            size = connection.execute("PRAGMA page_size").fetchone()[0]
            page = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'reads'"
            ).fetchone()[0]
        _overwrite(path, (page - 1) * size, size)
        return "a page of an index overwritten"

    return _damaged(world, Row("database page (index)", LONGEST_S), harm)


def database_read(world: FaultWorld) -> Row:
    """A page that holds a piece of one read: that read is gone, no other may be."""

    def harm(path: Path) -> str:
        with closing(sqlite3.connect(path)) as connection:
            size = connection.execute("PRAGMA page_size").fetchone()[0]
            name, envelope = connection.execute(
                "SELECT id, envelope FROM reads ORDER BY seq LIMIT 1 OFFSET 5"
            ).fetchone()
        piece = envelope[len(envelope) // 2 :][:64]
        at = path.read_bytes().find(piece)
        if at < 0:  # the piece lies across two pages
            at = path.read_bytes().find(piece[:32])
        _overwrite(path, at // size * size, size)
        world.spoiled.add(name)
        return "a page of one read overwritten: that read cannot be had back"

    return _damaged(world, Row("database page (a read)", LONGEST_S), harm)


# --- envelopes ----------------------------------------------------------------------------------


def _tampered(world: FaultWorld, row: Row, *, digest_too: bool) -> Row:
    """Change one byte of a queued envelope, dock, and wait for the others to arrive."""
    row.since = time.monotonic()
    world.until("reads wait", lambda: world.queue("SELECT count(*) FROM reads") >= _ENOUGH, 120)
    before = world.committed()
    with closing(sqlite3.connect(world.place.state / "queue.db", timeout=30)) as connection:
        waiting = {name for (name,) in connection.execute("SELECT id FROM reads")}
        name, envelope, sha256 = connection.execute(
            "SELECT id, envelope, sha256 FROM reads ORDER BY seq LIMIT 1 OFFSET 3"
        ).fetchone()
        bent = bytearray(envelope)
        bent[-40] ^= 1
        if digest_too:
            sha256 = hashlib.sha256(bent).hexdigest()
        connection.execute(
            "UPDATE reads SET envelope = ?, sha256 = ? WHERE id = ?", (bytes(bent), sha256, name)
        )
        connection.commit()
    world.spoiled.add(name)
    world.place.dock(True)

    def rest_arrived() -> bool:
        there = {read for (read,) in world.central.rows("SELECT id FROM arrivals")}
        return waiting - {name} <= there

    try:
        row.recovery_s = round(world.until("the other reads arrive", rest_arrived, LONGEST_S), 1)
    except BenchError as error:
        row.wrong.append(error.message)
    world.rest(3.0)
    outcome = world.central.rows(f"SELECT outcome FROM arrivals WHERE id = '{name}'")  # noqa: S608
    here = world.queue(f"SELECT count(*) FROM reads WHERE id = '{name}'")  # noqa: S608
    row.note = f"central: {outcome[0][0] if outcome else 'not taken'}; " + (
        "still in the car" if here else "not in the queue any more"
    )
    if digest_too:
        alarms = world.central.rows("SELECT document FROM audit WHERE event = 'reads.quarantined'")
        if not any(name in text for (text,) in alarms):
            row.wrong.append("central raised no alarm")
    else:
        if outcome:
            row.wrong.append("central took an envelope that is not the one the car sealed")
        if here or world.queue(f"SELECT count(*) FROM rotten WHERE id = '{name}'") != 1:  # noqa: S608
            row.wrong.append("the car did not set the rotten read aside")
        told = world.texts("SELECT event FROM audit WHERE event LIKE '%reads.rotten%'")
        if not any(name in text for text in told):
            row.wrong.append("no event tells of the rotten read")
    world.place.dock(False)
    row.reads = world.committed() - before
    row.until = time.monotonic()
    return row


def envelope_forged(world: FaultWorld) -> Row:
    """Envelope and digest changed, as by somebody with the car's disk."""
    return _tampered(world, Row("envelope tampered with", LONGEST_S), digest_too=True)


def envelope_rotten(world: FaultWorld) -> Row:
    """The envelope changed under its digest, as by a rotten disk."""
    return _tampered(world, Row("envelope rotten", LONGEST_S), digest_too=False)
