"""Where the agency key comes from, and its rotation.

``[keys] agency`` of ``central.toml`` names the source:

- empty: the file ``keys/agency.key`` (0600);
- ``credential:NAME``: a systemd credential (``LoadCredentialEncrypted=``), bound to a machine;
- ``pkcs11:LIBRARY?token=LABEL&key=LABEL&pin=NAME``: an AES key that never leaves its token makes
  the agency key from two fixed blocks; ``pin`` names a file or a systemd credential.

A rotation wraps the root under the new key first, then puts the new key into its place, then
forgets the old wrap. Whatever interrupts it, the key that stands in its place opens the keystore.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from alprd import crypto
from alprd.central.storage.keys import Keystore
from alprd.errors import ConfigError, StoreError

AGENCY_KEY_FILE: Final = "agency.key"
_BLOCKS: Final = b"alprd agency 1/2" + b"alprd agency 2/2"


def create_agency_key(folder: Path) -> bytes:
    """Make the key that wraps all others; it exists nowhere else.

    Raises:
        StoreError: there is one already.
    """
    path = folder / AGENCY_KEY_FILE
    if path.exists():
        raise StoreError(f"{path} exists", remedy="an agency key is made once; use another home")
    key = os.urandom(32)
    crypto.write_secret(path, base64.b64encode(key) + b"\n")
    return key


def load_agency_key(folder: Path, source: str = "") -> bytes:
    """The agency key of a home's ``keys`` folder, or of the source that the settings name.

    Raises:
        StoreError: missing, damaged or readable by others.
        ConfigError: the source cannot be understood.
    """
    if source.startswith("pkcs11:"):
        return _of_token(source.removeprefix("pkcs11:"), folder)
    if source.startswith("credential:"):
        return _decode(_credential(source.removeprefix("credential:")), source)
    if source:
        raise ConfigError(
            "[keys] agency cannot be understood",
            remedy="leave it empty, or credential:NAME, or pkcs11:LIBRARY?token=…&key=…&pin=…",
        )
    path = folder / AGENCY_KEY_FILE
    try:
        if path.stat().st_mode & 0o077:
            raise StoreError(f"key file {path} is readable by others", remedy=f"chmod 600 {path}")
        return _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise StoreError(
            f"agency key {path}: {error.strerror}", remedy="bring it back; nothing opens without"
        ) from error


def _decode(data: bytes, place: str) -> bytes:
    try:
        key = base64.b64decode(data, validate=False)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise StoreError(f"agency key {place} is damaged", remedy="bring back the true one")
    return key


def _credential(name: str) -> bytes:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    try:
        return (Path(folder or "/run/credentials") / name).read_bytes()
    except OSError as error:
        raise StoreError(
            f"systemd credential {name}: {error.strerror}",
            remedy=f"LoadCredentialEncrypted={name} in the unit; docs/storage.md",
        ) from error


def _of_token(uri: str, folder: Path) -> bytes:
    """The agency key that a token's AES key gives: two blocks that it encrypts for nobody else."""
    library, _, query = uri.partition("?")
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    if set(asked) != {"token", "key", "pin"}:
        raise ConfigError(
            "[keys] agency names no token", remedy="pkcs11:LIBRARY?token=…&key=…&pin=…"
        )
    try:
        import pkcs11
    except ImportError:
        raise ConfigError(
            "the agency key is in a token, but its driver is not installed",
            remedy="pip install 'alprd[central,pkcs11]'",
        ) from None
    try:
        token = pkcs11.lib(library).get_token(token_label=asked["token"])
        with token.open(user_pin=_pin(asked["pin"], folder)) as session:
            key: Any = session.get_key(
                object_class=pkcs11.ObjectClass.SECRET_KEY,
                key_type=pkcs11.KeyType.AES,
                label=asked["key"],
            )
            made = key.encrypt(_BLOCKS, mechanism=pkcs11.Mechanism.AES_ECB)
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise StoreError(
            f"token {asked['token']} does not give the agency key: {type(error).__name__}",
            remedy="check library, token, key label and PIN",
        ) from error
    return bytes(made)


def _pin(name: str, folder: Path) -> str:
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(given) / name if given and (Path(given) / name).is_file() else folder / name
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StoreError(f"PIN of the token: {path} cannot be read", remedy="0600") from error


def rotate(folder: Path, keystore: Keystore, source: str, target: str) -> None:
    """Give the keystore another agency key, durable when this returns.

    Args:
        source: where the one in use comes from, as in the settings.
        target: the source of the new one; empty makes a new file. With another source the settings
            must name it before the next start; until then the one in use stays good.

    Raises:
        StoreError: the new one cannot be had; the one in use stays good.
    """
    if target:
        keystore.wrap_root(load_agency_key(folder, target))
        return
    key, path = os.urandom(32), folder / AGENCY_KEY_FILE
    coming = folder / f"{AGENCY_KEY_FILE}.next"
    crypto.write_secret(coming, base64.b64encode(key) + b"\n")
    keystore.wrap_root(key)
    # Opened before it loses its name, so that what it held can be written over.
    old = path.open("r+b") if not source and path.exists() else None
    coming.replace(path)
    _sync(folder)
    if old is not None:
        with old:
            old.write(b"\0" * path.stat().st_size)
            old.flush()
            os.fsync(old.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
