"""How the car does, for programs on this computer: a JSON document and Prometheus metrics.

No plate, no place, no person; and no number from which suppression could be told (R-460.5-b4).
Whoever can read these numbers every second could follow single passes, so there is

- no count of passes, matches, reads or commits, and no time of a stage after the suppression
  decision (:mod:`alprd.timing`): a pass that was counted and not kept would show;
- the queue only in steps of :data:`QUEUE_STEP`, free disk only in steps of :data:`DISK_STEP`
  (a read takes some 60 kB), both rounded so that a single read does not show;
- nothing of lists and protected plates but the lists' age.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from alprd import __version__
from alprd.carstatus import StatusBook
from alprd.clock import DisciplinedClock
from alprd.devices import Devices
from alprd.disk import DiskGuard, Level
from alprd.errors import StoreError
from alprd.mdt.status import CarStatus
from alprd.process import footprint
from alprd.reload import Reloader
from alprd.timing import BOUNDS_S, STAGES
from alprd.workers import Supervisor

QUEUE_STEP: Final = 50
DISK_STEP: Final = 64 * 1024 * 1024


def rounded_queue(reads: int) -> int:
    """Reads to go, rounded up to a step; 0 only when there are none."""
    return -(-reads // QUEUE_STEP) * QUEUE_STEP


def rounded_disk(free_bytes: int) -> int:
    """Free bytes, rounded down to a step."""
    return free_bytes // DISK_STEP * DISK_STEP


@dataclass(frozen=True, slots=True)
class Parts:
    """What health looks at."""

    devices: Devices
    clock: DisciplinedClock
    status: StatusBook
    supervisor: Supervisor
    reloader: Reloader
    state_dir: Path
    disk: DiskGuard
    self_check: Callable[[], dict[str, object]] = dict


class Health:
    """Gathers the car's health; any thread. Nothing here waits for a device."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._began = time.monotonic()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Metrics(self))

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and the document of ``/healthz``.

        Not well: a required worker is not fresh, the queue cannot be read, the disk is nearly
        full, or the car collects without any camera. What the deputy or the office should mend
        and what stops nothing is in ``warnings``.
        """
        parts = self._parts
        problems: list[str] = []
        warnings: list[str] = []
        workers = parts.supervisor.statuses()
        for worker in workers:
            if not worker.fresh:
                (problems if worker.required else warnings).append(f"worker {worker.name}")
        cameras = [lane.status() for lane in parts.devices.lanes]
        try:
            status: CarStatus | None = parts.status.now()
        except StoreError:
            status = None
            problems.append("the queue cannot be read")
        collecting = status is not None and status.session_open
        up = sum(camera.up for camera in cameras)
        if collecting and not up:
            problems.append("collecting, and no camera gives pictures")
        elif up < len(cameras):
            warnings.append(f"{up} of {len(cameras)} cameras give pictures")
        free = shutil.disk_usage(parts.state_dir).free
        if parts.disk.level >= Level.NO_WIDE:  # by the car's own [storage], as the page tells it
            problems.append("the disk is nearly full")
        if parts.reloader.problem:
            warnings.append("the configuration was changed and is not valid")
        if parts.reloader.restart:
            warnings.append("a change of the configuration waits until nobody collects")
        gps = parts.devices.gps.status()
        now, trusted = parts.clock.now()
        system = parts.clock.status()
        held = footprint()
        document: dict[str, Any] = {
            "ok": not problems,
            "problems": problems,
            "warnings": [*warnings, *(status.alarms if status else ())],
            "version": __version__,
            "uptime_s": round(self.uptime_s, 1),
            "collecting": collecting,
            "cameras": [
                {
                    "name": camera.name,
                    "up": camera.up,
                    "age_s": _rounded(camera.age_s),
                    "fps": round(camera.fps, 1),
                    "width": camera.width,
                    "height": camera.height,
                    "restarts": camera.restarts,
                    "line": camera.line(),
                }
                for camera in cameras
            ],
            "gps": {
                "up": gps.up,
                "fix": gps.fix,
                "age_s": _rounded(gps.age_s),
                "satellites": gps.satellites,
                "accuracy_m": gps.accuracy_m,
                "restarts": gps.restarts,
            },
            "clock": {
                "utc": now.isoformat(timespec="seconds"),
                "trusted": trusted,
                "known": system.known,
                "disbelieved": system.disbelieved,
                "system_error_s": _rounded(system.system_error_s),
            },
            "queue": {"to_go_at_most": None if status is None else rounded_queue(status.queued)},
            "dock": "" if status is None else _dock(status.dock),
            "lists": {
                one.list_id: {"age_h": round(one.age_h, 1)}
                for one in (status.lists if status else ())
            },
            "permit_s": None
            if status is None or status.permit_expires is None
            else round((status.permit_expires - now) / timedelta(seconds=1)),
            "disk": {"free_bytes_at_least": rounded_disk(free)},
            "process": {
                "resident_bytes": held.resident_bytes,
                "threads": held.threads,
                "files": held.files,
            },
            "workers": [
                {
                    "name": worker.name,
                    "fresh": worker.fresh,
                    "alive": worker.alive,
                    "required": worker.required,
                    "age_s": _rounded(worker.age_s),
                    "restarts": worker.restarts,
                    "last_error": worker.last_error,
                }
                for worker in workers
            ],
            "configuration": {
                "problem": parts.reloader.problem,
                "waits_for_restart": list(parts.reloader.restart),
            },
            "self_check": parts.self_check(),
        }
        return not problems, document

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def metrics(self) -> bytes:
        """The text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)

    def timing(self) -> Iterable[Metric]:
        """Histograms of the stages before any decision, by camera."""
        found = {
            stage: HistogramMetricFamily(
                f"alprd_frame_{stage}_seconds", f"Seconds {words}.", labels=["camera"]
            )
            for stage, words in STAGES.items()
        }
        for lane in self._parts.devices.lanes:
            for stage, counts in lane.timing.counts().items():
                summed, buckets = 0, []
                for bound, count in zip((*BOUNDS_S, "+Inf"), counts.buckets, strict=True):
                    summed += count
                    buckets.append((str(bound), float(summed)))
                found[stage].add_metric([lane.name], buckets, counts.total_s)
        return found.values()


