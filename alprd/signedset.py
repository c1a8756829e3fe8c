"""Verification of a stored publication: signatures, versions and digests, without contact."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

METADATA: Final = ("timestamp.json", "snapshot.json", "targets.json")
"""Files of a set beside its roots."""
_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


def verify_set(first_root: bytes, folder: Path) -> Targets:
    """Signatures of a stored set, first root → … → targets, as TUF's client workflow has them.

    Versions and hashes must fit together; expiry is left out on purpose (see the module).
    """
    root = _signed(None, Root, first_root)
    while (path := folder / "roots" / f"{root.version + 1}.root.json").exists():
        data = path.read_bytes()
        following = _signed(root, Root, data)
        if following.version != root.version + 1:
            raise tuf_errors.BadVersionNumberError(f"{path.name} has another version inside")
        root = _signed(following, Root, data)
    timestamp_data, snapshot_data, targets_data = (
        (folder / name).read_bytes() for name in METADATA
    )
    timestamp = _signed(root, Timestamp, timestamp_data)
    timestamp.snapshot_meta.verify_length_and_hashes(snapshot_data)
    snapshot = _signed(root, Snapshot, snapshot_data)
    meta = snapshot.meta["targets.json"]
    meta.verify_length_and_hashes(targets_data)
    targets = _signed(root, Targets, targets_data)
    if (snapshot.version, targets.version) != (timestamp.snapshot_meta.version, meta.version):
        raise tuf_errors.BadVersionNumberError("stored metadata is of different publications")
    return targets


def _signed(root: Root | None, kind: type[_S], data: bytes) -> _S:
    """Metadata of a kind, after checking who signed it; the first root vouches for itself."""
    metadata = Metadata[_S].from_bytes(data)
    signed = metadata.signed
    if not isinstance(signed, kind):
        raise tuf_errors.RepositoryError(f"metadata is not of type {kind.type}")
    by = root or signed
    if not isinstance(by, Root):
        raise tuf_errors.RepositoryError("metadata without a root")
    by.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    return signed
