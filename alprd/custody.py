"""Collecting while nobody is signed on: under whom, and what becomes of a hit meanwhile.

By default a car collects only with a signed-on, trained operator. The *signed* policy may allow
unattended collection under the car's named custodian (R-460.4-a, T-25); the person must stand in
the roster with the operator's role, current training and authorisation, like anyone who signs on
(R-460.4-d), and the session then runs under that name and an official purpose of the policy.

A hit meanwhile is shown to nobody. It is *held*: sealed under the local alert key, and opened at
the next sign-on, when the plate is compared anew with the lists and suppressions then in force. A
hit that no longer stands is destroyed unseen; what is shown carries its own instant, so that the
page tells its age. Whatever is not shown by then expires with its read.

The local alert key lies in RAM and dies with the process, and the held hits with it: a key on the
disk beside them would make each one a readable read in a thief's hands. Where systemd hands the
daemon a credential named ``alprd-alert-key`` (sealed to the TPM), that is the key, and held hits
survive the ignition in ``<state>/held/``. A hit of a covered plate (R-460.5-b3) never reaches a
disk at all, and in RAM it looks like any other (R-460.5-b4).
"""

from __future__ import annotations

import base64
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from alprd.alerts import AlertBoard
from alprd.audit import DAEMON, Actor, Event, Trail
from alprd.crypto import decrypt_target, encrypt_target, sha256_hex, write_secret
from alprd.errors import EnvelopeError, InputError, RefusedError
from alprd.frames import PlateReading
from alprd.records import Closed, Id, Uncached, Utc, destroy_by, new_id
from alprd.roster import PURPOSES, RosterBook
from alprd.shred import destroy
from alprd.suppress import decide
from alprd.targets import TargetSet
from alprd.wire import Policy

log = logging.getLogger(__name__)

CUSTODIAN_ROLE: Final = "custodian"
CREDENTIAL: Final = "alprd-alert-key"
MOST_HELD: Final = 200
_PADDED: Final = 16_384
_READING: Final = TypeAdapter(PlateReading)
_HELD_READING: Final = Uncached[PlateReading]


def custodian(
    policy: Policy, vehicle: str, roster: RosterBook, *, now: datetime, trusted: bool
) -> tuple[Actor, str]:
    """Under whom, and for which purpose, this car may collect with nobody signed on.

    Raises:
        RefusedError: ``unattended_off`` (the default), ``no_custodian``, ``no_purpose``, or a
            reason of the roster.
    """
    if not policy.unattended:
        raise RefusedError(
            "The policy does not allow collecting while nobody is signed on.",
            reason="unattended_off",
            remedy="sign on",
        )
    person_id = policy.custodians.get(vehicle, policy.custodian)
    if not person_id:
        raise RefusedError(
            "The policy names no custodian for this car.",
            reason="no_custodian",
            remedy="name one in the policy at central and publish",
        )
    if policy.unattended_purpose not in PURPOSES:
        raise RefusedError(
            "The policy names no official purpose for unattended collection.",
            reason="no_purpose",
            remedy="set unattended_purpose in the policy at central and publish (R-460.3-1)",
        )
    person = roster.admit_custodian(person_id, now=now, trusted=trusted)
    return Actor(person.id, person.name, CUSTODIAN_ROLE), policy.unattended_purpose


