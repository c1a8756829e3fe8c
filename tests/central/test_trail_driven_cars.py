"""Every route of the cars that records: asked over mutual TLS, each finds its events (R-AT-1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from central_world import (
    AGENCY,
    Car,
    Server,
    add_person,
    audit_events,
    enrol,
    make_read,
    run,
    session_row,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from test_vehicles import certificate, request_for
from trail_world import Driver, drives

from alprd import crypto, wire
from alprd.central.storage.audit import Event
from alprd.records import utc_now

pytestmark = [pytest.mark.policy("R-AT-1", "R-AT-2"), pytest.mark.timeout(600)]


@dataclass
class Cars(Driver):
    """Asks as a car and compares what the trail got."""

    car: Car | None = None

    def asks(
        self, route: str, event: Event, ask: Callable[[], httpx.Response | None], status: int = 200
    ) -> None:
        """The event names the car, and the address that it asked from."""
        assert self.car is not None
        before, answer = self.last(), ask()
        assert answer is None or answer.status_code == status, (route, answer.text)
        found = [one for one in self.since(before) if one.event == event.value]
        assert found, (route, event, [one.event for one in self.since(before)])
        assert found[-1].address == "127.0.0.1", route
        if not route.endswith("/enrol"):  # who asks for that has no certificate yet
            assert found[-1].actor == self.car.name, route
        self.driven.add((route, event))


@pytest.fixture(scope="module")
def cars(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Cars:
    """A car that nobody has asked anything of."""
    add_person(server.home, "sher", "sheriff")
    return Cars(server.home, car=enrol(server, tmp_path_factory.mktemp("car-4"), "car-4", "4"))


def get(car: Car, path: str) -> Callable[[], httpx.Response]:
    def ask() -> httpx.Response:
        with car.client() as client:
            return client.get(path)

    return ask


@drives(
    ("POST /v1/enrol", Event.ENROLLED), ("POST /v1/enrol", Event.ENROL_REFUSED),
    ("POST /v1/renew", Event.CERTIFICATE_ISSUED), ("POST /v1/renew", Event.CERTIFICATE_RENEWED),
)  # fmt: skip
def test_a_car_gets_its_certificates(cars: Cars, server: Server, tmp_path: Path) -> None:
    car = cars.car
    assert car is not None

    def new() -> None:
        enrol(server, tmp_path / "new", "car-5", "5")

    cars.asks("POST /v1/enrol", Event.ENROLLED, new)
    foul = request_for("A" * 26 + "." + "0" * 32, "car-6").model_dump_json()
    with httpx.Client(base_url=server.car_url, verify=car.context()) as client:
        cars.asks("POST /v1/enrol", Event.ENROL_REFUSED,
                  lambda: client.post("/v1/enrol", content=foul), 403)  # fmt: skip
    key = crypto.generate_key()
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, car.name)]))
        .sign(key, hashes.SHA256())
    )
    wanted = wire.RenewRequest(
        agency=AGENCY, vehicle=car.name, enrolment=crypto.key_id(car.batch_key),
        csr=csr.public_bytes(serialization.Encoding.PEM).decode(),
    )  # fmt: skip
    given: list[httpx.Response] = []

    def renew() -> httpx.Response:
        given.append(car.post("/v1/renew", "renew", wanted))
        return given[0]

    cars.asks("POST /v1/renew", Event.CERTIFICATE_ISSUED, renew)
    signed = crypto.SignedDocument.model_validate_json(given[0].content)
    renewal = crypto.verify_document(signed, "renewal", car.receipt_key, wire.Renewal)
    (car.folder / "car.crt").write_text(renewal.certificate)
    (car.folder / "car.key").unlink()
    crypto.save_private(key, car.folder / "car.key")
    cars.asks("POST /v1/renew", Event.CERTIFICATE_RENEWED, get(car, "/v1/hello?nonce=n"))


@drives(
    ("POST /v1/batches", Event.BATCH_RECEIVED), ("POST /v1/batches", Event.BATCH_REFUSED),
    ("POST /v1/batches", Event.QUARANTINED), ("POST /v1/sessions", Event.SESSIONS_RECEIVED),
    ("POST /v1/sessions", Event.SESSION_CONFLICT), ("POST /v1/audit", Event.TRAIL_BROKEN),
)  # fmt: skip
def test_a_car_uploads(cars: Cars) -> None:
    car = cars.car
    assert car is not None

    def upload(body: bytes) -> Callable[[], httpx.Response]:
        def ask() -> httpx.Response:
            with car.client() as client:
                return client.post("/v1/batches", content=body)

        return ask

    read = make_read("CAR1001")
    cars.asks("POST /v1/batches", Event.BATCH_RECEIVED,
              upload(car.batch([(read.id, car.seal(read))])))  # fmt: skip
    cars.asks("POST /v1/batches", Event.QUARANTINED,
              upload(car.batch([(read.id, car.seal(make_read("CAR1002")))])))  # fmt: skip
    other = car.batch([(read.id, car.seal(read))], key=crypto.generate_key())
    cars.asks("POST /v1/batches", Event.BATCH_REFUSED, upload(other), 403)

    def report(row: wire.SessionRow) -> Callable[[], httpx.Response]:
        told = wire.SessionReport(agency=AGENCY, vehicle=car.name, rows=(row,))
        return lambda: car.post("/v1/sessions", "sessions", told)

    row = session_row()
    changed = row.model_copy(update={"plates_read": 1})
    cars.asks("POST /v1/sessions", Event.SESSIONS_RECEIVED, report(row))
    cars.asks("POST /v1/sessions", Event.SESSION_CONFLICT, report(changed))
    late = wire.AuditReport(agency=AGENCY, vehicle=car.name, events=tuple(audit_events(3)[2:]))
    cars.asks("POST /v1/audit", Event.TRAIL_BROKEN, lambda: car.post("/v1/audit", "audit", late),
              409)  # fmt: skip


@drives(
    ("GET /v1/permit", Event.PERMIT_ISSUED), ("GET /v1/unlock", Event.UNLOCK_GIVEN),
    ("GET /v1/orders", Event.ORDER_HANDED_OUT), ("POST /v1/orders", Event.ORDER_DONE),
    ("GET /v1/orders", Event.KILL_HANDED_OUT), ("POST /v1/wipe", Event.WIPED),
)  # fmt: skip
def test_a_car_asks_obeys_and_ends(cars: Cars) -> None:
    car = cars.car
    assert car is not None
    this = ("--vehicle", car.name)
    cars.asks("GET /v1/permit", Event.PERMIT_ISSUED, get(car, "/v1/permit"))
    cars.asks("GET /v1/unlock", Event.UNLOCK_GIVEN, get(car, "/v1/unlock"))
    run(cars.home, "orders", "suspend", *this, "--reason", "Report 26-1", "--by", "sher")
    given: list[httpx.Response] = []

    def orders() -> httpx.Response:
        given.append(get(car, "/v1/orders?nonce=n")())
        return given[-1]

    cars.asks("GET /v1/orders", Event.ORDER_HANDED_OUT, orders)
    signed = crypto.SignedDocument.model_validate_json(given[-1].content)
    [told] = crypto.verify_document(signed, "orders", car.receipt_key, wire.Orders).orders
    enrolment = crypto.key_id(car.batch_key)
    done = wire.OrderReceipts(
        agency=AGENCY, vehicle=car.name, enrolment=enrolment,
        items=(wire.OrderDone(number=told.number, serial=told.serial, count=0, at=utc_now(),
                              at_trusted=True),),
    )  # fmt: skip
    cars.asks("POST /v1/orders", Event.ORDER_DONE,
              lambda: car.post("/v1/orders", "order-receipts", done))  # fmt: skip
    serial = run(cars.home, "vehicles", "kill", *this, "--reason", "Stolen.", "--by", "sher")
    cars.asks("GET /v1/orders", Event.KILL_HANDED_OUT, orders)
    said = certificate(car, order=serial["order"])
    cars.asks("POST /v1/wipe", Event.WIPED, lambda: car.post("/v1/wipe", "wipe", said))
