"""``alprd-central``: make an agency, serve it, enrol cars, publish lists, look after reads."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Final, ParamSpec, get_args

import click

import alprd
from alprd.central import (
    audit,
    config,
    lists,
    people,
    publiclog,
    publish,
    retention,
    search,
    server,
    status,
    vehicles,
)
from alprd.central.audit import Event
from alprd.central.store import Central, initialise
from alprd.errors import AlprdError, InputError, RefusedError
from alprd.records import Category

P = ParamSpec("P")
_HOME: Final = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    envvar="ALPRD_CENTRAL_HOME",
    help="The agency's folder.",
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
_BY: Final = click.option("--by", required=True, help="Who orders it: a person's id or name.")


class _QuietFormatter(logging.Formatter):
    """Log format that leaves out the text of exceptions: it may quote what must not be logged."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name logging calls
        kind: type[BaseException] | None
        trace: TracebackType | None
        kind, _, trace = ei
        frames = "".join(traceback.format_tb(trace))
        return f"{frames}{kind.__name__ if kind else 'error'}"


def _errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the product's errors into a message and an exit code."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except AlprdError as error:
            click.echo(f"error: {error.diagnostics()}", err=True)
            sys.exit(error.exit_code)

    return guarded


def _show(as_json: bool, values: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(values, default=str) if as_json else text)


def _instant(text: str, option: str) -> datetime:
    """An ISO time with zone (``Z`` or offset); a plain date is its start in UTC.

    Raises:
        InputError: not ISO 8601, or a time without a zone.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{option}: {text!r} is not an ISO time", remedy="write 2026-01-31T16:00:00Z"
        ) from error
    if value.tzinfo is None:
        if len(text) > 10:
            raise InputError(f"{option} has no zone", remedy="end it with Z for UTC")
        value = value.replace(tzinfo=UTC)
    return value.astimezone(UTC)


def _password() -> str:
    text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise InputError("no password on standard input", remedy="pipe it in as one line")
    return text


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(alprd.__version__, prog_name="alprd-central")
def main() -> None:
    """Central storage of alprd: the agency's own store of reads."""


@main.command()
@_HOME
@click.option("--agency", required=True, help="Machine name of the agency.")
@click.option("--name", required=True, help="Full name of the agency.")
@click.option("--policy-version", default="460", show_default=True)
@click.option("--adopted-by", default="Sheriff", show_default=True, help="Who adopted the policy.")
@click.option("--retention-hours", type=click.IntRange(0, 1440), default=1440, show_default=True)
@click.option("--timezone", default="America/Chicago", show_default=True)
@click.option("--host", "hosts", multiple=True, help="More names or addresses of this server.")
@click.option("--intake-from", help="First day of the intake keys (default: 60 days back).")
@_JSON
@_errors
def init(
    home: Path,
    agency: str,
    name: str,
    policy_version: str,
    adopted_by: str,
    retention_hours: int,
    timezone: str,
    hosts: tuple[str, ...],
    intake_from: str | None,
    as_json: bool,
) -> None:
    """Make an agency ready: settings, keys, databases, certificates, first publication."""
    try:
        first = date.fromisoformat(intake_from) if intake_from else None
        policy = config.default_policy(policy_version, adopted_by)
        settings = config.CentralConfig(
            agency=agency,
            agency_name=name,
            timezone=timezone,
            hosts=("localhost", "127.0.0.1", *hosts),
            policy=policy.model_copy(update={"retention_hours": retention_hours}),
        )
    except ValueError as error:
        raise InputError(f"settings: {error}") from error
    initialise(home, settings, intake_from=first)
    with Central(home) as central:
        publish.create_repository(central)
    _show(as_json, {"home": str(home), "agency": agency}, f"agency {agency} is ready in {home}")


