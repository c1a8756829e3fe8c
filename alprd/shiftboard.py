"""The alert board's shift: what holds until the sign-off, what is unresolved, what comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from alprd.audit import DAEMON, Actor, Event
from alprd.board import Board, Detail, Kept
from alprd.cards import AlertView, Card
from alprd.errors import StoreError
from alprd.shift import Shift

log = logging.getLogger(__name__)


class ShiftBoard(Board):
    """A board with the shift of the person who is signed on (:mod:`alprd.shift`)."""

    @property
    def shift(self) -> Shift:
        """What holds for the shift."""
        return self._shift

    def change_shift(
        self, change: Callable[[Shift], Shift], event: Event, actor: Actor, detail: Detail
    ) -> None:
        """Change what holds for the shift, with its event in one transaction.

        Raises:
            RefusedError: of ``change``; nothing is done then.
            AuditError: not recorded, so not done.
        """
        with self._acts:
            made = change(self._shift)
            with self._saving, self._journal.transaction():
                self._trail.record(event, actor, detail=detail)
                self._journal.save_shift(made)
            self._shift = made

    def snapshot(self) -> list[AlertView]:
        """All cards in the order of the screen."""
        with self._lock:
            return [card.view() for card in sorted(self._deck.cards.values(), key=Card.rank)]

    def begin_shift(self, person: str) -> None:
        """A person signed on: what another silenced or cleared holds no longer."""
        with self._acts:
            self._keep_shift(self._shift.of(person))

    def unresolved(self) -> list[AlertView]:
        """Cards that nobody has settled; a withdrawn one needs no settling."""
        return [
            view
            for view in self.snapshot()
            if view.state != "withdrawn" and not view.disposition.settled
        ]

    def end_shift(self) -> None:
        """At sign-off: settled cards end; open ones wait for the next person."""
        with self._changing():
            for card in list(self._deck.cards.values()):
                if card.state == "acknowledged" and card.disposition.settled:
                    self._deck.end(card)
        self._summarise()
        with self._acts:
            self._keep_shift(Shift())

    def _summarise(self) -> None:
        told = self._shift.summary(len(self.unresolved()))
        try:
            if told:
                self._trail.record(Event.SHIFT_ENDED, DAEMON, detail=told)
        except StoreError as error:
            log.error("the summary of the shift cannot be recorded: %s", error.message)

    def restore(self, kept: Sequence[Kept], shift: Shift) -> None:
        """Take up what an earlier start of the daemon left, before anything is raised."""
        with self._lock:
            self._shift = shift
            for one in sorted(kept, key=lambda item: item.view.alarm):
                self._deck.put_back(one.view, one.plate, one.wide, one.age_s)

    def _keep_shift(self, shift: Shift) -> None:
        if shift == self._shift:
            return
        self._shift = shift  # ends in any case: sounding again needs no record
        try:
            with self._saving, self._journal.transaction():
                self._journal.save_shift(shift)
        except StoreError as error:
            log.error("the shift cannot be kept: %s", error.message)
