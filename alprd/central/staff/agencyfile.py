"""``agency.toml``: what ``alprd-central init --from`` is told (docs/administration.md).

A password never stands in it: each person names a file whose first line it is, or ``-`` for the
next line of standard input.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, TextIO

from pydantic import Field, ValidationError

from alprd.central.staff import people
from alprd.central.storage.config import StorageSettings
from alprd.errors import ConfigError, InputError
from alprd.records import Closed, Name
from alprd.wire import Clearance

YEAR: Final = timedelta(days=365)
STDIN: Final = "-"


class FilePerson(Closed):
    """One of the first people."""

    id: Name
    name: Annotated[str, Field(min_length=1, max_length=200)]
    roles: Annotated[tuple[str, ...], Field(min_length=1)]
    screening: Annotated[str, Field(min_length=1, max_length=200)]
    """Reference of the completed screening (R-CJIS-6): without it nobody signs on."""
    password_file: Annotated[str, Field(min_length=1)] = STDIN
    training_expires: date | None = None
    authorised_until: date | None = None
    """Both a year from now when left out."""
    clearances: tuple[Clearance, ...] = ()


class AgencyFile(Closed):
    """The whole file; an unknown name is an error."""

    agency: str
    name: str
    timezone: str = "America/Chicago"
    hosts: tuple[str, ...] = ()
    policy_version: str = "460"
    adopted_by: str = "Sheriff"
    retention_hours: Annotated[int, Field(ge=0, le=1440)] = 1440
    storage: StorageSettings = StorageSettings()
    """As in ``central.toml``: databases and buckets elsewhere."""
    people: tuple[FilePerson, ...] = ()


class FirstPerson(FilePerson):
    """With the password that was read; lives in memory only."""

    password: Annotated[str, Field(min_length=people.MIN_PASSWORD, max_length=1000, repr=False)]

    def instant(self, day: date | None, now: datetime) -> datetime:
        """The end of a training or authorisation: the start of that UTC day, or in a year."""
        if day is None:
            return now + YEAR
        return datetime(day.year, day.month, day.day, tzinfo=UTC)


def load(path: Path) -> AgencyFile:
    """Read the file.

    Raises:
        ConfigError: missing, not TOML, or a value that cannot be, by its place.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", remedy="see docs/administration.md") from error
    try:
        return AgencyFile.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {place}: {first['msg']}", remedy="see docs/administration.md"
        ) from error


def with_passwords(file: AgencyFile, folder: Path, stdin: TextIO) -> Sequence[FirstPerson]:
    """The people with their passwords, in the order of the file.

    Raises:
        InputError: a password that is missing or short, or a role that does not exist.
    """
    made = []
    for person in file.people:
        unknown = sorted(set(person.roles) - set(people.ROLES))
        if unknown:
            raise InputError(
                f"{person.id}: unknown role {unknown[0]}",
                remedy=f"one of {', '.join(people.ROLES)}",
            )
        made.append(first_person(person, _password(person, folder, stdin)))
    ids = [person.id for person in made]
    if len(set(ids)) != len(ids):
        raise InputError("people: an id stands there twice")
    return made


def first_person(person: FilePerson, password: str) -> FirstPerson:
    """A person of the file with a password.

    Raises:
        InputError: it is too short.
    """
    if len(password) < people.MIN_PASSWORD:
        raise InputError(
            f"{person.id}: the password is shorter than {people.MIN_PASSWORD} characters"
        )
    return FirstPerson(**person.model_dump(), password=password)


def _password(person: FilePerson, folder: Path, stdin: TextIO) -> str:
    if person.password_file == STDIN:
        line = stdin.readline()
        if not line.strip():
            raise InputError(
                f"{person.id}: no password on standard input",
                remedy="one line for each person, in the order of the file",
            )
        return line.rstrip("\r\n")
    path = folder / person.password_file
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{person.id}: {path} cannot be read") from error
