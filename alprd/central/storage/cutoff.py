"""The note in a home that a restore is under way, or was cut off.

It is written, durable, before the restore changes anything, and taken away when its rows, links and
publication fit the keystore. While it is there nothing but a restore opens the home.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from alprd.crypto import write_secret
from alprd.errors import StoreError
from alprd.records import new_id

NOTE: Final = "restoring.json"


@dataclass(frozen=True, slots=True)
class Begun:
    """What a restore found when it began."""

    source: str
    """The backup's folder."""
    aside: str
    """Name under which the home's SQLite file of before is set aside."""
    bare: bool
    """Whether the home had no published repository."""


def begin(home: Path, source: Path, now: datetime, *, bare: bool) -> Begun:
    """Write the note; nothing was changed before."""
    # A name of its own: what an earlier restore set aside is not written over.
    made = Begun(str(source.resolve()), f"central.db.{now:%Y%m%d}-{new_id()[:8]}.old", bare)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(home / NOTE, json.dumps(asdict(made)).encode())
    return made


def begun(home: Path) -> Begun | None:
    """The restore that was cut off in this home, if any.

    Raises:
        StoreError: the note cannot be read.
    """
    try:
        said = json.loads((home / NOTE).read_text(encoding="utf-8"))
        return Begun(str(said["source"]), str(said["aside"]), bool(said["bare"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{home / NOTE} cannot be read", remedy="look after the disk, then restore again"
        ) from error


def end(home: Path) -> None:
    """The restore is done; durable when this returns."""
    (home / NOTE).unlink(missing_ok=True)
    handle = os.open(home, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse(home: Path) -> None:
    """Keep everything but a restore from a home that is half restored.

    Raises:
        StoreError: a restore was cut off there, or is under way.
    """
    found = begun(home)
    if found is not None:
        raise StoreError(
            f"a restore into {home} was cut off, or is under way",
            remedy=f"end it: alprd-central restore --home {home} --from {found.source}",
        )
