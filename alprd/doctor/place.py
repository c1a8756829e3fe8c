"""GPS and clock: does the receiver speak, does it see the sky, and which clocks agree.

No row and no fact holds a position (R-460.2-2): whether there is a fix, how old and how exact.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from alprd.clock import ACQUIRE, EARLIEST, LATEST, SECOND, DisciplinedClock
from alprd.doctor.car import Car, GpsHeard
from alprd.doctor.mark import check_mark, kept
from alprd.doctor.report import Sheet
from alprd.gps import GpsConfig, GpsReceiver
from alprd.mark import PurgeClock
from alprd.place import PositionTrack

ACCURACY_M: Final = 25.0
"""A wider circle is told: a read's place would be another street."""
FEW_SATELLITES: Final = 5
CLOCK_OFF_S: Final = 60.0
"""The dock takes no permit and no list from a car whose system clock is further off."""
CLOCK_DRIFT_S: Final = 5.0
SEARCH_S: Final = 10.0
"""More patience while the receiver's rate is searched for ([gps] baud = 0)."""
_SILENT: Final = "no valid sentence"
"""How the receiver's own error begins when the port is open and says nothing of use."""
_BAUD: Final = "check [gps] baud: NMEA receivers use 4800, 9600, 38400 or 115200; 0 tries them"
_PLUG: Final = "check [gps] source, the plug and the receiver's power"


class _Ear(GpsReceiver):
    """Counts what arrives, sentences or not."""

    arrived = 0

    def feed(self, data: bytes, mono_ns: int) -> None:
        self.arrived += len(data)
        super().feed(data, mono_ns)


def listen(car: Car) -> GpsHeard:
    """Watch the receiver until it has told all, for ``car.seconds`` and what a clock needs more."""
    clock, track = DisciplinedClock(), PositionTrack()
    mark = kept(car)
    if mark is not None:
        PurgeClock(clock, mark)  # binds the clock to certain time, as in the daemon
    section = car.config.gps
    receiver = _Ear(GpsConfig(section.source, baud=section.baud), clock, track)
    begun = time.monotonic()
    patience = car.seconds + (0 if section.baud else SEARCH_S)
    receiver.start()
    try:
        # A clock needs some seconds of fixes; without a fix nothing more can come of waiting.
        while (spent := time.monotonic() - begun) < patience + ACQUIRE[1] / SECOND + 1.0:
            status = receiver.status()
            if (status.fix and clock.status().trusted) or status.ended:
                break
            if spent > patience and not status.fix:
                break
            time.sleep(0.1)
        status = receiver.status()
        return GpsHeard(
            status=status,
            clock=clock.status(),
            heard_bytes=receiver.arrived,
        )
    finally:
        receiver.stop()


def check_gps(car: Car, sheet: Sheet) -> None:
    """The receiver: port, sentences, fix, satellites, age, accuracy."""
    source = car.config.gps.source
    if car.daemon_runs:
        _from_health(car, sheet)
        return
    if source.startswith("/"):
        if not Path(source).exists():
            sheet.fail("port", f"{source} is not there", _PLUG)
            return
        if not os.access(source, os.R_OK | os.W_OK):
            sheet.fail(
                "port",
                f"{source} may not be opened by this user",
                "put the daemon's user into the group of the device: usermod -aG dialout alprd",
            )
            return
    heard = car.gps
    status = heard.status
    if not heard.heard_bytes:
        if status.last_error and not status.last_error.startswith(_SILENT):
            sheet.fail("port", f"{source}: {status.last_error}", _PLUG)
        else:
            sheet.fail("sentences", f"{source} opens, and nothing arrives", f"{_PLUG}; {_BAUD}")
        return
    rate = f" at {status.baud} baud" if status.baud else ""
    sheet.ok("port", f"{source} opens and bytes arrive{rate}", baud=status.baud)
    if status.sentences == 0:
        sheet.fail(
            "sentences",
            f"{heard.heard_bytes} bytes arrived, and no whole NMEA sentence among them",
            f"{_BAUD}; let the receiver send NMEA 0183, not a binary protocol",
            sentences=0,
            rejected=status.rejected,
        )
        return
    share = status.rejected / (status.sentences + status.rejected)
    sheet.judge(
        "sentences",
        f"{status.sentences} whole sentences, {status.rejected} damaged",
        fail=False,
        warn=share > 0.2,
        remedy=f"check the cable for a loose contact; {_BAUD}",
        sentences=status.sentences,
        rejected=status.rejected,
    )
    if status.rollover:
        sheet.warn(
            "date",
            "the receiver's date lies 1024 weeks or a multiple back: its time is not used",
            "update the receiver's firmware or fit another one",
        )
    _fix(sheet, status.fix, status.age_s, status.satellites, status.accuracy_m)


