"""Records of a supplier's file: a line becomes what it says, or the reason why it says nothing.

The traps of real feeds are handled here (docs/hotlist-format.md): letter O written as zero
(``0H``, ``D0DG``), embedded commas, fillers in the plate's place, foreign issuers.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final

from alprd.central.hotlists.hotfiles.containers import OVERLONG
from alprd.central.hotlists.hotfiles.layouts import DELIMITERS, LAYOUTS, Layout, Place, recognise
from alprd.errors import InputError
from alprd.records import PLATE_TYPES, STATES, PlateType, normalise

JUNK: Final = frozenset(
    "TEST TEST1 TEST123 NONE NULL UNKNOWN UNK NOPLATE NOPLATES NOTAG TEMPTAG XXX XXXX XXXXX "
    "XXXXXX XXXXXXX 190".split()
)
"""Fillers and trial entries: each would alarm on somebody's true plate, or on everything."""
FOREIGN: Final = frozenset(
    # Canada as postal services and as NCIC write it; Mexico; the United States' own plates.
    "AB BC MB NB NK NL NF NS NT NU ON PE PQ QC SK SN YT MX US".split()
)
"""Issuers outside the 50 states and DC: kept as written, so that a plate read as a state's own is
told as *another state*, never as a match of the state."""
MAX_TEXT: Final = 200
_NCIC_TYPES: Final[dict[str, PlateType]] = {
    "PC": "passenger", "VN": "passenger", "PS": "passenger", "PE": "passenger",
    "MC": "motorcycle", "MP": "motorcycle",
    "TK": "truck", "CO": "truck", "TR": "trailer", "TL": "trailer", "ST": "trailer",
}  # fmt: skip
_DATES: Final = ("%Y%m%d", "%Y-%m-%d", "%m/%d/%Y", "%m/%d/%y", "%Y/%m/%d", "%d.%m.%Y")
_HEAD_LINES: Final = 5
_QUOTED_LINES: Final = 50
"""A quoted field reaches over so many lines at most."""
_PRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\uD7FF\uE000-\uFFFD]+")
_DASHES: Final = re.compile(r"[\s_/.-]+")


@dataclass(frozen=True, slots=True)
class Record:
    """What one line says, cleaned; ``code`` is the supplier's own and not yet mapped."""

    line: int
    plate: str
    """Normalised: letters and digits, O and 0 as the supplier wrote them (a match folds them)."""
    state: str | None
    plate_type: PlateType | None
    code: str
    text: str
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that says nothing, and why; never quotes it."""

    line: int
    reason: str
    plate: str = ""
    """Normalised, where there was one: a supplier's test plate may stand in a rejected line."""


def read(
    lines: Iterable[tuple[int, str]],
    path: Path,
    layout: Layout | None = None,
    *,
    code: str = "",
    state: str = "",
) -> tuple[Layout, Iterator[Record | Rejected]]:
    """The layout, recognised if none is given, and what the lines say.

    Args:
        code: for every line of a layout that has no code of its own.
        state: likewise.

    Raises:
        InputError: the layout is not recognised, its header is another, or no code is given.
    """
    numbered = iter(lines)
    head = list(islice(numbered, _HEAD_LINES))
    found = layout or recognise([text for _, text in head])
    if code:
        found = _constant(found, "code", code)
    if state:
        try:
            _state(state)
        except ValueError:
            raise InputError(f"--state: {state!r} is no issuer's code") from None
        found = _constant(found, "state", state)
    if "code" not in found.places and "code" not in found.constants:
        raise InputError(
            f"the layout {found.name} does not say what its entries are",
            remedy="say it with --code, such as --code STOLEN",
        )
    return found, _Reader(found, path).records(chain(head, numbered))


def _constant(layout: Layout, name: str, value: str) -> Layout:
    if name in layout.places:
        return layout
    return Layout(
        layout.name, layout.places, layout.delimiter, layout.header, layout.columns,
        {**layout.constants, name: value}, layout.text, layout.code_first_letter,
    )  # fmt: skip


