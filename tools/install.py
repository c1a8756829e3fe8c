"""Install a car or a central server from this checkout and its tested environment.

Used by ``make install``. What is installed is what was tested: the packages are copied out of the
environment that ``make`` made (only those that the role needs), so no package registry is asked
and the versions are the same ones. The result is an ordinary virtual environment under PREFIX
whose interpreter is the system's own Python of the same version, beside systemd units, user,
folders, device names and documentation. Configuration that is there is never touched.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
PREFIX: Final = "/opt/alprd"
VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
Role = Literal["car", "central"]

EXTRAS: Final[dict[str, tuple[str, ...]]] = {"car": (), "central": ("central",)}
DRIVERS: Final = ("postgresql", "s3", "pkcs11")
"""Extras of a central server whose settings name a server, a bucket or a token."""
SETTINGS: Final = "var/lib/alprd-central/central.toml"
"""Where the unit's home has them; an upgrade brings what they need."""
COMMANDS: Final = {"car": "alprd", "central": "alprd-central"}
UNITS: Final = {
    "car": ("alprd.service", "alprd-doctor.service", "alprd-doctor.timer"),
    "central": (
        *("alprd-central.service", "alprd-central-purge.service", "alprd-central-purge.timer"),
    ),
}
OTHERS: Final = {
    # file of systemd/ → where it is installed
    "car": {
        "alprd.sysusers": "usr/lib/sysusers.d/alprd.conf",
        "alprd.tmpfiles": "usr/lib/tmpfiles.d/alprd.conf",
        "alprd.udev": "usr/lib/udev/rules.d/70-alprd.rules",
        "credentials.conf": "usr/share/doc/alprd/credentials.conf",
    },
    "central": {
        "alprd-central.sysusers": "usr/lib/sysusers.d/alprd-central.conf",
        "alprd-central.tmpfiles": "usr/lib/tmpfiles.d/alprd-central.conf",
    },
}
NOT_FOR_USERS: Final = frozenset({"benchmarks.md", "guest.md", "plates.md", "training.md"})
"""Documents of docs/ that only somebody with a checkout can use."""
NEXT: Final = {
    "car": (
        "systemd-sysusers && systemd-tmpfiles --create && udevadm control --reload",
        "edit /etc/alprd/alprd.toml",
        "runuser -u alprd -- {prefix}/bin/alprd enrol --central URL --vehicle NAME "
        "--state /var/lib/alprd",
        "runuser -u alprd -- {prefix}/bin/alprd doctor --config /etc/alprd/alprd.toml "
        "--pictures PICTURES",
        "systemctl daemon-reload && systemctl enable --now alprd.service alprd-doctor.timer",
    ),
    "central": (
        "systemd-sysusers && systemd-tmpfiles --create",
        "runuser -u alprd-central -- {prefix}/bin/alprd-central init "
        "--home /var/lib/alprd-central --agency NAME --name 'FULL NAME'",
        "systemctl daemon-reload && systemctl enable --now alprd-central.service "
        "alprd-central-purge.timer",
    ),
}


class InstallError(Exception):
    """What is missing, and what to do about it."""


