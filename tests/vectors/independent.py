"""The cryptography of `alprd/crypto.py` once more, in plain Python, from the standards alone.

Nothing here imports the product or a cryptography package, so that the vectors beside this file
were made by another hand than the one that must reproduce them: P-256 (SEC 1), AES and GCM
(FIPS 197, SP 800-38D), HKDF (RFC 5869), HPKE base mode (RFC 9180), ECDSA with the nonce of
RFC 6979. Slow, and not for keys of worth: nothing in it runs in constant time.

    python tests/vectors/independent.py      writes the vectors anew
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from pathlib import Path

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int] | None


# --- P-256 ----------------------------------------------------------------------------------


def add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(k: int, point: Point) -> tuple[int, int]:
    total: Point = None
    while k:
        if k & 1:
            total = add(total, point)
        point = add(point, point)
        k >>= 1
    assert total is not None
    assert (total[1] ** 2 - total[0] ** 3 + 3 * total[0] - B) % P == 0
    return total


def encode(point: tuple[int, int]) -> bytes:
    return b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


# --- AES-GCM --------------------------------------------------------------------------------


def _sbox() -> bytes:
    box = bytearray(256)
    p = q = 1
    while True:
        p ^= (p << 1) ^ (0x11B if p & 0x80 else 0)
        p &= 0xFF
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        turned = q
        for shift in range(1, 5):
            turned ^= ((q << shift) | (q >> (8 - shift))) & 0xFF
        box[p] = turned ^ 0x63
        if p == 1:
            box[0] = 0x63
            return bytes(box)


SBOX = _sbox()


def _double(x: int) -> int:
    return ((x << 1) ^ (0x1B if x & 0x80 else 0)) & 0xFF


def aes_block(key: bytes, block: bytes) -> bytes:
    words = [key[i : i + 4] for i in range(0, len(key), 4)]
    size, rounds, rcon = len(words), len(words) + 6, 1
    for i in range(size, 4 * (rounds + 1)):
        word = words[-1]
        if i % size == 0:
            word = bytes(SBOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ rcon]) + word[1:]
            rcon = _double(rcon)
        elif size > 6 and i % size == 4:
            word = bytes(SBOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[i - size], strict=True)))
    state = bytes(a ^ b for a, b in zip(block, b"".join(words[:4]), strict=True))
    for turn in range(1, rounds + 1):
        state = bytes(SBOX[b] for b in state)
        state = bytes(state[(i + 4 * (i % 4)) % 16] for i in range(16))
        if turn < rounds:
            mixed = bytearray()
            for c in range(0, 16, 4):
                a = state[c : c + 4]
                every = a[0] ^ a[1] ^ a[2] ^ a[3]
                mixed += bytes(a[i] ^ every ^ _double(a[i] ^ a[(i + 1) % 4]) for i in range(4))
            state = bytes(mixed)
        key_part = b"".join(words[4 * turn : 4 * turn + 4])
        state = bytes(a ^ b for a, b in zip(state, key_part, strict=True))
    return state


def _gf(x: int, y: int) -> int:
    z = 0
    for i in range(127, -1, -1):
        if x >> i & 1:
            z ^= y
        y = (y >> 1) ^ (0xE1 << 120 if y & 1 else 0)
    return z


def gcm_encrypt(key: bytes, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
    h = int.from_bytes(aes_block(key, bytes(16)), "big")
    out = bytearray()
    for number, at in enumerate(range(0, len(plain), 16), 2):
        stream = aes_block(key, nonce + struct.pack(">I", number))
        out += bytes(a ^ b for a, b in zip(plain[at : at + 16], stream, strict=False))
    padded = aad + bytes(-len(aad) % 16) + bytes(out) + bytes(-len(out) % 16)
    padded += struct.pack(">QQ", 8 * len(aad), 8 * len(out))
    y = 0
    for at in range(0, len(padded), 16):
        y = _gf(y ^ int.from_bytes(padded[at : at + 16], "big"), h)
    mask = int.from_bytes(aes_block(key, nonce + b"\0\0\0\1"), "big")
    return bytes(out) + (y ^ mask).to_bytes(16, "big")


# --- HPKE, RFC 9180 -------------------------------------------------------------------------


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), ikm, hashlib.sha256)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    out, last = b"", b""
    for number in range(1, -(-length // 32) + 1):
        last = hmac.digest(prk, last + info + bytes([number]), hashlib.sha256)
        out += last
    return out[:length]


def hpke_seal(
    recipient: int, ephemeral: int, info: bytes, plain: bytes, key_size: int = 32, aead: int = 2
) -> bytes:
    """Encapsulated key and ciphertext: base mode, DHKEM(P-256), HKDF-SHA256, AES-GCM."""

    def labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + suite + label + ikm)

    def labeled_expand(suite: bytes, prk: bytes, label: bytes, more: bytes, size: int) -> bytes:
        return expand(prk, struct.pack(">H", size) + b"HPKE-v1" + suite + label + more, size)

    public = multiply(recipient, G)
    enc = encode(multiply(ephemeral, G))
    shared = multiply(ephemeral, public)[0].to_bytes(32, "big")
    kem = b"KEM" + struct.pack(">H", 0x10)
    prk = labeled_extract(kem, b"", b"eae_prk", shared)
    secret = labeled_expand(kem, prk, b"shared_secret", enc + encode(public), 32)
    suite = b"HPKE" + struct.pack(">HHH", 0x10, 1, aead)
    context = (
        b"\0"
        + labeled_extract(suite, b"", b"psk_id_hash", b"")
        + labeled_extract(suite, b"", b"info_hash", info)
    )
    prk = labeled_extract(suite, secret, b"secret", b"")
    key = labeled_expand(suite, prk, b"key", context, key_size)
    nonce = labeled_expand(suite, prk, b"base_nonce", context, 12)
    return enc + gcm_encrypt(key, nonce, plain, b"")


# --- ECDSA, nonce of RFC 6979 ---------------------------------------------------------------


def _nonce(private: int, digest: bytes) -> int:
    seed = private.to_bytes(32, "big") + (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    v, k = b"\1" * 32, bytes(32)
    for mark in (b"\0", b"\1"):
        k = hmac.digest(k, v + mark + seed, hashlib.sha256)
        v = hmac.digest(k, v, hashlib.sha256)
    while True:
        v = hmac.digest(k, v, hashlib.sha256)
        found = int.from_bytes(v, "big")
        if 0 < found < N:
            return found
        k = hmac.digest(k, v + b"\0", hashlib.sha256)
        v = hmac.digest(k, v, hashlib.sha256)


def ecdsa_sign(private: int, message: bytes) -> tuple[int, int]:
    digest = hashlib.sha256(message).digest()
    k = _nonce(private, digest)
    r = multiply(k, G)[0] % N
    return r, pow(k, -1, N) * (int.from_bytes(digest, "big") + r * private) % N


def der(r: int, s: int) -> bytes:
    def number(value: int) -> bytes:
        data = value.to_bytes(value.bit_length() // 8 + 1, "big")
        return b"\x02" + bytes([len(data)]) + data

    body = number(r) + number(s)
    return b"\x30" + bytes([len(body)]) + body


# --- the product's own formats, from the drawings in its docstrings -------------------------


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(b"alprd vector " + name.encode()).digest(), "big") % N


def _parts(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def make(plate: bytes, wide: bytes) -> dict[str, object]:
    """All vectors: envelopes with and without a wide picture, target, wrap, signed document."""
    intake, car = _key("intake"), _key("car")
    key_id = hashlib.sha256(encode(multiply(intake, G))).digest()[:8]
    envelopes = []
    for number, (position, picture) in enumerate(
        (({"accuracy_m": 4.0, "lat": 46.8171, "lon": -95.8453}, wide), (None, b""))
    ):
        header = {
            "agency": "becker",
            "vehicle": "car-1",
            "id": f"{number:032x}",
            "session": "5" * 32,
            "classification": "private",
            "destroy_by": "2026-03-02T16:00:00Z",
        }
        fields = {
            "plate": {"text": "ZQX417", "stacked": "", "state": "MN", "plate_type": None},
            "instant": "2026-01-01T16:00:00Z",
            "time_trusted": True,
            "position": position,
        }
        head = canonical(header)
        prefix = b"ALRE\x01\x01" + key_id + struct.pack(">H", len(head)) + head
        body = _parts(canonical(fields), plate, picture)
        sealed = hpke_seal(intake, _key(f"ephemeral {number}"), b"alprd read v1\0" + prefix, body)
        envelopes.append(
            {
                "header": header,
                "fields": fields,
                "plate_picture": plate.hex(),
                "wide_picture": picture.hex(),
                "envelope": (prefix + sealed).hex(),
            }
        )
    content, nonce, roster = bytes(range(32)), bytes(range(12)), b"a roster of nobody"
    document = canonical({"agency": "becker", "nonce": "n", "time": "2026-01-01T16:00:00Z"})
    signature = der(*ecdsa_sign(car, b"alprd hello v1\0" + document))
    return {
        "made_by": "tests/vectors/independent.py",
        "intake_private": f"{intake:064x}",
        "car_private": f"{car:064x}",
        "car_public": encode(multiply(car, G)).hex(),
        "intake_key_id": key_id.hex(),
        "envelopes": envelopes,
        "target": {
            "name": "roster.bin",
            "key": content.hex(),
            "plain": roster.hex(),
            "data": (
                b"ALRT\x01"
                + nonce
                + gcm_encrypt(content, nonce, roster, b"alprd target v1\0roster.bin")
            ).hex(),
        },
        "wrap": {
            "purpose": "roster.bin",
            "secret": content.hex(),
            "wrapped": _url(
                hpke_seal(car, _key("ephemeral wrap"), b"alprd wrap v1\0roster.bin", content)
            ),
        },
        "document": {
            "kind": "hello",
            "key": hashlib.sha256(encode(multiply(car, G))).hexdigest()[:16],
            "body": document.decode(),
            "signature": _url(signature),
        },
    }


def main() -> None:
    folder = Path(__file__).resolve().parent
    pictures = [(folder / name).read_bytes() for name in ("plate.jpg", "wide.jpg")]
    made = make(pictures[0], pictures[1])
    (folder / "v1.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
