"""Where which field stands in the layouts seen in the wild (docs/hotlist-format.md).

A layout is data: fixed columns or delimited fields, a field by its number or its header's name.
What no shipped layout fits is described by a mapping file in TOML (:func:`load_mapping`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from alprd.errors import InputError

Place = int | str | tuple[int, int]
"""A field: its number from 0, its name in the header (upper case), or [begin, end) columns."""
FIELDS: Final = ("plate", "state", "type", "code", "entered", "expires")
DELIMITERS: Final = (",", ";", "\t", "|", ":")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_RANGE: Final = re.compile(r"(\d{1,4})-(\d{1,4})?")


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a line."""

    name: str
    """Names the layout for the category map, too."""
    places: Mapping[str, Place]
    """Of :data:`FIELDS`; at least ``plate``."""
    delimiter: str = ""
    """Empty: fixed columns."""
    header: bool = True
    """The first line holds no entry."""
    columns: int | None = None
    """A delimited line has exactly so many fields."""
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Fields that the file does not have, such as the state of a state's own list."""
    text: tuple[Place, ...] = ()
    """What the alert says, in this order, joined by spaces; empty: all that is no other field."""
    code_first_letter: bool = False
    """The code is the first letter of its field (``V123…``: record type and number)."""
    any_delimiter: bool = False
    """The product that writes it lets people choose: the header tells which it is."""

    @property
    def by_name(self) -> bool:
        """Whether the header must be read to find the fields."""
        return any(isinstance(place, str) for place in (*self.places.values(), *self.text))


def _layout(name: str, places: dict[str, Place], **more: Any) -> Layout:
    return Layout(name, MappingProxyType(places), **more)


LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            # The product's own format.
            _layout(
                "own",
                {"plate": "PLATE", "state": "STATE", "type": "TYPE", "code": "CATEGORY",
                 "entered": "ENTERED"},
                delimiter=",", text=("TEXT",),
            ),
            # NCIC extract, fixed width: type, NIC, ORI, date, plate, state, year, plate type, …
            _layout(
                "ncic",
                {"code": (0, 1), "entered": (19, 27), "plate": (27, 37), "state": (37, 39),
                 "type": (43, 45)},
                text=((45, 49), (49, 53), (53, 56), (56, 58), (58, 80), (10, 19)),
            ),
            # Minnesota's NCIC file: type+NIC, ORI, date, plate, state, year, type, vehicle …
            _layout(
                "minnesota",
                {"code": 0, "entered": 2, "plate": 3, "state": 4, "type": 6},
                delimiter=",", columns=12, code_first_letter=True, text=(7, 8, 9, 10, 11, 1),
            ),
            # Texas: id, ORI, date, plate, state, registration year, vehicle …
            _layout(
                "texas-ncic",
                {"code": 0, "entered": 2, "plate": 3, "state": 4},
                delimiter=",", columns=11, header=False, code_first_letter=True,
                text=(6, 7, 8, 9, 10, 1),
            ),
            # Texas' own: id, plate, state, year, make, model, body, colour. No code.
            _layout(
                "texas-tcic",
                {"plate": 1, "state": 2},
                delimiter=",", columns=8, header=False, text=(3, 4, 5, 6, 7),
            ),
            # plate, expiry year, type, state, case number, reason, ORI
            _layout(
                "iowa",
                {"plate": 0, "type": 2, "state": 3, "code": 5},
                delimiter=",", columns=7, header=False, text=(5, 4, 6),
            ),
            # reason; ORI; agency; case; …; plate; year; state; type; timestamp
            _layout(
                "florida",
                {"code": 0, "plate": 10, "state": 12, "type": 13, "entered": 14},
                delimiter=";", columns=15, header=False, text=(0, 2, 3, 1),
            ),
            # California's department of justice, fixed width; no code
            _layout(
                "california",
                {"plate": (0, 8), "state": (8, 10), "entered": (12, 20)},
                header=False, text=((10, 12),),
            ),
            _layout(
                "genetec",
                {"plate": "PLATENUMBER", "state": "PLATESTATE", "code": "CATEGORY",
                 "entered": "EFFECTIVEDATE", "expires": "EXPIRYDATE"},
                delimiter=";", any_delimiter=True,
            ),
            _layout(
                "vigilant",
                {"plate": "HOT PLATE", "state": "STATE", "code": "ALERT"},
                delimiter=",", any_delimiter=True,
            ),
            # The reason stands in free words, so --code says what the list is.
            _layout(
                "rekor",
                {"plate": "PLATE NUMBER", "state": "STATE/PROVINCE"},
                delimiter=",", text=("DESCRIPTION",),
            ),
        )
    }
)  # fmt: skip
_SIGNS: Final = (
    # By the header; the names that tell a layout from the others.
    (re.compile(r"\W*PLATE,STATE,TYPE,CATEGORY,", re.I), "own"),
    (re.compile(r"(?=.*PLATE ?NUMBER)(?=.*PLATE ?STATE)(?=.*CATEGORY)", re.I), "genetec"),
    (re.compile(r"(?=.*HOT ?PLATE)(?=.*\bSTATE\b)(?=.*\bALERT\b)", re.I), "vigilant"),
    (re.compile(r"\W*PLATE NUMBER,DESCRIPTION,STATE", re.I), "rekor"),
)
_NCIC: Final = re.compile(r"[A-Z][0-9A-Z]{9}[0-9A-Z]{9}(19|20)\d{6}[0-9A-Z ]{10}[0-9A-Z ]{2}")
_MINNESOTA: Final = re.compile(r'"?[A-Z]\d{6,9}"?,([^,]*,){10}[^,]*')


