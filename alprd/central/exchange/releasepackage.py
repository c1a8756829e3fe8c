"""The package of an approved release: encrypted to the recipient, with terms and hash manifest.

::

    package.p7m          CMS EnvelopedData (DER), AES-256-CBC under the recipient's RSA key
    └── ZIP
        ├── TERMS.txt        classification, destruction and security rules (R-460.7-d)
        ├── reads.csv        a row a record: permitted fields, original instant, destroy-by
        ├── pictures/…       <id>-plate.jpg, <id>-wide.jpg
        ├── SHA256SUMS       of all files above, for `sha256sum -c`
        └── manifest.json    the same digests with who, to whom, when; signed by this agency

CMS is what every agency's mail program and ``openssl cms -decrypt`` open. Its cipher does not
authenticate, so the signed manifest does: :func:`check` refuses a package of which a byte differs.
The package is handed out and not kept here: a copy would outlive its reads (R-460.5-4).
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.serialization import pkcs7
from pydantic import ValidationError

from alprd import crypto
from alprd.central.exchange import recipients, release
from alprd.central.exchange.recipients import Agency
from alprd.central.exchange.release import Opened, Release
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import vault
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.crypto import SignedDocument
from alprd.errors import InputError, SignatureError
from alprd.records import Closed, Digest, Id, Utc
from alprd.wire import Person

KIND: Final = "release-manifest"
FIELDS: Final = (
    "id",
    "plate",
    "stacked",
    "state",
    "plate_type",
    "collected_utc",
    "time_trusted",
    "latitude",
    "longitude",
    "accuracy_m",
    "classification",
    "destroy_by_utc",
)
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_TERMS: Final = """\
TERMS OF THIS RELEASE

From: {sender}
To: {recipient}
Release: {release}

1. These are automated license plate reader data of the sending agency, classified under Minn. Stat.
   section 13.824, subdivision 2, as reads.csv states for each record. The receiver keeps them under
   the same classification, destruction and security rules as the sender.
2. Each record has its instant of collection and the instant by which it must be destroyed
   (destroy_by_utc, at most 60 days after collection), unless it is related to an active criminal
   investigation of the receiver. Destroyed means that the contents cannot be determined any more,
   backups included.
3. The data are for the stated purpose only. They are not sold, traded, pooled or passed on.
4. The sender may send orders about single records, by record id, to destroy or to keep them. The
   receiver carries them out and confirms. The reason of an order is not told.
