"""Commands of what the public and the BCA get: ``publiclog``, ``readers``, ``fixed``.

What a person decides asks for that person with ``--as`` and a password on standard input.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from alprd.audit import Actor
from alprd.central.commands import cli_bca, cli_pubtrail
from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import AS, DEVICE, HOME, JSON, STDIN, errors, show
from alprd.central.public import (
    fixedplaces,
    logbook,
    publiclog,
    publicsite,
    readers,
    sources,
)
from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage.store import Central
from alprd.errors import InputError


def add_to(main: click.Group, audit_group: click.Group) -> None:
    """Put the commands under the others."""
    for group in (publiclog_group, readers_group, fixed_group, cli_bca.bca_group):
        main.add_command(group)
    for command in (cli_pubtrail.export, cli_pubtrail.redact, cli_pubtrail.case):
        audit_group.add_command(command)


def publish_site(central: Central, folder: Path, actor: Actor, as_json: bool) -> None:
    """``alprd-central publish FOLDER``: the public pages as files."""
    done = publicsite.publish(central, folder, actor)
    show(
        as_json,
        {"files": done.files, "changed": list(done.changed), "rows": done.rows},
        f"{done.files} files in {folder}, {len(done.changed)} changed, {done.rows} rows",
    )


# --- public log -----------------------------------------------------------------------------


@click.group("publiclog", invoke_without_command=True)
@click.option("--home", type=click.Path(path_type=Path), envvar="ALPRD_CENTRAL_HOME")
@click.option("--csv", "as_csv", is_flag=True, help="The published CSV (default).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_context
@errors
def publiclog_group(context: click.Context, home: Path | None, as_csv: bool, as_json: bool) -> None:
    """Print the public log of use (R-460.5.1-0), or look after it."""
    if context.invoked_subcommand is not None:
        return
    if home is None:
        raise InputError("--home is missing", remedy="give the agency's folder")
    with Central(home) as central:
        rows = publiclog.rows(central)
    if as_json and not as_csv:
        click.echo(json.dumps(rows))
    else:
        click.echo(publiclog.as_csv(rows), nl=False)


@publiclog_group.command("verify")
@HOME
@JSON
@errors
def publiclog_verify(home: Path, as_json: bool) -> None:
    """Check that no row was changed, removed or put in between."""
    with Central(home) as central, central.database.read() as tx:
        number = logbook.verify(tx)
    show(as_json, {"rows": number, "whole": True}, f"{number} rows, the book is whole")


@publiclog_group.command("note")
@HOME
@click.option("--session", required=True, help="Id of the period that the note is about.")
@click.option("--text", required=True, help="Public; no plate, name, case or place of a car.")
@AS
@STDIN
@JSON
@errors
def publiclog_note(
    home: Path, session: str, text: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Add a dated, visible note to a period; its row stays as it is."""
    with Central(home) as central:
        person = sign(central, person_id)
        people.require(person, Act.LOG_CORRECT, central.clock())
        text = " ".join(text.split())
        if not 10 <= len(text) <= 300:
            raise InputError("the note has 10 to 300 characters")
        with central.database.write() as tx:
            if logbook.find(tx, session) is None:
                raise InputError(f"the public log has no period {session}")
            number = logbook.add_correction(
                central, tx, central.clock(), "note", session=session, note=text,
                actor=people.actor(person),
            )  # fmt: skip
    show(as_json, {"row": number}, f"added as row {number}")


