"""A configuration that changes while the daemon runs: seen, checked, recorded, applied."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alprd.audit import Event
from alprd.config import Config, load
from alprd.errors import ConfigError, ModelError
from alprd.reload import Reloader
from alprd.store import Store
from alprd.workers import Beat

MAIN = """state_dir = "/var/lib/alprd"
[[camera]]
name = "front"
source = "/dev/video0"
[gps]
source = "/dev/gps"
"""
SECRET = "hunter2hunter2"


class Rig:
    """A reloader at work, with a real trail."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "alprd.toml"
        self.path.write_text(MAIN)
        self.store = Store(
            folder / "queue.db", now=lambda: (datetime.now(UTC), True), device="car-1"
        )
        self.applied: list[Config] = []
        self.rehearsed: list[Config] = []
        self.signs: list[bool] = []
        self.refusal: ConfigError | ModelError | None = None
        self.reloader = Reloader(
            self.path,
            load(self.path),
            store=self.store,
            apply=self._apply,
            rehearse=self._rehearse,
            reloading=self.signs.append,
        )
        self.reloader.begin()
        self._beat = Beat()
        self._thread = threading.Thread(target=self.reloader.run, args=(self._beat,))

    def _apply(self, config: Config) -> None:
        self.applied.append(config)

    def _rehearse(self, config: Config) -> None:
        self.rehearsed.append(config)
        if self.refusal is not None:
            raise self.refusal

    def start(self) -> None:
        self._thread.start()
        time.sleep(0.4)

    def stop(self) -> None:
        self._beat.stop()
        if self._thread.ident is not None:
            self._thread.join(5)
            assert not self._thread.is_alive()
        self.store.close()

    def drop(self, name: str, text: str) -> Path:
        folder = self.path.with_name("alprd.toml.d")
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_text(text)
        return file

    def events(self, kind: Event) -> list[dict[str, Any]]:
        return [
            dict(event.detail) for event in self.store.audit_events() if event.event == kind.value
        ]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.stop()


