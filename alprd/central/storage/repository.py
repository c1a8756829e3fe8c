"""The TUF repository's metadata: who signs what, and the order in which it reaches the disk.

Roles have keys of their own. The keys of targets, snapshot and timestamp lie in the keystore,
because central signs with them by itself; those of the root may lie elsewhere
(:mod:`alprd.central.publication.ceremony`). A key is found by the id that the latest root names, so
a rotation is nothing but a new root and signatures made anew.

Consistent snapshots are on: metadata and targets are never overwritten, except ``timestamp.json``,
which is written last and makes the rest visible. What is due is found by comparison with what is on
the disk, so that a publication which was killed heals at the next run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from alprd import crypto
from alprd.central.storage.store import Central
from alprd.errors import RefusedError, StoreError

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
ONLINE: Final = ("targets", "snapshot", "timestamp")
"""Roles whose keys central uses by itself."""
LIFE: Final = {
    "root": timedelta(days=365),
    "targets": timedelta(days=30),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=2),
}
ROOT_WARNING: Final = timedelta(days=60)
"""A root with less life left is renewed where its key is at hand, and warned of where it is not."""
KEPT_VERSIONS: Final = 48
"""Versions of targets and snapshot metadata that stay on the disk."""

_S = TypeVar("_S", Root, Targets, Snapshot, Timestamp)


def metadata_folder(central: Central) -> Path:
    """Where the metadata lies."""
    return central.home / "tuf" / "metadata"


def create_root(central: Central) -> None:
    """Make a key for each role and the first root."""
    root = Root(expires=expiry(central, "root"), consistent_snapshot=True)
    signers = {role: new_key(central, root, role) for role in ROLES}
    install_root(central, root, [signers["root"]])


def first_root(central: Central) -> str:
    """The first root metadata, which a car trusts by its enrolment."""
    return (metadata_folder(central) / "1.root.json").read_text(encoding="utf-8")


def latest_root(central: Central) -> Metadata[Root]:
    """The root in force.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    folder = metadata_folder(central)
    versions = [int(path.name.split(".")[0]) for path in folder.glob("*.root.json")]
    found = load(folder / f"{max(versions, default=1)}.root.json", Root)
    if found is None:
        raise StoreError(f"{folder} holds no root", remedy="restore the tuf folder")
    return found


def new_key(central: Central, root: Root, role: str) -> CryptoSigner:
    """A new key for a role, in the keystore and in a root that is being made."""
    signer = CryptoSigner.generate_ed25519()
    keep_key(central, signer)
    root.add_key(signer.public_key, role)
    return signer


def keep_key(central: Central, signer: CryptoSigner) -> None:
    """Put a private key into the keystore."""
    central.keystore.put_secret(_secret(signer.public_key.keyid), signer.private_bytes)


def forget_keys(central: Central, ids: Iterable[str], role: str) -> None:
    """Destroy private keys of a role; nothing of them stays in the keystore's log."""
    for keyid in ids:
        if (old := _old_home(central, role)) is not None and old.public_key.keyid == keyid:
            central.keystore.forget_secret(f"tuf-{role}")
        central.keystore.forget_secret(_secret(keyid))
    central.keystore.database.checkpoint()


def signers_at_hand(central: Central, root: Root, role: str) -> list[CryptoSigner]:
    """Those keys of a role that the keystore holds."""
    found = []
    for keyid in root.roles[role].keyids:
        pem = central.keystore.find_secret(_secret(keyid))
        if pem is not None:
            found.append(signer_from(pem))
        elif (old := _old_home(central, role)) is not None and old.public_key.keyid == keyid:
            found.append(old)
    return found


def signer_from(pem: bytes) -> CryptoSigner:
    """A signer from a private key in PEM."""
    key: Any = load_pem_private_key(pem, password=None)
    return CryptoSigner(key)


def install_root(central: Central, root: Root, signers: Iterable[CryptoSigner]) -> None:
    """Sign a root and make it the one in force, if enough of the old and the new keys signed.

    Raises:
        RefusedError: ``root_signatures``: cars would not follow it; nothing was changed.
    """
    made = Metadata(root)
    for signer in signers:
        made.sign(signer, append=True)
    judges = [root] if root.version == 1 else [latest_root(central).signed, root]
    for judge in judges:
        result = judge.get_verification_result("root", made.signed_bytes, made.signatures)
        if not result:
            raise RefusedError(
                f"root version {root.version} has {len(result.signed)} of the {result.threshold} "
                f"signatures that root version {judge.version} asks for",
                reason="root_signatures",
                remedy="bring the files of more root keys: --root-key FILE",
            )
    write(metadata_folder(central) / f"{root.version}.root.json", made.to_bytes())


def renew_root_if_due(central: Central) -> bool:
    """Sign the root for another year where its keys are at hand; whether that was done."""
    old = latest_root(central).signed
    if old.expires - central.clock() > ROOT_WARNING:
        return False
    signers = signers_at_hand(central, old, "root")
    if len(signers) < old.roles["root"].threshold:
        return False  # the keys lie elsewhere: `tuf status` and the pages warn
    install_root(central, next_root(central), signers)
    return True


