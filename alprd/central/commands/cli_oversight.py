"""``alprd-central audit package|check|sample|enter|reported``, ``compliance``, ``incidents``."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, Final

import click

from alprd import crypto
from alprd.central.commands.cli_cases import person_of
from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import BY, HOME, JSON, errors, instant, show
from alprd.central.oversight import (
    auditcheck,
    auditpackage,
    audits,
    breach,
    compliance,
    incident,
    samples,
)
from alprd.central.oversight.incident import Elements
from alprd.central.records import ledger
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, InputError

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_SIGNED: Final = click.option(
    "--password-stdin", is_flag=True, required=True, help="First line of stdin: your password."
)
_ID: Final = click.option("--id", "row", required=True, help="Id in the register.")
_REASON: Final = click.option("--reason", required=True, help="In your own words.")
_FROM: Final = click.option("--from", "since", required=True, help="ISO time, or a date.")
_TO: Final = click.option("--to", "until", required=True, help="ISO time, or a date.")


@click.command("package")
@HOME
@_FROM
@_TO
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@BY
@_SIGNED
@JSON
@errors
def package(
    home: Path, since: str, until: str, out: Path, by: str, password_stdin: bool, as_json: bool
) -> None:
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
@click.argument("file", type=_FILE)
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
@_FROM
@_TO
@BY
@_SIGNED
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
    password_stdin: bool,
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
@_FROM
@_TO
@click.option("--completed", required=True, help="Day of completion.")
@click.option("--results", type=_FILE, required=True, help="The auditor's results.")
@BY
@JSON
@errors
def enter(
    home: Path,
    auditor: str,
    since: str,
    until: str,
    completed: str,
    results: Path,
    by: str,
    as_json: bool,
) -> None:
    """Enter a completed audit."""
    with Central(home) as central:
        row = audits.enter(
            central,
            person_of(central, by),
            auditor,
            _day(since, "--from"),
            _day(until, "--to"),
            _day(completed, "--completed"),
            results.read_bytes(),
        )
    text = f"{row.id}  report due by {row.report_due}"
    show(as_json, {"id": row.id, "report_due": row.report_due.isoformat()}, text)


@click.command("reported")
@HOME
@_ID
@click.option("--day", required=True)
@click.option("--to", "recipients", required=True, help="To whom.")
@BY
@JSON
@errors
def reported(home: Path, row: str, day: str, recipients: str, by: str, as_json: bool) -> None:
    """Record that an audit's summary report went out."""
    with Central(home) as central:
        made = audits.reported(central, person_of(central, by), row, _day(day, "--day"), recipients)
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


@click.group("compliance")
def compliance_group() -> None:
    """The daily compliance run (R-460.5-1)."""


@compliance_group.command("run")
@HOME
@JSON
@errors
def compliance_run(home: Path, as_json: bool) -> None:
    """Make today's report when there is none yet, and show what is found now."""
    with Central(home) as central:
        compliance.keep_up(central)
        report = compliance.run(central, central.clock())
    lines = [f"{'!' if f.urgent else ' '} {f.area}: {f.text}" for f in report.findings]
    show(as_json, report.model_dump(mode="json"), "\n".join(lines) or "nothing found")


@compliance_group.command("list")
@HOME
@BY
@JSON
@errors
def compliance_list(home: Path, by: str, as_json: bool) -> None:
    """The last reports with their signatures."""
    with Central(home) as central:
        rows = compliance.reports(central, person_of(central, by))
    lines = [
        f"{row.report.day} {len(row.report.findings):>3} findings  "
        + (f"signed by {row.signed_by}" if row.signed_by else "not signed")
        for row in rows
    ]
    shown = [row.model_dump(mode="json") for row in rows]
    show(as_json, {"reports": shown}, "\n".join(lines) or "none")


@compliance_group.command("sign")
@HOME
@click.option("--day", required=True)
@click.option("--note", required=True, help="What you looked at and what follows.")
@BY
@_SIGNED
@JSON
@errors
def compliance_sign(
    home: Path, day: str, note: str, by: str, password_stdin: bool, as_json: bool
) -> None:
    """Sign a report."""
    with Central(home) as central:
        made = compliance.sign(central, sign(central, by), day, note)
    show(as_json, {"day": made.report.day}, f"{made.report.day}: signed")


@click.group("incidents")
def incidents_group() -> None:
    """The breach file (§ 13.055)."""


@incidents_group.command("open")
@HOME
@click.option("--kind", type=click.Choice(sorted(incident.KINDS)), required=True)
@click.option("--what", required=True)
@click.option("--discovered", required=True)
@BY
@JSON
@errors
def incident_open(
    home: Path, kind: incident.Kind, what: str, discovered: str, by: str, as_json: bool
) -> None:
    """Begin an incident."""
    with Central(home) as central:
        row = breach.open_incident(
            central, person_of(central, by), kind, what, instant(discovered, "--discovered")
        )
    _told(row, as_json)


@incidents_group.command("count")
@HOME
@_ID
@_FROM
@_TO
@click.option("--person", default="", help="Whose accesses.")
@click.option("--device", default="", help="From which machine.")
@BY
@JSON
@errors
def incident_count(
    home: Path, row: str, since: str, until: str, person: str, device: str, by: str, as_json: bool
) -> None:
    """Find the affected records in the trail."""
    with Central(home) as central:
        made = breach.affected(
            central,
            person_of(central, by),
            row,
            instant(since, "--from"),
            instant(until, "--to"),
            actor=person,
            device=device,
        )
    _told(made, as_json)


