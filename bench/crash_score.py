"""What a crash bench counts: the witness, the cars' databases and central against each other.

Nothing here runs anything. A *life* is one daemon process from its start to its kill; its witness
says which reads were committed. A commit whose line the kill swallowed may arrive without having
been witnessed: at most one for each camera of a killed life (*unwitnessed*).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from alprd.audit import FIRST, verify_chain
from alprd.errors import AuditError
from alprd.session import HEARTBEAT_S
from alprd.wire import AuditEvent, SessionRow
from bench.crash_world import Told

SLACK: Final = timedelta(seconds=2)
"""The car's disciplined clock may differ from the bench's by the delay of a GPS sentence, before
it is trusted and after."""
HEARTBEAT: Final = timedelta(seconds=60)
"""A power cut closes a session at its last heartbeat, at most this long before the cut."""


@dataclass(frozen=True, slots=True)
class Lived:
    """One life: when it was begun and killed, what the witness heard.

    ``signed_on`` says whether a sign-on was answered with success; ``closing`` whether the daemon
    or the deputy was ending the session as the kill came, so that either end is the truth.
    """

    car: str
    kind: str
    began: datetime
    ended: datetime
    signed_on: bool
    closing: bool
    killed: bool
    told: tuple[Told, ...]
    last_commit: datetime | None


@dataclass(frozen=True, slots=True)
class CarFacts:
    """A car's own database at the end."""

    name: str
    cameras: int
    sessions: Sequence[SessionRow]
    open_or_unsent: int
    ledger: Mapping[str, tuple[int, int, int]]
    """Session → committed, receipted, expired."""
    left: int
    """Reads still in the queue."""
    trail: Sequence[AuditEvent]


@dataclass(frozen=True, slots=True)
class CentralFacts:
    """Central's side at the end."""

    found: Sequence[Mapping[str, Any]]
    """Rows of a documented search: id, vehicle, session, plate, instant."""
    arrived: Mapping[str, tuple[str, str]]
    """Read id → vehicle, outcome."""
    sessions: Mapping[str, Sequence[SessionRow]]
    trails: Mapping[str, Sequence[AuditEvent]]
    own_trail: Sequence[AuditEvent]
    broken: int
    """How often central itself found a car's trail broken."""
    refused_again: int
    """Envelopes that came a second time and were receipted without being stored again."""


