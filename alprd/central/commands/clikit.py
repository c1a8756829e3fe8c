"""What the commands of ``alprd-central`` share: options, errors, times, output."""

from __future__ import annotations

import getpass
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Final, ParamSpec

import click

from alprd.central.staff import people
from alprd.central.storage import config
from alprd.central.storage.audit import ADDRESS, Event
from alprd.central.storage.store import Central
from alprd.errors import AlprdError, InputError, RefusedError
from alprd.wire import Person

P = ParamSpec("P")
HOME: Final = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    envvar="ALPRD_CENTRAL_HOME",
    help="The agency's folder.",
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
BY: Final = click.option("--by", required=True, help="Who orders it: a person's id or name.")
SIGNER: Final[ContextVar[Person | None]] = ContextVar("SIGNER", default=None)
"""Who proved to be there in the command at hand."""


def by_signed(command: Callable[P, None]) -> Callable[P, None]:
    """``--by`` of an act that a role is needed for: the person's password is asked for.

    A name typed here would be no second person (ADR 0024, R-460.5-5) and must show nobody a read
    (R-13.824-7-3). ``--password-stdin`` may be said.
    """
    said = click.option(
        "--password-stdin", is_flag=True, expose_value=False,
        help="First line of stdin: the password (it is asked for at a terminal).",
    )  # fmt: skip
    who = click.option("--by", required=True, help="Who does it: a person's id.")
    return said(who(command))


ID: Final = click.option("--id", "row", required=True, help="Id in the register.")
REASON: Final = click.option("--reason", required=True, help="In your own words.")
FROM: Final = click.option(
    "--from", "since", required=True, help="ISO time with zone, or a date: where that begins here."
)
TO: Final = click.option(
    "--to", "until", required=True, help="ISO time with zone, or a date: where that begins here."
)
AS: Final = click.option("--as", "person_id", required=True, help="Who does it.")
STDIN: Final = click.option("--password-stdin", is_flag=True, required=True)
DEVICE: Final = click.option("--device", required=True, help="Name in the register of readers.")
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


class QuietFormatter(logging.Formatter):
    """Log format that leaves out the text of exceptions: it may quote what must not be logged."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name logging calls
        kind: type[BaseException] | None
        trace: TracebackType | None
        kind, _, trace = ei
        frames = "".join(traceback.format_tb(trace))
        return f"{frames}{kind.__name__ if kind else 'error'}"


def errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the product's errors into a message and an exit code."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        ADDRESS.set(_account())
        SIGNER.set(None)
        try:
            command(*args, **kwargs)
        except AlprdError as error:
            if isinstance(error, RefusedError):
                _note_refusal(error)
            click.echo(f"error: {error.diagnostics()}", err=True)
            sys.exit(error.exit_code)

    return guarded


_STANDING: Final = frozenset(
    {"wrong_role", "frozen", "training_expired", "authorisation_expired", "same_person"}
)
"""Reasons that tell of the person alone."""


def _note_refusal(error: RefusedError) -> None:
    """Put into the trail who was refused which command, as the pages do (R-13.824-7-3)."""
    person = SIGNER.get()
    if person is None or error.reason not in _STANDING:
        # The sign-on was refused, and is recorded there; or the thing asked for was, and why would
        # tell of it (a confidentiality request that has ended, R-460.5-b4).
        return
    context = click.get_current_context()
    with (
        suppress(AlprdError),
        Central(context.params["home"]) as central,
        central.database.write() as tx,
    ):
        central.trail.record(
            tx,
            Event.ACCESS_REFUSED,
            people.actor(person),
            at=central.clock(),
            detail={"route": context.command_path, "reason": error.reason},
        )


def _account() -> str:
    """Where a command is given: the account of the operating system (R-AT-2)."""
    try:
        return f"command line of {getpass.getuser()}"[:128]
    except (KeyError, OSError):  # a service account without a name
        return f"command line of uid {os.getuid()}"


def show(as_json: bool, values: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(values, default=str) if as_json else text)


def instant(text: str, option: str) -> datetime:
    """An ISO time with zone (``Z`` or offset); a plain date is its start in the agency's zone.

    A time of day needs its zone: an hour is told twice when the clock is set back.

    Raises:
        InputError: not ISO 8601, or a time without a zone.
        ConfigError: the agency's settings cannot be read.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{option}: {text!r} is not an ISO time", remedy="write 2026-01-31T16:00:00Z"
        ) from error
    if value.tzinfo is None:
        if len(text) > 10:
            raise InputError(f"{option} has no zone", remedy="end it with Z for UTC")
        home: Path = click.get_current_context().params["home"]
        value = value.replace(tzinfo=config.load(home).zone())
    return value.astimezone(UTC)


def date_of(text: str, option: str) -> date:
    """A date of an option.

    Raises:
        InputError: not one.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option}: not a date", remedy="write 2026-01-31") from error


def code_line() -> str:
    """The second line of standard input: the code of whoever has a second factor."""
    if sys.stdin.isatty():
        return str(click.prompt("Code", err=True)).strip()
    return sys.stdin.readline().strip()


def password_line() -> str:
    """The first line of standard input; at a terminal it is asked for and not shown.

    Raises:
        InputError: there is none.
    """
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, err=True))
    text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise InputError("no password on standard input", remedy="pipe it in as one line")
    return text
