"""Match lists as targets: packed, encrypted as a stream, with deltas from the last versions.

A list is encrypted once for all cars, under a key that is new in each version. Beside the whole
list stands a delta from each of the last :data:`BASES` versions, a target of its own under a key of
its own; a car that holds one of them fetches a few kilobytes and makes the whole target out of its
old one (:mod:`alprd.patching`). When only the key is new, after a car was revoked, the delta is
empty and the other cars fetch next to nothing.

The files of those versions stay in ``tuf/targets`` with their content keys in the keystore, because
a delta is made from them; the table ``list_versions`` names them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from alprd import crypto
from alprd.central.storage import db
from alprd.central.storage.store import Central
from alprd.delta import make_delta
from alprd.deltatarget import MOST, delta_target, pad
from alprd.errors import EnvelopeError, InputError, StoreError
from alprd.targetfile import Source, TargetReader, TargetWriter

BASES: Final = 5
"""Versions before the newest from which a car can come by a delta: a working week."""
_PIECE: Final = 1 << 20
_WORTH: Final = 2
"""A delta is published when it has at most this fraction (1/n) of the whole list's size."""


def write_list(central: Central, tx: Connection, name: str, plain: Source) -> tuple[str, int]:
    """Encrypt a list under a new key, put it among the targets, and note the version.

    Args:
        name: of the target.
        plain: the packed list.

    Returns:
        SHA-256 (hex) and length of the file.

    Raises:
        EnvelopeError: the stored list is damaged.
        StoreError: the disk refuses.
    """
    folder, key = central.home / "tuf" / "targets", os.urandom(32)
    growing = folder / f".{name}.new"
    try:
        with open(growing, "wb", opener=_private) as file:
            with TargetWriter(file, name=name, key=key) as writer:
                for at in range(0, plain.size, _PIECE):
                    writer.write(plain.read_at(at, min(_PIECE, plain.size - at)))
            file.flush()
            os.fsync(file.fileno())
        central.keystore.put_secret(f"content:{writer.sha256}", key)
        growing.replace(folder / f"{writer.sha256}.{name}")
    except OSError as error:
        raise StoreError(f"{growing}: {error.strerror}", remedy="check free disk space") from error
    finally:
        growing.unlink(missing_ok=True)
    tx.execute(
        insert(db.list_versions).values(
            sha256=writer.sha256, target=name, published_at=central.clock()
        )
    )
    return writer.sha256, writer.length


def make_deltas(
    central: Central, tx: Connection, name: str, sha256: str, length: int
) -> dict[str, bytes]:
    """Deltas to the newest version of a list, encrypted, by the name of their target.

    Their content keys are in the keystore when this returns.
    """
    found: dict[str, bytes] = {}
    with _reader(central, name, sha256) as new:
        for base in bases(tx, name):
            if base == sha256:
                continue
            try:
                with _reader(central, name, base) as old:
                    plain = pad(make_delta(old, new))
            except (StoreError, InputError, EnvelopeError):
                continue  # cars that hold it fetch the whole list
            if len(plain) > min(MOST, length // _WORTH) and length > len(pad(b"")) * _WORTH:
                continue
            delta, key = delta_target(name, base), os.urandom(32)
            sealed = crypto.encrypt_target(plain, name=delta, key=key)
            central.keystore.put_secret(f"content:{crypto.sha256_hex(sealed)}", key)
            found[delta] = sealed
    return found


def bases(tx: Connection, name: str) -> list[str]:
    """Digests of the newest versions of a list, the newest first."""
    table = db.list_versions
    return list(
        tx.scalars(
            select(table.c.sha256)
            .where(table.c.target == name)
            .order_by(table.c.number.desc())
            .limit(BASES + 1)
        )
    )


def forget_old(tx: Connection, names: set[str]) -> set[str]:
    """Forget versions that no delta starts from; the files that must stay.

    Args:
        names: targets of the lists that are published.
    """
    keep: set[str] = set()
    for name in set(tx.scalars(select(db.list_versions.c.target).distinct())):
        kept = bases(tx, name) if name in names else []
        tx.execute(
            delete(db.list_versions)
            .where(db.list_versions.c.target == name)
            .where(db.list_versions.c.sha256.not_in(kept))
        )
        keep |= {f"{sha256}.{name}" for sha256 in kept}
    return keep


def _reader(central: Central, name: str, sha256: str) -> TargetReader:
    path: Path = central.home / "tuf" / "targets" / f"{sha256}.{name}"
    return TargetReader(path, name=name, key=central.keystore.secret(f"content:{sha256}"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
