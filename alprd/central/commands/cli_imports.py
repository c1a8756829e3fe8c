"""``alprd-central imports``: reads of another agency (docs/imports.md)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.cli_search import AS, PASSWORD
from alprd.central.commands.clikit import HOME, JSON, errors, show
from alprd.central.exchange import foreign
from alprd.central.storage.store import Central

_FILE: Final = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group("imports")
def imports_group() -> None:
    """Reads of another agency (R-460.5-3)."""


@imports_group.command("show")
@_FILE
@JSON
@errors
def show_package(file: Path, as_json: bool) -> None:
    """Print what a package says of itself; nothing is taken in."""
    said, sha256 = foreign.head(file)
    text = f"{said.sender}, {said.reference}, made {said.made:%Y-%m-%d}\nterms: {said.terms}"
    show(as_json, said.model_dump(mode="json") | {"sha256": sha256}, f"{text}\nSHA-256 {sha256}")


@imports_group.command("ask-link")
@HOME
@_FILE
@click.option("--case", required=True)
@click.option("--relation", required=True, help="How the older reads relate to the case.")
@AS
@PASSWORD
@JSON
@errors
def ask_link(
    home: Path,
    file: Path,
    case: str,
    relation: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Ask for a link of reads past their life; another person approves it (cases approve)."""
    with Central(home) as central:
        person = sign(central, person_id)
        row = foreign.ask_link(central, person, file, case=case, relation=relation)
    show(as_json, {"id": row.id, "state": row.state}, f"link {row.id} waits for its approval")


@imports_group.command("take")
@HOME
@_FILE
@click.option("--link", default="", help="Approved link for what is past its life.")
@click.option("--report", type=click.Path(path_type=Path), help="CSV: line,outcome,reason.")
@AS
@PASSWORD
@JSON
@errors
def take(
    home: Path,
    file: Path,
    link: str,
    report: Path | None,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Take a package in; repeating it doubles nothing."""
    with Central(home) as central:
        done = foreign.take(central, sign(central, person_id), file, link=link)
    if report is not None:
        with report.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(("line", "outcome", "reason"))
            writer.writerows((one.line, one.outcome, one.reason) for one in done.lines)
    values = {
        "transfer": done.transfer,
        "stored": done.count("stored"),
        "known": done.count("known"),
        "refused": done.count("refused"),
        "linked": done.linked,
        "lines": [{"line": o.line, "outcome": o.outcome, "reason": o.reason} for o in done.lines],
    }
    text = f"{values['stored']} stored, {values['known']} known, {values['refused']} refused"
    show(as_json, values, "\n".join([text, *foreign.each(done)]))


@imports_group.command("list")
@HOME
@AS
@PASSWORD
@JSON
@errors
def listing(home: Path, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """The register of transfers, newest first."""
    with Central(home) as central:
        rows = foreign.register(central, sign(central, person_id))
    lines = [
        f"{row['received_at']:%Y-%m-%d} {row['sender']}, {row['reference']}: "
        f"{row['stored']} stored, {row['refused']} refused, by {row['received_by']}"
        for row in rows
    ]
    show(as_json, {"transfers": rows}, "\n".join(lines) or "none")
