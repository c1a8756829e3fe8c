"""The demo's throw-away home: an agency, its people and lists, and one enrolled car.

Everything is done with the product's own commands, as an administrator would; nothing reaches
around them. People, plates, places and passwords are invented.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from alprd.demo.score import Truth
from alprd.errors import AlprdError
from alprd.records import Category

VEHICLE: Final = "car-1"
DEPUTY: Final = "demo.deputy"
INVESTIGATOR: Final = "demo.investigator"
ADMIN: Final = "demo.admin"
CATEGORIES: Final[tuple[Category, ...]] = (
    *("stolen", "owner_warrant", "owner_suspended_revoked", "active_investigative", "other_lpdf"),
)
COMMAND_S: Final = 600.0
"""Longest time of one command. Most take a second or two; on a machine that some thirty others
share, passwords' verifiers alone have taken over two minutes."""


class DemoError(AlprdError):
    """A step of the demo did not work."""


@dataclass(frozen=True, slots=True)
class Home:
    """Folders and secrets of one demo."""

    root: Path
    deputy_password: str
    staff_password: str

    @property
    def central(self) -> Path:
        """Central's home."""
        return self.root / "central"

    @property
    def car(self) -> Path:
        """The car's state folder: what a thief of the car computer gets."""
        return self.root / "car"

    @property
    def config(self) -> Path:
        """The car's configuration file."""
        return self.root / "alprd.toml"

    @property
    def carrier(self) -> Path:
        """Stands for the dock's network: ``1`` while the car is docked."""
        return self.root / "dock-carrier"

    @property
    def gate(self) -> Path:
        """Holds the instant at which the cameras' files begin."""
        return self.root / "drive-start"

    @property
    def page(self) -> Path:
        """Where the daemon tells the address of its page."""
        return self.root / "mdt.json"

    @property
    def health(self) -> Path:
        """Where the daemon tells the address of its health."""
        return self.root / "health.json"


def make_home(root: Path) -> Home:
    """An empty home with fresh passwords."""
    home = Home(root, _password(), _password())
    for folder in (home.root, home.car):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.carrier.write_text("1\n")
    return home


def _password() -> str:
    """A password a person can type: four groups of four, without look-alikes."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


def program(module: str, *arguments: str) -> list[str]:
    """The command line of one of the product's own programs."""
    return [sys.executable, "-m", module, *arguments]


def command(
    module: str,
    *arguments: str,
    secret: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run one of the product's commands to its end; what it printed.

    Args:
        secret: given on standard input, never on the command line.

    Raises:
        DemoError: it failed, or took longer than :data:`COMMAND_S`; holds what it said.
    """
    name = " ".join([module, *arguments[:2]])
    try:
        done = subprocess.run(
            program(module, *arguments),
            input=secret,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env=child_environment() | dict(environment or {}),
        )
    except subprocess.TimeoutExpired:
        raise DemoError(
            f"{name} did not end in {COMMAND_S:.0f} s",
            remedy="the machine is too busy; try again when it is quieter",
        ) from None
    if done.returncode != 0:
        raise DemoError(f"{name} failed with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def child_environment() -> dict[str, str]:
    """The environment of child programs: no proxy may stand between parts on loopback."""
    plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return plain | {"PYTHONUNBUFFERED": "1"}


def central(home: Home, *arguments: str, secret: str | None = None) -> str:
    """Run an ``alprd-central`` command on the demo's home."""
    words = list(arguments)
    at = 2 if words[0] in {"people", "lists", "suppression"} else 1
    words[at:at] = ["--home", str(home.central)]
    return command("alprd.central.cli", *words, secret=secret)


def central_json(home: Home, *arguments: str, secret: str | None = None) -> Any:
    """The same for a command that prints one JSON document."""
    return json.loads(central(home, *arguments, "--json", secret=secret))


def prepare_central(home: Home, drive: Path, truth: Truth) -> None:
    """Initialise the agency, its people, lists and protected plates."""
    now = datetime.now(UTC)
    year = (now + timedelta(days=365)).strftime("%Y-%m-%dT%H:%M:%SZ")
    central(home, "init", "--agency", "becker", "--name", "Becker County Sheriff's Office (demo)")
    staff: Sequence[tuple[str, str, str, str]] = (
        (ADMIN, "Dana Demo", "admin_supervisor", home.staff_password),
        (INVESTIGATOR, "Ira Invented", "investigator", home.staff_password),
        (DEPUTY, "Pat Pretend", "operator", home.deputy_password),
    )
    for identity, name, role, password in staff:
        central(
            home,
            *("people", "add", "--id", identity, "--name", name, "--role", role),
            *("--password-stdin", "--training-expires", year, "--authorised-until", year),
            *(word for category in CATEGORIES for word in ("--clearance", category)),
            *("--screening", "demo", "--by", ADMIN),
            secret=password + "\n",
        )
    supplied = (now - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    central(
        home,
        *("lists", "import", str(drive / truth.hotlist), "--list", "lpdf", "--source", "LPDF"),
        *("--supplied-at", supplied, "--by", ADMIN),
    )
    central(home, "suppression", "import", str(drive / truth.suppression), "--by", ADMIN)


def enrol_car(home: Home, car_url: str) -> None:
    """Enrol the car with a one-time code, as the installer does."""
    answer = central_json(home, "enrol-code", "--vehicle", VEHICLE, "--reader", "1")
    command(
        "alprd.cli",
        *("enrol", "--central", car_url, "--vehicle", VEHICLE, "--state", str(home.car)),
        environment={"ALPRD_ENROL_CODE": answer["code"]},
    )


def write_config(home: Home, drive: Path, truth: Truth, gps_device: str) -> None:
    """The car's configuration: cameras that play the drive, GPS on a pseudo-terminal."""
    lines = [f"state_dir = {json.dumps(str(home.car))}"]
    for camera in truth.cameras:
        source = json.dumps(f"file:{(drive / camera.file).resolve()}")
        lines += ["[[camera]]", f'name = "{camera.id}"', f"source = {source}"]
        lines += [f"fps = {camera.fps}"]
    lines += [
        "[gps]",
        f'source = "{gps_device}"',
        "[dock]",
        f"carrier_file = {json.dumps(str(home.carrier))}",
        "interval_s = 1.0",
        "[mdt]",
        "port = 0",
        f"run_file = {json.dumps(str(home.page))}",
        "[health]",
        "port = 0",
        f"run_file = {json.dumps(str(home.health))}",
        "[replay]",
        f"start_file = {json.dumps(str(home.gate))}",
    ]
    if models := os.environ.get("ALPRD_DEMO_MODELS"):
        lines += ["[reader]", f"models = {json.dumps(models)}"]
    home.config.write_text("\n".join(lines) + "\n")
