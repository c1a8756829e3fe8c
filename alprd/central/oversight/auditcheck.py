"""Check an audit package with nothing but the file and the agency's public key (R-13.824-6-2).

Pure: no home folder, no database. What is checked: the manifest's signature; the digest of every
file, and that none is missing or foreign; each chain of the trail, event by event; that every
signed anchor agrees with its chain; and that the ledger reconciles. ``standalone.py`` checks the
same without alprd.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from alprd import crypto
from alprd.audit import FIRST, digest
from alprd.central.storage.audit import PRIVATE
from alprd.central.trail.anchors import KIND as ANCHOR
from alprd.central.trail.anchors import Anchor
from alprd.errors import AuditError, InputError, SignatureError
from alprd.records import Closed, Digest, Utc
from alprd.wire import AuditEvent

KIND: Final = "audit-package"
LEDGER: Final = ("day", "collected", "destroyed", "linked", "held", "live")
MOST_BYTES: Final = 2_000_000_000


class Manifest(Closed):
    """What the agency vouches for."""

    agency: str
    since: Utc
    until: Utc
    made_at: Utc
    made_by: str
    anchor_key: str
    """Public key of the anchors, base64url; empty when there is none."""
    files: dict[str, Digest]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found whole."""

    manifest: Manifest
    files: int
    chains: int
    events: int
    anchors: int
    days: int


def check(content: bytes, key: crypto.PublicKey) -> Checked:
    """Check a package.

    Raises:
        InputError: no such package.
        SignatureError: not signed by that agency, or a file is missing, foreign or altered.
        AuditError: a chain is broken, an anchor does not agree, or the ledger does not reconcile.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
                raise InputError("the package is larger than any audit's")
            names = archive.namelist()
            files = {name: archive.read(name) for name in names}
        document = crypto.SignedDocument.model_validate_json(files.pop("manifest.json"))
        told = files.pop("SHA256SUMS")
    except (zipfile.BadZipFile, KeyError, ValidationError) as error:
        raise InputError(
            "this is no audit package", remedy="give the .zip as it was made"
        ) from error
    manifest = crypto.verify_document(document, KIND, key, Manifest)
    found = {name: crypto.sha256_hex(data) for name, data in files.items()}
    if len(names) != len(set(names)) or found != manifest.files or told != sums(manifest):
        raise SignatureError(
            "the package differs from its signed manifest", remedy="ask for it again"
        )
    chains = {name: data for name, data in files.items() if name.startswith("annex/trail/")}
    lengths = {_chain_name(name): _chain(name, data) for name, data in chains.items()}
    anchors = _anchors(files, manifest, lengths)
    days = _ledger(files["public/ledger.csv"])
    return Checked(
        manifest,
        len(files),
        len(chains),
        sum(len(digests) - 1 for digests in lengths.values()),
        anchors,
        days,
    )


def sums(manifest: Manifest) -> bytes:
    """``SHA256SUMS`` for ``sha256sum -c``."""
    return "".join(f"{digest}  {name}\n" for name, digest in manifest.files.items()).encode()


def _chain_name(path: str) -> str:
    return path.removeprefix("annex/trail/").removesuffix(".jsonl")


def _chain(name: str, data: bytes) -> list[str]:
    """Digests of a chain by number, with that of the beginning at 0."""
    try:
        events = [AuditEvent.model_validate_json(line) for line in data.splitlines()]
    except ValidationError as error:
        raise AuditError(f"{name}: an event cannot be read") from error
    try:
        previous = FIRST
        for number, event in enumerate(events, 1):
            if event.seq != number or event.previous != previous:
                raise AuditError(f"{name}: event {number} is missing or does not follow")
            # What is private (R-460.5-b4) comes without its content; its digest stays in the chain.
            private = event.event in PRIVATE and not event.detail and not event.subjects
            if not private and digest(event.model_dump(mode="json")) != event.digest:
                raise AuditError(f"{name}: event {number} was altered")
            previous = event.digest
    except ValueError as error:
        raise AuditError(f"{name}: an event cannot be checked") from error
    return [FIRST, *(event.digest for event in events)]


def _anchors(files: dict[str, bytes], manifest: Manifest, chains: dict[str, list[str]]) -> int:
    number = 0
    for name in sorted(files):
        if not name.startswith("annex/anchors/"):
            continue
        try:
            public = crypto.public_from_bytes(base64.urlsafe_b64decode(manifest.anchor_key))
            document = crypto.SignedDocument.model_validate_json(files[name])
        except (ValueError, ValidationError) as error:
            raise AuditError(f"{name} is damaged") from error
        anchor = crypto.verify_document(document, ANCHOR, public, Anchor)
        for chain in anchor.chains:
            digests = chains.get(chain.chain.replace(":", "_"), [])
            if chain.events >= len(digests) or digests[chain.events] != chain.digest:
                raise AuditError(f"{chain.chain} does not agree with the anchor of {anchor.day}")
        number += 1
    return number


def _ledger(data: bytes) -> int:
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    for row in rows:
        try:
            took, *rest = (int(row[name]) for name in LEDGER[1:])
        except (KeyError, ValueError) as error:
            raise AuditError("the ledger cannot be read") from error
        if took != sum(rest):
            raise AuditError(f"the ledger of {row['day']} does not reconcile: {took} collected")
    return len(rows)


def as_json(checked: Checked) -> str:
    """What was found, for programs."""
    return json.dumps(
        {
            "agency": checked.manifest.agency,
            "from": checked.manifest.since.isoformat(),
            "to": checked.manifest.until.isoformat(),
            "files": checked.files,
            "chains": checked.chains,
            "events": checked.events,
            "anchors": checked.anchors,
            "days": checked.days,
            "whole": True,
        }
    )
