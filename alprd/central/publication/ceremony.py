"""Root keys and rotations: who may change who signs (docs/key-ceremony.md).

The root signs nothing but the list of the keys that sign everything else, a few times a year. Its
keys belong into safes, not onto the computer that publishes: :func:`hold_ceremony` writes new root
keys to files under passphrases, lets the keys before and the new ones sign the next root, and
destroys what the keystore held. From then on a root needs ``threshold`` of those files.

A file of a root key::

    {"kind": "alprd tuf root key 1", "keyid": …, "salt": …, "nonce": …, "sealed": …}

    key    = scrypt(passphrase, salt, n = 2^17, r = 8, p = 1), 32 bytes (RFC 7914)
    sealed = AES-256-GCM(key, nonce, private key in PKCS#8 PEM), associated data: kind and keyid

A car follows from root to root, each signed by enough keys of the one before; where a new root was
installed and the rest is not signed anew yet (a power cut), it refuses and keeps its lists until
the next publication has done it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from alprd import crypto
from alprd.audit import Actor
from alprd.central.publication import publish
from alprd.central.storage import repository
from alprd.central.storage.audit import Event
from alprd.central.storage.keys import seal, unseal
from alprd.central.storage.store import Central
from alprd.errors import EnvelopeError, InputError, RefusedError

KIND: Final = "alprd tuf root key 1"
SHORTEST_PASSPHRASE: Final = 12
_N, _R, _P = 2**17, 8, 1


@dataclass(frozen=True, slots=True)
class Done:
    """The root that is in force after an act, and the files it wrote."""

    version: int
    keyids: tuple[str, ...]
    threshold: int
    files: tuple[Path, ...] = ()


# --- files of root keys -------------------------------------------------------------------------


def save_key(signer: CryptoSigner, folder: Path, passphrase: str) -> Path:
    """Write a private key under a passphrase and read it back; the file.

    Raises:
        RefusedError: ``weak_passphrase``.
        InputError: the folder cannot be written, or holds that file already.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise RefusedError(
            "a passphrase is too short",
            reason="weak_passphrase",
            remedy=f"take at least {SHORTEST_PASSPHRASE} characters, best several words",
        )
    keyid = signer.public_key.keyid
    salt = os.urandom(16)
    sealed = seal(_stretch(passphrase, salt), signer.private_bytes, _aad(keyid))
    text = json.dumps(
        {
            "kind": KIND,
            "keyid": keyid,
            "salt": _b64(salt),
            "nonce": _b64(sealed[:12]),
            "sealed": _b64(sealed[12:]),
        },
        indent=1,
    )
    path = folder / f"root-{keyid[:16]}.key"
    if path.exists():
        raise InputError(f"{path} exists", remedy="choose an empty folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        crypto.write_secret(path, text.encode() + b"\n")
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}", remedy="name a folder on a medium that can be written"
        ) from error
    load_key(path, passphrase)  # before the only other copy is destroyed
    return path


