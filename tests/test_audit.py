"""The car's trail: complete, whole, and in the way of every act that it cannot record."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from factories import NOW, read, session_row
from starlette.routing import Route
from test_custody import DEPUTY as ACTOR
from test_custody import UNATTENDED, Car, make, person

from alprd.audit import DAEMON, FIRST, Event, digest, local_offset, verify_chain
from alprd.cli import main
from alprd.crypto import generate_key, seal_read, sha256_hex
from alprd.errors import AlprdError, AuditError, StoreError
from alprd.mdt.app import MdtContext, create_app
from alprd.mdt.inventory import ENTRIES
from alprd.mdt.signons import SignOns
from alprd.mdt.status import CarStatus
from alprd.records import new_id, utc_now
from alprd.store import Store
from alprd.trail import verify
from alprd.wire import AuditEvent, Receipt

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    yield opened
    opened.close()


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Car]:
    made = make(tmp_path)
    made.permit()
    yield made
    with suppress(AlprdError):
        made.store.close()


# --- content ------------------------------------------------------------------------------------


@pytest.mark.policy("R-AT-2", "R-CJIS-4")
def test_an_event_says_who_when_where_what_and_by_which_program(store: Store) -> None:
    store.set_zone("America/Chicago")
    store.record(Event.SIGNED_ON, ACTOR, session="a" * 32, subjects=("b" * 32,), detail={"k": 1})
    (event,) = store.audit_events()
    assert (event.actor, event.actor_name, event.role) == ("pat", "Pat Pretend", "operator")
    assert (event.at, event.at_trusted, event.local_offset) == (NOW, True, "-05:00")
    assert (event.device, event.event) == ("car-1", "person.signed-on")
    assert (event.session, event.subjects, event.detail) == ("a" * 32, ("b" * 32,), {"k": 1})
    assert re.fullmatch(r"\d+\.\d+.*", event.version)


@pytest.mark.policy("R-AT-2")
def test_local_time_follows_the_zone_and_its_summer(tmp_path: Path) -> None:
    for at, offset in (
        (datetime(2026, 11, 1, 6, 59, tzinfo=UTC), "-05:00"),
        (datetime(2026, 11, 1, 7, 0, tzinfo=UTC), "-06:00"),
    ):
        assert local_offset(at, "America/Chicago") == offset
    assert local_offset(NOW, "") == local_offset(NOW, "Nowhere/At-All") == ""
    first = Store(tmp_path / "q.db", now=lambda: (NOW, True), device="car-1")
    first.record(Event.STARTED)
    first.set_zone("America/Chicago")
    first.close()
    second = Store(tmp_path / "q.db", now=lambda: (NOW, True), device="car-1")
    second.record(Event.STARTED)
    assert [event.local_offset for event in second.audit_events()] == ["", "-05:00"]
    assert verify_chain(second.audit_events()) == 2
    second.close()


@pytest.mark.policy("R-AT-3")
def test_an_event_of_before_local_time_was_told_keeps_its_digest() -> None:
    old = {
        "seq": 1, "at": NOW.isoformat(), "event": "daemon.started", "previous": FIRST,
        "version": "0.1.0",
    }  # fmt: skip
    assert digest(old | {"local_offset": "", "digest": "x"}) == digest(old)
    assert digest(old | {"local_offset": "-05:00"}) != digest(old)


@pytest.mark.policy("R-AT-4")
def test_no_plate_stands_in_the_trail(car: Car) -> None:
    car.policy(**UNATTENDED)
    car.collecting.tend()
    plates = ("STL417", "PRO417", "SUS417", "ZQX999", "PRV417")
    for plate in plates:
        car.play(plate)
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")
    for plate in plates:
        car.play(plate)
        car.play(plate, "early")
    for view in car.board.snapshot():
        car.board.mark_shown(view, ACTOR, cleared=True)
        car.board.picture(view.id, "plate", ACTOR)
        car.board.acknowledge(view.id, ACTOR)
    car.collecting.signed_off("signed_off")
    trail = json.dumps([event.model_dump(mode="json") for event in car.store.audit_events()])
    for plate in plates:
        assert plate not in trail
    assert "ALERT" not in trail and trail.count("alert.acknowledged") >= 1


# --- completeness -------------------------------------------------------------------------------

SILENT = {"/", "/session", "/shift", "/healthz"}
"""Routes that give no ALPR data of anybody else's: the page without its cards, one's own shift."""


@pytest.mark.policy("R-AT-1")
def test_every_route_of_the_car_has_its_events(car: Car) -> None:
    """Generated from the inventory: a new route fails here until it says what it records."""
    app = create_app(
        MdtContext(
            board=car.board, roster_book=car.book, trail=car.store, status=CarStatus,
            collection=car.collecting, clock=car.clock.now,
        )
    )  # fmt: skip
    assert {route.path for route in app.routes if isinstance(route, Route)} == {
        entry.path for entry in ENTRIES
    }
    forms = {("GET", "/sign-on")}
    recorded = {entry.path for entry in ENTRIES if not entry.events and entry.key not in forms}
    assert recorded == SILENT


@pytest.mark.policy("R-AT-1")
def test_every_event_is_recorded_somewhere() -> None:
    source = "\n".join(
        path.read_text()
        for path in (ROOT / "alprd").rglob("*.py")
        if "central" not in path.parts and path.name != "audit.py"
    )
    unused = [event.name for event in Event if f"Event.{event.name}" not in source]
    assert unused == []


# --- wholeness ----------------------------------------------------------------------------------


def tamper_alter(db: sqlite3.Connection) -> None:
    (text,) = db.execute("SELECT event FROM audit WHERE seq = 3").fetchone()
    db.execute("UPDATE audit SET event = ? WHERE seq = 3", (text.replace("pat", "sam"),))


def tamper_remove(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM audit WHERE seq = 3")


def tamper_swap(db: sqlite3.Connection) -> None:
    db.execute("UPDATE audit SET seq = 99 WHERE seq = 3")
    db.execute("UPDATE audit SET seq = 3 WHERE seq = 4")
    db.execute("UPDATE audit SET seq = 4 WHERE seq = 99")


def tamper_insert(db: sqlite3.Connection) -> None:
    (text,) = db.execute("SELECT event FROM audit WHERE seq = 5").fetchone()
    event = AuditEvent.model_validate_json(text).model_copy(update={"seq": 6})
    forged = event.model_copy(update={"digest": digest(event.model_dump(mode="json"))})
    db.execute("INSERT INTO audit (seq, event, sent) VALUES (6, ?, 0)", (forged.model_dump_json(),))


def tamper_garble(db: sqlite3.Connection) -> None:
    db.execute("UPDATE audit SET event = 'nothing' WHERE seq = 3")


@pytest.mark.policy("R-AT-3")
@pytest.mark.parametrize(
    ("tamper", "number"),
    [
        (tamper_alter, 3),
        (tamper_remove, 3),
        (tamper_swap, 3),
        (tamper_insert, 6),
        (tamper_garble, 3),
    ],
)
def test_verify_finds_every_meddling(
    store: Store, tmp_path: Path, tamper: Callable[[sqlite3.Connection], None], number: int
) -> None:
    for _ in range(5):
        store.record(Event.SIGNED_ON, ACTOR)
    config = tmp_path / "alprd.toml"
    config.write_text(
        f'state_dir = "{tmp_path}"\n[[camera]]\nname = "front"\nsource = "file:/none.mp4"\n'
        '[gps]\nsource = "file:/none.nmea"\n'
    )
    store.mark_audit_sent(2)
    # The store is open, as in a running daemon.
    whole = CliRunner().invoke(main, ["audit", "verify", "--config", str(config), "--json"])
    assert json.loads(whole.output) == {"events": 5, "at_central": 2, "whole": True}
    db = sqlite3.connect(store.path)
    tamper(db)
    db.commit()
    db.close()
    found = CliRunner().invoke(main, ["audit", "verify", "--config", str(config)])
    assert found.exit_code == 5
    assert f"audit event {number}" in found.output


def test_verify_says_when_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not there"):
        verify(tmp_path)


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from alprd.audit import Event
from alprd.store import Store
store = Store(Path(sys.argv[1]), now=lambda: (datetime.now(UTC), True), device="car-1")
while True:
    store.record(Event.SIGNED_ON)
    print("written", flush=True)
"""


