"""What the car does about central's orders: freeze, thaw, destroy, suspend, lift.

Each order is carried out once, in one transaction with its audit event, its receipt and its
number: a power cut leaves all of it or nothing, and an order that comes again (central had no
receipt yet) is receipted again and not done again. A freeze that is in force comes at every
contact and is laid on what was queued since, without a receipt of its own.

A freeze lifts the destroy-by of the rows it covers to central's ``hold_until``; it never lowers
one, and the sealed header keeps its own, which a thaw puts back. A car that never heard of it
destroys its reads at their destroy-by, 60 x 24 h at the latest (R-460.5-a, design: orders to the
car). What is destroyed by order counts as expired in the ledger: it ended in the car, unsent. It
goes in parts before the transaction, each with its event and the count so far, so that a disk
without room for all of it or a power cut holds up nothing: the next contact goes on.

Rules: R-460.5-a, R-460.5-b, R-13.824-6-6.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from sqlite3 import Connection
from typing import Any, Final, Protocol

from pydantic import Field, ValidationError

from alprd.audit import Event, Trail
from alprd.crypto import envelope_header
from alprd.errors import EnvelopeError
from alprd.records import Closed, Id
from alprd.wire import Order, OrderDone, SessionRow

log = logging.getLogger(__name__)

_META: Final = "orders"
_CHUNK: Final = 400
"""Names a statement; SQLite takes at least 999."""


class OrderStore(Trail, Protocol):
    """What is needed of the car's store; :class:`alprd.store.Store` has it."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """One transaction; nests."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""

    def get_meta(self, key: str) -> str | None:
        """A small fact."""

    def set_meta(self, key: str, value: str) -> None:
        """Keep a small fact."""

    def in_parts(self, part: Callable[[int], int]) -> int:
        """Destroy in parts, so many bytes in a transaction each, until none is left."""

    def drop_caches(self) -> None:
        """Empty the log, and destroy damaged files that were saved from."""


class _State(Closed):
    """What the car keeps of its orders, in the store's small facts."""

    giver: str
    """Whose numbers these are: another central or vehicle counts anew."""
    last: int = 0
    suspended: Id | None = None
    receipts: tuple[OrderDone, ...] = ()
    destroyed: dict[Id, int] = Field(default_factory=dict)
    """By the serials of orders that are not done yet: how many reads are gone already."""


