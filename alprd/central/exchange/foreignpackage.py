"""The package in which another agency hands over reads (docs/imports.md).

::

    package.zip
    ├── transfer.json     format, sender, reference, terms, made
    ├── reads.jsonl       a line a read
    └── pictures/…        JPEG files that the lines name

The schema is closed: a field that is not permitted makes its line unusable (R-460.4.1-a,
R-460.5-3). Nothing is unpacked to disk, and nothing in the package decides how much memory it
takes.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from alprd.errors import InputError
from alprd.records import Closed, Plate, Position, Read, Utc, destroy_by

FORMAT: Final = "alprd-transfer/1"
MAX_LINES: Final = 200_000
MAX_LINE: Final = 10_000
MAX_PICTURE: Final = 4_000_000
_MAX_HEAD: Final = 100_000
_PICTURE: Final = re.compile(r"^pictures/[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.jpe?g$")
Reference = Annotated[str, Field(min_length=2, max_length=200)]


class Head(Closed):
    """``transfer.json``."""

    format: Literal["alprd-transfer/1"]
    sender: Reference
    reference: Reference
    terms: Annotated[str, Field(min_length=10, max_length=20_000)]
    """What the sender asks of the receiver: classification, purpose, destruction."""
    made: Utc


class Line(Closed):
    """A line of ``reads.jsonl``; ``instant`` is that of the collection, never of the transfer."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
    """The sender's own id; the same again is the same read."""
    plate: str
    stacked: str = ""
    state: str | None = None
    plate_type: str | None = None
    instant: Utc
    time_trusted: bool = True
    lat: float | None = None
    lon: float | None = None
    accuracy_m: float | None = None
    plate_picture: str
    wide_picture: str | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A line of the package: a read, or why it is none."""

    number: int
    read: Read | None
    reason: str = ""


class Package:
    """An opened package.

    Raises:
        InputError: not a package of this format.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.sha256 = _sha256(path)
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path.name} is not a package: {type(error).__name__}",
                remedy="see docs/imports.md for its form",
            ) from error
        try:
            self.head = Head.model_validate_json(self._bytes("transfer.json", _MAX_HEAD))
            self._zip.getinfo("reads.jsonl")
        except ValidationError as error:
            self._zip.close()
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(f"transfer.json: {place}: {first['msg']}") from None
        except (KeyError, InputError) as error:
            self._zip.close()
            raise InputError(f"{path.name} lacks transfer.json or reads.jsonl") from error

    def __enter__(self) -> Package:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def lines(self, name_of: Callable[[str], str], session: str) -> Iterator[Parsed]:
        """Every line as a read under its name here, or with the reason why it is none.

        Args:
            name_of: id here of the sender's id.
            session: what groups the reads of this transfer.

        Raises:
            InputError: the package is damaged, or has too many lines.
        """
        try:
            with self._zip.open("reads.jsonl") as file:
                number = 0
                while text := file.readline(MAX_LINE + 1):
                    number += 1
                    if number > MAX_LINES:
                        raise InputError(f"more than {MAX_LINES} lines", remedy="split the package")
                    if len(text) > MAX_LINE:
                        raise InputError(f"line {number} is longer than {MAX_LINE} bytes")
                    if text.strip():
                        yield self._parsed(number, text, name_of, session)
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError("the package is damaged", remedy="ask for it anew") from error

    def _parsed(
        self, number: int, text: bytes, name_of: Callable[[str], str], session: str
    ) -> Parsed:
        try:
            line = Line.model_validate(json.loads(text))
            name = name_of(line.id)
            place = None
            if line.lat is not None and line.lon is not None:
                place = Position(lat=line.lat, lon=line.lon, accuracy_m=line.accuracy_m)
            read = Read(
                id=name,
                session=session,
                destroy_by=destroy_by(line.instant),
                plate=Plate.model_validate(
                    {
                        "text": line.plate,
                        "stacked": line.stacked,
                        "state": line.state,
                        "plate_type": line.plate_type,
                    }
                ),
                instant=line.instant,
                time_trusted=line.time_trusted,
                position=place,
                plate_picture=self._picture(line.plate_picture),
                wide_picture=self._picture(line.wide_picture) if line.wide_picture else None,
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            return Parsed(number, None, f"{field}: {first['type']}")
        except InputError as error:
            return Parsed(number, None, error.message)
        except (ValueError, RecursionError, OverflowError):
            return Parsed(number, None, "not a JSON line")
        return Parsed(number, read)

    def _picture(self, name: str) -> bytes:
        if not _PICTURE.match(name):
            raise InputError("a picture's name is not pictures/NAME.jpg")
        return self._bytes(name, MAX_PICTURE)

    def _bytes(self, name: str, most: int) -> bytes:
        """A member, read to its limit whatever its header says."""
        try:
            with self._zip.open(name) as file:
                data = file.read(most + 1)
        except KeyError:
            raise InputError("a picture is missing in the package") from None
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error):
            raise InputError("a file of the package is damaged") from None
        if len(data) > most:
            raise InputError(f"a file of the package is larger than {most} bytes")
        return data


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
