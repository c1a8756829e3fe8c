"""Never a read past its life without a live exemption, never an exempt read destroyed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hold_world import LIFE, START, WORDS, World, template
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import select

from alprd.central.records import cases, confidentiality, exemptions, holds, protected
from alprd.central.storage import audit, db, vault
from alprd.central.storage.store import Central
from alprd.central.upkeep import backup, restore, retention
from alprd.errors import InputError, RefusedError
from alprd.records import Read, hour_floor

PLATES = ("PRP1001", "PRP1002", "PRP1003")
PROTECTED = ("PRP2001", "PRP2002")
"""Plates that are never held or linked; they come under confidentiality requests."""
WINDOW = timedelta(days=1)


@cache
def source() -> Path:
    """The home that each example copies."""
    return template(Path(tempfile.mkdtemp(prefix="alprd-exemptions-")) / "home")


@dataclass
class Known:
    """What must be true of one read."""

    plate: str
    instant: datetime
    life: datetime
    exempt: set[str] = field(default_factory=set)
    gone: bool = False


@dataclass
class Row:
    """A link or hold as the machine knows it."""

    row: exemptions.Exemption
    live: bool
    asked: tuple[str, ...] = ()
    received: datetime = START
    ends: datetime | None = None
    frozen_until: datetime = START
    """The end of the freeze order; each purge orders it anew when it is near."""


class Exemptions(RuleBasedStateMachine):
    """Intake, link, hold, release, time and purge in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Path(tempfile.mkdtemp(prefix="alprd-exempt-")) / "home", source())
        self.backups = 0
        self.protected: set[str] = set()
        self.reads: dict[str, Known] = {}
        self.rows: list[Row] = []
        self.car: list[tuple[Read, bytes]] = []

    @property
    def central(self) -> Central:
        """The opened store; another one after a restore."""
        return self.world.central

    def teardown(self) -> None:
        with self.central.database.read() as tx:
            audit.verify(tx)
        self.world.close()
        shutil.rmtree(self.world.home.parent)

    # --- what happens -------------------------------------------------------------------------

    @initialize(held=st.booleans(), linked=st.booleans())
    def begin(self, held: bool, linked: bool) -> None:
        """Reads of every plate, stored and in the car; often something exempt already."""
        for plate in PLATES:
            self.collect(plate, keep_back=False)
            self.collect(plate, keep_back=True)
        if held:
            self.hold(PLATES[0], late=0)
        if linked:
            read = next(name for name, known in self.reads.items() if known.plate == PLATES[1])
            self.ask([read], approved=True)

    @precondition(lambda self: self.world.now < START + WINDOW)
    @rule(plate=st.sampled_from(PLATES), keep_back=st.booleans())
    def collect(self, plate: str, keep_back: bool) -> None:
        """A read now; uploaded, or left in the car."""
        read, envelope = self.world.envelope(plate, self.world.now)
        if keep_back:
            self.car.append((read, envelope))
        else:
            self.upload(read, envelope)

    @precondition(lambda self: self.car)
    @rule()
    def dock(self) -> None:
        """The car uploads what it kept; past its life only what it heard a freeze for."""
        read, envelope = self.car.pop(0)
        self.upload(read, envelope)

    def upload(self, read: Read, envelope: bytes) -> None:
        known = Known(read.plate.text, read.instant, hour_floor(read.instant + LIFE))
        outcome = self.world.send(read, envelope)
        past = known.life <= self.world.now
        known.exempt = {
            item.row.id
            for item in self.rows
            if item.row.kind == "hold" and item.live and item.received < known.life
            and known.plate in item.row.plates and (not past or item.frozen_until > self.world.now)
        }  # fmt: skip
        if past and not known.exempt:
            assert outcome == "expired"
            known.gone = True
        else:
            assert outcome == "stored"
        self.reads[read.id] = known

    @precondition(lambda self: self.reads)
    @rule(data=st.data(), approved=st.booleans())
    def link(self, data: st.DataObject, approved: bool) -> None:
        """Ask for a link of one read; possible while it lives or is exempt."""
        self.ask([data.draw(st.sampled_from(sorted(self.linkable())))], approved=approved)

    def linkable(self) -> list[str]:
        """Reads of plates that never come under a request."""
        return [read for read, known in self.reads.items() if known.plate in PLATES]

    def ask(self, reads: list[str], *, approved: bool) -> None:
        known = self.reads[reads[0]]
        people = self.world.people
        possible = not known.gone and (known.life > self.world.now or known.exempt)
        try:
            row = cases.ask(
                self.central, people["ida"], case="26001234", relation=WORDS, reads=reads
            )
        except InputError:
            assert not possible
            return
        assert possible
        self.rows.append(Row(row, live=False, asked=tuple(reads)))
        if approved:
            self.approve(self.rows[-1])

    @precondition(lambda self: any(item.row.state == "requested" for item in self.rows))
    @rule(data=st.data())
    def approve_later(self, data: st.DataObject) -> None:
        """A request is approved after a while."""
        waiting = [item for item in self.rows if item.row.state == "requested"]
        self.approve(data.draw(st.sampled_from(waiting)))

    def approve(self, item: Row) -> None:
        known = self.reads[item.asked[0]]
        possible = not known.gone and (known.life > self.world.now or known.exempt)
        try:
            item.row = cases.approve(self.central, self.world.people["sue"], item.row.id, WORDS)
        except RefusedError:
            assert not possible
            return
        assert possible
        item.live = True
        known.exempt.add(item.row.id)

    @rule(plate=st.sampled_from(PLATES), late=st.integers(0, 90))
    def hold(self, plate: str, late: int) -> None:
        """A written request came in up to 90 minutes ago."""
        received = self.world.now - timedelta(minutes=late)
        try:
            row = self.world.hold(plate, received=received)
        except InputError:
            assert received - LIFE > START + WINDOW
            return
        item = Row(row, live=True, received=received)
        item.frozen_until = self.world.now + timedelta(days=60)
        self.rows.append(item)
        for known in self.reads.values():
            fits = known.plate == plate and not known.gone
            if fits and (known.life > received or known.exempt):
                known.exempt.add(row.id)

    @precondition(lambda self: any(item.row.state == "active" for item in self.rows))
    @rule(data=st.data())
    def inactive(self, data: st.DataObject) -> None:
        """An investigation ends; its reads stay until the schedule or a person ends the link."""
        active = [i for i in self.rows if i.row.kind == "case" and i.row.state == "active"]
        if not active:
            return
        item = data.draw(st.sampled_from(active))
        sue = self.world.people["sue"]
        cases.inactive(self.central, sue, item.row.id, "declined")
        item.ends = self.world.now + timedelta(days=20)
        item.row = cases.put_on_schedule(self.central, sue, item.row.id, "GRS 1", item.ends)

    @precondition(lambda self: any(item.live for item in self.rows))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """An exemption ends: what is past its life is invisible at once."""
        item = data.draw(st.sampled_from([item for item in self.rows if item.live]))
        act = cases.release if item.row.kind == "case" else holds.release
        item.row = act(self.central, self.world.people["sue"], item.row.id, WORDS)
        self.ended(item)

    def ended(self, item: Row) -> None:
        item.live = False
        for known in self.reads.values():
            known.exempt.discard(item.row.id)

    @rule(plate=st.sampled_from(PLATES))
    def protect_another(self, plate: str) -> None:
        """A request about a plate that no read has: nothing else may suffer."""
        path = self.world.home.parent / "request.csv"
        path.write_text(f"plate,state\nX{plate[3:]},MN\n")
        protected.import_suppression(self.central, path, actor=audit.CENTRAL)

    @rule(step=st.sampled_from([1, 20, 24 * 3, 24 * 20, 24 * 45]))
    def wait(self, step: int) -> None:
        """Hours pass."""
        if self.world.now < START + timedelta(days=400):
            self.world.now += timedelta(hours=step)

    @rule(wait_for_end=st.booleans())
    def purge(self, wait_for_end: bool) -> None:
        """Housekeeping, sometimes exactly when a life ends."""
        if wait_for_end:
            self.world.now = max(self.world.now, hour_floor(START + LIFE))
        retention.purge(self.central)
        for item in self.rows:
            if item.live and item.ends is not None and item.ends <= self.world.now:
                self.ended(item)
            if item.live and item.frozen_until - timedelta(days=14) <= self.world.now:
                item.frozen_until = self.world.now + timedelta(days=60)
        for read, known in self.reads.items():
            if known.life <= self.world.now and not known.exempt:
                known.gone = True
                assert self.world.traces(read) == []
            if known.plate in self.protected:
                assert read not in self.world.found(known.instant)

    @precondition(lambda self: self.world.now < START + timedelta(days=690))  # sue is trained
    @rule(plate=st.sampled_from(PROTECTED))
    def protect(self, plate: str) -> None:
        """A confidentiality request: what is stored of the plate is destroyed, also in backups."""
        folder = self.back_up()
        confidentiality.enter(
            self.central, self.world.people["sue"], plates=[f"{plate}/MN"],
            received=self.world.now, verified_by="Clerk", reference="AC-26-1",
        )  # fmt: skip
        self.protected.add(plate)
        lost = {read for read, known in self.reads.items() if known.plate == plate}
        assert not lost & self.opened(folder)

    @precondition(lambda self: self.world.now < START + WINDOW)
    @rule(plate=st.sampled_from(PROTECTED))
    def collect_protected(self, plate: str) -> None:
        """A read of a plate that is, or will be, under a confidentiality request."""
        read, envelope = self.world.envelope(plate, self.world.now)
        assert self.world.send(read, envelope) == "stored"  # no difference shows
        self.reads[read.id] = Known(plate, read.instant, hour_floor(read.instant + LIFE))

    @rule(step=st.sampled_from([1, 24 * 20, 24 * 45, 24 * 61]))
    def disaster(self, step: int) -> None:
        """A backup, time, a purge; then everything but the keys is lost, and restored."""
        folder = self.back_up()
        self.world.now += timedelta(hours=step)
        self.purge(wait_for_end=False)
        done = restore.drill(self.central, folder)
        assert done.passed
        gone = {read for read, known in self.reads.items() if known.gone}
        assert not gone & self.opened(folder)
        self.world.lose()
        self.world.restore(folder)
        self.purge(wait_for_end=False)

    def back_up(self) -> Path:
        """A new backup."""
        self.backups += 1
        folder = self.world.home.parent / f"backup-{self.backups}"
        backup.make(self.central, folder)
        return folder

    def opened(self, folder: Path) -> set[str]:
        """The reads of a backup that the keys of now open, voids apart."""
        with tempfile.TemporaryDirectory() as scratch:
            copy = backup.opened(folder, Path(scratch))
            with copy.read() as view:
                rows = view.execute(select(db.reads)).all()
            copy.close()
        keys = restore.readable(self.central, rows, restore.exempt_keys(self.central))
        return {row.id for row in rows if row.id in keys and vault.open_cell(row, keys[row.id])}

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def search_shows_no_read_past_its_life_and_none_held(self) -> None:
        """Past destroy-by invisible at once; held reads are out of ordinary search."""
        held = {item.row.id for item in self.rows if item.live and item.row.kind == "hold"}
        for instant in {known.instant for known in self.reads.values()}:
            shown = self.world.found(instant)
            for read, known in self.reads.items():
                if known.instant == instant:
                    lives = known.life > self.world.now and not known.gone
                    lives = lives and known.plate not in self.protected
                    assert (read in shown) == (lives and not known.exempt & held)

    @invariant()
    def exempt_reads_open_and_no_others(self) -> None:
        """A live exemption opens exactly its reads, with their plates."""
        for item in self.rows:
            if item.live and not (item.ends is not None and item.ends <= self.world.now):
                assert self.world.kept(item.row) == {
                    read: known.plate
                    for read, known in self.reads.items()
                    if item.row.id in known.exempt
                }


TestExemptions = pytest.mark.policy("R-460.5-4", "R-460.5-5", "R-460.5-a", "R-460.5-4b")(
    Exemptions.TestCase
)
TestExemptions.settings = settings(
    max_examples=12,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
