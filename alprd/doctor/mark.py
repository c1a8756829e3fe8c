"""Certain time: what the car last knew for sure, and what its clocks say against it.

A car that has had neither GPS nor the dock for a week of running destroys by its own clock; one
whose clock certain time proves wrong collects nothing. Both are told before a person wonders.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from alprd.doctor.car import Car
from alprd.doctor.report import Sheet
from alprd.mark import LONGEST_WAIT, TimeMark

_KEY: Final = "time-mark"
"""As the daemon keeps it (:data:`alprd.keeper.MARK_KEY`)."""
_TRUST: Final = "drive into the open until the row clock/gps is well, or dock the car"


def kept(car: Car) -> TimeMark | None:
    """The mark in the queue's database, opened read-only; None if there is none to be read."""
    path = car.state / "queue.db"
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return None  # the check of the queue says so
    return None if row is None else TimeMark.load(row[0])


def check_mark(car: Car, sheet: Sheet) -> None:
    """Whether time was certain lately, is known now, and whether a receiver tells a false one."""
    mark = kept(car)
    if mark is None:
        sheet.skip("mark", "no certain time is kept yet: the daemon has not run")
    else:
        floor = mark.lower_bound()
        sheet.judge(
            "mark",
            f"{mark.ran.days} days of running without trusted time: reads are destroyed by the "
            "system clock"
            if mark.overdue()
            else "no trusted time yet"
            if floor is None
            else f"it is at least {floor:%Y-%m-%d %H:%M} UTC",
            fail=False,
            warn=mark.overdue(),
            remedy=f"{_TRUST}; after {LONGEST_WAIT.days} days the untrusted clock decides",
            overdue=mark.overdue(),
            ran_h=round(mark.ran.total_seconds() / 3600, 1),
            at_least=None if floor is None else floor.isoformat(timespec="seconds"),
        )
    _clock(car, sheet)


def _clock(car: Car, sheet: Sheet) -> None:
    told = _told(car)
    known, disbelieved = told.get("known"), told.get("disbelieved")
    if isinstance(known, bool):
        sheet.judge(
            "known",
            "the time is known"
            if known
            else "nothing tells the time: the system clock contradicts certain time, and GPS is "
            "not trusted; the car collects nothing",
            fail=False,
            warn=not known,
            remedy=f"{_TRUST}; then set the clock and check its battery",
            known=known,
        )
    if isinstance(disbelieved, int):
        sheet.judge(
            "disbelieved",
            f"the receiver told a time that cannot be true, {disbelieved} times"
            if disbelieved
            else "the receiver told no impossible time",
            fail=False,
            warn=disbelieved > 0,
            remedy="update the receiver's firmware or fit another one; if other receivers agree "
            "with it, dock the car, since its certain time may be false",
            disbelieved=disbelieved,
        )


def _told(car: Car) -> dict[str, Any]:
    """``known`` and ``disbelieved`` of the clock, as far as they can be asked for."""
    if car.daemon_runs:
        told = (car.health or {}).get("clock")
        return told if isinstance(told, dict) else {}
    if car.config.gps.source.startswith("file:"):
        return {}
    status = car.gps.clock
    return {"known": status.known, "disbelieved": status.disbelieved}
