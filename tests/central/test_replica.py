"""The keystore's replica: in step at every commit, and good when the keystore's disk is lost."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from central_world import Failed, run
from hold_world import LIFE, WORDS, World
from sqlalchemy import select

from alprd.central.records import cases
from alprd.central.storage import audit, config, db, instep, replica
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.central.upkeep import retention
from alprd.errors import ConfigError, InputError, StoreError

pytestmark = pytest.mark.policy("R-460.5-4b")
DAY = timedelta(days=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "disk").mkdir()
    storage = config.StorageSettings(replica=str(tmp_path / "disk" / "second.db"))
    made = World(tmp_path / "home", storage=storage)
    yield made
    made.close()


def files(world: World) -> tuple[Path, Path]:
    found = world.central.keystore.replica
    assert found is not None
    return found.keystore, found.path


def in_step(world: World) -> bool:
    keystore, path = files(world)
    return not replica.Replica(keystore, path).state() and not replica.differences(keystore, path)


def wraps(path: Path, table: str = "read_keys") -> set[bytes]:
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute(f"SELECT wrapped FROM {table}")  # noqa: S608 - a name of ours
        return {row[0] for row in rows}


def bytes_of(path: Path) -> bytes:
    both = (path, path.with_name(path.name + "-wal"))
    return b"".join(one.read_bytes() for one in both if one.exists())


def test_what_is_made_and_destroyed_is_so_in_both(world: World) -> None:
    """R-460.5-4b: a carve of both files and logs finds no key that was destroyed."""
    first, second = files(world)
    reads = [world.store(f"RPL100{number}") for number in range(4)]
    assert in_step(world)
    gone = wraps(second)
    assert len(gone) == 4 and gone == wraps(first)
    hours = wraps(second, "hour_keys")
    link = cases.ask(
        world.central, world.people["ida"], case="26001234", relation=WORDS, reads=reads[:1]
    )
    cases.approve(world.central, world.people["sue"], link.id, WORDS)
    assert in_step(world) and wraps(second, "kept_keys")
    world.now += LIFE + DAY
    retention.purge(world.central)
    assert in_step(world)
    for path in (first, second):
        data = bytes_of(path)
        for wrapped in gone | hours:
            assert wrapped not in data, path.name


def test_without_the_replica_no_read_is_taken_in_and_destruction_goes_on(world: World) -> None:
    """R-460.5-2: no receipt for a key on one disk; R-460.5-4: the purge waits for nothing."""
    _, second = files(world)
    world.store("RPL2001")
    away = second.with_name("away")
    second.rename(away)  # as when the disk is not mounted
    read, envelope = world.envelope("RPL2002", world.now)
    with pytest.raises(StoreError, match="no new read is taken in"):
        world.send(read, envelope)
    assert not second.exists()  # nothing was made in the empty folder
    world.now += LIFE + DAY
    assert retention.purge(world.central).reads == 1
    assert instep.look_after(world.central) == "the file is not there"
    instep.look_after(world.central)
    with world.central.database.read() as tx:
        told = [e for e in audit.events(tx) if e.event == Event.REPLICA_BEHIND.value]
    assert len(told) == 1
    assert wraps(away)  # the disk that was away still has the destroyed key
    away.rename(second)
    assert instep.look_after(world.central) == ""
    assert in_step(world) and not wraps(second)
    world.store("RPL2003")


def test_the_last_commit_that_only_one_has_is_made_up(world: World) -> None:
    """A kill between the two commits, at random transactions of a real process."""
    first, second = files(world)
    world.central.close()
    script = """
import os, signal, sys
from pathlib import Path
from alprd.central.storage import replica
from alprd.central.storage.store import Central
left = int(sys.argv[2])
true = replica.Replica.end
def end(self, raw, mark):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(self, raw, mark)
replica.Replica.end = end
with Central(Path(sys.argv[1])) as central:
    for number in range(100):
        central.keystore.put_secret(f"test {number % 7}", os.urandom(16))
        print(number, flush=True)
        if number % 5 == 4:
            central.keystore.forget_secret(f"test {number % 7}")
