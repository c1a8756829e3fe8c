"""Check an audit package with Python alone: python3 -I audit.zip KEY (R-13.824-6-2).

This file lies in every package as ``__main__.py``, so that the package, its key and a Python of
3.9 or newer are enough; nothing is installed, nothing is written, nothing goes over a network. It
imports the standard library only and nothing of alprd. An agency under audit made the package, and
so this copy too: who does not want to trust it takes the same file from the project's source, or
runs ``alprd-central audit check``, which checks the same.

Checked are the signature of the manifest, every file, every event of every chain of the trail,
every anchor, and the ledger of every day.
"""

import base64
import csv
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, Optional

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
"""P-256 (FIPS 186-4, D.1.2.3)."""
PRIVATE = ("requests.imported", "requests.worked")
LATER = ("local_offset", "address")
LEDGER = ("destroyed", "linked", "held", "live")
MOST_BYTES = 2_000_000_000

Point = Optional[tuple[int, int]]  # noqa: UP045 - for Python 3.9


class PackageError(Exception):
    """What does not hold."""


def _add(one: Point, two: Point) -> Point:
    if one is None or two is None:
        return two if one is None else one
    if one[0] == two[0]:
        if (one[1] + two[1]) % P == 0:
            return None
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, P)
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, P)
    x = (slope * slope - one[0] - two[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def _times(number: int, point: Point) -> Point:
    found: Point = None
    while number:
        if number & 1:
            found = _add(found, point)
        point, number = _add(point, point), number >> 1
    return found


def public_point(raw: bytes) -> tuple[int, int]:
    """The point of an uncompressed public key; :class:`PackageError` when it is none."""
    x, y = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")
    if len(raw) != 65 or raw[0] != 4 or max(x, y) >= P or (y * y - x**3 + 3 * x - B) % P:
        raise PackageError("the key is not a public key: 130 hex digits that begin with 04")
    return x, y


def verifies(key: tuple[int, int], signature: bytes, message: bytes) -> bool:
    """ECDSA with SHA-256; the signature is DER."""
    numbers, rest = [], signature[2:]
    if signature[:1] != b"\x30" or signature[1:2] != bytes([len(rest) & 0xFF]):
        return False
    while rest:
        size = rest[1] if len(rest) > 1 else 0
        if rest[0] != 2 or not 0 < size <= min(33, len(rest) - 2):
            return False
        numbers.append(int.from_bytes(rest[2 : 2 + size], "big", signed=True))
        rest = rest[2 + size :]
    if len(numbers) != 2 or not all(0 < number < N for number in numbers):
        return False
    r, s = numbers
    told = int.from_bytes(hashlib.sha256(message).digest(), "big")
    over = pow(s, -1, N)
    point = _add(_times(told * over % N, G), _times(r * over % N, key))
    return point is not None and point[0] % N == r


def opened(data: bytes, kind: str, key: tuple[int, int]) -> dict[str, Any]:
    """The body of a signed document."""
    document = json.loads(data)
    body = document["body"].encode()
    signed = b"alprd " + kind.encode() + b" v1\0" + body
    signature = base64.urlsafe_b64decode(document["signature"])
    if document["kind"] != kind or not verifies(key, signature, signed):
        raise PackageError("the signature of the " + kind + " does not verify")
    found: dict[str, Any] = json.loads(body)
    return found


def chain(name: str, data: bytes) -> list[str]:
    """Digests of a chain, with that of its beginning at 0."""
    digests = ["0" * 64]
    for number, line in enumerate(data.splitlines(), 1):
        event = json.loads(line)
        if event["seq"] != number or event["previous"] != digests[-1]:
            raise PackageError(f"{name}: event {number} is missing or does not follow")
        told = {k: v for k, v in event.items() if k != "digest" and (k not in LATER or v)}
        text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        private = event["event"] in PRIVATE and not event["detail"] and not event["subjects"]
        if not private and hashlib.sha256(text.encode()).hexdigest() != event["digest"]:
            raise PackageError(f"{name}: event {number} was altered")
        digests.append(event["digest"])
    return digests


def check(package: bytes, key: str) -> str:
    """Check all of it and tell what was found. Raises PackageError when anything does not hold."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
            raise PackageError("the package is larger than any audit's")
        names = archive.namelist()
        files = {name: archive.read(name) for name in names}
    manifest = opened(files.pop("manifest.json"), "audit-package", public_point(bytes.fromhex(key)))
    sums = "".join(f"{digest}  {name}\n" for name, digest in manifest["files"].items())
    found = {n: hashlib.sha256(d).hexdigest() for n, d in files.items() if n != "SHA256SUMS"}
    whole = found == manifest["files"] and files["SHA256SUMS"] == sums.encode()
    if not whole or len(names) != len(set(names)):
        raise PackageError("the package differs from its signed manifest")
    chains = {n[12:-6]: chain(n, d) for n, d in files.items() if n.startswith("annex/trail/")}
    anchors = [name for name in sorted(files) if name.startswith("annex/anchors/")]
    for name in anchors:
        anchor_key = public_point(base64.urlsafe_b64decode(manifest["anchor_key"]))
        anchor = opened(files[name], "audit-anchor", anchor_key)
        for one in anchor["chains"]:
            digests = chains.get(one["chain"].replace(":", "_"), [])
            if one["events"] >= len(digests) or digests[one["events"]] != one["digest"]:
                raise PackageError(
                    f"{one['chain']} does not agree with the anchor of {anchor['day']}"
                )
    days = list(csv.DictReader(io.StringIO(files["public/ledger.csv"].decode())))
    for day in days:
        if int(day["collected"]) != sum(int(day[name]) for name in LEDGER):
            raise PackageError(f"the ledger of {day['day']} does not reconcile")
    events = sum(len(digests) - 1 for digests in chains.values())
    return (
        f"whole: {len(found)} files, {len(chains)} chains with {events} events, "
        f"{len(anchors)} anchors agree, ledger of {len(days)} days reconciles"
    )


def main(words: list[str]) -> int:
    """``python3 -I audit.zip KEY``, or ``python3 -I standalone.py audit.zip KEY``."""
    if len(words) not in (2, 3):
        print("usage: python3 -I audit.zip KEY", file=sys.stderr)
        return 2
    try:
        print(check(Path(words[-2]).read_bytes(), words[-1]))
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        print(f"error: this is no whole audit package, or no key: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
