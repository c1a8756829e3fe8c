"""What the configuration plugs into the car: cameras with their lanes, and the GPS receiver.

All lanes share one pair of models: a second pair costs 26 MB and makes nothing faster.
"""

from __future__ import annotations

import threading
import time

from alprd.capture import Camera, CameraConfig
from alprd.choice import choose
from alprd.clock import DisciplinedClock, PositionTrack
from alprd.collect import Collector
from alprd.config import CameraSection, Config
from alprd.gps import GpsConfig, GpsReceiver
from alprd.lanes import Lane
from alprd.profiles import PROFILES
from alprd.reader import RoadReader, load


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
        self.gps = GpsReceiver(GpsConfig(config.gps.source, baud=config.gps.baud), clock, positions)
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

    def start(self) -> None:
        """Begin to read every device, each in threads of its own."""
        self.gps.start()
        for camera in self.cameras:
            camera.start()

    def stop(self) -> None:
        """Stop every device; what hangs in a dead source is left to end by itself."""
        self.gps.stop()
        for camera in self.cameras:
            camera.stop()

    def drained(self, timeout_s: float) -> list[str]:
        """Wait until no lane has a pass under way; names of those that still have."""
        end = time.monotonic() + timeout_s
        return [
            lane.name for lane in self.lanes if not lane.drained(max(0.0, end - time.monotonic()))
        ]


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