class _Metrics(Collector):
    """Makes Prometheus' families from the report, so that both say the same."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        ok, told = self._health.report()
        version = InfoMetricFamily("alprd", "The daemon.", value={"version": told["version"]})
        yield version
        yield _gauge("alprd_healthy", "1 if /healthz answers 200.", ok)
        yield _gauge("alprd_uptime_seconds", "Seconds since the start.", told["uptime_s"])
        yield _gauge("alprd_collecting", "1 while a session is open.", told["collecting"])
        yield from _rows(
            told["cameras"],
            "camera",
            {
                "alprd_camera_up": ("up", "1 while pictures come."),
                "alprd_camera_frame_age_seconds": ("age_s", "Age of the newest picture."),
                "alprd_camera_frames_per_second": ("fps", "Pictures a second, lately."),
            },
            {"alprd_camera_restarts": ("restarts", "Times the source was opened again.")},
        )
        gps, clock = told["gps"], told["clock"]
        yield _gauge("alprd_gps_up", "1 while valid sentences come.", gps["up"])
        yield _gauge("alprd_gps_fix", "1 with a fix of the last 3 s.", gps["fix"])
        yield _gauge("alprd_gps_fix_age_seconds", "Age of the last fix.", gps["age_s"])
        yield _gauge("alprd_gps_satellites", "Satellites of the fix.", gps["satellites"])
        yield _counter("alprd_gps_restarts", "Times it was opened again.", gps["restarts"])
        yield _gauge("alprd_clock_trusted", "1 while GPS disciplines it.", clock["trusted"])
        yield _gauge(
            "alprd_system_clock_error_seconds",
            "System clock less disciplined clock.",
            clock["system_error_s"],
        )
        yield _gauge(
            "alprd_queue_reads_at_most",
            f"Sealed reads to go, rounded up to {QUEUE_STEP}.",
            told["queue"]["to_go_at_most"],
        )
        yield _gauge(
            "alprd_disk_free_bytes_at_least",
            f"Free bytes, rounded down to {DISK_STEP}.",
            told["disk"]["free_bytes_at_least"],
        )
        yield _gauge("alprd_permit_seconds", "Until the permit lapses.", told["permit_s"])
        ages = GaugeMetricFamily("alprd_list_age_hours", "Age of a list.", labels=["list"])
        for name, one in told["lists"].items():
            ages.add_metric([name], one["age_h"])
        yield ages
        yield from _rows(
            told["workers"],
            "worker",
            {
                "alprd_worker_fresh": ("fresh", "1 while it beats in time."),
                "alprd_worker_beat_age_seconds": ("age_s", "Since its last beat."),
            },
            {"alprd_worker_restarts": ("restarts", "Times it was started again.")},
        )
        config = told["configuration"]
        yield _gauge("alprd_config_valid", "0 while a change is refused.", not config["problem"])
        yield _gauge(
            "alprd_config_waits_for_restart", "1 until then.", bool(config["waits_for_restart"])
        )
        held = told["process"]
        yield _gauge("alprd_resident_bytes", "Memory of the daemon.", held["resident_bytes"])
        yield _gauge("alprd_threads", "Threads of the daemon.", held["threads"])
        yield _gauge("alprd_open_files", "Open descriptors of the daemon.", held["files"])
        yield from self._health.timing()


def _gauge(name: str, words: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(name, words)
    if value is not None:  # what is not known is left out, not invented
        family.add_metric([], float(value))
    return family


def _counter(name: str, words: str, value: float) -> Metric:
    family = CounterMetricFamily(name, words)
    family.add_metric([], float(value))
    return family


def _rows(
    rows: list[dict[str, Any]],
    label: str,
    gauges: dict[str, tuple[str, str]],
    counters: dict[str, tuple[str, str]],
) -> Iterable[Metric]:
    for kind, wanted in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
        for name, (key, words) in wanted.items():
            family = kind(name, words, labels=[label])
            for row in rows:
                if row[key] is not None:
                    family.add_metric([row["name"]], float(row[key]))
            yield family


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _dock(text: str) -> str:
    """The dock's words without its exact count of what is to go."""
    head, _, tail = text.partition(":")
    words = head.partition(",")[0]
    return f"{words}:{tail}" if tail else words
