"""The crash bench: it finds every kind of loss and untruth, and its clip can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from factories import session_row

from alprd.audit import FIRST, digest
from alprd.frames import Frame
from alprd.models import shipped
from alprd.profiles import ROAD
from alprd.reader import RoadReader, load
from alprd.wire import AuditEvent, SessionRow
from bench import crash
from bench.crash_clip import FPS, SHOWN_S, pictures, write_clip
from bench.crash_score import CarFacts, CentralFacts, Lived, Score, score
from bench.crash_world import Told

T0 = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
READS = ("a" * 32, "b" * 32, "c" * 32)


def told(name: str, at_s: float = 3.0) -> Told:
    return Told(name, int(at_s * 1e9), int((at_s - 1.6) * 1e9))


def trail(length: int, device: str = "car-1") -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for seq in range(1, length + 1):
        fields = AuditEvent(
            seq=seq, at=T0, at_trusted=True, event="daemon.started", actor="alprd",
            actor_name="vehicle daemon", role="service", device=device, session=None, subjects=(),
            detail={}, version="0.1.0", previous=events[-1].digest if events else FIRST,
            digest=FIRST,
        )  # fmt: skip
        events.append(fields.model_copy(update={"digest": digest(fields.model_dump(mode="json"))}))
    return events


def life(**changes: Any) -> Lived:
    whole = Lived(
        car="car-1", kind="load", began=T0, ended=T0 + timedelta(seconds=9), signed_on=True,
        closing=False, killed=True, told=tuple(told(name) for name in READS),
        last_commit=T0 + timedelta(seconds=8),
    )  # fmt: skip
    return replace(whole, **changes)


def row(**changes: Any) -> SessionRow:
    fields: dict[str, Any] = {
        "id": "1" * 32, "started": T0 + timedelta(seconds=2), "ended": T0 + timedelta(seconds=8),
        "end_reason": "power_lost", "plates_read": 4, "distinct_plates": 4, "queued": 3,
    }  # fmt: skip
    return session_row(**(fields | changes))


def car(session: SessionRow, **changes: Any) -> CarFacts:
    whole = CarFacts(
        name="car-1", cameras=1, sessions=[session], open_or_unsent=0,
        ledger={session.id: (3, 3, 0)}, left=0, trail=trail(4),
    )  # fmt: skip
    return replace(whole, **changes)


def central(session: SessionRow, reads: tuple[str, ...] = READS, **changes: Any) -> CentralFacts:
    whole = CentralFacts(
        found=[
            {"id": name, "vehicle": "car-1", "session": session.id, "plate": f"AAA{n}",
             "instant": T0.isoformat()}
            for n, name in enumerate(reads)
        ],
        arrived=dict.fromkeys(reads, ("car-1", "stored")),
        sessions={"car-1": [session]},
        trails={"car-1": trail(3)},
        own_trail=trail(5, "central"),
        broken=0,
        refused_again=0,
    )  # fmt: skip
    return replace(whole, **changes)


def test_a_run_without_a_fault_holds() -> None:
    session = row()
    found = score([life()], [car(session)], central(session))
    assert found.held, found.faults
    assert (found.kills, found.committed, found.received) == (1, 3, 3)
    assert found.max_ram_window_ms == pytest.approx(1600)
    assert found.max_end_before_kill_s == 1.0
    named = {"kills", "committed", "received", "lost", "duplicated", "sessions_wrong",
             "chain_breaks", "max_ram_window_ms"}  # fmt: skip
    assert named <= set(crash.document(found))


def test_a_commit_that_the_kill_kept_from_the_witness_is_explained() -> None:
    session = row()
    found = score([life(told=(told(READS[0]), told(READS[1])))], [car(session)], central(session))
    assert found.held, found.faults
    assert found.unwitnessed == 1
    too_many = score([life(told=(told(READS[0]),))], [car(session)], central(session))
    assert too_many.unexplained == 2 and not too_many.held


@pytest.mark.policy("R-460.5-2")
def test_a_lost_read_is_found() -> None:
    session = row()
    found = score([life()], [car(session)], central(session, READS[:2]))
    assert found.lost == 1 and found.received == 2 and not found.held
    assert found.ledger_off == 1


def test_a_read_that_stands_at_central_twice_is_found() -> None:
    session = row()
    whole = central(session)
    again = [*whole.found, {**whole.found[0], "id": "d" * 32}]
    found = score([life()], [car(session)], replace(whole, found=again))
    assert found.duplicated == 1 and not found.held


WRONG_ROWS: dict[str, dict[str, Any]] = {
    "ends after the kill": {"ended": T0 + timedelta(seconds=30)},
    "ends before its last read": {"ended": T0 + timedelta(seconds=2)},
    "says it was closed": {"end_reason": "signed_off"},
    "queued more than it read": {"plates_read": 2, "distinct_plates": 2},
    "queued what never arrived": {"queued": 4},
    "began before its life": {"started": T0 - timedelta(seconds=30)},
}


@pytest.mark.policy("R-460.5.1-a")
@pytest.mark.parametrize("changes", WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_an_untrue_session_is_found(changes: dict[str, Any]) -> None:
    session = row(**changes)
    assert score([life()], [car(session)], central(session)).sessions_wrong == 1


def test_a_session_at_central_must_be_the_cars() -> None:
    session = row()
    other = central(session, sessions={"car-1": [row(plates_read=9)]})
    assert score([life()], [car(session)], other).sessions_wrong == 1
    missing = central(session, sessions={})
    assert score([life()], [car(session)], missing).sessions_wrong == 2
    left_open = car(session, open_or_unsent=1)
    assert score([life()], [left_open], central(session)).sessions_wrong == 1


def test_a_heartbeat_that_came_too_late_is_found() -> None:
    session = row()
    late = life(ended=T0 + timedelta(seconds=90))
    assert score([late], [car(session)], central(session)).sessions_wrong == 1


def _altered(events: list[AuditEvent]) -> list[AuditEvent]:
    return [events[0].model_copy(update={"actor": "nobody"}), *events[1:]]


BROKEN: dict[str, Callable[[CarFacts, CentralFacts], tuple[CarFacts, CentralFacts]]] = {
    "altered in the car": lambda a, b: (replace(a, trail=_altered(trail(4))), b),
    "removed in the car": lambda a, b: (replace(a, trail=trail(4)[1:]), b),
    "altered at central": lambda a, b: (a, replace(b, trails={"car-1": _altered(trail(3))})),
    "another trail at central": lambda a, b: (a, replace(b, trails={"car-1": trail(3, "car-2")})),
    "none at central": lambda a, b: (a, replace(b, trails={})),
    "central's own altered": lambda a, b: (a, replace(b, own_trail=_altered(trail(5)))),
    "central said so": lambda a, b: (a, replace(b, broken=1)),
}


@pytest.mark.policy("R-AT-3")
@pytest.mark.parametrize("harm", BROKEN.values(), ids=BROKEN)
def test_a_broken_trail_is_found(
    harm: Callable[[CarFacts, CentralFacts], tuple[CarFacts, CentralFacts]],
) -> None:
    session = row()
    found = score([life()], *_listed(*harm(car(session), central(session))))
    assert found.chain_breaks == 1 and not found.held


def _listed(one: CarFacts, two: CentralFacts) -> tuple[list[CarFacts], CentralFacts]:
    return [one], two


def test_every_plate_of_the_clip_becomes_a_pass(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip, 3.6, seed=5)
    video = cv2.VideoCapture(str(clip))
    reader = RoadReader("front", *load(shipped(), ROAD), ROAD)
    events = []
    number = 0
    while (found := video.read())[0]:
        frame = Frame("front", np.asarray(found[1], np.uint8), number * 10**9 // FPS, number)
        events += reader.process(frame)
        number += 1
    video.release()
    events += reader.flush()
    texts = [e.reading.text for e in events if e.kind == "final" and e.reading]
    assert number == round(3.6 * FPS)
    assert len(set(texts)) == len(texts) == 9


def test_equal_seeds_give_equal_clips() -> None:
    def first(seed: int) -> bytes:
        return next(iter(pictures(SHOWN_S, seed))).tobytes()

    assert first(1) == first(1) != first(2)


@pytest.mark.policy("R-460.5-2", "R-460.5.1-a", "R-AT-3")
@pytest.mark.timeout(900)  # seconds of work, but of many programs: a busy machine needs minutes
def test_real_daemons_are_killed_and_lose_nothing(tmp_path: Path) -> None:
    """Two kills of a real daemon, one of them in mid-sync, against a real central."""
    kinds = {"load": 1, "sync": 1}
    found: Score = crash.run(tmp_path / "bench", kills=2, cars=1, seed=3, kinds=kinds)
    assert found.held, found.faults
    assert found.kills == 2 and found.kinds == kinds
    assert found.received >= found.committed
    assert found.audit_events > 8 and found.sessions == 2
