"""``alprd-central compliance run|list|sign``: the daily compliance run."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import HOME, JSON, by_signed, errors, show
from alprd.central.oversight import compliance
from alprd.central.storage.store import Central


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
@by_signed
@JSON
@errors
def compliance_list(home: Path, by: str, as_json: bool) -> None:
    """The last reports with their signatures."""
    with Central(home) as central:
        rows = compliance.reports(central, sign(central, by))
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
@by_signed
@JSON
@errors
def compliance_sign(home: Path, day: str, note: str, by: str, as_json: bool) -> None:
    """Sign a report."""
    with Central(home) as central:
        made = compliance.sign(central, sign(central, by), day, note)
    show(as_json, {"day": made.report.day}, f"{made.report.day}: signed")
