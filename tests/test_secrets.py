"""The table of docs/secrets.md, a test a row: what somebody finds who takes the disk away."""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dock_world import CAR, LISTED, SUPPRESSED, Car
from test_alerts import NOW, put
from test_retire import QuickCentral
from test_sync_central import Central, _people_and_lists

from alprd import wire
from alprd.alerts import AlertBoard
from alprd.crypto import decrypt_target, load_private, open_read, unwrap_key
from alprd.custody import local_alert_key
from alprd.errors import EnvelopeError, RefusedError, StoreError
from alprd.frames import Character, PlateReading
from alprd.pagecert import make_request
from alprd.records import Plate
from alprd.refusals import TargetsError
from alprd.shiftstore import ShiftStore
from alprd.store import Store
from alprd.suppress import plate_digest
from alprd.targets import SUPPRESSION_KEY, TargetClient, TargetSet
from alprd.totp import decode_secret
from alprd.trust import Trust, enrol
from alprd.unlock import CLEAR, LOCKED
from alprd.wipe import kill, read_marker

DOC = Path(__file__).resolve().parent.parent / "docs" / "secrets.md"
PASSWORD = "whatever was typed at the sign-on"

pytestmark = pytest.mark.policy("R-CJIS-1")


@dataclass
class Stolen:
    """An enrolled car that has docked, collected a little and lost its power."""

    central: Central
    code: str
    second_factor: str
    """Address of the deputy's one-time codes, as their phone has it."""
    trust: Trust
    targets: TargetSet

    def files(self) -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in self.trust.state_dir.rglob("*") if p.is_file()}

    def copy(self, folder: Path) -> Trust:
        """What a thief works on."""
        shutil.copytree(self.trust.state_dir, folder, symlinks=True)
        return Trust.load(folder)

    def wraps(self) -> wire.Wraps:
        for data in self.files().values():
            if data.startswith(b'{"suppression_key"'):
                return wire.Wraps.model_validate_json(data)
        raise AssertionError("no wraps on the disk")

    def found(self, secret: bytes) -> list[Path]:
        """Files that hold a secret, as it is, as hex or as base64."""
        forms = (
            secret, secret.hex().encode(), base64.b64encode(secret),
            base64.urlsafe_b64encode(secret).rstrip(b"="),
        )  # fmt: skip
        return [path for path, data in self.files().items() if any(form in data for form in forms)]


@pytest.fixture(scope="module")
def stolen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stolen]:
    folder = tmp_path_factory.mktemp("secrets")
    before = os.umask(0o077)  # as the daemon sets it (alprd.process.harden)
    central = QuickCentral(folder / "central")
    _people_and_lists(central, folder)
    second_factor = central.run("people", "reset-totp", "--id", "d1", "--by", "test")["uri"]
    url = central.serve()
    code = central.run("enrol-code", "--vehicle", CAR, "--reader", "7")["code"]
    car = Car(enrol(url, code, CAR, folder / "state"))
    sets: list[TargetSet] = []
    dock = car.dock(on_targets=sets.append)
    dock.step()
    assert dock.status().text == "docked, all sent"
    car.commit(3, plate=Plate(text=LISTED, state="MN"))
    car.store.close()
    os.umask(before)
    yield Stolen(central, code, second_factor, car.trust, sets[0])
    central.end(signal.SIGKILL)


