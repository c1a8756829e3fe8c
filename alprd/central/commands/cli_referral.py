"""``alprd-central people freeze``, ``unfreeze`` and ``audit export``: misuse referrals."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central.commands.clikit import BY, HOME, JSON, errors, instant, show
from alprd.central.publication import publish
from alprd.central.staff import referrals
from alprd.central.staff.permissions import Act
from alprd.central.storage.store import Central
from alprd.central.trail import trailexport

_ID = click.option("--id", "person_id", required=True)


@click.command("freeze")
@HOME
@_ID
@click.option("--reason", required=True, help="Why; kept beside the trail.")
@click.option("--referral", required=True, help="Number under which it is looked into.")
@BY
@JSON
@errors
def freeze(home: Path, person_id: str, reason: str, referral: str, by: str, as_json: bool) -> None:
    """Freeze a person's access: here at once, in the cars with the next roster (R-460.6-f)."""
    with Central(home) as central:
        made = referrals.freeze(central, person_id, reason=reason, referral=referral, by=by)
        publish.publish(central)
    show(
        as_json,
        {"id": person_id, "frozen": True, "freeze": made},
        f"{person_id}: frozen; now keep the trail with alprd-central audit export",
    )


@click.command("unfreeze")
@HOME
@_ID
@click.option("--reason", required=True, help="Why; kept beside the trail.")
@BY
@JSON
@errors
def unfreeze(home: Path, person_id: str, reason: str, by: str, as_json: bool) -> None:
    """Lift a freeze."""
    with Central(home) as central:
        referrals.lift(central, person_id, reason=reason, by=by)
        publish.publish(central)
    show(as_json, {"id": person_id, "frozen": False}, f"{person_id}: no longer frozen")


@click.command("export")
@HOME
@click.option("--person", required=True, help="Whose trail.")
@click.option("--from", "since", required=True, help="ISO time, or a date.")
@click.option("--to", "until", required=True, help="ISO time, or a date; not included.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help=".jsonl or .csv"
)
@BY
@JSON
@errors
def export(
    home: Path, person: str, since: str, until: str, out: Path, by: str, as_json: bool
) -> None:
    """Write one person's trail to a file, with proof of the chains it was taken from."""
    with Central(home) as central:
        actor = referrals.acting(central, by, Act.TRAIL_EXPORT, person)
        done = trailexport.export(
            central, person, instant(since, "--from"), instant(until, "--to"), out, actor
        )
    show(as_json, done, f"{done['events']} events in {out}, SHA-256 {done['sha256']}")
