"""Asking for a new agency in a terminal; what cannot be is asked again at once."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from pydantic import TypeAdapter, ValidationError

from alprd.central.staff import people
from alprd.central.staff.agencyfile import YEAR, AgencyFile, FilePerson, FirstPerson, first_person
from alprd.records import Name

_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered."""

    file: AgencyFile
    people: Sequence[FirstPerson]


def ask() -> Told:
    """Ask for the agency and its first two people, show it all, and let it be confirmed.

    Raises:
        click.Abort: no, or an end of the input; nothing was made.
    """
    click.echo("A new agency. Nothing is made before you have seen it all; Ctrl-C leaves.\n")
    name = _ask("Full name of the agency", _full_name)
    agency = _ask("Machine name, for files and certificates", _machine_name, _slug(name))
    zone = _ask("Time zone", _zone, _system_zone())
    hosts = _ask("Names of this server, as the cars and the office call it", _hosts, _host())
    click.echo("\nThe sheriff signs the written authorisations.")
    everyone = [_person("Sheriff", "sheriff", ())]
    click.echo("\nThe administration supervisor adds people, enrols cars and keeps the lists.")
    everyone.append(_person("Administration supervisor", "admin_supervisor", (everyone[0].id,)))
    file = AgencyFile(agency=agency, name=name, timezone=zone, hosts=tuple(hosts.split()))
    click.echo(
        f"\n  {name} ({agency}), {zone}\n  server: {', '.join(file.hosts) or 'this machine alone'}"
    )
    for person in everyone:
        click.echo(f"  {person.roles[0].replace('_', ' ')}: {person.name}, user id {person.id}")
    click.confirm("\nMake it", default=True, abort=True)
    return Told(file, everyone)


def _person(what: str, role: str, taken: tuple[str, ...]) -> FirstPerson:
    name = _ask(f"{what}, full name", _full_name)

    def free(text: str) -> str:
        if text in taken:
            raise click.BadParameter("this id is taken")
        return _machine_name(text)

    person_id = _ask("User id", free, _slug(name.split()[-1]))
    screening = _ask("Number of the screening letter (nobody signs on without one)", _short)
    year = (datetime.now(UTC) + YEAR).date()
    training = _ask("Training valid until", _day, year.isoformat())
    until = _ask("Written authorisation until, within 24 months", _day, year.isoformat())
    password = click.prompt(
        f"Password, at least {people.MIN_PASSWORD} characters",
        hide_input=True,
        confirmation_prompt="The same again",
        value_proc=_password,
    )
    made = FilePerson(
        id=person_id,
        name=name,
        roles=(role,),
        screening=screening,
        training_expires=date.fromisoformat(training),
        authorised_until=date.fromisoformat(until),
    )
    return first_person(made, str(password))


def _ask(what: str, check: Callable[[str], str], default: str | None = None) -> str:
    answer: Any = click.prompt(what, default=default or None, value_proc=check)
    return str(answer)


def _full_name(text: str) -> str:
    text = " ".join(text.split())
    if not 1 <= len(text) <= 200 or not text.isprintable():
        raise click.BadParameter("1 to 200 characters")
    return text


def _short(text: str) -> str:
    if not 1 <= len(text.strip()) <= 200:
        raise click.BadParameter("1 to 200 characters")
    return text.strip()


def _machine_name(text: str) -> str:
    try:
        return _NAME.validate_python(text.strip())
    except ValidationError:
        raise click.BadParameter(
            "1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        ) from None


def _zone(text: str) -> str:
    try:
        ZoneInfo(text.strip())
    except (KeyError, ValueError, OSError):
        raise click.BadParameter("not a time zone; such as America/Chicago") from None
    return text.strip()


def _hosts(text: str) -> str:
    for host in text.split():
        if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host):
            raise click.BadParameter(f"{host!r} is no host name or address")
    return text


def _day(text: str) -> str:
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise click.BadParameter("write 2027-01-31") from None
    today = datetime.now(UTC).date()
    if not today < day <= today + people.MAX_AUTHORISATION:
        raise click.BadParameter("ahead, within 24 months (R-13.824-7-1)")
    return day.isoformat()


def _password(text: str) -> str:
    if len(text) < people.MIN_PASSWORD:
        raise click.BadParameter(f"at least {people.MIN_PASSWORD} characters")
    return text


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("'", "")).strip("-")[:64]


def _system_zone() -> str:
    try:
        name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
        return _zone(name) if "/" in name else "America/Chicago"
    except (OSError, click.BadParameter):
        return "America/Chicago"


def _host() -> str:
    name = socket.getfqdn()
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name) else "localhost"
