"""Enrolment of a car, its keys, and what it trusts.

A new car knows one thing: the one-time code that an administrator read out at central. The code
is ``<secret>.<pin>``, the pin being the first 32 hex digits (128 bits) of the SHA-256 of
central's CA certificate (DER), so it names central before the car has ever spoken to it. The car
fetches the CA certificate on a connection that is not verified and carries nothing secret,
compares the digest, and sends the code only on a second connection verified against that very
CA. Whoever sits between learns nothing and can put nothing in its place.

Layout of the state folder (folders 0700, every file 0600)::

    keys/tls.key  keys/batch.key                     P-256, PKCS#8; never leave the car
    keys/wrap.locked                                 P-256, encrypted (:mod:`alprd.unlock`)
    trust/ca.pem  trust/car.pem                      central's CA; the car's TLS certificate
    trust/receipt.pub                                central's receipt key, uncompressed point
    trust/tuf-root.json                              first TUF root, the anchor of all lists
    trust/identity.json                              written last: none, not enrolled
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from alprd.crypto import (
    PrivateKey,
    PublicKey,
    generate_key,
    load_private,
    public_bytes,
    public_from_bytes,
    save_private,
    sha256_hex,
    write_secret,
)
from alprd.errors import (
    AlprdError,
    ConfigError,
    EnvelopeError,
    SignatureError,
    StoreError,
    SyncError,
)
from alprd.pace import PacedTransport, TokenBucket
from alprd.process import refuse_foreign
from alprd.records import Closed, Name
from alprd.shred import destroy
from alprd.unlock import CLEAR, LOCKED, SECRET_BYTES, Locker
from alprd.wire import EnrolReply, EnrolRequest

_CODE: Final = re.compile(r"(?P<secret>[A-Za-z0-9_-]{8,128})\.(?P<pin>[0-9a-f]{32})")
_TIMEOUT_S: Final = 20.0
_MAX_REPLY: Final = 1_000_000
_LONGEST_S: Final = 120.0
_ENROL_AGAIN: Final = "enrol the car with a new code: alprd enrol"


class Identity(Closed):
    """Who this car is, ``trust/identity.json``."""

    agency: Name
    vehicle: Name
    reader: str
    central_url: str


@dataclass(frozen=True)
class Trust:
    """An enrolled car: identity, own keys, and the anchors that everything is verified against."""

    state_dir: Path
    agency: str
    vehicle: str
    reader: str
    """Neutral number in the public log."""
    central_url: str
    batch_key: PrivateKey = field(repr=False)
    locker: Locker = field(repr=False)
    receipt_key: PublicKey = field(repr=False)
    tuf_root: bytes = field(repr=False)

    @property
    def wrap_key(self) -> PrivateKey:
        """Opens what is published for this car.

        Raises:
            RefusedError: ``car_locked``: not released yet.
        """
        return self.locker.wrap_key()

    @classmethod
    def load(cls, state_dir: Path) -> Trust:
        """Load what :func:`enrol` stored.

        Raises:
            StoreError: the car is not enrolled, or a file is missing, damaged or open to others.
        """
        trust, keys = state_dir / "trust", state_dir / "keys"
        identity_file = trust / "identity.json"
        if not identity_file.exists():
            raise StoreError(f"{state_dir}: this car is not enrolled", remedy=_ENROL_AGAIN)
        try:
            identity = Identity.model_validate_json(identity_file.read_bytes())
            receipt_key = public_from_bytes((trust / "receipt.pub").read_bytes())
            tuf_root = (trust / "tuf-root.json").read_bytes()
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}", remedy=_ENROL_AGAIN) from error
        except (ValidationError, EnvelopeError) as error:
            raise StoreError(f"{trust}: trust anchors are damaged", remedy=_ENROL_AGAIN) from error
        return cls(
            state_dir=state_dir,
            agency=identity.agency,
            vehicle=identity.vehicle,
            reader=identity.reader,
            central_url=identity.central_url,
            batch_key=load_private(keys / "batch.key"),
            locker=Locker.load(keys),
            receipt_key=receipt_key,
            tuf_root=tuf_root,
        )

    def client(
        self, timeout_s: float = _TIMEOUT_S, bucket: TokenBucket | None = None
    ) -> httpx.Client:
        """A client for central: mutual TLS against central's own CA and no other, no proxy.

        Args:
            bucket: limits what is sent and fetched.

        Raises:
            StoreError: certificate or TLS key is missing or damaged.
        """
        settle_pair(self.state_dir)
        certificate = self.state_dir / "trust" / "car.pem"
        return self.client_with(
            certificate, self.state_dir / "keys" / "tls.key", timeout_s, bucket=bucket
        )

    def client_with(
        self,
        certificate: Path,
        key: Path,
        timeout_s: float = _TIMEOUT_S,
        *,
        bucket: TokenBucket | None = None,
    ) -> httpx.Client:
        """The same with another certificate and key: a renewed pair that is being tried.

        Raises:
            StoreError: certificate or TLS key is missing or damaged.
        """
        trust = self.state_dir / "trust"
        try:
            context = _context((trust / "ca.pem").read_text())
            context.load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise StoreError(
                f"{trust}: TLS certificate or key cannot be used", remedy=_ENROL_AGAIN
            ) from error
        transport: httpx.BaseTransport = httpx.HTTPTransport(verify=context, trust_env=False)
        if bucket is not None:
            transport = PacedTransport(transport, bucket)
        return httpx.Client(
            base_url=self.central_url, transport=transport, timeout=timeout_s, trust_env=False
        )


def enrol(central_url: str, code: str, vehicle: str, state_dir: Path) -> Trust:
    """Make the car's keys, enrol it with its one-time code, store what it trusts from now on.

    Nothing is stored until every part of central's answer has been checked; an enrolment that
    fails leaves an earlier one as it was.

    Raises:
        ConfigError: the URL is not https, or the code has another form.
        SignatureError: the CA is not the one the code names, or the answer does not fit together.
        SyncError: central cannot be reached or refused.
    """
    _refuse_half_wiped(state_dir)
    found = _CODE.fullmatch(code.strip())
    if found is None:
        raise ConfigError(
            "the enrolment code is not whole",
            remedy="type it as shown: a secret, a dot and 32 hex digits",
        )
    url = central_url.rstrip("/")
    if not url.startswith("https://"):
        raise ConfigError(f"{central_url} is not an https address", remedy="give https://HOST:PORT")
    ca_pem = _fetch_pinned_ca(url, found["pin"])
    tls_key, batch_key, wrap_key = generate_key(), generate_key(), generate_key()
    try:
        request = EnrolRequest(
            vehicle=vehicle,
            code=code.strip(),
            csr=certificate_request(vehicle, tls_key),
            batch_key=base64.urlsafe_b64encode(public_bytes(batch_key)).decode(),
            wrap_key=base64.urlsafe_b64encode(public_bytes(wrap_key)).decode(),
        )
    except ValidationError as error:
        raise ConfigError(
            f"vehicle name {vehicle!r} is not allowed",
            remedy="use letters, digits, dot, dash and underscore, at most 64",
        ) from error
    with httpx.Client(verify=_context(ca_pem), timeout=_TIMEOUT_S, trust_env=False) as client:
        body = _ask(client, "POST", f"{url}/v1/enrol", request.model_dump_json().encode())
    try:
        reply = EnrolReply.model_validate_json(body)
    except ValidationError as error:
        raise SyncError(
            f"{url}: the enrolment answer does not fit its schema",
            remedy="bring car and central to the same version",
        ) from error
    receipt_key = _check_reply(reply, vehicle=vehicle, ca_pem=ca_pem, tls_key=tls_key)
    _save(state_dir, url, reply, ca_pem, receipt_key, (tls_key, batch_key, wrap_key))
    return Trust.load(state_dir)


def _refuse_half_wiped(state_dir: Path) -> None:
    """A folder whose wipe was ordered and is not done holds what must be destroyed first.

    Raises:
        StoreError: a wipe is pending there, or its marker cannot be read.
    """
    try:
        marker = json.loads((state_dir / "wiped.json").read_bytes())
        done = isinstance(marker, dict) and marker.get("phase") == "done"
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        done = False
    if not done:
        raise StoreError(
            f"{state_dir}: the wipe of the car that was here is not done",
            remedy="finish it: start the daemon once, or run alprd retire; then enrol",
        )


def _fetch_pinned_ca(url: str, pin: str) -> str:
    """Central's CA certificate as PEM, fetched unverified and proven by the code's digest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # The digest below decides, and nothing secret goes over this connection.
    context.verify_mode = ssl.CERT_NONE
    with httpx.Client(verify=context, timeout=_TIMEOUT_S, trust_env=False) as client:
        body = _ask(client, "GET", f"{url}/v1/ca")
    try:
        certificate = x509.load_pem_x509_certificate(body)
    except ValueError as error:
        raise SignatureError(
            f"{url}: central sent no CA certificate", remedy="check the address of central"
        ) from error
    if not hmac.compare_digest(_pin(certificate), pin):
        raise SignatureError(
            f"{url}: this is not the central that the code names",
            remedy="check address and code; if both are right, somebody is in between: stop",
        )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pin(certificate: x509.Certificate) -> str:
    return sha256_hex(certificate.public_bytes(serialization.Encoding.DER))[:32]