@incidents_group.command("decide")
@HOME
@_ID
@click.option("--acquired/--not-acquired", required=True)
@click.option("--not-public/--public", required=True)
@click.option("--compromised/--not-compromised", required=True)
@click.option("--good-faith/--no-good-faith", required=True)
@_REASON
@BY
@_SIGNED
@JSON
@errors
def incident_decide(
    home: Path, row: str, reason: str, by: str, password_stdin: bool, as_json: bool, **given: bool
) -> None:
    """Answer the decision table."""
    with Central(home) as central:
        made = breach.decide(central, sign(central, by), row, Elements(**given), reason)
    _told(made, as_json)


@incidents_group.command("plates")
@HOME
@_ID
@BY
@_SIGNED
@JSON
@errors
def incident_plates(home: Path, row: str, by: str, password_stdin: bool, as_json: bool) -> None:
    """The plates whose owners are to be told; the look is recorded."""
    with Central(home) as central:
        found = breach.plates(central, sign(central, by), row)
    lines = [f"{one['day']} {one['plate']} {one['state']}" for one in found]
    show(as_json, {"plates": found}, "\n".join(lines) or "none")


@incidents_group.command("notified")
@HOME
@_ID
@click.option("--people", "number", type=click.IntRange(1), required=True)
@click.option("--how", required=True)
@BY
@JSON
@errors
def incident_notified(home: Path, row: str, number: int, how: str, by: str, as_json: bool) -> None:
    """The people affected were told."""
    with Central(home) as central:
        made = breach.notified(central, person_of(central, by), row, number, how)
    _told(made, as_json)


@incidents_group.command("mark")
@HOME
@_ID
@click.option("--step", required=True)
@click.option("--reference", default="")
@BY
@JSON
@errors
def incident_mark(home: Path, row: str, step: str, reference: str, by: str, as_json: bool) -> None:
    """A step of the checklist was done."""
    with Central(home) as central:
        made = breach.mark(central, person_of(central, by), row, step, reference)
    _told(made, as_json)


@incidents_group.command("dispose")
@HOME
@_ID
@click.option("--results", required=True)
@click.option("--disposition", default="")
@click.option("--responsible", multiple=True)
@BY
@JSON
@errors
def incident_dispose(
    home: Path,
    row: str,
    results: str,
    disposition: str,
    responsible: tuple[str, ...],
    by: str,
    as_json: bool,
) -> None:
    """The investigation is complete and discipline final."""
    with Central(home) as central:
        made = breach.dispose(
            central, person_of(central, by), row, results, disposition, responsible
        )
    _told(made, as_json)


@incidents_group.command("report")
@HOME
@_ID
@BY
@JSON
@errors
def incident_report(home: Path, row: str, by: str, as_json: bool) -> None:
    """The report for affected people."""
    with Central(home) as central:
        text = breach.report(central, person_of(central, by), row)
    show(as_json, {"report": text}, text)


@incidents_group.command("close")
@HOME
@_ID
@_REASON
@BY
@_SIGNED
@JSON
@errors
def incident_close(
    home: Path, row: str, reason: str, by: str, password_stdin: bool, as_json: bool
) -> None:
    """Every duty is done: destroy the plates that were kept for it."""
    with Central(home) as central:
        made = breach.close(central, sign(central, by), row, reason)
    _told(made, as_json)


@incidents_group.command("delay")
@HOME
@_ID
@_REASON
@click.option("--review", required=True, help="When it is looked at again.")
@BY
@JSON
@errors
def incident_delay(home: Path, row: str, reason: str, review: str, by: str, as_json: bool) -> None:
    """The notice would impede an active criminal investigation."""
    with Central(home) as central:
        made = breach.delay(
            central, person_of(central, by), row, reason, instant(review, "--review")
        )
    _told(made, as_json)


@incidents_group.command("assessed")
@HOME
@click.option("--done", required=True, help="When the assessment was done.")
@click.option("--paper", type=_FILE, required=True)
@BY
@JSON
@errors
def assessed(home: Path, done: str, paper: Path, by: str, as_json: bool) -> None:
    """File the yearly security assessment."""
    with Central(home) as central:
        due = breach.assessed(
            central, person_of(central, by), instant(done, "--done"), paper.read_bytes()
        )
    show(as_json, {"next": due.isoformat()}, f"the next is due by {due:%Y-%m-%d}")


@incidents_group.command("list")
@HOME
@BY
@JSON
@errors
def incident_list(home: Path, by: str, as_json: bool) -> None:
    """The file, newest first."""
    with Central(home) as central:
        rows = breach.register(central, person_of(central, by))
    lines = [f"{r.discovered:%Y-%m-%d} {r.state:<9} {r.kind:<11} {r.id}" for r in rows]
    shown = [row.model_dump(mode="json") for row in rows]
    show(as_json, {"incidents": shown}, "\n".join(lines) or "none")


def _told(row: incident.Incident, as_json: bool) -> None:
    values: dict[str, Any] = row.model_dump(mode="json") | {"undone": list(row.undone())}
    show(as_json, values, f"{row.id}: {row.state}; to do: {', '.join(row.undone()) or 'nothing'}")


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option}: not a date", remedy="write 2026-01-31") from error