def next_root(central: Central) -> Root:
    """A copy of the root in force under the next version, with a whole life."""
    root = Root.from_dict(latest_root(central).signed.to_dict())
    root.version += 1
    root.expires = expiry(central, "root")
    return root


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is signed now, by role: its version and how much of its life is left."""

    versions: dict[str, int]
    left: dict[str, timedelta]
    changed: bool
    """Whether the targets to publish are others than those that are signed."""

    def due(self, role: str) -> bool:
        """Whether a role's metadata is to be written anew.

        Half its life is left at least, so that a car which docks always finds a living signature.
        """
        return self.changed or self.left[role] < LIFE[role] / 2


def _standing(central: Central, files: Mapping[str, TargetFile]) -> _Standing:
    folder, now = metadata_folder(central), central.clock()
    root = latest_root(central).signed
    changed = True
    versions = dict.fromkeys(ONLINE, 0)
    left = dict.fromkeys(ONLINE, timedelta(0))
    timestamp = load(folder / "timestamp.json", Timestamp)
    if timestamp is not None:
        versions["timestamp"] = timestamp.signed.version
        versions["snapshot"] = timestamp.signed.snapshot_meta.version
        left["timestamp"] = _life_left(root, timestamp, now)
        snapshot = load(folder / f"{versions['snapshot']}.snapshot.json", Snapshot)
        if snapshot is not None:
            versions["targets"] = snapshot.signed.meta["targets.json"].version
            left["snapshot"] = _life_left(root, snapshot, now)
            targets = load(folder / f"{versions['targets']}.targets.json", Targets)
            if targets is not None:
                left["targets"] = _life_left(root, targets, now)
                changed = targets.signed.targets != files
    return _Standing(versions, left, changed)


def targets_due(central: Central, files: Mapping[str, TargetFile]) -> bool:
    """Whether :func:`sign` would write a new version of the targets."""
    return _standing(central, files).due("targets")


def sign(central: Central, files: Mapping[str, TargetFile], *, ahead: int = 0) -> int:
    """Write targets, snapshot and timestamp metadata as needed; the version of the targets.

    Args:
        ahead: versions to skip, after the repository was restored from a backup.
    """
    folder = metadata_folder(central)
    root = latest_root(central).signed
    found = _standing(central, files)
    if ahead:
        versions = {role: version + ahead for role, version in found.versions.items()}
        found = replace(found, versions=versions, changed=True)
    versions = dict(found.versions)
    due = {role: found.due(role) for role in versions}
    if due["targets"]:
        versions["targets"] += 1
        made = Metadata(Targets(versions["targets"], expires=expiry(central, "targets")))
        made.signed.targets = dict(files)
        _signed(central, root, made, folder / f"{versions['targets']}.targets.json")
    if due["targets"] or due["snapshot"]:
        versions["snapshot"] += 1
        meta = {"targets.json": MetaFile(versions["targets"])}
        shot = Metadata(
            Snapshot(versions["snapshot"], expires=expiry(central, "snapshot"), meta=meta)
        )
        _signed(central, root, shot, folder / f"{versions['snapshot']}.snapshot.json")
    if any(due.values()):
        stamp = Metadata(
            Timestamp(
                versions["timestamp"] + 1,
                expires=expiry(central, "timestamp"),
                snapshot_meta=MetaFile(versions["snapshot"]),
            )
        )
        _signed(central, root, stamp, folder / "timestamp.json")  # last: publishes the rest
    for role in ("targets", "snapshot"):
        _forget_old(folder, role, versions[role])
    return versions["targets"]


def _forget_old(folder: Path, role: str, newest: int) -> None:
    """An hourly publication must not fill the disk; a car in the midst of one asks for the newest.

    The roots all stay: a car that was long away follows them one by one.
    """
    for path in folder.glob(f"*.{role}.json"):
        number = path.name.split(".")[0]
        if number.isdecimal() and int(number) <= newest - KEPT_VERSIONS:
            path.unlink(missing_ok=True)


def load(path: Path, kind: type[_S]) -> Metadata[_S] | None:
    """Metadata from the disk; ``None`` when there is no such file.

    Raises:
        StoreError: the file is of another kind.
    """
    if not path.exists():
        return None
    made: Metadata[_S] = Metadata.from_bytes(path.read_bytes())
    if not isinstance(made.signed, kind):
        raise StoreError(f"{path} is not {kind.__name__} metadata", remedy="restore the tuf folder")
    return made


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StoreError: the disk refuses.
    """
    try:
        crypto.write_secret(path, data)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", remedy="check free disk space") from error


def expiry(central: Central, role: str) -> datetime:
    """When metadata of a role that is signed now ends."""
    return (central.clock() + LIFE[role]).replace(microsecond=0)


def _life_left(root: Root, made: Metadata[_S], now: datetime) -> timedelta:
    """How long cars will take it; nothing, when it is not signed as the root in force asks."""
    try:
        root.verify_delegate(made.signed.type, made.signed_bytes, made.signatures)
    except UnsignedMetadataError:
        return timedelta(0)  # a key was rotated
    return made.signed.expires - now


def _signed(central: Central, root: Root, made: Metadata[_S], path: Path) -> None:
    role = made.signed.type
    signers = signers_at_hand(central, root, role)
    if len(signers) < root.roles[role].threshold:
        raise StoreError(
            f"keystore holds no key for the role {role}",
            remedy=f"restore keystore.db, or: alprd-central tuf rotate-key {role}",
        )
    for signer in signers:
        made.sign(signer, append=True)
    write(path, made.to_bytes())


def _secret(keyid: str) -> str:
    return f"tuf:{keyid}"


def _old_home(central: Central, role: str) -> CryptoSigner | None:
    """The key of a role as homes made before rotation existed hold it."""
    pem = central.keystore.find_secret(f"tuf-{role}")
    return None if pem is None else signer_from(pem)