def project() -> dict[str, Any]:
    """``[project]`` of this checkout.

    An environment's own note of what alprd requires is as old as the day it was made: a car
    installed by it would lack every package that was added since.
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def drivers(settings: Path) -> set[str]:
    """The extras that a central server's settings need; none where there are no settings yet.

    Raises:
        InstallError: the file is there and cannot be read.
    """
    try:
        with settings.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        return set()
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InstallError(f"{settings}: {error}; mend it, or name the drivers: --with") from None
    storage, keys = found.get("storage", {}), found.get("keys", {})
    places = (str(storage.get("database", "")), str(storage.get("keystore", "")))
    wanted = {
        "postgresql": any(place.startswith("postgresql") for place in places),
        "s3": str(storage.get("pictures", "")).startswith("s3://"),
        "pkcs11": str(keys.get("agency", "")).startswith("pkcs11:"),
    }
    return {name for name in DRIVERS if wanted[name]}


def requirements(role: Role, more: Iterable[str] = ()) -> list[Requirement]:
    """What alprd itself requires for the role and the chosen drivers."""
    own = project()
    extras = own["optional-dependencies"]
    names = (*EXTRAS[role], *sorted(more))
    lines = [*own["dependencies"], *(line for name in names for line in extras[name])]
    return [Requirement(line) for line in lines]


def closure(role: Role, more: Iterable[str] = ()) -> list[metadata.Distribution]:
    """Everything that the role needs of this environment, alprd itself left out.

    Raises:
        InstallError: a package that alprd requires is not in this environment, or is too old.
    """
    found: dict[str, metadata.Distribution] = {}
    wanted: list[tuple[str, frozenset[str]]] = []
    for need in requirements(role, more):
        wanted.append((need.name, frozenset(need.extras)))
        with contextlib.suppress(metadata.PackageNotFoundError):  # told below
            if not need.specifier.contains(has := metadata.version(need.name)):
                raise InstallError(
                    f"{need.name} {has} in {sys.prefix} is not {need.specifier}; make the "
                    "environment again: make .venv/.demo"
                )
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        name, extras = item = wanted.pop()
        if item in seen:
            continue
        seen.add(item)
        try:
            found[canonicalize_name(name)] = distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise InstallError(
                f"{name} is not in {sys.prefix}; make the environment first: make .venv/.demo"
                + (f" DEMO_EXTRAS={','.join(('central', 'sim', *sorted(more)))}" if more else "")
            ) from None
        for line in distribution.requires or ():
            need = Requirement(line)
            if need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            ):
                wanted.append((need.name, frozenset(need.extras)))
    return [found[name] for name in sorted(found)]


def copied(distribution: metadata.Distribution) -> Iterator[tuple[Path, str]]:
    """Files of a package inside site-packages: where each is, and its path there."""
    home = Path(str(distribution.locate_file("")))
    for file in distribution.files or ():
        inside = os.path.normpath(str(file))
        if inside.startswith("..") or Path(inside).is_absolute():
            continue  # scripts of bin/: nothing of them runs in a car
        if (source := home / inside).is_file():
            yield source, inside


class Installer:
    """Writes below ``destdir`` what will stand below ``/``, and remembers every file."""

    def __init__(
        self, destdir: Path, prefix: str, python: str, role: Role, more: Iterable[str] = ()
    ) -> None:
        if not re.fullmatch(r"(/[A-Za-z0-9._+-]+)+", prefix):
            raise InstallError(f"PREFIX={prefix} is not an absolute path of plain names")
        self.destdir = destdir
        self.prefix = prefix
        self.python = python
        self.role: Role = role
        self.more = sorted(more)
        self.made: list[str] = []

    def _place(self, path: str) -> Path:
        place = self.destdir / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        self.made.append("/" + path.lstrip("/"))
        return place

    def copy(self, source: Path, path: str, mode: int | None = None) -> None:
        """One file, with its times: cached byte code stays valid by them."""
        place = self._place(path)
        place.unlink(missing_ok=True)
        shutil.copy2(source, place)
        place.chmod(mode if mode is not None else 0o755 if os.access(source, os.X_OK) else 0o644)

    def write(self, text: str, path: str, mode: int = 0o644) -> None:
        """One file with this text."""
        place = self._place(path)
        place.unlink(missing_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)

    def environment(self) -> None:
        """PREFIX as a virtual environment of the system's Python."""
        site = f"{self.prefix}/lib/python{VERSION}/site-packages"
        for distribution in closure(self.role, self.more):
            for source, inside in copied(distribution):
                self.copy(source, f"{site}/{inside}")
        for source in sorted((ROOT / "alprd").rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                self.copy(source, f"{site}/{source.relative_to(ROOT)}")
        own = project()
        self.write(
            f"Metadata-Version: 2.1\nName: alprd\nVersion: {own['version']}\n"
            + "".join(f"Requires-Dist: {need}\n" for need in requirements(self.role, self.more)),
            f"{site}/alprd-{own['version']}.dist-info/METADATA",
        )
        compileall.compile_dir(
            self.destdir / site.lstrip("/"),
            quiet=2,  # packages carry templates that are no Python
            stripdir=str(self.destdir),
            prependdir="/",
        )
        home = str(Path(self.python).parent)
        self.write(
            f"home = {home}\ninclude-system-site-packages = false\nversion = {VERSION}\n",
            f"{self.prefix}/pyvenv.cfg",
        )
        for name in ("python", "python3", f"python{VERSION}"):
            place = self._place(f"{self.prefix}/bin/{name}")
            place.unlink(missing_ok=True)
            place.symlink_to(self.python)
        self.command(COMMANDS[self.role])

    def command(self, name: str) -> None:
        """A command of ``[project.scripts]``; -I: nothing of the caller's environment counts."""
        module, function = project()["scripts"][name].split(":")
        self.write(
            f"#!{self.prefix}/bin/python3 -I\nimport sys\n\nfrom {module} import {function}\n\n"
            f"sys.exit({function}())\n",
            f"{self.prefix}/bin/{name}",
            0o755,
        )

    def system(self) -> None:
        """Units, user, folders, device names, configuration, documentation."""
        for name in UNITS[self.role]:
            text = (ROOT / "systemd" / name).read_text(encoding="utf-8")
            text = text.replace(f"{PREFIX}/", f"{self.prefix}/")
            self.write(text, f"usr/lib/systemd/system/{name}")
        for name, path in OTHERS[self.role].items():
            self.copy(ROOT / "systemd" / name, path, 0o644)
        doc = "usr/share/doc/alprd"
        for source in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
            if source.name not in NOT_FOR_USERS:
                self.copy(source, f"{doc}/{source.name}", 0o644)
        if self.role == "car":
            shipped = ROOT / "config" / "alprd.toml"
            self.copy(shipped, f"{doc}/alprd.toml", 0o644)
            place = self.destdir / "etc/alprd/alprd.toml"
            (place.parent / "alprd.toml.d").mkdir(parents=True, exist_ok=True)
            if place.exists():
                print(f"{place} is kept; the new one is /{doc}/alprd.toml")
            else:
                shutil.copyfile(shipped, place)
                place.chmod(0o644)  # tmpfiles.d gives it to root:alprd, 0640
        place = self.destdir / self.manifest.lstrip("/")
        before = place.read_text(encoding="utf-8").split("\n")[:-1] if place.is_file() else []
        for line in set(before) - set(self.made):  # of an older version
            (self.destdir / line.lstrip("/")).unlink(missing_ok=True)
        self.write("\n".join(sorted(set(self.made))) + "\n", self.manifest)

    @property
    def manifest(self) -> str:
        """Where the list of installed files lies."""
        return f"{self.prefix}/share/{self.role}.files"


def uninstall(destdir: Path, prefix: str, role: Role) -> None:
    """Remove what the role's list names; configuration, keys and reads stay.

    A file that the other role installed too stays for it.

    Raises:
        InstallError: there is no list.
    """
    lists = destdir / prefix.lstrip("/") / "share"
    own = lists / f"{role}.files"
    if not own.is_file():
        raise InstallError(f"{own} is not there: this role was not installed below {prefix}")
    others = {
        line
        for other in lists.glob("*.files")
        if other != own
        for line in other.read_text(encoding="utf-8").splitlines()
    }
    folders: set[Path] = set()
    for line in own.read_text(encoding="utf-8").splitlines():
        place = destdir / line.lstrip("/")
        if line not in others:
            place.unlink(missing_ok=True)
            folders.update(place.parents)
    own.unlink()
    folders.update(own.parents)
    keep = (destdir / prefix.lstrip("/")).parent
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder.name == "__pycache__" or not folder.is_relative_to(keep) or folder == keep:
            continue
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    print("removed; /etc/alprd and the state folders are left as they are")


def main() -> int:
    """The command line of ``make install`` and ``make uninstall``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--destdir", type=Path, default=Path("/"), help="stands for /")
    parser.add_argument("--prefix", default=PREFIX)
    parser.add_argument("--role", choices=tuple(UNITS), default="car")
    parser.add_argument(
        "--python", default=f"/usr/bin/python{VERSION}", help="the target's interpreter"
    )
    parser.add_argument(
        "--with",
        dest="more",
        default="",
        metavar="DRIVERS",
        help=f"central: {', '.join(DRIVERS)}, with commas; what {SETTINGS} needs comes by itself",
    )
    parser.add_argument("--uninstall", action="store_true")
    given = parser.parse_args()
    try:
        if given.uninstall:
            uninstall(given.destdir, given.prefix, given.role)
            return 0
        if given.destdir == Path("/") and not Path(given.python).exists():
            raise InstallError(
                f"{given.python} is not there: install Python {VERSION}, or make the environment "
                "with the system's Python: make clean install PYTHON=/usr/bin/python3"
            )
        more = {name for name in given.more.replace(",", " ").split() if name}
        if more - set(DRIVERS) or (more and given.role != "central"):
            raise InstallError(
                f"--with {given.more}: a central server may have {', '.join(DRIVERS)}, a car none"
            )
        if given.role == "central":
            more |= drivers(given.destdir / SETTINGS)
        installer = Installer(given.destdir, given.prefix, given.python, given.role, more)
        installer.environment()
        installer.system()
    except (InstallError, OSError) as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    print(f"installed: {len(set(installer.made))} files below {given.destdir}. Next, as root:")
    for line in NEXT[given.role]:
        print("  " + line.format(prefix=given.prefix))
    return 0


if __name__ == "__main__":
    sys.exit(main())
