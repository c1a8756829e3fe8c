"""kill -9 of central while cars upload: nothing receipted is lost, nothing is stored twice.

    make bench-central-crash KILLS=200

A real `alprd-central serve` takes sealed batches from several enrolled cars over mutual TLS and is
killed at random instants, most of them in the midst of an intake, and started again. This process
is the witness: it made the reads, and it knows which were receipted. A car sends a batch until it
holds a receipt, as a real one does. After the last kill the store is opened with its own keys and
every read is compared with what the witness knows.

Ends with 0 when nothing was lost, doubled or left behind, else with 1.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import cv2
import httpx
import numpy as np
from sqlalchemy import select

from alprd import crypto, wire
from alprd.central.storage import audit, db, vault
from alprd.central.storage.store import Central
from alprd.central.upkeep import retention, status
from alprd.demo.home import child_environment, command, program
from alprd.errors import AlprdError
from alprd.records import Plate, Read, destroy_by, new_id
from alprd.trust import Trust, enrol
from bench.crash_world import BenchError

_AGENCY: Final = "becker"
_BATCH: Final = 24
_START_S: Final = 240.0
_PATIENCE_S: Final = 900.0
"""How long a car tries to get one batch receipted before the bench gives up."""


@dataclass(frozen=True, slots=True)
class Score:
    """What was seen; everything from ``lost`` on must be zero."""

    kills: int
    kills_in_intake: int
    """Kills while at least one batch was under way."""
    cars: int
    batches: int
    receipted: int
    sent_again: int
    seconds: float
    lost: int
    """Receipted reads that are not stored, or do not open to the plate that was sent."""
    doubled: int
    foreign: int
    """Stored reads that no car sent."""
    pictures_missing: int
    left_behind: int
    """Keys and pictures without a row after the purge."""
    ledger_differs: int
    """By how much central's own counts differ from the witness's."""
    chain_breaks: int

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        wrong = (self.lost, self.doubled, self.foreign, self.pictures_missing)
        return not any((*wrong, self.left_behind, self.ledger_differs, self.chain_breaks))


@dataclass
class Witness:
    """What was sent and receipted, outside of everything that is killed."""

    sent: dict[str, str] = field(default_factory=dict)
    receipted: set[str] = field(default_factory=set)
    batches: int = 0
    sent_again: int = 0
    under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Server:
    """`alprd-central serve` on ports that stay the same."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = ("0", "0")
        self.car_url = ""

    def start(self) -> None:
        """Start it; returns when it answers."""
        with (self.home.parent / "central.log").open("ab") as log:
            self._process = subprocess.Popen(
                program(
                    "alprd.central.cli",
                    *("serve", "--home", str(self.home), "--json"),
                    *("--car-port", self._ports[0], "--page-port", self._ports[1]),
                ),
                stdout=subprocess.PIPE,
                stderr=log,
                env=child_environment(),
            )
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("central did not start", remedy="see central.log")
        run = json.loads(line)
        self.car_url = run["car_url"]
        self._ports = (str(run["car_port"]), str(run["page_port"]))

    def end(self, number: signal.Signals) -> None:
        """Signal it and wait for its end."""
        if self._process is not None and self._process.stdout is not None:
            os.kill(self._process.pid, number)
            self._process.wait(60)
            self._process.stdout.close()
            self._process = None


class Car(threading.Thread):
    """An enrolled car that uploads batches until it is told to stop."""

    def __init__(self, trust: Trust, keys: dict[str, crypto.PublicKey], witness: Witness) -> None:
        super().__init__(name=trust.vehicle, daemon=True)
        self._trust, self._keys, self._witness = trust, keys, witness
        self._number = 0
        self.stopping = threading.Event()
        self.error = ""

    def run(self) -> None:
        """Batches, one after the other."""
        try:
            while not self.stopping.is_set():
                self._upload()
        except (AlprdError, httpx.HTTPError, ValueError) as error:
            self.error = f"{self.name}: {type(error).__name__}: {error}"

    def _upload(self) -> None:
        reads = [self._read() for _ in range(_BATCH)]
        envelopes = [
            crypto.seal_read(
                read,
                agency=_AGENCY,
                vehicle=self._trust.vehicle,
                intake_key=self._keys[read.instant.date().isoformat()],
            )
            for read in reads
        ]
        items = tuple(
            wire.BatchItem(id=r.id, sha256=crypto.sha256_hex(e), length=len(e))
            for r, e in zip(reads, envelopes, strict=True)
        )
        header = wire.BatchHeader(
            agency=_AGENCY, vehicle=self._trust.vehicle, batch=new_id(), items=items
        )
        signed = crypto.sign_document("batch", header, self._trust.batch_key)
        body = wire.encode_batch(signed, envelopes)
        with self._witness.lock:
            self._witness.batches += 1
            self._witness.sent |= {read.id: read.plate.text for read in reads}
        receipt = self._until_receipted(body)
        if {item.outcome for item in receipt.items} != {"stored"}:
            raise BenchError(f"{self.name}: a good read was not stored")
        with self._witness.lock:
            self._witness.receipted |= {item.id for item in receipt.items}

    def _until_receipted(self, body: bytes) -> wire.Receipt:
        end, last = time.monotonic() + _PATIENCE_S, "no answer"
        while time.monotonic() < end:
            with self._witness.lock:
                self._witness.under_way += 1
            try:
                with self._trust.client() as client:
                    answer = client.post("/v1/batches", content=body)
                if answer.status_code == 200:
                    document = crypto.SignedDocument.model_validate_json(answer.content)
                    return crypto.verify_document(
                        document, "receipt", self._trust.receipt_key, wire.Receipt
                    )
                last = f"{answer.status_code} {answer.text[:200]}"
            except httpx.TransportError as error:
                last = repr(error)  # it was killed under us: the batch goes again
            finally:
                with self._witness.lock:
                    self._witness.under_way -= 1
            with self._witness.lock:
                self._witness.sent_again += 1
            time.sleep(0.25)
        raise BenchError(
            f"{self.name}: no receipt in {_PATIENCE_S:.0f} s, at last {last}",
            remedy="see central.log",
        )

    def _read(self) -> Read:
        self._number += 1
        instant = datetime.now(UTC) - timedelta(minutes=5)
        return Read(
            id=new_id(),
            session=new_id(),
            destroy_by=destroy_by(instant),
            plate=Plate(text=f"{self._trust.reader}X{self._number:05d}"[:8]),
            instant=instant,
            time_trusted=True,
            position=None,
            plate_picture=_JPEG,
            wide_picture=None,
        )


