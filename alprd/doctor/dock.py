"""The way to central, one step after the other, so that the failed step names the fault."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from alprd.crypto import SignedDocument, verify_document
from alprd.doctor.car import Car
from alprd.doctor.report import Sheet
from alprd.errors import AlprdError
from alprd.sync import CLOCK_TOLERANCE_S
from alprd.wire import CentralTime

STEP_S: Final = 5.0
_NETWORK: Final = "check the dock's cable or radio, and the network's firewall"


def check_dock(car: Car, sheet: Sheet) -> None:
    """Carrier, name, connection, TLS against the pinned CA, central's signed answer, its clock."""
    if not _carrier(car, sheet):
        return
    trust = car.trust
    url = urlsplit(trust.central_url)
    host, port = url.hostname or "", url.port or 443
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        sheet.fail(
            "name",
            f"{host} cannot be resolved: {error.strerror}",
            f"check the name server of the dock's network; {_NETWORK}",
        )
        return
    sheet.ok("name", f"{host} has {len({item[4][0] for item in found})} address(es)")
    try:
        started = time.perf_counter()
        connection = socket.create_connection((host, port), timeout=STEP_S)
    except OSError as error:
        reason = error.strerror or "no answer"
        sheet.fail(
            "connection",
            f"{host} port {port}: {reason}",
            f"check that central runs (alprd-central serve) and listens there; {_NETWORK}",
        )
        return
    spent = time.perf_counter() - started
    sheet.ok("connection", f"port {port} answers in {1000 * spent:.0f} ms", ms=round(1000 * spent))
    with connection:
        if not _handshake(car, sheet, connection, host):
            return
    _hello(car, sheet)


def _carrier(car: Car, sheet: Sheet) -> bool:
    file = car.config.dock.carrier_file
    if file is None:
        sheet.ok("carrier", "no carrier file: reachability of central alone decides")
        return True
    try:
        docked = file.read_text(encoding="ascii").strip() == "1"
    except FileNotFoundError:
        sheet.fail(
            "carrier",
            f"{file} is not there",
            "name the network device of the dock in [dock] carrier_file: ls /sys/class/net",
        )
        return False
    except (OSError, UnicodeDecodeError):
        docked = False  # a network device that is down cannot be read at all
    if docked:
        sheet.ok("carrier", f"{file}: docked", docked=True)
    else:
        sheet.skip("carrier", f"{file}: not docked, so central is not asked", docked=False)
    return docked


def _handshake(car: Car, sheet: Sheet, connection: socket.socket, host: str) -> bool:
    folder = car.state / "trust"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=(folder / "ca.pem").read_text())
        context.load_cert_chain(folder / "car.pem", car.state / "keys" / "tls.key")
    except (OSError, ValueError):
        sheet.fail(
            "tls", "the car's certificate or key cannot be used", "see the rows of certificate"
        )
        return False
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            version, cipher = secured.version() or "", (secured.cipher() or ("",))[0]
    except ssl.SSLCertVerificationError as error:
        sheet.fail(
            "tls",
            f"what answers there is not this car's central: {error.verify_message}",
            "check the clock and central's address; if central was set up anew, enrol the car "
            "again; if neither, somebody is in between: do not go on",
        )
        return False
    except OSError as error:
        sheet.fail(
            "tls",
            f"no TLS 1.3 handshake: {type(error).__name__}",
            "check that the port is central's car port, and that no proxy stands in between",
        )
        return False
    sheet.ok("tls", f"{version}, {cipher}, by the pinned CA", version=version, cipher=cipher)
    return True


def _hello(car: Car, sheet: Sheet) -> None:
    """Ask central for its signed time, as the dock worker does, and compare clocks."""
    nonce = secrets.token_hex(16)
    try:
        with car.trust.client(STEP_S) as client:
            reply = client.get(f"/v1/hello?nonce={nonce}", headers={"accept-encoding": "identity"})
    except httpx.HTTPError as error:
        sheet.fail(
            "central",
            f"central hangs up: {type(error).__name__}",
            "the car's certificate may have been revoked or have ended; ask central, then enrol "
            "again: alprd enrol",
        )
        return
    here = datetime.now(UTC)
    if reply.status_code != httpx.codes.OK:
        sheet.fail(
            "central",
            f"central refuses this car (HTTP {reply.status_code})",
            "ask central whether the car was retired or revoked; otherwise enrol it again",
        )
        return
    try:
        document = SignedDocument.model_validate_json(reply.content)
        said = verify_document(document, "hello", car.trust.receipt_key, CentralTime)
        fresh = said.nonce == nonce and said.agency == car.trust.agency
    except (AlprdError, ValidationError):
        fresh = False
    if not fresh:
        sheet.fail(
            "central",
            "central's answer is not signed by the key that this car trusts",
            "if central was set up anew, enrol the car again: alprd enrol",
        )
        return
    sheet.ok("central", "central answers, signed and fresh")
    _clock(sheet, here, said.time, reply.headers.get("date", ""))


def _clock(sheet: Sheet, here: datetime, signed: datetime, date: str) -> None:
    off = (here - signed).total_seconds()
    try:
        header = (here - parsedate_to_datetime(date)).total_seconds()
    except ValueError:  # no Date header, or none that can be understood
        header = None
    sheet.judge(
        "clock",
        f"the system clock is {abs(off):.1f} s off central's",
        fail=abs(off) > CLOCK_TOLERANCE_S,
        remedy="set the clock of whichever is wrong (timedatectl): until then the car takes "
        "neither permit nor lists",
        off_s=round(off, 1),
        header_off_s=None if header is None else round(header, 1),
    )
