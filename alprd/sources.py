"""Where a camera is and how to log in to it, without ever telling the password (R-CJIS-1).

A password comes from a file that only its owner can read (mode 0600, or a systemd credential);
never from the configuration, where logs, backups and process lists would find it.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from alprd.errors import ConfigError

ROTATIONS: Final = (0, 90, 180, 270)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def redact(source: str) -> str:
    """A source for logs and pages: a URL without user, password and query."""
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
    except ValueError:
        return source.partition("://")[0] + "://(unreadable)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


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
    if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077:
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
        fps: at most this many frames a second are handed on; None: all.
        user, password_file: for URLs; the file must be readable by its owner only.
        rotate: clockwise degrees, 0, 90, 180 or 270.
        width, height, exposure: wishes to a V4L2 device; exposure in the driver's units.
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
    open_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        where = f"camera {self.name!r}"
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{where}: not a name", remedy="use letters, digits, '_', '.', '-'")
        if self.kind == "url":
            try:
                parts = urlsplit(self.source)
                _ = parts.port
            except ValueError:
                raise ConfigError(f"{where}: source is not a URL") from None
            if not parts.hostname:
                raise ConfigError(f"{where}: source names no host")
            if "@" in parts.netloc:
                raise ConfigError(
                    f"{where}: source holds a user or password",
                    remedy="give them as user and password_file",
                )
        if (self.user is None) != (self.password_file is None):
            raise ConfigError(f"{where}: user and password_file belong together")
        if self.user is not None and self.kind != "url":
            raise ConfigError(f"{where}: only a URL takes user and password_file")
        if self.rotate not in ROTATIONS:
            raise ConfigError(f"{where}: rotate is {self.rotate}, allowed are 0, 90, 180, 270")
        if self.fps is not None and not 0 < self.fps <= 240:
            raise ConfigError(f"{where}: fps is {self.fps}, allowed is 0 to 240")

    @property
    def kind(self) -> str:
        """``device``, ``file`` or ``url``."""
        if self.source.startswith("/dev/"):
            return "device"
        if self.source.startswith("file:") and len(self.source) > 5:
            return "file"
        if self.source.startswith(("rtsp://", "rtsps://", "http://", "https://")):
            return "url"
        raise ConfigError(
            f"camera {self.name!r}: unknown kind of source",
            remedy="use /dev/..., rtsp://, http://, https:// or file:PATH",
        )

    @property
    def path(self) -> Path:
        """The path of a device or file source."""
        return Path(self.source.removeprefix("file://").removeprefix("file:"))
