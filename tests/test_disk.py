"""Low disk on real small file systems: nothing committed is lost, nothing lost is hidden."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from factories import NOW, jpeg, read, session_row

from alprd import disk as module
from alprd.alarms import AlarmBook
from alprd.audit import DAEMON, Event, verify_chain
from alprd.config import Config
from alprd.crypto import generate_key, seal_read
from alprd.disk import DiskGuard, Level, Limits, free_bytes, guard
from alprd.errors import ConfigError, DiskFullError, StoreError
from alprd.orderbook import OrderBook
from alprd.records import new_id
from alprd.store import EXPIRE_BYTES, Store
from alprd.wire import Order, Receipt, ReceiptItem

MB = 1_000_000
KEY = generate_key().public_key()
PICTURE = jpeg(300, 200)
SIZE = 40
"""Megabytes of the small file systems."""
EXT4_SHUTDOWN = 0x8004587D
NO_FLUSH = 2


def run(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes; ext4 on a loop device, as a car's disk has it."""
    place = tmp_path / "disk"
    place.mkdir()
    if request.param == "tmpfs":
        made = run("mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(place))
    else:
        image = tmp_path / "image"
        image.write_bytes(bytes(SIZE * 1024 * 1024))
        made = (
            shutil.which("mkfs.ext4") is not None
            and run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image))
            and run("mount", "-o", "loop", str(image), str(place))
        )
    if not made:
        pytest.skip(f"a small {request.param} cannot be mounted here (needs root)")
    try:
        yield place
    finally:
        run("mount", "-o", "remount,rw", str(place))
        if not run("umount", str(place)):
            run("umount", "-l", str(place))


LIMITS = Limits(alarm=24 * MB, caches=21 * MB, no_wide=18 * MB, stop=15 * MB, reserve=10 * MB)


