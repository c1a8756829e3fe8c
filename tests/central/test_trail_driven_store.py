"""Commands of the store itself: beginning, serving, keys, backup and its return (R-AT-1)."""

from __future__ import annotations

from pathlib import Path

import pytest
import storekind
from central_world import AGENCY, Server, add_person, make_home, run
from trail_world import Drive, drives

from alprd.central.storage.audit import Event

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(900)]
SECRET = "an invented passphrase of the ceremony"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """An agency that nobody serves, with the person who keeps its keys."""
    home = make_home(tmp_path_factory.mktemp("store") / "home")
    add_person(home, "dana", "admin_supervisor")
    return Drive(home)


@drives("init", "serve")
def test_an_agency_begins_and_serves(drive: Drive, tmp_path: Path) -> None:
    """``serve`` is a process: it tells of its start and of its end."""
    home = tmp_path / "other"
    fresh = Drive(home)
    fresh.act("init", "--agency", AGENCY, "--name", "Becker (test)", *storekind.options(home))
    drive.driven |= fresh.driven
    before, server = fresh.last(), Server(home)
    server.start()
    assert Event.STARTED.value in {event.event for event in fresh.since(before)}
    assert server.stop() == 0
    assert Event.STOPPED.value in {event.event for event in fresh.since(before)}
    drive.driven.add("serve")


@drives("compliance run", "audit anchor", "purge", "publish", "keys rotate")
def test_daily_work_is_ordered_at_once(drive: Drive) -> None:
    """Each of these the house does by itself; here nobody serves (R-460.5-4: the purge)."""
    for name in ("compliance run", "audit anchor", "purge", "publish", "keys rotate"):
        drive.act(name)
    before = drive.last()
    assert run(drive.home, "purge")["reads"] == 0
    [told] = [one for one in drive.since(before) if one.event == Event.DESTROYED.value]
    assert told.detail["reads"] == 0, "nothing was due, and the order stands in the trail"


@drives("backup", "restore-drill", "restore")
def test_a_backup_is_made_drilled_and_brought_back(drive: Drive, tmp_path: Path) -> None:
    folder = str(tmp_path / "backup")
    drive.act("backup", "--to", folder, "--by", "dana")
    drive.act("restore-drill", "--from", folder)
    # The trail is that of the backup again, in which nothing had been restored yet.
    assert Event.RESTORED.value not in {event.event for event in drive.since(0)}
    run(drive.home, "restore", "--from", folder, "--replace")
    [told] = [event for event in drive.since(0) if event.event == Event.RESTORED.value]
    assert told.address.startswith("command line of ")
    drive.driven.add("restore")


@drives("keys make-replica", "keys promote-replica")
def test_a_keystores_replica_is_made_and_takes_its_place(drive: Drive, tmp_path: Path) -> None:
    """A replica is of a keystore in a file, whatever the other tests' store is (ADR 0054)."""
    home = tmp_path / "home"
    run(home, "init", "--agency", AGENCY, "--name", "Becker (test)", "--replica",
        str(tmp_path / "replica.db"))  # fmt: skip
    own = Drive(home)
    (tmp_path / "replica.db").unlink()
    own.act("keys make-replica")
    for path in home.glob("keystore.db*"):
        path.unlink()
    own.act("keys promote-replica")
    drive.driven |= own.driven


@drives("tuf ceremony", "tuf renew-root", "tuf rotate-key", "tuf rotate-root")
def test_the_keys_of_the_publication_are_changed(drive: Drive, tmp_path: Path) -> None:
    """R-460.6-a: the root's key is in files, which a person brings along."""
    by = ("--passphrase-stdin", "--by", "dana")
    first, second = tmp_path / "first", tmp_path / "second"
    made = drive.typed(f"{SECRET}\n", "tuf ceremony", "--out", str(first), *by)
    key = ("--root-key", made["files"][0])
    drive.typed(f"{SECRET}\n", "tuf renew-root", *key, *by)
    drive.typed(f"{SECRET}\n", "tuf rotate-key", "timestamp", *key, *by)
    drive.typed(f"{SECRET}\n{SECRET}\n", "tuf rotate-root", *key, "--out", str(second), *by)
