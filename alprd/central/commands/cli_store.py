"""``alprd-central db``, backup and restore: for the administrator of the store itself."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from alprd.central.commands.clikit import HOME, JSON, errors, show
from alprd.central.staff import people
from alprd.central.storage import config, db, migrate
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.engine import Database
from alprd.central.storage.store import DATABASE, KEYSTORE, Central
from alprd.central.upkeep import backup, restore


@click.group("db")
def db_group() -> None:
    """The two databases of the store."""


@db_group.command("upgrade")
@HOME
@JSON
@errors
def db_upgrade(home: Path, as_json: bool) -> None:
    """Bring both databases to this program's revision; stop every worker before."""
    storage = config.load(home).storage
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    # The keystore first: a main database never names keys of a form that it does not have yet.
    for metadata, place in (
        (db.keystore, storage.keystore or home / KEYSTORE),
        (db.main, storage.database or home / DATABASE),
    ):
        tree = migrate.tree_of(metadata)
        database = Database(place, metadata, upgrade=True, marked=metadata is db.keystore)
        before[tree] = database.found_revision
        after[tree] = migrate.revisions(tree)[-1]
        database.close()
    if before != after:
        with Central(home) as central, central.database.write() as tx:
            detail: dict[str, str | int | bool] = dict(after)
            central.trail.record(tx, Event.UPGRADED, CENTRAL, at=central.clock(), detail=detail)
    show(
        as_json,
        {"before": before, "after": after},
        "\n".join(f"{tree}: revision {before[tree] or 'none'} -> {after[tree]}" for tree in after),
    )


_FOLDER = click.Path(file_okay=False, path_type=Path)
_BY = click.option("--by", default="", help="Who orders it.")


@click.command("backup")
@HOME
@click.option("--to", "folder", type=_FOLDER, required=True, help="A new folder.")
@click.option(
    "--pictures", type=click.Choice(["copy", "reference"]), default="copy", show_default=True,
    help="Copy encrypted pictures, or leave them where they are (a bucket).",
)  # fmt: skip
@_BY
@JSON
@errors
def backup_command(home: Path, folder: Path, pictures: str, by: str, as_json: bool) -> None:
    """Write a backup: everything but the keystore and the agency key."""
    with Central(home) as central:
        actor = people.named_actor(central, by) if by else CENTRAL
        done = backup.make(central, folder, pictures=pictures == "copy", actor=actor)
    show(
        as_json,
        {"folder": str(folder), **asdict(done)},
        f"{done.rows} rows, {done.objects} objects, {done.files} files in {folder}; "
        f"{done.missing} objects missing. The keystore has a replica of its own.",
    )


@click.command("restore")
@HOME
@click.option("--from", "folder", type=_FOLDER, required=True, help="A backup's folder.")
@click.option("--replace", is_flag=True, help="Take the place of the rows that are there.")
@JSON
@errors
def restore_command(home: Path, folder: Path, replace: bool, as_json: bool) -> None:
    """Bring a backup back; keystore and agency key must be in place. Stop every worker before."""
    done = restore.restore(home, folder, replace=replace)
    show(
        as_json,
        asdict(done),
        f"the store of {done.made_at}: {done.reads} reads, {done.without_pictures} without "
        f"pictures\n{done.destroyed_since} reads were destroyed since and stay destroyed\n"
        f"{done.adopted} links or holds were placed since: their reads are kept by links to "
        "review, number 'restored'\nLost: what people did after the backup, revocations too.",
    )


@click.command("restore-drill")
@HOME
@click.option("--from", "folder", type=_FOLDER, required=True, help="A backup's folder.")
@JSON
@errors
def drill_command(home: Path, folder: Path, as_json: bool) -> None:
    """Prove that what is destroyed cannot be read from a backup; ends with 1 when it can."""
    with Central(home) as central:
        done = restore.drill(central, folder)
    show(
        as_json,
        {**asdict(done), "passed": done.passed},
        f"{done.reads} reads in the backup, {done.readable} readable with the keys of today\n"
        f"{done.expired} past their life and {done.destroyed} destroyed: "
        f"{len(done.wrongly_readable)} of them readable\n"
        + ("passed" if done.passed else "FAILED: destruction does not reach this backup"),
    )
    if not done.passed:
        sys.exit(1)
