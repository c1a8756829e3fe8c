"""``alprd-central assessments``: the register of yearly security assessments (R-13.055-6)."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import FILE, HOME, JSON, by_signed, errors, instant, show
from alprd.central.oversight import assessments
from alprd.central.storage.store import Central


@click.group("assessments")
def assessments_group() -> None:
    """Yearly security assessments (§ 13.055 subd. 6)."""


@assessments_group.command("enter")
@HOME
@click.option("--done", required=True, help="When the assessment was done.")
@click.option("--paper", type=FILE, required=True)
@by_signed
@JSON
@errors
def assessments_enter(home: Path, done: str, paper: Path, by: str, as_json: bool) -> None:
    """Enter an assessment with its paper; shows when the next is due."""
    with Central(home) as central:
        row = assessments.enter(
            central, sign(central, by), instant(done, "--done"), paper.read_bytes()
        )
    due = row.next_due
    show(
        as_json,
        {"id": row.id, "next": due.isoformat()},
        f"{row.id}  the next is due by {due:%Y-%m-%d}",
    )


@assessments_group.command("list")
@HOME
@JSON
@errors
def assessments_list(home: Path, as_json: bool) -> None:
    """The register, newest first, and when the next is due."""
    with Central(home) as central, central.database.read() as tx:
        rows, due = assessments.register(tx), assessments.next_due(tx)
    lines = [f"{row.done_at:%Y-%m-%d}  {row.id}  entered by {row.recorded_by}" for row in rows]
    lines.append(f"the next is due by {due:%Y-%m-%d}" if due else "none on file: one is due now")
    shown = [
        {"id": row.id, "done": row.done_at, "by": row.recorded_by, "sha256": row.sha256}
        for row in rows
    ]
    show(
        as_json, {"assessments": shown, "next": due.isoformat() if due else None}, "\n".join(lines)
    )
