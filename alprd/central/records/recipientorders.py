"""What a recipient must do later with records it received: destroy them, keep them, or no longer.

An order names record ids and never its reason (R-460.7-d): a destruction may follow from a request
that is private (R-460.5-b4). For the same reason the trail and the general register show only that
a recipient was told something; the orders themselves are for those who may send them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import Connection, insert, select, update

from alprd.central.staff import people
from alprd.central.staff.permissions import Act
from alprd.central.storage import release_tables as tables
from alprd.central.storage.audit import CENTRAL, Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import InputError, RefusedError
from alprd.records import Closed, Id, Name, Utc, new_id
from alprd.wire import Person

Kind = Literal["destroy", "hold", "end_hold"]
State = Literal["waiting", "sent", "confirmed"]
_PURPOSE: Final = "recipient orders"
_CHUNK: Final = 500
_Changes = Callable[[datetime], dict[str, object]]
_WORDS: Final[dict[Kind, str]] = {
    "destroy": "Destroy the following records, wherever they are, so that their contents cannot be "
    "determined any more, backups included.",
    "hold": "Keep the following records, and do not destroy them, until you hear from us again.",
    "end_hold": "The order to keep the following records has ended. Their destroy-by dates are in "
    "force again; what is past its date is to be destroyed now.",
}


class Order(Closed):
    """One order to one recipient."""

    id: Id
    release: Id
    agency: Name
    kind: Kind
    reads: tuple[Id, ...]
    state: State = "waiting"
    made_at: Utc
    sent_by: str = ""
    sent_at: Utc | None = None
    how: Annotated[str, Field(max_length=200)] = ""
    confirmed_by: str = ""
    """Who at the recipient confirmed."""
    confirmed_at: Utc | None = None

    def letter(self, sender: str) -> str:
        """The text to send."""
        listed = "\n".join(f"  {read}" for read in self.reads)
        return (
            f"{sender}\nOrder {self.id} under release {self.release}\n\n{_WORDS[self.kind]}\n\n"
            f"{listed}\n\nPlease confirm in writing what was done, by order number.\n"
        )


def tell(central: Central, tx: Connection, kind: Kind, reads: Iterable[str]) -> int:
    """Make an order to each recipient that has some of these records; how many orders.

    Part of the transaction of the act that makes them necessary. Records that were never sent make
    no order.
    """
    now = central.clock()
    wanted = sorted(set(reads))
    by_release: dict[tuple[str, str], list[str]] = defaultdict(list)
    table, releases = tables.released, tables.releases
    for start in range(0, len(wanted), _CHUNK):
        part = wanted[start : start + _CHUNK]
        query = (
            select(table.c.read, table.c.release, releases.c.agency)
            .join(releases, releases.c.id == table.c.release)
            .where(table.c.read.in_(part), releases.c.state.in_(("sent", "receipted")))
        )
        for row in tx.execute(query).all():
            by_release[row.release, row.agency].append(row.read)
    for (release, agency), ids in sorted(by_release.items()):
        order = Order(
            id=new_id(),
            release=release,
            agency=agency,
            kind=kind,
            reads=tuple(sorted(ids)),
            made_at=now,
        )
        tx.execute(
            insert(tables.recipient_orders).values(
                id=order.id,
                release=release,
                state=order.state,
                made_at=now,
                sealed=_seal(central, order),
            )
        )
        central.trail.record(
            tx, Event.RECIPIENT_ORDERED, CENTRAL, at=now, subjects=[order.id, release]
        )
    return len(by_release)


def waiting(central: Central, person: Person) -> list[Order]:
    """Orders that are not confirmed, oldest first, for who sends them.

    Raises:
        RefusedError: the role, or no live training or authorisation.
    """
    now = central.clock()
    people.require(person, Act.RECIPIENT_ORDERS, now)
    with central.database.write() as tx:
        central.trail.record(tx, Event.RECIPIENT_ORDERS_VIEWED, people.actor(person), at=now)
        return [order for order in every(central, tx) if order.state != "confirmed"]


def sent(central: Central, person: Person, order_id: str, how: str) -> Order:
    """The order went out: when, by whom, how.

    Raises:
        RefusedError: the role, or an order that is confirmed.
        InputError: no such order, or no word on how.
    """
    if len(how.strip()) < 3:
        raise InputError("how the order was sent is missing", remedy="such as: registered mail")
    return _change(
        central,
        person,
        order_id,
        Event.RECIPIENT_ORDER_SENT,
        lambda now: {"state": "sent", "sent_by": person.id, "sent_at": now, "how": how.strip()},
    )


def confirmed(central: Central, person: Person, order_id: str, confirmed_by: str) -> Order:
    """The recipient confirmed that it was done.

    Raises:
        RefusedError: the role, or an order that was not sent.
        InputError: no such order, or no name.
    """
    if len(confirmed_by.strip()) < 3:
        raise InputError("who confirmed the order is missing")
    return _change(
        central,
        person,
        order_id,
        Event.RECIPIENT_ORDER_DONE,
        lambda now: {
            "state": "confirmed",
            "confirmed_by": " ".join(confirmed_by.split()),
            "confirmed_at": now,
        },
    )


def letter(central: Central, person: Person, order_id: str) -> str:
    """The text of an order, to be sent.

    Raises:
        RefusedError: the role.
        InputError: no such order.
    """
    people.require(person, Act.RECIPIENT_ORDERS, central.clock())
    with central.database.read() as tx:
        return _find(central, tx, order_id).letter(central.config.agency_name)


def every(central: Central, tx: Connection) -> Iterator[Order]:
    """Every order, oldest first."""
    table = tables.recipient_orders
    for row in tx.execute(select(table).order_by(table.c.made_at, table.c.id)).all():
        yield _open(central, row.id, row.sealed)


def open_count(tx: Connection) -> int:
    """How many wait to be sent or confirmed; for the first page of who sends them."""
    table = tables.recipient_orders
    return len(tx.scalars(select(table.c.id).where(table.c.state != "confirmed")).all())


def _change(
    central: Central,
    person: Person,
    order_id: str,
    event: Event,
    changes: _Changes,
) -> Order:
    now = central.clock()
    people.require(person, Act.RECIPIENT_ORDERS, now)
    table = tables.recipient_orders
    with central.database.write() as tx:
        order = _find(central, tx, order_id)
        allowed = ("sent",) if event is Event.RECIPIENT_ORDER_DONE else ("waiting", "sent")
        if order.state not in allowed:
            raise RefusedError(f"the order is {order.state}", reason="wrong_state")
        order = order.model_copy(update=changes(now))
        tx.execute(
            update(table)
            .where(table.c.id == order.id)
            .values(state=order.state, sealed=_seal(central, order))
        )
        central.trail.record(
            tx, event, people.actor(person), at=now, subjects=[order.id, order.release]
        )
    return order


def _find(central: Central, tx: Connection, order_id: str) -> Order:
    table = tables.recipient_orders
    sealed = tx.scalar(select(table.c.sealed).where(table.c.id == order_id))
    if sealed is None:
        raise InputError("there is no order to a recipient with this id")
    return _open(central, order_id, sealed)


def _open(central: Central, name: str, sealed: bytes) -> Order:
    return Order.model_validate_json(
        unseal(central.keystore.purpose_key(_PURPOSE), sealed, _aad(name))
    )


def _seal(central: Central, order: Order) -> bytes:
    key = central.keystore.purpose_key(_PURPOSE)
    # The kind must not show by the length of the sealed row.
    return seal(key, order.model_dump_json().encode().ljust(1024), _aad(order.id))


def _aad(name: str) -> bytes:
    return f"recipient-order {name}".encode()
