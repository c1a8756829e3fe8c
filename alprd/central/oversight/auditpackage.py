"""The biennial audit's package: one file that shows everything and verifies by itself.

::

    audit-FROM-TO.zip
    ├── public/              what anyone may see (R-13.824-6-4)
    │   ├── HEADINGS.txt     the audit's headings, and which files answer each
    │   ├── log of use, fixed locations (as published), redacted trail with its field table
    │   ├── ledger.csv, destructions.csv, schedule.csv, policy.json, devices.csv
    ├── annex/               not public: for the auditor only
    │   ├── trail/*.jsonl    every chain from its first event, verbatim; anchors/*.json
    │   ├── people.jsonl, member-records.jsonl, searches.jsonl, legal-bases.jsonl
    │   ├── links-and-holds.jsonl, releases.jsonl, requests.jsonl, incidents.jsonl
    │   ├── lists.csv, notices.csv, compliance.jsonl, exceptions.jsonl
    │   └── restricted/address-confidentiality.json   (only for who may see requests)
    ├── __main__.py          the check, for a Python without alprd (standalone.py)
    ├── SHA256SUMS
    └── manifest.json        digests of all files, signed by the agency

Reads are not in it: no plate that a reader collected, no picture, no place. Plates that people
typed stay encrypted in the trail's events. ``python3 -I audit.zip KEY`` verifies it on another
machine with nothing but the file and the public key
(:mod:`alprd.central.oversight.standalone`), and so does
:func:`alprd.central.oversight.auditcheck.check` where alprd is installed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import Connection, select

from alprd import crypto
from alprd.central.exchange import outside, release
from alprd.central.grounds import legalbasis
from alprd.central.oversight import breach, compliance, standalone, weekly
from alprd.central.oversight.auditcheck import KIND, LEDGER, Manifest, sums
from alprd.central.public import bcanotices, publiclog, publicsite, publictrail, readers, redactions
from alprd.central.records import confidentiality, exemptions, ledger, schedule
from alprd.central.staff import people
from alprd.central.staff.permissions import Act, may
from alprd.central.storage import db, trailheads
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.central.trail import anchors, trailcheck, trailview
from alprd.errors import InputError
from alprd.wire import AuditEvent, Person

LONGEST: Final = timedelta(days=3 * 366)
_STEPS: Final = 4
"""The trail is checked; public part, annex, signature."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
HEADINGS: Final = (
    ("Background and inventory", "public/devices.csv"),
    ("Policy and written procedures", "public/policy.json"),
    ("Data classification", "public/ledger.csv, annex/links-and-holds.jsonl"),
    ("Data collected", "public/ledger.csv"),
    ("Retention and destruction", "public/destructions.csv, public/schedule.csv"),
    ("Log of use", "public/log/"),
    ("Fixed locations", "public/log/"),
    ("Notification of the BCA", "annex/notices.csv"),
    ("Authorisation and access control", "annex/people.jsonl, annex/member-records.jsonl"),
    ("Audit trail and use", "public/trail.csv, annex/trail/, annex/searches.jsonl"),
    ("Sharing", "annex/releases.jsonl, annex/requests.jsonl"),
    ("Breach notification", "annex/incidents.jsonl"),
    ("The biennial audit itself", "annex/compliance.jsonl, annex/exceptions.jsonl"),
)


