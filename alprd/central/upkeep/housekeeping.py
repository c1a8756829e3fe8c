"""The hourly work of the store, done by one of its workers: the one that holds the lease.

Every transaction of the work asks for the lease's number
(:func:`alprd.central.storage.leases.fence`), so a worker that lost it in the midst ends there and
changes nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from datetime import timedelta
from typing import Final

from alprd.central.oversight import auditfiles, compliance, weekly
from alprd.central.public import bcanotices, logbook, publicsite
from alprd.central.publication import publish
from alprd.central.records import confidentiality
from alprd.central.storage import engine, instep, leases
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.leases import Lease
from alprd.central.storage.sharing import Presence
from alprd.central.storage.store import Central
from alprd.central.trail import anchors, watch
from alprd.central.upkeep import retention
from alprd.errors import AlprdError, StoreError

log: Final = logging.getLogger("alprd.central.upkeep.housekeeping")


class Housekeeping:
    """Purge, key series, signatures and what else one worker must do.

    Args:
        central: the opened store.
    """

    def __init__(self, central: Central) -> None:
        self._central = central
        self._holder = leases.new_holder()
        self._every = central.config.housekeeping_s
        self._token = 0
        self.presence = Presence(central, timedelta(seconds=3 * self._every))
        self.mine = False
        """Whether this worker held the lease when it last looked."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Work now and each time the interval is over, until ``stopping``; failures are retried."""
        while not stopping.is_set():
            try:
                await asyncio.to_thread(self.presence.renew)
                await asyncio.to_thread(self.once)
            except Exception as error:  # noqa: BLE001 - one bad row must not end the intake too
                log.error("ALARM: housekeeping failed (%s), tried again", type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._every)
        with contextlib.suppress(AlprdError):
            await asyncio.to_thread(self.end)

    def once(self) -> bool:
        """Do the work if it is this worker's; whether it was.

        Raises:
            StoreError: the store cannot be used, or the lease was lost in the midst.
        """
        lease = self._take()
        if lease is None:
            return False
        database = self._central.database
        mark = engine.GUARD.set((database, lambda tx: leases.fence(tx, lease)))
        try:
            house(self._central)
        finally:
            engine.GUARD.reset(mark)
        return True

    def _take(self) -> Lease | None:
        # Two rounds long: one that is late does not lose it, and a dead worker's ends in time for
        # another to purge within the hour (R-460.5-4).
        life = timedelta(seconds=2 * self._every)
        database = self._central.database
        lease = leases.take(database, leases.HOUSEKEEPING, self._holder, life)
        self.mine = lease is not None
        if lease is not None and lease.token != self._token:
            self._token = lease.token
            detail: dict[str, str | int | bool] = {"token": lease.token, "process": os.getpid()}
            with database.write() as tx:
                self._central.trail.record(
                    tx, Event.DUTY_TAKEN, CENTRAL, at=self._central.clock(), detail=detail
                )
        return lease

    def end(self) -> None:
        """Give the lease back, so that another worker goes on at once."""
        if self.mine and (lease := self._take()) is not None:
            leases.give_back(self._central.database, lease)
        self.mine = False
        self.presence.end()


def house(central: Central) -> None:
    """All of it once, in this order."""
    instep.look_after(central)
    retention.purge(central, whole=retention.whole_due(central))
    made = central.keystore.extend_intake_when_low(central.clock().date())
    if made:
        with central.database.write() as tx:
            central.trail.record(
                tx, Event.INTAKE_KEYS_MADE, CENTRAL, at=central.clock(), detail={"days": made}
            )
    publish.publish(central, regular=True)
    bcanotices.remind(central)
    logbook.catch_up(central)
    if central.config.public.folder:
        try:
            publicsite.publish(central, central.home / central.config.public.folder)
        except StoreError as error:  # a web host's folder must not stop the rest of the house
            log.error("ALARM: the public pages were not written: %s", error.message)
    confidentiality.settle(central)
    weekly.keep_up(central)
    anchors.daily(central)
    compliance.keep_up(central)
    watch.look(central)
    auditfiles.sweep(central)
