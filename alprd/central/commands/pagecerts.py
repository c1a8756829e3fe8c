"""``alprd-central vehicles page-certificate``: what a separate laptop knows a car's page by.

Only one name is ever signed, that of the car (:func:`alprd.pagename.page_name`): a certificate
for server authentication under any name that somebody asks for could stand in for this central
itself, whose cars trust the same authority.
"""

from __future__ import annotations

from pathlib import Path

import click
from cryptography import x509
from sqlalchemy import select

from alprd.audit import Actor
from alprd.central.commands.clikit import BY, HOME, JSON, errors, show
from alprd.central.staff import people
from alprd.central.storage import ca, db
from alprd.central.storage.audit import Event
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.pagename import page_name


def issue(central: Central, csr_pem: str, vehicle: str, actor: Actor) -> x509.Certificate:
    """Sign the page certificate of an enrolled car; recorded.

    Raises:
        InputError: the request is not of this car, or the name would stand for two machines.
        RefusedError: no such car, or a revoked one.
        ConfigError: the car's name cannot stand in a host name.
    """
    name, now = page_name(vehicle), central.clock()
    if name in {host.lower() for host in central.config.hosts}:
        raise InputError(f"{name} is a name of central itself", remedy="enrol the car anew")
    with central.database.write() as tx:
        rows = tx.execute(select(db.vehicles.c.vehicle, db.vehicles.c.revoked_at)).all()
        found = next((row for row in rows if row.vehicle == vehicle), None)
        if found is None or found.revoked_at is not None:
            raise RefusedError(
                f"{vehicle} is no enrolled car", reason="unknown_vehicle", remedy="enrol it first"
            )
        if any(row.vehicle != vehicle and row.vehicle.lower() == vehicle.lower() for row in rows):
            raise InputError(f"two cars would be {name}", remedy="enrol one under another name")
        made = ca.issue_page(
            central.ca, central.keystore.private("ca"), csr_pem, vehicle, name, now
        )
        central.trail.record(
            tx,
            Event.PAGE_CERTIFICATE_ISSUED,
            actor,
            at=now,
            detail={"vehicle": vehicle, "serial": ca.serial_text(made)},
        )
    return made


@click.command("page-certificate")
@HOME
@click.option("--vehicle", required=True)
@click.option(
    "--request",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="What alprd page-request wrote in the car.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="[mdt] tls_cert"
)
@BY
@JSON
@errors
def page_certificate(
    home: Path, vehicle: str, request: Path, out: Path, by: str, as_json: bool
) -> None:
    """Sign the certificate of a car's page, for a separate laptop."""
    with Central(home) as central:
        actor = people.named_actor(central, by)
        made = issue(central, request.read_text(errors="replace"), vehicle, actor)
    try:
        out.write_text(ca.pem(made))
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}", remedy="choose another place") from error
    until = f"{made.not_valid_after_utc:%Y-%m-%d}"
    show(
        as_json,
        {"vehicle": vehicle, "name": page_name(vehicle), "until": until},
        f"{out}: {page_name(vehicle)}, until {until}",
    )
