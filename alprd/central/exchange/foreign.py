"""Imports of reads from another agency, or from a private source (R-460.5-3, R-13.824-1-1).

The clock runs from the original collection, never from the receipt. What is past its life is
refused, unless a link to a named case was approved for this very package: then it comes under that
link at once, with a key of the link beside that of its hour (R-460.5-5). Everything else is as with
a car: closed schema, second-line suppression, pending holds, classification, trail.

A package is taken in parts, each one transaction with its event; a run that was cut off is repeated
and finds what it has. The name of a read here is a keyed digest of sender and sender's id, so a
package that comes twice doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Connection, insert, select, update

from alprd.central.exchange.foreignpackage import Head, Package, Parsed
from alprd.central.records import cases, exemptions, holds, ledger, protected
from alprd.central.records.exemptions import Exemption
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, partitions, vault
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import mac
from alprd.central.storage.store import Central
from alprd.central.storage.transfer_tables import transfers
from alprd.errors import InputError, RefusedError
from alprd.records import MAX_LIFE, Read, destroy_by, hour_floor
from alprd.wire import Person

Outcome = Literal["stored", "known", "refused"]
PART: Final = 25
"""Reads of one transaction: with the largest pictures that the format allows, some 200 MB."""
_AHEAD: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one line."""

    line: int
    outcome: Outcome
    reason: str = ""


@dataclass(slots=True)
class Report:
    """What became of a package."""

    transfer: str
    sender: str
    reference: str
    lines: list[Told] = field(default_factory=list)
    linked: int = 0
    """Reads that went under the case link at once."""

    def count(self, outcome: Outcome) -> int:
        """How many lines ended so."""
        return sum(one.outcome == outcome for one in self.lines)


def head(path: Path) -> tuple[Head, str]:
    """What a package says of itself, and its SHA-256; nothing is taken in.

    Raises:
        InputError: not a package.
    """
    with Package(path) as package:
        return package.head, package.sha256


def ask_link(
    central: Central, person: Person, path: Path, *, case: str, relation: str
) -> Exemption:
    """Ask for a link of a package's older reads to a case; another person approves it.

    Approved as any other link (:func:`alprd.central.records.cases.approve`); then give its id to
    :func:`take`.

    Raises:
        RefusedError: the role.
        InputError: not a package, or no case number.
    """
    said, sha256 = head(path)
    return cases.ask_for_package(
        central,
        person,
        case=case,
        relation=relation,
        package=sha256,
        origin=f"{said.sender}, {said.reference}",
    )


def take(
    central: Central,
    person: Person,
    path: Path,
    *,
    link: str = "",
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Take a package in.

    Args:
        link: an approved link for this package, for what is past its life.
        progress: called with the number of lines that are done.

    Raises:
        RefusedError: the role, or a link that is not live or of another package.
        InputError: not a package of the format; nothing was taken in.
        StoreError: the store is full or gone; repeat it, what is done is found.
    """
    now = central.clock()
    try:
        people.require(person, Act.TRANSFER_IMPORT, now)
        return _take(central, person, path, link, progress, now)
    except RefusedError as error:
        with central.database.write() as tx:
            central.trail.record(
                tx,
                Event.TRANSFER_REFUSED,
                people.actor(person),
                at=now,
                detail={"reason": error.reason},
            )
        raise


def _take(
    central: Central,
    person: Person,
    path: Path,
    link: str,
    progress: Callable[[int], None] | None,
    now: datetime,
) -> Report:
    with Package(path) as package:
        if package.head.made > now + _AHEAD:
            raise InputError("the package was made in the future")
        transfer = _id(central, "transfer", package.head.sender, package.sha256)
        report = Report(transfer, package.head.sender, package.head.reference)

        def name_of(foreign: str) -> str:
            return _id(central, "read", package.head.sender, foreign)

        seen: set[str] = set()
        lines = package.lines(name_of, transfer)
        while part := tuple(islice(lines, PART)):
            with central.database.write() as tx:
                _part(central, tx, person, package, report, part, link, seen)
            if progress:
                progress(len(report.lines))
        if not report.lines:
            raise InputError("the package has no line")
    return report


def register(central: Central, person: Person) -> list[dict[str, Any]]:
    """Every transfer, newest first; the look is recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.TRANSFERS_SEE, now)
    with central.database.write() as tx:
        rows = tx.execute(
            select(transfers).order_by(transfers.c.received_at.desc(), transfers.c.id)
        ).all()
        central.trail.record(
            tx,
            Event.TRANSFERS_VIEWED,
            people.actor(person),
            at=now,
            detail={"transfers": len(rows)},
        )
    return [dict(row._mapping) for row in rows]


