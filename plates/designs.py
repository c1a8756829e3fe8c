"""The table of plate designs (`plates/designs.toml`) and the format language of serial numbers."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

_TABLE = Path(__file__).parent / "designs.toml"
_TOKEN = re.compile(r"<([^<>]+)>|(.)")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEPARATORS = "- *"
PLATE_TYPES = ("passenger", "truck", "trailer", "motorcycle")


@dataclass(frozen=True)
class Design:
    """One plate design. Colours are `#rrggbb`; `paint` runs from top to bottom."""

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


@dataclass(frozen=True)
class State:
    """What designs of one jurisdiction share: its name, its slogans, the letters it leaves out."""

    name: str
    slogans: tuple[str, ...]
    skip: str


@dataclass(frozen=True)
class Token:
    """One place of a format: `kind` is "char", "separator" or "stacked"; `pattern` its letters."""

    kind: str
    pattern: str


def _design(row: dict[str, Any]) -> Design:
    known = set(Design.__dataclass_fields__)
    if unknown := set(row) - known:
        raise ValueError(f"designs.toml: design {row.get('id')!r}: unknown keys {sorted(unknown)}")
    row = dict(row)
    row.setdefault("slogan_ink", row["word_ink"])
    for key in ("formats", "paint", "scene"):
        row[key] = tuple(row[key])
    return Design(**row)


@lru_cache(maxsize=1)
def _load() -> tuple[dict[str, Design], dict[str, State]]:
    with _TABLE.open("rb") as file:
        table = tomllib.load(file)
    designs = {row["id"]: _design(row) for row in table["designs"]}
    states = {
        code: State(row["name"], tuple(row["slogans"]), row["skip"])
        for code, row in table["states"].items()
    }
    return designs, states


def designs() -> dict[str, Design]:
    """All named designs by id."""
    return _load()[0]


def states() -> dict[str, State]:
    """The 50 states and DC by USPS code."""
    return _load()[1]


@lru_cache(maxsize=512)
def parse_format(text: str) -> tuple[Token, ...]:
    """Tokens of one serial format; the notation is at the head of `designs.toml`."""
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


@lru_cache(maxsize=1024)
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
