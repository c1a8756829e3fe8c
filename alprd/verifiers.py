"""Password verifiers, versioned by their own prefix: Argon2id, or PBKDF2-HMAC-SHA-512.

Argon2id is the default (RFC 9106, low-memory profile). Where the agency requires a validated
module (R-CJIS-1), PBKDF2 is made instead; ``cryptography`` computes it in the OpenSSL that it
reports. Both are read wherever a verifier stands, so an agency can change over person by person.

Form of a PBKDF2 verifier: ``$pbkdf2-sha512$i=<iterations>$<salt>$<hash>``, base64 without padding.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from functools import cache
from typing import Final, Literal

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from alprd.errors import InputError

Scheme = Literal["argon2id", "pbkdf2-sha512"]
SCHEMES: Final[tuple[Scheme, ...]] = ("argon2id", "pbkdf2-sha512")
MAX_PASSWORD: Final = 1024
PBKDF2_ITERATIONS: Final = 210_000
"""OWASP's figure for PBKDF2-HMAC-SHA-512 (Password Storage Cheat Sheet, 2023)."""
_MOST_ITERATIONS: Final = 10_000_000
"""More would stall the car; and a verifier below the least protects nothing."""
_LEAST_ITERATIONS: Final = 1_000
_MAX_MEMORY_KIB: Final = 1 << 20
"""A verifier that asks for more memory than 1 GiB would stall the car."""
_PBKDF2: Final = re.compile(
    r"\$pbkdf2-sha512\$i=(?P<i>[0-9]{1,9})\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<hash>[A-Za-z0-9+/]{86})"
)
_hasher: Final = PasswordHasher()


def make(password: str, scheme: Scheme = "argon2id") -> str:
    """A verifier of a password, under a fresh salt.

    Raises:
        InputError: the password is empty or longer than :data:`MAX_PASSWORD` characters.
    """
    if not 0 < len(password) <= MAX_PASSWORD:
        raise InputError(f"a password has 1 to {MAX_PASSWORD} characters")
    if scheme == "argon2id":
        return _hasher.hash(password)
    salt = os.urandom(16)
    derived = _derive(password, salt, PBKDF2_ITERATIONS)
    return f"$pbkdf2-sha512$i={PBKDF2_ITERATIONS}${_text(salt)}${_text(derived)}"


def fits(verifier: str, password: str) -> bool:
    """Whether the password is the verifier's; a verifier that cannot be read fits nothing."""
    if len(password) > MAX_PASSWORD:
        return False
    found = _PBKDF2.fullmatch(verifier)
    try:
        if found is not None:
            if not _LEAST_ITERATIONS <= int(found["i"]) <= _MOST_ITERATIONS:
                return False
            derived = _derive(password, _bytes(found["salt"]), int(found["i"]))
            return hmac.compare_digest(derived, _bytes(found["hash"]))
        return _hasher.verify(verifier, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def check(verifier: str, place: str) -> None:
    """Refuse a verifier that could not be used.

    Args:
        place: where it stands, for the message.

    Raises:
        InputError: neither form, another Argon2 than *id*, or costs out of range.
    """
    found = _PBKDF2.fullmatch(verifier)
    if found is not None:
        if not _LEAST_ITERATIONS <= int(found["i"]) <= _MOST_ITERATIONS:
            raise InputError(
                f"{place}: PBKDF2 iterations are outside {_LEAST_ITERATIONS} to {_MOST_ITERATIONS}"
            )
        try:
            _bytes(found["salt"]), _bytes(found["hash"])
        except binascii.Error:
            raise InputError(f"{place}: the PBKDF2 verifier is not base64") from None
        return
    try:
        parameters = extract_parameters(verifier)
    except InvalidHashError as error:
        raise InputError(
            f"{place}: the password verifier is not Argon2 or PBKDF2-HMAC-SHA-512"
        ) from error
    if parameters.type is not Type.ID or parameters.memory_cost > _MAX_MEMORY_KIB:
        raise InputError(f"{place}: the password verifier is not Argon2id of at most 1 GiB")


@cache
def decoy(scheme: Scheme = "argon2id") -> str:
    """A verifier to check for unknown names, so that they take as long as known ones."""
    return make("nobody has this password", scheme)


def scheme_of(verifier: str) -> Scheme:
    """Which form a verifier has."""
    return "pbkdf2-sha512" if verifier.startswith("$pbkdf2-") else "argon2id"


def _derive(password: str, salt: bytes, iterations: int) -> bytes:
    return PBKDF2HMAC(SHA512(), length=64, salt=salt, iterations=iterations).derive(
        password.encode("utf-8")
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
