"""Backup, restore and the drill: nothing destroyed comes back, nothing held is lost."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import storekind
from central_world import AGENCY, everything, run
from hold_world import LIFE, START, World
from sqlalchemy import select

from alprd.central.records import protected
from alprd.central.storage import db, repository
from alprd.central.storage.audit import CENTRAL
from alprd.central.storage.engine import Database
from alprd.central.storage.store import Central
from alprd.central.upkeep import backup, restore, retention
from alprd.errors import ConfigError, InputError

pytestmark = [pytest.mark.policy("R-460.5-4b"), pytest.mark.both_stores]
VECTOR = START + LIFE
"""2026-03-02T16:00Z: what was collected on 2026-01-01T16:00Z is gone by then."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "home")


def test_everything_comes_back_after_a_loss(world: World, tmp_path: Path) -> None:
    read = world.store("BKP1001")
    hold = world.hold("BKP1001")
    before = repository.load(
        repository.metadata_folder(world.central) / "timestamp.json", repository.Timestamp
    )
    done = backup.make(world.central, tmp_path / "backup")
    assert (done.objects, done.missing) == (2, 0)  # a read's pictures, a hold's request
    world.lose()
    restored = world.restore(tmp_path / "backup")
    assert (restored.reads, restored.destroyed_since, restored.without_pictures) == (1, 0, 0)
    assert world.kept(hold) == {read: "BKP1001"}
    after = repository.load(
        repository.metadata_folder(world.central) / "timestamp.json", repository.Timestamp
    )
    assert before is not None
    assert after is not None
    assert after.signed.version > before.signed.version + 100  # no car takes it for an old one
    assert run(world.home, "audit", "verify")["whole"]
    # The same envelope again is known: a car that got no receipt loses and doubles nothing.
    assert world.central.objects.size("pictures", read)
    world.close()


@pytest.mark.policy("R-460.5-4")
def test_vector_what_is_destroyed_is_unreadable_from_a_backup_taken_before(
    world: World, tmp_path: Path
) -> None:
    old = world.store("VEC7741", START)
    world.now = START + timedelta(days=30)
    young = world.store("VEC7742", world.now - timedelta(minutes=1))
    backup.make(world.central, tmp_path / "backup")
    assert restore.drill(world.central, tmp_path / "backup").readable == 2
    world.now = VECTOR - timedelta(seconds=1)
    retention.purge(world.central)
    assert restore.drill(world.central, tmp_path / "backup").readable == 2
    world.now = VECTOR
    late = restore.drill(world.central, tmp_path / "backup")
    assert (late.passed, late.wrongly_readable) == (False, (old,))  # no purge ran: that is told
    retention.purge(world.central)
    done = restore.drill(world.central, tmp_path / "backup")
    assert (done.passed, done.reads, done.readable) == (True, 2, 1)
    assert (done.expired, done.destroyed) == (1, 1)
    world.lose()
    restored = world.restore(tmp_path / "backup")
    assert (restored.reads, restored.destroyed_since) == (1, 1)
    assert world.found(START) == set()
    assert world.found(START + timedelta(days=30)) == {young}
    assert world.traces(old) == []
    world.close()


@pytest.mark.policy("R-460.5-b")
def test_a_read_destroyed_singly_stays_destroyed(world: World, tmp_path: Path) -> None:
    target, other = world.store("ACP817"), world.store("HJK220")
    backup.make(world.central, tmp_path / "backup")
    request = tmp_path / "request.csv"
    request.write_text("plate,state\nACP817,MN\n")
    protected.import_suppression(world.central, request, actor=CENTRAL)
    done = restore.drill(world.central, tmp_path / "backup")
    assert (done.passed, done.reads, done.readable) == (True, 2, 1)
    world.lose()
    restored = world.restore(tmp_path / "backup")
    assert (restored.reads, restored.destroyed_since) == (1, 1)
    assert world.found(START) == {other}
    assert "row" not in world.traces(target)
    world.close()


