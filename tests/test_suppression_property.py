"""What a protected plate leaves: nothing, and no figure from which it could be told.

The parts are the car's own: collector, queue, session, board with its journal, held hits. Lists,
suppressions and passes come in any order; after each step everything that lies on the disk, stands
on the board, was logged or is ready to be sent is opened with every key there is.
"""

from __future__ import annotations

import gzip
import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_collect import KEY, SUPPRESSION_KEY, _targets, events, reading

from alprd.alerts import AlertBoard
from alprd.audit import DAEMON, Actor
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector
from alprd.crypto import decrypt_target, open_read
from alprd.custody import HeldAlerts
from alprd.errors import EnvelopeError
from alprd.frames import PlateReading
from alprd.hotlist import Matcher, load_hotlist
from alprd.lives import Lives
from alprd.mark import PurgeClock
from alprd.records import fold
from alprd.session import SessionKeeper
from alprd.settling import Settling
from alprd.shiftstore import ShiftStore
from alprd.store import Store
from alprd.suppress import CRIMINAL, SuppressionSet, plate_digest
from alprd.targets import TargetSet
from alprd.wire import Hotlist, HotlistEntry

LOCAL: Final = bytes(range(32))
CATEGORY: Final = {
    "STL417": "stolen", "SUS417": "owner_suspended_revoked", "WNT238": "other_lpdf",
}  # fmt: skip
PLATES: Final = (*CATEGORY, "ZQX664", "8BC33B")
READ_AS: Final = (*PLATES, "5TL4I7", "BBC338", "WNTZ38")
"""The plates, and look-alikes of some."""
PERSON: Final = Actor("p1", "Invented Person", "operator")


def _list(listed: Sequence[str], now: datetime) -> bytes:
    entries = [
        HotlistEntry.model_validate(
            {
                "id": f"entry-{CATEGORY[plate]}", "plate": plate, "state": "MN",
                "plate_type": None, "category": CATEGORY[plate], "priority": "high",
                "text": "invented entry",
            }
        )
        for plate in listed
    ]  # fmt: skip
    header = Hotlist.model_validate(
        {
            "list_id": "lpdf", "source": "LPDF", "version": "1", "supplied_at": now,
            "entries": len(entries), "counts": Counter(CATEGORY[plate] for plate in listed),
        }
    )  # fmt: skip
    return gzip.compress(b"\n".join(i.model_dump_json().encode() for i in (header, *entries)))


class Lines(logging.Handler):
    """Every line that any part logs."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@dataclass(frozen=True)
class Kept:
    """One thing of a plate that was found outside the collector's RAM."""

    where: str
    text: str


