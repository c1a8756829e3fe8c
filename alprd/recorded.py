"""What whoever moves rows of the car's queue needs of its database: one transaction for a change
and its event (R-AT)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from sqlite3 import Connection
from typing import Any, Protocol

from alprd.audit import Trail


class RecordedRows(Trail, Protocol):
    """Rows that change in the same transaction as the trail that tells of it."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """One transaction; nests."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
