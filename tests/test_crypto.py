"""Envelope, signatures, targets and wraps."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from factories import read
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd import crypto, selftest
from alprd.errors import EnvelopeError, SelfTestError, SignatureError, StoreError
from alprd.records import new_id
from alprd.wire import CentralTime, Permit

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


# --- known answers and the self-test -------------------------------------------------------------

VECTORS = json.loads((Path(__file__).parent / "vectors" / "v1.json").read_text())


def _private(name: str) -> crypto.PrivateKey:
    return ec.derive_private_key(int(VECTORS[name], 16), ec.SECP256R1())


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize("vector", VECTORS["envelopes"])
def test_envelopes_made_from_the_standards_alone_open(vector: dict[str, Any]) -> None:
    sealed = bytes.fromhex(vector["envelope"])
    assert crypto.envelope_key_id(sealed) == VECTORS["intake_key_id"]
    opened = crypto.open_read(sealed, _private("intake_private"))
    told = opened.model_dump(mode="json", include=crypto._SEALED_FIELDS)
    assert told == vector["fields"]
    assert opened.plate_picture.hex() == vector["plate_picture"]
    assert (opened.wide_picture or b"").hex() == vector["wide_picture"]
    header = crypto.envelope_header(sealed)
    assert crypto.canonical(header) == crypto.canonical(vector["header"])


def test_targets_wraps_and_documents_made_from_the_standards_alone_are_taken() -> None:
    target, wrap = VECTORS["target"], VECTORS["wrap"]
    car = _private("car_private")
    assert crypto.public_bytes(car).hex() == VECTORS["car_public"]
    plain = crypto.decrypt_target(
        bytes.fromhex(target["data"]), name=target["name"], key=bytes.fromhex(target["key"])
    )
    assert plain.hex() == target["plain"]
    secret = crypto.unwrap_key(wrap["wrapped"], purpose=wrap["purpose"], key=car)
    assert secret.hex() == wrap["secret"]
    document = crypto.SignedDocument.model_validate(VECTORS["document"])
    said = crypto.verify_document(document, "hello", car.public_key(), CentralTime)
    assert (said.agency, said.nonce) == ("becker", "n")


def test_the_vectors_are_what_their_maker_makes() -> None:
    """And the maker agrees with the published answers: GCM case 16, RFC 6979 A.2.5."""
    folder = Path(__file__).parent / "vectors"
    spec = importlib.util.spec_from_file_location("independent", folder / "independent.py")
    assert spec is not None and spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    sealed = maker.gcm_encrypt(
        bytes.fromhex(selftest._GCM_KEY),
        bytes.fromhex(selftest._GCM_NONCE),
        bytes.fromhex(selftest._GCM_PLAIN),
        bytes.fromhex(selftest._GCM_AAD),
    )
    assert sealed[-16:].hex() == selftest._GCM_TAG
    key = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    assert maker.ecdsa_sign(key, b"sample") == (selftest._ECDSA_R, selftest._ECDSA_S)
    pictures = [(folder / name).read_bytes() for name in ("plate.jpg", "wide.jpg")]
    assert maker.make(*pictures) == VECTORS


@pytest.mark.policy("R-CJIS-1")
def test_the_self_test_passes_and_leans_on_the_committed_vectors() -> None:
    selftest.check()
    assert VECTORS["wrap"]["wrapped"] == selftest._WRAPPED
    assert VECTORS["target"]["data"] == selftest._TARGET


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize(
    ("name", "where", "wrong"),
    [
        ("SHA-256", "alprd.crypto.sha256_hex", lambda data: "0" * 64),
        ("HPKE P-256", "alprd.crypto.unwrap_key", lambda wrapped, **_: bytes(32)),
        ("encrypted target", "alprd.crypto.decrypt_target", lambda data, **_: b""),
        ("fresh keys", "alprd.crypto.wrap_key", lambda secret, **_: "AAAA"),
    ],
)
def test_one_wrong_answer_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, where: str, wrong: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, wrong)
    with pytest.raises(SelfTestError, match=name) as refused:
        selftest.check()
    assert "alprd doctor" in refused.value.remedy


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize(
    ("name", "constant"),
    [
        ("SHA-256", "_ABC"),
        ("AES-256-GCM", "_GCM_TAG"),
        ("AES-256-GCM", "_GCM_PLAIN"),
        ("ECDSA P-256", "_ECDSA_S"),
        ("Ed25519", "_ED_SIGNATURE"),
        ("HPKE P-256", "_CAR_PRIVATE"),
        ("encrypted target", "_CONTENT_KEY"),
    ],
)
def test_each_known_answer_is_really_compared(
    monkeypatch: pytest.MonkeyPatch, name: str, constant: str
) -> None:
    value = getattr(selftest, constant)
    changed: object
    if isinstance(value, int):
        changed = value ^ 1
    elif isinstance(value, bytes):
        changed = bytes([value[0] ^ 1]) + value[1:]
    else:
        changed = f"{int(value[0], 16) ^ 1:x}{value[1:]}"
    monkeypatch.setattr(selftest, constant, changed)
    assert name in selftest.failures()
