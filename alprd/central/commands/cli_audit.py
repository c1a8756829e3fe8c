"""``alprd-central audit``: verify, anchors, search, terms, table, exceptions, sign-off."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.cli_search import AS, PASSWORD
from alprd.central.commands.clikit import HOME, JSON, errors, instant, show
from alprd.central.oversight import weekly
from alprd.central.storage.store import Central
from alprd.central.trail import anchors, trailcheck, trailview

BROKEN: Final = 4
"""Exit code of a trail that is not whole."""


@click.command("verify")
@HOME
@click.option("--key", default="", help="Public key of the anchors, as it was kept elsewhere.")
@JSON
@errors
def verify(home: Path, key: str, as_json: bool) -> None:
    """Check every chain against its digests, its head and the anchors."""
    with Central(home) as central:
        result = trailcheck.checked(central, key=key)
    if result.whole:
        text = f"{result.events} events, chain is whole, {result.anchors} anchors agree"
        if not result.apart:
            text += "\nthe anchors lie in the home folder: name another place in [audit] anchors"
        text += "".join(f"\nLOST: {lost}" for lost in result.lost)
        show(as_json, result.as_json(), text)
        return
    lines = [f"BROKEN: {problem}" for problem in result.problems]
    lines += [f"LOST: {lost}" for lost in result.lost]
    lines += [
        f"  {one.chain}: whole up to event {one.anchored} by the anchor of {one.anchor_day}"
        for one in result.chains
        if one.problem and one.anchored
    ]
    show(as_json, result.as_json(), "\n".join(lines))
    sys.exit(BROKEN)


@click.command("anchor")
@HOME
@JSON
@errors
def anchor(home: Path, as_json: bool) -> None:
    """Make today's anchor now (serve does it by itself)."""
    with Central(home) as central:
        made = anchors.daily(central)
        place = str(anchors.folder(central))
    show(as_json, {"made": made, "folder": place}, "made" if made else "today's is there")


@click.command("anchor-key")
@HOME
@JSON
@errors
def anchor_key(home: Path, as_json: bool) -> None:
    """Print the public key of the anchors; keep it elsewhere."""
    with Central(home) as central:
        key = anchors.public_key(central)
    show(as_json, {"key": key}, key)


def _filtered(command: Any) -> Any:
    for option in (
        click.option("--person", default="", help="Who acted, or whom it is about."),
        click.option("--event", default="", help="Name of an event, or its first part."),
        click.option("--from", "since", default="", help="ISO time, or a date."),
        click.option("--to", "until", default="", help="ISO time, or a date; not included."),
        click.option("--record", default="", help="Id of a read or another record."),
        click.option("--central-only", is_flag=True, help="Without the cars' trails."),
    ):
        command = option(command)
    return command


def _filter(
    person: str, event: str, since: str, until: str, record: str, central_only: bool
) -> trailview.Filter:
    return trailview.Filter(
        person=person,
        event=event,
        since=instant(since, "--from") if since else None,
        until=instant(until, "--to") if until else None,
        record=record,
        cars=not central_only,
    )


@click.command("search")
@HOME
@_filtered
@click.option("--after", default="", help="What the page before gave, for the next one.")
@AS
@PASSWORD
@JSON
@errors
def search(
    home: Path,
    person: str,
    event: str,
    since: str,
    until: str,
    record: str,
    central_only: bool,
    after: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Events that fit, newest first."""
    wanted = _filter(person, event, since, until, record, central_only)
    with Central(home) as central:
        found = trailview.search(central, sign(central, person_id), wanted, after=after)
    rows = [
        {"chain": line.chain, "terms": line.terms, **line.event.model_dump(mode="json")}
        for line in found.lines
    ]
    lines = [
        f"{row['at']} {row['chain']} {row['seq']} {row['event']} {row['actor']} {row['detail']}"
        for row in rows
    ]
    back = found.looked_back_to
    if back is not None:
        lines.append(f"looked back to {back.isoformat()}")
    if found.after:
        lines.append(f"older: --after {found.after}")
    show(
        as_json,
        {"events": rows, "after": found.after, "looked_back_to": back},
        "\n".join(lines) or "nothing fits",
    )


@click.command("table")
@HOME
@_filtered
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help=".csv or .jsonl"
)
@AS
@PASSWORD
@JSON
@errors
def table(
    home: Path,
    person: str,
    event: str,
    since: str,
    until: str,
    record: str,
    central_only: bool,
    out: Path,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Write every event that fits to a file."""
    wanted = _filter(person, event, since, until, record, central_only)
    with Central(home) as central:
        done = trailview.export(central, sign(central, person_id), wanted, out)
    show(as_json, done, f"{done['events']} events in {out}, SHA-256 {done['sha256']}")


@click.command("terms")
@HOME
@click.option("--event", "seq", type=int, required=True, help="Number of the event at central.")
@AS
@PASSWORD
@JSON
@errors
def terms(home: Path, seq: int, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """Open the plate that a person typed; recorded itself."""
    with Central(home) as central:
        text = trailview.terms(central, sign(central, person_id), seq)
    show(as_json, {"event": seq, "terms": text}, text)


@click.command("exceptions")
@HOME
@AS
@PASSWORD
@JSON
@errors
def exceptions(home: Path, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """The weekly exception reports, newest first."""
    with Central(home) as central:
        person = sign(central, person_id)
        weekly.keep_up(central)
        rows = weekly.reports(central, person)
    lines = []
    for made in rows:
        signed = f"signed off by {made.signed_by}" if made.signed_at else "NOT SIGNED OFF"
        lines.append(f"{made.report.week}: {len(made.report.findings)} findings, {signed}")
        lines += [
            f"  {weekly.KINDS[f.kind]}: {f.person or f.detail} ({f.count})"
            for f in made.report.findings
        ]
    values = [made.model_dump(mode="json") for made in rows]
    show(as_json, {"reports": values}, "\n".join(lines) or "no week is over yet")


@click.command("sign-off")
@HOME
@click.option("--week", required=True, help="Such as 2026-W05.")
@click.option("--note", required=True, help="What was looked at and found.")
@AS
@PASSWORD
@JSON
@errors
def sign_off(
    home: Path, week: str, note: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Sign a weekly report off."""
    with Central(home) as central:
        weekly.sign(central, sign(central, person_id), week, note)
    show(as_json, {"week": week, "signed": True}, f"{week}: signed off")


COMMANDS: Final = (
    verify, anchor, anchor_key, search, table, terms, exceptions, sign_off,
)  # fmt: skip