class Car:
    """A store and its guard on a small disk, and something else that fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alarms = AlarmBook()
        self.store = Store(
            folder / "queue.db", now=lambda: (NOW, True), device="car-1", alarms=self.alarms
        )
        self.disk = DiskGuard(
            folder,
            LIMITS,
            trail=self.store,
            alarms=self.alarms,
            drop_caches=self.store.drop_caches,
            reusable=self.store.reusable_bytes,
        )
        self.store.on_no_room = self.disk.no_room
        self.row = session_row()
        self.store.open_session(self.row, DAEMON)
        self.committed: list[str] = []

    def commit(self, *, big: bool = True) -> bool:
        value = read(session=self.row.id, wide_picture=PICTURE if big else None)
        envelope = seal_read(value, agency="becker", vehicle="car-1", intake_key=KEY)
        held = self.disk.commit(
            lambda: self.store.commit_read(envelope, hit=False, session_row=self.row)
        )
        if held:
            self.committed.append(value.id)
        return held

    def fill(self, leave: int = 0) -> None:
        """Another program takes all space but ``leave`` bytes."""
        with (self.folder / "other").open("ab") as file:
            try:
                while (free := free_bytes(self.folder) - leave) > 0:
                    file.write(bytes(min(free, 65_536)))
                    file.flush()
            except OSError:
                file.truncate(max(0, file.tell() - leave)) if leave else None

    def make_room(self) -> None:
        (self.folder / "other").unlink(missing_ok=True)

    def reopened(self) -> Store:
        self.store.close()
        return Store(self.folder / "queue.db", now=lambda: (NOW, True), device="car-1")


@pytest.fixture
def car(small: Path) -> Iterator[Car]:
    made = Car(small)
    yield made
    made.store.close()


def whole(store: Store, committed: list[str]) -> None:
    """Every read whose commit returned is there; ledger and trail are whole."""
    assert {q.id for q in store.claim(9999, 10**9, 0.0)} >= set(committed)
    totals = store.ledger()
    assert totals.left == store.pending().reads
    assert totals.lost == 0
    assert verify_chain(store.audit_events()) >= 1


# --- levels ---------------------------------------------------------------------------------------


def test_levels_rise_at_once_and_fall_only_with_a_quarter_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    free = 10_000 * MB
    monkeypatch.setattr(module, "free_bytes", lambda folder: free)
    dropped: list[int] = []
    watch = DiskGuard(
        tmp_path, Limits(), trail=store, alarms=store.alarms, drop_caches=lambda: dropped.append(1)
    )
    seen = []
    for mb in (1100, 999, 499, 249, 120, 99, 101, 124, 126, 300, 320, 700, 1240, 1260):
        free = mb * MB
        watch.look()
        seen.append((watch.level.name, watch.keep_wide, watch.stop_reason))
    assert [name for name, _, _ in seen] == [
        *("OK", "LOW", "CACHES", "NO_WIDE", "NO_WIDE", "STOP", "STOP", "STOP", "NO_WIDE"),
        *("NO_WIDE", "CACHES", "LOW", "LOW", "OK"),
    ]
    assert all(keep == (name in {"OK", "LOW", "CACHES"}) for name, keep, _ in seen)
    assert all((why == "disk_full") == (name == "STOP") for name, _, why in seen)
    assert dropped == [1, 1]
    told = [
        (event.event, event.detail["level"])
        for event in store.audit_events()
        if event.event.startswith("disk.")
    ]
    assert told == [
        *(("disk.low", "low"), ("disk.low", "caches"), ("disk.low", "no_wide")),
        *(("disk.low", "stop"), ("disk.enough", "no_wide"), ("disk.enough", "caches")),
        *(("disk.enough", "low"), ("disk.enough", "ok")),
    ]
    assert store.alarms.now() == ()
    store.close()


def test_the_reserve_stands_on_the_disk_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    config = Config.model_validate(
        {
            "state_dir": tmp_path,
            "camera": [{"name": "a", "source": "file:/a.mp4"}],
            "gps": {"source": "file:/a.nmea"},
            "storage": {"reserve_mb": 8},
        }
    )
    guard(config, store)
    told = (tmp_path / module.RESERVE_FILE).stat()
    assert (told.st_size, told.st_mode & 0o777) == (8 * MB, 0o600)
    assert told.st_blocks * 512 >= 8 * MB  # allocated, not a hole
    store.close()


@pytest.mark.policy("R-460.5-4")
@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("retention_hours = 1441", "1440"),
        ("retention_hours = -1", "greater than or equal to 0"),
        ("stop_mb = 300", "must not rise"),
        ("reserve_mb = 200", "never be whole"),
        ("stop = 1", "unknown key"),
    ],
)
def test_a_longer_life_or_limits_without_order_end_the_start(
    tmp_path: Path, storage: str, told: str
) -> None:
    from alprd.config import load

    path = tmp_path / "alprd.toml"
    path.write_text(
        'state_dir = "/x"\n[[camera]]\nname = "a"\nsource = "file:/a"\n[gps]\nsource = "file:/b"\n'
        f"[storage]\n{storage}\n"
    )
    with pytest.raises(ConfigError, match=told):
        load(path)


# --- a disk that fills ----------------------------------------------------------------------------


@pytest.mark.policy("R-460.5-2", "R-460.5.1-a")
def test_reads_fill_the_disk_step_by_step_and_none_is_lost(car: Car) -> None:
    """As in the car: a look a second; here one after each read."""
    seen = []
    with (car.folder / "other").open("ab", buffering=0) as other:
        while car.disk.stop_reason is None and len(car.committed) < 500:
            assert car.commit(big=car.disk.keep_wide)
            seen.append(car.disk.look())
            other.write(bytes(200_000))
    assert seen == sorted(seen) and set(seen) == set(Level)
    assert car.disk.stop_reason == "disk_full"
    car.store.close_session(car.row.model_copy(update={"end_reason": "disk_full"}))
    assert car.store.write_late()
    assert (car.folder / module.RESERVE_FILE).exists()
    assert car.disk.lost == 0
    store = car.reopened()
    whole(store, car.committed)
    (row,) = store.unsent_sessions()
    assert (row.end_reason, row.queued) == ("disk_full", len(car.committed))
    store.close()


@pytest.mark.policy("R-460.5-2", "R-AT-3")
def test_another_program_takes_everything_and_the_reserve_saves_the_last_words(car: Car) -> None:
    for _ in range(5):
        assert car.commit()
    car.fill()
    assert free_bytes(car.folder) < 8192
    began = time.monotonic()
    assert car.commit()  # out of the reserve
    assert time.monotonic() - began < module.IN_RAM_S
    assert not (car.folder / module.RESERVE_FILE).exists()
    assert car.disk.stop_reason == "disk_full"
    car.disk.look()
    car.store.close_session(car.row.model_copy(update={"end_reason": "disk_full"}))
    assert car.store.write_late()
    kinds = [event.event for event in car.store.audit_events()]
    assert kinds[-2:] == [Event.DISK_LOW, Event.SESSION_CLOSED]
    assert [alarm.code for alarm in car.alarms.now()] == ["disk_low"]
    store = car.reopened()
    whole(store, car.committed)
    assert store.unsent_sessions()[0].end_reason == "disk_full"
    store.close()


@pytest.mark.policy("R-460.5-2", "R-AT-3")
def test_what_finds_no_room_at_all_is_counted_lost_and_said_when_it_can_be(car: Car) -> None:
    """Not even the reserve is there: the read waits 2 s in RAM, then collecting ends."""
    assert car.commit()
    (car.folder / module.RESERVE_FILE).unlink()
    car.fill()
    began = time.monotonic()
    while car.commit(big=True):  # the log may still have room of its own
        assert len(car.committed) < 50
        car.fill()
    assert time.monotonic() - began < module.IN_RAM_S + 5
    assert (car.disk.lost, car.disk.stop_reason) == (1, "disk_full")
    car.disk.look()
    car.store.close_session(car.row.model_copy(update={"end_reason": "disk_full"}))
    car.make_room()
    assert car.store.write_late()
    car.disk.look()
    assert car.disk.stop_reason is None
    car.disk.look()
    events = {event.event: event.detail for event in car.store.audit_events()}
    assert events[Event.READS_LOST] == {"count": 1, "why": "disk"}
    assert (car.folder / module.RESERVE_FILE).exists()  # made again
    assert "reads_lost" in {alarm.code for alarm in car.alarms.now()}
    store = car.reopened()
    whole(store, car.committed)
    assert store.unsent_sessions()[0].end_reason == "disk_full"
    store.close()


def test_room_that_comes_back_within_two_seconds_costs_nothing(car: Car) -> None:
    assert car.commit()
    (car.folder / module.RESERVE_FILE).unlink()
    car.fill()
    timer = threading.Timer(0.7, car.make_room)
    timer.start()
    for _ in range(3):
        assert car.commit()
    timer.join()
    assert car.disk.lost == 0
    whole(car.store, car.committed)


def test_a_full_disk_in_mid_transaction_leaves_nothing_half_done(car: Car) -> None:
    """SQLITE_FULL after some of the rows: the read, the count and the session go back together."""
    assert car.commit()
    (car.folder / module.RESERVE_FILE).unlink()
    before = car.store.ledger()
    car.fill()
    value = read(session=car.row.id, wide_picture=jpeg(900, 700))
    envelope = seal_read(value, agency="becker", vehicle="car-1", intake_key=KEY)
    changed = car.row.model_copy(update={"plates_read": 99})
    with pytest.raises(DiskFullError, match="cannot be written"):
        car.store.commit_read(envelope, hit=False, session_row=changed)
    assert car.store.ledger() == before
    assert [row.plates_read for row in car.store.open_sessions()] == [0]
    with pytest.raises(StoreError):
        while True:
            car.store.record(Event.SIGNED_ON, detail={"words": "x" * 4000})
    car.make_room()
    whole(car.store, car.committed)
    assert car.commit()


@pytest.mark.policy("R-460.5-2")
@pytest.mark.parametrize("small", ["ext4"], indirect=True)
def test_a_disk_that_dies_ends_collecting_as_an_error_and_keeps_what_was_committed(
    car: Car,
) -> None:
    """Shut down under the daemon's open files: every write and fsync then fails (EIO)."""
    for _ in range(6):
        assert car.commit()
    handle = os.open(car.folder, os.O_RDONLY)
    fcntl.ioctl(handle, EXT4_SHUTDOWN, struct.pack("I", NO_FLUSH))
    os.close(handle)
    assert not car.commit()
    assert (car.disk.stop_reason, car.disk.lost) == ("error", 1)
    car.store.close_session(car.row.model_copy(update={"end_reason": "error"}))
    assert not car.store.write_late()
    assert car.disk.look() is Level.STOP
    assert "takes no writes" in dict(car.alarms.now())["disk_low"]
    car.store.close()
    assert run("umount", str(car.folder))
    assert run("mount", "-o", "loop", str(car.folder.parent / "image"), str(car.folder))
    store = Store(car.folder / "queue.db", now=lambda: (NOW, True), device="car-1")
    whole(store, car.committed)
    assert len(store.open_sessions()) == 1  # to be closed as a loss of power, at its last beat
    store.close()


