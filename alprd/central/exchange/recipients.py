"""Agencies that may receive reads: the register that a release request is matched to (R-460.7-a1).

Each has its kind, its ORI where known, a contact and the certificate whose key packages are
encrypted to. How the certificate was verified (a call to a known number, say) is part of the row:
a package for a wrong key is a breach. Rows are retired, never removed.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import Field
from sqlalchemy import Connection, insert, select, update

from alprd.central.hotlists.entry import in_own_words
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import release_tables as tables
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Name, Utc
from alprd.wire import Person

Kind = Literal["law_enforcement", "prosecutor", "other_law"]
KINDS: Final[dict[str, str]] = {
    "law_enforcement": "Law enforcement agency",
    "prosecutor": "Prosecutorial agency",
    "other_law": "Another recipient that a law names",
}
MIN_BITS: Final = 2048
_ORI: Final = re.compile(r"[A-Z]{2}[A-Z0-9]{7}")


class Agency(Closed):
    """A row of the register."""

    id: Name
    name: Annotated[str, Field(min_length=3, max_length=200)]
    kind: Kind
    ori: str = ""
    contact: Annotated[str, Field(min_length=3, max_length=200)]
    certificate: str
    """PEM of an X.509 certificate with an RSA key."""
    verified: str
    """How the agency's staff made sure that the certificate is the recipient's."""
    set_by: str
    set_at: Utc
    retired: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in pairs, as one reads it out on the telephone."""
        digest = load_certificate(self.certificate).fingerprint(hashes.SHA256()).hex().upper()
        return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def load_certificate(pem: str) -> x509.Certificate:
    """The recipient's certificate.

    Raises:
        InputError: no certificate, or no RSA key of 2048 bits or more in it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        key = certificate.public_key()
    except ValueError as error:
        raise InputError(
            "the recipient's certificate cannot be read", remedy="ask for it in PEM form"
        ) from error
    # CMS key transport is for RSA; an elliptic key could not be encrypted to.
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_BITS:
        raise InputError(
            f"the recipient's certificate has no RSA key of {MIN_BITS} bits or more",
            remedy="ask for an S/MIME encryption certificate",
        )
    return certificate


def put(central: Central, person: Person, agency: Agency) -> Agency:
    """Enter an agency, or change its row.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: a certificate, ORI or note that cannot be.
    """
    now = central.clock()
    people.require(person, Act.AGENCIES_SET, now)
    if agency.ori and not _ORI.fullmatch(agency.ori):
        raise InputError("the ORI is not nine letters and digits", remedy="such as MN0030000")
    certificate = load_certificate(agency.certificate)
    if certificate.not_valid_after_utc <= now:
        raise InputError("the recipient's certificate has expired", remedy="ask for a new one")
    in_own_words("verified", agency.verified)
    agency = agency.model_copy(update={"set_by": person.id, "set_at": now})
    table = tables.agencies
    values = {"document": agency.model_dump_json(), "changed_at": now}
    with central.database.write() as tx:
        known = tx.scalar(select(table.c.id).where(table.c.id == agency.id)) is not None
        if known:
            tx.execute(update(table).where(table.c.id == agency.id).values(**values))
        else:
            tx.execute(insert(table).values(id=agency.id, **values))
        central.trail.record(
            tx,
            Event.AGENCY_SET,
            people.actor(person),
            at=now,
            subjects=[agency.id],
            detail={
                "kind": agency.kind,
                "ori": agency.ori,
                "fingerprint": agency.fingerprint,
                "verified": agency.verified.strip(),
                "retired": agency.retired,
                "changed": known,
            },
        )
    return agency


def find(tx: Connection, agency: str) -> Agency:
    """A live agency of the register.

    Raises:
        InputError: there is none, or it is retired.
    """
    table = tables.agencies
    document = tx.scalar(select(table.c.document).where(table.c.id == agency))
    found = None if document is None else Agency.model_validate_json(document)
    if found is None or found.retired:
        raise InputError(
            "this agency is not in the register",
            remedy="an administration supervisor enters it with its certificate",
        )
    return found


def every(central: Central, person: Person) -> list[Agency]:
    """The register, by name.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    people.require(person, Act.RELEASE_SEE, central.clock(), Act.RELEASE_PREPARE)
    with central.database.read() as tx:
        rows = tx.scalars(select(tables.agencies.c.document)).all()
    return sorted((Agency.model_validate_json(row) for row in rows), key=lambda a: a.name)


def require_fit(agency: Agency, citation: str, opinion: str) -> None:
    """Refuse a recipient that no rule names (R-460.7-0, -e).

    Raises:
        RefusedError: a recipient of another kind without the law's citation and the county
            attorney's opinion.
    """
    if agency.kind == "other_law" and (len(citation.strip()) < 5 or len(opinion.strip()) < 5):
        raise RefusedError(
            "reads go to law enforcement and prosecutorial agencies only; another recipient needs "
            "the law's citation and the county attorney's opinion",
            reason="no_citation",
            remedy="give --citation and --opinion (R-460.7-0, -e)",
        )
