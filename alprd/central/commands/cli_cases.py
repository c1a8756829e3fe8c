"""``alprd-central cases``: reads linked to an investigation; and what ``holds`` shares with it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import HOME, JSON, by_signed, errors, instant, show
from alprd.central.records import cases, exemptions
from alprd.central.records.exemptions import Exemption, Kept, Kind
from alprd.central.storage.store import Central

ID: Final = click.option("--id", "row", required=True, help="Id in the register.")
REASON: Final = click.option("--reason", required=True, help="In your own words.")
_OVERDUE: Final = click.option("--overdue", is_flag=True, help="Only what waits for a person.")


def told(as_json: bool, row: Exemption, text: str, **more: Any) -> None:
    values = {"id": row.id, "state": row.state, "due": row.due, "ends": row.ends, **more}
    show(as_json, values, text)


def listing(home: Path, kind: Kind, overdue: bool, by: str, as_json: bool) -> None:
    with Central(home) as central:
        rows = exemptions.register(central, sign(central, by), kind, overdue=overdue)
    lines = [
        f"{row.opened_at:%Y-%m-%d} {row.state:<9} {row.number:<16} {row.id}"
        + (f"  a person must act by {row.due:%Y-%m-%d}" if row.due else "")
        + (f"  kept until {row.ends:%Y-%m-%d} ({row.citation})" if row.ends else "")
        for row in rows
    ]
    fields = [row.model_dump(mode="json") for row in rows]
    show(as_json, {kind + "s": fields}, "\n".join(lines) or "none")


def reads_of(home: Path, kind: Kind, row: str, by: str, as_json: bool) -> None:
    with Central(home) as central:
        found, kept = exemptions.open_reads(central, sign(central, by), row, kind)
    reads = [_as_json(read) for read in kept]
    lines = [
        f"{r['instant']} {r['plate']:<10} {r['state'] or '--'} {r['vehicle']} {r['id']}"
        for r in reads
    ]
    show(as_json, {"id": found.id, "reads": reads}, "\n".join(lines) or "no reads")


def _as_json(read: Kept) -> dict[str, Any]:
    position = read.cell.position
    return {
        "id": read.id,
        "plate": read.cell.plate.text,
        "stacked": read.cell.plate.stacked,
        "state": read.cell.plate.state,
        "instant": read.cell.instant.isoformat(),
        "lat": position.lat if position else None,
        "lon": position.lon if position else None,
        "vehicle": read.vehicle,
        "session": read.session,
    }


@click.group("cases")
def cases_group() -> None:
    """Reads linked to an active criminal investigation (R-460.5-5, -5b)."""


@cases_group.command("request")
@HOME
@click.option("--case", required=True, help="Number of the active criminal investigation.")
@click.option("--relation", required=True, help="How the reads relate to it.")
@click.option("--read", "reads", multiple=True, help="Id of a read; can be repeated.")
@click.option("--session", default="", help="Every read of a session; needs --bulk-reason.")
@click.option("--bulk-reason", default="", help="Why so many reads are needed.")
@by_signed
@JSON
@errors
def request(
    home: Path,
    case: str,
    relation: str,
    reads: tuple[str, ...],
    session: str,
    bulk_reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Ask for a link; it exempts nothing before a different person approves it."""
    with Central(home) as central:
        row = cases.ask(
            central,
            sign(central, by),
            case=case,
            relation=relation,
            reads=reads,
            session=session,
            bulk_reason=bulk_reason,
        )
    text = f"link {row.id} asked for, {len(row.reads)} read(s); waits for approval"
    told(as_json, row, text, reads=len(row.reads))


@cases_group.command("approve")
@HOME
@ID
@REASON
@by_signed
@JSON
@errors
def approve(home: Path, row: str, reason: str, by: str, as_json: bool) -> None:
    """Approve a link; not one's own."""
    with Central(home) as central:
        made = cases.approve(central, sign(central, by), row, reason)
    told(as_json, made, f"link {row} is active, review by {made.due:%Y-%m-%d}")


@cases_group.command("refuse")
@HOME
@ID
@REASON
@by_signed
@JSON
@errors
def refuse(home: Path, row: str, reason: str, by: str, as_json: bool) -> None:
    """Turn a request down."""
    with Central(home) as central:
        made = cases.refuse(central, sign(central, by), row, reason)
    told(as_json, made, f"link {row} is refused")


@cases_group.command("review")
@HOME
@ID
@REASON
@click.option("--until", default="", help="Next review, ISO time; 90 days by default.")
@by_signed
@JSON
@errors
def review(home: Path, row: str, reason: str, until: str, by: str, as_json: bool) -> None:
    """State that the investigation is still active."""
    with Central(home) as central:
        made = cases.review(central, sign(central, by), row, reason, _maybe(until, "--until"))
    told(as_json, made, f"link {row}: next review by {made.due:%Y-%m-%d}")


@cases_group.command("inactive")
@HOME
@ID
@click.option("--outcome", required=True, type=click.Choice(cases.OUTCOMES))
@by_signed
@JSON
@errors
def inactive(home: Path, row: str, outcome: str, by: str, as_json: bool) -> None:
    """The investigation is no longer active: the retention schedule governs."""
    with Central(home) as central:
        made = cases.inactive(central, sign(central, by), row, outcome)
    text = (
        f"link {row}: kept until {made.ends:%Y-%m-%d} ({made.citation})"
        if made.ends
        else f"link {row}: no schedule item is set; decide by {made.due:%Y-%m-%d}"
    )
    told(as_json, made, text)


@cases_group.command("keep")
@HOME
@ID
@click.option("--citation", required=True, help="Item of the retention schedule.")
@click.option("--until", required=True, help="ISO time.")
@by_signed
@JSON
@errors
def keep(home: Path, row: str, citation: str, until: str, by: str, as_json: bool) -> None:
    """Decide on an inactive link: kept under an item of the schedule, until its end."""
    with Central(home) as central:
        end = instant(until, "--until")
        made = cases.put_on_schedule(central, sign(central, by), row, citation, end)
    told(as_json, made, f"link {row}: kept until {end:%Y-%m-%d}")


@cases_group.command("release")
@HOME
@ID
@REASON
@by_signed
@JSON
@errors
def release_link(home: Path, row: str, reason: str, by: str, as_json: bool) -> None:
    """End a link: what is past 60 days is destroyed with the next purge."""
    with Central(home) as central:
        made = cases.release(central, sign(central, by), row, reason)
    told(as_json, made, f"link {row} is released")


@cases_group.command("list")
@HOME
@_OVERDUE
@by_signed
@JSON
@errors
def list_links(home: Path, overdue: bool, by: str, as_json: bool) -> None:
    """The register of links, newest first."""
    listing(home, "case", overdue, by, as_json)


@cases_group.command("reads")
@HOME
@ID
@by_signed
@JSON
@errors
def link_reads(home: Path, row: str, by: str, as_json: bool) -> None:
    """The reads of a live link; the look is recorded."""
    reads_of(home, "case", row, by, as_json)


def _maybe(text: str, option: str) -> datetime | None:
    return instant(text, option) if text else None
