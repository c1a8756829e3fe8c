"""Enrolment, the car's keys and where they lie, its certificate, and the cryptography itself."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import Final

import cryptography
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from alprd import crypto, selftest
from alprd.doctor.car import Car
from alprd.doctor.report import Sheet
from alprd.errors import AlprdError
from alprd.sources import read_password
from alprd.unlock import CLEAR, LOCKED, Locker

KEYS: Final = ("tls", "batch", "wrap")
CERTIFICATE_WARN: Final = timedelta(days=14)
_AGAIN: Final = "enrol the car again: alprd enrol"
_PACKAGE: Final = "install the packages again: pip install --force-reinstall cryptography alprd"


def check_enrolment(car: Car, sheet: Sheet) -> None:
    """Whether this car is enrolled, and as what."""
    if not car.enrolled:
        sheet.fail(
            "enrolment",
            f"{car.state}: this car is not enrolled",
            "ask central for a one-time code, then: alprd enrol",
        )
        return
    trust = car.trust
    sheet.ok(
        "enrolment",
        f"{trust.vehicle} of {trust.agency}, reader {trust.reader}",
        vehicle=trust.vehicle,
        agency=trust.agency,
        reader=trust.reader,
    )


def check_keys(car: Car, sheet: Sheet) -> None:
    """Each key file: there, closed to others, of the right owner, whole; and where it lies."""
    folder = car.state / "keys"
    owner = car.state.stat().st_uid
    present = {path.name for path in folder.glob("*.key")} if folder.is_dir() else set()
    for name in sorted(present | {f"{key}.key" for key in KEYS}):
        if name == CLEAR and name not in present and (folder / LOCKED).exists():
            _locked(sheet, folder / LOCKED, owner)
        else:
            _key(sheet, folder / name, owner)
    _passwords(car, sheet)
    tpm = car.below("/dev/tpmrm0").exists()
    sheet.ok(
        "tpm",
        "this machine has a TPM" if tpm else "no TPM: keys are plain files under the owner's mode",
        tpm=tpm,
    )


def _key(sheet: Sheet, path: Path, owner: int) -> None:
    if not _closed(sheet, path.name, path, owner):
        return
    try:
        key = crypto.load_private(path)
    except AlprdError as error:
        sheet.fail(path.name, error.message, error.remedy or _AGAIN)
        return
    where = place_of(path)
    if path.name == CLEAR:
        sheet.warn(
            path.name,
            f"whole, P-256, in a {where}, not encrypted yet",
            "dock the car once: the first contact with central encrypts it",
            id=crypto.key_id(key),
            where=where,
        )
        return
    sheet.ok(path.name, f"whole, P-256, in a {where}", id=crypto.key_id(key), where=where)


def _locked(sheet: Sheet, path: Path, owner: int) -> None:
    """The wrap key, encrypted; what opens it, as counts."""
    if not _closed(sheet, CLEAR, path, owner):
        return
    try:
        ways = Locker.load(path.parent).ways
    except AlprdError as error:
        sheet.fail(CLEAR, error.message, error.remedy or _AGAIN)
        return
    told = ", ".join(f"{count} {kind}" for kind, count in ways.items())
    sheet.ok(CLEAR, f"encrypted; ways to open it: {told}", where="encrypted file", ways=told)


def _closed(sheet: Sheet, name: str, path: Path, owner: int) -> bool:
    """Whether the file is there, closed to others, and the owner's; tells what is wrong."""
    try:
        info = path.stat()
    except OSError as error:
        sheet.fail(name, f"{path}: {error.strerror}", _AGAIN)
        return False
    if info.st_mode & 0o077:
        sheet.fail(
            name,
            f"{path} is readable by others (mode {info.st_mode & 0o777:04o})",
            f"chmod 600 {path}; if strangers may have had this disk, enrol the car again",
        )
        return False
    if info.st_uid != owner:
        sheet.fail(
            name,
            f"{path} belongs to uid {info.st_uid}, the state folder to uid {owner}",
            f"chown {owner} {path}",
        )
        return False
    return True


def place_of(path: Path) -> str:
    """What kind of place a secret lies in: ``systemd credential``, ``RAM`` or ``plain file``."""
    real = str(path.resolve())
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if real.startswith("/run/credentials/") or (given and real.startswith(f"{given}/")):
        return "systemd credential"
    return "RAM file system" if real.startswith(("/run/", "/dev/shm/")) else "plain file"  # noqa: S108


