"""The page of the real daemon over TLS, as a separate laptop in the car opens it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from car_world import Car, World, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An agency's authority, and the page's certificate and key made at it."""
    now = datetime.now(UTC)
    authority, page = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )

    def make(subject: str, key: ec.EllipticCurvePrivateKey, *, root: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name("agency authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        )
        if not root:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))])
            builder = builder.add_extension(names, critical=False)
        made = builder.sign(authority, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    root, leaf, key = folder / "agency-ca.pem", folder / "mdt.pem", folder / "mdt.key"
    root.write_bytes(make("agency authority", authority, root=True))
    leaf.write_bytes(make("page", page, root=False))
    key.write_bytes(
        page.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key.chmod(0o600)
    return root, leaf, key


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "world")
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.policy("R-CJIS-1")
def test_a_laptop_reaches_the_running_daemon_by_tls_alone(world: World, tmp_path: Path) -> None:
    """R-CJIS-1: it trusts the agency's authority; without it, or without TLS, nothing is served."""
    root, leaf, key = certificates(tmp_path)
    given = f'[mdt]\ntls_cert = "{leaf}"\ntls_key = "{key}"\n'
    world.home.config.write_text(world.config_text.replace("[mdt]\n", given))
    car = Car(world)
    try:
        told = json.loads(
            until(lambda: world.home.page.exists() and world.home.page.read_text(), 120, "page")
        )
        place = f"{told['host']}:{told['port']}"
        trusting = ssl.create_default_context(cafile=root)
        with httpx.Client(verify=trusting, trust_env=False, timeout=20) as laptop:
            answer = laptop.get(f"https://{place}/sign-on", headers={"Accept": "application/json"})
            assert answer.status_code == 200
            assert "secure" in answer.headers["set-cookie"].lower()
            refused = laptop.get(f"https://{place}/sign-on", headers={"Host": "elsewhere.example"})
            assert refused.status_code == 421
        raw = socket.create_connection((told["host"], told["port"]), timeout=20)
        with pytest.raises(ssl.SSLCertVerificationError):  # closes the connection
            ssl.create_default_context().wrap_socket(raw, server_hostname=told["host"])
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{place}/healthz", trust_env=False, timeout=20)
    finally:
        car.end()
