"""The inventory of routes: the table in the docs, and no answer that is a fault of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from alprd.mdt.inventory import ENTRIES, openapi, table
from mdt.world import Car

ROOT = Path(__file__).resolve().parents[2]
SignOn = Callable[..., httpx.Response]


@pytest.mark.policy("R-460.6-a")
def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "mdt-routes.md").read_text() == table()


def test_what_needs_eyes_or_fingers_waits_until_the_car_stands() -> None:
    moving = {entry.name for entry in ENTRIES if entry.moving and entry.path.startswith("/alerts/")}
    assert moving == {
        "plate_picture", "wide_picture", "silence", "unsilence", "acknowledge", "misread",
    }  # fmt: skip


@pytest.mark.policy("R-460.6-a")
def test_another_host_name_gets_nothing(served: Car, client: httpx.Client, sign_on: SignOn) -> None:
    sign_on()
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        answer = client.get("/session", headers={"Host": host})
        assert answer.status_code in (400, 421), host
        assert "csrf" not in answer.text
    assert client.get("/session", headers={"Host": f"localhost:{served.server.port}"}).is_success  # type: ignore[union-attr]


def test_head_is_no_route(client: httpx.Client, sign_on: SignOn) -> None:
    """HEAD of the endless events would hold its connection; the inventory names none."""
    sign_on()
    for path in ("/events", "/session", "/"):
        assert client.head(path, timeout=10).status_code == 405, path
    assert client.get("/session").is_success


def test_schemathesis_finds_no_fault_of_ours(
    served: Car, client: httpx.Client, sign_on: SignOn
) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings

    sign_on()
    _, alert = served.alert()
    schema = schemathesis.openapi.from_dict(openapi())
    codes: set[int] = set()
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in sorted(operations, key=lambda one: one.path == "/sign-off"):
        ask = partial(_ask, client, operation.path, operation.method, alert, codes)
        last = operation.path == "/sign-off"  # each ends the sign-on, and signing on is paced
        if last:
            ask = partial(_ask_anew, sign_on, ask)
        settings(
            max_examples=4 if last else 12,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(operation.as_strategy())(_one(ask)))()  # type: ignore[no-untyped-call]
    assert {200, 204, 400}.issubset(codes)


def _one(ask: Callable[[Any], None]) -> Callable[[Any], None]:
    def asked(case: Any) -> None:
        ask(case)

    return asked


def _ask_anew(sign_on: SignOn, ask: Callable[[Any], None], case: Any) -> None:
    assert sign_on().status_code == 200
    ask(case)


def _ask(
    client: httpx.Client, path: str, method: str, alert: str, codes: set[int], case: Any
) -> None:
    body = case.body
    data = {k: str(v) for k, v in body.items()} if isinstance(body, dict) else None
    answer = client.request(method.upper(), path.replace("{alert_id}", alert), data=data)
    codes.add(answer.status_code)
    assert answer.status_code < 500, (path, data)
