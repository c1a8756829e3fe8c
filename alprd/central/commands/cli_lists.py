"""``alprd-central lists held|show|accept|refuse``, ``categories`` and ``additional``.

Whoever decides signs with his own password (``--as`` and ``--password-stdin``): a name typed on a
command line is no second person.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args

import click

from alprd.central.commands.cli_admin import lists_group, report_import
from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import HOME, JSON, errors, show
from alprd.central.commands.requestform import build_request
from alprd.central.hotlists import acceptance, additional, categories, gate, liststore, rejections
from alprd.central.hotlists.entry import PURPOSES, Entry, Kind
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.store import Central
from alprd.errors import InputError
from alprd.records import PLATE_TYPES, Category
from alprd.wire import Person

AS: Final = click.option("--as", "person_id", required=True, help="Who decides or asks.")
PASSWORD: Final = click.option(
    "--password-stdin", is_flag=True, required=True, help="First line of stdin; then the code."
)
REASON: Final = click.option("--reason", required=True, help="Why, in your own words.")
ID: Final = click.argument("ident", metavar="ID")


def _person(central: Central, person_id: str) -> Person:
    return sign(central, person_id)


# --- held imports -----------------------------------------------------------------------------


def held_values(central: Central, row: Any, held: gate.Held) -> dict[str, Any]:
    """A held import for programs."""
    return {
        "id": row.id,
        "state": row.state,
        "held_at": row.held_at.isoformat(timespec="seconds"),
        **held.candidate.model_dump(mode="json", exclude={"seen_test_plates"}),
        "in_use": held.in_use,
        "findings": [finding.model_dump() for finding in held.findings],
        "still_unmapped": list(acceptance.still_unmapped(central, held)),
        "rejected_lines": [{"line": line, "reason": reason} for line, reason in held.lines],
        "rejected_report": held.rejected_report,
        "decided_by": row.decided_by,
        "reason": row.reason,
    }


def _held_text(values: dict[str, Any]) -> str:
    lines = [
        f"{values['id']}  {values['list_id']} from {values['source']}, {values['state']}",
        f"  held {values['held_at']}, supplied {values['supplied_at']}, {values['entries']} "
        f"entries ({values['in_use'] if values['in_use'] is not None else 'none'} in use), "
        f"{values['rejected']} lines rejected",
    ]
    lines += [f"  {finding['code']}: {finding['text']}" for finding in values["findings"]]
    lines += [f"  not mapped: {values['layout']} {code}" for code in values["still_unmapped"]]
    return "\n".join(lines)


@lists_group.command("held")
@HOME
@JSON
@errors
def lists_held(home: Path, as_json: bool) -> None:
    """Imports that wait for a person."""
    with Central(home) as central:
        with central.database.read() as tx:
            found = [gate.report(central, tx, row.id) for row in gate.waiting(tx)]
        values = [held_values(central, row, held) for row, held in found]
    text = "\n".join(map(_held_text, values)) or "no import waits"
    show(as_json, {"held": values}, text)


@lists_group.command("show")
@HOME
@ID
@JSON
@errors
def lists_show(home: Path, ident: str, as_json: bool) -> None:
    """A held import with its report: what looks wrong, and which lines were rejected."""
    with Central(home) as central:
        with central.database.read() as tx:
            row, held = gate.report(central, tx, ident)
        values = held_values(central, row, held)
    lines = [f"  line {line}: {reason}" for line, reason in held.lines]
    if held.rejected_report:
        lines.append(f"  every rejected line: alprd-central lists rejected {held.rejected_report}")
    show(as_json, values, "\n".join([_held_text(values), *lines]))


@lists_group.command("accept")
@HOME
@ID
@AS
@PASSWORD
@REASON
@JSON
@errors
def lists_accept(
    home: Path, ident: str, person_id: str, password_stdin: bool, reason: str, as_json: bool
) -> None:
    """Use a held list in spite of what looks wrong."""
    with Central(home) as central:
        report = acceptance.accept(central, _person(central, person_id), ident, reason)
    report_import(as_json, report)


@lists_group.command("refuse")
@HOME
@ID
@AS
@PASSWORD
@REASON
@JSON
@errors
def lists_refuse(
    home: Path, ident: str, person_id: str, password_stdin: bool, reason: str, as_json: bool
) -> None:
    """Throw a held list away."""
    with Central(home) as central:
        acceptance.refuse(central, _person(central, person_id), ident, reason)
    show(as_json, {"id": ident, "state": "refused"}, f"{ident}: refused")


@lists_group.command("remove")
@HOME
@click.option("--list", "list_id", required=True)
@AS
@PASSWORD
@REASON
@JSON
@errors
def lists_remove(
    home: Path, list_id: str, person_id: str, password_stdin: bool, reason: str, as_json: bool
) -> None:
    """Take a list out of use; cars drop it with the next publication."""
    with Central(home) as central:
        acceptance.remove(central, _person(central, person_id), list_id, reason)
    show(as_json, {"list_id": list_id, "state": "removed"}, f"{list_id}: removed; publish now")


@lists_group.command("rejected")
@HOME
@click.argument("ident", metavar="[ID]", default="")
@AS
@PASSWORD
@click.option("--to", type=click.Path(path_type=Path), help="A new file; without it, the screen.")
@JSON
@errors
def lists_rejected(
    home: Path, ident: str, person_id: str, password_stdin: bool, to: Path | None, as_json: bool
) -> None:
    """Every rejected line of an import as CSV (line,reason); without ID, the reports there are."""
    with Central(home) as central:
        person = _person(central, person_id)
        if not ident:
            people.require(person, Act.LISTS_SEE, central.clock())
            with central.database.read() as tx:
                found = rejections.kept(central, tx)
            lines = [
                f"{row['id']}  {row['list_id']:<16} {row['lines']} lines, made "
                f"{row['made_at']:%Y-%m-%dT%H:%M:%SZ}, kept until {row['until']:%Y-%m-%d %H:%M}Z"
                for row in found
            ]
            show(as_json, {"reports": found}, "\n".join(lines) or "no report of rejected lines")
            return
        pieces = rejections.take(central, person, ident)
        if to is None:
            for piece in pieces:
                click.echo(piece, nl=False)
            return
        try:
            with open(to, "xb", opener=liststore.private) as file:
                for piece in pieces:
                    file.write(piece)
        except OSError as error:
            raise InputError(f"--to {to}: {error.strerror}", remedy="name a new file") from error
    show(as_json, {"file": str(to)}, f"{to}: written; it is yours to remove")


# --- category map -----------------------------------------------------------------------------


@click.group("categories")
def categories_group() -> None:
    """Which code of a supplier is which column of the public log."""


def row_values(row: categories.Row) -> dict[str, Any]:
    """A row of the map for programs."""
    return {
        "source": row.source,
        "code": row.code,
        "column": row.mapping.column,
        "priority": row.mapping.priority,
        "clearance": row.mapping.clearance,
        "origin": row.origin,
        "set_by": row.set_by,
    }


@categories_group.command("list")
@HOME
@JSON
@errors
def categories_list(home: Path, as_json: bool) -> None:
    """The whole map: the agency's own rows first, then the shipped ones."""
    with Central(home) as central, central.database.read() as tx:
        values = [row_values(row) for row in (*categories.agency_rows(tx), *categories.shipped())]
    text = "\n".join(
        f"{v['source']:<12} {v['code']:<26} {v['column']:<24} {v['priority']:<7} "
        f"{v['clearance']:<24} {v['origin']}"
        for v in values
    )
    show(as_json, {"rows": values}, text)


