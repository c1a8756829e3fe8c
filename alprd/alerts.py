"""The alert board: the hits a signed-on person has to look at, in RAM only.

Daemon threads raise, correct and withdraw; the in-car page shows and acts. State of a card::

    new ──silence──► silenced ──unsilence──► new        withdrawn ──acknowledge──► gone
     └───────────────────┴──acknowledge──► acknowledged ──settled, LINGER_S──► gone
    any ──correct──► new (loud)        any ──withdraw──► withdrawn (loud)

What the person finds out is the card's disposition (:mod:`alprd.dispositions`); what holds for the
whole shift is :mod:`alprd.shift`. Both, and the cards, survive a restart of the daemon where a key
does (:mod:`alprd.shiftstore`): an act and its event are written in one transaction.

Repeats of one plate and entry fold into one card with a count. A repeat sounds again once the
quiet time after the last act is over (a short one for high priority), and a card of high priority
is the last to give way when the board is full, so folding never hides one.

Every change gets the next *number*; a page that was away asks for the changes after the last
number it saw. Every act is in the trail before it takes effect; if the trail cannot be written
the act fails (R-AT-3). The trail gets the card's random id and no plate, pass or entry id: those
would point at plate text, and a card without a stored read would betray a suppression.

A card of a suppressed plate (R-460.5-b3) is built, shown and ended exactly like any other: when
it ends its pictures are overwritten and nothing of it is left. Rules: R-460.4-f (never a plain
match by accident), R-460.5-b3, -b4, R-13.824-7-5, R-AT-1, -3, -4.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from alprd.audit import DAEMON, Actor, Event
from alprd.board import Act, Journal, Kept, Subscription
from alprd.cards import AlertView, Note, Picture, Sighting, State
from alprd.frames import PlateReading
from alprd.hotlist import Match
from alprd.shiftboard import ShiftBoard
from alprd.suppress import CRIMINAL, SuppressionSet

__all__ = ["Act", "AlertBoard", "Journal", "Kept", "Subscription"]

log = logging.getLogger(__name__)


class AlertBoard(ShiftBoard):
    """Cards by id, bounded, thread-safe; see the module for states and rules.

    Args:
        trail: where acts are recorded.
        monotonic: seconds; times quiet and lingering.
        max_cards: most cards kept; the least important gives way.
        journal: keeps cards and shift over a restart; without it they live in RAM only.
        now: UTC; ends cleared plates.
    """

    # --- the daemon's side ---------------------------------------------------------------

    def raise_alert(
        self,
        *,
        pass_id: str,
        camera: str,
        reading: PlateReading,
        match: Match,
        plate_jpeg: bytes,
        wide_jpeg: bytes | None,
        instant: datetime,
        time_trusted: bool,
        captured_mono_ns: int,
        session: str,
        suppressed: bool = False,
        decided_mono_ns: int = 0,
    ) -> str:
        """Put a hit on the board; the id of its card, or "" if the plate is cleared (recorded).

        Args:
            captured_mono_ns: monotonic instant of the frame in which this text was first read,
                and ``decided_mono_ns``, of the one whose reading made it an alert.
            suppressed: the plate is protected and alerts under R-460.5-b3; makes no difference
                to what is shown or recorded (R-460.5-b4).

        The same pass and entry again only renews the pictures.
        """
        sighting = Sighting(
            pass_id=pass_id,
            camera=camera,
            reading=reading,
            match=match,
            plate=bytearray(plate_jpeg),
            wide=None if wide_jpeg is None else bytearray(wide_jpeg),
            instant=instant,
            time_trusted=time_trusted,
            captured_mono_ns=captured_mono_ns,
            session=session,
            suppressed=suppressed,
            decided_mono_ns=decided_mono_ns,
        )
        with self._changing():
            placed = self._deck.place(sighting)
        if not placed:
            self._trail.record(
                Event.ALERT_CLEARED_PASSED, session=session, detail={"list": match.list_id}
            )
        return placed

    def knows(self, pass_id: str) -> bool:
        """Whether a standing card rests on this pass."""
        with self._lock:
            return bool(self._deck.of_pass(pass_id))

    def correct(
        self,
        pass_id: str,
        reading: PlateReading,
        match: Match | Sequence[Match] | None,
        *,
        plate_jpeg: bytes | None = None,
        wide_jpeg: bytes | None = None,
        instant: datetime | None = None,
        captured_mono_ns: int | None = None,
        decided_mono_ns: int | None = None,
        suppressed: bool | None = None,
    ) -> tuple[str, ...]:
        """The fused reading of a pass is now ``reading``; the ids of the cards that stand for it.

        A card whose entry still matches changes loudly if anything it says changed, quietly (new
        pictures) if not; one whose entry no longer matches is withdrawn; an entry that newly
        matches gets its card. A pass without a card changes nothing: raise an alert instead.
        What is left out stays as it was told before.

        Raises:
            AuditError: the change is on the board, but could not be recorded. Taking back a
                wrong alert must not wait for the disk.
        """
        matches = [] if match is None else [match] if isinstance(match, Match) else list(match)
        notes: list[Note] = []
        with self._changing():
            standing = self._deck.of_pass(pass_id)
            if not standing:
                return ()
            old = standing[0][1]
            now = replace(
                old.copy(old.match),
                reading=reading,
                instant=instant or old.instant,
                captured_mono_ns=captured_mono_ns or old.captured_mono_ns,
                decided_mono_ns=decided_mono_ns or old.decided_mono_ns,
                suppressed=old.suppressed if suppressed is None else suppressed,
            )
            if plate_jpeg is not None:
                now = replace(now, plate=bytearray(plate_jpeg))
            if wide_jpeg is not None:
                now = replace(now, wide=bytearray(wide_jpeg))
            ids = self._deck.correct(now, matches, notes)
        for event, alert_id, session in notes:
            self._trail.record(event, DAEMON, session=session or None, subjects=(alert_id,))
        return ids

    def withdraw(self, pass_id: str, reason: str) -> None:
        """Take back the alerts of a pass, loudly; ``reason`` is plain text for the card.

        Raises:
            AuditError: withdrawn on the board, but not recorded.
        """
        with self._changing():
            standing = self._deck.of_pass(pass_id)
            for card, sighting in standing:
                self._deck.retract(card, sighting, reason)
        for card, sighting in standing:
            self._trail.record(
                Event.ALERT_WITHDRAWN, DAEMON, session=sighting.session or None, subjects=(card.id,)
            )

    def reconsider(self, suppression: SuppressionSet) -> None:
        """New suppressions are in force: what they cover ends, or leaves nothing (R-460.5-b2, -b3).

        A card of a category that alerts all the same stays, and is no longer kept on the disk.
        """
        with self._acts:
            shift = self._shift
            for alert_id, cleared in shift.cleared.items():
                if suppression.covers_text(cleared.text):
                    shift = shift.unclear(alert_id)
            self._keep_shift(shift)
        with self._changing():
            for card in list(self._deck.cards.values()):
                if card.corrected_from and suppression.covers_text(card.corrected_from):
                    card.corrected_from = ""
                    self._deck.touch(card)
                covered = any(suppression.covers(one.reading) for one in card.sightings)
                if not covered:
                    continue
                if card.state == "withdrawn" or card.current.match.entry.category not in CRIMINAL:
                    self._deck.end(card)
                    continue
                for one in card.sightings:
                    one.suppressed = True
                self._deck.touch(card)

    # --- the person's side ---------------------------------------------------------------

    def silence(self, alert_id: str, actor: Actor, *, seen: int | None = None) -> None:
        """Stop this card's sound; undone by :meth:`unsilence`.

        Args:
            seen: the ``alarm`` number the person saw; the act is refused if the card has changed
                loudly since.

        Raises:
            InputError: no such card.
            RefusedError: ``changed`` since seen.
            AuditError: not recorded, so not done.
        """
        self._move(alert_id, actor, Event.ALERT_SILENCED, {"new": "silenced"}, seen)

    def unsilence(self, alert_id: str, actor: Actor, *, seen: int | None = None) -> None:
        """Let a silenced card sound again. Raises as :meth:`silence`."""
        self._move(alert_id, actor, Event.ALERT_UNSILENCED, {"silenced": "new"}, seen)

    def acknowledge(self, alert_id: str, actor: Actor, *, seen: int | None = None) -> None:
        """The person has taken note; a withdrawn card leaves. Raises as :meth:`silence`."""
        moves: dict[State, State | None] = {
            "new": "acknowledged",
            "silenced": "acknowledged",
            "withdrawn": None,
        }
        self._move(alert_id, actor, Event.ALERT_ACKNOWLEDGED, moves, seen)

    def _move(
        self,
        alert_id: str,
        actor: Actor,
        event: Event,
        moves: Mapping[State, State | None],
        seen: int | None,
    ) -> None:
        def change(view: AlertView) -> Act | None:
            if view.state not in moves:
                return None
            return Act(event, moves[view.state], view.disposition)

        self.act(alert_id, actor, change, seen=seen)

    def mark_shown(self, view: AlertView, actor: Actor, *, cleared: bool) -> bool:
        """Record that a person is being shown a card, once per person and loud change.

        Called before the card goes out: an alert is a dissemination (R-13.824-7-5). False when
        the card has left the board meanwhile and must not be shown.

        Raises:
            AuditError: not recorded, so it must not be shown.
        """
        mark = (actor.id, view.alarm)
        with self._acts:
            with self._lock:
                card = self._deck.cards.get(view.id)
                if card is None:
                    return False
                if mark in card.shown:
                    return True
            self._trail.record(
                Event.ALERT_SHOWN,
                actor,
                session=view.session or None,
                subjects=(view.id,),
                detail={
                    "category": view.match.entry.category,
                    "kind": view.match.kind,
                    "list": view.match.list_id,
                    "list_version": view.match.version,
                    "state": view.state,
                    "cleared": cleared,
                },
            )
            card.shown.add(mark)
            return True

    def view(self, alert_id: str) -> AlertView | None:
        """One card, or ``None``."""
        with self._lock:
            card = self._deck.cards.get(alert_id)
            return card.view() if card else None

    def picture(self, alert_id: str, which: Picture, actor: Actor) -> bytes | None:
        """The JPEG of a card's latest sighting, recorded as viewed; ``None`` when there is none.

        Raises:
            AuditError: not recorded, so not given.
        """
        with self._lock:
            card = self._deck.cards.get(alert_id)
            if card is None:
                return None
            now = card.current
            held = now.plate if which == "plate" else now.wide
            if not held:
                return None
            jpeg = bytes(held)
        self._trail.record(
            Event.PICTURE_VIEWED,
            actor,
            session=now.session or None,
            subjects=(alert_id,),
            detail={"picture": which},
        )
        return jpeg

    # --- time and shift ------------------------------------------------------------

    def expire(self) -> None:
        """End the cards whose time is over; the page's clock calls it every few seconds."""
        with self._changing():
            self._deck.expire()
