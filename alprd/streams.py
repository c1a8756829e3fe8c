"""Reading a camera's pictures from beginning to end: streams, files, devices.

Streams and files are decoded by FFmpeg through PyAV, not through OpenCV: when the resolution of a
stream changes, OpenCV stretches the new pictures to the old size; when its pixel format changes,
it reads past the picture's end; and it tells no reason for a failure. Decoders are told to refuse
more than :data:`MOST_PIXELS` before they allocate memory for them
(docs/adr/0016-reading-processes.md).

Nothing here prints, and no text of FFmpeg is passed on: both would tell URLs with passwords.
"""

from __future__ import annotations

import errno
import secrets
import time
from collections.abc import Generator
from typing import Final, Protocol

import av
import numpy as np

from alprd.errors import AlprdError, CameraError
from alprd.frames import Image
from alprd.sources import CameraConfig

SECOND: Final = 1_000_000_000
MOST_PIXELS: Final = 4096 * 3072
"""Largest picture that is decoded; 4K has 8.3 million pixels, this is 12.6."""
LEAST_SIDE: Final = 32
"""Pixels; no plate could be read in a smaller picture."""
PAUSE_S: Final = (0.5, 2.0)
"""First and longest pause between attempts, before jitter."""
FIRST_PICTURE_S: Final = 6.0
"""How long an opened stream may take until its first picture (a whole picture comes every few
seconds in H.264)."""
MOST_ATTEMPTS: Final = 300
"""After so many failures on end the process is renewed, with whatever they have leaked."""
_GRACE_S: Final = 1.5
"""More than FFmpeg's own timeout, so that a stream that is silent is opened anew, not killed."""
_SETTLED: Final = 50
"""Frames after which an attempt counts as a success."""
_FORMATS: Final = (
    "rtsp,sdp,rtp,mpjpeg,mjpeg,mpegts,mpeg,h264,hevc,m4v,mov,mp4,matroska,webm,avi,flv,asf,ivf,ogg"
)
_PROTOCOLS: Final = {"file": "file", "url": "rtsp,rtsps,rtp,udp,http,https,httpproxy,tcp,tls"}


class Sink(Protocol):
    """What becomes of the pictures, and what the reading tells of itself."""

    def alive(self, allow_s: float) -> None:
        """Something was achieved; the next sign of life comes within ``allow_s``."""

    def wait(self, seconds: float) -> bool:
        """Wait; True at once when the reading is to end."""

    def take(self, picture: Image, mono_ns: int) -> None:
        """A picture, to be copied: (H, W, 3) BGR, turned and cut to the region."""

    def failed(self, why: str) -> None:
        """An attempt failed."""

    def noted(self, what: str) -> None:
        """Something a person should know of the opened source; "" for nothing."""


class Source(Protocol):
    """An opened source."""

    rate: float | None

    @property
    def stamp_ns(self) -> int | None:
        """Presentation time of the grabbed picture since the beginning, if it is told."""

    def grab(self) -> bool:
        """Wait for the next picture; False at the end."""

    def retrieve(self) -> Image | None:
        """The grabbed picture; None if it cannot be decoded."""

    def release(self) -> None:
        """Let go of everything."""


