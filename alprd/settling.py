"""A deputy settles alerts: picture, verification, action, in this order, each step recorded.

Each step is one act on the board: its event and the card afterwards are written together, and the
shift's count of outcomes with them. The trail gets the codes chosen and whether there is a
reference, never the reference itself: R-AT-4 lets nothing into it that could point at a plate.
Rules: R-460.4-f, R-460.5.1-c5, R-13.824-7-5, R-AT-1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from alprd.alerts import AlertBoard
from alprd.audit import Actor, Event
from alprd.board import Act, Detail
from alprd.cards import AlertView, State
from alprd.dispositions import Disposition
from alprd.errors import InputError, RefusedError
from alprd.records import utc_now


class Settling:
    """Steps over one board; any thread. Each raises as :meth:`AlertBoard.act`, besides its own.

    Args:
        on_misread: a match of this session was marked as misread (the public log counts them,
            R-460.5.1-c5), a protected plate's too, as its match is counted (R-460.5-b4).
        now: UTC; a cleared plate ends by it.
    """

    def __init__(
        self,
        board: AlertBoard,
        *,
        on_misread: Callable[[str], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._board = board
        self._on_misread = on_misread
        self._now = now

    def look(self, alert_id: str, actor: Actor, *, agrees: bool, seen: int | None = None) -> None:
        """Plate and state agree with the picture, or not: that is a misread.

        Raises:
            RefusedError: ``out_of_order``.
        """
        if not agrees:
            self.misread(alert_id, actor, seen=seen)
            return

        def change(view: AlertView) -> Act:
            found = view.disposition.look(agrees)
            return self._step(view, found, Event.ALERT_COMPARED, {"agrees": True})

        self._board.act(alert_id, actor, change, seen=seen)

    def misread(self, alert_id: str, actor: Actor, *, seen: int | None = None) -> None:
        """Misread, in one tap; a second tap changes nothing."""
        marked: list[AlertView] = []

        def change(view: AlertView) -> Act | None:
            if view.disposition.misread:
                return None
            found = view.disposition.look(False)
            marked.append(view)
            return self._step(view, found, Event.ALERT_MISREAD, {})

        self._board.act(alert_id, actor, change, seen=seen)
        # Also of a protected plate: its match is counted, and the trail has this event either way.
        for view in marked:
            self._on_misread(view.session)

    def verify(
        self,
        alert_id: str,
        actor: Actor,
        *,
        result: str,
        reason: str = "",
        reference: str = "",
        seen: int | None = None,
    ) -> None:
        """The answer of MNJIS/NLETS; ``cleared`` keeps the plate from alarming in this shift.

        Raises:
            RefusedError: see :meth:`Disposition.verified`.
        """

        def change(view: AlertView) -> Act:
            found = view.disposition.verified(
                result, reason, reference.strip(), plate=view.reading.text
            )
            detail: Detail = {
                "result": result,
                "reason": reason,
                "referenced": bool(found.reference),
            }
            done = self._step(view, found, Event.ALERT_VERIFIED, detail)
            if done.shift is None:
                return done
            if result != "cleared":  # a later word: the plate must not stay quiet by the earlier
                return replace(done, shift=done.shift.unclear(view.id), cleared_until=None)
            shift = done.shift.clear(
                view.id, view.reading, view.match, reason, self._now(), suppressed=view.suppressed
            )
            until = shift.cleared[view.id].expires
            return Act(done.event, done.state, found, detail, shift, until)

        self._board.act(alert_id, actor, change, seen=seen)

    def take_action(
        self, alert_id: str, actor: Actor, *, action: str, seen: int | None = None
    ) -> None:
        """What was done; impossible before a result.

        Raises:
            RefusedError: see :meth:`Disposition.acted`.
        """

        def change(view: AlertView) -> Act:
            found = view.disposition.acted(action)
            return self._step(view, found, Event.ALERT_ACTION_TAKEN, {"action": action})

        self._board.act(alert_id, actor, change, seen=seen)

    def tell_dispatch(
        self, alert_id: str, actor: Actor, *, done: bool, seen: int | None = None
    ) -> None:
        """What a person without clearance can settle: whether dispatch was told (R-460.4-e).

        Raises:
            RefusedError: see :meth:`Disposition.told_dispatch`.
        """

        def change(view: AlertView) -> Act:
            found = view.disposition.told_dispatch(done)
            return self._step(view, found, Event.ALERT_DISPATCHED, {"dispatched": done})

        self._board.act(alert_id, actor, change, seen=seen)

    def unclear(self, alert_id: str, actor: Actor, *, seen: int | None = None) -> None:
        """Let a cleared plate alarm again, at its next pass already."""

        def change(view: AlertView) -> Act | None:
            if view.cleared_until is None:
                return None
            shift = self._board.shift.unclear(view.id)
            return Act(Event.ALERT_UNCLEARED, view.state, view.disposition, None, shift, eager=True)

        self._board.act(alert_id, actor, change, seen=seen)

    def copied(self, alert_id: str, actor: Actor, *, seen: int | None = None) -> None:
        """The plate was copied, to be asked for elsewhere."""

        def change(view: AlertView) -> Act:
            return Act(
                Event.ALERT_PLATE_COPIED, view.state, view.disposition,
                cleared_until=view.cleared_until,
            )  # fmt: skip

        self._board.act(alert_id, actor, change, seen=seen)

    def hand_over(self, actor: Actor, note: str) -> int:
        """Leave what is unresolved to the next person, each with the note; how many.

        The note stays on the cards; the trail tells that there is one.

        Raises:
            RefusedError: ``bad_field``: no note.
        """
        left = self._board.unresolved()
        for one in left:

            def change(view: AlertView) -> Act:
                found = view.disposition.handed_over(note)
                shift = self._board.shift
                return Act(
                    Event.ALERT_HANDED_OVER, view.state, found, None,
                    shift.model_copy(update={"handed_over": shift.handed_over + 1}),
                )  # fmt: skip

            with suppress(InputError):  # it left the board meanwhile: nothing is left to hand over
                self._board.act(one.id, actor, change)
        return len(left)

    def _step(self, view: AlertView, found: Disposition, event: Event, detail: Detail) -> Act:
        if view.state == "withdrawn":
            raise RefusedError(
                "The alert was withdrawn: there is nothing to verify.", reason="withdrawn"
            )
        shift = self._board.shift.count(view.id, view.match.list_id, found, view.camera)
        state: State = "acknowledged"
        return Act(event, state, found, detail, shift, view.cleared_until)
