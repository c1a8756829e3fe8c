"""What the address of a camera may look like, and how it is told (R-CJIS-1); the least region.

An address never holds a password: configurations are copied, backed up and shown. A camera that
wants its login in the query or the path gets it through the words ``{user}`` and ``{password}``,
which are filled in where the stream is opened, in memory.
"""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

Kind = Literal["device", "file", "url"]
LEAST_REGION: Final = 0.05
"""Least width and height of a camera's region, as a share of the picture."""
SCHEMES: Final = ("rtsp://", "rtsps://", "http://", "https://")
_PASSWORD: Final = re.compile(
    r"(?<![a-z])(?:password|passwd|passphrase|passwort|pass|pwd|psw|pw|secret|loginpas|token)"
    r"=(?!\{password\})(?P<first>[^&])",
    re.IGNORECASE,
)


def kind_of(source: str) -> Kind:
    """Which kind of camera an address names.

    Raises:
        ValueError: an unknown kind.
    """
    if source.startswith("/dev/"):
        return "device"
    if source.startswith("file:") and len(source) > 5:
        return "file"
    if source.startswith(SCHEMES):
        return "url"
    raise ValueError(
        "unknown kind of source: use /dev/..., rtsp://, http://, https:// or file:PATH"
    )


def check(source: str) -> str:
    """The address itself, if it can be one and holds no password.

    Raises:
        ValueError: it cannot, or it does; the text never repeats the address.
    """
    if kind_of(source) != "url":
        return source
    if re.search(r"[\x00-\x20\x7f]", source):
        raise ValueError("source is not a URL: it holds a space or a control character")
    try:
        parts = urlsplit(source)
        _ = parts.port
    except ValueError:
        raise ValueError("source is not a URL") from None
    if not parts.hostname:
        raise ValueError("source names no host")
    if "@" in parts.netloc:
        raise ValueError(
            "source holds a user or password: take them out, and give user and credential "
            "(or password_file)"
        )
    # In a path some cameras set parameters apart by an underscore: nothing before it is empty.
    held = any(found["first"] not in ";/_" for found in _PASSWORD.finditer(parts.path))
    if held or _PASSWORD.search(f"{parts.query}&{parts.fragment}"):
        raise ValueError(
            "source holds a password: write {password} in its place, and give user and credential "
            "(or password_file)"
        )
    return source


def redact(source: str) -> str:
    """An address for logs and pages: a URL without user, password and query."""
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
    except ValueError:
        return source.partition("://")[0] + "://(unreadable)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
