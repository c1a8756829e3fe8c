"""Everything central publishes to the car: verified, decrypted in RAM, activated as one.

:mod:`alprd.mirror` brings a whole, signed set to the disk; this module opens it. A set becomes
active only when every target has been decrypted, fits its closed schema and obeys the policy;
until then, and after any error, the old set stays in use and on disk. Content keys, the
suppression key and everything in ``.bin`` targets exist in clear in RAM only.

Rules: R-460.4.1-b (allowed sources), -b4 (whole lists only), R-460.5-b4 (keyed digests only).
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import TargetFile

from alprd.crypto import PublicKey, decrypt_target, public_from_bytes, unwrap_key
from alprd.deltatarget import delta_target
from alprd.downloads import Pace
from alprd.errors import EnvelopeError, InputError, RefusedError
from alprd.hotlist import LoadedList, Matcher, load_hotlist_file
from alprd.mirror import Fetch, Mirror, SetFile
from alprd.patching import patch
from alprd.refusals import TargetsError, translated
from alprd.suppress import SuppressionSet
from alprd.trust import Trust
from alprd.wire import (
    HOTLIST_PREFIX,
    INTAKE_KEYS,
    POLICY,
    ROSTER,
    SUPPRESSION,
    IntakeKeys,
    Policy,
    Roster,
    Suppression,
    Wraps,
    wraps_target,
)

log = logging.getLogger(__name__)
SUPPRESSION_KEY: Final = "suppression-key"
"""Purpose under which the suppression key is wrapped."""
_T = TypeVar("_T", bound=BaseModel)
_NO_PATCH: Final = (EnvelopeError, InputError, TargetsError, DownloadHTTPError, RepositoryError)


@dataclass(frozen=True)
class TargetSet:
    """One whole, verified publication, parsed; swap the whole object."""

    intake_keys: IntakeKeys
    policy: Policy
    roster: Roster
    matcher: Matcher
    suppression: SuppressionSet
    versions: Mapping[str, str]
    """``targets``: version of the publication; each hotlist id: its supplier's version."""

    def intake_key(self, day: date) -> tuple[PublicKey, bool]:
        """The key that seals reads of ``day`` (UTC), and whether it is that day's own.

        A car that has run out of future keys goes on with the last one and says so (False).
        """
        name = day.isoformat()
        keys = sorted(self.intake_keys.keys, key=lambda item: item.day)
        chosen = [item for item in keys if item.day <= name][-1:] or keys[:1]
        return _point(chosen[0].key), chosen[0].day == name