def build(
    central: Central,
    person: Person,
    since: datetime,
    until: datetime,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """The package of a span of time, as a ZIP; the act is in the trail that it holds.

    Raises:
        RefusedError: the role, or no live training or authorisation.
        InputError: a span that is empty or longer than three years.
        AuditError: a chain of the trail is broken; the package would prove nothing.
    """
    now = central.clock()
    people.require(person, Act.AUDIT_PACKAGE, now)
    if not since < until <= since + LONGEST:
        raise InputError("the span is empty or longer than three years", remedy="--from, --to")
    with central.database.write() as tx:
        central.trail.record(
            tx,
            Event.AUDIT_PACKAGED,
            people.actor(person),
            at=now,
            detail={"from": since.isoformat(), "to": until.isoformat()},
        )
    report(0, _STEPS)
    result = trailcheck.verify(central)
    report(1, _STEPS)
    with central.database.read() as tx:
        files = _public(central, tx, since, until)
        report(2, _STEPS)
        files |= _annex(central, tx, since, until, person)
        report(3, _STEPS)
    files["public/verification.json"] = _json(
        {
            "whole": result.whole,
            "chains": len(result.chains),
            "anchors": result.anchors,
            "anchors_apart": result.apart,
            "checked_at": now.isoformat(),
        }
    )
    files["__main__.py"] = Path(standalone.__file__).read_bytes()
    manifest = Manifest(
        agency=central.config.agency_name,
        since=since,
        until=until,
        made_at=now,
        made_by=person.id,
        anchor_key=anchors.public_key(central) if result.anchors else "",
        files={name: crypto.sha256_hex(data) for name, data in sorted(files.items())},
    )
    signed = crypto.sign_document(KIND, manifest, central.receipt_key())
    whole = {**files, "SHA256SUMS": sums(manifest), "manifest.json": _json(signed.model_dump())}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(whole.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return out.getvalue()


def _public(central: Central, tx: Connection, since: datetime, until: datetime) -> dict[str, bytes]:
    first, last = since.date().isoformat(), until.date().isoformat()
    files = {f"public/log/{name}": data for name, data in publicsite.files(central).items()}
    headings = "\n".join(f"{number}. {heading}\n   {where}\n" for number, (heading, where) in
                         enumerate(HEADINGS, 1))  # fmt: skip
    files["public/HEADINGS.txt"] = headings.encode()
    files["public/policy.json"] = central.config.policy.model_dump_json(indent=1).encode()
    files["public/ledger.csv"] = _csv(
        LEDGER,
        (
            (d.day, d.collected, d.destroyed, d.linked, d.held, d.live)
            for d in ledger.days(tx, first, last)
        ),
    )
    gone = db.destructions
    rows = tx.execute(
        select(gone).where(gone.c.at >= since, gone.c.at < until).order_by(gone.c.number)
    )
    files["public/destructions.csv"] = _csv(
        ("at", "collection_day", "classification", "count", "result"),
        (
            (row.at.isoformat(), row.collection_day, row.classification, row[5], row.result)
            for row in rows
        ),
    )
    files["public/schedule.csv"] = _csv(
        ("record_type", "what", "citation", "days"),
        (
            (row["record_type"], row["what"], row["citation"] or "", row["days"] or "kept")
            for row in schedule.table(central)
        ),
    )
    files["public/devices.csv"] = _csv(
        ("kind", "installed", "first_used", "retired"),
        (
            (row.kind, row.installed or "", row.first_used or "", row.retired or "")
            for row in readers.register(tx)
        ),
    )
    acts = list(publictrail.acts(central, tx, since, until))
    files["public/trail.csv"] = publiclog.table_csv(redactions.NAMES, acts).encode()
    files["public/trail-fields.csv"] = publictrail.classification(redactions.in_force(tx))
    return files


def _annex(
    central: Central, tx: Connection, since: datetime, until: datetime, person: Person
) -> dict[str, bytes]:
    files = dict(_trail(central, tx))
    table = db.audit
    searches = tx.scalars(
        select(table.c.document)
        .where(table.c.at >= since, table.c.at < until, table.c.event.like("search.%"))
        .order_by(table.c.seq)
    )
    files["annex/searches.jsonl"] = _lines(searches)
    everyone = [one.model_dump(mode="json") for one in people.everyone(tx)]
    for one in everyone:  # a verifier or a secret is no business of an auditor
        one.pop("verifier", None)
        one.pop("totp", None)
    files["annex/people.jsonl"] = _lines(json.dumps(one, sort_keys=True) for one in everyone)
    facts = select(db.member_records.c.document).order_by(db.member_records.c.recorded_at)
    files["annex/member-records.jsonl"] = _lines(tx.scalars(facts))
    files["annex/legal-bases.jsonl"] = _models(legalbasis.every(central, tx))
    kept = (row.model_copy(update={"plates": ()}) for row in exemptions.every(central, tx))
    files["annex/links-and-holds.jsonl"] = _models(kept)
    files["annex/releases.jsonl"] = _models(release.every(central, tx))
    asked = (
        row.model_copy(update={"lookup": None}) if row.lookup else row
        for row in outside.every(central, tx)
    )
    files["annex/requests.jsonl"] = _models(asked)
    files["annex/incidents.jsonl"] = _models(breach.every(central, tx))
    files["annex/compliance.jsonl"] = _models(compliance.every(central, tx))
    files["annex/exceptions.jsonl"] = _models(weekly.every(central, tx))
    versions = db.list_versions
    files["annex/lists.csv"] = _csv(
        ("number", "target", "sha256", "published_at"),
        (
            (row.number, row.target, row.sha256, row.published_at.isoformat())
            for row in tx.execute(select(versions).order_by(versions.c.number))
        ),
    )
    today = readers.today(central)
    files["annex/notices.csv"] = _csv(
        ("device", "what", "begun", "due", "state"),
        (
            (
                duty.device,
                duty.what,
                duty.begun.isoformat(),
                duty.due.isoformat(),
                duty.state(today, bcanotices.sent_day(central, duty)),
            )
            for duty in bcanotices.duties(central, tx)
        ),
    )
    if may(person, Act.CONFIDENTIALITY):
        files["annex/restricted/address-confidentiality.json"] = _json(
            confidentiality.figures(central, tx)
        )
    return files


def _trail(central: Central, tx: Connection) -> Iterable[tuple[str, bytes]]:
    """Every chain from its first event: only so does the chain verify."""
    yield (
        f"annex/trail/{trailheads.CENTRAL_CHAIN}.jsonl",
        _lines(_shown(tx.scalars(select(db.audit.c.document).order_by(db.audit.c.seq)))),
    )
    table = db.car_events
    cars: dict[str, list[str]] = {}
    for row in tx.execute(select(table).order_by(table.c.enrolment, table.c.seq)):
        name = trailheads.car_chain(row.vehicle, row.enrolment).replace(":", "_")
        cars.setdefault(name, []).append(row.document)
    for name, documents in cars.items():
        yield f"annex/trail/{name}.jsonl", _lines(_shown(documents))
    for path, _ in anchors.every(central):
        yield f"annex/anchors/{path.name}", path.read_bytes()


def _shown(documents: Iterable[str]) -> Iterable[str]:
    """Events as an auditor may see them; what is private keeps its digest, so the chain holds."""
    for document in documents:
        event = AuditEvent.model_validate_json(document)
        told = trailview.shown(event)
        yield document if told is event else told.model_dump_json()


def _models(rows: Iterable[BaseModel]) -> bytes:
    return _lines(row.model_dump_json() for row in rows)


def _lines(rows: Iterable[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def _csv(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> bytes:
    table = [dict(zip(head, (str(cell) for cell in row), strict=True)) for row in rows]
    return publiclog.table_csv(head, table).encode()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, default=str) + "\n").encode()