class FFmpegSource:
    """A stream or a file.

    Raises:
        CameraError: it cannot be opened, refuses the login or holds no video.
        ConfigError: the password cannot be had.
    """

    def __init__(self, config: CameraConfig) -> None:
        live = config.kind == "url"
        if not live and not config.path.is_file():
            raise CameraError(f"no file {config.path}")
        self._patience_s = config.stall_s
        options = {
            "protocol_whitelist": _PROTOCOLS[config.kind],  # a playlist must not open files
            "format_whitelist": _FORMATS,
            "max_pixels": str(MOST_PIXELS),
        }
        if live:
            options |= {"probesize": "2000000", "analyzeduration": "2000000"}
        if config.source.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # UDP loses slices of plates
        try:
            self._container = av.open(
                config.url() if live else str(config.path),
                options=options,
                timeout=(config.open_timeout_s, config.stall_s) if live else None,
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise CameraError(_reason(error)) from None  # its text holds the URL
        video = self._container.streams.video
        if not video:
            self._container.close()
            raise CameraError("sends no video")
        # One decoding thread: FFmpeg's frame threads would delay each frame by their number.
        video[0].codec_context.thread_count = 1
        video[0].codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        if video[0].codec_context.name == "mjpeg":
            # Half a picture is no picture: a plate cut in two may read like another one.
            video[0].codec_context.options |= {"err_detect": "explode"}
        self.rate = float(video[0].average_rate) if video[0].average_rate else None
        self._frames = self._decode(video[0])
        self._frame: av.VideoFrame | None = None

    @property
    def stamp_ns(self) -> int | None:
        """See :class:`Source`."""
        time_s = self._frame.time if self._frame is not None else None
        return None if time_s is None else int(time_s * SECOND)

    def grab(self) -> bool:
        """See :class:`Source`.

        Raises:
            CameraError: the stream broke off, or cannot be decoded any more.
        """
        self._frame = next(self._frames, None)
        return self._frame is not None

    def retrieve(self) -> Image | None:
        """See :class:`Source`."""
        if self._frame is None:
            return None
        return np.asarray(self._frame.to_ndarray(format="bgr24"), dtype=np.uint8)

    def release(self) -> None:
        """See :class:`Source`."""
        self._frames.close()
        self._container.close()

    def _decode(self, video: av.VideoStream) -> Generator[av.VideoFrame, None, None]:
        decoded = time.monotonic()
        try:
            for packet in self._container.demux(video):
                try:
                    frames = packet.decode()
                except (av.error.FFmpegError, ValueError):
                    frames = []
                for frame in frames:
                    if frame.width * frame.height > MOST_PIXELS:
                        raise CameraError(f"sends pictures of {frame.width}x{frame.height}")
                    if frame.is_corrupt:
                        continue
                    yield frame
                    # Taken after the frame is: whoever plays a file waits for its moment.
                    decoded = time.monotonic()
                if time.monotonic() - decoded > self._patience_s:
                    raise CameraError(
                        "its pictures cannot be decoded (damaged, or larger than "
                        f"{MOST_PIXELS >> 20} megapixels)"
                    )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise CameraError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """What a failure of FFmpeg means, in words of our own."""
    for kinds, text in (
        ((av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError), "refused the password"),
        (av.error.HTTPNotFoundError, "has no stream of that name"),
        (av.error.ExitError, "did not answer in time"),
        (av.error.InvalidDataError, "sends nothing that is a video"),
        (av.error.ArgumentError, "sends nothing that is a video"),
        (ConnectionRefusedError, "nothing listens at its address"),
        (TimeoutError, "did not answer in time"),
        (av.error.HTTPError, "refused the request"),
        (av.error.ProtocolNotFoundError, "wants a protocol that is not allowed"),
    ):
        if isinstance(error, kinds):
            return text
    code = getattr(error, "errno", None)
    known = {
        errno.EIO: "broke off, or sends nothing that is a video",
        errno.ENETUNREACH: "its network is not there",
        errno.EHOSTUNREACH: "its address does not answer",
    }
    return known.get(code or 0, f"cannot be opened ({type(error).__name__})")


class Reading:
    """One attempt at a source, from opening to its end.

    Raises:
        AlprdError: see :class:`FFmpegSource` and :class:`alprd.v4l.DeviceSource`.
    """

    def __init__(self, config: CameraConfig, sink: Sink) -> None:
        self._config = config
        self._sink = sink
        self._due_ns = 0
        self.frames = 0
        """Pictures handed on."""
        self._source: Source
        if config.kind == "device":
            from alprd.v4l import DeviceSource

            self._source = DeviceSource(config)
            refused = ", ".join(self._source.refused)
            sink.noted(f"its driver does not take {refused}" if refused else "")
        else:
            self._source = FFmpegSource(config)

    def follow(self) -> None:
        """A live source: a frame's instant is its arrival.

        While a stream is opened or held up, pictures pile up (28 were counted over RTSP) and then
        come at once. Their instant would be wrong, so they are skipped until one had to be waited
        for as usual.

        Raises:
            CameraError: it ended, as a live source never should.
        """
        sink, rate = self._sink, self._source.rate
        sink.alive(FIRST_PICTURE_S)
        usual = SECOND / rate if rate is not None and rate <= 120 else SECOND / 25
        before = decoded = time.monotonic_ns()
        piled_until = before + 2 * SECOND
        while not sink.wait(0.0):
            if not self._source.grab():
                raise CameraError("gives no more pictures")
            now = time.monotonic_ns()
            waited, before = now - before, now
            if waited > 4 * usual + SECOND / 5:
                usual += 0.1 * (waited - usual)  # a camera that became slow passes the next time
                piled_until = now + 2 * SECOND
                continue
            if now < piled_until and waited < usual / 2:
                continue
            piled_until = 0
            usual = max(usual + 0.1 * (waited - usual), SECOND / 240)
            if not self._wanted(now):
                sink.alive(self._config.stall_s + _GRACE_S)
            elif self._hand_on(now):
                decoded = now
                sink.alive(self._config.stall_s + _GRACE_S)
            elif now - decoded > self._config.stall_s * SECOND:
                raise CameraError("its pictures cannot be decoded")

    def play(self, start_mono_ns: int | None) -> None:
        """A file: frame at start + presentation time; frames that come late are skipped.

        Raises:
            CameraError: it holds no picture that can be decoded.
        """
        rate = self._source.rate
        period = int(SECOND / rate) if rate else SECOND // 25
        start = time.monotonic_ns() if start_mono_ns is None else start_mono_ns
        index, latest, shown = 0, -1, 0
        while not self._sink.wait(0.0) and self._source.grab():
            stamp = self._source.stamp_ns
            if stamp is None or stamp <= latest:  # a container without presentation times
                stamp = max(index * period, latest + 1)
            latest, index = stamp, index + 1
            due = start + stamp
            wait = due - time.monotonic_ns()
            if wait > 0 and self._sink.wait(wait / SECOND):
                return
            now = time.monotonic_ns()
            late = now - due > period
            # Decoding that cannot keep pace still shows two pictures a second.
            if self._wanted(due) and not (late and now - shown < SECOND // 2):
                self._hand_on(due)
                shown = now
        if index == 0 and not self._sink.wait(0.0):
            raise CameraError("holds no picture that can be decoded")

    def release(self) -> None:
        """Let go of the source."""
        self._source.release()

    def _wanted(self, stamp_ns: int) -> bool:
        if self._config.fps is None:
            return True
        interval = int(SECOND / self._config.fps)
        if stamp_ns + interval // 20 < self._due_ns:
            return False
        self._due_ns = max(self._due_ns, stamp_ns - interval) + interval
        return True

    def _hand_on(self, stamp_ns: int) -> bool:
        picture = self._source.retrieve()
        if picture is None:
            return False
        height, width = picture.shape[:2]
        if min(height, width) < LEAST_SIDE or height * width > MOST_PIXELS:
            raise CameraError(f"sends pictures of {width}x{height}")
        self._sink.take(shape(picture, self._config), stamp_ns)
        self.frames += 1
        return True


def shape(picture: Image, config: CameraConfig) -> Image:
    """A picture turned upright, then cut to the camera's region; a view of ``picture``."""
    turned = np.rot90(picture, -config.rotate // 90) if config.rotate else picture
    if config.region is None:
        return turned
    height, width = turned.shape[:2]
    x0, y0, x1, y1 = config.region
    left, top = round(x0 * width), round(y0 * height)
    right, bottom = max(left + 1, round(x1 * width)), max(top + 1, round(y1 * height))
    return turned[top:bottom, left:right]


def read_live(config: CameraConfig, sink: Sink) -> None:
    """Read a stream or a device again and again, until told to end or often failed.

    The pause between attempts grows to :data:`PAUSE_S` at most, so that a camera that is back is
    seen again within ten seconds, and is jittered: several cameras behind one switch must not
    come back in step.
    """
    failures = 0
    for _ in range(MOST_ATTEMPTS):
        sink.alive(config.open_timeout_s + 2.0)
        reading: Reading | None = None
        try:
            reading = Reading(config, sink)
            reading.follow()
            return
        except AlprdError as error:
            sink.failed(error.message)
        except MemoryError:
            sink.failed("its pictures do not fit in the memory that a camera may use")
        finally:
            if reading is not None:
                sink.alive(2.0)
                reading.release()
        failures = 1 if reading is not None and reading.frames > _SETTLED else failures + 1
        pause = min(PAUSE_S[1], PAUSE_S[0] * 2.0 ** min(failures - 1, 10))
        pause *= 0.5 + secrets.randbelow(501) / 1000
        sink.alive(pause + 2.0)
        if sink.wait(pause):
            return
