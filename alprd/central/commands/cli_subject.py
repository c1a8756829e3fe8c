"""``alprd-central subject``: look-ups of a data subject's own plate; off at first (R-460.7-g)."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import HOME, ID, JSON, REASON, by_signed, errors, show
from alprd.central.exchange import subject
from alprd.central.storage.store import Central


@click.group("subject")
def subject_group() -> None:
    """Look-ups of data subjects; off until the county attorney approves."""


@subject_group.command("ask")
@HOME
@ID
@click.option("--plate", required=True)
@click.option("--state", default="MN", show_default=True)
@click.option("--identity", required=True, help="How identity was verified.")
@click.option("--ownership", required=True, help="How ownership of the vehicle was verified.")
@by_signed
@JSON
@errors
def subject_ask(
    home: Path,
    row: str,
    plate: str,
    state: str,
    identity: str,
    ownership: str,
    by: str,
    as_json: bool,
) -> None:
    """Ask for the look-up under an open request of a data subject."""
    with Central(home) as central:
        made = subject.ask(central, sign(central, by), row, plate, state, identity, ownership)
    show(as_json, {"id": made.id}, f"{made.id}: waits for a supervisor")


@subject_group.command("decide")
@HOME
@ID
@click.option("--approve/--refuse", required=True)
@REASON
@by_signed
@JSON
@errors
def subject_decide(
    home: Path, row: str, approve: bool, reason: str, by: str, as_json: bool
) -> None:
    """Approve or refuse a look-up; by another than asked for it."""
    with Central(home) as central:
        made = subject.decide(central, sign(central, by), row, approve, reason)
    word = made.lookup.decision if made.lookup else ""
    show(as_json, {"id": made.id, "decision": word}, f"{made.id}: {word}")


@subject_group.command("look")
@HOME
@ID
@by_signed
@JSON
@errors
def subject_look(home: Path, row: str, by: str, as_json: bool) -> None:
    """Show the reads of the subject's plate; recorded as an access of its own kind."""
    with Central(home) as central:
        found = subject.look(central, sign(central, by), row)
        zone = central.config.zone()
    lines = [f"{one.instant.astimezone(zone).isoformat()}  {one.lat} {one.lon}" for one in found]
    shown = [{"at": one.instant, "lat": one.lat, "lon": one.lon} for one in found]
    show(as_json, {"reads": shown}, "\n".join(lines) or "none that can be shown")
