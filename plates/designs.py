"""The table of plate designs (`plates/designs/*.toml`) and the format language of serials."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

_TABLES = Path(__file__).parent / "designs"
_TOKEN = re.compile(r"<([^<>]+)>|(.)")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEPARATORS = "- *."
PLATE_TYPES = ("passenger", "truck", "trailer", "motorcycle")


@dataclass(frozen=True)
class Design:
    """One plate design; the keys of the tables are explained in `designs/states.toml`.

    Colours are `#rrggbb`; `paint` runs from top to bottom; heights and places are shares of the
    plate's height or width, 0 where the renderer may choose.
    """

    id: str
    region: str
    formats: tuple[str, ...]
    paint: tuple[str, ...]
    scene: tuple[str, ...]
    ink: str
    word: str
    word_ink: str
    face: str
    slogan: str
    slogan_ink: str
    word_at: str = "top"
    plate_type: str = "passenger"
    emboss: float = 0.25
    weight: float = 1.0
    era: str = "road"
    coats: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    mark: str = ""
    mark_ink: str = ""
    edge: str = ""
    word_h: float = 0.0
    word_x: float = 0.5
    slogan_at: str = ""
    slogan_face: str = "plain"
    slogan_h: float = 0.0
    serial_h: float = 0.0
    serial_y: float = 0.0


@dataclass(frozen=True)
class State:
    """What designs of one jurisdiction share: its name, its slogans, the letters it leaves out,
    and a few of its counties where plates name them."""

    name: str
    slogans: tuple[str, ...]
    skip: str
    counties: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """One place of a format: `kind` is "char", "separator" or "stacked"; `pattern` its letters."""

    kind: str
    pattern: str


def _design(row: dict[str, Any], states: dict[str, State], coats: dict[str, list[str]]) -> Design:
    known = set(Design.__dataclass_fields__)
    if unknown := set(row) - known:
        raise ValueError(f"plates/designs: design {row.get('id')!r}: unknown keys {unknown}")
    row = dict(row)
    palette: list[str] = []
    for coat in row.get("coats", ()):
        palette += coats[coat[1:]] if coat.startswith("@") else [coat]
    row["coats"] = palette
    if palette:
        row["paint"], row["ink"] = [palette[0].split("/")[0]], palette[0].split("/")[1]
    row.setdefault("word", states[row["region"]].name.upper())
    row.setdefault("word_ink", row["ink"])
    row.setdefault("slogan_ink", row["word_ink"])
    row.setdefault("face", "plain")
    row.setdefault("slogan", "")
    for key in ("formats", "paint", "scene", "coats", "extras"):
        row[key] = tuple(row.get(key, ()))
    if row.get("era") == "old":
        row.setdefault("emboss", 1.0)
    return Design(**row)


@lru_cache(maxsize=1)
def _load() -> tuple[dict[str, Design], dict[str, State]]:
    rows: list[dict[str, Any]] = []
    states: dict[str, State] = {}
    coats: dict[str, list[str]] = {}
    for path in sorted(_TABLES.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        rows += table.get("designs", [])
        coats.update(table.get("coats", {}))
        for code, row in table.get("states", {}).items():
            states[code] = State(
                row["name"], tuple(row["slogans"]), row["skip"], tuple(row.get("counties", ()))
            )
    designs: dict[str, Design] = {}
    for row in rows:
        if row["id"] in designs:
            raise ValueError(f"plates/designs: design {row['id']!r} is there twice")
        designs[row["id"]] = _design(row, states, coats)
    return designs, states


def designs() -> dict[str, Design]:
    """All named designs by id."""
    return _load()[0]


@lru_cache(maxsize=64)
def designs_of(region: str) -> tuple[Design, ...]:
    """The named designs of one jurisdiction, in the order of the tables."""
    return tuple(design for design in designs().values() if design.region == region)


def states() -> dict[str, State]:
    """The 50 states and DC by USPS code."""
    return _load()[1]


@lru_cache(maxsize=4096)
def parse_format(text: str) -> tuple[Token, ...]:
    """Tokens of one serial format; the notation is at the head of `designs/states.toml`."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        stacked, char = match.groups()
        if stacked:
            tokens.append(Token("stacked", stacked))
        elif char in SEPARATORS:
            tokens.append(Token("separator", char))
        else:
            tokens.append(Token("char", char))
    return tuple(tokens)


@lru_cache(maxsize=4096)
def format_regex(text: str, skip: str) -> re.Pattern[str]:
    """A pattern for the full-size characters of a format, without separators."""
    classes = {"#": "[0-9]", "%": "[1-9]", "@": f"[{_letters(skip)}]"}
    body = "".join(
        classes.get(t.pattern, t.pattern) for t in parse_format(text) if t.kind == "char"
    )
    return re.compile(body)


def stacked_place(text: str) -> str:
    """Where a format's stacked part stands: left, right, middle or nowhere ("")."""
    kinds = [t.kind for t in parse_format(text)]
    if "stacked" not in kinds:
        return ""
    at = kinds.index("stacked")
    return "left" if at == 0 else "right" if at == len(kinds) - 1 else "middle"


@lru_cache(maxsize=64)
def _letters(skip: str) -> str:
    return "".join(char for char in ALPHABET if char not in skip)


def fill(pattern: str, skip: str, rng: np.random.Generator) -> str:
    """Random characters for the places `#`, `%` and `@` of `pattern`; others stay."""
    letters = _letters(skip)
    out: list[str] = []
    for char in pattern:
        if char == "#":
            out.append(str(rng.integers(10)))
        elif char == "%":
            out.append(str(rng.integers(1, 10)))
        elif char == "@":
            out.append(letters[int(rng.integers(len(letters)))])
        else:
            out.append(char)
    return "".join(out)


_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\d+)-(\d+))?\}")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def words_of(pattern: str, region: str, rng: np.random.Generator) -> str:
    """The words of a design with chance in them: `a~b` takes one of two, `{n:46-79}` a number of
    that range, `{mon}` a month, `{county}` a county of `region` ("" where none is listed)."""
    if "~" in pattern:
        ways = pattern.split("~")
        pattern = ways[int(rng.integers(len(ways)))]
    if "{" not in pattern:
        return pattern

    def one(match: re.Match[str]) -> str:
        kind, low, high = match.groups()
        if kind == "n":
            return str(rng.integers(int(low), int(high) + 1)).zfill(len(low))
        if kind == "mon":
            return _MONTHS[int(rng.integers(12))]
        names = states()[region].counties
        return names[int(rng.integers(len(names)))] if names else ""

    return _PLACEHOLDER.sub(one, pattern)
