"""Cameras: newest decoded frame, truthful status, recovery by itself.

A :class:`Camera` keeps only the newest frame: a slow reader sees a later picture, never an older
one, and memory cannot grow. It is *up* only while decoded frames keep coming; an open connection
or device says nothing.

Sources: ``/dev/...`` (V4L2), ``rtsp://`` (over TCP, digest or basic authentication), ``http://``
and ``https://`` (MJPEG or another stream that FFmpeg plays; digest or basic), ``file:PATH``
(played once at its own pace, in a thread of this process).

Everything live is read in a process of its own a camera (:mod:`alprd.feed`), which tries a broken
source again after a growing, jittered pause of at most 2 s. Here it is watched: one that keeps
silent for longer than its stage may take is killed and replaced. One that not even SIGKILL ends,
because a driver hangs in the kernel, is left behind; at most :data:`MAX_ABANDONED` are, and the
camera goes on as soon as one of them has ended. So a camera that is back is up within 10 s.

Passwords exist only in the reading process; nothing here can tell them (R-CJIS-1).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from alprd.errors import AlprdError, CameraError
from alprd.feed import START_S, Feed, FeedEndedError
from alprd.frames import Frame, Image
from alprd.sources import CameraConfig, read_password, redact

__all__ = ["Camera", "CameraConfig", "CameraStatus", "read_password", "redact"]

_log = logging.getLogger(__name__)

SECOND: Final = 1_000_000_000
MAX_ABANDONED: Final = 3
STILL_S: Final = 60.0
"""A picture that has not changed in a single looked-at pixel for so long is worth a word: real
cameras have noise."""
_RESTART_S: Final = (0.2, 2.0)
"""First and longest pause before a reading process is replaced."""


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
    """Reading processes that not even SIGKILL has ended."""
    last_error: str = ""
    """Why there is no picture, without the camera's address."""
    still_s: float = 0.0
    """Seconds for which the picture has not changed at all."""
    note: str = ""
    """What a person should know although pictures come."""

    def line(self) -> str:
        """One line for people: no address, no login."""
        if self.ended:
            return f"{self.name}: ended" + (f" ({self.last_error})" if self.last_error else "")
        if not self.up:
            since = "yet" if self.age_s is None else f"for {self.age_s:.0f} s"
            why = f" ({self.last_error})" if self.last_error else ""
            return f"{self.name}: no picture {since}; retrying{why}"
        line = f"{self.name}: up, {self.fps:.1f} frames/s, {self.width}x{self.height}"
        if self.still_s > STILL_S:
            line += f"; the picture has not changed for {self.still_s:.0f} s"
        return line + (f"; {self.note}" if self.note else "")


