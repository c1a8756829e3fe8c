"""Import of hotlists and of the private suppression list.

Own CSV format of a hotlist, UTF-8 with this header line::

    plate,state,type,category,source,entered,text

``category`` is a public-log column, which also gives the alert's priority; ``state`` a USPS code
or empty; ``type`` passenger, truck, trailer, motorcycle or empty; ``entered`` an ISO date or time
or empty; ``text`` what the alert says. A line that cannot be used is reported by number and
reason, never by its plate. The suppression list has the columns ``plate,state``. Both formats are
described in ``docs/hotlist-format.md``.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError
from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd.audit import Actor
from alprd.central import db, vault
from alprd.central.audit import Event
from alprd.central.keys import mac, seal, unseal
from alprd.central.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import PLATE_TYPES, STATES, Category, fold, normalise
from alprd.wire import Hotlist, HotlistEntry

PRIORITY: Final[dict[Category, Literal["high", "medium", "low"]]] = {
    "stolen": "high",
    "owner_warrant": "high",
    "active_investigative": "high",
    "other_lpdf": "medium",
    "owner_suspended_revoked": "low",
}
COLUMNS: Final = ("plate", "state", "type", "category", "source", "entered", "text")
_JUNK: Final = frozenset({"TEST", "NONE", "NULL", "UNKNOWN", "NOPLATE", "XXX", "XXXX"})
_MAX_TEXT: Final = 200
_MAX_REASONS: Final = 10
_LIST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""``alprd.records.Name``; it becomes part of a file name."""
_PADDED_TO: Final = 65_536
"""The sealed suppression list grows in these steps, so that its size tells no count."""


@dataclass(slots=True)
class ImportReport:
    """What an import did; names lines and reasons, never plates."""

    list_id: str
    version: str = ""
    entries: int = 0
    counts: dict[Category, int] = field(default_factory=dict)
    rejected: list[tuple[int, str]] = field(default_factory=list)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, fields) of a CSV file with exactly these columns first in its header.

    Raises:
        InputError: unreadable, not UTF-8, or another header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"list {path}: {error.strerror}", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"list {path} is not UTF-8", remedy="save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=False)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if tuple(header[: len(columns)]) != columns:
            raise InputError(
                f"list {path}: line 1 is not the header of this format",
                remedy=f"begin the file with {','.join(columns)} (see docs/hotlist-format.md)",
            )
        for values in reader:
            if values:
                padded = [*values, *("" for _ in range(len(columns) - len(values)))]
                yield reader.line_num, dict(zip(columns, padded, strict=False))
    except csv.Error as error:
        raise InputError(f"list {path}: line {reader.line_num}: {error}") from error


def _entry(fields: dict[str, str], key: bytes) -> HotlistEntry:
    """One usable entry.

    Raises:
        ValueError: the reason why the line is rejected.
    """
    plate = normalise(fields["plate"])
    if len(plate) < 2 or set(plate) == {"0"} or plate in _JUNK:
        raise ValueError("no real plate")
    if len(plate) > 10:
        raise ValueError("plate is longer than 10 characters")
    state = fields["state"].strip().upper() or None
    if state is not None and state not in STATES:
        raise ValueError("unknown state")
    plate_type = fields["type"].strip().lower() or None
    if plate_type is not None and plate_type not in PLATE_TYPES:
        raise ValueError("unknown plate type")
    category = fields["category"].strip().lower()
    if category not in PRIORITY:
        raise ValueError("category is no column of the public log")
    entered = fields["entered"].strip()
    if entered:
        try:
            datetime.fromisoformat(entered)
        except ValueError:
            raise ValueError("entered is not an ISO date") from None
    identity = "|".join((plate, state or "", plate_type or "", category))
    try:
        return HotlistEntry.model_validate(
            {
                "id": mac(key, identity.encode()).hex()[:16],
                "plate": plate,
                "state": state,
                "plate_type": plate_type,
                "category": category,
                "priority": PRIORITY[category],
                "text": " ".join(fields["text"].split())[:_MAX_TEXT],
            }
        )
    except ValidationError:
        raise ValueError("plate has characters that no plate has") from None


