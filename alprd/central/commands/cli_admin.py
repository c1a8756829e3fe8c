"""``alprd-central people``, ``lists``, ``suppression``, and the end of a car."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, get_args

import click
from rich.console import Console
from rich.progress import Progress

from alprd.central.commands.clikit import BY, HOME, JSON, errors, instant, password_line, show
from alprd.central.fleet import vehicles, wipes
from alprd.central.hotlists import lists
from alprd.central.hotlists.hotfiles.layouts import LAYOUTS, mapping_text
from alprd.central.publication import publish
from alprd.central.records import protected
from alprd.central.staff import people
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.wire import Clearance


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
    "--clearance", "clearances", multiple=True, type=click.Choice(list(get_args(Clearance)))
)
@click.option("--screening", default="", help="Reference of the completed screening.")
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
    clearances: tuple[Clearance, ...],
    screening: str,
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
            screening=screening,
        )
    show(as_json, {"id": person_id, "roles": list(roles)}, f"{person_id}: {', '.join(roles)}")


@click.group("lists")
def lists_group() -> None:
    """Hotlists."""


HELD: Final = 3
"""Exit code of an import that waits for a person."""


def report_import(as_json: bool, report: lists.ImportReport) -> None:
    """Print what an import did; ends the program with :data:`HELD` when it waits."""
    values: dict[str, Any] = {
        "list_id": report.list_id,
        "version": report.version,
        "entries": report.entries,
        "counts": report.counts,
        "layout": report.layout,
        "rejected": [{"line": line, "reason": reason} for line, reason in report.rejected],
        "rejected_total": max(report.rejected_total, len(report.rejected)),
    }
    total = values["rejected_total"]
    if report.rejected_report:
        values["rejected_report"] = report.rejected_report
    if report.remedy:
        values["remedy"] = report.remedy
    lines = [f"{report.list_id}: {report.entries} entries, {total} lines rejected"]
    lines += [f"  line {line}: {reason}" for line, reason in report.rejected]
    if total > len(report.rejected):
        lines += [f"  and {total - len(report.rejected)} more"]
    if report.rejected_report:
        lines += [f"  all of them: `alprd-central lists rejected {report.rejected_report}`"]
    if report.remedy:
        lines += [f"  remedy: {report.remedy}"]
    if report.held:
        values["held"] = report.held
        values["findings"] = [{"code": f.code, "text": f.text} for f in report.findings]
        lines += [f"HELD as {report.held}; the list in use stays. What looks wrong:"]
        lines += [f"  {finding.code}: {finding.text}" for finding in report.findings]
        lines += ["  remedy: look at it with `alprd-central lists show`, then accept or refuse it"]
    show(as_json, values, "\n".join(lines))
    if report.held:
        sys.exit(HELD)


@lists_group.command("import")
@HOME
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "list_id", required=True)
@click.option("--source", required=True)
@click.option("--supplied-at", required=True, help="ISO time at which the supplier made it.")
@click.option(
    "--layout", type=click.Choice(sorted(LAYOUTS)), help="Default: recognised by the first lines."
)
@click.option("--mapping", type=click.Path(path_type=Path), help="TOML file, for other layouts.")
@click.option("--code", default="", help="What the entries are, for files without a code.")
@click.option("--state", default="", help="Their issuing state, for files without one.")
@click.option("--rejected", type=click.Path(path_type=Path), help="CSV file: line,reason.")
@BY
@JSON
@errors
def lists_import(
    home: Path,
    file: Path,
    list_id: str,
    source: str,
    supplied_at: str,
    layout: str | None,
    mapping: Path | None,
    code: str,
    state: str,
    rejected: Path | None,
    by: str,
    as_json: bool,
) -> None:
    """Take in a hotlist in one of the layouts of docs/hotlist-format.md."""
    if layout and mapping:
        raise InputError("--layout and --mapping exclude each other")
    when = instant(supplied_at, "--supplied-at")
    console = Console(stderr=True)
    with (
        Central(home) as central,
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("reading", total=None)
        report = lists.import_hotlist(
            central,
            file,
            list_id=list_id,
            source=source,
            supplied_at=when,
            actor=people.named_actor(central, by),
            layout=layout or "",
            mapping=mapping_text(mapping) if mapping else "",
            code=code,
            state=state,
            rejected_to=rejected,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    report_import(as_json, report)


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
        report = protected.import_suppression(central, file, actor=actor, replace=replace)
    report_import(as_json, report)


@click.command("list")
@HOME
@JSON
@errors
def vehicles_list(home: Path, as_json: bool) -> None:
    """Every car with its last contact and the health it last reported."""
    with Central(home) as central:
        found = vehicles.listing(central)
    lines = [f"{row['vehicle']:<16} {row['state']:<10} {_doing(row)}" for row in found]
    show(as_json, {"vehicles": found}, "\n".join(lines) or "no cars")


def _doing(row: dict[str, Any]) -> str:
    health = row["health"]
    if health is None:
        return "has reported no health yet"
    told = [*health["problems"], *health["warnings"]]
    return f"{row['health_at']:%Y-%m-%d %H:%M}Z {'; '.join(told) or 'all is well'}"


@click.command("kill")
@HOME
@click.option("--vehicle", required=True)
@click.option("--reason", required=True, help="Why, such as the number of the theft report.")
@BY
@JSON
@errors
def vehicles_kill(home: Path, vehicle: str, reason: str, by: str, as_json: bool) -> None:
    """Order a lost car to destroy its keys and data at its next contact."""
    with Central(home) as central:
        serial = wipes.order_kill(central, vehicle, reason, people.named_actor(central, by))
        publish.publish(central, fresh_keys=True)  # the next lists open with nothing it holds
    show(
        as_json,
        {"vehicle": vehicle, "order": serial},
        f"{vehicle}: ordered to kill itself at its next contact (order {serial})",
    )


@click.command("retire")
@HOME
@click.option("--vehicle", required=True)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="wiped.json of a car that could not reach central.",
)
@click.option("--reason", default="", help="Why there is no certificate, such as a burnt car.")
@BY
@JSON
@errors
def vehicles_retire(
    home: Path, vehicle: str, certificate: Path | None, reason: str, by: str, as_json: bool
) -> None:
    """Record that a car was retired, with its wipe certificate where there is one."""
    with Central(home) as central:
        text = certificate.read_text(encoding="utf-8") if certificate else None
        actor = people.named_actor(central, by)
        kind = wipes.retire(central, vehicle, certificate=text, reason=reason, actor=actor)
        publish.publish(central, fresh_keys=True)
    show(
        as_json,
        {"vehicle": vehicle, "kind": kind, "certificate": certificate is not None},
        f"{vehicle}: {kind}, " + ("certificate kept" if certificate else "without a certificate"),
    )
