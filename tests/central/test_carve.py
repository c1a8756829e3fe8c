"""What a thief of the disks finds: nothing live in clear, nothing of a destroyed hour at all."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import storekind
from central_world import everything
from hold_world import START, World
from sqlalchemy import select

from alprd.central.storage import db
from alprd.central.upkeep import retention
from alprd.records import Read, destroy_by

pytestmark = [pytest.mark.policy("R-460.6-0", "R-460.5-4b"), pytest.mark.both_stores]


def signs(read: Read) -> dict[str, bytes]:
    """What of a read could stand in clear."""
    picture, wide = read.plate_picture, read.wide_picture or b""
    return {
        "plate": read.plate.text.encode(),
        "plate in UTF-16": read.plate.text.encode("utf-16-le"),
        "latitude": b"46.8172",
        "longitude": b"95.8453",
        "instant": f"{read.instant:%H:%M:%S}.{read.instant.microsecond:06d}".encode(),
        "picture": picture[len(picture) // 2 :][:24],
        "wide picture": wide[len(wide) // 2 :][:24],
    }


def sealed(world: World, read: str) -> dict[str, bytes]:
    """What of a read stands in the store encrypted."""
    with world.central.database.read() as tx:
        cell = tx.scalar(select(db.reads.c.cell).where(db.reads.c.id == read))
    with world.central.keystore.database.read() as tx:
        key = tx.scalar(select(db.read_keys.c.wrapped).where(db.read_keys.c.id == read))
    assert cell is not None
    assert key is not None
    picture = world.central.objects.get("pictures", read)
    return {"cell": cell[:64], "key": key, "picture": picture[:64]}


def test_an_hour_is_nowhere_after_its_destruction(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    instant = START + timedelta(minutes=17, seconds=23, microseconds=481_516)
    world.now = START + timedelta(hours=1)
    reads = [world.envelope(f"CRV41{number:02d}", instant) for number in range(8)]
    for read, envelope in reads:
        assert world.send(read, envelope) == "stored"
    kept, envelope = world.envelope("CRV7777", START + timedelta(days=3))
    world.now = START + timedelta(days=3, minutes=1)
    assert world.send(kept, envelope) == "stored"
    secrets = {read.id: sealed(world, read.id) for read, _ in reads}
    stored = b"".join(data for _, data in everything(world.home))
    for read, _ in reads:  # a live store: encrypted, and only so
        for what, sign in signs(read).items():
            assert sign not in stored, what
        for what, sign in secrets[read.id].items():
            assert sign in stored, what

    world.now = destroy_by(instant) + timedelta(minutes=1)
    assert retention.purge(world.central).reads == 8
    for path, data in everything(world.home):
        for read, _ in reads:
            for what, sign in signs(read).items():
                assert sign not in data, (path, what)
            for what, sign in secrets[read.id].items():
                assert sign not in data, (path, what)
    assert world.found(START + timedelta(days=3)) == {kept.id}
    assert storekind.database_files(world.home)
    world.close()