def _jpeg() -> bytes:
    _, made = cv2.imencode(".jpg", np.full((48, 96, 3), 90, np.uint8))
    return bytes(made)


_JPEG: Final = _jpeg()


def run(
    root: Path,
    *,
    kills: int,
    cars: int,
    seed: int,
    options: tuple[str, ...] = (),
    witness: Witness | None = None,
) -> Score:
    """The whole bench.

    Args:
        root: an empty folder for all state; left as it is.
        options: more of ``alprd-central init``: another database, a bucket.
        witness: filled with what is seen.
    """
    began, chance = time.monotonic(), random.Random(seed)
    witness = witness or Witness()
    home = root / "central"
    cli = "alprd.central.cli"
    command(cli, "init", "--home", str(home), "--agency", _AGENCY, "--name", "Bench", *options)
    server = Server(home)
    server.start()
    fleet: list[Car] = []
    with Central(home) as central:
        keys = {
            key.day: crypto.public_from_bytes(base64.urlsafe_b64decode(key.key))
            for key in central.keystore.intake_public()
        }
    for number in range(1, cars + 1):
        code = json.loads(
            command(
                cli, "enrol-code", "--home", str(home), "--vehicle", f"car-{number}",
                "--reader", str(number), "--json",
            )
        )["code"]  # fmt: skip
        trust = enrol(server.car_url, code, f"car-{number}", root / f"car-{number}")
        fleet.append(Car(trust, keys, witness))
    for car in fleet:
        car.start()
    in_intake = 0
    for _ in range(kills):
        time.sleep(chance.uniform(0.02, chance.choice((0.8, 4.0))))
        with witness.lock:
            in_intake += witness.under_way > 0
        server.end(signal.SIGKILL)
        server.start()
        if any(car.error for car in fleet):
            break
    for car in fleet:
        car.stopping.set()
    for car in fleet:
        car.join(_PATIENCE_S)
    server.end(signal.SIGTERM)
    errors = [car.error for car in fleet if car.error]
    if errors:
        raise BenchError("; ".join(errors))
    return judge(home, witness, kills, in_intake, cars, time.monotonic() - began)


def judge(
    home: Path, witness: Witness, kills: int, in_intake: int, cars: int, seconds: float
) -> Score:
    """Compare a store that nobody has open with what the witness saw."""
    with Central(home) as central:
        retention.purge(central)
        orphans = retention.purge(central).orphans  # the first one swept; the second finds none
        with central.database.read() as tx:
            rows = tx.execute(select(db.reads)).all()
            try:
                audit.verify(tx)
                breaks = 0
            except AlprdError:
                breaks = 1
        opened = central.keystore.open_read_keys([row.id for row in rows])
        plates: dict[str, str] = {}
        for row in rows:
            cell = vault.open_cell(row, opened[row.id]) if row.id in opened else None
            if cell is not None:
                plates[row.id] = cell.plate.text
        keyless = central.keystore.read_key_ids() ^ {row.id for row in rows}
        files = set(central.objects.names("pictures"))
        counted = status.collect(central)
    ids = Counter(plates.values())
    return Score(
        kills=kills,
        kills_in_intake=in_intake,
        cars=cars,
        batches=witness.batches,
        receipted=len(witness.receipted),
        sent_again=witness.sent_again,
        seconds=round(seconds, 1),
        lost=sum(plates.get(read) != witness.sent[read] for read in witness.receipted),
        doubled=sum(number - 1 for number in ids.values()),
        foreign=len(set(plates) - set(witness.sent)),
        pictures_missing=len(set(plates) - files),
        left_behind=orphans + len(keyless) + len(files - set(plates)),
        ledger_differs=abs(int(str(counted["received_total"])) - len(witness.receipted))
        + abs(int(str(counted["reads_held"])) - len(witness.receipted)),
        chain_breaks=breaks,
    )


def main(argv: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench central_crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cars", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--work", type=Path, help="an empty folder; kept")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="alprd-bench-") as scratch:
        root = given.work or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        try:
            score = run(root, kills=given.kills, cars=given.cars, seed=given.seed)
        except AlprdError as error:
            sys.stderr.write(f"error: {error.diagnostics()}\n")
            return 2
    text = json.dumps({**asdict(score), "clean": score.clean}, indent=1)
    if given.json:
        given.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 0 if score.clean else 1
