"""The agency's own certificate authority: P-256, one level, for cars and this server.

A car's certificate has the vehicle's name as CN and serves client authentication only; the
server's has the host names and serves server authentication only. The CA's private key lies in
the keystore, never in a file.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from alprd.crypto import PrivateKey, PublicKey
from alprd.errors import InputError

CA_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=825)
CAR_LIFE: Final = timedelta(days=365)
CODE_LIFE: Final = timedelta(hours=24)
_SKEW: Final = timedelta(minutes=5)
"""Certificates are valid from a little before now: a car's clock may be behind."""


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def create_ca(key: PrivateKey, agency: str, now: datetime) -> x509.Certificate:
    """A self-signed CA certificate for the agency."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, agency),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{agency} alprd CA"),
        ]
    )
    return (
        _builder(name, name, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _issue(
    ca: x509.Certificate,
    ca_key: PrivateKey,
    key: PublicKey,
    common_name: str,
    purpose: x509.ObjectIdentifier,
    names: Sequence[x509.GeneralName],
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return (
        _builder(subject, ca.subject, key, now, life)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def issue_server(
    ca: x509.Certificate, ca_key: PrivateKey, key: PublicKey, hosts: Sequence[str], now: datetime
) -> x509.Certificate:
    """The certificate of the car API for these host names and addresses."""
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return _issue(
        ca, ca_key, key, hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, names, now, SERVER_LIFE
    )


def hosts_of(certificate: x509.Certificate) -> set[str]:
    """The host names and addresses that a server certificate is for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    }


def issue_car(
    ca: x509.Certificate, ca_key: PrivateKey, csr_pem: str, vehicle: str, now: datetime
) -> x509.Certificate:
    """The certificate of a car, from its signing request.

    Raises:
        InputError: not a request, signed by another key, for another name or not P-256.
    """
    return _issue(
        ca,
        ca_key,
        _requested(csr_pem, vehicle),
        vehicle,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        [x509.DNSName(vehicle)],
        now,
        CAR_LIFE,
    )


def issue_page(
    ca: x509.Certificate, ca_key: PrivateKey, csr_pem: str, vehicle: str, host: str, now: datetime
) -> x509.Certificate:
    """The certificate of a car's page under the name ``host``, from the car's signing request.

    Raises:
        InputError: as of :func:`issue_car`.
    """
    key = _requested(csr_pem, vehicle)
    names = [x509.DNSName(host)]
    return _issue(ca, ca_key, key, host, ExtendedKeyUsageOID.SERVER_AUTH, names, now, SERVER_LIFE)


def _requested(csr_pem: str, vehicle: str) -> PublicKey:
    """The key of a car's signing request."""
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        if not csr.is_signature_valid:
            raise InputError("certificate request is not signed by its own key")
    except (ValueError, InvalidSignature) as error:
        raise InputError("certificate request cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise InputError("certificate request is not for a P-256 key")
    names = [a.value for a in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [vehicle]:
        raise InputError("certificate request is for another vehicle")
    return key


def pem(certificate: x509.Certificate) -> str:
    """The certificate as PEM text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def common_name(certificate: x509.Certificate) -> str:
    """The CN of the subject, empty when there is not exactly one."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def serial_text(certificate: x509.Certificate) -> str:
    """The serial number as hex, as kept in the vehicle's row."""
    return f"{certificate.serial_number:x}"


def pin(ca: x509.Certificate) -> str:
    """What a car pins the CA by: the first 32 hex digits of the SHA-256 of its DER form."""
    return hashlib.sha256(ca.public_bytes(serialization.Encoding.DER)).hexdigest()[:32]


def new_code(ca: x509.Certificate) -> str:
    """A one-time enrolment code: 128 random bits in base32, a dot, and the CA's pin."""
    secret = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=")
    return f"{secret}.{pin(ca)}"


def code_hash(code: str) -> str:
    """What is kept of a code: SHA-256 of its secret part (128 random bits need no salt)."""
    secret = code.split(".")[0].strip().upper()
    return hashlib.sha256(b"alprd enrol code\0" + secret.encode()).hexdigest()
