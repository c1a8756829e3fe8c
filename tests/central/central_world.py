"""A real central in its own process, and a real car: keys, certificate, batches over mutual TLS."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import storekind
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from PIL import Image
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from alprd import crypto, wire
from alprd.audit import FIRST, digest
from alprd.central.cli import main
from alprd.records import Plate, Position, Read, destroy_by, new_id

AGENCY = "becker"
ZONE = ZoneInfo("America/Chicago")
PASSWORD = "correct horse battery"
GOOD_SEARCH = (
    "--case", "26001234", "--offence", "burglary",
    "--facts", "A grey van was seen at the burgled store at noon.",
    "--suspicion", "The van passed the reader on its way from the store.",
    "--near", "46.8172,-95.8454", "--radius", "10000",
)  # fmt: skip


def today() -> date:
    """The agency's day: people type local dates, and at night that of UTC lies in the future."""
    return datetime.now(ZONE).date()


def jpeg(width: int = 96, height: int = 48, colour: str = "#335577") -> bytes:
    """A bare JPEG (JFIF only, no EXIF)."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "JPEG")
    return out.getvalue()


@dataclass
class Failed:
    """A command that ended with an error."""

    returncode: int
    stderr: str


def run(home: Path, *args: str, stdin: str = "", check: bool = True) -> Any:
    """``alprd-central ARGS --home HOME --json``: its JSON answer, or :class:`Failed`."""
    done = CliRunner().invoke(main, [*args, "--home", str(home), "--json"], input=stdin)
    if done.exit_code != 0:
        assert not check, (done.output, done.exception)
        return Failed(done.exit_code, done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    return lines if args[0] == "search" else lines[0]


@dataclass
class Server:
    """A running ``alprd-central serve``."""

    home: Path
    process: subprocess.Popen[str] | None = None
    car_port: int = 0
    page_port: int = 0

    def start(self) -> None:
        log = (self.home / "serve.log").open("a")
        self.process = subprocess.Popen(
            [
                sys.executable, "-W", "error", "-m", "alprd.central.cli", "serve",
                "--home", str(self.home), "--car-port", str(self.car_port),
                "--page-port", str(self.page_port), "--json",
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )  # fmt: skip
        log.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(20)
            self.process.stdout.close()
            self.process = None
        assert line, (self.home / "serve.log").read_text()
        ports = json.loads(line)
        self.car_port, self.page_port = ports["car_port"], ports["page_port"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None and self.process.stdout is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        code = self.process.wait(20)
        self.process.stdout.close()
        self.process = None
        return code

    @property
    def car_url(self) -> str:
        return f"https://127.0.0.1:{self.car_port}"

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.page_port}"


@dataclass
class Car:
    """An enrolled car with everything it holds."""

    server: Server
    folder: Path
    name: str
    batch_key: crypto.PrivateKey
    wrap_key: crypto.PrivateKey
    reply: wire.EnrolReply
    intake: dict[str, crypto.PublicKey] = field(default_factory=dict)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.reply.ca)
        context.load_cert_chain(self.folder / "car.crt", self.folder / "car.key")
        return context

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.server.car_url, verify=self.context(), timeout=30)

    @property
    def receipt_key(self) -> crypto.PublicKey:
        return crypto.public_from_bytes(base64.urlsafe_b64decode(self.reply.receipt_key))

    def fetch_intake_keys(self) -> None:
        keys = wire.IntakeKeys.model_validate_json(fetch_target(self, wire.INTAKE_KEYS) or b"")
        for key in keys.keys:
            self.intake[key.day] = crypto.public_from_bytes(base64.urlsafe_b64decode(key.key))

    def seal(self, read: Read) -> bytes:
        if not self.intake:
            self.fetch_intake_keys()
        day = read.instant.date().isoformat()
        return crypto.seal_read(read, agency=AGENCY, vehicle=self.name, intake_key=self.intake[day])

    def batch(
        self,
        envelopes: Sequence[tuple[str, bytes]],
        key: crypto.PrivateKey | None = None,
        **changes: Any,
    ) -> bytes:
        """The signed upload body of (id, envelope) pairs."""
        items = tuple(
            wire.BatchItem(id=i, sha256=crypto.sha256_hex(e), length=len(e)) for i, e in envelopes
        )
        values = {"agency": AGENCY, "vehicle": self.name, "batch": new_id(), "items": items}
        header = wire.BatchHeader(**{**values, **changes})
        signed = crypto.sign_document("batch", header, key or self.batch_key)
        return wire.encode_batch(signed, [envelope for _, envelope in envelopes])

    def send(self, body: bytes) -> wire.Receipt:
        with self.client() as client:
            answer = client.post("/v1/batches", content=body)
        assert answer.status_code == 200, answer.text
        return self.receipt(answer)

    def receipt(self, answer: httpx.Response) -> wire.Receipt:
        document = crypto.SignedDocument.model_validate_json(answer.content)
        return crypto.verify_document(document, "receipt", self.receipt_key, wire.Receipt)

    def send_reads(self, *reads: Read) -> wire.Receipt:
        return self.send(self.batch([(read.id, self.seal(read)) for read in reads]))

    def post(self, path: str, kind: str, report: Any) -> httpx.Response:
        signed = crypto.sign_document(kind, report, self.batch_key)
        with self.client() as client:
            return client.post(path, content=signed.model_dump_json())


def make_read(text: str = "QWX739", *, at: datetime | None = None, **changes: Any) -> Read:
    """A valid read of an invented plate."""
    instant = at or datetime.now(UTC) - timedelta(minutes=5)
    values: dict[str, Any] = {
        "id": new_id(),
        "session": new_id(),
        "destroy_by": destroy_by(instant),
        "plate": Plate(text=text, state="MN", plate_type="passenger"),
        "instant": instant,
        "time_trusted": True,
        "position": Position(lat=46.8172354, lon=-95.8453712, accuracy_m=4.0),
        "plate_picture": jpeg(),
        "wide_picture": jpeg(320, 180, "#884422"),
    }
    return Read(**{**values, **changes})


def enrol(server: Server, folder: Path, name: str, reader: str) -> Car:
    """Enrol a car with a fresh one-time code, pinning the CA by the code."""
    code = run(server.home, "enrol-code", "--vehicle", name, "--reader", reader)["code"]
    pin = code.split(".")[1]
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    ca_pem = httpx.get(f"{server.car_url}/v1/ca", verify=unverified).text
    der = x509.load_pem_x509_certificate(ca_pem.encode()).public_bytes(serialization.Encoding.DER)
    assert hashlib.sha256(der).hexdigest()[:32] == pin
    tls_key, batch_key, wrap_key = (crypto.generate_key() for _ in range(3))
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .sign(tls_key, hashes.SHA256())
    )
    request = wire.EnrolRequest(
        vehicle=name,
        code=code,
        csr=csr.public_bytes(serialization.Encoding.PEM).decode(),
        batch_key=base64.urlsafe_b64encode(crypto.public_bytes(batch_key)).decode(),
        wrap_key=base64.urlsafe_b64encode(crypto.public_bytes(wrap_key)).decode(),
    )
    trusted = ssl.create_default_context(cadata=ca_pem)
    answer = httpx.post(
        f"{server.car_url}/v1/enrol", content=request.model_dump_json(), verify=trusted, timeout=30
    )
    assert answer.status_code == 200, answer.text
    reply = wire.EnrolReply.model_validate_json(answer.content)
    folder.mkdir(parents=True, exist_ok=True)
    crypto.save_private(tls_key, folder / "car.key")
    (folder / "car.crt").write_text(reply.certificate)
    (folder / "ca.crt").write_text(reply.ca)
    return Car(server, folder, name, batch_key, wrap_key, reply)


class CarFetcher(FetcherInterface):
    """Fetches for ``tuf.ngclient`` over the car's mutual TLS."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _fetch(self, url: str) -> Iterator[bytes]:
        answer = self._client.get(url)
        if answer.status_code != 200:
            raise DownloadHTTPError(url, answer.status_code)
        yield answer.content


