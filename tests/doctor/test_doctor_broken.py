"""Cars that are broken, each in one way, with real parts: every check has one that fails it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from dock_world import AGENCY, CAR, World
from doctor_world import Copy, scene, video
from vision_world import write_detector, write_ocr

from alprd import crypto, wire
from alprd.central.storage import ca
from alprd.crypto import generate_key, write_secret
from alprd.doctor import disk, system
from alprd.doctor.table import CHECKS
from alprd.models import FOLDER

# --- cars that are broken in one way


Break = Callable[[Copy, pytest.MonkeyPatch], object]
BROKEN: dict[str, tuple[str, str, Break]] = {}
"""What is broken → (check, its failed row, how)."""


def broken(check: str, row: str) -> Callable[[Break], Break]:
    """Enter a way to break a car into the table."""

    def enter(function: Break) -> Break:
        BROKEN[function.__name__] = (check, f"{check}/{row}", function)
        return function

    return enter


@broken("packages", "packages")
def a_package_is_missing(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    info = car.folder / "site" / "alprd-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: alprd\nVersion: 0.1.0\nRequires-Dist: no-such-thing>=1\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))


@broken("libraries", "brokenlib")
def a_library_of_the_system_is_missing(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    package = car.folder / "site" / "brokenlib"
    package.mkdir(parents=True)
    # A real module whose C library was renamed in its list of needed ones.
    data = next(Path(np.__file__).parent.rglob("_multiarray_umath*.so")).read_bytes()
    assert b"libc.so.6\0" in data
    (package / "native.so").write_bytes(data.replace(b"libc.so.6\0", b"libq.so.6\0"))
    (package / "__init__.py").write_text(
        "import ctypes, pathlib\nctypes.CDLL(str(pathlib.Path(__file__).with_name('native.so')))\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr(system, "MODULES", ("brokenlib",))


@broken("machine", "heat")
def the_processor_is_hot(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.machine(sys__class__thermal__thermal_zone0__temp="99000\n")


@broken("service", "unit")
def the_unit_has_failed(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.systemctl(
        monkeypatch,
        "LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\n"
        "WatchdogUSec=30s\nNRestarts=0",
    )


@broken("service", "unit")
def the_unit_is_not_installed(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.systemctl(monkeypatch, "LoadState=not-found\nActiveState=inactive\nSubState=dead")


@broken("service", "watchdog")
def the_watchdog_is_off(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.systemctl(
        monkeypatch,
        "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
        "WatchdogUSec=0\nNRestarts=0",
    )


@broken("leaks", "core-dumps")
def a_process_cannot_forbid_core_dumps(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")


@broken("leaks", "hibernation")
def the_machine_suspends_to_disk(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.machine(sys__power__resume="8:3\n")


@broken("leaks", "swap")
def swap_lies_on_a_plain_disk(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.machine(
        proc__swaps="Filename\tType\tSize\tUsed\tPriority\n/dev/sda3 partition 8388604 0 -2\n"
    )


@broken("disk", "folder")
def the_state_folder_is_missing(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["state_dir"] = car.folder / "elsewhere"


@broken("disk", "space")
def the_disk_is_full(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    much = 10**9
    steps = dict.fromkeys(("alarm_mb", "caches_mb", "no_wide_mb", "stop_mb"), much)
    car.values["storage"] = steps


def mounted(car: Copy, kind: str, options: str) -> None:
    number = car.state.stat().st_dev
    place = f"{os.major(number)}:{os.minor(number)}"
    car.machine(proc__self__mountinfo=f"27 1 {place} / / rw,relatime - {kind} /dev/vda {options}\n")


@broken("disk", "mount")
def the_state_folder_is_in_ram(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(car, "tmpfs", "rw")


@broken("disk", "mount")
def the_disk_has_no_barriers(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(car, "ext4", "rw,nobarrier")


@broken("disk", "write")
def the_disk_is_slow(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "WRITE_FAIL_S", 0.0)


@broken("files", "state/keys/tls.key")
def a_key_is_open_to_the_world(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.state / "keys" / "tls.key").chmod(0o644)


@broken("files", "state/targets")
def a_folder_is_open_to_the_group(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.state / "targets").chmod(0o750)


@broken("files", "config/alprd.toml")
def the_configuration_is_open_to_the_world(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.file.chmod(0o644)


@broken("enrolment", "enrolment")
def the_car_is_not_enrolled(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.state / "trust" / "identity.json").unlink()


@broken("keys", "batch.key")
def a_key_is_readable_by_others(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.state / "keys" / "batch.key").chmod(0o640)


@broken("keys", "wrap.key")
def a_key_is_damaged(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = car.state / "keys" / "wrap.key"
    path.write_bytes(path.read_bytes()[:60])


@broken("keys", "tls.key")
def a_key_is_gone(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.state / "keys" / "tls.key").unlink()


@broken("keys", "camera-front")
def a_password_file_is_open_to_others(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = car.folder / "password"
    path.write_text("invented")
    path.chmod(0o644)
    car.values["camera"] = [
        {"name": "front", "source": "rtsp://192.0.2.1/x", "user": "u", "password_file": path}
    ]


def recertify(car: Copy, *, born: datetime, other_ca: bool = False, name: str = CAR) -> None:
    """Another certificate for the car's own TLS key."""
    key = crypto.load_private(car.state / "keys" / "tls.key")
    authority, signer = car.world.ca, car.world.ca_key
    if other_ca:
        signer = generate_key()
        authority = ca.create_ca(signer, AGENCY, datetime.now(UTC))
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    made = ca.issue_car(authority, signer, request, name, born)
    write_secret(car.state / "trust" / "car.pem", ca.pem(made).encode())