5. Access to these data is documented: who, when, for which case.
6. A breach of their security is reported to the sender without delay.
"""


class Manifest(Closed):
    """What the sender vouches for."""

    release: Id
    sender: str
    recipient: str
    made_at: Utc
    request_sha256: Digest
    scope_sha256: Digest
    records: tuple[Id, ...]
    files: dict[str, Digest]


@dataclass(frozen=True, slots=True)
class Package:
    """A package ready to be handed over."""

    name: str
    content: bytes
    sha256: str


def build(central: Central, person: Person, release_id: str) -> Package:
    """Make the package of an approved release and record that it went out.

    It may be made again while the records exist, for a disc that broke; each time is recorded.

    Raises:
        RefusedError: the role, or a release that is not approved.
        InputError: a record was destroyed meanwhile, or the agency was retired.
        EnvelopeError: a stored picture was altered.
    """
    now = central.clock()
    people.require(person, Act.RELEASE_SEND, now)
    with central.database.write() as tx:
        row = release.whole_scope(central, tx, release_id, now)
        agency = recipients.find(tx, row.asked.agency)
        certificate = recipients.load_certificate(agency.certificate)
        if certificate.not_valid_after_utc <= now:
            raise InputError(
                "the recipient's certificate has expired", remedy="enter a new one in the register"
            )
        files = _files(central, row, agency, release.opened(central, tx, row, now))
        manifest = Manifest(
            release=row.id,
            sender=central.config.agency_name,
            recipient=agency.name,
            made_at=now,
            request_sha256=row.request_sha256,
            scope_sha256=row.scope_sha256,
            records=row.asked.reads,
            files={name: crypto.sha256_hex(content) for name, content in sorted(files.items())},
        )
        signed = crypto.sign_document(KIND, manifest, central.receipt_key())
        plain = _zip(files, manifest, signed)
        sealed = (
            pkcs7.PKCS7EnvelopeBuilder()
            .set_data(plain)
            .set_content_encryption_algorithm(algorithms.AES256)
            .add_recipient(certificate)
            .encrypt(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
        )
        package = Package(f"alpr-release-{row.id[:8]}.p7m", sealed, crypto.sha256_hex(sealed))
        sent = row.model_copy(
            update={
                "state": "sent",
                "sent_by": person.id,
                "sent_at": now,
                "package_sha256": package.sha256,
                "manifest_sha256": crypto.sha256_hex(signed.body.encode()),
            }
        )
        release.replace(central, tx, sent, now)
        central.trail.record(
            tx,
            Event.RELEASE_SENT,
            people.actor(person),
            at=now,
            subjects=[row.id, *row.asked.reads],
            detail={
                "agency": agency.id,
                "records": len(row.asked.reads),
                "package": package.sha256,
                "manifest": sent.manifest_sha256,
                "fingerprint": agency.fingerprint,
            },
        )
    return package


def check(content: bytes, key: crypto.PublicKey) -> Manifest:
    """Check an opened package (the ZIP) against its signed manifest.

    Args:
        key: the sending agency's public key, which it gives with its first release.

    Raises:
        InputError: not such a ZIP.
        SignatureError: not signed by that agency, or a file is missing, foreign or altered.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            document = SignedDocument.model_validate_json(archive.read("manifest.json"))
            manifest = crypto.verify_document(document, KIND, key, Manifest)
            found = {
                name: crypto.sha256_hex(archive.read(name))
                for name in names
                if name not in ("manifest.json", "SHA256SUMS")
            }
            sums = archive.read("SHA256SUMS")
    except (zipfile.BadZipFile, KeyError, ValidationError) as error:
        raise InputError(
            "this is no opened release package", remedy="decrypt the .p7m file first"
        ) from error
    if len(names) != len(set(names)) or found != manifest.files or sums != _sums(manifest):
        raise SignatureError(
            "the package differs from its signed manifest", remedy="ask the sender for it again"
        )
    return manifest


def _files(
    central: Central, row: Release, agency: Agency, records: list[Opened]
) -> dict[str, bytes]:
    terms = _TERMS.format(sender=central.config.agency_name, recipient=agency.name, release=row.id)
    files = {"TERMS.txt": terms.encode(), "reads.csv": _csv(records)}
    for record in records:
        plate, wide = vault.open_pictures(central.objects, record.id, record.key)
        files[f"pictures/{record.id}-plate.jpg"] = plate
        if wide:
            files[f"pictures/{record.id}-wide.jpg"] = wide
    return files


def _csv(records: list[Opened]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(FIELDS)
    for record in records:
        cell, place = record.cell, record.cell.position
        writer.writerow(
            (
                record.id,
                cell.plate.text,
                cell.plate.stacked,
                cell.plate.state or "",
                cell.plate.plate_type or "",
                cell.instant.isoformat(),
                "yes" if cell.time_trusted else "no",
                place.lat if place else "",
                place.lon if place else "",
                place.accuracy_m if place else "",
                record.classification,
                record.destroy_by.isoformat(),
            )
        )
    return out.getvalue().encode()


def _sums(manifest: Manifest) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in manifest.files.items()).encode()


def _zip(files: dict[str, bytes], manifest: Manifest, signed: SignedDocument) -> bytes:
    whole = {
        **files,
        "SHA256SUMS": _sums(manifest),
        "manifest.json": json.dumps(signed.model_dump(mode="json"), indent=1).encode(),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            # A fixed date: the instant of packing is in the manifest, nowhere else.
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return out.getvalue()
