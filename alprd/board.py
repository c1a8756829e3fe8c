"""The workings of the alert board: locks, changes and who follows them, what is kept where.

:class:`alprd.alerts.AlertBoard` adds what daemon and person do. Locks are taken in the order
``_acts`` (one act at a time), ``_saving`` (the last word written is the last word said), ``_lock``
(the deck); a camera that raises an alert never waits for a person's act.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from alprd.audit import Actor, Event, Trail
from alprd.cards import MAX_CARDS, AlertView, Card, Change, Deck, State
from alprd.dispositions import Disposition
from alprd.errors import InputError, RefusedError, StoreError
from alprd.records import utc_now
from alprd.shift import Shift

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A card as it is kept over a restart; the pictures are the latest sighting's."""

    view: AlertView
    plate: bytes
    wide: bytes | None
    age_s: float


class Journal(Protocol):
    """Where cards and shift are kept; see :mod:`alprd.shiftstore`."""

    def transaction(self) -> AbstractContextManager[Any]:
        """What is written within is written together, the trail's events too."""

    def save(self, kept: Kept) -> None:
        """Keep a card as it is now."""

    def forget(self, alert_id: str) -> None:
        """A card has left."""

    def save_shift(self, shift: Shift) -> None:
        """Keep the shift as it is now."""


