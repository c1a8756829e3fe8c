"""``alprd-central agencies | releases | requests``: what leaves the agency, and who asked."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from alprd import crypto
from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import (
    FILE,
    HOME,
    ID,
    JSON,
    REASON,
    by_signed,
    errors,
    instant,
    show,
)
from alprd.central.exchange import outside, recipients, release, releasepackage
from alprd.central.records import recipientorders
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, InputError


@click.group("agencies")
def agencies_group() -> None:
    """Agencies that may receive reads (R-460.7-a1)."""


@agencies_group.command("set")
@HOME
@click.option("--id", "row", required=True, help="Short name, such as polk-so.")
@click.option("--name", required=True)
@click.option("--kind", type=click.Choice(sorted(recipients.KINDS)), required=True)
@click.option("--ori", default="", help="Nine letters and digits, where known.")
@click.option("--contact", required=True)
@click.option("--certificate", type=FILE, required=True, help="PEM, RSA.")
@click.option("--verified", required=True, help="How you made sure that it is theirs.")
@click.option("--retired", is_flag=True, help="Nothing goes there any more.")
@by_signed
@JSON
@errors
def agencies_set(home: Path, row: str, by: str, as_json: bool, **given: Any) -> None:
    """Enter an agency or change its row."""
    with Central(home) as central:
        try:
            agency = recipients.Agency(
                id=row,
                set_by=by,
                set_at=central.clock(),
                **{**given, "certificate": given["certificate"].read_text(encoding="ascii")},
            )
        except (ValidationError, UnicodeDecodeError) as error:
            raise InputError("a field of the agency cannot be", remedy=_first(error)) from error
        made = recipients.put(central, sign(central, by), agency)
    show(
        as_json,
        {"id": made.id, "fingerprint": made.fingerprint},
        f"{made.name}: compare on the telephone\n{made.fingerprint}",
    )


@click.group("releases")
def releases_group() -> None:
    """Releases to other agencies (460.7)."""


@releases_group.command("ask")
@HOME
@click.option("--agency", required=True, help="Its id in the register.")
@click.option("--requester", required=True, help="Name of the person who asks.")
@click.option("--contact", required=True)
@click.option("--purpose", required=True, help="The intended purpose.")
@click.option("--facts", required=True, help="The factual basis.")
@click.option("--number", default="", help="Case, complaint or incident number.")
@click.option("--no-number", default="", help="Why there is none.")
@click.option("--statement", required=True, help="That the agency's head authorised it.")
@click.option("--head", required=True, help="Who authorised it.")
@click.option("--title", required=True)
@click.option("--authorised", required=True, help="Date of the authorisation.")
@click.option("--received", required=True, help="When the request came in.")
@click.option("--citation", default="", help="The law, for a recipient of another kind.")
@click.option("--opinion", default="", help="The county attorney's opinion on it.")
@click.option("--request", "paper", type=FILE, required=True, help="The written request.")
@click.option("--read", "reads", multiple=True, required=True, help="Record id (repeatable).")
@by_signed
@JSON
@errors
def ask(
    home: Path, authorised: str, received: str, paper: Path, by: str, as_json: bool, **given: Any
) -> None:
    """Enter another agency's written request."""
    with Central(home) as central:
        try:
            asked = release.Asked(
                authorised=date.fromisoformat(authorised),
                received=instant(received, "--received"),
                **given,
            )
        except ValidationError as error:
            raise InputError("a field of the request cannot be", remedy=_first(error)) from error
        except ValueError as error:
            raise InputError("--authorised: not a date", remedy="write 2026-01-31") from error
        made = release.ask(central, sign(central, by), asked, paper.read_bytes())
    show(as_json, {"id": made.id, "scope": made.scope_sha256}, made.id)


