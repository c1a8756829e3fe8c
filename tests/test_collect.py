"""The collecting path: match, suppression, and only then anything written or shown."""

from __future__ import annotations

import base64
import gc
import gzip
import io
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from factories import NOW

from alprd.alerts import AlertBoard
from alprd.audit import DAEMON
from alprd.capture import Camera, CameraConfig
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector, encode_jpeg
from alprd.crypto import generate_key, open_read, public_bytes
from alprd.errors import AuditError
from alprd.frames import Character, PassEvent, PlateReading
from alprd.hotlist import Matcher, load_hotlist
from alprd.lanes import Lane
from alprd.lives import Lives
from alprd.mark import PurgeClock
from alprd.models import shipped
from alprd.profiles import ROAD
from alprd.reader import RoadReader, load
from alprd.session import SessionKeeper
from alprd.store import Store
from alprd.suppress import SuppressionSet, plate_digest
from alprd.targets import TargetSet
from alprd.wire import (
    Hotlist,
    HotlistEntry,
    IntakeKey,
    IntakeKeys,
    Policy,
    Receipt,
    ReceiptItem,
    Roster,
)

KEY = generate_key()
SUPPRESSION_KEY = b"k" * 32
LISTED = {
    "STL417": "stolen",
    "SUS417": "owner_suspended_revoked",
    "PRO417": "stolen",
    "PRS417": "owner_suspended_revoked",
    "BC8417": "stolen",
}
PROTECTED = ("PRO417", "PRS417", "PRV417")


def _targets(clock: DisciplinedClock) -> TargetSet:
    now, _ = clock.now()
    entries = [
        HotlistEntry.model_validate(
            {
                "id": plate,
                "plate": plate,
                "state": "MN",
                "plate_type": None,
                "category": category,
                "priority": "high",
                "text": "invented entry",
            }
        )
        for plate, category in LISTED.items()
    ]
    header = Hotlist.model_validate(
        {
            "list_id": "lpdf",
            "source": "LPDF",
            "version": "1",
            "supplied_at": now,
            "entries": len(entries),
            "counts": {
                c: sum(e.category == c for e in entries)
                for c in ("stolen", "owner_suspended_revoked")
            },
        }
    )
    plain = gzip.compress(
        b"\n".join(item.model_dump_json().encode() for item in (header, *entries)) + b"\n"
    )
    policy = Policy(
        agency="becker",
        agency_name="Becker County (test)",
        version="460",
        sha256="0" * 64,
        adopted_by="Sheriff",
        effective=NOW,
    )
    point = base64.urlsafe_b64encode(public_bytes(KEY)).decode()
    return TargetSet(
        intake_keys=IntakeKeys(
            agency="becker", keys=(IntakeKey(day=now.date().isoformat(), key=point),)
        ),
        policy=policy,
        roster=Roster(agency="becker", issued=now, expires=now, people=()),
        matcher=Matcher([load_hotlist(plain)], policy),
        suppression=SuppressionSet(
            [plate_digest(SUPPRESSION_KEY, plate).hex() for plate in PROTECTED], SUPPRESSION_KEY
        ),
        versions={"targets": "1"},
    )


@dataclass
class Rig:
    """A collector with real parts around it."""

    store: Store
    sessions: SessionKeeper
    board: AlertBoard
    collector: Collector
    witness: io.StringIO
    clock: DisciplinedClock

    def reads(self) -> list[str]:
        return [open_read(item.envelope, KEY).plate.text for item in self.store.claim(99, 10**9, 0)]

    def shown(self) -> list[str]:
        return [view.reading.text for view in self.board.snapshot() if view.state != "withdrawn"]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = DisciplinedClock()
    store = Store(tmp_path / "queue.db", now=clock.now, device="car-1")
    sessions = SessionKeeper(store, reader="1", now=clock.now)
    board = AlertBoard(store)
    targets = _targets(clock)
    witness = io.StringIO()
    collector = Collector(
        store=store,
        sessions=sessions,
        board=board,
        clock=clock,
        positions=PositionTrack(),
        lives=Lives(store, clock, PurgeClock(clock)),
        targets=lambda: targets,
        agency="becker",
        vehicle="car-1",
        witness=witness,
    )
    sessions.open(DAEMON, purpose="stolen_vehicles", policy_version="460", databases=[])
    yield Rig(store, sessions, board, collector, witness, clock)
    store.close()