@dataclass(slots=True)
class Score:
    """The figures of a run; ``faults`` says in words what each wrong thing was."""

    kills: int = 0
    committed: int = 0
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    sessions_wrong: int = 0
    chain_breaks: int = 0
    max_ram_window_ms: float = 0.0
    ram_window_ms_p50: float = 0.0
    ram_window_ms_p95: float = 0.0
    unwitnessed: int = 0
    unexplained: int = 0
    ledger_off: int = 0
    sessions: int = 0
    audit_events: int = 0
    sent_again: int = 0
    max_end_before_kill_s: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every promise was kept."""
        wrong = (
            self.lost, self.duplicated, self.sessions_wrong, self.chain_breaks, self.unexplained,
            self.ledger_off,
        )  # fmt: skip
        return not any(wrong) and not self.faults


def score(lives: Sequence[Lived], cars: Sequence[CarFacts], central: CentralFacts) -> Score:
    """Compare the three sides."""
    result = Score(
        kills=sum(life.killed for life in lives),
        kinds=dict(Counter(life.kind for life in lives if life.killed)),
        sent_again=central.refused_again,
    )
    windows = sorted(told.ram_ms for life in lives for told in life.told)
    if windows:
        result.max_ram_window_ms = round(windows[-1], 1)
        result.ram_window_ms_p50 = round(statistics.median(windows), 1)
        result.ram_window_ms_p95 = round(windows[int(0.95 * (len(windows) - 1))], 1)
    _count_reads(result, lives, cars, central)
    for car in cars:
        own = [life for life in lives if life.car == car.name]
        _judge_sessions(result, own, car, central)
        _judge_trails(result, car, central)
    _break_of(result, "central's own trail", central.own_trail)
    if central.broken:
        result.chain_breaks += central.broken
        result.faults.append(f"central found a trail broken {central.broken} times")
    return result


def _count_reads(
    result: Score, lives: Sequence[Lived], cars: Sequence[CarFacts], central: CentralFacts
) -> None:
    witnessed = {told.id for life in lives for told in life.told}
    result.committed = len(witnessed)
    stored = {name for name, (_, outcome) in central.arrived.items() if outcome == "stored"}
    found = [row["id"] for row in central.found]
    held = stored & set(found)
    result.received = len(held)
    result.lost = len(witnessed - held)
    if result.lost:
        result.faults.append(f"lost: {', '.join(sorted(witnessed - held)[:5])}")
    # A pass that was stored twice under two ids would show as one plate at one instant.
    again = Counter((row["vehicle"], row["plate"], row["instant"]) for row in central.found)
    doubled = sum(n - 1 for n in again.values())
    result.duplicated = max(len(found) - len(set(found)), doubled)
    result.unwitnessed = len(held - witnessed)
    for car in cars:
        committed = sum(counts[0] for counts in car.ledger.values())
        receipted = sum(counts[1] for counts in car.ledger.values())
        here = sum(vehicle == car.name for vehicle, _ in central.arrived.values())
        off = abs(committed - receipted) + abs(committed - here) + car.left
        if off:
            result.ledger_off += off
            result.faults.append(
                f"{car.name}: ledger {committed} committed, {receipted} receipted, {car.left} "
                f"left; {here} arrived"
            )


def _judge_sessions(
    result: Score, lives: Sequence[Lived], car: CarFacts, central: CentralFacts
) -> None:
    """A session for each life with a sign-on, in their order, each with a true end."""
    rows = sorted(car.sessions, key=lambda row: row.started)
    expected = sorted((life for life in lives if life.signed_on), key=lambda life: life.began)
    there = {row.id: row for row in central.sessions.get(car.name, ())}
    result.sessions += len(rows)
    complaints: list[str] = []
    if len(rows) != len(expected) or len(there) != len(rows) or car.open_or_unsent:
        complaints.append(
            f"{len(expected)} sign-ons, {len(rows)} sessions, {len(there)} at central, "
            f"{car.open_or_unsent} open or unsent"
        )
    arrived = Counter(row["session"] for row in central.found)
    for life, row in zip(expected, rows, strict=False):
        wrong = _wrong_end(life, row)
        if there.get(row.id) != row:
            wrong.append("central has another row")
        committed = car.ledger.get(row.id, (0, 0, 0))[0]
        if not row.queued == committed == arrived[row.id]:
            wrong.append(f"queued {row.queued}, ledger {committed}, arrived {arrived[row.id]}")
        if row.plates_read < row.queued or row.distinct_plates > row.plates_read:
            wrong.append(f"{row.plates_read} plates read, {row.queued} queued")
        unseen = row.queued - len(life.told)
        if not 0 <= unseen <= (car.cameras if life.killed else 0):
            result.unexplained += abs(unseen)
            wrong.append(f"{unseen} reads that no witness saw")
        if row.end_reason == "power_lost":
            before = (life.ended - row.ended).total_seconds()
            result.max_end_before_kill_s = round(max(result.max_end_before_kill_s, before), 1)
        if wrong:
            complaints.append(f"{life.kind} {row.id}: {'; '.join(wrong)}")
    result.sessions_wrong += len(complaints)
    result.faults += [f"{car.name}: {words}" for words in complaints]


def _wrong_end(life: Lived, row: SessionRow) -> list[str]:
    """What is untrue about a session's begin and end."""
    wrong = []
    true_ends = {"power_lost"} if life.killed else {"stopped", "signed_off"}
    if life.closing:
        true_ends = {"power_lost", "stopped", "signed_off"}
    if row.end_reason not in true_ends:
        wrong.append(f"ended as {row.end_reason}")
    if not life.began - SLACK <= row.started <= row.ended <= life.ended + SLACK:
        wrong.append(f"{row.started} to {row.ended}, lived {life.began} to {life.ended}")
    if row.end_reason == "power_lost" and life.ended - row.ended > HEARTBEAT:
        wrong.append(f"ended {life.ended - row.ended} before the kill")
    # A cut session ends at its last heartbeat, so a read of the moment after lies behind its end.
    beat = timedelta(seconds=HEARTBEAT_S + 1) if row.end_reason == "power_lost" else timedelta(0)
    if life.last_commit is not None and row.ended < life.last_commit - beat - SLACK:
        wrong.append(f"ended {row.ended}, before its last read")
    return wrong


def _judge_trails(result: Score, car: CarFacts, central: CentralFacts) -> None:
    """Both ends whole, and central's a beginning of the car's."""
    there = central.trails.get(car.name, ())
    result.audit_events += len(car.trail)
    whole = _break_of(result, f"{car.name}'s trail", car.trail)
    whole &= _break_of(result, f"{car.name}'s trail at central", there)
    if whole and [e.digest for e in there] != [e.digest for e in car.trail[: len(there)]]:
        result.chain_breaks += 1
        result.faults.append(f"{car.name}: central's trail is not the car's")
    if not there:
        result.chain_breaks += 1
        result.faults.append(f"{car.name}: central holds no trail")


def _break_of(result: Score, whose: str, events: Iterable[AuditEvent]) -> bool:
    try:
        verify_chain(events, previous=FIRST, seq=0)
    except AuditError as error:
        result.chain_breaks += 1
        result.faults.append(f"{whose}: {error.message}")
        return False
    return True