@releases_group.command("look")
@HOME
@ID
@by_signed
@JSON
@errors
def look(home: Path, row: str, by: str, as_json: bool) -> None:
    """Show exactly the records that would go out."""
    with Central(home) as central:
        found, records = release.look(central, sign(central, by), row)
        zone = central.config.zone()
    lines = [
        f"{record.cell.instant.astimezone(zone).isoformat()}  {record.cell.plate.text}"
        for record in records
    ]
    shown = [{"id": r.id, "plate": r.cell.plate.text, "instant": r.cell.instant} for r in records]
    show(
        as_json,
        {"id": found.id, "scope": found.scope_sha256, "records": shown},
        "\n".join([*lines, f"scope {found.scope_sha256}"]),
    )


@releases_group.command("approve")
@HOME
@ID
@click.option("--finding", required=True, help="The reasonable suspicion, in your own words.")
@click.option("--scope", required=True, help="As `releases look` shows it.")
@by_signed
@JSON
@errors
def approve(home: Path, row: str, finding: str, scope: str, by: str, as_json: bool) -> None:
    """Let these records go; by another person than entered the request."""
    with Central(home) as central:
        made = release.approve(central, sign(central, by), row, finding, scope)
    show(as_json, {"id": made.id, "state": made.state}, f"{made.id}: {made.state}")


@releases_group.command("refuse")
@HOME
@ID
@REASON
@by_signed
@JSON
@errors
def refuse(home: Path, row: str, reason: str, by: str, as_json: bool) -> None:
    """Turn a request down; it stays on file."""
    with Central(home) as central:
        made = release.refuse(central, sign(central, by), row, reason)
    show(as_json, {"id": made.id, "state": made.state}, f"{made.id}: {made.state}")


@releases_group.command("package")
@HOME
@ID
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@by_signed
@JSON
@errors
def package(home: Path, row: str, out: Path, by: str, as_json: bool) -> None:
    """Write the encrypted package, to be handed to the recipient and then removed."""
    with Central(home) as central:
        made = releasepackage.build(central, sign(central, by), row)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    crypto.write_secret(out / made.name, made.content)
    show(
        as_json,
        {"file": str(out / made.name), "sha256": made.sha256},
        f"{out / made.name}\n{made.sha256}",
    )


@releases_group.command("receipt")
@HOME
@ID
@click.option("--received-by", required=True)
@click.option("--paper", type=FILE, required=True, help="The recipient's confirmation.")
@by_signed
@JSON
@errors
def receipt(home: Path, row: str, received_by: str, paper: Path, by: str, as_json: bool) -> None:
    """Record that the recipient has the package."""
    with Central(home) as central:
        made = release.receipt(central, sign(central, by), row, received_by, paper.read_bytes())
    show(as_json, {"id": made.id, "state": made.state}, f"{made.id}: {made.state}")


@releases_group.command("list")
@HOME
@by_signed
@JSON
@errors
def listing(home: Path, by: str, as_json: bool) -> None:
    """The register, refused requests too."""
    with Central(home) as central:
        rows = release.register(central, sign(central, by))
    lines = [
        f"{row.prepared_at:%Y-%m-%d} {row.state:<9} {row.asked.agency:<16} "
        f"{len(row.asked.reads):>4} records  {row.id}"
        for row in rows
    ]
    fields = [row.model_dump(mode="json") for row in rows]
    show(as_json, {"releases": fields}, "\n".join(lines) or "none")


@releases_group.command("check")
@click.argument("archive", type=FILE)
@click.option("--key", required=True, help="The sender's public key, as it told you.")
@JSON
@errors
def check(archive: Path, key: str, as_json: bool) -> None:
    """For recipients: check a decrypted package against its signed manifest."""
    manifest = releasepackage.check(archive.read_bytes(), _public(key))
    show(
        as_json,
        {"release": manifest.release, "records": len(manifest.records)},
        f"whole: {len(manifest.records)} records from {manifest.sender}",
    )


@releases_group.command("key")
@HOME
@JSON
@errors
def sender_key(home: Path, as_json: bool) -> None:
    """The public key that recipients check packages with."""
    with Central(home) as central:
        key = crypto.public_bytes(central.receipt_key()).hex()
    show(as_json, {"key": key}, key)


