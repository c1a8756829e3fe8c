"""One-time codes of a second factor (RFC 6238): HMAC-SHA-1, six digits, steps of 30 s.

A code is good for its own step and one on either side, for clocks that differ; a step that has
been used, and every one before it, is refused for ever (RFC 6238, section 5.2), also after a power
cut: the last step of each person is kept in the car's store (R-CJIS-2).

SHA-1 is what the phone apps compute. Its broken collision resistance is of no use against HMAC.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from alprd.errors import InputError

STEP_S: Final = 30
DIGITS: Final = 6
WINDOW: Final = 1
"""Steps before and after the present one whose codes are taken."""
SECRET_BYTES: Final = 20
"""As long as SHA-1's output (RFC 4226, section 4)."""
_SHA1: Final = SHA1()  # noqa: S303 - inside HMAC; see above
_SHORTEST: Final = 16
_META: Final = "totp-step:"


class StepStore(Protocol):
    """Where the last used steps lie; :class:`alprd.store.Store` has it."""

    def transaction(self) -> AbstractContextManager[Any]:
        """One transaction; nests."""

    def get_meta(self, key: str) -> str | None:
        """A small fact."""

    def set_meta(self, key: str, value: str) -> None:
        """Keep a small fact."""


def new_secret() -> str:
    """A fresh secret in base32, as a phone app takes it."""
    return base64.b32encode(os.urandom(SECRET_BYTES)).decode()


def decode_secret(secret: str) -> bytes:
    """The bytes of a base32 secret.

    Raises:
        InputError: not base32, or shorter than 128 bits.
    """
    try:
        key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _SHORTEST:
        raise InputError(
            "the TOTP secret is not base32 of at least 128 bits",
            remedy="make a new one: alprd-central people reset-totp",
        )
    return key


def uri(secret: str, *, agency: str, person: str) -> str:
    """``otpauth://`` address for a phone app (as QR code or typed in)."""
    label = f"{quote(agency)}:{quote(person)}"
    return f"otpauth://totp/{label}?secret={secret}&issuer={quote(agency)}"


def code_at(secret: str, step: int) -> str:
    """The code of a step (seconds since 1970 divided by 30)."""
    made = TOTP(decode_secret(secret), DIGITS, _SHA1, STEP_S, enforce_key_length=False)
    return made.generate(step * STEP_S).decode()


def matching_step(secret: str, code: str, now: datetime, *, last: int | None = None) -> int | None:
    """The step whose code this is, or None.

    Args:
        now: UTC of the car.
        last: the newest step this person has used: it and all before it are refused.
    """
    code = code.replace(" ", "")
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    present = int(now.timestamp()) // STEP_S
    found: int | None = None
    for step in range(present - WINDOW, present + WINDOW + 1):
        same = hmac.compare_digest(code_at(secret, step), code) if step >= 0 else False
        if same and (last is None or step > last):
            found = step
    return found


class StepBook:
    """Which step each person used last. Used by one sign-on at a time."""

    def __init__(self, store: StepStore) -> None:
        self._store = store

    def use(self, person: str, secret: str, code: str, now: datetime) -> bool:
        """Whether the code is good; if so it never is again.

        Raises:
            InputError: the secret in the roster is unusable.
            StoreError: the use could not be written down, so the code does not count.
        """
        with self._store.transaction():
            kept = self._store.get_meta(_META + person)
            step = matching_step(secret, code, now, last=int(kept) if kept else None)
            if step is None:
                return False
            self._store.set_meta(_META + person, str(step))
        return True