def _context(ca_pem: str) -> ssl.SSLContext:
    """Verifies host name and chain against this CA alone; TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca_pem)
    return context


def exchange(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    content_type: str = "application/json",
) -> tuple[int, bytes]:
    """One question to central: (HTTP status, answer), bounded in size and time.

    Raises:
        SyncError: no answer, or one that is too long or takes too long.
    """
    place = url.partition("?")[0]
    headers = {"accept-encoding": "identity"}
    if body is not None:
        headers["content-type"] = content_type
    deadline = time.monotonic() + _LONGEST_S
    data = bytearray()
    try:
        with client.stream(method, url, content=body, headers=headers) as response:
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > _MAX_REPLY or time.monotonic() > deadline:
                    raise SyncError(f"{place}: central's answer does not end")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SyncError(
            f"{place}: {error}", remedy="check that central runs and that the car can reach it"
        ) from error
    return response.status_code, bytes(data)


def _ask(client: httpx.Client, method: str, url: str, body: bytes | None = None) -> bytes:
    status, data = exchange(client, method, url, body=body)
    if status != httpx.codes.OK:
        raise SyncError(
            f"{url}: central refused ({status}){_why(data)}",
            remedy="ask for a new code; a code works once and not for long",
        )
    return data


def _why(data: bytes) -> str:
    """What central says about a refusal, as far as it is one of its own short messages."""
    try:
        said = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {said[:200]}" if isinstance(said, str) and said.isprintable() else ""


def settle_pair(state_dir: Path) -> None:
    """Finish a renewal that a power cut left between its two renames (:mod:`alprd.renewal`).

    Raises:
        StoreError: the disk refuses.
    """
    new, key = state_dir / "trust" / "car.pem.new", state_dir / "keys" / "tls.key"
    try:
        if not new.exists():
            return
        certificate = x509.load_pem_x509_certificate(new.read_bytes())
        if _point(certificate) == public_bytes(load_private(key)):
            new.replace(new.with_name("car.pem"))
    except ValueError:
        return  # half a certificate: the renewal asks for another
    except OSError as error:
        raise StoreError(f"{new}: {error.strerror}", remedy="check disk and owner") from error


def certificate_request(vehicle: str, key: PrivateKey) -> str:
    """A signing request (PEM) in the vehicle's name."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, vehicle)]))
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _check_reply(reply: EnrolReply, *, vehicle: str, ca_pem: str, tls_key: PrivateKey) -> PublicKey:
    """Check that every part of the answer belongs together; the receipt key."""
    try:
        ca = x509.load_pem_x509_certificate(ca_pem.encode())
        certificate = x509.load_pem_x509_certificate(reply.certificate.encode())
        certificate.verify_directly_issued_by(ca)
        receipt_key = public_from_bytes(base64.urlsafe_b64decode(reply.receipt_key))
        if reply.unlock and len(base64.urlsafe_b64decode(reply.unlock)) < SECRET_BYTES:
            raise ValueError("unlock secret")
        root = Metadata[Root].from_bytes(reply.tuf_root.encode())
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        fits = (
            reply.vehicle == vehicle
            and _pin(x509.load_pem_x509_certificate(reply.ca.encode())) == _pin(ca)
            and _point(certificate) == public_bytes(tls_key)
        )
    except (
        ValueError,
        TypeError,
        AttributeError,  # python-tuf: metadata of another type than root
        InvalidSignature,
        EnvelopeError,
        binascii.Error,
        RepositoryError,
    ) as error:
        raise SignatureError(
            f"the enrolment answer cannot be verified: {type(error).__name__}",
            remedy="ask for a new code and try again",
        ) from error
    if not fits:
        raise SignatureError(
            "the enrolment answer is for another car or key", remedy="ask for a new code"
        )
    return receipt_key


