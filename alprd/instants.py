"""The clocks of the machine: names, units and conversions that car modules share.

Frames are stamped on the monotonic clock, which stands still while the machine sleeps; what lives
by running time (:mod:`alprd.mark`) goes by the boot-time clock, which does not.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

SECOND: Final = 1_000_000_000
"""Nanoseconds."""
DRIFT: Final = 1e-4
"""Bound of a crystal's error, 100 ppm."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ns(utc: datetime) -> int:
    """Whole nanoseconds of an aware datetime since 1970 (exact, unlike ``timestamp()``)."""
    delta = utc - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds * 1000


def from_ns(ns: int) -> datetime:
    """Inverse of :func:`to_ns`, floored to the microsecond."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def boottime_ns() -> int:
    """Nanoseconds since boot, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def suspended_ns() -> int:
    """How long the machine has slept since boot: CLOCK_MONOTONIC stands still meanwhile."""
    return boottime_ns() - time.monotonic_ns()
