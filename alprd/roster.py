"""Who may sign on in the car: the verified roster, password check, lock-out.

The roster comes from central as a TUF target (:class:`alprd.wire.Roster`) and is kept in RAM.
A sign-on is refused unless the person is known, the password fits, the person is an operator
with current training and authorisation, and the roster itself is not stale. Reasons that tell
about a person are given only after the right password; before it every failure reads the same
and takes the same time, so the page cannot be used to find out who is in the roster.

Rules: R-460.3-1 (closed list of purposes), R-460.4-0 (named people only), R-460.4-d (training,
stale roster, clock moved back), R-CJIS-3 (five failures in 15 minutes lock).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from alprd import verifiers
from alprd.errors import InputError, RefusedError
from alprd.totp import StepBook, decode_secret
from alprd.wire import Person, Roster

OPERATOR_ROLE: Final = "operator"
"""The role that may run a reader and receive its alerts."""

PURPOSES_VERSION: Final = "460.3/1"
PURPOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stolen_vehicles": "Stolen or wanted vehicles",
        "stolen_plates": "Stolen plates",
        "missing_persons": "Missing persons",
        "active_warrants": "Active warrants",
        "homeland_security": "Homeland security",
        "electronic_surveillance": "Electronic surveillance",
        "suspect_interdiction": "Suspect interdiction",
        "stolen_property": "Stolen property recovery",
    }
)
"""Official purposes of Policy 460.3, code to label; there is no free "other" (R-460.3-1)."""

MAX_FAILURES: Final = 5
FAILURE_WINDOW_S: Final = 15 * 60.0
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
MAX_PASSWORD: Final = verifiers.MAX_PASSWORD
_TRACKED_NAMES: Final = 1024
"""Names whose failures are remembered; the oldest is forgotten first."""


class LockedError(RefusedError):
    """Too many failures for this name; ``began`` is true for the failure that set the lock."""

    def __init__(self, seconds_left: float, *, began: bool) -> None:
        minutes = max(1, round(seconds_left / 60))
        super().__init__(
            f"Too many failed sign-ons for this name. It is locked for {minutes} min.",
            reason="locked",
            remedy="wait, or ask the ALPR administrator",
        )
        self.began = began


def hash_password(password: str) -> str:
    """Argon2id verifier of a password, as it stands in a roster (RFC 9106 low-memory profile).

    Raises:
        InputError: the password is empty or longer than :data:`MAX_PASSWORD` characters.
    """
    return verifiers.make(password)


class RosterBook:
    """The roster in force, with sign-on. Thread-safe.

    Args:
        monotonic: seconds that no clock change can move; times the lock-out.
        steps: which one-time codes were used; without it, a person whose roster entry asks for
            one is refused.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        steps: StepBook | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._steps = steps
        self._lock = threading.Lock()
        # Password checks one at a time: Argon2 takes 64 MiB each, and parallel guesses must not
        # slip past the failure count.
        self._checking = threading.Lock()
        self._decoy = ""
        self._roster: Roster | None = None
        self._people: dict[str, Person] = {}
        self._latest: datetime | None = None
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def load(self, roster: Roster) -> None:
        """Take a verified roster into force, all of it or nothing.

        Raises:
            InputError: a person stands in it twice, or a verifier is unusable; the former roster
                stays in force.
        """
        people: dict[str, Person] = {}
        for number, person in enumerate(roster.people, start=1):
            place = f"roster, person {number}"
            if person.id in people:
                raise InputError(
                    f"{place}: the id stands there twice",
                    remedy="publish a roster with one entry a person (R-460.4-0)",
                )
            verifiers.check(person.verifier, place)
            if person.totp:
                decode_secret(person.totp)
            people[person.id] = person
        scheme = verifiers.scheme_of(roster.people[0].verifier) if roster.people else "argon2id"
        self._decoy = verifiers.decoy(scheme)
        with self._lock:
            self._roster, self._people = roster, people

    @property
    def expires(self) -> datetime | None:
        """When the roster in force stops admitting people; ``None`` without one."""
        with self._lock:
            return self._roster.expires if self._roster else None

    def find(self, person_id: str) -> Person | None:
        """The person of this id, for naming an actor in the trail; grants nothing."""
        with self._lock:
            return self._people.get(person_id)

    def sign_on(
        self, person_id: str, password: str, *, now: datetime, trusted: bool, code: str = ""
    ) -> Person:
        """Check who signs on.

        Args:
            code: one-time code of the second factor, where the roster asks for one.
            now: the car's idea of UTC.
            trusted: whether GPS or central vouches for it; trusted times raise a mark that a
                later ``now`` may not fall behind.

        Raises:
            RefusedError: with ``reason`` one of ``no_roster``, ``clock_moved``,
                ``roster_expired``, ``locked`` (:class:`LockedError`), ``wrong_password`` (also
                for an unknown name), ``code_wanted``, ``wrong_code`` (also one that was used),
                ``frozen``, ``no_operator_role``, ``training_expired``,
                ``not_authorised``.
        """
        now = self._roster_in_time(now, trusted=trusted)
        with self._checking:
            self._refuse_locked(person_id)
            person = self.find(person_id)
            verifier = person.verifier if person else self._decoy
            if not verifiers.fits(verifier, password) or person is None:
                self._failed(person_id)
                raise RefusedError(
                    "Name and password do not fit together.",
                    reason="wrong_password",
                    remedy="check both; five failures in 15 minutes lock the name",
                )
            self._check_code(person, code, now)
            self._failures.pop(person_id, None)
        _refuse_unfit(person, now)
        return person

    def _check_code(self, person: Person, code: str, now: datetime) -> None:
        """The second factor, after the right password (R-CJIS-2)."""
        if not person.totp:
            return
        if not code.strip():  # not a guess, so it does not count as a failure
            raise RefusedError(
                "Give the six-digit code of your authenticator, too.",
                reason="code_wanted",
                remedy="without the device, ask the ALPR administrator to reset it",
            )
        if self._steps is None or not self._steps.use(person.id, person.totp, code, now):
            self._failed(person.id)
            raise RefusedError(
                "The code is wrong, too old, or was used already.",
                reason="wrong_code",
                remedy="wait for the next code; check the clock of phone and car",
            )

    def authorise(self, person_id: str, *, now: datetime) -> Person:
        """The person as the roster in force has it, still fit to see ALPR data (R-460.4-d).

        A roster that has grown stale since does not end a running sign-on; it refuses new ones.

        Raises:
            RefusedError: ``revoked`` (no longer in the roster), ``frozen``,
                ``no_operator_role``, ``training_expired`` or ``not_authorised``.
        """
        person = self.find(person_id)
        if person is None:
            raise RefusedError(
                "Your name is no longer in the roster.",
                reason="revoked",
                remedy="ask the ALPR administrator",
            )
        with self._lock:
            now = max(now, self._latest) if self._latest else now
        _refuse_unfit(person, now)
        return person

    def admit_custodian(self, person_id: str, *, now: datetime, trusted: bool) -> Person:
        """The person under whom the car may collect while nobody is signed on.

        The same roster in time, training and authorisation as for a sign-on, without a password:
        the signed policy names the person (R-460.4-a, R-460.4-d).

        Raises:
            RefusedError: as :meth:`sign_on` and :meth:`authorise`.
        """
        now = self._roster_in_time(now, trusted=trusted)
        return self.authorise(person_id, now=now)

    def _roster_in_time(self, now: datetime, *, trusted: bool) -> datetime:
        with self._lock:
            roster = self._roster
            if roster is None:
                raise RefusedError(
                    "This car has no roster yet.",
                    reason="no_roster",
                    remedy="dock the car so that it fetches the roster",
                )
            # The roster was signed by central, so time cannot be before its issue.
            mark = max(roster.issued, self._latest) if self._latest else roster.issued
            if now < mark - CLOCK_TOLERANCE:
                raise RefusedError(
                    "The car's clock stands before a time it has already seen.",
                    reason="clock_moved",
                    remedy="wait for a GPS fix, or dock the car; then sign on again",
                )
            now = max(now, mark)
            if now >= roster.expires:
                raise RefusedError(
                    "The car's roster is too old to admit anyone.",
                    reason="roster_expired",
                    remedy="dock the car so that it fetches a fresh roster",
                )
            if trusted:
                self._latest = now
        return now

    def _recent(self, person_id: str) -> list[float]:
        since = self._monotonic() - FAILURE_WINDOW_S
        return [at for at in self._failures.get(person_id, []) if at > since]

    def _refuse_locked(self, person_id: str) -> None:
        recent = self._recent(person_id)
        if len(recent) >= MAX_FAILURES:
            left = recent[-1] + FAILURE_WINDOW_S - self._monotonic()
            # Locked for the whole window after the last failure, not until the first one ages.
            self._failures[person_id] = [recent[-1]] * MAX_FAILURES
            raise LockedError(left, began=False)

    def _failed(self, person_id: str) -> None:
        recent = [*self._recent(person_id), self._monotonic()]
        if len(recent) >= MAX_FAILURES:
            recent = [recent[-1]] * MAX_FAILURES
        self._failures[person_id] = recent
        self._failures.move_to_end(person_id)
        while len(self._failures) > _TRACKED_NAMES:
            self._failures.popitem(last=False)
        if len(recent) >= MAX_FAILURES:
            raise LockedError(FAILURE_WINDOW_S, began=True)


def _refuse_unfit(person: Person, now: datetime) -> None:
    if person.frozen:
        raise RefusedError(
            "Your access is frozen while a referral is looked into.",
            reason="frozen",
            remedy="ask the Administration Supervisor (R-460.6-f)",
        )
    if OPERATOR_ROLE not in person.roles:
        raise RefusedError(
            "You are not assigned as an ALPR operator.",
            reason="no_operator_role",
            remedy="ask the Administration Supervisor",
        )
    if now >= person.training_expires:
        raise RefusedError(
            f"Your ALPR training ran out on {person.training_expires:%Y-%m-%d}.",
            reason="training_expired",
            remedy="complete the department's ALPR course",
        )
    if now >= person.authorised_until:
        raise RefusedError(
            f"Your ALPR authorisation ended on {person.authorised_until:%Y-%m-%d}.",
            reason="not_authorised",
            remedy="ask the Administration Supervisor to renew it",
        )