@categories_group.command("set")
@HOME
@click.option("--source", required=True, help="A layout such as ncic, or * for every one.")
@click.option("--code", required=True)
@click.option("--column", required=True, type=click.Choice(categories.COLUMNS))
@click.option("--priority", required=True, type=click.Choice(categories.PRIORITIES))
@click.option("--restricted", is_flag=True, help="Needs the clearance restricted_files too.")
@AS
@PASSWORD
@JSON
@errors
def categories_set(
    home: Path,
    source: str,
    code: str,
    column: Category,
    priority: categories.Priority,
    restricted: bool,
    person_id: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Map a code to exactly one column, priority and clearance."""
    with Central(home) as central:
        person = _person(central, person_id)
        mapping = categories.Mapping(column, priority, restricted)
        values = row_values(categories.set_row(central, person, source, code, mapping))
    show(as_json, values, f"{values['source']} {values['code']}: {column}, {priority}")


@categories_group.command("remove")
@HOME
@click.option("--source", required=True)
@click.option("--code", required=True)
@AS
@PASSWORD
@JSON
@errors
def categories_remove(
    home: Path, source: str, code: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Take the agency's own row for a code away."""
    with Central(home) as central:
        categories.remove_row(central, _person(central, person_id), source, code)
    show(as_json, {"source": source, "code": code}, f"{source} {code}: removed")


# --- additional entries -----------------------------------------------------------------------


@click.group("additional")
def additional_group() -> None:
    """Entries for active criminal investigations, beside the state's list."""


def entry_values(entry: Entry, now: datetime) -> dict[str, Any]:
    """A row of the register for programs."""
    return {
        **entry.model_dump(mode="json"),
        "stands": entry.stands(now),
        "review_due": entry.review_due(now),
    }


def _show_entries(as_json: bool, entries: tuple[Entry, ...], now: datetime) -> None:
    lines = [
        f"{e.id}  {e.stands(now):<9} {e.request.plate:<10} {e.request.state or '--'}  "
        f"{e.request.kind:<12} case {e.request.case}  until {e.effective_end:%Y-%m-%dT%H:%M:%SZ}  "
        f"asked by {e.requested_by}" + ("  REVIEW DUE" if e.review_due(now) else "")
        for e in entries
    ]
    values = {"entries": [entry_values(entry, now) for entry in entries]}
    show(as_json, values, "\n".join(lines) or "no additional entry")


@additional_group.command("request")
@HOME
@AS
@PASSWORD
@click.option("--plate", required=True)
@click.option("--state", default="", help="USPS code; empty when it is not known.")
@click.option("--type", "plate_type", type=click.Choice(PLATE_TYPES))
@click.option("--kind", type=click.Choice(get_args(Kind)), default="interdiction")
@click.option("--purpose", required=True, type=click.Choice(PURPOSES))
@click.option("--case", default="", help="Number of the active criminal investigation.")
@click.option("--offence", default="")
@click.option("--relation", default="", help="How the plate relates to the investigation.")
@click.option("--alert", default="", help="What the deputy is to do or know.")
@click.option("--starts", default="", help="ISO time; default now.")
@click.option("--ends", default="", help="ISO time; default 7 days after the start.")
@click.option("--warrant-court", default="")
@click.option("--warrant-number", default="")
@click.option("--warrant-issued", default="")
@click.option("--warrant-expires", default="")
@click.option("--warrant-scope", default="")
@click.option("--exigency-facts", default="")
@click.option("--exigency-at", default="")
@click.option("--exigency-approver", default="", help="Id of who found the exigency.")
@JSON
@errors
def additional_request(
    home: Path, person_id: str, password_stdin: bool, as_json: bool, **given: str
) -> None:
    """Ask for an entry; nothing matches before another person approves it."""
    with Central(home) as central:
        person = _person(central, person_id)
        entry = additional.ask(central, person, build_request(central, given))
        now = central.clock()
    _show_entries(as_json, (entry,), now)


def _entry_command(
    name: str, act: Callable[[Central, Person, str, str], Entry], option: str, text: str
) -> None:
    @additional_group.command(name, help=text)
    @HOME
    @ID
    @AS
    @PASSWORD
    @click.option(option, "words", required=True, help="In your own words.")
    @JSON
    @errors
    def command(
        home: Path, ident: str, person_id: str, password_stdin: bool, words: str, as_json: bool
    ) -> None:
        with Central(home) as central:
            entry = act(central, _person(central, person_id), ident, words)
            now = central.clock()
        _show_entries(as_json, (entry,), now)


_entry_command(
    "approve", additional.approve, "--reason", "Let an entry match; by another person than asked."
)
_entry_command("refuse", additional.refuse, "--reason", "Turn a request down.")
_entry_command("revoke", additional.revoke, "--reason", "End an entry before its time.")
_entry_command("review", additional.review, "--text", "Write the review of exigent circumstances.")


@additional_group.command("close-case")
@HOME
@click.option("--case", required=True)
@AS
@PASSWORD
@REASON
@JSON
@errors
def additional_close(
    home: Path, case: str, person_id: str, password_stdin: bool, reason: str, as_json: bool
) -> None:
    """End every entry of a case that is closed."""
    with Central(home) as central:
        ended = additional.close_case(central, _person(central, person_id), case, reason)
        now = central.clock()
    _show_entries(as_json, ended, now)


@additional_group.command("list")
@HOME
@AS
@PASSWORD
@JSON
@errors
def additional_list(home: Path, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """The register, as far as the person may see it; the look is recorded."""
    with Central(home) as central:
        found = additional.register(central, _person(central, person_id))
        now = central.clock()
    _show_entries(as_json, found, now)
