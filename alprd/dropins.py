"""The configuration file and its drop-ins, read once and laid one over the other.

``alprd.toml`` comes first, then ``alprd.toml.d/*.toml`` in the order of their names. A table is
merged key by key; a ``[[camera]]`` with the name of one that is there changes that one, any other
is added. Every value remembers the file and the place that it came from, so that an error can
name them.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alprd.errors import ConfigError

LARGEST: Final = 1 << 20
"""Bytes of one file; a configuration has some thousand."""

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as it was read."""

    path: Path
    text: str
    owner: str
    """Name of its owner, or the number of one without a name."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Layers:
    """All files of one configuration, and what they say together."""

    files: tuple[SourceFile, ...]
    values: dict[str, Any]
    _origin: dict[Place, tuple[int, Place]]

    def origin(self, where: Place) -> tuple[SourceFile, Place]:
        """The file that speaks of a place in :attr:`values`, and the place in that file."""
        for length in range(len(where), 0, -1):
            found = self._origin.get(where[:length])
            if found is not None:
                index, place = found
                return self.files[index], place + where[length:]
        return self.files[0], where

    @property
    def owners(self) -> str:
        """Owners of the files, each once, in the order of the files."""
        return ", ".join(dict.fromkeys(file.owner for file in self.files))

    @property
    def sha256(self) -> str:
        """One digest for all: of a single file its own, else of all names and digests."""
        if len(self.files) == 1:
            return self.files[0].sha256
        told = "".join(f"{file.sha256}  {file.path.name}\n" for file in self.files)
        return hashlib.sha256(told.encode()).hexdigest()


def folder_of(path: Path) -> Path:
    """Where the drop-ins of a configuration file lie."""
    return path.with_name(path.name + ".d")


def read_layers(path: Path) -> Layers:
    """Read a configuration file with its drop-ins.

    Raises:
        ConfigError: a file cannot be read, or is not TOML; names file and line.
    """
    folder = folder_of(path)
    try:
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise ConfigError(
            f"{folder}: {error.strerror}", remedy="let the daemon's user read it"
        ) from error
    dropins = [p for p in inside if p.suffix == ".toml" and not p.name.startswith(".")]
    files = [_read(path, "give --config FILE")]
    files += [_read(file, "mend or remove the drop-in") for file in dropins]
    layers = Layers(tuple(files), {}, {})
    for index, file in enumerate(files):
        try:
            _lay(layers, layers.values, tomllib.loads(file.text), index, (), ())
        except (ValueError, RecursionError) as error:  # also of a number with too many digits
            why = "nested too deeply" if isinstance(error, RecursionError) else error
            raise ConfigError(
                f"{file.path}: {why}", remedy="mend the TOML at that place"
            ) from error
    return layers


def _read(path: Path, remedy: str) -> SourceFile:
    try:
        # Not blocking: a pipe in the file's place must not hold the start up.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{path}: not a file", remedy=remedy)
            raw = file.read(LARGEST + 1)
    except OSError as error:
        if isinstance(error, PermissionError):
            remedy = f"let the daemon's user read it: chown root:alprd {path} && chmod 640 {path}"
        raise ConfigError(f"{path}: {error.strerror}", remedy=remedy) from error
    if len(raw) > LARGEST:
        raise ConfigError(f"{path}: over {LARGEST} bytes", remedy=remedy)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text", remedy=remedy) from error
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    return SourceFile(path, text, owner, hashlib.sha256(raw).hexdigest())


def _lay(
    layers: Layers,
    below: dict[str, Any],
    above: dict[str, Any],
    index: int,
    where: Place,
    local: Place,
) -> None:
    for key, value in above.items():
        there, here = (*where, key), (*local, key)
        old = below.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _lay(layers, old, value, index, there, here)
        elif index and isinstance(old, list) and _is_tables(old) and _is_tables(value):
            _lay_rows(layers, old, value, index, there, here)
        else:
            below[key] = value
            _note(layers, value, index, there, here)


def _lay_rows(
    layers: Layers,
    below: list[dict[str, Any]],
    above: Sequence[dict[str, Any]],
    index: int,
    where: Place,
    local: Place,
) -> None:
    for number, row in enumerate(above):
        name = row.get("name")
        same = [at for at, old in enumerate(below) if name is not None and old.get("name") == name]
        if same:
            _lay(layers, below[same[0]], row, index, (*where, same[0]), (*local, number))
        else:
            below.append(row)
            _note(layers, row, index, (*where, len(below) - 1), (*local, number))


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _note(layers: Layers, value: object, index: int, where: Place, local: Place) -> None:
    layers._origin[where] = (index, local)
    inner = value.items() if isinstance(value, dict) else ()
    rows = enumerate(value) if isinstance(value, list) else ()
    for key, below in (*inner, *rows):
        _note(layers, below, index, (*where, key), (*local, key))
