"""The car's wrap key at rest: encrypted, and released by contact, by a sign-on or by a TPM.

The wrap key opens the content keys and the suppression key of everything published for the car,
so whoever has it and the disk has lists, roster and suppression digests. On the disk it therefore
lies encrypted under a random key that is nowhere on the disk, the KEK; this one lies wrapped in
*slots*, each of which one secret opens that is not on the disk either (R-460.5-b4, R-460.6-0)::

    contact      a secret that central derives for this enrolment and tells over mutual TLS; a
                 revoked car, or one that is ordered to kill itself, is not told
    person       the password of somebody who has signed on in this car, through Argon2id
                 (RFC 9106: 64 MiB, 3 passes, 4 lanes) or, for a person whose roster entry holds
                 a PBKDF2 verifier (R-CJIS-1), PBKDF2-HMAC-SHA-512; gone when the person leaves
                 the roster or has another password
    credential   systemd's credential ``alprd-unlock-key``, which this machine's TPM alone opens

``keys/wrap.locked`` holds all of it and is replaced whole. A clear ``keys/wrap.key`` of an earlier
version is taken over at the first contact, or by the credential, and destroyed. Until the KEK is
released nothing can be matched or suppressed, so nothing is collected; purge, doctor and the dock
go on. A thief who holds the disk still has the TLS key that asks central: contact ends with the
revocation, not before it (``docs/secrets.md``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from pydantic import ValidationError

from alprd import verifiers
from alprd.crypto import (
    PrivateKey,
    decrypt_target,
    encrypt_target,
    load_private,
    sha256_hex,
    write_secret,
)
from alprd.errors import AlprdError, EnvelopeError, InputError, RefusedError, StoreError
from alprd.records import Closed
from alprd.shred import destroy
from alprd.wire import Person

log = logging.getLogger(__name__)

CREDENTIAL: Final = "alprd-unlock-key"
CLEAR: Final = "wrap.key"
LOCKED: Final = "wrap.locked"
MOST_PEOPLE: Final = 64
"""Slots of people; the oldest gives way."""
ADVICE: Final = "dock the car, or sign on as someone who has used this car"
SECRET_BYTES: Final = 32
_REMNANT: Final = ".wrap.locked.old"

Machine = Literal["contact", "credential"]
SlotKind = Literal["contact", "credential", "person"]


class Slot(Closed):
    """One way to the KEK."""

    kind: SlotKind
    name: str = ""
    """Of a person: a digest, so that the disk names nobody."""
    scheme: verifiers.Scheme = "argon2id"
    salt: str = ""
    mark: str = ""
    """Of a person: digest of the roster's verifier under the KEK; another one, another password."""
    kek: str


class LockedKey(Closed):
    """``wrap.locked``."""

    version: Literal[1] = 1
    salt: str
    """Hex, for the digests of names."""
    sealed: str
    """The wrap key (PKCS#8 DER) under the KEK."""
    slots: tuple[Slot, ...]