@pytest.mark.policy("R-460.5-a")
def test_a_hold_placed_after_the_backup_is_not_lost_with_the_rows(
    world: World, tmp_path: Path
) -> None:
    read = world.store("HLD1001")
    backup.make(world.central, tmp_path / "backup")
    hold = world.hold("HLD1001")
    world.now = VECTOR + timedelta(days=1)
    retention.purge(world.central)  # the hour's key is gone, the hold's is not
    assert world.traces(read) == ["row", "kept", "picture"]
    world.lose()
    restored = world.restore(tmp_path / "backup")
    assert restored.adopted == 1
    retention.purge(world.central)
    assert world.traces(read) == ["row", "kept", "picture"]
    link = hold.model_copy(update={"kind": "case"})
    assert world.kept(link) == {read: "HLD1001"}
    world.close()


@pytest.mark.policy("R-460.6-0")
def test_no_key_and_no_plate_is_in_a_backup(world: World, tmp_path: Path) -> None:
    read = world.store("CRV4519")
    backup.make(world.central, tmp_path / "backup")
    names = {path.name for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    assert {"manifest.json", "central.db", read} <= names
    assert not {"keystore.db", "agency.key", "server.key"} & names
    (picture,) = (tmp_path / "backup" / "objects" / "pictures").rglob(read)
    assert picture.read_bytes() == world.central.objects.get("pictures", read)
    for path, data in everything(tmp_path / "backup") if not storekind.on_servers() else ():
        assert b"CRV4519" not in data, path
    found = restore.drill(world.central, tmp_path / "backup")
    assert not found.keys_in_backup
    stray = tmp_path / "backup" / "files" / "keys" / "agency.key"
    shutil.copy(world.home / "keys" / "agency.key", stray)
    assert restore.drill(world.central, tmp_path / "backup").passed is False
    world.close()


def test_a_damaged_or_foreign_backup_is_refused(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    backup.make(world.central, folder)
    with pytest.raises(InputError, match="exists"):
        backup.make(world.central, folder)
    with pytest.raises(ConfigError, match=r"exists|holds an agency"):
        restore.restore(world.home, folder)
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace(AGENCY, "otter"))
    with pytest.raises(InputError, match="of otter"):
        restore.restore(world.home, folder, replace=True)
    (folder / "manifest.json").write_text(manifest)
    with (folder / "central.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"xx")
    with pytest.raises(InputError, match="damaged"):
        restore.drill(world.central, folder)
    world.close()


def test_a_backup_fails_whole(world: World, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    refused = run(world.home, "backup", "--to", str(tmp_path / "plain" / "x"), check=False)
    assert "cannot be written" in refused.stderr
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    world.close()


def test_the_commands(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    world.store("CMD1001")
    world.central.close()
    done = run(world.home, "backup", "--to", str(folder), "--pictures", "reference")
    assert (done["objects"], done["missing"]) == (0, 0)
    # By the wall clock of the command the read of January is past its life, and no purge ran.
    drilled = run(world.home, "restore-drill", "--from", str(folder), check=False)
    assert drilled.returncode == 1
    run(world.home, "purge")
    assert run(world.home, "restore-drill", "--from", str(folder))["passed"]
    assert "replace" in run(world.home, "restore", "--from", str(folder), check=False).stderr
    back = run(world.home, "restore", "--from", str(folder), "--replace")
    assert (back["reads"], back["destroyed_since"]) == (0, 1)
    events = [e["event"] for e in trail(world.home)]
    assert events.count("central.restore-drilled") == 0  # of after the backup: lost with the rows
    assert "central.restored" in events


def trail(home: Path) -> list[dict[str, str]]:
    with Central(home) as central, central.database.read() as tx:
        return [{"event": row} for row in tx.scalars(select(db.audit.c.event))]


def test_a_store_moves_from_one_kind_of_database_to_the_other(
    world: World, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgresql")
    read = world.store("MOV1001")
    backup.make(world.central, tmp_path / "backup")
    world.central.close()
    text = (world.home / "central.toml").read_text()
    place = server.database()
    lines = [
        f'database = "{place}"' if line.startswith("database = ") else line
        for line in text.splitlines()
    ]
    (world.home / "central.toml").write_text("\n".join(lines) + "\n")
    world.restore(tmp_path / "backup")
    assert world.central.database.server
    assert world.found(START) == {read}
    opened = Database(place, db.main)
    opened.close()
    world.close()
