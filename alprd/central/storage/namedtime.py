"""The time that a supplier puts into a file's name, such as ``LPDF_20261122_0600.csv``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from alprd.errors import InputError

_PARTS: Final = {
    "%Y": r"(?P<year>\d{4})",
    "%m": r"(?P<month>\d{2})",
    "%d": r"(?P<day>\d{2})",
    "%H": r"(?P<hour>\d{2})",
    "%M": r"(?P<minute>\d{2})",
    "%S": r"(?P<second>\d{2})",
}


def pattern_of(form: str) -> re.Pattern[str]:
    """The pattern of a form such as ``%Y%m%d_%H%M`` (year, month and day are needed, once each).

    Raises:
        ValueError: another directive, one twice, or one missing.
    """
    text = "".join(
        _PARTS.get(part) or re.escape(part) for part in re.findall(r"%.|[^%]+|%", form, re.DOTALL)
    )
    directives = re.findall(r"%.?", form)
    if (
        not {"%Y", "%m", "%d"} <= set(directives) <= set(_PARTS)
        or len(set(directives)) != len(directives)
    ):  # fmt: skip
        raise ValueError("needs %Y, %m and %d, may have %H, %M and %S, each once and nothing else")
    return re.compile(rf"(?<!\d){text}(?!\d)")


def time_in_name(name: str, form: str, zone: ZoneInfo) -> datetime:
    """The instant that a name tells, in UTC; without an hour it is the day's start.

    Where the clock is set back an hour the earlier instant counts: a list is never taken for
    fresher than it is.

    Raises:
        InputError: the name has no such time.
    """
    found = pattern_of(form).search(name)
    try:
        if found is None:
            raise ValueError
        parts = {part: int(value) for part, value in found.groupdict().items()}
        local = datetime(**parts, tzinfo=zone)
    except ValueError:
        raise InputError(
            f"the file's name has no time of the form {form}",
            remedy="correct time_in_name in [drop.lists] of central.toml, or the name",
        ) from None
    return local.astimezone(UTC)
