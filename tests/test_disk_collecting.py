"""The collecting side on a disk that fills: what a deputy and the public log see of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from test_collect import KEY
from test_custody import Car, make, person
from test_disk import LIMITS, run

from alprd import disk as disk_module
from alprd.audit import Event, verify_chain
from alprd.crypto import open_read
from alprd.disk import DiskGuard, Level, free_bytes
from alprd.errors import StoreError
from alprd.keeper import Keeper
from alprd.lives import Lives
from alprd.mark import PurgeClock
from alprd.workers import Beat

MB = 1_000_000


class Rig:
    """A car on a small disk, its keeper running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.car: Car = make(folder)
        self.car.permit()
        store = self.car.store
        self.disk = DiskGuard(
            folder,
            LIMITS,
            trail=store,
            alarms=store.alarms,
            drop_caches=store.drop_caches,
            reusable=store.reusable_bytes,
        )
        store.on_no_room = self.disk.no_room
        self.car.collector._disk = self.disk
        mark = PurgeClock(self.car.clock)
        self.keeper = Keeper(
            store=store, sessions=self.car.sessions, board=self.car.board,
            permits=self.car.permits, roster=self.car.book, clock=self.car.clock, mark=mark,
            lives=Lives(store, self.car.clock, mark), collecting=self.car.collecting,
            camera_up=lambda: True, held=self.car.held, disk=self.disk,
        )  # fmt: skip
        self._beat = Beat()
        self._thread = threading.Thread(target=self.keeper.run, args=(self._beat,))
        self._thread.start()

    def stop(self) -> None:
        self._beat.stop()
        self._thread.join(20)
        self.car.store.close()

    def leave(self, free: int) -> None:
        """Let another program take all space but so much."""
        with (self.folder / "other").open("ab", buffering=0) as other:
            try:
                while (more := free_bytes(self.folder) - free) > 0:
                    other.write(bytes(min(more, MB)))
            except OSError:
                pass

    def queued(self) -> int:
        return self.car.store.pending().reads


def wait(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if not run("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)):
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    try:
        made = Rig(folder)
        yield made
        made.stop()
    finally:
        run("umount", "-l", str(folder))


@pytest.mark.policy("R-460.5-2", "R-460.5.1-a", "R-AT-3")
def test_a_full_disk_ends_the_session_truthfully_and_room_begins_another(rig: Rig) -> None:
    car = rig.car
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    car.play("ZQX417")
    assert rig.queued() == 1
    rig.leave(0)
    car.play("ZQX418")  # finds no room; the reserve takes it
    assert rig.queued() == 2
    wait(lambda: not car.sessions.is_open, "collecting ends")
    wait(car.rows, "the end is written")
    (row,) = car.rows()
    assert (row.end_reason, row.plates_read, row.queued) == ("disk_full", 2, 2)
    assert [alarm.code for alarm in car.store.alarms.now()] == ["disk_low"]
    car.play("ZQX419")  # nothing is collected now
    assert rig.queued() == 2
    (rig.folder / "other").unlink()
    wait(lambda: car.sessions.is_open, "the operator is still signed on: a session of its own")
    again = car.sessions.row()
    assert again is not None and again.id != row.id
    assert again.started >= row.ended - timedelta(seconds=1)
    car.play("ZQX420")
    assert rig.queued() == 3
    wait(lambda: not car.store.alarms.now(), "the alarm is over")
    assert rig.disk.lost == 0
    assert verify_chain(car.store.audit_events()) > 0
    assert [n for n in car.names() if n.startswith("disk.")][:1] == [Event.DISK_LOW]


def test_who_signed_off_meanwhile_collects_no_more(rig: Rig) -> None:
    car = rig.car
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    rig.leave(LIMITS.stop - MB)
    wait(lambda: not car.sessions.is_open, "collecting ends")
    car.collecting.signed_off("by hand")
    (rig.folder / "other").unlink()
    wait(lambda: rig.disk.level is Level.OK, "room again")
    time.sleep(2.2)
    assert not car.sessions.is_open


@pytest.mark.policy("R-460.5-2")
def test_low_space_keeps_reads_without_their_wide_picture(rig: Rig) -> None:
    car = rig.car
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    car.play("ZQX417")
    rig.leave(LIMITS.no_wide - MB)
    wait(lambda: rig.disk.level is Level.NO_WIDE, "the level is seen")
    car.play("ZQX418")
    first, second = (open_read(q.envelope, KEY) for q in car.store.claim(9, 10**9, 0.0))
    assert first.wide_picture is not None and second.wide_picture is None
    assert car.sessions.is_open


@pytest.mark.policy("R-460.5-2", "R-AT-3")
def test_a_read_that_is_lost_stays_counted_and_the_trail_says_so(rig: Rig) -> None:
    car = rig.car
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    (rig.folder / disk_module.RESERVE_FILE).unlink()
    rig.leave(0)
    log_room = 0
    while rig.disk.lost == 0:
        log_room += 1
        assert log_room < 300
        car.play(f"ZQX{500 + log_room}")
        rig.leave(0)
    wait(lambda: not car.sessions.is_open, "collecting ends")
    kept = rig.queued()
    (rig.folder / "other").unlink()
    wait(lambda: Event.READS_LOST in car.names(), "the loss is recorded")
    row = next(row for row in car.rows() if row.end_reason == "disk_full")
    assert row.plates_read - row.queued == rig.disk.lost >= 1
    assert row.queued == kept
    assert "reads_lost" in {alarm.code for alarm in car.store.alarms.now()}


@pytest.mark.policy("R-AT-3")
def test_a_hit_whose_event_finds_no_room_is_not_shown_but_its_read_is_kept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    car = rig.car
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")

    def refuse(*args: object, **kwargs: object) -> None:
        raise StoreError("the trail cannot be written")

    monkeypatch.setattr(car.board, "raise_alert", refuse)
    with pytest.raises(StoreError, match="trail"):
        car.play("STL417", "final")
    assert rig.queued() == 1


def test_a_day_without_its_intake_key_is_told_until_the_dock_brings_keys(rig: Rig) -> None:
    car = rig.car
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    keys = car.targets.intake_keys
    old = keys.model_copy(
        update={"keys": tuple(k.model_copy(update={"day": "2026-01-01"}) for k in keys.keys)}
    )
    now = car.targets
    car.targets = replace(now, intake_keys=old)
    car.play("ZQX417")
    assert [alarm.code for alarm in car.store.alarms.now()] == ["intake_key"]
    assert rig.queued() == 1
    car.targets = now
    car.play("ZQX418")
    assert car.store.alarms.now() == ()
