"""The scorecard of a drive: what central holds and the page showed, against the truth.

The truth comes from the drive's ``truth.json`` alone. ``committed`` is the car's own ledger,
``received`` central's own count; neither knows of the other. A read is *right* when its text is
that of a vehicle of the drive; which wrong reads were *sure* comes from the daemon's witness
line, since confidence is never stored (T-4).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from alprd.errors import InputError
from alprd.records import fold


class _Open(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TruthCamera(_Open):
    """One camera of the drive."""

    id: str
    file: str
    fps: float


class TruthPass(_Open):
    """When a vehicle was before a camera, in seconds from the drive's time zero."""

    camera: str
    t_first: float
    t_last: float


class TruthVehicle(_Open):
    """One vehicle of the drive and what must become of it."""

    id: int
    plate: str
    stacked: str = ""
    state: str | None = None
    suppressed: bool = False
    alert: bool = False
    near_miss_of: str | None = None
    readable: bool = True
    passes: tuple[TruthPass, ...] = ()


class Truth(_Open):
    """``truth.json``; fields that the scorecard does not use are ignored."""

    start_utc: datetime
    duration_s: float
    cameras: tuple[TruthCamera, ...]
    gps: str
    hotlist: str
    suppression: str
    vehicles: tuple[TruthVehicle, ...]


def load_truth(folder: Path) -> Truth:
    """The truth of a drive folder, all of whose files can be read.

    Raises:
        InputError: a file is missing or does not fit.
    """
    path = folder / "truth.json"
    try:
        truth = Truth.model_validate_json(path.read_bytes())
        for name in (truth.gps, truth.hotlist, truth.suppression, *(c.file for c in truth.cameras)):
            with (folder / name).open("rb") as part:
                part.read(1)
        return truth
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: {error.strerror}",
            remedy="give a whole folder made by `make drive SEED=N OUT=DIR`",
        ) from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(f"{path}: field {where} does not fit", remedy="render it again") from None


@dataclass(frozen=True, slots=True)
class StoredRead:
    """What a documented search at central gave back."""

    id: str
    plate: str
    stacked: str
    instant: datetime


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """One alert as the page received it; ``delay_ms`` from frame to arrival.

    ``captured_mono_ns``: the frame in which its text was first read; ``decided_mono_ns``: the one
    whose reading made it an alert; ``sound_mono_ns``: its sound left the browser, 0 where none
    was listened to.
    """

    id: str
    plate: str
    listed: str
    delay_ms: float
    captured_mono_ns: int = 0
    decided_mono_ns: int = 0
    sound_mono_ns: int = 0


@dataclass(frozen=True, slots=True)
class Scorecard:
    """The figures of one drive; see the module."""

    truth_plates: int
    read_exact: int
    read_wrong: int
    read_wrong_sure: int
    missed: int
    alerts_expected: int
    alerts_right: int
    alerts_false: int
    suppressed_leaked: int
    committed: int
    received: int
    lost: int
    duplicated: int
    left_in_car: int
    capture_to_alert_ms_p50: float | None
    capture_to_alert_ms_p95: float | None
    sounds: int
    """Alerts whose sound was heard in a browser."""
    capture_to_sound_ms_p50: float | None
    """From the frame in which the text was first read to the sound; None without a browser."""
    capture_to_sound_ms_p95: float | None
    decided_to_sound_ms_p50: float | None
    """From the frame whose reading made it an alert to the sound."""
    decided_to_sound_ms_p95: float | None
    wall_s: float

    @property
    def held(self) -> bool:
        """Whether the drive kept every promise of the demo."""
        nothing = self.lost == self.duplicated == self.left_in_car == self.suppressed_leaked == 0
        alerts = self.alerts_right == self.alerts_expected > 0 and self.alerts_false == 0
        return nothing and alerts

    def broken(self) -> list[str]:
        """The promises that did not hold, in words."""
        said = [
            f"{name} is {value}, not 0"
            for name, value in (
                ("lost", self.lost),
                ("duplicated", self.duplicated),
                ("left in car", self.left_in_car),
                ("suppressed leaked", self.suppressed_leaked),
                ("false alerts", self.alerts_false),
            )
            if value
        ]
        if self.alerts_right != self.alerts_expected or not self.alerts_expected:
            said.append(f"{self.alerts_right} of {self.alerts_expected} expected alerts came")
        return said

    def as_json(self) -> dict[str, Any]:
        """Keys as the issue's readers expect them."""
        return asdict(self)


