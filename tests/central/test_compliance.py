"""The ledger and the daily compliance run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hold_world import LIFE, START, WORDS, World, template
from sqlalchemy import delete, select, text

from alprd.central.oversight import compliance
from alprd.central.records import cases, ledger, protected
from alprd.central.storage import audit, db
from alprd.central.storage.audit import CENTRAL
from alprd.central.upkeep import retention
from alprd.errors import InputError, RefusedError
from alprd.records import new_id


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def world(source: Path, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home", source)
    yield made
    made.close()


def days(world: World) -> list[ledger.Day]:
    with world.central.database.read() as tx:
        return ledger.days(tx)


@pytest.mark.policy("R-13.824-6-1", "R-460.5-1")
def test_collected_is_destroyed_linked_held_and_live(world: World) -> None:
    session = new_id()
    linked = world.store("LED1001", session=session)
    world.store("LED1002", session=session)
    world.store("LED1003", at=START + timedelta(hours=9))
    row = cases.ask(
        world.central, world.people["ida"], case="26001234", relation=WORDS, reads=[linked]
    )
    cases.approve(world.central, world.people["sue"], row.id, WORDS)
    world.hold("LED1002")
    first, second = days(world)
    assert (first.collected, first.linked, first.held, first.live) == (2, 1, 1, 0)
    assert (second.collected, second.live) == (1, 1)
    world.now = START + LIFE + timedelta(days=1)
    retention.purge(world.central)
    first, second = days(world)
    assert (second.collected, second.destroyed, second.live) == (1, 1, 0)
    assert first.reconciles and second.reconciles
    with world.central.database.read() as tx:
        assert ledger.sessions(tx)[0] == ("2026-01-01", session, 2)


@pytest.mark.policy("R-460.5-b4", "R-13.824-6-1")
def test_a_protected_plate_leaves_no_difference_in_the_ledger(world: World, tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text("plate,state\nPRO1001,MN\n")
    protected.import_suppression(world.central, path, actor=CENTRAL)
    world.store("PRO1001")
    world.store("LED1001")
    [day] = days(world)
    assert (day.collected, day.live, day.destroyed) == (2, 2, 0)


@pytest.mark.policy("R-460.5-1", "R-13.824-6-1")
def test_a_read_that_vanishes_is_found_by_the_daily_run(world: World) -> None:
    world.store("LED1001")
    assert compliance.keep_up(world.central)
    assert not compliance.keep_up(world.central)  # once a day
    with world.central.database.write() as tx:
        tx.execute(delete(db.reads))
    world.now += timedelta(days=1)
    assert compliance.keep_up(world.central)
    newest, before = compliance.reports(world.central, world.people["sue"])
    assert any("ledger does not reconcile" in finding.text for finding in newest.report.findings)
    assert not any("ledger" in finding.text for finding in before.report.findings)


@pytest.mark.policy("R-460.5-1", "R-460.5-4")
def test_a_read_past_its_life_and_a_day_without_a_run_are_findings(world: World) -> None:
    world.store("LED1001")
    compliance.keep_up(world.central)
    world.now = START + LIFE + timedelta(hours=2)
    report = compliance.run(world.central, world.now, "2026-01-01")
    texts = [finding.text for finding in report.findings if finding.urgent]
    assert "1 reads are past their life without an exemption" in texts
    assert any("no compliance run between" in text for text in texts)
    retention.purge(world.central)
    after = compliance.run(world.central, world.now, None)
    assert not any("past their life" in finding.text for finding in after.findings)
    assert after.figures.destroyed == 1


@pytest.mark.policy("R-460.5-1", "R-AT-3")
def test_a_broken_trail_is_a_finding(world: World) -> None:
    with world.central.database.write() as tx:
        tx.execute(text("UPDATE audit SET actor = 'nobody' WHERE seq = 2"))
        tx.execute(text("DELETE FROM audit WHERE seq = 3"))
    report = compliance.run(world.central, world.now)
    assert any(finding.area == "Audit trail" and finding.urgent for finding in report.findings)


@pytest.mark.policy("R-460.5-1")
def test_a_report_is_signed_once_by_command_in_own_words(world: World) -> None:
    compliance.keep_up(world.central)
    day = "2026-01-01"
    with pytest.raises(RefusedError):
        compliance.sign(world.central, world.people["ida"], day, WORDS)
    with pytest.raises(RefusedError, match="note"):
        compliance.sign(world.central, world.people["sue"], day, "ok")
    with pytest.raises(InputError, match="no compliance report"):
        compliance.sign(world.central, world.people["sue"], "2026-01-09", WORDS)
    with world.central.database.read() as tx:
        assert compliance.unsigned(tx, world.now + timedelta(days=4)) == 1
    made = compliance.sign(world.central, world.people["sue"], day, WORDS)
    assert (made.signed_by, made.note) == ("sue", WORDS)
    with pytest.raises(RefusedError, match="signed already"):
        compliance.sign(world.central, world.people["sam"], day, WORDS)
    with world.central.database.read() as tx:
        assert compliance.unsigned(tx, world.now + timedelta(days=4)) == 0
        assert tx.scalar(select(db.audit.c.event).where(db.audit.c.event == "compliance.signed"))
        audit.verify(tx)