def until(condition: Callable[[], Any], seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


FRONT_90 = MAIN.replace('source = "/dev/video0"', 'source = "/dev/video0"\nrotate = 90')


def _write(rig: Rig) -> None:
    rig.path.write_text(FRONT_90)


def _rename_over(rig: Rig) -> None:
    new = rig.path.with_name(".alprd.toml.swp")
    new.write_text(FRONT_90)
    new.replace(rig.path)


def _remove_and_write(rig: Rig) -> None:
    rig.path.unlink()
    time.sleep(0.1)
    rig.path.write_text(FRONT_90)


def _slowly(rig: Rig) -> None:
    with rig.path.open("w") as out:
        for line in FRONT_90.splitlines(keepends=True):
            out.write(line)
            out.flush()
            time.sleep(0.1)


def _dropin(rig: Rig) -> None:
    rig.drop("10-turn.toml", '[[camera]]\nname = "front"\nrotate = 90\n')


def _dropin_renamed(rig: Rig) -> None:
    rig.drop("10-turn.part", '[[camera]]\nname = "front"\nrotate = 90\n').rename(
        rig.path.with_name("alprd.toml.d") / "10-turn.toml"
    )


@pytest.mark.parametrize(
    "edit", [_write, _rename_over, _remove_and_write, _slowly, _dropin, _dropin_renamed]
)
def test_every_way_to_edit_is_seen_and_applied_once(rig: Rig, edit: Callable[[Rig], None]) -> None:
    rig.start()
    edit(rig)
    until(lambda: rig.applied)
    time.sleep(0.8)
    assert [config.camera[0].rotate for config in rig.applied] == [90]
    assert rig.reloader.problem == "" and rig.reloader.restart == ()
    assert rig.signs[-2:] == [True, False]


def test_a_dropin_folder_that_comes_goes_and_comes_again_is_watched(rig: Rig) -> None:
    rig.start()
    file = rig.drop("10.toml", "[gps]\nbaud = 4800\n")
    until(lambda: len(rig.applied) == 1)
    file.unlink()
    file.parent.rmdir()
    until(lambda: len(rig.applied) == 2)
    rig.drop("20.toml", "[gps]\nbaud = 19200\n")
    until(lambda: len(rig.applied) == 3)
    rig.drop("20.toml", "[gps]\nbaud = 38400\n")
    until(lambda: len(rig.applied) == 4)
    assert [config.gps.baud for config in rig.applied] == [4800, 9600, 19200, 38400]


@pytest.mark.policy("R-AT-1", "R-AT-4", "R-CJIS-1")
def test_a_mistake_changes_nothing_and_is_told_and_recorded_without_its_words(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.start()
    text = MAIN.replace("[gps]", f'[gps]\npassword = "{SECRET}"')
    rig.path.write_text(text)
    until(lambda: rig.reloader.problem)
    assert f"{rig.path}:6: gps.password: " in rig.reloader.problem
    assert "remedy:" in rig.reloader.problem
    assert str(rig.path) in rig.reloader.alarm and "\n" not in rig.reloader.alarm
    assert rig.applied == []
    until(lambda: rig.events(Event.CONFIG_REFUSED))
    [refused] = rig.events(Event.CONFIG_REFUSED)
    assert refused["place"] == "alprd.toml:6"
    assert refused["who"] == pwd.getpwuid(os.getuid()).pw_name
    assert refused["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    trail = json.dumps([event.model_dump(mode="json") for event in rig.store.audit_events()])
    assert SECRET not in trail + rig.reloader.problem + caplog.text
    rig.path.write_text(MAIN)  # mended
    until(lambda: not rig.reloader.problem)
    assert rig.applied == [] and rig.reloader.alarm == ""
    assert len(rig.events(Event.CONFIG_REFUSED)) == 1


def test_half_a_file_is_refused_once_and_the_whole_one_taken(rig: Rig) -> None:
    rig.start()
    rig.path.write_text(MAIN[:70])
    until(lambda: rig.reloader.problem)
    rig.path.unlink()
    until(lambda: "No such file" in rig.reloader.problem)
    rig.path.write_text(FRONT_90)
    until(lambda: rig.applied)
    assert rig.reloader.problem == ""


@pytest.mark.policy("R-AT-1", "R-AT-2")
def test_a_change_is_recorded_with_owner_and_digest(rig: Rig) -> None:
    [first] = rig.events(Event.CONFIG_CHANGED)  # the start's own
    assert first["sha256"] == hashlib.sha256(MAIN.encode()).hexdigest()
    rig.start()
    rig.path.write_text(FRONT_90)
    until(lambda: rig.applied)
    change = rig.events(Event.CONFIG_CHANGED)[-1]
    assert change["sha256"] == hashlib.sha256(FRONT_90.encode()).hexdigest()
    assert change["who"] == pwd.getpwuid(os.getuid()).pw_name
    assert (change["applied"], change["restart"], change["files"]) == ("camera", "", 1)
    again = Reloader(rig.path, load(rig.path), store=rig.store, apply=rig.applied.append)
    again.begin()  # the same as before: nothing to record
    assert len(rig.events(Event.CONFIG_CHANGED)) == 2


@pytest.mark.policy("R-AT-3")
def test_what_cannot_be_recorded_is_not_done(rig: Rig) -> None:
    rig.store.close()
    rig.path.write_text(FRONT_90)
    rig.reloader.look()
    assert rig.applied == []
    assert rig.reloader.problem


def test_what_needs_a_fresh_start_waits_until_nobody_collects(rig: Rig) -> None:
    rig.path.write_text(FRONT_90 + "[reader]\nthreads = 2\n")
    rig.reloader.look()
    assert [config.camera[0].rotate for config in rig.applied] == [90]  # at once
    assert list(rig.reloader.restart) == ["reader"]
    assert "waits until nobody collects" in rig.reloader.alarm
    assert not rig.reloader.due(collecting=True)
    assert rig.reloader.due(collecting=False)
    assert rig.events(Event.CONFIG_CHANGED)[-1]["restart"] == "reader"
    rig.path.write_text(FRONT_90)
    rig.reloader.look()
    assert not rig.reloader.restart and not rig.reloader.due(collecting=False)


def test_a_hang_up_does_not_wait_and_means_only_this_change(rig: Rig) -> None:
    rig.start()
    rig.path.write_text(MAIN + "[reader]\nthreads = 2\n")
    rig.reloader.hang_up()
    until(lambda: rig.reloader.restart)
    assert rig.reloader.due(collecting=True)
    rig.path.write_text(MAIN)
    until(lambda: not rig.reloader.restart)
    rig.path.write_text(MAIN + "[reader]\nthreads = 3\n")
    until(lambda: rig.reloader.restart)
    assert not rig.reloader.due(collecting=True)


def test_a_fresh_start_that_would_fail_is_not_made(rig: Rig) -> None:
    rig.refusal = ModelError("no model there", remedy="name another")
    rig.path.write_text(FRONT_90 + '[detector]\nmodel = "/none.onnx"\n')
    rig.reloader.look()
    assert rig.rehearsed and rig.applied == []
    assert "no model there" in rig.reloader.problem
    assert rig.reloader.restart == () and not rig.reloader.due(collecting=False)
    assert rig.events(Event.CONFIG_REFUSED)[-1]["place"] == "ModelError"
