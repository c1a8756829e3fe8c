"""One camera's settings, and its password, which is never told (R-CJIS-1).

A password comes from a systemd credential or from a file that only its owner can read (mode
0600); never from the configuration, where logs, backups and process lists would find it.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from alprd.addresses import LEAST_REGION, Kind, check, kind_of, redact
from alprd.errors import ConfigError

__all__ = ["CameraConfig", "credential_path", "read_password", "redact"]

ROTATIONS: Final = (0, 90, 180, 270)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def credential_path(name: str) -> Path:
    """Where systemd has put a credential of the unit.

    Raises:
        ConfigError: the daemon was given no credentials at all.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigError(
            f"credential {name!r} is not there: the daemon was started without credentials",
            remedy=f"add LoadCredentialEncrypted={name}:FILE to the unit, or use password_file",
        )
    return Path(folder) / name


def read_password(path: Path) -> str:
    """The password in a file, without its line end.

    Raises:
        ConfigError: the file is missing, open to others, foreign or empty.
    """
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            text = file.read(1024).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"password file {path} cannot be read: {type(error).__name__}",
            remedy="write the camera's password into it and `chmod 600` it",
        ) from None
    # systemd lets the unit's user read a credential of root by an access list, whose mask the
    # mode shows as the group's right; the folder itself is closed to everybody else.
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    by_systemd = bool(folder) and path.parent == Path(folder or "") and info.st_uid == 0
    if not stat.S_ISREG(info.st_mode) or info.st_mode & (0o037 if by_systemd else 0o077):
        raise ConfigError(f"password file {path} is open to others", remedy=f"chmod 600 {path}")
    if info.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"password file {path} belongs to another user",
            remedy=f"chown it to uid {os.geteuid()}",
        )
    if not text:
        raise ConfigError(f"password file {path} is empty", remedy="write the password into it")
    return text


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """One camera.

    Args:
        name: stands in reads' sessions and on the page; letters, digits, ``_.-``.
        source: see :mod:`alprd.capture`; without user and password.
        fps: at most this many frames a second are handed on; None: all. Asked of a V4L2 device.
        user: of a URL; with ``credential`` (a systemd credential's name) or ``password_file``
            (readable by its owner only).
        rotate: clockwise degrees, 0, 90, 180 or 270.
        region: ``(x0, y0, x1, y1)``, shares of the picture's width and height *after* it was
            turned, as a person sees it; pixels outside are never kept (R-460.2-2). None: all.
        width, height, exposure, gain, focus: wishes to a V4L2 device; the last three in the
            driver's units, each switching the automatic off.
        start_gate: a file camera begins only when this path exists and holds its start instant
            (``time.monotonic_ns()`` in decimal, the same clock in every process of a machine).
        stale_s: a camera whose newest frame is older is down.
        stall_s: a reader that decoded nothing for so long is replaced.
        open_timeout_s: how long connecting may take.

    Raises:
        ConfigError: an impossible value.
    """

    name: str
    source: str = field(repr=False)
    fps: float | None = None
    user: str | None = None
    password_file: Path | None = None
    rotate: int = 0
    width: int | None = None
    height: int | None = None
    exposure: float | None = None
    start_gate: Path | None = None
    stale_s: float = 2.0
    stall_s: float = 3.0
    open_timeout_s: float = 4.0
    credential: str | None = None
    region: tuple[float, float, float, float] | None = None
    gain: float | None = None
    focus: float | None = None

    def __post_init__(self) -> None:
        where = f"camera {self.name!r}"
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{where}: not a name", remedy="use letters, digits, '_', '.', '-'")
        try:
            check(self.source)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}", remedy="mend source") from None
        if self.credential is not None and not _NAME.fullmatch(self.credential):
            raise ConfigError(
                f"{where}: credential is no name", remedy="use the name that the unit gives it"
            )
        if self.credential is not None and self.password_file is not None:
            raise ConfigError(f"{where}: credential and password_file exclude each other")
        secret = self.credential is not None or self.password_file is not None
        if (self.user is not None) != secret:
            raise ConfigError(
                f"{where}: user and its password (credential or password_file) belong together"
            )
        if secret and self.kind != "url":
            raise ConfigError(f"{where}: only a URL takes user and password")
        if "{password}" in self.source and not secret:
            raise ConfigError(f"{where}: source wants {{password}}: give user and credential")
        if self.rotate not in ROTATIONS:
            raise ConfigError(f"{where}: rotate is {self.rotate}, allowed are 0, 90, 180, 270")
        if self.fps is not None and not 0 < self.fps <= 240:
            raise ConfigError(f"{where}: fps is {self.fps}, allowed is 0 to 240")
        if self.region is not None:
            x0, y0, x1, y1 = self.region
            if min(self.region) < 0 or max(self.region) > 1:
                raise ConfigError(f"{where}: region lies outside 0 to 1")
            if min(x1 - x0, y1 - y0) < LEAST_REGION:
                raise ConfigError(
                    f"{where}: region is empty or narrower than {LEAST_REGION}",
                    remedy="give [left, top, right, bottom] as shares of the picture",
                )

    @property
    def kind(self) -> Kind:
        """``device``, ``file`` or ``url``."""
        return kind_of(self.source)

    @property
    def path(self) -> Path:
        """The path of a device or file source."""
        return Path(self.source.removeprefix("file://").removeprefix("file:"))

    def url(self) -> str:
        """The URL with its login, for the one call that opens the stream; never to be told.

        Raises:
            ConfigError: the password cannot be had.
        """
        if self.user is None:
            return self.source
        path = self.password_file
        if self.credential is not None:
            path = credential_path(self.credential)
        assert path is not None  # noqa: S101 - held by __post_init__
        user, password = quote(self.user, safe=""), quote(read_password(path), safe="")
        if "{password}" in self.source:
            return self.source.replace("{user}", user).replace("{password}", password)
        parts = urlsplit(self.source)
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc}"))

    def dump(self) -> dict[str, Any]:
        """The settings as JSON takes them; the opposite of :meth:`load`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}

    @classmethod
    def load(cls, values: dict[str, Any]) -> CameraConfig:
        """The settings that :meth:`dump` told."""
        for name in ("password_file", "start_gate"):
            if values[name] is not None:
                values[name] = Path(values[name])
        if values["region"] is not None:
            values["region"] = tuple(values["region"])
        return cls(**values)