@broken("certificate", "validity")
def the_certificate_has_ended(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    recertify(car, born=datetime.now(UTC) - timedelta(days=4000))


@broken("certificate", "chain")
def the_certificate_is_of_another_authority(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    recertify(car, born=datetime.now(UTC), other_ca=True)


@broken("certificate", "name")
def the_certificate_is_of_another_car(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    recertify(car, born=datetime.now(UTC), name="unit-13")


@broken("certificate", "key")
def the_certificate_is_of_another_key(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    crypto.save_private(generate_key(), car.state / "keys" / "tls.key")


@broken("certificate", "files")
def the_certificate_is_damaged(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.state / "trust" / "car.pem").write_text("-----BEGIN CERTIFICATE-----\n")


@broken("crypto", "self-test")
def the_cipher_computes_wrongly(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "decrypt_target", lambda data, *, name, key: bytes(32))


def own_models(car: Copy) -> Path:
    folder = car.folder / "models"
    folder.mkdir()
    for name in ("detector.onnx", "ocr.onnx", "ocr.yaml"):
        (folder / name).write_bytes((FOLDER / name).read_bytes())
    car.values["reader"] = {"models": folder}
    return folder


@broken("models", "models")
def a_model_file_is_damaged(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own_models(car) / "detector.onnx"
    data = bytearray(path.read_bytes())
    data[100:50_000] = bytes(49_900)
    path.write_bytes(bytes(data))


@broken("models", "models")
def a_model_is_not_the_pinned_one(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["ocr"] = {"sha256": "0" * 64}


@broken("reading", "test-plate")
def the_models_read_nothing(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = car.folder / "models"
    folder.mkdir()
    write_detector(folder / "detector.onnx")
    write_ocr(folder)
    car.values["reader"] = {"models": folder}


@broken("cameras", "front")
def a_camera_is_missing(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["camera"] = [{"name": "front", "source": "/dev/v4l/by-id/none", "fps": 2}]


@broken("cameras", "front")
def a_camera_refuses_the_connection(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["camera"] = [{"name": "front", "source": "http://127.0.0.1:9/mjpeg", "fps": 2}]


@broken("cameras", "front-light")
def the_lens_is_covered(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    video(car.folder / "front.mp4", np.full((360, 640, 3), 14, np.uint8))


@broken("cameras", "front-sharpness")
def the_lens_is_out_of_focus(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    blurred = cv2.GaussianBlur(scene(640, 360), (0, 0), 3)
    video(car.folder / "front.mp4", np.asarray(blurred, np.uint8))


@broken("cameras", "front-plates")
def the_lens_is_too_wide(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    video(car.folder / "front.mp4", scene(640, 360))
    car.values["camera"][0]["fov_deg"] = 120


@broken("gps", "port")
def the_receiver_is_missing(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["gps"] = {"source": "/dev/alprd-no-gps"}


@broken("gps", "sentences")
def the_receiver_speaks_garbage(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.hears(garbage=True)


@broken("gps", "sentences")
def the_receiver_is_silent(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.hears(silent=True)


@broken("clock", "system")
def the_clock_stands_at_1970(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.shift = datetime(1970, 1, 2, tzinfo=UTC) - datetime.now(UTC)


@broken("clock", "gps")
def the_clock_is_an_hour_off(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.hears(off=timedelta(hours=1))


@broken("queue", "database")
def the_queue_is_damaged(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = car.state / "queue.db"
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    path.write_bytes(bytes(data))


@broken("queue", "ledger")
def a_read_has_vanished(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(car, "DELETE FROM reads")


def edit(car: Copy, sql: str) -> None:
    connection = sqlite3.connect(car.state / "queue.db")
    connection.execute(sql)
    connection.commit()
    connection.close()


@broken("lists", "lists")
def no_lists_were_ever_fetched(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.state / "targets" / "active").unlink()


@broken("lists", "lpdf")
def a_list_is_stale(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.shift = timedelta(hours=73)


@broken("lists", "lists")
def a_list_was_altered(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (car.state / "targets" / "active" / "files").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))


@broken("roster", "roster")
def the_roster_has_ended(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.shift = timedelta(days=8)


@broken("permit", "permit")
def the_permit_has_lapsed(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.shift = timedelta(hours=25)


@broken("permit", "permit")
def there_is_no_permit(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(car, "DELETE FROM meta WHERE key = 'permit'")


@broken("permit", "permit")
def the_permit_is_forged(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(car, "UPDATE meta SET value = replace(value, '2', '3') WHERE key = 'permit'")


def central_at(car: Copy, url: str) -> None:
    path = car.state / "trust" / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"central_url": url}))


def page_pair(car: Copy, *, days: float, mode: int = 0o600) -> None:
    """A page for a laptop, with a certificate that is good for so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alprd.car")])
    until = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(until - timedelta(days=100))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )
    pem, secret = car.folder / "page.pem", car.folder / "page.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    secret.chmod(mode)
    car.values["mdt"] = {"host": "0.0.0.0", "tls_cert": pem, "tls_key": secret}  # noqa: S104


@broken("page", "serving")
def the_page_would_go_out_without_tls(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["mdt"] = {"host": "0.0.0.0"}  # noqa: S104


@broken("page", "serving")
def the_pages_certificate_is_of_another_key(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    page_pair(car, days=50)
    former = (car.folder / "page.pem").read_bytes()
    page_pair(car, days=50)
    (car.folder / "page.pem").write_bytes(former)


@broken("page", "certificate")
def the_pages_certificate_has_ended(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    page_pair(car, days=-2)


@broken("page", "key")
def others_can_read_the_pages_key(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    page_pair(car, days=50, mode=0o644)


@broken("page", "gateway")
def the_gateways_authority_is_gone(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["verification"] = {
        "url": "https://gateway.invalid/query",
        "ca_file": car.folder / "none.pem",
    }


@broken("dock", "carrier")
def the_dock_device_is_missing(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    car.values["dock"] = {"carrier_file": car.folder / "none" / "carrier"}


@broken("dock", "name")
def central_has_no_address(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    central_at(car, "https://central.invalid:8444")


@broken("dock", "connection")
def central_does_not_listen(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    central_at(car, f"https://127.0.0.1:{port}")


@broken("dock", "tls")
def another_answers_in_centrals_place(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    (car.folder / "other").mkdir()
    other = World(car.folder / "other")
    central_at(car, other.url)
    car.stack.callback(other.stop)


@broken("dock", "central")
def central_refuses_this_car(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(car.world.handlers, "/v1/hello", lambda body, query: (403, b"{}"))


@broken("dock", "central")
def centrals_answer_is_forged(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    said = wire.CentralTime(agency=AGENCY, time=datetime.now(UTC), nonce="0")
    monkeypatch.setitem(
        car.world.handlers,
        "/v1/hello",
        lambda body, query: car.world.signed("hello", said, generate_key()),
    )


@broken("dock", "clock")
def centrals_clock_is_an_hour_off(car: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    def hello(body: bytes, query: dict[str, list[str]]) -> tuple[int, bytes]:
        time_ = datetime.now(UTC) + timedelta(hours=1)
        return car.world.signed(
            "hello", wire.CentralTime(agency=AGENCY, time=time_, nonce=query["nonce"][0])
        )

    monkeypatch.setitem(car.world.handlers, "/v1/hello", hello)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_fails_its_row_with_a_remedy(
    name: str, car: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, row, breaks = BROKEN[name]
    breaks(car, monkeypatch)
    rows = car.run(check)
    assert row in rows, rows
    assert rows[row].level == "fail", rows[row]
    assert rows[row].remedy


def test_every_check_has_a_car_that_fails_it() -> None:
    assert {check for check, _, _ in BROKEN.values()} == {check.name for check in CHECKS}
