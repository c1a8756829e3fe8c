"""A stolen car computer: its whole state folder, with everything on its disk, yields no read.

Collected with the daemon's own parts for a real central's keys (and, in the slow tests, by the
real daemon on a real drive, killed in the middle), the thief copies the folder. Then the same with
a queue that was damaged on the way, and with everything central still has on day 61.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from car_world import DRIVE, Car, World
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from factories import NOW
from test_collect import LISTED, PROTECTED, events, reading
from test_custody import make, person

from alprd import crypto
from alprd.carve import CarvedFile
from alprd.central.storage.config import CentralConfig, PolicySettings
from alprd.central.storage.store import Central, initialise
from alprd.central.upkeep import retention
from alprd.errors import EnvelopeError
from alprd.records import Read
from alprd.salvage import look, reads_of
from alprd.store import Store
from alprd.wire import IntakeKeys

pytestmark = pytest.mark.timeout(300)
ENOUGH = 5
"""Reads that the drive must have committed when the car is stolen."""
SHORTEST = 5


def telling(plate: str) -> bool:
    """Whether a plate's text cannot occur by chance, in ciphertext or among hex digits."""
    return len(plate) >= SHORTEST and not set(plate) <= set("0123456789ABCDEF")


@dataclass
class Theft:
    """What the thief has, and what is true."""

    loot: Path
    """The copied state folder."""
    central: Path
    """Central's home as it is at that moment (not in the thief's hands)."""
    witnessed: list[str]
    plates: set[str]
    """Every plate of the drive and of its lists."""


@pytest.fixture(scope="module", params=["stack", pytest.param("drive", marks=pytest.mark.slow)])
def theft(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Theft]:
    if request.param == "drive":
        yield _drive(tmp_path_factory)
    else:
        yield _stack(tmp_path_factory)


def _stack(factory: pytest.TempPathFactory) -> Theft:
    """The daemon's collecting side without cameras: passes, alerts, held hits, sealed reads."""
    home = factory.mktemp("agency") / "central"
    policy = PolicySettings(version="460", adopted_by="Sheriff", effective=NOW)
    settings = CentralConfig(agency="becker", agency_name="Becker County (test)", policy=policy)
    initialise(home, settings)
    with Central(home) as central:
        keys = IntakeKeys(agency="becker", keys=central.keystore.intake_public())
    folder = factory.mktemp("vehicle")
    car = make(folder)
    car.permit()
    car.targets = replace(car.targets, intake_keys=keys)
    (folder / "trust").mkdir(mode=0o700)
    for name in ("batch.key", "wrap.key", "tls.key"):
        crypto.save_private(crypto.generate_key(), folder / "trust" / name)
    witness = io.StringIO()
    car.collector._witness = witness
    for second in range(-3, 30):
        at = time.monotonic_ns() + second * 10**9
        car.collector._positions.add(at, 46.8171 + second * 1e-4, -95.8453, 4.0)
    played = [f"ZQX{number}" for number in range(401, 409)]
    car.collecting.signed_on(person("pat"), "stolen_vehicles", "12")

    def play(text: str) -> None:
        """A frame, and a while before and after it nothing: events tell their own time."""
        time.sleep(0.005)
        told = events(("early", reading(text)), ("final", reading(text)))
        time.sleep(0.005)
        for event in told:
            car.collector.handle(event)

    for text in [*played, *LISTED, *PROTECTED]:
        play(text)
    car.collecting.signed_off("by hand")
    car.policy(unattended=True, custodian="dana", unattended_purpose="stolen_vehicles")
    car.collecting.tend()
    play("STL417")  # held until the next sign-on
    loot = factory.mktemp("loot") / "state"
    shutil.copytree(folder, loot, symlinks=True)
    car.store.close()
    return Theft(
        loot,
        home,
        [json.loads(line)["id"] for line in witness.getvalue().splitlines()],
        {plate for plate in {*played, *LISTED, *PROTECTED} if telling(plate)},
    )


