"""``alprd-central people``, ``lists`` and ``suppression``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from alprd.central import lists, people
from alprd.central.clikit import BY, HOME, JSON, errors, instant, password_line, show
from alprd.central.store import Central
from alprd.records import Category


@click.group("people")
def people_group() -> None:
    """People, roles, training and authorisations."""


@people_group.command("add")
@HOME
@click.option("--id", "person_id", required=True)
@click.option("--name", required=True)
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(people.ROLES))
@click.option("--password-stdin", is_flag=True, required=True, help="First line of stdin.")
@click.option("--training-expires", required=True, help="ISO date.")
@click.option("--authorised-until", required=True, help="ISO date.")
@click.option(
    "--clearance", "clearances", multiple=True, type=click.Choice(list(get_args(Category)))
)
@BY
@JSON
@errors
def people_add(
    home: Path,
    person_id: str,
    name: str,
    roles: tuple[str, ...],
    password_stdin: bool,
    training_expires: str,
    authorised_until: str,
    clearances: tuple[Category, ...],
    by: str,
    as_json: bool,
) -> None:
    """Add a person, or replace what is known of one."""
    with Central(home) as central:
        people.add(
            central,
            person_id=person_id,
            name=name,
            roles=roles,
            password=password_line(),
            training_expires=instant(training_expires, "--training-expires"),
            authorised_until=instant(authorised_until, "--authorised-until"),
            clearances=clearances,
            by=people.named_actor(central, by),
        )
    show(as_json, {"id": person_id, "roles": list(roles)}, f"{person_id}: {', '.join(roles)}")


@click.group("lists")
def lists_group() -> None:
    """Hotlists."""


def _report(as_json: bool, report: lists.ImportReport) -> None:
    values = {
        "list_id": report.list_id,
        "version": report.version,
        "entries": report.entries,
        "counts": report.counts,
        "rejected": [{"line": line, "reason": reason} for line, reason in report.rejected],
    }
    lines = [f"{report.list_id}: {report.entries} entries, {len(report.rejected)} lines rejected"]
    lines += [f"  line {line}: {reason}" for line, reason in report.rejected]
    show(as_json, values, "\n".join(lines))


@lists_group.command("import")
@HOME
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "list_id", required=True)
@click.option("--source", required=True)
@click.option("--supplied-at", required=True, help="ISO time at which the supplier made it.")
@BY
@JSON
@errors
def lists_import(
    home: Path, file: Path, list_id: str, source: str, supplied_at: str, by: str, as_json: bool
) -> None:
    """Take in a hotlist (plate,state,type,category,source,entered,text)."""
    with Central(home) as central:
        report = lists.import_hotlist(
            central,
            file,
            list_id=list_id,
            source=source,
            supplied_at=instant(supplied_at, "--supplied-at"),
            actor=people.named_actor(central, by),
        )
    _report(as_json, report)


@click.group("suppression")
def suppression_group() -> None:
    """Address-confidentiality requests; private."""


@suppression_group.command("import")
@HOME
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Drop entries that the file does not have.")
@BY
@JSON
@errors
def suppression_import(home: Path, file: Path, replace: bool, by: str, as_json: bool) -> None:
    """Add plates (plate,state) that no car may keep or show."""
    with Central(home) as central:
        actor = people.named_actor(central, by)
        report = lists.import_suppression(central, file, actor=actor, replace=replace)
    _report(as_json, report)