class Locker:
    """Holds the wrap key, once it is released. Thread-safe.

    Args:
        folder: ``<state>/keys``.
        clear: the wrap key, where it is not locked away.
    """

    def __init__(
        self, folder: Path, *, clear: PrivateKey | None = None, record: LockedKey | None = None
    ) -> None:
        self._folder = folder
        self._wrap = clear
        self._record = record
        self._kek = bytearray()
        self._lock = threading.RLock()
        self.on_open: Callable[[], None] = lambda: None
        """Called without locks after the KEK was released; what it raises is only logged."""
        self.settled = False
        """Whether central's slot is known to be good since this start."""

    @classmethod
    def load(cls, folder: Path) -> Locker:
        """What lies in the folder; a clear key, where there still is one, is open at once.

        Raises:
            StoreError: missing, damaged, or readable by others.
        """
        path = folder / LOCKED
        # Both: power was cut in the middle of the take-over, which then is done again.
        if (folder / CLEAR).exists() or not path.exists():
            return cls(folder, clear=load_private(folder / CLEAR))
        try:
            if path.stat().st_mode & 0o077:
                raise StoreError(
                    f"key file {path} is readable by others", remedy=f"chmod 600 {path}"
                )
            record = LockedKey.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}", remedy="enrol the car again") from error
        except ValidationError:
            raise StoreError(f"key file {path} is damaged", remedy="enrol the car again") from None
        return cls(folder, record=record)

    @property
    def locked(self) -> bool:
        """Whether the wrap key still waits for its release."""
        return self._wrap is None

    @property
    def encrypted(self) -> bool:
        """Whether the key on the disk is encrypted."""
        return self._record is not None

    @property
    def ways(self) -> dict[str, int]:
        """How many slots there are of each kind."""
        kinds = [slot.kind for slot in self._record.slots] if self._record else []
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    @property
    def alarm(self) -> str | None:
        """For the deputy, while it is locked."""
        return f"This car's lists are locked: {ADVICE}" if self.locked else None

    def wrap_key(self) -> PrivateKey:
        """The wrap key.

        Raises:
            RefusedError: ``car_locked``: not released yet, or wiped from RAM.
        """
        key = self._wrap
        if key is None:
            raise _locked()
        return key

    # --- ways to the KEK --------------------------------------------------------------------

    def release(self, kind: Machine, secret: bytes) -> None:
        """Central or the TPM gives its secret: opens what is locked, else keeps the slot good.

        Raises:
            InputError: the secret is too short to be one.
            RefusedError: ``car_locked``: it opens nothing here.
            StoreError: the disk refuses; what was open stays open.
        """
        if len(secret) < SECRET_BYTES:
            raise InputError(f"the {kind} secret is shorter than {SECRET_BYTES} bytes")
        key = hashlib.sha256(f"alprd unlock {kind} v1\0".encode() + secret).digest()
        with self._lock:
            was_locked = self.locked
            if self._record is None:
                self._take_over(kind, key)
            elif not self._opens(kind, key):
                if was_locked:
                    raise _locked()
                others = [slot for slot in self._record.slots if slot.kind != kind]
                self._save([*others, self._slot(kind, key)])
            self.settled = self.settled or kind == "contact"
        if was_locked:
            self._tell(kind)

    def by_credential(self) -> None:
        """Use systemd's credential, if this service was handed one.

        Raises:
            InputError: it is no key.
            StoreError: it cannot be read, or the disk refuses.
        """
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        path = Path(folder) / CREDENTIAL if folder else None
        if path is None or not path.exists():
            return
        try:
            self.release("credential", path.read_bytes())
        except RefusedError:
            log.error("credential %s does not open this car's keys", CREDENTIAL)
        except OSError as error:
            raise StoreError(f"credential {CREDENTIAL}: {error.strerror}") from error

    def knows(self, person_id: str) -> bool:
        """Whether the person has a slot."""
        return self._find(person_id) is not None

    def open_for(self, person_id: str, password: str) -> None:
        """Try a person's password; nothing happens while nothing is locked.

        An unknown name takes as long, and reads the same, as a wrong password.

        Raises:
            RefusedError: ``car_locked``.
        """
        with self._lock:
            if not self.locked:
                return
            slot = self._find(person_id)
            salt = bytes(16) if slot is None else _bytes(slot.salt)
            key = _stretch(password, salt, "argon2id" if slot is None else slot.scheme)
            if slot is None or not self._open_with(slot, key):
                raise _locked()
        self._tell("person")

    def keep(self, person: Person, password: str) -> None:
        """Make or renew the slot of somebody who has just signed on with this password.

        Nothing happens before the key on the disk is encrypted.

        Raises:
            StoreError: the disk refuses.
        """
        with self._lock:
            if self._record is None or not self._kek:
                return
            mark = self._mark(person.verifier)
            old = self._find(person.id)
            if old is not None and hmac.compare_digest(old.mark, mark):
                return
            name, salt = _name(self._record, person.id), os.urandom(16)
            scheme = verifiers.scheme_of(person.verifier)
            slot = self._slot("person", _stretch(password, salt, scheme), name=name)
            slot = slot.model_copy(update={"scheme": scheme, "salt": _text(salt), "mark": mark})
            others = [item for item in self._record.slots if item is not old]
            people = [item for item in others if item.kind == "person"]
            for oldest in people[: max(0, len(people) + 1 - MOST_PEOPLE)]:
                others.remove(oldest)
            self._save([*others, slot])

    def prune(self, people: Iterable[Person]) -> None:
        """A roster is in force: slots of people who left it, or have another password, go.

        Raises:
            StoreError: the disk refuses.
        """
        with self._lock:
            if self._record is None or not self._kek:
                return
            good = {
                (_name(self._record, one.id), self._mark(one.verifier))
                for one in people
                if not one.frozen
            }
            kept = [
                slot
                for slot in self._record.slots
                if slot.kind != "person" or (slot.name, slot.mark) in good
            ]
            if len(kept) != len(self._record.slots):
                self._save(kept)

    def close(self) -> None:
        """Overwrite the KEK in RAM and let go of the wrap key."""
        with self._lock:
            self._kek[:] = bytes(len(self._kek))
            self._kek = bytearray()
            self._wrap = None

    # --- inside, under the lock -------------------------------------------------------------

    def _tell(self, kind: str) -> None:
        log.info("the car's keys are released: %s", kind)
        try:
            self.on_open()
        except AlprdError as error:
            log.error("after the release: %s", error.diagnostics())

    def _find(self, person_id: str) -> Slot | None:
        record = self._record
        if record is None:
            return None
        name = _name(record, person_id)
        return next((s for s in record.slots if s.kind == "person" and s.name == name), None)

    def _opens(self, kind: Machine, key: bytes) -> bool:
        slots = self._record.slots if self._record else ()
        return any(slot.kind == kind and self._open_with(slot, key) for slot in slots)

    def _open_with(self, slot: Slot, key: bytes) -> bool:
        if self._record is None:
            return False
        try:
            kek = decrypt_target(_bytes(slot.kek), name=_label(slot.kind, slot.name), key=key)
            der = decrypt_target(_bytes(self._record.sealed), name=_label("wrap", ""), key=kek)
            wrap = serialization.load_der_private_key(der, password=None)
        except (EnvelopeError, ValueError):
            return False
        if not isinstance(wrap, ec.EllipticCurvePrivateKey):
            return False
        if self.locked:
            self._kek, self._wrap = bytearray(kek), wrap
        return True

    def _take_over(self, kind: Machine, key: bytes) -> None:
        """Lock a clear key away: durable first, then the clear one is destroyed."""
        der = self.wrap_key().private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._kek = bytearray(os.urandom(SECRET_BYTES))
        sealed = encrypt_target(der, name=_label("wrap", ""), key=bytes(self._kek))
        self._record = LockedKey(salt=os.urandom(16).hex(), sealed=_text(sealed), slots=())
        try:
            self._save([self._slot(kind, key)])
        except StoreError:
            self._record, self._kek = None, bytearray()
            raise
        destroy(self._folder / CLEAR)

    def _slot(self, kind: SlotKind, key: bytes, *, name: str = "") -> Slot:
        sealed = encrypt_target(bytes(self._kek), name=_label(kind, name), key=key)
        return Slot(kind=kind, name=name, kek=_text(sealed))

    def _mark(self, verifier: str) -> str:
        return hmac.digest(self._kek, b"alprd slot v1\0" + verifier.encode(), "sha256").hex()

    def _save(self, slots: list[Slot]) -> None:
        """Put new slots on the disk; the file with the former ones is overwritten."""
        if self._record is None:
            return
        record = self._record.model_copy(update={"slots": tuple(slots)})
        path, old = self._folder / LOCKED, self._folder / _REMNANT
        try:
            destroy(old)
            if path.exists():
                old.hardlink_to(path)
            write_secret(path, record.model_dump_json().encode())
        except OSError as error:
            raise StoreError(
                f"{path}: {error.strerror}", remedy="check disk and owner: alprd doctor"
            ) from error
        self._record = record
        destroy(old)


def _locked() -> RefusedError:
    return RefusedError(
        "This car's lists are locked, and name and password do not open them.",
        reason="car_locked",
        remedy=ADVICE,
    )


def _label(kind: str, name: str) -> str:
    return f"unlock {kind} {name}"


def _name(record: LockedKey, person_id: str) -> str:
    return sha256_hex(f"alprd slot {record.salt} {person_id}".encode())


def _stretch(password: str, salt: bytes, scheme: verifiers.Scheme) -> bytes:
    data = password[: verifiers.MAX_PASSWORD].encode("utf-8", "replace")
    if scheme == "pbkdf2-sha512":
        return PBKDF2HMAC(SHA512(), 32, salt, verifiers.PBKDF2_ITERATIONS).derive(data)
    return hash_secret_raw(
        data, salt, time_cost=3, memory_cost=65_536, parallelism=4, hash_len=32, type=Type.ID
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