def _near(one: str, other: str) -> bool:
    """Whether two folds differ in at most one place, one missing or one added character."""
    a, b = sorted((fold(one), fold(other)), key=len)
    if len(b) - len(a) > 1:
        return False
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True)) <= 1
    return any(b[:i] + b[i + 1 :] == a for i in range(len(b)))


def score(
    truth: Truth,
    *,
    zero_utc: datetime,
    reads: Sequence[StoredRead],
    alerts: Sequence[ShownAlert],
    sure: Mapping[str, bool],
    committed_ids: Iterable[str],
    committed: int,
    received: int,
    left_in_car: int,
    wall_s: float,
) -> Scorecard:
    """Hold what was stored and shown against the truth.

    Args:
        zero_utc: the UTC instant that the drive's time zero had when it was played.
        sure: read id → sureness, and ``committed_ids``: both as the witness saw them.
        committed: the car's ledger; ``received``: central's count of reads taken in.
    """
    seen = [v for v in truth.vehicles if v.readable]
    open_plates = {v.plate for v in seen if not v.suppressed}
    all_open = {v.plate for v in truth.vehicles if not v.suppressed}
    hidden = [v for v in truth.vehicles if v.suppressed]
    stored = {read.plate for read in reads} | {read.stacked + read.plate for read in reads}
    wrong = [r for r in reads if r.plate not in all_open and r.stacked + r.plate not in all_open]

    def leaked(read: StoredRead) -> bool:
        """A read of a protected plate: its text, or nearly it while that vehicle was in view."""
        at = (read.instant - zero_utc) / timedelta(seconds=1)
        for vehicle in hidden:
            if fold(read.plate) == fold(vehicle.plate):
                return True
            in_view = any(p.t_first - 1 <= at <= p.t_last + 1 for p in vehicle.passes)
            if in_view and read.plate not in all_open and _near(read.plate, vehicle.plate):
                return True
        return False

    expected = {v.plate for v in seen if v.alert}
    shown = {alert.plate for alert in alerts}
    delays = sorted(a.delay_ms for a in alerts if a.plate in expected)
    heard = [a for a in alerts if a.plate in expected and a.sound_mono_ns]
    sounds = sorted((a.sound_mono_ns - a.captured_mono_ns) / 1e6 for a in heard)
    decided = sorted((a.sound_mono_ns - a.decided_mono_ns) / 1e6 for a in heard)
    ids = [read.id for read in reads]
    gone = set(committed_ids) - set(ids)
    return Scorecard(
        truth_plates=len(open_plates),
        read_exact=len(open_plates & stored),
        read_wrong=len(wrong),
        read_wrong_sure=sum(sure.get(read.id, False) for read in wrong),
        missed=len(open_plates - stored),
        alerts_expected=len(expected),
        alerts_right=len(expected & shown),
        alerts_false=len([a for a in alerts if a.plate not in expected]),
        suppressed_leaked=sum(leaked(read) for read in reads),
        committed=committed,
        received=received,
        lost=max(len(gone), committed - received - left_in_car, 0),
        duplicated=len(ids) - len(set(ids)) + max(0, received - committed),
        left_in_car=left_in_car,
        capture_to_alert_ms_p50=_share(delays, 0.5),
        capture_to_alert_ms_p95=_share(delays, 0.95),
        sounds=len(sounds),
        capture_to_sound_ms_p50=_share(sounds, 0.5),
        capture_to_sound_ms_p95=_share(sounds, 0.95),
        decided_to_sound_ms_p50=_share(decided, 0.5),
        decided_to_sound_ms_p95=_share(decided, 0.95),
        wall_s=round(wall_s, 1),
    )


def _share(ordered: Sequence[float], share: float) -> float | None:
    """The median, or the nearest-rank quantile, of a sorted sequence; None of an empty one."""
    if not ordered:
        return None
    if share == 0.5:
        return round(statistics.median(ordered), 1)
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1)
