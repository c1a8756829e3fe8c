"""How a car logs in to its cameras, and that nobody else can read how (R-CJIS-1)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from camera_world import WebCamera, wait_for
from hypothesis import given
from hypothesis import strategies as st

from alprd.addresses import check
from alprd.capture import Camera, CameraConfig
from alprd.config import load
from alprd.devices import camera_config
from alprd.errors import ConfigError
from alprd.frames import Frame
from alprd.sources import read_password
from alprd.streams import shape
from alprd.v4l import wishes

USER, SECRET = "cam user", "p@ss/w:rd%25 #x"


@contextmanager
def running(config: CameraConfig) -> Iterator[Camera]:
    camera = Camera(config)
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as systemd makes it for a unit."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def give(folder: Path, secret: str, mode: int = 0o400) -> None:
    path = folder / "camera-left"
    path.unlink(missing_ok=True)
    path.write_text(secret)
    path.chmod(mode)


@contextmanager
def camera_with(login: str, folder: Path) -> Iterator[WebCamera]:
    server = WebCamera(folder, login=login)
    server.up()
    try:
        yield server
    finally:
        server.down()


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize(
    ("scheme", "path"),
    [
        ("basic", "/video?camera=1"),
        ("digest", "/video?camera=1"),
        ("basic", "/query?user={user}&pwd={password}"),
    ],
)
def test_a_login_by_a_systemd_credential(
    scheme: str,
    path: str,
    tmp_path: Path,
    credentials: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Basic, digest and in the query; a wrong password is told as such, and taken up anew."""
    caplog.set_level(logging.DEBUG)
    give(credentials, "wr0ng-secret")
    with camera_with(f"{scheme} {USER}:{SECRET}", tmp_path / "web") as server:
        config = server.config("left", path, user=USER, credential="camera-left")
        with running(config) as camera:
            assert wait_for(lambda: "refused the password" in camera.status().last_error, 20)
            refused = camera.status()
            assert server.refused() >= 1 and refused.age_s is None
            give(credentials, SECRET)
            assert camera.latest(-1, 10.0) is not None, camera.status()
            told = [process.read_bytes() for process in processes()]
            assert b"alprd.eye" in b"".join(told)
    out, err = capfd.readouterr()
    text = b"".join(told).decode(errors="replace") + caplog.text + out + err
    text += repr(refused) + refused.line() + repr(config)
    assert refused.line() == "left: no picture yet; retrying (refused the password)"
    for secret in ("wr0ng", SECRET, quote(SECRET, safe=""), quote(USER), "pwd="):
        assert secret not in text