class _Reader:
    def __init__(self, layout: Layout, path: Path) -> None:
        self._layout = layout
        self._path = path
        self._names: dict[str, int] = {}
        self._delimiter = layout.delimiter

    def records(self, lines: Iterator[tuple[int, str]]) -> Iterator[Record | Rejected]:
        if self._layout.header:
            head = next(lines, (0, ""))
            if self._layout.by_name:
                self._learn(head[1])
            elif self._is_entry(*head):  # the file came without its header
                lines = chain([head], lines)
        waiting: deque[tuple[int, str]] = deque()
        while True:
            number, line = waiting.popleft() if waiting else next(lines, (0, ""))
            if number == 0:
                return
            if line == OVERLONG:
                yield Rejected(number, "line is too long")
                continue
            if not line.strip():
                continue
            if self._delimiter and line.count('"') % 2 and self._is_open(line):
                line = self._whole(line, waiting, lines)
            try:
                yield self._record(number, line)
            except ValueError as error:
                yield Rejected(number, str(error))

    def _is_entry(self, number: int, line: str) -> bool:
        """Whether a line in the header's place says what only an entry says."""
        if "entered" not in self._layout.places:
            return False
        try:
            found = self._record(number, line)
            fields = self._split(line, number) if self._delimiter else [line]
        except ValueError:
            return False
        return isinstance(found, Record) and self._get(fields, "entered").isdigit()

    def _is_open(self, text: str) -> bool:
        """Whether a quoted field has begun and not ended; a quote inside a field is no such."""
        try:
            deque(
                csv.reader(text.splitlines(keepends=True), delimiter=self._delimiter, strict=True)
            )
        except csv.Error as error:
            return "end of data" in str(error)
        return False

    def _whole(
        self,
        line: str,
        waiting: deque[tuple[int, str]],
        lines: Iterator[tuple[int, str]],
    ) -> str:
        """A line with the lines that its open quote reaches over (RFC 4180).

        What stands in quotes must not become an entry. A quote that does not close within
        :data:`_QUOTED_LINES` is a slip of its own line; the others are then read as they are.
        """
        taken: list[tuple[int, str]] = []
        text = line
        while len(taken) < _QUOTED_LINES:
            after = waiting.popleft() if waiting else next(lines, (0, ""))
            if after[0] == 0:
                break
            taken.append(after)
            text += "\n" + after[1]
            if after[1].count('"') % 2 and not self._is_open(text):
                return text
        waiting.extendleft(reversed(taken))
        return line

    def _learn(self, first: str) -> None:
        """Find the named fields in the header."""
        if self._layout.any_delimiter:
            self._delimiter = max(DELIMITERS, key=first.count)
        names = [name.strip().upper() for name in self._split(first, 1)]
        self._names = {name: number for number, name in enumerate(names)}
        squeezed = {_DASHES.sub("", name): number for number, name in enumerate(names)}
        places = dict(self._layout.places)
        for place in (*places.values(), *self._layout.text):
            if isinstance(place, str) and place not in self._names:
                number = squeezed.get(_DASHES.sub("", place))
                if number is not None:
                    self._names[place] = number
        # Of a shipped layout the suppliers leave columns out; a mapping file says what is there.
        shipped = self._layout.name in LAYOUTS
        wanted = ("plate", "code", "state") if shipped else tuple(places)
        asked = [places[name] for name in wanted if name in places]
        asked += [] if shipped else self._layout.text
        missing = [place for place in asked if isinstance(place, str) and place not in self._names]
        if missing:
            raise InputError(
                f"list {self._path}: line 1 is not the header of this format: "
                f"no column {missing[0]}",
                remedy=f"begin the file with the header of the layout {self._layout.name} "
                "(see docs/hotlist-format.md)",
            )

    def _record(self, number: int, line: str) -> Record | Rejected:
        layout = self._layout
        if layout.delimiter:
            fields = self._split(line, number)
            if layout.columns is not None and len(fields) != layout.columns:
                return Rejected(number, f"{len(fields)} fields, not {layout.columns}")
        else:
            fields = [line]
        plate = normalise(self._get(fields, "plate"))
        reason = no_plate(plate)
        if reason:
            return Rejected(number, reason, plate)
        try:
            state = _state(self._get(fields, "state"))
            plate_type = _plate_type(self._get(fields, "type"), own=layout.name == "own")
            code = self._get(fields, "code")
            if layout.code_first_letter:
                code = code[:1]
            if not code:
                raise ValueError("no category or code")
            _date(self._get(fields, "entered"), "entered")
            expires = _date(self._get(fields, "expires"), "expires")
        except ValueError as error:
            return Rejected(number, str(error), plate)
        return Record(number, plate, state, plate_type, code, self._text(fields), expires)

    def _split(self, line: str, number: int) -> list[str]:
        if not self._delimiter:
            return [line]
        try:
            (fields,) = csv.reader(
                line.splitlines(keepends=True), delimiter=self._delimiter, strict=True
            )
        except (csv.Error, ValueError):
            if number == 1:
                return line.split(self._delimiter)
            raise ValueError("quotes do not close on this line") from None
        return fields

    def _get(self, fields: list[str], name: str) -> str:
        place = self._layout.places.get(name)
        if place is None:
            return self._layout.constants.get(name, "").strip()
        found = self._at(fields, place)
        return found or self._layout.constants.get(name, "").strip()

    def _at(self, fields: list[str], place: Place) -> str:
        if isinstance(place, tuple):
            return fields[0][place[0] : place[1]].strip()
        number = self._names.get(place, -1) if isinstance(place, str) else place
        return fields[number].strip() if 0 <= number < len(fields) else ""

    def _text(self, fields: list[str]) -> str:
        layout = self._layout
        if layout.text:
            parts = [self._at(fields, place) for place in layout.text]
        else:
            used = {
                self._names.get(p, -1) if isinstance(p, str) else p for p in layout.places.values()
            }
            parts = [value for n, value in enumerate(fields) if n not in used]
            code = self._get(fields, "code")
            parts.insert(0, code)
        text = _PRINTABLE.sub(" ", " ".join(part for part in parts if part))
        return " ".join(text.split())[:MAX_TEXT]


