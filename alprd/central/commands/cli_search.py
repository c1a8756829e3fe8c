"""``alprd-central search``, ``picture``, ``bases``, ``notices`` and ``reasons``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, get_args

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import HOME, JSON, errors, instant, show
from alprd.central.grounds import legalbasis
from alprd.central.grounds.legalbasis import Basis
from alprd.central.grounds.searchform import Place, Purpose
from alprd.central.oversight import quality
from alprd.central.searches import pictureview, search
from alprd.central.staff import notices
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError

AS: Final = click.option("--as", "person_id", required=True, help="Who does it.")
PASSWORD: Final = click.option(
    "--password-stdin", is_flag=True, required=True, help="First line of stdin."
)
_ID: Final = click.option("--id", "row", required=True, help="Id in the register.")
_REASON: Final = click.option("--reason", required=True, help="In your own words.")
_CASE: Final = click.option("--case", required=True, help="Case, complaint or incident number.")
_PLATE: Final = click.option("--plate", required=True, help="The plate that it is about.")


@click.command("search")
@HOME
@AS
@PASSWORD
@click.option("--case", default="", help="Case, complaint or incident number.")
@click.option("--offence", default="", help="Offence type.")
@click.option("--facts", default="", help="The facts, in your own words.")
@click.option("--suspicion", default="", help="Why these reads are pertinent.")
@click.option("--from", "since", default="", help="Start of the window, ISO time.")
@click.option("--to", "until", default="", help="End of the window, ISO time, at most 24 h on.")
@click.option("--plate", default=None, help="Whole, or with ? and * for what is not known.")
@click.option("--near", default="", help="LAT,LON: the place, instead of a plate or with it.")
@click.option("--radius", type=float, default=200.0, show_default=True, help="Metres.")
@click.option("--unplaced", is_flag=True, help="With --near: also reads without a known place.")
@click.option("--basis", default="", help="Id of a warrant or exigency.")
@click.option("--purpose", type=click.Choice(get_args(Purpose)), default="criminal")
@JSON
@errors
def search_command(
    home: Path,
    person_id: str,
    password_stdin: bool,
    case: str,
    offence: str,
    facts: str,
    suspicion: str,
    since: str,
    until: str,
    plate: str | None,
    near: str,
    radius: float,
    unplaced: bool,
    basis: str,
    purpose: Purpose,
    as_json: bool,
) -> None:
    """Documented search of stored reads (R-13.824-7-2)."""
    if not since or not until:
        raise RefusedError("search has no window", reason="missing_window", remedy="--from, --to")
    with Central(home) as central:
        person = sign(central, person_id)
        request = search.Request(
            case=case,
            offence=offence,
            facts=facts,
            suspicion=suspicion,
            since=instant(since, "--from"),
            until=instant(until, "--to"),
            plate=plate,
            place=_place(near, radius) if near else None,
            unplaced=unplaced,
            basis=basis,
            purpose=purpose,
        )
        done = search.answer(central, person, request)
    for found in done.found:
        if as_json:
            click.echo(json.dumps(found.as_json() | {"search": done.seq}))
        else:
            local = found.instant.astimezone(central.config.zone())
            stacked = f" ({found.stacked})" if found.stacked else ""
            click.echo(
                f"{local.isoformat()}  {found.plate}{stacked}  {found.state or '?'}  {found.id}"
            )
    if not as_json:
        click.echo(f"search {done.seq}: {len(done.found)} reads", err=True)


def _place(near: str, radius: float) -> Place:
    try:
        lat, lon = (float(part) for part in near.split(","))
    except ValueError:
        raise InputError("--near is not LAT,LON", remedy="write 46.8172,-95.8454") from None
    return Place(lat, lon, radius)


@click.command("picture")
@HOME
@AS
@PASSWORD
@click.option("--search", "seq", type=int, required=True, help="Number of your search.")
@click.option("--read", required=True, help="Id of one of its results.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@JSON
@errors
def picture_command(
    home: Path,
    person_id: str,
    password_stdin: bool,
    seq: int,
    read: str,
    out: Path,
    as_json: bool,
) -> None:
    """Write the pictures of a search result into a folder; an access of its own."""
    with Central(home) as central:
        found = pictureview.of_search(central, sign(central, person_id), seq, read)
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for name, data in (("plate", found.plate), ("wide", found.wide)):
        if data:
            path = out / f"{read}-{name}.jpg"
            path.touch(mode=0o600)
            path.write_bytes(data)
            made.append(str(path))
    show(as_json, {"read": read, "files": made}, "\n".join(made))


@click.group("bases")
def bases_group() -> None:
    """Warrants and exigent circumstances for searches (R-460.4.1-c)."""


def _told(as_json: bool, row: Basis) -> None:
    values = {"id": row.id, "kind": row.kind, "state": row.state, "ends": row.ends}
    show(as_json, values, f"{row.kind} {row.id} is {row.state}, until {row.ends:%Y-%m-%d %H:%M}Z")


@bases_group.command("warrant")
@HOME
@_CASE
@_PLATE
@click.option("--court", required=True)
@click.option("--number", required=True, help="The warrant's number.")
@click.option("--issued", required=True, help="ISO time.")
@click.option("--expires", required=True, help="ISO time.")
@click.option("--scope", required=True, help="What it allows.")
@AS
@PASSWORD
@JSON
@errors
def warrant(
    home: Path,
    case: str,
    plate: str,
    court: str,
    number: str,
    issued: str,
    expires: str,
    scope: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Enter a warrant that is in force."""
    with Central(home) as central:
        row = legalbasis.enter_warrant(
            central,
            sign(central, person_id),
            case=case,
            plate=plate,
            court=court,
            number=number,
            issued=instant(issued, "--issued"),
            expires=instant(expires, "--expires"),
            scope=scope,
        )
    _told(as_json, row)