class OrderBook:
    """Carries out orders; the sync thread writes, any thread may ask :attr:`suspended`.

    Args:
        giver: names the central and vehicle that the numbers belong to.
        now: the disciplined clock.
    """

    def __init__(
        self, store: OrderStore, *, giver: str, now: Callable[[], tuple[datetime, bool]]
    ) -> None:
        self._store = store
        self._now = now
        kept = store.get_meta(_META)
        self._state = _State(giver=giver)
        if kept is not None:
            try:
                state = _State.model_validate_json(kept)
            except ValidationError:
                log.error("what the car kept of its orders is damaged; central gives them again")
            else:
                if state.giver == giver:
                    self._state = state

    @property
    def suspended(self) -> bool:
        """Whether an order forbids collecting, until it is lifted (R-13.824-6-6)."""
        return self._state.suspended is not None

    def obey(self, orders: Sequence[Order]) -> int:
        """Carry out, in the order of their numbers, what was not done yet; how many were new.

        Raises:
            StoreError: the disk refuses; nothing was done but some of what is to be destroyed, and
                all of it comes again.
        """
        every = sorted(orders, key=lambda one: one.number)
        fresh = [order for order in every if order.number > self._state.last]
        over = {order.ends for order in fresh if order.kind == "thaw"}
        for order in fresh:
            if order.kind == "destroy":
                self._store.in_parts(partial(self._destroy_part, order))
        before = self._state
        try:
            # All in one transaction: no purge may come between the end of one freeze and
            # another that holds the same reads.
            with self._store.transaction():
                for order in fresh:
                    self._state = self._obey(order)
                for order in every:
                    if order.kind == "freeze" and order.serial not in over:
                        self._freeze(order)
        except BaseException:
            self._state = before
            raise
        for order in fresh:
            log.warning("order %d carried out: %s", order.number, order.kind)
        if any(order.kind == "destroy" for order in fresh):
            self._store.drop_caches()
        return len(fresh)

    def _obey(self, order: Order) -> _State:
        """One order, its event, its receipt and its number; the state after it."""
        at, trusted = self._now()
        suspended = self._state.suspended
        with self._store.transaction():
            count = 0
            if order.kind == "freeze":
                count = self._freeze(order)
            elif order.kind == "thaw":
                count = self._thaw(order)
            elif order.kind == "destroy":
                count = self._state.destroyed.get(order.serial, 0)
            elif order.kind == "suspend":
                suspended = order.serial
            else:
                suspended = None
            done = OrderDone(
                number=order.number, serial=order.serial, count=count, at=at, at_trusted=trusted
            )
            state = _State(
                giver=self._state.giver,
                last=order.number,
                suspended=suspended,
                receipts=(*self._state.receipts, done),
                destroyed={
                    serial: gone
                    for serial, gone in self._state.destroyed.items()
                    if serial != order.serial
                },
            )
            self._store.set_meta(_META, state.model_dump_json())
            self._store.record(
                Event.ORDER_DONE,
                subjects=(order.serial,),
                detail={"kind": order.kind, "number": order.number, "count": count},
            )
        return state

    def receipts(self) -> tuple[OrderDone, ...]:
        """Receipts that central has not acknowledged."""
        return self._state.receipts

    def acknowledged(self, serials: Sequence[str]) -> None:
        """Central holds the receipts of these orders."""
        held = set(serials)
        left = tuple(one for one in self._state.receipts if one.serial not in held)
        if left != self._state.receipts:
            state = self._state.model_copy(update={"receipts": left})
            self._store.set_meta(_META, state.model_dump_json())
            self._state = state

    # --- which reads, and what becomes of them ----------------------------------------------

    def _sessions(self, order: Order) -> set[str]:
        """Sessions that an order names, or that overlap its window."""
        named: set[str] = set(order.sessions)
        if order.since is None or order.until is None:
            return named
        for text, is_open in self._store.rows("SELECT row, open FROM sessions"):
            row = SessionRow.model_validate_json(text)
            if row.started <= order.until and (is_open or row.ended >= order.since):
                named.add(row.id)
        return named

    def _meant(self, order: Order, table: str) -> list[tuple[int, str, str]]:
        """(seq, session, destroy_by) of the reads of a table that an order means."""
        found: dict[int, tuple[int, str, str]] = {}
        for column, names in (("id", set(order.reads)), ("session", self._sessions(order))):
            every = sorted(names)
            for start in range(0, len(every), _CHUNK):
                part = every[start : start + _CHUNK]
                marks = ",".join("?" * len(part))
                for row in self._store.rows(
                    f"SELECT seq, session, destroy_by FROM {table} WHERE {column} IN ({marks})",  # noqa: S608 - own names
                    part,
                ):
                    found[row[0]] = row
        return list(found.values())

    def _freeze(self, order: Order) -> int:
        if order.hold_until is None:
            return 0
        until = _stamp(order.hold_until)
        with self._store.transaction() as tx:
            meant = [row for row in self._meant(order, "reads") if row[2] < until]
            tx.executemany(
                "UPDATE reads SET destroy_by = ? WHERE seq = ?",
                [(until, seq) for seq, _, _ in meant],
            )
        return len(meant)

    def _thaw(self, order: Order) -> int:
        """Every read's own destroy-by again, where a freeze has raised it."""
        count = 0
        with self._store.transaction() as tx:
            for seq, _, kept in self._meant(order, "reads"):
                (envelope,) = tx.execute(
                    "SELECT CAST(envelope AS BLOB) FROM reads WHERE seq = ?", (seq,)
                ).fetchone()
                try:
                    own = _stamp(envelope_header(envelope).destroy_by)
                except EnvelopeError:
                    continue  # rotten: set aside when it is claimed, destroyed by its row's end
                if own < kept:
                    tx.execute("UPDATE reads SET destroy_by = ? WHERE seq = ?", (own, seq))
                    count += 1
        return count

    def _destroy_part(self, order: Order, most: int) -> int:
        """Destroy the next reads of an order, ``most`` bytes of them and at least one; how many."""
        count, left = 0, most
        with self._store.transaction() as tx:
            for table in ("reads", "rotten"):
                for seq, session, _ in self._meant(order, table):
                    (size,) = tx.execute(
                        f"SELECT length(envelope) FROM {table} WHERE seq = ?",  # noqa: S608 - own
                        (seq,),
                    ).fetchone()
                    if count and size > left:
                        break
                    left -= size
                    tx.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))  # noqa: S608 - own
                    count += 1
                    if table == "reads":  # a rotten one was counted as lost before
                        tx.execute(
                            "INSERT INTO ledger (session, committed, receipted, expired, lost) "
                            "VALUES (?, 0, 0, 1, 0) "
                            "ON CONFLICT (session) DO UPDATE SET expired = expired + 1",
                            (session,),
                        )
            if count:
                gone = self._state.destroyed.get(order.serial, 0) + count
                destroyed = {**self._state.destroyed, order.serial: gone}
                state = self._state.model_copy(update={"destroyed": destroyed})
                self._store.set_meta(_META, state.model_dump_json())
                self._store.record(
                    Event.READS_DESTROYED,
                    subjects=(order.serial,),
                    detail={"count": count, "why": "order"},
                )
        if count:
            self._state = state
        return count


def _stamp(instant: datetime) -> str:
    """As :mod:`alprd.store` writes a destroy-by: UTC text that sorts as time does."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