def recognise(head: list[str]) -> Layout:
    """The layout of a file by its first lines.

    Raises:
        InputError: none fits, or more than one could.
    """
    first = head[0] if head else ""
    for sign, name in _SIGNS:
        if sign.match(first):
            return LAYOUTS[name]
    for line in head[1:]:
        if _MINNESOTA.fullmatch(line):
            return LAYOUTS["minnesota"]
        if _NCIC.match(line):
            return LAYOUTS["ncic"]
    raise InputError(
        "the list's layout is not recognised by its first lines",
        remedy=f"name it with --layout ({', '.join(LAYOUTS)}), or describe it in a mapping file",
    )


def by_name(name: str) -> Layout:
    """A shipped layout.

    Raises:
        InputError: there is none of that name.
    """
    try:
        return LAYOUTS[name]
    except KeyError:
        raise InputError(
            f"there is no layout {name!r}", remedy=f"one of {', '.join(LAYOUTS)}, or --mapping"
        ) from None


def load_mapping(path: Path) -> Layout:
    """A layout from a mapping file (docs/hotlist-format.md).

    Raises:
        InputError: names the file and the key.
    """
    return parse_mapping(mapping_text(path), str(path))


def mapping_text(path: Path) -> str:
    """The text of a mapping file.

    Raises:
        InputError: it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"mapping {path}: {error.strerror}", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"mapping {path} is not UTF-8", remedy="save it as UTF-8") from error


def parse_mapping(text: str, place: str = "mapping") -> Layout:
    """The same from its text.

    Raises:
        InputError: names the place and the key.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{place}: {error}", remedy="correct the file") from error
    known = {"name", "delimiter", "header", "fields", "constants", "text"}
    _refuse(bool(unknown := sorted(set(values) - known)), place, f"unknown key {unknown[:1]}")
    name, delimiter = values.get("name"), values.get("delimiter", "")
    _refuse(
        not isinstance(name, str) or not _NAME.fullmatch(name) or name in LAYOUTS,
        place,
        "name: a machine name that no shipped layout has",
    )
    _refuse(
        not isinstance(delimiter, str) or (delimiter != "" and delimiter not in DELIMITERS),
        place,
        'delimiter: one of , ; : | or "\\t"; leave it out for fixed columns',
    )
    header = values.get("header", True)
    _refuse(not isinstance(header, bool), place, "header: true or false")
    fields, constants = values.get("fields", {}), values.get("constants", {})
    _refuse(not isinstance(fields, dict) or not isinstance(constants, dict), place, "a table")
    both = {**fields, **constants}
    _refuse(bool(odd := sorted(set(both) - set(FIELDS))), place, f"fields: unknown {odd[:1]}")
    _refuse("plate" not in fields, place, "fields.plate: says where the plate stands")
    _refuse("code" not in both, place, "fields.code or constants.code: what the entries are")
    _refuse(not all(isinstance(v, str) for v in constants.values()), place, "constants: texts")
    text_places = values.get("text", [])
    _refuse(not isinstance(text_places, list), place, "text: a list of fields")
    return Layout(
        name=str(name),
        places=MappingProxyType({k: _place(v, delimiter, place, k) for k, v in fields.items()}),
        delimiter=delimiter,
        header=header,
        constants=MappingProxyType(dict(constants)),
        text=tuple(_place(v, delimiter, place, "text") for v in text_places),
    )


def _refuse(wrong: bool, place: str, what: str) -> None:
    if wrong:
        raise InputError(f"{place}: {what}", remedy="see docs/hotlist-format.md")


def _place(value: object, delimiter: str, place: str, key: str) -> Place:
    """Numbers count from 1 in the file, as people count; columns as "28-37", both included."""
    if isinstance(value, bool):
        value = None
    if delimiter:
        if isinstance(value, str) and value.strip():
            return value.strip().upper()
        if isinstance(value, int) and 1 <= value <= 500:
            return value - 1
        raise InputError(f"{place}: {key}: a header's name or a number from 1")
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InputError(f'{place}: {key}: columns such as "28-37", or "59-" to the line\'s end')
    first, last = int(found[1]), int(found[2] or 9_999)
    if not 1 <= first <= last:
        raise InputError(f"{place}: {key}: the columns end before they begin")
    return first - 1, last
