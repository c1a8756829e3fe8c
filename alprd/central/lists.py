"""Import of hotlists.

Own CSV format of a hotlist, UTF-8 with this header line::

    plate,state,type,category,source,entered,text

``category`` is a public-log column or another code of :mod:`alprd.central.categories`; ``state``
a USPS code or empty; ``type`` passenger, truck, trailer, motorcycle or empty; ``entered`` an ISO
date or time or empty; ``text`` what the alert says. A line that cannot be used is reported by
number and reason, never by its plate. The format is described in ``docs/hotlist-format.md``.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd.audit import Actor
from alprd.central import additional, categories, db, gate
from alprd.central.audit import Event
from alprd.central.categories import CategoryMap, canonical_code
from alprd.central.keys import mac, seal, unseal
from alprd.central.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import PLATE_TYPES, STATES, Category, normalise
from alprd.wire import Hotlist, HotlistEntry

PRIORITY: Final[dict[Category, Literal["high", "medium", "low"]]] = {
    "stolen": "high",
    "owner_warrant": "high",
    "active_investigative": "high",
    "other_lpdf": "medium",
    "owner_suspended_revoked": "low",
}
LAYOUT: Final = "own"
"""Name of this format in the category map."""
COLUMNS: Final = ("plate", "state", "type", "category", "source", "entered", "text")
_JUNK: Final = frozenset({"TEST", "NONE", "NULL", "UNKNOWN", "NOPLATE", "XXX", "XXXX"})
_MAX_TEXT: Final = 200
_MAX_REASONS: Final = 10
_LIST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""``alprd.records.Name``; it becomes part of a file name."""


@dataclass(slots=True)
class ImportReport:
    """What an import did; names lines and reasons, never plates."""

    list_id: str
    version: str = ""
    entries: int = 0
    counts: dict[Category, int] = field(default_factory=dict)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    held: str = ""
    """Id under which it waits for a person, when it looked wrong; the old list stays in use."""
    findings: tuple[gate.Finding, ...] = ()


class _UnmappedError(ValueError):
    """The entry's code has no row in the category map; ``args[0]`` is the code."""


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
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


def _entry(fields: dict[str, str], key: bytes, columns: CategoryMap) -> HotlistEntry:
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
    code = canonical_code(fields["category"])
    if not code:
        raise ValueError("category is no column of the public log")
    entered = fields["entered"].strip()
    if entered:
        try:
            datetime.fromisoformat(entered)
        except ValueError:
            raise ValueError("entered is not an ISO date") from None
    mapping = columns.column(LAYOUT, code)
    if mapping is None:
        raise _UnmappedError(code)
    identity = "|".join((plate, state or "", plate_type or "", mapping.column))
    try:
        return HotlistEntry.model_validate(
            {
                "id": mac(key, identity.encode()).hex()[:16],
                "plate": plate,
                "state": state,
                "plate_type": plate_type,
                "category": mapping.column,
                "priority": mapping.priority,
                "restricted": mapping.restricted,
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
    accepted: Collection[str] = (),
) -> ImportReport:
    """Take a list in; it reaches the cars with the next publication (R-460.4.1-b).

    What looks wrong is held (:mod:`alprd.central.gate`): the report then has an id in ``held``
    and the list in use stays.

    Args:
        accepted: codes of findings that a person has accepted for this file.

    Raises:
        InputError: the file as a whole cannot be used, or no line of it.
        RefusedError: from the future, or under the name of the additional entries.
    """
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
    wanted, seen, unmapped = gate.test_plates(central, list_id), set[str](), Counter[str]()
    with central.database.read() as tx:
        columns = categories.load(tx)
    for line, fields in rows(path, COLUMNS):
        seen |= wanted & {normalise(fields["plate"])}
        try:
            entry = _entry(fields, key, columns)
            if entry.id in entries:
                raise ValueError(f"the same as line {entries[entry.id][0]}")
        except _UnmappedError as error:
            unmapped[str(error)] += 1
        except ValueError as error:
            report.rejected.append((line, str(error)))
        else:
            entries[entry.id] = (line, entry)
    if not entries and not unmapped:
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
    candidate = gate.Candidate(
        list_id=list_id,
        source=source,
        layout=LAYOUT,
        supplied_at=supplied_at,
        entries=len(entries) + unmapped.total(),
        rejected=len(report.rejected),
        counts=dict(counts),
        unmapped=dict(unmapped),
        seen_test_plates=frozenset(seen),
    )
    report.version, report.entries, report.counts = header.version, len(entries), dict(counts)
    with central.database.write() as tx:
        report.findings = gate.judge(central, tx, candidate)
        if any(f.code not in accepted or not f.acceptable for f in report.findings):
            again = {"list_id": list_id, "source": source, "supplied_at": supplied_at.isoformat()}
            report.held = gate.hold(
                central,
                tx,
                candidate,
                report.findings,
                path=path,
                again=again,
                actor=actor,
                rejected=report.rejected,
            )
            return report
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
    return report


def hotlists(central: Central, tx: Connection) -> dict[str, bytes]:
    """The plain content of every list in use, by list id: what the cars receive."""
    key = central.keystore.purpose_key("lists")
    rows = tx.execute(select(db.lists).order_by(db.lists.c.list_id))
    found = {row.list_id: unseal(key, row.sealed, _aad(row.list_id)) for row in rows}
    own = additional.hotlist(central, tx)
    if own is not None:  # the approved additional entries, a list of their own (R-460.4.1-b2)
        parts = [part.model_dump_json().encode() for part in (own[0], *own[1])]
        found[additional.LIST_ID] = gzip.compress(b"\n".join(parts), mtime=0)
    return found


def _aad(name: str) -> bytes:
    return f"list {name}".encode()
