"""``alprd-central holds`` and ``schedule``: exculpatory holds, and the retention schedule."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central.commands.cli_cases import ID, REASON, listing, reads_of, told
from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import HOME, JSON, by_signed, errors, instant, show
from alprd.central.records import holds, schedule
from alprd.central.storage.store import Central
from alprd.errors import InputError


@click.group("holds")
def holds_group() -> None:
    """Exculpatory holds on written request (R-460.5-a)."""


@holds_group.command("place")
@HOME
@click.option("--requester", required=True, help="Who asks in writing.")
@click.option("--received", required=True, help="When the request came in, ISO time.")
@click.option("--number", required=True, help="Case or complaint number of the pending charge.")
@click.option("--statement", required=True, help="What the requester says it may show.")
@click.option("--plate", "plates", multiple=True, required=True, help="Can be repeated.")
@click.option("--from", "since", required=True, help="Start of the window, ISO time.")
@click.option("--to", "until", required=True, help="End of the window, ISO time.")
@click.option(
    "--request",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The written request (a scan); kept encrypted.",
)
@by_signed
@JSON
@errors
def place(
    home: Path,
    requester: str,
    received: str,
    number: str,
    statement: str,
    plates: tuple[str, ...],
    since: str,
    until: str,
    path: Path,
    by: str,
    as_json: bool,
) -> None:
    """Hold what is stored, what is in cars, and what arrives."""
    if path.stat().st_size > holds.MAX_REQUEST:
        raise InputError(f"{path} is larger than 20 MB", remedy="scan it smaller")
    with Central(home) as central:
        row, number_held = holds.place(
            central,
            sign(central, by),
            holds.Asked(
                requester=requester,
                received=instant(received, "--received"),
                number=number,
                statement=statement,
                plates=plates,
                since=instant(since, "--from"),
                until=instant(until, "--to"),
                request=path.read_bytes(),
            ),
        )
    text = (
        f"hold {row.id} is in force: {number_held} read(s) held, {len(row.orders)} car(s) told "
        "to freeze"
    )
    told(as_json, row, text, reads=number_held, cars=len(row.orders))


@holds_group.command("collected")
@HOME
@ID
@by_signed
@JSON
@errors
def collected(home: Path, row: str, by: str, as_json: bool) -> None:
    """Every car has uploaded the window: end the freezes, keep what is held."""
    with Central(home) as central:
        made = holds.collected(central, sign(central, by), row)
    told(as_json, made, f"hold {row}: the cars' freezes end")


@holds_group.command("release")
@HOME
@ID
@REASON
@by_signed
@JSON
@errors
def release_hold(home: Path, row: str, reason: str, by: str, as_json: bool) -> None:
    """The matter is resolved or dismissed."""
    with Central(home) as central:
        made = holds.release(central, sign(central, by), row, reason)
    told(as_json, made, f"hold {row} is released")


@holds_group.command("list")
@HOME
@by_signed
@JSON
@errors
def list_holds(home: Path, by: str, as_json: bool) -> None:
    """The register of holds, newest first."""
    listing(home, "hold", False, by, as_json)


@holds_group.command("reads")
@HOME
@ID
@by_signed
@JSON
@errors
def hold_reads(home: Path, row: str, by: str, as_json: bool) -> None:
    """The reads of a live hold; the look is recorded."""
    reads_of(home, "hold", row, by, as_json)


@holds_group.command("request")
@HOME
@ID
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
@by_signed
@JSON
@errors
def written(home: Path, row: str, out: Path, by: str, as_json: bool) -> None:
    """Write the written request of a hold into a file; the look is recorded."""
    with Central(home) as central:
        content = holds.written_request(central, sign(central, by), row)
    try:
        with out.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}", remedy="choose a new file") from error
    show(as_json, {"id": row, "bytes": len(content)}, f"{len(content)} bytes in {out}")


@click.group("schedule")
def schedule_group() -> None:
    """The records retention schedule; a type without a row is kept (R-460.5-6)."""


@schedule_group.command("set")
@HOME
@click.option("--type", "record_type", required=True, type=click.Choice(sorted(schedule.TYPES)))
@click.option("--citation", required=True, help="Item of the agency's retention schedule.")
@click.option("--days", required=True, type=int, help="Period in days.")
@by_signed
@JSON
@errors
def set_row(home: Path, record_type: str, citation: str, days: int, by: str, as_json: bool) -> None:
    """Set the period of a record type."""
    with Central(home) as central:
        schedule.put(central, sign(central, by), record_type, citation, days)
    show(as_json, {"type": record_type, "days": days}, f"{record_type}: {days} days ({citation})")


@schedule_group.command("list")
@HOME
@JSON
@errors
def list_schedule(home: Path, as_json: bool) -> None:
    """Every record type with its citation and period."""
    with Central(home) as central:
        rows = schedule.table(central)
    lines = [
        f"{row['record_type']:<24} "
        + (f"{row['days']} days ({row['citation']})" if row["days"] else "kept: no item is set")
        for row in rows
    ]
    show(as_json, {"schedule": rows}, "\n".join(lines))
