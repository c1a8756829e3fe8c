"""A purge that fails in an unforeseen way is an alarm, is tried again, and ends nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hold_world import World
from pydantic import ValidationError
from sqlalchemy import insert, select

from alprd.central.storage import db
from alprd.central.storage.keys import seal
from alprd.central.upkeep import retention
from alprd.central.upkeep.housekeeping import Housekeeping

pytestmark = [pytest.mark.policy("R-460.5-4"), pytest.mark.both_stores]
NAME = "f" * 32


def spoil(world: World) -> None:
    """A row of the register that a newer program wrote."""
    key = world.central.keystore.purpose_key("exemptions")
    sealed = seal(key, b'{"from": "a newer program"}', f"exemption {NAME}".encode())
    with world.central.database.write() as tx:
        values = {"kind": "case", "state": "active", "opened_at": world.now, "sealed": sealed}
        tx.execute(insert(db.exemptions).values(id=NAME, **values))


def failures(world: World) -> int:
    with world.central.database.read() as tx:
        events = list(tx.scalars(select(db.audit.c.event)))
    return events.count("reads.purge-failed")


def test_an_unforeseen_failure_is_told_and_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    spoil(world)
    with pytest.raises(ValidationError):
        retention.purge(world.central)
    assert failures(world) == 1
    world.central.config = world.central.config.model_copy(update={"housekeeping_s": 1})

    async def serve() -> None:
        stopping = asyncio.Event()
        task = asyncio.create_task(Housekeeping(world.central).run(stopping))
        for _ in range(300):
            await asyncio.sleep(0.1)
            if failures(world) >= 3 or task.done():
                break
        assert not task.done()  # it would take the server, and with it the intake, along
        stopping.set()
        await task

    asyncio.run(serve())
    assert failures(world) >= 3
    world.close()
