"""The sanity gate between an imported list and its use: what looks wrong waits for a person.

A list that is much larger or smaller than the one in use, older than it, past its life, without
the supplier's test plates, or with codes that nobody has mapped is *held*: the old list stays in
use, the file lies sealed in ``<home>/held/<id>``, and a named person accepts or refuses it with a
reason (:mod:`alprd.central.hotlists.acceptance`). Unmapped codes cannot be accepted, only mapped.

The report of a held import is sealed too: a file with shifted columns has plates where its codes
should be. Rules: R-460.4.1-b4, R-460.5.1-c5.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from sqlalchemy import Connection, Row, insert, select, update

from alprd.audit import Actor
from alprd.central.storage import db
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, InputError, StoreError
from alprd.records import Category, Closed, Name, Utc, new_id, normalise

Code = Literal["size", "older", "expired", "test_plates", "unmapped"]
State = Literal["waiting", "accepting", "activated", "refused", "superseded"]

OPEN: Final = ("waiting", "accepting")
"""States in which a person may decide; *accepting* remains when a decision was cut short."""
FOLDER: Final = "held"
KEPT_LINES: Final = 1000
KEPT_CODES: Final = 200
_CHUNK: Final = 1 << 20
_SEALED_CHUNK: Final = _CHUNK + 12 + 16
_PURPOSE: Final = "held lists"


class Finding(Closed):
    """One thing that looks wrong."""

    code: Code
    text: str

    @property
    def acceptable(self) -> bool:
        """Whether a person may let the list pass in spite of it."""
        return self.code != "unmapped"


class Candidate(Closed):
    """An imported list before it is used; numbers and codes, never a plate of an entry."""

    list_id: Name
    source: str
    layout: str
    supplied_at: Utc
    expires: Utc | None = None
    """End of use as the supplier declares it for the whole list, if he does."""
    entries: Annotated[int, Field(ge=0)]
    rejected: Annotated[int, Field(ge=0)]
    counts: dict[Category, int]
    unmapped: dict[str, int] = Field(default_factory=dict)
    """Entries by source code that the category map does not know."""
    seen_test_plates: frozenset[str] = frozenset()
    """Which of :func:`test_plates` were met in the file, also in rows that were set aside."""


class Held(Closed):
    """The report of a held import."""

    candidate: Candidate
    findings: tuple[Finding, ...]
    in_use: int | None
    """Entries of the list in use at that time."""
    lines: tuple[tuple[int, str], ...]
    """The first rejected lines: number and reason."""
    rejected_report: str = ""
    """Id of the report of each (:mod:`alprd.central.hotlists.rejections`); empty: none."""
    again: dict[str, Any]
    """What the importer needs, besides the file, to import it again."""


def test_plates(central: Central, list_id: str) -> frozenset[str]:
    """The plates, normalised, that every true delivery of this list must have."""
    return frozenset(
        normalise(plate) for plate in central.config.lists.test_plates.get(list_id, ())
    )


def judge(central: Central, tx: Connection, candidate: Candidate) -> tuple[Finding, ...]:
    """What looks wrong about a list, compared with the one in use; empty if nothing does."""
    settings, now = central.config.lists, central.clock()
    table = db.lists
    current = tx.execute(
        select(table.c.entries, table.c.supplied_at).where(table.c.list_id == candidate.list_id)
    ).one_or_none()
    found: list[Finding] = []

    def add(code: Code, text: str) -> None:
        found.append(Finding(code=code, text=text))

    if current is not None:
        change = candidate.entries - current.entries
        limit = settings.size_change * current.entries
        if abs(change) > limit and abs(change) >= settings.size_change_least:
            share = f" ({change / current.entries:+.0%})" if current.entries else ""
            add(
                "size",
                f"{candidate.entries} entries where the list in use has {current.entries}{share}; "
                f"more than {settings.size_change:.0%} is held",
            )
        if candidate.supplied_at < current.supplied_at:
            add(
                "older",
                f"supplied {candidate.supplied_at:%Y-%m-%dT%H:%M:%SZ}, the list in use "
                f"{current.supplied_at:%Y-%m-%dT%H:%M:%SZ}",
            )
    longest = timedelta(hours=central.config.policy.list_stop_hours)
    if candidate.expires is not None and candidate.expires <= now:
        add("expired", f"its supplier let it end on {candidate.expires:%Y-%m-%dT%H:%M:%SZ}")
    elif now - candidate.supplied_at > longest:
        hours = (now - candidate.supplied_at).total_seconds() / 3600
        most = central.config.policy.list_stop_hours
        add("expired", f"{hours:.0f} hours old: no car matches a list older than {most} hours")
    missing = test_plates(central, candidate.list_id) - candidate.seen_test_plates
    if missing:
        wanted = len(test_plates(central, candidate.list_id))
        add("test_plates", f"{len(missing)} of the supplier's {wanted} test plates are missing")
    if candidate.unmapped:
        entries = sum(candidate.unmapped.values())
        add(
            "unmapped",
            f"{entries} entries have one of {len(candidate.unmapped)} codes that are not mapped to "
            "a column of the public log",
        )
    return tuple(found)


def hold(
    central: Central,
    tx: Connection,
    candidate: Candidate,
    findings: Sequence[Finding],
    *,
    path: Path,
    again: Mapping[str, Any],
    actor: Actor,
    rejected: Sequence[tuple[int, str]] = (),
    rejected_report: str = "",
) -> str:
    """Keep an import back; the id under which a person decides about it.

    An earlier import of the same list that still waits is superseded and its file removed.

    Args:
        tx: the write transaction of the import.
        path: the file as it was given; a sealed copy is kept.
        again: JSON-able keyword arguments with which the import is done again on acceptance.
        rejected_report: id of the report of every rejected line.

    Raises:
        StoreError: the copy cannot be written; nothing is kept.
    """
    held_id, now = new_id(), central.clock()
    current = tx.scalar(select(db.lists.c.entries).where(db.lists.c.list_id == candidate.list_id))
    if len(candidate.unmapped) > KEPT_CODES:
        often = sorted(candidate.unmapped.items(), key=lambda item: -item[1])[:KEPT_CODES]
        candidate = candidate.model_copy(update={"unmapped": dict(often)})
    report = Held(
        candidate=candidate,
        findings=tuple(findings),
        in_use=current,
        lines=tuple(rejected[:KEPT_LINES]),
        rejected_report=rejected_report,
        again=dict(again),
    )
    _store(central, held_id, path)
    table = db.held_lists
    before = tx.scalars(
        select(table.c.id).where(table.c.list_id == candidate.list_id, table.c.state.in_(OPEN))
    ).all()
    for earlier in before:
        tx.execute(
            update(table).where(table.c.id == earlier).values(state="superseded", decided_at=now)
        )
    codes = ",".join(finding.code for finding in findings)
    tx.execute(
        insert(table).values(
            id=held_id,
            list_id=candidate.list_id,
            held_at=now,
            held_for=codes,
            state="waiting",
            sealed=seal(_key(central), report.model_dump_json().encode(), _aad(held_id)),
        )
    )
    central.trail.record(
        tx,
        Event.LIST_HELD,
        actor,
        at=now,
        subjects=[candidate.list_id],
        detail={
            "held": held_id,
            "findings": codes,
            "entries": candidate.entries,
            "in_use": -1 if current is None else current,
            "rejected": candidate.rejected,
        },
    )
    for earlier in before:
        forget(central, earlier)
    return held_id


def waiting(tx: Connection) -> tuple[Row[Any], ...]:
    """The held imports that wait for a decision, oldest first."""
    table = db.held_lists
    return tuple(tx.execute(select(table).where(table.c.state.in_(OPEN)).order_by(table.c.held_at)))


def report(central: Central, tx: Connection, held_id: str) -> tuple[Row[Any], Held]:
    """A held import and its report, also one that was decided.

    Raises:
        InputError: there is none with this id.
    """
    row = tx.execute(select(db.held_lists).where(db.held_lists.c.id == held_id)).one_or_none()
    if row is None:
        raise InputError(
            "there is no held import with this id", remedy="see `alprd-central lists held`"
        )
    return row, Held.model_validate_json(unseal(_key(central), row.sealed, _aad(held_id)))


def file_of(central: Central, held_id: str) -> Iterator[bytes]:
    """The held file in clear, chunk by chunk.

    Raises:
        StoreError: it is gone or cut short.
        EnvelopeError: it was altered.
    """
    key, path, number = _key(central), central.home / FOLDER / held_id, 0
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left or number == 0:
                sealed = file.read(_SEALED_CHUNK)
                left -= len(sealed)
                yield unseal(key, sealed, _aad(held_id, number, last=left == 0))
                number += 1
    except EnvelopeError:
        raise
    except OSError as error:
        raise StoreError(
            f"held file {held_id}: {error.strerror}", remedy="import the supplier's file again"
        ) from error


def forget(central: Central, held_id: str) -> None:
    """Remove the sealed file of a decided import; its report stays."""
    (central.home / FOLDER / held_id).unlink(missing_ok=True)


def _store(central: Central, held_id: str, source: Path) -> None:
    """A sealed copy: 1 MiB chunks, each bound to its place and the last one to the end."""
    key, folder = _key(central), central.home / FOLDER
    new = folder / f".{held_id}.new"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with (
            source.open("rb") as file,
            os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
        ):
            chunk, number = file.read(_CHUNK), 0
            while True:
                after = file.read(_CHUNK)
                out.write(seal(key, chunk, _aad(held_id, number, last=not after)))
                if not after:
                    break
                chunk, number = after, number + 1
            out.flush()
            os.fsync(out.fileno())
        new.replace(folder / held_id)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StoreError(
            f"{folder}: the held file cannot be kept: {error.strerror}",
            remedy="check free disk space, then import the file again",
        ) from error


def _key(central: Central) -> bytes:
    return central.keystore.purpose_key(_PURPOSE)


def _aad(held_id: str, number: int = -1, *, last: bool = False) -> bytes:
    place = "report" if number < 0 else f"{number} {'last' if last else 'more'}"
    return f"held {held_id} {place}".encode()


def age_hours(since: datetime, now: datetime) -> float:
    """Hours between two instants, to a tenth."""
    return round((now - since).total_seconds() / 3600, 1)
