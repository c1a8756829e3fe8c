"""``alprd-central confidential``: address-confidentiality requests, for two roles alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.cli_search import AS, PASSWORD
from alprd.central.commands.clikit import HOME, JSON, errors, instant, show
from alprd.central.records import confidentiality
from alprd.central.records.confidentialstore import Asked
from alprd.central.storage.store import Central

_ID: Final = click.option("--id", "request", required=True)
_REFERENCE: Final = click.option("--reference", required=True, help="Of the written request.")
_PLATES: Final = click.option(
    "--plate", "plates", multiple=True, help="PLATE or PLATE/STATE; can be repeated."
)


@click.group("confidential")
def confidential_group() -> None:
    """Address-confidentiality requests; private (R-460.5-b)."""


def _told(as_json: bool, row: Asked) -> None:
    lines = [f"request {row.id}: {'complete' if row.complete else 'not complete'}"]
    lines += [f"  done   {one.at:%Y-%m-%d %H:%M}Z {one.store}: {one.how}" for one in row.receipts]
    lines += [f"  waits  car {one.car}" for one in row.cars]
    lines += [f"  waits  release {one}" for one in row.releases]
    lines += [
        f"  kept   {one.kind} {one.number}, {one.reads} read(s), look again {one.review:%Y-%m-%d}"
        for one in row.deferred
    ]
    show(as_json, row.model_dump(mode="json") | {"complete": row.complete}, "\n".join(lines))


@confidential_group.command("enter")
@HOME
@_PLATES
@click.option("--received", required=True, help="When the request came in, ISO time.")
@click.option("--verified-by", required=True, help="Who verified the participant.")
@_REFERENCE
@click.option("--review", default="", help="ISO date; default: in a year.")
@AS
@PASSWORD
@JSON
@errors
def enter(
    home: Path,
    plates: tuple[str, ...],
    received: str,
    verified_by: str,
    reference: str,
    review: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Enter a verified request, destroy what is held; cars get it within the hour."""
    with Central(home) as central:
        row = confidentiality.enter(
            central,
            sign(central, person_id),
            plates=plates,
            received=instant(received, "--received"),
            verified_by=verified_by,
            reference=reference,
            review=instant(review, "--review") if review else None,
        )
    _told(as_json, row)


@confidential_group.command("add")
@HOME
@_ID
@_PLATES
@_REFERENCE
@AS
@PASSWORD
@JSON
@errors
def add(
    home: Path,
    request: str,
    plates: tuple[str, ...],
    reference: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Add plates on the participant's written word."""
    with Central(home) as central:
        person = sign(central, person_id)
        row = confidentiality.add_plates(central, person, request, plates, reference)
    _told(as_json, row)


@confidential_group.command("remove")
@HOME
@_ID
@_PLATES
@_REFERENCE
@AS
@PASSWORD
@JSON
@errors
def remove(
    home: Path,
    request: str,
    plates: tuple[str, ...],
    reference: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Take plates out, or without --plate end the request, on the participant's written word."""
    with Central(home) as central:
        person = sign(central, person_id)
        row = confidentiality.remove(central, person, request, reference, plates)
    _told(as_json, row)


@confidential_group.command("review")
@HOME
@_ID
@click.option("--until", required=True, help="Next review, ISO date.")
@click.option("--note", required=True)
@AS
@PASSWORD
@JSON
@errors
def review(
    home: Path,
    request: str,
    until: str,
    note: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Say that a request still stands."""
    with Central(home) as central:
        person = sign(central, person_id)
        row = confidentiality.review(central, person, request, instant(until, "--until"), note)
    _told(as_json, row)


@confidential_group.command("released-to")
@HOME
@_ID
@click.option("--recipient", required=True, help="Who had related data released to them.")
@AS
@PASSWORD
@JSON
@errors
def released_to(
    home: Path, request: str, recipient: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Note a recipient who was told to destroy."""
    with Central(home) as central:
        person = sign(central, person_id)
        row = confidentiality.released_to(central, person, request, recipient)
    _told(as_json, row)


@confidential_group.command("confirm")
@HOME
@_ID
@click.option("--store", required=True, help="'release NAME' or 'car NAME'.")
@click.option("--how", required=True, help="How it is known.")
@AS
@PASSWORD
@JSON
@errors
def confirm(
    home: Path,
    request: str,
    store: str,
    how: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Note by hand that a store is done."""
    with Central(home) as central:
        row = confidentiality.confirm(central, sign(central, person_id), request, store, how)
    _told(as_json, row)


@confidential_group.command("list")
@HOME
@click.option("--due", is_flag=True, help="Only what needs a person now.")
@AS
@PASSWORD
@JSON
@errors
def listing(home: Path, due: bool, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """Every request with its receipts."""
    with Central(home) as central:
        rows = confidentiality.listing(central, sign(central, person_id), due=due)
    lines = [
        f"{row.id}  received {row.received:%Y-%m-%d}  review {row.review:%Y-%m-%d}  "
        f"{len(row.plates)} plate(s)  "
        + ("ended" if row.ended_at else "complete" if row.complete else "not complete")
        for row in rows
    ]
    values: list[dict[str, Any]] = [
        row.model_dump(mode="json") | {"complete": row.complete} for row in rows
    ]
    show(as_json, {"requests": values}, "\n".join(lines) or "none")


@confidential_group.command("history")
@HOME
@AS
@PASSWORD
@JSON
@errors
def history(home: Path, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """Who did what with requests."""
    with Central(home) as central:
        rows = confidentiality.history(central, sign(central, person_id))
    lines = [f"{row['at']} {row['who']} {row['what']} {row['request']}" for row in rows]
    show(as_json, {"acts": rows}, "\n".join(lines) or "none")
