"""Batches over mutual TLS into a real central."""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from central_world import (
    AGENCY,
    PASSWORD,
    Car,
    Server,
    add_person,
    enrol,
    everything,
    make_home,
    make_read,
    run,
    search,
)
from cryptography.hazmat.primitives import hpke

from alprd import crypto
from alprd.central.storage.store import Central
from alprd.records import Read, new_id

pytestmark = pytest.mark.both_stores


def body_of(read: Read, car: Car, **extra: object) -> bytes:
    """An envelope whose sealed fields carry ``extra`` beside the permitted ones."""
    car.seal(read)  # makes sure that the intake keys are here
    key = car.intake[read.instant.date().isoformat()]
    header = crypto.canonical(
        crypto.EnvelopeHeader(
            agency=AGENCY,
            vehicle=car.name,
            id=read.id,
            session=read.session,
            classification=read.classification,
            destroy_by=read.destroy_by,
        )
    )
    prefix = (
        b"ALRE\x01\x01" + bytes.fromhex(crypto.key_id(key)) + len(header).to_bytes(2, "big")
    ) + header
    fields = read.model_dump(mode="json", include={"plate", "instant", "time_trusted", "position"})
    parts = (crypto.canonical({**fields, **extra}), read.plate_picture, b"")
    body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    suite = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    return prefix + suite.encrypt(body, key, b"alprd read v1\0" + prefix)


def quarantined(server: Server) -> int:
    return int(run(server.home, "status")["quarantined"])


@pytest.mark.policy("R-460.5-2")
def test_good_batch_is_stored_and_receipted(server: Server, car: Car) -> None:
    before = run(server.home, "status")
    reads = [make_read(f"GDX{n:03}") for n in range(5)]
    envelopes = [(read.id, car.seal(read)) for read in reads]
    receipt = car.send(car.batch(envelopes))
    assert [item.outcome for item in receipt.items] == ["stored"] * 5
    assert [item.sha256 for item in receipt.items] == [crypto.sha256_hex(e) for _, e in envelopes]
    after = run(server.home, "status")
    assert after["reads_held"] - before["reads_held"] == 5
    assert after["received_total"] - before["received_total"] == 5


@pytest.mark.policy("R-460.5-2")
def test_batch_sent_again_gives_the_same_receipt_and_no_double(server: Server, car: Car) -> None:
    body = car.batch([(r.id, car.seal(r)) for r in (make_read(), make_read())])
    first = car.send(body)
    held = run(server.home, "status")
    assert car.send(body) == first
    again = run(server.home, "status")
    assert again["reads_held"] == held["reads_held"]
    assert again["received_total"] == held["received_total"]
    assert again["duplicates_refused"] == held["duplicates_refused"] + 2


def test_read_sent_again_in_another_batch_is_not_doubled(server: Server, car: Car) -> None:
    read = make_read()
    envelope = car.seal(read)
    car.send(car.batch([(read.id, envelope)]))
    held = run(server.home, "status")["reads_held"]
    other = make_read()
    receipt = car.send(car.batch([(read.id, envelope), (other.id, car.seal(other))]))
    assert [item.outcome for item in receipt.items] == ["stored", "stored"]
    assert run(server.home, "status")["reads_held"] == held + 1


def test_same_id_with_other_digest_is_quarantined(server: Server, car: Car) -> None:
    read, foul = make_read(), quarantined(server)
    car.send_reads(read)
    held = run(server.home, "status")["reads_held"]
    receipt = car.send_reads(read)  # sealed anew: another ciphertext under the same id
    assert [item.outcome for item in receipt.items] == ["quarantined"]
    assert quarantined(server) == foul + 1
    assert run(server.home, "status")["reads_held"] == held


def test_damage_on_the_way_is_refused_whole(server: Server, car: Car) -> None:
    """A receipt for what central does not hold would make the car destroy its only copy."""
    reads = [make_read(), make_read()]
    before = run(server.home, "status")
    good = car.batch([(r.id, car.seal(r)) for r in reads])
    for foul in (good[:-1], good + b"x", good[:-40] + bytes([good[-40] ^ 1]) + good[-39:]):
        with car.client() as client:
            answer = client.post("/v1/batches", content=foul)
        assert answer.status_code == 400
        assert set(answer.json()) == {"error", "message"}
    after = run(server.home, "status")
    assert after["received_total"] == before["received_total"]
    assert [item.outcome for item in car.send(good).items] == ["stored"] * 2


def test_tampered_envelope_is_quarantined_not_lost(server: Server, car: Car) -> None:
    read, foul = make_read(), quarantined(server)
    envelope = bytearray(car.seal(read))
    envelope[-20] ^= 1
    receipt = car.send(car.batch([(read.id, bytes(envelope))]))
    assert [item.outcome for item in receipt.items] == ["quarantined"]
    assert quarantined(server) == foul + 1
    assert "ALARM" in (server.home / "serve.log").read_text()


