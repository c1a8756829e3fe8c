"""The command ``alprd``: what an installer, a deputy's car and a curious stranger type."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import click

from alprd import __version__
from alprd import config as configuration
from alprd.errors import OTHER_USER, AlprdError, ModelError, StoreError
from alprd.journal import Form, set_up
from alprd.pagecert import page_request_command
from alprd.retire import retire_command
from alprd.trail import audit_group
from alprd.trust import enrol_command

FIXTURE_DRIVE = Path(__file__).resolve().parent.parent / "fixtures" / "drive"


class Commands(click.Group):
    """A group that turns the product's errors into a message with a remedy and an exit code.

    Commands of :attr:`late` are loaded when they are asked for: a car on which OpenCV or ONNX
    Runtime cannot be loaded must still be able to run the doctor.
    """

    late: Mapping[str, str] = {
        "doctor": "alprd.doctor.command:doctor_command",
        "models": "alprd.choice:models_command",
        "read": "alprd.photo:read_command",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in order."""
        return sorted({*super().list_commands(ctx), *self.late})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None if there is none."""
        place = self.late.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an :class:`AlprdError` becomes its diagnostics."""
        try:
            return super().invoke(ctx)
        except AlprdError as error:
            click.echo(f"alprd: {error.diagnostics()}", err=True)
            ctx.exit(error.exit_code)
        except PermissionError as error:  # the most common slip: not as the daemon's user
            told = StoreError(f"{error.filename}: {error.strerror}", remedy=OTHER_USER)
            click.echo(f"alprd: {told.diagnostics()}", err=True)
            ctx.exit(told.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="alprd")
def main() -> None:
    """Automated licence plate reader for patrol cars under Minn. Stat. § 13.824."""


main.add_command(enrol_command, "enrol")
main.add_command(retire_command, "retire")
main.add_command(page_request_command)
main.add_command(audit_group)


@main.command("run")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=Path("/etc/alprd/alprd.toml"),
    show_default=True,
)
@click.option("--witness-fd", type=int, hidden=True, help="descriptor told of every commit")
@click.option("--check", is_flag=True, help="say what is wrong, start nothing")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    show_default=True,
    help="auto: to the journal when systemd started it, else text",
)
def run_command(config_file: Path, witness_fd: int | None, check: bool, log_format: Form) -> None:
    """Run the vehicle daemon (what systemd starts)."""
    config = configuration.load(config_file)
    from alprd import daemon  # heavy: models and web server
    from alprd.choice import choose, describe

    if check:
        doubts = daemon.check(config)
        for doubt in doubts:
            click.echo(f"{config_file}: {doubt}", err=True)
        verdict = "these would stop it" if doubts else "ready to run"
        click.echo(f"{config_file}: understood, {len(config.camera)} camera(s); {verdict}")
        with contextlib.suppress(ModelError):  # told above, among the doubts
            for line in describe(config, choose(config, fetch=False)):
                click.echo(f"  {line}")
        sys.exit(1 if doubts else 0)
    set_up(log_format, config.log.level)
    daemon.run(config, config_file, witness_fd=witness_fd)


@main.command("status")
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True)
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def status_command(config_file: Path, as_json: bool) -> None:
    """The car's own count of its reads, from its state folder; the daemon may run or not."""
    from alprd.ledger import look

    config = configuration.load(config_file)
    found = look(config.state_dir)
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):>16}  {value}")


@main.command("demo")
@click.option(
    "--drive",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=FIXTURE_DRIVE,
    help="folder of another drive (make drive SEED=N OUT=DIR)",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the scorecard")
@click.option("--keep", is_flag=True, help="leave both pages up until Ctrl-C")
@click.option("--open", "open_browser", is_flag=True, help="open both pages in a browser")
@click.option("--home", type=click.Path(path_type=Path), help="keep the demo's folders there")
@click.option(
    "--listen/--no-listen",
    default=True,
    help="let a headless Chromium show the page too, and measure when its sounds begin",
)
def demo_command(
    drive: Path,
    json_file: Path | None,
    keep: bool,
    open_browser: bool,
    home: Path | None,
    listen: bool,
) -> None:
    """A whole patrol on this machine, end to end, with a scorecard against the truth."""
    from alprd.demo.patrol import run_demo

    sys.exit(
        run_demo(
            drive,
            json_file=json_file,
            keep=keep,
            open_browser=open_browser,
            home_dir=home,
            listen=listen,
        )
    )


if __name__ == "__main__":
    main()
