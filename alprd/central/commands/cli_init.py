"""``alprd-central init``: an agency ready in one command, by options, from a file, or by asking.

Everything is asked and checked before the first key is made. The first sheriff and the first
administration supervisor come with it: the one cannot authorise, nor the other add, before either
exists; from then on nobody comes in by one person alone (R-13.824-7-1).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import click
from pydantic import ValidationError

from alprd.audit import Actor
from alprd.central.commands.clikit import HOME, JSON, errors, show
from alprd.central.publication import publish
from alprd.central.staff import agencyfile, askagency, people
from alprd.central.staff.agencyfile import FirstPerson
from alprd.central.staff.permissions import Act, roles
from alprd.central.storage import config
from alprd.central.storage.store import Central, initialise, open_objects
from alprd.errors import ConfigError, InputError

UNFINISHED: Final = ".init-unfinished"
"""Lies in the folder while it is made; an agency without it is whole."""
FOUNDERS: Final = (Act.PEOPLE_AUTHORISE, Act.PEOPLE_CHANGE)
"""What the first people must be able to do, between them."""

_ALLOWED: Final = {
    "agency": (
        "--agency",
        "a machine name of 1 to 64 letters, digits, '.', '_' or '-' that begins with a letter or "
        "digit, such as becker-county; the full name goes in --name",
    ),
    "agency_name": ("--name", "1 to 200 characters"),
    "timezone": ("--timezone", "an IANA time zone, such as America/Chicago"),
}


@dataclass(frozen=True, slots=True)
class Founding:
    """All that an agency is made of."""

    settings: config.CentralConfig
    people: Sequence[FirstPerson] = ()


def refused_settings(error: ValidationError) -> InputError:
    """The first setting that cannot be, by the option that gave it."""
    first = error.errors(include_url=False)[0]
    place = str(first["loc"][0])
    if place == "storage":
        place = f"--{first['loc'][-1]}"
    option, allowed = _ALLOWED.get(place, (place, ""))
    return InputError(
        f"{option}: {first['input']!r} is not allowed",
        remedy=f"give {allowed}" if allowed else first["msg"],
    )


@click.command()
@HOME
@click.option(
    "--from",
    "from_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="An agency.toml (docs/administration.md) instead of the options below.",
)
@click.option("--agency", default="", help="Machine name; left out in a terminal: asked for.")
@click.option("--name", default=None, help="Full name of the agency.")
@click.option("--policy-version", default="460", show_default=True)
@click.option("--adopted-by", default="Sheriff", show_default=True, help="Who adopted the policy.")
@click.option("--retention-hours", type=click.IntRange(0, 1440), default=1440, show_default=True)
@click.option("--timezone", default="America/Chicago", show_default=True)
@click.option("--host", "hosts", multiple=True, help="More names or addresses of this server.")
@click.option("--intake-from", help="First day of the intake keys (default: 60 days back).")
@click.option("--database", default="", help="postgresql://USER@HOST/NAME; default: a file here.")
@click.option("--keystore", default="", help="The same for the keystore; never in a backup.")
@click.option("--replica", default="", help="A second keystore file, on another disk.")
@click.option("--pictures", default="", help="s3://BUCKET/PREFIX; default: a folder here.")
@click.option("--endpoint", default="", help="URL of the S3-compatible server.")
@click.option("--region", default="", help="Region of the bucket.")
@click.option("--credentials", default="", help="File with access key id and secret, 0600.")
@JSON
@errors
def init(
    home: Path,
    from_file: Path | None,
    agency: str,
    name: str | None,
    policy_version: str,
    adopted_by: str,
    retention_hours: int,
    timezone: str,
    hosts: tuple[str, ...],
    intake_from: str | None,
    database: str,
    keystore: str,
    replica: str,
    pictures: str,
    endpoint: str,
    region: str,
    credentials: str,
    as_json: bool,
) -> None:
    """Make an agency ready: settings, keys, databases, certificates, people, publication."""
    try:
        first = date.fromisoformat(intake_from) if intake_from else None
    except ValueError as error:
        raise InputError("--intake-from: not an ISO date", remedy="write 2026-01-31") from error
    _free(home)
    given = click.get_current_context().get_parameter_source
    if from_file is not None:
        if agency or name:
            raise InputError("--from and --agency exclude each other")
        founding = _from_file(from_file)
    elif given("agency") is click.core.ParameterSource.DEFAULT and name is None:
        if not sys.stdin.isatty():
            raise InputError(
                "--agency: is missing", remedy="give --agency and --name, or --from agency.toml"
            )
        told = askagency.ask()
        founding = Founding(_settings(told.file), told.people)
    else:
        founding = Founding(
            _checked(
                {
                    "agency": agency,
                    "agency_name": name or "",
                    "timezone": timezone,
                    "hosts": ("localhost", "127.0.0.1", *hosts),
                    "policy": _policy(policy_version, adopted_by, retention_hours),
                    "storage": {
                        "database": database,
                        "keystore": keystore,
                        "replica": replica,
                        "pictures": pictures,
                        "endpoint": endpoint,
                        "region": region,
                        "credentials": credentials,
                    },
                }
            )
        )
    found(home, founding, first)
    show(
        as_json,
        {
            "home": str(home),
            "agency": founding.settings.agency,
            "people": [person.id for person in founding.people],
        },
        f"agency {founding.settings.agency} is ready in {home}\n\n{_next(home, founding)}",
    )


def found(home: Path, founding: Founding, intake_from: date | None = None) -> None:
    """Make the agency's folder, its first people and its first publication.

    Raises:
        ConfigError: the folder already holds an agency, whole or unfinished.
    """
    open_objects(home, founding.settings.storage).check()  # before anything is made
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = home / UNFINISHED
    mark.touch(mode=0o600)
    initialise(home, founding.settings, intake_from=intake_from)
    by = Actor(os.environ.get("USER", "root")[:64], "alprd-central init", "command line")
    with Central(home) as central:
        now = central.clock()
        for person in founding.people:
            people.add(
                central,
                person_id=person.id,
                name=person.name,
                roles=person.roles,
                password=person.password,
                training_expires=person.instant(person.training_expires, now),
                authorised_until=person.instant(person.authorised_until, now),
                clearances=person.clearances,
                by=by,
                screening=person.screening,
                fresh=True,
            )
        publish.create_repository(central)
    mark.unlink()


def _free(home: Path) -> None:
    if (home / UNFINISHED).exists():
        raise ConfigError(
            f"an earlier init of {home} did not end; the folder holds no read yet",
            remedy="remove the folder and begin again",
        )
    if (home / config.CONFIG_FILE).exists():
        raise ConfigError(f"{home} already holds an agency", remedy="choose an empty folder")


def _checked(values: dict[str, object]) -> config.CentralConfig:
    try:
        return config.CentralConfig.model_validate(values)
    except ValidationError as error:
        raise refused_settings(error) from error


def _policy(version: str, adopted_by: str, hours: int) -> config.PolicySettings:
    made = config.default_policy(version, adopted_by)
    return made.model_copy(update={"retention_hours": hours})


def _settings(file: agencyfile.AgencyFile) -> config.CentralConfig:
    return _checked(
        {
            "agency": file.agency,
            "agency_name": file.name,
            "timezone": file.timezone,
            "hosts": tuple(dict.fromkeys(("localhost", "127.0.0.1", *file.hosts))),
            "policy": _policy(file.policy_version, file.adopted_by, file.retention_hours),
            "storage": file.storage,
        }
    )


def _from_file(path: Path) -> Founding:
    file = agencyfile.load(path)
    settings = _settings(file)
    everyone = agencyfile.with_passwords(file, path.parent, sys.stdin)
    latest = (datetime.now(UTC) + people.MAX_AUTHORISATION).date()
    if any(person.authorised_until and person.authorised_until > latest for person in everyone):
        raise InputError("an authorisation may not run longer than 24 months (R-13.824-7-1)")
    have = {role for person in everyone for role in person.roles}
    missing = [act for act in FOUNDERS if not roles(act) & have]
    if everyone and missing:
        needed = " or ".join(sorted(roles(missing[0])))
        raise InputError(
            f"{path}: people: nobody has the role {needed}",
            remedy="an agency begins with a sheriff and an administration supervisor",
        )
    return Founding(settings, everyone)


def _next(home: Path, founding: Founding) -> str:
    """What to do after it, in the order in which it is done."""
    settings = founding.settings
    host = next((h for h in settings.hosts if h not in ("localhost", "127.0.0.1")), "HOST")
    by_role = {role: person.id for person in founding.people for role in person.roles}
    lines = ["Next:"]
    if not founding.people:
        lines.append(f"  alprd-central people add --home {home} …      (a sheriff, a supervisor)")
    lines += [
        f"  alprd-central serve --home {home}",
        f"  open http://{settings.page_host}:{settings.page_port} and sign on"
        + (f" as {by_role['admin_supervisor']}" if "admin_supervisor" in by_role else ""),
        "  People: a second factor for each, and everybody else",
        "  Lists:  take in the first hotlist",
        "  Cars:   make a code; in the car:",
        f"          alprd enrol --central https://{host}:{settings.car_port} --vehicle car-1 "
        "--state /var/lib/alprd",
        "  Keys:   make the root of the publication your own (docs/key-ceremony.md)",
    ]
    return "\n".join(lines)