def _point(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def _save(
    state_dir: Path,
    url: str,
    reply: EnrolReply,
    ca_pem: str,
    receipt_key: PublicKey,
    own: tuple[PrivateKey, PrivateKey, PrivateKey],
) -> None:
    """Store all of it; the identity goes first and comes last, so halves never look whole."""
    trust, keys = state_dir / "trust", state_dir / "keys"
    identity = Identity(
        agency=reply.agency, vehicle=reply.vehicle, reader=reply.reader, central_url=url
    )
    try:
        for folder in (state_dir, trust, keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (trust / "identity.json").unlink(missing_ok=True)
        for name, key in zip(("tls", "batch"), own[:2], strict=True):
            save_private(key, keys / f"{name}.key")
        _save_wrap(keys, own[2], reply)
        write_secret(trust / "ca.pem", ca_pem.encode())
        write_secret(trust / "car.pem", reply.certificate.encode())
        write_secret(trust / "receipt.pub", public_bytes(receipt_key))
        write_secret(trust / "tuf-root.json", reply.tuf_root.encode())
        write_secret(trust / "identity.json", identity.model_dump_json().encode())
    except OSError as error:
        raise StoreError(
            f"{error.filename}: {error.strerror}", remedy="check folder, owner and free space"
        ) from error


def _save_wrap(keys: Path, wrap_key: PrivateKey, reply: EnrolReply) -> None:
    """Never in clear, unless central is of a version that gives nothing to lock it with."""
    for former in (CLEAR, LOCKED):
        destroy(keys / former)
    if reply.unlock:
        secret = base64.urlsafe_b64decode(reply.unlock)
        Locker(keys, clear=wrap_key).release("contact", secret)
    else:
        save_private(wrap_key, keys / CLEAR)


@click.command("enrol")
@click.option("--central", "central_url", required=True, help="Address of central, https://…")
@click.option("--vehicle", required=True, help="Name of this car, such as unit-12.")
@click.option(
    "--state",
    "state_dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="State folder of the daemon.",
)
@click.option(
    "--code",
    envvar="ALPRD_ENROL_CODE",
    prompt="One-time code",
    hide_input=True,
    help="Asked for when left out (safer).",
)
def enrol_command(central_url: str, vehicle: str, state_dir: Path, code: str) -> None:
    """Enrol this car at central with a one-time code."""
    try:
        refuse_foreign(state_dir)  # before the code is spent
        trust = enrol(central_url, code, vehicle, state_dir)
    except AlprdError as error:
        click.echo(f"alprd enrol: {error.diagnostics()}", err=True)
        raise SystemExit(error.exit_code) from error
    click.echo(f"{trust.vehicle} is enrolled at {trust.agency} as reader {trust.reader}")
