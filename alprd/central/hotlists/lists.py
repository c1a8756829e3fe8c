"""Import of hotlists: a supplier's file becomes a packed, sealed list (R-460.4.1-b).

The file is read as a stream (:mod:`alprd.central.hotlists.hotfiles`), its entries are sorted in
bounded memory, and the list is kept in the form that cars get, encrypted under a key of its own::

    supplier's file → records → category map → sorted entries → <home>/lists/<file>
                        └ rejected lines: number and reason      (key in the keystore)

What looks wrong is held before it takes the place of the list in use
(:mod:`alprd.central.hotlists.gate`). The formats are described in ``docs/hotlist-format.md``.
"""

from __future__ import annotations

import csv
import hmac
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd.audit import Actor
from alprd.central.hotlists import additional, categories, gate, liststore, rejections
from alprd.central.hotlists.categories import CategoryMap
from alprd.central.hotlists.hotfiles import containers, layouts, reading
from alprd.central.hotlists.hotfiles.reading import Record, Rejected
from alprd.central.hotlists.hotfiles.spool import Spool
from alprd.central.hotlists.liststore import FOLDER as FOLDER
from alprd.central.hotlists.liststore import ListSource as ListSource
from alprd.central.hotlists.liststore import hotlists as hotlists
from alprd.central.hotlists.plaincsv import rows as rows
from alprd.central.hotlists.rejections import Note, Recorder
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.packed import pack
from alprd.records import Category, new_id
from alprd.rows import row_of
from alprd.wire import Hotlist, HotlistEntry

