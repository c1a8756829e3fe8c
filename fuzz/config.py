"""Configuration: TOML text, and drop-ins, into :func:`alprd.config.load`."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Final

from alprd.config import load
from alprd.errors import ConfigError
from fuzz.mutate import damaged

OUTCOMES: Final = ("refused", "valid")
MEMORY_MB: Final = 128

_SHIPPED: Final = Path(__file__).resolve().parent.parent / "config" / "alprd.toml"
_SEED: Final = "\n".join(
    line for line in _SHIPPED.read_text().splitlines() if line and not line.startswith("#")
)
_SMALL: Final = """state_dir = "/var/lib/alprd"
[[camera]]
name = "front"
source = "file:/drive/front.mp4"
[gps]
source = "socket://127.0.0.1:10110"
"""
_KEYS: Final = tuple(sorted(set(re.findall(r"^#? ?(\w+) = ", _SHIPPED.read_text(), re.MULTILINE))))
_TABLES: Final = ("camera", "gps", "dock", "mdt", "detector", "ocr", "reader", "replay", "none")
_VALUES: Final = (
    "1", "-1", "0", "1.5", "nan", "inf", "-inf", "1e400", "true", '""', '"a"', '"/x/y.onnx"',
    '"\\u0000"', "[]", "[1, 2]", "{}", "{a = 1}", "[[1]]", "1979-05-27T07:32:00Z", "07:32:00",
    '"""\nline\n"""', "''", "0x10", "9223372036854775808", '["cpu", "cpu"]', '["x"]', "[0,0,1,1]",
    "[0.5, nan, 1.0, 1.0]", '"socket://[::1"', '"rtsp://u:p@h/x"', '"http://h:99999/"', '"file:"',
    '"\\ud800"', "1_0", "{}" * 3,
)  # fmt: skip
# Not under the limit of one file only: nothing is gained by large ones here.
_LIMIT: Final = 20_000
_FOLDER: Final = Path(tempfile.mkdtemp(prefix="fuzz-config-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_FILE: Final = _FOLDER / "alprd.toml"
_DROPIN: Final = _FOLDER / "alprd.toml.d" / "10.toml"
_SPLIT: Final = b"\n#### drop-in ####\n"


def _value(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.94:
        return rng.choice(_VALUES)
    if kind < 0.95:
        return "[" * (depth := rng.choice((3, 200, 1500))) + "]" * depth
    if kind < 0.96:
        return "{a=" * (depth := rng.choice((3, 200, 1500))) + "1" + "}" * depth
    if kind < 0.98:
        return "9" * rng.choice((30, 400, 4301))
    word = rng.choice(("a", "é", "\U0001f693", "../", "\\\\"))
    return f'"{word * rng.randint(1, 300)}"'


def _line(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        return f"{rng.choice(_KEYS)} = {_value(rng)}"
    if kind < 0.75:
        return f"[{rng.choice(_TABLES)}]"
    if kind < 0.85:
        return f"[[{rng.choice(_TABLES)}]]"
    if kind < 0.95:
        return f"{rng.choice(_TABLES)}.{rng.choice(_KEYS)} = {_value(rng)}"
    return ".".join(rng.choice(_TABLES) for _ in range(rng.choice((2, 2, 2, 50, 800)))) + " = 1"


def _edited(text: str, rng: Random) -> str:
    """The lines of a good file: some dropped, doubled, with other values, with new ones."""
    lines = text.splitlines()
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(lines)) if lines else 0
        kind = rng.random()
        if kind < 0.4 and lines and "=" in lines[at]:
            lines[at] = f"{lines[at].partition('=')[0]}= {_value(rng)}"
        elif kind < 0.5:
            del lines[at : at + 1]
        elif kind < 0.6:
            lines[at:at] = lines[at : at + rng.randint(1, 3)]
        else:
            lines.insert(at, _line(rng))
    return "\n".join(lines)


def make(rng: Random) -> bytes:
    """A file, sometimes with a drop-in; a third of them damaged."""
    text = _edited(_SMALL if rng.random() < 0.85 else _SEED, rng).encode()
    if rng.random() < 0.33:
        text = damaged(text, rng, [_SMALL.encode()])
    if rng.random() < 0.15:
        text += _SPLIT + "\n".join(_line(rng) for _ in range(rng.randint(1, 4))).encode()
    return text[:_LIMIT]


def run(data: bytes) -> str:
    """Loads it; an error must name the file."""
    text, split, dropin = data.partition(_SPLIT)
    _FILE.write_bytes(text)
    if split:
        _DROPIN.parent.mkdir(exist_ok=True)
        _DROPIN.write_bytes(dropin)
    try:
        load(_FILE)
    except ConfigError as error:
        if str(_FOLDER) not in error.message or not error.remedy:
            raise AssertionError("an error that does not name the file") from error
        return "refused"
    finally:
        if split:
            _DROPIN.unlink()
    return "valid"
