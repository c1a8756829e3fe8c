"""``alprd-central``: make an agency, serve it, enrol cars, publish lists, look after reads."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import click

import alprd
from alprd.central.commands import (
    cli_admin,
    cli_assessments,
    cli_audit,
    cli_audits,
    cli_cases,
    cli_confidential,
    cli_holds,
    cli_imports,
    cli_incidents,
    cli_init,
    cli_keys,
    cli_lists,
    cli_orders,
    cli_oversight,
    cli_people,
    cli_public,
    cli_referral,
    cli_release,
    cli_search,
    cli_store,
    cli_subject,
    cli_tuf,
    pagecerts,
)
from alprd.central.commands.clikit import (
    BY,
    HOME,
    JSON,
    QuietFormatter,
    errors,
    show,
)
from alprd.central.fleet import enrolment, vehicles
from alprd.central.pages import inventory
from alprd.central.publication import publish
from alprd.central.staff import people, permissions
from alprd.central.storage import audit
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.central.upkeep import retention, status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(alprd.__version__, prog_name="alprd-central")
def main() -> None:
    """Central storage of alprd: the agency's own store of reads."""


@main.command()
@HOME
@click.option("--car-port", type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--page-port", type=click.IntRange(0, 65535), help="0 takes a free port.")
@JSON
@errors
def serve(home: Path, car_port: int | None, page_port: int | None, as_json: bool) -> None:
    """Serve the car API and the pages until SIGTERM."""
    from alprd.central import server  # the pages take a second that no other command need wait

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(QuietFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])

    def ready(text: str) -> None:
        run = json.loads(text)
        show(as_json, run, f"cars:  {run['car_url']}\npages: {run['page_url']}")
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
@HOME
@click.option("--vehicle", required=True)
@click.option("--reader", required=True, help="Neutral number in the public log.")
@click.option("--by", default="", help="Who orders it.")
@JSON
@errors
def enrol_code(home: Path, vehicle: str, reader: str, by: str, as_json: bool) -> None:
    """Print a one-time code that enrols a car; it lives 24 h."""
    with Central(home) as central:
        actor = people.named_actor(central, by) if by else audit.CENTRAL
        code = enrolment.issue_code(central, vehicle, reader, actor)
        port = central.config.car_port
    show(as_json, {"code": code, "vehicle": vehicle}, code)
    if sys.stdout.isatty():  # a program gets the code alone
        click.echo(
            f"In the car, within 24 h; it asks for the code:\n  alprd enrol --central "
            f"https://HOST:{port} --vehicle {vehicle} --state /var/lib/alprd",
            err=True,
        )


@main.group("vehicles")
def vehicles_group() -> None:
    """Revoke, suspend, resume, kill or retire a car."""


def _vehicle_command(name: str, event: Event, text: str) -> None:
    @vehicles_group.command(name, help=text)
    @HOME
    @click.option("--vehicle", required=True)
    @BY
    @JSON
    @errors
    def command(home: Path, vehicle: str, by: str, as_json: bool) -> None:
        with Central(home) as central:
            vehicles.change(central, vehicle, event, people.named_actor(central, by))
            # A revoked car must not open the next lists: everything under new content keys.
            publish.publish(central, fresh_keys=event is Event.REVOKED)
        show(as_json, {"vehicle": vehicle, "event": event.value}, f"{vehicle}: {event.value}")


_vehicle_command("revoke", Event.REVOKED, "Refuse the car's certificate from now on.")
_vehicle_command("suspend", Event.SUSPENDED, "Stop the car's collection at its next contact.")
_vehicle_command("resume", Event.RESUMED, "Let the car collect again.")


