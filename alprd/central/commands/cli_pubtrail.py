"""``alprd-central audit public|redact|protect-case``: the public part of the trail (R-AT-5)."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import AS, HOME, JSON, STDIN, errors, instant, show
from alprd.central.public import publictrail, redactions
from alprd.central.storage.store import Central


@click.command("public")
@HOME
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from", "since", required=True, help="Start of the window, ISO time.")
@click.option("--to", "until", required=True, help="End of the window, ISO time.")
@AS
@STDIN
@JSON
@errors
def export(
    home: Path, file: Path, since: str, until: str, person_id: str, password_stdin: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the public part of the trail into FILE (CSV), each withheld cell with its citation."""
    with Central(home) as central:
        done = publictrail.export(
            central, sign(central, person_id), instant(since, "--from"), instant(until, "--to"),
            file,
        )  # fmt: skip
    show(as_json, done, f"{done['rows']} acts in {done['file']}, SHA-256 {done['sha256']}")


@click.command("redact")
@HOME
@click.option("--field", type=click.Choice(redactions.NAMES), required=True)
@click.option("--treatment", type=click.Choice(("public", "withheld")), required=True)
@click.option("--citation", required=True, help="Law or ruling.")
@click.option("--reason", required=True)
@AS
@STDIN
@JSON
@errors
def redact(
    home: Path, field: str, treatment: str, citation: str, reason: str, person_id: str,
    password_stdin: bool, as_json: bool,
) -> None:  # fmt: skip
    """Change what the public export withholds; recorded."""
    with Central(home) as central:
        redactions.put(central, sign(central, person_id), field, treatment, citation, reason)
    show(as_json, {"field": field, "treatment": treatment}, f"{field} is {treatment} from now on")


@click.command("protect-case")
@HOME
@click.option("--case", "number", required=True)
@click.option("--citation", default="", help="Law by which the number is not public.")
@click.option("--end", is_flag=True, help="Show the number again.")
@AS
@STDIN
@JSON
@errors
def case(
    home: Path, number: str, citation: str, end: bool, person_id: str, password_stdin: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Withhold a case number in the public export; only its keyed digest is kept."""
    with Central(home) as central:
        person = sign(central, person_id)
        if end:
            redactions.unprotect(central, person, number)
        else:
            redactions.protect(central, person, number, citation)
    show(as_json, {"protected": not end}, "shown again" if end else "withheld from now on")