def load_key(path: Path, passphrase: str) -> CryptoSigner:
    """The private key of a file.

    Raises:
        InputError: not such a file, or another passphrase.
    """
    try:
        made: dict[str, Any] = json.loads(path.read_bytes())
        if made["kind"] != KIND:
            raise ValueError
        keyid = str(made["keyid"])
        salt, nonce, sealed = (
            base64.b64decode(made[name], validate=True) for name in ("salt", "nonce", "sealed")
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", remedy="name the key's file") from error
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no file of a root key", remedy="name root-….key") from None
    try:
        pem = unseal(_stretch(passphrase, salt), nonce + sealed, _aad(keyid))
    except EnvelopeError:
        raise InputError(
            f"{path}: the passphrase does not open it", remedy="type it as at the ceremony"
        ) from None
    return repository.signer_from(pem)


def _stretch(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_N, r=_R, p=_P).derive(passphrase.encode())


def _aad(keyid: str) -> bytes:
    return f"{KIND} {keyid}".encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- acts ---------------------------------------------------------------------------------------


def hold_ceremony(
    central: Central,
    folder: Path,
    passphrases: Sequence[str],
    *,
    threshold: int,
    actor: Actor,
    signers: Sequence[CryptoSigner] = (),
) -> Done:
    """New root keys, one a passphrase, in files; the keystore keeps none.

    Args:
        threshold: how many of the new keys must sign a root from now on.
        signers: keys of the present root from files; those in the keystore are used by themselves.

    Raises:
        RefusedError: ``root_signatures``, ``weak_passphrase`` or ``threshold``; the root in force
            stays.
        InputError: a file cannot be written.
    """
    if not 1 <= threshold <= len(passphrases):
        raise RefusedError(
            f"a threshold of {threshold} does not fit {len(passphrases)} keys",
            reason="threshold",
            remedy="make at least as many keys as must sign",
        )
    fresh = [CryptoSigner.generate_ed25519() for _ in passphrases]
    files: list[Path] = []
    try:
        for signer, passphrase in zip(fresh, passphrases, strict=True):
            files.append(save_key(signer, folder, passphrase))

        def change(root: Root) -> None:
            for keyid in list(root.roles["root"].keyids):
                root.revoke_key(keyid, "root")
            for signer in fresh:
                root.add_key(signer.public_key, "root")
            root.roles["root"].threshold = threshold

        done = _change_root(central, change, [*signers, *fresh], Event.TUF_ROOT_ROTATED, actor)
    except BaseException:
        for path in files:  # keys of a root that never came into force
            path.unlink(missing_ok=True)
        raise
    return Done(done.version, done.keyids, done.threshold, tuple(files))


def rotate_key(
    central: Central, role: str, *, actor: Actor, signers: Sequence[CryptoSigner] = ()
) -> Done:
    """A new key for targets, snapshot or timestamp; everything is signed again with it.

    Raises:
        RefusedError: ``root_signatures``: bring more root keys; ``role``.
    """
    if role not in repository.ONLINE:
        raise RefusedError(
            f"{role} is no role with a key of its own in the keystore",
            reason="role",
            remedy=f"name one of {', '.join(repository.ONLINE)}; the root: tuf rotate-root",
        )

    def change(root: Root) -> None:
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        repository.new_key(central, root, role)

    return _change_root(central, change, signers, Event.TUF_KEY_ROTATED, actor, role)


def renew_root(central: Central, *, actor: Actor, signers: Sequence[CryptoSigner] = ()) -> Done:
    """The same keys for another year.

    Raises:
        RefusedError: ``root_signatures``.
    """
    return _change_root(central, lambda root: None, signers, Event.TUF_ROOT_RENEWED, actor, "root")


def _change_root(
    central: Central,
    change: Callable[[Root], None],
    signers: Sequence[CryptoSigner],
    event: Event,
    actor: Actor,
    role: str = "root",
) -> Done:
    """Install the next root, sign everything as it asks, then destroy the keys that fell out."""
    with central.database.write() as tx:  # keeps a publication out
        before = repository.latest_root(central).signed
        root = repository.next_root(central)
        change(root)
        at_hand = {s.public_key.keyid: s for s in signers}
        at_hand |= {
            s.public_key.keyid: s for s in repository.signers_at_hand(central, before, "root")
        }
        wanted = {*before.roles["root"].keyids, *root.roles["root"].keyids}
        repository.install_root(central, root, [at_hand[k] for k in sorted(wanted & set(at_hand))])
        publish.sign_again(central, tx)
        central.trail.record(
            tx,
            event,
            actor,
            at=central.clock(),
            subjects=(role,),
            detail={"root": root.version, "threshold": root.roles["root"].threshold},
        )
    for name in repository.ROLES:
        gone = set(before.roles[name].keyids) - set(root.roles[name].keyids)
        repository.forget_keys(central, gone, name)
    keyids = tuple(root.roles["root"].keyids)
    return Done(root.version, keyids, root.roles["root"].threshold)


# --- what there is ------------------------------------------------------------------------------


def status(central: Central) -> dict[str, Any]:
    """Keys and expiry by role, where the keys are, and what somebody should do about them."""
    folder, now = repository.metadata_folder(central), central.clock()
    root = repository.latest_root(central).signed
    stamp = repository.load(folder / "timestamp.json", Timestamp)
    number = stamp.signed.snapshot_meta.version if stamp else 0
    shot = repository.load(folder / f"{number}.snapshot.json", Snapshot)
    number = shot.signed.meta["targets.json"].version if shot else 0
    aims = repository.load(folder / f"{number}.targets.json", Targets)
    signed = {
        "root": root,
        "targets": aims.signed if aims else None,
        "snapshot": shot.signed if shot else None,
        "timestamp": stamp.signed if stamp else None,
    }
    roles: dict[str, Any] = {}
    advice: list[str] = []
    for role, made in signed.items():
        here = {s.public_key.keyid for s in repository.signers_at_hand(central, root, role)}
        roles[role] = {
            "version": made.version if made else 0,
            "expires": made.expires.isoformat() if made else None,
            "threshold": root.roles[role].threshold,
            "keys": {key: key in here for key in root.roles[role].keyids},
        }
        if made is None or made.expires <= now:
            remedy = "tuf renew-root" if role == "root" else "publish"
            advice.append(f"{role} has expired: cars take nothing new; alprd-central {remedy}")
        if role != "root" and len(here) < root.roles[role].threshold:
            advice.append(f"the keystore holds no key for {role}: tuf rotate-key {role}")
    offline = not any(roles["root"]["keys"].values())
    if not offline:
        advice.append("a root key lies in the keystore: hold a ceremony (docs/key-ceremony.md)")
    if now < root.expires <= now + repository.ROOT_WARNING and offline:
        advice.append(f"the root ends on {root.expires:%Y-%m-%d}: alprd-central tuf renew-root")
    return {"roles": roles, "root_offline": offline, "advice": advice}