PRIORITY: Final[dict[Category, Literal["high", "medium", "low"]]] = {
    "stolen": "high",
    "owner_warrant": "high",
    "other_lpdf": "medium",
    "owner_suspended_revoked": "low",
}
COLUMNS: Final = ("plate", "state", "type", "category", "source", "entered", "text")
KEPT: Final = 1000
"""Rejected lines that a report holds; all of them go into the report file."""
_MAX_REASONS: Final = 10
_LIST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""``alprd.records.Name``; it becomes part of a file name."""
_MOST_CODES: Final = 10_000
"""Unmapped codes that are counted apart."""
_TICK: Final = 20_000
"""Lines between two calls of the progress."""

Progress = Callable[[int, int], None]
"""Called with the bytes of the file that are read and its length."""


@dataclass(slots=True)
class ImportReport:
    """What an import did; names lines and reasons, never plates."""

    list_id: str
    version: str = ""
    layout: str = ""
    entries: int = 0
    counts: dict[Category, int] = field(default_factory=dict)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    """The first :data:`KEPT` lines."""
    rejected_total: int = 0
    rejected_report: str = ""
    """Id of the report of rejected lines (:mod:`alprd.central.hotlists.rejections`), if any was."""
    asked_for: int = 0
    """Rejected lines that say that they are of an active investigation (R-460.4.1-b2)."""
    held: str = ""
    """Id under which it waits for a person, when it looked wrong; the old list stays in use."""
    findings: tuple[gate.Finding, ...] = ()

    def reject(self, line: int, reason: str) -> None:
        """Note a line that cannot be used."""
        self.rejected_total += 1
        self.asked_for += reason == categories.WHY_NOT
        if len(self.rejected) < KEPT:
            self.rejected.append((line, reason))

    @property
    def remedy(self) -> str:
        """What to do about rejected lines, where it is more than to correct the file."""
        return categories.ASK_INSTEAD if self.asked_for else ""


@dataclass(slots=True)
class _Reading:
    """What has come out of the file so far."""

    report: ImportReport
    columns: CategoryMap
    key: bytes
    wanted: frozenset[str]
    seen: set[str] = field(default_factory=set)
    unmapped: Counter[str] = field(default_factory=Counter)
    lasting: bool = False
    """Some entry has no end of its own."""
    ends: datetime | None = None
    """The latest end that the supplier gives an entry."""

    @property
    def expires(self) -> datetime | None:
        """When the last entry ends, if every one has an end."""
        return None if self.lasting else self.ends


def _entry(record: Record, layout: str, state: _Reading) -> HotlistEntry | Rejected | None:
    """The entry of a record; ``None`` when its code has no column yet, which is counted.

    An entry is one of plate, state, type and code: never of the plate alone. What says that it is
    of an active investigation is rejected: a file cannot stand in for the approval of a different
    person (R-460.4.1-b2).
    """
    if state.columns.is_asked_for(layout, record.code):
        return Rejected(record.line, categories.WHY_NOT, record.plate)
    mapping = state.columns.column(layout, record.code)
    code = categories.canonical_code(record.code)
    if mapping is None:
        code = code[:64]
        # Shifted columns put something else into every line: memory stays bounded.
        known = code in state.unmapped or len(state.unmapped) < _MOST_CODES
        state.unmapped[code if known else "OTHER CODES"] += 1
        return None
    identity = "|".join((record.plate, record.state or "", record.plate_type or "", code)).encode()
    return HotlistEntry.model_construct(  # every field was checked where the line was read
        id=hmac.digest(state.key, identity, "sha256").hex()[:16],
        plate=record.plate,
        state=record.state,
        plate_type=record.plate_type,
        category=mapping.column,
        priority=mapping.priority,
        restricted=mapping.restricted,
        text=record.text,
        expires=record.expires,
    )


def import_hotlist(
    central: Central,
    path: Path,
    *,
    list_id: str,
    source: str,
    supplied_at: datetime,
    actor: Actor,
    accepted: Collection[str] = (),
    layout: str = "",
    mapping: str = "",
    code: str = "",
    state: str = "",
    rejected_to: Path | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Take a list in; it reaches the cars with the next publication (R-460.4.1-b).

    What looks wrong is held (:mod:`alprd.central.hotlists.gate`): the report then has an id in
    ``held`` and the list in use stays.

    Args:
        accepted: codes of findings that a person has accepted for this file.
        layout: a name of :data:`alprd.central.hotlists.hotfiles.layouts.LAYOUTS`, or recognised.
        mapping: text of a mapping file, for a layout that is not shipped.
        code: what the entries are, where the layout does not say it.
        state: issuing state, where the layout does not say it.
        rejected_to: a CSV file for every rejected line, its number and reason.

    Raises:
        InputError: the file as a whole cannot be used, or no line of it.
        RefusedError: from the future, or under the name of the additional entries.
        StoreError: the disk refuses; the list in use stays.
    """
    _check(central, list_id, source, supplied_at)
    now = central.clock()
    with central.database.read() as tx:
        columns = categories.load(tx)
    found = _Reading(
        ImportReport(list_id),
        columns,
        central.keystore.purpose_key("list entries"),
        gate.test_plates(central, list_id),
    )
    report = found.report
    shape = layouts.parse_mapping(mapping) if mapping else None
    if layout and shape is None:
        shape = layouts.by_name(layout)
    folder = central.home / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    file_id = new_id()
    with (
        Spool(folder) as spool,
        Recorder(central, list_id, actor) as recorder,
        _rejections(rejected_to, recorder.note) as note,
    ):
        try:
            _read(path, shape, code, state, found, spool, note, progress)
            header, key = _write(folder / file_id, spool, found, note, list_id, source, supplied_at)
        except InputError as error:
            if recorder.id:
                every = f"`alprd-central lists rejected {recorder.id}` tells every rejected line"
                error.remedy = f"{error.remedy}; {every}" if error.remedy else every
            raise
        recorder.keep()
        report.rejected_report = recorder.id
    try:
        candidate = gate.Candidate(
            list_id=list_id,
            source=source,
            layout=report.layout,
            supplied_at=supplied_at,
            expires=found.expires,
            entries=header.entries + found.unmapped.total(),
            rejected=report.rejected_total,
            counts=header.counts,
            unmapped=dict(found.unmapped),
            seen_test_plates=frozenset(found.seen),
        )
        report.version, report.entries, report.counts = (
            header.version,
            header.entries,
            dict(header.counts),
        )
        central.keystore.put_secret(liststore.secret_name(file_id), key)
        with central.database.write() as tx:
            report.findings = gate.judge(central, tx, candidate)
            if any(f.code not in accepted or not f.acceptable for f in report.findings):
                again = {
                    "list_id": list_id,
                    "source": source,
                    "supplied_at": supplied_at.isoformat(),
                    "layout": "" if mapping else report.layout,
                    "mapping": mapping,
                    "code": code,
                    "state": state,
                }
                report.held = gate.hold(
                    central,
                    tx,
                    candidate,
                    report.findings,
                    path=path,
                    again=again,
                    actor=actor,
                    rejected=report.rejected,
                    rejected_report=report.rejected_report,
                )
            else:
                replaced = _activate(central, tx, header, file_id, report, actor, now)
        if not report.held:
            file_id = replaced  # the new one stays
    finally:
        if file_id:
            liststore.forget(central, file_id)
    liststore.sweep(central)
    return report


def _check(central: Central, list_id: str, source: str, supplied_at: datetime) -> None:
    """Whether a list of this name and time may be imported at all."""
    if additional.LIST_ID in (list_id, source):
        raise RefusedError(
            f"{additional.LIST_ID!r} is the list of the approved additional entries",
            reason="additional_not_imported",
            remedy="ask for each entry with `alprd-central additional request` (R-460.4.1-b2)",
        )
    if not _LIST_ID.fullmatch(list_id):
        raise InputError(
            f"--list: {list_id!r} is not allowed",
            remedy="give a machine name of 1 to 64 letters, digits, '.', '_' or '-' that begins "
            "with a letter or digit, such as lpdf",
        )
    allowed = central.config.policy.sources
    if source not in allowed:
        names = [name for name in allowed if name != additional.LIST_ID]
        # A car takes no publication at all that names a source outside its signed policy.
        raise RefusedError(
            f"--source: the adopted policy does not allow {source!r} (R-460.4.1-b)",
            reason="source_not_allowed",
            remedy=f"give one of {', '.join(names)}, or add it to [policy] sources in "
            "central.toml once the policy allows it",
        )
    now = central.clock()
    if supplied_at > now:
        raise RefusedError(
            f"list {list_id} is supplied in the future: {supplied_at:%Y-%m-%dT%H:%M:%SZ}, "
            f"but this server's clock says {now:%Y-%m-%dT%H:%M:%SZ}",
            reason="list_from_future",
            remedy="give --supplied-at the time at which the supplier made the list, with its "
            "zone (local time is not UTC: 2026-01-31T10:00:00-06:00); if the time is right, set "
            "this server's clock",
        )


