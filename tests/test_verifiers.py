"""Password verifiers of both kinds."""

from __future__ import annotations

import base64
import hashlib

import pytest

from alprd import verifiers
from alprd.errors import InputError


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize("scheme", verifiers.SCHEMES)
def test_both_kinds_fit_their_password_alone(scheme: verifiers.Scheme) -> None:
    made = verifiers.make("a long invented phrase", scheme)
    verifiers.check(made, "here")
    assert verifiers.scheme_of(made) == scheme
    assert verifiers.fits(made, "a long invented phrase")
    assert not verifiers.fits(made, "a long invented phrasE")
    assert not verifiers.fits(made, "x" * 2000)
    assert made != verifiers.make("a long invented phrase", scheme), "each has its own salt"


def test_pbkdf2_is_that_of_the_standard_library() -> None:
    made = verifiers.make("phrase", "pbkdf2-sha512")
    _, _, iterations, salt, derived = made.split("$")
    salted = base64.b64decode(salt + "==")
    expected = hashlib.pbkdf2_hmac("sha512", b"phrase", salted, int(iterations[2:]))
    assert base64.b64decode(derived + "==") == expected


@pytest.mark.parametrize(
    "verifier",
    [
        "", "plain", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$pbkdf2-sha512$i=1$" + "A" * 22 + "$" + "A" * 86,
        "$pbkdf2-sha512$i=999999999$" + "A" * 22 + "$" + "A" * 86,
        "$pbkdf2-sha512$i=210000$" + "A" * 22 + "$" + "A" * 85,
    ],
)  # fmt: skip
def test_an_unusable_verifier_is_refused(verifier: str) -> None:
    with pytest.raises(InputError, match="here: "):
        verifiers.check(verifier, "here")
    assert not verifiers.fits(verifier, "phrase")
