"""The page's live channel: server-sent events with replay.

Events::

    alert     id: <epoch>-<number>   a card as it now is (:func:`alprd.mdt.present.card_json`)
    gone      id: <epoch>-<number>   {"id"}: the card has left the board
    reset                            forget every card: what follows is all there is
    status                           the state of the car, about once a second
    trouble                          {"message"}: alerts cannot be shown, and why
    signed-off                       the sign-on is over; the stream ends

A client comes back with ``Last-Event-ID`` (or ``?after=``) and gets what changed since. Numbers
of another epoch (the daemon was restarted) or too far back give ``reset`` and everything.
A comment goes out with each status as heartbeat.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from alprd.alerts import AlertBoard
from alprd.cards import Change
from alprd.errors import AuditError
from alprd.mdt.duty import Duty
from alprd.mdt.present import card_json, is_cleared
from alprd.mdt.signons import Clock, Screen, SignOns
from alprd.mdt.status import CarStatus

STATUS_S: Final = 1.0
RETRY_MS: Final = 1000


def _event(name: str, data: object, number: str = "") -> str:
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


class EventStream:
    """One client's stream.

    Args:
        token: the client's session cookie, checked again before anything is sent.
        stopping: set when the server stops, so that the stream ends by itself.
        duty: tells which incident is canvassed.
        moving: whether the car moves now; the page then asks nobody to read or type.
    """

    def __init__(
        self,
        *,
        board: AlertBoard,
        signons: SignOns,
        status: Callable[[], CarStatus],
        clock: Clock,
        token: str,
        stopping: threading.Event,
        moving: Callable[[], bool] = bool,
        duty: Duty | None = None,
    ) -> None:
        self._duty = duty
        self._moving = moving
        self._board = board
        self._signons = signons
        self._status = status
        self._clock = clock
        self._token = token
        self._stopping = stopping

    def response(self, after: str) -> StreamingResponse:
        """Stream what happens after event ``after`` (``<epoch>-<number>``, or empty)."""
        return StreamingResponse(
            self._stream(after),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    def _resume(self, after: str) -> int:
        epoch, _, number = after.partition("-")
        if epoch != self._board.epoch or not (number.isascii() and number.isdigit()):
            return 0
        last = int(number[:18])
        return last if self._board.can_replay(last) else 0

    async def _stream(self, after: str) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has closed: nobody is left to wake
                loop.call_soon_threadsafe(changed.set)

        start = self._resume(after)
        subscription = self._board.subscribe(start, wake=wake)
        try:
            yield f"retry: {RETRY_MS}\n\n"
            if not start:
                yield _event("reset", {})
            status_due = 0.0
            while not self._stopping.is_set():
                changed.clear()
                for change in subscription.changes():
                    try:
                        screen = await self._screen()
                        if screen is None:
                            break
                        text = await run_in_threadpool(self._tell, change, screen)
                    except AuditError:
                        yield _event("trouble", {"message": _NO_TRAIL})
                        break
                    if text:
                        yield text
                    subscription.advance(change.number)
                if loop.time() >= status_due:
                    if await self._screen() is None:
                        yield _event("signed-off", {})
                        return
                    yield await run_in_threadpool(self._tell_status)
                    status_due = loop.time() + STATUS_S
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), max(0.0, status_due - loop.time()))
        finally:
            subscription.close()

    async def _screen(self) -> Screen | None:
        return await run_in_threadpool(self._signons.check, self._token)

    def _tell(self, change: Change, screen: Screen) -> str:
        """The event of a change; an alert is recorded as shown before it goes out."""
        number = f"{self._board.epoch}-{change.number}"
        if change.view is None:
            return _event("gone", {"id": change.alert_id}, number)
        person = self._signons.person_of(screen)
        cleared = is_cleared(change.view, person)
        if not self._board.mark_shown(change.view, screen.sign_on.actor, cleared=cleared):
            return ""
        return _event("alert", card_json(change.view, person, self._clock()[0]), number)

    def _tell_status(self) -> str:
        told = self._status().as_json(self._clock()[0])
        silenced = list(self._board.shift.categories)
        return ": beat\n" + _event(
            "status",
            told
            | {
                "moving": self._moving(),
                "silenced": silenced,
                "incident": self._duty.incident if self._duty else "",
            },
        )


_NO_TRAIL: Final = "Alerts cannot be shown: the audit trail cannot be written."
