"""``alprd-central incidents``: the breach file (§ 13.055)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import (
    FROM,
    HOME,
    ID,
    JSON,
    REASON,
    TO,
    by_signed,
    errors,
    instant,
    show,
)
from alprd.central.oversight import breach, breachlist, incident
from alprd.central.oversight.incident import Elements
from alprd.central.storage.store import Central


@click.group("incidents")
def incidents_group() -> None:
    """The breach file (§ 13.055)."""


@incidents_group.command("open")
@HOME
@click.option("--kind", type=click.Choice(sorted(incident.KINDS)), required=True)
@click.option("--what", required=True)
@click.option("--discovered", required=True)
@by_signed
@JSON
@errors
def incident_open(
    home: Path, kind: incident.Kind, what: str, discovered: str, by: str, as_json: bool
) -> None:
    """Begin an incident."""
    with Central(home) as central:
        row = breach.open_incident(
            central, sign(central, by), kind, what, instant(discovered, "--discovered")
        )
    _told(row, as_json)


@incidents_group.command("count")
@HOME
@ID
@FROM
@TO
@click.option("--person", default="", help="Whose accesses.")
@click.option("--device", default="", help="From which machine.")
@by_signed
@JSON
@errors
def incident_count(
    home: Path, row: str, since: str, until: str, person: str, device: str, by: str, as_json: bool
) -> None:
    """Find the affected records in the trail."""
    with Central(home) as central:
        made = breachlist.affected(
            central,
            sign(central, by),
            row,
            instant(since, "--from"),
            instant(until, "--to"),
            actor=person,
            device=device,
        )
    _told(made, as_json)


@incidents_group.command("decide")
@HOME
@ID
@click.option("--acquired/--not-acquired", required=True)
@click.option("--not-public/--public", required=True)
@click.option("--compromised/--not-compromised", required=True)
@click.option("--good-faith/--no-good-faith", required=True)
@REASON
@by_signed
@JSON
@errors
def incident_decide(
    home: Path, row: str, reason: str, by: str, as_json: bool, **given: bool
) -> None:
    """Answer the decision table."""
    with Central(home) as central:
        made = breach.decide(central, sign(central, by), row, Elements(**given), reason)
    _told(made, as_json)


@incidents_group.command("plates")
@HOME
@ID
@by_signed
@JSON
@errors
def incident_plates(home: Path, row: str, by: str, as_json: bool) -> None:
    """The plates whose owners are to be told; the look is recorded."""
    with Central(home) as central:
        found = breachlist.plates(central, sign(central, by), row)
    lines = [f"{one['day']} {one['plate']} {one['state']}" for one in found]
    show(as_json, {"plates": found}, "\n".join(lines) or "none")


@incidents_group.command("notified")
@HOME
@ID
@click.option("--people", "number", type=click.IntRange(1), required=True)
@click.option("--how", required=True)
@by_signed
@JSON
@errors
def incident_notified(home: Path, row: str, number: int, how: str, by: str, as_json: bool) -> None:
    """The people affected were told."""
    with Central(home) as central:
        made = breach.notified(central, sign(central, by), row, number, how)
    _told(made, as_json)


@incidents_group.command("mark")
@HOME
@ID
@click.option("--step", required=True)
@click.option("--reference", default="")
@by_signed
@JSON
@errors
def incident_mark(home: Path, row: str, step: str, reference: str, by: str, as_json: bool) -> None:
    """A step of the checklist was done."""
    with Central(home) as central:
        made = breach.mark(central, sign(central, by), row, step, reference)
    _told(made, as_json)


@incidents_group.command("dispose")
@HOME
@ID
@click.option("--results", required=True)
@click.option("--disposition", default="")
@click.option("--responsible", multiple=True)
@by_signed
@JSON
@errors
def incident_dispose(
    home: Path,
    row: str,
    results: str,
    disposition: str,
    responsible: tuple[str, ...],
    by: str,
    as_json: bool,
) -> None:
    """The investigation is complete and discipline final."""
    with Central(home) as central:
        made = breach.dispose(central, sign(central, by), row, results, disposition, responsible)
    _told(made, as_json)


@incidents_group.command("report")
@HOME
@ID
@by_signed
@JSON
@errors
def incident_report(home: Path, row: str, by: str, as_json: bool) -> None:
    """The report for affected people."""
    with Central(home) as central:
        text = breach.report(central, sign(central, by), row)
    show(as_json, {"report": text}, text)


@incidents_group.command("close")
@HOME
@ID
@REASON
@by_signed
@JSON
@errors
def incident_close(home: Path, row: str, reason: str, by: str, as_json: bool) -> None:
    """Every duty is done: destroy the plates that were kept for it."""
    with Central(home) as central:
        made = breach.close(central, sign(central, by), row, reason)
    _told(made, as_json)


@incidents_group.command("delay")
@HOME
@ID
@REASON
@click.option("--review", required=True, help="When it is looked at again.")
@by_signed
@JSON
@errors
def incident_delay(home: Path, row: str, reason: str, review: str, by: str, as_json: bool) -> None:
    """The notice would impede an active criminal investigation."""
    with Central(home) as central:
        made = breach.delay(central, sign(central, by), row, reason, instant(review, "--review"))
    _told(made, as_json)


@incidents_group.command("list")
@HOME
@by_signed
@JSON
@errors
def incident_list(home: Path, by: str, as_json: bool) -> None:
    """The file, newest first."""
    with Central(home) as central:
        rows = breach.register(central, sign(central, by))
    lines = [f"{r.discovered:%Y-%m-%d} {r.state:<9} {r.kind:<11} {r.id}" for r in rows]
    shown = [row.model_dump(mode="json") for row in rows]
    show(as_json, {"incidents": shown}, "\n".join(lines) or "none")


def _told(row: incident.Incident, as_json: bool) -> None:
    values: dict[str, Any] = row.model_dump(mode="json") | {"undone": list(row.undone())}
    show(as_json, values, f"{row.id}: {row.state}; to do: {', '.join(row.undone()) or 'nothing'}")
