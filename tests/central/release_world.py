"""A recipient with a certificate of its own, and a request as it comes in on paper."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

from hold_world import START, WORDS, World

from alprd.central.exchange import recipients, release

PAPER = b"Polk County asks for the reads named below. (invented)"


def certificate(folder: Path) -> tuple[Path, str]:
    """An RSA key (file) and a certificate (PEM), made by openssl like a recipient would."""
    folder.mkdir(exist_ok=True)
    key, pem = folder / "recipient.key", folder / "recipient.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Polk SO"]
    command += ["-keyout", str(key), "-out", str(pem), "-days", "3650"]
    subprocess.run(command, check=True, capture_output=True)
    return key, pem.read_text()


def agency(pem: str, **changes: Any) -> recipients.Agency:
    """The row of that recipient."""
    values: dict[str, Any] = {
        "id": "polk-so",
        "name": "Polk County Sheriff's Office (invented)",
        "kind": "law_enforcement",
        "ori": "MN0600000",
        "contact": "records@polk.example",
        "certificate": pem,
        "verified": "Fingerprint compared on the telephone with their records desk.",
        "set_by": "sue",
        "set_at": START,
    }
    return recipients.Agency.model_validate({**values, **changes})


def asked(*reads: str, **changes: Any) -> release.Asked:
    """A request with its five elements."""
    values: dict[str, Any] = {
        "agency": "polk-so",
        "requester": "Det. N. Olsen",
        "contact": "olsen@polk.example",
        "purpose": "Find where the stolen van went after the burglary.",
        "facts": WORDS,
        "number": "26-004711",
        "statement": "The sheriff of Polk County has authorised this request in writing.",
        "head": "K. Berg",
        "title": "Sheriff",
        "authorised": (START - timedelta(days=1)).date(),
        "received": START,
        "reads": reads,
    }
    return release.Asked.model_validate({**values, **changes})


def registered(world: World, folder: Path) -> Path:
    """Enter the recipient; the file of its key."""
    key, pem = certificate(folder)
    recipients.put(world.central, world.people["sue"], agency(pem))
    return key


def decrypt(content: bytes, key: Path, folder: Path) -> bytes:
    """Open a package with openssl, as the recipient does."""
    sealed, plain = folder / "package.p7m", folder / "package.zip"
    sealed.write_bytes(content)
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-binary"]
    command += ["-in", str(sealed), "-inkey", str(key), "-out", str(plain)]
    subprocess.run(command, check=True, capture_output=True)
    return plain.read_bytes()
