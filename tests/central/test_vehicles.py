"""Enrolment, permits, sessions and trails of cars."""

from __future__ import annotations

import base64
import csv
import io
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import storekind
from central_world import (
    AGENCY,
    Car,
    Server,
    audit_events,
    enrol,
    fetch_target,
    make_read,
    run,
    session_row,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from alprd import crypto, wire
from alprd.central.storage import audit, config
from alprd.central.storage.store import Central
from alprd.records import Closed, new_id


def signed(car: Car, answer: httpx.Response, kind: str, model: type[Closed]) -> Closed:
    assert answer.status_code == 200, answer.text
    document = crypto.SignedDocument.model_validate_json(answer.content)
    return crypto.verify_document(document, kind, car.receipt_key, model)


def test_hello_is_signed_time_with_the_nonce(car: Car) -> None:
    with car.client() as client:
        time = signed(car, client.get("/v1/hello?nonce=abc"), "hello", wire.CentralTime)
    assert isinstance(time, wire.CentralTime)
    assert time.nonce == "abc"
    assert abs(time.time - datetime.now(UTC)) < timedelta(seconds=30)


@pytest.mark.policy("R-13.824-6-6")
def test_permit_is_short_lived_and_follows_suspension(server: Server, car: Car) -> None:
    with car.client() as client:
        permit = signed(car, client.get("/v1/permit"), "permit", wire.Permit)
        assert isinstance(permit, wire.Permit)
        assert permit.vehicle == "car-1"
        assert not permit.suspended
        assert permit.expires - permit.not_before == timedelta(hours=24)
        same = signed(car, client.get("/v1/permit"), "permit", wire.Permit)
        assert same == permit
        run(server.home, "vehicles", "suspend", "--vehicle", "car-1", "--by", "sheriff")
        held = signed(car, client.get("/v1/permit"), "permit", wire.Permit)
        assert isinstance(held, wire.Permit)
        assert held.suspended
        run(server.home, "vehicles", "resume", "--vehicle", "car-1", "--by", "sheriff")
        free = signed(car, client.get("/v1/permit"), "permit", wire.Permit)
        assert isinstance(free, wire.Permit)
        assert not free.suspended


@pytest.mark.policy("R-460.5.1-0", "R-460.5.1-a", "R-460.5.1-b2")
def test_session_becomes_a_row_of_the_public_log_once(server: Server, car: Car) -> None:
    row = session_row(started=datetime(2026, 11, 1, 5, 30, tzinfo=UTC), reader="=1+1")
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
    for _ in range(2):
        ack = signed(car, car.post("/v1/sessions", "sessions", report), "ack", wire.Ack)
        assert isinstance(ack, wire.Ack)
        assert ack.ids == (row.id,)
    changed = row.model_copy(update={"plates_read": 1})
    other = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(changed,))
    assert car.post("/v1/sessions", "sessions", other).status_code == 200
    page = httpx.get(f"{server.page_url}/public/log.csv")
    assert page.status_code == 200
    rows = [r for r in csv.DictReader(io.StringIO(page.text)) if r["reader"] == "'=1+1"]
    assert len(rows) == 1
    assert rows[0]["plates_read"] == "41"
    assert rows[0]["stolen"] == "1"
    assert rows[0]["other_lpdf"] == "0"
    # Daylight saving time ended on 2026-11-01 at 07:00 UTC: the offset changes within the row.
    assert rows[0]["start"] == "2026-11-01T00:30:00-05:00"
    assert rows[0]["databases_compared"].startswith("LPDF 20261120")
    html = httpx.get(f"{server.page_url}/public/log-2026-11.html").text
    assert '<span class="t">00:30:00</span> <span class="t">-05:00</span>' in html
    assert run(server.home, "publiclog")  # the same by the command line