def _part(
    central: Central,
    tx: Connection,
    person: Person,
    package: Package,
    report: Report,
    part: tuple[Parsed, ...],
    link: str,
    seen: set[str],
) -> None:
    """One part: judge, then keys, rows, pictures, links, register and trail together."""
    now = central.clock()
    row = _link(central, tx, link, package) if link else None
    fresh: list[tuple[Read, datetime]] = []
    for parsed in part:
        outcome: Outcome = "refused"
        reason = parsed.reason
        if parsed.read is not None:
            outcome, reason = _judge(central, tx, parsed.read, row, now, seen)
            if outcome == "stored":
                fresh.append((parsed.read, destroy_by(parsed.read.instant, central.life)))
        report.lines.append(Told(parsed.number, outcome, reason))
    kept = _store(central, tx, fresh, report.transfer, row, now)
    report.linked += len(kept)
    _register(tx, person, package, report, link, now)
    central.trail.record(
        tx,
        Event.TRANSFER_IMPORTED,
        people.actor(person),
        at=now,
        subjects=[report.transfer, *(read.id for read, _ in fresh)],
        detail={
            "sender": report.sender,
            "reference": report.reference,
            "sha256": package.sha256,
            "lines": len(part),
            "stored": len(fresh),
            "linked": len(kept),
            "case": row.number if row else "",
        },
    )


def _judge(
    central: Central,
    tx: Connection,
    read: Read,
    row: Exemption | None,
    now: datetime,
    seen: set[str],
) -> tuple[Outcome, str]:
    if read.id in seen:
        return "refused", "the package names this read twice"
    seen.add(read.id)
    if read.instant > now + _AHEAD:
        return "refused", "collected in the future"
    held = tx.execute(select(db.reads).where(db.reads.c.id == read.id)).one_or_none()
    if held is not None:
        key = exemptions.current_keys(central, tx, [read.id]).get(read.id)
        cell = vault.open_cell(held, key) if key is not None else None
        if cell is not None and (cell.plate, cell.instant) != (read.plate, read.instant):
            return "refused", "this id came before with another plate or instant"
        return "known", ""
    end = destroy_by(read.instant, central.life)
    if end <= now and row is None:
        return "refused", f"older than {central.life.days or MAX_LIFE.days} days and not linked"
    return "stored", ""


def _store(
    central: Central,
    tx: Connection,
    fresh: list[tuple[Read, datetime]],
    transfer: str,
    row: Exemption | None,
    now: datetime,
) -> list[str]:
    """Keys, then rows and pictures, then links and holds; the ids that the link keeps."""
    if not fresh:
        return []
    private = protected.suppressed_folds(central, tx)
    pending = holds.pending(central, tx)
    made = central.keystore.new_read_keys([(r.id, hour_floor(r.instant)) for r, _ in fresh])
    partitions.ensure(tx, "reads", (hour_floor(read.instant) for read, _ in fresh))
    pictures: dict[str, bytes] = {}
    held: dict[str, tuple[bytes, tuple[str, ...]]] = {}
    linked: dict[str, bytes] = {}
    for read, end in fresh:
        read_key, hour_key = made[read.id]
        void = not private.isdisjoint(vault.folds(read.plate))
        if void:
            size = len(read.plate_picture) + len(read.wide_picture or b"")
            sealed = vault.seal_void(read.id, size, read_key)
        else:
            sealed = vault.seal_read(read, read_key, hour_key)
            names = holds.matching(pending, read, end)
            if names:
                held[read.id] = (read_key, names)
        pictures[read.id] = sealed.pictures
        tx.execute(
            insert(db.reads).values(
                vault.row_values(
                    read,
                    sealed,
                    vehicle=f"import-{transfer[:12]}",
                    hour=hour_floor(read.instant),
                    destroy_by=end,
                )
            )
        )
        if end <= now:
            linked[read.id] = read_key
    ledger.note(tx, [(hour_floor(r.instant), f"import-{transfer[:12]}") for r, _ in fresh])
    central.objects.put("pictures", pictures)
    holds.take_arrivals(central, tx, held)
    if row is not None and linked:
        exemptions.take_in(central, tx, row.id, linked)
        exemptions.classify(tx, linked)
    return list(linked)


def _link(central: Central, tx: Connection, link: str, package: Package) -> Exemption:
    row = exemptions.find(central, tx, link, "case")
    if row.state != "active":
        raise RefusedError(f"the link is {row.state}", reason="link_not_active")
    if row.package != package.sha256:
        raise RefusedError(
            "the link was approved for another package",
            reason="wrong_package",
            remedy="ask for a link of this package, and have it approved",
        )
    return row


def _register(
    tx: Connection, person: Person, package: Package, report: Report, link: str, now: datetime
) -> None:
    mine = transfers.c.id == report.transfer
    values = {
        "stored": report.count("stored"),
        "known": report.count("known"),
        "refused": report.count("refused"),
    }
    before = tx.execute(select(transfers).where(mine)).one_or_none()
    if before is None:
        tx.execute(
            insert(transfers).values(
                id=report.transfer,
                sender=report.sender,
                reference=report.reference,
                terms=package.head.terms,
                received_at=now,
                received_by=person.id,
                sha256=package.sha256,
                exemption=link,
                **values,
            )
        )
        return
    values["stored"] = max(values["stored"], before.stored)
    tx.execute(update(transfers).where(mine).values(exemption=link or before.exemption, **values))


def _id(central: Central, kind: str, sender: str, name: str) -> str:
    """A name here that tells nothing of the sender's, and is the same every time."""
    key = central.keystore.purpose_key("foreign ids")
    return mac(key, f"{kind}\n{sender.strip().lower()}\n{name}".encode()).hex()[:32]


def each(report: Report) -> Iterator[str]:
    """The report in words, a line each."""
    for one in report.lines:
        if one.outcome != "stored":
            yield f"line {one.line}: {one.outcome}{': ' + one.reason if one.reason else ''}"
