"""A small central for attacks on the dock: real TLS, real TUF metadata, and every lie on demand.

The true ``alprd-central`` never signs something false, so what a thief of keys or a broken server
would send is made here, with python-tuf's metadata API and a threaded HTTPS server.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from factories import read, session_row
from pydantic import BaseModel
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from alprd import wire
from alprd.central.storage import ca
from alprd.crypto import (
    PrivateKey,
    PublicKey,
    SignedDocument,
    canonical,
    encrypt_target,
    generate_key,
    public_bytes,
    public_from_bytes,
    seal_read,
    sha256_hex,
    sign_document,
    verify_document,
    wrap_key,
)
from alprd.records import destroy_by
from alprd.store import Store
from alprd.suppress import plate_digest
from alprd.sync import DockSync
from alprd.trust import Trust, enrol

AGENCY = "becker-mn"
CAR = "unit-12"
ROLES = ("root", "targets", "snapshot", "timestamp")
Answer = tuple[int, bytes]
Handler = Callable[[bytes, dict[str, list[str]]], Answer]
SUPPRESSED = "ACP777"
LISTED = "ZQX417"
NAME = "Invented Deputy"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def hotlist_plain(
    plates: tuple[str, ...] = (LISTED,), list_id: str = "lpdf", **changes: Any
) -> bytes:
    """A hotlist target before encryption."""
    entries = [
        {
            "id": f"e{n}", "plate": plate, "state": "MN", "plate_type": None,
            "category": "stolen", "priority": "high", "text": "invented",
        }
        for n, plate in enumerate(plates)
    ]  # fmt: skip
    header: dict[str, Any] = {
        "list_id": list_id,
        "source": "LPDF",
        "version": "1",
        "supplied_at": datetime.now(UTC).isoformat(),
        "entries": len(entries),
        "counts": dict(Counter(str(item["category"]) for item in entries)),
    }
    rows = [header | changes, *entries]
    return gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


class Repository:
    """A TUF repository in memory; :meth:`publish` signs whatever ``plain`` and ``clear`` hold."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        """What the server hands out, by URL path."""
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.version = 0
        self.root_version = 0
        self.expires = dict.fromkeys(ROLES, timedelta(days=1))
        self.suppression_key = os.urandom(32)
        self.car_key: PublicKey | None = None
        self.wraps_for = CAR
        self.plain: dict[str, bytes] = {}
        self.clear: dict[str, bytes] = {}
        self.targets: dict[str, bytes] = {}
        now = datetime.now(UTC)
        self.policy: dict[str, Any] = {
            "agency": AGENCY, "agency_name": "Invented County", "version": "460-2026",
            "sha256": "0" * 64, "adopted_by": "nobody", "effective": now.isoformat(),
        }  # fmt: skip
        self.intake = generate_key()
        self.set_defaults(now)
        self.rotate_root()

    def set_defaults(self, now: datetime) -> None:
        person = wire.Person(
            id="d1", name=NAME, roles=("deputy",), verifier="$argon2id$x", clearances=("stolen",),
            training_expires=now, authorised_until=now,
        )  # fmt: skip
        roster = wire.Roster(
            agency=AGENCY, issued=now, expires=now + timedelta(days=7), people=(person,)
        )
        digests = sorted(
            [plate_digest(self.suppression_key, SUPPRESSED).hex()]
            + [os.urandom(16).hex() for _ in range(63)]
        )
        self.plain = {
            wire.ROSTER: canonical(roster),
            wire.SUPPRESSION: canonical(wire.Suppression(digests=tuple(digests))),
            "hotlist-lpdf.bin": hotlist_plain(),
        }
        days = [(now + timedelta(days=n)).date().isoformat() for n in range(-1, 3)]
        keys = tuple(wire.IntakeKey(day=day, key=b64(public_bytes(self.intake))) for day in days)
        self.clear = {wire.INTAKE_KEYS: canonical(wire.IntakeKeys(agency=AGENCY, keys=keys))}

    def _wraps(self, content: dict[str, bytes]) -> bytes:
        assert self.car_key is not None
        return canonical(
            wire.Wraps(
                vehicle=self.wraps_for,
                targets={
                    name: wrap_key(key, purpose=name, recipient=self.car_key)
                    for name, key in content.items()
                },
                suppression_key=wrap_key(
                    self.suppression_key, purpose="suppression-key", recipient=self.car_key
                ),
            )
        )

    def rotate_root(self) -> None:
        """A new root for the present signers, signed by them and by the root key before."""
        self.root_version += 1
        root = Metadata(
            Root(self.root_version, expires=self._until("root"), consistent_snapshot=True)
        )
        for role in ROLES:
            root.signed.add_key(self.signers[role].public_key, role)
        root.sign(self.signers["root"])
        self.files[f"/tuf/metadata/{self.root_version}.root.json"] = root.to_bytes()

    def _until(self, role: str) -> datetime:
        return (datetime.now(UTC) + self.expires[role]).replace(microsecond=0)

    def publish(self) -> None:
        """Encrypt, wrap, sign, and hand out."""
        self.version += 1
        content = {name: os.urandom(32) for name in self.plain}
        self.targets = dict(self.clear)
        self.targets[wire.POLICY] = canonical(self.policy)
        for name, plain in self.plain.items():
            self.targets[name] = encrypt_target(plain, name=name, key=content[name])
        self.targets[wire.wraps_target(CAR)] = self._wraps(content)
        self.sign()

    def sign(self) -> None:
        """Sign and hand out ``targets`` as they are, under the present version."""
        made = Metadata(Targets(self.version, expires=self._until("targets")))
        for name, data in self.targets.items():
            made.signed.targets[name] = TargetFile.from_data(name, data, ["sha256"])
            self.files[f"/tuf/targets/{sha256_hex(data)}.{name}"] = data
        shot = Metadata(
            Snapshot(
                self.version,
                expires=self._until("snapshot"),
                meta={"targets.json": MetaFile(self.version)},
            )
        )
        stamp = Metadata(
            Timestamp(
                self.version,
                expires=self._until("timestamp"),
                snapshot_meta=MetaFile(self.version),
            )
        )
        base = "/tuf/metadata/"
        made.sign(self.signers["targets"])
        shot.sign(self.signers["snapshot"])
        stamp.sign(self.signers["timestamp"])
        self.files[f"{base}{self.version}.targets.json"] = made.to_bytes()
        self.files[f"{base}{self.version}.snapshot.json"] = shot.to_bytes()
        self.files[f"{base}timestamp.json"] = stamp.to_bytes()

    def path_of(self, name: str) -> str:
        """URL path of a target as published now."""
        return f"/tuf/targets/{sha256_hex(self.targets[name])}.{name}"


class _Tap(RawIOBase):
    """A stream that notes whatever is read from it."""

    def __init__(self, inner: Any, notes: list[bytes]) -> None:
        self._inner, self._notes = inner, notes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read1(len(buffer))
        self._notes.append(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


class World:
    """Certificate authority, server, repository, and an enrolled car."""

    def __init__(self, home: Path) -> None:
        self.home = home
        now = datetime.now(UTC)
        self.ca_key, self.receipt_key = generate_key(), generate_key()
        self.ca = ca.create_ca(self.ca_key, AGENCY, now)
        self.code = ca.new_code(self.ca)
        self.files: dict[str, bytes] = {}
        self.handlers: dict[str, Handler] = {
            "/v1/ca": lambda body, query: (200, ca.pem(self.ca).encode()),
            "/v1/enrol": self._enrol,
            "/v1/hello": self._hello,
            "/v1/permit": self._permit,
        }
        self.cut: set[str] = set()
        """Paths whose answer breaks off half-way."""
        self.flood: set[str] = set()
        """Paths whose answer is far longer than it should be."""
        self.seen: list[str] = []
        self.posted: list[tuple[str, bytes]] = []
        """Path and body of each request with a body."""
        self.wire: list[bytes] = []
        """Every byte that any client sent, after TLS, in pieces."""
        self.reply_changes: dict[str, Any] = {}
        self.repository = Repository(self.files)
        self._start()

    # --- server -----------------------------------------------------------------------------

    def _start(self, port: int = 0) -> None:
        server_key = generate_key()
        certificate = ca.issue_server(
            self.ca, self.ca_key, server_key.public_key(), ["127.0.0.1"], datetime.now(UTC)
        )
        chain = self.home / "server.pem"
        chain.write_text(
            ca.pem(certificate)
            + server_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(chain)
        context.load_verify_locations(cadata=ca.pem(self.ca))
        context.verify_mode = ssl.CERT_OPTIONAL
        world = self

        class Web(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                # All that the car sends, byte for byte as TLS gave it: head lines and bodies.
                self.rfile = BufferedReader(_Tap(self.rfile, world.wire))

            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["content-length"])))

            def _answer(self, body: bytes) -> None:
                url = urlsplit(self.path)
                world.seen.append(url.path)
                if body:
                    world.posted.append((url.path, body))
                peer = self.connection.getpeercert()
                if not peer and url.path not in ("/v1/ca", "/v1/enrol"):
                    status, data = 403, b"{}"
                elif url.path in world.handlers:
                    status, data = world.handlers[url.path](body, parse_qs(url.query))
                elif url.path in world.files:
                    status, data = 200, world.files[url.path]
                else:
                    status, data = 404, b"{}"
                if url.path in world.flood:
                    data = bytes(6_000_000)
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                try:
                    if url.path in world.cut:
                        self.wfile.write(data[: len(data) // 2])
                        self.close_connection = True
                    else:
                        self.wfile.write(data)
                except OSError:
                    self.close_connection = True  # the car hung up on a flood

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, address: object) -> None:
                """A car that refuses this server's certificate is no news."""

        self._server = Server(("127.0.0.1", port), Web)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self._server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def restart(self) -> None:
        """Come back at the same address."""
        self._start(self.port)

    # --- central's answers ------------------------------------------------------------------

    def _enrol(self, body: bytes, query: dict[str, list[str]]) -> Answer:
        request = wire.EnrolRequest.model_validate_json(body)
        if request.code != self.code:
            return 403, b'{"error": "bad_code", "message": ""}'
        certificate = ca.issue_car(
            self.ca, self.ca_key, request.csr, request.vehicle, datetime.now(UTC)
        )
        self.repository.car_key = public_from_bytes(base64.urlsafe_b64decode(request.wrap_key))
        fields: dict[str, Any] = {
            "agency": AGENCY,
            "vehicle": request.vehicle,
            "reader": "7",
            "certificate": ca.pem(certificate),
            "ca": ca.pem(self.ca),
            "receipt_key": b64(public_bytes(self.receipt_key)),
            "tuf_root": self.files["/tuf/metadata/1.root.json"].decode(),
        }
        return 200, wire.EnrolReply.model_validate(
            fields | self.reply_changes
        ).model_dump_json().encode()

    def signed(self, kind: str, body: BaseModel, key: PrivateKey | None = None) -> Answer:
        """A document under central's receipt key, or another."""
        return 200, sign_document(kind, body, key or self.receipt_key).model_dump_json().encode()

    def _hello(self, body: bytes, query: dict[str, list[str]]) -> Answer:
        time = wire.CentralTime(agency=AGENCY, time=datetime.now(UTC), nonce=query["nonce"][0])
        return self.signed("hello", time)

    def _permit(self, body: bytes, query: dict[str, list[str]]) -> Answer:
        now = datetime.now(UTC)
        permit = wire.Permit(
            agency=AGENCY, vehicle=CAR, serial="0" * 32, not_before=now,
            expires=now + timedelta(hours=24),
        )  # fmt: skip
        return self.signed("permit", permit)

    # --- the car ----------------------------------------------------------------------------

    def enrol(self, name: str = "state") -> Trust:
        """Enrol a car and publish for it."""
        trust = enrol(self.url, self.code, CAR, self.home / name)
        self.repository.publish()
        return trust


