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
from typing import Any, Final

from sqlalchemy import Row

from alprd.central.storage.keys import derive, mac, seal, unseal
from alprd.central.storage.objects import Objects
from alprd.crypto import canonical
from alprd.errors import EnvelopeError
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


def open_pictures(objects: Objects, read: str, read_key: bytes) -> tuple[bytes, bytes]:
    """Plate picture and wide picture (empty when there is none) of a read.

    Raises:
        EnvelopeError: the object is missing or was altered.
    """
    plain = unseal(read_key, objects.get("pictures", read), _picture_aad(read))
    (length,) = struct.unpack(">I", plain[:4])
    return plain[4 : 4 + length], plain[8 + length :]


def has_pictures(objects: Objects, read: str) -> bool:
    """Whether the pictures of a read are there."""
    return objects.size("pictures", read) is not None


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