def local_alert_key() -> tuple[bytes, bool]:
    """The key that seals held hits, and whether it outlives the process.

    Raises:
        InputError: a credential is given and is no key.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL if folder else None
    if path is None or not path.exists():
        return os.urandom(32), False
    secret = path.read_bytes()
    if len(secret) < 32:
        raise InputError(
            f"credential {CREDENTIAL} is shorter than 32 bytes",
            remedy="make it with: head -c 32 /dev/urandom | systemd-creds encrypt …",
        )
    return bytes.fromhex(sha256_hex(b"alprd alert key v1\0" + secret)), True


class Held(Closed):
    """One hit as it is sealed."""

    camera: str
    pass_id: str
    reading: str
    """JSON of the :class:`PlateReading`."""
    instant: Utc
    time_trusted: bool
    session: Id
    suppressed: bool
    plate_jpeg: str
    wide_jpeg: str | None


@dataclass(frozen=True, slots=True)
class _Sealed:
    data: bytes
    instant: datetime
    expires: datetime
    category: str


class HeldAlerts:
    """Hits that wait for a person; any thread.

    Args:
        folder: where they lie when the key outlives the process.
        key, lasting: see :func:`local_alert_key`.
        monotonic_ns: the clock of frames.
    """

    def __init__(
        self,
        trail: Trail,
        board: AlertBoard,
        *,
        folder: Path,
        key: tuple[bytes, bool],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._trail = trail
        self._board = board
        self._folder = folder
        self._key, self._lasting = key
        self._monotonic_ns = monotonic_ns
        self._lock = threading.Lock()
        self._sealed: dict[str, _Sealed] = {}
        self.holding = False
        """Whether nobody is signed on and hits are held; set by who begins and ends sessions."""
        self._recover()

    def __len__(self) -> int:
        return len(self._sealed)

    def hold(
        self,
        *,
        pass_id: str,
        camera: str,
        reading: PlateReading,
        category: str,
        plate_jpeg: bytes,
        wide_jpeg: bytes | None,
        instant: datetime,
        time_trusted: bool,
        session: str,
        life: timedelta,
        suppressed: bool,
    ) -> str:
        """Seal one hit; its id. The oldest gives way when there are too many.

        Args:
            life: of the read; the hit ends with it.
            suppressed: the plate is covered: kept in RAM only.

        Raises:
            AuditError: not recorded, so not held.
        """
        held = Held(
            camera=camera,
            pass_id=pass_id,
            reading=_READING.dump_json(reading).decode(),
            instant=instant,
            time_trusted=time_trusted,
            session=session,
            suppressed=suppressed,
            plate_jpeg=base64.b64encode(plate_jpeg).decode(),
            wide_jpeg=None if wide_jpeg is None else base64.b64encode(wide_jpeg).decode(),
        )
        name = new_id()
        plain = held.model_dump_json().encode()
        plain += b" " * (-len(plain) % _PADDED)  # its exact length could tell what is in it
        data = self._seal(name, plain)
        expires = destroy_by(instant, life)
        with self._lock:
            self._trail.record(
                Event.ALERT_HELD, session=session, subjects=(name,), detail={"category": category}
            )
            self._sealed[name] = _Sealed(data, instant, expires, category)
            if self._lasting:
                # Of a covered plate goes nothing; a file of its size, so that none is missing.
                self._keep(
                    name, self._seal(name, bytes(len(plain))) if suppressed else data, expires
                )
            while len(self._sealed) > MOST_HELD:
                oldest = min(self._sealed, key=lambda item: self._sealed[item].instant)
                self._end((oldest,), "full")
        return name

    def release(self, targets: TargetSet, now: datetime, actor: Actor) -> int:
        """Show what is held to who has just signed on, oldest first; how many stand.

        Raises:
            AuditError: not recorded; what was not yet shown stays held.
        """
        with self._lock:
            shown = 0
            for name in sorted(self._sealed, key=lambda item: self._sealed[item].instant):
                shown += self._show(name, targets, now, actor)
        return shown

    def reconsider(self, targets: TargetSet, now: datetime) -> None:
        """New lists and suppressions are in force: what alerts no longer ends (R-460.5-b2).

        Raises:
            AuditError: not recorded; it stays held, and is compared again when it is shown.
        """
        with self._lock:
            for name in list(self._sealed):
                held, reading = self._open(name)
                covered = held.suppressed or targets.suppression.covers(reading)
                if not decide(covered, targets.matcher.match(reading, now)).alerts:
                    self._end((name,), "no-longer-matches")
                elif covered and self._lasting:
                    size = len(self._sealed[name].data)
                    void = self._seal(name, bytes(size - len(self._seal(name, b""))))
                    self._keep(name, void, self._sealed[name].expires)

    def expire(self, now: datetime) -> int:
        """Destroy hits whose read is past its life; how many."""
        with self._lock:
            over = [name for name, item in self._sealed.items() if item.expires <= now]
            self._end(over, "expired")
        return len(over)

    # --- inside, under the lock -----------------------------------------------------------

    def _show(self, name: str, targets: TargetSet, now: datetime, actor: Actor) -> bool:
        held, reading = self._open(name)
        covered = held.suppressed or targets.suppression.covers(reading)
        alerts = decide(covered, targets.matcher.match(reading, now)).alerts
        if not alerts:
            self._end((name,), "no-longer-matches")
            return False
        self._trail.record(
            Event.ALERT_RELEASED,
            actor,
            session=held.session,
            subjects=(name,),
            detail={"age_s": max(0, round((now - held.instant).total_seconds()))},
        )
        age_ns = max(0, round((now - held.instant).total_seconds() * 1e9))
        for match in alerts:
            self._board.raise_alert(
                pass_id=held.pass_id,
                camera=held.camera,
                reading=reading,
                match=match,
                plate_jpeg=base64.b64decode(held.plate_jpeg),
                wide_jpeg=None if held.wide_jpeg is None else base64.b64decode(held.wide_jpeg),
                instant=held.instant,
                time_trusted=held.time_trusted,
                captured_mono_ns=max(0, self._monotonic_ns() - age_ns),
                session=held.session,
                suppressed=covered,
            )
        self._forget(name)
        return True

    def _seal(self, name: str, plain: bytes) -> bytes:
        return encrypt_target(plain, name=_label(name), key=self._key)

    def _open(self, name: str) -> tuple[Held, PlateReading]:
        plain = decrypt_target(self._sealed[name].data, name=_label(name), key=self._key)
        held = Held.model_validate_json(plain)
        return held, _HELD_READING.model_validate_json(held.reading).root

    def _end(self, names: list[str] | tuple[str, ...], why: str) -> None:
        if names:
            self._trail.record(
                Event.ALERT_HELD_ENDED, DAEMON, subjects=tuple(names), detail={"why": why}
            )
        for name in names:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._sealed.pop(name, None)
        destroy(self._folder / name)

    def _keep(self, name: str, data: bytes, expires: datetime) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_secret(self._folder / name, expires.isoformat().encode() + b"\n" + data)
        except OSError as error:
            log.error("a held hit stays in memory only: %s", error.strerror)

    def _recover(self) -> None:
        """Take up what an earlier start held; the rest is destroyed, and nothing tells of it."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.iterdir()):
            try:
                stamp, data = path.read_bytes().split(b"\n", 1)
                expires = datetime.fromisoformat(stamp.decode())
                self._sealed[path.name] = _Sealed(data, expires, expires, "")
                held, _ = self._open(path.name)
                self._sealed[path.name] = _Sealed(data, held.instant, expires, "")
            except (ValueError, EnvelopeError, ValidationError, OSError):
                self._sealed.pop(path.name, None)
                destroy(path)


def _label(name: str) -> str:
    return f"held-{name}"
