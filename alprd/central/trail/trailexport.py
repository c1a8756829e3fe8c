"""One person's trail for a misuse referral, with proof of the chains it was taken from (R-460.6-f).

Events of central and of every car in which the person acted, or that are about them. Each event
stands whole, with its digest and the digest of the one before it, so that anybody can reckon it
again; the first record names, for every chain, its length and the digests of its first and last
event as central holds them, after all of it was checked. The last record is the SHA-256 of
everything before it. Plates that a person typed stay encrypted in their events (R-AT-4).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from alprd.audit import Actor, verify_chain
from alprd.central.storage import audit, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import AuditEvent

COLUMNS: Final = (
    "chain", "seq", "at", "at_trusted", "local_offset", "event", "actor", "actor_name", "role",
    "device", "address", "session", "subjects", "detail", "version", "previous", "digest",
)  # fmt: skip
FORMATS: Final = (".jsonl", ".csv")
Chain = tuple[dict[str, Any], list[AuditEvent]]


def export(
    central: Central, person: str, since: datetime, until: datetime, file: Path, by: Actor
) -> dict[str, Any]:
    """Write the trail of a person from ``since`` to before ``until``; the counts and the digest.

    ``file`` ends in ``.jsonl`` or ``.csv``; it is made with mode 0600. With CSV the chains and
    the SHA-256 of the file stand in ``FILE.proof.json``.

    Raises:
        InputError: the file exists, cannot be written or has another ending; the window is empty.
        AuditError: a chain is broken, or the export cannot be recorded; nothing is left then.
    """
    proof_file = file.with_name(file.name + ".proof.json")
    if file.suffix not in FORMATS:
        raise InputError(f"{file.name} ends in none of {', '.join(FORMATS)}")
    if since >= until:
        raise InputError("the window is empty", remedy="give --from before --to")
    made: list[Path] = []
    try:
        with central.database.write() as tx:  # the chains stand still meanwhile
            chains = [_taken(chain, person, since, until) for chain in _chains(central, tx)]
            now = central.clock()
            head = {
                "kind": "alprd-trail-of-a-person", "version": 1, "agency": central.config.agency,
                "person": person, "from": since.isoformat(), "to": until.isoformat(),
                "exported_at": now.isoformat(), "exported_by": by.id,
                "chains": [proof for proof, _ in chains],
            }  # fmt: skip
            as_csv = file.suffix == ".csv"
            data = _csv(chains) if as_csv else _lines(head, chains)
            digest = hashlib.sha256(data).hexdigest()
            number = sum(len(events) for _, events in chains)
            central.trail.record(
                tx, Event.TRAIL_EXPORTED, by, at=now, subjects=[person],
                detail={
                    "from": since.isoformat(), "to": until.isoformat(), "events": number,
                    "sha256": digest,
                },
            )  # fmt: skip
            if as_csv:
                proof = json.dumps(head | {"sha256": digest}, indent=1).encode() + b"\n"
                write_new(proof_file, proof, made)
            write_new(file, data, made)
    except BaseException:  # what was not recorded does not exist (R-AT-3)
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return {"person": person, "file": str(file), "events": number, "sha256": digest}


def _chains(central: Central, tx: Connection) -> Iterator[tuple[str, list[AuditEvent]]]:
    yield f"central:{central.config.agency}", list(audit.events(tx))
    table = db.car_events
    cars: dict[str, list[AuditEvent]] = {}
    query = select(table).order_by(table.c.enrolment, table.c.seq)
    for row in tx.execute(query):
        name = f"car:{row.vehicle}:{row.enrolment}"
        cars.setdefault(name, []).append(AuditEvent.model_validate_json(row.document))
    yield from cars.items()


def _taken(
    chain: tuple[str, list[AuditEvent]], person: str, since: datetime, until: datetime
) -> Chain:
    name, events = chain
    length = verify_chain(events)
    proof = {
        "chain": name,
        "events": length,
        "first_digest": events[0].digest if events else "",
        "last_digest": events[-1].digest if events else "",
    }
    return proof, [one for one in events if since <= one.at < until and _about(one, person)]


def _about(event: AuditEvent, person: str) -> bool:
    return person in (event.actor, *event.subjects) or event.detail.get("person") == person


def _lines(head: dict[str, Any], chains: list[Chain]) -> bytes:
    lines = [json.dumps(head)]
    for proof, events in chains:
        lines += [
            json.dumps({"chain": proof["chain"], "event": one.model_dump(mode="json")})
            for one in events
        ]
    body = "".join(f"{line}\n" for line in lines).encode()
    last = json.dumps({"sha256_of_all_before": hashlib.sha256(body).hexdigest()})
    return body + f"{last}\n".encode()


def _csv(chains: list[Chain]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for proof, events in chains:
        for one in events:
            fields = one.model_dump(mode="json")
            fields |= {key: json.dumps(fields[key]) for key in ("subjects", "detail")}
            row = {"chain": proof["chain"]} | fields
            writer.writerow({name: plain_cell(row.get(name)) for name in COLUMNS})
    return out.getvalue().encode()


def plain_cell(value: object) -> object:
    """A text that a spreadsheet could run is quoted."""
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value


def write_new(file: Path, data: bytes, made: list[Path]) -> None:
    """Write a file that does not exist yet, mode 0600, durable; noted in ``made``.

    Raises:
        InputError: it exists, or cannot be written.
    """
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise InputError(f"{file} exists", remedy="name another file: none is replaced") from error
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from error
    made.append(file)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from error