def processes() -> Iterator[Path]:
    """Command lines of everything that runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.exists():
            yield path


@pytest.mark.policy("R-CJIS-1")
def test_a_credential_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: Path
) -> None:
    config = CameraConfig("left", "rtsp://cam.example/x", user=USER, credential="camera-left")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.url()
    give(credentials, SECRET)
    assert config.url() == f"rtsp://{quote(USER)}:{quote(SECRET, safe='')}@cam.example/x"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="started without credentials") as caught:
        config.url()
    assert "LoadCredentialEncrypted=camera-left:" in caught.value.remedy


@pytest.mark.policy("R-CJIS-1")
def test_the_access_list_of_systemd_is_taken_elsewhere_it_is_not(
    tmp_path: Path, credentials: Path
) -> None:
    """systemd lets the unit's user in by an access list, whose mask reads as the group's right."""
    give(credentials, SECRET, 0o440)
    root = (credentials / "camera-left").stat().st_uid == 0
    if root:
        assert read_password(credentials / "camera-left") == SECRET
    give(credentials, SECRET, 0o444)
    with pytest.raises(ConfigError, match="open to others"):
        read_password(credentials / "camera-left")
    other = tmp_path / "other"
    other.mkdir()
    give(other, SECRET, 0o440)
    with pytest.raises(ConfigError, match="open to others"):
        read_password(other / "camera-left")


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("rtsp://alprd:hunter2@192.0.2.20/s", "holds a user or password: take them out"),
        ("http://192.0.2.20/v?user=a&pwd=hunter2", "write {password} in its place"),
        ("rtsp://192.0.2.20/user=a_password=hunter2_channel=1", "write {password} in its place"),
    ],
)
def test_a_configuration_with_a_password_is_refused(
    tmp_path: Path, source: str, words: str
) -> None:
    path = tmp_path / "alprd.toml"
    path.write_text(
        f'state_dir = "/x"\n[[camera]]\nname = "left"\nsource = "{source}"\n[gps]\nsource = "/g"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    told = caught.value.diagnostics()
    assert f"{path}:4:" in told and words in told and "credential" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("region = [0.5, 0.0, 0.4, 1.0]", "left < right"),
        ("region = [0.0, 0.0, 1.0]", "region"),
        ("width = 20000", "8192"),
        ('user = "a"\ncredential = "b"\npassword_file = "/c"', "not both"),
        ('credential = "b"', "belong together"),
        ('user = "a"\ncredential = "../b"', "credential"),
    ],
)
def test_a_camera_that_cannot_be_meant_is_refused_by_line(
    tmp_path: Path, lines: str, words: str
) -> None:
    path = tmp_path / "alprd.toml"
    path.write_text(
        '[[camera]]\nname = "left"\nsource = "rtsp://192.0.2.20/s"\n'
        f'{lines}\n[gps]\nsource = "/g"\n'
    )
    path.write_text('state_dir = "/x"\n' + path.read_text())
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in caught.value.message and f"{path}:" in caught.value.message


def test_every_setting_of_the_file_reaches_the_camera(tmp_path: Path) -> None:
    path = tmp_path / "alprd.toml"
    path.write_text(
        'state_dir = "/x"\n[[camera]]\nname = "left"\nsource = "/dev/alprd-camera-left"\n'
        "fps = 7\nrotate = 270\nregion = [0, 0.25, 1, 0.75]\nwidth = 1920\nheight = 1080\n"
        'exposure = 40\ngain = 3\nfocus = 0\n[gps]\nsource = "/g"\n'
    )
    whole = load(path)
    config = camera_config(whole.camera[0], whole)
    assert (config.fps, config.rotate, config.region) == (7, 270, (0, 0.25, 1, 0.75))
    assert (config.width, config.height) == (1920, 1080)
    asked = [(name, value) for name, _, value in wishes(config) if name]
    assert asked == [
        ("width", 1920),
        ("height", 1080),
        ("exposure", 40),
        ("gain", 3),
        ("focus", 0),
    ]
    order = [prop for _, prop, _ in wishes(config)]
    for manual, value in (
        (cv2.CAP_PROP_AUTO_EXPOSURE, cv2.CAP_PROP_EXPOSURE),
        (cv2.CAP_PROP_AUTOFOCUS, cv2.CAP_PROP_FOCUS),
    ):
        assert order.index(manual) < order.index(value)  # drivers refuse it while automatic
    again = CameraConfig.load(json.loads(json.dumps(config.dump())))
    assert again == config  # as it crosses to the reading process


@given(st.sampled_from(["password", "pwd", "PASS", "Passwd", "token"]), st.text(min_size=1))
def test_no_password_in_a_query_is_let_through(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="password"):
        check(f"http://192.0.2.20/v?{key}={quote(value, safe='')}x")
    for fine in (f"v?{key}={{password}}&channel=1", f"v?{key}=&channel=1", f"a_{key}=_channel=1"):
        assert check(f"http://192.0.2.20/{fine}")


# --- turning and the region


def corner(frame: Frame) -> list[list[int]]:
    image = frame.image
    last = (image.shape[0] - 4, image.shape[1] - 4)
    return [[round(int(c) / 255) for c in image[y, x]] for y in (3, last[0]) for x in (3, last[1])]


@pytest.mark.policy("R-460.2-2")
def test_only_the_region_of_the_turned_picture_leaves_the_reading_process(tmp_path: Path) -> None:
    """Blue green / red white, turned clockwise: red blue / white green; its left is kept."""
    with camera_with("", tmp_path / "web") as server:
        config = server.config("left", rotate=90, region=(0.0, 0.0, 0.5, 1.0), fps=5.0)
        with running(config) as camera:
            frame = camera.latest(-1, 20.0)
            assert frame is not None and frame.image.shape == (160, 48, 3)
            begun = time.monotonic()
            assert wait_for(lambda: camera.status().fps > 0, 5)
            assert camera.status().line().endswith(" 48x160")
            time.sleep(2.0)
            newest = camera.latest(-1, 0.0)
            assert newest is not None
            taken = newest.sequence - frame.sequence
            assert 1 <= taken <= 5.5 * (time.monotonic() - begun) + 2  # the camera sends 20
    red, white = [0, 0, 1], [1, 1, 1]
    assert corner(frame) == [red, red, white, white]


@given(
    st.sampled_from([0, 90, 180, 270]),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(32, 300),
    st.integers(32, 300),
)
def test_a_region_is_never_empty_nor_larger_than_asked(
    rotate: int, corners: tuple[float, float, float, float], height: int, width: int
) -> None:
    x0, x1 = sorted((corners[0], corners[2]))
    y0, y1 = sorted((corners[1], corners[3]))
    try:
        config = CameraConfig("left", "/dev/video0", rotate=rotate, region=(x0, y0, x1, y1))
    except ConfigError:
        assert min(x1 - x0, y1 - y0) < 0.05
        return
    picture = np.zeros((height, width, 3), np.uint8)
    cut = shape(picture, config)
    turned = (width, height) if rotate in (90, 270) else (height, width)
    assert abs(cut.shape[0] - (y1 - y0) * turned[0]) <= 1
    assert abs(cut.shape[1] - (x1 - x0) * turned[1]) <= 1
    assert min(cut.shape[:2]) >= 1 and cut.base is not None