_passes = itertools.count()


def reading(text: str, *, sure: bool = True, doubts: dict[int, str] | None = None) -> PlateReading:
    characters = tuple(
        Character(char, 0.9, ((doubts[at], 0.08),) if doubts and at in doubts else ())
        for at, char in enumerate(text)
    )
    return PlateReading(text, "", characters, "MN", 0.95, 0.9, sure)


def events(
    *steps: tuple[str, PlateReading | None], pass_id: str | None = None
) -> Sequence[PassEvent]:
    name = pass_id or f"{next(_passes):032x}"
    picture = np.full((40, 80, 3), 200, np.uint8)
    wide = np.full((90, 160, 3), 90, np.uint8)
    now = time.monotonic_ns()
    return [
        PassEvent(
            kind=kind,  # type: ignore[arg-type]
            pass_id=name,
            camera="front",
            reading=said,
            first_mono_ns=now,
            best_mono_ns=now,
            plate_image=picture if said else None,
            wide_image=wide if said else None,
        )
        for kind, said in steps
    ]


def play(rig: Rig, *steps: tuple[str, PlateReading | None]) -> Sequence[PassEvent]:
    told = events(*steps)
    for event in told:
        rig.collector.handle(event)
    return told


@pytest.mark.policy("R-460.5-b2")
def test_thousand_reads_leave_nothing_in_memory(rig: Rig) -> None:
    """Python's own count of allocated blocks; a single text kept of each read would be 1,000.

    Reads go to central in between, as in a dock, and the plates come again: what one more plate
    of a session costs is counted in ``test_distinct.py``.
    """
    now = time.monotonic_ns()
    for second in range(60, 0, -1):  # with time that is not trusted its reads are remembered
        at = now - second * 1_000_000_000
        rig.clock.observe(datetime.now(UTC) - timedelta(seconds=second), at)
    assert rig.clock.now()[1]

    def drive(reads: int) -> int:
        for number in range(reads):
            play(rig, ("final", reading(f"ZQ{number % 50:04d}")))
            if number % 100 == 99:
                sent = rig.store.claim(200, 10**9, 0)
                items = tuple(
                    ReceiptItem(id=one.id, sha256=one.sha256, outcome="stored") for one in sent
                )
                rig.store.destroy_receipted(
                    Receipt(
                        agency="becker", vehicle="car-1", batch=f"{number:032x}",
                        received_at=NOW, items=items,
                    )
                )  # fmt: skip
                rig.witness.truncate(0)
                rig.witness.seek(0)
        gc.collect()
        return sys.getallocatedblocks()

    before = drive(300)
    assert drive(1000) - before < 500


def test_a_plain_plate_is_committed_and_shown_to_nobody(rig: Rig) -> None:
    play(rig, ("early", reading("ZQX417")), ("final", reading("ZQX417")))
    assert rig.reads() == ["ZQX417"]
    assert rig.shown() == []
    line = json.loads(rig.witness.getvalue())
    assert set(line) == {"id", "sure", "mono_ns", "last_frame_mono_ns"}
    assert "ZQX417" not in rig.witness.getvalue()


def test_a_listed_plate_alarms_early_and_is_committed_at_the_end(rig: Rig) -> None:
    early, final = events(("early", reading("STL417")), ("final", reading("STL417")))
    rig.collector.handle(early)
    assert rig.shown() == ["STL417"]
    assert rig.reads() == []
    rig.collector.handle(final)
    assert rig.shown() == ["STL417"]
    assert rig.reads() == ["STL417"]
    row = rig.sessions.row()
    assert row is not None and row.matches == {"stolen": 1}