class Camera:
    """A camera with its newest frame. Thread-safe; every method returns promptly."""

    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._abandoned: list[Feed] = []
        self._frame: Frame | None = None
        self._decoded_at: deque[int] = deque(maxlen=64)
        self._changed_ns = 0
        self._restarts = 0
        self._ended = False
        self._error = ""
        self._note = ""

    def start(self, start_mono_ns: int | None = None) -> None:
        """Begins to read, in a thread of its own.

        Args:
            start_mono_ns: monotonic instant of a file's first picture (default: when it opens).

        Raises:
            CameraError: it was started before.
        """
        if self._thread is not None:
            raise CameraError(f"camera {self.config.name!r} was started before")
        is_file = self.config.kind == "file"
        self._thread = threading.Thread(
            target=self._play if is_file else self._supervise,
            args=(start_mono_ns,) if is_file else (),
            name=f"camera-{self.config.name}",
            daemon=True,
        )
        self._thread.start()

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
            live = not self._ended and not self._stop.is_set()
            return CameraStatus(
                name=self.config.name,
                up=age is not None and age <= self.config.stale_s and live,
                age_s=age,
                restarts=self._restarts,
                width=width,
                height=height,
                fps=(len(recent) - 1) / span if span > 0 else 0.0,
                ended=self._ended,
                abandoned=sum(not feed.gone() for feed in self._abandoned),
                last_error=self._error,
                still_s=(now - self._changed_ns) / SECOND if self._frame is not None else 0.0,
                note=self._note,
            )

    def stop(self) -> None:
        """Stops; a process that hangs in the kernel is left to end by itself."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(3.0)
        with self._changed:
            self._frame = None  # pixels of plates do not outlive the collection

    # A file

    def _play(self, start_mono_ns: int | None) -> None:
        from alprd.streams import Reading  # FFmpeg is loaded only where it is used

        reading: Reading | None = None
        try:
            start_mono_ns = self._await_gate(start_mono_ns)
            if not self._stop.is_set():
                reading = Reading(self.config, self)
                reading.play(start_mono_ns)
        except AlprdError as error:
            path = str(self.config.path)
            told = error.message
            self.failed(told if path in told else f"{path} {told}")
        finally:
            if reading is not None:
                reading.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _await_gate(self, start_mono_ns: int | None) -> int | None:
        gate = self.config.start_gate
        while gate is not None and not self._stop.is_set():
            try:
                return int(gate.read_text())
            except (OSError, ValueError):  # not there yet, or being written: the number follows
                self._stop.wait(0.05)
        return start_mono_ns

    # A live camera

    def _supervise(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._read_once()
            except Exception as error:  # noqa: BLE001 - a camera is never dead for good
                self.failed(f"no reading process can be had ({type(error).__name__})")
            failures = 1 if time.monotonic() - began > 60 else failures + 1
            self._stop.wait(min(_RESTART_S[1], _RESTART_S[0] * 2.0 ** min(failures - 1, 10)))
            self._await_room()

    def _read_once(self) -> None:
        """One reading process from its start to its end."""
        feed, hung = Feed(self.config), True
        try:
            hung = self._attend(feed)
        finally:
            ending = feed.close(kill=hung)
            if not ending:
                self._abandoned.append(feed)
        # Of its own accord it ends with 0, when it wants to be renewed.
        if ending not in ("", "ended with code 0") and not hung and not self._stop.is_set():
            self.failed(f"its reading process {ending}")

    def _attend(self, feed: Feed) -> bool:
        """Take in what a reading process tells until it ends; True if it hangs."""
        allow_s, told, starved_s = START_S, time.monotonic(), 0.0
        while not self._stop.is_set():
            try:
                news = feed.receive(0.2)
            except FeedEndedError:
                return False
            if news is None:
                silent_s = time.monotonic() - told - (feed.starved_s() - starved_s)
                if silent_s > allow_s:
                    self.failed(f"its reading process was silent for {allow_s:.0f} s")
                    return True
                continue
            told, starved_s = time.monotonic(), feed.starved_s()
            if news.picture is not None:
                self.take(news.picture, news.at_ns)
            elif news.failed is not None:
                self.failed(news.failed)
            elif news.noted is not None:
                self.noted(news.noted)
            else:
                allow_s = news.allow_s or allow_s
        return False

    def _await_room(self) -> None:
        """Hold on while too many processes hang in the kernel: only the kernel can end them."""
        while not self._stop.is_set():
            self._abandoned = [feed for feed in self._abandoned if not feed.gone()]
            if len(self._abandoned) < MAX_ABANDONED:
                return
            self._tell("its driver hangs: unplug the camera, or restart the car's computer")
            self._stop.wait(0.5)

    # What a reading tells (alprd.streams.Sink)

    def alive(self, allow_s: float) -> None:
        """A file needs no watching."""

    def wait(self, seconds: float) -> bool:
        """Wait; True at once when the camera was stopped."""
        return self._stop.wait(seconds) if seconds > 0 else self._stop.is_set()

    def take(self, picture: Image, mono_ns: int) -> None:
        """A new newest frame."""
        image = np.ascontiguousarray(picture)
        with self._changed:
            if self._stop.is_set():
                return
            last, now = self._frame, time.monotonic_ns()
            if last is None or not _same(last.image, image):
                self._changed_ns = now
            sequence = last.sequence + 1 if last else 0
            self._frame = Frame(self.config.name, image, mono_ns, sequence)
            self._decoded_at.append(now)
            if self._error:
                _log.info("camera %s: pictures again", self.config.name)
                self._error = ""
            self._changed.notify_all()

    def failed(self, why: str) -> None:
        """An attempt failed; the log hears of it when the reason is a new one."""
        self._tell(why)
        with self._changed:
            self._restarts += 1

    def noted(self, what: str) -> None:
        """Something worth a word although pictures come."""
        with self._changed:
            news, self._note = bool(what) and what != self._note, what
        if news:
            _log.warning("camera %s: %s", self.config.name, what)

    def _tell(self, why: str) -> None:
        with self._changed:
            news, self._error = why != self._error, why
        if news:
            _log.warning("camera %s: %s", self.config.name, why)


def _same(before: Image, after: Image) -> bool:
    """Whether two pictures are one, by every sixteenth pixel of every sixteenth line."""
    return before.shape == after.shape and np.array_equal(before[::16, ::16], after[::16, ::16])
