"""Envelope, signatures, targets and wraps."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import read
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd import crypto
from alprd.errors import EnvelopeError, SignatureError, StoreError
from alprd.records import new_id
from alprd.wire import Permit

KEY = crypto.generate_key()
READ = read()
ENVELOPE = crypto.seal_read(READ, agency="becker", vehicle="car-1", intake_key=KEY.public_key())


def test_what_is_sealed_comes_out_whole() -> None:
    assert crypto.open_read(ENVELOPE, KEY) == READ


def test_a_read_without_a_wide_picture_comes_out_whole() -> None:
    bare = read(wide_picture=None, position=None)
    sealed = crypto.seal_read(bare, agency="a", vehicle="v", intake_key=KEY.public_key())
    assert crypto.open_read(sealed, KEY) == bare


def test_layout_is_the_one_that_the_docstring_draws() -> None:
    assert ENVELOPE[:6] == b"ALRE\x01\x01"
    assert ENVELOPE[6:14].hex() == crypto.key_id(KEY) == crypto.envelope_key_id(ENVELOPE)
    length = int.from_bytes(ENVELOPE[14:16], "big")
    assert ENVELOPE[16 : 16 + length] == crypto.canonical(crypto.envelope_header(ENVELOPE))
    assert ENVELOPE[16 + length] == 4  # an uncompressed point


@pytest.mark.policy("R-460.5-2", "R-460.6-0")
def test_nothing_of_the_sealed_part_stands_in_clear() -> None:
    assert READ.plate.text.encode() not in ENVELOPE
    assert b"JFIF" not in ENVELOPE
    assert b"46.8" not in ENVELOPE
    header = crypto.envelope_header(ENVELOPE)
    assert set(type(header).model_fields) == {
        *("agency", "vehicle", "id", "session", "classification", "destroy_by"),
    }


@settings(max_examples=150)
@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_every_altered_byte_is_refused(at: int, flip: int) -> None:
    altered = bytearray(ENVELOPE)
    altered[at] ^= flip
    with pytest.raises(EnvelopeError):
        crypto.open_read(bytes(altered), KEY)


@given(st.integers(0, len(ENVELOPE) - 1))
def test_every_cut_is_refused(length: int) -> None:
    with pytest.raises(EnvelopeError):
        crypto.open_read(ENVELOPE[:length], KEY)


@given(st.binary(max_size=400))
def test_garbage_is_refused(data: bytes) -> None:
    for junk in (data, b"ALRE\x01\x01" + data):
        with pytest.raises(EnvelopeError):
            crypto.open_read(junk, KEY)


def test_another_key_does_not_open() -> None:
    with pytest.raises(EnvelopeError, match="intake key"):
        crypto.open_read(ENVELOPE, crypto.generate_key())


@pytest.mark.policy("R-460.4.1-a")
def test_a_sealed_field_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "_SEALED_FIELDS", {*crypto._SEALED_FIELDS, "wide_picture"})
    forged = crypto.seal_read(
        read(wide_picture=None), agency="a", vehicle="v", intake_key=KEY.public_key()
    )
    monkeypatch.undo()
    with pytest.raises(EnvelopeError, match="permitted"):
        crypto.open_read(forged, KEY)


def _permit() -> Permit:
    return Permit(
        agency="becker",
        vehicle="car-1",
        serial=new_id(),
        not_before=READ.instant,
        expires=READ.destroy_by,
    )


def test_signed_documents_verify_and_refuse() -> None:
    permit = _permit()
    document = crypto.sign_document("permit", permit, KEY)
    public = KEY.public_key()
    assert crypto.verify_document(document, "permit", public, Permit) == permit
    with pytest.raises(SignatureError, match="kind"):
        crypto.verify_document(document, "receipt", public, Permit)
    with pytest.raises(SignatureError, match="verify"):
        crypto.verify_document(document, "permit", crypto.generate_key().public_key(), Permit)
    other = document.model_copy(update={"body": document.body.replace("car-1", "car-2")})
    with pytest.raises(SignatureError, match="verify"):
        crypto.verify_document(other, "permit", public, Permit)
    relabelled = crypto.sign_document("hello", permit, KEY).model_copy(update={"kind": "permit"})
    with pytest.raises(SignatureError, match="verify"):
        crypto.verify_document(relabelled, "permit", public, Permit)


def test_targets_are_bound_to_name_and_key() -> None:
    key = bytes(range(32))
    sealed = crypto.encrypt_target(b"plain", name="roster.bin", key=key)
    assert b"plain" not in sealed
    assert crypto.decrypt_target(sealed, name="roster.bin", key=key) == b"plain"
    for name, other in (("hotlist-a.bin", key), ("roster.bin", bytes(32))):
        with pytest.raises(EnvelopeError):
            crypto.decrypt_target(sealed, name=name, key=other)
    with pytest.raises(EnvelopeError):
        crypto.decrypt_target(sealed[:-1], name="roster.bin", key=key)


def test_wraps_are_bound_to_car_and_purpose() -> None:
    wrapped = crypto.wrap_key(b"x" * 32, purpose="roster.bin", recipient=KEY.public_key())
    assert crypto.unwrap_key(wrapped, purpose="roster.bin", key=KEY) == b"x" * 32
    for purpose, key in (("suppression-key", KEY), ("roster.bin", crypto.generate_key())):
        with pytest.raises(EnvelopeError):
            crypto.unwrap_key(wrapped, purpose=purpose, key=key)


def test_private_keys_are_kept_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "batch.key"
    crypto.save_private(KEY, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert crypto.key_id(crypto.load_private(path)) == crypto.key_id(KEY)
    path.chmod(0o644)
    with pytest.raises(StoreError, match="readable by others"):
        crypto.load_private(path)
    path.chmod(0o600)
    path.write_bytes(b"not a key")
    with pytest.raises(StoreError, match="damaged"):
        crypto.load_private(path)
    with pytest.raises(StoreError, match=r"batch\.none"):
        crypto.load_private(tmp_path / "batch.none")
