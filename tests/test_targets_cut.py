"""Power cuts while the car takes a publication: a real process dies at every step on the disk.

The process calls ``kill -9`` on itself before or after the n-th rename, link or sync, for every n.
What it had written and not synced is emptied as a file system may do that loses power; then a cold
boot without contact must find a whole set, old or new, and the next dock must bring the new one.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dock_world import LISTED, World, hotlist_plain

from alprd.frames import Character, PlateReading
from alprd.targets import TargetClient, TargetSet
from alprd.trust import Trust

CHILD = r"""
import json, os, signal, sys
from pathlib import Path
from alprd.targets import TargetClient
from alprd.trust import Trust

STEPS = ("fsync", "link", "replace", "rename", "symlink", "unlink", "rmdir")


def take(state, at, after):
    calls, synced = 0, set()
    before = {path.stat().st_ino for path in Path(state).rglob("*") if path.is_file()}

    def cut():
        for path in Path(state, "targets").rglob("*"):
            if path.is_file() and not path.is_symlink():
                if path.stat().st_ino not in synced | before:
                    os.truncate(path, 0)  # never reached the disk
        os.kill(os.getpid(), signal.SIGKILL)

    def guarded(name):
        true = getattr(os, name)

        def step(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == at and not after:
                cut()
            try:
                return true(*arguments, **named)
            finally:
                if name == "fsync":
                    synced.add(os.fstat(arguments[0]).st_ino)
                if calls == at:
                    cut()

        return step

    for name in STEPS:
        setattr(os, name, guarded(name))
    trust = Trust.load(Path(state))
    with trust.client(timeout_s=10) as client:
        TargetClient(trust).refresh(client, clock_agrees=True)
    return calls


for line in sys.stdin:  # each in a copy of this process, which dies instead of it
    job = json.loads(line)
    child = os.fork()
    if not child:
        take(job["state"], job["at"], job["after"])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"killed": os.WIFSIGNALED(status), "code": status}), flush=True)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stop()


def fetch(trust: Trust) -> TargetSet | None:
    with trust.client(timeout_s=10) as connection:
        return TargetClient(trust).refresh(connection, clock_agrees=True)


def lists(found: TargetSet, text: str) -> bool:
    characters = tuple(Character(char, 0.99) for char in text)
    seen = PlateReading(text, "", characters, "MN", 0.9, 0.99, sure=True)
    return bool(found.matcher.match(seen, datetime.now(UTC)))


@pytest.mark.policy("R-460.4.1-b4")
def test_a_power_cut_at_any_step_leaves_a_whole_list(world: World, tmp_path: Path) -> None:
    trust = world.enrol("first")
    assert fetch(trust) is not None
    world.repository.plain["hotlist-lpdf.bin"] = hotlist_plain((LISTED, "NEW123"), version="2")
    world.repository.publish()
    state = tmp_path / "state"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    seen = {"1": 0, "2": 0}
    try:
        for number in range(1, 400):
            shutil.rmtree(state, ignore_errors=True)
            shutil.copytree(trust.state_dir, state, symlinks=True)
            job = {"state": str(state), "at": number, "after": number % 2 == 0}
            child.stdin.write(json.dumps(job) + "\n")
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
            if not answer["killed"]:
                assert answer["code"] == 0
                break
            assert answer["code"] & 0x7F == signal.SIGKILL
            cold = TargetClient(Trust.load(state)).load_offline()
            assert cold is not None, number
            version = cold.versions["lpdf"]
            seen[version] += 1
            assert lists(cold, LISTED)
            assert lists(cold, "NEW123") == (version == "2")
            if number % 4:
                continue
            fetch(Trust.load(state))
            again = TargetClient(Trust.load(state)).load_offline()
            assert again is not None
            assert again.versions["lpdf"] == "2", number
        else:
            pytest.fail("the process never came to its end")
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(30)
    assert seen["1"] > 40
    assert seen["2"] > 15
    assert not any((state / "targets" / "downloads").iterdir())


@pytest.mark.policy("R-460.4.1-b")
def test_metadata_that_a_power_cut_emptied_does_not_open_the_door_to_an_older_one(
    world: World, tmp_path: Path
) -> None:
    trust = world.enrol("first")
    old = dict(world.files)
    world.repository.publish()
    assert fetch(trust) is not None
    for name in ("timestamp.json", "snapshot.json", "targets.json"):
        (trust.state_dir / "targets" / "metadata" / name).write_bytes(b"")
    new = dict(world.files)
    world.files.clear()
    world.files.update(old)
    with pytest.raises(Exception, match=r"\(rollback\)"):
        fetch(trust)
    world.files.update(new)
    assert TargetClient(trust).load_offline() is not None