@pytest.mark.policy("R-AT-3", "R-460.5-2")
def test_a_correction_that_cannot_be_recorded_takes_no_other_pass_with_it(
    rig: Rig, tmp_path: Path
) -> None:
    """Several passes often end in one frame, at a session's end all of them."""
    early, final = events(("early", reading("STL417")), ("final", reading("ZQX400")))
    rig.collector.handle(early)
    with rig.store.transaction() as tx:
        tx.execute(
            "CREATE TRIGGER none BEFORE INSERT ON audit WHEN NEW.event LIKE '%alert.withdrawn%' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    camera = Camera(CameraConfig("front", f"file:{tmp_path}/none.mp4"))
    pair = load(shipped(), ROAD)
    lane = Lane(camera, RoadReader("front", *pair), rig.collector, threading.Event())
    others = [*events(("final", reading("ZQX401"))), *events(("final", reading("ZQX402")))]
    with pytest.raises(AuditError):
        lane._handle([final, *others])
    assert rig.shown() == []
    assert rig.reads() == ["ZQX400", "ZQX401", "ZQX402"]
    row = rig.sessions.row()
    assert row is not None and row.plates_read == 3


def test_an_unsure_reading_never_alarms_but_is_kept(rig: Rig) -> None:
    play(rig, ("final", reading("STL417", sure=False)))
    assert rig.shown() == []
    assert rig.reads() == ["STL417"]


def test_an_alert_is_withdrawn_when_the_fused_text_differs(rig: Rig) -> None:
    early, final = events(("early", reading("STL417")), ("final", reading("STL411")))
    rig.collector.handle(early)
    assert rig.shown() == ["STL417"]
    rig.collector.handle(final)
    assert rig.shown() == []
    assert rig.reads() == ["STL411"]


def test_an_unsure_last_look_does_not_take_back_a_sure_alert(rig: Rig) -> None:
    play(rig, ("early", reading("STL417")), ("final", reading("STL417", sure=False)))
    assert rig.shown() == ["STL417"]


def test_a_surely_read_look_alike_raises_nothing(rig: Rig) -> None:
    play(rig, ("final", reading("BCB417")))
    assert rig.shown() == []
    play(rig, ("final", reading("BCB417", doubts={2: "8"})))
    assert rig.shown() == ["BCB417"]


@pytest.mark.policy("R-460.5-b2", "R-460.5-b3", "R-460.5-b4")
@pytest.mark.parametrize(
    ("plate", "alarms"), [("PRV417", False), ("PRS417", False), ("PRO417", True)]
)
def test_a_protected_plate_leaves_nothing_but_its_count(
    rig: Rig, tmp_path: Path, plate: str, alarms: bool
) -> None:
    told = play(rig, ("early", reading(plate)), ("final", reading(plate)))
    assert rig.shown() == ([plate] if alarms else [])
    assert rig.reads() == []
    row = rig.sessions.row()
    # As a pass without text: its text in a figure would be missing from the queue.
    assert row is not None and (row.plates_read, row.distinct_plates) == (1, 0)
    assert row.matches == {}
    for event in told:
        assert event.plate_image is not None and not event.plate_image.any()
        assert event.wide_image is not None and not event.wide_image.any()
    rig.store.heartbeat(row)
    for path in tmp_path.iterdir():
        assert plate.encode() not in path.read_bytes(), path.name
    assert rig.witness.getvalue() == ""


@pytest.mark.policy("R-460.5-b2")
@pytest.mark.parametrize("misread", ["PRV4I7", "PRVA17", "PRV411"])
def test_a_pass_that_once_looked_protected_is_not_kept_whatever_is_read_later(
    rig: Rig, misread: str
) -> None:
    play(rig, ("early", reading("PRV417")), ("final", reading(misread)))
    assert rig.reads() == []


@pytest.mark.policy("R-460.5-b2", "R-460.5-b4")
def test_a_doubtful_reading_that_may_be_protected_is_not_kept(rig: Rig) -> None:
    play(rig, ("final", reading("PRV411", doubts={5: "7"})))
    assert rig.reads() == []
    play(rig, ("final", reading("PRV411")))
    assert rig.reads() == ["PRV411"]


@pytest.mark.policy("R-460.5.1-b1")
def test_a_pass_without_text_only_counts(rig: Rig) -> None:
    play(rig, ("final", None))
    row = rig.sessions.row()
    assert row is not None and row.plates_read == 1
    assert rig.reads() == []


@pytest.mark.policy("R-460.4-a")
def test_without_a_session_nothing_is_kept(rig: Rig) -> None:
    rig.sessions.close("signed_off")
    (told,) = play(rig, ("final", reading("STL417")))
    assert rig.shown() == []
    assert rig.reads() == []
    assert told.plate_image is not None and not told.plate_image.any()


@pytest.mark.policy("R-460.4.1-a", "R-460.4.1-a3")
def test_pictures_are_encoded_without_metadata() -> None:
    data = encode_jpeg(np.zeros((20, 30, 3), np.uint8), 80)
    assert data[:4] == b"\xff\xd8\xff\xe0"
    for marker in (b"\xff\xe1", b"\xff\xfe", b"Exif"):
        assert marker not in data
