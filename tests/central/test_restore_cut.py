"""A restore that is killed anywhere: nothing else opens what it left, and the next one ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from central_world import Server, everything, make_home, run
from hold_world import LIFE, START, World
from sqlalchemy import select

from alprd.central.records import exemptions
from alprd.central.storage import config, cutoff, db, replica, repository
from alprd.central.storage.store import Central
from alprd.central.upkeep import backup, retention
from alprd.errors import StoreError

pytestmark = [pytest.mark.policy("R-460.5-a"), pytest.mark.both_stores]
LATE = START + LIFE + timedelta(days=1)
_RESTORE = """
import sys
from datetime import datetime
from pathlib import Path
from alprd.central.upkeep import restore
restore.restore(
    Path(sys.argv[1]), Path(sys.argv[2]), replace=sys.argv[3] == "replace",
    clock=lambda: datetime.fromisoformat(sys.argv[4]),
)
"""


def restoring(
    home: Path, folder: Path, *, replace: bool, now: datetime = LATE
) -> subprocess.Popen[bytes]:
    """A restore in a process of its own, under the clock of this world."""
    how = "replace" if replace else "into nothing"
    what = [str(home), str(folder), how, now.isoformat()]
    return subprocess.Popen([sys.executable, "-c", _RESTORE, *what])


def killed(process: subprocess.Popen[bytes], home: Path, after: float) -> bool:
    """Kill it so long after its note is there; whether it was before its end."""
    while process.poll() is None and not (home / cutoff.NOTE).exists():
        time.sleep(0.001)
    time.sleep(after)
    process.kill()
    return process.wait(60) == -signal.SIGKILL


def version(home: Path) -> int:
    """The version of the published repository."""
    path = home / "tuf" / "metadata" / "timestamp.json"
    found = repository.load(path, repository.Timestamp)
    assert found is not None
    return int(found.signed.version)


@pytest.mark.parametrize("replace", [False, True], ids=["after a loss", "in place of rows"])
def test_killed_anywhere_a_hold_of_after_the_backup_lives(tmp_path: Path, *, replace: bool) -> None:
    world = World(tmp_path / "home")
    home, folder = world.home, tmp_path / "backup"
    read = world.store("CUT1001")
    before = version(home)
    backup.make(world.central, folder)
    hold = world.hold("CUT1001")
    world.now = LATE
    retention.purge(world.central)  # the key of its hour is gone, that of the hold is not
    assert world.traces(read) == ["row", "kept", "picture"]
    if replace:
        world.central.close()
    else:
        world.lose()
    cuts = 0
    for step in range(12):
        process = restoring(home, folder, replace=replace)
        if not killed(process, home, step * 0.06):
            break
        if not cutoff.begun(home):
            break  # past its note: the rest is an ordinary purge
        cuts += 1
        with pytest.raises(StoreError, match="cut off") as told:
            Central(home)
        assert str(folder) in (told.value.remedy or "")
        assert "cut off" in run(home, "purge", check=False).stderr
    assert cuts >= 2
    if cutoff.begun(home):
        assert restoring(home, folder, replace=False).wait(120) == 0  # the same again goes on
    assert cutoff.begun(home) is None
    assert not list(home.glob(".scratch-*"))
    world.central = Central(home, lambda: world.now)
    retention.purge(world.central)
    assert world.traces(read) == ["row", "kept", "picture"]
    link = hold.model_copy(update={"kind": "case"})
    assert world.kept(link) == {read: "CUT1001"}
    with world.central.database.read() as tx:
        assert exemptions.find(world.central, tx, hold.id, "case").number == "restored"
    if not replace:  # no car takes the repository for an older one, however often it was cut off
        assert version(home) > before + 100
    if replace and not world.central.database.server:
        aside = list(home.glob("central.db.*.old"))
        assert len(aside) == 1
        assert exemption_rows(aside[0]) == 1  # what was there, whole: its hold is in it
    world.close()


def exemption_rows(path: Path) -> int:
    """Rows of the register in a file that was set aside."""
    import sqlite3

    with sqlite3.connect(path) as raw:
        return int(raw.execute("SELECT count(*) FROM exemptions").fetchone()[0])


def test_a_refused_restore_leaves_the_home_as_it_was(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    backup.make(world.central, tmp_path / "backup")
    refused = run(world.home, "restore", "--from", str(tmp_path / "backup"), check=False)
    assert "replace" in refused.stderr
    assert cutoff.begun(world.home) is None
    with Central(world.home, lambda: world.now):
        pass
    world.close()


def test_none_while_a_worker_serves(tmp_path: Path) -> None:
    home, folder = make_home(tmp_path / "home"), tmp_path / "backup"
    run(home, "backup", "--to", str(folder))
    server = Server(home)
    server.start()
    try:
        refused = run(home, "restore", "--from", str(folder), "--replace", check=False)
        assert "stop every worker" in refused.stderr
    finally:
        server.stop(signal.SIGKILL)
    assert (home / "run.json").exists()  # a note of a killed worker keeps nobody out
    assert run(home, "restore", "--from", str(folder), "--replace")["reads"] == 0
    assert os.access(home / "central.toml", os.R_OK)


@pytest.mark.one_store  # a server's database is no file that could be set aside
def test_two_restores_keep_both_of_what_they_replace(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    backup.make(world.central, tmp_path / "backup")
    world.central.close()
    for _ in range(2):
        assert restoring(world.home, tmp_path / "backup", replace=True).wait(120) == 0
    assert len(list(world.home.glob("central.db.*.old"))) == 2
    world.central = Central(world.home, lambda: world.now)
    world.close()


@pytest.mark.policy("R-460.5-4b")
def test_the_rows_that_a_restore_replaced_are_in_no_file(tmp_path: Path) -> None:
    """PostgreSQL leaves deleted rows in its files until they are rewritten; SQLite sets aside."""
    world = World(tmp_path / "home")
    world.store("MRK1000")  # an empty part would be dropped, file and all
    backup.make(world.central, tmp_path / "backup")
    read = world.store("MRK1001")
    with world.central.database.read() as tx:
        row = tx.execute(select(db.reads).where(db.reads.c.id == read)).one()
    with world.central.keystore.database.read() as tx:
        key = tx.scalar(select(db.read_keys.c.wrapped).where(db.read_keys.c.id == read))
    assert key is not None
    signs = {"cell": row.cell[:64], "digest": row.digest0, "key": key[:64]}
    stored = b"".join(data for _, data in everything(world.home))
    for what, sign in signs.items():
        assert sign in stored, what
    world.central.close()
    assert restoring(world.home, tmp_path / "backup", replace=True, now=world.now).wait(120) == 0
    world.central = Central(world.home, lambda: world.now)
    for path, data in everything(world.home):
        if path.name.startswith("central.db.") and ".old" in path.name:
            continue  # what was there, for whoever looks the restore over; its keys are gone
        for what, sign in signs.items():
            assert sign not in data, (what, path)
    assert world.central.database.checkpoint() == 0
    world.close()


@pytest.mark.one_store  # a keystore on a server has a standby instead
@pytest.mark.policy("R-460.5-4b")
def test_the_keystores_replica_follows_a_restore(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    second = tmp_path / "disk" / "second.db"
    world = World(tmp_path / "home", storage=config.StorageSettings(replica=str(second)))
    read = world.store("REP1001")
    backup.make(world.central, tmp_path / "backup")
    hold = world.hold("REP1001")
    world.central.close()
    assert restoring(world.home, tmp_path / "backup", replace=True, now=world.now).wait(120) == 0
    keystore = world.home / "keystore.db"
    assert replica.Replica(keystore, second).state() == ""
    assert replica.differences(keystore, second) == 0
    world.central = Central(world.home, lambda: world.now)
    assert world.kept(hold.model_copy(update={"kind": "case"})) == {read: "REP1001"}
    world.close()