@pytest.mark.policy("R-460.4.1-a")
@pytest.mark.parametrize("field", ["confidence", "speed", "vehicle_make"])
def test_extra_field_is_quarantined(server: Server, car: Car, field: str) -> None:
    read, foul = make_read(), quarantined(server)
    receipt = car.send(car.batch([(read.id, body_of(read, car, **{field: 1}))]))
    assert [item.outcome for item in receipt.items] == ["quarantined"]
    assert quarantined(server) == foul + 1


def test_body_helper_without_extra_field_is_good(car: Car) -> None:
    read = make_read()
    receipt = car.send(car.batch([(read.id, body_of(read, car))]))
    assert [item.outcome for item in receipt.items] == ["stored"]


def test_malformed_and_foreign_envelopes_are_quarantined(server: Server, car: Car) -> None:
    read = make_read()
    car.seal(read)
    key = car.intake[read.instant.date().isoformat()]
    foreign = crypto.seal_read(read, agency=AGENCY, vehicle="car-9", intake_key=key)
    unknown = make_read()
    other_key = crypto.seal_read(
        unknown, agency=AGENCY, vehicle=car.name, intake_key=crypto.generate_key().public_key()
    )
    receipt = car.send(
        car.batch([(new_id(), b"rubbish " * 9), (read.id, foreign), (unknown.id, other_key)])
    )
    assert [item.outcome for item in receipt.items] == ["quarantined"] * 3


def test_wrong_signature_and_wrong_sender_are_refused(server: Server, car: Car) -> None:
    read = make_read()
    envelopes = [(read.id, car.seal(read))]
    for body in (
        car.batch(envelopes, crypto.generate_key()),
        car.batch(envelopes, vehicle="car-9"),
        car.batch(envelopes, agency="otter"),
    ):
        with car.client() as client:
            answer = client.post("/v1/batches", content=body)
        assert answer.status_code == 403, answer.text
    with car.client() as client:
        assert client.post("/v1/batches", content=b"not a batch").status_code == 400


@pytest.mark.policy("R-460.5-4")
def test_expired_read_is_not_kept(server: Server, car: Car) -> None:
    held = run(server.home, "status")["reads_held"]
    old = make_read(at=datetime.now(UTC) - timedelta(days=59, hours=23))
    past = old.model_copy(update={"destroy_by": datetime.now(UTC) - timedelta(hours=1)})
    receipt = car.send_reads(past)
    assert [item.outcome for item in receipt.items] == ["expired"]
    assert run(server.home, "status")["reads_held"] == held


@pytest.mark.policy("R-460.5-4")
def test_car_cannot_lengthen_a_life(server: Server, car: Car) -> None:
    """A destroy-by beyond 60 x 24 h from the collection is cut by central."""
    add_person(server.home, "ida", "investigator")
    at = datetime.now(UTC) - timedelta(days=50)
    read = make_read("LNG5678", at=at, destroy_by=datetime.now(UTC) + timedelta(days=300))
    assert car.send_reads(read).items[0].outcome == "stored"
    held = run(server.home, "status")["next_destroy_by"]
    assert datetime.fromisoformat(held) <= at + timedelta(hours=60 * 24)


@pytest.mark.policy("R-460.5-2", "R-CJIS-1")
def test_no_route_but_enrolment_without_certificate(server: Server, car: Car) -> None:
    import ssl

    trusted = ssl.create_default_context(cadata=car.reply.ca)
    with httpx.Client(base_url=server.car_url, verify=trusted) as client:
        for method, path in (
            ("GET", "/v1/hello"),
            ("GET", "/v1/permit"),
            ("POST", "/v1/batches"),
            ("POST", "/v1/sessions"),
            ("POST", "/v1/audit"),
            ("GET", "/tuf/metadata/timestamp.json"),
            ("GET", "/tuf/targets/x"),
        ):
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["error"]) == (403, "no_certificate"), path


def test_certificate_of_another_ca_is_refused_by_tls(
    server: Server, car: Car, tmp_path: Path
) -> None:
    other = Server(make_home(tmp_path / "other"))
    other.start()
    try:
        stranger = enrol(other, tmp_path / "car", "car-1", "1")
    finally:
        other.stop()
    context = car.context()
    context.load_cert_chain(stranger.folder / "car.crt", stranger.folder / "car.key")
    with (
        pytest.raises(httpx.TransportError),
        httpx.Client(base_url=server.car_url, verify=context) as client,
    ):
        client.get("/v1/hello")


def test_revoked_and_replaced_cars_are_refused(server: Server, tmp_path: Path) -> None:
    first = enrol(server, tmp_path / "a", "car-2", "2")
    with first.client() as client:
        assert client.get("/v1/hello?nonce=n1").status_code == 200
    second = enrol(server, tmp_path / "b", "car-2", "2")
    with first.client() as client:
        assert client.get("/v1/hello").json()["error"] == "unknown_vehicle"
    with second.client() as client:
        assert client.get("/v1/hello").status_code == 200
        run(server.home, "vehicles", "revoke", "--vehicle", "car-2", "--by", "supervisor")
        assert client.get("/v1/hello").json()["error"] == "revoked"
        assert client.get("/tuf/metadata/timestamp.json").json()["error"] == "revoked"