class TargetClient:
    """Fetches, verifies, opens and activates; one user at a time (the sync thread)."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._mirror = Mirror(trust, self._needed, self._rebuild)
        self._lists: dict[str, LoadedList] = {}
        """Parsed lists by SHA-256 of their target, so an unchanged list is not parsed again."""
        self._opened = False

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """Targets that the last download made out of deltas."""
        return self._mirror.rebuilt

    def refresh(
        self, client: httpx.Client, *, clock_agrees: bool, pace: Pace = lambda size: None
    ) -> TargetSet | None:
        """Fetch what is published; the new set, or None when the one in use is still the latest.

        Args:
            client: from :meth:`alprd.trust.Trust.client`.
            clock_agrees: whether system clock and disciplined clock agree. TUF judges expiry by
                the system clock, so nothing is decided while they do not.
            pace: called with the size of each piece of a target that came; may sleep or raise.

        Raises:
            TargetsError: with the reason; the old set is untouched.
            StoreError: the disk cannot be written.
        """
        if not clock_agrees:
            raise TargetsError(
                "the system clock disagrees with GPS and central",
                reason="clock",
            )
        if not self._mirror.refresh(client, pace) and self._opened:
            return None
        new = self._mirror.download()
        try:
            found = self._open_set(*self._mirror.read(new))
            self._mirror.activate(new)
        finally:
            self._mirror.discard(new)  # nothing is left there once it is active
        self._opened = True
        return found

    def load_offline(self) -> TargetSet | None:
        """The last activated set, verified again without contact; None if there never was one.

        Raises:
            TargetsError: files on the disk were altered or do not belong together.
        """
        active = self._mirror.active
        if active is None:
            return None
        found = self._open_set(*self._mirror.read(active))
        self._opened = True
        return found

    def _needed(self, published: Mapping[str, TargetFile]) -> list[str]:
        lists = [name for name in published if name.startswith(HOTLIST_PREFIX)]
        fixed = [INTAKE_KEYS, POLICY, ROSTER, SUPPRESSION, wraps_target(self._trust.vehicle)]
        return fixed + sorted(name for name in lists if name.endswith(".bin"))

    def _open_set(self, version: str, files: Mapping[str, SetFile]) -> TargetSet:
        """Decrypt in RAM, check every schema and rule; big lists a piece at a time."""
        with translated(self._trust.state_dir):
            return self._open(version, files)

    def _open(self, version: str, files: Mapping[str, SetFile]) -> TargetSet:
        trust = self._trust
        own = wraps_target(trust.vehicle)
        wraps = _record(Wraps, own, files[own].read())
        if wraps.vehicle != trust.vehicle:
            raise TargetsError("the key wraps are another car's", reason="wrong-car")
        intake = _record(IntakeKeys, INTAKE_KEYS, files[INTAKE_KEYS].read())
        policy = _record(Policy, POLICY, files[POLICY].read())
        roster = _record(Roster, ROSTER, self._decrypt(ROSTER, files, wraps))
        hidden = _record(Suppression, SUPPRESSION, self._decrypt(SUPPRESSION, files, wraps))
        for name, agency in (
            (INTAKE_KEYS, intake.agency),
            (POLICY, policy.agency),
            (ROSTER, roster.agency),
        ):
            if agency != trust.agency:
                raise TargetsError(f"{name} is another agency's", reason="wrong-car")
        lists: dict[str, LoadedList] = {}
        try:
            for name in files:
                if name.startswith(HOTLIST_PREFIX):
                    digest = files[name].sha256
                    lists[digest] = self._lists.get(digest) or self._load_list(files[name], wraps)
                    if name != f"{HOTLIST_PREFIX}{lists[digest].status.list_id}.bin":
                        raise InputError(f"{name} holds another list")
            if not intake.keys:
                raise InputError(f"{INTAKE_KEYS} holds no key")
            for item in intake.keys:
                _point(item.key)
            found = TargetSet(
                intake_keys=intake,
                policy=policy,
                roster=roster,
                matcher=Matcher(tuple(lists.values()), policy),
                suppression=SuppressionSet(
                    hidden.digests, self._unwrap(wraps.suppression_key, SUPPRESSION_KEY)
                ),
                versions={"targets": version}
                | {item.status.list_id: item.status.version for item in lists.values()},
            )
        except RefusedError as error:
            raise TargetsError(error.message, reason="source", remedy=error.remedy) from error
        except (InputError, EnvelopeError) as error:
            raise TargetsError(error.message, reason="schema", remedy=error.remedy) from error
        self._lists = lists
        return found

    def _rebuild(
        self,
        file: SetFile,
        out: Path,
        active: Mapping[str, SetFile],
        made: Mapping[str, SetFile],
        fetch: Fetch,
    ) -> bool:
        """Make a list out of the one in use and a delta (:class:`alprd.mirror.Rebuild`)."""
        own = wraps_target(self._trust.vehicle)
        old = active.get(file.name)
        if not file.name.startswith(HOTLIST_PREFIX) or old is None or own not in active:
            return False
        name = delta_target(file.name, old.sha256)
        try:
            before = _record(Wraps, own, active[own].read())
            now = _record(Wraps, own, made[own].read())
            if name not in now.targets:
                return False
            data = fetch(name)
            if data is None:
                return False
            key = self._content_key(name, now)
            patch(
                file.name,
                old.path,
                out,
                old_key=self._content_key(file.name, before),
                new_key=self._content_key(file.name, now),
                delta=decrypt_target(data, name=name, key=key),
            )
        except _NO_PATCH as error:
            if isinstance(error, TargetsError) and error.reason not in ("undecryptable", "schema"):
                raise  # the way is cut: the whole list would not come either
            log.warning("%s comes whole: %s", file.name, error)
            return False
        return True

    def _load_list(self, file: SetFile, wraps: Wraps) -> LoadedList:
        key = self._content_key(file.name, wraps)
        try:
            return load_hotlist_file(file.path, name=file.name, key=key)
        except EnvelopeError as error:
            raise TargetsError(error.message, reason="undecryptable") from error

    def _content_key(self, name: str, wraps: Wraps) -> bytes:
        wrapped = wraps.targets.get(name)
        if wrapped is None:
            raise TargetsError(f"no key for {name} is wrapped for this car", reason="undecryptable")
        return self._unwrap(wrapped, name)

    def _decrypt(self, name: str, files: Mapping[str, SetFile], wraps: Wraps) -> bytes:
        key = self._content_key(name, wraps)
        try:
            return decrypt_target(files[name].read(), name=name, key=key)
        except EnvelopeError as error:
            raise TargetsError(error.message, reason="undecryptable") from error

    def _unwrap(self, wrapped: str, purpose: str) -> bytes:
        try:
            return unwrap_key(wrapped, purpose=purpose, key=self._trust.wrap_key)
        except RefusedError as error:
            raise TargetsError(error.message, reason="locked", remedy=error.remedy) from error
        except EnvelopeError as error:
            raise TargetsError(error.message, reason="undecryptable") from error


def _point(text: str) -> PublicKey:
    try:
        return public_from_bytes(base64.urlsafe_b64decode(text))
    except ValueError as error:
        raise EnvelopeError("intake key is not base64url") from error


def _record(model: type[_T], name: str, data: bytes) -> _T:
    try:
        return model.model_validate_json(data)
    except ValidationError:
        # The cause quotes input, which may hold names: it must not travel into logs.
        raise TargetsError(f"{name} does not fit its closed schema", reason="schema") from None
