"""Drop-ins over the configuration file: merged by name, errors name their own file and line."""

from __future__ import annotations

import hashlib
import os
import pwd
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.config import examine, load
from alprd.dropins import LARGEST
from alprd.errors import ConfigError

MAIN = """state_dir = "/var/lib/alprd"
[[camera]]
name = "front"
source = "/dev/video0"
fps = 10.0
[gps]
source = "/dev/gps"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "alprd.toml"
    file.write_text(MAIN)
    (tmp_path / "alprd.toml.d").mkdir()
    return file


def dropin(path: Path, name: str, text: str) -> Path:
    file = path.with_name("alprd.toml.d") / name
    file.write_text(text)
    return file


def test_dropins_are_laid_over_the_file_by_name(path: Path) -> None:
    dropin(path, "20-b.toml", '[[camera]]\nname = "front"\nfps = 5.0\n[gps]\nbaud = 4800\n')
    dropin(
        path,
        "10-a.toml",
        '[[camera]]\nname = "left"\nsource = "/dev/video1"\n'
        '[[camera]]\nname = "front"\nfps = 7.0\nrotate = 90\n',
    )
    dropin(path, ".hidden.toml", "nonsense")
    dropin(path, "30-c.toml~", "nonsense")
    config, layers = examine(path)
    assert [camera.name for camera in config.camera] == ["front", "left"]
    front = config.camera[0]
    assert (front.fps, front.rotate, str(front.source)) == (5.0, 90, "/dev/video0")
    assert (config.gps.source, config.gps.baud) == ("/dev/gps", 4800)
    assert [file.path.name for file in layers.files] == ["alprd.toml", "10-a.toml", "20-b.toml"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('\n[[camera]]\nname = "front"\nfps = 900.0\n', 4, "camera.0.fps"),
        ('[[camera]]\nname = "x"\nsource = "/dev/v"\n[[camera]]\nname = "y"\n', 4, "source"),
        ("[gps]\nspeed = 1\n", 2, "unknown key"),
        ("\n\ngps = 5\n", 3, "gps"),
        ("[gps]\nbaud =\n", 2, "line 2"),
        ('[health]\nport = 1\nhost = "0.0.0.0"\n', 3, "computer alone"),
        ('[health]\nhost = "localhost"\n', 2, "computer alone"),
        ('[log]\nlevel = "all"\n', 2, "level"),
    ],
)
def test_a_mistake_in_a_dropin_names_the_dropin_and_its_line(
    path: Path, text: str, line: int, words: str
) -> None:
    file = dropin(path, "10-a.toml", text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = caught.value.message
    assert words in message and message.startswith(str(file)), message
    assert f"{file}:{line}:" in message or f"line {line}" in message


def test_a_mistake_in_the_file_names_the_file_though_there_are_dropins(path: Path) -> None:
    path.write_text(MAIN.replace("fps = 10.0", "fps = 1000.0"))
    dropin(path, "10-a.toml", '[[camera]]\nname = "left"\nsource = "/dev/video1"\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}:5: camera.0.fps")


def test_what_cannot_be_read_is_told(path: Path) -> None:
    file = dropin(path, "10-a.toml", "")
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"10-a\.toml: not UTF-8 text"):
        load(path)
    file.write_text("#" * (LARGEST + 1))
    with pytest.raises(ConfigError, match="over"):
        load(path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="not a file"):
        load(path)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="directory"):
        load(path)


def test_owner_and_digest_are_those_of_the_files(path: Path) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    _, layers = examine(path)
    assert (layers.owners, layers.sha256) == (me, hashlib.sha256(MAIN.encode()).hexdigest())
    file = dropin(path, "10-a.toml", "[gps]\nbaud = 4800\n")
    two = examine(path)[1].sha256
    assert two != layers.sha256
    file.write_text("[gps]\nbaud = 9600\n")
    assert examine(path)[1].sha256 != two
    if os.getuid() == 0:
        os.chown(file, 65432, -1)
        assert examine(path)[1].owners == f"{me}, 65432"


_keys = st.sampled_from(["state_dir", "camera", "gps", "name", "source", "fps", "x"])
_scalars = st.integers() | st.text("ab", max_size=2).map(lambda text: f'"{text}"')


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.tuples(_keys, _scalars | st.just("[]")), max_size=4), max_size=4))
def test_no_dropins_break_the_loader(dropins: list[list[tuple[str, object]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alprd.toml"
        path.write_text(MAIN)
        path.with_name("alprd.toml.d").mkdir()
        for number, pairs in enumerate(dropins):
            head = ("", "[gps]\n", "[[camera]]\n", "[a.b]\n")[number]
            dropin(
                path,
                f"{number}.toml",
                head + "".join(f"{key} = {value}\n" for key, value in pairs),
            )
        try:
            load(path)
        except ConfigError as error:
            assert folder in error.message
