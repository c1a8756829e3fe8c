"""Who is signed on in the car: one person at a time, on as many screens as that person opens.

Another person's sign-on signs the first one off (hand-over). A sign-on ends by the person's own
act, by hand-over, when no screen has been in touch for ``idle_s``, with the ignition off for long
enough (:mod:`alprd.ignition`), after ``shift_s``, or when the roster takes the leave away. Each
start and end is in the trail before it counts (R-AT-3), and collection follows it (R-460.4-a).
Everything here may block; the page calls it from a thread.

Rules: R-460.3-1, R-460.4-0, -a, -d, R-460.6-a, -f, R-CJIS-3.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, Protocol

from alprd.audit import DAEMON, Actor, Event, Trail
from alprd.errors import RefusedError
from alprd.mdt.locks import LockBook
from alprd.roster import OPERATOR_ROLE, PURPOSES, PURPOSES_VERSION, LockedError, RosterBook
from alprd.unlock import Locker
from alprd.wire import Person
from alprd.workers import told_only

NOTICE_VERSION: Final = "460.6-f/1"
NOTICE: Final = (
    "Plate reader equipment and data are for official law-enforcement business only. "
    "Every sign-on, alert and act is recorded with your name, date and time. Unauthorised "
    "acquisition or use of the data brings discipline and possible prosecution "
    "(Policy 460.6(f); Minn. Stat. §§ 13.09 and 626.8472). An alert is not a reason to act by "
    "itself: verify it through MNJIS/NLETS first where practicable."
)
"""Shown at sign-on; its acknowledgement is stored by version (R-460.6-f)."""

IDLE_S: Final = 30 * 60.0
SHIFT_S: Final = 14 * 3600.0
MAX_SCREENS: Final = 8
_UNIT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}")

Clock = Callable[[], tuple[datetime, bool]]
"""UTC now, and whether it is trusted."""


class Collection(Protocol):
    """The daemon's side of a sign-on."""

    def signed_on(self, person: Person, purpose: str, unit: str) -> None:
        """Begin to collect under this person; may raise :class:`RefusedError`."""

    def signed_off(self, reason: str) -> None:
        """End it.

        ``reason``: signed_off, hand_over, new_purpose, renewed, idle, ignition_off, shift_over, or
        the code with which the roster refused.
        """


@dataclass(frozen=True, slots=True)
class SignOn:
    """The one live sign-on of the car."""

    id: str
    person: Person
    purpose: str
    unit: str
    since: float
    """Monotonic seconds."""

    @property
    def actor(self) -> Actor:
        """The person as the trail names them."""
        return Actor(self.person.id, self.person.name, OPERATOR_ROLE)


@dataclass(slots=True)
class Screen:
    """One browser or program that has signed on."""

    sign_on: SignOn
    csrf: str
    seen: float