def _read(
    path: Path,
    shape: layouts.Layout | None,
    code: str,
    state: str,
    found: _Reading,
    spool: Spool,
    note: Note,
    progress: Progress | None,
) -> None:
    """Every line of the file into the spool or among the rejected."""
    report = found.report
    with containers.opened(path) as (stream, raw):
        total = os.fstat(raw.fileno()).st_size
        layout, records = reading.read(
            containers.lines(stream, path), path, shape, code=code, state=state
        )
        report.layout = layout.name
        for number, record in enumerate(records):
            found.seen |= found.wanted & {record.plate}
            entry = _entry(record, layout.name, found) if isinstance(record, Record) else record
            if isinstance(entry, Rejected):
                report.reject(entry.line, entry.reason)
                note(entry.line, entry.reason)
            elif isinstance(record, Record):
                if record.expires is None:
                    found.lasting = True
                elif found.ends is None or record.expires > found.ends:
                    found.ends = record.expires
                if entry is not None:
                    spool.add(row_of(entry), record.line)
            if progress is not None and number % _TICK == 0:
                progress(raw.tell(), total)
        if progress is not None:
            progress(total, total)


class _rejections:  # noqa: N801 - a context manager, named as one
    """Writes every rejected line into a CSV file too, if one is wanted."""

    def __init__(self, path: Path | None, kept: Note) -> None:
        self._path = path
        self._kept = kept
        self._file: io.TextIOWrapper | None = None

    def __enter__(self) -> Note:
        if self._path is None:
            return self._kept
        try:
            self._file = open(
                self._path, "w", encoding="utf-8", newline="", opener=liststore.private
            )
        except OSError as error:
            raise InputError(f"report {self._path}: {error.strerror}") from error
        writer = csv.writer(self._file)
        writer.writerow(rejections.HEAD)

        def both(line: int, reason: str) -> None:
            self._kept(line, reason)
            writer.writerow((line, reason))

        return both

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _write(
    path: Path,
    spool: Spool,
    found: _Reading,
    note: Note,
    list_id: str,
    source: str,
    supplied_at: datetime,
) -> tuple[Hotlist, bytes]:
    """Write the sorted entries to the disk, encrypted under a key of their own."""
    report, key = found.report, os.urandom(32)
    digest = hmac.new(found.key, digestmod="sha256")

    def repeated(line: int, first: int) -> None:
        reason = f"the same as line {first}"
        report.reject(line, reason)
        note(line, reason)

    def sorted_rows() -> Iterator[bytes]:
        for row in spool.merged(repeated):
            digest.update(row)
            yield row

    def header(entries: int, counts: dict[Category, int]) -> Hotlist:
        return Hotlist(
            list_id=list_id,
            source=source,
            version=f"{supplied_at:%Y%m%dT%H%M%SZ}.{digest.hexdigest()[:6]}",
            supplied_at=supplied_at,
            entries=entries,
            counts=counts,
        )

    made = liststore.write(path, list_id, key, lambda out: pack(header, sorted_rows(), out))
    report.rejected.sort()
    if not made.entries and not found.unmapped:
        path.unlink(missing_ok=True)
        raise InputError(
            f"the list holds no usable entry{_reasons(report)}",
            remedy=report.remedy or "see docs/hotlist-format.md, or name another --layout",
        )
    return made, key


def _activate(
    central: Central,
    tx: Connection,
    header: Hotlist,
    file_id: str,
    report: ImportReport,
    actor: Actor,
    now: datetime,
) -> str:
    """Put the new list in the place of the old one; the old one's file, or nothing."""
    place = db.lists.c.list_id == header.list_id
    replaced = tx.scalar(select(db.lists.c.file).where(place))
    values = {
        "source": header.source,
        "version": header.version,
        "supplied_at": header.supplied_at,
        "imported_at": now,
        "entries": header.entries,
        "file": file_id,
    }
    tx.execute(
        upsert(db.lists)
        .values(list_id=header.list_id, **values)
        .on_conflict_do_update(index_elements=["list_id"], set_=values)
    )
    central.trail.record(
        tx,
        Event.LIST_IMPORTED,
        actor,
        at=now,
        subjects=[header.list_id],
        detail={
            "version": header.version,
            "layout": report.layout,
            "entries": header.entries,
            "rejected": report.rejected_total,
        },
    )
    return replaced or ""


def _reasons(report: ImportReport) -> str:
    """Why no line could be used; enough lines to see the pattern, for a list may have millions."""
    if not report.rejected:
        return ": no line follows the header"
    lines = [f"\n  line {line}: {reason}" for line, reason in report.rejected[:_MAX_REASONS]]
    more = report.rejected_total - len(lines)
    return "".join([*lines, f"\n  and {more} more lines" if more else ""])
