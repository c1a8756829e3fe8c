"""``alprd-central db``: what the administrator of the store itself needs."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central import config, db, migrate
from alprd.central.audit import CENTRAL, Event
from alprd.central.clikit import HOME, JSON, errors, show
from alprd.central.engine import Database
from alprd.central.store import DATABASE, KEYSTORE, Central


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
        database = Database(place, metadata, upgrade=True)
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
