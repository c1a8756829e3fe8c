"""A row of the fault bench, and the faults of cameras, receiver and clock.

Each fault is made while the car collects. *Noticed* is how long the page went on showing all well;
*recovery* is from the moment the cause is gone until the page shows all well again (for a database,
until reads are committed again). What was committed meanwhile is judged at the end of the bench,
when everything has been sent (:mod:`bench.fault_score`).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from bench.crash_world import BenchError
from bench.fault_world import CameraServer, FaultWorld

DEVICE_S: Final = 10.0
"""Bound of the recovery of cameras and GPS."""
LONGEST_S: Final = 60.0
FAULT_S: Final = 6.0
"""How long a fault goes on after it was noticed."""
LIES: Final = "GPS jumps 111 km"
AWAY: Final = 1.0
"""Degrees of latitude by which it lies: 111 km."""
DECADES: Final = 30 * 365 * 86_400


@dataclass(slots=True)
class Row:
    """What one fault did. Seconds; ``None`` where there is nothing to be measured."""

    fault: str
    bound_s: float | None
    noticed_s: float | None = None
    recovery_s: float | None = None
    reads: int = 0
    """Reads committed from the fault until all was well again."""
    lost: int = 0
    untrue: int = 0
    """Reads with a wrong instant, or with a wrong place: before the receiver had told it for long
    enough to be believed, or once it told the truth again."""
    wrong: list[str] = field(default_factory=list)
    note: str = ""
    since: float = 0.0
    until: float = 0.0
    """Monotonic seconds: what was seen from the first on, until the next row, belongs to this."""

    @property
    def held(self) -> bool:
        """Whether the car kept every promise."""
        late = self.bound_s is not None and (
            self.recovery_s is None or self.recovery_s > self.bound_s
        )
        return not (late or self.lost or self.untrue or self.wrong)


def fail(
    world: FaultWorld,
    row: Row,
    *,
    fault: Callable[[], object],
    lift: Callable[[], object],
    noticed: Callable[[], bool] | None,
    well: Callable[[], bool],
    others: Callable[[], bool] = lambda: True,
) -> Row:
    """Make a fault, wait until it shows, let it last, lift it, and measure.

    Args:
        noticed: the page shows it; None where nothing is to be shown.
        others: must hold all the time, such as that the other camera stays up.
    """

    def watched(true: Callable[[], bool]) -> Callable[[], bool]:
        def look() -> bool:
            if not others() and "another part was disturbed" not in row.wrong:
                row.wrong.append("another part was disturbed")
            return true()

        return look

    row.since = time.monotonic()
    before = world.committed()
    fault()
    if noticed is not None:
        try:
            world.until("noticed", watched(noticed), 30.0)
            row.noticed_s = round(time.monotonic() - row.since, 1)
        except BenchError as error:
            row.wrong.append(f"never shown: {error.message}")
    end = time.monotonic() + FAULT_S
    world.until("the fault lasts", watched(lambda: time.monotonic() >= end), FAULT_S + 30)
    lift()
    try:
        row.recovery_s = round(world.until("all is well", watched(well), LONGEST_S), 1)
    except BenchError as error:
        row.wrong.append(error.message)
    row.reads = world.committed() - before
    row.until = time.monotonic()
    return row


# --- cameras ------------------------------------------------------------------------------------


def _camera(
    world: FaultWorld,
    what: str,
    fault: Callable[[CameraServer], object],
    lift: Callable[[CameraServer], object],
) -> Row:
    front = world.cameras["front"]
    return fail(
        world,
        Row(what, DEVICE_S),
        fault=lambda: fault(front),
        lift=lambda: lift(front),
        noticed=lambda: world.light("front") not in {"ok", ""},
        well=lambda: world.light("front") == "ok",
        others=lambda: world.light("left") in {"ok", ""},
    )


def camera_freeze(world: FaultWorld) -> Row:
    """The camera's computer hangs; its connections stay open."""
    return _camera(
        world,
        "camera freezes",
        lambda camera: camera.signal(signal.SIGSTOP),
        lambda camera: camera.signal(signal.SIGCONT),
    )


def camera_kill(world: FaultWorld) -> Row:
    """The camera loses its power: connection reset, then refused; it comes back at its port."""
    return _camera(world, "camera killed", CameraServer.kill, CameraServer.start)


