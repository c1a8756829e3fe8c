"""The ignition's file: what counts as off, and how a sign-on ends by it."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from alprd.config import Config
from alprd.ignition import Ignition
from alprd.mdt.signons import SignOns
from alprd.workers import Beat
from mdt.world import PASSWORD, Car


class Watched:
    """An ignition file under a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "value"
        self.now = 0.0
        self.ignition = Ignition(self.file, after_s=600, elapsed=lambda: self.now)

    def says(self, text: str, after_s: float = 0.0) -> None:
        self.now += after_s
        self.file.write_text(text)
        self.ignition.look()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_off_counts_from_the_first_zero_and_ends_with_the_next_one(watched: Watched) -> None:
    watched.says("1\n")
    watched.says("0\n", after_s=5000)
    assert not watched.ignition.over(5000)
    watched.says("0\n", after_s=601)
    assert watched.ignition.over(5601)
    assert not watched.ignition.over(30)  # signed on half a minute ago, with the engine off
    watched.says("1\n")
    assert not watched.ignition.over(5601)
    watched.says("0\n", after_s=1)
    assert not watched.ignition.over(5601)


def test_a_file_that_says_nothing_counts_as_on_and_is_told_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.says("0")
    watched.now += 601
    with caplog.at_level(logging.ERROR, "alprd.ignition"):
        for text in ("", "maybe", "-1"):
            watched.says(text)
            assert not watched.ignition.over(9999)
        watched.file.unlink()
        watched.ignition.look()
        watched.ignition.look()
    assert len(caplog.messages) == 2
    assert not watched.ignition.over(9999)
    assert not Ignition(None, after_s=0).over(9999)


def test_the_worker_looks_until_it_is_stopped(watched: Watched) -> None:
    watched.file.write_text("0")
    beat = Beat()
    thread = threading.Thread(target=watched.ignition.run, args=(beat,))
    thread.start()
    end = time.monotonic() + 10
    watched.now = 1000
    while not watched.ignition.over(9999) and time.monotonic() < end:
        watched.now += 700
        time.sleep(0.01)
    beat.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert watched.ignition.over(9999)


@pytest.mark.policy("R-CJIS-3", "R-460.4-a")
def test_ignition_off_signs_off_and_leaves_the_alerts(watched: Watched, car: Car) -> None:
    """R-CJIS-3, R-460.4-a: with its reason in the trail; what is unresolved waits."""
    now = [0.0]
    signons = SignOns(
        car.book, car.store, car.collecting, car.context.clock,
        on_end=car.board.end_shift, collecting=lambda: True,
        ignition_over=watched.ignition.over, monotonic=lambda: now[0],
    )  # fmt: skip
    token, _ = signons.sign_on(
        "dep.one", PASSWORD, purpose="stolen_plates", unit="1", acknowledged=True
    )
    _, alert = car.alert()
    watched.says("0")
    watched.says("0", after_s=601)
    signons.sweep()
    assert signons.check(token)  # signed on just now
    now[0] += 601
    signons.sweep()
    assert signons.live is None
    assert signons.check(token) is None
    assert car.collecting.told[-1] == ("off", "ignition_off")
    assert [view.id for view in car.board.snapshot()] == [alert]
    (event,) = [one for one in car.store.audit_events() if one.event == "person.signed-off"]
    assert event.detail["reason"] == "ignition_off"


def test_the_configuration_names_file_and_minutes() -> None:
    whole = {
        "state_dir": "/var/lib/alprd",
        "camera": [{"name": "front", "source": "file:/x"}],
        "gps": {"source": "file:/y"},
    }
    plain = Config.model_validate(whole)
    assert (plain.ignition.file, plain.ignition.off_after_min) == (None, 10)
    section = {"ignition": {"file": "/sys/class/gpio/gpio17/value", "off_after_min": 5}}
    made = Config.model_validate(whole | section)
    assert made.ignition.file == Path("/sys/class/gpio/gpio17/value")
    with pytest.raises(ValueError, match="off_after_min"):
        Config.model_validate(whole | {"ignition": {"off_after_min": 0}})
