"""After a restore the trail tells what was lost, and altered rows keep nothing alive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hold_world import LIFE, START, World
from sqlalchemy import select, update

from alprd.central.storage import db
from alprd.central.storage.store import Central
from alprd.central.trail import anchors, trailcheck
from alprd.central.upkeep import backup, restore, retention

pytestmark = pytest.mark.both_stores
DAY = timedelta(days=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    made.close()


@pytest.mark.policy("R-AT-3")
def test_events_that_a_restore_lost_are_told_and_are_no_break(world: World, tmp_path: Path) -> None:
    world.store("RST1001")
    anchors.daily(world.central)
    backup.make(world.central, tmp_path / "backup")
    world.now += DAY
    world.store("RST1002")
    anchors.daily(world.central)
    world.now += timedelta(hours=3)
    world.central.close()
    restore.restore(world.home, tmp_path / "backup", replace=True, clock=lambda: world.now)
    world.central = Central(world.home, lambda: world.now)
    for _ in range(3):
        world.store("RST1003")
        anchors.daily(world.central)
        result = trailcheck.checked(world.central)
        assert result.whole, result.problems
        [lost] = result.lost
        assert "lost with a restore" in lost
        assert "2026-01-02" in lost
        world.now += DAY
    # What the newer anchors vouch for is still held to them: a shorter trail is a break.
    with world.central.database.read() as tx:
        told = tx.scalar(select(db.audit.c.seq).where(db.audit.c.event == "central.restored"))
    assert told is not None
    with world.central.database.write() as tx:
        tx.execute(update(db.audit).where(db.audit.c.seq == told).values(actor="nobody"))
    assert not trailcheck.verify(world.central).whole


@pytest.mark.policy("R-AT-3")
def test_anchors_of_the_home_are_in_the_backup(world: World, tmp_path: Path) -> None:
    anchors.daily(world.central)
    backup.make(world.central, tmp_path / "backup")
    world.lose()
    world.restore(tmp_path / "backup")
    result = trailcheck.verify(world.central)
    assert (result.whole, result.anchors) == (True, 1), result.problems


@pytest.mark.policy("R-460.5-4")
def test_a_destroy_by_that_was_altered_in_the_database_keeps_nothing(world: World) -> None:
    read = world.store("ALT1001")
    with world.central.database.write() as tx:
        later = START + 10 * LIFE
        tx.execute(update(db.reads).where(db.reads.c.id == read).values(destroy_by=later))
    world.now = START + LIFE - timedelta(seconds=1)
    retention.purge(world.central)
    assert world.traces(read) == ["row", "hour", "picture"]
    world.now = START + LIFE
    retention.purge(world.central)
    assert world.traces(read) == []
    with world.central.database.read() as tx:
        events = list(tx.scalars(select(db.audit.c.event)))
    assert "alarm.raised" in events