@pytest.mark.policy("R-460.5-2", "R-460.5-4")
def test_a_full_disk_can_still_be_emptied_by_the_dock(car: Car) -> None:
    """Destroying overwrites, and that needs room in the log: the reserve, or smaller batches."""
    while len(car.committed) < 120:
        assert car.commit()
    (car.folder / module.RESERVE_FILE).unlink()
    car.store.drop_caches()
    car.fill(leave=1 * MB)
    assert car.disk.look() is Level.STOP
    reads = car.store.claim(120, 10**9, 60)
    receipt = Receipt(
        agency="becker",
        vehicle="car-1",
        batch=new_id(),
        received_at=NOW,
        items=tuple(ReceiptItem(id=r.id, sha256=r.sha256, outcome="stored") for r in reads),
    )
    assert car.store.destroy_receipted(receipt) == 120
    assert car.store.pending().reads == 0
    told = [e for e in car.store.audit_events() if e.event == Event.READS_DESTROYED]
    assert sum(int(event.detail["count"]) for event in told) == 120
    assert car.store.reusable_bytes() > 5 * MB
    car.committed.clear()
    whole(car.store, [])


@pytest.mark.policy("R-460.5-2b", "R-460.5-4")
@pytest.mark.parametrize("leave", [1_000_000, 0])
def test_reads_past_their_life_go_although_the_free_disk_is_smaller_than_they_are(
    car: Car, leave: int
) -> None:
    """Where no byte is free, the reserve is given up for it."""
    while len(car.committed) < 120:
        assert car.commit()
    car.store.drop_caches()
    if leave:
        (car.folder / module.RESERVE_FILE).unlink()
    car.fill(leave=leave)
    end = read().destroy_by
    assert free_bytes(car.folder) < car.store.pending().reads * 60_000 / 2
    assert car.store.purge(end) == 120
    assert car.store.pending().reads == 0 and car.store.ledger().expired == 120
    told = [e for e in car.store.audit_events() if e.event == Event.READS_EXPIRED]
    assert sum(int(event.detail["count"]) for event in told) == 120
    assert "purge_failed" not in dict(car.alarms.now())
    car.committed.clear()
    whole(car.store, [])