def _drive(factory: pytest.TempPathFactory) -> Theft:
    """The real daemon on the demo's drive, docked to a real central; killed in the middle."""
    world = World(factory.mktemp("car"))
    car = Car(world)
    try:
        car.sign_on().close()
        world.home.carrier.write_text("0\n")
        world.start_drive()
        os.set_blocking(car.witness, False)
        told = b""
        end = time.monotonic() + 200
        while told.count(b"\n") < ENOUGH:
            assert time.monotonic() < end, car.log.read_text()[-3000:]
            assert car.process.poll() is None, car.log.read_text()[-3000:]
            try:
                told += os.read(car.witness, 65_536)
            except BlockingIOError:
                time.sleep(0.05)
        car.end(signal.SIGKILL)
        loot = factory.mktemp("loot") / "state"
        shutil.copytree(world.home.car, loot, symlinks=True)
    finally:
        car.end(signal.SIGKILL)
        world.close()
    truth = world.truth
    known = {vehicle.plate for vehicle in truth.vehicles}
    for name in (truth.hotlist, truth.suppression):
        rows = (DRIVE / name).read_text().splitlines()[1:40]
        known |= {row.split(",")[0] for row in rows}
    return Theft(
        loot,
        world.home.central,
        [json.loads(line)["id"] for line in told.splitlines()],
        {plate for plate in known if telling(plate)},
    )


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def disguises(text: str) -> list[bytes]:
    """A text as it may stand in a file: plain, wide, in hex, and in base64 at any offset."""
    data = text.encode()
    found = [data, text.encode("utf-16-le"), text.encode("utf-16-be")]
    found += [data.hex().encode(), data.hex().upper().encode()]
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + data)
        # Only the characters that the text alone decides.
        found.append(
            whole[(offset * 4 + 2) // 3 : len(whole) - (0, 4, 3)[(offset + len(data)) % 3]]
        )
    return [item for item in found if len(item) >= SHORTEST]


def envelopes(folder: Path) -> list[bytes]:
    """Every sealed read in any database file of the folder, also rows SQLite no longer sees."""
    found: dict[str, bytes] = {}
    for path in files(folder):
        if path.suffix == ".db":
            file = CarvedFile(path)
            for read in reads_of(file, look(file).read_pages):
                found[read.id] = read.envelope
            file.close()
    return list(found.values())


def keys_in(folder: Path) -> list[crypto.PrivateKey]:
    """Every private key that lies in the folder."""
    keys = []
    for path in files(folder):
        data = path.read_bytes()
        if b"PRIVATE KEY" not in data:
            continue
        start = data.index(b"-----BEGIN", 0)
        key = serialization.load_pem_private_key(data[start:], password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        keys.append(key)
    return keys


def opened(theft: Theft) -> list[Read]:
    """The reads as central could open them on the day of the theft."""
    with Central(theft.central) as central:
        reads = []
        for sealed in envelopes(theft.loot):
            key = central.keystore.intake_private(crypto.envelope_key_id(sealed))
            assert key is not None
            reads.append(crypto.open_read(sealed, key))
        return reads


def betrayals(folder: Path, theft: Theft) -> list[str]:
    """Where plate, place, instant or picture of a read stands in a file of the folder."""
    wanted: dict[str, list[bytes]] = {plate: disguises(plate) for plate in theft.plates}
    for read in opened(theft):
        if telling(read.plate.text):
            wanted[read.plate.text] = disguises(read.plate.text)
        exact = read.instant.isoformat(timespec="milliseconds")[:23]
        wanted[exact] = [*disguises(exact), *disguises(exact.replace("T", " "))]
        wanted[f"ns {exact}"] = disguises(str(int(read.instant.timestamp() * 1000)))
        if read.position is not None:
            for value in (read.position.lat, read.position.lon):
                wanted[f"{value:.4f}"] = disguises(f"{value:.4f}")
        for name, picture in (("plate", read.plate_picture), ("wide", read.wide_picture)):
            if picture is not None:
                wanted[f"{name} picture of {read.id}"] = [picture[200:232], picture[-34:-2]]
    wanted["a picture"] = [b"JFIF"]
    return [
        f"{what} in {path.name}"
        for path in files(folder)
        for data in [path.read_bytes()]
        for what, forms in wanted.items()
        if any(form in data for form in forms)
    ]


def test_the_loot_is_real_and_would_open_at_central(theft: Theft) -> None:
    """The test of the tests: the reads are there, whole, and the search finds what it seeks."""
    reads = opened(theft)
    assert set(theft.witnessed) <= {read.id for read in reads}
    assert len(theft.witnessed) >= ENOUGH
    assert {read.plate.text for read in reads} & theft.plates
    assert any(read.position is not None for read in reads)
    assert {path.name for path in files(theft.loot)} >= {"queue.db", "queue.db-wal"}
    assert keys_in(theft.loot)
    probe = theft.loot.parent / "probe"
    probe.mkdir()
    read = next(read for read in reads if telling(read.plate.text))
    for number, form in enumerate(disguises(read.plate.text)):
        (probe / str(number)).write_bytes(b"\0\1" + form + b"\2")
    (probe / "picture").write_bytes(read.plate_picture)
    told = betrayals(probe, theft)
    assert {line.rsplit(" ", 1)[1] for line in told} >= {path.name for path in files(probe)}


@pytest.mark.policy("R-460.5-2", "R-460.6-0", "R-460.2-1")
def test_nothing_of_a_read_stands_in_clear_in_the_whole_folder(theft: Theft) -> None:
    assert betrayals(theft.loot, theft) == []


@pytest.mark.policy("R-460.5-2", "R-CJIS-5")
def test_no_key_in_the_folder_opens_a_read(theft: Theft) -> None:
    keys = keys_in(theft.loot)
    for sealed in envelopes(theft.loot):
        for key in keys:
            with pytest.raises(EnvelopeError):
                crypto.open_read(sealed, key)
            # Nor does the envelope open for one who claims that it is for his own key.
            mine = sealed[:6] + bytes.fromhex(crypto.key_id(key)) + sealed[14:]
            with pytest.raises(EnvelopeError):
                crypto.open_read(mine, key)


@pytest.mark.policy("R-460.5-2", "R-460.5-2b")
def test_a_damaged_and_quarantined_queue_tells_no_more(theft: Theft, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(theft.loot, folder, symlinks=True)
    connection = sqlite3.connect(folder / "queue.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with (folder / "queue.db").open("r+b") as file:
        file.write(b"\xff" * 100)
    store = Store(folder / "queue.db", now=lambda: (datetime.now(UTC), True), device="car-1")
    assert set(theft.witnessed) <= {read.id for read in store.claim(999, 10**9, 60)}
    assert (folder / "queue.damaged-1.db").exists()
    assert betrayals(folder, theft) == []
    store.close()
    assert betrayals(folder, theft) == []


@pytest.mark.policy("R-460.5-4", "R-460.5-4b")
def test_on_day_61_not_even_central_can_open_what_was_stolen(theft: Theft, tmp_path: Path) -> None:
    """Remnants on an SSD outlive any overwriting; they die with central's key of their day."""
    home = tmp_path / "central"
    shutil.copytree(theft.central, home)
    sealed = envelopes(theft.loot)
    ids = {crypto.envelope_key_id(item) for item in sealed}
    keystore = home / "keystore.db"
    connection = sqlite3.connect(keystore)
    marks = ",".join("?" * len(ids))
    wrapped = connection.execute(
        f"SELECT wrapped FROM intake_keys WHERE key_id IN ({marks})",  # noqa: S608 - marks only
        sorted(ids),
    ).fetchall()
    connection.close()
    assert len(wrapped) == len(ids)
    day_61 = datetime.now(UTC) + timedelta(days=61)
    with Central(home, clock=lambda: day_61) as central:
        retention.purge(central)
        for name in ids:
            assert central.keystore.intake_private(name) is None
        left = [
            central.keystore.intake_private(
                crypto.key_id(crypto.public_from_bytes(base64.urlsafe_b64decode(item.key)))
            )
            for item in central.keystore.intake_public()
        ]
    assert left, "the keys of later days live on"
    for item in sealed:
        for key in left:
            assert key is not None
            with pytest.raises(EnvelopeError):
                crypto.open_read(item, key)
            mine = item[:6] + bytes.fromhex(crypto.key_id(key)) + item[14:]
            with pytest.raises(EnvelopeError):
                crypto.open_read(mine, key)
    for path in files(home):
        data = path.read_bytes()
        for (key_data,) in wrapped:
            assert key_data not in data, path.name
            assert key_data[12:44] not in data, path.name