def camera_refuse(world: FaultWorld) -> Row:
    """The camera refuses the password for a while."""
    return _camera(
        world,
        "camera refuses password",
        lambda camera: camera.mode("refuse"),
        lambda camera: camera.mode("pictures"),
    )


def camera_garbage(world: FaultWorld) -> Row:
    """The camera sends random bytes under an honest header."""
    return _camera(
        world,
        "camera sends garbage",
        lambda camera: camera.mode("garbage"),
        lambda camera: camera.mode("pictures"),
    )


# --- receiver -----------------------------------------------------------------------------------


def gps_silence(world: FaultWorld) -> Row:
    """The receiver says nothing."""
    return fail(
        world,
        Row("GPS silent", DEVICE_S),
        fault=lambda: setattr(world.gps, "mode", "silent"),
        lift=lambda: setattr(world.gps, "mode", "steady"),
        noticed=lambda: world.gps_light() == "warn",
        well=lambda: world.gps_light() == "ok",
        others=world.cameras_well,
    )


def gps_garbage(world: FaultWorld) -> Row:
    """The receiver talks rubbish."""
    return fail(
        world,
        Row("GPS garbage", DEVICE_S),
        fault=lambda: setattr(world.gps, "mode", "garbage"),
        lift=lambda: setattr(world.gps, "mode", "steady"),
        noticed=lambda: world.gps_light() == "warn",
        well=lambda: world.gps_light() == "ok",
        others=world.cameras_well,
    )


def gps_place_jump(world: FaultWorld) -> Row:
    """The receiver tells a place 111 km away; then the truth again."""
    return fail(
        world,
        Row(LIES, DEVICE_S),
        fault=lambda: setattr(world.gps, "away", AWAY),
        lift=lambda: setattr(world.gps, "away", 0.0),
        noticed=None,
        well=lambda: world.gps_light() == "ok",
        others=world.cameras_well,
    )


def gps_time_jump(world: FaultWorld) -> Row:
    """The receiver tells a time an hour ahead; reads must keep the true one."""
    return fail(
        world,
        Row("GPS time jumps 1 h", DEVICE_S, note="no read may carry the false time"),
        fault=lambda: setattr(world.gps, "shift", timedelta(hours=1)),
        lift=lambda: setattr(world.gps, "shift", timedelta(0)),
        noticed=None,
        well=lambda: world.clock_light() == world.gps_light() == "ok",
        others=world.cameras_well,
    )


# --- system clock -------------------------------------------------------------------------------


def _system_clock(world: FaultWorld, what: str, seconds: int) -> Row:
    """The system clock jumps under a running daemon; GPS goes on telling the truth."""
    row = Row(what, DEVICE_S, note="nothing destroyed early, no false instant")
    if not world.clock.there:
        row.bound_s, row.note = None, "left out: no C compiler"
        return row
    return fail(
        world,
        row,
        fault=lambda: world.clock.shift(seconds),
        lift=lambda: world.clock.shift(0),
        noticed=None,
        well=world.all_well,
        others=world.cameras_well,
    )


def clock_ahead(world: FaultWorld) -> Row:
    """30 years ahead."""
    return _system_clock(world, "system clock +30 years", DECADES)


def clock_behind(world: FaultWorld) -> Row:
    """30 years behind."""
    return _system_clock(world, "system clock -30 years", -DECADES)


def clock_at_start(world: FaultWorld) -> Row:
    """The car starts with a flat clock battery, away from the dock: GPS alone tells the time."""
    row = Row("start at -30 years", LONGEST_S, note="collects once GPS has told the time")
    if not world.clock.there:
        row.bound_s, row.note = None, "left out: no C compiler"
        return row
    row.since = time.monotonic()
    before = world.committed()
    world.stop()
    pending = world.queue("SELECT count(*) FROM reads")
    world.clock.shift(-DECADES)
    began = time.monotonic()
    try:
        world.start(docked=False)
        count = world.committed()
        world.until("reads are committed", lambda: world.committed() > count, LONGEST_S)
        row.recovery_s = round(time.monotonic() - began, 1)
    except BenchError as error:
        row.wrong.append(error.message)
    if world.queue("SELECT count(*) FROM reads") < pending:
        row.wrong.append("a start at -30 years destroyed reads")
    world.clock.shift(0)
    world.rest(2.0)
    row.reads = world.committed() - before
    row.until = time.monotonic()
    return row