class Shelf:
    """Keeps what a true central would, and receipts it; for the in-test server."""

    def __init__(self, world: World, trust: Trust) -> None:
        self.world = world
        self.trust = trust
        self.envelopes: dict[str, str] = {}
        self.order: list[str] = []
        self.batches = 0
        self.events = 0
        self.sessions: set[str] = set()
        world.handlers["/v1/batches"] = self.batch
        world.handlers["/v1/audit"] = self.audit
        world.handlers["/v1/sessions"] = self.session

    def take(self, body: bytes) -> wire.BatchHeader:
        document, rest = wire.split_batch(body)
        header = verify_document(
            document, "batch", self.trust.batch_key.public_key(), wire.BatchHeader
        )
        at = 0
        for item in header.items:
            envelope = bytes(rest[at : at + item.length])
            assert sha256_hex(envelope) == item.sha256
            assert self.envelopes.setdefault(item.id, item.sha256) == item.sha256
            self.order.append(item.id)
            at += item.length
        self.batches += 1
        return header

    def receipt(self, header: wire.BatchHeader, **changes: Any) -> wire.Receipt:
        fields: dict[str, Any] = {
            "agency": AGENCY,
            "vehicle": CAR,
            "batch": header.batch,
            "received_at": datetime.now(UTC),
            "items": [
                {"id": item.id, "sha256": item.sha256, "outcome": "stored"} for item in header.items
            ],
        }
        return wire.Receipt.model_validate(fields | changes)

    def batch(self, body: bytes, query: dict[str, list[str]]) -> Answer:
        return self.world.signed("receipt", self.receipt(self.take(body)))

    def audit(self, body: bytes, query: dict[str, list[str]]) -> Answer:
        document = SignedDocument.model_validate_json(body)
        key = self.trust.batch_key.public_key()
        report = verify_document(document, "audit", key, wire.AuditReport)
        assert report.events[0].seq == self.events + 1
        self.events = report.events[-1].seq
        ack = wire.Ack(agency=AGENCY, vehicle=CAR, kind="audit", seq=self.events)
        return self.world.signed("ack", ack)

    def session(self, body: bytes, query: dict[str, list[str]]) -> Answer:
        document = SignedDocument.model_validate_json(body)
        key = self.trust.batch_key.public_key()
        report = verify_document(document, "sessions", key, wire.SessionReport)
        ids = tuple(row.id for row in report.rows)
        self.sessions.update(ids)
        return self.world.signed(
            "ack", wire.Ack(agency=AGENCY, vehicle=CAR, kind="sessions", ids=ids)
        )


class Car:
    """An enrolled car with a real queue."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.row = session_row()
        self.intake = generate_key().public_key()
        self.open()

    def open(self) -> None:
        path = self.trust.state_dir / "queue.db"
        self.store = Store(path, now=lambda: (datetime.now(UTC), True), device=CAR)

    def commit(self, number: int = 1, *, hit: bool = False, **changes: Any) -> list[str]:
        """Seal and queue reads; their ids."""
        ids = []
        for _ in range(number):
            instant = datetime.now(UTC)
            value = read(
                session=self.row.id, instant=instant, destroy_by=destroy_by(instant), **changes
            )
            envelope = seal_read(value, agency=AGENCY, vehicle=CAR, intake_key=self.intake)
            self.store.commit_read(envelope, hit=hit, session_row=self.row)
            ids.append(value.id)
        return ids

    def dock(self, **options: Any) -> DockSync:
        return DockSync(self.trust, self.store, interval_s=0.05, **options)
