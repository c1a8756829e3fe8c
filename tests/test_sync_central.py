"""The dock against the real ``alprd-central``, in a process of its own, killed and restarted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dock_world import AGENCY, CAR, LISTED, SUPPRESSED, Car

from alprd import outbound, wire
from alprd.audit import DAEMON, Event
from alprd.crypto import SignedDocument, verify_document
from alprd.frames import Character, PlateReading
from alprd.records import Plate
from alprd.targets import TargetSet
from alprd.trust import enrol
from alprd.workers import Beat

COMMAND = (sys.executable, "-m", "alprd.central.cli")


class Central:
    """``alprd-central`` as its own process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.run("init", "--agency", AGENCY, "--name", "Invented County", "--adopted-by", "Nobody")

    def run(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        done = subprocess.run(
            [*COMMAND, *arguments, "--home", str(self.home), "--json"],
            input=stdin, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def serve(self) -> str:
        self.process = subprocess.Popen(
            [
                *COMMAND, "serve", "--home", str(self.home),
                "--car-port", str(self.port), "--page-port", "0", "--json",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = json.loads(self.process.stdout.readline())
        self.port = int(line["car_port"])
        return f"https://127.0.0.1:{self.port}"

    def end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None


@pytest.fixture
def central(tmp_path: Path) -> Iterator[Central]:
    made = Central(tmp_path / "central")
    yield made
    made.end(signal.SIGKILL)


def _people_and_lists(central: Central, folder: Path) -> None:
    later = (datetime.now(UTC) + timedelta(days=90)).date().isoformat()
    central.run(
        "people", "add", "--id", "d1", "--name", "Invented Deputy", "--role", "operator",
        "--password-stdin", "--training-expires", later, "--authorised-until", later,
        "--by", "test", stdin="correct horse battery\n",
    )  # fmt: skip
    (folder / "hot.csv").write_text(
        "plate,state,type,category,source,entered,text\n"
        f"{LISTED},MN,,stolen,LPDF,2026-11-01,invented stolen vehicle\n"
    )
    (folder / "acp.csv").write_text(f"plate,state\n{SUPPRESSED},MN\n")
    central.run(
        "lists", "import", str(folder / "hot.csv"), "--list", "lpdf", "--source", "LPDF",
        "--supplied-at", datetime.now(UTC).isoformat(), "--by", "test",
    )  # fmt: skip
    central.run("suppression", "import", str(folder / "acp.csv"), "--by", "test")
    central.run("publish")


@pytest.mark.policy("R-460.5-2", "R-460.4.1-b", "R-460.5-b2")
def test_end_to_end_with_the_real_central_killed_in_the_middle(
    central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "MAX_BATCH_ITEMS", 5)
    _people_and_lists(central, tmp_path)
    url = central.serve()
    code = central.run("enrol-code", "--vehicle", CAR, "--reader", "7")["code"]
    car = Car(enrol(url, code, CAR, tmp_path / "state"))
    sets: list[TargetSet] = []
    permits: list[SignedDocument] = []
    dock = car.dock(on_targets=sets.append, on_permit=permits.append)
    dock.step()
    assert dock.status().text == "docked, all sent"
    (targets,) = sets
    permit = verify_document(permits[0], "permit", car.trust.receipt_key, wire.Permit)
    assert permit.vehicle == CAR
    assert not permit.suspended
    characters = tuple(Character(char, 0.99) for char in LISTED)
    seen = PlateReading(LISTED, "", characters, "MN", 0.9, 0.99, sure=True)
    (match,) = targets.matcher.match(seen, datetime.now(UTC))
    assert (match.kind, match.entry.category) == ("exact", "stolen")
    assert not targets.suppression.covers(seen)
    protected = tuple(Character(char, 0.99) for char in SUPPRESSED)
    assert targets.suppression.covers(
        PlateReading(SUPPRESSED, "", protected, "MN", 0.9, 0.99, sure=True)
    )

    car.intake, own = targets.intake_key(datetime.now(UTC).date())
    assert own
    car.store.open_session(car.row, DAEMON)
    car.commit(40, plate=Plate(text="QRS902", state="MN"))
    car.store.close_session(car.row)
    # Central is killed after some batches, with one possibly stored and not yet answered.
    beat = Beat()
    thread = threading.Thread(target=dock.run, args=(beat,))
    thread.start()
    end = time.monotonic() + 60
    while car.store.pending().reads > 30 and time.monotonic() < end:
        time.sleep(0.002)
    central.end(signal.SIGKILL)
    beat.stop()
    thread.join(30)
    left = car.store.pending().reads
    assert 0 < left <= 30
    # The car loses power as well: a new process would open the same queue.
    car.store.close()
    car.open()
    assert central.serve() == url
    dock = car.dock()
    end = time.monotonic() + 60
    while car.store.pending().reads and time.monotonic() < end:
        dock.step()
    dock.step()
    assert dock.status().text == "docked, all sent", dock.status()
    status = central.run("status")
    assert status["received_total"] == car.store.ledger().committed == 40
    assert status["reads_held"] == 40
    assert status["quarantined"] == 0
    assert status["sessions"] == 1
    assert status["car_events"] == len(car.store.audit_events())
    assert car.store.ledger().left == 0
    car.store.close()
    central.end(signal.SIGTERM)


def test_a_suspended_and_a_revoked_car_learn_it_and_lose_nothing(
    central: Central, tmp_path: Path
) -> None:
    url = central.serve()
    code = central.run("enrol-code", "--vehicle", CAR, "--reader", "7")["code"]
    car = Car(enrol(url, code, CAR, tmp_path / "state"))
    permits: list[wire.Permit] = []
    key = car.trust.receipt_key

    def take(document: SignedDocument) -> None:
        permits.append(verify_document(document, "permit", key, wire.Permit))

    dock = car.dock(on_permit=take)
    dock.step()
    central.run("vehicles", "suspend", "--vehicle", CAR, "--by", "test")
    dock.step()
    assert [permit.suspended for permit in permits] == [False, True]
    central.run("vehicles", "revoke", "--vehicle", CAR, "--by", "test")
    car.commit(2)
    dock.step()
    assert car.store.pending().reads == 2
    assert "central has revoked this car" in dock.status().text
    car.store.close()


@pytest.mark.policy("R-AT-3")
def test_a_restored_central_gets_the_cars_trail_again(central: Central, tmp_path: Path) -> None:
    url = central.serve()
    code = central.run("enrol-code", "--vehicle", CAR, "--reader", "7")["code"]
    car = Car(enrol(url, code, CAR, tmp_path / "state"))
    dock = car.dock()
    dock.step()
    central.run("backup", "--to", str(tmp_path / "backup"))
    for number in range(5):
        car.store.record(Event.STARTED, detail={"number": number})
    car.store.open_session(car.row, DAEMON)
    car.store.close_session(car.row)
    dock.step()
    assert central.run("status")["sessions"] == 1
    held = central.run("status")["car_events"]
    assert held == len(car.store.audit_events()) >= 5
    central.end(signal.SIGTERM)
    central.run("restore", "--from", str(tmp_path / "backup"), "--replace")
    lost = central.run("status")
    assert (lost["car_events"] < held, lost["sessions"]) == (True, 0)
    assert central.serve() == url
    car.store.record(Event.STARTED, detail={"number": 6})
    dock.step()
    assert dock.status().text == "docked, all sent", dock.status()
    assert central.run("status")["car_events"] == len(car.store.audit_events()) > held
    assert central.run("status")["sessions"] == 1  # a row of the public log is not lost
    assert central.run("audit", "verify")["whole"]
    car.store.close()
    central.end(signal.SIGTERM)
