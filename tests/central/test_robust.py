"""Faults around intake: no disk, hostile bytes, impossible times, several cars at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from central_world import AGENCY, Car, Server, enrol, make_read, run, session_row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alprd import crypto, wire
from alprd.central.fleet import vehicles
from alprd.central.receiving import intake
from alprd.central.storage.store import Central
from alprd.errors import AlprdError
from alprd.records import Read


@pytest.fixture(scope="module")
def direct(server: Server, car: Car) -> Iterator[tuple[Central, vehicles.Vehicle]]:
    """The same store, opened a second time beside the server."""
    with Central(server.home) as central:
        with central.database.read() as tx:
            vehicle = next(v for v in vehicles.enrolled(tx) if v.name == car.name)
        yield central, vehicle


@pytest.mark.one_store  # of the folder; test_objects.py takes the bucket away
@pytest.mark.policy("R-460.5-2")
def test_without_disk_nothing_is_receipted_and_nothing_lost(server: Server, car: Car) -> None:
    read = make_read()
    body = car.batch([(read.id, car.seal(read))])
    before = run(server.home, "status")
    blocked = server.home / "pictures" / read.id[:2]
    if blocked.exists():
        blocked.rename(server.home / "aside")
    blocked.write_bytes(b"")  # a file where the folder should be: every write fails
    with car.client() as client:
        answer = client.post("/v1/batches", content=body)
    assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable")
    assert run(server.home, "status")["received_total"] == before["received_total"]
    blocked.unlink()
    if (server.home / "aside").exists():
        (server.home / "aside").rename(blocked)
    assert car.send(body).items[0].outcome == "stored"
    assert run(server.home, "status")["reads_held"] == before["reads_held"] + 1


def test_impossible_instant_is_quarantined_not_a_crash(car: Car) -> None:
    read = make_read()
    car.seal(read)
    today = car.intake[read.instant.date().isoformat()]
    car.intake["9999-12-31"] = today
    late = datetime(9999, 12, 31, 23, tzinfo=UTC)
    foul = make_read(at=read.instant).model_copy(update={"instant": late})
    assert car.send_reads(foul).items[0].outcome == "quarantined"


def test_impossible_session_is_refused(car: Car) -> None:
    for row in (
        session_row(started=datetime(1, 1, 1, tzinfo=UTC)),
        session_row(ended=datetime(9999, 12, 31, 23, 59, tzinfo=UTC)),
    ):
        report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
        assert car.post("/v1/sessions", "sessions", report).status_code == 400
    overflow = "0001-01-01T00:00:00+14:00"
    with pytest.raises(ValueError, match="calendar"):
        wire.SessionRow.model_validate(session_row().model_dump() | {"started": overflow})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_altered_batches_raise_nothing_unforeseen(
    direct: tuple[Central, vehicles.Vehicle], car: Car, data: st.DataObject
) -> None:
    """Any byte changed, cut or added anywhere: refused, or nothing new stored."""
    central, vehicle = direct
    kind = data.draw(st.sampled_from(["flip", "cut", "add", "noise"]))
    place = data.draw(st.floats(0, 1, exclude_max=True))
    mask = data.draw(st.integers(1, 255))
    noise = data.draw(st.binary(min_size=1, max_size=200))
    read = make_read("FZZ4410")
    envelope = car.seal(read)
    body = bytearray(car.batch([(read.id, envelope)]))
    at = int(place * len(body))
    if kind == "flip":
        body[at] ^= mask
    elif kind == "cut":
        del body[at:]
    elif kind == "add":
        body += noise
    else:
        body[:] = noise
    try:
        answer = intake.accept_batch(central, vehicle, bytes(body))
    except AlprdError:
        return
    # The change was in what no signature needs (spare bits of base64, the key's name).
    assert kind == "flip"
    receipt = crypto.verify_document(answer, "receipt", car.receipt_key, wire.Receipt)
    assert [(i.id, i.sha256) for i in receipt.items] == [(read.id, crypto.sha256_hex(envelope))]


def test_several_cars_at_once(server: Server, car: Car, tmp_path: Path) -> None:
    cars = [car, *(enrol(server, tmp_path / f"c{n}", f"car-{n}", str(n)) for n in (21, 22))]
    before = run(server.home, "status")["reads_held"]
    wrong: list[str] = []

    def send(sender: Car) -> None:
        for _ in range(4):
            reads: list[Read] = [make_read() for _ in range(8)]
            outcomes = {item.outcome for item in sender.send_reads(*reads).items}
            if outcomes != {"stored"}:
                wrong.append(sender.name)

    threads = [threading.Thread(target=send, args=(c,)) for c in cars]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert run(server.home, "status")["reads_held"] == before + 3 * 4 * 8
    run(server.home, "audit", "verify")


def test_oversized_bodies_are_cut_off(car: Car) -> None:
    with car.client() as client:
        answer = client.post("/v1/sessions", content=b"x" * 9_000_000)
    assert answer.status_code == 413


def test_clock_of_a_read_in_the_future_gives_no_longer_life(server: Server, car: Car) -> None:
    soon = datetime.now(UTC) + timedelta(days=30)
    read = make_read("FUT3310", at=soon)
    assert car.send_reads(read).items[0].outcome == "stored"
    with Central(server.home) as central, central.database.read() as tx:
        from sqlalchemy import select

        from alprd.central.storage import db

        end = tx.scalar(select(db.reads.c.destroy_by).where(db.reads.c.id == read.id))
    assert end is not None
    assert end <= datetime.now(UTC) + timedelta(days=60)
