"""``alprd-central orders``: freeze, thaw, destroy, suspend, lift, list."""

from __future__ import annotations

from pathlib import Path

import click

from alprd.central.commands.clikit import BY, HOME, JSON, errors, instant, show
from alprd.central.fleet import orders
from alprd.central.storage.store import Central

_REASON = click.option("--reason", required=True, help="Why; stays at central, in the trail.")
_VEHICLE = click.option("--vehicle", required=True)
_READS = click.option("--read", "reads", multiple=True, help="Id of a read; can be repeated.")
_SESSIONS = click.option("--session", "sessions", multiple=True, help="Id of a session.")
_FROM = click.option("--from", "since", default="", help="Window: all sessions that overlap it.")
_TO = click.option("--to", "until", default="", help="End of the window, ISO time.")


def _scope(
    reads: tuple[str, ...], sessions: tuple[str, ...], since: str, until: str
) -> orders.Scope:
    return orders.Scope(
        reads=reads,
        sessions=sessions,
        since=instant(since, "--from") if since else None,
        until=instant(until, "--to") if until else None,
    )


@click.group("orders")
def orders_group() -> None:
    """Orders to cars; each is signed, numbered, audited, and receipted by the car."""


@orders_group.command("freeze")
@HOME
@_VEHICLE
@_READS
@_SESSIONS
@_FROM
@_TO
@click.option("--hold-until", default="", help="ISO time; 7 days from now by default.")
@_REASON
@BY
@JSON
@errors
def freeze(
    home: Path,
    vehicle: str,
    reads: tuple[str, ...],
    sessions: tuple[str, ...],
    since: str,
    until: str,
    hold_until: str,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Pause the purge of reads in a car until it has uploaded them (R-460.5-a)."""
    with Central(home) as central:
        made = orders.freeze(
            central,
            vehicle,
            _scope(reads, sessions, since, until),
            instant(hold_until, "--hold-until") if hold_until else None,
            reason,
            orders.authorised(central, by),
        )
    show(
        as_json,
        {"vehicle": vehicle, "order": made.serial, "hold_until": made.hold_until},
        f"{vehicle}: freeze {made.serial}, at most to {made.hold_until}",
    )


@orders_group.command("thaw")
@HOME
@click.option("--order", "serial", required=True, help="Serial of the freeze.")
@_REASON
@BY
@JSON
@errors
def thaw(home: Path, serial: str, reason: str, by: str, as_json: bool) -> None:
    """End a freeze before its time."""
    with Central(home) as central:
        made = orders.thaw(central, serial, reason, orders.authorised(central, by))
    show(as_json, {"order": made.serial, "ends": serial}, f"freeze {serial} ends")


@orders_group.command("destroy")
@HOME
@_VEHICLE
@_READS
@_SESSIONS
@_FROM
@_TO
@_REASON
@BY
@JSON
@errors
def destroy(
    home: Path,
    vehicle: str,
    reads: tuple[str, ...],
    sessions: tuple[str, ...],
    since: str,
    until: str,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Destroy reads in a car before they are uploaded (R-460.5-b)."""
    with Central(home) as central:
        scope = _scope(reads, sessions, since, until)
        made = orders.destroy(central, vehicle, scope, reason, orders.authorised(central, by))
    show(
        as_json,
        {"vehicle": vehicle, "order": made.serial},
        f"{vehicle}: ordered to destroy at its next contact (order {made.serial})",
    )


@orders_group.command("suspend")
@HOME
@click.option("--vehicle", default="", help="One car.")
@click.option("--all", "everyone", is_flag=True, help="All readers, those of later cars too.")
@_REASON
@BY
@JSON
@errors
def suspend(home: Path, vehicle: str, everyone: bool, reason: str, by: str, as_json: bool) -> None:
    """Stop collecting at the next contact, or when the permit lapses (R-13.824-6-6)."""
    if bool(vehicle) == everyone:
        raise click.UsageError("give --vehicle NAME or --all")
    with Central(home) as central:
        serial = orders.suspend(central, vehicle, reason, orders.authorised(central, by))
    show(
        as_json,
        {"vehicle": vehicle or "all", "order": serial},
        f"{vehicle or 'all readers'}: suspended (order {serial})",
    )


@orders_group.command("lift")
@HOME
@click.option("--order", "serial", required=True, help="Serial of the suspension.")
@click.option("--reference", required=True, help="Of the letter that allows it.")
@BY
@JSON
@errors
def lift(home: Path, serial: str, reference: str, by: str, as_json: bool) -> None:
    """Lift a suspension."""
    with Central(home) as central:
        cars = orders.lift(central, serial, reference, orders.authorised(central, by))
    show(as_json, {"order": serial, "cars": cars}, f"suspension {serial} is lifted, {cars} car(s)")


@orders_group.command("list")
@HOME
@JSON
@errors
def listing(home: Path, as_json: bool) -> None:
    """Every order with its receipt, newest first."""
    with Central(home) as central:
        found = orders.listing(central)
    lines = [
        f"{row['ordered_at']:%Y-%m-%d %H:%M}Z {row['kind']:<10} {row['vehicle']:<16} "
        f"{row['serial']} {_state(row)}"
        for row in found
    ]
    show(as_json, {"orders": found}, "\n".join(lines) or "no orders")


def _state(row: dict[str, object]) -> str:
    if row["kind"] == "suspension":
        return f"lifted ({row['reference']})" if row["lifted_at"] else "in force"
    if row["done_at"]:
        return f"done, {row['count']} read(s)"
    return "handed out, no receipt yet" if row["handed_out_at"] else "waits for contact"
