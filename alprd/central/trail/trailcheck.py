"""Check the whole trail: every chain by itself, against its head, and against the anchors (R-AT-3).

Names the first place where a chain is broken, and up to which event an anchor still vouches for it.

A restore of a backup loses events that an anchor may tell of. Its own event says how far the trail
of the backup went, so they are told as lost, each time, and not as a break. A car sends its lost
ones again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from alprd.audit import FIRST, digest
from alprd.central.staff import notices, people
from alprd.central.staff.permissions import Act
from alprd.central.storage import db, trailheads
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.store import Central
from alprd.central.trail import anchors
from alprd.central.trail.anchors import Anchor, Chain
from alprd.crypto import sha256_hex
from alprd.errors import AuditError
from alprd.wire import AuditEvent, Person


@dataclass(slots=True)
class ChainResult:
    """What was found of one chain."""

    chain: str
    events: int = 0
    problem: str = ""
    """The first broken place, in words; empty when the chain is whole."""
    at: int = 0
    """Number of the first event that is wrong."""
    anchored: int = 0
    """Events that an anchor vouches for, up to the first broken place."""
    anchor_day: str = ""
    lost: str = ""
    """Events that an anchor tells of and a restore lost, in words."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A restore that the trail tells of."""

    at: datetime
    events: int
    """Events of central's own chain that the backup had."""


@dataclass(slots=True)
class Result:
    """What was found of the whole trail."""

    chains: list[ChainResult] = field(default_factory=list)
    anchors: int = 0
    anchor_problem: str = ""
    apart: bool = True
    """Whether the anchors lie in another place than the home folder."""

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.anchor_problem and not any(one.problem for one in self.chains)

    @property
    def events(self) -> int:
        """Events of central's own chain."""
        return next((c.events for c in self.chains if c.chain == trailheads.CENTRAL_CHAIN), 0)

    @property
    def problems(self) -> list[str]:
        """Every finding in words, the chain named."""
        found = [f"{one.chain}: {one.problem}" for one in self.chains if one.problem]
        return [self.anchor_problem, *found] if self.anchor_problem else found

    @property
    def lost(self) -> list[str]:
        """What restores lost of chains, in words."""
        return [f"{one.chain}: {one.lost}" for one in self.chains if one.lost]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "events": self.events,
            "whole": self.whole,
            "anchors": self.anchors,
            "anchors_apart": self.apart,
            "problems": self.problems,
            "lost": self.lost,
            "chains": [
                {name: getattr(one, name) for name in one.__dataclass_fields__}
                for one in self.chains
            ],
        }


def verify(central: Central, key: str = "") -> Result:
    """Check everything; findings are in the result, not raised.

    Args:
        key: the public key of the anchors as it was kept elsewhere; by default the keystore's.
    """
    result = Result(apart=anchors.apart(central))
    seen = _anchors(central, key, result)
    with central.database.read() as tx:
        names = trailheads.names(tx) | {one.chain for anchor in seen for one in anchor.chains}
        restores = _restores(tx)
        for name, rows in _rows(tx):
            result.chains.append(_check(central, tx, name, rows, seen, restores))
            names.discard(name)
        for name in sorted(names):  # of which not one event is left
            result.chains.append(_check(central, tx, name, [], seen, restores))
    return result


def checked(central: Central, person: Person | None = None, key: str = "") -> Result:
    """Check everything and record that it was done; a broken trail is told to the supervisor.

    Raises:
        RefusedError: the role.
    """
    now = central.clock()
    if person is not None:
        people.require(person, Act.TRAIL_SEE, now)
    result = verify(central, key)
    with central.database.write() as tx:
        if not result.whole:
            day = now.date().isoformat()
            notices.add_once(tx, "trail_broken", at=now, subject=day)
        central.trail.record(
            tx,
            Event.TRAIL_VERIFIED,
            people.actor(person) if person else CENTRAL,
            at=now,
            detail={
                "whole": result.whole,
                "events": result.events,
                "anchors": result.anchors,
                "first_problem": result.problems[0][:200] if result.problems else "",
                "alarm": not result.whole,
            },
        )
    return result


