"""Days as people type them: local dates of the agency."""

from __future__ import annotations

from datetime import date, datetime

from alprd.central.storage.store import Central
from alprd.errors import InputError


def as_date(text: str) -> date:
    """An ISO date.

    Raises:
        InputError: not one.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"{text!r} is not a date", remedy="write 2026-01-31") from None


def local_day(central: Central, text: str, now: datetime) -> str:
    """A day as typed, if it can be one of the past or today.

    Raises:
        InputError: not a date, in the future, or before the year 2000.
    """
    day = as_date(text)
    if not date(2000, 1, 1) <= day <= now.astimezone(central.config.zone()).date():
        raise InputError("the day lies in the future, or before the year 2000")
    return day.isoformat()