@main.command()
@_HOME
@click.option("--car-port", type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--page-port", type=click.IntRange(0, 65535), help="0 takes a free port.")
@_JSON
@_errors
def serve(home: Path, car_port: int | None, page_port: int | None, as_json: bool) -> None:
    """Serve the car API and the pages until SIGTERM."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_QuietFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])

    def ready(text: str) -> None:
        run = json.loads(text)
        _show(as_json, run, f"cars:  {run['car_url']}\npages: {run['page_url']}")
        sys.stdout.flush()

    with Central(home) as central:
        settings = central.config
        asyncio.run(
            server.serve(
                central,
                settings.car_port if car_port is None else car_port,
                settings.page_port if page_port is None else page_port,
                ready,
            )
        )


@main.command("enrol-code")
@_HOME
@click.option("--vehicle", required=True)
@click.option("--reader", required=True, help="Neutral number in the public log.")
@click.option("--by", default="", help="Who orders it.")
@_JSON
@_errors
def enrol_code(home: Path, vehicle: str, reader: str, by: str, as_json: bool) -> None:
    """Print a one-time code that enrols a car; it lives 24 h."""
    with Central(home) as central:
        actor = people.named_actor(central, by) if by else audit.CENTRAL
        code = vehicles.issue_code(central, vehicle, reader, actor)
    _show(as_json, {"code": code, "vehicle": vehicle}, code)


@main.group("vehicles")
def vehicles_group() -> None:
    """Revoke, suspend or resume a car."""


def _vehicle_command(name: str, event: Event, text: str) -> None:
    @vehicles_group.command(name, help=text)
    @_HOME
    @click.option("--vehicle", required=True)
    @_BY
    @_JSON
    @_errors
    def command(home: Path, vehicle: str, by: str, as_json: bool) -> None:
        with Central(home) as central:
            vehicles.change(central, vehicle, event, people.named_actor(central, by))
            # A revoked car must not open the next lists: everything under new content keys.
            publish.publish(central, fresh_keys=event is Event.REVOKED)
        _show(as_json, {"vehicle": vehicle, "event": event.value}, f"{vehicle}: {event.value}")


_vehicle_command("revoke", Event.REVOKED, "Refuse the car's certificate from now on.")
_vehicle_command("suspend", Event.SUSPENDED, "Stop the car's collection at its next contact.")
_vehicle_command("resume", Event.RESUMED, "Let the car collect again.")


@main.group("people")
def people_group() -> None:
    """People, roles, training and authorisations."""


@people_group.command("add")
@_HOME
@click.option("--id", "person_id", required=True)
@click.option("--name", required=True)
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(people.ROLES))
@click.option("--password-stdin", is_flag=True, required=True, help="First line of stdin.")
@click.option("--training-expires", required=True, help="ISO date.")
@click.option("--authorised-until", required=True, help="ISO date.")
@click.option(
    "--clearance", "clearances", multiple=True, type=click.Choice(list(get_args(Category)))
)
@_BY
@_JSON
@_errors
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
            password=_password(),
            training_expires=_instant(training_expires, "--training-expires"),
            authorised_until=_instant(authorised_until, "--authorised-until"),
            clearances=clearances,
            by=people.named_actor(central, by),
        )
    _show(as_json, {"id": person_id, "roles": list(roles)}, f"{person_id}: {', '.join(roles)}")


@main.group("lists")
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
    _show(as_json, values, "\n".join(lines))


@lists_group.command("import")
@_HOME
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "list_id", required=True)
@click.option("--source", required=True)
@click.option("--supplied-at", required=True, help="ISO time at which the supplier made it.")
@_BY
@_JSON
@_errors
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
            supplied_at=_instant(supplied_at, "--supplied-at"),
            actor=people.named_actor(central, by),
        )
    _report(as_json, report)


@main.group("suppression")
def suppression_group() -> None:
    """Address-confidentiality requests; private."""


@suppression_group.command("import")
@_HOME
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Drop entries that the file does not have.")
@_BY
@_JSON
@_errors
def suppression_import(home: Path, file: Path, replace: bool, by: str, as_json: bool) -> None:
    """Add plates (plate,state) that no car may keep or show."""
    with Central(home) as central:
        actor = people.named_actor(central, by)
        report = lists.import_suppression(central, file, actor=actor, replace=replace)
    _report(as_json, report)


@main.command("publish")
@_HOME
@click.option("--by", default="", help="Who orders it.")
@_JSON
@_errors
def publish_command(home: Path, by: str, as_json: bool) -> None:
    """Publish lists, roster, policy and keys to the cars."""
    with Central(home) as central:
        actor = people.named_actor(central, by) if by else audit.CENTRAL
        done = publish.publish(central, actor)
    _show(
        as_json,
        {"version": done.version, "changed": list(done.changed)},
        f"targets version {done.version}, changed: {', '.join(done.changed) or 'nothing'}",
    )


@main.command("purge")
@_HOME
@_JSON
@_errors
def purge_command(home: Path, as_json: bool) -> None:
    """Destroy what is past its life now (serve does it by itself)."""
    with Central(home) as central:
        done = retention.purge(central)
    values = {
        "reads": done.reads,
        "quarantined": done.quarantined,
        "intake_keys": done.intake_keys,
        "orphans": done.orphans,
    }
    _show(as_json, values, f"destroyed {done.reads} reads and {done.intake_keys} intake keys")


@main.command("search")
@_HOME
@click.option("--as", "person_id", required=True, help="Who searches.")
@click.option("--password-stdin", is_flag=True, required=True, help="First line of stdin.")
@click.option("--case", default="", help="Case, complaint or incident number.")
@click.option("--offence", default="", help="Offence type.")
@click.option("--facts", default="", help="The facts, in your own words.")
@click.option("--suspicion", default="", help="Why these reads are pertinent.")
@click.option("--from", "since", default="", help="Start of the window, ISO time.")
@click.option("--to", "until", default="", help="End of the window, ISO time, at most 24 h on.")
@click.option("--plate", default=None)
@_JSON
@_errors
def search_command(
    home: Path,
    person_id: str,
    password_stdin: bool,
    case: str,
    offence: str,
    facts: str,
    suspicion: str,
    since: str,
    until: str,
    plate: str | None,
    as_json: bool,
) -> None:
    """Documented search of stored reads (R-13.824-7-2)."""
    if not since or not until:
        raise RefusedError("search has no window", reason="missing_window", remedy="--from, --to")
    with Central(home) as central:
        person = people.authenticate(central, person_id, _password())
        request = search.Request(
            case=case,
            offence=offence,
            facts=facts,
            suspicion=suspicion,
            since=_instant(since, "--from"),
            until=_instant(until, "--to"),
            plate=plate,
        )
        for found in search.run(central, person, request):
            if as_json:
                click.echo(json.dumps(found.as_json()))
            else:
                local = found.instant.astimezone(central.config.zone())
                stacked = f" ({found.stacked})" if found.stacked else ""
                click.echo(f"{local.isoformat()}  {found.plate}{stacked}  {found.state or '?'}")


@main.command("status")
@_HOME
@_JSON
@_errors
def status_command(home: Path, as_json: bool) -> None:
    """Counts from the store itself."""
    with Central(home) as central:
        values = status.collect(central)
    text = "\n".join(
        f"{name}: {value}" for name, value in values.items() if isinstance(value, int | str)
    )
    _show(as_json, values, text)


@main.command("publiclog")
@_HOME
@click.option("--csv", "as_csv", is_flag=True, help="The published CSV (default).")
@_JSON
@_errors
def publiclog_command(home: Path, as_csv: bool, as_json: bool) -> None:
    """Print the public log of use (R-460.5.1-0)."""
    with Central(home) as central:
        rows = publiclog.rows(central)
    click.echo(json.dumps(rows) if as_json and not as_csv else publiclog.as_csv(rows), nl=False)
    if as_json and not as_csv:
        click.echo()


@main.group("audit")
def audit_group() -> None:
    """The audit trail."""


@audit_group.command("verify")
@_HOME
@_JSON
@_errors
def audit_verify(home: Path, as_json: bool) -> None:
    """Check the hash chain of central's trail."""
    with Central(home) as central, central.database.read() as tx:
        number = audit.verify(tx)
    _show(as_json, {"events": number, "whole": True}, f"{number} events, chain is whole")


if __name__ == "__main__":
    main()