@pytest.mark.policy("R-460.5-2")
def test_ledger_reconciles_queued_with_received(server: Server, car: Car) -> None:
    row = session_row(queued=2)
    car.send_reads(make_read(session=row.id), make_read(session=row.id))

    def entry() -> dict[str, object]:
        ledger = run(server.home, "status")["ledger"]
        return next(e for e in ledger if e["session"] == row.id)

    assert entry()["queued"] is None
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
    assert car.post("/v1/sessions", "sessions", report).status_code == 200
    assert entry() == {
        "vehicle": "car-1",
        "session": row.id,
        "queued": 2,
        "received": 2,
        "reconciled": True,
    }


@pytest.mark.policy("R-AT-3")
def test_car_trail_is_kept_whole(server: Server, tmp_path: Path) -> None:
    car = enrol(server, tmp_path, "car-3", "3")
    events = audit_events(6)

    def send(*part: wire.AuditEvent) -> httpx.Response:
        report = wire.AuditReport(agency=AGENCY, vehicle=car.name, events=part)
        return car.post("/v1/audit", "audit", report)

    def acked(answer: httpx.Response) -> int:
        ack = signed(car, answer, "ack", wire.Ack)
        assert isinstance(ack, wire.Ack)
        return ack.seq

    assert send(*events[2:]).status_code == 409  # the first two are missing
    assert acked(send(*events[:3])) == 3
    assert acked(send(*events[:2])) == 3  # sent again
    assert acked(send(*events[1:5])) == 5  # overlapping
    altered = events[5].model_copy(update={"actor": "somebody"})
    assert send(altered).status_code == 409
    assert acked(send(events[5])) == 6
    forged = audit_events(7)  # another history of the same length
    assert send(*forged).status_code == 409
    assert send(events[0], *audit_events(6)[1:]).status_code == 409
    assert "trail" in (server.home / "serve.log").read_text()
    run(server.home, "audit", "verify")


def test_reports_of_others_are_refused(server: Server, car: Car) -> None:
    report = wire.SessionReport(agency=AGENCY, vehicle="car-9", rows=())
    assert car.post("/v1/sessions", "sessions", report).json()["error"] == "wrong_sender"
    with car.client() as client:
        assert client.post("/v1/sessions", content=b"{}").status_code == 400
        assert client.post("/v1/audit", content=b"\xff").status_code == 400
        foreign = crypto.sign_document("sessions", report, crypto.generate_key())
        answer = client.post("/v1/sessions", content=foreign.model_dump_json())
        assert answer.json()["error"] == "bad_signature"


def request_for(
    code: str, vehicle: str, *, name: str | None = None, curve: ec.EllipticCurve | None = None
) -> wire.EnrolRequest:
    tls_key = ec.generate_private_key(curve or ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or vehicle)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = builder.sign(tls_key, hashes.SHA256())
    key = base64.urlsafe_b64encode(crypto.public_bytes(crypto.generate_key())).decode()
    return wire.EnrolRequest(
        vehicle=vehicle,
        code=code,
        csr=csr.public_bytes(serialization.Encoding.PEM).decode(),
        batch_key=key,
        wrap_key=key,
    )


def test_enrolment_code_is_single_use_and_bound(server: Server, car: Car) -> None:
    code = run(server.home, "enrol-code", "--vehicle", "car-5", "--reader", "5")["code"]
    secret, pin = code.split(".")
    assert (len(secret), len(pin)) == (26, 32)
    trusted = ssl.create_default_context(cadata=car.reply.ca)
    with httpx.Client(base_url=server.car_url, verify=trusted) as client:

        def post(request: wire.EnrolRequest) -> httpx.Response:
            return client.post("/v1/enrol", content=request.model_dump_json())

        wrong = "A" * 26 + "." + pin
        assert post(request_for(wrong, "car-5")).json()["error"] == "bad_code"
        assert post(request_for(code, "car-6")).json()["error"] == "wrong_vehicle"
        assert post(request_for(code, "car-5", name="car-6")).status_code == 400
        assert post(request_for(code, "car-5", curve=ec.SECP384R1())).status_code == 400
        good = request_for(code, "car-5")
        foul = good.model_copy(update={"batch_key": "AAAA"})
        assert post(foul).status_code == 400
        assert client.post("/v1/enrol", content=b"{}").status_code == 400
        assert post(good).status_code == 200
        assert post(good).json()["error"] == "code_used"
    assert code.encode() not in storekind.database_bytes(server.home)
    taken = run(
        server.home, "enrol-code", "--vehicle", f"car-{new_id()[:4]}", "--reader", "5", check=False
    )
    assert "belongs to car-5" in taken.stderr


