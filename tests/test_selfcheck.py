"""The daily self-check, with the shipped models and with models and pictures that are damaged."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from alprd import selfcheck
from alprd.audit import DAEMON, Actor, Event
from alprd.errors import ModelError
from alprd.frames import Detection, Image
from alprd.models import FOLDER, shipped
from alprd.profiles import ROAD
from alprd.reader import CharacterReader, PlateDetector, RoadReader, load
from alprd.selfcheck import SelfCheck, load_picture, show
from alprd.store import Store
from alprd.workers import Beat

NOW = (datetime(2026, 6, 1, tzinfo=UTC), True)


class Notes:
    """A trail that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Event, dict[str, Any]]] = []

    def record(
        self,
        event: Event,
        actor: Actor = DAEMON,
        *,
        session: str | None = None,
        subjects: Sequence[str] = (),
        detail: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        assert actor is DAEMON and session is None and not subjects
        self.events.append((event, dict(detail or {})))


@pytest.fixture(scope="module")
def pair() -> tuple[PlateDetector, CharacterReader]:
    return load(shipped(), ROAD)


Make = Callable[[str], RoadReader]


@pytest.fixture
def make(pair: tuple[PlateDetector, CharacterReader]) -> Make:
    return lambda name: RoadReader(name, pair[0], pair[1], ROAD)


def checked(make_reader: Make, folder: Path = FOLDER) -> tuple[SelfCheck, Notes]:
    notes = Notes()
    check = SelfCheck(make_reader, trail=notes, now=lambda: NOW, folder=folder, pause_s=0)
    check.check()
    return check, notes


def with_picture(folder: Path, change: Callable[[Image], Image], truth: str | None = None) -> Path:
    """A folder whose test picture was changed."""
    image, _ = load_picture()
    assert cv2.imwrite(str(folder / selfcheck.PICTURE), change(image))
    shipped_truth = (FOLDER / selfcheck.TRUTH).read_text()
    (folder / selfcheck.TRUTH).write_text(truth or shipped_truth)
    return folder


def test_the_shipped_models_read_the_test_plate(make: Make) -> None:
    check, notes = checked(make)
    assert check.result is not None and check.result.ok
    assert check.alarm == ""
    assert check.result.milliseconds > 0
    (event, detail) = notes.events[0]
    assert event is Event.SELF_CHECKED
    assert detail == {
        "ok": True, "outcome": "read", "milliseconds": round(check.result.milliseconds),
    }  # fmt: skip
    assert check.health()["ok"] is True and check.health()["at"] == NOW[0].isoformat()


def test_nothing_is_known_before_the_first_check(make: Make) -> None:
    check = SelfCheck(make, trail=Notes(), now=lambda: NOW)
    assert check.result is None and check.alarm == "" and check.health()["ok"] is None


def black(image: Image) -> Image:
    return np.zeros_like(image)


def blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 6), np.uint8)


@pytest.mark.parametrize(
    ("change", "truth", "outcome"),
    [
        (black, None, "unread"),
        (blurred, None, "unread"),
        (lambda image: image, "ABC123 MN", "misread"),
    ],
)
def test_a_pipeline_that_reads_something_else_raises_the_alarm(
    tmp_path: Path, make: Make, change: Callable[[Image], Image], truth: str | None, outcome: str
) -> None:
    check, notes = checked(make, with_picture(tmp_path, change, truth))
    assert check.result is not None and check.result.outcome == outcome
    assert check.alarm.startswith("self-check failed: the test plate")
    assert notes.events[0][1]["ok"] is False


@pytest.mark.parametrize("name", [selfcheck.PICTURE, selfcheck.TRUTH])
@pytest.mark.parametrize("how", ["missing", "cut", "empty"])
def test_a_damaged_test_picture_is_told_with_its_remedy(
    tmp_path: Path, make: Make, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    victim = with_picture(tmp_path, lambda image: image) / name
    if how == "missing":
        victim.unlink()
    else:
        data = victim.read_bytes()
        victim.write_bytes(data[:3] if how == "cut" else b"")
    with pytest.raises(ModelError) as caught:
        load_picture(tmp_path)
    assert caught.value.remedy
    check, _ = checked(make, tmp_path)
    assert check.result is not None and check.result.outcome == "damaged"
    assert "install the package again" in caplog.text


class Broken:
    """A detector whose runtime fails with words that quote its input."""

    def detect(self, image: Image) -> list[Detection]:
        raise RuntimeError("while reading 737RBX")


@pytest.mark.policy("R-AT-4")
def test_what_is_told_never_holds_a_number(
    tmp_path: Path,
    pair: tuple[PlateDetector, CharacterReader],
    make: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-AT-4: neither log nor trail nor alarm says what was read, nor what should have been."""
    caplog.set_level(logging.DEBUG)
    broken, told = checked(lambda name: RoadReader(name, Broken(), pair[1], ROAD))
    assert broken.result is not None and broken.result.outcome == "error"
    misread, more = checked(make, with_picture(tmp_path, lambda image: image, "ABC123 MN"))
    everything = f"{caplog.text} {told.events} {more.events} {broken.alarm} {misread.alarm}"
    everything += f"{broken.health()} {misread.health()}"
    assert "737RBX" not in everything and "ABC123" not in everything


@pytest.mark.policy("R-460.5.1-b1")
def test_a_check_leaves_no_read_and_no_count(tmp_path: Path, make: Make) -> None:
    """R-460.5.1-b1: the test plate is no plate that was read; only the trail knows of the check."""
    store = Store(tmp_path / "queue.db", now=lambda: NOW, device="unit-12")
    try:
        SelfCheck(make, trail=store, now=lambda: NOW, pause_s=0).check()
        assert store.pending().reads == 0 and store.pending().sessions == 0
        assert [event.event for event in store.audit_events()] == ["daemon.self-checked"]
    finally:
        store.close()
    assert b"737RBX" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_the_worker_checks_at_start_and_again_until_told_to_stop(make: Make) -> None:
    notes, beat = Notes(), Beat()
    check = SelfCheck(
        make, trail=notes, now=lambda: NOW, every_s=0.05, again_s=600, pause_s=0.0
    )  # fmt: skip
    worker = threading.Thread(target=check.run, args=(beat,))
    worker.start()
    end = time.monotonic() + 30
    while len(notes.events) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    beat.stop()
    worker.join(10)
    assert not worker.is_alive()
    assert len(notes.events) >= 2 and all(detail["ok"] for _, detail in notes.events)


def test_a_check_that_is_interrupted_says_nothing(make: Make) -> None:
    notes, beat = Notes(), Beat()
    beat.stop()
    check = SelfCheck(make, trail=notes, now=lambda: NOW)
    assert check.check(beat) is None
    assert check.result is None and notes.events == []


def test_the_shipped_picture_is_the_one_that_the_simulator_renders() -> None:
    """The picture is rendered and not a photograph: anybody can make it again."""
    from sim.selfcheck import picture

    image, truth = picture()
    kept, text = load_picture()
    assert truth.split()[0] == text
    assert image.shape == kept.shape
    # Rounding of another processor may move a grey level; another picture would differ by many.
    assert float(np.abs(image.astype(int) - kept).mean()) < 1.0


def test_a_shown_plate_costs_what_frames_cost(make: Make) -> None:
    image, truth = load_picture()
    outcome, milliseconds = show(make("timing"), image, truth)
    assert outcome == "read" and 0 < milliseconds < 5000
