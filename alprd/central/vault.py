"""How a read lies in the store: an encrypted cell, keyed digests, one encrypted picture file.

Cell (under the read's key): JSON of plate, instant, time_trusted and position, padded to 512
bytes so that its length says nothing. Picture file: both pictures under the same key.

A suppressed read (R-460.5-b2) becomes a *void*: its plate, instant, place and pictures are gone,
and random bytes of the same shape stand in the row and the file, under a key like any other.
Without the agency key a void cannot be told from a read, so no difference between what arrived
and what is held betrays a request (R-460.5-b4); a search passes over it silently.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row

from alprd.central.keys import derive, mac, seal, unseal
from alprd.crypto import canonical, write_secret
from alprd.errors import EnvelopeError, StoreError
from alprd.records import Closed, Plate, Position, Read, Utc, fold

_CELL: Final = 512
_VOID: Final = b"{}"
PICTURE_OVERHEAD: Final = 8 + 12 + 16
"""Bytes of a picture file beyond its pictures: two lengths, nonce, tag."""


class Cell(Closed):
    """The permitted fields of a stored read, pictures apart (R-460.4.1-a)."""

    plate: Plate
    instant: Utc
    time_trusted: bool
    position: Position | None
    wide: bool


@dataclass(frozen=True, slots=True)
class SealedRead:
    """The encrypted columns of a row and the content of its picture file."""

    cell: bytes
    digests: tuple[bytes, bytes, bytes]
    pictures: bytes


def folds(plate: Plate) -> tuple[str, ...]:
    """Every folded form under which a plate may be listed: text, with stacked in both orders."""
    forms = [fold(plate.text)]
    if plate.stacked:
        forms += [fold(plate.text + plate.stacked), fold(plate.stacked + plate.text)]
    return tuple(forms)


def plate_digest(hour_key: bytes, folded: str) -> bytes:
    """Keyed digest of a folded plate for exact search inside one hour, 16 bytes."""
    return mac(derive(hour_key, "plate digest"), folded.encode())[:16]


def seal_read(read: Read, read_key: bytes, hour_key: bytes) -> SealedRead:
    """Encrypt a read for storage."""
    cell = Cell(
        plate=read.plate,
        instant=read.instant,
        time_trusted=read.time_trusted,
        position=read.position,
        wide=read.wide_picture is not None,
    )
    known = [plate_digest(hour_key, form) for form in folds(read.plate)]
    return SealedRead(
        cell=seal(read_key, canonical(cell).ljust(_CELL), _cell_aad(read.id)),
        digests=_three(known),
        pictures=seal(
            read_key,
            b"".join(
                struct.pack(">I", len(part)) + part
                for part in (read.plate_picture, read.wide_picture or b"")
            ),
            _picture_aad(read.id),
        ),
    )


def seal_void(read: str, picture_bytes: int, read_key: bytes) -> SealedRead:
    """What stands in place of a suppressed read; ``picture_bytes`` is the size of its pictures."""
    return SealedRead(
        cell=seal(read_key, _VOID.ljust(_CELL), _cell_aad(read)),
        digests=_three([]),
        pictures=seal(read_key, os.urandom(picture_bytes + 8), _picture_aad(read)),
    )


def _three(known: Iterable[bytes]) -> tuple[bytes, bytes, bytes]:
    first, second, third = [*known, *(os.urandom(16) for _ in range(3))][:3]
    return first, second, third


def open_cell(row: Row[Any], read_key: bytes) -> Cell | None:
    """The fields of a stored read; ``None`` for a void.

    Raises:
        EnvelopeError: the row was altered.
    """
    plain = unseal(read_key, row.cell, _cell_aad(row.id)).strip()
    if plain == _VOID:
        return None
    try:
        return Cell.model_validate(json.loads(plain))
    except ValueError:
        raise EnvelopeError(f"stored read {row.id} does not fit its schema") from None


def open_pictures(home: Path, read: str, read_key: bytes) -> tuple[bytes, bytes]:
    """Plate picture and wide picture (empty when there is none) of a read.

    Raises:
        EnvelopeError: the file is missing or was altered.
    """
    try:
        sealed = picture_path(home, read).read_bytes()
    except OSError as error:
        raise EnvelopeError(f"pictures of read {read}: {error.strerror}") from error
    plain = unseal(read_key, sealed, _picture_aad(read))
    (length,) = struct.unpack(">I", plain[:4])
    return plain[4 : 4 + length], plain[8 + length :]


def picture_path(home: Path, read: str) -> Path:
    """The picture file of a read."""
    return home / "pictures" / read[:2] / read


def write_pictures(home: Path, read: str, sealed: bytes) -> None:
    """Put a picture file on disk; durable when this returns."""
    write_file(picture_path(home, read), sealed)


def write_file(path: Path, sealed: bytes) -> None:
    """Put an encrypted file on disk; durable when this returns.

    Raises:
        StoreError: the disk is full or the folder cannot be used; nothing was stored.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(path.parent.parent)  # else a power cut could take the folder away
        write_secret(path, sealed)
    except OSError as error:
        raise StoreError(
            f"file in {path.parent} cannot be written: {error.strerror}",
            remedy="check free disk space and the folder's owner",
        ) from error


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_pictures(home: Path, reads: Iterable[str]) -> None:
    """Remove picture files; those already gone are no error."""
    for read in reads:
        picture_path(home, read).unlink(missing_ok=True)


def quarantine_path(home: Path, sha256: str) -> Path:
    """The file of a quarantined envelope."""
    return home / "quarantine" / sha256


def row_values(
    read: Read, sealed: SealedRead, *, vehicle: str, hour: datetime, destroy_by: datetime
) -> dict[str, Any]:
    """The columns of a new row; the instant appears by its hour only."""
    return {
        "id": read.id,
        "hour": hour,
        "destroy_by": destroy_by,
        "classification": read.classification,
        "session": read.session,
        "vehicle": vehicle,
        "cell": sealed.cell,
        "digest0": sealed.digests[0],
        "digest1": sealed.digests[1],
        "digest2": sealed.digests[2],
    }


def _cell_aad(read: str) -> bytes:
    return f"cell {read}".encode()


def _picture_aad(read: str) -> bytes:
    return f"pictures {read}".encode()
