"""The shared vocabulary: what a read is, and nothing else may be in it (R-460.4.1-a).

A :class:`Read` is one plate detection. Its fields are the *permitted fields* of Policy 460.4.1(a)
(plate with issuing state and plate type, instant, place, pictures) and the system keys (id,
session, classification, destroy-by). There is no field for confidence, speed, heading, make or
colour, and an unknown field is an error, so none can slip in (T-4).
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel

from alprd.errors import InputError

MAX_LIFE: Final = timedelta(hours=60 * 24)
"""The longest a read not related to an active criminal investigation may live (R-460.5-4, T-19)."""

PLATE_TYPES: Final = ("passenger", "truck", "trailer", "motorcycle")

STATES: Final = frozenset(
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ "
    "NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY".split()
)
"""USPS codes of the 50 states and DC; any other issuer is ``None`` on a read."""

# Look-alikes that a reader or a person confuses on a plate; a list entry and a read with the same
# fold are at best a *look-alike* match (design: matching). Suppression uses the same fold, so a
# misread of a protected plate is suppressed too (T-10).
_FOLD: Final = str.maketrans("OQDIBSZG", "00018526")
_SEPARATORS: Final = re.compile(r"[^A-Z0-9]+")


def normalise(text: str) -> str:
    """Plate text as compared: upper case, letters and digits only."""
    return _SEPARATORS.sub("", text.upper())


def fold(text: str) -> str:
    """Canonical form of plate text with look-alikes folded: O/Q/D→0, I→1, B→8, S→5, Z→2, G→6."""
    return normalise(text).translate(_FOLD)


def new_id() -> str:
    """A random 128-bit id as 32 hex digits.

    Never time-ordered: an id lives on in trails for years and must not carry the instant of a
    destroyed read.
    """
    return secrets.token_hex(16)


def utc_now() -> datetime:
    """The system clock as an aware UTC datetime (the car uses ``alprd.clock`` instead)."""
    return datetime.now(UTC)


def hour_floor(instant: datetime) -> datetime:
    """The start of the hour that holds ``instant``."""
    return instant.replace(minute=0, second=0, microsecond=0)


def destroy_by(instant: datetime, life: timedelta = MAX_LIFE) -> datetime:
    """When a read collected at ``instant`` must be gone, floored to the hour (R-460.5-4).

    The floor keeps the stored value from telling the collection instant more closely than its
    hour (it stands outside the sealed part), and can only destroy early, never late.

    Raises:
        InputError: ``life`` is negative or longer than 60×24 h.
    """
    if not timedelta(0) <= life <= MAX_LIFE:
        raise InputError(
            f"life of a read is {life}, allowed is 0 to 60 x 24 h",
            remedy="lower retention_hours; the law's limit cannot be raised (R-460.5-4)",
        )
    return hour_floor(instant.astimezone(UTC) + life)


def _aware_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("time without a zone; give UTC")
    try:
        return value.astimezone(UTC)
    except OverflowError:  # pydantic turns ValueError alone into a validation error
        raise ValueError("time is outside the calendar in UTC") from None


def _bare_jpeg(value: bytes) -> bytes:
    """A JPEG without embedded metadata: no APP1…APP15 (EXIF, XMP, ICC) and no comment."""
    if value[:2] != b"\xff\xd8":
        raise ValueError("picture is not a JPEG")
    at = 2
    while at + 4 <= len(value) and value[at] == 0xFF:
        marker = value[at + 1]
        if marker == 0xDA:  # start of scan: entropy-coded data follows, no more headers
            return value
        if 0xE1 <= marker <= 0xEF or marker == 0xFE:
            raise ValueError("picture carries embedded metadata")
        at += 2 + int.from_bytes(value[at + 2 : at + 4], "big")
    raise ValueError("picture is cut short")


class Closed(BaseModel):
    """Base of every record that crosses a boundary: frozen, and an unknown field is an error.

    No text of a record that is read from JSON goes into pydantic's cache of strings. That cache is
    the process's, holds up to 16,384 texts for each thread that ever parses, and nothing ends
    them: plates, names and passwords would stay in memory long after their record is gone
    (R-460.5-b2), and the daemon would grow with every id that it meets.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        cache_strings="none",
    )


_T = TypeVar("_T")


class Uncached(RootModel[_T]):
    """Reads another type from JSON and keeps, as :class:`Closed` does, no text of it."""

    model_config = ConfigDict(cache_strings="none")


Utc = Annotated[datetime, AfterValidator(_aware_utc)]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""A machine name: vehicle, camera, list, source."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 as 64 hex digits."""
Jpeg = Annotated[bytes, Field(max_length=4_000_000), AfterValidator(_bare_jpeg)]
PlateText = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,10}$")]
PlateType = Literal["passenger", "truck", "trailer", "motorcycle"]
Classification = Literal["private", "confidential"]
Category = Literal[
    "stolen",
    "owner_warrant",
    "owner_suspended_revoked",
    "active_investigative",
    "other_lpdf",
]
"""The public-log columns of § 13.824 subd. 5(a)(3) (R-460.5.1-c1…-c5)."""


def _state(value: str | None) -> str | None:
    if value is not None and value not in STATES:
        raise ValueError(f"unknown issuing state {value!r}")
    return value


class Plate(Closed):
    """A plate number as printed: full-size characters, stacked part, issuing state, type."""

    text: PlateText
    stacked: Annotated[str, Field(pattern=r"^[A-Z0-9]{0,4}$")] = ""
    state: Annotated[str | None, AfterValidator(_state)] = None
    plate_type: PlateType | None = None


class Position(Closed):
    """WGS 84 degrees; ``accuracy_m`` is a 1-sigma horizontal estimate in metres."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]
    accuracy_m: Annotated[float, Field(ge=0)] | None = None


class Read(Closed):
    """One plate detection: the permitted fields and the system keys, closed (R-460.4.1-a).

    ``time_trusted`` and ``position=None`` mark what is not known; nothing is invented
    (R-460.4.1-a2). ``wide_picture`` shows vehicle and surroundings with every other plate masked
    (R-460.5-b5); it is ``None`` when it could not be kept.
    """

    id: Id
    session: Id
    classification: Classification = "private"
    destroy_by: Utc
    plate: Plate
    instant: Utc
    time_trusted: bool
    position: Position | None
    plate_picture: Jpeg
    wide_picture: Jpeg | None
