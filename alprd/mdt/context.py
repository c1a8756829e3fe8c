"""What the page needs of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from alprd.alerts import AlertBoard
from alprd.audit import Trail
from alprd.mdt.duty import Duty
from alprd.mdt.locks import LockBook
from alprd.mdt.signons import IDLE_S, SHIFT_S, Clock, Collection
from alprd.mdt.status import CarStatus
from alprd.records import utc_now
from alprd.roster import RosterBook
from alprd.unlock import Locker
from alprd.verification import Gateway


def _nothing(session: str) -> None:
    """For a page without a daemon."""


@dataclass(frozen=True)
class MdtContext:
    """The daemon's parts, as the page uses them; everything may be called from any thread.

    ``clock`` gives UTC and whether it is trusted; the default is the system clock, untrusted.
    ``status`` is asked about once a second, ``moving`` before every act that must wait until the
    car stands. ``misread`` counts a match that was marked as misread. ``hosts`` are names besides
    the address it is served on by which the page may be asked for. ``lasting``: whether alerts
    outlive the process (:func:`alprd.custody.local_alert_key`).
    """

    board: AlertBoard
    roster_book: RosterBook
    trail: Trail
    status: Callable[[], CarStatus]
    collection: Collection
    clock: Clock = field(default=lambda: (utc_now(), False))
    idle_s: float = IDLE_S
    shift_s: float = SHIFT_S
    misread: Callable[[str], None] = _nothing
    moving: Callable[[], bool] = bool
    gateway: Gateway | None = None
    duty: Duty | None = None
    locks: LockBook | None = None
    locker: Locker | None = None
    ignition_over: Callable[[float], bool] = lambda signed_on_s: False
    hosts: tuple[str, ...] = ()
    lasting: bool = False