def test_stops_cleanly_on_sigterm(server: Server) -> None:
    assert (server.home / "run.json").exists()
    assert server.stop() == 0
    assert not (server.home / "run.json").exists()
    server.start()


# --- the end of a car -----------------------------------------------------------------------------


def certificate(car: Car, **changes: object) -> wire.WipeCertificate:
    values: dict[str, object] = {
        "agency": AGENCY, "vehicle": car.name, "reader": "1",
        "enrolment": crypto.key_id(car.batch_key), "serial": new_id(), "kind": "killed",
        "order": new_id(), "by": "central", "reason": "order of central",
        "at": datetime.now(UTC), "at_trusted": True, "keys_destroyed": ("wrap.key",),
        "keys_last": ("batch.key", "tls.key"), "reads_lost": 0, "sessions_lost": 0,
        "events_lost": None, "reads_committed": 4, "audit_seq": 7, "audit_digest": "0" * 64,
        "method": "overwritten", "version": "0.1.0",
    }  # fmt: skip
    return wire.WipeCertificate.model_validate(values | changes)


def state_of(server: Server, vehicle: str) -> str:
    found = run(server.home, "status")["vehicles"]
    return str(next(entry["state"] for entry in found if entry["vehicle"] == vehicle))


def orders(car: Car, nonce: str = "n") -> wire.Orders:
    with car.client() as client:
        got = signed(car, client.get(f"/v1/orders?nonce={nonce}"), "orders", wire.Orders)
    assert isinstance(got, wire.Orders)
    return got


@pytest.mark.both_stores
@pytest.mark.policy("R-CJIS-5")
def test_a_kill_order_reaches_its_car_until_the_certificate_comes(
    server: Server, tmp_path: Path
) -> None:
    car = enrol(server, tmp_path / "a", "car-40", "40")
    none = orders(car, "first")
    assert (none.kill, none.nonce, none.vehicle) == (None, "first", "car-40")
    assert none.enrolment == crypto.key_id(car.batch_key)
    words = ("vehicles", "kill", "--vehicle", "car-40")
    assert run(server.home, *words, "--reason", "  ", "--by", "dana", check=False).returncode == 1
    serial = run(server.home, *words, "--reason", "stolen", "--by", "dana")["order"]
    twice = run(server.home, *words, "--reason", "stolen", "--by", "dana", check=False)
    assert "already" in twice.stderr
    assert state_of(server, "car-40") == "to be killed"
    got = orders(car, "second")
    assert (got.kill, got.nonce) == (serial, "second")
    # No permit, no lists, no way back but a new enrolment.
    with car.client() as client:
        permit = signed(car, client.get("/v1/permit"), "permit", wire.Permit)
        assert isinstance(permit, wire.Permit) and permit.suspended
    back = run(server.home, "vehicles", "resume", "--vehicle", "car-40", "--by", "x", check=False)
    assert "ordered to kill itself" in back.stderr
    assert fetch_target(car, "wraps-car-40.json") is None
    # Also once it is revoked, and again and again, until it is done.
    run(server.home, "vehicles", "revoke", "--vehicle", "car-40", "--by", "dana")
    with car.client() as client:
        assert client.get("/v1/permit").status_code == 403
    assert orders(car).kill == serial
    said = certificate(car, order=serial)
    for _ in range(2):  # a lost answer: the same certificate comes again
        ack = signed(car, car.post("/v1/wipe", "wipe", said), "ack", wire.Ack)
        assert isinstance(ack, wire.Ack)
        assert (ack.kind, ack.ids) == ("wipe", (said.serial,))
    assert state_of(server, "car-40") == "killed"
    gone = run(server.home, *words, "--reason", "again", "--by", "dana", check=False)
    assert "wiped already" in gone.stderr
    with Central(server.home) as central, central.database.read() as tx:
        mine = [
            (event.event, event.actor) for event in audit.events(tx) if serial in event.subjects
        ]
    assert mine == [
        ("device.kill-ordered", "dana"),
        ("device.kill-handed-out", "car-40"),
        ("device.wiped", "car-40"),
    ]
    # Found and enrolled again: the order died with the old enrolment.
    again = enrol(server, tmp_path / "b", "car-40", "40")
    assert orders(again).kill is None
    assert state_of(server, "car-40") == "enrolled"