@pytest.mark.policy("R-AT-3")
def test_the_trail_survives_the_end_of_the_process(tmp_path: Path) -> None:
    """kill -9 in mid-writing: every event that was told is there, and the chain is whole."""
    path, told = tmp_path / "queue.db", 0
    for round_ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(5 + round_):
            assert writer.stdout.readline() == "written\n"
        os.kill(writer.pid, signal.SIGKILL)
        told += 5 + round_ + len(writer.stdout.read().split())
        writer.wait()
        writer.stdout.close()
        held = verify(tmp_path).events
        assert told <= held <= told + round_ + 1  # one may be written and not yet told
        told = held


# --- no trail, no act ---------------------------------------------------------------------------


def full(store: Store) -> None:
    """No page is left, and none of the last pages holds another event."""
    connection = store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    with suppress(StoreError):
        while True:
            store.record(Event.STARTED)


def read_only(store: Store) -> None:
    store._connection.execute("PRAGMA query_only=ON")


def damaged(store: Store) -> None:
    store._connection.execute(
        "UPDATE audit SET event = '{' WHERE seq = (SELECT max(seq) FROM audit)"
    )


def refused(store: Store) -> None:
    store._connection.execute(
        "CREATE TRIGGER no_trail BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no'); END"
    )


def prepare_reads(car: Car) -> tuple[list[str], Receipt]:
    """Two committed reads of a session, and the receipt that would destroy them."""
    row = session_row()
    car.store.open_session(row, DAEMON)
    items = []
    for _ in range(2):
        value = read(session=row.id)
        envelope = seal_read(
            value, agency="becker", vehicle="car-1", intake_key=generate_key().public_key()
        )
        car.store.commit_read(envelope, hit=False, session_row=row)
        items.append({"id": value.id, "sha256": sha256_hex(envelope), "outcome": "stored"})
    receipt = Receipt.model_validate(
        {
            "agency": "becker", "vehicle": "car-1", "batch": new_id(), "received_at": NOW,
            "items": items,
        }
    )  # fmt: skip
    return [str(item["id"]) for item in items], receipt


