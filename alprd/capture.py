"""Cameras: newest decoded frame, truthful status, recovery by itself.

A :class:`Camera` keeps only the newest frame: a slow reader sees a later picture, never an older
one, and memory cannot grow. It is *up* only while decoded frames keep coming; ``isOpened()`` of
OpenCV stays true with a frozen server or a pulled device.

``VideoCapture.read()`` on a frozen RTSP server was measured to block three times its timeout, so
each reading thread can be abandoned: a supervisor replaces it when nothing was decoded for
``stall_s``; the old one ends as soon as OpenCV lets go of it. At most :data:`MAX_ABANDONED` may
hang at a time. Broken sources are tried again after a growing, jittered pause of at most 4 s.

Sources: ``/dev/...`` (V4L2), ``rtsp://`` (over TCP, digest or basic authentication), ``http://``
and ``https://`` (MJPEG or anything FFmpeg plays), ``file:PATH`` (played once at its own pace).

Passwords come from a file that only its owner can read and exist only in memory: OpenCV and
FFmpeg are kept from printing, because both print URLs (R-CJIS-1).
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

# Read by OpenCV when FFmpeg or V4L2 starts. TCP: UDP loses slices of plates. -8: AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")

import cv2
import cv2.utils.logging as cv2_logging
import numpy as np

from alprd.errors import CameraError, ConfigError
from alprd.frames import Frame, Image
from alprd.sources import CameraConfig, read_password, redact

__all__ = ["Camera", "CameraConfig", "CameraStatus", "read_password", "redact"]

cv2_logging.setLogLevel(cv2_logging.LOG_LEVEL_SILENT)
_log = logging.getLogger(__name__)

SECOND: Final = 1_000_000_000
MAX_ABANDONED: Final = 3
PAUSE_S: Final = (0.5, 4.0)
"""First and longest pause between attempts, before jitter."""
_TURNS: Final = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """How a camera does. ``up``: a frame was decoded within ``stale_s``."""

    name: str
    up: bool
    age_s: float | None
    """Seconds since the newest frame was decoded; None before the first."""
    restarts: int
    width: int
    height: int
    fps: float
    """Frames handed on a second, over the last seconds."""
    ended: bool
    """A file has played to its end, or cannot be played; nothing more will come."""
    abandoned: int = 0
    """Reading threads that still hang in a dead source."""
    last_error: str = ""


class _Reader(threading.Thread):
    """Opens a source once and reads until it fails, ends or is told to leave."""

    def __init__(self, camera: Camera, start_mono_ns: int | None) -> None:
        super().__init__(name=f"camera-{camera.config.name}", daemon=True)
        self.camera = camera
        self.config = camera.config
        self.start_mono_ns = start_mono_ns
        self.leave = threading.Event()
        self.done = threading.Event()
        self.progress_ns = time.monotonic_ns()
        self.allowance_s = self.config.open_timeout_s + 2.0
        self.error = ""
        self.frames = 0
        self._due_ns = 0

    def run(self) -> None:
        capture: cv2.VideoCapture | None = None
        try:
            if self.config.kind == "file":
                self._await_gate()
            if self.leave.is_set():
                return
            capture = self._open()
            if self.config.kind == "file":
                self._play(capture)
            else:
                self._follow(capture)
        except (CameraError, ConfigError) as error:
            self.error = error.message
        except cv2.error as error:
            self.error = f"OpenCV: {error.code}"  # its message may hold the URL
        finally:
            if capture is not None:
                capture.release()
            self.done.set()

    def stalled(self) -> bool:
        """Nothing decoded for longer than this stage may take."""
        return time.monotonic_ns() - self.progress_ns > self.allowance_s * SECOND

    def _open(self) -> cv2.VideoCapture:
        config = self.config
        if config.kind == "device":
            if not config.path.exists():  # OpenCV reports a missing device as opened
                raise CameraError(f"no device {config.path}")
            wishes = {
                cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
                cv2.CAP_PROP_FRAME_WIDTH: config.width,
                cv2.CAP_PROP_FRAME_HEIGHT: config.height,
                cv2.CAP_PROP_FPS: config.fps,
                cv2.CAP_PROP_EXPOSURE: config.exposure,
                cv2.CAP_PROP_BUFFERSIZE: 1,
            }
            capture = cv2.VideoCapture(str(config.path), cv2.CAP_V4L2)
            for prop, value in wishes.items():
                if value is not None:
                    capture.set(prop, value)
        else:
            if config.kind == "file":
                if not config.path.is_file():
                    raise CameraError(f"no file {config.path}")
                target = str(config.path)
            else:
                target = self._url()
            # One decoding thread: FFmpeg's frame threads would delay each frame by their number.
            options = [cv2.CAP_PROP_N_THREADS, 1]
            options += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(config.open_timeout_s * 1000)]
            options += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(config.stall_s * 1000)]
            capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            capture.release()
            raise CameraError(f"{redact(config.source)} cannot be opened (or refused the password)")
        self.progress_ns = time.monotonic_ns()
        self.allowance_s = config.stall_s
        return capture

    def _url(self) -> str:
        if self.config.user is None or self.config.password_file is None:
            return self.config.source
        password = read_password(self.config.password_file)
        parts = urlsplit(self.config.source)
        login = f"{quote(self.config.user, safe='')}:{quote(password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))

    def _follow(self, capture: cv2.VideoCapture) -> None:
        """A live source: a frame's instant is its arrival.

        While a stream is opened or held up, pictures pile up (28 were counted over RTSP) and then
        come at once; and OpenCV gives out a last old picture when a read times out. Their instant
        would be wrong, so they are skipped until one had to be waited for as usual.
        """
        rate = capture.get(cv2.CAP_PROP_FPS)
        usual = SECOND / rate if 0 < rate <= 120 else SECOND / 25
        before = time.monotonic_ns()
        piled_until = before + 2 * SECOND
        while not self.leave.is_set():
            if not capture.grab():
                raise CameraError(f"{redact(self.config.source)} gives no more pictures")
            now = time.monotonic_ns()
            waited, before = now - before, now
            if waited > 4 * usual + SECOND / 5:
                usual += 0.1 * (waited - usual)  # a camera that became slow passes the next time
                piled_until = now + 2 * SECOND
                continue
            self.progress_ns = now
            if now < piled_until and waited < usual / 2:
                continue
            piled_until = 0
            usual = max(usual + 0.1 * (waited - usual), SECOND / 240)
            if self._wanted(now):
                self._hand_on(capture, now)

    def _play(self, capture: cv2.VideoCapture) -> None:
        """A file: frame at start + presentation time; frames that come late are skipped."""
        rate = capture.get(cv2.CAP_PROP_FPS)
        period = int(SECOND / rate) if rate > 0 else SECOND // 25
        start = time.monotonic_ns() if self.start_mono_ns is None else self.start_mono_ns
        index, latest, shown = 0, -1, 0
        while not self.leave.is_set() and capture.grab():
            stamp = int(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            if stamp <= latest:  # a container without presentation times
                stamp = max(index * period, latest + 1)
            latest, index = stamp, index + 1
            due = start + stamp
            while (wait := due - time.monotonic_ns()) > 0:
                self.progress_ns = time.monotonic_ns()
                if self.leave.wait(min(wait / SECOND, 0.5)):
                    return
            self.progress_ns = time.monotonic_ns()
            late = self.progress_ns - due > period
            # Decoding that cannot keep pace still shows two pictures a second.
            if self._wanted(due) and not (late and self.progress_ns - shown < SECOND // 2):
                self._hand_on(capture, due)
                shown = self.progress_ns
        if index == 0:
            raise CameraError(f"{self.config.path} holds no picture that can be decoded")

    def _await_gate(self) -> None:
        gate = self.config.start_gate
        while gate is not None and not self.leave.is_set():
            self.progress_ns = time.monotonic_ns()
            try:
                self.start_mono_ns = int(gate.read_text())
                return
            except FileNotFoundError:
                self.leave.wait(0.05)
            except (OSError, ValueError):  # being written: the number follows
                self.leave.wait(0.05)
        self.progress_ns = time.monotonic_ns()

    def _wanted(self, stamp_ns: int) -> bool:
        if self.config.fps is None:
            return True
        interval = int(SECOND / self.config.fps)
        if stamp_ns + interval // 20 < self._due_ns:
            return False
        self._due_ns = max(self._due_ns, stamp_ns - interval) + interval
        return True

    def _hand_on(self, capture: cv2.VideoCapture, stamp_ns: int) -> None:
        ok, picture = capture.retrieve()
        if not ok or picture is None or picture.ndim != 3 or picture.dtype != np.uint8:
            return
        if self.config.rotate:
            picture = cv2.rotate(picture, _TURNS[self.config.rotate])
        self.frames += 1
        self.camera._take(self, np.asarray(picture, dtype=np.uint8), stamp_ns)


class Camera:
    """A camera with its newest frame. Thread-safe; every method returns promptly."""

    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._supervisor: threading.Thread | None = None
        self._reader: _Reader | None = None
        self._abandoned: list[_Reader] = []
        self._frame: Frame | None = None
        self._decoded_at: deque[int] = deque(maxlen=64)
        self._restarts = 0
        self._ended = False
        self._error = ""

    def start(self, start_mono_ns: int | None = None) -> None:
        """Begins to read, in threads of its own.

        Args:
            start_mono_ns: monotonic instant of a file's first picture (default: when it opens).

        Raises:
            CameraError: it was started before.
        """
        if self._supervisor is not None:
            raise CameraError(f"camera {self.config.name!r} was started before")
        self._supervisor = threading.Thread(
            target=self._supervise,
            args=(start_mono_ns,),
            name=f"camera-{self.config.name}-supervisor",
            daemon=True,
        )
        self._supervisor.start()

    def latest(self, after_sequence: int, timeout_s: float) -> Frame | None:
        """The newest frame numbered above ``after_sequence``; None after the time or at the end.

        Begin with -1. Numbers skipped are frames that came and went meanwhile.
        """

        def ready() -> bool:
            newer = self._frame is not None and self._frame.sequence > after_sequence
            return newer or self._ended or self._stop.is_set()

        with self._changed:
            self._changed.wait_for(ready, timeout_s)
            frame = self._frame
        return frame if frame is not None and frame.sequence > after_sequence else None

    def status(self) -> CameraStatus:
        """A snapshot."""
        with self._changed:
            now = time.monotonic_ns()
            age = (now - self._decoded_at[-1]) / SECOND if self._decoded_at else None
            recent = [at for at in self._decoded_at if now - at < 5 * SECOND]
            span = (recent[-1] - recent[0]) / SECOND if len(recent) > 1 else 0.0
            height, width = self._frame.image.shape[:2] if self._frame else (0, 0)
            return CameraStatus(
                name=self.config.name,
                up=age is not None
                and age <= self.config.stale_s
                and not self._ended
                and not self._stop.is_set(),
                age_s=age,
                restarts=self._restarts,
                width=width,
                height=height,
                fps=(len(recent) - 1) / span if span > 0 else 0.0,
                ended=self._ended,
                abandoned=sum(not reader.done.is_set() for reader in self._abandoned),
                last_error=self._error,
            )

    def stop(self) -> None:
        """Stops; a thread that hangs in a dead source is left to end by itself."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
            reader = self._reader
        if reader is not None:
            reader.leave.set()
        if self._supervisor is not None:
            self._supervisor.join(2.0)
        if reader is not None:
            reader.join(0.5)
        with self._changed:
            self._frame = None  # pixels of plates do not outlive the collection

    def _take(self, reader: _Reader, picture: Image, stamp_ns: int) -> None:
        with self._changed:
            if reader is not self._reader or self._stop.is_set():
                return
            sequence = self._frame.sequence + 1 if self._frame else 0
            self._frame = Frame(self.config.name, picture, stamp_ns, sequence)
            self._decoded_at.append(time.monotonic_ns())
            if self._error:
                _log.info("camera %s: pictures again", self.config.name)
                self._error = ""
            self._changed.notify_all()

    def _supervise(self, start_mono_ns: int | None) -> None:
        failures = 0
        while not self._stop.is_set():
            reader = _Reader(self, start_mono_ns)
            with self._changed:
                self._reader = reader
            reader.start()
            while not reader.done.wait(0.25) and not reader.stalled():
                if self._stop.is_set():
                    return
            if self._stop.is_set():
                return
            error = reader.error
            if not reader.done.is_set():
                reader.leave.set()
                error = f"{redact(self.config.source)}: no picture for {reader.allowance_s:.0f} s"
                self._abandoned.append(reader)
            failures = 1 if reader.frames > 50 else failures + 1
            self._note(error)
            if self.config.kind == "file" and reader.done.is_set():
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()
                return
            self._pause(failures)
            with self._changed:
                self._restarts += 1

    def _note(self, error: str) -> None:
        with self._changed:
            news = bool(error) and error != self._error
            self._error = error or self._error
        if news:
            _log.warning("camera %s: %s", self.config.name, error)

    def _pause(self, failures: int) -> None:
        first, longest = PAUSE_S
        pause = min(longest, first * 2.0 ** min(failures - 1, 10))
        # Jitter: several cameras behind one switch must not come back in step.
        self._stop.wait(pause * (0.5 + secrets.randbelow(501) / 1000))
        while not self._stop.is_set():
            self._abandoned = [r for r in self._abandoned if not r.done.is_set()]
            if len(self._abandoned) < MAX_ABANDONED:
                return
            self._stop.wait(0.5)
