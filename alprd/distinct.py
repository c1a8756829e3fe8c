"""How many different plates passed in a session, without keeping one (R-460.5.1-b1).

A text is remembered as the first 64 bits of its HMAC-SHA-256 under a key that is made for the
session, lives in RAM and is overwritten with the marks at the session's end. Two of *n* texts
share a mark by chance with n²/2⁶⁵: for 100,000 plates in one session 3 in 10⁹, and then one plate
is counted too few.

The marks lie in one table of machine words with open addressing, 12 to 24 bytes a plate. A
session may last a day on a busy road; as objects of Python the same took some 450 bytes a plate
(``make bench-soak``).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from array import array
from collections.abc import Iterable
from typing import Final

from alprd.records import Category

SAME_PASS_S: Final = 30.0
"""A text that comes again sooner is the same pass."""
_FIRST: Final = 1024
"""Words of an empty table; always a power of two."""
_EMPTY: Final = 0


class MarkSet:
    """A set of 64-bit numbers that only grows, in 8 bytes of table a place. Not thread-safe."""

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * _FIRST))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, mark: int) -> bool:
        return self._table[_place(self._table, mark or 1)] != _EMPTY

    def add(self, mark: int) -> bool:
        """Take in a mark (0 counts as 1); whether it is a new one."""
        mark = mark or 1
        at = _place(self._table, mark)
        if self._table[at] != _EMPTY:
            return False
        self._table[at] = mark
        self._count += 1
        if 3 * self._count > 2 * len(self._table):
            self._double()
        return True

    def _double(self) -> None:
        table = array("Q", bytes(16 * len(self._table)))
        for mark in self._table:
            if mark != _EMPTY:
                table[_place(table, mark)] = mark
        self._wipe()
        self._table = table

    def _wipe(self) -> None:
        memoryview(self._table).cast("B")[:] = bytes(8 * len(self._table))

    def destroy(self) -> None:
        """Overwrite every mark; the set is empty afterwards."""
        self._wipe()
        self._table, self._count = array("Q", bytes(8 * _FIRST)), 0

    @property
    def table_bytes(self) -> int:
        """Memory of the table."""
        return self._table.itemsize * len(self._table)


def _place(table: array[int], mark: int) -> int:
    """Where a mark is, or the free place where it belongs; a table is never full."""
    last = len(table) - 1
    at = mark & last
    while table[at] not in (_EMPTY, mark):
        at = at + 1 & last
    return at


class DistinctPlates:
    """The plates of one session: how many, and which pass repeats another. Not thread-safe."""

    def __init__(self) -> None:
        self._key = bytearray(secrets.token_bytes(32))
        self._marks = MarkSet()
        self._lately: dict[int, tuple[float, frozenset[Category]]] = {}
        """Of the last :data:`SAME_PASS_S`, the longest ago first."""

    def __len__(self) -> int:
        return len(self._marks)

    def count(
        self, text: str, categories: Iterable[Category], now: float
    ) -> tuple[bool, frozenset[Category]]:
        """Take in the text of a finished pass.

        Args:
            categories: of the lists that matched.
            now: seconds that run evenly, also while the machine sleeps.

        Returns:
            Whether it goes on a pass counted less than :data:`SAME_PASS_S` ago, and which of the
            categories that one had not matched yet.
        """
        self._forget(now)
        mark = int.from_bytes(hmac.digest(self._key, text.encode(), hashlib.sha256)[:8], "big")
        self._marks.add(mark)
        fresh = frozenset(categories)
        last = self._lately.pop(mark, None)
        known = frozenset[Category]() if last is None else last[1]
        self._lately[mark] = (now, known | fresh)
        return last is not None, fresh - known

    def _forget(self, now: float) -> None:
        for mark, (at, _) in list(self._lately.items()):
            if now - at < SAME_PASS_S:
                return
            del self._lately[mark]

    @property
    def lately(self) -> int:
        """How many are remembered for repeats."""
        return len(self._lately)

    @property
    def table_bytes(self) -> int:
        """Memory of the marks."""
        return self._marks.table_bytes

    def destroy(self) -> None:
        """The session is over: key and marks are overwritten."""
        self._key[:] = bytes(len(self._key))
        self._marks.destroy()
        self._lately.clear()
