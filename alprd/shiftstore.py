"""Alerts and shift over a restart of the daemon: sealed under the local alert key, in the queue's
database, so that an act and its audit event are one transaction (R-AT-3).

Only where the key outlives the process (a systemd credential sealed to the TPM, see
:func:`alprd.custody.local_alert_key`) is anything written: a key beside its rows would open them to
a thief, and a row whose key has died is of no use. Rows tell a card's random id and nothing else.

A card of a covered plate (R-460.5-b3) never reaches the disk: a row of the same size takes its
place, which opens to nothing and is destroyed at the next start (R-460.5-b4).
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from alprd.alerts import AlertBoard
from alprd.board import Kept
from alprd.cards import MAX_AGE_S
from alprd.crypto import decrypt_target, encrypt_target
from alprd.errors import EnvelopeError
from alprd.records import Closed, Uncached, Utc, utc_now
from alprd.shift import Shift
from alprd.store import Store
from alprd.views import AlertView

log = logging.getLogger(__name__)

_PADDED: Final = 16_384
_SHIFT: Final = "shift"
_VIEW: Final = TypeAdapter(AlertView)
_KEPT_VIEW: Final = Uncached[AlertView]


class _Row(Closed):
    """One card as it is sealed."""

    view: str
    """JSON of the :class:`AlertView`."""
    plate: str
    wide: str | None
    born: Utc


class ShiftStore:
    """The journal of an :class:`AlertBoard`; any thread.

    Args:
        key: of 32 bytes, and whether it outlives the process.
        now: UTC; tells a card's age after a restart.
    """

    def __init__(
        self, store: Store, key: tuple[bytes, bool], *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._key, self._lasting = key
        self._now = now
        with store.transaction() as tx:
            tx.execute("CREATE TABLE IF NOT EXISTS shift (id TEXT PRIMARY KEY, sealed BLOB)")

    def transaction(self) -> AbstractContextManager[Any]:
        """What is written within is written together; the store's own transaction."""
        return self._store.transaction()

    def save(self, kept: Kept) -> None:
        """Keep a card as it is now."""
        if not self._lasting:
            return
        age = kept.age_s
        now = self._now()
        row = _Row(
            view=_VIEW.dump_json(kept.view).decode(),
            plate=base64.b64encode(kept.plate).decode(),
            wide=None if kept.wide is None else base64.b64encode(kept.wide).decode(),
            born=datetime.fromtimestamp(now.timestamp() - age, tz=now.tzinfo),
        )
        plain = row.model_dump_json().encode()
        self._put(kept.view.id, bytes(len(plain)) if kept.view.suppressed else plain)

    def forget(self, alert_id: str) -> None:
        """A card has left."""
        if self._lasting:
            with self._store.transaction() as tx:
                tx.execute("DELETE FROM shift WHERE id = ?", (alert_id,))

    def save_shift(self, shift: Shift) -> None:
        """Keep the shift as it is now; cleared plates stand in it, but for protected ones."""
        if self._lasting:
            self._put(_SHIFT, shift.writable().model_dump_json().encode())

    def restore(self, board: AlertBoard) -> int:
        """Put back what an earlier start left; how many cards. What does not open is destroyed."""
        kept: list[Kept] = []
        shift = Shift()
        for name, data in self._store.rows("SELECT id, CAST(sealed AS BLOB) FROM shift"):
            try:
                plain = decrypt_target(data, name=f"shift-{name}", key=self._key).rstrip(b" ")
                if name == _SHIFT:
                    shift = Shift.model_validate_json(plain)
                    continue
                row = _Row.model_validate_json(plain)
                age = (self._now() - row.born).total_seconds()
                if not 0 <= age <= MAX_AGE_S:
                    raise ValueError("past its time")
                wide = None if row.wide is None else base64.b64decode(row.wide)
                view = _KEPT_VIEW.model_validate_json(row.view).root
                kept.append(Kept(view, base64.b64decode(row.plate), wide, age))
            except (EnvelopeError, ValidationError, ValueError):
                with self._store.transaction() as tx:
                    tx.execute("DELETE FROM shift WHERE id = ?", (name,))
        board.restore(kept, shift)
        if kept:
            log.info("%d alert(s) of before the restart are back", len(kept))
        return len(kept)

    def _put(self, name: str, plain: bytes) -> None:
        plain += b" " * (-len(plain) % _PADDED)  # its exact length could tell what is in it
        sealed = encrypt_target(plain, name=f"shift-{name}", key=self._key)
        with self._store.transaction() as tx:
            tx.execute("DELETE FROM shift WHERE id = ?", (name,))
            tx.execute("INSERT INTO shift (id, sealed) VALUES (?, ?)", (name, sealed))
