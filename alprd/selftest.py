"""Known answers of the cryptography, asked at every start: a wrong one refuses it (R-CJIS-1).

A broken or misconfigured provider would seal reads that nobody can ever open, or accept what
nobody signed. So each primitive the car leans on gives an answer that others worked out before:

* SHA-256: FIPS 180-2, appendix B.1
* AES-256-GCM: test case 16 of the GCM specification (McGrew and Viega), also with a false tag
* ECDSA P-256 with SHA-256: RFC 6979, A.2.5, also of another message
* Ed25519 (the update framework's signatures): RFC 8032, 7.1, test 1, also of another message
* HPKE in our suite, and the car's encrypted target: ``tests/vectors/v1.json``, which another
  implementation made from the standards alone

and what is made fresh is taken through its whole way once: sealed and opened, signed and verified.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from alprd import crypto
from alprd.errors import AlprdError, EnvelopeError, SelfTestError

_ABC: Final = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
_GCM_KEY: Final = "feffe9928665731c6d6a8f9467308308" * 2
_GCM_NONCE: Final = "cafebabefacedbaddecaf888"
_GCM_AAD: Final = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
_GCM_PLAIN: Final = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c9595680953"
    "2fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_GCM_TAG: Final = "76fc6ece0f4e1768cddf8853bb2d551b"
_ECDSA_PUBLIC: Final = (
    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
_ECDSA_R: Final = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
_ECDSA_S: Final = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
_ED_PUBLIC: Final = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
_ED_SIGNATURE: Final = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac"
    "c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
_CAR_PRIVATE: Final = 0xD4D7305D6E68D83AACBF956FFC4E39F38E8FDE8B1EBF8074C3D8B9B9A0E711A4
_WRAPPED: Final = (
    "BBmjOyWXySTBTH7o2Jk8QzqDH1jcvE5tiiPNv4o22AmRDjhC0giwvJ4Ndv44DlpbNFY-i_B1OQWyOBwp"
    "fenPStIPVwhj0iSEPZjTf2Sq2mP4EKvsobbC2ynqdLdULsbOKUoKIcjJ_7JXkh0kT8AnpGw="
)
_TARGET: Final = (
    "414c525401000102030405060708090a0b2622a474b691a769ad2ef1abdf861a02e7afbb490d1aaa"
    "09f285e55294feea6fecfd"
)
_CONTENT_KEY: Final = bytes(range(32))


def _sha256() -> bool:
    return crypto.sha256_hex(b"abc") == _ABC


def _aes_gcm() -> bool:
    cipher = AESGCM(bytes.fromhex(_GCM_KEY))
    nonce, aad = bytes.fromhex(_GCM_NONCE), bytes.fromhex(_GCM_AAD)
    sealed = cipher.encrypt(nonce, bytes.fromhex(_GCM_PLAIN), aad)
    if sealed[-16:].hex() != _GCM_TAG:
        return False
    try:
        cipher.decrypt(nonce, sealed[:-1] + bytes([sealed[-1] ^ 1]), aad)
    except InvalidTag:
        return cipher.decrypt(nonce, sealed, aad).hex() == _GCM_PLAIN
    return False


def _ecdsa() -> bool:
    key = crypto.public_from_bytes(bytes.fromhex(_ECDSA_PUBLIC))
    signature = utils.encode_dss_signature(_ECDSA_R, _ECDSA_S)
    key.verify(signature, b"sample", ec.ECDSA(hashes.SHA256()))
    try:
        key.verify(signature, b"simple", ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return True
    return False


def _ed25519() -> bool:
    key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(_ED_PUBLIC))
    key.verify(bytes.fromhex(_ED_SIGNATURE), b"")
    try:
        key.verify(bytes.fromhex(_ED_SIGNATURE), b"x")
    except InvalidSignature:
        return True
    return False


def _hpke() -> bool:
    key = ec.derive_private_key(_CAR_PRIVATE, ec.SECP256R1())
    if crypto.unwrap_key(_WRAPPED, purpose="roster.bin", key=key) != _CONTENT_KEY:
        return False
    try:
        crypto.unwrap_key(_WRAPPED, purpose="roster.bim", key=key)
    except EnvelopeError:
        return True
    return False


def _target() -> bool:
    data = bytes.fromhex(_TARGET)
    return crypto.decrypt_target(data, name="roster.bin", key=_CONTENT_KEY) == b"a roster of nobody"


def _fresh() -> bool:
    """A key pair made now, through seal and open, sign and verify; two seals never agree."""
    key = crypto.generate_key()
    first, second = (
        crypto.wrap_key(b"known", purpose="self-test", recipient=key.public_key()) for _ in range(2)
    )
    signature = key.sign(b"known", ec.ECDSA(hashes.SHA256()))
    key.public_key().verify(signature, b"known", ec.ECDSA(hashes.SHA256()))
    return first != second and crypto.unwrap_key(first, purpose="self-test", key=key) == b"known"


TESTS: Final[dict[str, Callable[[], bool]]] = {
    "SHA-256": _sha256,
    "AES-256-GCM": _aes_gcm,
    "ECDSA P-256": _ecdsa,
    "Ed25519": _ed25519,
    "HPKE P-256": _hpke,
    "encrypted target": _target,
    "fresh keys": _fresh,
}
"""By name; each True when all its answers are right."""


def failures() -> list[str]:
    """Names of the tests whose answer is wrong, or that this provider cannot do."""
    wrong = []
    for name, test in TESTS.items():
        try:
            right = test()
        except (
            *(AlprdError, InvalidSignature, InvalidTag, UnsupportedAlgorithm),
            *(ValueError, TypeError),
        ):
            right = False
        if not right:
            wrong.append(name)
    return wrong


def check() -> None:
    """Refuse to go on with cryptography that does not give its known answers (below 0.1 s).

    Raises:
        SelfTestError: names what failed.
    """
    wrong = failures()
    if wrong:
        raise SelfTestError(
            f"cryptography fails its self-test: {', '.join(wrong)}",
            remedy="reinstall the cryptography package; check OpenSSL's provider: alprd doctor",
        )
