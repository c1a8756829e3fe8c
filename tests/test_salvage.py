"""A damaged queue: whatever still proves itself goes on, and the rest is counted, never hidden."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOW, jpeg, read, session_row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alprd import salvage
from alprd.alarms import AlarmBook
from alprd.audit import DAEMON, Event, verify_chain
from alprd.carve import PAGE, CarvedFile
from alprd.crypto import generate_key, seal_read, sha256_hex
from alprd.errors import StoreError
from alprd.records import new_id
from alprd.rescue import PURGES_KEPT
from alprd.store import Store
from alprd.wire import Receipt, ReceiptItem

KEY = generate_key().public_key()
PICTURE = jpeg(300, 200)  # about 60 kB: a read then stands on overflow pages, as in the car
CLOSED = session_row(end_reason="signed_off", plates_read=41)
OPEN = session_row(plates_read=7)


def open_store(folder: Path, alarms: AlarmBook | None = None) -> Store:
    return Store(folder / "queue.db", now=lambda: (NOW, True), device="car-1", alarms=alarms)


def sealed(session: str, *, big: bool) -> bytes:
    value = read(session=session, wide_picture=PICTURE if big else None)
    return seal_read(value, agency="becker", vehicle="car-1", intake_key=KEY)


def fill(store: Store, reads: int = 24, events: int = 40) -> None:
    """A queue with a bit of everything: two sessions, reads sent and not, a trail half sent."""
    store.set_meta("time-mark", '{"utc": "2026-06-01T12:00:00+00:00"}')
    store.open_session(CLOSED, DAEMON)
    store.close_session(CLOSED)
    store.open_session(OPEN, DAEMON)
    _commit(store, range(reads // 2))
    taken = store.claim(4, 10**9, 0.0)
    store.destroy_receipted(
        Receipt(
            agency="becker",
            vehicle="car-1",
            batch=new_id(),
            received_at=NOW,
            items=tuple(ReceiptItem(id=q.id, sha256=q.sha256, outcome="stored") for q in taken),
        )
    )
    _commit(store, range(reads // 2, reads))  # these stand in the log alone
    for number in range(events):
        store.record(Event.SIGNED_ON, DAEMON, detail={"number": number})
    store.mark_audit_sent(events // 2)


def _commit(store: Store, numbers: range) -> None:
    for number in numbers:
        envelope = sealed(OPEN.id, big=number % 3 == 0)
        store.commit_read(envelope, hit=number % 5 == 0, session_row=OPEN)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled queue as a power cut leaves it: file and log, nothing folded in at a close."""
    folder = tmp_path_factory.mktemp("template")
    store = open_store(folder)
    fill(store)
    kept = tmp_path_factory.mktemp("kept")
    for path in folder.iterdir():
        shutil.copyfile(path, kept / path.name)
    (kept / "queue.db-shm").unlink()
    store.close()
    return kept


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    for path in template.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