@pytest.mark.policy("R-CJIS-5")
def test_certificates_of_others_are_refused(server: Server, tmp_path: Path) -> None:
    car = enrol(server, tmp_path, "car-41", "41")
    assert car.post("/v1/wipe", "wipe", certificate(car, vehicle="car-1")).status_code == 403
    assert car.post("/v1/wipe", "wipe", certificate(car, agency="other")).status_code == 403
    wrong = certificate(car, enrolment="0" * 16)
    assert car.post("/v1/wipe", "wipe", wrong).json()["error"] == "wrong_enrolment"
    forged = crypto.sign_document("wipe", certificate(car), crypto.generate_key())
    with car.client() as client:
        answer = client.post("/v1/wipe", content=forged.model_dump_json())
    assert answer.json()["error"] == "bad_signature"
    assert state_of(server, "car-41") == "enrolled"
    # Without a certificate a reason is needed; the certificate may come later.
    words = ("vehicles", "retire", "--vehicle", "car-41", "--by", "dana")
    assert "no reason" in run(server.home, *words, check=False).stderr
    run(server.home, *words, "--reason", "burnt out")
    assert state_of(server, "car-41") == "retired"
    file = tmp_path / "found.json"
    file.write_text("{}")
    bad = run(server.home, *words, "--certificate", str(file), check=False)
    assert "no wipe certificate" in bad.stderr
    good = crypto.sign_document("wipe", certificate(car, kind="retired"), car.batch_key)
    file.write_text(good.model_dump_json())
    assert run(server.home, *words, "--certificate", str(file))["kind"] == "retired"
    with Central(server.home) as central, central.database.read() as tx:
        names = [e.event for e in audit.events(tx) if e.detail.get("vehicle") == "car-41"]
    assert names[-2:] == ["device.retired", "device.wiped"]


@pytest.mark.policy("R-460.5.1-a", "R-460.4.1-a2")
def test_a_session_without_trusted_time_is_a_marked_row_and_holds_up_no_other(
    server: Server, car: Car
) -> None:
    began = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    lost = session_row(started=began, ended=began + timedelta(minutes=9), time_trusted=False)
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(lost, session_row()))
    assert car.post("/v1/sessions", "sessions", report).status_code == 200
    rows = [r for r in run(server.home, "publiclog") if r["start"].startswith("1969-12-31T18:05")]
    assert [row["time_note"] != "" for row in rows] == [True]
    believed = lost.model_copy(update={"time_trusted": True, "id": new_id()})
    report = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(believed,))
    assert car.post("/v1/sessions", "sessions", report).status_code == 400


@pytest.mark.policy("R-460.4-a")
def test_unattended_collection_is_off_unless_the_agency_writes_it(
    server: Server, tmp_path: Path
) -> None:
    """From ``central.toml`` to the signed policy; the file that ``init`` wrote loads again."""
    settings = config.load(server.home)
    assert settings.device_policy().unattended is False
    made = settings.model_copy(
        update={
            "policy": settings.policy.model_copy(
                update={
                    "unattended": True, "custodian": "dana",
                    "unattended_purpose": "stolen_vehicles", "custodians": {"car-1": "kim"},
                }
            )
        }
    )  # fmt: skip
    (tmp_path / "central.toml").write_text(config.render(made))
    policy = config.load(tmp_path).device_policy()
    assert (policy.unattended, policy.custodian, policy.custodians) == (
        True,
        "dana",
        {"car-1": "kim"},
    )
    assert policy.unattended_purpose == "stolen_vehicles"
    assert policy.sha256 != settings.device_policy().sha256
