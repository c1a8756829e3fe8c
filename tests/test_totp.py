"""One-time codes against RFC 6238's own figures, and no code twice."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alprd import totp
from alprd.errors import InputError
from alprd.store import Store

NOW = datetime(2026, 11, 22, 18, 0, 10, tzinfo=UTC)
RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("seconds", "code"),
    # RFC 6238, appendix B, SHA-1 rows: the last six of the eight digits.
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    assert totp.code_at(RFC_SECRET, seconds // 30) == code
    assert totp.matching_step(RFC_SECRET, code, datetime.fromtimestamp(seconds, UTC)) is not None


@pytest.mark.policy("R-CJIS-2")
def test_a_code_lives_one_step_either_way_and_works_once(tmp_path: Path) -> None:
    secret, step = totp.new_secret(), int(NOW.timestamp()) // 30
    for off, good in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        code = totp.code_at(secret, step + off)
        if code in {totp.code_at(secret, step + other) for other in (-1, 0, 1)} and not good:
            continue  # one chance in 10^6: the same digits in two steps
        assert (totp.matching_step(secret, code, NOW) is not None) is good
    store = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="unit-12")
    code = totp.code_at(secret, step)
    assert totp.StepBook(store).use("dep.one", secret, code, NOW)
    assert not totp.StepBook(store).use("dep.one", secret, code, NOW)
    store.close()
    # Also after a power cut, and never an earlier step.
    again = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="unit-12")
    book = totp.StepBook(again)
    assert not book.use("dep.one", secret, code, NOW)
    assert not book.use("dep.one", secret, totp.code_at(secret, step - 1), NOW)
    assert book.use("dep.two", secret, code, NOW), "steps are each person's own"
    later = NOW + timedelta(seconds=30)
    assert book.use("dep.one", secret, totp.code_at(secret, step + 1), later)
    again.close()


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "１２３４５６", "12 34"])
def test_what_is_no_code_is_refused(code: str) -> None:
    assert totp.matching_step(RFC_SECRET, code, NOW) is None


@pytest.mark.parametrize("secret", ["", "AAAA", "not base32!", "1" * 32])
def test_a_secret_must_be_long_enough(secret: str) -> None:
    with pytest.raises(InputError, match="TOTP secret"):
        totp.decode_secret(secret)


def test_the_address_for_a_phone_names_agency_and_person() -> None:
    made = totp.uri("ABCDEFGH", agency="becker mn", person="dep.one")
    assert made == "otpauth://totp/becker%20mn:dep.one?secret=ABCDEFGH&issuer=becker%20mn"
