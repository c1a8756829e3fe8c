"""Deny by default: who gets in, which headers go out, what no template holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.routing import Mount, Route

from alprd.mdt.app import create_app
from alprd.mdt.inventory import ENTRIES
from mdt.world import Car

SignOn = Callable[..., httpx.Response]
PAGE = {"Accept": "text/html"}


# --- deny by default --------------------------------------------------------------------------


@pytest.mark.policy("R-460.6-a", "R-460.6-a2")
def test_every_route_is_closed_without_a_sign_on(client: httpx.Client, served: Car) -> None:
    _, alert = served.alert()
    open_routes = {entry.key for entry in ENTRIES if entry.who == "anybody"}
    assert open_routes == {("GET", "/sign-on"), ("POST", "/sign-on"), ("GET", "/healthz")}
    inventory: set[tuple[str, str]] = set()
    for route in create_app(served.context).routes:
        if isinstance(route, Mount):
            assert route.path == "/static"
            continue
        assert isinstance(route, Route)
        inventory |= {(method, route.path) for method in (route.methods or ()) if method != "HEAD"}
    assert inventory == {entry.key for entry in ENTRIES}
    words = {word for _, path in inventory for word in path.split("/")}
    assert words.isdisjoint({"reads", "search", "map"})
    for method, path in [*sorted(inventory - open_routes), ("GET", "/nowhere"), ("PUT", "/")]:
        url = path.replace("{alert_id}", alert)
        for cookie in ("", "alprd_session=guess"):
            headers = {"Cookie": cookie} if cookie else {}
            answer = client.request(method, url, headers=headers)
            assert answer.status_code == 401, path
            assert answer.json() == {"error": "not_signed_on", "message": "Sign on first."}
            shown = client.request(method, url, headers=headers | PAGE)
            assert (shown.status_code, shown.headers.get("location")) == (
                (303, "/sign-on") if method == "GET" else (401, None)
            )
    assert served.events() == []


def test_healthz_and_static_are_open_and_tell_nothing(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/static/page.js").status_code == 200
    assert client.get("/static/../app.py").status_code in (401, 404)
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_headers_forbid_everything_foreign(client: httpx.Client, sign_on: SignOn) -> None:
    sign_on()
    for path in ("/", "/sign-on", "/healthz", "/nowhere", "/static/mdt.css"):
        headers = client.get(path, headers=PAGE).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
        assert "server" not in headers


def test_templates_have_no_inline_script_style_or_foreign_address() -> None:
    root = Path(__file__).resolve().parents[2] / "alprd" / "mdt"
    for path in [*(root / "templates").iterdir(), *(root / "static").iterdir()]:
        text = path.read_text()
        assert " style=" not in text, path
        assert "onclick" not in text, path
        assert "https://" not in text, path
        assert text.count("<script") == text.count('<script type="module" src="/static/'), path


# --- sign-on ----------------------------------------------------------------------------------
