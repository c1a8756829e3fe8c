"""``alprd-central bca``: what is owed to the BCA, its notices, and its published list."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import click

from alprd.central.commands.cli_people import sign
from alprd.central.commands.clikit import AS, DEVICE, HOME, JSON, STDIN, errors, instant, show
from alprd.central.public import (
    bcanotices,
    noticedoc,
    readers,
)
from alprd.central.storage.store import Central
from alprd.errors import InputError


@click.group("bca")
def bca_group() -> None:
    """Notices to the BCA: what is owed, the document, the proof (R-460.4.1-d, -d2)."""


def _duty(central: Central, device: str, entry: str) -> bcanotices.Duty:
    with central.database.write() as tx:
        readers.ensure_all(central, tx)
        for duty in bcanotices.duties(central, tx, device):
            if duty.entry == entry:
                return duty
    raise InputError("no such notice is owed", remedy="see alprd-central bca list")


@bca_group.command("list")
@HOME
@JSON
@errors
def bca_list(home: Path, as_json: bool) -> None:
    """Every notice that is owed or was sent, with its last day."""
    with Central(home) as central:
        with central.database.write() as tx:
            readers.ensure_all(central, tx)
            found = bcanotices.duties(central, tx)
        today = readers.today(central)
        rows: list[dict[str, Any]] = [
            {
                "device": one.device, "entry": one.entry, "what": one.what,
                "begun": one.begun, "due": one.due,
                "state": one.state(today, bcanotices.sent_day(central, one)),
            }
            for one in found
        ]  # fmt: skip
    lines = [f"{r['due']} {r['state']:<9} {r['device']} {r['what']} {r['entry']}" for r in rows]
    show(as_json, {"notices": rows}, "\n".join(lines) or "no notice is owed")


@bca_group.command("write")
@HOME
@DEVICE
@click.option("--entry", default="", help="Of a fixed location; else installation or use.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@JSON
@errors
def bca_write(home: Path, device: str, entry: str, file: Path, as_json: bool) -> None:
    """Write the notice into FILE (.pdf or .txt), ready to be sent."""
    if file.suffix not in (".pdf", ".txt") or file.exists():
        raise InputError("FILE ends in .pdf or .txt and does not exist yet")
    with Central(home) as central:
        duty, today = _duty(central, device, entry), readers.today(central)
        name = central.config.agency_name
    if file.suffix == ".pdf":
        file.write_bytes(noticedoc.as_pdf(name, duty, today))
    else:
        file.write_text(noticedoc.as_text(name, duty, today), encoding="utf-8")
    show(as_json, {"file": str(file), "due": duty.due}, f"{file}: send it by {duty.due}")


@bca_group.command("sent")
@HOME
@DEVICE
@click.option("--entry", default="", help="Of a fixed location; else installation or use.")
@click.option("--at", required=True, help="ISO time at which it was sent.")
@click.option("--sent-by", required=True)
@click.option("--how", type=click.Choice(bcanotices.HOW), required=True)
@click.option("--reference", default="")
@click.option(
    "--receipt", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True
)
@AS
@STDIN
@JSON
@errors
def bca_sent(
    home: Path, device: str, entry: str, at: str, sent_by: str, how: str, reference: str,
    receipt: Path, person_id: str, password_stdin: bool, as_json: bool,
) -> None:  # fmt: skip
    """Put on record that a notice was sent, with its receipt (kept sealed)."""
    with Central(home) as central:
        made = bcanotices.record(
            central, sign(central, person_id), device=device, entry=entry,
            sent_at=instant(at, "--at").astimezone(UTC), sent_by=sent_by, how=how,
            reference=reference, receipt=receipt.read_bytes(),
        )  # fmt: skip
    show(as_json, {"notice": made}, f"on record as {made}")


@bca_group.command("published")
@HOME
@JSON
@errors
def bca_published(home: Path, as_json: bool) -> None:
    """Our entry as the BCA should publish it."""
    with Central(home) as central, central.database.read() as tx:
        text = bcanotices.published_text(central, tx)
    show(as_json, {"text": text}, text.rstrip())


@bca_group.command("check")
@HOME
@click.option("--published", type=click.File("r"), required=True, help="What the BCA publishes.")
@click.option("--note", default="")
@AS
@STDIN
@JSON
@errors
def bca_check(
    home: Path, published: Any, note: str, person_id: str, password_stdin: bool, as_json: bool
) -> None:
    """Compare the BCA's published entry with the register, on record."""
    with Central(home) as central:
        agrees = bcanotices.check(central, sign(central, person_id), published.read(), note)
    show(as_json, {"agrees": agrees}, "it agrees" if agrees else "it does NOT agree; tell the BCA")
