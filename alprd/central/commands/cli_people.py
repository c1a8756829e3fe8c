"""``alprd-central people``: change, retire, reset-totp, list (adding is in :mod:`cli_admin`)."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from alprd.central.commands.clikit import (
    BY,
    HOME,
    JSON,
    SIGNER,
    code_line,
    errors,
    instant,
    password_line,
    show,
)
from alprd.central.publication import publish
from alprd.central.staff import accounts, credentials, people
from alprd.central.storage.store import Central
from alprd.verifiers import SCHEMES, Scheme
from alprd.wire import Clearance, Person

_ID = click.option("--id", "person_id", required=True)


def sign(central: Central, person_id: str) -> Person:
    """Who acts: password on the first line of stdin, the code of a second factor on the next.

    Raises:
        RefusedError: wrong or locked.
    """
    password = password_line()
    with central.database.read() as tx:
        known = people.find(tx, person_id)
    code = code_line() if known is not None and known.totp else ""
    person = people.authenticate(central, person_id, password, code)
    SIGNER.set(person)
    return person


@click.command("change")
@HOME
@_ID
@click.option("--name")
@click.option("--role", "roles", multiple=True, type=click.Choice(people.ROLES))
@click.option("--training-expires", default="", help="ISO date.")
@click.option("--authorised-until", default="", help="ISO date.")
@click.option(
    "--clearance", "clearances", multiple=True, type=click.Choice(list(get_args(Clearance)))
)
@click.option("--no-clearance", is_flag=True, help="Take every clearance away.")
@click.option("--password-stdin", is_flag=True, help="New password: first line of stdin.")
@click.option("--verifier", default="argon2id", type=click.Choice(SCHEMES), show_default=True)
@BY
@JSON
@errors
def change(
    home: Path,
    person_id: str,
    name: str | None,
    roles: tuple[str, ...],
    training_expires: str,
    authorised_until: str,
    clearances: tuple[Clearance, ...],
    no_clearance: bool,
    password_stdin: bool,
    verifier: Scheme,
    by: str,
    as_json: bool,
) -> None:
    """Change what is given of a person; the rest stays. Cars have it at their next contact."""
    with Central(home) as central:
        person = accounts.change(
            central,
            person_id,
            by=people.named_actor(central, by),
            name=name,
            roles=roles or None,
            training_expires=instant(training_expires, "--training-expires")
            if training_expires
            else None,
            authorised_until=instant(authorised_until, "--authorised-until")
            if authorised_until
            else None,
            clearances=() if no_clearance else clearances or None,
            password=password_line() if password_stdin else None,
            scheme=verifier,
        )
        publish.publish(central)
    show(as_json, {"id": person.id, "roles": list(person.roles)}, f"{person.id}: changed")


@click.command("retire")
@HOME
@_ID
@BY
@JSON
@errors
def retire(home: Path, person_id: str, by: str, as_json: bool) -> None:
    """Take a person out of central and out of the cars' roster."""
    with Central(home) as central:
        accounts.retire(central, person_id, people.named_actor(central, by))
        publish.publish(central)
    show(as_json, {"id": person_id, "retired": True}, f"{person_id}: retired")


@click.command("reset-totp")
@HOME
@_ID
@click.option("--off", is_flag=True, help="Ask for no code any more.")
@BY
@JSON
@errors
def reset_totp(home: Path, person_id: str, off: bool, by: str, as_json: bool) -> None:
    """Make a new second factor, shown once: put it into the person's phone at once."""
    with Central(home) as central:
        address = accounts.reset_totp(central, person_id, people.named_actor(central, by), off=off)
        publish.publish(central)
    show(as_json, {"id": person_id, "uri": address}, address or f"{person_id}: no code is asked")


@click.command("list")
@HOME
@JSON
@errors
def listing(home: Path, as_json: bool) -> None:
    """Who is known, with roles and dates; no verifier and no secret."""
    with Central(home) as central:
        found = accounts.listing(central)
    lines = [
        f"{row['id']:<16} {','.join(row['roles']):<28} training {row['training_expires']:%Y-%m-%d}"
        f" authorised {row['authorised_until']:%Y-%m-%d} code {'yes' if row['totp'] else 'no'}"
        for row in found
    ]
    show(as_json, {"people": found}, "\n".join(lines) or "nobody")


@click.command("reset-ask")
@HOME
@_ID
@click.option("--kind", type=click.Choice(get_args(credentials.Kind)), required=True)
@click.option("--role", "roles", multiple=True, type=click.Choice(people.ROLES))
@click.option("--reason", required=True)
@click.option("--as", "asker", required=True, help="Who asks.")
@click.option(
    "--password-stdin",
    is_flag=True,
    required=True,
    help="One's own password, a code if one has it, then the new password for --kind password.",
)
@JSON
@errors
def reset_ask(
    home: Path,
    person_id: str,
    kind: credentials.Kind,
    roles: tuple[str, ...],
    reason: str,
    asker: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Ask for a reset of the sheriff's or a supervisor's credential; another person decides."""
    with Central(home) as central:
        person = sign(central, asker)
        password = password_line() if kind == "password" else ""
        made, uri = credentials.ask(
            central, person, person_id, kind, reason, password=password, roles=roles
        )
    text = f"reset {made.id} waits for another person, 24 h long"
    show(as_json, {"id": made.id, "uri": uri, "ends": made.ends}, f"{text}\n{uri}".strip())


@click.command("reset-decide")
@HOME
@click.option("--reset", required=True, help="Id of the request.")
@click.option("--approve/--refuse", required=True)
@click.option("--as", "decider", required=True, help="Who decides.")
@click.option("--password-stdin", is_flag=True, required=True, help="First line of stdin.")
@JSON
@errors
def reset_decide(
    home: Path, reset: str, approve: bool, decider: str, password_stdin: bool, as_json: bool
) -> None:
    """Approve or refuse a reset that another person asked for."""
    with Central(home) as central:
        row = credentials.decide(central, sign(central, decider), reset, approve=approve)
        publish.publish(central)
    show(as_json, {"id": row.id, "state": row.state}, f"{row.kind} of {row.person}: {row.state}")


@click.command("resets")
@HOME
@click.option("--as", "viewer", required=True, help="Who looks.")
@click.option("--password-stdin", is_flag=True, required=True, help="First line of stdin.")
@JSON
@errors
def resets(home: Path, viewer: str, password_stdin: bool, as_json: bool) -> None:
    """Resets that were asked for, newest first."""
    with Central(home) as central:
        now = central.clock()
        rows = credentials.listing(central, sign(central, viewer))
    lines = [
        f"{row.asked_at:%Y-%m-%d %H:%M}Z {row.kind:<9} {row.person:<12} {row.stands(now):<9} "
        f"asked by {row.asked_by}  {row.id}"
        for row in rows
    ]
    show(as_json, {"resets": [row.shown() for row in rows]}, "\n".join(lines) or "none")