def no_plate(plate: str) -> str:
    """Why this normalised text is nobody's plate; empty when it may be one."""
    # A feed that writes the letter O as zero writes its fillers so too: N0NE, N0PLATE.
    if len(plate) < 2 or set(plate) <= {"0", "O"} or {plate, plate.replace("0", "O")} & JUNK:
        return "no real plate"
    if len(plate) > 10:
        return "plate is longer than 10 characters"
    return ""


def _state(text: str) -> str | None:
    code = text.upper()
    if not code:
        return None
    if code not in STATES and code not in FOREIGN:
        code = code.replace("0", "O")  # 0H, C0, 0R: the letter O written as zero
    if code in STATES or code in FOREIGN:
        return code
    raise ValueError("unknown state")


def _plate_type(text: str, *, own: bool) -> PlateType | None:
    code = text.upper()
    for known in PLATE_TYPES:
        if code == known.upper():
            return known
    if own and code:
        raise ValueError("unknown plate type")
    return _NCIC_TYPES.get(code.replace("0", "O"))  # of NCIC's sixty types, those a reader can tell


def _date(text: str, what: str) -> datetime | None:
    """An instant; a bare date of expiry means the end of that day (UTC)."""
    if not text or set(text) <= set("0 /-"):
        return None
    try:
        found = datetime.fromisoformat(text)
        if len(text) > 10 or found.tzinfo is not None:
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        return found.replace(hour=23, minute=59, second=59, tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    for form in _DATES:
        try:
            found = datetime.strptime(text[:10].strip(), form)
        except ValueError:
            continue
        return found.replace(hour=23, minute=59, second=59, tzinfo=UTC)
    raise ValueError(f"{what} is not a date")