def _anchors(central: Central, key: str, result: Result) -> list[Anchor]:
    """The anchors, as far as they follow one another."""
    seen: list[Anchor] = []
    before = anchors.FIRST
    try:
        for path, anchor in anchors.every(central, key):
            if anchor.number != len(seen) + 1 or anchor.previous != before:
                result.anchor_problem = f"an anchor is missing before that of {anchor.day}"
                break
            seen.append(anchor)
            before = sha256_hex(path.read_bytes())
    except AuditError as error:
        result.anchor_problem = error.message
    result.anchors = len(seen)
    with central.database.read() as tx:
        told = select(db.audit.c.seq).where(db.audit.c.event == Event.ANCHORED.value)
        number = len(tx.execute(told).all())
    if number > len(seen) and not result.anchor_problem:
        result.anchor_problem = f"{number - len(seen)} anchor(s) that the trail tells of are gone"
    return seen


def _rows(tx: Connection) -> Iterator[tuple[str, list[Any]]]:
    yield trailheads.CENTRAL_CHAIN, list(tx.execute(select(db.audit).order_by(db.audit.c.seq)))
    cars: dict[str, list[Any]] = {}
    table = db.car_events
    for row in tx.execute(select(table).order_by(table.c.enrolment, table.c.seq)):
        cars.setdefault(trailheads.car_chain(row.vehicle, row.enrolment), []).append(row)
    yield from cars.items()


def _check(
    central: Central,
    tx: Connection,
    name: str,
    rows: list[Any],
    seen: list[Anchor],
    restores: list[Restore],
) -> ChainResult:
    result = ChainResult(name)
    previous, digests = FIRST, [FIRST]
    for row in rows:
        number = result.events + 1
        problem = _wrong(row, number, previous)
        if problem:
            result.problem, result.at = problem, number
            break
        previous = row.digest
        digests.append(previous)
        result.events = number
    for anchor in seen:
        told = next((one for one in anchor.chains if one.chain == name), None)
        if told is None:
            continue
        if _lost(result, told, len(digests), anchor, restores):
            continue
        if told.events < len(digests) and digests[told.events] == told.digest:
            result.anchored, result.anchor_day = told.events, anchor.day
        elif told.events < len(digests):
            result.problem = (
                f"event {told.events} is not the one of the anchor of {anchor.day}; something "
                f"after event {result.anchored} was rewritten"
            )
            result.at = result.anchored + 1
            break
        else:
            result.problem = result.problem or (
                f"events {len(digests)} to {told.events} of the anchor of {anchor.day} are missing"
            )
            result.at = result.at or len(digests)
            break
    if not result.problem:
        result.problem = trailheads.problem(central.keystore, tx, name, result.events, digests[-1])
        result.at = result.events + 1 if result.problem else 0
    return result


def _restores(tx: Connection) -> list[Restore]:
    table = db.audit
    query = select(table.c.document).where(table.c.event == Event.RESTORED.value)
    found = []
    for document in tx.scalars(query.order_by(table.c.seq)):
        try:
            event = AuditEvent.model_validate_json(document)
        except ValueError:
            continue  # told by the check of its chain
        had = event.detail.get("trail")
        if isinstance(had, int):
            found.append(Restore(event.at, had))
    return found


def _lost(
    result: ChainResult, told: Chain, length: int, anchor: Anchor, restores: list[Restore]
) -> bool:
    """Whether an anchor tells of events that a later restore lost; noted then.

    Args:
        length: digests known of the chain, its beginning included.
    """
    after = [one for one in restores if one.at >= anchor.at]
    if result.chain == trailheads.CENTRAL_CHAIN:
        kept = min((one.events for one in after), default=told.events)
        if told.events <= kept:
            return False
        what = f"events {kept + 1} to {told.events}"
    else:
        if not after or told.events < length:
            return False
        what = f"events {length} to {told.events}, until the car sends them again,"
    result.lost = f"{what} of the anchor of {anchor.day} were lost with a restore"
    return True


def _wrong(row: Any, number: int, previous: str) -> str:
    """What is wrong with a row; empty when nothing is."""
    try:
        event = AuditEvent.model_validate_json(row.document)
    except ValueError:
        return f"event {number} cannot be read"
    if row.seq != number:
        return f"event {number} is missing"
    if event.seq != number or event.previous != previous:
        return f"event {number} does not follow event {number - 1}"
    if digest(event.model_dump(mode="json")) != event.digest or row.digest != event.digest:
        return f"event {number} was altered"
    beside = row._mapping
    for column, value in (("at", event.at), ("event", event.event), ("actor", event.actor)):
        if column in beside and beside[column] != value:
            return f"event {number} was altered beside its document ({column})"
    return ""