@pytest.mark.policy("R-460.5-b")
def test_an_order_to_destroy_is_obeyed_although_the_free_disk_is_smaller(car: Car) -> None:
    while len(car.committed) < 120:
        assert car.commit()
    car.store.drop_caches()
    car.fill(leave=0)
    serial = new_id()
    todo = Order(
        number=1, serial=serial, kind="destroy", issued=NOW, sessions=(car.row.id,)
    )  # fmt: skip
    book = OrderBook(car.store, giver="becker/car-1", now=lambda: (NOW, True))
    assert book.obey([todo]) == 1
    assert [(one.serial, one.count) for one in book.receipts()] == [(serial, 120)]
    assert car.store.pending().reads == 0 and car.store.ledger().expired == 120
    car.committed.clear()
    whole(car.store, [])


@pytest.mark.policy("R-460.5-2b")
def test_a_long_purge_is_done_in_parts_that_a_power_cut_does_not_undo(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    row = session_row()
    store.open_session(row, DAEMON)
    for _ in range(60):
        value = read(session=row.id, wide_picture=jpeg(400, 400))
        envelope = seal_read(value, agency="becker", vehicle="car-1", intake_key=KEY)
        store.commit_read(envelope, hit=False, session_row=row)
    assert 60 * len(envelope) > 2 * EXPIRE_BYTES
    first = store.purge(value.destroy_by, lambda: True)
    assert 0 < first < 60
    store.close()
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    assert store.ledger().expired == first and store.pending().reads == 60 - first
    assert store.purge(value.destroy_by) == 60 - first
    assert store.ledger().expired == 60 and store.pending().reads == 0
    assert (tmp_path / "queue.db-wal").stat().st_size == 0
    assert verify_chain(store.audit_events()) >= 3
    store.close()


@pytest.mark.policy("R-460.5-4")
def test_a_purge_that_fails_is_an_alarm_until_it_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = AlarmBook()
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1", alarms=alarms)
    value = read()
    envelope = seal_read(value, agency="becker", vehicle="car-1", intake_key=KEY)
    store.commit_read(envelope, hit=False, session_row=session_row())
    reader = _reader(tmp_path / "queue.db")  # holds the log, as a program that looks would
    store._connection.execute("PRAGMA busy_timeout=200")
    with pytest.raises(StoreError, match="in use"):
        store.purge(value.destroy_by)
    with pytest.raises(StoreError):
        store.purge(value.destroy_by)
    assert [alarm.code for alarm in alarms.now()] == ["purge_failed"]
    assert [e.event for e in store.audit_events()].count(Event.PURGE_FAILED) == 1
    reader()
    assert store.purge(value.destroy_by) == 0
    assert alarms.now() == ()
    for path in tmp_path.glob("queue.db*"):
        if path.name != "queue.db-shm":
            assert envelope[-64:] not in path.read_bytes(), path.name
    store.close()


def _reader(path: Path) -> Callable[[], None]:
    import sqlite3

    other = sqlite3.connect(path)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM reads").fetchone()
    return other.close


def test_a_disk_without_room_for_files_counts_as_full(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if not run("mount", "-t", "tmpfs", "-o", "size=6m,nr_inodes=80", "tmpfs", str(place)):
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    try:
        assert free_bytes(place) > MB
        for number in range(40):
            (place / str(number)).touch()
        assert free_bytes(place) == 0
    finally:
        os.sync()
        run("umount", str(place))