@releases_group.command("orders")
@HOME
@by_signed
@JSON
@errors
def orders(home: Path, by: str, as_json: bool) -> None:
    """Orders to recipients that are not confirmed yet, with the letters to send."""
    with Central(home) as central:
        rows = recipientorders.waiting(central, sign(central, by))
        letters = [row.letter(central.config.agency_name) for row in rows]
    shown = [row.model_dump(mode="json") for row in rows]
    show(as_json, {"orders": shown}, "\n---\n".join(letters) or "none")


@releases_group.command("order-sent")
@HOME
@ID
@click.option("--how", required=True, help="Such as: registered mail.")
@by_signed
@JSON
@errors
def order_sent(home: Path, row: str, how: str, by: str, as_json: bool) -> None:
    """Record that an order to a recipient went out."""
    with Central(home) as central:
        made = recipientorders.sent(central, sign(central, by), row, how)
    show(as_json, {"id": made.id, "state": made.state}, f"{made.id}: {made.state}")


@releases_group.command("order-confirmed")
@HOME
@ID
@click.option("--confirmed-by", required=True, help="Who at the recipient.")
@by_signed
@JSON
@errors
def order_confirmed(home: Path, row: str, confirmed_by: str, by: str, as_json: bool) -> None:
    """Record that a recipient has done what an order says."""
    with Central(home) as central:
        made = recipientorders.confirmed(central, sign(central, by), row, confirmed_by)
    show(as_json, {"id": made.id, "state": made.state}, f"{made.id}: {made.state}")


@click.group("requests")
def requests_group() -> None:
    """Requests of anyone but law enforcement (R-460.7-f)."""


@requests_group.command("receive")
@HOME
@click.option("--kind", type=click.Choice(sorted(outside.KINDS)), required=True)
@click.option("--requester", default="")
@click.option("--contact", default="")
@click.option("--what", required=True, help="What is asked for.")
@click.option("--received", required=True)
@click.option("--returns", default="", help="The date that an order names.")
@click.option("--paper", type=FILE, required=True)
@by_signed
@JSON
@errors
def receive(
    home: Path,
    kind: outside.Kind,
    requester: str,
    contact: str,
    what: str,
    received: str,
    returns: str,
    paper: Path,
    by: str,
    as_json: bool,
) -> None:
    """Enter a request with its paper; shows when the answer is due."""
    with Central(home) as central:
        made = outside.receive(
            central,
            sign(central, by),
            kind,
            requester,
            contact,
            what,
            instant(received, "--received"),
            paper.read_bytes(),
            instant(returns, "--returns") if returns else None,
        )
    due = made.due.isoformat() if made.due else ""
    show(as_json, {"id": made.id, "due": due}, f"{made.id}  due {due}")


@requests_group.command("answer")
@HOME
@ID
@click.option("--outcome", type=click.Choice(sorted(outside.OUTCOMES)), required=True)
@click.option("--text", default="", help="In place of the default answer.")
@by_signed
@JSON
@errors
def answer(
    home: Path, row: str, outcome: outside.Outcome, text: str, by: str, as_json: bool
) -> None:
    """Record the answer, and print its text."""
    with Central(home) as central:
        made = outside.answer(central, sign(central, by), row, outcome, text)
    show(as_json, {"id": made.id, "answer": made.answer}, made.answer)


@requests_group.command("list")
@HOME
@by_signed
@JSON
@errors
def requests_list(home: Path, by: str, as_json: bool) -> None:
    """The register with its dates."""
    with Central(home) as central:
        rows = outside.register(central, sign(central, by))
    lines = [
        f"{row.received:%Y-%m-%d} {row.state:<9} {row.kind:<13} {row.id}"
        + (f"  due {row.due:%Y-%m-%d}" if row.due and row.state == "open" else "")
        for row in rows
    ]
    fields = [row.model_dump(mode="json") for row in rows]
    show(as_json, {"requests": fields}, "\n".join(lines) or "none")


def _public(text: str) -> crypto.PublicKey:
    try:
        return crypto.public_from_bytes(bytes.fromhex(text))
    except (ValueError, EnvelopeError) as error:
        raise InputError("--key: not the sender's public key", remedy="130 hex digits") from error


def _first(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{first['loc'][0]}: {first['msg']}"
    return "the certificate is PEM text"
