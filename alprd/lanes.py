"""A lane: one camera, its reader, and the way of its passes into the collector.

A lane looks at frames only while collecting is on. When it goes off, the lane ends its passes and
says so (*drained*), so that a session closes after its last read and not before.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from alprd.capture import Camera, CameraStatus
from alprd.collect import Collector
from alprd.errors import InputError, StoreError
from alprd.frames import PassEvent
from alprd.reader import RoadReader
from alprd.timing import Timing
from alprd.workers import Beat

log = logging.getLogger(__name__)

IDLE_FLUSH_S: Final = 1.5
"""A camera without frames for so long ends its passes: reads wait at most 2 s in RAM."""


class Lane:
    """One camera's thread of work.

    Args:
        collecting: set while a session is open; shared by all lanes.
    """

    def __init__(
        self,
        camera: Camera,
        reader: RoadReader,
        collector: Collector,
        collecting: threading.Event,
    ) -> None:
        self.name = camera.config.name
        self._camera = camera
        self._reader = reader
        self._collector = collector
        self._collecting = collecting
        self._drained = threading.Event()
        self._drained.set()
        self.frames = 0
        """Frames looked at."""
        self.timing = Timing()

    def status(self) -> CameraStatus:
        """How the camera does."""
        return self._camera.status()

    def drained(self, timeout_s: float) -> bool:
        """Wait until no pass is under way; only after ``collecting`` was cleared."""
        return self._drained.wait(timeout_s)

    def run(self, beat: Beat) -> None:
        """Work until told to stop; errors of storage end it, to be started again."""
        after = -1
        last = time.monotonic()
        try:
            while not beat.stopping:
                beat()
                if not self._collecting.is_set():
                    self._end_passes()
                    beat.sleep(0.05)
                    continue
                self._drained.clear()
                frame = self._camera.latest(after, 0.25)
                if frame is None:
                    if time.monotonic() - last > IDLE_FLUSH_S:
                        self._handle(self._reader.flush())
                    if self._camera.status().ended:
                        beat.sleep(0.25)
                    continue
                after = frame.sequence
                last = time.monotonic()
                self.frames += 1
                began = time.monotonic_ns()
                self.timing.note("wait", (began - frame.mono_ns) / 1e9)
                events = self._reader.process(frame)
                self.timing.note("read", (time.monotonic_ns() - began) / 1e9)
                self._handle(events)
        finally:
            self._end_passes()

    def _end_passes(self) -> None:
        if self._drained.is_set():
            return
        try:
            self._handle(self._reader.flush())
        finally:
            self._drained.set()

    def _handle(self, events: list[PassEvent]) -> None:
        """Hand every event on, whatever becomes of the one before.

        Raises:
            StoreError: what could not be written first; the events after it were handled.
        """
        refused: StoreError | None = None
        for event in events:
            try:
                self._collector.handle(event)
            except InputError as error:
                log.error("a pass of camera %s was not kept: %s", self.name, error.diagnostics())
            except StoreError as error:
                refused = refused or error
        if refused is not None:
            raise refused
