"""The car's certificate is renewed at half its life, with a new key; the old one lasts until then.

Central takes the old and the new certificate until the new one has been used once. In the car::

    keys/tls.key.new    the new key, durable before anyone is asked
    trust/car.pem.new   the certificate for it, as central sent it
    -- one connection with the new pair must work --
    keys/tls.key        replaced by rename
    trust/car.pem       replaced by rename

A power cut between the two renames leaves a new key beside the old certificate, with the new
certificate still waiting: :func:`settle` finishes it at the next use. A cut anywhere before leaves
the old pair whole, and the renewal begins again where it can.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from alprd.audit import Event, Trail
from alprd.crypto import (
    PrivateKey,
    generate_key,
    key_id,
    load_private,
    public_bytes,
    save_private,
    sign_document,
    verify_document,
    write_secret,
)
from alprd.errors import AlprdError, SignatureError, StoreError
from alprd.outbound import ask_signed
from alprd.store import Store
from alprd.trust import Trust, certificate_request, settle_pair
from alprd.wire import Renewal, RenewRequest

log = logging.getLogger(__name__)

_PROBE_S: Final = 20.0


def expiry(trust: Trust) -> datetime:
    """When the car's certificate ends.

    Raises:
        StoreError: it cannot be read.
    """
    return _certificate(trust.state_dir / "trust" / "car.pem").not_valid_after_utc


def due(trust: Trust, now: datetime) -> bool:
    """Whether half of the certificate's life is over.

    Raises:
        StoreError: it cannot be read.
    """
    held = _certificate(trust.state_dir / "trust" / "car.pem")
    begin, end = held.not_valid_before_utc, held.not_valid_after_utc
    return now >= begin + (end - begin) / 2


def renew(trust: Trust, client: httpx.Client, trail: Trail, *, now: datetime | None = None) -> bool:
    """Renew the certificate if it is due; whether it was.

    Args:
        client: to central, with the present certificate.

    Raises:
        SyncError: central cannot be reached or refuses; the old certificate stays.
        SignatureError: the answer is not for this car and key; the old certificate stays.
        StoreError: the disk refuses.
    """
    if not due(trust, now or datetime.now(UTC)):
        return False
    trust_dir, keys = trust.state_dir / "trust", trust.state_dir / "keys"
    new_key, new_pem = keys / "tls.key.new", trust_dir / "car.pem.new"
    if not (new_pem.exists() and _waiting_fits(new_key, new_pem)):
        new_pem.unlink(missing_ok=True)
        key = generate_key()
        save_private(key, new_key)
        write_secret(new_pem, _ask(trust, client, key, trust_dir / "ca.pem").encode())
    try:
        with trust.client_with(new_pem, new_key, _PROBE_S) as probe:
            ask_signed(probe, "GET", "/v1/permit")  # central sees the new one used
    except AlprdError:
        # Whatever is wrong with it: the next time asks for another.
        new_pem.unlink(missing_ok=True)
        raise
    _adopt(trust)
    trail.record(Event.CERTIFICATE_RENEWED, detail={"to": f"{expiry(trust):%Y-%m-%d}"})
    log.info("the car's certificate was renewed, to %s", expiry(trust))
    return True


def adopt_waiting(trust: Trust) -> bool:
    """Take a new pair that waits; for a car whose old certificate central no longer takes.

    That is so where the power was cut after the new one had worked and before it was put in place.

    Returns:
        Whether there was one.

    Raises:
        StoreError: the disk refuses.
    """
    new_key = trust.state_dir / "keys" / "tls.key.new"
    if not _waiting_fits(new_key, trust.state_dir / "trust" / "car.pem.new"):
        return False
    _adopt(trust)
    return True


def _adopt(trust: Trust) -> None:
    keys = trust.state_dir / "keys"
    try:
        (keys / "tls.key.new").replace(keys / "tls.key")
    except OSError as error:
        raise StoreError(f"{keys}: {error.strerror}", remedy="check disk and owner") from error
    settle_pair(trust.state_dir)


def note_enrolment(store: Store, trust: Trust) -> None:
    """Tell the trail of a new enrolment, once, and let the trail be brought to it whole.

    Raises:
        StoreError: the disk refuses.
    """
    enrolment = key_id(trust.batch_key)
    with store.transaction():
        known = store.get_meta("enrolment") == enrolment
        store.enrolled_as(enrolment)
        if not known:
            store.record(Event.ENROLLED, detail={"enrolment": enrolment, "reader": trust.reader})


def _ask(trust: Trust, client: httpx.Client, key: PrivateKey, ca_pem: Path) -> str:
    """Central's certificate for a new key, checked."""
    enrolment = key_id(trust.batch_key)
    request = RenewRequest(
        agency=trust.agency,
        vehicle=trust.vehicle,
        enrolment=enrolment,
        csr=certificate_request(trust.vehicle, key),
    )
    body = sign_document("renew", request, trust.batch_key).model_dump_json().encode()
    answer = ask_signed(client, "POST", "/v1/renew", body)
    said = verify_document(answer, "renewal", trust.receipt_key, Renewal)
    if (said.agency, said.vehicle, said.enrolment) != (trust.agency, trust.vehicle, enrolment):
        raise SignatureError("the new certificate is for another car or enrolment")
    try:
        made = x509.load_pem_x509_certificate(said.certificate.encode())
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem.read_bytes()))
        fits = _point(made) == public_bytes(key)
    except (ValueError, TypeError, InvalidSignature, OSError) as error:
        raise SignatureError("the new certificate cannot be verified") from error
    if not fits:
        raise SignatureError("the new certificate is for another key")
    return said.certificate


def _waiting_fits(key: Path, certificate: Path) -> bool:
    try:
        return _point(_certificate(certificate)) == public_bytes(load_private(key))
    except StoreError:
        return False


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: the certificate cannot be read", remedy="enrol the car with a new code"
        ) from error


def _point(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
