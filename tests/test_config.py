"""The car's configuration: errors name file and line."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.config import Config, load
from alprd.daemon import check
from alprd.errors import ConfigError
from alprd.rehearsal import rehearse

SHIPPED = Path(__file__).resolve().parent.parent / "config" / "alprd.toml"


def variant(tmp_path: Path, old: str, new: str) -> tuple[Path, int]:
    """The shipped file with one line changed, and the number of that line."""
    text = SHIPPED.read_text()
    assert text.count(old) == 1
    path = tmp_path / "alprd.toml"
    path.write_text(text.replace(old, new))
    return path, text[: text.index(old)].count("\n") + 1


def test_the_shipped_file_is_valid_and_documents_every_key() -> None:
    config = load(SHIPPED)
    assert [camera.name for camera in config.camera] == ["front", "left"]
    assert config.gps.source == "/dev/alprd-gps"
    text = SHIPPED.read_text()
    for name, field in Config.model_fields.items():
        section = get_args(field.annotation)[0] if name == "camera" else field.annotation
        for key in getattr(section, "model_fields", ()):
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), f"[{name}] {key}"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rotate = 0", "rotat = 0", "unknown key"),
        ("rotate = 0", "rotate = 45", "rotate"),
        ("fps = 15.0", "fps = 0", "greater than 0"),
        ("port = 8443", "port = 70000", "65535"),
        ('profile = "road"', 'profile = "fast"', "profile"),
        ('state_dir = "/var/lib/alprd"', 'state_dirs = "/var/lib/alprd"', "state_dirs"),
        ('name = "left"', 'name = "left camera"', "name"),
        ("interval_s = 10.0", 'interval_s = "soon"', "interval_s"),
        ('source = "/dev/alprd-gps"', 'source = "com3"', "gps.source: unknown kind of source"),
        ("baud = 9600", "baud = 12345", "not a serial rate"),
        ('state_dir = "/var/lib/alprd"', 'state_dir = "alprd"', "whole path"),
        ("# region = [0.0, 0.25, 1.0, 0.9]", "region = [0.1, 0.1, 0.12, 0.9]", "narrower"),
    ],
)
def test_a_wrong_value_names_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    path, line = variant(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in caught.value.message
    assert f"{path}:{line}:" in caught.value.message


def test_one_mistake_is_told_once(tmp_path: Path) -> None:
    path, _ = variant(tmp_path, "rotate = 0", "rotat = 0")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.message.count("\n") == 0


def test_check_names_what_a_start_would_stumble_over(tmp_path: Path) -> None:
    path = tmp_path / "alprd.toml"
    source = tmp_path / "none.mp4"
    path.write_text(
        f'state_dir = "{tmp_path}"\n[[camera]]\nname = "a"\nsource = "file:{source}"\n'
        '[gps]\nsource = "/dev/none"\n'
    )
    doubts = check(load(path))
    assert len(doubts) == 2 and "none.mp4" in doubts[0] and "enrolled" in doubts[1]
    path.write_text(path.read_text().replace("file:", "gopher:"))
    with pytest.raises(ConfigError, match="unknown kind"):
        check(load(path))


def test_two_cameras_of_one_name_are_refused(tmp_path: Path) -> None:
    path, _ = variant(tmp_path, 'name = "left"', 'name = "front"')
    with pytest.raises(ConfigError, match="two cameras have one name"):
        load(path)


def test_what_is_not_toml_names_its_place(tmp_path: Path) -> None:
    path = tmp_path / "alprd.toml"
    path.write_text("state_dir = \n")
    with pytest.raises(ConfigError, match="line 1"):
        load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(path)
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_loader(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alprd.toml"
        path.write_text(text, encoding="utf-8", errors="replace")
        with pytest.raises(ConfigError):
            load(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rotate = 0", "rotat = 0", "did you mean 'rotate'?"),
        ("rotate = 0", "interval_s = 3", "'interval_s' belongs to the table [dock]"),
        ("baud = 9600", "baud = 9600\nzz = 1", "known here: source, baud"),
        ("[gps]\n# Serial device, sock", "[gsp]\n# Serial device, sock", "did you mean 'gps'?"),
    ],
)
def test_an_unknown_key_is_told_with_what_was_meant(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path, line = variant(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in caught.value.message
    assert f"{path}:{line + new.count(chr(10), 0, new.find('zz') + 1)}:" in caught.value.message


SHIPPED_LINES = SHIPPED.read_text().splitlines()
KEY_LINES = [n for n, line in enumerate(SHIPPED_LINES) if re.match(r"[a-z]\w* = ", line)]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KEY_LINES), st.from_regex(r"[a-z]{1,12}", fullmatch=True))
def test_an_unknown_key_anywhere_names_its_line(at: int, key: str) -> None:
    import tempfile

    lines = list(SHIPPED_LINES)
    lines.insert(at, f"zq_{key} = 'x'")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alprd.toml"
        path.write_text("\n".join(lines))
        with pytest.raises(ConfigError) as caught:
            load(path)
    assert f"{path}:{at + 1}: " in caught.value.message
    assert "unknown key" in caught.value.message and f"zq_{key}" in caught.value.message


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ('source = "/dev/video0"\nuser = "u"\ncredential = "c"', "only a URL"),
        ('source = "http://192.0.2.1/v?pwd={password}"', "wants {password}"),
    ],
)
def test_a_login_that_cannot_be_names_the_camera(tmp_path: Path, camera: str, words: str) -> None:
    path = tmp_path / "alprd.toml"
    path.write_text(
        f'state_dir = "/s"\n[gps]\nsource = "/dev/gps"\n[[camera]]\nname = "a"\n{camera}\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert f"{path}:4: camera.0: " in caught.value.message and words in caught.value.message


def test_page_and_health_do_not_share_a_port(tmp_path: Path) -> None:
    path, _ = variant(tmp_path, "port = 9464", "port = 8443")
    with pytest.raises(ConfigError, match="that of the in-car page") as caught:
        load(path)
    assert f"{path}:" in caught.value.message


MAIN = """state_dir = "/var/lib/alprd"
[[camera]]
name = "front"
source = "http://127.0.0.1/a"
[gps]
source = "/dev/gps"
"""


def _config(tmp_path: Path, more: str = "") -> Config:
    path = tmp_path / "alprd.toml"
    path.write_text(MAIN + more)
    return load(path)


@pytest.mark.policy("R-CJIS-1")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[mdt]\nhost = "0.0.0.0"\n', "without TLS"),
        ('[mdt]\ntls_cert = "/none.pem"\ntls_key = "/none.key"\n', "/none.pem"),
        ('[mdt]\ntls_cert = "HERE"\ntls_key = "HERE"\n', "no PEM"),
        ('[mdt]\nrun_file = "/none/mdt.json"\n', "/none is not there"),
        ('[verification]\nurl = "https://g.example"\nca_file = "/none.pem"\n', "/none.pem: No"),
    ],
)
def test_what_would_keep_the_page_from_being_served_is_found_before_a_fresh_start(
    tmp_path: Path, more: str, words: str
) -> None:
    """A running daemon would otherwise end for it and never come back."""
    wanted = _config(tmp_path, more.replace("HERE", str(tmp_path / "alprd.toml")))
    with pytest.raises(ConfigError) as caught:
        rehearse(wanted, _config(tmp_path))
    assert words in caught.value.message and caught.value.remedy
    assert any(words in doubt for doubt in check(wanted))


def test_a_port_that_the_daemon_itself_holds_is_no_obstacle_and_a_foreign_one_is(
    tmp_path: Path,
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        running = _config(tmp_path, f"[mdt]\nport = {port}\n")
        rehearse(_config(tmp_path, f'[mdt]\nport = {port}\nhost = "127.0.0.2"\n'), running)
        with pytest.raises(ConfigError, match="in use"):
            rehearse(
                _config(tmp_path, f"[health]\nport = {port}\n[mdt]\nport = 0\n"), _config(tmp_path)
            )
