"""What the configuration plugs into the car: cameras with their lanes, and the GPS receiver.

All lanes share one pair of models: a second pair costs 26 MB and makes nothing faster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from alprd.capture import Camera, CameraConfig
from alprd.choice import choose
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector
from alprd.config import CameraSection, Config
from alprd.gps import GpsConfig, GpsReceiver
from alprd.lanes import Lane
from alprd.profiles import PROFILES
from alprd.reader import RoadReader, load
from alprd.workers import Supervisor, Worker

LANE_SILENCE_S: Final = 20.0
STOP_S: Final = 1.5
"""How long all devices together may take to stop."""


class Devices:
    """The cameras, their lanes and the GPS receiver of one configuration.

    Args:
        collecting: set while a session is open; lanes look at frames only then.

    Raises:
        AlprdError: a source of an unknown kind, or models that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        collector: Collector,
        collecting: threading.Event,
        clock: DisciplinedClock,
        positions: PositionTrack,
    ) -> None:
        self._collector = collector
        self._collecting = collecting
        self._clock = clock
        self._positions = positions
        self.gps = GpsReceiver(gps_config(config), clock, positions)
        section = config.reader
        self._settings = PROFILES[section.profile]
        self._detector, self._ocr = load(
            choose(config),
            self._settings,
            threads=section.threads,
            providers=section.providers,
        )
        self.cameras = [Camera(camera_config(section, config)) for section in config.camera]
        self.lanes = [self._lane(camera) for camera in self.cameras]

    def reader(self, name: str) -> RoadReader:
        """A reader of its own over the models that all cameras share."""
        return RoadReader(name, self._detector, self._ocr, self._settings)

    def _lane(self, camera: Camera) -> Lane:
        reader = self.reader(camera.config.name)
        return Lane(camera, reader, self._collector, self._collecting)

    def workers(self) -> list[Worker]:
        """A row of the table for every lane; a car goes on without one, but not with a hung one."""
        return [_row(lane) for lane in self.lanes]

    def start(self) -> None:
        """Begin to read every device, each in threads of its own."""
        self.gps.start()
        for camera in self.cameras:
            camera.start()

    def stop(self, timeout_s: float = STOP_S) -> list[str]:
        """Stop every device at once; names of those that hang and are left to end by themselves."""
        return _all_at_once(
            {"gps": self.gps.stop} | {c.config.name: c.stop for c in self.cameras}, timeout_s
        )

    def apply(self, config: Config, supervisor: Supervisor) -> list[str]:
        """Change to the cameras and the GPS source of another configuration.

        What did not change goes on undisturbed. A camera that leaves ends its passes first, so
        what it saw is committed.

        Returns:
            Names of workers that did not end in time and still hang.

        Raises:
            ConfigError: a source that cannot be; nothing was changed then.
        """
        wanted = {s.name: camera_config(s, config) for s in config.camera}
        place = gps_config(config)
        here = {camera.config.name: camera for camera in self.cameras}
        leaving = {n: c for n, c in here.items() if wanted.get(n) != c.config}
        hung = [f"camera-{name}" for name in leaving if not supervisor.remove(f"camera-{name}")]
        _all_at_once({name: camera.stop for name, camera in leaving.items()}, STOP_S)
        lanes = {lane.name: lane for lane in self.lanes if lane.name not in leaving}
        cameras = {name: here[name] for name in lanes}
        for name in wanted:
            if name not in cameras:
                cameras[name] = Camera(wanted[name])
                lanes[name] = self._lane(cameras[name])
                cameras[name].start()
        added = [lanes[name] for name in wanted if name not in here or name in leaving]
        self.cameras = [cameras[name] for name in wanted]
        self.lanes = [lanes[name] for name in wanted]
        for lane in added:
            supervisor.add(_row(lane))
        if place != self.gps.config:
            self.gps.stop()
            self.gps = GpsReceiver(place, self._clock, self._positions)
            self.gps.start()
        return hung

    def drained(self, timeout_s: float) -> list[str]:
        """Wait until no lane has a pass under way; names of those that still have."""
        end = time.monotonic() + timeout_s
        return [
            lane.name for lane in self.lanes if not lane.drained(max(0.0, end - time.monotonic()))
        ]


def _row(lane: Lane) -> Worker:
    return Worker(f"camera-{lane.name}", lane.run, silence_s=LANE_SILENCE_S, without=True)


def _all_at_once(acts: Mapping[str, Callable[[], None]], timeout_s: float) -> list[str]:
    threads = {
        name: threading.Thread(target=act, name=f"stop-{name}", daemon=True)
        for name, act in acts.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + timeout_s
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    return [name for name, thread in threads.items() if thread.is_alive()]


def gps_config(config: Config) -> GpsConfig:
    """The GPS receiver's settings from ``[gps]``.

    Raises:
        ConfigError: a source of an unknown kind, or the like.
    """
    return GpsConfig(config.gps.source, baud=config.gps.baud)


def camera_config(section: CameraSection, config: Config) -> CameraConfig:
    """A camera's settings from its ``[[camera]]`` table.

    Raises:
        ConfigError: a source of an unknown kind, or the like.
    """
    is_file = section.source.startswith("file:")
    return CameraConfig(
        name=section.name,
        source=section.source,
        fps=section.fps,
        user=section.user or None,
        credential=section.credential,
        password_file=section.password_file,
        rotate=section.rotate,
        region=section.region,
        width=section.width,
        height=section.height,
        exposure=section.exposure,
        gain=section.gain,
        focus=section.focus,
        start_gate=config.replay.start_file if is_file else None,
    )
