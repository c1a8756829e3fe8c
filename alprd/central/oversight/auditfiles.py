"""Audit packages that a page built: checked, kept sealed for a day, fetched by their builder alone.

A package may hold more than another person of the same role may see (the figures of private
requests), so it is bound to whoever built it. It is checked as an auditor checks it before it is
offered: a package that does not verify must never leave the agency.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from alprd import crypto
from alprd.central.oversight import auditcheck, auditpackage
from alprd.central.oversight.auditcheck import Checked
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, InputError, StoreError
from alprd.records import new_id
from alprd.wire import Person

KEPT: Final = timedelta(days=1)
_FOLDER: Final = "audit-packages"
_PURPOSE: Final = "audit packages"


def build(
    central: Central,
    person: Person,
    since: datetime,
    until: datetime,
    report: Callable[[int, int], None],
) -> tuple[str, Checked]:
    """Build, check and keep a package; its id, and what the check found.

    Raises:
        RefusedError, InputError, AuditError: as :func:`alprd.central.oversight.auditpackage.build`.
        SignatureError: what was built does not verify.
        StoreError: it cannot be written.
    """
    content = auditpackage.build(central, person, since, until, report)
    checked = auditcheck.check(content, central.receipt_key().public_key())
    name = new_id()
    sealed = seal(central.keystore.purpose_key(_PURPOSE), content, _aad(name, person))
    try:
        folder = central.home / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        crypto.write_secret(folder / name, sealed)
    except OSError as error:
        raise StoreError("the package cannot be kept", remedy="look at the disk") from error
    return name, checked


def take(central: Central, person: Person, name: str) -> bytes:
    """A package for the person who built it; recorded.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: there is none of that person's with this id (any more).
    """
    now = central.clock()
    people.require(person, Act.AUDIT_PACKAGE, now)
    try:
        if not (name.isascii() and name.isalnum()):
            raise OSError
        sealed = (central.home / _FOLDER / name).read_bytes()
        content = unseal(central.keystore.purpose_key(_PURPOSE), sealed, _aad(name, person))
    except (OSError, EnvelopeError) as error:
        raise InputError(
            "there is no package of yours with this id", remedy="it is kept for a day; build anew"
        ) from error
    with central.database.write() as tx:
        central.trail.record(
            tx,
            Event.AUDIT_PACKAGE_TAKEN,
            people.actor(person),
            at=now,
            detail={"sha256": crypto.sha256_hex(content)},
        )
    return content


def sweep(central: Central) -> int:
    """Remove what has lain for a day, and what a crash left half written; how many."""
    gone = 0
    for path in _files(central):
        try:
            made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if central.clock() - made >= KEPT:
                path.unlink()
                gone += 1
        except FileNotFoundError:  # another worker was faster
            continue
    return gone


def _files(central: Central) -> list[Path]:
    folder = central.home / _FOLDER
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _aad(name: str, person: Person) -> bytes:
    return f"audit-package {name} {person.id}".encode()
