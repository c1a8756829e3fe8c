"""The command ``alprd doctor``: a table for people, JSON for programs, an exit code for both."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alprd import config as configuration
from alprd.doctor.car import Car
from alprd.doctor.report import LEVELS, Level, Report, Row, examine
from alprd.doctor.table import CHECKS
from alprd.errors import AlprdError

_COLOURS: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}


@click.command("doctor")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=Path("/etc/alprd/alprd.toml"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object with stable keys.")
@click.option(
    "--pictures", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Write one picture of each camera there (mode 0600); they may show plates.",
)  # fmt: skip
@click.option(
    "--only", multiple=True, metavar="NAME",
    help="Run only this check; may be given several times. --list names them.",
)  # fmt: skip
@click.option("--list", "list_checks", is_flag=True, help="Name the checks and end.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(1, 600), default=20.0, show_default=True,
    help="Seconds that one check may take; those that watch devices have some more.",
)  # fmt: skip
@click.option(
    "--watch", "seconds", type=click.FloatRange(0.5, 60), default=4.0, show_default=True,
    help="Seconds that each device is watched.",
)  # fmt: skip
@click.option(
    "--plate-at", "plate_at_m", type=click.FloatRange(1, 100), metavar="METRES",
    help="A car with a plate stands this far ahead: sizes of plates are reckoned from it.",
)  # fmt: skip
def doctor_command(
    config_file: Path,
    as_json: bool,
    pictures: Path | None,
    only: tuple[str, ...],
    list_checks: bool,
    timeout_s: float,
    seconds: float,
    plate_at_m: float | None,
) -> None:
    """Check everything of this car and say what to do about what is wrong.

    Changes nothing; works beside a running daemon and before enrolment. Run it as the daemon's
    user. Exit code 0: no failure; 1: some check failed; 2: the configuration cannot be used.
    """
    if list_checks:
        for check in CHECKS:
            click.echo(f"{check.name:<12} {check.about}")
        return
    names = {check.name for check in CHECKS}
    for name in only:
        if name not in names:
            raise click.BadParameter(
                f"there is no check {name!r}; there are: {', '.join(sorted(names))}",
                param_hint="--only",
            )
    chosen = [check for check in CHECKS if not only or check.name in only]
    try:
        config = configuration.load(config_file)
    except AlprdError as error:
        if as_json:  # a program that reads the answer gets one that it can read
            click.echo(json.dumps(_unusable(error).as_json()))
        raise
    car = Car(
        config=config,
        config_file=config_file,
        pictures=pictures,
        plate_at_m=plate_at_m,
        seconds=seconds,
    )
    screen = Console(stderr=True)
    with screen.status("") as busy:
        report = examine(
            car,
            chosen,
            timeout_s=timeout_s,
            begun=lambda check: busy.update(f"looking at {check.about}"),
        )
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        show(report, Console())
    sys.exit(report.exit_code)


def _unusable(error: AlprdError) -> Report:
    """The report where there is no configuration to check anything by."""
    name = "configuration"
    return Report((Row(name, name, "fail", error.message, remedy=error.remedy or "mend the file"),))


def show(report: Report, console: Console) -> None:
    """The table for people: a row each, the remedy below what needs one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for row in report.rows:
        colour = _COLOURS[row.level]
        name = row.check if row.name == row.check else f"{row.check} {row.name}"
        finding = Text(row.text)
        if row.remedy:
            finding.append(f"\n  remedy: {row.remedy}", style=colour)
        table.add_row(Text(name), Text(row.level, style=colour), finding)
    console.print(table)
    counts = {level: sum(row.level == level for row in report.rows) for level in LEVELS}
    words = ", ".join(f"{number} {level}" for level, number in counts.items() if number)
    verdict = "something must be done" if report.failed else "fit for patrol"
    console.print(Text(f"{words}: {verdict}", style="bold red" if report.failed else "bold green"))