@pytest.mark.policy("R-AT-3")
@pytest.mark.parametrize("broken", [full, read_only, damaged, refused])
def test_what_cannot_be_recorded_is_not_done(car: Car, broken: Callable[[Store], None]) -> None:
    signons = SignOns(
        car.book, car.store, car.collecting, car.clock.now,
        on_end=lambda: None, collecting=lambda: car.sessions.is_open,
    )  # fmt: skip
    _, receipt = prepare_reads(car)
    car.collecting.begin(ACTOR, "stolen_vehicles")
    car.play("STL417")
    car.collecting.stop("stopped", ACTOR)
    (view,) = car.board.snapshot()
    before = car.store.pending()
    kept_permit = car.store.get_meta("permit")
    broken(car.store)

    def attempt(act: Callable[[], Any]) -> None:
        with pytest.raises(StoreError):
            act()

    def sign_on() -> None:
        signons.sign_on(
            "pat", "correct horse battery", purpose="stolen_vehicles", unit="1", acknowledged=True
        )

    with pytest.raises(AuditError):
        sign_on()
    assert signons.live is None
    attempt(lambda: car.collecting.begin(ACTOR, "stolen_vehicles"))
    assert not car.sessions.is_open
    attempt(lambda: car.board.acknowledge(view.id, ACTOR))
    attempt(lambda: car.board.silence(view.id, ACTOR))
    attempt(lambda: car.board.picture(view.id, "plate", ACTOR))
    attempt(lambda: car.board.mark_shown(view, ACTOR, cleared=True))
    now = car.board.view(view.id)
    assert now is not None and now.state == "new"
    if broken is full:  # what is destroyed makes room for its own event
        assert car.store.destroy_receipted(receipt) == 2
        last = car.store.last_audit_event()
        assert last is not None and last.event == Event.READS_DESTROYED
        full(car.store)
    else:
        attempt(lambda: car.store.destroy_receipted(receipt))
        assert car.store.pending().reads == before.reads
    attempt(lambda: car.held.hold(**_hit(car)))
    assert len(car.held) == 0
    old = car.permits.permit
    attempt(lambda: car.permit(suspended=True))
    assert car.permits.permit == old
    assert car.store.get_meta("permit") == kept_permit


def _hit(car: Car) -> dict[str, Any]:
    from datetime import timedelta

    from test_collect import reading

    return {
        "pass_id": new_id(), "camera": "front", "reading": reading("STL417"),
        "category": "stolen", "plate_jpeg": b"p", "wide_jpeg": None, "instant": NOW,
        "time_trusted": True, "session": new_id(), "life": timedelta(days=1), "suppressed": False,
    }  # fmt: skip


@pytest.mark.policy("R-AT-3")
def test_act_and_event_never_part(store: Store) -> None:
    """An act that fails after its event was written takes the event with it."""
    row = session_row()
    store.open_session(row, DAEMON)
    last = store.last_audit_event()
    with pytest.raises(RuntimeError), store._transaction():
        store.close_session(row, DAEMON)
        raise RuntimeError
    assert store.last_audit_event() == last
    assert [open_.id for open_ in store.open_sessions()] == [row.id]


@pytest.mark.policy("R-AT-3")
def test_a_cut_off_end_is_missed_by_what_central_acknowledged(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db", now=lambda: (utc_now(), True), device="car-1")
    for _ in range(5):
        store.record(Event.SIGNED_ON, ACTOR)
    store.mark_audit_sent(5)
    store.close()
    assert verify(tmp_path).events >= 5
    with closing(sqlite3.connect(tmp_path / "queue.db")) as db:
        db.execute("DELETE FROM audit WHERE seq > 3")
        db.commit()
    with pytest.raises(AuditError, match="audit event 4 is missing: central holds 5") as caught:
        verify(tmp_path)
    assert "central holds the events up to 5" in caught.value.remedy
    assert "may be altered" in caught.value.remedy  # no damage of the file explains it
    with closing(sqlite3.connect(tmp_path / "queue.db")) as db:
        db.execute("DELETE FROM audit")
        db.commit()
    with pytest.raises(AuditError, match="audit event 1 is missing"):
        verify(tmp_path)