def private(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0, path


def seen(text: str) -> PlateReading:
    return PlateReading(
        text, "", tuple(Character(c, 0.99) for c in text), "MN", 0.9, 0.99, sure=True
    )


def revoked(stolen: Stolen, vehicle: str, reader: str, folder: Path) -> Trust:
    """Another car of the same agency, enrolled and revoked."""
    url = f"https://127.0.0.1:{stolen.central.port}"
    code = stolen.central.run("enrol-code", "--vehicle", vehicle, "--reader", reader)["code"]
    trust = enrol(url, code, vehicle, folder)
    stolen.central.run("vehicles", "revoke", "--vehicle", vehicle, "--by", "test")
    return trust


def test_row_tls_key(stolen: Stolen, tmp_path: Path) -> None:
    key = stolen.trust.state_dir / "keys" / "tls.key"
    private(key)
    thief = stolen.copy(tmp_path / "copy")
    with thief.client() as client:  # as the table says: the car's place at central
        assert client.get("/v1/permit").status_code == 200
    lost = revoked(stolen, "unit-61", "61", tmp_path / "lost")
    with lost.client() as client:
        for path in ("/v1/hello?nonce=n", "/v1/permit", "/tuf/metadata/timestamp.json"):
            assert client.get(path).status_code == 403
        assert client.get("/v1/orders?nonce=n").status_code == 200


def test_row_page_key(stolen: Stolen, tmp_path: Path) -> None:
    thief = stolen.copy(tmp_path / "copy")
    key = thief.state_dir / "keys" / "mdt.key"
    assert not (stolen.trust.state_dir / "keys" / "mdt.key").exists()  # made when it is asked for
    make_request(thief.state_dir)
    private(key)
    first = key.read_bytes()
    make_request(thief.state_dir)
    assert key.read_bytes() == first


def test_row_batch_key(stolen: Stolen, tmp_path: Path) -> None:
    private(stolen.trust.state_dir / "keys" / "batch.key")
    thief = stolen.copy(tmp_path / "copy")
    (thief.state_dir / "keys" / "batch.key").chmod(0o644)
    with pytest.raises(StoreError, match="readable by others"):
        Trust.load(thief.state_dir)
    car = Car(revoked(stolen, "unit-62", "62", tmp_path / "lost"))
    car.commit(1)
    car.dock().step()
    assert car.store.pending().reads == 1  # central took nothing
    car.store.close()
    received = stolen.central.run("status")["received_total"]
    assert received == 0


def test_row_wrap_key(stolen: Stolen, tmp_path: Path) -> None:
    private(stolen.trust.state_dir / "keys" / LOCKED)
    assert not (stolen.trust.state_dir / "keys" / CLEAR).exists()
    thief = stolen.copy(tmp_path / "copy")
    assert thief.locker.alarm
    with pytest.raises(TargetsError) as locked:
        TargetClient(thief).load_offline()
    assert locked.value.reason == "locked"
    # As the table says: until the revocation the TLS key on the disk gets it from central.
    sets: list[TargetSet] = []
    there = Car(thief)
    there.dock(on_targets=sets.append).step()
    there.store.close()
    assert not thief.locker.locked
    opened = sets[0] if sets else TargetClient(thief).load_offline()
    assert opened is not None
    assert opened.matcher.match(seen(LISTED), datetime.now(UTC))
    assert opened.suppression.covers(seen(SUPPRESSED))
    # After a revocation nothing new is wrapped for the car, and all else has new keys.
    published = stolen.central.home / "tuf" / "targets"
    before = {path.name for path in published.glob("*.bin")}
    lost = revoked(stolen, "unit-63", "63", tmp_path / "lost")
    with lost.client() as client:
        assert client.get("/v1/unlock").status_code == 403
    car = Car(lost)
    car.dock().step()
    car.store.close()
    assert lost.locker.locked and not lost.locker.settled
    after = {path.name for path in published.glob("*.bin")}
    assert len(after - before) >= 3, (before, after)
    status = {v["vehicle"]: v["state"] for v in stolen.central.run("status")["vehicles"]}
    assert status["unit-63"] == "revoked"
    newest = max(
        (stolen.central.home / "tuf" / "metadata").glob("*.targets.json"),
        key=lambda path: int(path.name.split(".")[0]),
    ).read_text()
    assert f"wraps-{CAR}.json" in newest and "wraps-unit-63.json" not in newest


@pytest.mark.policy("R-CJIS-5", "R-460.6-0")
def test_a_killed_car_gets_no_unlock_secret(stolen: Stolen, tmp_path: Path) -> None:
    """Not revoked, but ordered to destroy itself: a thief who hides the order gets nothing."""
    url = f"https://127.0.0.1:{stolen.central.port}"
    code = stolen.central.run("enrol-code", "--vehicle", "unit-64", "--reader", "64")["code"]
    lost = enrol(url, code, "unit-64", tmp_path / "lost")
    with lost.client() as client:
        assert client.get("/v1/unlock").status_code == 200
        stolen.central.run(
            "vehicles", "kill", "--vehicle", "unit-64", "--reason", "stolen", "--by", "test"
        )
        refused = client.get("/v1/unlock")
    assert (refused.status_code, refused.json()["error"]) == (403, "killed")


@pytest.mark.policy("R-460.6-0")
def test_away_from_the_dock_a_persons_password_opens_the_car(
    stolen: Stolen, tmp_path: Path
) -> None:
    (deputy,) = stolen.targets.roster.people
    stolen.trust.locker.keep(deputy, PASSWORD)
    car = stolen.copy(tmp_path / "copy")
    with pytest.raises(RefusedError):
        car.locker.open_for(deputy.id, "another")
    assert car.locker.locked
    car.locker.open_for(deputy.id, PASSWORD)
    opened = TargetClient(car).load_offline()
    assert opened is not None and opened.suppression.covers(seen(SUPPRESSED))


def test_row_content_keys(stolen: Stolen) -> None:
    wraps = stolen.wraps()
    assert wraps.targets
    for name, wrapped in wraps.targets.items():
        content_key = unwrap_key(wrapped, purpose=name, key=stolen.trust.wrap_key)
        assert stolen.found(content_key) == []
    assert stolen.found(LISTED.encode()) == []


@pytest.mark.policy("R-460.5-b4")
def test_row_suppression_key(stolen: Stolen) -> None:
    wraps = stolen.wraps()
    key = unwrap_key(wraps.suppression_key, purpose=SUPPRESSION_KEY, key=stolen.trust.wrap_key)
    assert stolen.targets.suppression.covers(seen(SUPPRESSED))
    assert stolen.found(key) == []
    assert stolen.found(plate_digest(key, SUPPRESSED)) == []
    assert stolen.found(SUPPRESSED.encode()) == []


def test_row_local_alert_key(
    stolen: Stolen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    key, lasting = local_alert_key()
    assert not lasting and len(key) == 32
    assert stolen.found(key) == []
    secret = secrets.token_bytes(32)
    (tmp_path / "alprd-alert-key").write_bytes(secret)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    key, lasting = local_alert_key()
    assert lasting and local_alert_key()[0] == key and key != secret
    # What is held under it, and that it is not beside it: tests/test_custody.py.


def test_row_password_verifiers(stolen: Stolen) -> None:
    (deputy,) = stolen.targets.roster.people
    assert deputy.verifier.startswith("$argon2id$")
    assert stolen.found(deputy.verifier.encode()) == []
    assert stolen.found(b"$argon2") == []
    assert stolen.found(deputy.name.encode()) == []


def test_row_totp_secrets(stolen: Stolen) -> None:
    (deputy,) = stolen.targets.roster.people
    assert f"secret={deputy.totp}&" in stolen.second_factor
    assert stolen.found(deputy.totp.encode()) == []
    assert stolen.found(decode_secret(deputy.totp)) == []


def test_row_kept_alerts(tmp_path: Path) -> None:
    key = secrets.token_bytes(32)
    with closing(Store(tmp_path / "q.db", now=lambda: (NOW, True), device=CAR)) as store:
        ram = AlertBoard(store, journal=ShiftStore(store, (key, False)))
        assert put(ram)
        assert store.rows("SELECT count(*) FROM shift") == [(0,)]
        board = AlertBoard(store, journal=ShiftStore(store, (key, True)))
        alert = put(board)
        ((sealed,),) = store.rows("SELECT CAST(sealed AS BLOB) FROM shift")
    disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for plain in (b"ZQX417", b"plate p1", b"An invented blue car", key):
        assert plain not in disk
        assert base64.b64encode(plain) not in disk
    with pytest.raises(EnvelopeError):
        decrypt_target(sealed, name=f"shift-{alert}", key=bytes(32))
    assert b"ZQX417" in decrypt_target(sealed, name=f"shift-{alert}", key=key)


def test_row_enrolment_code(stolen: Stolen) -> None:
    assert stolen.found(stolen.code.encode()) == []
    assert stolen.found(stolen.code.split(".")[0].encode()) == []


@pytest.mark.policy("R-460.5-2")
def test_row_reads(stolen: Stolen, tmp_path: Path) -> None:
    car = Car(stolen.copy(tmp_path / "copy"))
    reads = car.store.claim(99, 10**9, 1)
    assert len(reads) == 3
    for name in ("tls", "batch", "wrap"):
        own = car.trust.state_dir / "keys" / f"{name}.key"
        key = stolen.trust.wrap_key if name == "wrap" else load_private(own)
        for queued in reads:
            with pytest.raises(EnvelopeError):
                open_read(queued.envelope, key)
    car.store.close()
    assert stolen.found(LISTED.encode()) == []


# --- the table itself -----------------------------------------------------------------------------


def rows() -> list[list[str]]:
    lines = [line for line in DOC.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_table_and_tests_name_the_same_rows() -> None:
    named = [re.fullmatch(r"`(test_row_\w+)`", row[-1]) for row in rows()]
    assert all(named)
    here = {name for name in vars(sys.modules[__name__]) if name.startswith("test_row_")}
    assert sorted(match[1] for match in named if match) == sorted(here)
    for row, match in zip(rows(), named, strict=True):
        assert match is not None
        assert match[1] == "test_row_" + row[0].lower().replace(" ", "_")
        assert len(row) == 6 and all(row)


def test_every_file_of_the_state_folder_is_the_owners_alone(stolen: Stolen) -> None:
    for path in (stolen.trust.state_dir, *stolen.trust.state_dir.rglob("*")):
        if not path.is_symlink():
            private(path)


@pytest.mark.policy("R-CJIS-5")
def test_a_full_disk_does_not_save_the_keys(
    stolen: Stolen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for the marker the keys are overwritten in place."""
    trust = stolen.copy(tmp_path / "copy")
    linked = tmp_path / "wrap-by-another-name"
    linked.hardlink_to(trust.state_dir / "keys" / LOCKED)

    def no_room(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("alprd.wipe.write_secret", no_room)
    kill(trust, "0" * 32, at_trusted=True)
    assert not (trust.state_dir / "keys").exists()
    assert linked.read_bytes() == b""
    assert read_marker(trust.state_dir) is None
    with pytest.raises(StoreError):
        Trust.load(trust.state_dir)