@publiclog_group.command("hide-source")
@HOME
@click.option("--source", required=True)
@click.option("--citation", required=True, help="Law by which its existence is not public.")
@AS
@STDIN
@JSON
@errors
def hide_source(
    home: Path, source: str, citation: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Leave a source unnamed in the public log (R-460.5.1-b2)."""
    with Central(home) as central:
        sources.flag(central, sign(central, person_id), source, citation)
    show(as_json, {"source": source, "hidden": True}, f"{source} is not named any more")


@publiclog_group.command("show-source")
@HOME
@click.option("--source", required=True)
@AS
@STDIN
@JSON
@errors
def show_source(
    home: Path, source: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Name a source again."""
    with Central(home) as central:
        sources.lift(central, sign(central, person_id), source)
    show(as_json, {"source": source, "hidden": False}, f"{source} is named again")


# --- register of readers --------------------------------------------------------------------


@click.group("readers")
def readers_group() -> None:
    """Register of every device that can read plates (R-460.4.1-d)."""


@readers_group.command("list")
@HOME
@JSON
@errors
def readers_list(home: Path, as_json: bool) -> None:
    """Every device with its days."""
    with Central(home) as central:
        with central.database.write() as tx:
            readers.ensure_all(central, tx)
        with central.database.read() as tx:
            rows = [dict(row._mapping) for row in readers.register(tx)]
    lines = [
        f"{row['device']:<16} {row['kind']:<7} installed {row['installed'] or '–'}, first used "
        f"{row['first_used'] or '–'}{', retired ' + row['retired'] if row['retired'] else ''}"
        for row in rows
    ]
    show(as_json, {"readers": rows}, "\n".join(lines) or "no devices")


@readers_group.command("add")
@HOME
@DEVICE
@click.option("--kind", type=click.Choice(sorted(readers.KINDS)), required=True)
@click.option("--what", required=True, help="What it is, such as 'camera trailer'.")
@click.option("--installed", required=True, help="Local date.")
@AS
@STDIN
@JSON
@errors
def readers_add(
    home: Path, device: str, kind: str, what: str, installed: str, person_id: str,
    password_stdin: bool, as_json: bool,
) -> None:  # fmt: skip
    """Enter a device that is no enrolled car."""
    with Central(home) as central:
        person = sign(central, person_id)
        readers.add(central, person, device=device, kind=kind, what=what, day=installed)
    show(as_json, {"device": device}, f"{device} is in the register")


@readers_group.command("set")
@HOME
@DEVICE
@click.option("--installed", "what", flag_value="installed", help="The day it was installed.")
@click.option("--first-used", "what", flag_value="first_used", help="The day of its first use.")
@click.option("--retired", "what", flag_value="retired", help="The day it was retired.")
@click.option("--day", required=True, help="Local date.")
@AS
@STDIN
@JSON
@errors
def readers_set(
    home: Path, device: str, what: str, day: str, person_id: str, password_stdin: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Put a day of a device."""
    with Central(home) as central:
        readers.set_day(central, sign(central, person_id), device, what, day)
    show(as_json, {"device": device, what: day}, f"{device}: {what} {day}")


# --- fixed locations ------------------------------------------------------------------------


@click.group("fixed")
def fixed_group() -> None:
    """Fixed locations, current and previous (R-460.5.1-e, -e2)."""


@fixed_group.command("list")
@HOME
@JSON
@errors
def fixed_list(home: Path, as_json: bool) -> None:
    """The list as the public sees it, with the ids of its entries."""
    with Central(home) as central, central.database.read() as tx:
        found = fixedplaces.listing(central, tx)
    rows = [
        {"entry": e.id, **row} for e, row in zip(found, fixedplaces.public_rows(found), strict=True)
    ]
    lines = [
        f"{r['entry']} {r['device']}: {r['place']}, {r['from']} to {r['to'] or 'now'}" for r in rows
    ]
    show(as_json, {"fixed": rows}, "\n".join(lines) or "no fixed readers")


@fixed_group.command("place")
@HOME
@DEVICE
@click.option("--kind", type=click.Choice(sorted(fixedplaces.KINDS)), default="fixed")
@click.option("--at", required=True, help="The place, as the public reads it.")
@click.option("--from", "since", required=True, help="Local date.")
@AS
@STDIN
@JSON
@errors
def fixed_place(
    home: Path, device: str, kind: str, at: str, since: str, person_id: str,
    password_stdin: bool, as_json: bool,
) -> None:  # fmt: skip
    """A device stands at a place from a day on; standing elsewhere before, it has moved."""
    with Central(home) as central:
        person = sign(central, person_id)
        made = fixedplaces.place(central, person, device=device, kind=kind, at=at, since=since)
    show(as_json, {"entry": made.id}, f"entered as {made.id}; the BCA's ten days run from {since}")


@fixed_group.command("leave")
@HOME
@click.option("--entry", required=True)
@click.option("--day", required=True, help="Local date.")
@AS
@STDIN
@JSON
@errors
def fixed_leave(
    home: Path, entry: str, day: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """The device no longer stands there; the entry stays on the list."""
    with Central(home) as central:
        fixedplaces.leave(central, sign(central, person_id), entry, day)
    show(as_json, {"entry": entry, "to": day}, f"{entry} ended on {day}")


@fixed_group.command("withhold")
@HOME
@click.option("--entry", required=True)
@click.option("--reason", required=True, help="Written reason; not public.")
@click.option("--explanation", required=True, help="Short description for whoever asks.")
@click.option("--review", required=True, help="Date of review, within a year.")
@click.option("--section", default=fixedplaces.SECTION, show_default=True)
@AS
@STDIN
@JSON
@errors
def fixed_withhold(
    home: Path, entry: str, reason: str, explanation: str, review: str, section: str,
    person_id: str, password_stdin: bool, as_json: bool,
) -> None:  # fmt: skip
    """Withhold a place as security information: the sheriff alone (§ 13.37)."""
    with Central(home) as central:
        fixedplaces.withhold(
            central, sign(central, person_id), entry, reason=reason, explanation=explanation,
            review=review, section=section,
        )  # fmt: skip
    show(as_json, {"entry": entry, "withheld": True}, f"{entry} is withheld")


@fixed_group.command("show")
@HOME
@click.option("--entry", required=True)
@AS
@STDIN
@JSON
@errors
def fixed_show(home: Path, entry: str, person_id: str, password_stdin: bool, as_json: bool) -> None:
    """End a withholding."""
    with Central(home) as central:
        fixedplaces.show(central, sign(central, person_id), entry)
    show(as_json, {"entry": entry, "withheld": False}, f"{entry} is public again")


@fixed_group.command("explain")
@HOME
@click.option("--entry", required=True)
@JSON
@errors
def fixed_explain(home: Path, entry: str, as_json: bool) -> None:
    """The short explanation of a withheld place, for whoever asks."""
    with Central(home) as central:
        text = fixedplaces.explanation(central, entry)
    show(as_json, {"text": text}, text)


@fixed_group.command("court")
@HOME
@click.option("--entry", required=True)
@AS
@STDIN
@JSON
@errors
def fixed_court(
    home: Path, entry: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """The full entry with its determination, for review by a court; recorded."""
    with Central(home) as central:
        found = fixedplaces.for_court(central, sign(central, person_id), entry)
    show(as_json, found, json.dumps(found, indent=1, ensure_ascii=False))


# --- notices --------------------------------------------------------------------------------
