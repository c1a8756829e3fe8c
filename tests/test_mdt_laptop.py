"""A separate laptop: which certificate it trusts, and how that got there (docs/mdt.md).

Central, enrolment, the daemon's page over TLS and a Chromium with a home folder of its own are the
real ones. Only the laptop's hosts file is stood for by a switch of the browser.
"""

from __future__ import annotations

import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from car_world import Car, World, until
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from playwright.sync_api import Error, Playwright, sync_playwright
from test_mdt_tls import certificates

from alprd.central.storage import ca as authority
from alprd.central.storage.store import Central
from alprd.crypto import generate_key, load_private, save_private
from alprd.demo.home import DemoError, command
from alprd.pagecert import make_request, names_of
from alprd.pagename import page_name
from alprd.trust import certificate_request

CHROMIUM = shutil.which("chromium")
CERTUTIL = shutil.which("certutil")
NAME = "car-1.alprd.internal"
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(CERTUTIL is None, reason="no certutil: apt-get install libnss3-tools"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("laptop") / "world")
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Playwright]:
    with sync_playwright() as made:
        yield made


def certify(world: World) -> tuple[Path, Path]:
    """The documented steps at car and central: the page's certificate and its key."""
    home = world.home
    request, leaf = home.root / "request.pem", home.root / "mdt.pem"
    command("alprd.cli", "page-request", "--state", str(home.car), "--out", str(request))
    assert "PRIVATE" not in request.read_text()
    command(
        "alprd.central.cli",
        *("vehicles", "page-certificate", "--home", str(home.central), "--vehicle", "car-1"),
        *("--request", str(request), "--out", str(leaf), "--by", "demo.admin"),
    )
    return leaf, home.car / "keys" / "mdt.key"


class Laptop:
    """A computer with a home of its own, on which nobody has been yet."""

    def __init__(self, folder: Path, browser: Playwright) -> None:
        self.home = folder
        self._browser = browser
        folder.mkdir()

    def trust(self, certificate: Path) -> None:
        """The documented step: the CA that enrolment brought goes into the person's NSS store."""
        store = self.home / ".pki" / "nssdb"
        store.mkdir(parents=True)
        for words in (
            ["-N", "--empty-password"],
            ["-A", "-n", "alprd", "-t", "C,,", "-i", str(certificate)],
        ):
            done = subprocess.run(
                [str(CERTUTIL), "-d", f"sql:{store}", *words], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr

    def opens(self, port: int, name: str = NAME) -> str:
        """The heading of the page under a name, or the browser's reason to refuse it."""
        context = self._browser.chromium.launch_persistent_context(
            str(self.home / "profile"),
            executable_path=CHROMIUM,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                f"--host-resolver-rules=MAP *.alprd.internal 127.0.0.1:{port}",
            ],
        )
        try:
            page = context.new_page()
            page.goto(f"https://{name}/sign-on", timeout=60_000)
            return page.get_by_role("heading").first.inner_text(timeout=60_000)
        except Error as error:
            return error.message.partition("net::")[2].partition(" ")[0] or error.message
        finally:
            context.close()


@contextmanager
def impostor(leaf: Path, key: Path) -> Iterator[int]:
    """A server beside the car that would be taken for its page; its port."""

    class Says(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<h1>Plate reader</h1>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Says) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.policy("R-CJIS-1")
def test_a_laptop_trusts_the_ca_of_the_enrolment_and_nothing_else(
    world: World, browser: Playwright, tmp_path: Path
) -> None:
    """R-CJIS-1: refused before the step, accepted after it, by the car's own name alone."""
    leaf, key = certify(world)
    given = f'[mdt]\ntls_cert = "{leaf}"\ntls_key = "{key}"\n'
    world.home.config.write_text(world.config_text.replace("[mdt]\n", given))
    brought = world.home.car / "trust" / "ca.pem"
    car = Car(world)
    try:
        port = json.loads(
            until(lambda: world.home.page.exists() and world.home.page.read_text(), 180, "page")
        )["port"]
        fresh = Laptop(tmp_path / "fresh", browser)
        assert fresh.opens(port) == "ERR_CERT_AUTHORITY_INVALID"
        fresh.trust(brought)
        assert fresh.opens(port) == "Plate reader"
        assert fresh.opens(port, "car-2.alprd.internal") == "ERR_CERT_COMMON_NAME_INVALID"
        root, _, _ = certificates(tmp_path)
        mistaken = Laptop(tmp_path / "mistaken", browser)
        mistaken.trust(root)
        assert mistaken.opens(port) == "ERR_CERT_AUTHORITY_INVALID"
    finally:
        car.end()


def serial(port: int) -> int:
    """Of the certificate that the page shows to the next connection."""
    shown = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(shown.encode()).serial_number


