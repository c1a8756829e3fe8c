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
from functools import cache
from types import MappingProxyType
from typing import Final

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from alprd.errors import InputError, RefusedError
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
MAX_PASSWORD: Final = 1024
_TRACKED_NAMES: Final = 1024
"""Names whose failures are remembered; the oldest is forgotten first."""
_MAX_MEMORY_KIB: Final = 1 << 20
"""A verifier that asks for more memory than 1 GiB would stall the car."""

_hasher: Final = PasswordHasher()


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
    if not 0 < len(password) <= MAX_PASSWORD:
        raise InputError(f"a password has 1 to {MAX_PASSWORD} characters")
    return _hasher.hash(password)


@cache
def _decoy() -> str:
    """Verifier checked for unknown names, so that they take as long as known ones."""
    return _hasher.hash("nobody has this password")


def _check_verifier(verifier: str, place: str) -> None:
    try:
        parameters = extract_parameters(verifier)
    except InvalidHashError as error:
        raise InputError(f"{place}: the password verifier is not Argon2") from error
    if parameters.type is not Type.ID or parameters.memory_cost > _MAX_MEMORY_KIB:
        raise InputError(f"{place}: the password verifier is not Argon2id of at most 1 GiB")


class RosterBook:
    """The roster in force, with sign-on. Thread-safe.

    Args:
        monotonic: seconds that no clock change can move; times the lock-out.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # Password checks one at a time: Argon2 takes 64 MiB each, and parallel guesses must not
        # slip past the failure count.
        self._checking = threading.Lock()
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
            _check_verifier(person.verifier, place)
            people[person.id] = person
        _decoy()
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

    def sign_on(self, person_id: str, password: str, *, now: datetime, trusted: bool) -> Person:
        """Check who signs on.

        Args:
            now: the car's idea of UTC.
            trusted: whether GPS or central vouches for it; trusted times raise a mark that a
                later ``now`` may not fall behind.

        Raises:
            RefusedError: with ``reason`` one of ``no_roster``, ``clock_moved``,
                ``roster_expired``, ``locked`` (:class:`LockedError`), ``wrong_password`` (also
                for an unknown name), ``no_operator_role``, ``training_expired``,
                ``not_authorised``.
        """
        now = self._roster_in_time(now, trusted=trusted)
        with self._checking:
            self._refuse_locked(person_id)
            person = self.find(person_id)
            verifier = person.verifier if person else _decoy()
            fits = _verify(verifier, password)
            if person is None or not fits:
                self._failed(person_id)
                raise RefusedError(
                    "Name and password do not fit together.",
                    reason="wrong_password",
                    remedy="check both; five failures in 15 minutes lock the name",
                )
            self._failures.pop(person_id, None)
        _refuse_unfit(person, now)
        return person

    def authorise(self, person_id: str, *, now: datetime) -> Person:
        """The person as the roster in force has it, still fit to see ALPR data (R-460.4-d).

        A roster that has grown stale since does not end a running sign-on; it refuses new ones.

        Raises:
            RefusedError: ``revoked`` (no longer in the roster), ``no_operator_role``,
                ``training_expired`` or ``not_authorised``.
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


def _verify(verifier: str, password: str) -> bool:
    if len(password) > MAX_PASSWORD:
        return False
    try:
        return _hasher.verify(verifier, password)
    except (VerificationError, UnicodeEncodeError):
        return False


def _refuse_unfit(person: Person, now: datetime) -> None:
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
