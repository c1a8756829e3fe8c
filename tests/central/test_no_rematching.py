"""Stored reads are not matched against new lists: no work of central's own opens a stored read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from call_graph import calls_of
from hold_world import START, World
from sqlalchemy import select

from alprd.audit import Actor
from alprd.central.hotlists import lists
from alprd.central.publication import publish
from alprd.central.storage import db
from alprd.central.storage.audit import events
from alprd.central.upkeep.housekeeping import house

ADMIN = Actor("ole", "Ole Invented", "alpr_admin")
OPENERS = {("vault", "open_cell"), ("vault", "plate_digest")}
"""How a stored read's plate is opened, and how it would be found without opening."""

DESTROYING = frozenset({("confidentiality", "settle"), ("protected", "destroy_held")})
"""The law's own exception: reads of address-confidentiality participants are found to be destroyed
(R-460.5-b), and nothing is told of them."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "central")
    yield made
    made.close()


@pytest.mark.policy("R-460.4.1-b3")
def test_a_new_list_with_the_plate_of_a_stored_read_finds_nothing(
    world: World, tmp_path: Path
) -> None:
    """R-460.4.1-b3: import, publication and the hourly work leave a stored read as it was."""
    read = world.store("RTR4021")
    world.now = START + timedelta(hours=2)
    central = world.central
    with central.database.read() as tx:
        before = tx.execute(select(db.reads).where(db.reads.c.id == read)).one()
        last = max(e.seq for e in events(tx))
    path = tmp_path / "later.csv"
    path.write_text(
        "plate,state,type,category,source,entered,text\nRTR4021,MN,,stolen,,,\n", encoding="utf-8"
    )
    report = lists.import_hotlist(
        central, path, list_id="later", source="LPDF", supplied_at=START + timedelta(hours=1),
        actor=ADMIN,
    )  # fmt: skip
    assert (report.entries, report.held) == (1, "")
    publish.publish(central)
    house(central)
    with central.database.read() as tx:
        assert tx.execute(select(db.reads).where(db.reads.c.id == read)).one() == before
        since = [e for e in events(tx) if e.seq > last]
    assert since, "the import itself is recorded"
    assert not [e.event for e in since if read in e.subjects]


@pytest.mark.policy("R-460.4.1-b3")
def test_no_work_by_the_hour_reaches_a_plate_of_a_stored_read() -> None:
    """R-460.4.1-b3: the inventory of central's own work, followed through the source."""
    for module, function in (("housekeeping", "house"), ("lists", "import_hotlist"),
                             ("acceptance", "accept"), ("publish", "publish")):  # fmt: skip
        assert not calls_of(module, function, DESTROYING) & OPENERS, f"{module}.{function}"
    assert calls_of("search", "answer") & OPENERS, "the names of what opens a read are current"
    assert calls_of("housekeeping", "house") & DESTROYING, "and of what destroys by plate"
