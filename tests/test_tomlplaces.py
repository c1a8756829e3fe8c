"""The line of a value in a TOML text, for errors that name it."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.tomlplaces import line_of, nearest, places

TEXT = '''\
# camera = 1
title = """
fps = 1
[gps]
""" # fps = 2
gps . source = '/dev/x'
"gps".baud = 9600

[[camera]]
name = "a"
region = [
  0.0, # [[camera]]
  0.1,
  0.9, 1.0 ]

[[ "camera" ]]  # [gps]
name = "b]"
extra = { one = 1, two = { three = [ {}, { four = 4 } ] } }
[[camera.part]]
x = 1
[[camera.part]]
x = 2
[reader]
providers = ["cpu", \'\'\'
]\'\'\', "cuda"]
'''


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("title",), 2),
        (("gps",), 6),
        (("gps", "source"), 6),
        (("gps", "baud"), 7),
        (("gps", "missing"), 6),
        (("camera",), 9),
        (("camera", 0), 9),
        (("camera", 0, "region"), 11),
        (("camera", 0, "region", 2), 14),
        (("camera", 1), 16),
        (("camera", 1, "name"), 17),
        (("camera", 1, "extra", "two", "three", 1, "four"), 18),
        (("camera", 1, "part", 1, "x"), 22),
        (("reader", "providers", 2), 25),
        (("nothing", "here"), 1),
    ],
)
def test_every_way_to_write_a_key_has_its_line(where: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert line_of(TEXT, where) == line


KEYS = st.text("ab-_1", min_size=1, max_size=3) | st.text(
    st.characters(exclude_categories=("Cs", "Cc")), max_size=3
)
SCALARS = st.integers(-9, 9) | st.booleans() | st.text("x#[]{}=,\"' \\\n", max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def write(value: Any) -> str:
    """A value as TOML on one line, arrays aside."""
    if isinstance(value, dict):
        inside = ", ".join(
            f"{json.dumps(k, ensure_ascii=False)} = {write(v)}" for k, v in value.items()
        )
        return "{ " + inside + " }"
    if isinstance(value, list):
        return "[" + ", ".join(write(item) for item in value) + "]"
    if isinstance(value, str) and "'" not in value and "\n" in value:
        return f"'''\n{value}'''"
    return json.dumps(value)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), max_size=4), st.data())
def test_lines_agree_with_how_a_document_was_written(
    tables: list[dict[str, Any]], data: st.DataObject
) -> None:
    lines: list[str] = []
    expected: dict[tuple[str | int, ...], int] = {}
    for number, table in enumerate(tables):
        lines.append("[[ t ]]  # [t]" if data.draw(st.booleans()) else "[[t]]")
        expected[("t", number)] = len(lines)
        for key, value in table.items():
            expected[("t", number, key)] = len(lines) + 1
            shown = (
                "'" + key + "'"
                if "'" not in key and "\\" in key
                else json.dumps(key, ensure_ascii=False)
            )
            lines += f"{shown} = {write(value)}".split("\n")
        lines += ["", "# t = 1"] if data.draw(st.booleans()) else []
    text = "\n".join(lines)
    assert tomllib.loads(text).get("t", []) == tables
    found = places(text)
    assert {path: found.get(path) for path in expected} == expected
    for path in every_path(tables):
        assert path in found


def every_path(value: Any, at: tuple[str | int, ...] = ("t",)) -> list[tuple[str | int, ...]]:
    """The path of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[str | int, ...]] = []
    for key, inner in items:
        found.append((*at, key))
        if isinstance(inner, dict | list):
            found += every_path(inner, (*at, key))
    return found


@settings(deadline=None, max_examples=100)
@given(st.text("[]{}=.\"'#\\\n ab1,", max_size=40))
def test_no_text_keeps_the_walk_from_ending(text: str) -> None:
    assert line_of(text, ("a", 0)) >= 1


def test_the_nearest_key_is_offered() -> None:
    known = ["name", "source", "fps", "rotate", "password_file"]
    assert nearest("rotat", known) == "rotate"
    assert nearest("FPS", known) == "fps"
    assert nearest("password-file", known) == "password_file"
    assert nearest("zzz", known) is None