"""
    rng = random.Random(7)
    for _ in range(6):
        left = rng.randrange(0, 30)
        done = subprocess.run(
            [sys.executable, "-c", script, str(world.home), str(left)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert replica.Replica(first, second).state() == replica.BEHIND
        assert isinstance(run(world.home, "keys", "replica", check=False), Failed)
        with Central(world.home) as central:
            assert instep.look_after(central) == ""
        assert run(world.home, "keys", "replica")["in_step"]
    world.central = Central(world.home, lambda: world.now)


def told(world: World, event: Event) -> int:
    with world.central.database.read() as tx:
        return sum(one.event == event.value for one in audit.events(tx))


def test_a_lost_keystore_is_made_anew_from_the_replica(world: World) -> None:
    first, second = files(world)
    read = world.store("RPL3001")
    assert world.found(world.now) == {read}
    world.central.close()
    for path in first.parent.glob("keystore.db*"):
        path.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        Central(world.home)
    run(world.home, "keys", "promote-replica")
    world.central = Central(world.home, lambda: world.now)
    assert world.found(world.now) == {read}
    assert in_step(world)
    assert told(world, Event.REPLICA_PROMOTED) == 1
    again = run(world.home, "keys", "promote-replica", check=False)
    assert isinstance(again, Failed) and "not older" in again.stderr
    assert stat_mode(first) == stat_mode(second) == 0o600


def test_an_old_keystore_that_was_put_back_destroys_nothing(world: World) -> None:
    """Its disk was restored from a copy: the newer keys are in the replica alone."""
    first, second = files(world)
    world.store("RPL4001")
    world.central.keystore.database.checkpoint()
    world.central.close()
    old = first.read_bytes()
    world.central = Central(world.home, lambda: world.now)
    newer = world.store("RPL4002")
    world.central.close()
    for path in first.parent.glob("keystore.db-*"):
        path.unlink()
    first.write_bytes(old)
    with pytest.raises(StoreError, match="older than its replica"):
        Central(world.home)
    with pytest.raises(StoreError, match="older than its replica"):
        replica.make(first, second)
    with pytest.raises(InputError, match="a keystore is there"):
        replica.promote(first, second, replace=False)
    run(world.home, "keys", "promote-replica", "--replace")
    world.central = Central(world.home, lambda: world.now)
    assert newer in world.found(world.now)


def test_a_new_disk_gets_a_new_replica_and_a_damaged_one_is_told(world: World) -> None:
    first, second = files(world)
    world.store("RPL5001")
    second.write_bytes(b"not a database" * 100)
    for path in second.parent.glob("second.db-*"):
        path.unlink()
    read, envelope = world.envelope("RPL5002", world.now)
    with pytest.raises(StoreError, match="no new read"):
        world.send(read, envelope)
    with pytest.raises(StoreError, match="no replica"):
        replica.make(first, second)
    second.unlink()
    assert run(world.home, "keys", "make-replica")["same_disk"]
    assert told(world, Event.REPLICA_MADE) == 1
    assert world.send(read, envelope) == "stored"
    assert in_step(world)
    with closing(sqlite3.connect(second)) as raw:  # somebody changed a row by hand
        raw.execute("DELETE FROM read_keys")
        raw.commit()
    world.now += DAY
    assert "rows differ" in instep.look_after(world.central)


def test_a_replica_of_another_agency_is_not_written_over(world: World, tmp_path: Path) -> None:
    first, _ = files(world)
    other = World(tmp_path / "other", storage=config.StorageSettings())
    foreign = tmp_path / "disk" / "foreign.db"
    other.central.keystore.database.checkpoint()
    shutil.copy(other.home / "keystore.db", foreign)
    other.close()
    with pytest.raises(StoreError, match="another keystore"):
        replica.make(first, foreign)


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keystore in a file"):
        replica.replica_of("postgresql://a@b/c", "/disk/second.db")
    with pytest.raises(ConfigError, match="home folder"):
        replica.replica_of(tmp_path / "keystore.db", "second.db")
    missing = config.StorageSettings(replica=str(tmp_path / "nowhere" / "second.db"))
    with pytest.raises(InputError, match="nowhere is not there"):
        World(tmp_path / "home", storage=missing)
    assert not (tmp_path / "home" / "keystore.db").exists()


def test_a_rotated_agency_key_leaves_no_wrap_of_the_old_one(world: World) -> None:
    """R-460.6-0: neither free pages nor logs of both files have a root under the old key."""
    first, second = files(world)
    with world.central.keystore.database.read() as tx:
        query = select(db.secrets.c.wrapped).where(db.secrets.c.name == "root")
        old = tx.scalar(query)
    assert old is not None  # random from the beginning: the first key opens nothing by itself
    key = (world.home / "keys" / "agency.key").read_bytes()
    world.central.close()
    run(world.home, "keys", "rotate")
    for path in (first, second):
        assert old not in bytes_of(path), path.name
    for path in world.home.rglob("*"):
        if path.is_file():
            assert key.strip() not in path.read_bytes(), path
    world.central = Central(world.home, lambda: world.now)
    assert in_step(world)


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777
