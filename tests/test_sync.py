"""The dock: a real store against a real TLS server that may lie."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dock_world import AGENCY, CAR, Answer, Car, Shelf, World

from alprd import outbound, wire
from alprd.audit import Event
from alprd.central.storage import ca
from alprd.crypto import SignedDocument, generate_key
from alprd.errors import StoreError
from alprd.records import new_id
from alprd.sync import LONGEST_BACKOFF_S, DockSync
from alprd.targets import TargetSet
from alprd.workers import Beat


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def car(world: World) -> Iterator[Car]:
    made = Car(world.enrol())
    yield made
    made.store.close()


@pytest.fixture
def shelf(world: World, car: Car) -> Shelf:
    return Shelf(world, car.trust)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_BATCH_ITEMS", 4)


# --- an honest central --------------------------------------------------------------------------


@pytest.mark.policy("R-460.5-2")
def test_a_pass_brings_everything_and_fetches_everything(car: Car, shelf: Shelf) -> None:
    ids = car.commit(5)
    car.store.close_session(car.row)
    times: list[tuple[datetime, int]] = []
    permits: list[SignedDocument] = []
    sets: list[TargetSet] = []
    dock = car.dock(
        on_time=lambda utc, mono: times.append((utc, mono)),
        on_permit=permits.append,
        on_targets=sets.append,
    )
    assert dock.status().text == "not docked"
    dock.step()
    assert sorted(shelf.envelopes) == sorted(ids)
    assert shelf.sessions == {car.row.id}
    pending = car.store.pending()
    assert (pending.reads, pending.sessions, pending.audit) == (0, 0, 0)
    assert (dock.status().state, dock.status().text) == ("done", "docked, all sent")
    assert len(permits) == len(sets) == len(times) == 1
    assert abs((times[0][0] - datetime.now(UTC)).total_seconds()) < 5
    assert abs(times[0][1] - time.monotonic_ns()) < 5e9
    totals = car.store.ledger()
    assert (totals.committed, totals.receipted, totals.left) == (5, 5, 0)
    events = [event.event for event in car.store.audit_events()]
    assert events.index(Event.BATCH_SENT) < events.index(Event.READS_DESTROYED)
    assert Event.LIST_ACTIVATED in events
    dock.step()
    assert len(sets) == 1


def test_hits_go_first(car: Car, shelf: Shelf, small_batches: None) -> None:
    car.commit(6)
    hits = car.commit(2, hit=True)
    car.dock().step()
    assert sorted(shelf.order[:2]) == sorted(hits)
    assert shelf.batches == 2


def test_reads_committed_while_docked_go_too(car: Car, shelf: Shelf, small_batches: None) -> None:
    """Cameras commit from their own threads while the dock drains the same queue."""
    committed: list[str] = []

    def produce() -> None:
        for _ in range(25):
            committed.extend(car.commit())

    dock, beat = car.dock(), Beat()
    threads = [
        threading.Thread(target=produce),
        threading.Thread(target=dock.run, args=(beat,)),
    ]
    for thread in threads:
        thread.start()
    threads[0].join(30)
    end = time.monotonic() + 30
    while car.store.pending().reads and time.monotonic() < end:
        time.sleep(0.05)
    beat.stop()
    threads[1].join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(shelf.order) == sorted(committed), "each read arrives exactly once"
    assert car.store.ledger().left == 0


# --- is it docked? ------------------------------------------------------------------------------


def test_the_carrier_file_tells_the_dock(car: Car, shelf: Shelf, tmp_path: Path) -> None:
    carrier = tmp_path / "carrier"
    dock = car.dock(carrier_file=carrier)
    car.commit()
    shelf.world.seen.clear()
    for content in (None, "0\n", ""):
        if content is not None:
            carrier.write_text(content)
        dock.step()
        assert dock.status().text == "not docked"
        assert shelf.world.seen == []
    carrier.write_text("1\n")
    dock.step()
    assert dock.status().text == "docked, all sent"


def test_an_unreachable_central_is_no_dock_or_an_error_with_carrier(
    car: Car, world: World, tmp_path: Path
) -> None:
    car.commit(3)
    carrier = tmp_path / "carrier"
    carrier.write_text("1")
    plain, wired = car.dock(), car.dock(carrier_file=carrier)
    world.stop()
    try:
        delays = [plain.step() for _ in range(12)]
        wired.step()
    finally:
        world.restart()
    assert plain.status().text == "not docked"
    assert wired.status().text == "dock error, 3 to go: central cannot be reached"
    assert delays[0] <= 1.0
    assert LONGEST_BACKOFF_S / 2 <= delays[-1] <= LONGEST_BACKOFF_S
    assert car.store.pending().reads == 3


def test_a_stranger_at_centrals_address_is_an_error_and_gets_nothing(
    car: Car, world: World, shelf: Shelf
) -> None:
    car.commit()
    world.stop()
    world.ca_key = generate_key()
    world.ca = ca.create_ca(world.ca_key, "somebody", datetime.now(UTC))
    world.seen.clear()
    world.restart()
    dock = car.dock()
    dock.step()
    assert world.seen == []
    assert dock.status().state == "error"
    assert "CERTIFICATE_VERIFY_FAILED" in dock.status().text


def test_stop_is_quick_and_the_loop_ends(car: Car, shelf: Shelf) -> None:
    beat = Beat()
    thread = threading.Thread(
        target=DockSync(car.trust, car.store, interval_s=60).run, args=(beat,)
    )
    thread.start()
    end = time.monotonic() + 20
    while not shelf.events and time.monotonic() < end:
        time.sleep(0.02)
    beat.stop()
    thread.join(10)
    assert not thread.is_alive()


# --- what goes wrong on the way -----------------------------------------------------------------


@pytest.mark.policy("R-460.5-2")
def test_a_lost_answer_costs_nothing(car: Car, world: World, shelf: Shelf) -> None:
    ids = car.commit(3)
    world.cut.add("/v1/batches")
    dock = car.dock()
    dock.step()
    assert sorted(shelf.envelopes) == sorted(ids), "central has them, the car does not know"
    assert car.store.pending().reads == 3
    assert dock.status().state == "error"
    world.cut.clear()
    dock.step()
    assert shelf.order == ids + ids
    assert car.store.pending().reads == 0


def _other_key(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return shelf.world.signed("receipt", shelf.receipt(header), generate_key())


def _other_digest(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    items = [{"id": i.id, "sha256": "0" * 64, "outcome": "stored"} for i in header.items]
    return shelf.world.signed("receipt", shelf.receipt(header, items=items))


def _other_read(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    items = [{"id": new_id(), "sha256": i.sha256, "outcome": "stored"} for i in header.items]
    return shelf.world.signed("receipt", shelf.receipt(header, items=items))


def _other_batch(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return shelf.world.signed("receipt", shelf.receipt(header, batch=new_id()))


def _other_car(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return shelf.world.signed("receipt", shelf.receipt(header, vehicle="unit-13"))


def _other_kind(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return shelf.world.signed("ack", shelf.receipt(header))


def _nothing_held(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return shelf.world.signed("receipt", shelf.receipt(header, items=[]))


def _page(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return 200, b"<html>captive portal</html>"


def _endless(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return 200, bytes(3_000_000)


def _refused(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return 403, b'{"error": "revoked", "message": ""}'


def _broken(shelf: Shelf, header: wire.BatchHeader) -> Answer:
    return 500, b""


@pytest.mark.policy("R-460.5-2")
@pytest.mark.parametrize(
    "answer",
    [
        _other_key, _other_digest, _other_read, _other_batch, _other_car, _other_kind,
        _nothing_held, _page, _endless, _refused, _broken,
    ],
    ids=lambda answer: answer.__name__,
)  # fmt: skip
def test_no_false_answer_destroys_a_read(
    car: Car, shelf: Shelf, answer: Callable[[Shelf, wire.BatchHeader], Answer]
) -> None:
    car.commit(3)
    shelf.world.handlers["/v1/batches"] = lambda body, query: answer(shelf, shelf.take(body))
    dock = car.dock()
    dock.step()
    assert car.store.pending().reads == 3
    assert dock.status().text.startswith("dock error, 3 to go: ")
    shelf.world.handlers["/v1/batches"] = shelf.batch
    dock.step()
    assert car.store.pending().reads == 0
    assert dock.status().text == "docked, all sent"


def test_a_receipt_that_leaves_a_read_out_leaves_it_in_the_car(car: Car, shelf: Shelf) -> None:
    ids = car.commit(3)

    def partly(body: bytes, query: dict[str, list[str]]) -> Answer:
        receipt = shelf.receipt(shelf.take(body))
        return shelf.world.signed(
            "receipt", receipt.model_copy(update={"items": receipt.items[:2]})
        )

    shelf.world.handlers["/v1/batches"] = partly
    dock = car.dock()
    dock.step()
    assert [queued.id for queued in car.store.claim(9, 10**9, 0)] == ids[2:]
    assert dock.status().state == "error"


def test_one_read_that_central_cannot_take_does_not_hold_up_the_rest(
    car: Car, shelf: Shelf, small_batches: None
) -> None:
    ids = car.commit(9)

    def picky(body: bytes, query: dict[str, list[str]]) -> Answer:
        document, _ = wire.split_batch(body)
        if ids[2] in document.body:
            return 400, b"{}"
        return shelf.batch(body, query)

    shelf.world.handlers["/v1/batches"] = picky
    dock = car.dock()
    dock.step()
    assert sorted(shelf.envelopes) == sorted(set(ids) - {ids[2]})
    assert dock.status().text.startswith("dock error, 1 to go: central refuses 1 reads")


@pytest.mark.policy("R-460.5-2")
def test_a_read_that_rotted_on_the_disk_is_not_sent(
    car: Car, shelf: Shelf, small_batches: None
) -> None:
    """R-460.5-2: told to central in the trail instead; the next dock is clean."""
    ids = car.commit(9)
    connection = sqlite3.connect(car.store.path)
    connection.execute("UPDATE reads SET envelope = zeroblob(4000) WHERE id = ?", (ids[2],))
    connection.commit()
    connection.close()
    dock = car.dock()
    dock.step()
    assert sorted(shelf.envelopes) == sorted(set(ids) - {ids[2]})
    totals = car.store.ledger()
    assert (totals.receipted, totals.lost, totals.left) == (8, 1, 0)
    dock.step()
    assert (dock.status().state, dock.status().text) == ("done", "docked, all sent")
    events = car.store.audit_events()
    told = [event for event in events if event.event == Event.READS_ROTTEN]
    assert [event.subjects for event in told] == [(ids[2],)]
    assert car.store.pending().audit == 0  # central holds that event


def test_a_central_that_refuses_every_batch_is_not_flooded(
    car: Car, shelf: Shelf, small_batches: None
) -> None:
    car.commit(20)
    shelf.world.handlers["/v1/batches"] = lambda body, query: (400, b"{}")
    shelf.world.seen.clear()
    car.dock().step()
    assert shelf.world.seen.count("/v1/batches") < 12
    assert car.store.pending().reads == 20


def test_a_refused_trail_does_not_hold_up_reads(car: Car, shelf: Shelf) -> None:
    car.store.record(Event.STARTED)
    car.commit(2)
    shelf.world.handlers["/v1/audit"] = lambda body, query: (409, b"{}")
    dock = car.dock()
    dock.step()
    assert car.store.pending().reads == 0
    assert car.store.pending().audit > 0
    assert "central refused /v1/audit (409)" in dock.status().text


@pytest.mark.parametrize("seq", [0, 10**6])
def test_an_acknowledgement_counts_only_for_what_was_sent(car: Car, shelf: Shelf, seq: int) -> None:
    car.store.record(Event.STARTED)
    sent = car.store.pending().audit

    def false(body: bytes, query: dict[str, list[str]]) -> Answer:
        car.store.record(Event.STOPPED)  # happens meanwhile, so central cannot hold it
        shelf.world.handlers["/v1/audit"] = lambda body, query: (503, b"")
        ack = wire.Ack(agency=AGENCY, vehicle=CAR, kind="audit", seq=seq)
        return shelf.world.signed("ack", ack)

    shelf.world.handlers["/v1/audit"] = false
    car.dock().step()
    unsent = [event.event for event in car.store.unsent_audit(100)]
    assert Event.STOPPED in unsent
    assert (Event.STARTED in unsent) == (seq == 0)
    assert sent == 1


def test_a_session_that_central_does_not_name_is_sent_again(car: Car, shelf: Shelf) -> None:
    car.store.close_session(car.row)
    ack = wire.Ack(agency=AGENCY, vehicle=CAR, kind="sessions", ids=(new_id(),))
    shelf.world.handlers["/v1/sessions"] = lambda body, query: shelf.world.signed("ack", ack)
    dock = car.dock()
    dock.step()
    assert car.store.pending().sessions == 1
    assert dock.status().text == "docked, 1 to go"
    shelf.world.handlers["/v1/sessions"] = shelf.session
    dock.step()
    assert car.store.pending().sessions == 0


# --- time ---------------------------------------------------------------------------------------


def test_a_replayed_time_is_refused_and_nothing_is_sent(
    car: Car, world: World, shelf: Shelf
) -> None:
    car.commit()
    times: list[datetime] = []
    old = wire.CentralTime(agency=AGENCY, time=datetime.now(UTC), nonce="0" * 32)
    world.handlers["/v1/hello"] = lambda body, query: world.signed("hello", old)
    dock = car.dock(on_time=lambda utc, mono: times.append(utc))
    dock.step()
    assert times == []
    assert shelf.envelopes == {}
    assert "replay" in dock.status().text


@pytest.mark.parametrize("who", ["gps", "central"])
def test_while_clocks_disagree_reads_go_but_nothing_is_judged(
    car: Car, world: World, shelf: Shelf, who: str
) -> None:
    car.commit()
    off = timedelta(hours=2 if who == "central" else 0)

    def hello(body: bytes, query: dict[str, list[str]]) -> Answer:
        said = datetime.now(UTC) + off
        time_ = wire.CentralTime(agency=AGENCY, time=said, nonce=query["nonce"][0])
        return world.signed("hello", time_)

    world.handlers["/v1/hello"] = hello
    world.seen.clear()
    permits: list[object] = []
    sets: list[object] = []
    dock = car.dock(
        clock_agrees=lambda: who != "gps", on_permit=permits.append, on_targets=sets.append
    )
    dock.step()
    assert car.store.pending().reads == 0
    assert permits == sets == []
    assert not any(path.startswith("/tuf") for path in world.seen)
    assert "clock" in dock.status().text


# --- lists --------------------------------------------------------------------------------------


def test_a_refused_list_is_recorded_once_and_the_rest_goes_on(
    car: Car, world: World, shelf: Shelf
) -> None:
    car.commit()
    world.files["/tuf/metadata/timestamp.json"] = b"{}"
    dock = car.dock()
    for _ in range(3):
        dock.step()
    assert car.store.pending().reads == 0
    refused = [e for e in car.store.audit_events() if e.event == Event.LIST_REFUSED]
    assert [event.detail for event in refused] == [{"reason": "damaged"}]


def test_a_set_that_the_daemon_could_not_take_is_offered_again(car: Car, shelf: Shelf) -> None:
    offered: list[TargetSet] = []

    def take(found: TargetSet) -> None:
        offered.append(found)
        if len(offered) == 1:
            raise StoreError("disk full")

    dock = car.dock(on_targets=take)
    dock.step()
    assert dock.status().state == "error"
    dock.step()
    assert len(offered) == 2
    assert dock.status().state == "done"