def fetch_target(car: Car, name: str) -> bytes | None:
    """A verified target; ``None`` when central does not publish it."""
    metadata, targets = car.folder / "tuf", car.folder / "targets"
    metadata.mkdir(exist_ok=True)
    targets.mkdir(exist_ok=True)
    with car.client() as client:
        updater = Updater(
            str(metadata),
            f"{car.server.car_url}/tuf/metadata/",
            str(targets),
            f"{car.server.car_url}/tuf/targets/",
            fetcher=CarFetcher(client),
            bootstrap=car.reply.tuf_root.encode(),
        )
        updater.refresh()
        info = updater.get_targetinfo(name)
        return None if info is None else Path(updater.download_target(info)).read_bytes()


def audit_events(number: int, *, first: int = 1, previous: str = FIRST) -> list[wire.AuditEvent]:
    """A chain of a car's events."""
    events = []
    for seq in range(first, first + number):
        event = wire.AuditEvent(
            seq=seq, at=datetime.now(UTC), at_trusted=True, event="daemon.started", actor="alprd",
            actor_name="vehicle daemon", role="service", device="car-1", session=None, subjects=(),
            detail={}, version="0.1.0", previous=previous, digest=FIRST,
        )  # fmt: skip
        made = event.model_copy(update={"digest": digest(event.model_dump(mode="json"))})
        events.append(made)
        previous = made.digest
    return events


def session_row(**changes: Any) -> wire.SessionRow:
    """An ended session."""
    started = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
    values: dict[str, Any] = {
        "id": new_id(), "reader": "1", "purpose": "patrol", "policy_version": "460",
        "started": started, "ended": started + timedelta(hours=2), "end_reason": "signed_off",
        "plates_read": 41, "distinct_plates": 37, "queued": 2, "matches": {"stolen": 1},
        "databases": (
            wire.Database(source="LPDF", bundle="20261120", supplied_at=started),
        ),
    }  # fmt: skip
    return wire.SessionRow(**{**values, **changes})


def add_person(home: Path, person: str, role: str, **changes: str) -> None:
    """A person with live training and authorisation."""
    soon = (date.today() + timedelta(days=300)).isoformat()
    options = {
        "training-expires": soon, "authorised-until": soon, "screening": "S-26-1", **changes
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    run(
        home, "people", "add", "--id", person, "--name", "Ida Example", "--role", role,
        "--password-stdin", "--by", "sheriff", *flags, stdin=PASSWORD + "\n",
    )  # fmt: skip


def search(home: Path, *extra: str, who: str = "ida", since: datetime, until: datetime) -> Any:
    """A documented search by the command line."""
    return run(
        home, "search", "--as", who, "--password-stdin", *GOOD_SEARCH,
        "--from", since.isoformat(), "--to", until.isoformat(), "--unplaced", *extra,
        stdin=PASSWORD + "\n",
    )  # fmt: skip


def everything(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file of a home folder, and of its database and bucket elsewhere, with its bytes."""
    for path in home.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()
    yield from storekind.elsewhere(home)


def make_home(home: Path, *extra: str) -> Path:
    """A fresh agency."""
    kind = () if "--database" in extra or "--pictures" in extra else storekind.options(home)
    run(
        home, "init", "--agency", AGENCY, "--name", "Becker County Sheriff's Office (test)",
        *kind, *extra,
    )  # fmt: skip
    return home


def wait_until(check: Any, seconds: float = 10) -> None:
    """Wait for a condition, failing after a while."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