class _RamOnly:
    """Nothing outlives the process."""

    def transaction(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def save(self, kept: Kept) -> None:
        """Nowhere to keep it."""

    def forget(self, alert_id: str) -> None:
        """Nothing was kept."""

    def save_shift(self, shift: Shift) -> None:
        """Nowhere to keep it."""


Detail = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Act:
    """What a person's act makes of a card: its event, and the card afterwards."""

    event: Event
    state: State | None
    """``None``: the card leaves the board."""
    disposition: Disposition
    detail: Detail | None = None
    shift: Shift | None = None
    """The shift afterwards, where the act changes it, too."""
    cleared_until: datetime | None = None
    eager: bool = False
    """Whether the next pass of the plate sounds, however soon it comes."""


class Subscription:
    """One reader of the board's changes.

    ``wait`` is for threads; a coroutine passes ``wake`` (called from any thread, must not block).
    ``advance`` moves past a change once it is truly delivered, so a failed delivery is repeated.
    """

    def __init__(self, board: Board, after: int, wake: Callable[[], None] | None) -> None:
        self._board = board
        self._wake = wake
        self._flag = threading.Event()
        self.after = after

    def notify(self) -> None:
        """Tell the reader that there may be changes."""
        self._flag.set()
        if self._wake is not None:
            self._wake()

    def wait(self, timeout_s: float) -> bool:
        """Block until the board changes; false after ``timeout_s``."""
        changed = self._flag.wait(timeout_s)
        self._flag.clear()
        return changed

    def changes(self) -> list[Change]:
        """Changes after the last one advanced past, oldest first, one a card."""
        return self._board.changes(self.after)

    def advance(self, number: int) -> None:
        """Changes up to ``number`` are delivered."""
        self.after = max(self.after, number)

    def close(self) -> None:
        """Stop being told."""
        self._board.unsubscribe(self)


class Board:
    """Cards by id with their changes, bounded and thread-safe; arguments as of the alert board."""

    def __init__(
        self,
        trail: Trail,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        max_cards: int = MAX_CARDS,
        journal: Journal | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._trail = trail
        self._monotonic = monotonic
        self._journal = journal or _RamOnly()
        self._now = now
        self._shift = Shift()
        self._saving = threading.Lock()  # the last word written is the last word said
        self._lock = threading.RLock()
        self._acts = threading.Lock()  # one act at a time; never held while a camera raises
        self._deck = Deck(monotonic, max_cards)
        self._deck.is_quiet = lambda match: self._shift.is_quiet(match)
        self._deck.is_cleared = lambda one: self._shift.covers(one.reading, one.match, self._now())
        self._subscriptions: list[Subscription] = []
        self.epoch: Final = secrets.token_hex(4)
        """Changes with each start: numbers of another epoch mean nothing here."""

    # --- changes -------------------------------------------------------------------------

    def subscribe(self, after: int = 0, *, wake: Callable[[], None] | None = None) -> Subscription:
        """Follow the board from change number ``after`` (0: everything that stands)."""
        subscription = Subscription(self, after, wake)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def can_replay(self, after: int) -> bool:
        """Whether every change after this number is still known."""
        with self._lock:
            return after == 0 or self._deck.forgotten <= after <= self._deck.number

    def changes(self, after: int) -> list[Change]:
        """The latest change of each card after a number, in order."""
        with self._lock:
            found = [
                Change(card.number, card.id, card.view())
                for card in self._deck.cards.values()
                if card.number > after
            ]
            if after:
                found += [Change(n, i, None) for n, i in self._deck.gone if n > after]
        return sorted(found, key=lambda change: change.number)

    # --- inside, under the lock ----------------------------------------------------------

    @contextmanager
    def _changing(self, *, keep: bool = True) -> Iterator[None]:
        with self._lock:
            before = self._deck.number
            yield
            told = list(self._subscriptions) if self._deck.number != before else []
            deck = self._deck
            changed = [card.id for card in deck.cards.values() if card.number > before]
            changed += [alert_id for number, alert_id in deck.gone if number > before]
        for subscription in told:
            subscription.notify()
        if keep:
            self._keep(changed)

    def _keep(self, alert_ids: Collection[str]) -> None:
        """Write cards as they now are; the alert itself never waits for it or fails by it."""
        for alert_id in alert_ids if not isinstance(self._journal, _RamOnly) else ():
            try:
                with self._saving:
                    kept = self._kept(alert_id)
                    if kept is None:
                        self._journal.forget(alert_id)
                    else:
                        self._journal.save(kept)
            except StoreError as error:
                log.error("an alert stays in memory only: %s", error.message)

    def _kept(self, alert_id: str) -> Kept | None:
        with self._lock:
            card = self._deck.cards.get(alert_id)
            return None if card is None else self._card_kept(card)

    def _card_kept(self, card: Card) -> Kept:
        now = card.current
        wide = None if now.wide is None else bytes(now.wide)
        return Kept(card.view(), bytes(now.plate), wide, self._monotonic() - card.born)

    def act(
        self,
        alert_id: str,
        actor: Actor,
        change: Callable[[AlertView], Act | None],
        *,
        seen: int | None = None,
    ) -> None:
        """Do what ``change`` makes of a card, recorded and kept in one transaction first.

        Args:
            change: gets the card as it is; ``None`` means there is nothing to do.
            seen: see :meth:`silence`.

        Raises:
            InputError: no such card.
            RefusedError: ``changed`` since seen, or what ``change`` refuses.
            AuditError: not recorded, so not done.
        """
        with self._acts:
            with self._lock:
                card = self._deck.cards.get(alert_id)
                if card is None:
                    raise InputError("this alert is no longer on the board")
                if seen is not None and seen != card.alarm:
                    raise RefusedError(
                        "The alert has changed since you saw it.",
                        reason="changed",
                        remedy="look at it again",
                    )
                done = change(card.view())
                if done is None:
                    return
                alarm, session = card.alarm, card.current.session
                kept = self._card_kept(card)
            shift = done.shift or self._shift
            with self._saving, self._journal.transaction():
                self._trail.record(
                    done.event,
                    actor,
                    session=session or None,
                    subjects=(alert_id,),
                    detail=done.detail,
                )
                if done.state is None:
                    self._journal.forget(alert_id)
                else:
                    told = replace(
                        kept.view,
                        state=done.state,
                        disposition=done.disposition,
                        cleared_until=done.cleared_until,
                    )
                    self._journal.save(replace(kept, view=told))
                if shift != self._shift:
                    self._journal.save_shift(shift)
            with self._changing(keep=False):
                self._shift = shift
                # A correction or repeat that came in meanwhile has not been seen: it stands.
                stands = self._deck.cards.get(alert_id) is card and card.alarm == alarm
                if stands and done.state is None:
                    self._deck.end(card)
                elif stands and done.state is not None:
                    card.state = done.state
                    card.disposition = done.disposition
                    card.cleared_until = done.cleared_until
                    card.acted = self._monotonic()
                    card.eager = done.eager
                    self._deck.touch(card)
            if not stands:
                self._keep((alert_id,))