@main.command("publish")
@HOME
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--by", default="", help="Who orders it.")
@JSON
@errors
def publish_command(home: Path, folder: Path | None, by: str, as_json: bool) -> None:
    """Publish lists, roster, policy and keys to the cars; with FOLDER, the public pages there."""
    with Central(home) as central:
        actor = people.named_actor(central, by) if by else audit.CENTRAL
        if folder is not None:
            cli_public.publish_site(central, folder, actor, as_json)
            return
        done = publish.publish(central, actor)
    show(
        as_json,
        {"version": done.version, "changed": list(done.changed)},
        f"targets version {done.version}, changed: {', '.join(done.changed) or 'nothing'}",
    )


@main.command("purge")
@HOME
@JSON
@errors
def purge_command(home: Path, as_json: bool) -> None:
    """Destroy what is past its life now (serve does it by itself)."""
    with Central(home) as central:
        done = retention.purge(central, ordered=audit.CENTRAL)
    values = {
        "reads": done.reads,
        "quarantined": done.quarantined,
        "intake_keys": done.intake_keys,
        "orphans": done.orphans,
    }
    show(as_json, values, f"destroyed {done.reads} reads and {done.intake_keys} intake keys")


@main.command("status")
@HOME
@JSON
@errors
def status_command(home: Path, as_json: bool) -> None:
    """Counts from the store itself."""
    with Central(home) as central:
        values = status.collect(central)
    text = "\n".join(
        f"{name}: {value}" for name, value in values.items() if isinstance(value, int | str)
    )
    show(as_json, values, text)


@main.command("permissions")
def permissions_command() -> None:
    """Print the matrix of roles and acts, as docs/permissions.md has it."""
    click.echo(permissions.matrix(), nl=False)


@main.command("routes")
def routes_command() -> None:
    """Print the table of the pages' routes, as docs/central-routes.md has it."""
    click.echo(inventory.table(), nl=False)


@main.group("audit")
def audit_group() -> None:
    """The audit trail."""


for _audit in cli_audit.COMMANDS:
    audit_group.add_command(_audit)
audit_group.add_command(cli_referral.export)
vehicles_group.add_command(cli_admin.vehicles_kill)
vehicles_group.add_command(pagecerts.page_certificate)
vehicles_group.add_command(cli_admin.vehicles_list)
vehicles_group.add_command(cli_admin.vehicles_retire)
for _command in (
    cli_people.change,
    cli_people.retire,
    cli_people.reset_totp,
    cli_people.listing,
    cli_people.reset_ask,
    cli_people.reset_decide,
    cli_people.resets,
    cli_referral.freeze,
    cli_referral.unfreeze,
):
    cli_admin.people_group.add_command(_command)
main.add_command(cli_init.init)
main.add_command(cli_admin.people_group)
cli_public.add_to(main, audit_group)
main.add_command(cli_orders.orders_group)
for _search in (
    cli_search.search_command,
    cli_search.picture_command,
    cli_search.bases_group,
    cli_search.notices_group,
    cli_search.reasons_group,
):
    main.add_command(_search)
main.add_command(cli_cases.cases_group)
main.add_command(cli_confidential.confidential_group)
main.add_command(cli_holds.holds_group)
main.add_command(cli_imports.imports_group)
main.add_command(cli_holds.schedule_group)
main.add_command(cli_release.agencies_group)
main.add_command(cli_oversight.compliance_group)
main.add_command(cli_incidents.incidents_group)
for _audits in cli_audits.COMMANDS:
    audit_group.add_command(_audits)
main.add_command(cli_assessments.assessments_group)
main.add_command(cli_subject.subject_group)
main.add_command(cli_release.releases_group)
main.add_command(cli_release.requests_group)
main.add_command(cli_admin.lists_group)
main.add_command(cli_admin.suppression_group)
main.add_command(cli_lists.categories_group)
main.add_command(cli_lists.additional_group)
main.add_command(cli_tuf.tuf_group)
main.add_command(cli_store.db_group)
main.add_command(cli_keys.keys_group)
main.add_command(cli_store.backup_command)
main.add_command(cli_store.restore_command)
main.add_command(cli_store.drill_command)


if __name__ == "__main__":
    main()