def fold(folder: Path) -> None:
    """Bring the log into the file, so that damage to the file is not covered by the log."""
    connection = sqlite3.connect(folder / "queue.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def readable(path: Path) -> set[str]:
    """Ids of whole reads that SQLite itself can still read, row by row."""
    ids: set[str] = set()
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        for seq in range(1, 64):
            with suppress(sqlite3.Error, UnicodeDecodeError):
                row = connection.execute(
                    "SELECT id, envelope, sha256 FROM reads NOT INDEXED WHERE seq = ?", (seq,)
                ).fetchone()
                if row and isinstance(row[1], bytes) and sha256_hex(row[1]) == row[2]:
                    ids.add(row[0])
    finally:
        connection.close()
    return ids


def queued(store: Store) -> set[str]:
    return {read.id for read in store.claim(1000, 10**9, 0.0)}


def pages_of(path: Path, kind: int) -> list[int]:
    """Page numbers whose type byte is ``kind`` (0x0D table leaf, 0x0A index leaf, 0 overflow)."""
    data = path.read_bytes()
    return [n + 1 for n in range(1, len(data) // PAGE) if data[n * PAGE] == kind]


def overwrite(path: Path, page: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(data)


def table_leaf(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(
            connection.execute(
                "SELECT max(pageno) FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,)
            ).fetchone()[0]
        )
    finally:
        connection.close()


def check(store: Store, before: set[str]) -> None:
    """What must hold after any damage: the ledger adds up, and the queue works."""
    assert not store.rescue_step(30)
    totals = store.ledger()
    assert totals.left == store.pending().reads
    there = len(queued(store))  # what rotted without harm to the tables shows only now
    totals, rotted = store.ledger(), totals.left - there
    assert totals.left == store.pending().reads == there
    told = [event for event in store.audit_events() if event.event == Event.READS_ROTTEN]
    assert len(told) >= rotted >= 0
    assert before <= queued(store)
    new = sealed(OPEN.id, big=False)
    store.commit_read(new, hit=False, session_row=OPEN)
    assert store.ledger().left == totals.left + 1


# --- the parser ---------------------------------------------------------------------------------


def test_every_row_of_a_whole_file_is_carved_as_sqlite_reads_it(folder: Path) -> None:
    for folded in (False, True):
        if folded:
            fold(folder)
        file = CarvedFile(folder / "queue.db")
        found = salvage.look(file)
        saved = {read.id: read for read in salvage.reads_of(file, found.read_pages)}
        file.close()
        connection = sqlite3.connect(folder / "queue.db")
        rows = connection.execute("SELECT id, envelope, hit FROM reads").fetchall()
        events = dict(connection.execute("SELECT seq, sent FROM audit").fetchall())
        ledger = connection.execute("SELECT * FROM ledger").fetchall()
        connection.close()
        assert {(r.id, r.envelope, int(r.hit)) for r in saved.values()} == set(rows)
        assert len(saved) == 20
        assert {seq: int(sent) for seq, (_, sent) in found.audit.items()} == events
        assert [(name, *counts) for name, counts in found.ledger.items()] == ledger
        assert set(found.sessions) == {OPEN.id, CLOSED.id}
        assert found.meta["time-mark"].startswith('{"utc"')
        assert (found.damaged_cells, found.damaged_frames, file.log_has_hole) == (0, 0, False)


@pytest.mark.parametrize("cut", [1, PAGE // 2, PAGE + 24])
def test_a_torn_end_of_the_log_is_no_damage(folder: Path, cut: int) -> None:
    """What a loss of power leaves: the car starts without alarm and without quarantine."""
    log = folder / "queue.db-wal"
    os.truncate(log, log.stat().st_size - cut)
    alarms = AlarmBook()
    store = open_store(folder, alarms)
    assert alarms.now() == ()
    assert not list(folder.glob("queue.damaged*"))
    store.close()


# --- damage of every kind -----------------------------------------------------------------------


def _header(folder: Path) -> None:
    overwrite(folder / "queue.db", 1, b"\xff" * 100)


def _first_page(folder: Path) -> None:
    overwrite(folder / "queue.db", 1, bytes(PAGE))


def _zeroed(folder: Path) -> None:
    path = folder / "queue.db"
    path.write_bytes(bytes(path.stat().st_size))


def _emptied(folder: Path) -> None:
    os.truncate(folder / "queue.db", 0)


def _half(folder: Path) -> None:
    path = folder / "queue.db"
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def _odd_cut(folder: Path) -> None:
    path = folder / "queue.db"
    os.truncate(path, path.stat().st_size * 2 // 3 + 77)


def _leaf(table: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "queue.db"
        overwrite(path, table_leaf(path, table), b"\x5a" * PAGE)

    return damage


def _index(folder: Path) -> None:
    path = folder / "queue.db"
    for page in pages_of(path, 0x0A):
        overwrite(path, page, b"\x5a" * PAGE)


def _root(folder: Path) -> None:
    path = folder / "queue.db"
    for page in pages_of(path, 0x05):
        overwrite(path, page, b"\x5a" * PAGE)


def _overflow(folder: Path) -> None:
    path = folder / "queue.db"
    overwrite(path, pages_of(path, 0x00)[3], b"\x5a" * PAGE)


@pytest.mark.policy("R-460.5-2")
@pytest.mark.parametrize(
    ("damage", "least"),
    [
        (_header, 20),
        (_first_page, 20),
        (_zeroed, 0),
        (_emptied, 0),
        (_half, 1),
        (_odd_cut, 1),
        (_leaf("reads"), 1),
        (_leaf("audit"), 20),
        (_leaf("ledger"), 20),
        (_leaf("sessions"), 20),
        (_leaf("meta"), 20),
        (_index, 20),
        (_root, 20),
        (_overflow, 18),
    ],
)
def test_each_kind_of_damage_leaves_a_queue_that_works_and_a_ledger_that_tells(
    folder: Path, damage: Callable[[Path], None], least: int
) -> None:
    fold(folder)
    damage(folder)
    try:
        before = readable(folder / "queue.db")
    except sqlite3.Error:
        before = set()
    alarms = AlarmBook()
    store = open_store(folder, alarms)
    assert len(queued(store)) >= least
    check(store, before)
    events = {event.seq: event for event in store.audit_events()}
    kinds = {event.event for event in events.values()}
    damaged = list(folder.glob("queue.damaged-1.db"))
    if damage is _emptied:
        assert Event.QUEUE_QUARANTINED in kinds
        assert [alarm.code for alarm in alarms.now()] == ["queue_damaged"]
    elif damaged:  # a page of an envelope is not seen by SQLite's own check
        assert {Event.QUEUE_QUARANTINED, Event.QUEUE_SALVAGED} <= kinds
        assert [alarm.code for alarm in alarms.now()] == ["queue_damaged"]
        assert damaged[0].stat().st_mode & 0o777 == 0o600
    else:
        assert damage is _overflow
    # Whatever was lost, central can go on: what it acknowledged (20 events) is continued.
    unsent = [event for event in events.values() if event.seq > 20]
    head = salvage.read_head(folder)
    assert verify_chain(unsent, previous=head[1], seq=head[0]) >= 21
    store.close()


def test_a_hole_in_the_log_takes_only_what_stood_on_it(folder: Path) -> None:
    """SQLite drops everything behind a bad frame without a word; the frames behind it count."""
    log = folder / "queue.db-wal"
    frames = (log.stat().st_size - 32) // (PAGE + 24)
    with log.open("r+b") as file:
        file.seek(32 + (frames // 3) * (PAGE + 24) + 24)
        file.write(b"\x5a" * PAGE)
    beside = folder / "beside"
    beside.mkdir()
    for name in ("queue.db", "queue.db-wal"):
        shutil.copyfile(folder / name, beside / name)
    connection = sqlite3.connect(beside / "queue.db")
    with suppress(sqlite3.Error):
        assert connection.execute("SELECT count(*) FROM reads").fetchone()[0] < 15
    connection.close()
    store = open_store(folder)
    assert (folder / "queue.damaged-1.db-wal").exists()
    assert len(queued(store)) >= 18
    check(store, set())
    store.close()


def test_a_damaged_log_header_costs_nothing_but_the_first_frame(folder: Path) -> None:
    with (folder / "queue.db-wal").open("r+b") as file:
        file.write(b"\x5a" * 32)
    file = CarvedFile(folder / "queue.db")
    found = salvage.look(file)
    assert len(list(salvage.reads_of(file, found.read_pages))) >= 18
    file.close()


_damages = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=64),
            st.just(b"\xa5" * PAGE),
            st.just(bytes(PAGE)),
        ),
        st.integers(0, PAGE - 1),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(damages=_damages, cut=st.one_of(st.none(), st.floats(0, 1)), log=st.booleans())
def test_random_damage_never_stops_the_car_and_hides_nothing(
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    damages: list[tuple[float, bytes, int]],
    cut: float | None,
    log: bool,
) -> None:
    folder = tmp_path_factory.mktemp("random")
    for path in template.iterdir():
        shutil.copyfile(path, folder / path.name)
    if not log:
        fold(folder)
    path = folder / ("queue.db-wal" if log else "queue.db")
    size = path.stat().st_size
    with path.open("r+b") as file:
        for where, data, offset in damages:
            file.seek(int(where * size) // PAGE * PAGE + offset)
            file.write(data)
    os.truncate(path, size if cut is None else int(size * cut))
    beside = folder / "beside"
    beside.mkdir()
    for source in folder.glob("queue.db*"):
        shutil.copyfile(source, beside / source.name)
    try:
        before = readable(beside / "queue.db")
    except sqlite3.Error:
        before = set()
    store = open_store(folder)
    check(store, before)
    store.close()
    shutil.rmtree(folder)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the sqlite3 program")
def test_no_less_is_saved_than_by_sqlites_own_recovery(folder: Path) -> None:
    fold(folder)
    path = folder / "queue.db"
    for page in pages_of(path, 0x0D)[1::3]:
        overwrite(path, page, b"\x5a" * 600)
    shutil.copyfile(path, folder / "copy.db")
    text = subprocess.run(
        ["sqlite3", str(folder / "copy.db"), ".recover"],
        capture_output=True,
        check=False,
        timeout=60,
    ).stdout
    other = sqlite3.connect(folder / "recovered.db")
    with suppress(sqlite3.Error):
        other.executescript(text.decode("utf-8", "replace"))
    try:
        rows = other.execute("SELECT id, envelope, sha256 FROM reads").fetchall()
    except sqlite3.Error:
        rows = []
    other.close()
    theirs = {i for i, data, told in rows if isinstance(data, bytes) and sha256_hex(data) == told}
    store = open_store(folder)
    assert theirs <= queued(store)
    check(store, theirs)
    store.close()


# --- while the car drives -------------------------------------------------------------------------


@pytest.fixture
def running(folder: Path) -> Iterator[tuple[Store, AlarmBook]]:
    alarms = AlarmBook()
    store = open_store(folder, alarms)
    yield store, alarms
    store.close()


@pytest.mark.policy("R-460.5-2")
def test_damage_while_running_is_gone_around_within_seconds(
    running: tuple[Store, AlarmBook], folder: Path
) -> None:
    """The read in hand is committed to the new queue; no caller notices."""
    store, alarms = running
    before = queued(store)
    with store.transaction() as tx:
        tx.execute("PRAGMA shrink_memory")
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = folder / "queue.db"
    for page in range(2, path.stat().st_size // PAGE + 1):
        overwrite(path, page, b"\x5a" * 16)  # every page of every tree
    store._connection.execute("PRAGMA shrink_memory")
    store._connection.execute("PRAGMA cache_size=0")
    envelope = sealed(OPEN.id, big=True)
    began = time.monotonic()
    store.commit_read(envelope, hit=False, session_row=OPEN)
    store.heartbeat(OPEN)
    assert time.monotonic() - began < 5
    assert [alarm.code for alarm in alarms.now()] == ["queue_damaged"]
    while store.rescue_step(0.5):
        pass
    totals = store.ledger()
    assert totals.left == len(queued(store)) >= 1
    assert totals.lost <= len(before)
    assert list(folder.glob("queue.damaged-1.db"))


def test_any_number_of_threads_may_meet_the_damage(
    running: tuple[Store, AlarmBook], folder: Path
) -> None:
    store, _ = running
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite(folder / "queue.db", table_leaf(folder / "queue.db", "ledger"), b"\x5a" * PAGE)
    store._connection.execute("PRAGMA cache_size=0")
    store._connection.execute("PRAGMA shrink_memory")
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                store.commit_read(sealed(OPEN.id, big=False), hit=False, session_row=OPEN)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    check(store, set())
    assert len(queued(store)) == 20 + 20 + 1


def test_saving_goes_on_where_a_power_cut_ended_it(folder: Path) -> None:
    fold(folder)
    _header(folder)
    salvage.set_aside(folder / "queue.db")
    salvage.part(folder / "queue.db")
    store = open_store(folder)
    store.close()
    # As if the cut had come after the first batch: half the reads, the mark behind them.
    connection = sqlite3.connect(folder / "queue.db")
    (name, state) = connection.execute(
        "SELECT key, value FROM meta WHERE key LIKE 'salvage:%'"
    ).fetchone()
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (
        state.replace('"done": true', '"done": false'), name))  # fmt: skip
    connection.commit()
    connection.close()
    again = open_store(folder)
    assert len(queued(again)) == 20
    check(again, set())
    assert again.ledger().lost == 0
    again.close()


# --- the end of a quarantined file ----------------------------------------------------------------


@pytest.mark.policy("R-460.5-2b", "R-460.5-4")
def test_a_quarantined_file_goes_with_the_first_read_in_it_at_the_latest(folder: Path) -> None:
    fold(folder)
    _header(folder)
    alarms = AlarmBook()
    store = open_store(folder, alarms)
    aside = folder / "queue.damaged-1.db"
    end = NOW.replace(minute=0) + timedelta(hours=60 * 24)
    assert store.purge_quarantine(end - timedelta(seconds=1)) == 0
    inode = aside.open("rb")  # still readable through an open handle: its bytes must be gone
    assert store.purge_quarantine(end) == 1
    assert not aside.exists() and not alarms.now()
    assert inode.read().strip(b"\0") == b""
    inode.close()
    assert store.audit_events()[-1].event == Event.QUARANTINE_DESTROYED
    store.close()


@pytest.mark.policy("R-460.5-2b")
def test_without_certain_time_a_quarantined_file_goes_after_its_purges(folder: Path) -> None:
    fold(folder)
    _header(folder)
    store = open_store(folder)
    assert [store.purge_quarantine(None) for _ in range(PURGES_KEPT)].index(1) == PURGES_KEPT - 1
    assert not list(folder.glob("queue.damaged*"))
    store.close()


def test_a_file_that_cannot_be_opened_at_all_is_told(tmp_path: Path) -> None:
    (tmp_path / "queue.db").mkdir()
    with pytest.raises(StoreError, match="queue"):
        open_store(tmp_path)
