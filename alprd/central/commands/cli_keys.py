"""``alprd-central keys``: the agency key, and the keystore's replica."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from alprd.central.commands.clikit import HOME, JSON, errors, show
from alprd.central.staff import people
from alprd.central.storage import agencykey, config, replica, sharing
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.store import KEYSTORE, Central
from alprd.errors import InputError

_BY = click.option("--by", default="", help="Who orders it.")


@click.group("keys")
def keys_group() -> None:
    """The agency key, and the keystore's replica."""


@keys_group.command("rotate")
@HOME
@click.option("--to", "target", default="", help="credential:NAME or pkcs11:…; default: a file.")
@_BY
@JSON
@errors
def keys_rotate(home: Path, target: str, by: str, as_json: bool) -> None:
    """Wrap the keystore under another agency key; stop every worker before."""
    with Central(home) as central:
        actor = people.named_actor(central, by) if by else CENTRAL
        source = central.config.keys.agency
        agencykey.rotate(home / "keys", central.keystore, source, target)
        with central.database.write() as tx:
            central.trail.record(tx, Event.AGENCY_KEY_ROTATED, actor, at=central.clock())
    moved = target != source
    if not moved:
        Central(home).close()  # the first opening under the new key forgets the old wrap
    show(
        as_json,
        {"agency": target, "settings_to_change": moved},
        f"write agency = {target!r} under [keys] in central.toml, start, then destroy the old key"
        if moved
        else "the keystore opens under the new agency key only",
    )


@keys_group.command("replica")
@HOME
@JSON
@errors
def keys_replica(home: Path, as_json: bool) -> None:
    """Tell whether the keystore's replica is in step, row by row; ends with 1 when it is not."""
    keystore, path = _places(home)
    found = replica.Replica(keystore, path)
    why = found.state()
    different = 0 if why else replica.differences(keystore, path)
    values: dict[str, Any] = {
        "replica": str(path), "in_step": not why and not different, "why": why,
        "rows_that_differ": different, "same_disk": found.same_disk(),
    }  # fmt: skip
    words = "in step" if values["in_step"] else f"NOT in step: {why or 'rows differ'}"
    if values["same_disk"]:
        words += "\nIt lies on the same disk as the keystore: both go when that disk does."
    show(as_json, values, f"{path}: {words}")
    if not values["in_step"]:
        sys.exit(1)


@keys_group.command("make-replica")
@HOME
@_BY
@JSON
@errors
def keys_make_replica(home: Path, by: str, as_json: bool) -> None:
    """Make the replica that the settings name, or make it anew after its disk was lost."""
    keystore, path = _places(home)
    with Central(home) as central:  # the keystore must be sound, and of this agency key
        actor = people.named_actor(central, by) if by else CENTRAL
        replica.make(keystore, path)
        with central.database.write() as tx:
            central.trail.record(tx, Event.REPLICA_MADE, actor, at=central.clock())
    same = replica.Replica(keystore, path).same_disk()
    text = f"{path} is made and in step"
    if same:
        text += "\nIt lies on the same disk as the keystore: both go when that disk does."
    show(as_json, {"replica": str(path), "same_disk": same}, text)


@keys_group.command("promote-replica")
@HOME
@click.option("--replace", is_flag=True, help="Destroy the keystore that is there.")
@_BY
@JSON
@errors
def keys_promote_replica(home: Path, replace: bool, by: str, as_json: bool) -> None:
    """Make the keystore anew from its replica. Stop every worker before."""
    keystore, path = _places(home)
    sharing.nobody_serves(home)
    replica.promote(keystore, path, replace=replace)
    with Central(home) as central:  # opens only under the agency key that is in place
        actor = people.named_actor(central, by) if by else CENTRAL
        with central.database.write() as tx:
            central.trail.record(tx, Event.REPLICA_PROMOTED, actor, at=central.clock())
    show(as_json, {"keystore": str(keystore)}, f"{keystore} is what {path} was; start the workers")


def _places(home: Path) -> tuple[Path, Path]:
    storage = config.load(home).storage
    found = replica.replica_of(storage.keystore or home / KEYSTORE, storage.replica)
    if found is None:
        raise InputError(
            "the settings name no replica", remedy="replica = PATH under [storage], docs/storage.md"
        )
    return found.keystore, found.path
