"""The cars' interface under schemathesis: truly signed nonsense, and no answer is a 5xx."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import httpx
import pytest
from central_world import Car, Server
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import BaseModel, ConfigDict
from trail_map import CAR_API

from alprd import crypto, wire
from alprd.central.storage import audit
from alprd.central.storage.store import Central

SIGNED: Final[dict[str, tuple[str, type[BaseModel]]]] = {
    "POST /v1/orders": ("order-receipts", wire.OrderReceipts),
    "POST /v1/renew": ("renew", wire.RenewRequest),
    "POST /v1/health": ("health", wire.CarHealth),
    "POST /v1/wipe": ("wipe", wire.WipeCertificate),
    "POST /v1/batches": ("batch", wire.BatchHeader),
    "POST /v1/sessions": ("sessions", wire.SessionReport),
    "POST /v1/audit": ("audit", wire.AuditReport),
}
"""Documents that a car signs, with the record in each."""


class Anything(BaseModel):
    """A record of whatever fields, to be signed as it is."""

    model_config = ConfigDict(extra="allow")


def openapi() -> dict[str, Any]:
    """Every route of the cars as an OpenAPI document, from the records themselves."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for number, route in enumerate(sorted(CAR_API)):
        method, path = route.split()
        made: dict[str, Any] = {
            "operationId": f"car_{number}", "responses": {"default": {"description": route}},
        }  # fmt: skip
        if "{name}" in path:
            made["parameters"] = [
                {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
            ]
        model = wire.EnrolRequest if path == "/v1/enrol" else SIGNED.get(route, ("", None))[1]
        if model is not None:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            made["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        paths.setdefault(path, {})[method.lower()] = made
    return {
        "openapi": "3.1.0", "info": {"title": "cars", "version": "1"}, "paths": paths,
        "components": {"schemas": schemas},
    }  # fmt: skip


def test_every_signed_route_is_there() -> None:
    posts = {route for route in CAR_API if route.startswith("POST")}
    assert posts == {*SIGNED, "POST /v1/enrol"}


@pytest.mark.timeout(900)
@pytest.mark.policy("R-460.5-2", "R-460.2-1")
def test_schemathesis_finds_no_fault_of_ours_in_the_cars_interface(
    server: Server, car: Car
) -> None:
    """Whatever an enrolled car signs: refused or taken, never a 5xx, and the trail stays whole."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_dict(openapi())
    codes: set[int] = set()
    with car.client() as client:
        # The wipe last: if one were ever taken, the car would be no more.
        found = [one.ok() for one in schema.get_all_operations()]
        for operation in sorted(found, key=lambda one: one.path == "/v1/wipe"):
            ask = partial(_ask, client, car, operation.method.upper(), operation.path, codes)
            settings(
                max_examples=12,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(given(operation.as_strategy())(_one(ask)))()  # type: ignore[no-untyped-call]
    assert {200, 400}.issubset(codes), codes
    with Central(server.home) as central, central.database.read() as tx:
        audit.verify(tx)


def _one(ask: Callable[[Any], None]) -> Callable[[Any], None]:
    def asked(case: Any) -> None:
        ask(case)

    return asked


def _ask(
    client: httpx.Client, car: Car, method: str, path: str, codes: set[int], case: Any
) -> None:
    address = case.formatted_path
    if "?" in address or "#" in address:
        address = path
    bodies: list[bytes | None] = [None]
    signed = SIGNED.get(f"{method} {path}")
    if method == "POST":
        record = case.body if isinstance(case.body, dict) else {"body": str(case.body)}
        plain = json.dumps(record, default=str).encode()
        bodies = [plain]
        if signed is not None:
            own = record | {"agency": "becker", "vehicle": car.name}
            for one in (record, own):
                document = _sign(signed[0], one, car.batch_key)
                bodies.append(_framed(document) if path == "/v1/batches" else document)
    for body in bodies:
        answer = client.request(method, address, content=body)
        codes.add(answer.status_code)
        assert answer.status_code < 500, (method, address, body, answer.text[:300])


def _sign(kind: str, record: dict[str, Any], key: crypto.PrivateKey) -> bytes:
    try:
        document = crypto.sign_document(kind, Anything.model_validate(record), key)
    except (ValueError, TypeError):  # lone surrogates cannot be signed: sent with a poor signature
        poor = {"kind": kind, "key": "k", "body": "{}", "signature": "AA=="}
        return json.dumps(poor).encode()
    return document.model_dump_json().encode()


def _framed(document: bytes) -> bytes:
    """A batch whose header is this document, with one envelope of noise."""
    signed = crypto.SignedDocument.model_validate_json(document)
    return wire.encode_batch(signed, [base64.b64decode(b"bm90IGFuIGVudmVsb3Bl")])
