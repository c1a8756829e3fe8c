"""The car's configuration: errors name file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.config import Config, load
from alprd.daemon import check
from alprd.errors import ConfigError

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