@pytest.mark.policy("R-CJIS-1")
def test_a_renewed_certificate_is_taken_without_a_restart(
    world: World, browser: Playwright, tmp_path: Path
) -> None:
    """R-CJIS-1: the laptop opens the page before and after, by the same trust; damage is told."""
    leaf, key = certify(world)
    given = f'[mdt]\ntls_cert = "{leaf}"\ntls_key = "{key}"\n'
    world.home.config.write_text(world.config_text.replace("[mdt]\n", given))
    car = Car(world)
    try:
        port = json.loads(
            until(lambda: world.home.page.exists() and world.home.page.read_text(), 180, "page")
        )["port"]
        laptop = Laptop(tmp_path / "laptop", browser)
        laptop.trust(world.home.car / "trust" / "ca.pem")
        assert laptop.opens(port) == "Plate reader"
        first, good = serial(port), leaf.read_text()
        certify(world)  # the documented steps again: the same key, a new certificate
        assert leaf.read_text() != good
        second = until(lambda: serial(port) if serial(port) != first else 0, 60, "renewed")
        assert laptop.opens(port) == "Plate reader"

        def told(words: str) -> bool:
            return any(words in warning for warning in car.health()[1]["warnings"])

        renewed = leaf.read_text()
        _, foreign, _ = certificates(tmp_path)
        for damage in ("no certificate", foreign.read_text()):  # the other's key is not this one
            leaf.write_text(damage)
            until(lambda: told("does not fit its key or cannot be read"), 60, "told")
            assert serial(port) == second
            leaf.write_text(renewed)
            until(lambda: not told("does not fit its key"), 60, "mended")
        assert laptop.opens(port) == "Plate reader"
        assert car.process.poll() is None
    finally:
        car.end()


@pytest.mark.policy("R-CJIS-1")
def test_another_cars_and_a_foreign_certificate_are_refused(
    world: World, browser: Playwright, tmp_path: Path
) -> None:
    """R-CJIS-1: whoever stands between laptop and car has no certificate that fits."""
    laptop = Laptop(tmp_path / "laptop", browser)
    laptop.trust(world.home.car / "trust" / "ca.pem")
    now, key, path = datetime.now(UTC), generate_key(), tmp_path / "key"
    save_private(key, path)
    with Central(world.home.central) as central:
        own, root = central.keystore.private("ca"), central.ca

        def page(vehicle: str) -> x509.Certificate:
            request = certificate_request(vehicle, key)
            return authority.issue_page(root, own, request, vehicle, page_name(vehicle), now)

        held = authority.issue_car(root, own, certificate_request(NAME, key), NAME, now)
        foreign_key = generate_key()
        foreign = authority.issue_page(
            authority.create_ca(foreign_key, "becker", now), foreign_key,
            certificate_request("car-1", key), "car-1", NAME, now,
        )  # fmt: skip
        cases = {
            "Plate reader": page("car-1"),  # else the other refusals would prove nothing
            "ERR_CERT_COMMON_NAME_INVALID": page("car-2"),
            "ERR_CERT_AUTHORITY_INVALID": foreign,
            # What a car shows to central is no certificate of a server, whatever its name.
            "ERR_CERT_INVALID": held,
        }
    for expected, certificate in cases.items():
        leaf = tmp_path / "leaf.pem"
        leaf.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        with impostor(leaf, path) as port:
            assert laptop.opens(port) == expected


@pytest.mark.policy("R-CJIS-1")
def test_only_the_cars_own_name_is_ever_signed(world: World, tmp_path: Path) -> None:
    """R-CJIS-1: no request makes central sign a name of itself or of another car; all recorded."""
    leaf, key = certify(world)
    assert names_of(leaf) == (NAME,)
    assert key.stat().st_mode & 0o777 == 0o600
    assert make_request(world.home.car) != ""  # the key is kept: a second request is for it too
    made = x509.load_pem_x509_certificate(leaf.read_bytes())
    held = load_private(key).public_key()
    assert made.public_key() == held
    other = tmp_path / "other.pem"
    other.write_text(certificate_request("car-2", generate_key()))
    home = ("--home", str(world.home.central))
    for vehicle, request in (("car-2", other), ("car-1", other), ("localhost", other)):
        with pytest.raises(DemoError, match=r"no enrolled car|another vehicle"):
            command(
                "alprd.central.cli",
                *("vehicles", "page-certificate", *home, "--vehicle", vehicle),
                *("--request", str(request), "--out", str(tmp_path / "no.pem")),
                *("--by", "demo.admin"),
            )
    assert not (tmp_path / "no.pem").exists()
    with Central(world.home.central) as central, central.database.read() as tx:
        text = str(tx.exec_driver_sql("SELECT * FROM audit").all())
    assert "device.page-certificate-issued" in text
