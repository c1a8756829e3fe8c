"""The server: strange requests, stops and starts, TLS, the status lights."""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alprd.errors import ConfigError
from alprd.mdt.app import create_app, serve_in_thread
from alprd.mdt.status import CameraState, CarStatus, ListState
from mdt.streams import Events, events, second
from mdt.world import Car

__all__ = ["events", "second"]

SignOn = Callable[..., httpx.Response]
PAGE = {"Accept": "text/html"}


PATHS = st.sampled_from(
    ["/", "/sign-on", "/sign-off", "/session", "/healthz", "/static/mdt.css"]
    + [f"/alerts/{'a' * 32}/{tail}" for tail in ("plate.jpg", "silence", "acknowledge")]
) | st.text("/ab%.20", max_size=12).map(lambda text: "/" + text.lstrip("/"))
FORMS = st.dictionaries(
    st.sampled_from(["person", "password", "purpose", "unit", "acknowledged", "csrf", "seen"]),
    st.text(max_size=40).filter(lambda text: text.isprintable()),
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]),
    path=PATHS,
    form=FORMS,
    page=st.booleans(),
    on=st.booleans(),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_request_makes_the_server_fail(
    client: httpx.Client,
    sign_on: SignOn,
    method: str,
    path: str,
    form: dict[str, str],
    page: bool,
    on: bool,
) -> None:
    if on and client.get("/session").status_code == 401:
        sign_on()
    headers = {"Accept": "text/html"} if page else {}
    body = form if method in ("POST", "PUT") else None
    cookies = None if on else {"alprd_session": form.get("csrf", "")[:20].encode().hex()}
    request = client.build_request(method, path, data=body, headers=headers, cookies=cookies)
    assert client.send(request).status_code < 500


# --- server and status ------------------------------------------------------------------------


def test_server_stops_with_open_streams_and_starts_again(
    served: Car, client: httpx.Client, sign_on: SignOn, events: Callable[..., Events]
) -> None:
    sign_on()
    stream = events()
    stream.until_status()
    assert served.server is not None
    port = served.server.port
    before = time.monotonic()
    served.server.stop()
    assert not served.server.alive
    assert time.monotonic() - before < 4
    with pytest.raises(httpx.ConnectError):
        client.get("/healthz")
    served.server = serve_in_thread(create_app(served.context), "127.0.0.1", port)
    assert client.get("/session").status_code == 401  # sign-ons live in RAM only


def test_an_address_in_use_is_a_clear_error(served: Car) -> None:
    assert served.server is not None
    with pytest.raises(ConfigError, match=str(served.server.port)):
        serve_in_thread(create_app(served.context), "127.0.0.1", served.server.port)


def test_beyond_this_computer_only_with_tls(car: Car) -> None:
    for host in ("0.0.0.0", "192.0.2.7", "::", "carlaptop"):  # noqa: S104
        with pytest.raises(ConfigError, match="without TLS"):
            serve_in_thread(create_app(car.context), host, 0)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "car-1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(secret, hashes.SHA256())
    )
    certificate, key = folder / "mdt.pem", folder / "mdt.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key


def test_tls_serves_a_separate_laptop_with_secure_cookies(
    car: Car, sign_on: SignOn, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    server = serve_in_thread(
        create_app(car.context), "127.0.0.1", 0, certificate=certificate, key=key
    )
    try:
        with httpx.Client(
            base_url=f"https://127.0.0.1:{server.port}",
            headers={"Accept": "application/json"},
            verify=ssl.create_default_context(cafile=certificate),
            trust_env=False,
        ) as laptop:
            answer = sign_on(by=laptop)
            assert answer.status_code == 200
            assert "secure" in answer.headers["set-cookie"].lower()
            assert laptop.get("/session").json()["person"] == "dep.one"
    finally:
        server.stop()


@pytest.mark.policy("R-460.4.1-b4", "R-13.824-6-6")
def test_status_lights() -> None:
    now = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)

    def lists(*hours: float) -> CarStatus:
        return CarStatus(lists=tuple(ListState("state", "LPDF", age) for age in hours))

    assert [lists(*h).list_light() for h in ((), (23,), (1, 25), (80, 1))] == [
        "stop", "ok", "warn", "stop",
    ]  # fmt: skip
    left = [timedelta(hours=h) for h in (5, 3, 0)]
    assert [CarStatus(permit_expires=now + t).permit_light(now) for t in left] == [
        "ok", "warn", "stop",
    ]  # fmt: skip
    assert CarStatus().permit_light(now) == "stop"
    cameras = (
        CameraState("a", True, 0.2),
        CameraState("b", True, 9.0),  # up by its handle, but its last frame is old
        CameraState("c", False, None),
    )
    told: Any = CarStatus(cameras=cameras, permit_expires=now + left[1]).as_json(now)
    assert [one["light"] for one in told["cameras"]] == ["ok", "stop", "stop"]
    assert told["permit"] == {"light": "warn", "left_s": 3 * 3600}
