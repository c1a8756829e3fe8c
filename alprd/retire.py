"""``alprd retire``: an installer ends a car's enrolment for good (R-CJIS-5).

Nothing that central lacks is lost unless a reason for it is given; what follows is
:mod:`alprd.wipe`.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import click

from alprd import config as configuration
from alprd.audit import Actor, Event
from alprd.errors import AlprdError, RefusedError
from alprd.lastwords import Deadline
from alprd.outbound import Outbox
from alprd.process import lock_state
from alprd.records import utc_now
from alprd.store import Store
from alprd.trust import Trust
from alprd.wipe import (
    LAST_WORDS_S,
    MARKER,
    REPORT_S,
    Marker,
    begin,
    complete,
    read_marker,
)

log = logging.getLogger(__name__)


def retire(state_dir: Path, *, by: str, reason: str, lose_reads: str | None, name: str) -> Marker:
    """Retire the car: refuse while anything would be lost, then wipe it.

    Args:
        by: who retires it, for the certificate.
        lose_reads: why unsynced reads may be lost; None refuses.
        name: the vehicle's name as the person typed it.

    Raises:
        RefusedError: ``wrong_name`` or ``unsynced``.
        StoreError: not enrolled, in use by the daemon, or the disk fails.
    """
    with lock_state(state_dir):
        trust = Trust.load(state_dir)
        if name != trust.vehicle:
            raise RefusedError(
                f"{name!r} is not the name of this car",
                reason="wrong_name",
                remedy=f"this state folder is of {trust.vehicle}",
            )
        _refuse_unsynced(state_dir, trust, by, reason, lose_reads)
        begin(trust, "retired", by=by, reason=lose_reads or reason)
        return complete(state_dir)


def _refuse_unsynced(
    state_dir: Path, trust: Trust, by: str, reason: str, lose_reads: str | None
) -> None:
    """Try to bring everything home; refuse if reads are left. The order goes into the trail."""
    now = lambda: (utc_now(), False)  # noqa: E731 - no GPS here: never trusted
    with contextlib.closing(Store(state_dir / "queue.db", now=now, device=trust.vehicle)) as store:
        waiting = store.pending()
        detail: dict[str, str | int | bool] = {"reason": reason, "reads_waiting": waiting.reads}
        if lose_reads is not None:
            detail["lose_reads"] = lose_reads
        store.record(Event.RETIRE_ORDERED, Actor(by[:64], by, "command line"), detail=detail)
        if not waiting.reads:
            return
        try:
            with trust.client(REPORT_S) as client:
                Outbox(trust, store).push_reads(client, Deadline(LAST_WORDS_S))
        except AlprdError as error:
            log.warning("not everything reached central: %s", error.message)
        left = store.pending().reads
        if left and lose_reads is None:
            raise RefusedError(
                f"{left} read(s) have not reached central yet",
                reason="unsynced",
                remedy="dock the car first; or give --lose-reads REASON, which is recorded",
            )


@click.command("retire")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), required=True, help="The car's."
)
@click.option("--by", required=True, help="Who retires it: stands on the certificate.")
@click.option("--reason", default="retired", show_default=True, help="Why.")
@click.option("--yes", "name", default="", help="The vehicle's name, instead of typing it.")
@click.option("--lose-reads", default=None, help="Why reads that central lacks may be lost.")
def retire_command(
    config_file: Path, by: str, reason: str, name: str, lose_reads: str | None
) -> None:
    """Destroy this car's keys and data, and certify it (stop the daemon first)."""
    state_dir = configuration.load(config_file).state_dir
    marker = read_marker(state_dir)
    if marker is not None and marker.phase == "pending":
        with lock_state(state_dir):
            marker = complete(state_dir)
    elif marker is None or (state_dir / "trust" / "identity.json").exists():
        name = name or click.prompt("Type the vehicle's name to destroy its keys and data")
        marker = retire(state_dir, by=by, reason=reason, lose_reads=lose_reads, name=name)
    click.echo(f"{marker.vehicle} is wiped; the certificate is {state_dir / MARKER}")
    if marker.reported:
        click.echo("central holds it too")
    else:
        click.echo(
            "central could not be told: bring it the file and run "
            f"alprd-central vehicles retire --vehicle {marker.vehicle} --certificate FILE --by NAME"
        )