@pytest.mark.policy("R-460.5-b2", "R-460.5-b4")
def test_suppressed_read_leaves_nothing_and_shows_nothing(
    server: Server, car: Car, tmp_path: Path
) -> None:
    add_person(server.home, "ida", "investigator")
    wanted = tmp_path / "requests.csv"
    wanted.write_text("plate,state\nACP-817,MN\n")
    report = run(server.home, "suppression", "import", str(wanted), "--by", "supervisor")
    assert report["rejected"] == []
    before = run(server.home, "status")
    hidden = make_read("ACP817")
    look_alike = make_read("ACPB17")  # a misread of the protected plate
    plain = make_read("HJK220")
    body = car.batch([(r.id, car.seal(r)) for r in (hidden, look_alike, plain)])
    receipt = car.send(body)
    assert [item.outcome for item in receipt.items] == ["stored"] * 3
    assert car.send(body) == receipt
    after = run(server.home, "status")
    for name in ("reads_held", "received_total"):
        assert after[name] - before[name] == 3, name
    window: dict[str, Any] = {
        "since": hidden.instant - timedelta(hours=1),
        "until": datetime.now(UTC),
    }
    found = {row["id"] for row in search(server.home, **window)}
    assert plain.id in found
    assert not {hidden.id, look_alike.id} & found
    for path, data in everything(server.home):
        for text in (b"ACP817", b"ACPB17", b"ACP-817", b"acp817"):
            assert text not in data, path


@pytest.mark.policy("R-460.6-0", "R-460.5-4b")
def test_store_shows_no_plate_place_or_picture(server: Server, car: Car) -> None:
    # An hour of day at which nothing else happened, so that its text could only be the read's.
    read = make_read("CRV4519", at=datetime.now(UTC) - timedelta(hours=17))
    car.send_reads(read)
    local = f"{read.instant:%H:%M:%S}".encode()
    for path, data in everything(server.home):
        name = path.name
        for text in (b"CRV4519", b"crv4519", b"46.817", b"95.845", "CRV4519".encode("utf-16-le")):
            assert text not in data, name
        for picture in (read.plate_picture, read.wide_picture or b""):
            assert picture[:11] not in data, name  # SOI and JFIF marker
            assert picture[-40:] not in data, name
        if name == "central.db":
            assert local not in data


def test_kill_in_mid_batch_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL at random moments of an intake; the same batch is sent until receipted."""
    server = Server(make_home(tmp_path / "home"))
    server.start()
    chance = random.Random(7)
    sent: list[Read] = []
    try:
        car = enrol(server, tmp_path / "car", "car-1", "1")
        for round_number in range(4):
            reads = [make_read(f"K{round_number}{n:03}") for n in range(60)]
            body = car.batch([(r.id, car.seal(r)) for r in reads])
            sent += reads

            def post(body: bytes = body) -> None:
                with car.client() as client:
                    try:
                        client.post("/v1/batches", content=body)
                    except httpx.TransportError:
                        return  # the server died under it, as intended

            thread = threading.Thread(target=post)
            thread.start()
            time.sleep(chance.uniform(0.02, 0.35))
            server.stop(9)
            thread.join()
            server.start()
            assert {item.outcome for item in car.send(body).items} == {"stored"}
        run(server.home, "purge")
        status = run(server.home, "status")
        assert status["reads_held"] == status["received_total"] == len(sent)
        add_person(server.home, "ida", "investigator")
        start = sent[0].instant - timedelta(hours=1)
        found = search(server.home, since=start, until=start + timedelta(hours=3))
        assert sorted(row["id"] for row in found) == sorted(read.id for read in sent)
        assert all(row["pictures"] for row in found)
        with Central(server.home) as central:
            assert set(central.objects.names("pictures")) == {read.id for read in sent}
        run(server.home, "audit", "verify")
    finally:
        server.stop()


def test_search_gives_what_was_sent(server: Server, car: Car) -> None:
    add_person(server.home, "ida", "investigator")
    read = make_read("ZBR8842")
    car.send_reads(read)
    window: dict[str, Any] = {
        "since": read.instant - timedelta(minutes=1),
        "until": datetime.now(UTC),
    }
    found = search(server.home, "--plate", "zbr 8842", **window)
    assert [row["id"] for row in found] == [read.id]
    assert found[0].pop("search") > 0
    assert found[0] == {
        "id": read.id,
        "plate": "ZBR8842",
        "stacked": "",
        "state": "MN",
        "instant": read.instant.isoformat(),
        "lat": 46.8172354,
        "lon": -95.8453712,
        "session": read.session,
        "vehicle": "car-1",
        "pictures": True,
    }
    assert search(server.home, "--plate", "ZBR8843", **window) == []
    assert PASSWORD not in json.dumps(found)