def _reasons(rejected: list[tuple[int, str]]) -> str:
    """Why no line could be used; enough lines to see the pattern, for a list may have millions."""
    if not rejected:
        return ": no line follows the header"
    lines = [f"\n  line {line}: {reason}" for line, reason in rejected[:_MAX_REASONS]]
    more = len(rejected) - len(lines)
    return "".join([*lines, f"\n  and {more} more lines" if more else ""])


def import_hotlist(
    central: Central,
    path: Path,
    *,
    list_id: str,
    source: str,
    supplied_at: datetime,
    actor: Actor,
) -> ImportReport:
    """Take a list in; it reaches the cars with the next publication (R-460.4.1-b).

    Raises:
        InputError: the file as a whole cannot be used, or no line of it.
        RefusedError: older than the list in use, or from the future.
    """
    if not _LIST_ID.fullmatch(list_id):
        raise InputError(
            f"--list: {list_id!r} is not allowed",
            remedy="give a machine name of 1 to 64 letters, digits, '.', '_' or '-' that begins "
            "with a letter or digit, such as lpdf",
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
    key = central.keystore.purpose_key("list entries")
    report = ImportReport(list_id)
    entries: dict[str, tuple[int, HotlistEntry]] = {}
    for line, fields in _rows(path, COLUMNS):
        try:
            entry = _entry(fields, key)
            if entry.id in entries:
                raise ValueError(f"the same as line {entries[entry.id][0]}")
        except ValueError as error:
            report.rejected.append((line, str(error)))
        else:
            entries[entry.id] = (line, entry)
    if not entries:
        raise InputError(
            f"list {path} holds no usable entry{_reasons(report.rejected)}",
            remedy="write it as docs/hotlist-format.md says",
        )
    counts = Counter(entry.category for _, entry in entries.values())
    lines = [entry.model_dump_json().encode() for _, entry in entries.values()]
    tag = mac(key, b"\n".join(sorted(lines))).hex()[:6]
    header = Hotlist(
        list_id=list_id,
        source=source,
        version=f"{supplied_at:%Y%m%dT%H%M%SZ}.{tag}",
        supplied_at=supplied_at,
        entries=len(entries),
        counts=dict(counts),
    )
    plain = gzip.compress(b"\n".join([header.model_dump_json().encode(), *lines]), mtime=0)
    values = {
        "source": source,
        "version": header.version,
        "supplied_at": supplied_at,
        "imported_at": now,
        "entries": len(entries),
        "sealed": seal(central.keystore.purpose_key("lists"), plain, _aad(list_id)),
    }
    with central.database.write() as tx:
        current = tx.scalar(select(db.lists.c.supplied_at).where(db.lists.c.list_id == list_id))
        if current is not None and current > supplied_at:
            raise RefusedError(
                f"list {list_id} is older than the one in use",
                reason="list_older",
                remedy="ask the supplier for the current list",
            )
        tx.execute(
            upsert(db.lists)
            .values(list_id=list_id, **values)
            .on_conflict_do_update(index_elements=["list_id"], set_=values)
        )
        central.trail.record(
            tx,
            Event.LIST_IMPORTED,
            actor,
            at=now,
            subjects=[list_id],
            detail={
                "version": header.version,
                "entries": len(entries),
                "rejected": len(report.rejected),
            },
        )
    report.version, report.entries, report.counts = header.version, len(entries), dict(counts)
    return report


def hotlists(central: Central, tx: Connection) -> dict[str, bytes]:
    """The plain content of every list in use, by list id: what the cars receive."""
    key = central.keystore.purpose_key("lists")
    rows = tx.execute(select(db.lists).order_by(db.lists.c.list_id))
    return {row.list_id: unseal(key, row.sealed, _aad(row.list_id)) for row in rows}


def import_suppression(
    central: Central, path: Path, *, actor: Actor, replace: bool = False
) -> ImportReport:
    """Add address-confidentiality plates; what is held of them is destroyed (R-460.5-b, -b2).

    Neither the trail nor the report of others tells how many there are (R-460.5-b4).

    Args:
        replace: drop entries that the file does not have.

    Raises:
        InputError: the file cannot be used; nothing was changed.
    """
    report = ImportReport("suppression")
    plates: set[tuple[str, str]] = set()
    for line, fields in _rows(path, ("plate", "state")):
        plate, state = normalise(fields["plate"]), fields["state"].strip().upper()
        if not plate or len(plate) > 14:
            report.rejected.append((line, "no plate"))
        elif state and state not in STATES:
            report.rejected.append((line, "unknown state"))
        else:
            plates.add((plate, state))
    report.entries = len(plates)
    if replace and (report.rejected or not plates):
        # A request never lapses silently (R-460.5-b6): a damaged file must not drop any.
        raise InputError(
            f"{path} cannot replace the protected plates: {len(report.rejected)} line(s) cannot "
            f"be used, {len(plates)} can",
            remedy="mend the file, or import it without --replace, which only adds",
        )
    with central.database.write() as tx:
        if not replace:
            plates |= _suppressed(central, tx)
        plain = json.dumps(sorted(plates)).encode()
        plain = plain.ljust(-(-len(plain) // _PADDED_TO) * _PADDED_TO)
        sealed = seal(central.keystore.purpose_key("suppression"), plain, _aad("suppression"))
        tx.execute(
            upsert(db.suppression)
            .values(part="all", sealed=sealed)
            .on_conflict_do_update(index_elements=["part"], set_={"sealed": sealed})
        )
        forms = frozenset(fold(plate) for plate, _ in plates)
        _destroy_held(central, tx, forms)
        central.trail.record(tx, Event.REQUESTS_IMPORTED, actor, at=central.clock())
    central.database.checkpoint()
    central.keystore.database.checkpoint()
    return report


def _destroy_held(central: Central, tx: Connection, forms: frozenset[str]) -> None:
    """Turn held reads of these folded plates into voids: old key first, then file, then row.

    The file keeps its times, so that a directory listing does not show which ones changed.
    """
    table = db.reads
    for hour in tx.scalars(select(table.c.hour).distinct()).all():
        key = central.keystore.hour_key(hour)
        if key is None:
            continue
        digests = {vault.plate_digest(key, form) for form in forms}
        rows = tx.execute(
            select(table.c.id, table.c.digest0, table.c.digest1, table.c.digest2).where(
                table.c.hour == hour
            )
        )
        for row in rows.all():
            if digests.isdisjoint((row.digest0, row.digest1, row.digest2)):
                continue
            path = vault.picture_path(central.home, row.id)
            before = path.stat()
            fresh, _ = central.keystore.new_read_keys([(row.id, hour)])[row.id]
            void = vault.seal_void(row.id, max(0, before.st_size - vault.PICTURE_OVERHEAD), fresh)
            vault.write_pictures(central.home, row.id, void.pictures)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            tx.execute(
                update(table)
                .where(table.c.id == row.id)
                .values(
                    cell=void.cell,
                    digest0=void.digests[0],
                    digest1=void.digests[1],
                    digest2=void.digests[2],
                )
            )


def _suppressed(central: Central, tx: Connection) -> set[tuple[str, str]]:
    sealed = tx.scalar(select(db.suppression.c.sealed))
    if sealed is None:
        return set()
    plain = unseal(central.keystore.purpose_key("suppression"), sealed, _aad("suppression"))
    return {(plate, state) for plate, state in json.loads(plain)}


def suppressed_folds(central: Central, tx: Connection) -> frozenset[str]:
    """The folded plates of every request; look-alikes are covered too (T-10)."""
    return frozenset(fold(plate) for plate, _ in _suppressed(central, tx))


def _aad(name: str) -> bytes:
    return f"list {name}".encode()
