"""``alprd-central audit package|check|sample|enter|reported|ledger``: the biennial audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from alprd import crypto
from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import (
    FILE,
    FROM,
    HOME,
    ID,
    JSON,
    TO,
    by_signed,
    date_of,
    errors,
    instant,
    show,
)
from alprd.central.oversight import auditcheck, auditpackage, audits, samples
from alprd.central.records import ledger
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, InputError


@click.command("package")
@HOME
@FROM
@TO
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@by_signed
@JSON
@errors
def package(home: Path, since: str, until: str, out: Path, by: str, as_json: bool) -> None:
    """Build the biennial audit's package, a ZIP that verifies by itself."""
    with Central(home) as central:
        content = auditpackage.build(
            central, sign(central, by), instant(since, "--from"), instant(until, "--to")
        )
        key = crypto.public_bytes(central.receipt_key()).hex()
    crypto.write_secret(out, content)
    digest = crypto.sha256_hex(content)
    show(as_json, {"file": str(out), "sha256": digest, "key": key}, f"{out}\n{digest}\nkey {key}")


@click.command("check")
@click.argument("file", type=FILE)
@click.option("--key", required=True, help="The agency's public key (`audit package` prints it).")
@JSON
@errors
def check(file: Path, key: str, as_json: bool) -> None:
    """For auditors: check a package; needs no agency on this machine."""
    try:
        public = crypto.public_from_bytes(bytes.fromhex(key))
    except (ValueError, EnvelopeError) as error:
        raise InputError("--key: not a public key", remedy="130 hex digits") from error
    found = auditcheck.check(file.read_bytes(), public)
    text = (
        f"whole: {found.files} files, {found.chains} chains with {found.events} events, "
        f"{found.anchors} anchors agree, ledger of {found.days} days reconciles"
    )
    show(as_json, json.loads(auditcheck.as_json(found)), text)


@click.command("sample")
@HOME
@click.option("--kind", type=click.Choice(samples.KINDS), required=True)
@click.option("--seed", required=True)
@click.option("--size", type=click.IntRange(1, samples.MOST), default=20, show_default=True)
@FROM
@TO
@by_signed
@JSON
@errors
def sample(
    home: Path,
    kind: samples.Kind,
    seed: str,
    size: int,
    since: str,
    until: str,
    by: str,
    as_json: bool,
) -> None:
    """Draw a seeded sample; the same seed gives the same sample."""
    with Central(home) as central:
        drawn = samples.draw(
            central,
            sign(central, by),
            kind,
            seed,
            size,
            instant(since, "--from"),
            instant(until, "--to"),
        )
    lines = [json.dumps(row, default=str) for row in drawn.rows]
    head = f"{len(drawn.rows)} of {drawn.population}, population {drawn.population_sha256}"
    values = {
        "population": drawn.population,
        "population_sha256": drawn.population_sha256,
        "rows": list(drawn.rows),
    }
    show(as_json, values, "\n".join([head, *lines]))


@click.command("enter")
@HOME
@click.option("--auditor", required=True)
@FROM
@TO
@click.option("--completed", required=True, help="Day of completion.")
@click.option("--reference", default="", help="The auditor's letter.")
@click.option("--results", type=FILE, required=True, help="The auditor's results.")
@by_signed
@JSON
@errors
def enter(
    home: Path,
    auditor: str,
    since: str,
    until: str,
    completed: str,
    results: Path,
    reference: str,
    by: str,
    as_json: bool,
) -> None:
    """Enter a completed audit."""
    with Central(home) as central:
        row = audits.enter(
            central,
            sign(central, by),
            auditor,
            date_of(since, "--from"),
            date_of(until, "--to"),
            date_of(completed, "--completed"),
            results.read_bytes(),
            reference,
        )
    text = f"{row.id}  report due by {row.report_due}"
    show(as_json, {"id": row.id, "report_due": row.report_due.isoformat()}, text)


@click.command("reported")
@HOME
@ID
@click.option("--day", required=True)
@click.option("--to", "recipients", required=True, help="To whom.")
@by_signed
@JSON
@errors
def reported(home: Path, row: str, day: str, recipients: str, by: str, as_json: bool) -> None:
    """Record that an audit's summary report went out."""
    with Central(home) as central:
        made = audits.reported(central, sign(central, by), row, date_of(day, "--day"), recipients)
    show(as_json, {"id": made.id}, f"{made.id}: reported")


@click.command("ledger")
@HOME
@JSON
@errors
def ledger_command(home: Path, as_json: bool) -> None:
    """Collected, destroyed, linked, held and live reads by day of collection."""
    with Central(home) as central, central.database.read() as tx:
        days = ledger.days(tx)
    rows = [
        {
            "day": d.day,
            "collected": d.collected,
            "destroyed": d.destroyed,
            "linked": d.linked,
            "held": d.held,
            "live": d.live,
            "reconciles": d.reconciles,
        }
        for d in days
    ]
    lines = [" ".join(str(value) for value in row.values()) for row in rows]
    show(as_json, {"days": rows}, "\n".join(lines) or "nothing was collected yet")


COMMANDS: Final = (package, check, sample, enter, reported, ledger_command)
