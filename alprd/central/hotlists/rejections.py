"""Reports of rejected lines: every line of an import that could not be used, number and reason.

A list may have millions of bad lines; a page or a command shows the first ones. All of them are
kept here for some days (``[lists] rejected_days``) and handed out as CSV. A reason never quotes its
line, so a report holds no plate; it is treated like the list itself all the same: encrypted under
a key of its own, which dies first, taken out by a named person only, and each time on the trail.

::

    <home>/rejected/<id>   compressed CSV (line,reason), a target of alprd.targetfile
    keystore               its key, rejected:<id>
    rejections             list, time, number of lines; nothing else in clear

Rule: R-460.4.1-b4 (a misread list is seen before it is used).
"""

from __future__ import annotations

import csv
import io
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import IO, Any, Final

from sqlalchemy import Connection, delete, insert, select

from alprd.audit import Actor
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import rejections_tables
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import AlprdError, InputError, StoreError
from alprd.records import new_id
from alprd.targetfile import TargetReader, TargetWriter
from alprd.wire import Person

FOLDER: Final = "rejected"
HEAD: Final = ("line", "reason")
_PIECE: Final = 1 << 16
_LEFT_S: Final = 86_400
"""A file without a row that is older than this was left by a crash."""

Note = Callable[[int, str], object]
"""Called with the number of a rejected line and the reason."""


class Recorder:
    """Takes every rejected line of one import; the report is kept when the context ends.

    It is also kept when the import is refused as a whole (``AlprdError``), for then the reasons
    are wanted most. Nothing is written before the first rejected line.
    """

    def __init__(self, central: Central, list_id: str, actor: Actor) -> None:
        self.id = ""
        """Id of the report; empty when no line was rejected."""
        self.total = 0
        self._central = central
        self._list_id = list_id
        self._actor = actor
        self._key = os.urandom(32)
        self._file: IO[bytes] | None = None
        self._sealed: TargetWriter | None = None
        self._squeeze = zlib.compressobj(6)
        self._text = io.StringIO()
        self._rows = csv.writer(self._text)

    def note(self, line: int, reason: str) -> None:
        """Take a line in.

        Raises:
            StoreError: the disk refuses.
        """
        try:
            if self._sealed is None:
                self._begin()
            self._rows.writerow((line, reason))
            self.total += 1
            if self._text.tell() > _PIECE:
                self._pass_on()
        except OSError as error:
            raise self._failed(error) from error

    def keep(self) -> None:
        """Finish the report: file, then key, then row, so that a row always has both.

        Raises:
            StoreError: the disk refuses.
        """
        file, sealed = self._file, self._sealed
        if file is None or sealed is None:
            return
        try:
            self._pass_on()
            sealed.write(self._squeeze.flush())
            sealed.close()
            file.flush()
            os.fsync(file.fileno())
            file.close()
        except OSError as error:
            raise self._failed(error) from error
        self._file = self._sealed = None
        self._central.keystore.put_secret(_secret(self.id), self._key)
        with self._central.database.write() as tx:
            tx.execute(
                insert(rejections_tables.rejections).values(
                    id=self.id,
                    list_id=self._list_id,
                    made_at=self._central.clock(),
                    made_by=self._actor.id,
                    lines=self.total,
                )
            )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if isinstance(error, AlprdError) and not isinstance(error, StoreError):
            self.keep()
        if self._file is not None:  # the import itself failed: no half of a report
            self._file.close()
            with suppress(OSError):
                (self._central.home / FOLDER / self.id).unlink()

    def _begin(self) -> None:
        folder = self._central.home / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self.id = new_id()
        path = folder / self.id
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._sealed = TargetWriter(self._file, name=_name(self.id), key=self._key)
        self._rows.writerow(HEAD)

    def _pass_on(self) -> None:
        if self._sealed is not None:
            self._sealed.write(self._squeeze.compress(self._text.getvalue().encode()))
        self._text.seek(0)
        self._text.truncate()

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self._central.home / FOLDER}: the report of rejected lines cannot be kept: "
            f"{error.strerror}",
            remedy="check free disk space, then import the file again; the list in use stays",
        )


def kept(central: Central, tx: Connection) -> list[dict[str, Any]]:
    """The reports that are there, newest first, with the time at which each is destroyed."""
    table, life = rejections_tables.rejections, _life(central)
    return [
        {**row._asdict(), "until": row.made_at + life}
        for row in tx.execute(select(table).order_by(table.c.made_at.desc(), table.c.id))
        if row.made_at + life > central.clock()
    ]


def is_kept(central: Central, tx: Connection, report_id: str) -> bool:
    """Whether a report can still be taken out."""
    table = rejections_tables.rejections
    made_at = tx.scalar(select(table.c.made_at).where(table.c.id == report_id))
    return made_at is not None and made_at + _life(central) > central.clock()


def take(central: Central, person: Person, report_id: str) -> Iterator[bytes]:
    """A report as the pieces of a CSV file (``line,reason``); the act is on the trail first.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: there is no such report, or its time is over.
        StoreError, EnvelopeError: its file is damaged.
    """
    now = central.clock()
    people.require(person, Act.LISTS_SEE, now)
    table = rejections_tables.rejections
    with central.database.write() as tx:
        row = tx.execute(select(table).where(table.c.id == report_id)).one_or_none()
        key = central.keystore.find_secret(_secret(report_id)) if row is not None else None
        if row is None or key is None or row.made_at + _life(central) <= now:
            raise InputError(
                "there is no report of rejected lines with this id any more",
                remedy="import the supplier's file again; its report is kept for "
                f"{central.config.lists.rejected_days} days",
            )
        reader = TargetReader(central.home / FOLDER / report_id, name=_name(report_id), key=key)
        central.trail.record(
            tx,
            Event.LIST_REJECTED_TAKEN,
            people.actor(person),
            at=now,
            subjects=[row.list_id],
            detail={"report": report_id, "lines": row.lines},
        )
    return _pieces(reader)


def _pieces(reader: TargetReader) -> Iterator[bytes]:
    with reader:
        stretch, at = zlib.decompressobj(), 0
        while at < reader.size:
            piece = reader.read_at(at, min(_PIECE, reader.size - at))
            at += len(piece)
            while piece:  # no more than a piece at a time, however well it was compressed
                yield stretch.decompress(piece, _PIECE)
                piece = stretch.unconsumed_tail
        yield stretch.flush()


def destroy_old(central: Central, tx: Connection) -> int:
    """Destroy reports past their time, and what a crash left; how many. Part of the purge."""
    table, folder = rejections_tables.rejections, central.home / FOLDER
    rows = tx.execute(select(table.c.id, table.c.made_at)).all()
    old = [row.id for row in rows if row.made_at + _life(central) <= central.clock()]
    known = {row.id for row in rows}
    left: list[str] = []
    if folder.is_dir():
        left = [
            path.name
            for path in folder.iterdir()
            if path.name not in known and time.time() - path.stat().st_mtime > _LEFT_S
        ]
    for name in (*old, *left):  # the key first: an interruption leaves what nobody opens
        central.keystore.forget_secret(_secret(name))
        (folder / name).unlink(missing_ok=True)
        tx.execute(delete(table).where(table.c.id == name))
    return len(old) + len(left)


def _life(central: Central) -> timedelta:
    return timedelta(days=central.config.lists.rejected_days)


def _secret(report_id: str) -> str:
    return f"rejected:{report_id}"


def _name(report_id: str) -> str:
    return f"rejected {report_id}"
