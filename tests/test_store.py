"""The sealed queue: committed, receipted, expired; and the trail beside it."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOW, read, session_row
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from alprd.audit import DAEMON, Event, verify_chain
from alprd.crypto import generate_key, seal_read, sha256_hex
from alprd.errors import AuditError, StoreError
from alprd.records import Read, new_id
from alprd.store import Store
from alprd.wire import Receipt, ReceiptItem

KEY = generate_key()


def open_store(folder: Path) -> Store:
    return Store(folder / "queue.db", now=lambda: (NOW, True), device="car-1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def sealed(value: Read | None = None) -> bytes:
    return seal_read(value or read(), agency="becker", vehicle="car-1", intake_key=KEY.public_key())


def receipt(*items: tuple[str, str]) -> Receipt:
    return Receipt(
        agency="becker",
        vehicle="car-1",
        batch=new_id(),
        received_at=NOW,
        items=tuple(ReceiptItem(id=i, sha256=d, outcome="stored") for i, d in items),
    )


@pytest.mark.policy("R-460.5-2")
def test_a_read_leaves_the_queue_only_by_a_receipt_of_its_ciphertext(store: Store) -> None:
    store.commit_read(sealed(), hit=False, session_row=session_row())
    (queued,) = store.claim(10, 10**6, 60)
    assert store.destroy_receipted(receipt((queued.id, "0" * 64))) == 0
    assert store.destroy_receipted(receipt((new_id(), queued.sha256))) == 0
    assert store.pending().reads == 1
    assert store.destroy_receipted(receipt((queued.id, queued.sha256))) == 1
    assert store.pending().reads == 0
    totals = store.ledger()
    assert (totals.committed, totals.receipted, totals.left) == (1, 1, 0)


@pytest.mark.policy("R-AT-6", "R-460.5-4", "R-CJIS-4")
def test_the_trail_outlives_the_reads_and_is_never_destroyed_by_age(store: Store) -> None:
    value = read()
    store.commit_read(sealed(value), hit=False, session_row=session_row())
    store.record(Event.STARTED)
    assert store.expire(value.destroy_by) == 1
    before = store.audit_events()
    store.mark_audit_sent(before[-1].seq)
    assert store.expire(value.destroy_by + timedelta(days=3000)) == 0
    assert store.audit_events() == before
    verify_chain(before)


def test_hits_go_first_and_leases_keep_a_read_from_being_taken_twice(store: Store) -> None:
    plain, hit = read(), read()
    store.commit_read(sealed(plain), hit=False, session_row=session_row())
    store.commit_read(sealed(hit), hit=True, session_row=session_row())
    assert [taken.id for taken in store.claim(1, 10**6, 60)] == [hit.id]
    assert [taken.id for taken in store.claim(9, 10**6, 60)] == [plain.id]
    assert store.claim(9, 10**6, 60) == []
    store.release([hit.id])
    assert [taken.id for taken in store.claim(9, 10**6, 60)] == [hit.id]


def test_a_claim_is_bounded_in_bytes_but_never_empty(store: Store) -> None:
    for _ in range(3):
        store.commit_read(sealed(), hit=False, session_row=session_row())
    assert len(store.claim(10, 1, 60)) == 1


@pytest.mark.policy("R-460.5-2b", "R-460.5-4")
def test_expired_reads_are_destroyed_and_leave_nothing_in_the_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    envelope = sealed()
    store.commit_read(envelope, hit=False, session_row=session_row())
    life = timedelta(hours=60 * 24)
    assert store.expire(NOW + life - timedelta(hours=1)) == 0
    assert store.expire(NOW + life) == 1
    assert store.ledger().expired == 1
    store.close()
    for path in tmp_path.iterdir():
        assert envelope[-64:] not in path.read_bytes(), path.name


@pytest.mark.policy("R-AT-3")
def test_the_chain_holds_and_shows_what_was_altered(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(5):
        store.record(Event.SIGNED_ON, DAEMON, detail={"number": number})
    events = store.audit_events()
    assert verify_chain(events) == 5
    with pytest.raises(AuditError, match="event 3 is missing"):
        verify_chain([*events[:2], *events[3:]])
    forged = events[1].model_copy(update={"actor": "someone"})
    with pytest.raises(AuditError, match="event 2 was altered"):
        verify_chain([events[0], forged, *events[2:]])
    with pytest.raises(AuditError, match="does not follow"):
        verify_chain([events[0].model_copy(update={"previous": "1" * 64})])
    store.close()


@pytest.mark.policy("R-AT-3")
def test_an_act_whose_event_cannot_be_written_does_not_happen(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.commit_read(sealed(), hit=False, session_row=session_row())
    (queued,) = store.claim(1, 10**6, 60)
    other = sqlite3.connect(store.path)
    other.execute("DROP TABLE audit")
    other.commit()
    other.close()
    with pytest.raises(AuditError, match="trail cannot be written"):
        store.destroy_receipted(receipt((queued.id, queued.sha256)))
    assert store.ledger().left == 1
    refused = session_row()
    with pytest.raises(AuditError):
        store.open_session(refused, DAEMON)
    assert refused.id not in {row.id for row in store.open_sessions()}
    store.close()


def test_a_start_that_trusted_time_moved_is_never_after_the_kept_end(store: Store) -> None:
    """Found by kills: a row written between the first GPS time and the next heartbeat."""
    row = session_row()
    store.open_session(row, DAEMON)
    moved = row.started + timedelta(milliseconds=14)
    corrected = row.model_copy(update={"started": moved, "ended": moved + timedelta(seconds=9)})
    store.commit_read(sealed(), hit=False, session_row=corrected)
    (kept,) = store.open_sessions()
    assert kept.started == kept.ended == moved


def test_a_closed_session_never_changes_again(store: Store) -> None:
    row = session_row(plates_read=3)
    store.open_session(row, DAEMON)
    store.close_session(row.model_copy(update={"end_reason": "signed_off"}))
    store.heartbeat(row.model_copy(update={"plates_read": 9}))
    (kept,) = store.unsent_sessions()
    assert (kept.plates_read, kept.end_reason) == (3, "signed_off")
    assert store.open_sessions() == []


def test_a_damaged_database_is_moved_aside_and_recorded(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for _ in range(20):
        store.commit_read(sealed(), hit=False, session_row=session_row())
    store.close()
    path = tmp_path / "queue.db"
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 6] = b"\xa5" * (4096 * 4)
    path.write_bytes(data)
    again = open_store(tmp_path)
    assert (tmp_path / "queue.damaged-1.db").exists()
    assert [event.event for event in again.audit_events()] == [
        *(Event.QUEUE_QUARANTINED, Event.QUEUE_SALVAGED),
    ]
    again.commit_read(sealed(), hit=False, session_row=session_row())
    again.close()


def test_a_new_enrolment_brings_the_whole_trail_again(store: Store) -> None:
    store.enrolled_as("first")
    store.record(Event.STARTED)
    store.mark_audit_sent(1)
    store.enrolled_as("first")
    assert store.unsent_audit(10) == []
    store.enrolled_as("second")
    assert [event.seq for event in store.unsent_audit(10)] == [1]


def test_a_queue_of_version_1_is_taken_over_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    envelopes = [sealed(), sealed()]
    for hit, envelope in zip((False, True), envelopes, strict=True):
        store.commit_read(envelope, hit=hit, session_row=session_row())
    store.close()
    connection = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    for statement in (
        "CREATE TABLE old (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, session TEXT NOT NULL, "
        "envelope BLOB NOT NULL, sha256 TEXT NOT NULL, destroy_by TEXT NOT NULL, hit INTEGER, "
        "leased_until FLOAT)",
        "INSERT INTO old SELECT seq, id, session, envelope, sha256, destroy_by, hit, 5.0 "
        "FROM reads",
        "DROP TABLE reads",
        "DROP TABLE rotten",
        "ALTER TABLE old RENAME TO reads",
        "CREATE UNIQUE INDEX idx_reads_id ON reads (id)",
        "CREATE INDEX idx_reads_destroy_by ON reads (destroy_by)",
        "ALTER TABLE ledger DROP COLUMN lost",
        "PRAGMA user_version=1",
    ):
        connection.execute(statement)
    connection.close()
    again = open_store(tmp_path)
    taken = again.claim(9, 10**9, 0.0)
    assert [read.envelope for read in taken] == [envelopes[1], envelopes[0]]
    assert (again.ledger().left, again.ledger().lost) == (2, 0)
    assert again.destroy_receipted(receipt(*((r.id, r.sha256) for r in taken))) == 2
    again.close()


def test_a_queue_of_version_2_is_taken_over_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.commit_read(sealed(), hit=False, session_row=session_row())
    store.close()
    connection = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    connection.execute("DROP TABLE rotten")
    connection.execute("PRAGMA user_version=2")
    connection.close()
    again = open_store(tmp_path)
    assert len(again.claim(9, 10**9, 0.0)) == 1
    rot(tmp_path, again.claim(9, 10**9, 0.0)[0].id)
    assert again.claim(9, 10**9, 0.0) == [] and again.ledger().lost == 1
    again.close()


def test_a_queue_of_version_3_is_taken_over_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.commit_read(sealed(), hit=False, session_row=session_row())
    store.close()
    connection = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    for name in ("audit", "sessions"):
        connection.execute(f"DROP INDEX idx_{name}_unsent")
    connection.execute("PRAGMA user_version=3")
    connection.close()
    again = open_store(tmp_path)
    assert len(again.claim(9, 10**9, 0.0)) == 1
    kept = again.rows("SELECT name FROM sqlite_master WHERE name LIKE 'idx_%_unsent'")
    assert len(kept) == 2
    again.close()


def test_a_trail_of_years_is_neither_read_nor_written_anew_for_its_last_events(
    tmp_path: Path,
) -> None:
    """The page asks every second what waits; every dock says what has arrived."""
    store = open_store(tmp_path)
    with store.transaction():
        for _ in range(2000):
            store.record(Event.STARTED)
    store.mark_audit_sent(2000)
    store.record(Event.STOPPED)
    store.drop_caches()
    store.mark_audit_sent(2001)
    assert (tmp_path / "queue.db-wal").stat().st_size < 50_000  # 2,000 events are some 600 kB
    assert store.pending().audit == 0
    plan = store.rows("EXPLAIN QUERY PLAN SELECT count(*) FROM audit WHERE sent = 0")
    assert "idx_audit_unsent" in plan[0][3]
    store.close()


def rot(folder: Path, *reads: str) -> None:
    """One bit of each envelope turns on the disk."""
    connection = sqlite3.connect(folder / "queue.db")
    for read_id in reads:
        (envelope,) = connection.execute(
            "SELECT envelope FROM reads WHERE id = ?", (read_id,)
        ).fetchone()
        bent = bytearray(envelope)
        bent[-40] ^= 1
        connection.execute("UPDATE reads SET envelope = ? WHERE id = ?", (bytes(bent), read_id))
    connection.commit()
    connection.close()


@pytest.mark.policy("R-460.5-2")
def test_a_long_queue_is_offered_batch_by_batch_and_never_in_memory_at_once(
    tmp_path: Path,
) -> None:
    """Weeks away from the dock: the batches hold every read once, a hit first, in little memory."""
    store = open_store(tmp_path)
    body = b"sealed"
    with store.transaction() as tx:
        tx.executemany(
            "INSERT INTO reads (id, session, sha256, destroy_by, hit, envelope) "
            "VALUES (?, 's', ?, '2026-08-01T00:00:00Z', ?, ?)",
            [(f"{n:032x}", sha256_hex(body), int(n == 19_990), body) for n in range(20_000)],
        )
    tracemalloc.start()
    first = store.claim(100, 10**9, 60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
    assert [queued.id for queued in first[:2]] == [f"{19_990:032x}", f"{0:032x}"]
    seen = [queued.id for queued in first]
    while taken := store.claim(5_000, 10**9, 60):
        seen += [queued.id for queued in taken]
    assert len(seen) == 20_000 == len(set(seen))
    store.close()


@pytest.mark.policy("R-460.5-2")
def test_a_rotten_read_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    """R-460.5-2: it can never be receipted, so it is told as lost and not sent for ever."""
    store = open_store(tmp_path)
    reads = [read() for _ in range(5)]
    for value in reads:
        store.commit_read(sealed(value), hit=False, session_row=session_row())
    rot(tmp_path, reads[0].id, reads[1].id)
    taken = store.claim(3, 10**9, 60)  # a whole batch, though the first two are rotten
    assert [queued.id for queued in taken] == [value.id for value in reads[2:]]
    totals = store.ledger()
    assert (totals.committed, totals.lost, totals.left) == (5, 2, 3)
    assert store.pending().reads == 3
    events = [event for event in store.audit_events() if event.event == Event.READS_ROTTEN]
    assert [event.subjects for event in events] == [(reads[0].id,), (reads[1].id,)]
    assert [event.session for event in events] == [reads[0].session, reads[1].session]
    assert [alarm.code for alarm in store.alarms.now()] == ["reads_rotten"]
    assert store.alarms.now()[0].text.startswith("2 queued read(s)")
    verify_chain(store.audit_events())
    store.close()
    again = open_store(tmp_path)  # still told after a restart, and not offered again
    assert [alarm.code for alarm in again.alarms.now()] == ["reads_rotten"]
    assert len(again.claim(9, 10**9, 0.0)) == 3 and again.ledger().lost == 2
    again.close()


@pytest.mark.policy("R-460.5-2b")
def test_a_rotten_read_is_destroyed_at_its_destroy_by(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    value = read()
    store.commit_read(sealed(value), hit=False, session_row=session_row())
    piece = store.claim(1, 10**9, 0.0)[0].envelope[-30:].hex()
    rot(tmp_path, value.id)
    assert store.claim(9, 10**9, 0.0) == []
    assert store.expire(value.destroy_by - timedelta(hours=1)) == 0
    assert store.alarms.now()
    assert store.expire(value.destroy_by) == 1
    assert store.alarms.now() == ()
    totals = store.ledger()
    assert (totals.committed, totals.lost, totals.expired, totals.left) == (1, 1, 0, 0)
    assert store.audit_events()[-1].detail == {"count": 0, "rotten": 1}
    store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("queue.db*"))
    assert bytes.fromhex(piece) not in kept


def test_rot_that_turns_the_type_of_a_value_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    reads = [read(), read()]
    for value in reads:
        store.commit_read(sealed(value), hit=False, session_row=session_row())
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("UPDATE reads SET envelope = CAST(x'41ff' AS TEXT) WHERE seq = 1")
    connection.commit()
    connection.close()
    assert [queued.id for queued in store.claim(9, 10**9, 0.0)] == [reads[1].id]
    assert store.ledger().lost == 1
    store.close()


@pytest.mark.policy("R-460.5-4")
def test_the_life_of_a_rotten_read_is_cut_like_any_other(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    value = read()
    store.commit_read(sealed(value), hit=False, session_row=session_row())
    rot(tmp_path, value.id)
    store.claim(9, 10**9, 0.0)
    sooner = value.destroy_by - timedelta(days=9)
    assert store.restamp([], sooner) == 1
    assert store.expire(sooner) == 1
    store.close()


def test_where_nothing_can_be_written_a_rotten_read_is_passed_over(
    store: Store, tmp_path: Path
) -> None:
    reads = [read(), read()]
    for value in reads:
        store.commit_read(sealed(value), hit=False, session_row=session_row())
    rot(tmp_path, reads[0].id)
    store._connection.execute("PRAGMA query_only=ON")
    assert [queued.id for queued in store.claim(9, 10**9, 0.0)] == [reads[1].id]
    assert store.ledger().lost == 0 and store.pending().reads == 2
    store._connection.execute("PRAGMA query_only=OFF")
    assert [queued.id for queued in store.claim(9, 10**9, 0.0)] == [reads[1].id]
    assert store.ledger().lost == 1 and store.pending().reads == 1


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="version 99"):
        open_store(tmp_path)


class QueueMachine(RuleBasedStateMachine):
    """Ledger and queue agree whatever happens, also over reopening the file."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(Path(self.folder.name))
        self.live: dict[str, str] = {}
        self.committed = 0

    @rule(hit=st.booleans())
    def commit(self, hit: bool) -> None:
        envelope = sealed()
        self.store.commit_read(envelope, hit=hit, session_row=session_row())
        queued = {q.id: q.sha256 for q in self.store.claim(100, 10**9, 0.0)}
        self.live[next(i for i, d in queued.items() if d == sha256_hex(envelope))] = sha256_hex(
            envelope
        )
        self.committed += 1

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        if not self.live:
            return
        some = data.draw(st.lists(st.sampled_from(sorted(self.live)), unique=True))
        assert self.store.destroy_receipted(receipt(*((i, self.live[i]) for i in some))) == len(
            some
        )
        assert self.store.destroy_receipted(receipt(*((i, self.live[i]) for i in some))) == 0
        for i in some:
            del self.live[i]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(Path(self.folder.name))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        totals = self.store.ledger()
        assert totals.committed == self.committed
        assert totals.left == len(self.live) == self.store.pending().reads

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


QueueMachine.TestCase.settings = settings(max_examples=8, stateful_step_count=10, deadline=None)
TestQueueMachine = QueueMachine.TestCase
