"""Where imported lists lie at central: packed, encrypted, each under a key of its own.

``<home>/lists/<file>`` is a target of :mod:`alprd.targetfile`; its key stands in the keystore, so
that a list that is replaced can be destroyed for good. Rule: R-460.4.1-b.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from alprd.central.hotlists import additional
from alprd.central.storage import db
from alprd.central.storage.keys import mac
from alprd.central.storage.store import Central
from alprd.errors import StoreError
from alprd.packed import header_of, pack
from alprd.rows import row_of
from alprd.targetfile import BytesSource, Source, TargetReader, TargetWriter
from alprd.wire import Hotlist

log: Final = logging.getLogger("alprd.central.hotlists.liststore")
FOLDER: Final = "lists"
_LEFT_S: Final = 86_400
"""A file without a list that is older than this was left by a crash."""


@dataclass(frozen=True, slots=True)
class ListSource:
    """A list in use: what it depends on, and its packed form."""

    depends: bytes
    plain: Source


def write(path: Path, list_id: str, key: bytes, fill: Callable[[TargetWriter], Hotlist]) -> Hotlist:
    """Write a list's file, encrypted under ``key``, and sync it; ``fill`` writes the plain bytes.

    Raises:
        StoreError: the disk refuses; nothing is left of the file.
    """
    try:
        with open(path, "xb", opener=private) as file:
            with TargetWriter(file, name=_stored_name(list_id), key=key) as writer:
                made = fill(writer)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StoreError(f"{path}: {error.strerror}", remedy="check free disk space") from error
    return made


def hotlists(central: Central, tx: Connection) -> dict[str, ListSource]:
    """Every list in use, by list id: what the cars receive, in its packed form.

    A list whose source the policy no longer allows is left out: a car takes no publication that
    names one (R-460.4.1-b). So is one with entries of an active investigation, which only
    :mod:`alprd.central.hotlists.additional` may publish (R-460.4.1-b2).

    Raises:
        StoreError: the file of a list or its key is gone.
        EnvelopeError: it was altered.
    """
    found: dict[str, ListSource] = {}
    for row in tx.execute(select(db.lists).order_by(db.lists.c.list_id)):
        if row.source not in central.config.policy.sources:
            log.error("list %s is not published: its source is not allowed", row.list_id)
            continue
        reader = TargetReader(
            central.home / FOLDER / row.file,
            name=_stored_name(row.list_id),
            key=central.keystore.secret(secret_name(row.file)),
        )
        if header_of(reader).counts.get("active_investigative"):
            # Taken in before imports refused such entries: nobody has approved them.
            log.error(
                "list %s is not published: it holds entries of an active investigation "
                "(R-460.4.1-b2); import it again",
                row.list_id,
            )
            reader.close()
            continue
        found[row.list_id] = ListSource(f"{row.version} {row.file}".encode(), reader)
    own = additional.hotlist(central, tx)
    if own is not None:  # the approved additional entries, a list of their own (R-460.4.1-b2)
        out = io.BytesIO()
        pack(own[0], sorted(row_of(entry) for entry in own[1]), out)
        plain = out.getvalue()
        found[additional.LIST_ID] = ListSource(mac(b"additional", plain), BytesSource(plain))
    return found


def sweep(central: Central) -> None:
    """Remove the files that no list uses, and their keys first.

    A young one may be that of an import which runs beside this one.
    """
    with central.database.read() as tx:
        used = set(tx.scalars(select(db.lists.c.file)))
    for path in (central.home / FOLDER).iterdir():
        if path.name not in used and time.time() - path.stat().st_mtime > _LEFT_S:
            forget(central, path.name)


def forget(central: Central, file_id: str) -> None:
    central.keystore.forget_secret(secret_name(file_id))
    (central.home / FOLDER / file_id).unlink(missing_ok=True)


def _stored_name(list_id: str) -> str:
    return f"stored {list_id}"


def secret_name(file_id: str) -> str:
    return f"list:{file_id}"


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