def _fix(
    sheet: Sheet,
    fix: bool,
    age_s: float | None,
    satellites: int | None,
    accuracy_m: float | None,
) -> None:
    sky = "drive into the open, wait two minutes, and check where the antenna sits"
    if not fix:
        sheet.warn(
            "fix",
            "the receiver speaks but has no fix",
            sky,
            fix=False,
            age_s=_rounded(age_s),
            satellites=satellites,
        )
        return
    poor = accuracy_m is not None and accuracy_m > ACCURACY_M
    few = satellites is not None and satellites < FEW_SATELLITES
    words = [f"fix {age_s or 0.0:.1f} s old"]
    if satellites is not None:
        words.append(f"{satellites} satellites")
    if accuracy_m is not None:
        words.append(f"about {accuracy_m:.0f} m exact")
    sheet.judge(
        "fix",
        ", ".join(words),
        fail=False,
        warn=poor or few,
        remedy=sky,
        fix=True,
        age_s=_rounded(age_s),
        satellites=satellites,
        accuracy_m=_rounded(accuracy_m),
    )


def _from_health(car: Car, sheet: Sheet) -> None:
    """The daemon holds the port: what it hears is what counts."""
    told = (car.health or {}).get("gps")
    if not isinstance(told, dict):
        sheet.skip("port", "the daemon holds the receiver and cannot be asked; see the car's page")
        return
    fix, age = told.get("fix"), told.get("age_s")
    if not told.get("up", True):
        sheet.fail("sentences", "the daemon hears nothing from the receiver", f"{_PLUG}; {_BAUD}")
        return
    sheet.ok("port", "the daemon hears the receiver")
    satellites, accuracy = told.get("satellites"), told.get("accuracy_m")
    _fix(
        sheet,
        bool(fix),
        age if isinstance(age, int | float) else None,
        satellites if isinstance(satellites, int) else None,
        accuracy if isinstance(accuracy, int | float) else None,
    )


def check_clock(car: Car, sheet: Sheet) -> None:
    """System clock against sanity, GPS and the battery clock; the zone of people's clocks."""
    now = car.now()
    setting = "set it: timedatectl set-time, or dock the car where a time server answers"
    if not EARLIEST <= now < LATEST:
        sheet.fail(
            "system",
            f"the system clock says {now:%Y-%m-%d}",
            f"{setting}; a clock that forgets wants a new battery",
            utc=now.isoformat(timespec="seconds"),
        )
    else:
        sheet.ok(
            "system",
            f"{now:%Y-%m-%d %H:%M:%S} UTC",
            utc=now.isoformat(timespec="seconds"),
        )
    _against_gps(car, sheet, setting)
    check_mark(car, sheet)
    _battery_clock(car, sheet, now)
    zone = time.strftime("%Z")
    known = car.text("/etc/timezone") or _zone_link(car)
    sheet.ok("zone", f"{known or zone} (everything is kept in UTC)", zone=known or zone)


def _against_gps(car: Car, sheet: Sheet, setting: str) -> None:
    if car.config.gps.source.startswith("file:"):
        sheet.skip("gps", "the receiver is a recording, whose time is not now")
        return
    if car.daemon_runs:
        told = (car.health or {}).get("clock")
        if not isinstance(told, dict):
            sheet.skip("gps", "the daemon holds the receiver and cannot be asked")
            return
        trusted, error = told.get("trusted"), told.get("system_error_s")
    else:
        status = car.gps.clock
        trusted, error = status.trusted, status.system_error_s
    if not trusted:
        sheet.warn(
            "gps",
            "no trusted time from GPS: reads would be marked so",
            "see the rows of gps; the clock is trusted some seconds after the first fix",
            trusted=False,
        )
        return
    off = abs(error) if isinstance(error, int | float) else 0.0
    sheet.judge(
        "gps",
        f"trusted; the system clock is {off:.1f} s off",
        fail=off > CLOCK_OFF_S,
        warn=off > CLOCK_DRIFT_S,
        remedy=setting,
        trusted=True,
        system_error_s=_rounded(error if isinstance(error, int | float) else None),
    )


def _battery_clock(car: Car, sheet: Sheet, now: datetime) -> None:
    text = car.text("/sys/class/rtc/rtc0/since_epoch")
    if text is None or not text.isdigit():
        sheet.skip("battery", "this machine has no battery-backed clock that can be read")
        return
    rtc = datetime.fromtimestamp(int(text), UTC)
    off = abs((rtc - now).total_seconds())
    sheet.judge(
        "battery",
        f"the battery clock is {off:.0f} s off the system clock",
        fail=False,
        warn=off > CLOCK_OFF_S,
        remedy="write the time into it: hwclock --systohc; if it loses it, change its battery",
        off_s=round(off),
    )


def _zone_link(car: Car) -> str:
    link = car.below("/etc/localtime")
    try:
        return str(link.resolve()).partition("zoneinfo/")[2]
    except OSError:
        return ""


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 1)