class SignOns:
    """The live sign-on and its screens. Thread-safe.

    Args:
        on_end: told after a sign-on ended, so that the alert board closes the shift.
        collecting: whether the daemon collects now. It may have stopped under a live sign-on
            (permit, camera); signing on again then begins anew.
        on_begin: told who has signed on, before anything is shown.
        locks: failures that a restart does not forget.
        ignition_over: whether a sign-on of this age (s) ends because the ignition is off.
        locker: the car's keys, which a sign-on may have to open first.
    """

    def __init__(
        self,
        roster_book: RosterBook,
        trail: Trail,
        collection: Collection,
        clock: Clock,
        *,
        on_end: Callable[[], None],
        collecting: Callable[[], bool],
        idle_s: float = IDLE_S,
        shift_s: float = SHIFT_S,
        on_begin: Callable[[str], None] = lambda person: None,
        locks: LockBook | None = None,
        ignition_over: Callable[[float], bool] = lambda signed_on_s: False,
        locker: Locker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_begin = on_begin
        self._locks = locks
        self._ignition_over = ignition_over
        self._locker = locker
        self._book = roster_book
        self._trail = trail
        self._collection = collection
        self._clock = clock
        self._on_end = on_end
        self._collecting = collecting
        self._idle_s = idle_s
        self._shift_s = shift_s
        self._monotonic = monotonic
        self._acts = threading.Lock()  # one start or end at a time; held while recording
        self._lock = threading.Lock()
        self._live: SignOn | None = None
        self.last_end: str | None = None
        """Why the last sign-on ended; None while none has since the start."""
        self._screens: dict[str, Screen] = {}

    @property
    def live(self) -> SignOn | None:
        """Who is signed on now."""
        with self._lock:
            return self._live

    def sign_on(
        self,
        person_id: str,
        password: str,
        *,
        purpose: str,
        unit: str,
        acknowledged: bool,
        code: str = "",
    ) -> tuple[str, Screen]:
        """Sign a person on at a new screen; its secret token and the screen.

        Args:
            code: of the second factor, where the roster asks for one.

        Raises:
            RefusedError: ``not_acknowledged``, ``unknown_purpose``, ``bad_unit``, any reason of
                :meth:`RosterBook.sign_on` or of the collection; recorded.
            AuditError: the trail cannot be written, so nobody is signed on.
        """
        with self._acts:
            try:
                _check_form(purpose, unit, acknowledged=acknowledged)
                person = self._identify(person_id, password, code)
                sign_on = self._begin(person, purpose, unit)
            except RefusedError as error:
                self._record_refusal(person_id, error)
                raise
            token = secrets.token_urlsafe(32)
            screen = Screen(sign_on, secrets.token_urlsafe(32), self._monotonic())
            with self._lock:
                self._screens[_digest(token)] = screen
                while len(self._screens) > MAX_SCREENS:
                    oldest = min(self._screens, key=lambda key: self._screens[key].seen)
                    del self._screens[oldest]
            return token, screen

    def _identify(self, person_id: str, password: str, code: str) -> Person:
        locker = self._locker
        known = self._book.find(person_id) or (locker is not None and locker.knows(person_id))
        locks = self._locks if known else None
        if locks is not None:
            locks.check(person_id)
        now, trusted = self._clock()
        try:
            if locker is not None:
                locker.open_for(person_id, password)
            person = self._book.sign_on(person_id, password, now=now, trusted=trusted, code=code)
        except RefusedError as error:
            if locks is not None and error.reason in _FAILURES:
                locks.failed(person_id)
            raise
        if locks is not None:
            locks.passed(person_id)
        if locker is not None:
            with told_only("the sign-on that opens the car's keys"):
                locker.keep(person, password)
        return person

    def check(self, token: str) -> Screen | None:
        """The screen of a token, noted as in touch; ``None`` when its sign-on is over.

        A person whom the roster no longer admits is signed off here (R-460.4-d).
        """
        key = _digest(token)
        with self._lock:
            screen = self._screens.get(key)
            if screen is None:
                return None
            screen.seen = self._monotonic()
            sign_on = screen.sign_on
        try:
            self._book.authorise(sign_on.person.id, now=self._clock()[0])
        except RefusedError as error:
            self._end_if(sign_on, error.reason, DAEMON)
            return None
        return screen

    def person_of(self, screen: Screen) -> Person:
        """The person as the roster in force has them: clearances may have changed."""
        return self._book.find(screen.sign_on.person.id) or screen.sign_on.person

    def sign_off(self, screen: Screen) -> None:
        """The person signs off, on all screens.

        Raises:
            AuditError: not recorded; collection has ended all the same.
        """
        self._end_if(screen.sign_on, "signed_off", screen.sign_on.actor)

    def sweep(self) -> None:
        """End what has been idle or on for too long or lost its leave; called every few seconds."""
        now = self._monotonic()
        with self._lock:
            live = self._live
            for key, screen in list(self._screens.items()):
                if now - screen.seen > self._idle_s:
                    del self._screens[key]
            idle = not self._screens
        if live is None:
            return
        try:  # also of a person whose screens are silent (R-460.6-f)
            self._book.authorise(live.person.id, now=self._clock()[0])
        except RefusedError as error:
            self._end_if(live, error.reason, DAEMON)
            return
        if now - live.since > self._shift_s:
            self._end_if(live, "shift_over", DAEMON)
        elif self._ignition_over(now - live.since):
            self._end_if(live, "ignition_off", DAEMON)
        elif idle and now - live.since > self._idle_s:
            self._end_if(live, "idle", DAEMON)

    def _begin(self, person: Person, purpose: str, unit: str) -> SignOn:
        live = self.live
        if live is not None and live.person.id == person.id:
            same_duty = (live.purpose, live.unit) == (purpose, unit)
            if same_duty and self._collecting():
                self._record_on(live, second=True)
                return live
            self._end(live, "renewed" if same_duty else "new_purpose", live.actor)
        elif live is not None:
            self._end(live, "hand_over", Actor(person.id, person.name, OPERATOR_ROLE))
        sign_on = SignOn(secrets.token_hex(8), person, purpose, unit, self._monotonic())
        self._record_on(sign_on, second=False)
        try:
            self._collection.signed_on(person, purpose, unit)
        except RefusedError as error:
            self._trail.record(
                Event.SIGNED_OFF, sign_on.actor, detail={"reason": error.reason, "unit": unit}
            )
            raise
        self._on_begin(person.id)
        with self._lock:
            self._live = sign_on
        return sign_on

    def _record_on(self, sign_on: SignOn, *, second: bool) -> None:
        self._trail.record(
            Event.SIGNED_ON,
            sign_on.actor,
            detail={
                "purpose": sign_on.purpose,
                "purposes": PURPOSES_VERSION,
                "unit": sign_on.unit,
                "notice": NOTICE_VERSION,
                "acknowledged": True,
                "further_screen": second,
            },
        )

    def _record_refusal(self, person_id: str, error: RefusedError) -> None:
        # A name that is not in the roster may be a mistyped password: it is never recorded.
        known = self._book.find(person_id)
        actor = Actor(known.id, known.name, OPERATOR_ROLE) if known else _UNKNOWN
        self._trail.record(Event.SIGN_ON_REFUSED, actor, detail={"reason": error.reason})
        if isinstance(error, LockedError) and error.began:
            self._trail.record(Event.LOCKED, actor, detail={"reason": error.reason})

    def _end_if(self, sign_on: SignOn, reason: str, actor: Actor) -> None:
        with self._acts:
            if self.live is sign_on:
                self._end(sign_on, reason, actor)

    def _end(self, sign_on: SignOn, reason: str, actor: Actor) -> None:
        # Collection and display end even if the trail cannot be written: less access, not more.
        with self._lock:
            self._live = None
            self.last_end = reason
            self._screens = {k: s for k, s in self._screens.items() if s.sign_on is not sign_on}
        self._collection.signed_off(reason)
        self._on_end()
        self._trail.record(
            Event.SIGNED_OFF,
            actor,
            detail={"reason": reason, "person": sign_on.person.id, "unit": sign_on.unit},
        )


_FAILURES: Final = frozenset({"wrong_password", "wrong_code", "locked", "car_locked"})
_UNKNOWN: Final = Actor("unknown", "not in the roster", "none")


def _digest(token: str) -> str:
    """Screens are kept by the digest of their token, so that memory holds no usable cookie."""
    return sha256(token.encode("utf-8", "replace")).hexdigest()


def same(one: str, other: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _check_form(purpose: str, unit: str, *, acknowledged: bool) -> None:
    if not acknowledged:
        raise RefusedError(
            "The notice has to be acknowledged first.",
            reason="not_acknowledged",
            remedy="read it and tick the box",
        )
    if purpose not in PURPOSES:
        raise RefusedError(
            "This is not an official purpose of the policy.",
            reason="unknown_purpose",
            remedy="choose one from the list (R-460.3-1)",
        )
    if not _UNIT.fullmatch(unit):
        raise RefusedError(
            "The unit is missing or has characters that a unit has not.",
            reason="bad_unit",
            remedy="give 1 to 32 letters, digits, blanks, dots or dashes",
        )