class World:
    """One car without cameras: passes are put to its real collector."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = DisciplinedClock()
        self.store = Store(folder / "queue.db", now=self.clock.now, device="car-1")
        self.sessions = SessionKeeper(self.store, reader="1", now=self.clock.now)
        self.journal = ShiftStore(self.store, (LOCAL, True))
        self.board = AlertBoard(self.store, journal=self.journal)
        self.held = HeldAlerts(self.store, self.board, folder=folder / "held", key=(LOCAL, True))
        self.base = _targets(self.clock)
        self.targets: TargetSet = self.base
        self.protected: frozenset[str] = frozenset()
        self.listed: frozenset[str] = frozenset(CATEGORY)
        self.log = Lines()
        logging.getLogger("alprd").setLevel(1)  # also what a service would not print
        self.edit(self.protected, self.listed)
        self.collector = Collector(
            store=self.store, sessions=self.sessions, board=self.board, clock=self.clock,
            positions=PositionTrack(), lives=Lives(self.store, self.clock, PurgeClock(self.clock)),
            targets=lambda: self.targets, agency="becker", vehicle="car-1", held=self.held,
        )  # fmt: skip
        self.sessions.open(DAEMON, purpose="stolen_vehicles", policy_version="460", databases=[])
        logging.getLogger("alprd").addHandler(self.log)
        self.passes = 0

    def close(self) -> None:
        logging.getLogger("alprd").removeHandler(self.log)
        self.store.close()

    def edit(self, protected: frozenset[str], listed: frozenset[str]) -> None:
        """Put new suppressions and lists in force, as the daemon does."""
        self.protected, self.listed = protected, listed
        loaded = [load_hotlist(_list(sorted(listed), self.clock.now()[0]))] if listed else []
        digests = [plate_digest(SUPPRESSION_KEY, plate).hex() for plate in protected]
        self.targets = replace(
            self.base,
            matcher=Matcher(loaded, self.base.policy),
            suppression=SuppressionSet(digests, SUPPRESSION_KEY),
        )
        self.board.reconsider(self.targets.suppression)
        self.held.reconsider(self.targets, self.clock.now()[0])

    def drive_by(self, *steps: tuple[str, PlateReading | None]) -> None:
        self.passes += 1
        for event in events(*steps, pass_id=f"{self.passes:032x}"):
            self.collector.handle(event)

    def covered(self, text: str) -> bool:
        return fold(text) in {fold(plate) for plate in self.protected}

    def sent(self) -> list[Kept]:
        """What is ready to go to central, opened with its keys."""
        claimed = self.store.claim(999, 10**9, 60.0)
        self.store.release([item.id for item in claimed])
        return [Kept("queue", open_read(item.envelope, KEY).plate.text) for item in claimed]

    def local(self) -> list[Kept]:
        """What lies under the local alert key."""
        found: list[Kept] = []
        sealed = [
            (f"shift-{name}", data)
            for name, data in self.store.rows("SELECT id, CAST(sealed AS BLOB) FROM shift")
        ]
        sealed += [
            (f"held-{path.name}", path.read_bytes().split(b"\n", 1)[1])
            for path in (self.folder / "held").glob("*")
        ]
        for name, data in sealed:
            try:
                plain = decrypt_target(data, name=name, key=LOCAL).decode(errors="replace")
            except EnvelopeError:
                continue
            found += [Kept(name, text) for text in READ_AS if text in plain]
        return found

    def bare(self) -> list[Kept]:
        """Plate texts in clear, anywhere on the disk or in the log."""
        texts = {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        texts["log"] = "\n".join(self.log.lines).encode()
        return [Kept(at, t) for at, data in texts.items() for t in READ_AS if t.encode() in data]

    def screen(self) -> list[tuple[str, str]]:
        """Texts and categories that stand on the board."""
        cards = self.board.snapshot()
        told = [(view.reading.text, view.match.entry.category) for view in cards]
        return told + [(view.corrected_from, "") for view in cards if view.corrected_from]


STEPS: Final = st.one_of(
    st.tuples(
        st.just("edit"),
        st.frozensets(st.sampled_from(PLATES), max_size=4),
        st.frozensets(st.sampled_from(sorted(CATEGORY))),
    ),
    st.tuples(
        st.just("pass"),
        st.lists(st.sampled_from(READ_AS), min_size=1, max_size=3),
        st.booleans(),
    ),
    st.tuples(st.just("hold"), st.booleans(), st.none()),
)


@pytest.mark.policy("R-460.5-b2", "R-460.5-b3", "R-460.5-b4")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=4, max_size=10))
def test_no_order_of_edits_and_passes_lets_a_protected_plate_out(
    steps: list[tuple[str, Any, Any]],
) -> None:
    """R-460.5-b2, -b3, -b4: disk, log, screen and what is sent, but for the alerts of b3."""
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        expected: list[str] = []
        try:
            for kind, first, second in steps:
                if kind == "edit":
                    world.edit(first, second)
                elif kind == "hold":
                    world.held.holding = first
                    if not first:
                        world.held.release(world.targets, world.clock.now()[0], PERSON)
                else:
                    looks = [reading(text, sure=second) for text in first]
                    kinds = ["early", *["corrected"] * (len(looks) - 2), "final"]
                    world.drive_by(*zip(kinds[-len(looks) :], looks, strict=True))
                    if not any(world.covered(text) for text in first):
                        expected.append(first[-1])
                assert Counter(kept.text for kept in world.sent()) == Counter(expected)
                assert not [kept for kept in world.local() if world.covered(kept.text)]
                assert world.bare() == []
                for text, category in world.screen():
                    assert not world.covered(text) or category in CRIMINAL
        finally:
            world.close()


@pytest.mark.policy("R-460.5-b3", "R-460.5-b4")
def test_clearing_the_alert_of_a_protected_plate_writes_nothing_of_it() -> None:
    """R-460.5-b3: it does not alarm again while the daemon runs; the disk never learns of it."""
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        try:
            world.edit(frozenset({"STL417"}), frozenset(CATEGORY))
            world.board.begin_shift(PERSON.id)
            settling = Settling(world.board, on_misread=lambda session: None)
            for plate in ("STL417", "WNT238"):
                world.drive_by(("final", reading(plate)))
            for card in world.board.snapshot():
                settling.look(card.id, PERSON, agrees=True)
                settling.verify(
                    card.id, PERSON, result="cleared", reason="owner_identified", reference="LEDS 1"
                )
            assert {one.text for one in world.board.shift.cleared.values()} == {"STL417", "WNT238"}
            kept = {item.text for item in world.local()}
            assert kept == {"WNT238"}
            assert world.bare() == []
        finally:
            world.close()


def _figures(world: World) -> dict[str, object]:
    """Every figure of this car that anybody can see, and every size that a thief can."""
    row = world.sessions.row()
    assert row is not None
    world.store.heartbeat(row)
    trail = world.store.audit_events()
    return {
        "session": row.model_dump(exclude={"id", "started", "ended"}),
        "pending": world.store.pending(),
        "ledger": world.store.ledger(),
        "pages": list(world.store.rows("PRAGMA page_count")),
        "free pages": list(world.store.rows("PRAGMA freelist_count")),
        "trail": [(one.seq, one.event, one.detail) for one in trail],
        "screen": world.screen(),
        "log": world.log.lines,
        "files": sorted((p.name, p.stat().st_size) for p in world.folder.rglob("*.db")),
        "held": len(list((world.folder / "held").glob("*"))),
    }


@pytest.mark.policy("R-460.5-b4", "R-460.5.1-b1")
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(("SUS417", "ZQX664", "STL417", "8BC33B")), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_suppressed_pass_changes_every_figure_as_one_without_text_does(
    plates: list[str], told_early: bool
) -> None:
    """R-460.5-b4: two cars that differ only in this have the same figures, the trail included."""
    hidden = frozenset(("SUS417", "ZQX664"))
    figures = []
    for blind in (False, True):
        with tempfile.TemporaryDirectory() as name:
            world = World(Path(name))
            try:
                world.edit(hidden, frozenset(CATEGORY))
                for plate in plates:
                    if plate in hidden and blind:
                        world.drive_by(("final", None))
                    elif told_early:
                        world.drive_by(("early", reading(plate)), ("final", reading(plate)))
                    else:
                        world.drive_by(("final", reading(plate)))
                figures.append(_figures(world))
            finally:
                world.close()
    assert figures[0] == figures[1]


@pytest.mark.policy("R-460.5-b3", "R-460.5-b4")
@pytest.mark.parametrize("misread", [False, True])
def test_the_alert_of_a_protected_plate_counts_as_another_plates_would(misread: bool) -> None:
    """R-460.5-b4: by subtraction inside the agency: alerts of the trail against matches of the row.

    Two cars: the alert of one is of a protected plate, that of the other is not, and beside it
    passes a plate that gave no text. But for the read that is kept, every figure is the same.
    """
    counted = []
    for protected in (True, False):
        with tempfile.TemporaryDirectory() as name:
            world = World(Path(name))
            try:
                hidden = frozenset({"STL417"} if protected else {"SUS417"})
                world.edit(hidden, frozenset(CATEGORY))
                settling = Settling(world.board, on_misread=world.sessions.count_misread)
                world.drive_by(("final", reading("ZQX664") if protected else None))
                world.drive_by(("final", reading("STL417")))
                [card] = world.board.snapshot()
                if misread:
                    settling.misread(card.id, PERSON)
                figures = _figures(world)
                names = ("session", "trail", "screen", "pending", "held")
                counted.append({one: figures[one] for one in names})
            finally:
                world.close()
    assert counted[0] == counted[1]
    session = counted[0]["session"]
    assert isinstance(session, dict)
    assert session["matches"] == {"stolen": 1} and session["marked_misread"] == int(misread)


@pytest.mark.policy("R-460.5-b3", "R-460.5-b4")
def test_a_match_that_no_other_plate_could_be_is_not_counted() -> None:
    """R-460.5-b4: one match more than plates would tell; it waits until a plate can carry it."""
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        try:
            world.edit(frozenset({"STL417"}), frozenset(CATEGORY))
            settling = Settling(world.board, on_misread=world.sessions.count_misread)
            seen = []
            for text in ("STL417", "ZQX664"):
                world.drive_by(("final", reading(text)))
                for card in world.board.snapshot():
                    settling.misread(card.id, PERSON)
                row = world.sessions.row()
                assert row is not None
                seen.append((row.distinct_plates, sum(row.matches.values()), row.marked_misread))
                assert world.bare() == []
            assert seen == [(0, 0, 0), (1, 1, 1)]
        finally:
            world.close()
