"""Where address-confidentiality requests lie: one sealed, padded document that always exists.

Not a table: rows could be counted (R-460.5-b4). The document grows in steps, is written anew with
every housekeeping, and lies there also when there is no request at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from pydantic import Field
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alprd.central.storage import db
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.records import Closed, Utc

PADDED_TO: Final = 65_536
_PART: Final = "requests"
_AAD: Final = b"requests suppression"


class Receipt(Closed):
    """That one store is done; never with the plate."""

    store: str
    """``database``, ``keystore``, ``pictures``, ``terms``, ``car NAME``, ``release NAME``."""
    at: Utc
    how: str
    reads: int = 0


class Deferral(Closed):
    """Reads that a case link, or a hold, keeps until it ends (R-460.5-b3, T-11)."""

    exemption: str
    kind: str
    number: str
    reads: int
    review: Utc
    """When a person must look at it again: the link's review date, or a day for a hold."""


class Waiting(Closed):
    """A car that may still hold reads."""

    car: str
    enrolment: str
    version: int
    """Of the publication before the request: with a later one in force, the car knows of it."""
    told: Utc | None = None
    """When it first said so: what it collects since then is destroyed there."""


class Asked(Closed):
    """One request of a participant."""

    id: str
    plates: tuple[tuple[str, str], ...]
    """Plate and issuing state, empty when not known."""
    received: Utc
    verified_by: str
    reference: str
    """The written request, by its number in the agency's own restricted file."""
    review: Utc
    entered_by: str
    entered_at: Utc
    receipts: tuple[Receipt, ...] = ()
    deferred: tuple[Deferral, ...] = ()
    cars: tuple[Waiting, ...] = ()
    releases: tuple[str, ...] = ()
    """Recipients of released data who were told to destroy and have not confirmed."""
    notes: tuple[str, ...] = ()
    ended_at: Utc | None = None

    @property
    def complete(self) -> bool:
        """Whether every store is done and nothing is deferred."""
        return not (self.deferred or self.cars or self.releases)


class Book(Closed):
    """Every request."""

    rows: tuple[Asked, ...] = Field(default=())


def load(central: Central, tx: Connection) -> dict[str, Asked]:
    """The requests by id, oldest first."""
    sealed = tx.scalar(select(db.suppression.c.sealed).where(db.suppression.c.part == _PART))
    if sealed is None:
        return {}
    plain = unseal(central.keystore.purpose_key("suppression"), sealed, _AAD)
    return {row.id: row for row in Book.model_validate(json.loads(plain)).rows}


def save(central: Central, tx: Connection, rows: Iterable[Asked]) -> None:
    """Write the document anew, in the caller's transaction."""
    plain = Book(rows=tuple(rows)).model_dump_json().encode()
    plain = plain.ljust(-(-len(plain) // PADDED_TO) * PADDED_TO)
    sealed = seal(central.keystore.purpose_key("suppression"), plain, _AAD)
    tx.execute(
        upsert(db.suppression)
        .values(part=_PART, sealed=sealed)
        .on_conflict_do_update(index_elements=["part"], set_={"sealed": sealed})
    )


def plates(central: Central, tx: Connection) -> set[tuple[str, str]]:
    """The plates of every request that has not been ended in writing."""
    rows = load(central, tx).values()
    return {pair for row in rows if row.ended_at is None for pair in row.plates}
