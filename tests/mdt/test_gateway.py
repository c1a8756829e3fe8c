"""The query gateway: asked for a matched plate by a person's own act, and by nothing else."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from alprd.audit import Event
from alprd.mdt.app import create_app, serve_in_thread
from alprd.verification import HttpGateway
from mdt.world import Car

SignOn = Callable[..., httpx.Response]


class TestGateway:
    """A gateway of an invented agency, on loopback."""

    __test__ = False

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: bytes = json.dumps(
            {"hot_file": "hit", "text": "stolen", "registration": "blue", "reference": "W1"}
        ).encode()
        self.status = 200
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                gateway.asked.append(json.loads(self.rfile.read(length)))
                self.send_response(gateway.status)
                self.send_header("Content-Length", str(len(gateway.answer)))
                self.end_headers()
                self.wfile.write(gateway.answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing to the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/query"


@pytest.fixture
def gateway() -> Iterator[TestGateway]:
    made = TestGateway()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def served(car: Car, gateway: TestGateway) -> Car:
    """A car whose agency has a gateway."""
    car.context = dataclasses.replace(car.context, gateway=HttpGateway(gateway.url, timeout_s=2))
    car.server = serve_in_thread(create_app(car.context), "127.0.0.1", 0)
    return car


@pytest.mark.policy("R-460.4-f2")
def test_the_gateway_is_asked_once_for_the_matched_plate_alone(
    served: Car, client: httpx.Client, sign_on: SignOn, gateway: TestGateway
) -> None:
    sign_on()
    _, alert = served.alert()
    assert gateway.asked == []  # an alert by itself asks nobody
    answer = client.post(f"/alerts/{alert}/query")
    assert answer.json()["hot_file"] == "hit"
    assert gateway.asked == [
        {"plate": "ZQX417", "state": "MN", "person": "dep.one", "unit": "4712"}
    ]
    assert client.post("/alerts/" + "0" * 32 + "/query").status_code == 404
    assert client.post(f"/alerts/{alert}/query", data={"plate": "ABC123"}).status_code == 200
    assert [one["plate"] for one in gateway.asked] == ["ZQX417", "ZQX417"]
    assert served.events().count(Event.ALERT_QUERIED) == 2
    trail = "".join(event.model_dump_json() for event in served.store.audit_events())
    assert "ZQX417" not in trail


@pytest.mark.policy("R-460.4-f2", "R-460.4-e")
def test_who_may_not_see_the_plate_cannot_ask_for_it(
    served: Car, client: httpx.Client, sign_on: SignOn, gateway: TestGateway
) -> None:
    sign_on("dep.limited")
    _, alert = served.alert()
    for name in ("query", "misread", "copied"):
        assert client.post(f"/alerts/{alert}/{name}").json()["error"] == "not_cleared"
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("status", "answer"), [(500, b"{}"), (200, b"nothing"), (200, b'{"x": 1}'), (302, b"")]
)
def test_a_gateway_that_fails_leaves_the_entry_by_hand(
    served: Car,
    client: httpx.Client,
    sign_on: SignOn,
    gateway: TestGateway,
    status: int,
    answer: bytes,
) -> None:
    sign_on()
    _, alert = served.alert()
    gateway.status, gateway.answer = status, answer
    said = client.post(f"/alerts/{alert}/query")
    assert (said.status_code, said.json()["error"]) == (502, "gateway")
    assert "ZQX417" not in said.text
    assert client.post(f"/alerts/{alert}/compare", data={"agrees": "yes"}).status_code == 204
    done = client.post(f"/alerts/{alert}/verify", data={"result": "not_confirmed"})
    assert done.status_code == 204


@pytest.mark.policy("R-460.4-f2")
def test_without_configuration_there_is_no_gateway(
    car: Car, client: httpx.Client, sign_on: SignOn, gateway: TestGateway
) -> None:
    server = serve_in_thread(
        create_app(dataclasses.replace(car.context, gateway=None)), "127.0.0.1", 0
    )
    base = f"http://127.0.0.1:{server.port}"
    try:
        headers = {"Accept": "application/json"}
        with httpx.Client(base_url=base, headers=headers, trust_env=False) as plain:
            sign_on(by=plain)
            _, alert = car.alert()
            assert plain.post(f"/alerts/{alert}/query").json()["error"] == "no_gateway"
    finally:
        server.stop()
    assert gateway.asked == []