def _passwords(car: Car, sheet: Sheet) -> None:
    """Password files of cameras, judged as the daemon judges them; never what is in them."""
    for section in car.config.camera:
        name, path = f"camera-{section.name}", section.password_file
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        if section.credential is not None:
            if given is None:
                _sealed_credential(car, sheet, name, section.credential)
                continue
            path = Path(given) / section.credential
        if path is None:
            continue
        if str(path).startswith("/run/credentials/") and not path.parent.is_dir():
            sheet.skip(name, f"{path} is there only while the service runs")
            continue
        try:
            read_password(path)
        except AlprdError as error:
            sheet.error(name, error)
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        where = place_of(path)
        sheet.ok(name, f"password in a {where}", mode=f"{mode:04o}", where=where)


def _sealed_credential(car: Car, sheet: Sheet, name: str, credential: str) -> None:
    """A password that systemd opens for the service alone: only its sealed file can be seen."""
    path = car.below(f"/etc/credstore.encrypted/{credential}")
    try:
        there = path.is_file()
    except OSError:  # the folder is root's own
        there = False
    if there:
        sheet.ok(name, f"sealed credential {path}", where="encrypted systemd credential")
    else:
        sheet.skip(name, f"credential {credential} is opened by systemd for the service alone")


def check_certificate(car: Car, sheet: Sheet) -> None:
    """The car's certificate: of this key, of this car, by central's CA, and in its time."""
    folder = car.state / "trust"
    try:
        own = x509.load_pem_x509_certificate((folder / "car.pem").read_bytes())
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    except PermissionError:  # not as the daemon's user: the runner says so
        raise
    except OSError as error:
        sheet.fail("files", f"{error.filename}: {error.strerror}", _AGAIN)
        return
    except ValueError:
        sheet.fail("files", f"{folder}: car.pem or ca.pem is damaged", _AGAIN)
        return
    now = car.now()
    for name, certificate in (("validity", own), ("ca", ca)):
        left = certificate.not_valid_after_utc - now
        days = left / timedelta(days=1)
        early = now < certificate.not_valid_before_utc
        whose = "the car's certificate" if name == "validity" else "central's CA certificate"
        words = f"{whose} is valid for {days:.0f} more days"
        if early:
            words = f"{whose} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}"
        elif days < 0:
            words = f"{whose} ended {-days:.0f} days ago"
        sheet.judge(
            name,
            words,
            fail=early or days < 0,
            warn=left < CERTIFICATE_WARN,
            remedy="check the clock first; dock the car to renew it, or enrol it again",
            days_left=round(days, 1),
            until=certificate.not_valid_after_utc.isoformat(),
        )
    try:
        own.verify_directly_issued_by(ca)
        sheet.ok("chain", "issued by the CA that this car was enrolled with")
    except (ValueError, TypeError, InvalidSignature):
        sheet.fail("chain", "the car's certificate was not issued by the CA beside it", _AGAIN)
    _fits(car, sheet, own)


def _fits(car: Car, sheet: Sheet, own: x509.Certificate) -> None:
    try:
        key = crypto.load_private(car.state / "keys" / "tls.key")
    except AlprdError as error:
        sheet.fail("key", error.message, error.remedy or _AGAIN)
    else:
        point = own.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        sheet.judge(
            "key",
            "the TLS key and the certificate belong together"
            if point == crypto.public_bytes(key)
            else "the TLS key is not the one of the certificate",
            fail=point != crypto.public_bytes(key),
            remedy=_AGAIN,
        )
    names = [str(item.value) for item in own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    mine = names == [car.trust.vehicle]
    sheet.judge(
        "name",
        "the certificate names this car" if mine else "the certificate names another car",
        fail=not mine,
        remedy=_AGAIN,
    )


def check_crypto(car: Car, sheet: Sheet) -> None:
    """Which provider computes, in which mode, and whether it computes rightly (R-CJIS-1)."""
    version = backend.openssl_version_text()
    fips = bool(getattr(backend, "_fips_enabled", False))
    kernel = car.text("/proc/sys/crypto/fips_enabled") == "1"
    sheet.ok(
        "provider",
        f"{version} through cryptography {cryptography.__version__}",
        openssl=version,
        cryptography=cryptography.__version__,
    )
    if fips:
        sheet.ok("mode", "FIPS mode is on", fips=True, kernel_fips=kernel)
    else:
        sheet.warn(
            "mode",
            "FIPS mode is off: no validated module is claimed",
            "where the agency requires one, install a cryptography build on a validated OpenSSL "
            "with its FIPS provider on",
            fips=False,
            kernel_fips=kernel,
        )
    try:
        selftest.check()
    except AlprdError as error:
        sheet.fail("self-test", error.message, error.remedy or _PACKAGE)
    else:
        sheet.ok("self-test", "sealing, opening, signing and verifying give their known answers")