@bases_group.command("exigency")
@HOME
@_CASE
@_PLATE
@click.option("--facts", required=True, help="In your own words.")
@click.option("--at", required=True, help="Since when, ISO time.")
@AS
@PASSWORD
@JSON
@errors
def exigency(
    home: Path,
    case: str,
    plate: str,
    facts: str,
    at: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Ask another person to find exigent circumstances; they carry 24 h."""
    with Central(home) as central:
        row = legalbasis.ask_exigency(
            central,
            sign(central, person_id),
            case=case,
            plate=plate,
            facts=facts,
            at=instant(at, "--at"),
        )
    _told(as_json, row)


def _act(name: str, text: str, act: Any) -> None:
    @bases_group.command(name, help=text)
    @HOME
    @_ID
    @_REASON
    @AS
    @PASSWORD
    @JSON
    @errors
    def command(
        home: Path, row: str, reason: str, person_id: str, password_stdin: bool, as_json: bool
    ) -> None:
        with Central(home) as central:
            made = act(central, sign(central, person_id), row, reason)
        _told(as_json, made)


_act(
    "find",
    "Find that the circumstances are exigent.",
    lambda central, person, row, reason: legalbasis.decide(
        central, person, row, found=True, reason=reason
    ),
)
_act(
    "refuse",
    "Refuse a request for exigent circumstances.",
    lambda central, person, row, reason: legalbasis.decide(
        central, person, row, found=False, reason=reason
    ),
)
_act("review", "Write the review that exigent circumstances need.", legalbasis.review)
_act("withdraw", "End a basis before its time.", legalbasis.withdraw)


@bases_group.command("list")
@HOME
@AS
@PASSWORD
@JSON
@errors
def bases_list(home: Path, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """The register, newest first."""
    with Central(home) as central:
        now = central.clock()
        rows = legalbasis.register(central, sign(central, person_id))
    lines = [
        f"{row.entered_at:%Y-%m-%d} {row.kind:<8} {row.stands(now):<9} {row.case:<16} {row.id}"
        + ("  REVIEW DUE" if row.review_due(now) else "")
        for row in rows
    ]
    values = [row.model_dump(mode="json") | {"stands": row.stands(now)} for row in rows]
    show(as_json, {"bases": values}, "\n".join(lines) or "none")


@click.group("notices")
def notices_group() -> None:
    """What the supervisor must look at."""


@notices_group.command("list")
@HOME
@click.option("--all", "answered", is_flag=True, help="Answered ones too.")
@AS
@PASSWORD
@JSON
@errors
def notices_list(
    home: Path, answered: bool, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Open notices, newest first."""
    with Central(home) as central:
        rows = notices.waiting(central, sign(central, person_id), answered=answered)
    lines = [
        f"{row['at']:%Y-%m-%d %H:%M}Z {row['text']} ({row['subject']}) {row['detail']}  {row['id']}"
        for row in rows
    ]
    show(as_json, {"notices": rows}, "\n".join(lines) or "none")


@notices_group.command("answer")
@HOME
@_ID
@click.option("--text", required=True, help="What was found and done.")
@AS
@PASSWORD
@JSON
@errors
def notices_answer(
    home: Path, row: str, text: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Close a notice."""
    with Central(home) as central:
        notices.answer(central, sign(central, person_id), row, text)
    show(as_json, {"id": row, "answered": True}, f"notice {row} is answered")


@click.group("reasons")
def reasons_group() -> None:
    """The monthly sample of reasons for searches."""


@reasons_group.command("sample")
@HOME
@click.option("--month", required=True, help="Such as 2026-01.")
@AS
@PASSWORD
@JSON
@errors
def reasons_sample(
    home: Path, month: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """The drawn searches with their reasons."""
    with Central(home) as central:
        rows = quality.sample(central, sign(central, person_id), month)
    lines = [
        f"{row['seq']} {row['person']} {row['case']} {row['finding'] or 'not judged'}\n"
        f"    facts: {row['facts']}\n    suspicion: {row['suspicion']}"
        for row in rows
    ]
    show(as_json, {"month": month, "searches": rows}, "\n".join(lines) or "no searches")


@reasons_group.command("judge")
@HOME
@click.option("--search", "seq", type=int, required=True)
@click.option("--finding", type=click.Choice(get_args(quality.Finding)), required=True)
@click.option("--note", default="")
@AS
@PASSWORD
@JSON
@errors
def reasons_judge(
    home: Path,
    seq: int,
    finding: quality.Finding,
    note: str,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Say whether a reason is good."""
    with Central(home) as central:
        quality.judge(central, sign(central, person_id), seq, finding, note)
    show(as_json, {"search": seq, "finding": finding}, f"search {seq}: {finding}")
