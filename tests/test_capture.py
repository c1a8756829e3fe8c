"""Cameras on real files and a real HTTP server; credentials; recovery."""

from __future__ import annotations

import base64
import http.server
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.capture import Camera, CameraConfig, read_password, redact
from alprd.errors import CameraError, ConfigError
from alprd.frames import Frame

SECOND = 1_000_000_000
SECRET = "p@ss/w:rd%25 #x"


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def video(path: Path, frames: int = 40, rate: int = 20) -> Path:
    """H.264 with B-frames; picture i is uniformly 5 * i grey, its left third white."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {"bf": "2", "g": "10", "preset": "ultrafast"}
        for index in range(frames):
            picture = np.full((96, 160, 3), 5 * index, np.uint8)
            picture[:, :40] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


def shown(frame: Frame) -> float:
    """The index of the picture that a frame shows."""
    return float(frame.image[:, 80:].mean()) / 5


@contextmanager
def running(config: CameraConfig, start_mono_ns: int | None = None) -> Iterator[Camera]:
    camera = Camera(config)
    camera.start(start_mono_ns)
    try:
        yield camera
    finally:
        camera.stop()


def follow(camera: Camera, *, pause_s: float = 0.0) -> list[Frame]:
    """Every frame that a reader as slow as ``pause_s`` gets until the end."""
    frames: list[Frame] = []
    while frame := camera.latest(frames[-1].sequence if frames else -1, 2.0):
        frames.append(frame)
        time.sleep(pause_s)
    return frames


# --- files


def test_file_is_played_once_at_its_own_pace(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.mp4")
    start = time.monotonic_ns() + SECOND // 5
    with running(CameraConfig("front", f"file:{path}"), start) as camera:
        late = []
        frames: list[Frame] = []
        while frame := camera.latest(frames[-1].sequence if frames else -1, 2.0):
            late.append(time.monotonic_ns() - frame.mono_ns)
            frames.append(frame)
        status = camera.status()
    assert status.ended and not status.up and status.last_error == ""
    assert (status.width, status.height) == (160, 96)
    assert len(frames) >= 30  # a busy machine may skip some, as a live camera would
    for frame in frames:
        index = round((frame.mono_ns - start) / (SECOND / 20))
        assert abs(frame.mono_ns - start - index * SECOND // 20) < SECOND // 1000
        assert shown(frame) == pytest.approx(index, abs=0.9)
    assert min(late) >= 0  # never before its instant
    assert sorted(late)[len(late) // 2] < SECOND // 20
    assert frames[-1].mono_ns - frames[0].mono_ns >= 1.8 * SECOND


def test_a_slow_reader_gets_the_newest_frame_never_a_queue(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.mp4")
    with running(CameraConfig("front", f"file:{path}")) as camera:
        frames = follow(camera, pause_s=0.3)
    assert 4 <= len(frames) <= 9
    assert frames[-1].sequence - frames[0].sequence > 2 * len(frames)
    assert [f.mono_ns for f in frames] == sorted(f.mono_ns for f in frames)


def test_two_files_share_one_start_and_a_late_one_catches_up(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.mp4")
    start = time.monotonic_ns() - SECOND  # one second of the drive is already over
    configs = [CameraConfig(name, f"file:{path}") for name in ("front", "rear")]
    with running(configs[0], start) as front, running(configs[1], start) as rear:
        assert wait_for(lambda: front.status().up and rear.status().up)
        time.sleep(0.3)
        for camera in (front, rear):
            frame = camera.latest(-1, 1.0)
            assert frame is not None
            assert shown(frame) == pytest.approx((frame.mono_ns - start) / (SECOND / 20), abs=1)
        assert wait_for(lambda: front.status().ended and rear.status().ended, 3)
    assert time.monotonic_ns() - start < 2.6 * SECOND


def test_file_waits_for_its_gate(tmp_path: Path) -> None:
    path, gate = video(tmp_path / "drive.mp4", frames=5), tmp_path / "go"
    with running(CameraConfig("front", f"file:{path}", start_gate=gate)) as camera:
        assert camera.latest(-1, 0.3) is None
        gate.write_text("")  # being written
        assert camera.latest(-1, 0.2) is None
        start = time.monotonic_ns() + SECOND // 5
        gate.write_text(f"{start}\n")
        frame = camera.latest(-1, 2.0)
        assert frame is not None and frame.mono_ns == start


def test_frame_rate_is_limited_and_pictures_are_turned(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.mp4")
    config = CameraConfig("front", f"file:{path}", fps=5, rotate=90)
    with running(config) as camera:
        frames = follow(camera)
    assert 8 <= len(frames) <= 11
    assert frames[0].image.shape == (160, 96, 3)
    assert frames[0].image[:30].mean() > 200  # left is up after a clockwise quarter


def test_unusable_files_end_with_an_error_and_disturb_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = video(tmp_path / "good.mp4")
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(1).bytes(50_000))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[:300])
    with running(CameraConfig("good", f"file:{good}")) as camera:
        for path in (noise, cut, tmp_path / "absent.mp4"):
            with running(CameraConfig("bad", f"file:{path}")) as bad:
                assert bad.latest(-1, 3.0) is None
                status = bad.status()
                assert status.ended and not status.up and str(path) in status.last_error
        assert camera.status().up
    assert capfd.readouterr().err == ""


def test_stop_is_prompt_and_frees_the_pixels(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.mp4")
    before = threading.active_count()
    with running(CameraConfig("front", f"file:{path}")) as camera:
        assert camera.latest(-1, 2.0) is not None
        begun = time.monotonic()
        camera.stop()
        assert time.monotonic() - begun < 1.0
        assert camera.latest(-1, 5.0) is None and time.monotonic() - begun < 1.5
        assert not camera.status().up
    assert wait_for(lambda: threading.active_count() == before)
    with pytest.raises(CameraError, match="started before"):
        camera.start()


def test_missing_device_is_down_and_tried_again(tmp_path: Path) -> None:
    with running(CameraConfig("front", "/dev/v4l/by-path/absent")) as camera:
        assert wait_for(lambda: camera.status().restarts >= 2)
        status = camera.status()
    assert not status.up and not status.ended and "no device" in status.last_error
    assert status.age_s is None


# --- configuration and credentials


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "rtsp://u:secret@h/x"}, "holds a user or password"),
        ({"source": "http://h/x?user=a&pwd=secret"}, "holds a password"),
        ({"source": "rtsp://h/user=a_password=secret_channel=1"}, "holds a password"),
        ({"source": "http://h/x?user={user}&pwd={password}"}, "give user and credential"),
        ({"source": "rtsp://h/a b"}, "holds a space"),
        ({"source": "rtsp:///x"}, "names no host"),
        ({"source": "rtsp://h:99999/x"}, "not a URL"),
        ({"source": "udp://h:1"}, "unknown kind of source"),
        ({"source": "file:"}, "unknown kind of source"),
        ({"source": "/dev/video0", "user": "u", "password_file": Path("p")}, "only a URL"),
        ({"source": "rtsp://h/x", "user": "u"}, "belong together"),
        ({"source": "rtsp://h/x", "credential": "c"}, "belong together"),
        ({"source": "rtsp://h/x", "user": "u", "credential": "../c"}, "credential is no name"),
        (
            {"source": "rtsp://h/x", "user": "u", "credential": "c", "password_file": Path("p")},
            "exclude each other",
        ),
        ({"source": "/dev/video0", "region": (0.5, 0.0, 0.5, 1.0)}, "empty or narrower"),
        ({"source": "/dev/video0", "region": (0.0, 0.0, 1.5, 1.0)}, "outside 0 to 1"),
        ({"source": "/dev/video0", "rotate": 45}, "rotate is 45"),
        ({"source": "/dev/video0", "fps": 0}, "fps is 0"),
        ({"source": "/dev/video0", "name": "../x"}, "not a name"),
    ],
)
def test_impossible_configuration_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        CameraConfig(**{"name": "front", **values})  # type: ignore[arg-type]
    assert "secret" not in caught.value.diagnostics()


@given(st.text(max_size=40), st.text(max_size=40))
def test_redaction_never_tells_user_password_or_query(user: str, password: str) -> None:
    from urllib.parse import quote

    login = f"{quote('U' + user, safe='')}:{quote('P' + password, safe='')}"
    told = redact(f"rtsp://{login}@cam.example:554/stream?token=abc")
    assert told == "rtsp://cam.example:554/stream"


def test_configuration_does_not_print_its_source() -> None:
    config = CameraConfig("front", "http://cam.example/x?camera=hidden")
    assert "hidden" not in repr(config)


@pytest.mark.policy("R-CJIS-1")
def test_password_file_must_be_private(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others") as caught:
        read_password(path)
    assert SECRET not in caught.value.diagnostics()
    path.chmod(0o600)
    assert read_password(path) == SECRET
    path.chmod(0o400)  # a systemd credential
    assert read_password(path) == SECRET
    path.chmod(0o600)
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_password(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_password(tmp_path / "absent")


# --- MJPEG over HTTP


@dataclass
class MjpegServer:
    """A camera's web server with basic authentication; may freeze or talk garbage."""

    port: int = 0
    mode: str = "pictures"
    asked: int = 0
    refused: int = 0
    _server: http.server.ThreadingHTTPServer | None = field(default=None, repr=False)
    _open: set[object] = field(default_factory=set, repr=False)

    def up(self) -> None:
        outer = self
        expected = "Basic " + base64.b64encode(f"cam:{SECRET}".encode()).decode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                if self.headers.get("Authorization") != expected:
                    outer.refused += 1
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
                self.end_headers()
                outer._open.add(self.connection)
                try:
                    outer.talk(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def talk(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        generator = np.random.default_rng(7)
        server = self._server
        while server is self._server:
            if self.mode == "garbage":
                handler.wfile.write(generator.bytes(4000))
            elif self.mode == "pictures":
                picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
                head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                handler.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(0.05)

    def down(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        time.sleep(0.1)  # the talking threads notice and hang up


@pytest.fixture
def web() -> Iterator[MjpegServer]:
    server = MjpegServer()
    server.up()
    yield server
    server.down()


def http_config(web: MjpegServer, tmp_path: Path, secret: str = SECRET) -> CameraConfig:
    path = tmp_path / "password"
    path.write_text(secret)
    path.chmod(0o600)
    return CameraConfig(
        "web",
        f"http://127.0.0.1:{web.port}/video?stream=1",
        user="cam",
        password_file=path,
        stale_s=1.0,
        stall_s=1.5,
        open_timeout_s=2.0,
    )


@pytest.mark.policy("R-CJIS-1")
def test_wrong_password_is_an_error_and_no_password_is_told(
    web: MjpegServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(http_config(web, tmp_path, "wr0ng-secret")) as camera:
        assert wait_for(lambda: web.refused >= 3)
        status = camera.status()
        assert not status.up and "refused the password" in status.last_error
        (tmp_path / "password").write_text(SECRET)  # changed by the installer, taken up by itself
        assert camera.latest(-1, 8.0) is not None
        assert camera.status().last_error == ""
    out, err = capfd.readouterr()
    told = caplog.text + out + err + repr(status) + repr(camera.config)
    told += Path("/proc/self/cmdline").read_text()
    assert "camera web: refused the password" in told
    for secret in ("wr0ng", SECRET, "p%40ss", "stream=1", "127.0.0.1"):
        assert secret not in told


def test_server_restart_recovers_within_ten_seconds(web: MjpegServer, tmp_path: Path) -> None:
    with running(http_config(web, tmp_path)) as camera:
        frame = camera.latest(-1, 5.0)
        assert frame is not None and frame.image.shape == (48, 64, 3)
        web.down()
        assert wait_for(lambda: not camera.status().up, 4)
        web.up()
        assert wait_for(lambda: camera.status().up, 10)
        again = camera.latest(frame.sequence, 2.0)
        assert again is not None and again.sequence > frame.sequence
        assert camera.status().restarts >= 1


def test_frozen_server_is_noticed_by_frame_age(web: MjpegServer, tmp_path: Path) -> None:
    path = video(tmp_path / "drive.mp4", frames=50, rate=10)
    other = CameraConfig("file", f"file:{path}")
    with running(http_config(web, tmp_path)) as camera, running(other) as undisturbed:
        assert camera.latest(-1, 5.0) is not None
        web.mode = "frozen"
        assert wait_for(lambda: not camera.status().up, 3)
        assert undisturbed.status().up
        assert wait_for(lambda: camera.status().restarts >= 1, 4)
        web.mode = "pictures"
        assert wait_for(lambda: camera.status().up, 10)
        assert wait_for(lambda: camera.status().abandoned == 0, 5)
        frames = follow(undisturbed)
    assert len(frames) > 0 and undisturbed.status().restarts == 0


def test_garbage_is_no_picture(
    web: MjpegServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    web.mode = "garbage"
    with running(http_config(web, tmp_path)) as camera:
        assert wait_for(lambda: camera.status().restarts >= 1, 8)
        assert not camera.status().up and camera.status().age_s is None
        web.mode = "pictures"
        assert wait_for(lambda: camera.status().up, 10)
    assert capfd.readouterr().err == ""
