"""Where in a TOML text a value stands: the line that an error must name.

``tomllib`` gives values without their places. This walks the text once more, by TOML 1.0's own
syntax (tables, arrays of tables, dotted and quoted keys, inline tables, strings and arrays over
several lines), and notes the line of every key. The text has been parsed before, so nothing is
checked here again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final

Path = tuple[str | int, ...]
"""Keys and indexes from the top of the document to a value."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_VALUE: Final = re.compile(r"[^,\]}#\n]+")
_GAP: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_BLANK: Final = re.compile(r"[ \t]*")
_ESCAPE: Final = re.compile(r'\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[btnfr"\\])')
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def places(text: str) -> dict[Path, int]:
    """Line (from 1) of every table header, key and array element of a valid TOML document."""
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.found


def line_of(text: str, where: Sequence[str | int]) -> int:
    """The line of a value; of the nearest table around it where it is not there, else 1."""
    found = places(text)
    for length in range(len(where), 0, -1):
        line = found.get(tuple(where[:length]))
        if line is not None:
            return line
    return 1


def nearest(key: str, known: Iterable[str]) -> str | None:
    """The known key that a person most likely meant; None if none is near."""
    by_form = {_form(name): name for name in known}
    close = difflib.get_close_matches(_form(key), by_form, n=1, cutoff=0.6)
    return by_form[close[0]] if close else None


def _form(name: str) -> str:
    return name.lower().replace("-", "_")


class _Walk:
    """One walk through a text; ``at`` only ever grows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        self._last: dict[Path, int] = {}  # an array of tables → index of its newest table

    def document(self) -> None:
        table: Path = ()
        while self._gap() < len(self.text):
            before = self.at
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)
            if self.at == before:
                return  # not TOML after all: what was found is good enough

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _gap(self) -> int:
        """Skip blanks, line ends and comments."""
        if gap := _GAP.match(self.text, self.at):
            self.at = gap.end()
        return self.at

    def _blank(self) -> None:
        if blank := _BLANK.match(self.text, self.at):
            self.at = blank.end()

    def _note(self, path: Path, at: int) -> None:
        self.found.setdefault(path, self.text.count("\n", 0, at) + 1)

    def _header(self) -> Path:
        start = self.at
        many = self.text.startswith("[[", start)
        self.at += 2 if many else 1
        keys = self._keys()
        self.at += 2 if many else 1
        path: Path = ()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            if number < len(keys) or not many:
                if path in self._last:
                    path = (*path, self._last[path])
            else:
                self._note(path, start)
                self._last[path] = self._last.get(path, -1) + 1
                path = (*path, self._last[path])
            self._note(path, start)
        return path

    def _keys(self) -> list[str]:
        """A key with its dots; ends before ``=`` or ``]``."""
        keys = []
        while True:
            self._blank()
            mark = self._peek()
            if mark in {'"', "'"}:
                keys.append(self._string())
            elif bare := _BARE.match(self.text, self.at):
                keys.append(bare[0])
                self.at = bare.end()
            self._blank()
            if self._peek() != ".":
                return keys
            self.at += 1

    def _pair(self, table: Path) -> None:
        start = self.at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        if self._peek() == "=":
            self.at += 1
            self._value(path)

    def _value(self, path: Path) -> None:
        self._blank()
        mark = self._peek()
        if mark in {'"', "'"}:
            self._string()
        elif mark == "[":
            self._sequence(path, "]")
        elif mark == "{":
            self._sequence(path, "}")
        elif plain := _VALUE.match(self.text, self.at):
            self.at = plain.end()

    def _sequence(self, path: Path, end: str) -> None:
        """An array, or an inline table."""
        self.at += 1
        index = 0
        while self._gap() < len(self.text):
            before = self.at
            if self._peek() == end:
                self.at += 1
                return
            if self._peek() == ",":
                self.at += 1
                index += 1
            elif end == "]":
                self._note((*path, index), self.at)
                self._value((*path, index))
            else:
                self._pair(path)
            if self.at == before:
                return

    def _string(self) -> str:
        """A string of any of the four kinds; its value is needed of keys only."""
        quote = self._peek()
        triple = quote * 3
        if self.text.startswith(triple, self.at):
            end = self._end_of(triple, self.at + 3, quote == '"')
            while self.text.startswith(quote, end) and end < len(self.text):
                end += 1  # up to two quotes may stand before the closing ones
            self.at = end
            return ""
        start = self.at + 1
        self.at = self._end_of(quote, start, quote == '"')
        inside = self.text[start : self.at - 1]
        if quote == "'":
            return inside
        return _ESCAPE.sub(
            lambda found: _ESCAPED.get(found[1]) or chr(int(found[1][1:], 16)), inside
        )

    def _end_of(self, closing: str, at: int, escapes: bool) -> int:
        while at < len(self.text):
            if escapes and self.text[at] == "\\":
                at += 2
            elif self.text.startswith(closing, at):
                return at + len(closing)
            else:
                at += 1
        return len(self.text)
