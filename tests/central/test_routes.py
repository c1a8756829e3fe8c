"""The inventory of the pages' routes: the docs, no page without sign-on, no fault of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from central_world import Server
from pages_world import STAFF, sign_on, staff

from alprd.central.pages import inventory
from alprd.central.pages.app import create_app
from alprd.central.pages.inventory import ENTRIES, Entry
from alprd.central.staff.permissions import TABLE
from alprd.central.storage import audit
from alprd.central.storage.store import Central
from alprd.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CLOSED = [entry for entry in ENTRIES if not entry.public]


@pytest.fixture(scope="module")
def staffed(server: Server) -> Server:
    staff(server)
    return server


@pytest.fixture
def client(staffed: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=staffed.page_url, timeout=60) as made:
        yield made


def path_of(entry: Entry) -> str:
    """An address under the route's template."""
    return "/".join("0" * 32 if part.startswith("{") else part for part in entry.path.split("/"))


@pytest.mark.policy("R-460.6-a")
def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "central-routes.md").read_text() == inventory.table()


@pytest.mark.policy("R-460.6-a", "R-13.824-7-3")
def test_a_route_outside_the_table_stops_the_start(
    staffed: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-460.6-a: deny by default; nothing is served that the inventory does not name."""
    less = tuple(entry for entry in ENTRIES if entry.path != "/cars")
    with Central(staffed.home) as central:
        monkeypatch.setattr(inventory, "ENTRIES", less)
        with pytest.raises(ConfigError, match="/cars is not in the inventory"):
            create_app(central)


@pytest.mark.policy("R-460.6-a", "T-6")
def test_every_route_but_the_public_ones_asks_for_a_sign_on(client: httpx.Client) -> None:
    """R-460.6-a: no entry, no data: every closed route leads to the sign-on, whatever is sent."""
    for entry in CLOSED:
        for headers in ({}, {"cookie": "alprd_central_session=guessed"}):
            answer = client.request(entry.method, path_of(entry), headers=headers)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-on"), entry
            assert answer.content == b"", entry
        wrong = client.request("POST" if entry.method == "GET" else "PUT", path_of(entry))
        assert wrong.status_code in {303, 404, 405}, entry
    for method, path in (
        ("GET", "/v1/hello"),
        ("GET", "/docs"),
        ("GET", "/cars/x/y"),
    ):
        assert client.request(method, path).status_code == 404, path
    public = {entry.path for entry in ENTRIES if entry.public}
    assert public == {"/public", "/public/{name}", "/sign-on"}
    assert client.get("/public").headers["location"].startswith("/public/")
    assert client.get("/public/keystore.db").status_code == 404


@pytest.mark.policy("R-13.824-7-3", "R-AT-1")
def test_a_wrong_role_gets_403_and_stands_in_the_trail(
    client: httpx.Client, staffed: Server
) -> None:
    """R-13.824-7-3: every route for every role as the matrix says; R-AT-1: refusals on record."""
    refused: set[tuple[str, str]] = set()
    for who, role in STAFF.items():
        if role == "operator":
            continue
        token = sign_on(client, who)
        for entry in CLOSED:
            if any(role in TABLE[act] for act in entry.acts):
                continue
            data = {"csrf": token} if entry.method == "POST" else None
            answer = client.request(entry.method, path_of(entry), data=data)
            assert answer.status_code == 403, (who, entry.path)
            assert "Not allowed" in answer.text
            refused.add((who, f"{entry.method} {entry.path}"))
    assert len(refused) > 60
    with Central(staffed.home) as central, central.database.read() as tx:
        told = {
            (event.actor, event.detail["route"])
            for event in audit.events(tx)
            if event.event == audit.Event.ACCESS_REFUSED
        }
        audit.verify(tx)
    assert refused <= told
    assert all("0" * 32 not in str(route) for _, route in told), "templates, never what was typed"


@pytest.mark.policy("R-460.6-a")
def test_an_operator_has_no_page(client: httpx.Client) -> None:
    with pytest.raises(AssertionError, match="role may not"):
        sign_on(client, "ole")
    assert client.get("/").status_code == 303


def test_the_menu_shows_what_the_role_may_do_and_nothing_else(client: httpx.Client) -> None:
    from alprd.central.pages.navigation import MENU

    for who, role in STAFF.items():
        if role == "operator":
            continue
        sign_on(client, who)
        page = client.get("/").text
        for _, items in MENU:
            for _, path in items:
                entry = inventory.find("GET", path)
                allowed = entry is not None and (
                    entry.public or any(role in TABLE[act] for act in entry.acts)
                )
                assert (f'<li><a href="{path}"' in page) == allowed, (who, path)
                if allowed:
                    assert client.get(path).status_code == 200, (who, path)


def test_schemathesis_finds_no_fault_of_ours(client: httpx.Client, staffed: Server) -> None:
    """Whatever a form holds, by whoever may send it: never a 5xx."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings

    schema = schemathesis.openapi.from_dict(inventory.openapi())
    codes: set[int] = set()
    for who in ("dana", "sher"):
        token = sign_on(client, who)
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path in ("/sign-off", "/sign-on", "/jobs"):
                continue  # end the session, count failures, or are long work: tested apart
            if who == "sher" and not operation.path.startswith("/people"):
                continue  # what only the sheriff may: authorisations
            ask = partial(_ask, client, token, operation.path, operation.method, codes)
            settings(
                max_examples=3,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(given(operation.as_strategy())(_one(ask)))()  # type: ignore[no-untyped-call]
    assert {200, 400, 403, 404} <= codes


def _one(ask: Callable[[Any], None]) -> Callable[[Any], None]:
    def asked(case: Any) -> None:
        ask(case)

    return asked


def _ask(
    client: httpx.Client, token: str, path: str, method: str, codes: set[int], case: Any
) -> None:
    body = case.body if isinstance(case.body, dict) else {}
    data = {name: str(value) for name, value in body.items()} | {"csrf": token}
    address = case.formatted_path
    if "?" in address or "#" in address:
        address = path
    answer = client.request(
        method.upper(), address, data=data if method.upper() == "POST" else None
    )
    codes.add(answer.status_code)
    assert answer.status_code < 500, (address, data, answer.text[:300])
